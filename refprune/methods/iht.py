r"""Iterative hard thresholding: a step down the gradient, then the k largest weights.

Model: any objective ``f`` over w (d,), with gradients and Hessian-vector products.
Problem: the least f with at most k weights that are not 0.
Solution: ``w <- T_k(w - t g)``, ``g`` the gradient at w. The step t, on the support K of w:

    "normalized": ``t = |g_K|^2 / g_K^T H g_K``, the exact line search of the quadratic model; where g_K is 0 to `tol`,
    the same along the k largest gradients. Where the support changes, t is halved until ``t c <= 0.99`` with
    ``c = dw^T dg / dw^T dw``, the curvature along the change dw.
    "lipschitz": ``t = 1 / L``, L the largest eigenvalue of H. Then f never rises.
    a number: that step, untested.

Ties: the lowest flat index goes first; dead weights go before all others.
Cost: a sort and two products with the design of least squares for each iteration, or one with H; "normalized" takes
one product more with H, and one for every change of the support and every halving. Least squares need none: its
residual is updated by the image of the step and computed anew every ninth time, and what a change of the support does
is a product with the columns that come and go. Where the support has at most d / 16 weights, only its columns are
read; up to d / 16 columns are held beside the design.
Source: Blumensath and Davies 2009, Iterative hard thresholding for compressed sensing, (10); 2010, Normalized
iterative hard thresholding, (13) and (14), there with halving by 2 * 0.99.
"""

from typing import NamedTuple

import numpy as np

from refprune.arrays import Array, exponent, integer, namespace
from refprune.methods.hard_thresholding import View, begin, step_rule
from refprune.methods.lipschitz import lipschitz, reciprocal
from refprune.methods.starting import gradient_factor
from refprune.methods.vectors import count, cut, dot, norm
from refprune.pruned import Pruned

MARGIN = 0.01  # how far below the inverse curvature a step that changes the support must stay
HALVINGS = 60


def iht(
    objective,
    keep: int,
    start: Array | None = None,
    step: str | float = "normalized",
    max_iter: int = 1000,
    tol: float = 1e-9,
    loss_scale: str | float | None = None,
) -> Pruned:
    r"""Look for the best k weights by gradient steps that keep the k largest.

    Parameters
    ----------
    objective : LeastSquares, Quadratic, LayerProblem, NetworkLoss, or any object with the same four functions
        `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)` over a flat vector (d,).
    keep : int
        k, from 0 to d.
    start : array, shape (d,), or the weight's in a layer, optional
        It is cut to its k largest weights first. None: the weight of a Quadratic or a LayerProblem, 0 for
        LeastSquares; other objectives need one.
    step : "normalized", "lipschitz" or a positive number
        A number multiplies the gradient, and is not tested: where it is too long the iterates diverge.
    max_iter : int
        At most so many steps.
    tol : float
        A gradient counts as 0 when its norm is at most `tol` (16 eps at least) times its norm at the start or at 0,
        the larger one.
    loss_scale : "mse-mean", a number or None
        What multiplies the gradient, but not the Hessian that the step is taken from; with ``step="lipschitz"``
        only. "mse-mean" is 2 / samples: some published experiments take the gradient of a mean squared error beside
        the Hessian of half a sum. None is 1, which is right.

    Returns
    -------
    Pruned
        `mask` keeps exactly k. `trace` has an `Iteration` for every point: ``(value, step, changed, inside, level,
        reason)``. The last one is the answer's certificate, before it is cast to the dtype of `start`: with reason
        "converged" the gradient on the support is 0 to `tol`, and the answer is a fixed point for the step it stopped
        with, ``changed == 0``; so it is L-stationary for every L from `level` on. The reason "converged" is also given
        where the whole gradient is 0 to `tol`. "max_iter": no step was left. "stagnated": no step lowers the objective
        beyond rounding.

    Raises
    ------
    TypeError
        `objective` lacks a function; Fractions; an argument of another kind.
    ValueError
        `keep` is not in [0, d]; `start` does not fit, or is missing for an objective of your own;
        an unknown rule; a step, `tol` or `max_iter` out of range;
        `loss_scale` beside another step than "lipschitz".
    numpy.linalg.LinAlgError
        The iterates diverge; there is no minimum (a gradient where the Hessian is 0); an answer beyond the dtype of
        `start`.

    See Also
    --------
    htp : solves on every support; fewer iterations, each dearer.
    iobs : Newton steps for gradient steps.

    Notes
    -----
    With "normalized" and "lipschitz" the objective never rises: the answer is no worse than the k largest weights of
    `start`. A `loss_scale` above 1 makes longer steps, for which this does not hold; from 2 on they may diverge. For
    objectives that are not quadratic L is only known where it was looked for, so a step is halved until the value
    falls. A fixed point of the normalised step is stationary for a step above ``1 / (2 L)``. Squares below the range of
    float64 compare as equal: scale a problem with weights near 1e-160 first.

    Without noise the normalised step recovers a planted signal more often than 1/L does: its steps are longer.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> A = np.random.default_rng(0).normal(size=(20, 40)) / 20**0.5
    >>> planted = np.zeros(40)
    >>> planted[[3, 17]] = [2.0, -1.0]
    >>> answer = rp.iht(rp.LeastSquares(A, A @ planted), keep=2)
    >>> np.flatnonzero(answer.mask), bool(np.allclose(answer.weight, planted))
    (array([ 3, 17]), True)
    >>> answer.trace[-1].reason, answer.trace[-1].changed
    ('converged', 0)
    """
    rule, factor = step_rule(step), gradient_factor(loss_scale, objective)
    if loss_scale is not None and rule != "lipschitz":
        raise ValueError(f"need step 'lipschitz' with loss_scale; got {step!r}")
    max_iter = integer("max_iter", max_iter, least=0)
    seen, point, goal = begin(objective, keep, start, tol)
    first, trace = point.value, []
    line = Line(rule) if isinstance(rule, float) else None
    while True:
        inside = norm(cut(point.g, point.kept))
        if seen.keep == 0 or inside == 0 == norm(point.g):
            line = Line(0.0)
        elif rule == "normalized":
            line = line_search(seen, point.w, point.g, seen.top(point.g) if inside <= goal else point.kept)
        elif line is None:
            line = Line(factor * reciprocal(lipschitz(seen.objective, point.w)))
        line, changed, after = _step(seen, rule, point, line, inside <= goal, first)
        settled = inside <= goal and (changed == 0 or norm(point.g) <= goal)
        reason = "converged" if settled else "stagnated" if after is None else ""
        reason = reason or ("max_iter" if len(trace) == max_iter else "")
        if reason and point.age:  # what is said of the answer comes from a residual that was not updated
            point = seen.point(point.w)
            continue
        trace.append(seen.iteration(point, line.t, changed, reason))
        if reason:
            return seen.answer(point, trace)
        point = after


