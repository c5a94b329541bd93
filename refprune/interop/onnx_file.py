"""An ONNX file: its nodes in order, its constants, its input and its output."""

import os
from collections import Counter

from refprune.interop.optional import optional

LIMIT = 2**31  # bytes: what protobuf, and with it the checker, can hold


class File:
    """What a network is read from.

    Parameters
    ----------
    model : path or onnx.ModelProto
    output : str or None
        The value that the network gives; None means the only output.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        The nodes that the output needs, in order.
    constants : dict of str to array
        The initialisers that they read.
    source, result : str
        The input that is no initialiser, and the output.
    shape : tuple
        The input's shape: int where the file states the size, else str.
    element, dtype : int, numpy.dtype
        The input's precision, as ONNX numbers it and as NumPy has it.
    opset : int
    opset_imports : list of onnx.OperatorSetIdProto
    uses : Counter
        How often each value is read.
    """

    def __init__(self, model, output=None):
        model = _checked(model)
        graph = model.graph
        self.opset_imports = list(model.opset_import)
        self.opset = max((o.version for o in self.opset_imports if o.domain in ("", "ai.onnx")), default=1)
        self.result = _result(graph, output)
        self.nodes = _needed(graph, self.result)
        self.uses = Counter(name for node in self.nodes for name in node.input if name)
        self.constants = _constants(graph, self.uses)
        self.source, self.element, self.shape = _source(graph, self.uses, self.constants)
        self.dtype = optional("onnx.helper", "onnx").tensor_dtype_to_np_dtype(self.element)


def _checked(model):
    """The model, loaded, valid, and with its local functions written out."""
    onnx = optional("onnx", "onnx")
    if isinstance(model, (str, os.PathLike)):
        protobuf = optional("google.protobuf.message", "onnx")
        try:
            model = onnx.load(os.fspath(model))
        except protobuf.DecodeError as error:
            raise ValueError(f"need an ONNX file; got {model}: {error}") from error
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(f"need a path or an onnx.ModelProto as model; got {type(model).__name__}")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"need weights inside the model, or a path; got {tensor.name!r} as external data"
            )
    if model.ByteSize() < LIMIT:
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise ValueError(f"need a valid ONNX model; onnx.checker says: {error}") from error
    return optional("onnx.inliner", "onnx").inline_local_functions(model) if len(model.functions) else model


def _result(graph, output):
    """The name of the output."""
    names = [value.name for value in graph.output]
    if output is None:
        if len(names) != 1:
            raise ValueError(f"need output= one of the outputs {names}; got None")
        return names[0]
    values = {name for node in graph.node for name in node.output}
    if output not in values:
        raise ValueError(f"need output= the name of a value of the file, such as {names}; got {output!r}")
    return output


def _needed(graph, result):
    """The nodes that the result needs, in order."""
    wanted, nodes = {result}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _constants(graph, uses):
    """The initialisers that are read, as arrays."""
    to_array = optional("onnx.numpy_helper", "onnx").to_array
    sparse = [tensor.values.name for tensor in graph.sparse_initializer]
    if any(name in uses for name in sparse):
        raise ValueError(f"need dense initialisers; got sparse ones: {sparse}")
    return {tensor.name: to_array(tensor) for tensor in graph.initializer if tensor.name in uses}


def _source(graph, uses, constants):
    """The input that is no initialiser: its name, precision and shape."""
    free = [value for value in graph.input if value.name in uses and value.name not in constants]
    if len(free) != 1:
        names = [value.name for value in free]
        raise ValueError(f"need a file with one input that is no initialiser; got {names}")
    (value,) = free
    kinds, tensor = optional("onnx", "onnx").TensorProto, value.type.tensor_type
    if tensor.elem_type not in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16):
        kind = kinds.DataType.Name(tensor.elem_type) if value.type.HasField("tensor_type") else "no tensor"
        raise ValueError(f"need an input of floating-point numbers; got {value.name!r} of {kind}")
    if not tensor.HasField("shape"):
        raise ValueError(f"need an input with its axes; got {value.name!r} without a shape")
    sizes = enumerate(tensor.shape.dim)
    shape = (d.dim_value if d.HasField("dim_value") else d.dim_param or f"size {n}" for n, d in sizes)
    return value.name, tensor.elem_type, tuple(shape)
