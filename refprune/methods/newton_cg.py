r"""Newton-CG: the weights on a given support, by Newton steps that need products with the Hessian alone.

Model: any objective ``f`` over w (d,), with gradients and Hessian-vector products; Z the kept weights.
Problem: a low f among the w that are 0 off Z.
Solution: ``(H_ZZ + damp I) s = -g_Z`` by conjugate gradients, then ``w_Z <- w_Z + t s`` with the first t of 1, 0.9,
0.81, ... (50 values) that has ``f(w + t s) <= f(w) + 1e-5 t g_Z.s`` (Armijo's rule). Slope and values come from one
objective: where mini-batches are drawn, a step has one batch for everything.
Ties: none; the support is given.
Cost: for each step a gradient, a product with H for each step of conjugate gradients (one or two more to make sure of
the residual), and a value for every t that is tried; one more at the start. Memory: a few vectors (d,).
Source: Lucas and Mazumder 2024, Preserving Deep Representations in One-Shot Pruning (SNOWS, arXiv 2411.18376), the
solver of the K-step problem; Nocedal and Wright 2006, Numerical Optimization, algorithm 7.1.
Departures: (1) The tolerance of conjugate gradients is relative, so that the scale of the loss does not matter; an
absolute one can be added. (2) A search that fails leaves the weights as they were. (3) Directions without positive
curvature end conjugate gradients, and are never walked along.
"""

from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    boolean,
    eps,
    integer,
    namespace,
    nonnegative,
)
from refprune.methods.checked import Checked
from refprune.methods.newton_solver import Solver, finite, value_of
from refprune.methods.starting import starting_point
from refprune.methods.system import in_range
from refprune.methods.vectors import cut, dot, norm
from refprune.pruned import Pruned

ARMIJO, SHORTER, TRIALS = 1e-5, 0.9, 50
ROUNDING = 32  # how many eps of the value a promised decrease is lost in


class NewtonStep(NamedTuple):
    """A point that Newton-CG passed, and the step from there; the last one is the answer.

    Parameters
    ----------
    value : float
        The objective there, of the step's own batch where there are mini-batches.
    gradient : float
        The norm of its gradient on the kept weights.
    iterations : int
        The steps of conjugate gradients.
    solve : str
        Why they ended: ``"converged"``, ``"max_iter"``, ``"negative_curvature"``, ``"stagnated"``; ``""`` where none
        were asked for.
    step : float
        t; 0 where the point stays.
    reason : str
        ``""`` where a step was made. Else why the point stays: ``"converged"``, the gradient is small enough, for
        `tol` or for `cg_atol`;
        ``"negative_curvature"``, there is no direction: the curvature along the gradient is not positive;
        ``"line_search"``, no t lowers the objective enough, or s is no way down, as products that are not symmetric
        can have it; ``"stagnated"``, none can, as the decrease that is promised is lost in the rounding of the value,
        or of the answer to a narrower dtype; ``"max_iter"``, no step was left.

    Examples
    --------
    >>> from refprune.methods.newton_cg import NewtonStep
    >>> NewtonStep(value=2.0, gradient=0.5, iterations=3, solve="converged", step=1.0).reason
    ''
    """

    value: float
    gradient: float
    iterations: int = 0
    solve: str = ""
    step: float = 0.0
    reason: str = ""


