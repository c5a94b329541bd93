"""`magnitude`, `magnitude-nm`, `wanda`, `wanda-nm` and `obd`: one score, one mask, no update."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from .. import checks, make, transforms
from ..bounds import PRODUCT
from ..contract import Contract
from ..views import ScoreView
from . import form_mistakes as form
from .one_shot_mistakes import MAGNITUDE, MAGNITUDE_NM, OBD, WANDA, WANDA_NM

CHECKS = (
    *checks.BEFORE, checks.FORM, checks.FINITE, checks.COUNT, checks.ZEROS, checks.KEPT, checks.RANKED, *checks.AFTER,
)  # fmt: skip
LAYER = (
    "Tie", "NearTie", "WiderThanBlock", "ManyRows",
    "ZeroWeight", "ZeroRow", "RowScale", "OneRow", "OneColumn", "Square", "Subnormal", "NonContiguous",
    "ReadOnly", "Transposed", "NaN", "Inf", "Empty",
)  # fmt: skip
COUNTS = ("K0", "K1", "KAll", "UnrepresentableSparsity", "WrongCount")
GROUPS = ("K0", "KAll", "NMNotHalf", "NMRemainder", "WrongCount")
GRAM = ("DeadInput", "DuplicateColumn", "CorrelatedPair", "Singular", "IllConditioned", "LossScale")
SHAPES = (
    (1, 8),
    (1, 9),
    (3, 1),
    (4, 4),
    (3, 8),
    (3, 9),
    (5, 9),
    (2, 10),
    (5, 20),
    (2, 45),
    (40, 7),
    (5, 260),
)
NM_SHAPES = (
    (1, 8),
    (1, 12),
    (3, 1),
    (4, 4),
    (3, 8),
    (3, 12),
    (2, 10),
    (5, 20),
    (2, 32),
    (3, 7),
    (33, 8),
    (2, 264),
)
KEPT = ("kept weights are unchanged, pruned ones exactly 0.0",)
SUM_TEXT = (
    "`4 eps` of the score (three roundings), and the square root of the smallest normal number for underflow"
)


class WeightView(ScoreView):
    """A weight (rows, columns) whose scores need no arithmetic beyond one or two products."""

    def read_weight(self, ndim=2, **others):
        """Validate the arrays and store the weight; False when they are bad."""
        if self.need_arrays(weight=(None,) * ndim) and self.need_arrays(**others):
            weight = np.asarray(self.problem["weight"], dtype=float)
            self.original = np.atleast_2d(weight)
            self.slack = 2 * PRODUCT * self.eps
            return True
        return False

    def score(self, factor):
        """Scores ``|w| * factor``; ranking by squares may underflow at the square root of the smallest normal."""
        self.scores = np.abs(self.original) * factor
        self.floor = float(np.sqrt(self.tiny) * np.max(factor, initial=1.0))


class MagnitudeView(WeightView):
    """`|w|`, one budget for the layer or one for each group."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        if not self.read_weight():
            return
        self.score(1.0)
        if "sparsity" in problem:
            count = self.count_from_sparsity(self.scores.size)
            if count is not None:
                self.scope_whole(count)
        elif (pattern := self.need_nm(self.scores.shape[1])) is not None:
            self.scope_groups(*pattern)


class WandaView(WeightView):
    """`|W_ij| sqrt(G_jj)`, compared within a row or a group."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        columns = np.shape(problem["weight"])[-1] if np.ndim(problem["weight"]) else None
        if not self.read_weight(gram=(columns, columns)):
            return
        self.need_symmetric("gram")
        diagonal = np.diagonal(np.asarray(problem["gram"], dtype=float))
        if self.expects == "free":
            self.expects = "error"
        if self.expects == "error":
            return
        self.score(np.sqrt(diagonal))
        if "sparsity" in problem:
            count = self.count_from_sparsity(self.scores.shape[1])
            if count is not None:
                self.scope_rows(count)
        elif (pattern := self.need_nm(self.scores.shape[1])) is not None:
            self.scope_groups(*pattern)


class ObdView(WeightView):
    """`sqrt(h / 2) |w|` over a vector."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        size = np.shape(problem["weight"])[0] if np.ndim(problem["weight"]) else None
        if not self.read_weight(1, diagonal=(size,)):
            return
        diagonal = np.asarray(problem["diagonal"], dtype=float)
        if (diagonal < 0).any():
            self.expect("error", "diagonal has a negative entry: the loss has no minimum at the weights")
            return
        self.score(np.sqrt(diagonal / 2))
        keep = self.need_count("keep", 0, size)
        if keep is not None:
            self.scope_whole(size - keep)


