r"""What the judge of `prospr` knows: the steps, what rounding makes of the scores, and a witness from differences.

A step sees the parameters that the steps before it rounded. So an error `D` of theta is carried along with them:

    D_b <- m D_b + E(g) + |H| D + |b|,    D <- D + lr (D_b + |b|) + |theta|,

`E(g)` what one rounding at each step of a gradient makes of it (`network_bounds`), and back through the adjoint, where
the error of the point changes the Hessian, too: with `T` the derivative of the Hessian along a,

    D_a <- m D_a + lr D_v + |m a| + |lr v|,    D_v <- D_v + E(H a) + |H| D_a + |T| D + |v|.

All in units of eps, first order, in absolute values.
"""

from collections.abc import Mapping
from functools import cached_property
from numbers import Real

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_losses import value
from refprune.definitions.snip import flattened, switched, unflattened

from .. import kinks
from ..network_differences import ROUNDING, STEP, TRUNCATION
from ..network_hessian import hessian
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


class Training:
    """A problem and its steps, with the Hessians on the way: they are what is slow, and several ask for them.

    Attributes
    ----------
    problem : dict
    w : (d,) array
        The parameters that it starts from.
    calls : list of tuple
        Of the network at every point, the last batch's too.
    b : list
        The momentum after every step; None for the last point.
    """

    def __init__(self, problem):
        self.problem, self.w = problem, flattened(problem["params"])
        self.lr, self.momentum = problem["lr"], problem["momentum"]
        self.calls, self.b = zip(*steps(problem), strict=True)

    @cached_property
    def hessians(self):
        """(d, d), at every point; none where there is one point alone."""
        return [hessian(*call) for call in self.calls if len(self.calls) > 1]

    @cached_property
    def last(self):
        """The gradient (d,) of the last batch."""
        return derivatives.gradient(*self.calls[-1])

    def switches(self, found):
        """The entries of a vector (d,) that belong to weights, as a dict."""
        found = unflattened(found, self.problem["params"])
        return {key: found[key] for key in switched(self.problem["params"])}


def places(training):
    """The network at every point of the training, with the samples that it meets."""
    return [call[:3] for call in training.calls]


def define(training, detach_first):
    """The scores, by the lines of `definitions.prospr.prospr_scores`."""
    lr, momentum = training.lr, training.momentum
    J = np.diag(training.w)
    B = 0 * J
    for t, H in enumerate(training.hessians[:-1]):
        if not (detach_first and t == 0 and momentum):
            B = momentum * B + H @ J
        J = J - lr * B
    return training.switches(np.abs(training.last @ J))


def size(training, detach_first):
    """What one rounding at each step makes of every score, in units of eps."""
    lr, momentum, w = training.lr, training.momentum, training.w
    if len(training.calls) == 1:
        return training.switches(np.abs(w) * (_gradient_size(training.calls[0]) + np.abs(training.last)))
    path, D, D_b = [], 0 * w, 0 * w
    for call, b, H in zip(training.calls, training.b, training.hessians, strict=True):
        path.append((call, H, D))
        if b is not None:
            D_b = momentum * D_b + _gradient_size(call) + np.abs(H) @ D + np.abs(b)
            D = D + lr * (D_b + np.abs(b)) + np.abs(flattened(call[1]))
    call, H, D = path.pop()
    v, D_v = training.last, _gradient_size(call) + np.abs(H) @ D
    a, D_a = 0 * w, 0 * w
    for t, (call, H, D) in reversed(list(enumerate(path))):
        D_a = momentum * D_a + lr * D_v + np.abs(momentum * a) + np.abs(lr * v)
        a = momentum * a - lr * v
        if not (detach_first and t == 0 and momentum):
            v = v + H @ a
            D_v = D_v + sizes("hvp", *call, a) + np.abs(H) @ D_a + _twisted(call, H, a, D) + np.abs(v)
    return training.switches(np.abs(w) * D_v + np.abs(w * v))


def _gradient_size(call):
    return sizes("per_sample_gradients", *call).mean(0)


def _twisted(call, H, a, D):
    """`|T| D`: how far an error of the point moves the Hessian's product with a."""
    if not a.any() or not D.any():
        return 0 * a
    layers, params, *rest = call
    h = TWIST / np.abs(a).max()
    moved = hessian(layers, unflattened(flattened(params) + h * a, params), *rest)
    return np.abs(moved - H) / h @ D


def witness(training, detach_first):
    """(u, its product with the scores from differences of the loss after the steps, how uncertain it is)."""
    if detach_first and training.momentum:  # no derivative of any loss
        return None
    u = np.random.default_rng(0).normal(size=training.w.shape)
    _, sides, most = _loss(training.calls)
    moved = (_moved(training.problem, u * h) for h in (STEP, -STEP, STEP / 2, -STEP / 2))
    ends = [_loss([call for call, _ in steps(training.problem, start)]) for start in moved]
    if any(end[1] != sides for end in ends):
        return None
    wide, near = (ends[0][0] - ends[1][0]) / (2 * STEP), (ends[2][0] - ends[3][0]) / STEP
    unsure = TRUNCATION * abs(near - wide) + ROUNDING * np.finfo(float).eps * most / STEP
    return training.switches(u * np.sign(slope(training))), (4 * near - wide) / 3, unsure


def _moved(problem, u):
    """The parameters with the switches at `1 + u`."""
    on = {
        key: np.full(a.shape, float(key in switched(problem["params"])))
        for key, a in problem["params"].items()
    }
    return flattened(problem["params"]) * (1 + u * flattened(on))


def _loss(calls):
    """(The loss after the steps, the sides of all kinks on the way, the largest number that it is made of.)"""
    sides = []
    for call in calls:
        f, found = kinks.watched(*call[:3])
        sides += [kink.side.tolist() for kink in found]
    f = f.reshape(len(f), -1)
    return value(f, call[3], LOSS).mean(), sides, 1 + np.abs(f).max()


def slope(training):
    """The derivative (d,) of the last loss in the switches, with its sign: the adjoint."""
    v, a = training.last, 0.0
    for H in reversed(training.hessians[:-1]):
        a = training.momentum * a - training.lr * v
        v = v + H @ a
    return training.w * v


METHOD = Method(pairs, define, size, fault, places, witness, reads=("detach_first",), prepare=Training)
