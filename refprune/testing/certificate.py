"""The greedy certificate: was every removal the cheapest candidate of its moment?

One row at a time. The state is the set of living units; the cost of unit B there is
`r_B = sqrt(1/2 v_B^T ([A^-1]_BB)^-1 v_B)` with `A = H[living, living]` and `v` the best weights on the
living set, both computed afresh from H and the original w, never by downdates. A removal passes when
`r(chosen) <= min r + bound`. Without an order, orders of the answer's pruned units are searched, depth first
over near-ties inside the pruned set; sets that were visited are remembered. Near-ties are not branched on where their
order cannot matter: a unit that interacts with no other (dead inputs, rows of H that are zero off the diagonal)
goes at once, and one weight that is 0 stands for all of them. Parts of a row that do not interact at all are
replayed each by itself and merged like the rows of a layer (`refprune.testing.allocation`).
"""

from dataclasses import dataclass, field

import numpy as np

from .bounds import unit_diagonal

NODES = 4000  # states that one row may visit before it is undecided


@dataclass
class RowProblem:
    """One row: weights `w` (d,), `H` (d, d), the unit of every column, and what may be removed.

    `bound` is the error of a cost that the judged arithmetic explains, `own` the error of the judge's own.
    `group` and `quota` (N:M): unit u may go while its group has given fewer than `quota` units.
    """

    w: np.ndarray
    hessian: np.ndarray
    unit_of: np.ndarray
    bound: float
    own: float
    group: np.ndarray | None = None
    quota: int = 0
    _costs: dict = field(default_factory=dict)

    def __post_init__(self):
        self.units = int(self.unit_of.max()) + 1 if self.unit_of.size else 0
        self.living_columns = np.diagonal(self.hessian) > 0

    def costs(self, removed: frozenset):
        """`r` of every living unit after `removed` went, and the units that interact with no other."""
        if removed not in self._costs:
            self._costs[removed] = self._compute(removed)
        return self._costs[removed]

    def _compute(self, removed):
        gone = np.isin(self.unit_of, list(removed)) if removed else np.zeros(self.w.shape, bool)
        columns = np.flatnonzero(self.living_columns & ~gone)
        living = [u for u in range(self.units) if u not in removed]
        r = dict.fromkeys(living, 0.0)  # a unit of dead inputs costs nothing
        label = self.unit_of[columns]
        alone = set(living) - set(label.tolist())
        if columns.size == 0:
            return r, alone
        unit, scale = unit_diagonal(self.hessian[np.ix_(columns, columns)])
        inverse = np.linalg.inv(unit)
        lost = np.flatnonzero(self.living_columns & gone)
        pull = self.hessian[np.ix_(columns, lost)] @ self.w[lost] / scale
        v = self.w[columns] * scale + inverse @ pull  # best weights on the living set, times scale
        if np.unique(label).size == label.size:  # every unit is one column
            found = np.abs(v) / np.sqrt(2 * inverse.diagonal())
            r.update(zip(label.tolist(), found.tolist(), strict=True))
        else:
            for u in np.unique(label):
                at = label == u
                cost = 0.5 * v[at] @ np.linalg.solve(inverse[np.ix_(at, at)], v[at])
                r[int(u)] = float(np.sqrt(max(cost, 0.0)))
        joined = (unit != 0) & (label[:, None] != label[None, :])
        alone |= {int(u) for u in np.unique(label) if not joined[label == u].any()}
        return r, alone

    def candidates(self, removed: frozenset):
        """Living units that may still go."""
        if self.group is None:
            return [u for u in range(self.units) if u not in removed]
        given = (
            np.bincount(self.group[list(removed)], minlength=int(self.group.max()) + 1) if removed else None
        )
        return [
            u
            for u in range(self.units)
            if u not in removed and (given is None or given[self.group[u]] < self.quota) and self.quota > 0
        ]

    def decided(self, costs, chosen_set):
        """False when the bound covers every candidate although they are not equal: rounding hides the choice."""
        spread = max(costs.values()) - min(costs.values())
        outside = any(u not in chosen_set for u in costs)
        true_tie = spread <= self.own
        return len(costs) < 2 or true_tie or not outside or spread > self.bound


@dataclass(frozen=True)
class RowResult:
    """What the replay of one row found.

    `low` and `high`: the least and the largest "most expensive step" over the orders that pass; `next`: the
    cheapest cost after the last removal (None when nothing may go); `broken`: (step, chosen, its cost,
    cheapest, its cost) of the deepest step that no order gets past; `order`: an order that passes.
    """

    outcome: str
    low: float = 0.0
    high: float = 0.0
    next: float | None = None
    broken: tuple | None = None
    order: tuple = ()