def _build(flag, shape, rng, dtype, gram, groups):
    rows, columns = shape
    w = make.weights(rng, rows, columns, flag)
    g = make.hessian(rng, columns, flag, dtype, greedy=False, exact=True) if gram else None
    if flag == "NearTie":
        w = make.near_tie(rng, w, np.diagonal(g) if gram else np.ones(columns), dtype)
    problem = {"weight": make.layout(rng, make.spoil(rng, w.astype(dtype), flag), flag)}
    if gram:
        problem["gram"] = make.layout(rng, g.astype(dtype), flag)
    if groups:
        problem["n"], problem["m"] = make.nm(rng, columns, flag)
        if flag == "WrongCount":
            problem["n"] = problem["m"] + 1
    else:
        problem["sparsity"] = make.sparsity(rng, columns if gram else w.size, flag)
        if flag == "WrongCount":
            problem["sparsity"] = float(rng.choice([-0.25, 1.5]))
    return problem


def _build_obd(flag, shape, rng, dtype):
    w = make.weights(rng, 1, shape[0], flag)[0]
    h = 10.0 ** rng.uniform(-2, 2, size=shape[0])
    if flag == "Tie":
        w, h = np.abs(w) * 0 + 2.0 ** rng.integers(-1, 2, shape[0]), 4.0 ** -rng.integers(-1, 2, shape[0])
        if rng.random() < 0.3:
            w, h = w * 0 + 0.5, h * 0 + 2.0
    if flag == "NearTie":
        w = make.near_tie(rng, w[None], h, dtype)[0]
    if flag == "DeadInput":
        h[rng.integers(shape[0])] = 0.0
    if flag == "LossScale":
        h *= 1e-5
    w, h = (make.layout(rng, make.spoil(rng, a.astype(dtype), f), flag) for a, f in ((w, flag), (h, "")))
    keep = make.keep_count(rng, shape[0], flag)
    return {"weight": w, "diagonal": h, "keep": -1 if flag == "WrongCount" else keep}


def _magnitude(weight, sparsity):
    return definitions.magnitude(weight, prune_count(sparsity, weight.size))


def _wanda(weight, gram, sparsity):
    return definitions.wanda(weight, gram, prune_count(sparsity, weight.shape[1]))


def _nm(scores, weight, n, m):
    mask = definitions.nm_mask(scores, n, m)
    return np.where(mask, weight, weight * 0), mask


def _form(reference):
    return form.of(reference, ("weight", "mask"), lambda *arguments: reference(*arguments)[1].all())


def _contract(
    name, arguments, promises, readings, reference, mistakes, view, flags, shapes, build, axes, moves, example
):
    return Contract(
        name=name, arguments=arguments, returns=("weight", "mask"), promises=(*promises, *KEPT), readings=readings,
        tolerance=SUM_TEXT, ties="any choice among equal scores", reference=reference, checks=CHECKS,
        mistakes=(*mistakes, *_form(reference)), view=view,
        flags=flags, shapes=shapes, build=build, axes=axes, transforms=moves,
        example=example, per_row=name == "wanda",
    )  # fmt: skip


WEIGHT = {"weight": ("row", "column")}
WITH_GRAM = {**WEIGHT, "gram": ("column", "column")}
MOVES = (transforms.scale, transforms.signs, transforms.rows, transforms.columns, transforms.another_count)

