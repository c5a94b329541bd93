"""How the rows of a layer share one budget of removals, given the step losses of each row's greedy path.

Three published rules, which differ since step losses are not monotone: `"heap"` always takes the row whose
next removal is cheapest; `"sorted"` ranks all step losses and counts how many of the smallest fall in each
row; `"cumulative"` ranks the sums of each row's losses up to a step. Among equals the lowest row goes first.
"""

from itertools import accumulate


def row_counts(losses, free, count, rule="heap"):
    """The number of removals of each row.

    `losses[row]` lists the losses of the row's whole path, of which the first `free` are dead inputs: these
    go before everything else, row after row.
    """
    rows = range(len(losses))
    if count <= free * len(losses):
        return [min(free, max(0, count - free * row)) for row in rows]
    counts = [free for _ in rows]
    if rule == "heap":
        for _ in range(count - sum(counts)):
            open_rows = [row for row in rows if counts[row] < len(losses[row])]
            cheapest = min(open_rows, key=lambda row: losses[row][counts[row]])
            counts[cheapest] += 1
        return counts
    paths = [path[free:] for path in losses]
    if rule == "cumulative":
        paths = [list(accumulate(path)) for path in paths]
    ranked = sorted(((loss, row) for row in rows for loss in paths[row]), key=lambda pair: pair[0])
    for _, row in ranked[: count - sum(counts)]:
        counts[row] += 1
    return counts
