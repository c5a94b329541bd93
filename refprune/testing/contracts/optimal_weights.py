"""`optimal-weights`: the best weights on a given mask."""

import numpy as np

from refprune import definitions

from .. import checks, make, transforms
from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from .exact_obs_parts import layer_objective

CHECKS = (
    *checks.BEFORE,
    checks.FORM,
    checks.FINITE,
    checks.ZEROS,
    checks.OBJECTIVE,
    checks.STATIONARY,
    *checks.AFTER,
)


class FixedMaskView(build.LayerView):
    """The mask is part of the problem; any condition up to the singular is judged."""

    def set_budget(self, columns):
        """The mask must be boolean and of the weight's shape."""
        mask = np.asarray(self.problem["mask"])
        if mask.dtype != bool or mask.shape != self.weight.shape:
            self.expect(
                "error",
                f"mask has shape {mask.shape} and dtype {mask.dtype}; {self.weight.shape} bool is needed",
            )
            return False
        self.given = ~mask
        return True

    def judge_condition(self):
        """Only a restricted Gram that is singular leaves the answer open."""
        super().judge_condition()
        if self.expects == "beyond":
            self.expects, self.reason = "answer", ""

    def pruned(self, answer):
        """What the problem prunes."""
        return self.given


def _build(flag, shape, rng, dtype):
    w, g = build.arrays(flag, shape, rng, dtype, greedy=False)
    mask = rng.random(shape) < rng.uniform(0.3, 0.8)
    if flag in ("K0", "KAll"):
        mask[...] = flag == "K0"
    if flag == "K1":
        mask[...] = True
        mask.flat[rng.integers(mask.size)] = False
    if flag == "ZeroWeight":
        mask |= w == 0  # zeros among the kept are legal
    if flag == "WrongCount":
        mask = mask[:, :-1] if shape[1] > 1 else np.ones((shape[0] + 1, 1), bool)
    if flag == "Empty":
        mask = mask[:, :0]
    return {"weight": w, "gram": g, "mask": make.layout(rng, mask, flag)}


def _by(function):
    """A wrong version that works row by row: function(w, gram, kept) -> weights."""

    def call(weight, gram, mask):
        out = np.stack([function(w, gram, kept) for w, kept in zip(weight, mask, strict=True)])
        return np.where(mask, out, 0).astype(weight.dtype)

    return call


def _restricted_only(w, gram, kept):
    """The pull of the pruned weights is left out: G_KK v = G_KK w."""
    return np.where(kept, w, 0)


def _sum_of_updates(w, gram, kept):
    inverse = np.linalg.inv(gram + np.diag((gram.diagonal() == 0).astype(gram.dtype)))
    gone = ~kept & (gram.diagonal() > 0)
    return w - inverse[:, gone] @ (w[gone] / inverse.diagonal()[gone])


def _diagonal_solve(w, gram, kept):
    diagonal = np.where(gram.diagonal() > 0, gram.diagonal(), 1)
    return w + np.where(kept, gram[:, ~kept] @ w[~kept] / diagonal, 0)


def _wrong_sign(w, gram, kept):
    return 2 * w - definitions.optimal_weights(w, gram, kept)


def _damped(amount):
    def function(w, gram, kept):
        living = gram.diagonal() > 0
        extra = amount * (gram.diagonal()[living].mean() if living.any() else 0.0)
        return definitions.optimal_weights(w, gram + np.diag(living * extra).astype(gram.dtype), kept)

    return function


def _ridge_to_zero(w, gram, kept):
    """The weights are shrunk towards zero, not towards the original ones."""
    out, at = np.zeros_like(w), np.flatnonzero(kept)
    if at.size:
        extra = np.eye(at.size) * (0.01 * gram.diagonal().mean() + 1e-30)
        out[at] = np.linalg.solve(gram[np.ix_(at, at)] + extra, gram[at] @ w)
    return out


def _frozen_zeros(weight, gram, mask):
    """The support is read from weight != 0: kept zeros never move."""
    return definitions.optimal_weights(weight, gram, mask & (weight != 0)).astype(weight.dtype)


