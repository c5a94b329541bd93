r"""I-OBS: a Newton step, a support of size k, the projection onto it; and again.

Model: at theta, ``q(v) = f + g.(v - theta) + 1/2 (v - theta)^T (H + D) (v - theta)`` of any objective f.
Problem: the least q with at most k nonzeros, at every step.
Solution: the Newton point ``theta+ = theta - (H + D)^-1 g`` minimises q; a kept set of size k by one of five rules;
then the best weights on it, or theta+ with zeros. With S the pruned set and C the inverse of H + D, q at the best
weights is ``1/2 theta+_S^T (C_SS)^-1 theta+_S`` above its minimum.
What makes it fast: the best weights come from the normal equations of the kept set, not from C; the greedy rule runs
on the left-looking form of `refprune.methods.removal`; where H cannot change it is inverted once; a layer's H is
never formed, since its rows share the Gram.
Ties: the lowest flat index is pruned first (of sets: the first in dictionary order); dead inputs before all others.
Cost: d^3 for each H that is inverted, and d^2 for each step; the rule "obs" at most d^3, "exact" 2^d.
Source: Wu, Modoranu, Safaryan, Kuznedelev, Alistarh 2024, The Iterative Optimal Brain Surgeon (arXiv 2408.17163).
"""

from collections.abc import Callable
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    from_numpy,
    integer,
    namespace,
    nonnegative,
    real,
    smallest,
    solve,
    to_numpy,
)
from refprune.methods.checked import value_at
from refprune.methods.newton_model import newton_model
from refprune.methods.starting import gradient_factor, starting_point
from refprune.methods.system import in_range
from refprune.methods.vectors import norm
from refprune.problems import LayerProblem, LeastSquares, Quadratic
from refprune.pruned import Pruned

SELECTIONS, PROJECTIONS = ("topk", "saliency", "obs", "exact", "random"), ("H", "euclid")
EXACT = 20  # at most so many weights for the rule "exact"
BATCH = 2**12  # sets that the rule "exact" solves at once


class Step(NamedTuple):
    """One step of I-OBS.

    Parameters
    ----------
    value : float
        The objective after the step, in units of the loss.
    loss : float
        How much higher the (damped) model of the step is there than at the Newton point.
    moved : float
        The Euclidean distance from the point before.

    Examples
    --------
    >>> from refprune.methods.iobs import Step
    >>> Step(value=1.0, loss=0.25, moved=0.5).loss
    0.25
    """

    value: float
    loss: float
    moved: float


