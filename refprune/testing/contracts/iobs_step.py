"""`iobs-step`: a Newton step, the `keep` largest weights of its end, the best weights on them."""

import numpy as np

from refprune import definitions

from .. import checks, make, transforms
from ..contract import CheckSpec, Contract, Mistake
from . import greedy_build as build
from . import iobs_mistakes as slip
from . import step_parts as parts
from .iobs_view import NewtonView, stationary

FLAGS = (
    "Tie", "NearTie", "PlantedSupport", "Optimal", "WrongStart", "NoGradient", "DeadInput", "DuplicateColumn",
    "CorrelatedPair", "Singular", "IllConditioned", "ZeroWeight", "LossScale", "K0", "K1", "KAll", "OneColumn",
    "WiderThanBlock", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf", "Empty", "WrongShape", "WrongCount",
    "NonSymmetric",
)  # fmt: skip
SPOILED = ("NaN", "Inf", "Empty", "WrongShape", "NonSymmetric", "WrongCount")
STATIONARY = CheckSpec(
    "stationary", "stationary", "kept weights minimise the model on their support", stationary
)
TOLERANCE = (
    "entries of the Newton point and best weights are held to `64 eps kappa / s_p` of the norm of what is added, "
    "`s w` and `s H^-1 g`, with s the roots of the diagonal of H and kappa the condition of its living part at unit "
    "diagonal; conditions go up to `min(1e8, 1e-4 / eps)`"
)
TIES = "any choice among entries of theta+ whose sizes rounding cannot tell apart; weights are judged on it"


