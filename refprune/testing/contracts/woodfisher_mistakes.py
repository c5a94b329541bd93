"""Known mistakes of `woodfisher`: a right version with places where they go in.

`pruned` takes functions: `fisher` of (gradients, damp) gives F; `scores` of a `Model` what is ranked by size, `finish`
of it and the kept set the weights; `count` of (sparsity, d) how many go.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ...patterns import prune_count
from ..contract import Mistake
from . import fisher_mistakes
from . import step_parts as parts
from .greedy_mistakes import lasting


class Model(NamedTuple):
    """w, F and its inverse C."""

    w: np.ndarray
    F: np.ndarray
    C: np.ndarray


def statistic(m):
    """What is ranked by size: the root of twice the cost."""
    return m.w / np.sqrt(np.diagonal(m.C))


def joint(m, kept):
    """The minimiser with zeros off `kept`."""
    P = ~kept
    return m.w - m.C[:, P] @ np.linalg.solve(m.C[np.ix_(P, P)], m.w[P])


def pruned(weight, gradients, sparsity, damp, *, fisher=fisher_mistakes.fisher, scores=statistic, finish=joint,
           count=prune_count, how="top"):  # fmt: skip
    """(weight, mask), right with the defaults."""
    parts.need_finite(weight)
    F = fisher(gradients, damp)
    m = Model(weight, F, fisher_mistakes.inverse(F))
    gone = count(sparsity, weight.size)
    kept = parts.chosen(scores(m), weight.size - gone, how)
    return np.where(kept, finish(m, kept), 0).astype(weight.dtype), kept


def _summed(m, kept):
    return m.w - m.C[:, ~kept] @ (m.w / np.diagonal(m.C))[~kept]


def _block(m, kept):
    return m.w - m.C[:, ~kept] @ (m.F[np.ix_(~kept, ~kept)] @ m.w[~kept])


def _by_fisher(m, kept):
    P = ~kept
    return m.w - m.F[:, P] @ np.linalg.solve(m.F[np.ix_(P, P)], m.w[P])


def _one_by_one(m, kept):
    """Each of P in turn with the first inverse: what went before moves it, and is moved again."""
    w, C = m.w.copy(), m.C
    for p in np.flatnonzero(~kept):
        w = w - C[:, p] * w[p] / C[p, p]
    return w


def _undamped(m, kept):
    """The update has F without damp: here its least eigenvalue, as in `kappa`."""
    values, vectors = np.linalg.eigh(m.F)
    bare = (vectors * (values - values[0])) @ vectors.T
    out, K = m.w.copy(), np.flatnonzero(kept)
    out[K] += np.linalg.lstsq(bare[np.ix_(K, K)], bare[np.ix_(K, ~kept)] @ m.w[~kept], rcond=1e-10)[0]
    return out


def _half_up(sparsity, d):
    return int(Fraction(str(float(sparsity))) * d + Fraction(1, 2))


def mistakes():
    """All of them."""

    def wrong(**slips):
        return lambda *given: pruned(*given, **slips)

    return (
        *parts.of_choice(lambda how: wrong(how=how), "w / sqrt(C_pp)"),
        *(Mistake(name, text, wrong(fisher=matrix)) for name, (text, matrix) in fisher_mistakes.WRONG.items()
          if name not in ("sum-of-samples", "identity-for-zero")),  # with N F the weights are those of damp / N
        Mistake("magnitude", "the statistic is |w|: the inverse is left out", wrong(scores=lambda m: m.w)),
        Mistake("weight-not-squared", "the statistic is |w| / C_pp",
                wrong(scores=lambda m: m.w / np.diagonal(m.C))),
        Mistake("times-inverse", "the statistic is w^2 C_pp",
                wrong(scores=lambda m: m.w * np.sqrt(np.diagonal(m.C)))),
        Mistake("fisher-diagonal", "the statistic is w^2 F_pp, as of OBD",
                wrong(scores=lambda m: m.w * np.sqrt(np.diagonal(m.F)))),
        Mistake("inverse-alone", "the statistic is 1 / C_pp: the weight is left out",
                wrong(scores=lambda m: 1 / np.diagonal(m.C))),
        Mistake("greedy", "the weights go one at a time, as in OBS", wrong(scores=lambda m: lasting(m.w, m.C))),
        Mistake("no-update", "the kept weights do not move", wrong(finish=lambda m, kept: m.w)),
        Mistake("sum-update", "single updates are added up: only the diagonal of C_PP is inverted",
                wrong(finish=_summed)),
        Mistake("one-by-one", "single updates follow one another, with the first inverse",
                wrong(finish=_one_by_one)),
        Mistake("update-sign", "the update has the wrong sign",
                wrong(finish=lambda m, kept: 2 * m.w - joint(m, kept))),
        Mistake("block-of-fisher", "the update has F_PP for the inverse of C_PP", wrong(finish=_block)),
        Mistake("fisher-for-inverse", "the update has F for its inverse", wrong(finish=_by_fisher)),
        Mistake("update-undamped", "the update has F without damp", wrong(finish=_undamped)),
        Mistake("count-by-float-product", "the count is round(s * d) of a product in floating point",
                wrong(count=lambda s, d: round(s * d))),
        Mistake("count-half-up", "exact halves are rounded up, not to even", wrong(count=_half_up)),
        Mistake("count-cut-off", "the number kept is int((1 - s) d)", wrong(count=lambda s, d: d - int((1 - s) * d))),
    )  # fmt: skip
