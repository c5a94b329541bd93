"""The three kinds: every linear map has its adjoint, every layer autograd's derivatives; so do new layers."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refprune.arrays import namespace
from refprune.definitions import by_autograd, finite_differences
from refprune.network import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    ReLU,
    ReLU6,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from refprune.network.kinds import Bilinear, Elementwise
from tests.network.checking import EPS, check_adjoint, check_layer, close, frozen

LINEAR = [
    (MaxPool2d(2), (2, 4, 5)), (MaxPool2d(3, 2, 1), (1, 5, 4)),
    (MaxPool2d((2, 3), 1, ((1, 0), (0, 2)), (2, 1)), (2, 3, 4)),
    (AvgPool2d(2), (2, 4, 5)), (AvgPool2d(3, 2, 1), (1, 5, 4)),
    (AvgPool2d((2, 3), 1, ((1, 0), (0, 2)), (2, 1)), (2, 3, 4)),
    (AvgPool2d(3, 2, ((0, 1), (1, 2)), 1, False), (2, 5, 4)), (AvgPool2d((3, 1), (1, 2), (1, 0)), (1, 3, 3)),
    (GlobalAvgPool(), (3, 2, 5)), (Flatten(), (2, 3, 2)), (Flatten(), (4,)),
]  # fmt: skip
BILINEAR = [
    (Dense(3, 2), (3,)), (Dense(1, 4, bias=False), (1,)), (BatchNorm2d(3), (3, 2, 4)), (BatchNorm2d(1, 0.1), (1, 1, 1)),
    (Conv2d(2, 3, 2), (2, 3, 4)), (Conv2d(1, 2, 3, 2, 1, bias=False), (1, 5, 4)), (Conv2d(3, 2, 1), (3, 2, 2)),
    (Conv2d(4, 6, (2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1), 2), (4, 4, 3)),
    (Conv2d(3, 6, 2, padding=(0, 1), groups=3), (3, 3, 2)), (Conv2d(2, 2, 2, stride=3), (2, 6, 7)),
]  # fmt: skip
ELEMENTWISE = [(kind(), (3,)) for kind in (ReLU, ReLU6, Tanh, Sigmoid, GELU, SiLU, Softplus)]
COMPOSED = [
    (Residual([Dense(2, 2), Tanh()]), (2,)),
    (Residual([Tanh(), Dense(2, 3)], [Dense(2, 3, bias=False), SiLU()]), (2,)),
    (Residual([Conv2d(2, 3, 2, 2), BatchNorm2d(3), Tanh()], [AvgPool2d(2), Conv2d(2, 3, 1)]), (2, 4, 4)),
    (Residual([Residual([Dense(2, 2), Softplus()], []), Sigmoid()]), (2,)),
]


def check_linear(layer, shape, seed=0):
    """<A t, d> = <t, A^T d>, with and without a leading axis, and `apply` is what `record` did."""
    rng, name = np.random.default_rng(seed), type(layer).__name__
    x = frozen(rng.normal(size=(2, *shape)) + 0.3)
    y, tape = layer.record({}, x)
    close(f"{name}: apply", layer.apply(tape, x), y, 10 * EPS["float64"] * np.abs(x).max())
    for lead in ((), (3,)):
        t, d = frozen(rng.normal(size=(*lead, *x.shape))), frozen(rng.normal(size=y.shape))
        there, back = layer.apply(tape, t), layer.adjoint(tape, d)
        check_adjoint(f"{name}: adjoint is not that of apply", (there, d), (t, back), x.size + y.size)
        t, d = frozen(rng.normal(size=x.shape)), frozen(rng.normal(size=(*lead, *y.shape)))
        there, back = layer.apply(tape, t), layer.adjoint(tape, d)
        check_adjoint(f"{name}: adjoint is not that of apply", (there, d), (t, back), x.size + y.size)


def check_maps(layer, shape, seed=0):
    """`lower` is the adjoint of `lift`, and <W * u, d> = <u, input_adjoint(W, d)> = <W, weight_adjoint(d, u)>,
    with a leading axis on one of the three or on none."""
    rng, name = np.random.default_rng(seed), type(layer).__name__
    params = {key: rng.normal(size=size) for key, size in layer.parameters().items()}
    params |= {key: rng.uniform(0.3, 2, size=size) for key, size in layer.constants().items()}
    x = frozen(rng.normal(size=(2, *shape)))
    lifted = layer.lift(params, x)
    sizes = {"W": params["weight"].shape, "u": lifted.shape}
    sizes["d"] = layer.product(params["weight"], lifted).shape
    terms = x.size + lifted.size * params["weight"].size
    for lead in ((), (3,)):
        t, u = rng.normal(size=(*lead, *x.shape)), rng.normal(size=(*lead, *lifted.shape))
        pairs = (layer.lift(params, t, tangent=True), u), (t, layer.lower(params, u, x.shape[1:]))
        check_adjoint(f"{name}: lower is not the adjoint of lift", *pairs, terms)
    for many in ("", "W", "u", "d"):
        W, u, d = (
            frozen(rng.normal(size=(3, *size) if key == many else size)) for key, size in sizes.items()
        )
        form = (layer.product(W, u), d)
        what = f"{name}: input_adjoint is not that of product" + (f", many {many}" if many else "")
        check_adjoint(what, form, (u, layer.input_adjoint(W, d)), terms)
        what = what.replace("input", "weight")
        check_adjoint(what, form, (W, layer.weight_adjoint(d, u)), terms)
        own = layer.weight_adjoint(d, u, True)
        what = f"{name}: weight_adjoint per sample, many {many}"
        close(
            what, own.sum(axis=-1 - len(sizes["W"])), layer.weight_adjoint(d, u), 9 * terms * EPS["float64"]
        )


@pytest.mark.parametrize(("layer", "shape"), LINEAR, ids=repr)
def test_linear_layers_have_their_adjoints(layer, shape):
    check_linear(layer, shape)
    check_linear(layer, shape, 1)


@pytest.mark.parametrize(("layer", "shape"), BILINEAR, ids=repr)
def test_maps_of_bilinear_layers_have_their_adjoints(layer, shape):
    check_maps(layer, shape)
    check_maps(layer, shape, 1)


@pytest.mark.parametrize(("layer", "shape"), LINEAR + BILINEAR + ELEMENTWISE + COMPOSED, ids=repr)
def test_derivatives_of_every_layer_are_autograds(layer, shape):
    for seed, samples in ((0, 2), (1, 1)):
        check_layer(layer, shape, seed, samples)


class Sine(Elementwise):
    value = staticmethod(lambda x: namespace(x).sin(x))
    slope = staticmethod(lambda x, y: namespace(x).cos(x))
    bend = staticmethod(lambda x, y, slope: -y)


@dataclass(frozen=True)
class Circulant(Bilinear):
    """`y_i = sum_k W_k u_(i - k)` with indices modulo n: a dense layer with n weights instead of n^2."""

    n: int
    type = "circulant"

    def parameters(self):
        return {"weight": (self.n,), "bias": (self.n,)}

    def product(self, W, u):
        return sum(W[..., k, None, None] * namespace(u).roll(u, k, axis=-1) for k in range(self.n))

    def input_adjoint(self, W, delta):
        return sum(W[..., k, None, None] * namespace(delta).roll(delta, -k, axis=-1) for k in range(self.n))

    def weight_adjoint(self, delta, u, per_sample=False):
        xp = namespace(delta, u)
        own = xp.stack([xp.sum(delta * xp.roll(u, k, axis=-1), axis=-1) for k in range(self.n)], axis=-1)
        return own if per_sample else xp.sum(own, axis=-2)


NEW = [
    Network([Dense(3, 4), Sine(), Dense(4, 3)]),
    Network([Circulant(3), Tanh(), Circulant(3), Sine(), Dense(3, 2)]),
    Network([Dense(2, 3), Residual([Circulant(3), Sine()]), Circulant(3)]),
]


def test_a_new_activation_is_three_lines_and_a_new_bilinear_layer_three_maps():
    check_layer(Sine(), (3,))
    check_layer(Circulant(4), (4,))
    check_maps(Circulant(4), (4,))
    check_layer(Residual([Circulant(3), Sine()], [Circulant(3)]), (3,))
    W, x = np.array([1.0, 10.0, 100.0]), np.array([[1.0, 2.0, 3.0]])
    assert Circulant(3).product(W, x).tolist() == [[231.0, 312.0, 123.0]]


@given(st.integers(0, 2), st.sampled_from(["cross_entropy", "squared"]), st.integers(0, 2**32 - 1))
def test_networks_of_new_layers_are_exact(which, loss, seed):
    network, rng = NEW[which], np.random.default_rng(seed)
    params = network.unflatten(rng.normal(size=network.size))
    x = rng.normal(size=(3, 2 if which == 2 else 3))
    f = network.forward(params, x)
    y = rng.integers(f.shape[1], size=3) if loss == "cross_entropy" else f + rng.normal(size=f.shape)
    w, value = network.flatten(params), by_autograd.loss(network, params, x, y, loss)
    wanted = by_autograd.hessian(value, w)
    # three bilinear layers of fan-in 4 and two sines, 8 products each; parameters go up to 4
    bound = 8 * 40 * EPS["float64"] * max(1, np.abs(wanted).max()) * 4
    close(
        "gradient",
        network.flatten(network.gradient(params, x, y, loss)),
        by_autograd.gradient(value, w),
        bound,
    )
    close("hessian", network.hessian(params, x, y, loss), wanted, bound)
    close("hessian in chunks", network.hessian(params, x, y, loss, memory=1), wanted, bound)
    v = rng.normal(size=(2, network.size))
    close("hvp", network.hvp(params, x, y, v, loss), v @ wanted, bound * 4 * network.size)
    close("hessian_diagonal", network.hessian_diagonal(params, x, y, loss), np.diagonal(wanted), bound)
    wanted = by_autograd.gauss_newton(network, params, x, y, loss)
    close("gauss_newton", network.gauss_newton(params, x, y, loss), wanted, bound)
    wanted = by_autograd.per_sample_gradients(network, params, x, y, loss)
    close("per_sample_gradients", network.per_sample_gradients(params, x, y, loss), wanted, bound)


def test_finite_differences_agree():
    network, rng = NEW[1], np.random.default_rng(0)
    params = network.unflatten(rng.normal(size=network.size) / 2)
    x, y, w = rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), network.flatten(params)

    def gradient(t):
        return network.flatten(network.gradient(network.unflatten(t), x, y, "squared"))

    # eps^(2/3) = 4e-11 times third derivatives of size 100 at most
    close("hessian", network.hessian(params, x, y, "squared"), finite_differences.hessian(gradient, w), 4e-9)
