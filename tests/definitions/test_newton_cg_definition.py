"""The definition of Newton-CG: exact on fractions, Armijo's rule by hand, and what conjugate gradients return."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions.newton_cg import newton_step, truncated
from tests.methods.problems import fractions


def exact(seed, d=5):
    """(H, w, mask): Fractions, H positive definite and of no simple form."""
    rng = np.random.default_rng([63, seed])
    A = rng.integers(-3, 4, size=(d, d)) + np.diag(rng.integers(4, 9, size=d))
    mask = rng.permutation(d) < 3
    return fractions(A.T @ A), fractions(rng.integers(-4, 5, size=d) + 0.25), mask


@pytest.mark.parametrize("cg_steps", [None, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_quadratic_is_solved_in_one_step_exactly(seed, cg_steps):
    """Conjugate gradients need as many steps as weights are kept, 3."""
    H, w, mask = exact(seed)
    points = definitions.newton_cg(rp.Quadratic(H, w), mask, w, steps=9, cg_steps=cg_steps)
    assert len(points) == 2
    assert_array_equal(points[0], np.where(mask, w, 0))
    assert_array_equal(points[1], definitions.optimal_weights(w, H, mask))


def test_damping_is_absolute():
    H, w, mask = exact(6)
    damp = Fraction(3, 7)
    point = newton_step(rp.Quadratic(H, w), mask, w * mask, damp)
    g = (H @ (w * mask - w))[mask]
    A = H[np.ix_(mask, mask)] + damp * fractions(np.eye(3))
    assert all(A @ (point - w * mask)[mask] == -g)


class Quartic:
    """``v^2 - v^4 / 16`` in each entry: at 2 the curvature is -1, a slope of 2; exact on Fractions."""

    def value(self, w):
        return sum(w**2 - w**4 / 16)

    def gradient(self, w):
        return 2 * w - w**3 / 4

    def hessian(self, w):
        return np.diag(2 - 3 * w**2 / 4)


def test_a_curvature_that_is_not_positive_ends_it():
    """At (2, 1) conjugate gradients begin along (2, 7/4), with the curvature -4 + 245/64; at (2, 0) along (1, 0)."""
    w = fractions([2.0, 1.0])
    assert_array_equal(newton_step(Quartic(), np.array([True, True]), w, cg_steps=2), w)
    assert_array_equal(newton_step(Quartic(), np.array([True, False]), w, cg_steps=2), w)
    # alone, 1 is in the valley: a step of -(7/4) / (5/4) = -7/5, which Armijo's rule takes whole
    assert_array_equal(newton_step(Quartic(), np.array([False, True]), w, cg_steps=1), [2, Fraction(-2, 5)])
    # an exact solve walks uphill there, and the search lets nothing pass
    assert_array_equal(newton_step(Quartic(), np.array([True, False]), w), w)


def test_the_sum_of_the_steps_before_it_is_what_comes_back():
    A, b = fractions(np.diag([1.0, -1.0, 2.0])), fractions([4.0, 1.0, 2.0])
    first = (b @ b) / (b @ A @ b) * b
    assert_array_equal(truncated(A, b, 1), first)
    r = b - A @ first
    p = r + (r @ r) / (b @ b) * b
    assert p @ A @ p < 0
    assert_array_equal(truncated(A, b, 3), first)
    assert_array_equal(truncated(A, b - b, 3), b - b)


class Wall:
    """``|v| + v^2 / 200`` in one weight, whose Newton step from 1 is 101 long."""

    def value(self, w):
        return sum(abs(w)) + sum(w**2) / 200

    def gradient(self, w):
        return np.where(w > 0, 1, -1) + w / 100

    def hessian(self, w):
        return fractions(np.eye(1)) / 100


def test_the_first_of_fifty_steps_that_lowers_it_enough():
    (_, new), t, tried = definitions.newton_cg(Wall(), np.array([True]), fractions([1.0]), 1), Fraction(1), 1
    while abs(1 - 101 * t) + (1 - 101 * t) ** 2 / 200 > Fraction(201, 200) - t * Fraction(101**2, 10**7):
        t, tried = t * Fraction(9, 10), tried + 1
    assert tried == 39
    assert_array_equal(new, [1 - 101 * t])


def test_after_fifty_steps_the_point_stays():
    class Wrong(Wall):
        def gradient(self, w):
            return -super().gradient(w)

    assert len(definitions.newton_cg(Wrong(), np.array([True]), fractions([1.0]), 5)) == 1
