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
        taken[cut], losses[cut] = _walk([_Units(weight[cut], inverse, floor, units, depth, forced)], depth)
    return taken, losses


def joint_paths(systems, depth):
    """Walk `depth` removals of units that reach into several `systems`, each with an inverse of its own.

    A system is (weight, inverse, floor, units, forced) as in `unit_paths`, with one row; the lists of units
    run in parallel, and a unit that does not reach into a system is empty there. Returns the same.
    """
    if depth == 0:
        return np.zeros((1, 0), dtype=int), np.zeros((1, 0))
    return _walk([_Units(*system[:4], depth, system[4]) for system in systems], depth)


class _Units:
    """The units of rows that walk in step, with their diagonal blocks ``G_BB``, gathered by their size."""

    def __init__(self, weight, inverse, floor, units, depth, forced):
        width = max(len(unit) for unit in units)
        state = Removal(weight, inverse, floor, len(forced) + depth * width, compacts=False)
        self.state, self.rows, self.count, self.sizes = state, weight.shape[0], len(units), []
        padded = [unit + [-1] * (width - len(unit)) for unit in units]
        self.members = from_numpy(np.array(padded, dtype=int), weight)
        for size in sorted({len(unit) for unit in units} - {0}):
            number = [u for u, unit in enumerate(units) if len(unit) == size]
            members = from_numpy(np.array([units[u] for u in number]), inverse)  # (g, b)
            block = inverse[members[:, :, None], members[:, None, :]]  # (g, b, b)
            block = state.xp.broadcast_to(block, (self.rows, *block.shape)).copy()
            self.sizes.append((from_numpy(np.array(number), inverse), members, block))
        always = state.xp.ones((self.rows,), dtype=bool)
        for column in forced:
            self._remove(state.xp.full((self.rows,), column), always)

    def _remove(self, columns, active):
        """Remove one column from each row where `active`, and follow; returns the losses (r,)."""
        self.state.make_room()
        losses, column = self.state.remove(columns, active)
        for _, members, block in self.sizes:
            part = column[:, members]  # (r, g, b)
            block -= part[..., :, None] * part[..., None, :]
        return self.state.xp.where(active, losses, 0)

    def costs(self, left):
        """The cost (r, units) of removing each unit of those `left` (r, units)."""
        xp, weight = self.state.xp, self.state.weight
        costs = xp.zeros(left.shape, dtype=weight.dtype)
        for number, members, block in self.sizes:
            w = transpose(weight[:, :, members], (0, 2, 3, 1))  # (r, g, b, q)
            block = xp.where(left[:, number][:, :, None, None], block, eye(members.shape[1], block))
            costs[:, number] = xp.sum(w * solve(block, w), axis=(2, 3)) / 2
        return xp.maximum(costs, 0)  # rounding may make a free removal look better than free

    def take(self, unit):
        """Remove the unit `unit[row]` of every row; returns the losses (r,)."""
        xp = self.state.xp
        total = xp.zeros((self.rows,), dtype=self.state.weight.dtype)
        for slot in range(self.members.shape[1]):
            column = self.members[unit, slot]  # (r,)
            total = total + self._remove(xp.maximum(column, 0), column >= 0)
        return total


def _walk(systems, depth):
    """Remove the unit of least cost, summed over the `_Units` in `systems`, `depth` times in every row."""
    state = systems[0].state
    xp, huge = state.xp, float(np.finfo(dtype_name(state.weight.dtype)).max)
    left = xp.ones((systems[0].rows, systems[0].count), dtype=bool)
    taken, totals = [], []
    for _ in range(depth):
        costs = sum(system.costs(left) for system in systems)
        unit = xp.argmin(xp.where(left, costs, huge), axis=1)  # (r,) the first minimum
        totals.append(sum(system.take(unit) for system in systems))
        left[state.rows, unit] = False
        taken.append(unit)
    return to_numpy(xp.stack(taken, axis=1)), to_numpy(xp.stack(totals, axis=1))
