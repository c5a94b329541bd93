"""The checks that contracts share. Each takes `(view, answer)` and returns None (pass) or a `Check` without a name."""

import numpy as np

from .answer import Unreadable
from .bounds import BEYOND, SOLVE, dead_bound
from .contract import Check, CheckSpec, failed, not_claimed, passed
from .greedy_check import greedy
from .greedy_view import require_order


def form(view, answer):
    """Shape and dtype of everything that was returned."""
    given = np.asarray(view.problem[view.main])
    if answer.weight is not None:
        if answer.weight.shape != given.shape:
            return failed(f"the answer has shape {answer.weight.shape}; {given.shape} is needed")
        if answer.weight.dtype != given.dtype:
            return failed(f"the answer has dtype {answer.weight.dtype}; that of {view.main} is {given.dtype}")
    if answer.mask is not None:
        if answer.mask.shape != given.shape:
            return failed(f"the mask has shape {answer.mask.shape}; {given.shape} is needed")
        if answer.mask.dtype != bool:
            return failed(f"the mask has dtype {answer.mask.dtype}; bool is needed, True = kept")
    return None


def finite(view, answer):
    """No NaN and no Inf."""
    wrong = ~np.isfinite(answer.weight)
    if wrong.any():
        if (answer.mask is not None or answer.order is not None) and wrong.sum() < wrong.size:
            pruned = view.pruned(answer).reshape(wrong.shape)
            if np.array_equal(wrong, pruned & np.isnan(answer.weight)):
                return failed("every pruned entry is NaN; exactly 0.0 is needed")
        return failed(
            f"{int(wrong.sum())} of {wrong.size} entries are NaN or Inf, the first at {_place(wrong)}"
        )
    return None


def count(view, answer):
    """As many entries are pruned as asked for, in every scope; the pattern holds."""
    if answer.mask is None and answer.weight is not None:
        zeros, asked = int((answer.weight == 0).sum()), None
        fault = view.count_fault(view.pruned(answer))
        if fault is not None:
            text, found, asked = fault
            return failed(f"no mask was given and the zeros do not fit ({zeros} zeros): {text}", found, asked)
        return None
    fault = view.count_fault(view.pruned(answer))
    return failed(*fault) if fault is not None else None


def zeros(view, answer):
    """Every pruned weight is exactly 0.0."""
    pruned = view.pruned(answer).reshape(answer.weight.shape)
    wrong = pruned & (answer.weight != 0)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0])
        kept_size = np.abs(answer.weight[~pruned]).max(initial=0.0)
        tiny = " tiny," if np.abs(answer.weight[wrong]).max() <= 1e-6 * kept_size else ""
        return failed(f"pruned entry {_place(wrong)} is{tiny} {answer.weight[at]:.3g}; exactly 0.0 is needed")
    return None


def kept(view, answer):
    """A one-shot method changes no kept weight; only a subnormal one may be flushed to zero."""
    value = answer.weight.reshape(view.original.shape).astype(float)
    change = np.where(view.pruned(answer), 0.0, np.abs(value - view.original))
    tiny = float(np.finfo(view.dtype).tiny)
    if change.max(initial=0.0) >= tiny:
        at = np.unravel_index(np.argmax(change), change.shape)
        return failed(
            f"kept weight {tuple(map(int, at))} changed from {view.original[at]:.6g} to {value[at]:.6g}",
            float(change[at]),
            tiny,
        )
    return None


def ranked(view, answer):
    """In every scope no pruned score lies above a kept one by more than rounding."""
    pruned = view.pruned(answer)
    worst = (0.0, None)
    for label in range(len(view.counts)):
        at = view.scope == label
        gone, stays = view.scores[at & pruned], view.scores[at & ~pruned]
        if gone.size and stays.size:
            allowed = view.slack * max(abs(gone.max()), abs(stays.min())) + view.floor
            excess = gone.max() - stays.min()
            if excess > worst[0]:
                worst = (excess, (label, gone.max(), stays.min(), allowed))
            if excess > allowed:
                high = np.argwhere(at & pruned & (view.scores == gone.max()))[0]
                low = np.argwhere(at & ~pruned & (view.scores == stays.min()))[0]
                return failed(
                    f"{view.scope_name(label)}: entry {_index(high)} with score {gone.max():.6g} is pruned, "
                    f"entry {_index(low)} with score {stays.min():.6g} is kept",
                    float(excess),
                    float(allowed),
                )
    return passed(float(worst[0]), float(worst[1][3])) if worst[1] else None


