"""`iobs`: the iterative Optimal Brain Surgeon on least squares with independent columns, where one step is all."""

import numpy as np

from refprune import definitions

from ...problems import LeastSquares
from .. import checks, make, transforms
from ..bounds import condition_limit
from ..contract import CheckSpec, Contract, Mistake
from . import iobs_mistakes as slip
from . import recovery_build as build
from . import step_parts as parts
from .iobs_step import TIES, newton_point
from .iobs_view import NewtonView, stationary
from .recovery_rules import OBJECTIVE

FLAGS = (
    "PlantedSupport", "EqualMagnitudes", "Orthonormal", "Correlated", "Noise", "Optimal", "WrongStart", "ZeroTarget",
    "Tie", "NearTie", "DeadInput", "DuplicateColumn", "IllConditioned", "ColumnScale", "LossScale", "OneColumn",
    "Square", "K0", "K1", "KAll", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf", "Empty", "WrongShape",
    "WrongCount",
)  # fmt: skip
ALONE = ("Square", "IllConditioned", "NearTie")  # on columns that are near to orthonormal
OWN = (*ALONE, "Optimal", "DeadInput")


class IobsView(NewtonView, build.LeastSquaresView):
    """The model of least squares: its Newton point is the least squares solution, from any start."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "start")
        if self.expects == "error" or self.keep is None:
            return
        gradient = self.design.T @ (self.design @ self.start - self.target)
        size = np.linalg.norm(self.target)
        self.set_model(self.start, gradient, self.design.T @ self.design, self.keep, size)

    def move(self):
        """From the solution by orthogonal factors, which knows the point better than the normal equations do."""
        return np.where(self.living, self.weight - self._solution(self.living), 0.0)

    def best(self, kept):
        """Least squares on `kept`; dead weights are those that were given."""
        return np.where(kept & ~self.living, self.weight, self._solution(kept & self.living))

    def _solution(self, columns):
        out = np.zeros(self.weight.size)
        if columns.any():
            out[columns] = np.linalg.lstsq(self.design[:, columns], self.target, rcond=None)[0]
        return out


def suits(flag, shape):
    """As in the family; every shape here has independent columns."""
    if flag == "Square" or shape[0] == shape[1] > 1:  # square designs of the family are ill-conditioned
        return flag == "Square" and shape[0] == shape[1] > 1
    if flag in ("IllConditioned", "NearTie", "DeadInput"):
        return 2 < shape[1] <= 16 and build.tall(shape)
    if flag in ("EqualMagnitudes", "Optimal"):
        return shape[1] > 1
    return build.suits(flag, shape)


def _build(flag, shape, rng, dtype):
    problem = build.problem(
        "Orthonormal" if flag in ALONE else flag, shape, rng, np.dtype(float if flag in OWN else dtype)
    )
    if flag not in OWN:
        return problem
    A, y, keep, start = (np.array(problem[name]) for name in ("design", "target", "keep", "start"))
    keep, size = int(keep), np.abs(y).max(initial=0.0)
    if flag == "IllConditioned":
        limit = condition_limit(float(np.finfo(dtype).eps))
        values, vectors = np.linalg.eigh(
            make.spd(rng, shape[1], make.log_uniform(rng, limit**0.4, 0.5 * limit))
        )
        A = np.linalg.qr(A)[0] @ (np.sqrt(values)[:, None] * vectors.T)
        y = A @ rng.normal(size=shape[1]) + 0.1 * y / np.linalg.norm(y)
    elif flag == "NearTie":
        keep = int(rng.integers(1, shape[1]))
        y = A @ newton_point(flag, rng, np.zeros(shape[1]), keep, dtype, (5e-4, 0.01))
    elif flag == "Optimal":  # the best weights on a support, and of as many it need not be the one
        keep = int(rng.integers(1, shape[1]))
        at = rng.permutation(shape[1])[:keep]
        start = np.zeros(shape[1])
        start[at] = np.linalg.lstsq(A[:, at], y, rcond=None)[0]
    elif flag == "DeadInput":  # the start holds something there, and some of them may stay
        dead = ~A.any(axis=0)
        start[dead] = size * rng.choice([0.01, 1.0, 100.0]) * rng.normal(size=int(dead.sum()))
        if rng.random() < 0.5:
            keep = shape[1] - int(rng.integers(0, dead.sum()))
    arrays = {"design": A.astype(dtype), "target": y.astype(dtype), "start": start.astype(dtype)}
    return {"design": arrays["design"], "target": arrays["target"], "keep": keep, "start": arrays["start"]}


def _reference(design, target, keep, start):
    return definitions.iobs(LeastSquares(design, target), keep, start)[0].astype(start.dtype)


def _lift(step):
    def call(design, target, keep, start):
        gradient = design.T @ (design @ start - target)
        return step(start, gradient, design.T @ design, keep).astype(start.dtype)

    return call


def _scaled(factor):
    """A gradient of another scale than H."""

    def call(design, target, keep, start):
        gradient = factor(*design.shape) * design.T @ (design @ start - target)
        return slip.surgeon(start, gradient, design.T @ design, keep).astype(start.dtype)

    return call


def _gradient_steps(design, target, keep, start):
    """Ten steps of iterative hard thresholding with 1 / L."""
    parts.need_finite(design)
    w, step = start, 1 / max(np.linalg.norm(design, 2) ** 2, 1e-300)
    for _ in range(10):
        w = definitions.iht_step(w, design.T @ (design @ w - target), step, keep)
    return w.astype(start.dtype)


def _residual_alone(design, target, keep, start):
    """The weights of the residual, without the start that it is measured from."""
    return _reference(design, target - design @ start, keep, 0 * start)


def _centred(design, target, keep, start):
    return _reference(design - design.mean(axis=0), target - target.mean(), keep, start)


def _normalised(design, target, keep, start):
    norms = np.linalg.norm(design, axis=0)
    norms = np.where(norms > 0, norms, 1).astype(design.dtype)
    return _reference(design / norms, target, keep, start * norms)


def _correlated(design, target, keep, start):
    """The columns that correlate most with the target, refitted."""
    parts.need_finite(design, target)
    kept = definitions.topk_mask(np.abs(design.T @ target), keep)
    out = np.zeros_like(start)
    if kept.any():
        out[kept] = np.linalg.lstsq(design[:, kept], target, rcond=None)[0]
    return out


CONTRACT = Contract(
    name="iobs",
    arguments=("design", "target", "keep", "start"),
    returns=("w",),
    promises=(
        "`keep` weights stay, the largest in absolute value of the Newton point, which is the least squares solution "
        "over all columns, from any start",
        "they are the least squares solution on their columns: the projection of the Newton point in H = A^T A; all "
        "others are exactly 0.0",
    ),
    readings=(
        "the columns are linearly independent, but for columns of zeros: those go first, and one that stays keeps "
        "the weight of the start",
        "any number of steps: the first one ends where all others do",
        "no damping",
        "with the claim `project=euclid` the kept weights are those of the Newton point",
    ),
    tolerance="as in `iobs-step`, for `H = A^T A`, with the norm of the target among what is added: forming the normal "
    "equations in the arithmetic of the call is right",
    ties=TIES,
    reference=_reference,
    checks=(
        *parts.BEFORE,
        OBJECTIVE,
        CheckSpec("stationary", "stationary", "kept weights minimise the model on their support", stationary),
        parts.RANKED,
        *checks.AFTER,
    ),
    mistakes=(
        *slip.mistakes(_lift),
        Mistake("mean-gradient", "the gradient has 2 / n and H has not: steps of 2 / n of Newton's length",
                _scaled(lambda n, d: 2 / n)),
        Mistake("mean-hessian", "H has 1 / n and the gradient has not", _scaled(lambda n, d: n)),
        Mistake("residual-alone", "the residual is fitted, and the start is not added again", _residual_alone),
        Mistake("correlation", "the columns that correlate most with the target are refitted", _correlated),
        Mistake("gradient-steps", "ten steps of iterative hard thresholding with step 1 / L", _gradient_steps),
        Mistake("centred", "the columns and the target are centred first", _centred),
        Mistake("still-normalised", "the columns are normalised, the weights not scaled back", _normalised),
        *parts.forms(_reference, lambda A, y, keep, start: keep == start.size, "design", parts.loss),
    ),
    view=IobsView,
    flags=FLAGS,
    shapes=((24, 12), (8, 1), (12, 6), (6, 2), (21, 8), (43, 16), (12, 12), (64, 32), (18, 9), (96, 48)),
    build=_build,
    suits=suits,
    sizes=lambda shape: shape,
    axes=build.AXES,
    transforms=(
        parts.scale(design=(0, 1), target=(1, 1), start=(1, 0)),
        transforms.signs,
        transforms.rows,
        transforms.columns,
        parts.another_count,
        parts.another_order("design"),
    ),
    example="""def iobs(design, target, keep, start):
    alive = abs(design).sum(axis=0) > 0
    if np.linalg.matrix_rank(design) < alive.sum():
        raise np.linalg.LinAlgError("need independent columns")
    point = np.zeros_like(start)
    point[alive] = np.linalg.lstsq(design[:, alive], target, rcond=None)[0]
    order = np.argsort(np.where(alive, abs(point), -1), kind="stable")  # columns of zeros go first
    kept = np.zeros(len(point), bool)
    kept[order[len(point) - keep :]] = True
    out, k = np.where(kept, start, 0), kept & alive
    out[k] = np.linalg.lstsq(design[:, k], target, rcond=None)[0]
    return out""",
)  # fmt: skip
