"""The greedy path over groups that cut across rows in any way.

The rows of a layer share the Hessian but not the living set, and a group that reaches into several rows
couples them. Removing it touches only those rows, so a step costs one fresh inverse for each row it
touches, and no row keeps one: memory is that of a single inverse. It is slow, and meant for small layers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from refprune.arrays import diagonal, from_numpy, inv, solve, to_numpy


@dataclass(frozen=True)
class Living:
    """What is left of a row: `columns` (m,) of the shared `hessian` (d, d), their `labels` (both NumPy int
    arrays) and their `weight` (m,), which minimises the row's problem on them."""

    hessian: Any
    columns: np.ndarray
    labels: np.ndarray
    weight: Any

    def inverse(self):
        """The inverse Hessian over the living columns."""
        A = from_numpy(self.columns, self.weight)
        block = self.hessian[A[:, None], A]
        return inv(block) if len(self.columns) else block


def partition_path(rows, depth):
    """Remove `depth` groups from a list of `Living` rows, the cheapest first (of equals the lowest label).

    Returns
    -------
    labels, losses : NumPy arrays, shape (depth,)
    """
    rows = list(rows)
    costs = [_costs(row, row.inverse()) for row in rows]  # of each label in each row
    order, losses = [], []
    for _ in range(depth):
        total = {}
        for part in costs:
            for label, cost in part.items():
                total[label] = total.get(label, 0.0) + cost
        label = min(sorted(total), key=total.get)
        order.append(label)
        losses.append(total[label])
        for i, row in enumerate(rows):
            if label in costs[i]:
                rows[i], inverse = _without(label, row)
                costs[i] = _costs(rows[i], inverse)
    return np.array(order, dtype=int), np.array(losses)


def _costs(row, inverse):
    """The part of the row in the cost of each label, ``1/2 w_B^T (G_BB)^-1 w_B``."""
    labels, first, sizes = np.unique(row.labels, return_index=True, return_counts=True)
    alone = from_numpy(first[sizes == 1], row.weight)  # groups of one column in this row
    single = row.weight[alone] ** 2 / diagonal(inverse)[alone] / 2
    costs = dict(zip(labels[sizes == 1].tolist(), to_numpy(single).tolist(), strict=True))
    for label in labels[sizes > 1].tolist():
        B = from_numpy(np.flatnonzero(row.labels == label), row.weight)
        w = row.weight[B]
        costs[label] = max(float(w @ solve(inverse[B[:, None], B], w)) / 2, 0.0)
    return costs


def _without(label, row):
    """The row without the columns of `label`, and its inverse."""
    stays = row.labels != label
    B, A = (from_numpy(np.flatnonzero(which), row.weight) for which in (~stays, stays))
    inverse = row.inverse()
    pull = solve(inverse[B[:, None], B], inverse[B])  # (b, m)  (G_BB)^-1 G_B:
    weight = (row.weight - row.weight[B] @ pull)[A]
    left = Living(row.hessian, row.columns[stays], row.labels[stays], weight)
    return left, (inverse - inverse[:, B] @ pull)[A[:, None], A]
