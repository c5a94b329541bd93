"""Known mistakes in CoSaMP: one right loop with places where they go in."""

import numpy as np

from ..contract import Mistake
from . import recovery_slips as s
from .step_parts import chosen, top


def cosamp(A, y, keep, start, *, gradient=s.right_gradient, proxy=np.abs, share=2, union=True, early=False,
           values=s.solve, rank=None, prune="top", first="top", after=None, most=60, zero=False, grows=False,
           finish=None):  # fmt: skip
    """CoSaMP; `rank(b, g, w)` says what the cut ranks, `after(A, y, w)` what becomes of the cut weights."""
    w = np.zeros_like(start) if zero else start
    w = np.where(chosen(w, keep, first), w, 0)
    best, past, size = w, [], np.linalg.norm(A, 2)
    while keep and len(past) < most:
        g = gradient(A, y, w)
        if not np.isfinite(g).all() or np.linalg.norm(g) <= 1e-13 * size * np.linalg.norm(y):
            break
        merged = top(proxy(g), min(share * keep, g.size))
        merged |= (w != 0) & union
        merged |= past[-1] & grows if past else False
        if any((merged == other).all() for other in past):
            break
        past.append(merged)
        solved = merged & top(np.where(merged, np.abs(g), -1), keep) if early else merged
        b = values(A, y, w, solved)
        w = np.where(chosen(rank(b, g, w) if rank else b, keep, prune), b, 0)
        w = after(A, y, w) if after else w
        best = w if s.half(A, y, w) <= s.half(A, y, best) else best
    return finish(A, y, best, w, keep) if finish else best


def _refit(A, y, w):
    return s.solve(A, y, w, w != 0)


def _inside(b, g, w):
    return np.where(b != 0, g, 0)


def _of_target(A, y, w):
    return -A.T @ y


def _unit_proxy(A, y, w):
    norm = np.linalg.norm(A, axis=0)
    return s.right_gradient(A, y, w) / np.where(norm > 0, norm, 1)


def _residual(A, y, w, kept):
    """The solve is for the residual, and not added to the weights."""
    return s.solve(A, y - A @ w, w, kept)


def of_cosamp():
    """Those of CoSaMP."""
    slip = s.of_loop(cosamp)
    return (
        slip("top-k", "the k largest gradients are merged, not the 2 k largest", share=1),
        slip("top-3k", "the 3 k largest gradients are merged", share=3),
        slip("no-union", "the support is not merged with the new columns", union=False),
        slip("sets-grow", "the set before is merged too", grows=True),
        slip("no-prune", "nothing is cut after the solve", prune="all"),
        slip("prune-before-solve", "the merged set is cut to k by its gradients, then solved on", early=True),
        slip("prune-by-gradient", "the cut keeps the k largest gradients of the merged set", rank=_inside),
        slip("refit", "the k that stay are solved for again", after=_refit),
        slip("all-then-cut", "the solve is on all columns", values=s.all_columns),
        slip("residual-solved", "the solve is for the residual, and the weights are left out", values=_residual),
        slip("proxy-of-target", "columns are chosen by A^T y in every iteration", gradient=_of_target),
        slip("no-target", "the gradient is A^T A w: the target is missing", gradient=s.without_target),
        slip("signed-proxy", "the 2 k largest gradients are taken with their signs", proxy=np.negative),
        slip("unit-proxy", "gradients are divided by the norms of their columns", gradient=_unit_proxy),
        slip("largest-signed", "the cut keeps the k largest, not the k largest in size", prune="signed"),
        slip("threshold-by-value", "all weights that reach the k-th size stay: more than k at ties", prune="threshold"),
        slip("one-too-many", "k + 1 weights stay", prune="more", first="more"),
        slip("one-too-few", "k - 1 weights stay", prune="fewer", first="fewer"),
        slip("keep-read-as-prune", "`keep` weights go", prune="pruned", first="pruned"),
        slip("matched-filter", "A^T y over the squared norms stands for the solve", values=s.matched),
        slip("ridge", "1 % of the mean diagonal is added in the solve", values=s.ridge),
        slip("three-gradient-steps", "three gradient steps stand for the solve", values=s.three_steps),
        slip("mean-scale", "2 / samples is on one side of the normal equations", values=s.mean_scale),
        slip("one-iteration", "stops after one iteration", most=1),
        slip("design-not-transposed", "a square design is used for its transpose", gradient=s.transposed),
        slip("start-ignored", "starts from 0 whatever the start", zero=True),
        slip("kept-weights-tiny", "what goes is made tiny, not 0", finish=s.tiny),
        Mistake("unit-columns", "columns are brought to norm 1, and the weights not back",
                s.remembered(s.on_unit_columns(cosamp))),
    )  # fmt: skip
