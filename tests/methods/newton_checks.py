"""What every Newton-CG must do, as checks of a callable: each has a message of its own."""

import numpy as np

import refprune as rp
import refprune.definitions as definitions
from tests.methods.problems import spd

EPS = np.finfo(float).eps
MASK = np.array([True, False, True, True, False, True, True])


def quadratic():
    """A quadratic of condition 30, far from its minimum."""
    rng = np.random.default_rng(310)
    H = spd(rng, 7)
    return H, rp.Quadratic(H, rng.normal(size=7) + 0.5), rng.normal(size=7)


def logistic(samples=40, seed=311, activation="tanh"):
    """The loss of a small network, and a point where its Hessian is indefinite."""
    rng = np.random.default_rng(seed)
    network, x = rp.mlp([3, 3, 2], activation=activation), rng.normal(size=(samples, 3)) + 0.25
    labels = (x[:, 0] * x[:, 1] > 0.1).astype(int)
    return rp.NetworkLoss(network, x, labels), network.flatten(network.init(rng)), rng.random(20) < 0.7


class Scaled:
    """An objective in another unit."""

    def __init__(self, f, unit):
        self.f, self.unit = f, unit

    def value(self, w):
        return self.unit * self.f.value(w)

    def gradient(self, w):
        return self.unit * self.f.gradient(w)

    def hvp(self, w, v):
        return self.unit * self.f.hvp(w, v)

    def hessian(self, w):
        return self.unit * self.f.hessian(w)


class Bowl:
    """``|w|^2 / 2``, without a look at what it is given."""

    def value(self, w):
        return (w @ w) / 2

    def gradient(self, w):
        return w + 0

    def hvp(self, w, v):
        return v + 0

    def hessian(self, w):
        return np.eye(len(w))


class Uphill(Scaled):
    """An objective whose gradient has the wrong sign: no step lowers it."""

    def __init__(self, f):
        super().__init__(f, 1.0)

    def gradient(self, w):
        return -self.f.gradient(w)


def judge(method):
    """Hold `method(objective, mask, start, steps, damp=0.0, batches=None) -> weight` to what Newton-CG promises.

    It solves by conjugate gradients to 1e-12; `batches` are the objectives of the steps.
    """
    H, f, start = quadratic()
    with np.errstate(all="ignore"):
        _coupling(method)
        _one_step(method, H, f, start)
        _damping(method, H, f, start)
        _units(method, f, start)
        _no_gradient(method)
        _negative_curvature(method)
        _failed_search(method, f, start)
        _curvature(method)
        _batches(method)


def _coupling(method):
    """All kept weights in one system, however it is multiplied with: here each half pulls the other along."""
    H = np.eye(6)
    H[:3, 3:] = H[3:, :3] = 0.25
    w = method(rp.Quadratic(H, np.arange(1.0, 7.0)), np.ones(6, dtype=bool), np.zeros(6), 1)
    assert np.abs(w - np.arange(1.0, 7.0)).max() <= 1e-10, "lost what couples the weights"


def _one_step(method, H, f, start):
    w = method(f, MASK, start, 1)
    assert np.all(w[~MASK] == 0), "not 0 off the mask"
    best = definitions.optimal_weights(f.weight, H, MASK)
    # conjugate gradients to 1e-12 on H_ZZ of condition 30 times units of 2^6 in each direction
    assert np.abs(w - best).max() <= 1e-12 * 30 * 2**12 * np.abs(best).max(), (
        "not the minimum on the support after one step"
    )


def _damping(method, H, f, start):
    w, at = method(f, MASK, start, 1, damp=0.5), np.where(MASK, start, 0)
    A = H[np.ix_(MASK, MASK)] + 0.5 * np.eye(5)
    s = np.linalg.solve(A, -f.gradient(at)[MASK])
    assert np.abs((w - at)[MASK] - s).max() <= 1e-9 * np.abs(s).max(), "the damping is not absolute"


def _units(method, f, start):
    w = method(f, MASK, start, 2)
    assert np.array_equal(method(Scaled(f, 2.0**-40), MASK, start, 2), w), "depends on the unit of the loss"


def _no_gradient(method):
    w = method(Bowl(), np.array([False, True, True]), np.array([1.0, 0.0, 0.0]), 2)
    assert np.array_equal(w, [0.0, 0.0, 0.0]), "moved, or lost, a weight without a gradient"


def _negative_curvature(method):
    """The curvature along the gradient is negative; and positive, with a negative one in the second direction."""
    saddle = rp.Quadratic(np.diag([1.0, -2.0]), np.zeros(2))
    w = method(saddle, np.array([True, True]), np.array([1.0, 1.0]), 1)
    assert np.array_equal(w, [1.0, 1.0]), "walked along negative curvature"
    start = np.array([2.0, 0.5])
    g = np.array([2.0, -1.0])
    first = start - (g @ g) / (g @ np.diag([1.0, -2.0]) @ g) * g
    w = method(saddle, np.array([True, True]), start, 1)
    assert np.abs(w - first).max() <= 1e-14, "lost the steps before negative curvature, or went on behind it"


def _failed_search(method, f, start):
    at = np.where(MASK, start, 0)
    assert np.array_equal(method(Uphill(f), MASK, at, 3), at), "moved although the search failed"


def _curvature(method):
    """At a damped step on a network: H + damp I is definite, and not the Gauss-Newton matrix."""
    f, start, mask = logistic()
    expected = definitions.newton_step(f, mask, np.where(mask, start, 0), 0.5)
    w = method(f, mask, start, 1, damp=0.5)
    # the solve to 1e-12 at a condition below 10
    assert np.abs(w - expected).max() <= 1e-10, "not the step of the Hessian on the support"


def _batches(method):
    """A step belongs to one batch: the whole step passes in the first and in the second it does not."""
    f, g = (rp.Quadratic(np.eye(2), np.array([c, 0.0])) for c in (1.0, -1.0))
    w = method(f, np.array([True, True]), np.array([0.0, 0.0]), 2, batches=[f, g])
    assert np.abs(w - [-1.0, 0.0]).max() <= 1e-12, "slope and values are not of one batch"
