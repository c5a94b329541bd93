"""`iht-step`: one step of iterative hard thresholding, `T_k(w - step g)`."""

from numbers import Real

import numpy as np

from refprune import definitions

from .. import checks, make, transforms
from ..bounds import PRODUCT
from ..contract import Contract, Mistake
from . import step_parts as parts

FLAGS = (
    "Tie", "NearTie", "PlantedSupport", "Optimal", "ZeroWeight", "ColumnScale", "LossScale", "K0", "K1", "KAll",
    "OneColumn", "WiderThanBlock", "Subnormal", "NonContiguous", "ReadOnly", "NaN", "Inf", "Empty", "WrongShape",
    "WrongCount",
)  # fmt: skip


class IhtStepView(parts.StepView):
    """The point ``w - step g``; each entry is one product and one difference."""

    word = "|w - step g|"

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        step, size = problem["step"], np.size(problem["weight"])
        if isinstance(step, (bool, np.bool_)) or not isinstance(step, Real) or not 0 <= step < np.inf:
            self.expect("error", f"step is {step!r}; a finite number of at least 0 is needed")
        keep = self.need_count("keep", 0, size)
        if not (self.need_arrays(weight=(None,)) and self.need_arrays(gradient=(size,))):
            return
        weight, move = (np.asarray(problem[name], dtype=float) for name in ("weight", "gradient"))
        move = step * move
        # the step is rounded to the dtype, then the product and the difference; halves may stay halves
        slack = PRODUCT * max(self.eps, self.store_eps) * (np.abs(weight) + np.abs(move)) + self.tiny
        self.set_point(weight - move, slack, keep)


def _build(flag, shape, rng, dtype):
    (d,) = shape
    keep = make.keep_count(rng, d, "" if flag == "NearTie" else flag)
    w = make.weights(rng, 1, d, "" if flag == "Tie" else flag)[0]
    step = float(2.0 ** rng.uniform(-4, 1))
    g = make.weights(rng, 1, d, "")[0] / step * 2.0 ** rng.integers(-1, 2)
    if flag == "PlantedSupport" or (not flag and rng.random() < 0.5):  # as in a run: w has at most k nonzeros
        w[rng.permutation(d)[keep:]] = 0.0
    if flag == "Tie":
        w, g = (rng.choice([-1.0, -0.5, 0.5, 1.0], size=d) for _ in range(2))
        step = float(2.0 ** rng.integers(-2, 2))
        g /= step
    elif flag == "NearTie" and 0 < keep < d:
        v = w - step * g
        j, p = np.argsort(-abs(v))[[keep - 1, keep]]
        share = make.log_uniform(rng, *((1e-11, 1e-8) if dtype == np.float64 else (1e-4, 1e-3)))
        v[[j, p]] = abs(v[p]) * rng.choice([-1, 1], size=2) * rng.permutation([1, 1 + share])
        if rng.random() < 0.5:  # one of the two is new
            w[rng.permutation([j, p])[0]] = 0.0
            g = (w - v) / step
        w = v + step * g
    elif flag == "ColumnScale":  # entries of all sizes may be kept
        least, most = {2: (-3, 1), 4: (-12, 3), 8: (-25, 3)}[np.dtype(dtype).itemsize]
        sizes = 10.0 ** rng.uniform(least, most, size=d)
        w, g = w * sizes, g * sizes
    elif flag == "Optimal":  # the gradient is 0 on the support, and small off it
        kept = rng.permutation(d)[:keep]
        g *= rng.choice([0.0, 0.25]) * abs(w[kept]).min(initial=1.0) / (step * abs(g).max())
        g[kept] = 0.0
        w[np.delete(np.arange(d), kept)] = 0.0
    elif flag == "LossScale":
        power = 4 if dtype == np.float16 else 10
        g, step = g * 2.0**power, step * 2.0 ** -int(rng.choice([0, power, 2 * power]))
    elif flag == "Subnormal":
        g *= np.where(np.abs(w) < 2.0**-100, 2.0**-140, 1)
    if flag in ("K0", "PlantedSupport") and rng.random() < 0.4:
        step = 0.0
    w, g = w.astype(dtype), g.astype(dtype)
    if flag == "Empty":
        w, g, keep = w[:0], g[:0], 0
    elif flag in ("NaN", "Inf", "WrongShape"):
        w, g = (make.spoil(rng, w, flag), g) if rng.random() < 0.5 else (w, make.spoil(rng, g, flag))
    elif flag == "WrongCount":
        keep = int(rng.choice([-1, d + 1]))
    return {
        "weight": make.layout(rng, w, flag),
        "gradient": make.layout(rng, g, flag),
        "step": step,
        "keep": keep,
    }


def _reference(weight, gradient, step, keep):
    return definitions.iht_step(weight, gradient, step, keep)


