"""The backend suite of the `onnx` package, run on imported networks: each case ran, or is left out for a reason."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from refprune.interop import from_onnx
from refprune.interop.onnx_import import OPERATORS
from tests.interop.rounding import ACTIVATIONS, bound

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
REFUSED = re.compile(r"need operators that are layers of refprune; got (\w+) \(node .*?\): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One case of the suite: a model, and recorded inputs with their outputs."""

    kind: str
    name: str
    found: object  # onnx's own TestCase

    def model(self):
        """The model, read afresh where it is a file."""
        if self.found.model is not None:
            return self.found.model
        return onnx.load(self._folder() / "model.onnx" if self.kind != "real" else self._light())

    def data(self, model):
        """Pairs (inputs, outputs), lists in the order of the graph."""
        if self.found.data_sets is not None:
            return self.found.data_sets
        if self.kind == "real":
            return [([_dummy(value) for value in _inputs(model)], [_tensor(self._recorded())])]
        sets = sorted(self._folder().glob("test_data_set_*"))
        return [
            tuple([_tensor(p) for p in _numbered(one, way)] for way in ("input", "output")) for one in sets
        ]

    def _folder(self):
        return Path(self.found.model_dir)

    def _light(self):
        return Path(onnx.__file__).parents[1] / self.found.url

    def _recorded(self):
        return self._light().with_name(f"{self._light().stem}_output_0.pb")


# Recorded by hand to four decimals: the output is off by up to half of one, and so are the 4 pixels of a 9th each.
TYPED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 0.5e-4 * (1 + 4 / 9)}


def _numbered(folder, way):
    return sorted(folder.glob(f"{way}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))


def _tensor(path):
    """A recorded tensor; None for a sequence or an optional, which no network takes."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor)
    except Exception:
        return None


def _inputs(model):
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _dummy(value):
    """The input that onnx's runner feeds to its light models: n values from 0 to 1 - 1/n."""
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    n = int(np.prod(shape))
    return (np.arange(n).reshape(shape) / n).astype(np.float32)


def cases():
    """Every case of the suite that this version of onnx ships."""
    from onnx.backend.test import loader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite overflows and divides by zero on purpose
        return [
            Case(kind, found.name, found) for kind in KINDS for found in loader.load_model_tests(kind=kind)
        ]


def bound_to(model, inputs):
    """A copy of `model` whose inputs but the first are constants, as recorded."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value, array in list(zip(_inputs(model), inputs))[1:]:
        if isinstance(array, np.ndarray | np.generic | onnx.TensorProto):  # else a sequence, or nothing
            array = (
                array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(np.asarray(array))
            )
            array.name = value.name
            copy.graph.initializer.append(array)
    return copy


def operators(model):
    """The operators that are not read, or all where each of them is."""
    found = {node.op_type for node in model.graph.node}
    return " ".join(sorted(found - set(OPERATORS) or found))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(case):
    """("ran", "", "") or ("left out", operator, reason); AssertionError where the output is another one."""
    model = case.model()
    for inputs, outputs in case.data(model):
        given = bound_to(model, inputs)
        last, after = given.graph.node[-1], None
        output = given.graph.output[0].name
        if case.kind == "real" and last.op_type == "Softmax":  # the logits are compared through it
            output, after = last.input[0], softmax
        try:
            network, params = from_onnx(given, output=output)
            if inputs[0].dtype.kind != "f":  # older versions of onnx give the bits of a bfloat16
                raise ValueError(f"need an input of floating-point numbers; got bits of {inputs[0].dtype}")
            x, recorded = with_samples(network, inputs[0], outputs[0])
            found = network.forward(params, x)
        except ValueError as error:
            refused = REFUSED.fullmatch(str(error))
            return ("left out", *(refused.groups() if refused else (operators(model), str(error))))
        compare(case.name, network, params, x, found, recorded, after)
    return "ran", "", ""


def with_samples(network, x, y):
    """Arrays of one axis, which activations take in ONNX, as one sample."""
    alone = x.ndim == 1 and all(layer.type in ACTIVATIONS for layer in network.layers)
    return (x[None], y[None]) if alone else (x, y)


def compare(name, network, params, x, found, recorded, after=None):
    """Assert that the output is the recorded one to twice the rounding bound: both are computed in floats."""
    assert found.shape == recorded.shape, f"{name}: {found.shape} is not {recorded.shape}"
    assert found.dtype == recorded.dtype
    if after is not None:
        # softmax moves by at most the largest error of its logits, and rounds a few times itself
        error = bound(network, params, x).max(axis=1, keepdims=True) + 8 * np.finfo(found.dtype).eps
        found = after(found)
    else:
        error = bound(network, params, x)
    excess = np.abs(found.astype(np.float64) - recorded) - 2 * error - TYPED.get(name, 0.0)
    assert excess.max(initial=-1) <= 0, f"{name}: off by {excess.max()} more than the rounding bound"
