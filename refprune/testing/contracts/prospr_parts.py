r"""What the judge of `prospr` knows: the steps, what rounding makes of the scores, and a witness from differences.

A step sees the parameters that the steps before it rounded. So an error `D` of theta is carried along with them:

    D_b <- m D_b + E(g) + |H| D + |b|,    D <- D + lr (D_b + |b|) + |theta|,

`E(g)` what one rounding at each step of a gradient makes of it (`network_bounds`), and back through the adjoint, where
the error of the point changes the Hessian, too: with `T` the derivative of the Hessian along a,

    D_a <- m D_a + lr D_v + |m a| + |lr v|,    D_v <- D_v + E(H a) + |H| D_a + |T| D + |v|.

All in units of eps, first order, in absolute values.
"""

from collections.abc import Mapping
from numbers import Real

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_losses import value
from refprune.definitions.prospr import prospr_scores
from refprune.definitions.snip import flattened, switched, unflattened

from .. import kinks
from ..network_differences import ROUNDING, STEP, TRUNCATION
from ..network_view import sizes
from .score_view import Method

LOSS = "cross_entropy"
TWIST = 1e-4  # the length of the step that the Hessian's derivative is a difference over


def fault(problem):
    """Why the batches, lr or momentum are bad input; "" where they are not."""
    batches = problem["batches"]
    if not isinstance(batches, (list, tuple)) or not batches:
        return "batches are no list of at least one pair (x, y)"
    if any(isinstance(pair, Mapping) or not hasattr(pair, "__len__") or len(pair) != 2 for pair in batches):
        return "batches are no list of pairs (x, y)"
    for name, most in (("lr", np.inf), ("momentum", 1.0)):
        number = problem[name]
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= number < most:
            return f"{name} is {number!r}; at least 0 and below {most:g} is needed"
    return ""


def pairs(problem):
    """The batches, with the loss."""
    return [(x, y, LOSS) for x, y in problem["batches"]]


def steps(problem, start=None):
    """(the network's call at every point of the training, the last batch's too; b after every step but the last)."""
    params, lr, momentum = problem["params"], problem["lr"], problem["momentum"]
    theta, b = flattened(params) if start is None else start, 0.0
    for t, (x, y) in enumerate(problem["batches"]):
        call = problem["layers"], unflattened(theta, params), x, y, LOSS
        if t + 1 == len(problem["batches"]):
            yield call, None
            return
        b = momentum * b + derivatives.gradient(*call)
        yield call, b
        theta = theta - lr * b


def places(problem):
    """The points of the training with the samples that they meet."""
    return [(call[1], call[2]) for call, _ in steps(problem)]


def define(problem, detach_first):
    """The definition's scores."""
    arguments = (problem[name] for name in ("layers", "params", "batches"))
    rest = {"lr": problem["lr"], "momentum": problem["momentum"], "detach_first": detach_first}
    return prospr_scores(*arguments, LOSS, **rest)


def size(problem, detach_first):
    """What one rounding at each step makes of every score, in units of eps."""
    lr, momentum, w = problem["lr"], problem["momentum"], flattened(problem["params"])
    path, D, D_b = [], 0 * w, 0 * w
    for call, b in steps(problem):
        H = np.abs(derivatives.hessian(*call))
        path.append((call, H, D))
        if b is not None:
            D_b = momentum * D_b + _gradient_size(call) + H @ D + np.abs(b)
            D = D + lr * (D_b + np.abs(b)) + np.abs(flattened(call[1]))
    call, H, D = path.pop()
    v, D_v = derivatives.gradient(*call), _gradient_size(call) + H @ D
    a, D_a = 0 * w, 0 * w
    for t, (call, H, D) in reversed(list(enumerate(path))):
        D_a = momentum * D_a + lr * D_v + np.abs(momentum * a) + np.abs(lr * v)
        a = momentum * a - lr * v
        if not (detach_first and t == 0 and momentum):
            v = v + derivatives.hvp(*call, a)
            D_v = D_v + sizes("hvp", *call, a) + H @ D_a + _twisted(call, a, D) + np.abs(v)
    return _switches(np.abs(w) * D_v + np.abs(w * v), problem)


def _gradient_size(call):
    return sizes("per_sample_gradients", *call).mean(0)


def _twisted(call, a, D):
    """`|T| D`: how far an error of the point moves the Hessian's product with a."""
    if not a.any() or not D.any():
        return 0 * a
    layers, params, *rest = call
    h, theta = TWIST / np.abs(a).max(), flattened(params)
    ends = [derivatives.hessian(layers, unflattened(theta + s * a, params), *rest) for s in (h, -h)]
    return np.abs(ends[0] - ends[1]) / (2 * h) @ D


def witness(problem, detach_first):
    """(u, its product with the scores from differences of the loss after the steps, how uncertain it is)."""
    if detach_first and problem["momentum"]:  # no derivative of any loss
        return None
    w = flattened(problem["params"])
    u = np.random.default_rng(0).normal(size=w.shape)
    ends = [
        _loss(problem, w),
        *(_loss(problem, _moved(problem, u * h)) for h in (STEP, -STEP, STEP / 2, -STEP / 2)),
    ]
    if any(sides != ends[0][1] for _, sides, _ in ends):
        return None
    wide, near = (ends[1][0] - ends[2][0]) / (2 * STEP), (ends[3][0] - ends[4][0]) / STEP
    unsure = TRUNCATION * abs(near - wide) + ROUNDING * np.finfo(float).eps * ends[0][2] / STEP
    return _switches(u * np.sign(_slope(problem)), problem), (4 * near - wide) / 3, unsure


def _moved(problem, u):
    """The parameters with the switches at `1 + u`."""
    on = {
        key: np.full(a.shape, float(key in switched(problem["params"])))
        for key, a in problem["params"].items()
    }
    return flattened(problem["params"]) * (1 + u * flattened(on))


def _loss(problem, start):
    """(The loss after the steps, the sides of all kinks on the way, the largest number that it is made of.)"""
    sides = []
    for call, _ in steps(problem, start):
        f, found = kinks.watched(*call[:3])
        sides += [kink.side.tolist() for kink in found]
    f = f.reshape(len(f), -1)
    return value(f, call[3], LOSS).mean(), sides, 1 + np.abs(f).max()


def _slope(problem):
    """The derivative (d,) of the last loss in the switches, with its sign: the adjoint."""
    path = [call for call, _ in steps(problem)]
    v, a = derivatives.gradient(*path[-1]), 0.0
    for call in reversed(path[:-1]):
        a = problem["momentum"] * a - problem["lr"] * v
        v = v + derivatives.hvp(*call, a)
    return flattened(problem["params"]) * v


def _switches(found, problem):
    """The entries of a vector (d,) that belong to weights, as a dict."""
    found = unflattened(found, problem["params"])
    return {key: found[key] for key in switched(problem["params"])}


METHOD = Method(pairs, define, size, fault, places, witness, reads=("detach_first",))
