r"""Compressive sampling matching pursuit: a solve on up to 3 k weights, cut to the k largest.

Model: any objective ``f`` over w (d,), with gradients and, for the solve, Hessian-vector products.
Problem: the least f with at most k weights that are not 0.
Solution, from ``w = T_k(start)``:

    Omega = the 2 k largest |g|, T = Omega and the support of w
    b = the minimiser of f on T
    w = T_k(b)

until nothing changes. Where T returns later, the method runs in a cycle, and the best point is taken.
Ties: the lowest flat index goes first; dead weights go before all others.
Cost: two products, two sorts and a solve with up to 3 k unknowns for each iteration.
Source: Needell and Tropp 2009, CoSaMP: iterative signal recovery from incomplete and inaccurate samples, algorithm 1.
"""

from refprune.arrays import Array, integer, namespace, to_numpy
from refprune.methods.hard_thresholding import Point, begin
from refprune.methods.restricted import minimise
from refprune.methods.vectors import count, cut, norm
from refprune.pruned import Pruned


def cosamp(
    objective, keep: int, start: Array | None = None, max_iter: int = 100, tol: float = 1e-9
) -> Pruned:
    r"""Look for the best k weights by solves on three times as many, cut to the largest.

    Parameters
    ----------
    objective : LeastSquares, Quadratic, LayerProblem, NetworkLoss, or any object with the same four functions
        `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)` over a flat vector (d,).
    keep : int
        k, from 0 to d.
    start : array, shape (d,), or the weight's in a layer, optional
        It is cut to its k largest weights first. None: the weight of a Quadratic or a LayerProblem, 0 for
        LeastSquares; other objectives need one.
    max_iter : int
        At most so many iterations.
    tol : float
        A gradient counts as 0 when its norm is at most `tol` (16 eps at least) times its norm at the start or at 0,
        the larger one. Solves are exact for least squares, quadratics and layers; elsewhere they are Newton's method
        down to this.

    Returns
    -------
    Pruned
        The best point that was passed; `mask` keeps exactly k. `trace` has an `Iteration` for every point: ``(value,
        step, changed, inside, level, reason)``, ``step = 0``. The last one is the answer's certificate, before it is
        cast to the dtype of `start`. Its reason is "converged" where the set T came twice in a row, so that nothing
        changes any more, or the gradient is 0 to `tol`; "cycle" where T came back later, or where the method came to
        rest above a point that it had passed, which is the answer; "max_iter" where no iteration was left.

    Raises
    ------
    TypeError
        `objective` lacks a function; Fractions; an argument of another kind.
    ValueError
        `keep` is not in [0, d]; `start` does not fit, or is missing for an objective of your own;
        `tol` or `max_iter` out of range.
    numpy.linalg.LinAlgError
        A Hessian that is not positive definite on a set of up to 3 k weights; least squares with fewer samples than
        that; an answer beyond the dtype of `start`.

    See Also
    --------
    htp : solves on k weights.
    ispasp : the same selection for the units of a network, without the solve.

    Notes
    -----
    The solve comes before the cut, so the answer is the best one on its support only where what is cut was 0, as for
    a planted signal without noise. `inside` tells how far it is from that; `htp` from the answer finishes the work.
    From ``k = d / 2`` on, T is everything, and the answer is T_k of the minimiser over all weights. Values below the
    range of float64 compare as equal: scale a problem with weights near 1e-160 first.

    Needell and Tropp prove that the error halves with every iteration where the restricted isometry constant of order
    4 s is at most 0.1.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> A = np.random.default_rng(0).normal(size=(20, 40))
    >>> planted = np.zeros(40)
    >>> planted[[3, 17]] = [2.0, -1.0]
    >>> answer = rp.cosamp(rp.LeastSquares(A, A @ planted), keep=2)
    >>> np.flatnonzero(answer.mask), bool(np.allclose(answer.weight, planted))
    (array([ 3, 17]), True)
    >>> answer.trace[-1].reason
    'converged'
    """
    max_iter = integer("max_iter", max_iter, least=0)
    seen, point, goal = begin(objective, keep, start, tol)
    best, slack, xp = point, 64 * seen.eps * abs(point.value), namespace(point.w)
    past, last, trace = set(), None, []
    for n in range(max_iter + 1):
        merged = xp.logical_or(seen.largest(xp.abs(point.g), 2 * seen.keep), point.w != 0)
        key = to_numpy(merged).tobytes()
        reason = "converged" if key == last or norm(point.g) <= goal or seen.keep == 0 else ""
        reason = reason or ("cycle" if key in past else "max_iter" if n == max_iter else "")
        if reason:
            break
        past.add(key)
        last, w = key, minimise(seen, point.w, merged, goal)
        kept = seen.top(w)
        w = cut(w, kept)
        changed = count(xp.logical_and(kept, xp.logical_not(point.kept)))
        trace.append(seen.iteration(point, changed=changed))
        point = Point(w, kept, *seen.at(w))
        best = point if point.value < best.value else best
    if reason == "converged" and point.value > best.value + slack:
        reason = "cycle"
    if best is not point:
        trace.append(seen.iteration(point))
    trace.append(seen.iteration(best, reason=reason))
    return seen.answer(best, trace)
