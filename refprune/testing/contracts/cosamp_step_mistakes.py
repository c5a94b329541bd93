"""Known mistakes of an iteration of CoSaMP: one right iteration with places where they go in.

`iteration` takes functions of a `State`: `scores` ranks columns by size, `merged` makes the set of the solve, `solved`
the values on it, `final` what is ranked and handed back.
"""

from typing import NamedTuple

import numpy as np

from ..contract import Mistake
from . import step_parts as parts


class State(NamedTuple):
    """A, y, k, w, the gradient of descent `A^T (y - A w)`, and the chosen columns."""

    A: np.ndarray
    y: np.ndarray
    k: int
    w: np.ndarray
    g: np.ndarray
    chosen: np.ndarray | None = None


def solve(A, y, at):
    """Least squares on the columns `at` (a mask), zeros elsewhere."""
    out = np.zeros(A.shape[1], A.dtype)
    if at.any():
        out[at] = np.linalg.lstsq(A[:, at], y, rcond=None)[0]
    return out


def _right(s, merged):
    return solve(s.A, s.y, merged)


def iteration(A, y, keep, w, *, scores=None, times=2, merged=None, solved=_right, final=None, how="top"):
    """One iteration, right with the defaults."""
    parts.need_finite(A, y, w)
    s = State(A, y, keep, w, A.T @ (y - A @ w))
    ranked = s.g if scores is None else scores(s)
    s = s._replace(chosen=parts.chosen(ranked, min(times * keep, w.size)))
    b = solved(s, s.chosen | (w != 0) if merged is None else merged(s))
    out = np.where(parts.chosen(b, keep, how), b, 0) if final is None else final(s, b)
    return out.astype(w.dtype)


def _with(**slips):
    return lambda *given: iteration(*given, **slips)


def _top(v, keep):
    return np.where(parts.chosen(v, keep), v, 0)


def _outside(s):
    """The columns of the support compete no more: 2 k others are taken."""
    fresh = parts.top(np.where(s.w == 0, np.abs(s.g), -1), min(2 * s.k, s.w.size))
    return fresh | (s.w != 0)


def _refitted(s, b):
    return solve(s.A, s.y, _top(b, s.k) != 0)


def _by_gradient(s, b):
    return np.where(parts.chosen(np.where(b != 0, s.g, 0), s.k), b, 0)


def _support_kept(s, b):
    """The old support stays, filled up by the gradient."""
    above = np.abs(s.w) + np.abs(s.g).max(initial=0)
    return np.where(parts.chosen(np.where(s.w != 0, above, np.abs(s.g)), s.k), b, 0)


def _pruned_first(s, merged):
    """The merged set is cut to k columns before the solve."""
    size = np.where(merged, np.abs(s.w + s.g), -1)
    return solve(s.A, s.y, parts.top(size, s.k))


def _arrival(s, merged):
    """Columns are listed as they came, the support last, and the values put back as if they were sorted."""
    listed = [*np.flatnonzero(s.chosen), *np.flatnonzero(merged & ~s.chosen)]
    out = np.zeros(s.w.size, s.A.dtype)
    if listed:
        out[np.sort(listed)] = np.linalg.lstsq(s.A[:, listed], s.y, rcond=None)[0]
    return out


def _ridge(s, merged):
    at, out = np.flatnonzero(merged), np.zeros(s.w.size, s.A.dtype)
    if at.size:
        gram = s.A[:, at].T @ s.A[:, at]
        gram = gram + 0.01 * np.eye(at.size, dtype=gram.dtype) * np.diagonal(gram).mean()
        out[at] = np.linalg.solve(gram, s.A[:, at].T @ s.y)
    return out


def _diagonal(s, merged):
    """Each column for itself."""
    norms = (s.A * s.A).sum(axis=0)
    return np.where(merged & (norms > 0), s.A.T @ s.y / np.where(norms > 0, norms, 1), 0)


def _correlations(s):
    norms = np.linalg.norm(s.A, axis=0)
    return s.g / np.where(norms > 0, norms, 1)


MISTAKES = (
    *parts.of_choice(lambda how: _with(how=how), "the solution"),
    Mistake("top-k-columns", "the gradient adds k columns, not 2 k", _with(times=1)),
    Mistake("top-3k-columns", "the gradient adds 3 k columns, not 2 k", _with(times=3)),
    Mistake("no-union", "the support of w is not merged", _with(merged=lambda s: s.chosen)),
    Mistake("support-only", "the solve runs on the support of w alone", _with(merged=lambda s: s.w != 0)),
    Mistake("outside-the-support", "the 2 k columns are taken from outside the support", _with(merged=_outside)),
    Mistake("signed-gradient", "the largest signed entries of the gradient are taken",
            _with(scores=lambda s: s.g - s.g.min(initial=0))),
    Mistake("ascending-gradient", "the smallest entries of the gradient are taken",
            _with(scores=lambda s: np.abs(s.g).max(initial=0) - np.abs(s.g))),
    Mistake("gradient-at-zero", "columns are ranked by `A^T y`: w is ignored", _with(scores=lambda s: s.A.T @ s.y)),
    Mistake("normalised-columns", "columns are ranked by their correlation with the residual",
            _with(scores=_correlations)),
    Mistake("step-for-gradient", "columns are ranked by |w + g|", _with(scores=lambda s: s.w + s.g)),
    Mistake("all-columns", "the solve runs on all columns", _with(merged=lambda s: np.ones(s.w.size, bool))),
    Mistake("solves-for-residual", "the solve fits the residual, and w is not added again",
            _with(solved=lambda s, merged: solve(s.A, s.y - s.A @ s.w, merged))),
    Mistake("no-solve", "the values are those of a gradient step",
            _with(solved=lambda s, merged: np.where(merged, s.w + s.g, 0))),
    Mistake("diagonal-solve", "each column is fitted for itself", _with(solved=_diagonal)),
    Mistake("ridge", "the solve is damped by 1 % of the mean diagonal", _with(solved=_ridge)),
    Mistake("values-in-another-order", "values are put back in another order than the columns were listed in",
            _with(solved=_arrival)),
    Mistake("pruned-before-solve", "the merged set is cut to k columns before the solve", _with(solved=_pruned_first)),
    Mistake("not-pruned", "the whole solution is returned", _with(final=lambda s, b: b)),
    Mistake("pruned-by-gradient", "the k columns with the largest gradient stay", _with(final=_by_gradient)),
    Mistake("support-kept", "the old support stays, filled up by the gradient", _with(final=_support_kept)),
    Mistake("refitted", "the kept weights are solved for again", _with(final=_refitted)),
    Mistake("sizes", "the sizes |b| are returned", _with(final=lambda s, b: np.abs(_top(b, s.k)))),
    Mistake("added-to-weight", "the cut solution is added to w", _with(final=lambda s, b: s.w + _top(b, s.k))),
)  # fmt: skip
