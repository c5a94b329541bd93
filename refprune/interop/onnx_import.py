"""ONNX files as networks."""

from itertools import product
from os import PathLike

import numpy as np

from refprune.arrays import Array
from refprune.interop.graph import ADD, PASS, Assembled, Node, assemble
from refprune.interop.onnx_constants import evaluate, shape_of
from refprune.interop.onnx_file import File
from refprune.interop.onnx_formulas import APPLIED, MANY, RULES, Formula, formula_of, layer_of
from refprune.interop.onnx_operator import Operator
from refprune.interop.onnx_readers import READERS, TAKES_PADS, bias_of, pad
from refprune.interop.onnx_shapes import after, padded
from refprune.network import Network

NO_SIDES = ((0, 0), (0, 0))


def from_onnx(
    model: "str | PathLike | onnx.ModelProto",  # noqa: F821
    output: str | None = None,
    dtype: str | None = None,
) -> tuple[Network, dict[str, Array]]:
    r"""Read a network and its parameters from an ONNX file.

    Parameters
    ----------
    model : path or onnx.ModelProto
        A file, with its external data beside it, or a model in memory that holds its weights.
    output : str, optional
        The value that the network gives. The default is the only output of the file; a classifier that ends
        in Softmax is read up to the logits, `output=` the value that Softmax reads.
    dtype : {"float32", "float64"}, optional
        Precision of the parameters; the default leaves them as stored.

    Returns
    -------
    network : Network
    params : dict of str to numpy.ndarray
        Keyed by the layer's place (`"0.weight"`, `"3.body.0.weight"`), in the flat order and running
        statistics last, bit for bit as stored; a weight that the file holds transposed, or scales (`alpha` of
        Gemm), is transposed or scaled.

    Raises
    ------
    ValueError
        An operator, or an attribute of it, that is no layer: the error names operator, node and reason. The
        file has more than one input that is no weight, several outputs and no `output`, weights that are
        neither float32 nor float64 and no `dtype`, or it is no valid ONNX file.
    ImportError
        `onnx` is not installed.

    Notes
    -----
    Read are Conv, Gemm, MatMul (with Add), BatchNormalization, Relu, Sigmoid, Tanh, Softplus, Gelu, Swish,
    Clip, Max and Min where they are ReLU or ReLU6, the formulas that exporters write for SiLU and GELU,
    MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, ReduceMean over the image, Flatten, and Reshape or
    Squeeze where they flatten, Pad before a convolution or an average pool, Add and Sum as residuals,
    Identity and Dropout at inference. Everything that depends on no input is a constant, however the file
    computes it. Operators are read in the meaning that the file's operator set gives them.
    A tensor that two nodes read becomes two parameters with equal values.

    Examples
    --------
    >>> import pytest; onnx = pytest.importorskip("onnx")
    >>> import numpy as np
    >>> from refprune.interop import from_onnx, to_onnx
    >>> from refprune.network import Dense, Network, Tanh
    >>> params = {"0.weight": np.ones((1, 2), "float32")}
    >>> network, again = from_onnx(to_onnx(Network([Dense(2, 1, bias=False), Tanh()]), params))
    >>> network
    Network([Dense(inputs=2, outputs=1, bias=False), Tanh()])
    >>> again["0.weight"]
    array([[1., 1.]], dtype=float32)
    """
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f'need dtype "float32", "float64" or None; got {dtype!r}')
    found = read(File(model, output), dtype)
    network = Network.from_dicts(found.layers)
    return network, {name: found.params[name] for name in (*network.shapes, *network.constants)}


def read(file, dtype=None) -> Assembled:
    """The layers, parameters and node names of a `File`."""
    reader = _Reader(file)
    for proto in file.nodes:
        reader.read(proto)
    if file.result in reader.known:
        raise ValueError(f"need an output that depends on what the input holds; got {file.result!r}")
    reader.real(file.result)
    found = assemble(reader.nodes.values(), file.source, file.result)
    params = {key: _own(key, array, found, dtype) for key, array in found.params.items()}
    return found._replace(params=params)


