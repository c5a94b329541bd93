"""The ready-made networks: what they are made of, how many parameters they have, what they refuse."""

from itertools import pairwise
from math import prod

import numpy as np
import pytest
from numpy.testing import assert_allclose

from refprune.network.bilinear import BatchNorm2d, Conv2d, Dense
from refprune.network.chain import Residual
from refprune.network.presets import ACTIVATIONS, cnn, mlp, resnet20


def types(network):
    return [layer.type for layer in network.layers]


def test_an_mlp_is_what_its_formula_says():
    network = mlp([3, 5, 4, 2], activation="tanh")
    assert types(network) == ["dense", "tanh", "dense", "tanh", "dense"]
    rng = np.random.default_rng(0)
    params = network.init(rng)
    params = {name: value + rng.normal(size=value.shape) for name, value in params.items()}
    x = rng.normal(size=(6, 3))
    h = np.tanh(x @ params["0.weight"].T + params["0.bias"])
    h = np.tanh(h @ params["2.weight"].T + params["2.bias"])
    # two products of at most 5 terms each, entries below 100
    assert_allclose(
        network.forward(params, x), h @ params["4.weight"].T + params["4.bias"], rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize(
    ("sizes", "bias", "count"),
    [
        ([784, 40, 20, 10], False, 32360),
        ([784, 300, 100, 10], True, 784 * 300 + 300 + 300 * 100 + 100 + 1000 + 10),
        ([7, 2], True, 16),
        ((1, 1), False, 1),
    ],
)
def test_the_size_of_an_mlp(sizes, bias, count):
    assert mlp(sizes, bias=bias).size == count


def test_every_activation_by_its_name():
    for name, layer in ACTIVATIONS.items():
        assert type(mlp([2, 2, 2], activation=name).layers[1]) is layer
        assert type(cnn((1, 5, 5), [2], 2, activation=name, hidden=[3]).layers[1]) is layer


def test_a_cnn_in_its_parts():
    network = cnn((3, 12, 10), [4, 6], 5, kernel=(3, 1), padding=(1, 0), pool=(2, 1), hidden=[7], bias=False)
    assert types(network) == [
        "conv2d", "relu", "maxpool2d", "conv2d", "relu", "maxpool2d", "flatten", "dense", "relu", "dense",
    ]  # fmt: skip
    # 12x10 -> (kernel 3x1, padding 1x0) 12x10 -> (pool 2x1) 6x10 -> 6x10 -> 3x10
    assert network.shapes["7.weight"] == (7, 6 * 3 * 10)
    assert network.shapes["9.weight"] == (5, 7)
    assert not any(name.endswith("bias") for name in network.shapes)
    assert network.output_shape((3, 12, 10)) == (5,)
    assert types(cnn(pool=None)) == ["conv2d", "relu", "conv2d", "relu", "flatten", "dense"]
    assert types(cnn(pooling="average")).count("avgpool2d") == 2


def test_the_networks_of_the_benchmarks():
    network = cnn(kernel=5)  # 28 -> 24 -> 12 -> 8 -> 4
    assert network.size == (25 * 8 + 8) + (25 * 8 * 16 + 16) + (16 * 4 * 4 * 10 + 10) == 5994
    assert cnn(padding=1).output_shape((1, 28, 28)) == (10,)
    assert [layer.out_channels for layer in cnn().layers if isinstance(layer, Conv2d)] == [8, 16]


def test_resnet20_has_its_parameters_and_its_shapes():
    network = resnet20()
    assert network.size == 272474
    weights = {name: prod(network.shapes[name]) for name in network.prunable}
    shortcuts = {name: count for name, count in weights.items() if "shortcut" in name}
    assert sorted(shortcuts.values()) == [16 * 32, 32 * 64]
    assert sum(network.constants[name][0] for name in network.constants) == 2 * (
        16 * 7 + 32 * 6 + 64 * 6 + 32 + 64
    )
    # option A has neither the projections nor their BatchNorm: the paper's 0.27 million
    assert network.size - sum(shortcuts.values()) - 2 * (32 + 64) == 269722
    blocks = [layer for layer in network.layers if isinstance(layer, Residual)]
    assert len(blocks) == 9
    assert [n for n, block in enumerate(blocks) if block.shortcut is not None] == [3, 6]
    # twenty layers with weights on the longest way: the first, two in every block, the last
    assert len(weights) - len(shortcuts) == 20
    rng = np.random.default_rng(0)
    params = network.init(rng, dtype="float32")
    found = network.activations(params, rng.normal(size=(2, 3, 32, 32)).astype("float32"))
    shapes = [value.shape[1:] for name, value in found.items() if name.count(".") == 0]
    assert shapes[2] == (16, 32, 32)
    assert shapes[8] == (16, 32, 32)
    assert shapes[9] == (32, 16, 16)
    assert shapes[15] == (64, 8, 8)
    assert shapes[-1] == (10,)
    assert resnet20(100).shapes["23.weight"] == (100, 64)


def test_resnet20_has_no_bias_but_the_last_and_those_of_batch_norm():
    layers = []
    for layer in resnet20().layers:
        layers += [*layer.body, *(layer.shortcut or [])] if isinstance(layer, Residual) else [layer]
    assert not any(layer.bias for layer in layers if isinstance(layer, Conv2d))
    follows = [type(b) for a, b in pairwise(layers) if isinstance(a, Conv2d)]
    assert follows == [BatchNorm2d] * 21
    assert layers[-1] == Dense(64, 10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlp([3]), ValueError, "need at least 2 integers in sizes; got 1"),
        (lambda: mlp([3, 0]), ValueError, r"need sizes\[1\] >= 1; got 0"),
        (lambda: mlp([3, 2.0]), TypeError, r"need sizes\[1\] to be an integer; got 2.0"),
        (lambda: mlp(3), TypeError, "need sizes to be a list of integers; got int"),
        (lambda: mlp([3, 2], activation="Relu"), ValueError, "need activation in relu, .*; got 'Relu'"),
        (lambda: mlp([3, 2], activation=None), ValueError, "need activation in .*; got None"),
        (lambda: mlp([3, 2], bias=1), TypeError, "need bias to be True or False; got 1"),
        (lambda: cnn((28, 28)), ValueError, "need 3 integers in input_shape; got 2"),
        (lambda: cnn(channels=[]), ValueError, "need at least 1 integers in channels; got 0"),
        (lambda: cnn(pooling="sum"), ValueError, "need pooling in max, average; got 'sum'"),
        (lambda: cnn((1, 4, 4), kernel=3), ValueError, "layer 3: need a kernel that fits"),
        (lambda: cnn(classes=0), ValueError, "need classes >= 1; got 0"),
        (lambda: resnet20(0), ValueError, "need classes >= 1; got 0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
