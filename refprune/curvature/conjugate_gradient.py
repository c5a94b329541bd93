r"""Conjugate gradients: solve `A x = b` from products `A v` alone.

Model: A symmetric positive definite, known by ``v -> A v``.
Problem: the x with ``A x = b``, the minimum of ``1/2 x^T A x - b^T x``.
Solution: from ``r = p = b - A x`` steps ``x += a p, r -= a A p, p = r + c p`` with ``a = r^T r / p^T A p`` and
``c = r_new^T r_new / r^T r``; the k-th x has the least error in the A-norm over the Krylov space of k products.
Cost: one product and about 12 d operations for each step, one more product at the end.
Source: Hestenes and Stiefel 1952, Methods of conjugate gradients for solving linear systems, (3:1). Departures:
(1) r and p are carried in units of powers of two, so that no square leaves the range; that changes no bit.
(2) The run ends at a curvature `p^T A p` that is not positive beyond rounding, not only at one below 0: along such
a direction a step has no meaning.
(3) When the carried r meets the tolerance, the true ``b - A x`` is formed; where rounding has parted the two, the
method starts again from the true one (Greenbaum 1997 on that gap).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp, inf, isfinite, sqrt

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    cast,
    dtype_name,
    eps,
    exactly_symmetric,
    full,
    integer,
    namespace,
    nonnegative,
    real,
)


@dataclass(frozen=True)
class Solved:
    """What `conjugate_gradient` found.

    Attributes
    ----------
    solution : array, shape (d,)
        In the dtype of `b`.
    iterations : int
        Steps made; each is one product.
    residual : float
        ``||b - A x||``, formed anew from the solution that is returned (before it is rounded to a narrower
        dtype of `b`), not the carried one.
    reason : str
        ``"converged"``: the residual meets the tolerance. ``"max_iter"``: no step was left.
        ``"negative_curvature"``: a direction p came up whose ``p^T A p`` is not positive beyond rounding; the
        solution is what was there before it. ``"stagnated"``: rounding keeps the residual above the tolerance;
        the solution is the best one seen.
    """

    solution: Array
    iterations: int
    residual: float
    reason: str


def conjugate_gradient(
    operator: Array | Callable[[Array], Array],
    b: Array,
    rtol: float = 1e-6,
    atol: float = 0.0,
    max_iter: int | None = None,
    start: Array | None = None,
) -> Solved:
    r"""Solve :math:`A x = b` for a symmetric positive definite A by conjugate gradients.

    Stops at :math:`\|b - A x\| \le \max(\text{rtol}\, \|b\|, \text{atol})`.

    Parameters
    ----------
    operator : array, shape (d, d), or callable
        A, or ``v -> A v`` for v (d,). A must be symmetric; whether a callable is, cannot be seen.
    b : array, shape (d,)
    rtol : float
        Relative to the norm of `b`. 0 asks for what rounding allows.
    atol : float
        In units of `b`. The default 0 keeps the answer independent of the scale of the loss.
    max_iter : int, optional
        Steps in all; 10 d when None. In exact arithmetic d are enough.
    start : array, shape (d,), optional
        The first x; 0 when None.

    Returns
    -------
    Solved
        `solution`, `iterations`, `residual`, `reason`.

    Raises
    ------
    TypeError
        Not arrays of one kind with floating numbers; Fractions; a tolerance that is no number.
    ValueError
        Shapes that do not fit, also of a product; a matrix that is not symmetric; NaN or Inf, also in a product;
        a negative tolerance or `max_iter`.
    numpy.linalg.LinAlgError
        The solution or a curvature is beyond the range of the dtype.

    Notes
    -----
    ``b = 0`` gives exactly 0 without a product. Powers of two on A or `b` change no bit but the exponents. A
    singular A is fine where `b` is in its range; elsewhere the reason is not ``"converged"``. Rounding alone parts
    the iterates of two programs after some ten steps at a condition of 200: compare solutions and residuals.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.curvature import conjugate_gradient
    >>> answer = conjugate_gradient(lambda v: np.array([2.0, 4.0]) * v, np.array([2.0, 2.0]))
    >>> answer.solution, answer.iterations, answer.reason
    (array([1. , 0.5]), 2, 'converged')
    """
    product, right, x = _given(operator, b, start)
    rtol, atol = nonnegative("rtol", rtol), nonnegative("atol", atol)
    most = 10 * b.shape[0] if max_iter is None else integer("max_iter", max_iter, least=0)
    size = _norm(right)
    if size == 0:
        return Solved(full(b.shape, 0, b), 0, 0.0, "converged")
    goal, steps, passes, positive = max(rtol * size, atol), 0, 0, True
    r, best = right if start is None else right - product(x), (x, inf)
    while True:
        left = _norm(r)  # of the true residual
        if left <= goal:
            reason = "converged"
        elif passes == 1 and not positive:  # later directions are made of rounding, and so is their curvature
            reason = "negative_curvature"
        elif steps == most:
            reason = "max_iter"
        elif not left < best[1] / 2:
            reason = "stagnated"
            x, left = (x, left) if left < best[1] else best
        else:
            best = (x, left)
            x, made, positive = _descend(product, x, r, goal, most - steps)
            r, steps, passes = right - product(x), steps + made, passes + 1
            continue
        return Solved(astype(x, b.dtype), steps, left, reason)


def _given(operator, b, start):
    """The checked arguments in one precision: the product with A, `b`, and the first x."""
    real("b", b, ndim=1)
    if dtype_name(b.dtype) == "object":
        raise TypeError("need floating numbers in b (norms are square roots); got Fractions")
    arrays = [b] if start is None else [b, real("start", start, shape=tuple(b.shape))]
    if callable(operator):
        right, *x = cast(*arrays)
        return _checked(operator, right), right, x[0] if x else full(right.shape, 0, right)
    real("operator", operator, shape=(b.shape[0], b.shape[0]))
    A, right, *x = cast(exactly_symmetric("operator", operator), *arrays)
    return _checked(lambda v: A @ v, right), right, x[0] if x else full(right.shape, 0, right)


def _checked(operator, b):
    """`operator` with its products held to the kind, shape and dtype of `b`."""

    def product(v):
        found = operator(v)
        namespace(b, real("operator(v)", found, shape=tuple(b.shape)))
        return found if found.dtype == b.dtype else astype(found, b.dtype)

    return product


def _descend(product, x, r, goal, most):
    """At most `most` steps from `x`, whose residual is `r`, until the carried residual is at most `goal`.

    Returns x, the steps made, and whether every curvature was positive: more than eps times the largest so far, for
    directions of one length. A carried residual that has fallen by eps says no more: rounding has parted it from the
    true one.
    """
    xp, unit = namespace(x, r), _power(r)
    r = p = r / unit
    rho, steepest = float(xp.sum(r * r)), 0.0
    goal = max(goal / unit, eps(r.dtype) * sqrt(rho))
    for step in range(most):
        scale = _power(p)
        p = p / scale  # so that the curvature cannot underflow
        q = product(p)
        curvature, size = float(xp.sum(p * q)), float(xp.sum(p * p))
        steepest = max(steepest, curvature / size)
        if not curvature > eps(r.dtype) * steepest * size:
            return x, step, False
        a, old = rho / scale / curvature, rho
        with np.errstate(all="ignore"):
            x, r = x + (a * unit) * p, r - a * q
            rho = float(xp.sum(r * r))
        if not (isfinite(rho) and isfinite(curvature) and bool(xp.all(xp.isfinite(x)))):
            raise np.linalg.LinAlgError(
                f"need a solution in the range of {dtype_name(x.dtype)}; got one beyond it"
            )
        if sqrt(rho) <= goal:
            return x, step + 1, True
        p = r + (rho / old * scale) * p
    return x, most, True


def _power(vector):
    """The power of two at or below the largest entry of `vector`; 1 for a vector of zeros."""
    largest = float(namespace(vector).max(namespace(vector).abs(vector)))
    return 2.0 ** (frexp(largest)[1] - 1) if largest else 1.0


def _norm(vector):
    """The Euclidean norm as a float; no square leaves the range."""
    if vector.shape[0] == 0:
        return 0.0
    xp, unit = namespace(vector), _power(vector)
    return unit * sqrt(float(xp.sum((vector / unit) ** 2)))