def iobs(
    objective: Any,
    keep: int,
    start: Array | None = None,
    selection: str = "topk",
    project: str = "H",
    *,
    steps: int = 1,
    damp: float = 0.0,
    loss_scale: str | float | None = None,
    rng: np.random.Generator | None = None,
    sample: Callable | None = None,
) -> Pruned:
    r"""Prune by the iterative Optimal Brain Surgeon: Newton steps, each followed by a projection.

    :math:`\theta^+ = \theta_t - H_t^{-1} \nabla f(\theta_t)`; then, with Q the kept set and S the rest,
    :math:`\theta_{t+1} = \theta^+ - H_t^{-1} E_S ([H_t^{-1}]_{SS})^{-1} \theta^+_S`.

    Parameters
    ----------
    objective : Quadratic, LeastSquares, LayerProblem, NetworkLoss, or any object with their four functions
        `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)` over a flat vector (d,). All d entries compete, of a
        network the biases too.
    keep : int
        k: how many of the d weights stay.
    start : array, shape (d,), optional
        The first point; it may have any number of nonzeros. None: the problem's weight, and 0 for LeastSquares; other
        objectives need it. For a LayerProblem the weight's shape is fine too.
    selection : {"topk", "saliency", "obs", "exact", "random"}
        What Q holds: the largest :math:`|\theta^+_p|`; the largest :math:`(\theta^+_p)^2 / [H^{-1}]_{pp}`, all at
        once; what OBS leaves of :math:`\theta^+`, one weight at a time; the best Q, by trying all (d <= 20); any.
    project : {"H", "euclid"}
        The minimiser of the model with support Q, as above; or :math:`\theta^+` with zeros off Q.
    steps : int
        How many steps; all are taken, and the last point is the answer.
    damp : float
        ``damp * mean(diag H)`` over the living inputs is added to their diagonal, in all that is above.
    loss_scale : "mse-mean" or float, optional
        The gradient times this number beside an H that is not scaled: steps of another length than Newton's.
        "mse-mean" is 2 / samples of a LeastSquares.
    rng : numpy.random.Generator, optional
        Draws for ``selection="random"``, which needs it, and is handed to `sample`.
    sample : callable, optional
        The stochastic form: `sample(w, rng)` returns ``(gradient, curvature)`` in place of the objective's own, from
        mini-batches of its choice. The curvature is an array (d, d), its diagonal (d,), or a tuple of diagonal blocks
        of one size, but for a smaller last one: a Hessian, a Gauss-Newton or a Fisher matrix.

    Returns
    -------
    Pruned
        `weight` in the dtype of `start`, `objective` at it, `order` what OBS removed in the last step (for
        ``selection="obs"``, else None); `trace` holds a tuple ``(value, loss, moved)``, a `Step`, for every step.

    Raises
    ------
    TypeError
        `objective` lacks a function; `rng` is needed; an argument, or what `sample` returns, is of another kind;
        Fractions.
    ValueError
        `keep` is not in [0, d]; `start` is needed; it or what `sample` returns does not fit, or is not finite; an
        unknown name; more than 20 weights for ``selection="exact"``.
    numpy.linalg.LinAlgError
        The (damped) Hessian of the living inputs is not positive definite at some step; a dead input has a nonzero
        gradient; a point is beyond the range of its dtype; the value there is NaN.

    See Also
    --------
    obs : ``selection="obs"`` on a Quadratic or a layer in one step, for all patterns.
    optimal_weights : ``project="H"`` for a mask from anywhere.

    Notes
    -----
    A quadratic needs one step, whatever the start: with a minimiser of at most k nonzeros it ends there. Otherwise let
    f be mu-strongly convex and L-smooth with an M-Lipschitz Hessian, and its minimiser theta* have k* <= k nonzeros.
    With ``r = (d - k) / (d - k*)``, ``e_t`` the distance to theta*, and ``damp = 0``:

    - ``project="euclid"``, "topk": ``e_{t+1} <= (1 + sqrt(r)) M / (2 mu) e_t^2``;
    - ``project="H"``, "topk" and "exact": ``e_{t+1} <= (1 + sqrt(r L / mu)) M / (2 mu) e_t^2``.

    For equal theta_t and Q the model is no higher after ``project="H"``, and no rule ends below "exact". Nothing
    orders "obs" and "topk": greedy is usually below, not always. The objective may rise in a step.

    The Hessian of a network is seldom positive definite; a Gauss-Newton or Fisher matrix plus a multiple of the
    identity from `sample` is. Blocks have a mean each for `damp`, as the Grams of a grouped convolution have.

    Memory: a few arrays like H; for a layer, like its Gram and its weight.

    Source: Wu et al. 2024 (steps and rates); `tests/methods/test_iobs_theory.py` holds it to the bounds above, on
    300 generated problems. The code of the paper's synthetic experiment takes ``2/n X^T (X w - y)`` for the gradient
    and ``X^T X`` for H: steps of 2/n of Newton's length, here ``loss_scale="mse-mean"``. Its OBS rule ranks theta_t;
    here it ranks theta+, the minimiser of the model.

    Examples
    --------
    From 0 to the minimiser (1, 1, 0) in one step, since it has no more than `keep` nonzeros:

    >>> import numpy as np
    >>> import refprune as rp
    >>> A = np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]])
    >>> answer = rp.iobs(rp.LeastSquares(A, A @ np.array([1.0, 1.0, 0.0])), keep=2)
    >>> answer.weight.round(12), answer.mask
    (array([1., 1., 0.]), array([ True,  True, False]))

    One weight less costs the rules differently. The largest two of (2, 1.5, 1) are not the best two:

    >>> H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> problem = rp.Quadratic(H, np.array([2.0, 1.5, 1.0]))
    >>> rp.iobs(problem, keep=2).objective, rp.iobs(problem, keep=2, selection="exact").objective
    (0.5, 0.263671875)
    """
    theta, shape, dtype = starting_point(objective, start)
    keep, steps = integer("keep", keep, least=0, most=theta.shape[0]), integer("steps", steps, least=1)
    damp, factor = nonnegative("damp", damp), gradient_factor(loss_scale, objective)
    _check_names(selection, project, rng, sample, theta.shape[0])
    model, order, trace = None, None, []
    for _ in range(steps):
        gradient, curvature = _given(objective, theta, rng, sample, model is None)
        gradient = real("gradient", gradient, shape=theta.shape) * factor
        if model is None:
            model = newton_model(curvature, theta, damp)
        here = model.at(theta, gradient)
        gone = _removed(here, theta.shape[0] - keep, selection, rng)
        kept = np.ones(theta.shape[0], dtype=bool)
        kept[gone] = False
        xp, mask = namespace(theta), from_numpy(kept, theta)
        after = here.best(kept) if project == "H" else xp.where(mask, here.newton, 0)
        moved = norm(after - theta)
        theta, order = after, gone if selection == "obs" else None
        trace.append(Step(value_at(objective, theta), here.loss(theta), moved))
        if not _constant(objective, sample):
            model = None
    with np.errstate(over="ignore"):
        theta = in_range("an answer", astype(theta, dtype))
    weight, order = xp.reshape(theta, shape), None if order is None else from_numpy(order, theta)
    return Pruned(weight, xp.reshape(mask, shape), value_at(objective, theta), order, tuple(trace))


