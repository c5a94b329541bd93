"""The same function written otherwise: scaled, permuted, embedded, regrouped, exact on Fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune.definitions import derivatives
from refprune.network import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    ReLU,
    Residual,
    Tanh,
)
from tests.network.checking import EPS, case, close, frozen

seeds = st.integers(0, 2**32 - 1)


def drawn(network, shape, rng, samples=3):
    params = {name: rng.normal(size=size) / 2 for name, size in network.shapes.items()}
    params |= {name: rng.uniform(0.5, 2, size=size) for name, size in network.constants.items()}
    return params, rng.normal(size=(samples, *shape)) + 0.3


def second_order(network, params, x, y, loss="squared"):
    """(f, gradient, Hessian, Gauss-Newton, per-sample gradients)"""
    arguments = (params, x, y, loss)
    gradient = network.flatten(network.gradient(*arguments))
    own = network.per_sample_gradients(*arguments)
    return (
        network.forward(params, x),
        gradient,
        network.hessian(*arguments),
        network.gauss_newton(*arguments),
        own,
    )


@given(seeds, st.integers(-20, 20))
def test_powers_of_two_are_exact(seed, exponent):
    """With the last layer and the targets s times as large, H_11, H_12, H_22 are s^2, s, 1 times as large."""
    rng, s = np.random.default_rng(seed), 2.0**exponent
    network = Network([Dense(3, 4), ReLU(), Dense(4, 2)])
    params, x = drawn(network, (3,), rng)
    y = rng.normal(size=(3, 2))
    scaled = {name: array * (s if name[0] == "2" else 1) for name, array in params.items()}
    first, powers = 16, np.array([s] * 16 + [1.0] * 10)
    one, other = second_order(network, params, x, y), second_order(network, scaled, x, s * y)
    assert network.size == first + 10
    assert_array_equal(other[0], s * one[0])
    assert_array_equal(other[1], s * powers * one[1])
    assert_array_equal(other[2], np.outer(powers, powers) * one[2])
    assert_array_equal(other[3], np.outer(powers, powers) * one[3])
    assert_array_equal(other[4], s * powers * one[4])
    assert_array_equal(
        network.loss(scaled, x, s * y, "squared"), s * s * network.loss(params, x, y, "squared")
    )


@given(seeds, st.sampled_from(["cross_entropy", "squared"]))
def test_permuted_hidden_units_permute_the_hessian(seed, loss):
    rng = np.random.default_rng(seed)
    network = Network([Conv2d(1, 4, 2), Tanh(), Flatten(), Dense(16, 5), Tanh(), Dense(5, 3)])
    params, x = drawn(network, (1, 3, 3), rng)
    y = rng.integers(3, size=3) if loss == "cross_entropy" else rng.normal(size=(3, 3))
    channels, units = rng.permutation(4), rng.permutation(5)
    number = network.unflatten(np.arange(float(network.size)))  # moved as the parameters are

    def moved(p):
        W = p["3.weight"].reshape(5, 4, 4)[units][:, channels].reshape(5, 16)
        first = {"0.weight": p["0.weight"][channels], "0.bias": p["0.bias"][channels]}
        last = {"5.weight": p["5.weight"][:, units], "5.bias": p["5.bias"]}
        return first | {"3.weight": W, "3.bias": p["3.bias"][units]} | last

    at = network.flatten(moved(number)).astype(int)
    one, other = (second_order(network, p, x, y, loss) for p in (params, moved(params)))
    # sums of at most 16 terms of size 4 in other orders, 8 products in each of 3 layers
    bound = 8 * 3 * 30 * EPS["float64"] * 4
    close("f", other[0], one[0], bound)
    close("gradient", other[1], one[1][at], bound)
    close("hessian", other[2], one[2][np.ix_(at, at)], bound * max(1, np.abs(one[2]).max()))
    close("gauss_newton", other[3], one[3][np.ix_(at, at)], bound * max(1, np.abs(one[3]).max()))


def test_a_unit_that_nobody_reads_changes_nothing_else():
    rng = np.random.default_rng(0)
    small, large = (Network([Dense(3, n), Tanh(), Dense(n, 2)]) for n in (4, 5))
    params, x = drawn(small, (3,), rng)
    wide, _ = drawn(large, (3,), rng)
    wide |= {"2.bias": params["2.bias"], "2.weight": np.pad(params["2.weight"], ((0, 0), (0, 1)))}
    wide["0.weight"][:4], wide["0.bias"][:4] = params["0.weight"], params["0.bias"]
    y, number = rng.normal(size=(3, 2)), large.unflatten(np.arange(float(large.size)))
    old = {"0.weight": number["0.weight"][:4], "0.bias": number["0.bias"][:4]}
    old |= {"2.weight": number["2.weight"][:, :4], "2.bias": number["2.bias"]}
    at = small.flatten(old).astype(int)
    one, other = second_order(small, params, x, y), second_order(large, wide, x, y)
    close("hessian", other[2][np.ix_(at, at)], one[2], 8 * 40 * EPS["float64"] * np.abs(one[2]).max())
    close("gradient", other[1][at], one[1], 8 * 40 * EPS["float64"] * np.abs(one[1]).max())
    close("incoming", other[1][12:15], np.zeros(3), 0)  # of the new unit, whose outputs have the weight 0


def test_layers_that_are_special_cases_of_others():
    rng = np.random.default_rng(1)
    dense, y = [Flatten(), Dense(6, 2)], rng.normal(size=(3, 2))
    pairs = [  # two networks with the same flat vector, and images
        ([Conv2d(6, 2, 1), Flatten()], dense, (6, 1, 1)),
        ([Conv2d(1, 2, (2, 3)), Flatten()], dense, (1, 2, 3)),
        ([Conv2d(1, 2, (2, 1), stride=3, padding=((0, 1), (0, 0))), Tanh(), Flatten(), Dense(2, 2)],
         [Flatten(), Dense(2, 2), Tanh(), Dense(2, 2)], (1, 2, 1)),
        ([Conv2d(2, 3, 2), GlobalAvgPool(), *dense[:1], Dense(3, 2)],
         [Conv2d(2, 3, 2), AvgPool2d((2, 3)), Flatten(), Dense(3, 2)], (2, 3, 4)),
        ([Conv2d(2, 3, 2), MaxPool2d(1), GlobalAvgPool(), *dense[:1], Dense(3, 2)],
         [Conv2d(2, 3, 2), AvgPool2d(1), GlobalAvgPool(), Flatten(), Dense(3, 2)], (2, 3, 4)),
    ]  # fmt: skip
    for left, right, shape in pairs:
        networks = [Network(left), Network(right)]
        params, x = drawn(networks[0], shape, rng)
        w = networks[0].flatten(params)
        one, other = (second_order(network, network.unflatten(w), x, y) for network in networks)
        for a, b in zip(one, other, strict=True):
            close(str(left), a.reshape(b.shape), b, 8 * 60 * EPS["float64"] * max(1, np.abs(b).max()))


def test_a_batchnorm_that_is_the_identity_changes_nothing():
    rng = np.random.default_rng(2)
    tail, y = [Tanh(), Flatten(), Dense(12, 2)], rng.normal(size=(3, 2))
    bare, normed = (
        Network([Conv2d(2, 3, 2), *tail]),
        Network([Conv2d(2, 3, 2), BatchNorm2d(3, eps=0.25), *tail]),
    )
    params, x = drawn(bare, (2, 3, 3), rng)
    wide = {
        (name if name[0] == "0" else f"{int(name[0]) + 1}{name[1:]}"): value for name, value in params.items()
    }
    wide |= {"1.weight": np.ones(3), "1.bias": np.zeros(3), "1.running_mean": np.zeros(3)}
    wide["1.running_var"] = np.full(3, 0.75)
    at = np.r_[0:27, 33:59]
    one, other = second_order(bare, params, x, y), second_order(normed, wide, x, y)
    assert_array_equal(other[0], one[0])
    for index in (1, 4):
        close("gradient", other[index][..., at], one[index], 8 * 60 * EPS["float64"] * np.abs(one[1]).max())
    for index in (2, 3):
        close(
            "matrix", other[index][np.ix_(at, at)], one[index], 8 * 60 * EPS["float64"] * np.abs(one[2]).max()
        )


def test_a_grouped_convolution_is_a_full_one_with_zeros():
    rng = np.random.default_rng(3)
    tail, y = [Tanh(), GlobalAvgPool(), Flatten(), Dense(4, 2)], rng.normal(size=(3, 2))
    grouped, whole = Network([Conv2d(4, 4, 2, groups=2), *tail]), Network([Conv2d(4, 4, 2), *tail])
    params, x = drawn(grouped, (4, 3, 3), rng)
    W, number = np.zeros((4, 4, 2, 2)), whole.unflatten(np.arange(float(whole.size)))
    W[:2, :2], W[2:, 2:] = params["0.weight"][:2], params["0.weight"][2:]
    own = np.concatenate([number["0.weight"][:2, :2], number["0.weight"][2:, 2:]])
    at = grouped.flatten(number | {"0.weight": own}).astype(int)
    one, other = second_order(grouped, params, x, y), second_order(whole, params | {"0.weight": W}, x, y)
    for index in (1, 4):
        close("gradient", other[index][..., at], one[index], 8 * 60 * EPS["float64"] * 4)
    for index in (2, 3):
        close("matrix", other[index][np.ix_(at, at)], one[index], 8 * 60 * EPS["float64"] * 4)


def test_the_identity_of_a_residual_is_a_unit_matrix_in_its_weight():
    rng = np.random.default_rng(4)
    y, tail = rng.normal(size=(3, 2)), [Tanh(), Dense(3, 2)]
    skip, plain = Network([Residual([Dense(3, 3)]), *tail]), Network([Dense(3, 3), *tail])
    params, x = drawn(plain, (3,), rng)
    own = {name.replace("0.", "0.body.0."): value for name, value in params.items()}
    moved = params | {"0.weight": params["0.weight"] + np.eye(3)}
    for a, b in zip(second_order(skip, own, x, y), second_order(plain, moved, x, y), strict=True):
        close("residual", a, b, 8 * 40 * EPS["float64"] * max(1, np.abs(b).max()))


@given(seeds)
def test_rectifiers_without_biases_are_homogeneous_in_every_layer(seed):
    """f(.., t W_l, ..) = t f for t > 0, so that J W_l = f; with squared losses g . W_l = mean (f - y) . f."""
    rng = np.random.default_rng(seed)
    layers = [
        Conv2d(1, 2, 2, bias=False),
        ReLU(),
        MaxPool2d(2, 1),
        Flatten(),
        Dense(8, 3, False),
        ReLU(),
        Dense(3, 2, False),
    ]
    network = Network(layers)
    params, x = drawn(network, (1, 4, 4), rng)
    y, f, start = rng.normal(size=(3, 2)), network.forward(params, x), 0
    J = network.jacobian(params, x)
    gradient = network.gradient(params, x, y, "squared")
    bound = 8 * 60 * EPS["float64"] * max(1, np.abs(f).max()) ** 2
    for name, W in params.items():
        close(f"J {name}", J[..., start : start + W.size] @ W.ravel(), f, bound)
        close(f"g {name}", (gradient[name] * W).sum(), ((f - y) * f).sum() / 3, bound * 10)
        start += W.size


def fractions(array):
    flat = [Fraction(round(8 * value), 8) for value in np.ravel(array)]
    return np.array(flat, dtype=object).reshape(np.shape(array))


@pytest.mark.parametrize("seed", range(3))
def test_fractions_are_exact(seed):
    """Where a network needs only + - * / and comparisons, so that the definitions give the same numbers."""
    rng = np.random.default_rng(seed)
    layers = [
        Conv2d(1, 2, 2, padding=((1, 0), (0, 0))),
        ReLU(),
        MaxPool2d((2, 1)),
        Flatten(),
        Residual([Dense(2, 2)]),
        Dense(2, 2),
    ]
    network = Network(layers)
    params, x = drawn(network, (1, 2, 2), rng, samples=2)
    params, x = {name: fractions(2 * array) for name, array in params.items()}, fractions(x)
    y = fractions(rng.normal(size=(2, 2)))
    plain = (network.to_dicts(), params, x, y, "squared")
    arguments = (params, x, y, "squared")
    assert network.loss(*arguments) == derivatives.network_loss(*plain)
    assert_array_equal(network.hessian(*arguments), derivatives.hessian(*plain))
    assert_array_equal(network.gauss_newton(*arguments), derivatives.gauss_newton(*plain))
    assert_array_equal(network.per_sample_gradients(*arguments), derivatives.per_sample_gradients(*plain))
    assert {type(entry) for entry in network.hessian(*arguments).ravel()} <= {Fraction, int}


@pytest.mark.parametrize("flag", ["Conv", "ConvGroups", "AvgPool", "BatchNorm", "Residual", None])
def test_strides_do_not_matter(flag):
    """Arrays with gaps, turned around and in Fortran's order; `Case` holds read-only ones."""
    found = case(3, flag)
    forms = {
        "fortran": np.asfortranarray,
        "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
        "backwards": lambda a: a[::-1].copy()[::-1],
    }
    wanted = second_order(found.network, *found.data, found.loss)
    for name, form in forms.items():
        params = {key: frozen_view(form(array)) for key, array in found.params.items()}
        got = second_order(
            found.network, params, frozen_view(form(found.x)), frozen_view(form(found.y)), found.loss
        )
        for a, b in zip(got, wanted, strict=True):
            close(name, a, b, 2 * found.bound(b))


