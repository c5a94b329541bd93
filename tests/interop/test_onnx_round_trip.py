"""What is written as ONNX is valid, computes the same in onnxruntime, and comes back unchanged."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are written here: pip install "refprune[onnx]"')

from refprune.interop import from_onnx, to_onnx  # noqa: E402
from refprune.network import (  # noqa: E402
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
    Residual,
    Tanh,
)
from tests.interop.onnx_networks import equal, random_network, runtime  # noqa: E402
from tests.interop.rounding import bound  # noqa: E402
from tests.stand_in import xp as stand_in  # noqa: E402

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_networks_come_back_unchanged(seed):
    network, params, _ = random_network(seed)
    equal(from_onnx(to_onnx(network, params)), (network, params))


@pytest.mark.parametrize("seed", SEEDS)
def test_onnxruntime_computes_the_same(seed):
    network, params, x = random_network(seed)
    found = runtime(to_onnx(network, params, input_shape=x.shape[1:]), x)
    expected = network.forward(params, x)
    assert found.shape == expected.shape
    # both are computed in float32: each is within the bound of the exact value
    assert np.all(np.abs(found - expected) <= 2 * bound(network, params, x))


def test_every_layer_was_in_a_network():
    seen = set()

    def look(layers):
        for layer in layers:
            seen.add(layer["type"])
            look(layer.get("body") or [])
            look(layer.get("shortcut") or [])

    for seed in SEEDS:
        look(random_network(seed)[0].to_dicts())
    assert len(seen) == 15


def test_a_file_of_float64_and_a_path(tmp_path):
    network, params, _ = random_network(4)
    wide = {name: array.astype("float64") / 3 for name, array in params.items()}
    to_onnx(network, wide, tmp_path / "network.onnx")
    equal(from_onnx(tmp_path / "network.onnx"), (network, wide))
    equal(from_onnx(str(tmp_path / "network.onnx")), (network, wide))
    narrow = {name: array.astype("float32") for name, array in wide.items()}
    equal(from_onnx(to_onnx(network, wide, dtype="float32")), (network, narrow))
    equal(from_onnx(tmp_path / "network.onnx", dtype="float32"), (network, narrow))


def test_weights_of_another_kind_of_array_and_of_a_view():
    network, params, _ = random_network(3)
    arrays = {name: stand_in.asarray(array) for name, array in params.items()}
    equal(from_onnx(to_onnx(network, arrays)), (network, params))
    turned = {name: np.asfortranarray(array)[::-1][::-1] for name, array in params.items()}
    equal(from_onnx(to_onnx(network, turned)), (network, params))


def test_arrays_that_come_back_are_free_and_writable():
    model = to_onnx(Network([Dense(2, 2)]), {"0.weight": np.eye(2), "0.bias": np.ones(2)})
    _, params = from_onnx(model)
    params["0.weight"][:] = 7.0
    params["0.bias"][:] = 7.0
    assert from_onnx(model)[1]["0.weight"][0, 0] == 1.0


def test_names_and_open_sizes_of_the_file():
    network = Network(
        [Conv2d(2, 4, 3, stride=2), Residual([BatchNorm2d(4), ReLU()]), GlobalAvgPool(), Flatten()]
    )
    params = network.init(np.random.default_rng(0), dtype="float32")
    model = to_onnx(network, params)
    assert {tensor.name for tensor in model.graph.initializer} == set(params)
    assert [node.name for node in model.graph.node] == ["0", "1.body.0", "1.body.1", "1", "2", "3"]
    assert sizes(model.graph.input[0]) == ["batch", 2, "height", "width"]
    assert sizes(model.graph.output[0]) == ["batch", 4]
    fixed = to_onnx(network, params, input_shape=(2, 7, 5))
    assert sizes(fixed.graph.input[0]) == ["batch", 2, 7, 5]
    assert sizes(to_onnx(Network([Tanh()]), {}, input_shape=(3,)).graph.output[0]) == ["batch", 3]


def sizes(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_open_sizes_of_an_output_are_formulas_of_the_input():
    network = Network([MaxPool2d(3, stride=2, padding=1), Conv2d(1, 1, 3, padding=1)])
    model = to_onnx(network, network.init(np.random.default_rng(0)))
    out = sizes(model.graph.output[0])
    for height in range(3, 9):
        assert eval(out[2], {"height": height}) == network.layers[0].output_shape((1, height, 9))[1]


@pytest.mark.parametrize("opset", [17, 19, 20, 21])
def test_operator_sets(opset):
    network = Network([Dense(3, 4), GELU(), Dense(4, 2, bias=False)])
    params = network.init(np.random.default_rng(0), dtype="float32")
    model = to_onnx(network, params, opset=opset)
    assert model.opset_import[0].version == opset
    assert ("Gelu" in {node.op_type for node in model.graph.node}) == (opset >= 20)
    equal(from_onnx(model), (network, params))
    x = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    assert np.all(np.abs(runtime(model, x) - network.forward(params, x)) <= 2 * bound(network, params, x))


def test_gelu_in_float64_before_opset_20():
    network = Network([Dense(3, 4), GELU()])
    params = network.init(np.random.default_rng(0))
    equal(from_onnx(to_onnx(network, params, opset=17)), (network, params))


def test_a_residual_keeps_its_body_and_shortcut_apart():
    # the shortcut is longer than the body: a reader that takes the longer branch for the body would turn them
    network = Network([Residual([Dense(2, 2)], [Tanh(), Dense(2, 2), Tanh()]), Residual([Tanh()])])
    params = network.init(np.random.default_rng(0))
    equal(from_onnx(to_onnx(network, params)), (network, params))


def test_numbers_that_are_no_numbers_or_do_not_fit_are_refused():
    network = Network([Dense(2, 1)])
    good = {"0.weight": np.ones((1, 2)), "0.bias": np.ones(1)}
    for params, match in [
        ({"0.weight": good["0.weight"]}, r"got missing \['0.bias'\], unknown \[\]"),
        (good | {"1.weight": np.ones(1)}, r"unknown \['1.weight'\]"),
        (good | {"0.bias": np.ones(2)}, "0.bias"),
        (good | {"0.bias": np.array([np.nan])}, "0.bias"),
        (good | {"0.bias": np.ones(1, "float32")}, "got float32, float64"),
        ({name: array.astype("float16") for name, array in good.items()}, "got float16"),
    ]:
        with pytest.raises(ValueError, match=match):
            to_onnx(network, params)


@pytest.mark.parametrize(
    ("layers", "options", "match"),
    [
        ([Tanh()], {}, "need input_shape="),
        ([Flatten()], {}, "need input_shape="),
        ([Tanh()], {"input_shape": (2, 3)}, "need input_shape \\(features,\\)"),
        ([Tanh()], {"input_shape": (2,), "dtype": "float16"}, 'need dtype "float32"'),
        ([Tanh()], {"input_shape": (2,), "opset": 16}, "opset"),
        ([MaxPool2d(3)], {"input_shape": (1, 2, 2)}, "need a kernel that fits"),
        ([AvgPool2d(2, dilation=2)], {"opset": 18}, "need opset >= 19 .* got 18"),
    ],
)
def test_what_cannot_be_written_is_refused(layers, options, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        to_onnx(Network(layers), {}, tmp_path / "no.onnx", **options)
    assert not (tmp_path / "no.onnx").exists()
