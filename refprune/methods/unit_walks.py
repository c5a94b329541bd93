"""Which units OBS removes, for patterns whose unit is more than one weight: blocks and groups.

A unit that lies in one row leaves the rows independent, and they share a budget as single weights do.
Groups of whole input columns move all rows together on one inverse; in a grouped convolution the rows of each
of its groups do, and where a label reaches into several of them these walk in step. Groups of whole rows need
no inverse at all; any other partition is walked by `partition_path`.
"""

import numpy as np

from refprune.arrays import from_numpy, namespace, to_numpy
from refprune.methods.allocation import Path, check_budget, separate, spread
from refprune.methods.partition_path import Living, partition_path
from refprune.methods.unit_paths import joint_paths, unit_paths
from refprune.methods.weight_paths import weight_paths


def blocks(view, pattern, prior, rule):
    """The removals of a `Blocks` pattern: (labels in order, scaled losses), NumPy arrays."""
    shape = view.problem.weight.shape
    count, labels = pattern.removals(shape), pattern.labels(shape).reshape(view.shape)
    held = [len(_wholly(labels[row], ~prior[row])) for row in range(len(labels))]
    check_budget(
        count, max(held, default=0) if pattern.scope == "row" else sum(held), pattern.scope or "layer"
    )
    paths = _paths_in_rows(view, labels, prior, _most(count, pattern.scope, rule, view))
    if pattern.scope == "row":
        return separate([count] * len(paths), paths)
    return spread(count, paths, rule)


def groups(view, pattern, prior, rule):
    """The removals of a `Groups` pattern, as `blocks`."""
    shape = view.problem.weight.shape
    count, labels = pattern.removals(shape), pattern.labels(shape).reshape(view.shape)
    check_budget(count, len(_wholly(labels, ~prior)), "layer")
    if 0 in view.shape:
        return np.zeros(0, dtype=int), np.zeros(0)
    most = _most(count, None, rule, view)
    linear = any(part.gradient is not None for part in view.parts)
    rows = np.broadcast_to(np.arange(len(labels))[:, None], labels.shape)
    filled = _filled(view, prior)
    if not linear and (labels == labels[:, :1]).all():
        paths = [_whole_rows(view, labels, prior)]
    elif len(np.unique(np.stack([labels, rows]).reshape(2, -1), axis=1).T) == len(np.unique(labels)):
        paths = _paths_in_rows(view, labels, prior, most)
    elif all(_alike(labels, part) and _alike(filled, part) for part in view.parts):
        sets = [np.unique(labels[part.first]) for part in view.parts]
        apart = sum(map(len, sets)) == len(np.unique(labels))  # no label in two groups of a convolution
        paths = [
            _shared_columns(view, parts, labels, filled, most)
            for parts in ([[part] for part in view.parts] if apart else [view.parts])
        ]
    else:
        paths = [_any_partition(view, labels, prior, most)]
    return spread(count, paths, rule)


def _most(count, scope, rule, view):
    """How many units a path may have to give: `count`, or all where the losses of whole paths are ranked."""
    return view.weight.size if rule == "sorted" and scope != "row" else count


def _wholly(labels, which):
    """The labels, ascending, of which all weights are in the boolean array `which`."""
    return np.setdiff1d(labels[which], labels[~which])


def _free(labels, prior, left):
    """The labels that go at no cost: (wholly prior zeros, wholly dead or prior), each ascending.

    `left` is a boolean array that is True at living weights without a prior zero.
    """
    zeros = _wholly(labels, ~prior)
    return zeros.tolist(), np.setdiff1d(_wholly(labels, ~left), zeros).tolist()


def _paths_in_rows(view, labels, prior, most):
    """A `Path` for every row, where no unit reaches into two rows. Rows of one layout walk together."""
    paths = [None] * len(labels)
    for part in view.parts:
        inverse = part.inverse()
        start = part.minimiser(inverse)
        layouts = {}
        for r, row in enumerate(range(part.first, part.first + part.count)):
            unit = np.full(len(part.living), -1)
            left = prior[row, part.living]
            names, unit[left] = np.unique(labels[row, part.living][left], return_inverse=True)
            layouts.setdefault(unit.tobytes(), (unit, []))[1].append((r, row, names))
        for unit, members in layouts.values():
            batch = start[from_numpy(np.array([r for r, _, _ in members]), start)]
            taken, losses = _walk(part, batch[:, None, :], inverse, unit, most)
            for i, (_, row, names) in enumerate(members):
                left = np.zeros(labels.shape[1], dtype=bool)
                left[part.living] = unit >= 0
                zeros, dead = _free(labels[row], prior[row], left)
                paths[row] = Path(zeros, dead, names[taken[i]], losses[i])
    return paths