def _check_names(selection, project, rng, sample, d):
    """Raise unless these arguments are as `iobs` documents them."""
    for name, value, known in (("selection", selection, SELECTIONS), ("project", project, PROJECTIONS)):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"need {name} to be one of {', '.join(known)}; got {value!r}")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"need rng to be a numpy.random.Generator; got {type(rng).__name__}")
    if rng is None and selection == "random":
        raise TypeError("need rng, a numpy.random.Generator, for selection 'random'; got None")
    if sample is not None and not callable(sample):
        raise TypeError(f"need sample to be a callable; got {type(sample).__name__}")
    if selection == "exact" and d > EXACT:
        raise ValueError(f"need at most {EXACT} weights for selection 'exact' (it tries all sets); got {d}")


def _constant(objective, sample):
    """Whether the Hessian is the same at every step."""
    return sample is None and isinstance(objective, (Quadratic, LeastSquares, LayerProblem))


def _given(objective, theta, rng, sample, wanted):
    """The gradient and the curvature at `theta`; None for the curvature where it is not wanted."""
    if sample is not None:
        found = sample(theta, rng)
        if not isinstance(found, tuple) or len(found) != 2:
            said = f"{len(found)} of them" if isinstance(found, tuple) else type(found).__name__
            raise TypeError(f"need sample(w, rng) to return a tuple (gradient, curvature); got {said}")
        if not isinstance(found[1], tuple):
            real("curvature", found[1], ndim=(1, 2))
        return found
    if isinstance(objective, LayerProblem):
        curvature = objective
    else:
        curvature = objective.hessian(theta) if wanted else None
    return objective.gradient(theta), curvature if wanted else None


def _removed(model, count, selection, rng):
    """The flat indices (NumPy) of the `count` weights that go; for "obs" in the order of removal."""
    if selection == "obs":
        return model.greedy(model.size - count)
    dead, left = model.dead[:count], max(count - len(model.dead), 0)
    if left == 0:
        living = np.zeros(0, dtype=int)
    elif selection == "random":
        living = np.sort(rng.permutation(model.living)[:left])
    elif selection == "exact":
        living = model.living[_cheapest(model, left)]
    else:
        newton = _scaled(model)
        scores = abs(newton) if selection == "topk" else newton * newton / model.inverse_diagonal()
        living = model.living[to_numpy(smallest(scores, left))]
    return np.concatenate([dead, living])


def _scaled(model):
    """The Newton point at the living weights over its power of two, so that squares are in range."""
    newton = model.newton[from_numpy(model.living, model.newton)]
    return newton * 2.0**-model.view.weight_exponent


def _cheapest(model, count):
    """The positions among the living weights of the `count` that cost least together."""
    newton, C = _scaled(model), model.inverse()
    xp = namespace(newton, C)
    sets, best = combinations(range(len(model.living)), count), None
    while batch := list(islice(sets, BATCH)):
        S = np.array(batch)  # (b, count)
        at = from_numpy(S, newton)
        w = newton[at][:, :, None]
        losses = to_numpy(xp.sum(w * solve(C[at[:, :, None], at[:, None, :]], w), axis=(1, 2)))
        if best is None or losses.min() < best[0]:
            best = losses.min(), S[losses.argmin()]
    return best[1]
