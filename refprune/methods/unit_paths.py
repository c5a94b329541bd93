"""The greedy paths of rows that share one inverse Hessian, a whole unit (block, group) at a time.

With ``G`` the inverse Hessian over the living set, a unit B costs ``1/2 w_B^T (G_BB)^-1 w_B`` (in units of
the loss; the sum over the weight vectors of a row where there are several). Its weights are then removed
one after the other: the result is that of the joint removal, and the losses add up to its cost. The
diagonal blocks ``G_BB`` are kept up to date with the pivot columns, as the diagonal is for single weights.
"""

import numpy as np

from refprune.arrays import dtype_name, eye, from_numpy, solve, to_numpy, transpose
from refprune.methods.removal import Removal, chunks


def unit_paths(weight, inverse, floor, units, depth, forced):
    """Walk `depth` removals of units in each of the rows of `weight` (rows, q, d).

    Parameters
    ----------
    weight, inverse, floor
        As in `Removal`.
    units : list of lists of int
        The columns of each unit, the same in all rows; among equal costs the first unit of the list goes.
    depth : int
    forced : list of int
        Columns to remove before all units, in all rows.

    Returns
    -------
    units, losses : NumPy arrays, shape (rows, depth)
        Positions in the list `units`.
    """
    rows, _, d = weight.shape
    taken, losses = np.zeros((rows, depth), dtype=int), np.zeros((rows, depth))
    if depth == 0:
        return taken, losses
    pivots = len(forced) + depth * max(len(unit) for unit in units)
    for part in chunks(rows, 2 * d, pivots, weight.dtype.itemsize):  # without compaction: twice the room
        cut = slice(part.start, part.stop)
        state = Removal(weight[cut], inverse, floor, pivots, compacts=False)
        taken[cut], losses[cut] = _walk(state, _Blocks(state, units), units, depth, forced)
    return taken, losses


class _Blocks:
    """The diagonal blocks ``G_BB`` of all units, gathered by their size."""

    def __init__(self, state, units):
        xp, inverse = state.xp, state.inverse
        self.sizes = []
        for size in sorted({len(unit) for unit in units}):
            number = [u for u, unit in enumerate(units) if len(unit) == size]
            members = from_numpy(np.array([units[u] for u in number]), inverse)  # (g, b)
            block = inverse[members[:, :, None], members[:, None, :]]  # (g, b, b)
            block = xp.broadcast_to(block, (state.rows.shape[0], *block.shape)).copy()
            self.sizes.append((from_numpy(np.array(number), inverse), members, block))

    def downdate(self, column):
        """Follow a removal with the pivot columns `column` (r, d)."""
        for _, members, block in self.sizes:
            part = column[:, members]  # (r, g, b)
            block -= part[..., :, None] * part[..., None, :]

    def costs(self, state, left):
        """The cost (r, units) of removing each unit of those `left` (r, units)."""
        xp = state.xp
        costs = xp.zeros(left.shape, dtype=state.weight.dtype)
        for number, members, block in self.sizes:
            w = transpose(state.weight[:, :, members], (0, 2, 3, 1))  # (r, g, b, q)
            block = xp.where(left[:, number][:, :, None, None], block, eye(members.shape[1], block))
            costs[:, number] = xp.sum(w * solve(block, w), axis=(2, 3)) / 2
        return xp.maximum(costs, 0)  # rounding may make a free removal look better than free


def _walk(state, blocks, units, depth, forced):
    """`unit_paths` for the rows of one `Removal`."""
    xp, r = state.xp, state.rows.shape[0]
    huge = float(np.finfo(dtype_name(state.weight.dtype)).max)
    width = max(len(unit) for unit in units)
    members = from_numpy(np.array([unit + [-1] * (width - len(unit)) for unit in units]), state.weight)
    left = xp.ones((r, len(units)), dtype=bool)

    def remove(columns, active):
        state.make_room()
        losses, pivot = state.remove(columns, active)
        blocks.downdate(pivot)
        return xp.where(active, losses, 0)

    for column in forced:
        remove(xp.full((r,), column), xp.ones((r,), dtype=bool))
    taken, totals = [], []
    for _ in range(depth):
        unit = xp.argmin(xp.where(left, blocks.costs(state, left), huge), axis=1)  # (r,) the first minimum
        total = xp.zeros((r,), dtype=state.weight.dtype)
        for slot in range(width):
            column = members[unit, slot]  # (r,)
            total = total + remove(xp.maximum(column, 0), column >= 0)
        left[state.rows, unit] = False
        taken.append(unit)
        totals.append(total)
    return to_numpy(xp.stack(taken, axis=1)), to_numpy(xp.stack(totals, axis=1))
