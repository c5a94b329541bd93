r"""What the sparse-recovery methods share: an objective over a flat vector, T_k, steps, and the certificate.

Model: any objective ``f`` over w (d,) with `value`, `gradient`, `hvp` and `hessian`.
Problem: the least f among the w with at most k weights that are not 0.
T_k keeps the k largest ``|w|``; among equals the lowest flat index goes first, and dead weights (a zero on the
diagonal of the Hessian of a quadratic) before all others.

A point x on a support K of k weights is *L-stationary* where it is a fixed point of ``T_k(x - g / L)``: the gradient is
0 on K, and ``|g_i| <= L min_K |x|`` elsewhere (Beck and Eldar 2013, Sparsity constrained nonlinear optimization,
lemma 2.2). The least such L and the gradient on K are the certificate, `Iteration`.
"""

from dataclasses import dataclass, field
from math import inf, isfinite
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    cast,
    columns,
    concat,
    diagonal,
    dtype_name,
    eps,
    from_numpy,
    full,
    integer,
    namespace,
    nonnegative,
    precision,
    smallest,
    swap,
    to_numpy,
)
from refprune.methods.checked import Checked
from refprune.methods.starting import starting_point
from refprune.methods.system import floating, in_range
from refprune.methods.vectors import count, cut, dot, norm
from refprune.problems import LayerProblem, LeastSquares, Quadratic
from refprune.pruned import Pruned

RULES = ("normalized", "lipschitz")
REFRESH = 8  # so many updates on, a residual is computed anew
FEW = 16  # a product with a design reads the columns alone where one in so many is wanted


class Iteration(NamedTuple):
    """A point that the method passed; the last one is the answer, and is its certificate.

    Parameters
    ----------
    value : float
        The objective there.
    step : float
        The step that was tried from there, a multiple of the gradient; 0 where the method tries none.
    changed : int
        The weights that this step brings into the support.
    inside : float
        The norm of the gradient on the support.
    level : float
        The least L for which no weight off the support wants in: ``max |g|`` off it over ``min |w|`` on it.
    reason : str
        ``""`` while the method goes on; at the end ``"converged"``, ``"cycle"``, ``"stagnated"`` or ``"max_iter"``.

    Examples
    --------
    >>> from refprune.methods.hard_thresholding import Iteration
    >>> Iteration(value=0.5, step=0.25, changed=0, inside=0.0, level=2.0, reason="converged").level
    2.0
    """

    value: float
    step: float
    changed: int
    inside: float
    level: float
    reason: str = ""


class Point(NamedTuple):
    """A point (d,) with its support, value and gradient; `solved` where it is the minimiser on that support.

    Of least squares, `residual` is ``A w - y``, the sum of `age` changes since it was last computed from w.
    """

    w: Array
    kept: Array
    value: float
    g: Array
    solved: bool = False
    residual: Array | None = None
    age: int = 0