def newton_cg(
    objective: Any,
    mask: Array,
    start: Array | None = None,
    *,
    curvature: str = "hessian",
    damp: float = 0.0,
    max_iter: int = 20,
    tol: float = 1e-6,
    cg_rtol: float = 1e-3,
    cg_atol: float = 0.0,
    cg_max_iter: int = 200,
    sample: Any = None,
    rng: np.random.Generator | None = None,
) -> Pruned:
    r"""Lower any objective on the kept weights of a mask, by Newton's method without a matrix.

    :math:`(H_{ZZ} + \text{damp}\, I)\, s = -g_Z` by conjugate gradients, then :math:`w_Z \leftarrow w_Z + t s` with
    the first t of 1, 0.9, 0.81, ... that lowers the objective by :math:`10^{-5}\, t\, |g_Z \cdot s|` at least.

    Parameters
    ----------
    objective : Quadratic, LeastSquares, LayerProblem, NetworkLoss, Reconstruction, or any object with their functions
        `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)` over a flat vector (d,). The Hessian is never formed.
    mask : boolean array, shape (d,), or the weight's in a layer
        True = kept: Z.
    start : array, shape (d,), or the weight's in a layer, optional
        It is cut to the mask first. None: the weight of a Quadratic or a LayerProblem, 0 for LeastSquares; other
        objectives need one.
    curvature : {"hessian", "gauss-newton"}
        What H is. ``"gauss-newton"`` needs an objective with `gauss_newton_product(w, v)`, as those over networks
        have; it is never negative.
    damp : float
        Absolute, in units of H. It makes steps shorter, and leaves the objective and its minimisers as they are.
    max_iter : int
        At most so many Newton steps.
    tol : float
        The point is accepted when the gradient on Z is at most `tol` times its norm at the start. Not used with
        `sample`.
    cg_rtol, cg_atol : float
        Conjugate gradients end at a residual of ``max(cg_rtol * norm(g_Z), cg_atol)``; `cg_rtol` is below 1.
    cg_max_iter : int
        At most so many steps of conjugate gradients in a Newton step.
    sample : callable, optional
        The mini-batch form: `sample(rng)` gives an objective for every step, which supplies all that is in the step:
        gradient, products, and all values of the line search. All `max_iter` steps are made.
    rng : numpy.random.Generator, optional
        Handed to `sample`, which needs it.

    Returns
    -------
    Pruned
        `weight` in the dtype of `start`, `mask`, `objective` at the weight; `trace` has a `NewtonStep` for every point
        that was passed, the last one at the answer (before a rounding to a narrower dtype), of the whole objective.
        It says why the method ended.

    Raises
    ------
    TypeError
        `objective` lacks a function; an argument is of another kind; `rng` is missing; Fractions.
    ValueError
        `mask` or `start` does not fit; `start` is needed; a number out of range; an unknown curvature.
    numpy.linalg.LinAlgError
        The value, the gradient or a product at a point that was reached is not finite; a solution, or the answer,
        beyond the range of the dtype.

    See Also
    --------
    snows : the layers of a network, one after the other.
    optimal_weights : for a layer or a quadratic, by the normal equations.

    Notes
    -----
    Without `sample` the objective falls with every step, by one bit at least: where a value is not below the last one,
    no step is made, and a search that fails keeps the point. Where the answer has a narrower dtype and its rounding
    costs more than the steps gained, the start is the answer. A quadratic with a positive definite :math:`H_{ZZ}` is
    solved in one step when `cg_rtol` is small. Kept weights that no sample reaches keep their values.

    Where the Hessian is not positive definite, conjugate gradients return what they had before the direction that
    showed it; its record says ``solve="negative_curvature"``. When that was the first direction there is no step, and
    the method ends. Then `damp` or ``curvature="gauss-newton"`` help.

    Where an objective has `products(w, gauss_newton)`, as `Reconstruction` has, it is asked once for all products at a
    point.

    Iterates of conjugate gradients differ from program to program after some ten steps, by rounding alone: compare
    values and gradients, not iterates.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> problem = rp.Quadratic(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, 2.0]))
    >>> answer = rp.newton_cg(problem, np.array([False, True]))
    >>> answer.weight, answer.objective
    (array([0. , 2.5]), 0.75)
    >>> [(step.value, step.step, step.reason) for step in answer.trace]
    [(1.0, 1.0, ''), (0.75, 0.0, 'converged')]
    """
    theta, shape, dtype = starting_point(objective, start)
    solver = Solver.checked(curvature, damp, cg_rtol, cg_atol, cg_max_iter)
    solver.fits(objective, "objective")
    max_iter, tol = integer("max_iter", max_iter, least=0), nonnegative("tol", tol)
    _check_sample(sample, rng)
    mask = _flat_mask(mask, theta, shape)
    w, goal, trace, reason, known = cut(theta, mask), 0.0, [], "", None
    while not reason:
        whole = sample is None or len(trace) == max_iter
        own = objective if whole else solver.fits(sample(rng), "sample(rng)")
        value, g = _at(own, w, mask, known)
        if sample is None and not trace:
            goal = tol * norm(g)
        if len(trace) == max_iter or norm(g) <= goal:
            record = NewtonStep(value, norm(g), reason="converged" if norm(g) <= goal else "max_iter")
        else:
            w, record, reached = _step(own, w, mask, value, g, solver)
            known = reached if sample is None else None
        trace.append(record)
        reason = record.reason if whole else ""
    xp = namespace(w)
    with np.errstate(over="ignore"):
        weight = in_range("an answer", astype(w, dtype))
    value = trace[-1].value if dtype == w.dtype else value_of(objective, astype(weight, w.dtype))
    narrow = sample is None and dtype != w.dtype
    if narrow and not value <= trace[0].value:  # what was gained is lost in the rounding of the weights
        weight, trace = cut(astype(theta, dtype), mask), [trace[0]._replace(step=0.0, reason="stagnated")]
        value = trace[0].value
    return Pruned(xp.reshape(weight, shape), xp.reshape(mask, shape), value, trace=tuple(trace))


