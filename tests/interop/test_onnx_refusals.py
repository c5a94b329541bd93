"""What is no network of refprune in an ONNX file is refused, by operator, node and reason."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are read here: pip install "refprune[onnx]"')

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from refprune.interop import from_onnx, to_onnx  # noqa: E402
from refprune.interop.onnx_layers import max_pool  # noqa: E402
from refprune.interop.onnx_operator import Operator  # noqa: E402
from refprune.network import Dense, Network  # noqa: E402
from tests.interop.onnx_graphs import model, node, types, weights  # noqa: E402

W, SQUARE = weights(4, 2), weights(4, 4)
IMAGE = ("n", 2, 4, 5)
NORM = {name: np.ones(2, "float32") for name in ("s", "b", "m", "v")}
CONV = {"w": weights(2, 2, 3, 2)}

OPSETS = {"the other GELU": 20, "training of BatchNormalization": 15}
OPERATORS = {
    "an unknown operator": (
        [node("Relu", "x", "a"), node("Elu", "a", "y")],
        (3, 4),
        {},
        "Elu .*node y.*: no layer",
    ),
    "before all others": (
        [node("Elu", "x", "a"), node("Selu", "a", "y")],
        *((3, 4), {}, "Elu .*node a"),
    ),
    "softmax": ([node("LogSoftmax", "x", "y")], (3, 4), {}, "LogSoftmax .*node y.*logits with output="),
    "transA": ([node("Gemm", "x w", "y", transA=1)], (4, 4), {"w": W}, "Gemm .*node y.*transA=1"),
    "a Gemm of images": ([node("Gemm", "x w", "y")], (3, 2, 4), {"w": W}, "Gemm .*need an input"),
    "a bias for each sample": (
        [node("Gemm", "x w c", "y")],
        *((3, 4), {"w": W, "c": weights(3, 2)}, "its C of shape \\(3, 2\\) may differ between samples"),
    ),
    "a bias of another size": (
        [node("Gemm", "x w c", "y")],
        (3, 4),
        {"w": W, "c": weights(4)},
        "does not fit",
    ),
    "a weight that is computed": ([node("Gemm", "x x", "y")], (4, 4), {}, "Gemm .*its weight depends on"),
    "a product from the left": ([node("MatMul", "w x", "y")], (4, 4), {"w": SQUARE}, "MatMul .*stands left"),
    "a product of values": ([node("MatMul", "x x", "y")], (4, 4), {}, "MatMul .*its weight depends on"),
    "a stack of products": ([node("MatMul", "x w", "y")], (2, 3, 4), {"w": W}, "MatMul .*need an input"),
    "a stack of weights": (
        [node("MatMul", "x w", "y")],
        (3, 4),
        {"w": weights(2, 4, 2)},
        "a weight with 2 axes",
    ),
    "a convolution of signals": (
        [node("Conv", "x w", "y")],
        (3, 2, 9),
        {"w": weights(2, 2, 3)},
        "Conv .*need an",
    ),
    "a pool of volumes": (
        [node("MaxPool", "x", "y", kernel_shape=[2] * 3)],
        (3, 2, 4, 4, 4),
        {},
        "MaxPool .*need",
    ),
    "a weight of volumes": (
        [node("Conv", "x w", "y")],
        IMAGE,
        {"w": weights(2, 2, 3)},
        "need a weight \\(out",
    ),
    "a bias of a convolution": (
        [node("Conv", "x w c", "y")],
        IMAGE,
        CONV | {"c": weights(3)},
        "need a bias of",
    ),
    "training of BatchNormalization": (
        [node("BatchNormalization", "x s b m v", "y p q", training_mode=1)],
        *(IMAGE, NORM, "BatchNormalization .*written for training"),
    ),
    "a norm of vectors": ([node("BatchNormalization", "x s b m v", "y")], (3, 2), NORM, "need an input"),
    "training of Dropout": (
        [node("Dropout", "x r t", "y")],
        *((3, 4), {"r": np.float32(0.5), "t": np.array(True)}, "Dropout .*written for training"),
    ),
    "the other GELU": ([node("Gelu", "x", "y", approximate="tanh")], (3, 4), {}, "Gelu .*approximate=tanh"),
    "another Flatten": ([node("Flatten", "x", "y", axis=2)], IMAGE, {}, "Flatten .*axis=2"),
    "a mean over channels": (
        [node("ReduceMean", "x", "y", axes=[1, 2])],
        IMAGE,
        {},
        "ReduceMean .*axes \\[1, 2\\]",
    ),
    "a mean over everything": ([node("ReduceMean", "x", "y")], IMAGE, {}, "ReduceMean .*got axes None"),
    "a squeeze of samples": (
        [node("Squeeze", "x a", "y")],
        (1, 2, 1, 1),
        {"a": np.array([0])},
        "Squeeze .*\\[0\\]",
    ),
    "another precision": (
        [node("Cast", "x", "y", to=TensorProto.DOUBLE)],
        (3, 4),
        {},
        "Cast .*changes the precision",
    ),
    "a second output": (
        [node("MaxPool", "x", "a i", kernel_shape=[2, 2]), node("Cast", "i", "y", to=TensorProto.FLOAT)],
        *(IMAGE, {}, "Cast .*node y.*it reads 'i', which no layer gives"),
    ),
    "random numbers": (
        [node("RandomNormal", "", "r", shape=[4]), node("Add", "x r", "y")],
        *((3, 4), {}, "RandomNormal .*node r.*random"),
    ),
    "a constant that cannot be computed": (
        [node("Reshape", "w t", "v"), node("MatMul", "x v", "y")],
        *((3, 4), {"w": W, "t": np.array([5, 5])}, "Reshape .*node v.*cannot compute this constant"),
    ),
    "a sum that broadcasts": (
        [node("GlobalAveragePool", "x", "a"), node("Add", "x a", "y")],
        *(IMAGE, {}, "Add .*node y.*it adds values of the shapes"),
    ),
    "a sum that broadcasts over open sizes": (
        [node("GlobalAveragePool", "x", "a"), node("Add", "x a", "y")],
        *(("n", 2, "h", "w"), {}, "Add .*node y.*it adds values of the shapes"),
    ),
    "a value and itself": ([node("Add", "x x", "y")], (3, 4), {}, "Add .*node y.*adds a value to itself"),
    "a shape times a number": (
        [node("Shape", "x", "s"), node("Mul", "s two", "t"), node("Reshape", "x t", "y")],
        *(("n", 4), {"two": np.array([2, 1])}, "Mul .*node t.*computes with the size"),
    ),
    "a weight with the size of the input": (
        [node("Shape", "x", "s"), node("Gemm", "x s", "y")],
        *(("n", 4), {}, "Gemm .*its weight depends on the size"),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    nodes, shape, constants, match = OPERATORS[name]
    with pytest.raises(ValueError, match=match):
        from_onnx(model(nodes, shape, constants, opset=OPSETS.get(name, 17)))


def test_an_operator_set_of_others():
    graph = model([node("Tanh", "x", "y")], (3, 4))
    graph.graph.node[0].domain = graph.graph.node[0].op_type = "com.microsoft"
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(
        ValueError, match=r"\(node 'node y'\): it belongs to the operator set 'com.microsoft'"
    ):
        from_onnx(graph)


def test_an_attribute_that_is_not_known():
    # onnx.checker knows the attributes of today; those of tomorrow are refused by name
    file = SimpleNamespace(opset=99, element=1, dtype=np.dtype("float32"))
    operator = Operator(node("MaxPool", "x", "y", kernel_shape=[2, 2], shade=3), file, {}, {"x": IMAGE})
    with pytest.raises(ValueError, match=r"MaxPool \(node 'node y'\): its attribute shade is not supported"):
        max_pool(operator)


def test_training_of_old_operator_sets():
    for nodes, shape, constants in [
        ([node("Dropout", "x", "y")], (3, 4), {}),
        ([node("BatchNormalization", "x s b m v", "y")], IMAGE, NORM),
    ]:
        with pytest.raises(ValueError, match="written for training"):
            from_onnx(model(nodes, shape, constants, opset=6))
    nodes = [node("Dropout", "x", "a", is_test=1), node("Tanh", "a", "y")]
    assert types(from_onnx(model(nodes, (3, 4), opset=6))[0]) == ["tanh"]
    kept = [node("BatchNormalization", "x s b m v", "y p q r t")]
    with pytest.raises(ValueError, match="gives the batch's statistics"):
        from_onnx(model(kept, IMAGE, NORM, opset=9))
    positions = [node("BatchNormalization", "x s b m v", "y", spatial=0)]
    with pytest.raises(ValueError, match="statistics for every position"):
        from_onnx(model(positions, IMAGE, NORM, opset=7))


def test_a_layer_that_two_branches_share():
    nodes = [
        *(node("Gemm", "x w", "a"), node("Tanh", "a", "b")),
        *(node("Add", "a x", "s"), node("Add", "s b", "y")),
    ]
    with pytest.raises(ValueError, match=r"got Gemm \(node 'node a'\), which two branches share"):
        from_onnx(model(nodes, (3, 4), {"w": SQUARE}))


def test_inputs_and_outputs():
    tanh = node("Tanh", "x", "y")
    two = model([node("MatMul", "x w", "y")], (4, 4), {"w": SQUARE}, also_inputs=("w",))
    del two.graph.initializer[:]
    ints = model([node("Neg", "x", "y")], (3, 4), element=TensorProto.INT64)
    constant = model([node("Shape", "x", "s"), node("Cast", "s", "y", to=TensorProto.FLOAT)], ("n", 4))
    both = model([tanh, node("Relu", "x", "z")], (3, 4), output="y z")
    for graph, options, match in [
        (two, {}, r"one input that is no initialiser; got \['x', 'w'\]"),
        (ints, {}, "floating-point numbers; got 'x' of INT64"),
        (constant, {}, "need an output that depends on what the input holds; got 'y'|computes with the size"),
        (both, {}, r"need output= one of the outputs \['y', 'z'\]"),
        (both, {"output": "q"}, r"such as \['y', 'z'\]; got 'q'"),
        (both, {"output": "y", "dtype": "float16"}, "got 'float16'"),
    ]:
        with pytest.raises(ValueError, match=match):
            from_onnx(graph, **options)
    assert types(from_onnx(both, output="z")[0]) == ["relu"]


def test_a_sequence_is_no_input():
    graph = model([node("Tanh", "x", "y")], (3, 4))
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, (3, 4)))
    graph.graph.input[0].CopyFrom(helper.make_value_info("x", kind))
    with pytest.raises(ValueError, match="got 'x' of no tensor"):
        from_onnx(graph)


def test_half_precision_is_said_and_converted_on_request():
    w = W.astype("float16")
    graph = model([node("Gemm", "x w", "y")], (3, 4), {"w": w}, element=TensorProto.FLOAT16)
    with pytest.raises(ValueError, match=r"or dtype=; got float16 in node 'node y' \(0.weight\)"):
        from_onnx(graph)
    assert from_onnx(graph, dtype="float64")[1]["0.weight"].tolist() == w.T.tolist()


def test_external_data(tmp_path):
    graph = model([node("Gemm", "x w", "y")], (3, 4), {"w": weights(4, 300)})
    path = tmp_path / "large.onnx"
    onnx.save(graph, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    assert from_onnx(path)[1]["0.weight"].tobytes() == weights(4, 300).T.tobytes()
    with pytest.raises(
        ValueError, match="need weights inside the model, or a path; got 'w' as external data"
    ):
        from_onnx(onnx.load(path, load_external_data=False))


def test_sparse_weights():
    graph = model([node("Gemm", "x w", "y")], (3, 4), {"w": W})
    values = numpy_helper.from_array(np.ones(1, "float32"), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([2])), [4, 2])
    del graph.graph.initializer[:]
    graph.graph.sparse_initializer.append(sparse)
    with pytest.raises(ValueError, match=r"need dense initialisers; got sparse ones: \['w'\]"):
        from_onnx(graph)


def test_what_is_no_model(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"need an ONNX file; got .*text.onnx"):
        from_onnx(tmp_path / "text.onnx")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match=r"need a path or an onnx.ModelProto as model; got dict"):
        from_onnx({})
    graph = model([node("Tanh", "x", "y")], (3, 4))
    graph.graph.node[0].input[0] = "q"
    with pytest.raises(ValueError, match=r"need a valid ONNX model; onnx.checker says: "):
        from_onnx(graph)


def test_without_onnx_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    network = Network([Dense(1, 1, bias=False)])
    for call in (lambda: from_onnx("x.onnx"), lambda: to_onnx(network, {"0.weight": np.ones((1, 1))})):
        with pytest.raises(
            ImportError, match=r'^need onnx for this; install it with: pip install "refprune\[onnx\]"$'
        ):
            call()


def test_importing_the_package_imports_neither_library():
    code = "import sys, refprune.interop; print([name in sys.modules for name in ('onnx', 'torch')])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["[False,", "False]"]
