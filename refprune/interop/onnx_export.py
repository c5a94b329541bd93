"""Networks as ONNX files, in standard operators."""

import os
from math import sqrt

import numpy as np

from refprune.arrays import integer, real, to_numpy
from refprune.interop.onnx_file import LIMIT
from refprune.interop.onnx_shapes import after
from refprune.interop.optional import optional
from refprune.network import Network

INPUT, OUTPUT = "input", "output"
OLDEST, GELU_SINCE, DILATED_MEAN_SINCE = 17, 20, 19


def to_onnx(
    network: Network,
    params: dict,
    path: "str | os.PathLike | None" = None,
    input_shape: tuple | None = None,
    dtype: str | None = None,
    opset: int = 20,
) -> "onnx.ModelProto":  # noqa: F821
    r"""Write a network and its parameters as an ONNX file.

    Parameters
    ----------
    network : Network
    params : dict of str to array
    path : path, optional
        The file to write; None only returns the model.
    input_shape : tuple of int, optional
        The shape of one sample: (features,) or (channels, height, width). By default what the first layer
        asks for, and height and width are left open; a network that begins with Flatten, or has activations
        only, needs it.
    dtype : {"float32", "float64"}, optional
        The default is the parameters' own (float32 for a network without any). Few runtimes take float64.
    opset : int
        The operator set, 17 or later. From 20 on GELU is one operator, before it is written out by Erf.

    Returns
    -------
    onnx.ModelProto
        Checked by `onnx.checker`. The number of samples is open; the input is named "input", the output
        "output", an initialiser like its parameter, a node like its layer's place ("3.body.0").

    Raises
    ------
    TypeError, ValueError
        Names, shapes or precisions of `params` do not fit; `input_shape` does not fit the network, or is
        missing where the first layer does not tell it; the opset is too old for a layer; the file would
        reach 2 GB.
    ImportError
        `onnx` is not installed.

    Notes
    -----
    `from_onnx` gives the same network and, bit for bit, the same parameters back. What ONNX does not keep:
    `eps` of BatchNorm2d beyond float32, and two spellings of one argument (`stride=None` and the kernel's
    size, `padding=(1, 1)` and 1).

    Examples
    --------
    >>> import pytest; onnx = pytest.importorskip("onnx")
    >>> import numpy as np
    >>> from refprune.interop import from_onnx, to_onnx
    >>> from refprune.network import Dense, Network, Tanh
    >>> model = to_onnx(Network([Dense(2, 1), Tanh()]), {"0.weight": np.ones((1, 2)), "0.bias": np.ones(1)})
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Tanh']
    >>> network, params = from_onnx(model)
    >>> network
    Network([Dense(inputs=2, outputs=1, bias=True), Tanh()])
    """
    onnx, helper = optional("onnx", "onnx"), optional("onnx.helper", "onnx")
    integer("opset", opset, least=OLDEST)
    weights = _weights(network, params, dtype)
    element = helper.np_dtype_to_tensor_dtype(
        next(iter(weights.values()), np.zeros(0, dtype or "float32")).dtype
    )
    first, last = _sample_shapes(network, input_shape)
    writer = _Writer(weights, helper.tensor_dtype_to_np_dtype(element), opset)
    writer.chain(network.layers, "", INPUT, OUTPUT)
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, element, ["batch", *first])],
        [helper.make_tensor_value_info(OUTPUT, element, ["batch", *last])],
        [onnx.numpy_helper.from_array(array, name) for name, array in writer.constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="refprune",
    )
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        onnx.save(model, os.fspath(path))
    return model


def _weights(network, params, dtype):
    """The parameters as NumPy arrays of one precision, in the network's order."""
    shapes = network.shapes | network.constants
    if set(params) != set(shapes):
        missing, extra = sorted(set(shapes) - set(params)), sorted(set(params) - set(shapes))
        raise ValueError(f"need params with the network's names; got missing {missing}, unknown {extra}")
    for name, shape in shapes.items():
        real(name, params[name], shape=shape)
    arrays = {name: to_numpy(params[name]) for name in shapes}
    kinds = sorted({str(array.dtype) for array in arrays.values()})
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f'need dtype "float32", "float64" or None; got {dtype!r}')
    if dtype is None and kinds not in ([], ["float32"], ["float64"]):
        raise ValueError(f"need params all float32 or all float64, or dtype=; got {', '.join(kinds)}")
    arrays = {name: np.ascontiguousarray(array, dtype) for name, array in arrays.items()}
    total = sum(array.nbytes for array in arrays.values())
    if total >= LIMIT:
        raise ValueError(f"need less than 2 GB of parameters in one ONNX file; got {total} bytes")
    return arrays


def _sample_shapes(network, input_shape):
    """The shapes of one sample's input and output; names stand for open sizes."""
    if input_shape is None:
        first = _first_shape(network.layers)
        if first is None:
            raise ValueError("need input_shape= for a network whose first layers take any shape; got None")
        last = ("batch", *first)
        for layer in network.to_dicts():
            last = after(layer, last)
        return first, last[1:]
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) not in (1, 3):
        raise ValueError(f"need input_shape (features,) or (channels, height, width); got {input_shape!r}")
    for size in input_shape:
        integer("input_shape", size, least=1)
    shape = tuple(input_shape)
    for layer in network.layers:
        shape = layer.output_shape(shape)
    return tuple(input_shape), shape


