"""Greedy problems as the checks read them: OBS and its kin, on one row or on a layer."""

from functools import cached_property

import numpy as np
from scipy.sparse.csgraph import connected_components

from .answer import Unreadable
from .bounds import GREEDY, condition, condition_limit, is_singular, unit_diagonal
from .certificate import RowProblem
from .views import View


class GreedyView(View):
    """OBS and its kin: units of columns, removed one by one, the survivors at their optimum.

    Attributes
    ----------
    weight, hessian : float64, (rows, d) and (d, d).
    unit_of : unit of every column, 0..units-1, the same in every row; `unit_names`: what to call them.
    group, quota : N:M, the group of every unit and how many of it go; None and 0 otherwise.
    budget : number of units pruned over all rows (None for N:M).
    allocation : how the budget is spread over the rows.
    """

    unit_of = group = budget = unit_names = None
    quota = 0
    allocation = "heap"
    unit_word = "weight"

    def set_problem(self, weight, hessian):
        """Store float64 copies."""
        self.weight = np.atleast_2d(np.asarray(weight, dtype=float))
        self.hessian = np.asarray(hessian, dtype=float)
        self.hessian = (self.hessian + self.hessian.T) / 2
        self.living = np.diagonal(self.hessian) > 0

    def set_units(self, labels):
        """Number the units in order of their labels."""
        self.unit_names, self.unit_of = np.unique(np.asarray(labels), return_inverse=True)

    def judge_condition(self):
        """Singular and very ill-conditioned problems are judged by gentler rules."""
        for column in np.flatnonzero(~self.living):
            if np.abs(self.hessian[column]).max() > 0:
                self.expect(
                    "free", f"H has a zero at ({column}, {column}) beside nonzero entries: it is indefinite"
                )
        living = self.hessian[np.ix_(self.living, self.living)]
        if living.size and np.linalg.eigvalsh(unit_diagonal(living)[0])[0] < -living.shape[0] * self.eps:
            self.expect("free", "the living part of H is indefinite")
        elif is_singular(living, self.eps):
            self.expect("free", "the living part of H is singular to rounding")
        elif self.condition > condition_limit(self.eps):
            self.expect(
                "beyond", f"the condition {self.condition:.1e} is past {condition_limit(self.eps):.1e}"
            )

    @cached_property
    def condition(self):
        """Condition of the living part of H at unit diagonal."""
        return condition(self.hessian[np.ix_(self.living, self.living)])

    @cached_property
    def rows(self):
        """One `RowProblem` for each row."""
        # ranking by squares underflows at the root of the smallest normal number
        floor = np.sqrt(self.tiny * np.diagonal(self.hessian).max(initial=0.0))
        rows = []
        for w in self.weight:
            size = self.condition * np.sqrt(max(w @ self.hessian @ w, 0.0))
            bound, own = GREEDY * self.eps * size + floor, 4 * np.finfo(float).eps * size
            rows.append(RowProblem(w, self.hessian, self.unit_of, bound, own, self.group, self.quota))
        return rows

    @cached_property
    def parts(self):
        """(row number, units, `RowProblem` of these units) of the parts of H that do not interact, in every row."""
        units = len(self.unit_names)
        joined = np.zeros((units, units), bool)
        at, other = np.nonzero(self.hessian)
        joined[self.unit_of[at], self.unit_of[other]] = True
        labels = connected_components(joined, directed=False)[1]
        found = []
        for number, row in enumerate(self.rows):
            for label in range(labels.max() + 1):
                members = np.flatnonzero(labels == label)
                columns = np.flatnonzero(np.isin(self.unit_of, members))
                own = np.searchsorted(members, self.unit_of[columns])
                part = RowProblem(
                    row.w[columns], row.hessian[np.ix_(columns, columns)], own, row.bound, row.own
                )
                found.append((number, members, part))
        return found

    def pruned(self, answer):
        """The answer's pruned entries (rows, d); from the order, else chosen among the zeros, when it gave no mask."""
        if answer.mask is not None:
            return ~answer.mask.reshape(self.weight.shape)
        if answer.order is not None:
            rows = np.arange(self.weight.shape[0])[:, None]
            gone = np.isin(self.unit_names[self.unit_of] + rows * len(self.unit_names), answer.order)
            if not self.count_fault(gone):  # else the order is wrong, and its own check says so
                return gone
        return self._among_zeros(answer.weight.reshape(self.weight.shape) == 0)

    def _among_zeros(self, zeros):
        """Units that are all zero; those that were zero before are spared first when there are too many."""
        units = len(self.unit_names)
        whole = np.stack([zeros[:, self.unit_of == u].all(axis=1) for u in range(units)], axis=1)
        was_zero = np.stack(
            [(self.weight[:, self.unit_of == u] == 0).all(axis=1) for u in range(units)], axis=1
        )
        chosen = whole.copy()
        for scope, count in self.unit_scopes():
            surplus = int(whole[scope].sum()) - count
            spare = list(zip(*np.nonzero(scope & whole & was_zero), strict=True))
            for at in spare[::-1][: max(surplus, 0)]:
                chosen[at] = False
        return chosen[:, self.unit_of]

    def unit_scopes(self):
        """(boolean (rows, units), number of units pruned there) of every scope that has a budget of its own."""
        shape = (self.weight.shape[0], len(self.unit_names))
        if self.group is None:
            return [(np.ones(shape, bool), self.budget)]
        scopes = []
        for row in range(shape[0]):
            for label in range(int(self.group.max()) + 1):
                scope = np.zeros(shape, bool)
                scope[row] = self.group == label
                scopes.append((scope, self.quota))
        return scopes

    def unit_sets(self, pruned):
        """The set of pruned units of every row."""
        return [frozenset(np.unique(self.unit_of[row]).tolist()) for row in pruned]

    def count_fault(self, pruned):
        """None, or (explanation, pruned, asked) of the first scope with a wrong count or a unit pruned by half."""
        units = range(len(self.unit_names))
        whole = np.stack([pruned[:, self.unit_of == u].all(axis=1) for u in units], axis=1)
        part = np.stack([pruned[:, self.unit_of == u].any(axis=1) for u in units], axis=1) & ~whole
        if part.any():
            row, unit = np.argwhere(part)[0]
            return f"{self.unit_word} {self.unit_names[unit]} of row {row} is pruned in part only", None, None
        for scope, count in self.unit_scopes():
            found = int(whole[scope].sum())
            if found != count:
                row, unit = np.argwhere(scope)[0]
                where = "in all" if self.group is None else f"in row {row}, group of column {unit}"
                return f"{found} {self.unit_word}s are pruned {where}; {count} is asked for", found, count
        return None

    def optimal(self, pruned):
        """The best weights on the kept entries, row by row; None where a restricted H is singular."""
        best = np.where(pruned, 0.0, self.weight)
        for row, gone in enumerate(pruned):
            kept = ~gone & self.living
            lost = gone & self.living
            if kept.any() and lost.any():
                part = self.hessian[np.ix_(kept, kept)]
                if is_singular(part, np.finfo(float).eps):
                    return None
                pull = self.hessian[np.ix_(kept, lost)] @ self.weight[row, lost]
                scale = np.sqrt(np.diagonal(part))
                best[row, kept] += np.linalg.solve(part / np.outer(scale, scale), pull / scale) / scale
        return best

    def objective(self, weight):
        """``1/2 tr((V - W) H (V - W)^T)`` in float64."""
        change = np.asarray(weight, dtype=float).reshape(self.weight.shape) - self.weight
        return 0.5 * float(np.einsum("ri,ij,rj->", change, self.hessian, change))

    @cached_property
    def energy(self):
        """``tr(W H W^T)``, the scale of the objective."""
        return max(float(np.einsum("ri,ij,rj->", self.weight, self.hessian, self.weight)), 0.0)


def require_order(answer, view):
    """(row, unit) of every removal that `answer.order` names; raises Unreadable for names that are no unit's.

    On a layer the names are flat: row times the units of a row, plus the unit.
    """
    count, rows = len(view.unit_names), view.weight.shape[0]
    row, name = np.divmod(answer.order, count) if rows > 1 else (np.zeros_like(answer.order), answer.order)
    unit = np.clip(np.searchsorted(view.unit_names, name), 0, count - 1)
    wrong = (view.unit_names[unit] != name) | (row < 0) | (row >= rows)
    if wrong.any():
        raise Unreadable(f"order names {answer.order[wrong][0]}, which is no {view.unit_word}")
    return list(zip(row.tolist(), unit.tolist(), strict=True))
