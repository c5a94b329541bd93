r"""Hard thresholding pursuit: a gradient step chooses k weights, a solve on them sets their values.

Model: any objective ``f`` over w (d,), with gradients and Hessian-vector products.
Problem: the least f with at most k weights that are not 0.
Solution: ``S = the k largest |w - t g|``, then w the minimiser of f on S, until a support returns. The gradient is then
0 on the support, so the step of `iht` would be 0/0: "normalized" is the exact line search along the k largest
gradients, ``t = |T_k(g)|^2 / T_k(g)^T H T_k(g)``. "lipschitz" is 1/L, a number is itself.
A step may lead in a cycle, or end above a point that was passed: then the method goes on from the best point with
step 1/L, halved until a new support is better. That cannot cycle.
Ties: the lowest flat index goes first; dead weights go before all others.
Cost: two products, a sort and a solve with k unknowns for each iteration; L once, where it is needed.
Source: Foucart 2011, Hard thresholding pursuit: an algorithm for compressive sensing, (HTP1) and (HTP2).
"""

from refprune.arrays import Array, integer, namespace, to_numpy
from refprune.methods.hard_thresholding import Point, begin, step_rule
from refprune.methods.iht import HALVINGS, line_search
from refprune.methods.lipschitz import lipschitz, reciprocal
from refprune.methods.restricted import minimise
from refprune.methods.vectors import count, norm
from refprune.pruned import Pruned


def htp(
    objective,
    keep: int,
    start: Array | None = None,
    step: str | float = "normalized",
    max_iter: int = 100,
    tol: float = 1e-9,
) -> Pruned:
    r"""Look for the best k weights by gradient steps that choose them and solves that set them.

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
        A number multiplies the gradient.
    max_iter : int
        At most so many iterations, before and after a cycle together.
    tol : float
        A gradient counts as 0 when its norm is at most `tol` (16 eps at least) times its norm at the start or at 0,
        the larger one. Solves on a support are exact for least squares, quadratics and layers; elsewhere they are
        Newton's method down to this.

    Returns
    -------
    Pruned
        `mask` keeps exactly k. `trace` has an `Iteration` for every point: ``(value, step, changed, inside, level,
        reason)``. The last one is the answer's certificate, before it is cast to the dtype of `start`: with reason
        "converged" the gradient is 0 on the support, and the answer is a fixed point for the step it stopped with,
        ``changed == 0``; so it is L-stationary for every L from `level` on. It is also given where the whole gradient
        is 0 to `tol`. The reason "cycle" stands where the method left a cycle, or a support that was not the best one,
        for the best point; the next entry is that point. "max_iter" ends with the best point; "stagnated": no step
        lowers the objective beyond rounding.

    Raises
    ------
    TypeError
        `objective` lacks a function; Fractions; an argument of another kind.
    ValueError
        `keep` is not in [0, d]; `start` does not fit, or is missing for an objective of your own;
        an unknown rule; a step, `tol` or `max_iter` out of range.
    numpy.linalg.LinAlgError
        A Hessian that is not positive definite on a support that was chosen; Newton's method finds no minimum there;
        an answer beyond the dtype of `start`.

    See Also
    --------
    iht : without solves.
    cosamp : three times the support, cut after the solve.

    Notes
    -----
    The answer is the best point that was passed, so it is no worse than the k largest weights of `start`. Values below
    the range of float64 compare as equal: scale a problem with weights near 1e-160 first.

    Foucart proves that HTP with step 1 finds every s-sparse signal where the restricted isometry constant of order
    3 s is below ``1 / sqrt 3``. The steps here are taken from the Hessian, so the scale of the design does not matter.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> A = np.random.default_rng(0).normal(size=(20, 40))
    >>> planted = np.zeros(40)
    >>> planted[[3, 17]] = [2.0, -1.0]
    >>> answer = rp.htp(rp.LeastSquares(A, A @ planted), keep=2)
    >>> np.flatnonzero(answer.mask), bool(np.allclose(answer.weight, planted))
    (array([ 3, 17]), True)
    >>> answer.trace[-1].reason, len(answer.trace)
    ('converged', 3)
    """
    rule = step_rule(step)
    max_iter = integer("max_iter", max_iter, least=0)
    seen, point, goal = begin(objective, keep, start, tol)
    slack = 64 * seen.eps * abs(point.value)
    best = point = point._replace(solved=seen.keep == 0)
    past, careful, trace, t = set(), False, [], None
    for n in range(max_iter + 1):
        if not careful:
            t = _length(seen, rule, point, t)
        t, changed, after = _next(seen, point, t, careful, goal, n == max_iter)
        quiet = after is None or (point.solved and norm(point.g) <= goal)
        worse = not careful and quiet and point.value > best.value + slack
        cycle = not careful and not quiet and after is not point and _key(after.kept) in past
        if worse or cycle:
            reason = "cycle"
        elif quiet:
            reason = "stagnated" if after is None and changed else "converged"
        else:
            reason = "max_iter" if n == max_iter and point is best else ""
        trace.append(seen.iteration(point, t, changed, reason))
        if reason not in ("", "cycle"):
            return seen.answer(point, trace)
        if n == max_iter:
            break
        if reason == "cycle":
            careful, point, t = True, best, reciprocal(lipschitz(seen.objective, best.w))
            continue
        past.add(_key(after.kept))
        point = after
        best = point if point.value < best.value else best
    trace.append(seen.iteration(best, reason="max_iter"))
    return seen.answer(best, trace)


def _length(seen, rule, point, last):
    """The step of the rule at `point`; 1/L is `last`, the one before, where there was one."""
    if isinstance(rule, float):
        return rule
    if norm(point.g) == 0:
        return 0.0
    if rule == "normalized":
        return line_search(seen, point.w, point.g, seen.top(point.g)).t
    return last or reciprocal(lipschitz(seen.objective, point.w))


def _next(seen, point, t, careful, goal, end):
    """The step, the weights that enter, and the next point: None where the support stays and is solved on.

    With `careful` the step is halved until the next point is better; None where it never is. At the `end` nothing is
    solved any more, and the next point is this one.
    """
    xp = namespace(point.w)
    for _ in range(HALVINGS):
        chosen = seen.top(point.w - t * point.g)
        changed = count(xp.logical_and(chosen, xp.logical_not(point.kept)))
        if changed == 0 and point.solved:
            return t, 0, None
        if end:
            return t, changed, point
        w = minimise(seen, point.w, chosen, goal)
        after = Point(w, chosen, *seen.at(w), solved=True)
        if after.value < point.value or not (careful and point.solved):
            return t, changed, after
        t /= 2
    return t, changed, None


def _key(mask):
    """A mask as bytes, for a set."""
    return to_numpy(mask).tobytes()
