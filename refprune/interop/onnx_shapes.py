"""Shapes along an ONNX graph, and the operators that only reshape: which of them flatten, which do nothing."""

from math import prod

FLATTEN = [({"type": "flatten"}, {})]
NOTHING = []


def flatten(op):
    """Flatten at axis 1."""
    (axis,) = op.take(axis=1)
    axis += len(op.shape) if axis < 0 else 0
    op.need(axis == 1, f"axis={axis} does not keep the samples apart")
    return FLATTEN


def reshape(op):
    """Reshape to (samples, the rest), whichever way the file says it."""
    fixed, _, zeros = op.take(shape=None, consumed_inputs=None, allowzero=0)
    target = list(op.constant_or_shape(1)) if op.is_known(1) else fixed
    op.need(target is not None, "its shape depends on what the network's input holds")
    target = [n if isinstance(n, str) else int(n) for n in target]
    shape = op.shape
    if not zeros:
        op.need(
            all(n != 0 or axis < len(shape) for axis, n in enumerate(target)),
            f"no size stands for a 0 in {target}",
        )
        target = [shape[axis] if n == 0 else n for axis, n in enumerate(target)]
    if tuple(target) == shape:
        return NOTHING
    samples, rest = shape[0], _product(shape[1:])
    op.need(
        tuple(target) in {(samples, -1), (samples, rest), (-1, rest)},
        f"from {shape} to {tuple(target)} is no Flatten",
    )
    return FLATTEN


def squeeze(op):
    """Squeeze of the height and width that a global pool leaves."""
    (axes,) = op.take(axes=None)
    axes = op.integers(1, "axes") if op.given(1) else axes
    op.images()
    over = sorted(axis % 4 for axis in axes or ())
    op.need(over == [2, 3], f"need a squeeze of height and width; got axes {axes}")
    return FLATTEN


def after(layer, shape):
    """The shape of a layer's output; an unknown size is a name or a formula."""
    kind = layer["type"]
    if kind == "dense":
        return shape[0], layer["outputs"]
    if kind == "residual":
        for inner in layer["body"]:
            shape = after(inner, shape)
        return shape
    if kind == "flatten":
        return shape[0], _product(shape[1:])
    if kind == "globalavgpool":
        return (*shape[:2], 1, 1)
    if kind in ("conv2d", "maxpool2d", "avgpool2d"):
        channels = layer.get("out_channels", shape[1])
        return (shape[0], channels, *map(_size, shape[2:], *_axes(layer)))
    return shape


def _product(sizes):
    """The product of sizes; as a formula where one is a name."""
    known = all(isinstance(n, int) for n in sizes)
    return prod(sizes) if known else " * ".join(f"({n})" for n in sizes)


def padded(shape, sides):
    """The shape of images with zeros around them."""
    return (*shape[:2], *(_size(n, 1, 1, side, 1) for n, side in zip(shape[2:], sides)))


def _axes(layer):
    """(kernel, stride, padding, dilation) as pairs."""
    padding = layer["padding"]
    stride = layer["kernel"] if layer["stride"] is None else layer["stride"]
    return (
        _pair(layer["kernel"]),
        _pair(stride),
        [_pair(side) for side in _pair(padding)],
        _pair(layer["dilation"]),
    )


def _pair(value):
    """One number as a pair of it."""
    return value if isinstance(value, (tuple, list)) else (value, value)


def _size(n, kernel, stride, side, dilation):
    """How many positions a kernel has on `n` pixels; as a formula where n is a name."""
    more = sum(side) - dilation * (kernel - 1) - 1
    if isinstance(n, int):
        return (n + more) // stride + 1
    return n if (more, stride) == (-1, 1) else f"({n} + {more}) // {stride} + 1"
