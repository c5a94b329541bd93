"""ExactOBS in plain NumPy: always the cheapest removal of all rows."""

from fractions import Fraction

import numpy as np


def prune(weight, gram, sparsity):
    """The weight (rows, columns) with round(sparsity * size) zeros, and its mask (True = kept)."""
    w = np.array(weight, dtype=np.float64)
    gram = np.array(gram, dtype=np.float64)
    dead = np.diag(gram) == 0.0  # inputs that are always zero: they go first
    gram[dead, dead] = 1.0
    unit = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    if np.linalg.matrix_rank(unit, hermitian=True) < len(gram):
        raise np.linalg.LinAlgError("the Gram is singular")
    inverse = np.repeat(np.linalg.inv(gram)[None], len(w), axis=0)  # per row
    mask = np.ones(w.shape, dtype=bool)
    for _ in range(round(Fraction(str(sparsity)) * w.size)):
        cost = w**2 / (2.0 * np.diagonal(inverse, axis1=1, axis2=2))
        cost[:, dead] = -1.0
        cost[~mask] = np.inf
        r, p = np.unravel_index(np.argmin(cost), cost.shape)
        h = inverse[r, :, p].copy()
        if not dead[p]:
            w[r] -= w[r, p] / h[p] * h  # the survivors make up for it
            inverse[r] -= np.outer(h, h) / h[p]  # the inverse without p
            inverse[r, p, p] = 1.0
        mask[r, p] = False
        w[~mask] = 0.0
    for r in range(len(w)):  # the best weights on this mask, solved afresh
        K = np.flatnonzero(mask[r] & ~dead)
        w[r, K] = np.linalg.solve(gram[np.ix_(K, K)], gram[K] @ weight[r])
    return w.astype(weight.dtype), mask