def order(view, answer):
    """The reported order names each pruned unit once."""
    if answer.order is None:
        return not_claimed("no order was given")
    try:
        removals = require_order(answer, view)
    except Unreadable as error:
        return failed(str(error))
    if len(set(removals)) < len(removals):
        return failed(f"order names a {view.unit_word} twice: {answer.order.tolist()}")
    pruned = view.unit_sets(view.pruned(answer))
    if set(removals) != {(row, unit) for row, units in enumerate(pruned) for unit in units}:
        count = len(view.unit_names) if len(pruned) > 1 else 0
        names = sorted(
            row * count + view.unit_names[unit].item() for row, units in enumerate(pruned) for unit in units
        )
        return failed(f"order {answer.order.tolist()} is not the pruned set {names}")
    return None


def objective(view, answer):
    """The reported objective is that of the reported weights, undamped."""
    if answer.objective is None:
        return not_claimed("no objective was given")
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    true = view.objective(answer.weight)
    bound = SOLVE * max(view.eps * view.condition, view.store_eps) * view.energy
    error = abs(answer.objective - true)
    if not error <= bound:
        text = f"objective {answer.objective:.6g} is reported; the reported weights have {true:.6g}"
        text += _ratio(answer.objective, true)
        return failed(text, error, bound)
    return passed(error, bound)


def _ratio(said, true):
    return f" ({said / true:.4g} times as large)" if true else ""


def saliencies(view, answer):
    """The reported saliencies are the costs of the reported order; without one, their sum is the objective."""
    if answer.saliencies is None:
        return not_claimed("no saliencies were given")
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    if answer.order is None:
        total, true = float(answer.saliencies.sum()), view.objective(answer.weight)
        bound = SOLVE * max(view.eps * view.condition, view.store_eps) * view.energy
        if not abs(total - true) <= bound:
            text = f"the saliencies add up to {total:.6g}; the objective of the weights is {true:.6g}"
            return failed(text + _ratio(total, true), abs(total - true), bound)
        return passed(abs(total - true), bound)
    if answer.saliencies.shape != answer.order.shape:
        return failed(f"{answer.saliencies.size} saliencies are reported for {answer.order.size} removals")
    removed = [frozenset()] * view.weight.shape[0]
    worst = (0.0, 1.0)
    for step, (number, unit) in enumerate(require_order(answer, view)):
        row = view.rows[number]
        cost = row.costs(removed[number])[0][unit]
        said = float(answer.saliencies[step])
        error = abs(np.sqrt(max(said, 0.0)) - cost)
        if not error <= row.bound or said < -(row.bound**2):
            text = f"step {step} reports saliency {said:.6g}; the increase is {cost**2:.6g}{_ratio(said, cost**2)}"
            return failed(text, error, row.bound)
        if row.bound > 0 and error / row.bound > worst[0] / worst[1]:
            worst = (error, row.bound)
        removed[number] |= {unit}
    return passed(*worst)


