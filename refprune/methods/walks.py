"""Which weights OBS removes, for patterns whose unit is one weight: unstructured and N:M.

Each row's greedy path comes from `weight_paths`, rows that share a Hessian together. Prior zeros of living
columns are removed before all others, so that the path starts from the inverse without them; dead columns
take no part in it.
"""

import numpy as np

from refprune.methods.allocation import Path, check_budget, separate, spread
from refprune.methods.weight_paths import Quota, weight_paths


def unstructured(view, pattern, prior, rule):
    """The removals of an `Unstructured` pattern: (flat indices in order, scaled losses), NumPy arrays.

    `view` is a `System`, `prior` a NumPy boolean array (rows, columns) that is False at prior zeros.
    """
    rows, columns = view.shape
    count = pattern.removals(view.problem.weight.shape)
    living, dead = _census(view, prior)
    held = (~prior).sum(axis=1)
    if pattern.scope == "row":
        check_budget(count, held.max(initial=0), "row")
        need = np.minimum(np.maximum(count - columns + living, 0), living)
        return separate([count] * rows, _paths(view, prior, dead, need))
    check_budget(count, held.sum(), "layer")
    left = count - rows * columns + int(living.sum())
    if rule == "sorted" and rows > 1 and left > 0:
        need = living  # all step losses are ranked, so all are needed
    else:
        need = np.minimum(living, max(left, 0))
    return spread(count, _paths(view, prior, dead, need), rule)


def nm(view, pattern, prior, rule):
    """The removals of an `NM` pattern, row after row; see `unstructured`. There is no budget to share."""
    rows, columns = view.shape
    shape = view.problem.weight.shape
    zeros = pattern.removals(shape)
    if rows * columns == 0:
        return np.zeros(0, dtype=int), np.zeros(0)
    group = pattern.labels(shape).reshape(rows, columns)[0]  # the first row's are numbered from 0
    groups = int(group.max()) + 1
    group = np.where(group < 0, groups, group)  # a dense remainder is one more group, with nothing to give
    open_zeros = np.zeros((rows, groups + 1), dtype=int)
    open_zeros[:, :groups] = zeros
    _, dead = _census(view, prior)
    for row in range(rows):  # what is pruned already, and the dead columns, lowest first
        np.subtract.at(open_zeros[row], group[~prior[row]], 1)
        taken = []
        for j in dead[row]:
            if open_zeros[row, group[j]] > 0:
                open_zeros[row, group[j]] -= 1
                taken.append(j)
        dead[row] = taken
    need = np.maximum(open_zeros, 0).sum(axis=1)
    paths = _paths(view, prior, dead, need, (group, open_zeros))
    return separate([len(path.prior) + len(path.dead) + len(path.units) for path in paths], paths)


def _census(view, prior):
    """For each row: the number of living columns that are no prior zeros, and the list of such dead ones."""
    living, dead = np.zeros(len(prior), dtype=int), [None] * len(prior)
    for part in view.parts:
        for row in range(part.first, part.first + part.count):
            living[row] = np.count_nonzero(prior[row, part.living])
            dead[row] = [int(j) for j in part.dead if prior[row, j]]
    return living, dead


def _paths(view, prior, dead, need, open_zeros=None):
    """A `Path` of flat indices for every row, with `need[row]` removals beyond the free ones.

    `open_zeros` is (group of each column, zeros (rows, groups) to give beyond the prior ones) for N:M.
    """
    columns, paths = view.shape[1], []
    for part in view.parts:
        cut = slice(part.first, part.first + part.count)
        inverse = part.inverse()
        start = part.minimiser(inverse)
        gone = ~prior[cut][:, part.living]  # (r, m)
        held, free = gone.sum(axis=1), need[cut]
        forced = np.full((part.count, held.max(initial=0)), -1)
        for r in range(part.count):
            forced[r, : held[r]] = np.flatnonzero(gone[r])
        depth = min(int((held + free).max(initial=0)), len(part.living)) if free.any() else 0
        quota = _quota(part, gone, held + free, *open_zeros) if open_zeros else None
        taken, losses = weight_paths(start[:, None, :], inverse, part.floor, depth, forced, quota)
        for r, row in enumerate(range(cut.start, cut.stop)):
            own = slice(held[r], held[r] + free[r])
            zeros = [row * columns + int(j) for j in np.flatnonzero(~prior[row])]
            rest = [row * columns + j for j in dead[row]]
            paths.append(
                Path(zeros, rest, row * columns + part.living[taken[r, own]], view.losses(losses[r, own]))
            )
    return paths


def _quota(part, gone, total, group, open_zeros):
    """The `Quota` of the rows of `part`; the walk counts the forced removals, so they are given back."""
    group = group[part.living]
    zeros = open_zeros[part.first : part.first + part.count].copy()
    for r in range(part.count):
        np.add.at(zeros[r], group[gone[r]], 1)
    return Quota(group, zeros, total)
