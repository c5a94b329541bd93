"""`cosamp-step`: one iteration of CoSaMP: 2 k columns by the gradient, the support, the solve, the cut."""

import copy
from functools import cached_property

import numpy as np

from refprune import definitions

from ...problems import LeastSquares
from .. import checks, make, transforms
from ..bounds import PRODUCT, SOLVE, condition, condition_limit, is_singular
from ..contract import CheckSpec, Contract, failed, undecided
from . import cosamp_step_mistakes as slip
from . import recovery_build as build
from . import step_parts as parts
from .recovery_rules import OBJECTIVE

FLAGS = ("IllConditioned", *build.FLAGS)
SHAPES = (
    (24, 12), (1, 5), (8, 1), (12, 6), (21, 8), (43, 16), (16, 16), (16, 32), (25, 40), (33, 48), (40, 80), (24, 24),
)  # fmt: skip
PLANTED = ("PlantedSupport", "EqualMagnitudes")
LIMIT = 100  # sets of columns that are tried where gradients tie
SHARE = 6  # in wide designs: then the merged set has at most half as many columns as samples


class CosampStepView(parts.StepView, build.LeastSquaresView):
    """The merged sets that rounding allows, and the least squares on each.

    `size` is |g| at the weight, `blur` how far rounding may move the difference of two of them, `support` where the
    weight is not 0.
    """

    word = "|b|"

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        if self.expects == "error" or self.keep is None:
            return
        A, w, y = self.design, self.start, self.target
        self.size, self.support = np.abs(A.T @ (y - A @ w)), w != 0
        # two products: one of a row with w, one of a column with the residual (Higham, section 3.1)
        terms = np.abs(A).T @ (np.abs(A) @ np.abs(w) + np.abs(y))
        self.blur = 2 * (sum(A.shape) + PRODUCT) * self.eps * float(terms.max(initial=0.0))
        self.set_point(0 * w, 0 * w, self.keep)
        order = np.lexsort((-np.arange(w.size), -self.size))
        first = self._with(self._merged(order[: self.count]))
        self.expects, self.reason = first.expects, first.reason
        self.set_point(first.point, first.slack, self.keep)

    @property
    def count(self):
        """How many columns the gradient adds: 2 k, or all."""
        return min(2 * self.keep, self.size.size)

    def least(self):
        """Nothing is sure where gradients tie."""
        return super().least() if len(self.candidates) == 1 else 0

    def _merged(self, at):
        merged = self.support.copy()
        merged[at] = True
        return merged

    def _with(self, merged):
        """This view with the least squares on `merged` for its point.

        The normal equations err by ``eps kappa`` of the norms of y, of the scaled solution and of the scaled weight,
        from which a solver may start (Higham, section 20.4), kappa the condition of ``A_T^T A_T`` at unit diagonal.
        """
        found, at = copy.copy(self), np.flatnonzero(merged)
        part = self.design[:, at]
        scale = np.linalg.norm(part, axis=0)
        point, slack = np.zeros(merged.size), np.zeros(merged.size)
        if at.size and (at.size > len(part) or not scale.all() or is_singular(part.T @ part, self.eps)):
            found.expect("free", "the columns of a merged set are linearly dependent to rounding")
        elif at.size:
            kappa = condition(part.T @ part)
            if kappa > condition_limit(self.eps):
                found.expect("beyond", f"the condition {kappa:.1e} is past {condition_limit(self.eps):.1e}")
            point[at] = np.linalg.lstsq(part, self.target, rcond=None)[0]
            size = sum(np.linalg.norm(v) for v in (scale * point[at], scale * self.start[at], self.target))
            slack[at] = SOLVE * self.eps * kappa * size / scale + self.tiny
        found.set_point(point, slack, self.keep)
        return found

    @cached_property
    def candidates(self):
        """The masks (d,) that rounding allows for the columns of the gradient; [] where they are too many."""
        return build.choices(self.size, self.count, self.blur, LIMIT)

    @cached_property
    def near(self):
        """(d,): the columns that some choice of the gradient holds."""
        ordered = np.sort(self.size)[::-1]
        last = ordered[self.count - 1] if self.count else np.inf
        return self.size >= last - self.blur

    def solved(self, answer):
        """(the view with the merged set that fits the answer best, whether all sets were tried)."""
        outside = (answer.weight != 0) & ~self.support
        masks = [mask for mask in self.candidates if not (outside & ~mask).any()]
        if not self.candidates:  # too many equals: the ones that the answer needs
            order = np.lexsort((-self.size, ~outside))
            masks = [np.isin(np.arange(self.size.size), order[: self.count])]
        best = None
        for mask in masks:
            view = self._with(self._merged(mask))
            found = [check(view, answer) for check in (parts.RANKED.judge, parts.values)]
            misfit = max((c.measured / c.bound for c in found if c is not None and c.bound), default=0.0)
            if best is None or misfit < best[0]:
                best = misfit, view
            if all(c is None or c.outcome == "pass" for c in found):
                break
        return (best[1] if best else self), bool(self.candidates)


