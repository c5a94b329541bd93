"""What a network is made of: names and their order, flat vectors, initial parameters, what layers see and give."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

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
    Sigmoid,
    Softplus,
    Tanh,
)
from refprune.testing.network_shapes import parameter_shapes
from tests.network.checking import EPS, case, close, frozen

cases = st.integers(0, 2**32 - 1).map(case)
MIXED = Network(
    [
        Conv2d(2, 4, (3, 2), groups=2),
        BatchNorm2d(4),
        Residual(
            [Conv2d(4, 6, 1, bias=False), Residual([Tanh(), BatchNorm2d(6)], [Conv2d(6, 6, 1, groups=3)])],
            [Conv2d(4, 6, 1, bias=False), BatchNorm2d(6)],
        ),
        MaxPool2d(2),
        Flatten(),
        *[Softplus()] * 7,
        Dense(6, 5, bias=False),
    ]
)
SHAPES = {
    "0.weight": (4, 1, 3, 2),
    "0.bias": (4,),
    "1.weight": (4,),
    "1.bias": (4,),
    "2.body.0.weight": (6, 4, 1, 1),
    "2.body.1.body.1.weight": (6,),
    "2.body.1.body.1.bias": (6,),
    "2.body.1.shortcut.0.weight": (6, 2, 1, 1),
    "2.body.1.shortcut.0.bias": (6,),
    "2.shortcut.0.weight": (6, 4, 1, 1),
    "2.shortcut.1.weight": (6,),
    "2.shortcut.1.bias": (6,),
    "12.weight": (5, 6),  # after "5" to "11": keys are numbers
}


def test_names_in_flat_order():
    assert list(MIXED.shapes.items()) == list(SHAPES.items())
    norms = ("1.", "2.body.1.body.1.", "2.shortcut.1.")
    statistics = [f"{key}running_{name}" for key in norms for name in ("mean", "var")]
    assert MIXED.constants == {name: (4,) if name[0] == "1" else (6,) for name in statistics}
    assert list(MIXED.constants) == statistics
    assert MIXED.prunable == tuple(name for name, shape in SHAPES.items() if len(shape) > 1)
    assert MIXED.size == sum(map(prod, SHAPES.values()))
    assert MIXED.output_shape((2, 4, 3)) == (5,)


@given(cases)
def test_names_are_those_of_the_judge(found):
    """In the order of `refprune.testing.network_shapes`, which reads the same plain data on its own."""
    shapes, out = parameter_shapes(found.layers, found.x.shape[1:])
    network = found.network
    assert list(network.shapes) == [name for name in shapes if "running" not in name]
    assert network.shapes | network.constants == shapes
    assert network.output_shape(found.x.shape[1:]) == out == network.forward(found.params, found.x).shape[1:]


@given(cases)
def test_plain_data_and_back(found):
    again = Network.from_dicts(found.network.to_dicts())
    assert again.layers == found.network.layers
    assert repr(again) == repr(found.network)
    assert again.to_dicts() == found.network.to_dicts()
    assert again.shapes == found.network.shapes
    assert_array_equal(again.forward(found.params, found.x), found.network.forward(found.params, found.x))


@given(cases)
def test_flat_vectors_and_back(found):
    network = found.network
    w = network.flatten(found.params)
    assert w.shape == (network.size,)
    assert_array_equal(w, np.concatenate([found.params[name].ravel() for name in network.shapes]))
    back = network.unflatten(w, found.params)
    assert list(back) == [*network.shapes, *network.constants]
    for name, array in back.items():
        assert_array_equal(array, found.params[name])
    assert list(network.unflatten(w)) == list(network.shapes)
    shuffled = dict(reversed(found.params.items()))  # the order of the dict does not matter
    assert_array_equal(network.flatten(shuffled), w)
    assert_array_equal(
        network.hessian(shuffled, found.x, found.y, found.loss), network.hessian(*found.data, found.loss)
    )
    assert list(network.gradient(shuffled, found.x, found.y, found.loss)) == list(network.shapes)


def test_flat_vectors_keep_their_precision():
    w = np.arange(MIXED.size) / 4
    for dtype in ("float16", "float32", "float64"):
        params = MIXED.unflatten(w.astype(dtype))
        assert {array.dtype.name for array in params.values()} == {dtype}
        flat = MIXED.flatten(params)
        assert flat.dtype == ("float64" if dtype == "float64" else "float32")  # as all is computed in
        assert_array_equal(flat, w.astype(dtype))


@pytest.mark.parametrize("scheme", ["he", "glorot", "lecun"])
def test_initial_weights_have_their_moments(scheme):
    layers = [Conv2d(6, 90, (3, 2), groups=3), Flatten(), Dense(90, 100)]
    network, params = Network(layers), Network(layers).init(np.random.default_rng(11), scheme=scheme)
    for name, fan_in, fan_out in (("0.weight", 12, 540), ("2.weight", 90, 100)):
        W = params[name]
        variance = {"he": 2 / fan_in, "lecun": 1 / fan_in, "glorot": 2 / (fan_in + fan_out)}[scheme]
        z, z2 = W.mean() / np.sqrt(variance / W.size), (W**2).mean() / variance - 1
        fourth = 9 / 5 if scheme == "glorot" else 3  # E x^4 / (E x^2)^2
        assert abs(z) < 4  # of N independent draws: a mean of variance / N, a mean square of (fourth - 1) / N
        assert abs(z2) < 4 * np.sqrt((fourth - 1) / W.size)
        largest = np.abs(W).max() / np.sqrt(variance)
        if scheme == "glorot":
            assert 3**0.5 * 0.99 < largest <= 3**0.5  # uniform
        else:
            assert 3 < largest < 6  # normal: of 1080 draws or more one is above 3 but with probability e^-2.9
        others = abs(np.corrcoef(W.ravel()[:-1], W.ravel()[1:])[0, 1])
        assert others < 4 / np.sqrt(W.size)
    assert not params["0.bias"].any()
    assert not params["2.bias"].any()
    assert network.shapes == {name: array.shape for name, array in params.items()}


def test_initial_parameters_are_seeded_and_in_order():
    params, again = (MIXED.init(np.random.default_rng(5)) for _ in range(2))
    assert list(params) == [*SHAPES, *MIXED.constants]
    for name, array in params.items():
        assert_array_equal(array, again[name])
        assert array.dtype == "float64"
        if name not in MIXED.prunable:
            ones = name.endswith(("weight", "running_var"))
            assert_array_equal(array, np.full(array.shape, float(ones)))
    other = MIXED.init(np.random.default_rng(6))
    assert not np.array_equal(params["12.weight"], other["12.weight"])
    single = MIXED.init(np.random.default_rng(5), "float32")
    for name, array in params.items():  # the same draws, rounded
        assert_array_equal(single[name], array.astype("float32"))
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 3))
    params["1.weight"] = params["1.weight"] * 0  # a result of init belongs to the caller
    assert MIXED.forward(params, x).shape == (2, 5)


def test_activations_are_the_outputs_of_every_layer():
    rng = np.random.default_rng(1)
    params, x = MIXED.init(rng), frozen(rng.normal(size=(3, 2, 4, 3)))
    found = MIXED.activations(params, x)
    inside = [
        "2.body.0",
        "2.body.1.body.0",
        "2.body.1.body.1",
        "2.body.1.shortcut.0",
        "2.body.1",
        "2.shortcut.0",
    ]
    assert list(found) == ["0", "1", *inside, "2.shortcut.1", "2", *map(str, range(3, 13))]
    assert_array_equal(found["12"], MIXED.forward(params, x))
    for n in range(13):  # each is what the network up to there gives
        part = Network(MIXED.layers[: n + 1])
        own = {name: array for name, array in params.items() if int(name.split(".")[0]) <= n}
        assert_array_equal(found[str(n)], part.forward(own, x))
    assert_array_equal(found["2.body.1.body.0"], np.tanh(found["2.body.0"]))
    assert_array_equal(found["2"], found["2.body.1"] + found["2.shortcut.1"])
    assert_array_equal(found["2.body.1"], found["2.body.1.body.1"] + found["2.body.1.shortcut.0"])
    skip = Network([Residual([Sigmoid()]), Residual([ReLU()], [])])
    found = skip.activations({}, x)
    assert list(found) == ["0.body.0", "0", "1.body.0", "1"]
    assert_array_equal(found["0"], found["0.body.0"] + x)
    assert_array_equal(found["1"], found["1.body.0"] + found["0"])


@given(cases)
def test_layer_inputs_times_the_weight_are_the_outputs(found):
    inputs = found.network.layer_inputs(found.params, found.x)
    outputs = found.network.activations(found.params, found.x)
    assert list(inputs) == [name.removesuffix(".weight") for name in found.network.prunable]
    for key, rows in inputs.items():
        W, y = found.params[f"{key}.weight"], outputs[key]
        bias = found.params.get(f"{key}.bias", np.zeros(W.shape[0]))
        groups = rows.shape[0] if rows.ndim == 3 else 1
        stack, weights = rows.reshape(groups, *rows.shape[-2:]), W.reshape(groups, W.shape[0] // groups, -1)
        got = np.concatenate([r @ w.T for r, w in zip(stack, weights, strict=True)], axis=1) + bias
        wanted = np.moveaxis(y, 1, -1).reshape(-1, W.shape[0])  # samples and positions in C order
        close(key, got, wanted, found.bound(wanted))


def test_layer_inputs_in_their_order():
    x = np.arange(24.0).reshape(2, 2, 2, 3)
    network = Network(
        [Conv2d(2, 2, (1, 2), groups=2, bias=False), AvgPool2d(2, 1), GlobalAvgPool(), Flatten(), Dense(2, 1)]
    )
    params = network.init(np.random.default_rng(0))
    found = network.layer_inputs(params, x)
    assert found["0"].shape == (2, 8, 2)
    assert_array_equal(found["0"][1, 4:6], [[18, 19], [19, 20]])  # group 1, sample 1, first row
    close("dense", found["4"], network.activations(params, x)["3"], EPS["float64"])