def frozen_view(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("flag", ["Conv", "Shortcut", "Residual", "BatchNorm", None])
def test_nothing_is_written_to_and_nothing_is_shared(flag):
    for seed in range(4):
        found = case(seed, flag)
        network, v = found.network, frozen(np.random.default_rng(0).normal(size=(2, found.network.size)))
        before = [found.x.copy(), found.y.copy(), *(array.copy() for array in found.params.values())]
        inputs = [found.x, found.y, *found.params.values(), v]
        results = [*second_order(network, *found.data, found.loss), network.jacobian(found.params, found.x)]
        results += [
            method(*found.data, v, found.loss) for method in (network.hvp, network.gauss_newton_product)
        ]
        results += network.gradient(*found.data, found.loss).values()
        results += [
            network.hessian_diagonal(*found.data, found.loss),
            network.empirical_fisher(*found.data, found.loss),
        ]
        results += [network.hessian(*found.data, found.loss, rows=[next(iter(network.shapes))])]
        results += [*network.activations(found.params, found.x).values()]
        results += [*network.layer_inputs(found.params, found.x).values(), network.flatten(found.params)]
        results += network.unflatten(v[0], found.params).values()
        for result in results:
            assert result.flags.writeable
            assert not any(np.shares_memory(result, given_) for given_ in inputs)
        for array, copy in zip(inputs, before):
            assert_array_equal(array, copy)
