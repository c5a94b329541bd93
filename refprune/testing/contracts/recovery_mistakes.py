"""Known mistakes in IHT and HTP: one right loop each, with places where they go in."""

import numpy as np

from ..contract import Mistake
from . import recovery_slips as s
from .step_parts import chosen

MOST = 400  # iterations of a wrong IHT


def _frozen(w, g, moved):
    return np.where(w != 0, np.abs(w) + np.abs(g).max() + 1, np.abs(g))


def _of_both(loop):
    """Those that IHT and HTP share."""
    slip = s.of_loop(loop)
    return (
        slip("threshold-by-value", "all weights that reach the k-th size stay: more than k at ties",
             choose="threshold"),
        slip("above-the-threshold", "only what exceeds the next size stays: fewer than k at ties", choose="strict"),
        slip("largest-signed", "the k largest stay, not the k largest in size", choose="signed"),
        slip("one-too-many", "k + 1 weights stay", choose="more", first="more"),
        slip("one-too-few", "k - 1 weights stay", choose="fewer", first="fewer"),
        slip("keep-read-as-prune", "`keep` weights go", choose="pruned", first="pruned"),
        slip("gradient-ranked", "the k largest gradients stay, whatever the weights", rank=lambda w, g, moved: g),
        slip("support-frozen", "the first support never changes", rank=_frozen),
        slip("unit-step", "the step is 1 for every design", step=s.unit),
        slip("no-target", "the gradient is A^T A w: the target is missing", gradient=s.without_target),
        slip("design-not-transposed", "a square design is used for its transpose", gradient=s.transposed),
        slip("start-ignored", "starts from 0 whatever the start", zero=True),
        slip("kept-weights-tiny", "what goes is made tiny, not 0", finish=s.tiny),
        Mistake("unit-columns", "columns are brought to norm 1, and the weights not back",
                s.remembered(s.on_unit_columns(loop))),
    )  # fmt: skip


def iht(A, y, keep, start, *, gradient=s.right_gradient, step=s.SAFE, choose="top", first="top", most=MOST, sign=1.0,
        rank=None, move=None, ease=1.0, finish=None, zero=False):  # fmt: skip
    """IHT: `rank(w, g, moved)` says what is ranked, `move(moved, mask)` what becomes of it."""
    w = np.zeros_like(start) if zero else start
    mask = chosen(w, keep, first)
    w = np.where(mask, w, 0)
    before, size = w, float(np.linalg.norm(A, 2))
    goal = 1e-7 * np.linalg.norm(A.T @ y)
    for _ in range(most if keep else 0):
        g = gradient(A, y, w)
        if not np.isfinite(g).all() or np.abs(g).max() > 1e100:
            break
        kept = s.support(w, g, keep)
        moved = w - sign * step(A, g, kept, size) * g
        mask = chosen(rank(w, g, moved) if rank else moved, keep, choose)
        if np.linalg.norm(g[kept]) <= ease * goal and not (mask & ~kept).any():
            break
        before, w = w, move(moved, mask) if move else np.where(mask, moved, 0)
    return finish(A, y, w, before, keep) if finish else w


def _soft(moved, mask):
    level = np.abs(moved[~mask]).max(initial=0.0)
    return np.sign(moved) * np.maximum(np.abs(moved) - level, 0)


def _unthresholded(A, y, w, before, keep):
    return w - s.right_gradient(A, y, w) / max(np.linalg.norm(A, 2) ** 2, 1e-300)


def of_iht():
    """Those of IHT."""
    slip = s.of_loop(iht)
    return (
        *_of_both(iht),
        slip("not-projected", "nothing is ever cut", choose="all"),
        slip("cut-at-the-end", "the weights are cut once, after plain gradient descent", choose="all",
             finish=s.cut),
        slip("step-after-the-cut", "the answer is a gradient step beyond the last cut", finish=_unthresholded),
        slip("soft-threshold", "what stays is shrunk by the next size", move=_soft),
        slip("one-step", "stops after one step", most=1),
        slip("stops-early", "stops at a gradient of 2 % of |A^T y|", ease=2e5),
        slip("step-too-long", "the step is 3 / L", step=s.TOO_LONG),
        slip("step-by-norm", "the step is 1 / |A|, not 1 / |A|^2", step=s.ROOT),
        slip("mean-gradient", "the gradient is that of a mean of squares, 2 / samples of it, beside L of half a sum",
             gradient=s.mean_gradient),
        slip("uphill", "the step goes up the gradient", sign=-1.0),
    )  # fmt: skip


def htp(A, y, keep, start, *, gradient=s.right_gradient, step=s.SAFE, choose="top", first="top", most=60,
        rank=None, values=s.solve, zero=False, stale=False, early=False, finish=None):  # fmt: skip
    """HTP; `values(A, y, w, kept)` for the solve, `stale` for one on the support before. Ends with the best point."""
    w = np.zeros_like(start) if zero else start
    old = chosen(w, keep, first)
    w = np.where(old, w, 0)
    best, past, size = w, [], float(np.linalg.norm(A, 2))
    while keep and len(past) < most:
        g = gradient(A, y, w)
        if not np.isfinite(g).all():
            break
        moved = w - step(A, g, None, size) * g
        mask = chosen(rank(w, g, moved) if rank else moved, keep, choose)
        if any((mask == other).all() for other in past):
            break
        most = 0 if early and (mask == old).all() else most
        w = np.where(mask, values(A, y, np.where(mask, moved, 0), old if stale else mask), 0)
        past.append(mask)
        old, best = mask, w if s.half(A, y, w) <= s.half(A, y, best) else best
    return finish(A, y, best, w, keep) if finish else best


def _unsolved(A, y, w, kept):
    return w


def _both_then_cut(A, y, best, last, keep):
    g = s.right_gradient(A, y, best)
    both = s.support(best, g, min(2 * keep, best.size, A.shape[0]))
    return s.cut(A, y, s.solve(A, y, best, both), None, keep)


def of_htp():
    """Those of HTP."""
    slip = s.of_loop(htp)
    return (
        *_of_both(htp),
        slip("no-solve", "the weights are those of the gradient step", values=_unsolved),
        slip("three-gradient-steps", "three gradient steps stand for the solve", values=s.three_steps),
        slip("all-then-cut", "the solve is on all columns, and cut then", values=s.all_columns),
        slip("both-then-cut", "the last solve is on 2 k columns, and cut then", finish=_both_then_cut),
        slip("stale-support", "the solve is on the support before", stale=True),
        slip("matched-filter", "A^T y over the squared norms stands for the solve", values=s.matched),
        slip("ridge", "1 % of the mean diagonal is added in the solve", values=s.ridge),
        slip("mean-scale", "2 / samples is on one side of the normal equations", values=s.mean_scale),
        slip("one-iteration", "stops after one support", most=1),
        slip("support-of-the-start", "the support of the start counts as one that returned: it stops there, solved on",
             early=True),
    )  # fmt: skip
