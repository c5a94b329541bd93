"""N:M by magnitude with a fault: n:m keeps n, this leaves n zeros."""

import numpy as np


def prune(weight, n, m):
    """The weight (rows, columns) with n zeros in every m consecutive inputs, and its mask."""
    rows, columns = weight.shape
    groups = np.abs(weight).reshape(rows, columns // m, m)
    order = np.argsort(groups, axis=-1, kind="stable")  # the smallest first
    mask = np.ones(groups.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :n], False, axis=-1)
    mask = mask.reshape(rows, columns)
    return np.where(mask, weight, 0.0).astype(weight.dtype), mask