class Line(NamedTuple):
    """The step `t`, and of the normalised step on least squares ``A (t g_K)``, K the mask that it was looked for on."""

    t: float
    mask: Array | None = None
    image: Array | None = None

    def half(self):
        """Half the step."""
        return Line(self.t / 2, self.mask, None if self.image is None else self.image / 2)


def line_search(seen: View, w: Array, gradient: Array, mask: Array) -> Line:
    """The step ``|g|^2 / g^T H g`` along the gradient on `mask`; 1/L where that curvature is not positive."""
    g = cut(gradient, mask)
    power = exponent(g)
    g = g * 2.0**-power  # so that no product leaves the range
    image = seen.image(g)
    curvature = dot(g, seen.objective.hvp(w, g)) if image is None else dot(image, image)
    t = dot(g, g) / curvature if curvature > 0 else reciprocal(lipschitz(seen.objective, w))
    return Line(t, mask, None if image is None else image * (t * 2.0**power))


def _step(seen, rule, point, line, still, first):
    """The step that is taken: (its line, weights that enter, the next point or None).

    None where the point stands still: the gradient on the support is 0 to `tol` (`still`) and none enters; or where
    no step is short enough.
    """
    w, kept, value, g = point[:4]
    xp = namespace(w)
    highest = value + 32 * seen.eps * max(abs(value), abs(first))
    for _ in range(HALVINGS):
        with np.errstate(over="ignore"):  # `at` tells when a step leaves the range
            moved = w - line.t * g
        top = seen.top(moved)
        changed = count(xp.logical_and(top, xp.logical_not(kept)))
        if still and changed == 0:
            return line, changed, None
        new = cut(moved, top)
        change = new - w if rule == "normalized" and changed else None
        if line.image is not None:  # a product with the columns that come and go gives A (new - w)
            shift = seen.image(new - xp.where(line.mask, moved, w)) - line.image
            if change is None or _short(line.t, change, dot(shift, shift)):
                return line, changed, seen.moved(point, new, shift)
        elif seen.quadratic or isinstance(rule, float):
            if change is None or _short(line.t, change, seen.curvature(w, change)):
                return line, changed, seen.point(new)
        else:
            after = seen.point(new)
            short = change is None or _short(line.t, change, dot(change, after.g - g))
            if short and after.value <= highest:
                return line, changed, after
        line = line.half()
    return line, changed, None


def _short(t, change, curvature):
    """Whether the step `t` stays below the inverse of the curvature along the change that it makes."""
    return t * curvature <= (1 - MARGIN) * dot(change, change)
