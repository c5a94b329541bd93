"""ONNX operators with weights, and pools, as layers in plain data.

Every function reads one `Operator` and gives a list of (layer, parameters), in order. What no layer does is
refused with the reason.
"""

import numpy as np

from refprune.interop.onnx_windows import plain_pair, plainest, window


def conv(op, pads_before):
    """Conv: `X, W, B`; `pads_before` are the zeros of a Pad that this convolution takes up."""
    kernel, strides, pads, dilations, groups, auto_pad = op.take(
        kernel_shape=None, strides=None, pads=None, dilations=None, group=1, auto_pad="NOTSET"
    )
    op.images()
    weight, bias = op.constant(1, "weight"), op.constant(2, "bias")
    op.need(weight.ndim == 4, f"need a weight (out, in / groups, kh, kw); got shape {weight.shape}")
    op.need(kernel in (None, list(weight.shape[2:])), f"its kernel_shape {kernel} is not its weight's")
    strides, dilations, _, sides = window(op, weight.shape[2:], strides, dilations, pads, auto_pad)
    layer = {
        "type": "conv2d",
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "kernel": plain_pair(weight.shape[2:]),
        "stride": plain_pair(strides),
        "padding": plainest(together(sides, pads_before)),
        "dilation": plain_pair(dilations),
        "groups": groups,
        "bias": bias is not None,
    }
    return [(layer, _with_bias(op, weight, bias))]


def together(sides, more):
    """Two paddings, one around the other."""
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(sides, more))


def dense(op, weight, bias=None):
    """A fully connected layer with `weight` (outputs, inputs)."""
    layer = {"type": "dense", "inputs": weight.shape[1], "outputs": weight.shape[0], "bias": bias is not None}
    return [(layer, _with_bias(op, weight, bias))]


def _with_bias(op, weight, bias):
    if bias is None:
        return {"weight": weight}
    op.need(bias.shape == weight.shape[:1], f"need a bias of shape {weight.shape[:1]}; got {bias.shape}")
    return {"weight": weight, "bias": bias}


def gemm(op):
    """Gemm: `alpha A B + beta C` with A the network's value; B^T is the weight, C the bias."""
    alpha, beta, left, right, _ = op.take(alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=0)
    op.rank(2)
    op.need(not left, "transA=1 multiplies the transposed value")
    weight, bias = op.constant(1, "weight"), op.constant(2, "bias")
    weight = weight if right else weight.T
    if bias is not None and beta == 0:
        bias = None
    if bias is not None:
        alike = bias.ndim < 2 or (bias.ndim == 2 and bias.shape[0] == 1)
        op.need(alike, f"its C of shape {bias.shape} may differ between samples: it is no bias")
        op.need(bias.size in (1, weight.shape[0]), f"its C of shape {bias.shape} does not fit its weight")
        bias = _scaled(np.broadcast_to(np.ravel(bias), weight.shape[:1]), beta)
    return dense(op, _scaled(weight, alpha), bias)


def _scaled(array, factor):
    """`factor * array` in the array's precision; the array itself, bit for bit, where the factor is 1."""
    return array if factor == 1 else (array * np.asarray(factor, array.dtype)).astype(array.dtype)


def matmul(op):
    """MatMul of the network's value with a constant; the constant's transpose is the weight."""
    op.take()
    op.need(not op.is_known(0), "the constant stands left of the network's value: it mixes samples")
    op.rank(2)
    weight = op.constant(1, "weight")
    op.need(weight.ndim == 2, f"need a weight with 2 axes; got shape {weight.shape}")
    return dense(op, weight.T)


def batch_norm(op):
    """BatchNormalization at inference: `X, scale, B, mean, var`."""
    eps, _, training, test, spatial, _ = op.take(
        epsilon=1e-5, momentum=0.9, training_mode=0, is_test=0, spatial=1, consumed_inputs=None
    )
    old = op.opset < 7
    op.need(not training and (test or not old), "it is written for training: its statistics are the batch's")
    op.need(len(op.outputs) == 1, "it is written for training: it gives the batch's statistics")
    op.need(spatial, "spatial=0 has statistics for every position")
    op.images()
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    params = {name: op.constant(n, what) for n, (name, what) in enumerate(names.items(), start=1)}
    layer = {"type": "batchnorm2d", "channels": params["weight"].shape[0], "eps": decimal(eps)}
    return [(layer, params)]


def decimal(value):
    """The shortest decimal of a float that ONNX keeps in 32 bits: 1e-05 for 9.99999974737875e-06."""
    return float(str(np.float32(value)))


def max_pool(op):
    """MaxPool; its second output, the places of the maxima, is not read."""
    kernel, strides, pads, dilations, auto_pad, ceil_mode, _ = op.take(
        kernel_shape=None,
        strides=None,
        pads=None,
        dilations=None,
        auto_pad="NOTSET",
        ceil_mode=0,
        storage_order=0,
    )
    op.images()
    *steps, _, sides = window(op, kernel, strides, dilations, pads, auto_pad, ceil_mode)
    return [(_pool("maxpool2d", kernel, *steps, sides), {})]


def average_pool(op, pads_before):
    """AveragePool; `pads_before` are the zeros of a Pad that this pool takes up, and they count."""
    kernel, strides, pads, dilations, auto_pad, ceil_mode, counted = op.take(
        kernel_shape=None,
        strides=None,
        pads=None,
        dilations=None,
        auto_pad="NOTSET",
        ceil_mode=0,
        count_include_pad=0,
    )
    op.images()
    *steps, declared, sides = window(op, kernel, strides, dilations, pads, auto_pad, ceil_mode)
    counted, padded = bool(counted), any(map(any, declared))
    if sides != declared:  # what ceil_mode adds never counts
        op.need(not (counted and padded), "ceil_mode=1 counts the declared pads, but not those that it adds")
        counted = False
    if any(map(any, pads_before)):
        op.need(not any(map(any, sides)) or counted, "a Pad before it counts, its own pads do not")
        counted, sides = True, together(sides, pads_before)
    return [({**_pool("avgpool2d", kernel, *steps, sides), "count_padding": counted}, {})]


def _pool(name, kernel, strides, dilations, sides):
    return {
        "type": name,
        "kernel": plain_pair(kernel),
        "stride": plain_pair(strides),
        "padding": plainest(sides),
        "dilation": plain_pair(dilations),
    }


def global_max_pool(op):
    """GlobalMaxPool: a MaxPool of the size of the images, which the file has to state."""
    op.take()
    size = op.images()
    op.need(None not in size, "need images of a size that the file states")
    return [(_pool("maxpool2d", size, (1, 1), (1, 1), ((0, 0), (0, 0))), {})]


def global_average_pool(op):
    """GlobalAveragePool."""
    op.take()
    op.images()
    return [({"type": "globalavgpool"}, {})]


def reduce_mean(op):
    """ReduceMean over height and width: a global pool, and Flatten where the axes are not kept."""
    axes, keep, _ = op.take(axes=None, keepdims=1, noop_with_empty_axes=0)
    axes = op.integers(1, "axes") if op.given(1) else axes
    op.images()
    over = sorted(axis % 4 for axis in axes or ())
    op.need(over == [2, 3], f"need the mean over height and width; got axes {axes}")
    return [({"type": "globalavgpool"}, {})] + ([] if keep else [({"type": "flatten"}, {})])
