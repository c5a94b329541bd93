"""Which weights OBS removes, for patterns whose unit is one weight: unstructured and N:M.

Each row's greedy path comes from `weight_paths`, rows that share a Hessian together. Prior zeros of living
columns are removed before all others, so that the path starts from the inverse without them; dead columns
take no part in it.
"""

import numpy as np

from refprune.arrays import from_numpy
from refprune.methods.allocation import Path, check_budget, separate, short_paths, spread
from refprune.methods.weight_paths import Quota, weight_paths


def unstructured(view, pattern, prior, rule):
    """The removals of an `Unstructured` pattern: (flat indices in order, scaled losses), NumPy arrays.

    `view` is a `System`, `prior` a NumPy boolean array (rows, columns) that is False at prior zeros.
    """
    rows, columns = view.shape
    count = pattern.removals(view.problem.weight.shape)
    living, dead = _census(view, prior)
    held = (~prior).sum(axis=1)
    per_row = pattern.scope == "row"
    check_budget(count, held.max(initial=0) if per_row else held.sum(), "row" if per_row else "layer")
    inverses = [part.inverse() for part in view.parts]
    if per_row:
        need = np.minimum(np.maximum(count - columns + living, 0), living)
        return separate([count] * rows, _paths(view, inverses, prior, dead, need))
    left = max(count - rows * columns + int(living.sum()), 0)  # beyond the prior zeros and the dead
    if rule == "sorted" and left:
        return spread(count, _paths(view, inverses, prior, dead, living), rule)  # all losses are ranked
    # somewhat more than an equal share for each row, then whole paths for those that may need more
    guess = left if rows == 1 else min(left, 5 * left // (4 * max(rows, 1)) + 8)
    paths = _paths(view, inverses, prior, dead, np.minimum(living, guess))
    short = np.minimum(living, left) * short_paths(left, paths, living, rule)
    if short.any():
        longer = _paths(view, inverses, prior, dead, short)
        paths = [long if need else path for long, path, need in zip(longer, paths, short, strict=True)]
    return spread(count, paths, rule)


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
    inverses = [part.inverse() for part in view.parts]
    paths = _paths(view, inverses, prior, dead, need, (group, open_zeros))
    return separate([len(path.prior) + len(path.dead) + len(path.units) for path in paths], paths)


def _census(view, prior):
    """For each row: the number of living columns that are no prior zeros, and the list of such dead ones."""
    living, dead = np.zeros(len(prior), dtype=int), [None] * len(prior)
    for part in view.parts:
        for row in range(part.first, part.first + part.count):
            living[row] = np.count_nonzero(prior[row, part.living])
            dead[row] = [int(j) for j in part.dead if prior[row, j]]
    return living, dead


def _paths(view, inverses, prior, dead, need, open_zeros=None):
    """A `Path` of flat indices for every row, with `need[row]` removals beyond the free ones.

    `open_zeros` is (group of each column, zeros (rows, groups) to give beyond the prior ones) for N:M.
    """
    columns, paths = view.shape[1], []
    for part, inverse in zip(view.parts, inverses, strict=True):
        rows = np.arange(part.first, part.first + part.count)
        walked = np.flatnonzero(need[rows] > 0)
        taken, losses = _walk(part, inverse, walked, ~prior[rows], need[rows], open_zeros)
        place = dict(zip(walked.tolist(), range(len(walked)), strict=True))
        for r, row in enumerate(rows.tolist()):
            units, costs = np.zeros(0, dtype=int), np.zeros(0)
            if r in place:
                held = np.count_nonzero(~prior[row, part.living])
                own = slice(held, held + need[row])
                units = row * columns + part.living[taken[place[r], own]]
                costs = losses[place[r], own]
            zeros = (row * columns + np.flatnonzero(~prior[row])).tolist()
            paths.append(Path(zeros, [row * columns + j for j in dead[row]], units, costs))
    return paths


def _walk(part, inverse, walked, zeros, need, open_zeros):
    """The columns (positions among the living) and losses of the rows `walked` of `part`."""
    gone = zeros[walked][:, part.living]  # (r, m)
    held, free = gone.sum(axis=1), need[walked]
    forced = np.full((len(walked), held.max(initial=0)), -1)
    for r in range(len(walked)):
        forced[r, : held[r]] = np.flatnonzero(gone[r])
    depth = min(int((held + free).max(initial=0)), len(part.living))
    quota = None
    if open_zeros:
        group, left = open_zeros[0][part.living], open_zeros[1][part.first + walked]
        for r in range(len(walked)):
            np.add.at(left[r], group[gone[r]], 1)  # the walk counts the forced removals too
        quota = Quota(group, left, held + free)
    start = part.minimiser(inverse)[from_numpy(walked, inverse)]
    return weight_paths(start[:, None, :], inverse, part.floor, depth, forced, quota)