def stationary(view, answer):
    """The kept weights are the best ones on their support: `H_KK v_K = H_K: w`."""
    pruned = view.pruned(answer)
    value = answer.weight.reshape(view.weight.shape).astype(float)
    if view.expects == "beyond":
        return _no_worse_than_mask(view, value, pruned)
    dead = ~pruned & ~view.living & (np.abs(value - view.weight) > dead_bound(view))
    if dead.any():
        row, column = np.argwhere(dead)[0]
        text = f"input {column} is dead and kept in row {row}: its weight {view.weight[row, column]:.6g}"
        return failed(f"{text} became {value[row, column]:.6g}")
    best = view.optimal(pruned) if view.expects == "answer" else None
    if best is None:
        return _residual(view, value, pruned)
    scale = np.sqrt(np.diagonal(view.hessian))
    error = np.abs((value - best) * scale)
    bounds = np.zeros(value.shape[0])
    for row in range(value.shape[0]):
        # the largest scaled weight sets the size of rounding; eps of storage counts where it is coarser
        size = max(np.linalg.norm(view.weight[row] * scale), np.linalg.norm(best[row] * scale))
        bounds[row] = (
            SOLVE * max(view.eps * view.condition, view.store_eps) * size + np.finfo(view.dtype).tiny
        )
    row = int(np.argmax(error.max(axis=1) / bounds))
    if error[row].max() > bounds[row]:
        column = int(np.argmax(error[row]))
        found, right = value[row, column], best[row, column]
        text = f"kept weight ({row}, {column}) is {found:.6g}; the best on this support is {right:.6g}"
        return failed(
            text + _same_as_original(view, value, pruned), float(error[row].max()), float(bounds[row])
        )
    return passed(float(error[row].max()), float(bounds[row]))


def _same_as_original(view, value, pruned):
    same = np.where(pruned, True, value == view.weight).all()
    return " (no kept weight was updated)" if same else ""


def _residual(view, value, pruned):
    """Where the optimum is not unique: the gradient on the kept entries is at rounding level."""
    gradient = np.where(pruned, 0.0, (value - view.weight) @ view.hessian)
    size = np.abs(value).max() + np.abs(view.weight).max()
    bound = SOLVE * max(view.eps, view.store_eps) * value.shape[1] * np.abs(view.hessian).max() * size
    error = float(np.abs(gradient).max())
    if error > bound or size > np.abs(view.weight).max() / np.sqrt(view.eps):
        text = f"{view.reason or 'H is singular on the support'}; an error or stationary weights are right"
        return failed(f"{text}, and the gradient on the kept entries is {error:.3g}", error, float(bound))
    return passed(error, float(bound))


def _no_worse_than_mask(view, value, pruned):
    found, alone = view.objective(value), view.objective(np.where(pruned, 0.0, view.weight))
    bound = min(BEYOND * view.eps * view.condition, 1.0) * view.energy
    if found > alone + bound:
        text = f"objective {found:.6g} is above that of the mask without any update, {alone:.6g}"
        return failed(text, found - alone, bound)
    return passed(max(found - alone, 0.0), bound)


def _index(at):
    return "(" + ", ".join(str(int(i)) for i in at) + ")"


def _place(wrong):
    return _index(np.argwhere(wrong)[0])


FORM = CheckSpec("form", "well-formed", "parts, shapes, dtypes as promised; no input is aliased", form)
FINITE = CheckSpec("finite", "well-formed", "no NaN, no Inf", finite)
COUNT = CheckSpec("count", "feasible", "exact counts in every scope; groups and blocks whole", count)
ZEROS = CheckSpec("zeros", "feasible", "every pruned weight is exactly 0.0", zeros)
KEPT = CheckSpec("kept", "feasible", "kept weights are unchanged", kept)
ORDER = CheckSpec("order", "feasible", "a reported order names each removal once", order)
OBJECTIVE = CheckSpec("objective", "truthful", "a reported objective is that of the weights", objective)
SALIENCIES = CheckSpec("saliencies", "truthful", "reported saliencies are the costs of the order", saliencies)
STATIONARY = CheckSpec("stationary", "stationary", "kept weights are the best on their support", stationary)
RANKED = CheckSpec("ranked", "greedy", "no pruned score above a kept one", ranked)
GREEDY_CHECK = CheckSpec("greedy", "greedy", "each removal was the cheapest candidate of its moment", greedy)
REFUSES = CheckSpec("refuses", "well-formed", "bad input is refused with an error")
UNCHANGED = CheckSpec("unchanged", "well-formed", "the inputs are as they were")
ANSWERS = CheckSpec("answers", "well-formed", "an answer comes, in time, without an error")
REPEATABLE = CheckSpec("repeatable", "invariant", "a second call on the same buffers is right too")
INVARIANT = CheckSpec("invariant", "invariant", "the transformed problem is answered rightly too")
BEFORE = (ANSWERS, REFUSES, UNCHANGED)
AFTER = (REPEATABLE, INVARIANT)
