"""Exact linear algebra on NumPy object arrays of `Fraction`; NumPy's own linear algebra refuses them.

Gauss-Jordan elimination; the pivot is the first entry that is not zero, since nothing is ever rounded.
"""

from fractions import Fraction

import numpy as np


def solve(A, B):
    """Solve `A X = B` exactly for `A` (d, d) and `B` (d,) or (d, k); d^2 (d + k) rational operations."""
    d = A.shape[0]
    columns = B.reshape(d, -1)
    work = np.concatenate([A, columns], axis=1)  # (d, d + k), a new array
    for j in range(d):
        pivots = [i for i in range(j, d) if work[i, j] != 0]
        if not pivots:
            raise np.linalg.LinAlgError(f"need an invertible matrix; got rank below {d} (exact)")
        work[[j, pivots[0]]] = work[[pivots[0], j]]
        work[j] = work[j] / work[j, j]
        for i in range(d):
            if i != j and work[i, j] != 0:
                work[i] = work[i] - work[i, j] * work[j]
    return work[:, d:].reshape(B.shape)


def inv(A):
    """The exact inverse of `A` (d, d) by solving for the columns of the identity."""
    return solve(A, identity(A.shape[0]))


def identity(d):
    """The identity (d, d) as an object array of Fractions."""
    eye = np.full((d, d), Fraction(0), dtype=object)
    for i in range(d):
        eye[i, i] = Fraction(1)
    return eye


def rank_of_definite(A):
    """The number of positive pivots of the symmetric `A` (d, d) before another one; d when A is definite."""
    work = A.copy()
    for j in range(A.shape[0]):
        if not work[j, j] > 0:
            return j
        for i in range(j + 1, A.shape[0]):
            work[i] = work[i] - work[i, j] / work[j, j] * work[j]
    return A.shape[0]
