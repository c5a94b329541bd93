"""`fisher-inverse`: the inverse of the damped empirical Fisher matrix."""

import numpy as np

from refprune import definitions

from .. import checks, make, transforms
from ..bounds import PRODUCT, SOLVE
from ..contract import CheckSpec, Contract, Mistake, failed, passed, undecided
from ..views import View
from . import fisher_mistakes as slip
from . import fisher_parts as fisher
from . import form_mistakes
from . import step_parts as parts

FLAGS = (
    "OneSample", "ShortLoader", "OppositeGradients", "ZeroGradient", "ZeroResidual", "DeadInput", "DuplicateColumn",
    "Correlated", "Singular", "IllConditioned", "LossScale", "Square", "OneColumn", "ManyRows", "WiderThanBlock",
    "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf", "Empty", "WrongShape", "WrongCount",
)  # fmt: skip

SHAPES = (
    (5, 8),
    (8, 8),
    (12, 6),
    (2, 3),
    (9, 1),
    (40, 5),
    (6, 20),
    (9, 16),
    (50, 36),
    (15, 33),
    (6, 140),
    (1031, 3),
)


class InverseView(View):
    """The Fisher matrix and its inverse in float64."""

    fisher = None

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "gradients")
        if not self.need_arrays(gradients=(None, None)):
            return
        self.fisher = fisher.need_fisher(self)
        if self.expects == "answer" and np.abs(self.fisher.inverse).max() > np.finfo(self.dtype).max:
            self.expect("free", f"the inverse is beyond the range of {self.dtype}")

    def allowed(self, dtype):
        """How far rounding may move an entry, (d, d), of an answer of this dtype."""
        numbers = np.finfo(dtype)
        stored = PRODUCT * max(self.store_eps, float(numbers.eps)) * np.abs(self.fisher.inverse)
        return self.fisher.rounding(self.eps, SOLVE) + stored + float(numbers.tiny)

    def same(self, a, b, factor):
        """Whether two answers are equal to `factor` bounds."""
        alike = self.expects == "answer" and b.shape == self.fisher.matrix.shape
        return alike and bool((np.abs(a - b) <= factor * self.allowed(self.dtype)).all())


def form(view, answer):
    """A (d, d) matrix of the gradients' dtype or float64."""
    d = view.fisher.values.size
    if answer.weight.shape != (d, d):
        return failed(f"the inverse has shape {answer.weight.shape}; {(d, d)} is needed")
    if answer.weight.dtype not in (view.dtype, np.dtype(np.float64)):
        return failed(f"the inverse has dtype {answer.weight.dtype}; {view.dtype} or float64 is needed")
    return None


def equal(view, answer):
    """Every entry is that of F^-1; where F is singular, ``F C - I`` is at rounding level."""
    if view.expects == "beyond":
        return undecided(view.reason)
    found = answer.weight.astype(float)
    if view.expects == "free":
        return _residual(view, found)
    right, allowed = view.fisher.inverse, view.allowed(answer.weight.dtype)
    error = np.abs(found - right)
    at = np.unravel_index(np.argmax(error / allowed), error.shape)
    if error[at] > allowed[at]:
        ratio = f" ({found[at] / right[at]:.4g} times as large)" if right[at] else ""
        text = f"entry {tuple(map(int, at))} is {found[at]:.6g}; F^-1 has {right[at]:.6g}{ratio}"
        return failed(text, float(error[at]), float(allowed[at]))
    return passed(float(error[at]), float(allowed[at]))


def _residual(view, found):
    F, d = view.fisher.matrix, len(found)
    error = float(np.abs(F @ found - np.eye(d)).max())
    bound = SOLVE * max(view.eps, view.store_eps) * d * view.fisher.size * float(np.linalg.norm(found))
    if error > bound:
        return failed(f"{view.reason}; an error is right, and F C - I has an entry {error:.3g}", error, bound)
    return passed(error, bound)


def _reference(gradients, damp):
    if not damp > 0:
        raise np.linalg.LinAlgError("need damp > 0")
    return definitions.fisher_inverse(gradients, damp)


def _build(flag, shape, rng, dtype):
    G, damp = fisher.gradients("" if flag in fisher.SPOILED else flag, shape, rng, dtype)
    return fisher.bad(rng, flag, {"gradients": make.layout(rng, G, flag), "damp": damp})


def _recursion(step):
    """The recursion with ``step(C, g, N, first)`` for the matrix that is taken off."""

    def call(gradients, damp):
        first = np.eye(gradients.shape[1], dtype=gradients.dtype) / damp
        C = first
        for g in gradients:
            C = C - step(C, g, len(gradients), first)
        return C.astype(gradients.dtype)

    return call


