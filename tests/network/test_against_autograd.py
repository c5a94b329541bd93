"""The explicit derivatives against autograd's of the same forward code, and against finite differences.

200 generated networks, over all layers and both losses, in float64. Compared is the largest difference of any
entry, relative to the largest entry of autograd's answer: at most 1e-12.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from refprune.definitions import by_autograd, derivatives, finite_differences
from refprune.network import Network
from refprune.network.dicts import TYPES
from refprune.testing import networks

pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")

EPS = 2.0**-52
SEEDS = range(200)
SMALL = 30  # parameters of networks whose whole Hessian autograd derives; the others: on 3 directions


@dataclass
class Case:
    """A generated network at its point."""

    seed: int

    @cached_property
    def problem(self):
        return networks.problem(np.random.default_rng(self.seed))

    @cached_property
    def network(self):
        return Network.from_dicts(self.problem["layers"])

    @property
    def params(self):
        return self.problem["params"]

    @property
    def batch(self):
        """What a method takes: params, x, y, loss."""
        return tuple(self.problem[name] for name in ("params", "x", "y", "loss"))

    @cached_property
    def w(self):
        return self.network.flatten(self.params)

    @cached_property
    def directions(self):
        """Three of length 1."""
        V = np.random.default_rng(self.seed + 1000).normal(size=(3, self.network.size))
        return V / np.linalg.norm(V, axis=1, keepdims=True)

    def loss(self, w):
        return by_autograd.loss(self.network, *self.batch)(w)

    def slope(self, w):
        """refprune's gradient, flat."""
        params, x, y, loss = self.batch
        found = self.network.gradient(self.network.unflatten(w, params), x, y, loss)
        return np.concatenate([g.ravel() for g in found.values()])


CASES = [Case(seed) for seed in SEEDS]
case = pytest.mark.parametrize("case", CASES, ids=[f"seed {case.seed}" for case in CASES])


def agree(got, expected, what):
    gap, size = np.abs(got - expected).max(initial=0), np.abs(expected).max(initial=0)
    assert gap <= 1e-12 * size, f"{what}: off by {gap:.2g}, the largest entry is {size:.2g}"


def types(layers):
    for layer in layers:
        yield layer["type"]
        yield from types(layer.get("body") or [])
        yield from types(layer.get("shortcut") or [])


def test_the_networks_hold_every_layer_and_both_losses():
    found = {name for case in CASES for name in types(case.problem["layers"])}
    assert found == set(TYPES)
    losses = [case.problem["loss"] for case in CASES]
    assert min(losses.count("squared"), losses.count("cross_entropy")) > 80
    assert sum(case.network.size <= SMALL for case in CASES) > 50


@case
def test_forward_and_loss(case):
    """By the definitions, which share no code with the network."""
    layers, (params, x, y, loss) = case.problem["layers"], case.batch
    agree(case.network.forward(params, x), derivatives.forward(layers, params, x), "forward")
    value, expected = (
        case.network.loss(params, x, y, loss),
        derivatives.network_loss(layers, params, x, y, loss),
    )
    # a cross-entropy is a difference of numbers of the size of the outputs
    size = np.abs(case.network.forward(params, x)).max() + abs(expected)
    assert abs(value - expected) <= 1e-12 * size


@case
def test_gradients_and_what_is_made_of_them(case):
    network, (params, x, *_) = case.network, case.batch
    agree(case.slope(case.w), by_autograd.gradient(case.loss, case.w), "gradient")
    S = np.stack(by_autograd.per_sample_gradients(network, *case.batch))
    agree(network.per_sample_gradients(*case.batch), S, "per-sample gradients")
    agree(network.empirical_fisher(*case.batch), S.T @ S / len(S), "empirical Fisher")
    J = by_autograd.jacobian(by_autograd.outputs(network, params, x), case.w)
    agree(network.jacobian(params, x), J, "Jacobian")


