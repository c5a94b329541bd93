"""The greedy rung: replay the removals, then the spreading of the budget over the rows."""

from .allocation import Misfit, heap_misfit, ranked_misfit
from .certificate import replay_order, replay_set
from .contract import failed, undecided
from .greedy_view import require_order
from .verdict import Check

HIDDEN = "at some step rounding covers every candidate"


def greedy(view, answer):
    """Each removal was the cheapest candidate of its moment, and the rows share the budget by their rule."""
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    pruned = view.unit_sets(view.pruned(answer))
    units = len(view.unit_names) * len(pruned)
    if answer.order is not None:
        return _of_order(view, require_order(answer, view))
    if sum(map(len, pruned)) in (0, units):
        return None  # nothing or everything went: there was no choice
    if view.group is None and view.allocation == "heap":
        return _of_parts(view, pruned)
    return _of_rows(view, [replay_set(row, units) for row, units in zip(view.rows, pruned, strict=True)])


def _of_rows(view, results, ranked=True):
    """Rows replayed whole: N:M, a given order, the rules that rank whole paths."""
    for number, result in enumerate(results):
        if result.outcome == "fail":
            return _broken(view, number, range(len(view.unit_names)), view.rows[number], result)
    if (
        ranked
        and len(results) > 1
        and view.group is None
        and all(result.order or result.low == 0 for result in results)
    ):
        misfit = ranked_misfit(view.rows, results, view.allocation)
        if misfit is not None:
            text = f"row {misfit.over} has not as many of the smallest losses as the rule gives it"
            gap = abs(misfit.over_cost - misfit.under_cost)
            return failed(f"the {view.allocation} allocation is broken: {text}", gap, misfit.bound)
    return _decided(results)


def _of_order(view, removals):
    """A reported order: every row's own part of it, then the rows' shares."""
    orders = [[unit for row, unit in removals if row == number] for number in range(len(view.rows))]
    results = [replay_order(row, order) for row, order in zip(view.rows, orders, strict=True)]
    found = _of_rows(view, results, ranked=view.allocation != "heap")
    if found is not None and found.outcome == "fail":
        return found
    if len(results) > 1 and view.group is None and view.allocation == "heap":
        misfit = _first_misstep(view, removals) or heap_misfit(view.rows, results)
        if misfit is not None:
            return _unfair(view, misfit, misfit.over, misfit.under)
    return found


def _first_misstep(view, removals):
    """The first removal of a layer's sequence that another row could have had cheaper; None when there is none."""
    removed = [frozenset()] * len(view.rows)
    heads = [_head(row, gone) for row, gone in zip(view.rows, removed, strict=True)]
    for number, unit in removals:
        row = view.rows[number]
        cost = row.costs(removed[number])[0][unit]
        other = min(range(len(heads)), key=heads.__getitem__)
        bound = row.bound + view.rows[other].bound
        if cost > heads[other] + bound:
            return Misfit(number, cost, other, heads[other], bound)
        removed[number] |= {unit}
        heads[number] = _head(row, removed[number])
    return None


def _head(row, removed):
    r, _ = row.costs(removed)
    return min((r[unit] for unit in row.candidates(removed)), default=float("inf"))


def _of_parts(view, pruned):
    """One heap over all parts of all rows that do not interact."""
    results = []
    for number, members, part in view.parts:
        own = [i for i, unit in enumerate(members) if int(unit) in pruned[number]]
        result = replay_set(part, own, every=len(view.parts) > 1)
        if result.outcome == "fail":
            return _broken(view, number, members, part, result)
        results.append(result)
    if len(results) > 1:
        misfit = heap_misfit([part for _, _, part in view.parts], results)
        if misfit is not None:
            over, under = view.parts[misfit.over], view.parts[misfit.under]
            return _unfair(view, misfit, over[0], under[0], under[1])
    return _decided(results)


def _decided(results):
    return undecided(HIDDEN) if any(result.outcome == "undecided" for result in results) else None


def _where(view, number):
    return f"row {number}, " if view.weight.shape[0] > 1 else ""


def _broken(view, number, members, row, result):
    where = _where(view, number)
    if result.broken is None:
        return failed(f"{where}no order of the pruned {view.unit_word}s is greedy")
    step, chosen, cost, cheapest, least = result.broken
    removed = f"{where}step {step} removed {view.unit_word} {view.unit_names[members[chosen]]}"
    if cheapest is None or cost != cost:
        return failed(f"{removed}, which may not go then")
    gap = cost - least
    text = (
        f"{removed} (saliency {cost**2:.4g}); {view.unit_word} {view.unit_names[members[cheapest]]} cost "
        f"{least**2:.4g}; the gap is {_times(gap, row.bound)} times what rounding explains"
    )
    return failed(text, gap, row.bound)


def _unfair(view, misfit, over, under, members=()):
    gap = misfit.over_cost - misfit.under_cost
    times = f"the gap is {_times(gap, misfit.bound)} times what rounding explains"
    if over == under:
        text = (
            f"{_where(view, over)}a removal cost {misfit.over_cost**2:.4g} while one among {view.unit_word}s "
            f"{', '.join(str(view.unit_names[unit]) for unit in members[:8])} cost {misfit.under_cost**2:.4g}; {times}"
        )
        return failed(text, gap, misfit.bound)
    text = (
        f"row {over} paid {misfit.over_cost**2:.4g} for a removal while row {under} offered one for "
        f"{misfit.under_cost**2:.4g}; {times}"
    )
    return failed(f"the {view.allocation} allocation is broken: {text}", gap, misfit.bound)


def _times(gap, bound):
    return f"{gap / bound:.1g}" if bound > 0 else "inf"
