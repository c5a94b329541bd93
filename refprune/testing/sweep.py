"""The sweep of SparseGPT at a given mask, and what rounding explains: its weights, its scores, its costs.

With `C` the inverse of `H = G + D` over the columns from j on, pruning `w_j` costs `w_j^2 / (2 C_00)` and moves the
later weights by `-w_j / C_00 C_0:`. All columns share one factor: `H = R R^T` with R upper triangular, so that
`1 / C_00 = R_jj^2`, and row j of `R^-1` over its first entry is what a unit of `w_j` takes from the later weights.
H is brought to unit diagonal first, so the numbers below are weights times `sqrt(H_jj)`.

Bounds, from measured errors of kernels in float32 and float64 at conditions up to 1e8. `kappa` is the condition of H
at unit diagonal, `size` the largest norm that a row of scaled weights takes on in its sweep (a sweep has no bound in
the weights it starts from).

- A weight errs by `64 eps kappa (1 + kappa / 1000) size`. With an inverse from Cholesky, and one at every column, the
  error is a few eps kappa (Higham, Accuracy and Stability of Numerical Algorithms, sections 10.1 and 14.3). The inverse
  of LU is not symmetric, and the Cholesky factor of it errs by another kappa (section 10.3.1: a factor is as sensitive
  as its matrix is ill-conditioned): 4.3 of `eps kappa (1 + kappa / 1000)` was the largest share seen.
- A score `|w_j| R_jj` errs by `16 eps kappa (1 + kappa / 1000) R_jj size`; 4.4 was the largest share seen.
"""

from dataclasses import dataclass

import numpy as np

from .bounds import SOLVE, condition, unit_diagonal

SCORE = 16.0
OF_LU = 1e-3  # the share of kappa that the Cholesky factor of an inverse from LU loses again


def sweep_limit(eps) -> float:
    """The condition up to which scores can be compared: there a weight's bound is about a hundredth of its size.

    >>> sweep_limit(2.0**-52)
    10000000.0
    """
    return min(1e7, 1e-4 / eps)


def rounding(eps, kappa) -> float:
    """``eps kappa (1 + kappa / 1000)``: see the module."""
    return eps * kappa * (1 + OF_LU * kappa)


@dataclass(frozen=True)
class Swept:
    """A sweep at one mask; all but `weight` scaled by the roots of H's diagonal.

    `weight`: as they come out; `reached`: every weight when the sweep comes to its column; `seen`: when it comes to
    the first column of its block; `size`: of every row, the largest norm on the way.
    """

    weight: np.ndarray
    reached: np.ndarray
    seen: np.ndarray
    size: np.ndarray


class Sweep:
    """One layer's sweep, for any mask.

    Attributes
    ----------
    kappa : condition of the living part of `H` at unit diagonal.
    root : (columns,) `R_jj` at unit diagonal, 0 for dead inputs; `scale`: roots of H's diagonal, 1 for dead ones.
    """

    def __init__(self, weight, hessian, living):
        self.living = living
        self.scale = np.where(living, np.sqrt(np.where(living, np.diagonal(hessian), 1.0)), 1.0)
        self.start = weight * self.scale
        part = hessian[np.ix_(living, living)]
        self.kappa = condition(part)
        d = weight.shape[1]
        self.root, self.pull = np.zeros(d), np.zeros((d, d))
        if living.any() and np.isfinite(self.kappa):
            unit = unit_diagonal(part)[0]
            factor = np.linalg.cholesky(unit[::-1, ::-1])[::-1, ::-1]  # R, upper: unit = R R^T
            inverse = np.triu(np.linalg.solve(factor, np.eye(len(factor))))
            self.root[living] = np.diagonal(factor)
            self.pull[np.ix_(living, living)] = -np.triu(inverse * np.diagonal(factor)[:, None], 1)

    def run(self, pruned, width) -> Swept:
        """The sweep that prunes `pruned`; blocks are `width` columns wide."""
        w = self.start.copy()
        reached, seen, size = np.empty_like(w), np.empty_like(w), self.norms(w)
        for j in range(w.shape[1]):
            if j % width == 0:
                seen[:, j : j + width] = w[:, j : j + width]
            reached[:, j] = w[:, j]
            gone = pruned[:, j]
            if gone.any():
                w[gone, j + 1 :] += w[gone, j, None] * self.pull[j, j + 1 :]
                w[gone, j] = 0.0
                size = np.maximum(size, self.norms(w))
        return Swept(w / self.scale, reached, seen, size)

    def norms(self, scaled):
        """The norm of every row of scaled weights, over the living inputs."""
        return np.linalg.norm(scaled[:, self.living], axis=1)

    def weight_bounds(self, swept, eps, store_eps) -> np.ndarray:
        """(rows,) error of a scaled weight that rounding explains."""
        return SOLVE * max(rounding(eps, self.kappa), store_eps) * swept.size

    def score_bounds(self, swept, eps) -> np.ndarray:
        """(rows, columns) error of a score that rounding explains."""
        return SCORE * rounding(eps, self.kappa) * np.outer(swept.size, self.root)