def _own(key, array, found, dtype):
    """A parameter as an array of its own in the precision asked for."""
    if dtype is None and array.dtype not in (np.float32, np.float64):
        node = found.names[key.rpartition(".")[0]]
        raise ValueError(
            f"need float32 or float64 weights, or dtype=; got {array.dtype} in node {node!r} ({key})"
        )
    return np.array(array, dtype=dtype, order="C")


class _Reader:
    """What is known while the nodes of a file are read in order.

    Attributes
    ----------
    known : dict of str to array
        Values that do not depend on the network's input.
    shapes : dict of str to tuple
        Shapes of the values that do.
    nodes : dict of str to Node
        The layers found, by the value that they give.
    formulas : dict of str to Formula
        Values that may be part of an activation's formula.
    same : dict of str to str
        Values that are another value, passed on.
    pads : dict of str to (str, sides)
        Values that are zeros around another value.
    unfinished : dict of str to Operator
        Values that are no layer's output, and will be one only as part of something else.
    """

    def __init__(self, file):
        self.file, self.known = file, dict(file.constants)
        self.shapes = {file.source: file.shape}
        self.nodes, self.formulas, self.same, self.pads, self.unfinished = {}, {}, {}, {}, {}

    def read(self, proto):
        """Read one node."""
        op = Operator(proto, self.file, self.known, self.shapes)
        standard = proto.domain in ("", "ai.onnx")
        op.need(standard, f"it belongs to the operator set {proto.domain!r}, which refprune does not read")
        given = [name for name in op.inputs if name]
        for name in given:
            op.need(name in self.known or name in self.shapes, f"it reads {name!r}, which no layer gives")
        if op.word == "Shape" and given[0] in self.shapes:
            self.known[op.output] = shape_of(op)
        elif op.word == "CastLike" and op.is_known(0) and not op.is_known(1):
            self.known[op.output] = op.constant(0, "input").astype(self.file.dtype)
        elif all(name in self.known for name in given):
            self.known[op.output] = evaluate(proto, op, self.file.opset_imports)
        else:
            self._value(op)

    def real(self, name):
        """`name`, unless that value is only a part of a formula, or zeros around another one."""
        if name in self.unfinished:
            raise self.unfinished[name].refuse(WHY.get(self.unfinished[name].word, "no layer does this"))
        return name

    def _value(self, op):
        """Read a node whose output depends on the network's input."""
        choices = [self._terms(op, place) for place in range(len(op.inputs))]
        formula = next(filter(None, (formula_of(op, list(terms)) for terms in product(*choices))), None)
        if formula is not None:
            self._formula(op, formula)
        elif op.word == "Pad":
            sides = pad(op)
            self.pads[op.output] = (self.real(op.inputs[0]), sides)
            self.shapes[op.output] = padded(op.shape, sides)
            self.unfinished[op.output] = op
        elif op.word in ("Add", "Sum"):
            self._sum(op)
        elif op.word in TAKES_PADS and op.inputs[0] in self.pads:
            source, sides = self.pads[op.inputs[0]]
            self._give(op, source, TAKES_PADS[op.word](op, sides))
        else:
            source = self.real(op.inputs[0])
            op.need(op.word in READERS or op.word in TAKES_PADS, WHY.get(op.word, "no layer does this"))
            steps = READERS[op.word](op) if op.word in READERS else TAKES_PADS[op.word](op, NO_SIDES)
            self._give(op, source, steps)

    def _formula(self, op, formula):
        """`op` gives a formula: a layer, or a part of one."""
        self.formulas[op.output] = formula
        self.shapes[op.output] = self.shapes[formula.base]
        layer = layer_of(formula)
        if layer is not None:
            self._give(op, self.real(formula.base), [({"type": layer}, {})])
        else:  # the first operator that was no layer is to blame, should it stay a part
            parts = (self.unfinished[name] for name in op.inputs if name in self.unfinished)
            self.unfinished[op.output] = next(parts, op)

    def _terms(self, op, place):
        """What the input at `place` may be in a formula: the value itself, or the formula that gave it."""
        name = op.inputs[place]
        if name in self.known:
            value = self.known[name]
            return [float(value.reshape(())) if value.size == 1 and value.dtype.kind == "f" else MANY]
        name = self.same.get(name, name)
        if not name or name not in self.formulas:
            return [Formula(name) if name else None]
        whole = [] if name in self.unfinished else [Formula(name)]
        return [*whole, self.formulas[name]]

    def _give(self, op, source, steps):
        """`op` gives what the `steps` make of the value `source`; without a step, that value."""
        if not steps:
            self.same[op.output] = self.same.get(source, source)
        shape = self.shapes[source]
        for count, (layer, params) in enumerate(steps or [(PASS, {})], start=1):
            output = op.output if count >= len(steps) else f"{op.output}, step {count}"
            self.nodes[output] = Node(op.name, op.word, (source,), output, layer, params)
            source, shape = output, shape if layer == PASS else after(layer, shape)
        self.shapes[op.output] = shape

    def _sum(self, op):
        """Add or Sum: of values, a residual; with a constant, the bias of the layer before."""
        legacy, axis, _ = op.take(broadcast=0, axis=None, consumed_inputs=None)
        values = [self.real(name) for name in op.inputs if name in self.shapes]
        if len(values) < len(op.inputs):
            op.need(len(op.inputs) == 2, "it adds a constant to more than one value")
            self._bias(op, values[0], axis if legacy else None)
            return
        total = values[0]
        self.shapes[op.output] = self.shapes[total]
        for count, value in enumerate(values[1:], start=1):
            shapes = self.shapes[total], self.shapes[value]
            op.need(
                _may_agree(*shapes), "it adds values of the shapes {} and {}: no residual".format(*shapes)
            )
            output = op.output if count == len(values) - 1 else f"{op.output}, sum {count}"
            self.nodes[output] = Node(op.name, op.word, (total, value), output, ADD)
            self.shapes[output] = self.shapes[total]
            total = output
        if len(values) == 1:
            self._give(op, total, [])

    def _bias(self, op, value, axis):
        """The constant of `op` as the bias of the dense layer or convolution that gives `value`."""
        before = self.nodes.get(value)
        free = before is not None and isinstance(before.does, dict) and before.does.get("bias") is False
        op.need(free and self.file.uses[value] == 1, WHY["Add"])
        constant = op.constant(0 if op.is_known(0) else 1, "constant")
        bias = bias_of(op, before, constant, axis)
        layer, params = {**before.does, "bias": True}, {**before.params, "bias": bias}
        self.nodes[op.output] = Node(before.name, before.operator, before.inputs, op.output, layer, params)
        self.shapes[op.output] = self.shapes[value]