def _square(v, scale):
    return np.outer(v, v) / scale


def _pseudo(gradients, damp):
    slip.need_finite(gradients)
    bare = np.linalg.pinv(gradients.T @ gradients / len(gradients))
    return (bare + damp * np.eye(len(bare))).astype(gradients.dtype)


def _truncated(gradients, damp):
    matrix = slip.fisher(gradients, damp)
    slip.need_finite(matrix)
    return np.linalg.pinv(matrix, rcond=1e-4).astype(gradients.dtype)


def _of_samples(gradients, damp):
    return slip.inverse(slip.fisher(gradients.T, damp, len(gradients)))


def _overwritten(gradients, damp):
    gradients /= np.sqrt(len(gradients))
    return slip.inverse(slip.fisher(gradients, damp, 1))


def _entries(gradients, damp):
    return 1 / slip.fisher(gradients, damp)


MISTAKES = (
    *(Mistake(name, text, lambda G, damp, wrong=wrong: slip.inverse(wrong(G, damp)).astype(G.dtype))
      for name, (text, wrong) in slip.WRONG.items()),
    Mistake("not-inverted", "F itself is returned", slip.fisher),
    Mistake("entries-inverted", "each entry of F is inverted", _entries),
    Mistake("damped-inverse", "damp is added to the pseudo-inverse of the squares", _pseudo),
    Mistake("truncated", "eigenvalues of F below 1e-4 of the largest are left out", _truncated),
    Mistake("samples-for-weights", "the matrix is that of the samples, G G^T", _of_samples),
    Mistake("samples-outside", "the recursion divides by N (1 + g^T C g)",
            _recursion(lambda C, g, N, first: _square(C @ g, N * (1 + g @ C @ g)))),
    Mistake("first-inverse-kept", "every step of the recursion starts from I / damp",
            _recursion(lambda C, g, N, first: _square(first @ g, N + g @ first @ g))),
    Mistake("stale-denominator", "the recursion's denominator has I / damp, not the inverse so far",
            _recursion(lambda C, g, N, first: _square(C @ g, N + g @ first @ g))),
    Mistake("recursion-sign", "the recursion adds what is to be taken off",
            _recursion(lambda C, g, N, first: -_square(C @ g, N + g @ C @ g))),
    Mistake("input-overwritten", "the gradients are divided by sqrt(N) in place", _overwritten,
            shows=("unchanged", "gradients changed during the call")),
    *form_mistakes.of(_reference, ("matrix",), lambda gradients, damp: len(gradients) == 1, first="gradients",
                      zero="one gradient alone")[1:],
    form_mistakes.first_for_shape(_reference),
)  # fmt: skip

CONTRACT = Contract(
    name="fisher-inverse",
    arguments=("gradients", "damp"),
    returns=("matrix",),
    promises=(
        "every entry of the inverse of `F = damp I + G^T G / N` to rounding; G is `gradients`, (N, d)",
    ),
    readings=(
        "the rows of `gradients` are those of single samples, each of its own loss",
        "`damp` is absolute; with 0 and fewer gradients than weights there is no inverse, and an error is right",
    ),
    tolerance="`eps kappa (64 a_i a_j + 4 (a_i b_j + b_i a_j))` for entry (i, j) of C = F^-1, with "
    "kappa = |F| / damp, a_i = sqrt(C_ii), b_i = sqrt(F_ii) / damp: it holds for the recursion, for Woodbury's "
    "identity, also by the inverse of its small matrix, and for an inverse of F as a whole; kappa goes up to "
    "`min(1e8, 1e-4 / eps)`",
    ties="none",
    reference=_reference,
    checks=(
        *checks.BEFORE,
        CheckSpec("form", "well-formed", "a (d, d) matrix of the gradients' dtype or float64", form),
        checks.FINITE,
        CheckSpec("equal", "equal", "every entry equals that of F^-1", equal),
        *checks.AFTER,
    ),
    mistakes=MISTAKES,
    view=InverseView,
    flags=FLAGS,
    shapes=SHAPES,
    build=_build,
    axes={"gradients": ("sample", "column")},
    transforms=(
        parts.scale(gradients=(1, 0), damp=(2, 0)),
        transforms.signs,
        transforms.columns,
        fisher.other_samples,
        transforms.another_damping,
        parts.another_order("gradients"),
    ),
    example="""def fisher_inverse(gradients, damp):
    if damp == 0:
        raise np.linalg.LinAlgError("need damp > 0")
    samples, d = gradients.shape
    inner = gradients @ gradients.T + damp * samples * np.eye(samples)
    return (np.eye(d) - gradients.T @ np.linalg.solve(inner, gradients)) / damp""",
)