def _first_mask(weight, gram, mask):
    same = np.broadcast_to(mask[:1], mask.shape)
    return np.where(mask, definitions.optimal_weights(weight, gram, same), 0).astype(weight.dtype)


def _dead_zeroed(weight, gram, mask):
    best = definitions.optimal_weights(weight, gram, mask)
    return np.where(gram.diagonal() > 0, best, 0).astype(weight.dtype)


def _inverted(weight, gram, mask):
    return definitions.optimal_weights(weight, gram, ~mask).astype(weight.dtype)


CONTRACT = Contract(
    name="optimal-weights",
    arguments=("weight", "gram", "mask"),
    returns=("weight",),
    promises=(
        "pruned weights are exactly 0.0",
        "the kept weights of every row minimise `1/2 (v - w)^T G (v - w)`: `G_KK v_K = G_K: w`",
    ),
    readings=(
        "True = kept",
        "no damping",
        "a kept dead input keeps its weight",
        "a kept weight that is 0 may move",
    ),
    tolerance="`64 eps kappa` of the scaled norm of a row's weights, kappa the condition of the living G at unit "
    "diagonal; where G is singular the gradient on the kept entries is held to `64 eps d |G| |w|`",
    ties="none, but for singular G",
    reference=lambda weight, gram, mask: definitions.optimal_weights(weight, gram, mask),
    checks=CHECKS,
    mistakes=(
        Mistake("mask-only", "the kept weights are not updated", _by(_restricted_only)),
        Mistake("sum-of-updates", "single-weight updates are added up", _by(_sum_of_updates)),
        Mistake("diagonal-solve", "only the diagonal of G_KK is solved with", _by(_diagonal_solve)),
        Mistake("update-sign", "the update has the wrong sign", _by(_wrong_sign)),
        Mistake("damped", "G is damped by 1 % of its mean diagonal", _by(_damped(0.01))),
        Mistake("ridge-to-zero", "the weights are shrunk towards zero", _by(_ridge_to_zero)),
        Mistake(
            "frozen-zeros", "the support is read from weight != 0, so kept zeros never move", _frozen_zeros
        ),
        Mistake("first-mask-for-all-rows", "the first row's support is used for every row", _first_mask),
        Mistake("dead-inputs-zeroed", "kept dead inputs lose their weight", _dead_zeroed),
        Mistake("mask-inverted", "True is read as pruned", _inverted),
        *form.of(definitions.optimal_weights, ("weight",), lambda w, g, mask: mask.all(), layer_objective),
    ),
    view=FixedMaskView,
    flags=(
        "DeadInput",
        "WiderThanBlock",
        "ManyRows",
        "DuplicateColumn",
        "CorrelatedPair",
        "Singular",
        "IllConditioned",
        "ZeroWeight",
        "ZeroRow",
        "RowScale",
        "LossScale",
        "K0",
        "K1",
        "KAll",
        "OneRow",
        "OneColumn",
        "Square",
        "Subnormal",
        "NonContiguous",
        "ReadOnly",
        "Transposed",
        "NaN",
        "Inf",
        "Empty",
        "WrongShape",
        "WrongCount",
        "NonSymmetric",
    ),
    shapes=(
        (1, 6),
        (1, 7),
        (3, 1),
        (4, 4),
        (3, 8),
        (3, 9),
        (2, 12),
        (5, 10),
        (2, 33),
        (8, 24),
        (33, 5),
        (2, 260),
    ),
    build=_build,
    axes={"weight": ("row", "column"), "gram": ("column", "column"), "mask": ("row", "column")},
    transforms=(
        transforms.scale,
        transforms.signs,
        transforms.rows,
        transforms.columns,
        transforms.another_hessian,
    ),
    example="""def optimal_weights(weight, gram, mask):
    out = np.zeros_like(weight)
    for w, kept, v in zip(weight, mask, out):
        v[kept] = w[kept]
        k = kept & (np.diag(gram) > 0)
        v[k] = np.linalg.solve(gram[np.ix_(k, k)], gram[k] @ w)
    return out""",
)