def replay_order(row: RowProblem, order) -> RowResult:
    """Check a given order of removals, step by step."""
    removed, most, decided = frozenset(), 0.0, True
    for step, chosen in enumerate(order):
        r, _ = row.costs(removed)
        costs = {u: r[u] for u in row.candidates(removed)}
        cheapest = min(costs, key=costs.get) if costs else None
        if chosen not in costs or costs[chosen] > costs[cheapest] + row.bound:
            cost = costs.get(chosen, float("nan"))
            return RowResult("fail", broken=(step, chosen, cost, cheapest, costs.get(cheapest, 0.0)))
        decided = decided and row.decided(costs, {chosen})
        most = max(most, costs[chosen])
        removed = removed | {chosen}
    return RowResult("pass" if decided else "undecided", most, most, _next(row, removed), order=tuple(order))


def _next(row, removed):
    r, _ = row.costs(removed)
    rest = [r[u] for u in row.candidates(removed)]
    return min(rest) if rest else None


def replay_set(row: RowProblem, pruned, every=False) -> RowResult:
    """Search an order of the units `pruned` in which every removal is a cheapest candidate.

    The first order found ends the search, unless `every` asks for the range of `low` and `high` over all of them.
    """
    pruned = frozenset(pruned)
    search = _Search(row, pruned, every)
    best = search.best(frozenset())
    if search.nodes > NODES and best is None:
        return RowResult("undecided", next=_next(row, pruned))
    if best is None:
        return RowResult("fail", broken=search.deepest)
    low, high, order, decided = best
    return RowResult("pass" if decided else "undecided", low, high, _next(row, pruned), order=order)


class _Search:
    """Depth-first search over near-ties, with the sets that were visited remembered."""

    def __init__(self, row, pruned, every=False):
        self.row, self.pruned, self.every = row, pruned, every
        self.seen, self.nodes, self.deepest = {}, 0, None

    def best(self, removed):
        """(least most-expensive step, largest one, an order, decided) from `removed` on; None when stuck."""
        chain = []  # forced steps: walked in a loop, so that the recursion is as deep as the branching
        while True:
            if removed in self.seen:
                found = self.seen[removed]
                break
            if removed == self.pruned:
                found = (0.0, 0.0, (), True)
                break
            self.nodes += 1
            options, costs = self._options(removed)
            if not options or self.nodes > NODES:
                found = None
                break
            if len(options) > 1:
                found = self._branch(removed, options, costs)
                break
            chain.append((removed, options[0], costs[options[0]], self.row.decided(costs, self.pruned)))
            removed = removed | {options[0]}
        self.seen[removed] = found
        for before, unit, cost, decided in reversed(chain):
            if found is not None:
                low, high, order, all_decided = found
                found = (max(low, cost), max(high, cost), (unit, *order), all_decided and decided)
            self.seen[before] = found
        return found

    def _branch(self, removed, options, costs):
        decided = self.row.decided(costs, self.pruned)
        found = []
        for unit in options:
            rest = self.best(removed | {unit})
            if rest is not None:
                low, high, order, rest_decided = rest
                cost = costs[unit]
                found.append((max(low, cost), max(high, cost), (unit, *order), decided and rest_decided))
                if not self.every or self.nodes > NODES:
                    break
        if not found:
            return None
        first = min(found, key=lambda item: item[0])
        return first[0], max(item[1] for item in found), first[2], any(item[3] for item in found)

    def _options(self, removed):
        """The pruned units that are near-cheapest here, less those whose order among them cannot matter."""
        r, alone = self.row.costs(removed)
        costs = {u: r[u] for u in self.row.candidates(removed)}
        if not costs:
            return [], costs
        cheapest = min(costs, key=costs.get)
        near = [u for u in costs if u in self.pruned and costs[u] <= costs[cheapest] + self.row.bound]
        if not near:
            inside = [u for u in costs if u in self.pruned]
            if inside and (self.deepest is None or len(removed) >= self.deepest[0]):
                chosen = min(inside, key=costs.get)
                self.deepest = (len(removed), chosen, costs[chosen], cheapest, costs[cheapest])
            return [], costs
        lone = [u for u in near if u in alone]
        if lone:  # removing one that interacts with none changes no cost: it may as well go now
            return lone[:1], costs
        free = [u for u in near if costs[u] <= self.row.own]  # weights that are 0: one stands for all of them
        return free[:1] + sorted((u for u in near if u not in free), key=costs.get), costs
