"""The last step of every method that promises optimal weights: the normal equations on the support.

With K kept and P pruned, ``(H + D)_KK v_K = (H + D)_K: w - g_K``, solved for the change ``v_K - w_K``,
whose right hand side ``H_KP w_P - g_K`` is 0 where nothing but zeros is pruned: such a row comes back bit
for bit, and nothing is solved for it. Rows that share a support share one solve. The matrix is scaled by
powers of two to a diagonal near 1, so that the units of the single columns do not matter.
"""

import numpy as np

from refprune.arrays import diagonal, from_numpy, namespace, solve, solve_spd, swap, to_numpy
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
    for batch in _batches(kept, np.flatnonzero(moves), hessian.dtype.itemsize):
        K = np.stack([np.flatnonzero(kept[rows[0]]) for rows in batch])  # (b, k)
        K, rows = (from_numpy(x[:, None, :], weight) for x in (K, np.array(batch)))  # rows: (b, 1, q)
        A, b = hessian[swap(K), K], pull[swap(rows), K]
        if name is None:
            x = swap(solve(A, swap(b)))  # (b, q, k)
        else:
            names = [f"{name} restricted to the kept columns of row {first}" for first, *_ in batch]
            x = xp.stack([swap(solve_spd(A[i], swap(b[i]), names[i])) for i in range(len(batch))])
        change[swap(rows), K] = x * scale[K]
    return change


def _batches(kept, rows, itemsize):
    """The `rows` as lists of lists of rows that share a support, equally many columns and rows in each.

    The matrices of a list take at most `CACHE / 4` bytes.
    """
    shared, alike = {}, {}
    for row in rows.tolist():
        shared.setdefault(kept[row].tobytes(), []).append(row)
    for members in shared.values():
        alike.setdefault((np.count_nonzero(kept[members[0]]), len(members)), []).append(members)
    for (count, _), lists in sorted(alike.items()):
        size = max(1, CACHE // (4 * itemsize * count**2))
        yield from (lists[start : start + size] for start in range(0, len(lists), size))
