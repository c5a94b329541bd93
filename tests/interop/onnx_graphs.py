"""Small ONNX graphs, written node by node, and what they compute."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refprune.interop import from_onnx
from tests.interop.onnx_networks import runtime
from tests.interop.rounding import bound

FLOAT = TensorProto.FLOAT


def node(operator, inputs, output, **attributes):
    """A node with the inputs and outputs that are listed in words ("-" for one left out), named after its output."""
    read = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, read, output.split(), name=f"node {output}", **attributes)


def model(nodes, shape, constants=None, output="y", opset=17, element=FLOAT, also_inputs=(), functions=()):
    """A model with the input x of `shape` and initialisers, which old files have to list as inputs too."""
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    ir_version = helper.find_min_ir_version_for(imports[:1])
    also_inputs = constants or () if ir_version < 4 else also_inputs
    tensors = [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()]
    first = [helper.make_tensor_value_info("x", element, shape)]
    first += [
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors if t.name in also_inputs
    ]
    last = [helper.make_tensor_value_info(name, element, None) for name in output.split()]
    graph = helper.make_graph(nodes, "graph", first, last, tensors)
    found = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions)
    ranks = onnx.shape_inference.infer_shapes(found)  # the checker wants an output with a shape
    for value, other in zip(found.graph.output, ranks.graph.output):
        value.CopyFrom(other)
        value.type.tensor_type.shape.SetInParent()
    return found


def weights(*shape, seed=0):
    """Numbers of no symmetry, of size about 1."""
    return (np.random.default_rng(seed).normal(size=shape) + 0.3).astype("float32")


def types(network):
    """The types of the layers; those inside a residual in brackets."""
    return [_type(layer) for layer in network.to_dicts()]


def _type(layer):
    if layer["type"] != "residual":
        return layer["type"]
    return [[one["type"] for one in layer.get(name) or []] for name in ("body", "shortcut")]


def agrees(graph, x):
    """Import, and compare with onnxruntime to two rounding bounds; return (network, params)."""
    network, params = from_onnx(graph)
    found, expected = network.forward(params, x), runtime(graph, x)
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= 2 * bound(network, params, x))
    return network, params