def _merged(view, answer):
    """What is not 0 was not 0 before, or is among the 2 k largest gradients."""
    wrong = (answer.weight != 0) & ~view.support & ~view.near
    if view.expects == "beyond" or not wrong.any():
        return None
    at = int(np.flatnonzero(wrong)[0])
    least = np.sort(view.size)[::-1][view.count - 1] if view.count else 0.0
    text = f"weight {at} is not 0; it was 0 before, and |g| is {view.size[at]:.6g} there"
    return failed(f"{text}, below the {view.count} largest, which end at {least:.6g}", view.size[at], least)


def _by_its_set(check):
    """`check` on the least squares that fits the answer; a failure where not all sets were tried decides nothing."""

    def judge(view, answer):
        if view.expects == "free":
            return None
        solved, all_tried = view.solved(answer)
        found = check(solved, answer)
        if found is not None and found.outcome == "fail" and not all_tried:
            return undecided("too many gradients are equal to rounding for all sets to be tried")
        return found

    return judge


def suits(flag, shape):
    """Whether a flag makes sense on (samples, columns)."""
    return build.tall(shape) and shape[1] > 4 if flag == "IllConditioned" else build.suits(flag, shape)


def _build(flag, shape, rng, dtype):
    """A problem of the family; the weight is its start, cut to `keep`."""
    ill = flag == "IllConditioned"
    problem = build.problem("Noise" if ill else flag, shape, rng, dtype, rng.choice([SHARE, 4]))
    A, y, keep, weight = (np.array(value, dtype=np.result_type(value)) for value in problem.values())
    keep = int(keep)
    if ill:
        A, y = _ill_conditioned(rng, A.astype(float), y.astype(float), float(np.finfo(dtype).eps))
    elif flag == "Tie" and rng.random() < 0.6:
        A, y, keep = _equal_gradients(rng, shape)
        weight = np.zeros(shape[1])
    elif flag in PLANTED and rng.random() < 0.4:  # nearly there
        share = make.log_uniform(rng, *((1e-9, 1e-4) if dtype == np.float64 else (0.01, 0.1)))
        weight = definitions.cosamp_step(LeastSquares(A.astype(float), y.astype(float)), keep, weight)[0]
        weight = weight * (1 + share * rng.normal(size=shape[1]))
    if flag not in ("Empty", "WrongCount") and np.isfinite(weight).all():
        weight[np.argsort(-np.abs(weight), kind="stable")[keep:]] = 0.0
    if flag in ("K0", "Correlated") and rng.random() < 0.6:  # columns that are needed, and without a gradient
        weight = 0 * weight if flag == "K0" else weight
        at = rng.permutation(shape[1])[: int(rng.integers(1, 3))]
        y = y - A[:, at] @ np.linalg.lstsq(A[:, at], y - A @ weight, rcond=None)[0]
    elif flag == "K0":  # weights of all sizes
        least = {2: -1, 4: -2.5, 8: -7}[np.dtype(dtype).itemsize]
        y = A @ (rng.choice([-1.0, 1.0], size=shape[1]) * 10 ** rng.uniform(least, 0, size=shape[1]))
    arrays = {"design": A, "target": y, "weight": weight}
    arrays = {name: make.layout(rng, array.astype(dtype), flag) for name, array in arrays.items()}
    return {"design": arrays["design"], "target": arrays["target"], "keep": keep, "weight": arrays["weight"]}


