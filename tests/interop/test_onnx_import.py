"""ONNX graphs as different exporters write them: constants, dense layers, flattening, sums, formulas."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are read here: pip install "refprune[onnx]"')
pytest.importorskip("onnxruntime", reason="onnxruntime is the judge here")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from refprune.interop import from_onnx  # noqa: E402
from tests.interop.onnx_graphs import agrees, model, node, types, weights  # noqa: E402

X, W, B = weights(3, 4), weights(4, 2, seed=1), weights(2, seed=2)
IMAGES = weights(3, 2, 4, 5)


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("shape", [None, (2,), (1, 2), (1,), ()])
def test_gemm(shape, right):
    constants = {"w": W.T.copy() if right else W} | ({} if shape is None else {"c": weights(*shape, seed=3)})
    inputs = " ".join(["x", *constants])
    network, params = agrees(model([node("Gemm", inputs, "y", transB=right)], ("n", 4), constants), X)
    assert network.layers[0].bias is (shape is not None)
    assert params["0.weight"].tobytes() == W.T.tobytes()
    agrees(model([node("Gemm", inputs, "y", transB=right, alpha=0.3, beta=-2.5)], ("n", 4), constants), X)


def test_gemm_with_beta_0_has_no_bias():
    network, _ = from_onnx(
        model([node("Gemm", "x w c", "y", beta=0.0)], ("n", 4), {"w": W, "c": weights(3, 2)})
    )
    assert network.layers[0].bias is False


@pytest.mark.parametrize("added", ["m c", "c m"])
@pytest.mark.parametrize("shape", [(2,), (1, 2), (1,), ()])
def test_matmul_and_add_are_one_layer(added, shape):
    nodes = [node("MatMul", "x w", "m"), node("Add", added, "y")]
    network, _ = agrees(model(nodes, ("n", 4), {"w": W, "c": weights(*shape, seed=3)}), X)
    assert types(network) == ["dense"]


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 2, 1, 1), (1,), ()])
def test_a_convolution_and_add_are_one_layer(shape):
    constants = {"w": weights(2, 2, 3, 2), "c": weights(*shape, seed=3)}
    nodes = [node("Conv", "x w", "m"), node("Add", "c m", "y")]
    assert types(agrees(model(nodes, ("n", 2, 4, 5), constants), IMAGES)[0]) == ["conv2d"]


def test_broadcasting_of_old_operator_sets():
    # up to operator set 6 the axis says where a constant's axes begin; without it they end with the value's
    nodes = [node("Conv", "x w", "m", kernel_shape=[3, 2]), node("Add", "m c", "y", broadcast=1, axis=1)]
    constants = {"w": weights(2, 2, 3, 2), "c": B}
    old = model(nodes, ("n", 2, 4, 5), constants, opset=6)
    new = model([node("Conv", "x w c", "y")], ("n", 2, 4, 5), constants)
    assert from_onnx(old)[0].to_dicts() == from_onnx(new)[0].to_dicts()
    assert from_onnx(old)[1]["0.bias"].tolist() == B.tolist()
    nodes = [node("MatMul", "x w", "m"), node("Add", "m c", "y", broadcast=1)]
    assert from_onnx(model(nodes, ("n", 4), {"w": W, "c": B}, opset=6))[1]["0.bias"].tolist() == B.tolist()


def test_a_constant_that_is_no_bias_is_refused():
    conv = {"w": weights(2, 2, 3, 2)}
    for nodes, shape, constants, match in [
        (
            [node("MatMul", "x w", "m"), node("Add", "m c", "y")],
            (3, 4),
            {"w": W, "c": weights(3, 2)},
            "is no bias",
        ),
        # along the width of the image, as many as there are outputs
        ([node("Conv", "x w", "m"), node("Add", "m c", "y")], (3, 2, 4, 3), conv | {"c": B}, "is no bias"),
        ([node("Relu", "x", "m"), node("Add", "m c", "y")], (3, 2), {"c": B}, "only right after MatMul"),
        ([node("Gemm", "x w c", "m"), node("Add", "m c", "y")], (3, 4), {"w": W, "c": B}, "without a bias"),
        (
            [node("MatMul", "x w", "m"), node("Add", "m c", "a"), node("Add", "a m", "y")],
            *((3, 4), {"w": W, "c": B}, "that nothing else reads"),
        ),
    ]:
        with pytest.raises(ValueError, match=f"Add .*{match}"):
            from_onnx(model(nodes, shape, constants))


def test_weights_from_initialisers_inputs_and_nodes():
    expected = agrees(model([node("Gemm", "x w c", "y")], ("n", 4), {"w": W, "c": B}), X)
    value = numpy_helper.from_array(W.T.copy())
    listed = [float(b) for b in B]
    both = {"w": W, "c": B}
    graphs = [
        model([node("Gemm", "x w c", "y")], ("n", 4), both, opset=8, also_inputs=("w", "c")),
        model([node("Gemm", "x w c", "y")], ("n", 4), both, also_inputs=("w",)),
        model(
            [
                node("Constant", "", "v", value=value),
                node("Transpose", "v", "t"),
                node("Identity", "t", "w"),
                node("Constant", "", "c", value_floats=listed),
                node("Gemm", "x w c", "y"),
            ],
            ("n", 4),
        ),
        model(
            [
                node("Cast", "wide", "w", to=TensorProto.FLOAT),
                node("Reshape", "long shape", "c"),
                node("Gemm", "x w c", "y"),
            ],
            *(("n", 4), {"wide": W.astype("float64"), "long": B[None, :, None], "shape": np.array([-1])}),
        ),
    ]
    for graph in graphs:
        found = agrees(graph, X)
        assert found[0].to_dicts() == expected[0].to_dicts()
        assert all(found[1][name].tobytes() == array.tobytes() for name, array in expected[1].items())


def test_a_tensor_that_two_nodes_read_is_two_parameters():
    square = weights(4, 4)
    nodes = [node("Gemm", "x w", "a", transB=1), node("Gemm", "a w", "y", transB=1)]
    _, params = agrees(model(nodes, ("n", 4), {"w": square}), X)
    params["0.weight"][:] = 0
    assert params["1.weight"].tobytes() == square.tobytes()


def test_nodes_that_the_output_does_not_need_may_be_anything():
    nodes = [node("Relu", "x", "y"), node("LSTM", "x w w", "z", hidden_size=2)]
    assert types(from_onnx(model(nodes, (3, 1, 4), {"w": weights(1, 8, 4)}))[0]) == ["relu"]


def _computed(*tail):
    """A reshape to (samples, the rest), as PyTorch computes its shape."""
    return [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n first", "u"),
        node("Concat", f"u {' '.join(tail)}", "shape", axis=0),
        node("Reshape", "x shape", "y"),
    ]


SHAPES = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([-1]), "all": np.array([40])}


@pytest.mark.parametrize("batch", ["n", 3])
@pytest.mark.parametrize(
    "nodes",
    [
        [node("Flatten", "x", "y")],
        [node("Flatten", "x", "y", axis=-3)],
        [node("Reshape", "x target", "y")],
        _computed("rest"),
        _computed("all"),
        [
            node("Shape", "x", "u", end=1),
            node("Concat", "u rest", "shape", axis=0),
            node("Reshape", "x shape", "y"),
        ],
        [
            node("Shape", "x", "s"),
            node("Slice", "s first one", "u"),
            node("Cast", "u", "v", to=TensorProto.INT64),
            node("Concat", "v rest", "shape", axis=0),
            node("Reshape", "x shape", "y"),
        ],
    ],
)
@pytest.mark.parametrize("target", [[0, -1], [0, 40], [-1, 40]])
def test_what_flattens(nodes, batch, target):
    constants = SHAPES | {"target": np.array(target), "one": np.array([1])}
    network, _ = agrees(model(nodes, (batch, 2, 4, 5), constants), IMAGES)
    assert types(network) == ["flatten"]


def test_a_number_of_samples_that_the_file_fixes():
    for target in ([3, -1], [3, 40]):
        network, _ = agrees(
            model([node("Reshape", "x t", "y")], (3, 2, 4, 5), {"t": np.array(target)}), IMAGES
        )
        assert network.forward({}, IMAGES[:2]).shape == (2, 40)


@pytest.mark.parametrize(
    ("shape", "target", "allowzero"),
    [
        (("n", 2, 4, 5), [1, -1], 0),  # all samples into one row
        (("n", 2, 4, 5), [3, -1], 0),
        (("n", 2, 4, 5), [-1], 0),
        (("n", 2, 4, 5), [-1, 20], 0),
        (("n", 2, 4, 5), [0, 0, -1], 0),
        (("n", 2, "h", "w"), [-1, 40], 0),
        (("n", 2, 4, 5), [0, 0, 5, 4], 0),
        ((3, 2, 4, 5), [-1, 2, 4, 5], 0),
    ],
)
def test_what_does_not_flatten(shape, target, allowzero):
    graph = model([node("Reshape", "x t", "y", allowzero=allowzero)], shape, {"t": np.array(target)})
    with pytest.raises(ValueError, match=r"Reshape \(node 'node y'\): from .* is no Flatten"):
        from_onnx(graph)


def test_a_reshape_to_the_same_shape_and_other_passes_do_nothing():
    nodes = [
        node("Reshape", "x t", "a"),
        node("Identity", "a", "b"),
        node("Dropout", "b half off", "c"),
        node("Cast", "c", "d", to=TensorProto.FLOAT),
        node("Tanh", "d", "y"),
    ]
    constants = {"t": np.array([0, 2, 4, 5]), "half": np.float32(0.5), "off": np.array(False)}
    assert types(agrees(model(nodes, ("n", 2, 4, 5), constants), IMAGES)[0]) == ["tanh"]


def test_a_squeezed_global_pool():
    nodes = [node("GlobalAveragePool", "x", "a"), node("Squeeze", "a axes", "y")]
    network, _ = agrees(model(nodes, ("n", 2, 4, 5), {"axes": np.array([-1, 2])}), IMAGES)
    assert types(network) == ["globalavgpool", "flatten"]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("opset", [11, 18])
def test_means_over_the_image(keep, opset):
    if opset == 18:
        nodes, constants = [node("ReduceMean", "x axes", "y", keepdims=keep)], {"axes": np.array([-1, -2])}
    else:
        nodes, constants = [node("ReduceMean", "x", "y", keepdims=keep, axes=[2, 3])], {}
    network, _ = agrees(model(nodes, ("n", 2, 4, 5), constants, opset=opset), IMAGES)
    assert types(network) == ["globalavgpool"] + ["flatten"] * (1 - keep)


def test_sums_of_branches():
    square = {"w": weights(4, 4, seed=5)}
    left, right = node("Gemm", "x w", "a"), node("Tanh", "x", "b")
    for last, expected in [
        ([node("Add", "a b", "y")], [[["dense"], ["tanh"]]]),
        ([node("Add", "b a", "y")], [[["tanh"], ["dense"]]]),
        ([node("Sum", "x a", "y")], [[["dense"], []]]),
        ([node("Sum", "a b x", "y")], [[["residual"], []]]),
        ([node("Sum", "a", "y")], ["dense"]),
        ([node("Relu", "b", "c"), node("Add", "a c", "y")], [[["dense"], ["tanh", "relu"]]]),
    ]:
        network, _ = agrees(model([left, right, *last], ("n", 4), square), X)
        assert types(network) == expected


def test_batch_norm():
    names = ("scale", "bias", "mean", "var")
    constants = {name: np.abs(weights(2, seed=n)) + 0.1 for n, name in enumerate(names)}
    graph = model(
        [node("BatchNormalization", "x scale bias mean var", "y", epsilon=1e-3)], ("n", 2, 4, 5), constants
    )
    network, params = agrees(graph, IMAGES)
    assert network.layers[0].eps == 1e-3  # not the 0.0010000000474974513 that 32 bits hold
    assert list(params) == ["0.weight", "0.bias", "0.running_mean", "0.running_var"]
    assert params["0.running_var"].tolist() == constants["var"].tolist()
    plain = model([node("BatchNormalization", "x scale bias mean var", "y")], ("n", 2, 4, 5), constants)
    assert from_onnx(plain)[0].layers[0].eps == 1e-5


SQRT2 = {"r": np.float32(2**0.5), "s": np.float32(0.5**0.5), "one": np.float32(1), "half": np.float32(0.5)}
FORMULAS = {
    "x times sigmoid": (["Sigmoid x a", "Mul x a y"], "silu"),
    "sigmoid times x": (["Sigmoid x a", "Mul a x y"], "silu"),
    "a copy of x times sigmoid": (["Identity x c", "Sigmoid x a", "Mul c a y"], "silu"),
    "with factors that cancel": (["Mul x half h", "Sigmoid x a", "Mul h a b", "Div b half y"], "silu"),
    "gelu of PyTorch": (["Div x r a", "Erf a b", "Add b one c", "Mul x c d", "Mul d half y"], "gelu"),
    "gelu, half first": (["Mul x half h", "Mul s x a", "Erf a b", "Add one b c", "Mul h c y"], "gelu"),
    "gelu, half inside": (["Div x r a", "Erf a b", "Mul b half c", "Add half c d", "Mul d x y"], "gelu"),
    "gelu, half of the factor": (
        ["Div x r a", "Erf a b", "Sum b one c", "Mul half c d", "Mul d x y"],
        "gelu",
    ),
    "softplus": (["Exp x a", "Add a one b", "Log b y"], "softplus"),
    "softplus of PyTorch": (["Softplus x a", "Greater x twenty g", "Where g x a y"], "softplus"),
    "relu by Max": (["Max x zero y"], "relu"),
    "relu by Max, turned": (["Max zero x y"], "relu"),
    "relu by Clip": (["Clip x zero y"], "relu"),
    "relu6 by Clip": (["Clip x zero six y"], "relu6"),
    "relu6 by Min of Max": (["Max x zero a", "Min a six y"], "relu6"),
    "relu6 by Min of Relu": (["Relu x a", "Min six a y"], "relu6"),
    "relu6 by Clip of Relu": (["Relu x a", "Clip a - six y"], "relu6"),
    "no bound": (["Clip x a", "Tanh a y"], "tanh"),
}


def _formula(lines):
    """Nodes from lines `operator inputs output`."""
    return [node(words[0], " ".join(words[1:-1]), words[-1]) for words in map(str.split, lines)]


NUMBERS = SQRT2 | {"twenty": np.float32(20), "zero": np.float32(0), "six": np.float32(6)}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_of_activations(name):
    lines, layer = FORMULAS[name]
    graph = model(_formula(lines), ("n", 4), NUMBERS)
    x = np.concatenate([4 * X, -4 * X])
    assert types(agrees(graph, x)[0]) == [layer]


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_after_another_activation(name):
    # whatever comes before has a formula of its own, which is not to be mixed up with this one
    lines, layer = FORMULAS[name]
    for before, kind in [("Relu", "relu"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh")]:
        renamed = [" ".join("z" if word == "x" else word for word in line.split()) for line in lines]
        network, _ = agrees(model(_formula([f"{before} x z", *renamed]), ("n", 4), NUMBERS), 4 * X)
        assert types(network) == [kind, layer]


def test_clip_of_old_operator_sets():
    for bounds, layer in [({"min": 0.0, "max": 6.0}, "relu6"), ({"min": 0.0}, "relu")]:
        graph = model([node("Clip", "x", "y", **bounds)], ("n", 4), opset=6)
        assert types(from_onnx(graph)[0]) == [layer]
    largest = float(np.finfo("float32").max)
    assert types(from_onnx(model([node("Clip", "x", "y", min=0.0, max=largest)], ("n", 4), opset=6))[0]) == [
        "relu"
    ]


NO_FORMULAS = {
    "another slope": (["Mul x half h", "Sigmoid h a", "Mul x a y"], "Mul .*node h.* product is read only"),
    "two values": (["Tanh x a", "Mul x a y"], "Mul .*node y.* product is read only"),
    "not the same value": (["Tanh x a", "Sigmoid a b", "Mul x b y"], "Mul .*node y"),
    "a multiple": (["Mul x half y"], "Mul .*node y"),
    "a multiple of sigmoid": (["Sigmoid x a", "Mul a half y"], "Mul .*node y"),
    "half a gelu": (["Div x r a", "Erf a b", "Add b one c", "Mul x c y"], "Div .*node a"),
    "gelu with another root": (
        ["Mul x half a", "Erf a b", "Add b one c", "Mul x c d", "Mul d half y"],
        "Mul",
    ),
    "plus another constant": (["Div x r a", "Erf a b", "Add b half y"], "Div .*node a"),
    "a part that a layer reads": (["Mul x half a", "Tanh a y"], "Mul .*node a"),
    "a part that is summed": (["Mul x half a", "Add a x y"], "Mul .*node a"),
    "clip": (["Clip x half six y"], "Clip .*only where it is ReLU"),
    "clip from below 0": (["Clip x - six y"], "Clip .*only where it is ReLU"),
    "a maximum": (["Max x half y"], "Max .*maximum with 0"),
    "a maximum with many": (["Max x many y"], "Max .*maximum with 0"),
    "a minimum": (["Min x six y"], "Min .*minimum of ReLU and 6"),
    "a minimum of sigmoid": (["Sigmoid x a", "Min a six y"], "Min .*minimum of ReLU and 6"),
    "softplus above another threshold": (["Softplus x a", "Greater x six g", "Where g x a y"], "Greater"),
    "softplus of another value": (
        ["Tanh x t", "Softplus t a", "Greater x twenty g", "Where g x a y"],
        "Greater .*node g",
    ),
    "softplus or a multiple": (
        ["Softplus x a", "Greater x twenty g", "Mul x half h", "Where g h a y"],
        "Greater .*node g",
    ),
    "the other way round": (["Softplus x a", "Greater x twenty g", "Where g a x y"], "Greater .*node g"),
    "a quotient": (["Tanh x a", "Div x a y"], "Div .*quotient is read only"),
    "by 0": (["Div x zero y"], "Div .*quotient is read only"),
}


@pytest.mark.parametrize("name", NO_FORMULAS)
def test_what_is_no_formula_of_an_activation(name):
    lines, match = NO_FORMULAS[name]
    graph = model(_formula(lines), ("n", 4), NUMBERS | {"many": weights(4)})
    with pytest.raises(ValueError, match=match):
        from_onnx(graph)


def test_local_functions_are_written_out():
    body = [node("Sigmoid", "a", "s"), node("Mul", "a s", "b")]
    swish = helper.make_function("own", "Swish", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [node("Tanh", "x", "z"), helper.make_node("Swish", ["z"], ["y"], domain="own")]
    graph = model(nodes, ("n", 4), functions=[swish])
    assert types(agrees(graph, X)[0]) == ["tanh", "silu"]


def test_an_output_inside_the_graph():
    nodes = [node("Gemm", "x w", "logits"), node("Softmax", "logits", "y")]
    graph = model(nodes, ("n", 4), {"w": W})
    with pytest.raises(
        ValueError, match=r"Softmax \(node 'node y'\): the loss has it; read the logits with output="
    ):
        from_onnx(graph)
    network, params = from_onnx(graph, output="logits")
    assert np.allclose(network.forward(params, X), X @ W, atol=1e-6)
