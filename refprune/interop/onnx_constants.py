"""Values of an ONNX graph that do not depend on the network's input, and shapes that it computes.

Constant nodes are run by `onnx.reference`, the ONNX project's own evaluator. Exporters also compute with the
shape of the input, where the number of samples is not known: such shapes are arrays of objects, whose
unknown entries are names, and go through the few operators below.
"""

import numpy as np

from refprune.interop.optional import optional

# Their outputs are no function of their inputs.
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


def evaluate(proto, op, opset_imports):
    """The first output of a node whose inputs are all known."""
    op.need(op.word not in RANDOM, "its output is random")
    inputs = [op.constant_or_shape(place) if name else None for place, name in enumerate(op.inputs)]
    if any(value is not None and value.dtype == object for value in inputs):
        op.need(op.word in ON_SHAPES, "it computes with the size of the network's input")
        return ON_SHAPES[op.word](op, *inputs)
    try:
        named = {name: value for name, value in zip(op.inputs, inputs) if name}
        return np.asarray(_run(proto, named, opset_imports))
    except Exception as error:  # whatever the evaluator of another library raises
        raise op.refuse(f"onnx.reference cannot compute this constant: {error}") from error


def _run(proto, inputs, opset_imports):
    """Run one node by the ONNX project's evaluator."""
    helper, reference = optional("onnx.helper", "onnx"), optional("onnx.reference", "onnx")
    first = [helper.make_value_info(name, _any_type(array)) for name, array in inputs.items()]
    last = [helper.make_empty_tensor_value_info(proto.output[0])]
    graph = helper.make_graph([proto], "constant", first, last)
    model = helper.make_model(graph, opset_imports=opset_imports)
    return reference.ReferenceEvaluator(model).run(None, inputs)[0]


def _any_type(array):
    helper = optional("onnx.helper", "onnx")
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape))


def shape_of(op):
    """The output of Shape: the known sizes, and names for the others."""
    start, end = op.take(start=0, end=None)
    return sizes(op.shape[start:end])


def sizes(shape):
    """A shape as an array: int64, or objects where a size is a name."""
    known = all(isinstance(n, int) for n in shape)
    return np.array(shape, dtype=np.int64 if known else object)


def _again(array):
    """An array of sizes as int64 where no entry is a name any more."""
    array = np.asarray(array, dtype=object)
    known = all(isinstance(n, (int, np.integer)) for n in array.ravel())
    return array.astype(np.int64) if known else array


def _gather(op, data, indices):
    (axis,) = op.take(axis=0)
    return _again(np.take(data, indices, axis=axis))


def _concat(op, *parts):
    (axis,) = op.take(axis=0)
    return _again(np.concatenate([np.asarray(part, dtype=object) for part in parts], axis=axis))


def _unsqueeze(op, data, axes=None):
    (given,) = op.take(axes=None)
    return _again(np.expand_dims(data, tuple(given if axes is None else axes)))


def _squeeze(op, data, axes=None):
    (given,) = op.take(axes=None)
    axes = given if axes is None else axes
    return _again(np.squeeze(data, None if axes is None else tuple(int(a) for a in axes)))


def _slice(op, data, starts=None, ends=None, axes=None, steps=None):
    first, last, _ = op.take(starts=None, ends=None, axes=None)
    starts, ends = (first, last) if starts is None else (starts, ends)
    op.need(data.ndim == 1 and len(starts) == 1, "need a slice of a shape")
    return _again(data[int(starts[0]) : int(ends[0]) : 1 if steps is None else int(steps[0])])


def _same(op, data):
    return data


ON_SHAPES = {
    "Cast": _same,
    "Concat": _concat,
    "Gather": _gather,
    "Identity": _same,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
