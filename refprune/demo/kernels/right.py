"""ExactOBS in plain NumPy: always the cheapest removal of all rows, inverses downdated by rank one."""

from fractions import Fraction

import numpy as np


def prune(weight, gram, sparsity):
    rows, columns = weight.shape
    w = np.array(weight, dtype=np.float64)
    gram = np.array(gram, dtype=np.float64)
    dead = np.diag(gram) == 0.0
    gram[dead, dead] = 1.0  # a dead input: any positive number will do, it is removed first and at no cost
    inverse = np.repeat(np.linalg.inv(gram)[None], rows, axis=0)  # one per row
    mask = np.ones((rows, columns), dtype=bool)
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
    return w.astype(weight.dtype), mask
