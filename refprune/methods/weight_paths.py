"""The greedy paths of rows that share one inverse Hessian, one weight at a time.

At every step each row removes the candidate with the least ``w_p^2 / (2 G_pp)``; among equals the lowest
column. Candidates are the living columns, and with `quota` those whose group still has zeros to give.
Removed columns are told apart by a mask and a finite sentinel, never by infinities.
"""

from dataclasses import dataclass

import numpy as np

from refprune.arrays import dtype_name, from_numpy, namespace, to_numpy
from refprune.methods.removal import Removal, chunks


@dataclass(frozen=True)
class Quota:
    """How many zeros each group of columns may still give (N:M).

    `group` (d,) is the group of each column and `zeros` (rows, groups) what it may give, both NumPy int
    arrays; removals that are forced count too. `total` (rows,) is the number of removals of each row.
    """

    group: np.ndarray
    zeros: np.ndarray
    total: np.ndarray


def weight_paths(weight, inverse, floor, depth, forced, quota=None):
    """Walk `depth` removals in each of the rows of `weight` (rows, q, d).

    Parameters
    ----------
    weight, inverse, floor
        As in `Removal`.
    depth : int
    forced : NumPy int array, shape (rows, f)
        Columns to remove first, in this order; -1 where a row has fewer.
    quota : Quota, optional
        Past its `total` a row goes on with any column, to keep step with the others.

    Returns
    -------
    columns, losses : NumPy arrays, shape (rows, depth)
    """
    rows, _, d = weight.shape
    columns, losses = np.zeros((rows, depth), dtype=int), np.zeros((rows, depth))
    if depth == 0:
        return columns, losses
    for part in chunks(rows, d, depth, weight.dtype.itemsize):
        cut = slice(part.start, part.stop)
        few = quota and Quota(quota.group, quota.zeros[cut], quota.total[cut])
        columns[cut], losses[cut] = _walk(weight[cut], inverse, floor, depth, forced[cut], few)
    return columns, losses


def _walk(weight, inverse, floor, depth, forced, quota):
    """`weight_paths` for rows whose pivot columns fit the cache."""
    xp = namespace(weight, inverse)
    state = Removal(weight, inverse, floor, depth)
    huge = float(np.finfo(dtype_name(weight.dtype)).max)  # finite: GPUs have failed on infinities
    forced = from_numpy(forced, weight)
    if quota:
        group, zeros, total = (from_numpy(x.copy(), weight) for x in (quota.group, quota.zeros, quota.total))
    columns, losses = [], []
    for step in range(depth):
        state.make_room()
        candidates = state.alive
        if quota:
            open_groups = xp.take_along_axis(zeros, group[state.column], axis=1) > 0
            candidates = candidates & (open_groups | (total <= step)[:, None])
        score = xp.sum(state.weight * state.weight, axis=1) / state.diagonal  # (r, m) twice the loss
        p = xp.argmin(xp.where(candidates, score, huge), axis=1)  # (r,) the first minimum: the lowest column
        if step < forced.shape[1]:
            wanted = forced[:, step]
            p = xp.where(wanted >= 0, xp.argmax(state.column == wanted[:, None], axis=1), p)
        columns.append(state.column[state.rows, p])
        losses.append(state.remove(p)[0])
        if quota:
            zeros[state.rows, group[columns[-1]]] -= 1
    return to_numpy(xp.stack(columns, axis=1)), to_numpy(xp.stack(losses, axis=1))