@dataclass(frozen=True)
class View:
    """An objective in one precision.

    `start` (d,) is the first point, not thresholded, 0 where a weight is dead; `given` the same with the dead
    weights, in the caller's dtype. `dead` is a boolean array (d,), or None where no weight is dead. `held` is for
    `image`: the numbers of some columns of a design, and these columns.
    """

    objective: Any
    keep: int
    start: Any
    given: Any
    dead: Any
    shape: tuple
    held: list = field(default_factory=list)

    @property
    def quadratic(self):
        """Whether the Hessian is the same everywhere."""
        return isinstance(self.objective, (Quadratic, LeastSquares, LayerProblem))

    @property
    def eps(self):
        return eps(self.start.dtype)

    def at(self, w, residual=None):
        """The value (float) and the gradient (d,) at `w`, where the residual of least squares is `residual`."""
        f = self.objective
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error below
            if isinstance(f, LeastSquares):
                residual = self.residual(w) if residual is None else residual
                value, gradient = dot(residual, residual) / 2, swap(f.design) @ residual
            else:
                value, gradient = float(f.value(w)), f.gradient(w)
        if not (isfinite(value) and bool(namespace(gradient).all(namespace(gradient).isfinite(gradient)))):
            raise np.linalg.LinAlgError(
                f"need a value and a gradient in the range of {dtype_name(w.dtype)}; got others (is a step too long?)"
            )
        return value, gradient

    def point(self, w, residual=None, age=0):
        """The `Point` at `w`, on the support that it stands on."""
        residual = self.residual(w) if residual is None else residual
        value, gradient = self.at(w, residual)
        return Point(w, self.support(w, gradient), value, gradient, residual=residual, age=age)

    def residual(self, w):
        """``A w - y`` of least squares, else None."""
        with np.errstate(over="ignore", invalid="ignore"):  # `at` tells what is not finite
            image = self.image(w)
            return None if image is None else image - self.objective.target

    def moved(self, point, w, shift):
        """The `Point` at `w` from another one, where ``A w`` of least squares is longer by `shift`."""
        if point.age == REFRESH:
            return self.point(w)
        return self.point(w, point.residual + shift, point.age + 1)

    def image(self, v):
        """``A v`` of least squares, else None. Where `v` has few nonzeros it is a product with few columns alone.

        The columns that were read are held, as long as they are few together: supports come back.
        """
        if not isinstance(self.objective, LeastSquares):
            return None
        design, used, most = self.objective.design, np.flatnonzero(to_numpy(v)), v.shape[0] // FEW
        if used.size > most:
            return design @ v
        which, matrix = self.held or (used[:0], None)
        missing = np.setdiff1d(used, which)
        if matrix is None or which.size + missing.size > most:
            self.held[:] = used, columns(design, from_numpy(used, v))
        elif missing.size:
            both = matrix, columns(design, from_numpy(missing, v))
            self.held[:] = np.concatenate([which, missing]), concat(both, axis=1)
        which, matrix = self.held
        return matrix @ v[from_numpy(which, v)]

    def curvature(self, w, v):
        """``v^T H v`` at `w`, a float."""
        image = self.image(v)
        return dot(v, self.objective.hvp(w, v)) if image is None else dot(image, image)

    def largest(self, scores, keep=None):
        """The mask (d,) of the `keep` largest `scores` (k when None)."""
        keep = self.keep if keep is None else min(keep, scores.shape[0])
        return namespace(scores).logical_not(smallest(scores, scores.shape[0] - keep, self.dead))

    def top(self, w, keep=None):
        """The mask (d,) of the `keep` largest ``|w|``."""
        return self.largest(namespace(w).abs(w), keep)

    def support(self, w, gradient):
        """The k weights that `w` stands on: those that are not 0, and of the others the largest gradients."""
        xp = namespace(w, gradient)
        if count(w != 0) == self.keep:
            return w != 0
        size = xp.abs(gradient)
        above = 2 * float(xp.max(size)) + 1 if size.shape[0] else 1.0
        return self.largest(xp.where(w != 0, above, size))

    def goal(self, tol, gradient):
        """What a gradient counts as 0 below: `tol`, 16 eps at least, times that at the start or at 0."""
        origin = self.objective.gradient(full(self.start.shape, 0, self.start))
        return max(tol, 16 * self.eps) * max(norm(gradient), norm(origin))

    def iteration(self, point, step=0.0, changed=0, reason=""):
        """The `Iteration` at a `Point`."""
        w, kept, value, gradient = point[:4]
        xp = namespace(w, gradient)
        outside = float(xp.max(xp.where(kept, 0, xp.abs(gradient)))) if w.shape[0] else 0.0
        least = float(xp.min(xp.abs(w[kept]))) if self.keep else inf
        level = 0.0 if outside == 0 else outside / least if least > 0 else inf
        return Iteration(value, step, changed, norm(cut(gradient, kept)), level, reason)

    def answer(self, point, trace):
        """The `Pruned` answer at a `Point`; a dead weight that is kept is the one that was given."""
        w, kept, given, xp = point.w, point.kept, self.given, namespace(point.w)
        value = point.value
        with np.errstate(over="ignore"):
            weight = in_range("an answer", astype(cut(w, kept), given.dtype))
        if self.dead is not None:
            weight = xp.where(xp.logical_and(kept, self.dead), given, weight)
        if self.dead is not None or given.dtype != w.dtype:
            value, _ = self.at(astype(weight, w.dtype))
        return Pruned(xp.reshape(weight, self.shape), xp.reshape(kept, self.shape), value, trace=tuple(trace))


def view(objective, keep, start):
    """The `View` of an objective; errors as the methods state them."""
    flat, shape, dtype = starting_point(objective, start)
    if not isinstance(objective, (Quadratic, LeastSquares, LayerProblem)):
        objective = Checked(objective)
    first = objective.gradient(flat)
    floating(first)
    keep = integer("keep", keep, least=0, most=flat.shape[0])
    w, dead = astype(flat, precision(flat, first)), _dead(objective)
    if dead is not None:
        if bool(namespace(first).any(cut(first, dead) != 0)):
            raise np.linalg.LinAlgError(
                "need gradient 0 where the Hessian has a zero diagonal (else there is no minimum); got another"
            )
        w = namespace(w).where(dead, 0, w)
    if isinstance(objective, LeastSquares):  # widened once, not in every product
        design, target, _ = cast(objective.design, objective.target, w)
        objective = LeastSquares(design, target)
    return View(objective, keep, w, astype(flat, dtype), dead, shape)


def begin(objective, keep, start, tol):
    """(the `View` of an objective, the `Point` T_k(start), what a gradient counts as 0 below); errors as `view`."""
    seen = view(objective, keep, start)
    tol = nonnegative("tol", tol)
    point = seen.point(cut(seen.start, seen.top(seen.start)))
    return seen, point, seen.goal(tol, point.g)


def _dead(objective):
    """The weights with a zero on the diagonal of a quadratic's Hessian, (d,), or None where there is none."""
    if isinstance(objective, LeastSquares):
        dead = namespace(objective.design).all(objective.design == 0, axis=0)
    elif isinstance(objective, Quadratic):
        dead = objective.diagonal == 0
    elif isinstance(objective, LayerProblem):
        groups, columns = objective.groups, objective.columns
        zeros = full((groups, objective.rows // groups, columns), 0, objective.gram)
        xp = namespace(zeros)
        gram = xp.reshape(objective.gram, (groups, columns, columns))
        dead = xp.reshape(zeros + diagonal(gram)[:, None, :] == 0, (-1,)) if columns else None
    else:
        return None
    return dead if dead is not None and bool(namespace(dead).any(dead)) else None


def step_rule(step):
    """`step` checked: a rule's name, or a positive float."""
    if isinstance(step, str) and step in RULES:
        return step
    if isinstance(step, bool) or not isinstance(step, Real):
        error = ValueError if isinstance(step, str) else TypeError
        raise error(f"need step 'normalized', 'lipschitz' or a number; got {step!r}")
    if not 0 < step < inf:
        raise ValueError(f"need step > 0 and finite; got {step}")
    return float(step)