class IobsStepView(NewtonView):
    """The model is given."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        size = np.size(problem["weight"])
        keep = self.need_count("keep", 0, size)
        if self.need_arrays(weight=(None,)) and self.need_arrays(gradient=(size,), hessian=(size, size)):
            self.need_symmetric("hessian")
            weight, gradient, hessian = (
                np.asarray(problem[name], dtype=float) for name in ("weight", "gradient", "hessian")
            )
            self.set_model(weight, gradient, hessian, keep)


def newton_point(flag, rng, w, keep, dtype, near=(0.02, 0.05)):
    """A Newton point (d,) with the named property, to plan a gradient for; `near` is how near a tie is in singles."""
    d = w.size
    u = make.weights(rng, 1, d, "Tie" if flag == "Tie" else "")[0]
    if flag == "Tie":
        u = rng.choice([-1.0, -0.5, 0.5, 1.0], size=d)
    elif flag in ("NoGradient", "Optimal"):
        u = w.copy()
    elif flag == "PlantedSupport":
        u[rng.permutation(d)[keep:]] = 0.0
    elif flag == "NearTie" and 0 < keep < d:
        j, p = np.argsort(-abs(u))[[keep - 1, keep]]
        share = make.log_uniform(rng, *((1e-9, 1e-6) if dtype == np.float64 else near))
        u[[j, p]] = abs(u[p]) * rng.choice([-1, 1], size=2) * rng.permutation([1, 1 + share])
    return u


def _build(flag, shape, rng, dtype):
    (d,), kind = shape, "" if flag in SPOILED else flag
    w, h = build.arrays(kind if kind not in make.LAYOUTS else "Plain", (1, d), rng, dtype)
    w, h = w[0].astype(float), h.astype(float)
    keep = make.keep_count(rng, d, "" if flag == "NearTie" else flag)
    if flag == "DeadInput" and rng.random() < 0.5:  # some dead inputs stay
        keep = d - int(rng.integers(0, (np.diagonal(h) == 0).sum()))
    if flag == "Optimal":
        w[rng.permutation(d)[keep:]] = 0.0
    living = np.diagonal(h) > 0
    if flag == "DeadInput" and rng.random() < 0.5:  # living weights that are 0 and stay so; no dead one stays
        w[(rng.random(d) < 0.5) & living] = 0.0
        flag, keep = "NoGradient", int(max(living.sum() - 1, 1))
    point = newton_point(flag, rng, w, keep, dtype)
    if flag == "NearTie" and 0 < keep < d and rng.random() < 0.75:  # one of the two is new
        w[rng.permutation(np.argsort(-abs(point))[[keep - 1, keep]])[0]] = 0.0
    g = h @ (w - point)
    if flag == "WrongStart":  # the best weights on another support
        kept, g = rng.permutation(d)[:keep], rng.normal(size=d) * np.sqrt(np.diagonal(h))
        g[kept], w[np.delete(np.arange(d), kept)] = 0.0, 0.0
    if not flag and rng.random() < 0.3:  # as a network's may be: no planned point
        g = rng.normal(size=d) * np.sqrt(np.diagonal(h)) * 2.0 ** rng.integers(-2, 3)
    w, g, h = w.astype(dtype), g.astype(dtype), h.astype(dtype)
    if flag == "Empty":
        w, g, h, keep = w[:0], g[:0], h[:0, :0], 0
    elif flag in ("NaN", "Inf", "WrongShape"):
        given, at = [w, g, h], rng.integers(3)
        given[at] = make.spoil(rng, given[at], flag)
        w, g, h = given
    elif flag == "WrongCount":
        keep = int(rng.choice([-1, d + 1]))
    elif flag == "NonSymmetric":
        h[0, 1] += 1 + abs(h).max()
    w, g, h = (make.layout(rng, array, flag) for array in (w, g, h))
    return {"weight": w, "gradient": g, "hessian": h, "keep": keep}


def _reference(weight, gradient, hessian, keep):
    return definitions.iobs_step(weight, gradient, hessian, keep)[0]


def _lift(step):
    return lambda weight, gradient, hessian, keep: step(weight, gradient, hessian, keep).astype(weight.dtype)


def _dead_ranked(weight, gradient, hessian, keep):
    """A dead input gets a 1 on the diagonal and is ranked like the others."""
    filled = hessian + np.diag(np.diagonal(hessian) == 0).astype(hessian.dtype)
    return slip.surgeon(weight, gradient, filled, keep).astype(weight.dtype)


def _dead_zeroed(weight, gradient, hessian, keep):
    right = _reference(weight, gradient, hessian, keep)
    return np.where(np.diagonal(hessian) > 0, right, 0).astype(weight.dtype)


CONTRACT = Contract(
    name="iobs-step",
    arguments=("weight", "gradient", "hessian", "keep"),
    returns=("w",),
    promises=(
        "`keep` weights stay, the largest in absolute value of the Newton point `theta+ = w - H^-1 g`",
        "they are the best ones on their support: with S the rest, `theta+ - H^-1_:S ([H^-1]_SS)^-1 theta+_S`, which "
        "minimises `g.(v - w) + 1/2 (v - w)^T H (v - w)`; all others are exactly 0.0",
    ),
    readings=(
        "no damping",
        "with the claim `project=euclid` the kept weights are those of the Newton point",
        "dead inputs (a zero on the diagonal, and no gradient) go first; one that stays keeps its weight",
    ),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=(*parts.BEFORE, STATIONARY, parts.RANKED, *checks.AFTER),
    mistakes=(
        *slip.mistakes(_lift),
        Mistake("dead-input-kept", "dead inputs are ranked like the others, as with a 1 on the diagonal", _dead_ranked),
        Mistake("dead-inputs-zeroed", "kept dead inputs lose their weight", _dead_zeroed),
        *parts.forms(_reference, lambda w, g, h, keep: keep == w.size, "weight"),
    ),
    view=IobsStepView,
    flags=FLAGS,
    shapes=((6,), (1,), (2,), (7,), (12,), (16,), (24,), (40,), (140,)),
    build=_build,
    axes={"weight": ("column",), "gradient": ("column",), "hessian": ("column", "column")},
    transforms=(
        parts.scale(weight=(1, 0), gradient=(1, 1), hessian=(0, 1)),
        transforms.signs,
        transforms.columns,
        transforms.dead_input,
        parts.another_count,
        parts.another_order("hessian"),
    ),
    example="""def iobs_step(weight, gradient, hessian, keep):
    alive = np.diag(hessian) > 0
    if alive.any() and np.linalg.cond(hessian[np.ix_(alive, alive)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite hessian")
    k, point = np.flatnonzero(alive), weight.copy()
    point[k] -= np.linalg.solve(hessian[np.ix_(k, k)], gradient[k])
    order = np.argsort(np.where(alive, abs(point), -1), kind="stable")  # dead inputs go first
    kept = np.zeros(len(point), bool)
    kept[order[len(point) - keep :]] = True
    out, k = np.where(kept, weight, 0), kept & alive
    out[k] = np.linalg.solve(hessian[np.ix_(k, k)], hessian[k] @ weight - gradient[k])
    return out""",
)  # fmt: skip
