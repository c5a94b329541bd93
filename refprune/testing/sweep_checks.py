"""The rungs of SparseGPT: its weights at its own mask, the ranks inside every block, costs that it reports."""

import numpy as np

from .beside import beside
from .bounds import SOLVE, dead_bound
from .contract import Check, CheckSpec, failed, not_claimed, passed, undecided
from .greedy_view import require_order
from .sweep import rounding

OPEN = 128.0  # singular Grams
USELESS = 0.5  # a bound that is so large a share of the weights says nothing


def swept(view, answer):
    """Kept weights are those that the sweep gives to the answer's mask: only one choice is right."""
    pruned = view.pruned(answer)
    value = answer.weight.reshape(view.weight.shape).astype(float)
    dead = ~pruned & ~view.living & (np.abs(value - view.weight) > dead_bound(view))
    if dead.any():
        row, column = np.argwhere(dead)[0]
        text = f"input {column} is dead and kept in row {row}: its weight {view.weight[row, column]:.6g}"
        return failed(f"{text} became {value[row, column]:.6g}")
    if view.expects == "free":
        return _reduced_gradient(view, value, pruned)
    run = view.run(pruned)
    bounds = view.sweep.weight_bounds(run, view.eps, view.store_eps)
    if view.expects == "beyond" and (bounds > USELESS * run.size).any():
        return Check("", "not run", None, None, view.reason)
    bounds = bounds + np.finfo(view.dtype).tiny
    error = np.abs(value - run.weight) * view.sweep.scale * view.living
    row = int(np.argmax(error.max(axis=1) / bounds))
    worst = float(error[row].max())
    if worst > bounds[row]:
        column = int(np.argmax(error[row]))
        text = f"kept weight ({row}, {column}) is {value[row, column]:.6g}; the sweep gives this mask "
        text += f"{run.weight[row, column]:.6g}"
        if np.array_equal(value[~pruned], view.weight[~pruned]):
            text += " (no kept weight was updated)"
        return failed(text, worst, float(bounds[row]))
    return passed(worst, float(bounds[row]))


def _reduced_gradient(view, value, pruned):
    """Singular: a kept weight is stationary once all later ones are at their best: `((V - W) R)_k = 0`, R R^T = H.

    The root of H from its eigenvalues, and R from QR of it, err by sqrt(d eps |H|) where H is singular; sweeps by
    pseudo-inverses took at most 47 times that.
    """
    values, vectors = np.linalg.eigh(view.damped)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    factor = np.linalg.qr(root[:, ::-1], mode="r").T[::-1, ::-1]
    gradient = np.where(pruned, 0.0, (value - view.weight) @ factor)
    size = np.abs(value).max() + np.abs(view.weight).max()
    limit = np.abs(view.weight).max() / np.sqrt(view.eps)
    bound = OPEN * np.sqrt(max(view.eps, view.store_eps) * value.shape[1] * np.abs(view.damped).max()) * size
    error = float(np.abs(gradient).max(initial=0.0))
    if error > bound or size > limit:
        text = f"{view.reason}; an error or the weights of a sweep are right"
        return failed(f"{text}, and the gradient on the kept entries is {error:.3g}", error, float(bound))
    return passed(error, float(bound))


def ranked(view, answer):
    """In every block no pruned score above a kept one; the objective beside those of other methods."""
    return beside(view, answer, _ranks(view, answer))


def _ranks(view, answer):
    """In every block no pruned weight has a score above a kept one, by the weights as the sweep finds them there."""
    if view.expects == "free":
        return Check("", "not run", None, None, view.reason)
    pruned = view.pruned(answer)
    run = view.run(pruned)
    scores = np.abs(run.seen) * view.sweep.root
    bounds = view.sweep.score_bounds(run, view.eps) + view.floor(scores) * (view.sweep.root > 0)
    own = scores * 0 + 16 * rounding(np.finfo(float).eps, view.sweep.kappa) * run.size[:, None]
    worst, hidden = (0.0, 1.0), False
    for scope, count in view.unit_scopes():
        if count in (0, int(scope.sum())):
            continue
        gone, stays = scope & pruned, scope & ~pruned
        high = _first(gone, scores - bounds, np.argmax, -np.inf)
        low = _first(stays, scores + bounds, np.argmin, np.inf)
        gap, allowed = scores[high] - scores[low], bounds[high] + bounds[low]
        if gap > allowed:
            return failed(_broken(view, scope, high, low, scores, gap, allowed), float(gap), float(allowed))
        if gap > 0 and gap * worst[1] > worst[0] * allowed:
            worst = (float(gap), float(allowed))
        least, most = (scores + bounds)[scope].min(), (scores - bounds)[scope].max()
        tie = np.ptp(scores[scope]) <= own[scope].max()
        hidden = hidden or (least >= most and not tie)
    if hidden and view.expects == "beyond":
        return Check("", "not run", None, None, view.reason)
    return undecided("in some block rounding covers every candidate") if hidden else passed(*worst)


def _first(among, values, pick, filler):
    return np.unravel_index(pick(np.where(among, values, filler)), values.shape)


def _broken(view, scope, high, low, scores, gap, allowed):
    times = f"{gap / allowed:.1g}" if allowed > 0 else "inf"
    places = [f"({row}, {column})" for row, column in (high, low)]
    costs = [f"{scores[at] ** 2 / 2:.4g}" for at in (high, low)]
    text = f"{view.scope_words(scope)}: {places[0]} is pruned at a cost of {costs[0]}, {places[1]} is kept "
    return text + f"and would cost {costs[1]}; the gap is {times} times what rounding explains"


def saliencies(view, answer):
    """Reported saliencies are what each pruned weight cost when the sweep came to it."""
    if answer.saliencies is None:
        return not_claimed("no saliencies were given")
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    pruned = view.pruned(answer)
    run = view.run(pruned)
    costs = np.where(pruned, np.abs(run.reached) * view.sweep.root, 0.0) / np.sqrt(2)
    bounds = view.sweep.score_bounds(run, view.eps) + view.floor(costs)
    if answer.order is None:
        said, true = float(answer.saliencies.sum()), float((costs**2).sum())
        allowed = (
            SOLVE * max(rounding(view.eps, view.sweep.kappa), view.store_eps) * float((run.size**2).sum())
        )
        if not abs(said - true) <= allowed:
            text = f"the saliencies add up to {said:.6g}; the sweep paid {true:.6g}{_ratio(said, true)}"
            return failed(text, abs(said - true), allowed)
        return passed(abs(said - true), allowed)
    if answer.saliencies.shape != answer.order.shape:
        return failed(f"{answer.saliencies.size} saliencies are reported for {answer.order.size} removals")
    for place, said in zip(require_order(answer, view), answer.saliencies.tolist(), strict=True):
        error = abs(np.sqrt(max(said, 0.0)) - costs[place])
        if not error <= bounds[place]:
            true = costs[place] ** 2
            text = (
                f"the removal of {place} reports saliency {said:.6g}; it cost {true:.6g}{_ratio(said, true)}"
            )
            return failed(text, float(error), float(bounds[place]))
    return None


def _ratio(said, true):
    return f" ({said / true:.4g} times as large)" if true else ""


SWEPT = CheckSpec("swept", "stationary", "kept weights are those of the sweep at the answer's mask", swept)
RANKED = CheckSpec(
    "ranked", "greedy", "in every block no pruned score above a kept one, by the weights at its start", ranked
)
SALIENCIES = CheckSpec("saliencies", "truthful", "reported saliencies are the costs in the sweep", saliencies)
