"""Was a layer's budget spread over its rows by the claimed rule? The rows were replayed each by itself before.

`heap`: always take the row whose next removal is cheapest. Let `M_i` be row i's most expensive step so far and
`n_i` its next one. Steps that are cheaper than an earlier one of their row are taken at once, so the merge takes
steps in order of the running maximum. The counts are right when, with `T = max_i M_i`, every row but the one
that reached T has `n_i >= T` (that row may stop in the middle of a run of cheaper steps).
`sorted`: the K smallest of all step costs of all rows' whole paths. `cumulative`: the K smallest of the sums.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Misfit:
    """A row that gave too much and one that gave too little: (row, cost) each, and the allowed error."""

    over: int
    over_cost: float
    under: int
    under_cost: float
    bound: float


def heap_misfit(rows, results):
    """None when an interleaving of the rows exists in which each step is the cheapest head, else a `Misfit`.

    `rows` are `RowProblem`s, `results` their `RowResult`s; the near-ties of a row leave it a range of `M_i`.
    """
    indices = range(len(rows))
    threshold = max((result.low for result in results), default=0.0)
    last = max(indices, key=lambda i: results[i].low, default=None)
    for active in indices:  # which row reached the threshold last
        result = results[active]
        reached = max(threshold, result.low)
        if result.high + rows[active].bound + _bound(rows, last) >= reached and not _short(
            rows, results, active, reached
        ):
            return None
    short = _short(rows, results, last, threshold)
    worst = min(short, key=lambda i: results[i].next)
    return Misfit(last, threshold, worst, results[worst].next, rows[worst].bound + _bound(rows, last))


def _bound(rows, index):
    return rows[index].bound if index is not None else 0.0


def _short(rows, results, active, reached):
    """Rows other than `active` whose next step is cheaper than `reached` by more than rounding explains."""
    allowed = max(row.bound for row in rows)
    return [
        i
        for i, result in enumerate(results)
        if i != active and result.next is not None and result.next + rows[i].bound + allowed < reached
    ]


def whole_path(row, order):
    """Costs `r^2` of removing `order` and then greedily everything else."""
    removed, costs = frozenset(), []
    for unit in order:
        costs.append(row.costs(removed)[0][unit] ** 2)
        removed |= {unit}
    while rest := row.candidates(removed):
        r, _ = row.costs(removed)
        unit = min(rest, key=r.get)
        costs.append(r[unit] ** 2)
        removed |= {unit}
    return costs


def ranked_misfit(rows, results, rule):
    """None when each row gave as many units as it has among the K smallest losses, else a `Misfit`.

    `rule` is ``"sorted"`` (step losses) or ``"cumulative"`` (sums of them along the row).
    """
    paths = [whole_path(row, result.order) for row, result in zip(rows, results, strict=True)]
    if rule == "cumulative":
        paths = [[sum(path[: i + 1]) for i in range(len(path))] for path in paths]
    counts = [len(result.order) for result in results]
    taken = sum(counts)
    if taken == 0:
        return None
    threshold = sorted(cost for path in paths for cost in path)[taken - 1]
    largest = max(row.bound for row in rows)
    for i, (path, count) in enumerate(zip(paths, counts, strict=True)):
        # r errs by the bound, so r^2 by 2 r bound + bound^2; sums by as many times that
        slack = rows[i].bound + largest
        error = (2 * threshold**0.5 * slack + slack**2) * (len(path) if rule == "cumulative" else 1)
        sure = sum(cost < threshold - error for cost in path)
        possible = sum(cost <= threshold + error for cost in path)
        if not sure <= count <= possible:
            cost = sorted(path)[min(count, len(path) - 1)]
            return Misfit(i, cost**0.5, i, threshold**0.5, slack)
    return None
