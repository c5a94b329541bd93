"""The greedy rung: replay every row, then the allocation of the budget over the rows."""

from .allocation import heap_misfit, ranked_misfit
from .certificate import replay_order, replay_set
from .contract import failed, undecided
from .greedy_view import require_order
from .verdict import Check


def greedy(view, answer):
    """Each removal was the cheapest candidate of its moment, and the rows share the budget by their rule."""
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    pruned = view.unit_sets(view.pruned(answer))
    units = len(view.unit_names) * len(pruned)
    if sum(map(len, pruned)) in (0, units) and answer.order is None:
        return None  # nothing or everything went: there was no choice
    if answer.order is not None and len(pruned) == 1:
        results = [replay_order(view.rows[0], require_order(answer, view))]
    else:
        results = [replay_set(row, units) for row, units in zip(view.rows, pruned, strict=True)]
    for number, result in enumerate(results):
        if result.outcome == "fail":
            return _broken(view, number, result)
    if len(results) > 1 and view.group is None:
        misfit = _misfit(view, results)
        if misfit is not None:
            return _unfair(view, misfit)
    if any(result.outcome == "undecided" for result in results):
        return undecided("at some step rounding covers every candidate")
    return None


def _misfit(view, results):
    if view.allocation == "heap":
        return heap_misfit(view.rows, results)
    if any(result.outcome == "undecided" and not result.order for result in results):
        return None
    return ranked_misfit(view.rows, results, view.allocation)


def _broken(view, number, result):
    row = view.rows[number]
    where = f"row {number}, " if view.weight.shape[0] > 1 else ""
    if result.broken is None:
        return failed(f"{where}no order of the pruned {view.unit_word}s is greedy")
    step, chosen, cost, cheapest, least = result.broken
    name = view.unit_names
    if cheapest is None or cost != cost:
        return failed(f"{where}step {step} removed {view.unit_word} {name[chosen]}, which may not go then")
    gap = cost - least
    times = gap / row.bound if row.bound > 0 else float("inf")
    text = (
        f"{where}step {step} removed {view.unit_word} {name[chosen]} (saliency {cost**2:.4g}); "
        f"{view.unit_word} {name[cheapest]} cost {least**2:.4g}; the gap is {times:.1g} times what rounding explains"
    )
    return failed(text, gap, row.bound)


def _unfair(view, misfit):
    if misfit.over == misfit.under:
        text = (
            f"row {misfit.over} has not as many of the smallest losses as the {view.allocation} rule gives it"
        )
    else:
        text = (
            f"row {misfit.over} paid {misfit.over_cost**2:.4g} for a removal while row {misfit.under} "
            f"offered one for {misfit.under_cost**2:.4g}"
        )
    gap = abs(misfit.over_cost - misfit.under_cost)
    return failed(f"the {view.allocation} allocation is broken: {text}", gap, misfit.bound)
