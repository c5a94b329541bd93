"""`iht` and `htp`: the best few weights of least squares, looked for from a start."""

import numpy as np

from refprune import definitions
from refprune.problems import LeastSquares

from .. import checks
from ..contract import Contract
from . import recovery_build as build
from . import recovery_rules as rules
from .recovery_mistakes import of_htp, of_iht
from .recovery_slips import of_form, remembered

CHECKS = (*rules.BEFORE, rules.STATIONARY, rules.SETTLED, rules.NO_WORSE, *checks.AFTER)
POINTS, ROUNDS = 20, 200  # the definition goes on by 20 points until its gradient is small
PROMISES = (
    "at most `keep` weights are not 0",
    "the gradient `A^T (A w - y)` on the support is at most 1e-6 of `|A^T y|`; for y = 0 of that at T_k(start)",
    "w is stationary for 4 L, L the largest eigenvalue of A^T A: off the support `|g_i| <= 4 L min |w|`; with fewer "
    "than `keep` weights the whole gradient is 0",
    "the objective `|A w - y|^2 / 2` is not above that of T_k(start)",
)
READINGS = (
    "`design` A is (samples, columns), `target` y (samples,), `start` and the answer (columns,), in one dtype",
    "T_k keeps the `keep` largest in size; the start is cut so first, whatever it holds",
    "any step rule that ends at a step of 1 / (4 L) or more; how many iterations it takes is its own affair",
    "which support is found is not judged beyond this: a stationary point need not be the best one",
    "a dead column (all 0) may go before all others, or be ranked like them",
)
TOLERANCE = (
    "rounding moves the gradient by `64 eps |A| (|A| |w| + |y|)`, beside the 1e-6; lengths of residuals are compared "
    "with `64 eps (|A| |w| + |y|)` and the gradient that is allowed over the least singular value of A on the support"
)


def half_squares(w, design, target, keep, start):
    """``|A w - y|^2 / 2``."""
    return float(np.sum((design @ w - target) ** 2)) / 2


def in_double(design, target, keep, start):
    """The objective and the start in float64; bad numbers and counts are refused."""
    if not all(np.isfinite(array).all() for array in (design, target, start)):
        raise ValueError("need finite numbers")
    if not 0 <= keep <= start.size:
        raise ValueError(f"need keep from 0 to {start.size}; got {keep}")
    return LeastSquares(design.astype(float), target.astype(float)), start.astype(float)


def _iht(design, target, keep, start):
    """The definition, until the gradient is small on a support that stays."""
    f, w = in_double(design, target, keep, start)
    w = definitions.iht(f, keep, w, 0)[0]
    goal = 1e-10 * max(np.linalg.norm(f.gradient(point)) for point in (w, 0 * w))
    for _ in range(ROUNDS):
        before, w = w, definitions.iht(f, keep, w, POINTS)[-1]
        if np.linalg.norm(f.gradient(w)[w != 0]) <= goal and np.array_equal(w != 0, before != 0):
            break
    return w.astype(start.dtype)


def _htp(design, target, keep, start):
    """The definition, to its last point."""
    f, w = in_double(design, target, keep, start)
    lipschitz = float(np.linalg.norm(f.design, 2)) ** 2
    return definitions.htp(f, keep, w, lipschitz)[-1].astype(start.dtype)


def _contract(name, reference, mistakes, view, promises, readings, example):
    return Contract(
        name=name,
        arguments=("design", "target", "keep", "start"),
        returns=("w",),
        promises=promises,
        readings=readings,
        tolerance=TOLERANCE,
        ties="any support that keeps these promises; at ties of T_k(start) the worst choice is the measure",
        reference=reference,
        checks=CHECKS,
        mistakes=(*mistakes, *of_form(reference, half_squares)),
        view=view,
        flags=build.FLAGS,
        shapes=build.SHAPES,
        build=build.problem,
        axes=build.AXES,
        call_shapes="`design` (samples, columns), `target` (samples,), `start` (columns,)",
        transforms=rules.TRANSFORMS,
        suits=build.suits,
        example=example,
    )


IHT = _contract(
    "iht",
    remembered(_iht),
    of_iht(),
    rules.RecoveryView,
    PROMISES,
    READINGS,
    """def iht(design, target, keep, start):
    def cut(v):
        out = np.zeros_like(v)
        kept = np.argsort(abs(v), kind="stable")[len(v) - keep :]
        out[kept] = v[kept]
        return out

    L = np.linalg.norm(design, 2) ** 2
    w, goal = cut(start), 1e-8 * np.linalg.norm(design.T @ target)
    for _ in range(5000):
        g = design.T @ (design @ w - target)
        new = cut(w - g / L)
        if np.linalg.norm(g[w != 0]) <= goal and np.array_equal(new != 0, w != 0):
            break
        w = new
    return w""",
)

HTP = _contract(
    "htp",
    remembered(_htp),
    of_htp(),
    rules.PursuitView,
    PROMISES,
    (
        *READINGS,
        "where some `keep` columns are dependent an error is right, and so is an answer that keeps the promises",
    ),
    """def htp(design, target, keep, start):
    def largest(v):
        return np.sort(np.argsort(abs(v), kind="stable")[len(v) - keep :])

    L = np.linalg.norm(design, 2) ** 2
    w, kept = np.zeros_like(start), largest(start)
    w[kept], kept = start[kept], None
    while True:
        before, kept = kept, largest(w - design.T @ (design @ w - target) / L)
        w[:] = 0
        w[kept] = np.linalg.lstsq(design[:, kept], target, rcond=None)[0]
        if before is not None and np.array_equal(kept, before):
            return w""",
)