def _walk(part, weight, inverse, unit, most):
    """At most `most` removals of units in rows whose columns have the same `unit` (m,), -1 at prior zeros."""
    forced = np.flatnonzero(unit < 0)
    count = int(unit.max(initial=-1)) + 1
    if count == len(unit) - len(forced):  # units of one weight
        forced = np.broadcast_to(forced, (weight.shape[0], len(forced)))
        depth = forced.shape[1] + min(count, most) if min(count, most) else 0
        columns, losses = weight_paths(weight, inverse, part.floor, depth, forced)
        return unit[columns[:, forced.shape[1] :]], losses[:, forced.shape[1] :]
    members = _members(unit, count)
    return unit_paths(weight, inverse, part.floor, members, min(count, most), forced.tolist())


def _filled(view, prior):
    """`prior` with rows that are prior zeros throughout like the first other one of their part: they cost nothing."""
    filled = prior.copy()
    for part in view.parts:
        rows = filled[part.first : part.first + part.count]
        some = rows.any(axis=1)
        if some.any():
            rows[~some] = rows[some][0]
    return filled


def _alike(array, part):
    """Whether all rows of `part` are equal in `array` (rows, columns)."""
    rows = array[part.first : part.first + part.count]
    return bool((rows == rows[:1]).all())


def _shared_columns(view, parts, labels, prior, most):
    """The `Path` of groups of whole input columns of `parts`: all their rows move together."""
    first = [part.first for part in parts]
    labels, prior = labels[first], prior[first]  # (parts, columns)
    left = np.zeros(labels.shape, dtype=bool)
    for p, part in enumerate(parts):
        left[p, part.living] = prior[p, part.living]
    names, numbers = np.unique(labels[left], return_inverse=True)
    units = np.full(labels.shape, -1)
    units[left] = numbers.reshape(-1)
    walks = [
        (part, part.weight[None, :, :], part.inverse(), units[p, part.living]) for p, part in enumerate(parts)
    ]
    if len(parts) == 1:
        taken, losses = _walk(*walks[0], most)
    else:
        systems = [
            (weight, inverse, part.floor, _members(unit, len(names)), np.flatnonzero(unit < 0).tolist())
            for part, weight, inverse, unit in walks
        ]
        taken, losses = joint_paths(systems, min(len(names), most))
    return Path(*_free(labels, prior, left), names[taken[0]], losses[0])


def _members(unit, count):
    """The positions of each of `count` units in `unit` (m,), lists of int."""
    return [np.flatnonzero(unit == u).tolist() for u in range(count)]


def _whole_rows(view, labels, prior):
    """The `Path` of groups of whole rows: the cost of a row is ``1/2 w H w``, and nothing else moves."""
    names, unit = np.unique(labels[:, 0], return_inverse=True)
    own, left = np.zeros(len(labels)), np.zeros(labels.shape, dtype=bool)
    for part in view.parts:
        xp, cut = namespace(part.weight, part.hessian), slice(part.first, part.first + part.count)
        own[cut] = to_numpy(xp.sum(part.weight @ part.hessian * part.weight, axis=1)) / 2
        left[cut, part.living] = prior[cut, part.living]
    zeros, dead = _free(labels, prior, left)
    cost = np.bincount(unit, own, len(names))
    order = np.argsort(cost, kind="stable")
    order = order[~np.isin(names[order], zeros + dead)]
    return Path(zeros, dead, names[order], cost[order])


def _any_partition(view, labels, prior, most):
    """The `Path` of groups that cut across rows."""
    rows, left = [], np.zeros(labels.shape, dtype=bool)
    for part in view.parts:
        part.inverse()  # raises where the Hessian is not positive definite
        for r, row in enumerate(range(part.first, part.first + part.count)):
            left[row, part.living] = prior[row, part.living]
            columns = np.flatnonzero(prior[row, part.living])
            weight = part.weight[r][from_numpy(columns, part.weight)]
            rows.append(Living(part.hessian, columns, labels[row, part.living[columns]], weight))
    zeros, dead = _free(labels, prior, left)
    order, losses = partition_path(rows, min(most, len(np.unique(labels[left]))))
    return Path(zeros, dead, order, losses)