@case
def test_gauss_newton_and_the_model_fisher(case):
    network, (params, x, y, loss) = case.network, case.batch
    G = by_autograd.gauss_newton(network, *case.batch)
    agree(network.gauss_newton(*case.batch), G, "Gauss-Newton")
    agree(network.model_fisher(params, x, loss), G, "model Fisher")
    V = case.directions
    agree(network.gauss_newton_product(params, x, y, V, loss), V @ G, "Gauss-Newton product")


@case
def test_hessians_and_products(case):
    network, (params, x, y, loss), V = case.network, case.batch, case.directions
    H = network.hessian(*case.batch)
    assert_array_equal(H, H.T)
    products = network.hvp(params, x, y, V, loss)
    if network.size <= SMALL:
        expected = by_autograd.hessian(case.loss, case.w)
        agree(H, expected, "Hessian")
        agree(products, V @ expected, "product")
        agree(network.hessian_diagonal(*case.batch), np.diag(expected), "diagonal")
        return
    expected = by_autograd.jacobian(lambda w: V @ by_autograd.gradient(case.loss, w), case.w)
    agree(V @ H, expected, "Hessian")
    agree(products, expected, "product")
    # the diagonal in the size of the matrix
    assert np.abs(network.hessian_diagonal(*case.batch) - np.diag(H)).max() <= 1e-12 * np.abs(H).max()


@pytest.mark.parametrize("case", CASES[:60], ids=[f"seed {case.seed}" for case in CASES[:60]])
def test_finite_differences(case):
    """Away from kinks (the generator keeps 0.02 from them, the steps are below 1e-4)."""
    network, (params, x, y, loss), v = case.network, case.batch, case.directions[0]
    difference, twice = (finite_differences.along(case.slope, case.w, v, stretch) for stretch in (1, 2))
    product = network.hvp(params, x, y, v, loss)
    # The cut-off is a third of what doubling the step changes (three times that is allowed), the rounding that of
    # two gradients, 1e-13 of their size (100 to 400 eps: sums over some 100 terms), over twice the step.
    step = finite_differences.step(case.w, v)
    rounding = 1e-13 * np.abs(case.slope(case.w)).max() / step
    assert np.all(np.abs(difference - product) <= np.abs(twice - difference) + rounding)
    g = finite_differences.along(case.loss, case.w, v)
    cut = abs(finite_differences.along(case.loss, case.w, v, 2) - g)
    rounding = 1e-13 * (abs(case.loss(case.w)) + np.abs(network.forward(params, x)).max()) / step
    assert abs(g - case.slope(case.w) @ v) <= cut + rounding


@pytest.mark.parametrize("case", CASES[:20], ids=[f"seed {case.seed}" for case in CASES[:20]])
def test_products_are_symmetric_to_rounding(case):
    """Without the mean with its transpose that `hessian` ends with."""
    params, x, y, loss = case.batch
    H = case.network.hvp(params, x, y, np.eye(case.network.size), loss)
    agree(H, H.T, "symmetry")


def test_the_comparison_sees_a_billionth():
    case = CASES[0]
    g = case.slope(case.w)
    wrong = g.copy()
    wrong[np.argmax(np.abs(g))] *= 1 + 1e-9
    with pytest.raises(AssertionError, match="gradient: off by"):
        agree(wrong, by_autograd.gradient(case.loss, case.w), "gradient")


def test_padding_never_ties_with_a_pixel():
    """A maximum that is also the smallest pixel of all: autograd would give half of it to the padding."""
    network = Network.from_dicts(
        [
            {"type": "conv2d", "in_channels": 1, "out_channels": 1, "kernel": 1},
            {"type": "maxpool2d", "kernel": 2, "padding": 1},
        ]
    )
    params = {"0.weight": np.array([[[[2.0]]]]), "0.bias": np.array([0.5])}
    x = np.array([[[[-3.0]]]])
    J = by_autograd.jacobian(by_autograd.outputs(network, params, x), network.flatten(params))
    assert_array_equal(J, [[[-3.0, 1.0]]])
    assert_array_equal(network.jacobian(params, x), J)
