"""The last step of every method that promises optimal weights: the normal equations on the support.

With K kept and P pruned, ``(H + D)_KK v_K = (H + D)_K: w - g_K``, solved for the change ``v_K - w_K``,
whose right hand side ``H_KP w_P - g_K`` is 0 where nothing but zeros is pruned: such a row comes back bit
for bit, and nothing is solved for it. The matrix is scaled by powers of two to a diagonal near 1, so that
the units of the single columns do not matter.
"""

import numpy as np

from refprune.arrays import diagonal, from_numpy, namespace, solve, solve_spd, to_numpy
from refprune.methods.removal import CACHE


def changes(weight, hessian, gradient, kept, name=None):
    """The change ``v_K - w_K`` of each row, 0 elsewhere.

    Parameters
    ----------
    weight : array, shape (rows, d)
    hessian : array, shape (d, d)
        Shared by the rows; damped where the method damps.
    gradient : array, shape (rows, d), or None
    kept : NumPy boolean array, shape (rows, d)
    name : str, optional
        The matrix's name in messages. When given, positive definiteness is checked on every row's support;
        otherwise the caller has checked the whole matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        The matrix restricted to a row's support is not positive definite.
    """
    xp = namespace(weight, hessian)
    scale = 2.0 ** xp.round(-0.5 * xp.log2(diagonal(hessian)))  # (d,) powers of two: no rounding error
    pull = xp.where(from_numpy(kept, weight), 0, weight) @ hessian
    pull = (pull if gradient is None else pull - gradient) * scale  # (rows, d)
    hessian = hessian * scale[:, None] * scale
    change = xp.zeros(weight.shape, dtype=weight.dtype)
    moves = (kept & to_numpy(pull != 0)).any(axis=1)  # (rows,)
    for batch in _batches(kept & moves[:, None], hessian.dtype.itemsize):
        K = from_numpy(np.stack([np.flatnonzero(kept[row]) for row in batch]), weight)  # (b, k)
        rows = from_numpy(np.array(batch)[:, None], weight)
        A, b = hessian[K[:, :, None], K[:, None, :]], pull[rows, K]
        if name is None:
            x = solve(A, b[:, :, None])[:, :, 0]
        else:
            names = [f"{name} restricted to the kept columns of row {row}" for row in batch]
            x = xp.stack([solve_spd(A[i], b[i], names[i]) for i in range(len(batch))])
        change[rows, K] = x * scale[K]
    return change


def _batches(kept, itemsize):
    """Lists of rows that keep equally many columns; their matrices take at most `CACHE / 4` bytes."""
    counts = kept.sum(axis=1)
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        size = max(1, CACHE // int(4 * itemsize * count**2))
        yield from (list(rows[start : start + size]) for start in range(0, len(rows), size))