def _step(point, scores=None, values=None, how="top"):
    """A wrong version; each function takes (w, g, step, keep) and gives a vector (d,)."""

    def call(weight, gradient, step, keep):
        given = (weight, gradient, step, keep)
        v = point(*given)
        mask = parts.chosen(v if scores is None else scores(*given), keep, how)
        return np.where(mask, v if values is None else values(*given), 0).astype(weight.dtype)

    return call


def _point(weight, gradient, step, keep):
    return weight - step * gradient


def _soft(weight, gradient, step, keep):
    """The size of the next largest entry is taken from all."""
    v = _point(weight, gradient, step, keep)
    cut = np.sort(np.abs(v))[::-1][keep] if keep < v.size else 0.0
    return (np.sign(v) * np.maximum(np.abs(v) - cut, 0)).astype(weight.dtype)


def _dense(weight, gradient, step, keep):
    return _point(weight, gradient, step, keep).astype(weight.dtype)


def _inside(weight, gradient, step, keep):
    return weight - np.where(weight != 0, step * gradient, 0)


def _cut_first(weight, gradient, step, keep):
    return definitions.iht_step(weight, 0 * weight, step, keep)


def _cut_gradient(weight, gradient, step, keep):
    return weight - step * definitions.iht_step(gradient, 0 * gradient, step, keep)


MISTAKES = (
    *parts.of_choice(lambda how: _step(_point, how=how), "the point"),
    Mistake("step-sign", "the step goes up the gradient", _step(lambda w, g, t, k: w + t * g)),
    Mistake("step-forgotten", "the gradient is not multiplied by the step", _step(lambda w, g, t, k: w - g)),
    Mistake("half-step", "a factor 1/2 has slipped into the step", _step(lambda w, g, t, k: w - t * g / 2)),
    Mistake("double-step", "a factor 2 has slipped into the step", _step(lambda w, g, t, k: w - 2 * t * g)),
    Mistake("divided-by-step", "the gradient is divided by the step",
            _step(lambda w, g, t, k: w - g / t if t else w)),
    Mistake("weight-forgotten", "the point is -step g", _step(lambda w, g, t, k: -t * g)),
    Mistake("step-inside-only", "only weights that are not 0 take the step: no new one enters", _step(_inside)),
    Mistake("support-of-weight", "the largest |w| from before the step are kept",
            _step(_point, lambda w, g, t, k: w)),
    Mistake("support-of-gradient", "the largest |g| are kept", _step(_point, lambda w, g, t, k: g)),
    Mistake("gradient-cut-first", "the gradient is thresholded before the step", _step(_cut_gradient)),
    Mistake("weight-cut-first", "w is thresholded before the step, too",
            _step(lambda *a: _cut_first(*a) - a[2] * a[1])),
    Mistake("values-of-weight", "the support is the right one, the values are those of w",
            _step(_point, values=lambda w, g, t, k: w)),
    Mistake("sizes", "the sizes |v| are returned", _step(_point, values=lambda *a: np.abs(_point(*a)))),
    Mistake("soft-threshold", "what is kept is shrunk by the next largest size", _soft),
    Mistake("not-thresholded", "the whole point is returned", _dense),
    *parts.forms(_reference, lambda w, g, t, k: k == w.size, "weight"),
)  # fmt: skip

CONTRACT = Contract(
    name="iht-step",
    arguments=("weight", "gradient", "step", "keep"),
    returns=("w",),
    promises=(
        "the `keep` largest entries of `w - step g` in absolute value stay as they are, all others are exactly 0.0",
    ),
    readings=(
        "w may have any number of weights that are not 0",
        "the sign is that of a descent: the step goes against the gradient",
        "where fewer than `keep` entries of the point are not 0, fewer are returned",
    ),
    tolerance="`4 eps (|w| + |step g|)` of an entry for its two roundings, and the root of the smallest normal number "
    "where sizes are ranked: squares underflow there",
    ties="any choice among entries whose sizes rounding cannot tell apart",
    reference=_reference,
    checks=(*parts.BEFORE, parts.RANKED, parts.EQUAL, *checks.AFTER),
    mistakes=MISTAKES,
    view=IhtStepView,
    flags=FLAGS,
    shapes=((8,), (1,), (2,), (5,), (9,), (16,), (24,), (40,), (64,), (140,)),
    build=_build,
    axes={"weight": ("column",), "gradient": ("column",)},
    transforms=(
        parts.scale(weight=(1, 0), gradient=(0, 1), step=(1, -1)),
        transforms.signs,
        transforms.columns,
        transforms.dead_input,
        parts.another_count,
        parts.another_order("gradient"),
    ),
    example="""def iht_step(weight, gradient, step, keep):
    point = weight - step * gradient
    pruned = np.argsort(-abs(point), kind="stable")[keep:]
    point[pruned] = 0.0
    return point""",
)  # fmt: skip