def _step(objective, w, mask, value, g, solver):
    """The next point, the record of this one, with `value` and gradient `g`, 0 off `mask`, and the next value."""
    solved = solver.solve(objective, w, mask, g)
    slope = dot(g, solved.solution)
    found = NewtonStep(value, norm(g), solved.iterations, solved.reason)
    if not slope < 0:  # conjugate gradients made no step, or one that is no way down
        known = solved.reason if solved.reason in ("converged", "negative_curvature") else "stagnated"
        return w, found._replace(reason=known if norm(solved.solution) == 0 else "line_search"), value
    t = 1.0
    for _ in range(TRIALS):
        with np.errstate(over="ignore", invalid="ignore"):
            new = w + t * solved.solution
        reached = value_of(objective, new) if finite(new) else inf
        if reached < value and reached <= value + ARMIJO * t * slope:
            return new, found._replace(step=t), reached
        t *= SHORTER
    lost = -slope <= ROUNDING * eps(w.dtype) * abs(value)
    return w, found._replace(reason="stagnated" if lost else "line_search"), value


def _at(objective, w, mask, known=None):
    """The value at `w`, a float, where it is not `known`, and the gradient, 0 off `mask`."""
    value = value_of(objective, w) if known is None else known
    if not isfinite(value):
        raise np.linalg.LinAlgError(f"need a finite objective at every point; got {value}")
    with np.errstate(over="ignore", invalid="ignore"):
        g = cut(astype(Checked(objective).gradient(w), w.dtype), mask)
    if not finite(g):
        raise np.linalg.LinAlgError("need a finite gradient(w) at every point; got another")
    return value, g


def _flat_mask(mask, theta, shape):
    """The `mask` as (d,); TypeError or ValueError unless it is a boolean array of that or the weight's shape."""
    boolean("mask", mask)
    if tuple(mask.shape) not in (shape, tuple(theta.shape)):
        raise ValueError(f"need mask of shape {tuple(theta.shape)}; got {tuple(mask.shape)}")
    return namespace(mask, theta).reshape(mask | False, theta.shape)


def _check_sample(sample, rng):
    """TypeError unless `sample` and `rng` are as `newton_cg` documents them."""
    if sample is not None and not callable(sample):
        raise TypeError(f"need sample to be a callable; got {type(sample).__name__}")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"need rng to be a numpy.random.Generator; got {type(rng).__name__}")
    if sample is not None and rng is None:
        raise TypeError("need rng, a numpy.random.Generator, for sample; got None")