def _ill_conditioned(rng, A, y, eps):
    """(design, target): `A^T A` has a condition up to half of what can be judged."""
    limit = 0.5 * condition_limit(eps)
    values, vectors = np.linalg.eigh(make.spd(rng, A.shape[1], make.log_uniform(rng, limit**0.4, limit)))
    A = np.linalg.qr(A)[0] @ (np.sqrt(values)[:, None] * vectors.T)
    return A, A @ rng.normal(size=A.shape[1]) + 0.1 * y / np.linalg.norm(y)


def _equal_gradients(rng, shape):
    """(design, target, keep) of small integers: the gradients that end the 2 keep largest are equal, to the bit."""
    keep = int(rng.integers(1, (shape[1] + 1) // 2))
    for _ in range(100):
        A, y = rng.choice([-1.0, 0.0, 1.0], size=shape), rng.integers(-3, 4, size=shape[0]).astype(float)
        size = np.sort(np.abs(A.T @ y))[::-1]
        if size[2 * keep - 1] == size[2 * keep] and np.linalg.matrix_rank(A) == shape[1]:
            break
    return A, y, keep


def _reference(design, target, keep, weight):
    return definitions.cosamp_step(LeastSquares(design, target), keep, weight)[0]


CONTRACT = Contract(
    name="cosamp-step",
    arguments=("design", "target", "keep", "weight"),
    returns=("w",),
    promises=(
        "the 2 keep largest entries of `A^T (y - A w)` in absolute value and the support of w are merged",
        "the answer has the `keep` largest entries in absolute value of the least squares on the merged set, as they "
        "are there, and exactly 0.0 elsewhere",
    ),
    readings=(
        "the columns are not normalised",
        "where 2 keep is more than there are columns, the merged set holds all of them",
        "after the cut nothing is solved again",
    ),
    tolerance="entries of the solution are held to `64 eps kappa / s_j` of the norms of y, of s times the solution and "
    "of s times w, with s the norms of the columns and kappa the condition of `A_T^T A_T` at unit diagonal; entries of "
    "the gradient to the rounding of its two products, `(samples + columns) eps |A|^T (|A| |w| + |y|)`",
    ties="any choice among gradients, and among entries of the solution, whose sizes rounding cannot tell apart: the "
    "answer passes when some merged set explains it",
    reference=_reference,
    checks=(
        *parts.BEFORE,
        OBJECTIVE,
        CheckSpec(
            "merged", "greedy", "what is not 0 was so before, or has one of the largest gradients", _merged
        ),
        CheckSpec("ranked", "greedy", parts.RANKED.summary, _by_its_set(parts.RANKED.judge)),
        CheckSpec("equal", "equal", "kept weights are those of the least squares", _by_its_set(parts.values)),
        *checks.AFTER,
    ),
    mistakes=(
        *slip.MISTAKES,
        *parts.forms(_reference, lambda A, y, keep, w: keep == w.size, "design", parts.loss),
    ),
    view=CosampStepView,
    flags=FLAGS,
    shapes=SHAPES,
    build=_build,
    suits=suits,
    sizes=lambda shape: shape,
    axes={"design": ("row", "column"), "target": ("row",), "weight": ("column",)},
    transforms=(
        parts.scale(design=(0, 1), target=(1, 1), weight=(1, 0)),
        transforms.signs,
        transforms.rows,
        transforms.columns,
        parts.another_order("design"),
    ),
    example="""def cosamp_step(design, target, keep, weight):
    size = abs(design.T @ (target - design @ weight))
    merged = set(np.argsort(-size)[: 2 * keep]) | set(np.flatnonzero(weight))
    merged = np.array(sorted(merged), dtype=int)
    if len(merged) and np.linalg.matrix_rank(design[:, merged]) < len(merged):
        raise np.linalg.LinAlgError("need independent columns")
    out = np.zeros_like(weight)
    out[merged] = np.linalg.lstsq(design[:, merged], target, rcond=None)[0]
    out[np.argsort(-abs(out), kind="stable")[keep:]] = 0.0
    return out""",
)