def _first_shape(layers):
    """What the first layer that minds takes; None where none does before the shape is lost."""
    for layer in layers:
        if layer.type == "dense":
            return (layer.inputs,)
        if layer.type == "conv2d":
            return (layer.in_channels, "height", "width")
        if layer.type == "batchnorm2d":
            return (layer.channels, "height", "width")
        if layer.type in ("maxpool2d", "avgpool2d", "globalavgpool"):
            return ("channels", "height", "width")
        if layer.type == "flatten":
            return None
        if layer.type == "residual":
            found = _first_shape(layer.body) or _first_shape(layer.shortcut or [])
            if found is not None:
                return found
    return None


class _Writer:
    """Collects the nodes and the constants of a graph while it goes through the layers."""

    def __init__(self, weights, dtype, opset):
        self.weights, self.dtype, self.opset = weights, dtype, opset
        self.nodes, self.constants = [], dict(weights)

    def chain(self, layers, prefix, value, output=None):
        """Write `layers` after the value `value`; return the name of the last output (`output`, if given)."""
        if not layers and output is not None:
            return self.node("Identity", "identity", [value], output)
        for index, layer in enumerate(layers):
            key = f"{prefix}{index}"
            name = output if output is not None and index == len(layers) - 1 else key
            value = WRITERS[layer.type](self, layer, key, value, name)
        return value

    def node(self, operator, key, inputs, output, **attributes):
        """Write one node; return its output."""
        make = optional("onnx.helper", "onnx").make_node
        self.nodes.append(make(operator, inputs, [output], name=key, **attributes))
        return output

    def number(self, key, name, value):
        """The name of a constant number."""
        self.constants[f"{key}.{name}"] = np.asarray(value, self.dtype)
        return f"{key}.{name}"

    def params(self, key, *names):
        """The names of a layer's parameters that there are."""
        return [f"{key}.{name}" for name in names if f"{key}.{name}" in self.weights]


def _operator(operator, *names, **attributes):
    """The writer of a layer that is one node with the parameters `names`."""

    def write(w, layer, key, value, output):
        return w.node(operator, key, [value, *w.params(key, *names)], output, **attributes)

    return write


def _window(layer):
    """The attributes of a kernel that slides."""
    (top, bottom), (left, right) = layer.window.padding
    return {
        "kernel_shape": list(layer.window.kernel),
        "strides": list(layer.window.stride),
        "pads": [top, left, bottom, right],
        "dilations": list(layer.window.dilation),
    }


def _conv(w, layer, key, value, output):
    inputs = [value, *w.params(key, "weight", "bias")]
    return w.node("Conv", key, inputs, output, group=layer.groups, **_window(layer))


def _max_pool(w, layer, key, value, output):
    return w.node("MaxPool", key, [value], output, **_window(layer))


def _avg_pool(w, layer, key, value, output):
    attributes = _window(layer)
    if attributes["dilations"] == [1, 1]:
        del attributes["dilations"]
    elif w.opset < DILATED_MEAN_SINCE:
        raise ValueError(f"need opset >= {DILATED_MEAN_SINCE} for {layer}, which is dilated; got {w.opset}")
    counted = int(layer.count_padding)
    return w.node("AveragePool", key, [value], output, count_include_pad=counted, **attributes)


def _batch_norm(w, layer, key, value, output):
    inputs = [value, *w.params(key, "weight", "bias", "running_mean", "running_var")]
    return w.node("BatchNormalization", key, inputs, output, epsilon=layer.eps)


def _relu6(w, layer, key, value, output):
    return w.node("Clip", key, [value, w.number(key, "min", 0), w.number(key, "max", 6)], output)


def _silu(w, layer, key, value, output):
    gate = w.node("Sigmoid", f"{key}.sigmoid", [value], f"{key}.sigmoid")
    return w.node("Mul", key, [value, gate], output)


def _gelu(w, layer, key, value, output):
    """`x (1 + erf(x / sqrt 2)) / 2`, written out where the operator set has no Gelu."""
    if w.opset >= GELU_SINCE:
        return w.node("Gelu", key, [value], output)
    z = w.node("Div", f"{key}.z", [value, w.number(key, "sqrt2", sqrt(2))], f"{key}.z")
    erf = w.node("Erf", f"{key}.erf", [z], f"{key}.erf")
    plus = w.node("Add", f"{key}.plus", [erf, w.number(key, "one", 1)], f"{key}.plus")
    twice = w.node("Mul", f"{key}.twice", [value, plus], f"{key}.twice")
    return w.node("Mul", key, [twice, w.number(key, "half", 0.5)], output)


def _residual(w, layer, key, value, output):
    body = w.chain(layer.body, f"{key}.body.", value)
    shortcut = w.chain(layer.shortcut or [], f"{key}.shortcut.", value)
    return w.node("Add", key, [body, shortcut], output)


WRITERS = {
    "avgpool2d": _avg_pool,
    "batchnorm2d": _batch_norm,
    "conv2d": _conv,
    "dense": _operator("Gemm", "weight", "bias", transB=1),
    "flatten": _operator("Flatten", axis=1),
    "gelu": _gelu,
    "globalavgpool": _operator("GlobalAveragePool"),
    "maxpool2d": _max_pool,
    "relu": _operator("Relu"),
    "relu6": _relu6,
    "residual": _residual,
    "sigmoid": _operator("Sigmoid"),
    "silu": _silu,
    "softplus": _operator("Softplus"),
    "tanh": _operator("Tanh"),
}
