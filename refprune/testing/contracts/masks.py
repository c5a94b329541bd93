"""`topk-mask` and `nm-mask`: the masks alone, from scores."""

import numpy as np

from refprune import definitions

from .. import checks, make, transforms
from ..contract import Contract, Mistake
from ..views import ScoreView
from . import form_mistakes as form
from . import group_rules

CHECKS = (*checks.BEFORE, checks.FORM, checks.COUNT, checks.RANKED, *checks.AFTER)
FLAGS = (
    "Tie", "NearTie", "WiderThanBlock", "ManyRows",
    "K0", "K1", "KAll", "OneRow", "OneColumn", "Square", "Subnormal", "NonContiguous", "ReadOnly",
    "Transposed", "NaN", "Inf", "Empty",
)  # fmt: skip


class MaskView(ScoreView):
    """Scores (rows, columns); the comparison is exact, nothing is computed."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "scores")
        shape = np.shape(problem["scores"])
        if len(shape) not in (1, 2):
            self.expect("error", f"scores has shape {shape}; 1 or 2 dimensions are needed")
        if self.need_arrays(scores=(None,) * len(shape)):
            self.scores = np.atleast_2d(np.asarray(problem["scores"], dtype=float))
            self.floor = float(np.finfo(self.dtype).tiny)  # subnormal scores may be flushed to zero
            self.set_scopes()


class TopkView(MaskView):
    """One budget over all scores."""

    def set_scopes(self):
        """`keep` of all stay."""
        keep = self.need_count("keep", 0, self.scores.size)
        if keep is not None:
            self.scope_whole(self.scores.size - keep)


class NMView(MaskView):
    """`n` of every `m` consecutive scores of a row."""

    def set_scopes(self):
        """`m - n` of every group go."""
        pattern = self.need_nm(self.scores.shape[1])
        if pattern is not None:
            self.scope_groups(*pattern)


def _scores(flag, shape, rng, dtype):
    s = make.weights(rng, *shape, flag)
    if flag in ("", "OneRow", "Square", "Transposed") and rng.random() < 0.5:
        s = np.round(2 * s) / 2  # ties everywhere, as in quantised scores
    if flag == "NearTie":  # of positive scores, for the smallest go
        s = make.near_tie(rng, np.abs(s), np.ones(shape[1]), dtype)
    s = make.layout(rng, make.spoil(rng, s.astype(dtype), flag), flag)
    return s


def _build_topk(flag, shape, rng, dtype):
    scores = _scores(flag, shape, rng, dtype)
    if flag == "WrongCount":
        return {"scores": scores, "keep": int(rng.choice([-1, scores.size + 1]))}
    return {"scores": scores, "keep": make.keep_count(rng, shape[0] * shape[1], flag)}


def _build_nm(flag, shape, rng, dtype):
    n, m = make.nm(rng, shape[1], flag)
    if flag == "WrongCount":
        n = int(rng.choice([-1, m + 1]))
    return {"scores": _scores(flag, shape, rng, dtype), "n": n, "m": m}


def _above(scores, keep, strict):
    flat = np.sort(scores, axis=None)[::-1]
    cut = flat[keep - 1] if keep else np.inf
    return scores > cut if strict else scores >= cut


def _smallest(scores, keep):
    return definitions.topk_mask(-scores, keep)


def _per_row(scores, keep):
    share = round(keep / scores.shape[0])
    return np.stack([definitions.topk_mask(row, min(share, row.size)) for row in scores])


def _one_fewer(scores, keep):
    return definitions.topk_mask(scores, max(keep - 1, 0))


def _nm_strided(scores, n, m):
    groups = scores.shape[1] // m
    order = np.arange(scores.shape[1]).reshape(m, groups).T.ravel()
    mask = np.empty(scores.shape, bool)
    mask[:, order] = definitions.nm_mask(scores[:, order], n, m)
    return mask


TOPK = Contract(
    name="topk-mask",
    arguments=("scores", "keep"),
    returns=("mask",),
    promises=("exactly `keep` entries are True", "no False entry has a larger score than a True one"),
    readings=("scores are compared as they are, no absolute value; the budget is over the whole array",),
    tolerance="none: scores are only compared",
    ties="any choice among equal scores",
    reference=definitions.topk_mask,
    checks=CHECKS,
    mistakes=(
        Mistake(
            "at-least-the-kth",
            "everything that ties with the k-th score is kept",
            lambda s, keep: _above(s, keep, False),
        ),
        Mistake("above-the-kth", "the k-th score itself is not kept", lambda s, keep: _above(s, keep, True)),
        Mistake(
            "absolute-scores",
            "scores are compared by absolute value",
            lambda s, keep: definitions.topk_mask(abs(s), keep),
        ),
        Mistake("keeps-the-smallest", "the mask is inverted: the smallest are kept", _smallest),
        Mistake("budget-per-row", "every row gets the same share of the budget", _per_row),
        Mistake("one-fewer", "the count is off by one", _one_fewer),
        form.first_for_shape(definitions.topk_mask),
        *form.of(definitions.topk_mask, ("mask",), lambda s, keep: keep == s.size, first="scores"),
    ),
    view=TopkView,
    flags=(*FLAGS, "WrongCount"),
    shapes=((1, 7), (2, 6), (3, 1), (4, 4), (3, 10), (5, 8), (2, 33), (6, 20), (40, 7), (5, 300)),
    build=_build_topk,
    axes={"scores": ("row", "column")},
    transforms=(transforms.scale, transforms.rows, transforms.columns, transforms.another_count),
    example="""def topk_mask(scores, keep):
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(-scores, axis=None, kind="stable")[:keep]] = True
    return mask.reshape(scores.shape)""",
)

NM = Contract(
    name="nm-mask",
    arguments=("scores", "n", "m"),
    returns=("mask",),
    promises=(
        "in every `m` consecutive entries of a row exactly `n` are True",
        "they are the largest of the group",
    ),
    readings=(
        "N counts what is kept: 2:4 keeps two, 1:4 keeps one (claim n_counts=zeros for the other reading)",
        "columns that do not fill a group are an error",
    ),
    tolerance="none: scores are only compared",
    ties="any choice among equal scores of a group",
    reference=definitions.nm_mask,
    checks=CHECKS,
    mistakes=(
        Mistake(
            "n-read-as-zeros",
            "N is read as the number of zeros",
            lambda s, n, m: definitions.nm_mask(s, m - n, m),
        ),
        Mistake("groups-along-rows", "groups run along the outputs, not the inputs", group_rules.along_rows),
        Mistake("strided-groups", "a group takes every (columns / m)-th entry", _nm_strided),
        Mistake(
            "groups-over-flat-array",
            "groups straddle rows when columns do not fill them",
            group_rules.over_flat_array,
        ),
        Mistake(
            "threshold-in-group", "everything that ties with the n-th score is kept", group_rules.threshold
        ),
        *form.of(definitions.nm_mask, ("mask",), lambda s, n, m: n == m, first="scores"),
        Mistake(
            "absolute-scores",
            "scores are compared by absolute value",
            lambda s, n, m: definitions.nm_mask(abs(s), n, m),
        ),
    ),
    view=NMView,
    flags=(*FLAGS, "NMNotHalf", "NMRemainder", "WrongCount"),
    shapes=((1, 8), (2, 6), (3, 1), (4, 4), (3, 12), (8, 8), (2, 32), (5, 10), (4, 7), (33, 8), (2, 264)),
    build=_build_nm,
    axes={"scores": ("row", "column")},
    transforms=(transforms.scale, transforms.rows, transforms.columns, transforms.another_count),
    example="""def nm_mask(scores, n, m):
    groups = scores.reshape(len(scores), -1, m)  # raises when columns do not fill the groups
    rank = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1)
    return (rank < n).reshape(scores.shape)""",
)
