"""Known mistakes of a step of I-OBS: one right step with places where they go in.

`surgeon` takes functions of a `Model`, the living part of the problem: `point` gives theta+, `scores` what is ranked
by size, `finish` the values on the kept set.
"""

from typing import NamedTuple

import numpy as np

from ..contract import Mistake
from . import step_parts as parts
from .greedy_mistakes import lasting


class Model(NamedTuple):
    """The living part: w, g, H, its inverse C, and theta+ once it is known."""

    w: np.ndarray
    g: np.ndarray
    H: np.ndarray
    C: np.ndarray
    v: np.ndarray | None = None


def newton(m):
    """theta+."""
    return m.w - m.C @ m.g


def best(m, kept):
    """The projection in H."""
    S = ~kept
    return m.v - m.C[:, S] @ np.linalg.solve(m.C[np.ix_(S, S)], m.v[S])


def surgeon(weight, gradient, hessian, keep, *, point=newton, scores=None, finish=best, how="top", damp=0.0):
    """One step, right with the defaults."""
    parts.need_finite(weight, gradient, hessian)
    living = np.diagonal(hessian) > 0
    at, dead = np.flatnonzero(living), np.flatnonzero(~living)
    H = hessian[np.ix_(at, at)]
    H = H + damp * np.eye(at.size, dtype=H.dtype) * (np.diagonal(H).mean() if at.size else 0)
    m = Model(weight[at], gradient[at], H, np.linalg.inv(H))
    m = m._replace(v=point(m))
    stays = dead[weight.size - keep :]
    kept = parts.chosen(m.v if scores is None else scores(m), keep - stays.size, how)
    out = np.zeros_like(weight)
    out[at] = np.where(kept, finish(m, kept), 0)
    out[stays] = weight[stays]
    return out


def _block(m, kept):
    return m.v - m.C[:, ~kept] @ (m.H[np.ix_(~kept, ~kept)] @ m.v[~kept])


def _of_weight(m, kept):
    S = ~kept
    return m.v - m.C[:, S] @ np.linalg.solve(m.C[np.ix_(S, S)], m.w[S])


def _summed(m, kept):
    return m.v - m.C[:, ~kept] @ (m.v / np.diagonal(m.C))[~kept]


def _by_hessian(m, kept):
    S = ~kept
    return m.v - m.H[:, S] @ np.linalg.solve(m.H[np.ix_(S, S)], m.v[S])


def _no_gradient(m, kept):
    out = np.zeros_like(m.w)
    out[kept] = np.linalg.solve(m.H[np.ix_(kept, kept)], (m.H @ m.w)[kept])
    return out


def _inside(m, kept):
    """A Newton step of the kept weights alone, as if the pruned ones were 0 before."""
    out = np.zeros_like(m.w)
    out[kept] = m.w[kept] - np.linalg.solve(m.H[np.ix_(kept, kept)], m.g[kept])
    return out


def mistakes(lift):
    """All of them; ``lift(step)`` makes a call of the contract from ``step(weight, gradient, hessian, keep)``."""

    def wrong(**slips):
        return lift(lambda *given: surgeon(*given, **slips))

    return (
        *parts.of_choice(lambda how: wrong(how=how), "the Newton point"),
        Mistake("gradient-sign", "the step goes up: theta+ is w + H^-1 g", wrong(point=lambda m: m.w + m.C @ m.g)),
        Mistake("step-forgotten", "w itself is pruned: the gradient is never used", wrong(point=lambda m: m.w)),
        Mistake("gradient-step", "theta+ is w - g: no inverse", wrong(point=lambda m: m.w - m.g)),
        Mistake("diagonal-step", "the Newton step divides by the diagonal of H",
                wrong(point=lambda m: m.w - m.g / np.diagonal(m.H))),
        Mistake("diagonal-of-inverse", "the Newton step has the diagonal of H^-1 only",
                wrong(point=lambda m: m.w - m.g * np.diagonal(m.C))),
        Mistake("half-gradient", "the gradient is that of half the loss of H",
                wrong(point=lambda m: m.w - m.C @ m.g / 2)),
        Mistake("double-gradient", "the gradient is that of twice the loss of H",
                wrong(point=lambda m: m.w - 2 * m.C @ m.g)),
        Mistake("no-projection", "the kept weights are those of theta+", wrong(finish=lambda m, kept: m.v)),
        Mistake("block-of-hessian", "the projection has H_SS for the inverse of [H^-1]_SS", wrong(finish=_block)),
        Mistake("projects-weight", "the projection has w_S for theta+_S", wrong(finish=_of_weight)),
        Mistake("sum-of-updates", "single updates are added up: only the diagonal of [H^-1]_SS is inverted",
                wrong(finish=_summed)),
        Mistake("update-sign", "the projection has the wrong sign",
                wrong(finish=lambda m, kept: 2 * m.v - best(m, kept))),
        Mistake("hessian-for-inverse", "the projection has H for its inverse", wrong(finish=_by_hessian)),
        Mistake("projection-without-gradient", "the best weights on the support ignore the gradient",
                wrong(finish=_no_gradient)),
        Mistake("newton-inside-support", "the kept weights take a Newton step among themselves",
                wrong(finish=_inside)),
        Mistake("support-of-weight", "the largest |w| are kept: the support never changes",
                wrong(scores=lambda m: m.w)),
        Mistake("support-of-gradient", "the largest |g| are kept", wrong(scores=lambda m: m.g)),
        Mistake("saliency", "theta+^2 / [H^-1]_pp is ranked, not |theta+|",
                wrong(scores=lambda m: m.v**2 / np.diagonal(m.C))),
        Mistake("obd-saliency", "theta+^2 H_pp is ranked", wrong(scores=lambda m: m.v**2 * np.diagonal(m.H))),
        Mistake("greedy", "the support is what OBS leaves of theta+", wrong(scores=lambda m: lasting(m.v, m.C))),
        Mistake("damped", "H is damped by 1 % of its mean diagonal", wrong(damp=0.01)),
    )  # fmt: skip