CONTRACTS = (
    _contract(
        "magnitude", ("weight", "sparsity"),
        ("round(sparsity * size) weights are pruned, half to even, from the decimal that was written",
         "no pruned weight is larger in absolute value than a kept one"),
        ("one budget for the layer",), _magnitude, MAGNITUDE, MagnitudeView, (*LAYER, *COUNTS), SHAPES,
        lambda *a: _build(*a, gram=False, groups=False), WEIGHT, MOVES,
        """def magnitude(weight, sparsity):
    count = round(Fraction(repr(sparsity)) * weight.size)
    mask = np.ones(weight.size, bool)
    mask[np.argsort(abs(weight), axis=None, kind="stable")[:count]] = False
    mask = mask.reshape(weight.shape)
    return weight * mask, mask""",
    ),
    _contract(
        "magnitude-nm", ("weight", "n", "m"),
        ("of every `m` consecutive weights of a row the `n` largest in absolute value stay",),
        ("N counts what is kept (claim n_counts=zeros for the other reading)",
         "columns that do not fill a group are an error"),
        lambda weight, n, m: _nm(abs(weight), weight, n, m), MAGNITUDE_NM, MagnitudeView, (*LAYER, *GROUPS), NM_SHAPES,
        lambda *a: _build(*a, gram=False, groups=True), WEIGHT, MOVES,
        """def magnitude_nm(weight, n, m):
    groups = abs(weight).reshape(len(weight), -1, m)  # raises when columns do not fill the groups
    rank = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1)
    mask = (rank < n).reshape(weight.shape)
    return weight * mask, mask""",
    ),
    _contract(
        "wanda", ("weight", "gram", "sparsity"),
        ("round(sparsity * columns) weights of every row are pruned",
         "within a row no pruned weight has a larger `|W_ij| sqrt(G_jj)` than a kept one"),
        ("the budget is per row", "the score has the norm of the input, not its square"),
        _wanda, WANDA, WandaView, (*LAYER, *COUNTS, *GRAM, "NonSymmetric"), SHAPES,
        lambda *a: _asymmetric(_build(*a, gram=True, groups=False), a[0], "gram"), WITH_GRAM,
        (*MOVES, transforms.dead_input, transforms.another_hessian),
        """def wanda(weight, gram, sparsity):
    scores = abs(weight) * np.sqrt(np.diag(gram))
    count = round(Fraction(repr(sparsity)) * weight.shape[1])
    mask = np.ones(weight.shape, bool)
    np.put_along_axis(mask, np.argsort(scores, axis=1, kind="stable")[:, :count], False, axis=1)
    return weight * mask, mask""",
    ),
    _contract(
        "wanda-nm", ("weight", "gram", "n", "m"),
        ("of every `m` consecutive weights of a row the `n` with the largest `|W_ij| sqrt(G_jj)` stay",),
        ("N counts what is kept (claim n_counts=zeros for the other reading)",
         "columns that do not fill a group are an error"),
        lambda weight, gram, n, m: _nm(abs(weight) * np.sqrt(np.diagonal(gram)), weight, n, m), WANDA_NM, WandaView,
        (*LAYER, *GROUPS, *GRAM, "NonSymmetric"), NM_SHAPES,
        lambda *a: _asymmetric(_build(*a, gram=True, groups=True), a[0], "gram"), WITH_GRAM,
        (*MOVES, transforms.dead_input, transforms.another_hessian),
        """def wanda_nm(weight, gram, n, m):
    groups = (abs(weight) * np.sqrt(np.diag(gram))).reshape(len(weight), -1, m)
    rank = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1)
    mask = (rank < n).reshape(weight.shape)
    return weight * mask, mask""",
    ),
    _contract(
        "obd", ("weight", "diagonal", "keep"),
        ("`keep` weights stay", "no pruned weight has a larger saliency `1/2 h w^2` than a kept one"),
        ("weight and diagonal are vectors", "there is no gradient term"),
        lambda weight, diagonal, keep: definitions.obd(weight, diagonal, weight.size - keep), OBD, ObdView,
        ("Tie", "NearTie", "WiderThanBlock",
         "ZeroWeight", "DeadInput", "LossScale", "K0", "K1", "KAll", "OneColumn", "Subnormal", "NonContiguous",
         "ReadOnly", "NaN", "Inf", "Empty", "WrongCount"),
        ((8,), (1,), (5,), (9,), (16,), (40,), (133,)), _build_obd,
        {"weight": ("column",), "diagonal": ("column",)},
        (transforms.scale, transforms.signs, transforms.columns, transforms.another_count, transforms.dead_input),
        """def obd(weight, diagonal, keep):
    mask = np.zeros(weight.size, bool)
    mask[np.argsort(-diagonal * weight**2, kind="stable")[:keep]] = True
    return weight * mask, mask""",
    ),
)  # fmt: skip


def _asymmetric(problem, flag, name):
    """For NonSymmetric: one entry of the matrix differs from its mirror image."""
    if flag == "NonSymmetric" and problem[name].shape[0] > 1:
        matrix = np.array(problem[name])
        matrix[0, 1] += 1 + abs(matrix).max()
        problem[name] = matrix
    return problem