def _may_agree(a, b):
    """Whether two shapes may be equal: an open size may be any number, but a 1 beside it would broadcast."""
    return len(a) == len(b) and all(
        m == n or (not (isinstance(m, int) and isinstance(n, int)) and 1 not in (m, n)) for m, n in zip(a, b)
    )


# Every operator of which at least some form is read; others may stand in constants.
OPERATORS = tuple(sorted({*READERS, *TAKES_PADS, *RULES, *APPLIED, "Add", "Pad", "Shape", "Sum"}))

WHY = {
    "Add": "a constant is added only right after MatMul, Gemm or Conv without a bias that nothing else reads",
    "Softmax": "the loss has it; read the logits with output= the value that it reads",
    "LogSoftmax": "the loss has it; read the logits with output= the value that it reads",
    "Pad": "zeros around an image go only into a convolution or an average pool right after it",
    "Mul": "a product is read only as part of SiLU and GELU",
    "Div": "a quotient is read only as part of GELU",
    "Erf": "it is read only as part of GELU",
    "Exp": "it is read only as part of Softplus",
    "Log": "it is read only as part of Softplus",
    "Greater": "it is read only as part of PyTorch's softplus",
    "Where": "it is read only as part of PyTorch's softplus",
    "Clip": "it is read only where it is ReLU (from 0) or ReLU6 (from 0 to 6)",
    "Max": "it is read only as ReLU: the maximum with 0",
    "Min": "it is read only as part of ReLU6: the minimum of ReLU and 6",
}
