"""The generator of network problems is what it says: every layer, exact flags, no kink nearby."""

from collections import Counter

import numpy as np
import pytest

from refprune.definitions import derivatives
from refprune.definitions.jet_network import rules
from refprune.testing import kinks, networks
from refprune.testing.architectures import PALETTE
from refprune.testing.network_shapes import parameter_shapes
from refprune.testing.networks import MARGIN, outputs, problem

TYPES = {
    "dense", "conv2d", "relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus", "maxpool2d", "avgpool2d",
    "globalavgpool", "flatten", "batchnorm2d", "residual",
}  # fmt: skip


def every(layers):
    for layer in layers:
        yield layer
        if layer["type"] == "residual":
            yield from every([*layer["body"], *layer.get("shortcut", [])])


def size(params):
    return sum(array.size for name, array in params.items() if "running" not in name)


def wide(params):
    return {name: array.astype(float) for name, array in params.items()}


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(5)
    return [problem(rng) for _ in range(300)]


def test_every_layer_is_drawn_often(drawn):
    counts = Counter(layer["type"] for found in drawn for layer in every(found["layers"]))
    assert set(counts) == TYPES
    assert min(counts.values()) >= 20, counts


def test_every_setting_is_drawn(drawn):
    layers = [layer for found in drawn for layer in every(found["layers"])]
    convs = [layer for layer in layers if layer["type"] == "conv2d"]
    for name in ("stride", "dilation", "groups"):
        assert any(layer[name] not in (1, (1, 1)) for layer in convs)
    assert any(1 < layer["groups"] == layer["in_channels"] for layer in convs)
    assert any(isinstance(layer["kernel"], tuple) for layer in convs)
    assert any(
        isinstance(layer["padding"], tuple) and isinstance(layer["padding"][0], tuple) for layer in convs
    )
    assert {layer["bias"] for layer in convs} == {True, False}
    assert any(layer.get("count_padding") is False for layer in layers)
    assert any("dilation" in layer for layer in layers if layer["type"] == "maxpool2d")
    residual = [layer for layer in layers if layer["type"] == "residual"]
    assert {"shortcut" in layer for layer in residual} == {True, False}
    assert {found["loss"] for found in drawn} == {"cross_entropy", "squared"}
    assert min(found["x"].shape[0] for found in drawn) == 1


def test_without_extras_nothing_is_drawn_that_the_contracts_do_not_name():
    rng = np.random.default_rng(6)
    for _ in range(100):
        for layer in every(problem(rng, extended=False)["layers"]):
            assert layer["type"] != "relu6"
            assert "count_padding" not in layer
            assert layer["type"] == "conv2d" or "dilation" not in layer
            assert np.ndim(layer.get("padding", 0)) < 2


def test_sizes_are_those_of_the_forward_pass(drawn):
    for found in drawn:
        shapes, out = parameter_shapes(found["layers"], found["x"].shape[1:])
        assert {name: array.shape for name, array in found["params"].items()} == shapes
        assert outputs(found).shape == (found["x"].shape[0], *out)


def test_no_input_is_near_a_kink(drawn):
    for found in drawn:
        assert kinks.distances(found["layers"], found["params"], found["x"]).min(initial=np.inf) >= MARGIN


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_kink_is_exact_and_matters(dtype):
    rng = np.random.default_rng(7)
    found = [problem(rng, "Kink", dtype) for _ in range(20)]
    matters = 0
    for case in found:
        measured = kinks.distances(case["layers"], case["params"], case["x"])
        assert (measured == 0).sum() == 1  # computed in the dtype itself: no sum is rounded
        assert np.sort(measured)[1] >= MARGIN / 2
        arguments = [case["layers"], wide(case["params"]), case["x"].astype(float), case["y"], case["loss"]]
        sides = [derivatives.gradient(*arguments, rules(share)) for share in (0, 1)]
        matters += not np.array_equal(*sides)
    assert matters > 10


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_flags_are_what_they_say(dtype):
    rng = np.random.default_rng(8)
    for _ in range(10):
        assert problem(rng, "OneSample", dtype)["x"].shape[0] == 1
        assert problem(rng, "OneOutput", dtype)["y"].shape[1] == 1
        assert size(problem(rng, "WiderThanBlock", dtype)["params"]) > 64
        assert any((array == 0).any() for array in problem(rng, "ZeroWeight", dtype)["params"].values())
        x = problem(rng, "DeadInput", dtype)["x"]
        assert any((x[:, channel] == 0).all() for channel in range(x.shape[1]))
        assert {layer["type"] for layer in every(problem(rng, "Smooth", dtype)["layers"])}.isdisjoint(
            {"relu"}
        )
        for array in [*problem(rng, None, dtype)["params"].values(), x]:
            assert array.dtype == dtype
        case = problem(rng, "OppositeGradients", dtype)
        arguments = [case["layers"], wide(case["params"]), case["x"].astype(float), case["y"], "squared"]
        own = derivatives.per_sample_gradients(*arguments)
        # targets are rounded once in the dtype
        assert np.abs(own[::2] + own[1::2]).max() < 20 * np.finfo(dtype).eps * np.abs(own).max()
        case = problem(rng, "LargeLogits", dtype)
        assert np.abs(outputs(case)).max() > 900
        case = problem(rng, "LossScale", dtype)
        value = derivatives.network_loss(
            case["layers"], wide(case["params"]), case["x"].astype(float), case["y"], case["loss"]
        )
        assert value < 2e-2
        case = problem(rng, "NegativeCurvature", dtype)
        arguments = [case["layers"], wide(case["params"]), case["x"].astype(float), case["y"], case["loss"]]
        values = np.linalg.eigvalsh(derivatives.hessian(*arguments))
        assert values[0] < -0.04 * values[-1]


def test_a_problem_is_a_function_of_the_generator():
    first, second = (problem(np.random.default_rng(9), "Conv") for _ in range(2))
    assert first["layers"] == second["layers"]
    assert all(np.array_equal(first["params"][name], second["params"][name]) for name in first["params"])


def test_a_flag_that_nothing_fits_is_an_error(monkeypatch):
    monkeypatch.setattr(networks, "DRAWS", 20)
    with pytest.raises(RuntimeError, match="none in 20 draws"):  # one class: the loss is 0 everywhere
        problem(
            np.random.default_rng(0), "NegativeCurvature", architecture="one output", loss="cross_entropy"
        )


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([{"type": "maxout"}], (3,), "layer 0 is of the type 'maxout'"),
        ([{"type": "dense", "inputs": 3}], (3,), "lacks 'outputs'"),
        ([{"type": "dense", "inputs": 3, "outputs": 2}], (4,), r"\(3,\) is needed"),
        ([{"type": "globalavgpool"}], (4,), "channels, height, width"),
        ([{"type": "maxpool2d", "kernel": 5}], (1, 4, 4), "does not fit"),
        ([{"type": "residual", "body": [{"type": "dense", "inputs": 3, "outputs": 2}]}], (3,), "body gives"),
        (PALETTE["groups"].layers(lambda: {"type": "relu"}), (3, 3, 3), "4, height, width"),
    ],
)
def test_what_does_not_fit_is_said(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        parameter_shapes(layers, shape)
