"""How the rows of a layer share one budget of removals.

A `Path` holds what one row (or one set of rows that falls together) can give, in its own greedy order.
Prior zeros and dead units go before everything else; the rest is shared by the step losses. Step losses are
not monotone along a path, so the published rules differ:

- ``"heap"``: always the path whose next removal is cheapest;
- ``"sorted"``: as many removals of each path as it has among the smallest of all step losses;
- ``"cumulative"``: the same with the sums of the losses along each path.

Among equals the lowest unit goes first in the heap, the first path in the rankings.
Source: Frantar and Alistarh 2022, section 4 (heap), and its published code (sorted).
"""

import heapq
from dataclasses import dataclass

import numpy as np

RULES = ("heap", "sorted", "cumulative")


@dataclass(frozen=True)
class Path:
    """One row's removals.

    `prior` and `dead` list the units (flat indices or labels) that go first at no cost, `units` the others
    in the order of their removal, `losses` what each of these costs, up to one factor for all paths.
    """

    prior: list
    dead: list
    units: np.ndarray
    losses: np.ndarray


def check_budget(count, held, scope):
    """Raise ValueError when the prior mask prunes more units, `held`, than the pattern asks for."""
    if held > count:
        raise ValueError(f"need at least {held} pruned per {scope}, as many as mask prunes; got {count}")


def spread(count, paths, rule):
    """Remove `count` units in all; returns (order of units, losses), as NumPy arrays."""
    free = sorted(unit for path in paths for unit in path.prior)
    free = free + sorted(unit for path in paths for unit in path.dead)[: count - len(free)]
    left = count - len(free)
    if rule == "heap":
        rows = _heap(left, paths)
    else:
        counts = _ranked(left, [path.losses for path in paths], rule)
        rows = np.repeat(np.arange(len(paths)), counts)
    return _joined(free, rows, paths)


def short_paths(count, paths, lengths, rule):
    """Which of `paths`, known up to some step of their `lengths`, may have to give more of `count` removals.

    The heap takes removals in the order of the running maximum of the losses along their path, "cumulative" in
    that of the running sum. Where the `count` smallest of these are known to be at most t, no path is followed
    beyond its first step above t.
    """
    running = np.cumsum if rule == "cumulative" else np.maximum.accumulate
    keys = [running(path.losses) for path in paths]
    known = np.sort(np.concatenate([np.zeros(0), *keys]))
    limit = known[count - 1] if 0 < count <= len(known) else np.inf
    short = [
        len(key) < m and not (len(key) and key[-1] > limit) for key, m in zip(keys, lengths, strict=True)
    ]
    return np.array(short, dtype=bool) & (count > 0)


def separate(counts, paths):
    """Remove `counts[i]` units from path i; returns (order of units, losses), path after path."""
    order, losses = [], []
    for count, path in zip(counts, paths, strict=True):
        free = path.prior + path.dead[: count - len(path.prior)]
        own, cost = _joined(free, np.zeros(count - len(free), dtype=int), [path])
        order.append(own)
        losses.append(cost)
    return np.concatenate([np.zeros(0, dtype=int), *order]), np.concatenate([np.zeros(0), *losses])


def _joined(free, rows, paths):
    """The free units, then the next unit of `paths[row]` for every entry of `rows`."""
    lengths = [len(path.units) for path in paths]
    start = np.cumsum([0, *lengths])[:-1]
    counts = np.bincount(rows, minlength=len(paths))
    step = np.zeros(len(rows), dtype=int)
    step[np.argsort(rows, kind="stable")] = np.concatenate([np.zeros(0, dtype=int), *map(np.arange, counts)])
    at = start[rows] + step
    units = np.concatenate([np.zeros(0, dtype=int), *(path.units for path in paths)])[at]
    losses = np.concatenate([np.zeros(0), *(path.losses for path in paths)])[at]
    return np.concatenate([np.array(free, dtype=int), units]), np.concatenate([np.zeros(len(free)), losses])


def _heap(count, paths):
    """The path of each of `count` removals: always the one whose next removal is cheapest."""
    rows = []
    heads = [(path.losses[0], path.units[0], row, 0) for row, path in enumerate(paths) if len(path.units)]
    heapq.heapify(heads)
    for _ in range(count):
        _, _, row, k = heads[0]
        rows.append(row)
        path, k = paths[row], k + 1
        if k < len(path.units):
            heapq.heapreplace(heads, (path.losses[k], path.units[k], row, k))
        else:
            heapq.heappop(heads)
    return np.array(rows, dtype=int)


def _ranked(count, losses, rule):
    """The number of removals of each path among the `count` smallest (running sums of) losses."""
    ranks = [np.cumsum(loss) if rule == "cumulative" else loss for loss in losses]
    row = np.repeat(np.arange(len(losses)), [len(loss) for loss in losses])
    order = np.argsort(np.concatenate([np.zeros(0), *ranks]), kind="stable")
    return np.bincount(row[order[:count]], minlength=len(losses))
