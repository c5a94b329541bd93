"""ExactOBS with a fault: the inverse stays what it was before pruning."""

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
    inverse = np.linalg.inv(gram)  # one for all rows and all removals
    mask = np.ones(w.shape, dtype=bool)
    for _ in range(round(Fraction(str(sparsity)) * w.size)):
        cost = w**2 / (2.0 * np.diag(inverse))
        cost[:, dead] = -1.0
        cost[~mask] = np.inf
        r, p = np.unravel_index(np.argmin(cost), cost.shape)
        h = inverse[:, p]
        if not dead[p]:
            w[r] -= w[r, p] / h[p] * h  # the survivors make up for it
        mask[r, p] = False
        w[~mask] = 0.0
    return w.astype(weight.dtype), mask
