"""Curvature: matrices from derivatives, and systems that are solved by products alone."""

from refprune.curvature.conjugate_gradient import Solved, conjugate_gradient
from refprune.curvature.fisher_inverse import fisher_inverse
from refprune.curvature.gauss_newton import empirical_fisher, gauss_newton

__all__ = ["Solved", "conjugate_gradient", "empirical_fisher", "fisher_inverse", "gauss_newton"]
