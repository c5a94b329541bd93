"""The table of the ONNX operators that are read, and the few that are activations or nothing at all."""

import numpy as np

from refprune.interop import onnx_layers as layers
from refprune.interop import onnx_shapes as shapes
from refprune.interop.optional import optional


def _activation(name):
    def read(op):
        op.take(consumed_inputs=None)
        return [({"type": name}, {})]

    return read


def _gelu(op):
    (approximate,) = op.take(approximate="none")
    op.need(approximate == "none", f"approximate={approximate} is not the exact GELU")
    return [({"type": "gelu"}, {})]


def _swish(op):
    (alpha,) = op.take(alpha=1.0)
    op.need(alpha == 1.0, f"alpha={alpha} is not SiLU")
    return [({"type": "silu"}, {})]


def _identity(op):
    op.take()
    return []


def _cast(op):
    """Cast to the precision that the value has."""
    to, _, _ = op.take(to=None, saturate=1, round_mode=None)
    name = optional("onnx", "onnx").TensorProto.DataType.Name
    op.need(to == op.element, f"it changes the precision from {name(op.element)} to {name(to)}")
    return []


def _cast_like(op):
    """CastLike of a value to the precision that every value has."""
    op.take(saturate=1, round_mode=None)
    op.need(not op.is_known(1) or op.constant(1, "target").dtype == op.dtype, "it changes the precision")
    return []


def _clip(op):
    """Clip without any bound; the others are formulas."""
    free = not op.given(1) and not op.given(2) and op.take(min=None, max=None) == [None, None]
    op.need(free, "it is read only where it is ReLU (from 0) or ReLU6 (from 0 to 6)")
    return []


def _dropout(op):
    """Dropout at inference."""
    _, test, _, _ = op.take(ratio=0.5, is_test=0, seed=None, consumed_inputs=None)
    op.need(op.opset >= 7 or test, "is_test=0: it is written for training")
    op.need(not op.scalar(2, "training mode"), "it is written for training")
    return []


def pad(op):
    """((top, bottom), (left, right)) of a Pad of images with zeros."""
    mode, sides, old, value = op.take(mode="constant", pads=None, paddings=None, value=0.0)
    sides = op.integers(1, "pads") if op.given(1) else sides or old
    filled = op.scalar(2, "value") if op.given(2) else value
    op.need(
        mode == "constant" and filled == 0, f"need padding with zeros; got mode {mode} and value {filled}"
    )
    op.images()
    axes = [axis % 4 for axis in op.integers(3, "axes")] if op.given(3) else [0, 1, 2, 3]
    begins, ends = [0] * 4, [0] * 4
    for axis, begin, end in zip(axes, sides[: len(axes)], sides[len(axes) :]):
        begins[axis], ends[axis] = begin, end
    fits = not any(begins[:2] + ends[:2]) and min(begins + ends) >= 0
    op.need(fits, f"need padding of height and width, none negative; got {sides}")
    return (begins[2], ends[2]), (begins[3], ends[3])


def bias_of(op, before, constant, axis):
    """A constant that is added to the output of the layer `before`, as its bias.

    Parameters
    ----------
    constant : array
    axis : int or None
        Where the constant's axes begin, as operator sets below 7 say it; None aligns the last axes.
    """
    weight = before.params["weight"]
    outputs, rank = weight.shape[0], weight.ndim  # 2 or 4, and so is the output's
    shape = constant.shape
    if axis is not None:
        shape = (*shape, *(1 for _ in range(rank - axis - len(shape))))
    shape = (*(1 for _ in range(rank - len(shape))), *shape)
    wanted = tuple(outputs if n == 1 else 1 for n in range(rank))
    fits = shape in (wanted, (1,) * rank)
    op.need(fits, f"a constant of shape {constant.shape} is no bias of the {outputs} outputs before it")
    return np.broadcast_to(constant.reshape(-1), (outputs,))


TAKES_PADS = {"AveragePool": layers.average_pool, "Conv": layers.conv}

READERS = {
    "BatchNormalization": layers.batch_norm,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Dropout": _dropout,
    "Flatten": shapes.flatten,
    "Gelu": _gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.global_average_pool,
    "GlobalMaxPool": layers.global_max_pool,
    "Identity": _identity,
    "MatMul": layers.matmul,
    "MaxPool": layers.max_pool,
    "ReduceMean": layers.reduce_mean,
    "Reshape": shapes.reshape,
    "Squeeze": shapes.squeeze,
    "Swish": _swish,
    "Tanh": _activation("tanh"),
}
