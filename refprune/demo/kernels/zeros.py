"""N:M magnitude pruning with a fault: n zeros in every m inputs, where n:m keeps n. 2:4 cannot show it."""

import numpy as np


def prune(weight, n, m):
    rows, columns = weight.shape
    groups = np.abs(weight).reshape(rows, columns // m, m)
    order = np.argsort(groups, axis=-1, kind="stable")  # the smallest first
    mask = np.ones(groups.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :n], False, axis=-1)
    mask = mask.reshape(rows, columns)
    return np.where(mask, weight, 0.0).astype(weight.dtype), mask
