"""PyTorch's modules and functions as layers in plain data.

Every function below has the arguments that PyTorch's function of the same name takes after its input, and
gives what nodes of a graph do, in order: layers, `PASS`, or `ADD`. What no layer does is a ValueError with
the reason. PyTorch itself is imported by `modules` and `functions` only.
"""

import operator

from refprune.interop.graph import ADD, PASS

# What is no layer: constants around images, which go into the next layer. A flattening that says how many
# features there are. What stands in a call for the number of samples, and for a value of the graph.
PAD, FEATURES = "pad", "features"
SIZE, VALUE = "the number of samples", "a computed value"


def need(rule, holds, value):
    """Raise ValueError unless `holds`."""
    if not holds:
        raise ValueError(f"need {rule}; got {value!r}")


def pair(value):
    """An integer, a pair, or a sequence of one entry as a pair (height, width)."""
    value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return value * 2 if len(value) == 1 else value


def plainest(sides):
    """((top, bottom), (left, right)) as one number or as (height, width) where that says the same."""
    if any(before != after for before, after in sides):
        return sides
    return _one(tuple(before for before, _ in sides))


def both_sides(padding):
    """The opposite of `plainest`."""
    return tuple(map(pair, pair(padding)))


def _one(pair):
    """A pair of equal numbers as one number."""
    return pair[0] if pair[0] == pair[1] else tuple(pair)


def _same(pair):
    return tuple((p, p) for p in pair)


def _elementwise(name):
    def layers(inplace=False):
        return [{"type": name}]

    return layers


def _gelu(approximate="none"):
    need('approximate="none" (the exact GELU)', approximate == "none", approximate)
    return [{"type": "gelu"}]


def _softplus(beta=1, threshold=20):
    need("beta=1", beta == 1, beta)
    need("threshold >= 20 (above it PyTorch takes x for softplus(x))", threshold >= 20, threshold)
    return [{"type": "softplus"}]


def _clamp(min=None, max=None):
    need(
        "limits (0, None), which is ReLU, or (0, 6), which is ReLU6",
        min == 0 and max in (None, 6),
        (min, max),
    )
    return [{"type": "relu" if max is None else "relu6"}]


def _hardtanh(min_val=-1.0, max_val=1.0, inplace=False):
    need("limits (0, 6), which is ReLU6", (min_val, max_val) == (0, 6), (min_val, max_val))
    return [{"type": "relu6"}]


def _identity():
    return [PASS]


def _dropout(p=0.5, training=True, inplace=False):
    need("training=self.training (this dropout acts at inference too)", not training or p == 0, training)
    return [PASS]


def _max_pool2d(kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    need("return_indices=False", not return_indices, return_indices)
    layer, sides = _pool("maxpool2d", kernel_size, stride, padding, dilation, ceil_mode)
    return [{**layer, "padding": plainest(sides), "dilation": _one(pair(dilation))}]


def _avg_pool2d(
    kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    need("divisor_override=None", divisor_override is None, divisor_override)
    layer, sides = _pool("avgpool2d", kernel_size, stride, padding, 1, ceil_mode)
    count = bool(count_include_pad)
    if sides != _same(pair(padding)):  # what ceil_mode adds is never counted, the padding perhaps
        free = not count or not any(pair(padding))
        need("padding=0 or count_include_pad=False with ceil_mode", free, padding)
        count = False
    return [{**layer, "padding": plainest(sides), "count_padding": count}]


def _pool(name, kernel, stride, padding, dilation, ceil_mode):
    """The layer without its padding, and the sides of the padding.

    `ceil_mode` is stride - 1 more rows below and columns on the right. PyTorch then leaves out a last window
    that begins below the image; the last one begins at most `padding - extent + stride - 1` rows below its
    last row, so none does where stride <= extent - padding, whatever the image's size.
    """
    kernel, padding, dilation = pair(kernel), pair(padding), pair(dilation)
    stride = pair(stride) if stride not in (None, [], ()) else kernel
    layer, sides = {"type": name, "kernel": _one(kernel), "stride": _one(stride)}, _same(padding)
    if not ceil_mode:
        return layer, sides
    for k, s, p, d in zip(kernel, stride, padding, dilation):
        rule = "stride <= dilation * (kernel - 1) + 1 - padding with ceil_mode"
        need(f"{rule} (else the size of the images matters)", s == 1 or s <= d * (k - 1) + 1 - p, s)
    return layer, tuple((p, p + s - 1) for s, p in zip(stride, padding))


def _adaptive_avg_pool2d(output_size):
    need("output_size=1", pair(output_size) == (1, 1), output_size)
    return [{"type": "globalavgpool"}]


def _mean(dim=None, keepdim=False):
    axes = sorted(axis % 4 for axis in dim) if isinstance(dim, (tuple, list)) else dim
    need("dim=(2, 3)", axes == [2, 3], dim)
    return [{"type": "globalavgpool"}] + ([] if keepdim else [{"type": "flatten"}])


def _flatten(start_dim=0, end_dim=-1):
    need("start_dim=1 and end_dim=-1", (start_dim, end_dim) == (1, -1), (start_dim, end_dim))
    return [{"type": "flatten"}]


def view(*shape):
    """(samples, -1) and (samples, features); also (-1, features), which the next Dense layer must confirm."""
    shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    fits = len(shape) == 2 and shape[0] in (SIZE, -1) and type(shape[1]) is int and shape != (-1, -1)
    need("the shape (samples, -1) or (-1, features)", fits, shape)
    return [{"type": "flatten"} if shape[0] == SIZE else {"type": "flatten", FEATURES: shape[1]}]


def _pad(pad, mode="constant", value=None):
    need('mode="constant"', mode == "constant", mode)
    need("sides of the last two axes, none negative", len(pad) in (2, 4) and min(pad) >= 0, pad)
    left, right, top, bottom = (*pad, 0, 0)[:4]
    return [{"type": PAD, "sides": ((top, bottom), (left, right)), "value": value or 0.0}]


def add(other, alpha=1):
    """A sum; `other` has to be a value of the graph."""
    need("a sum of two values", other == VALUE, other)
    need("alpha=1", alpha == 1, alpha)
    return [ADD]


def _linear(module):
    shape = {"inputs": module.in_features, "outputs": module.out_features}
    return [{"type": "dense", **shape, "bias": module.bias is not None}]


def _conv2d(module):
    need('padding_mode="zeros"', module.padding_mode == "zeros", module.padding_mode)
    if module.padding == "same":  # where the sum is odd, one more below and on the right
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size)]
        sides = tuple((t // 2, t - t // 2) for t in total)
    else:
        sides = _same((0, 0) if module.padding == "valid" else module.padding)
    layer = {"type": "conv2d", "in_channels": module.in_channels, "out_channels": module.out_channels}
    layer |= {"kernel": _one(module.kernel_size), "stride": _one(module.stride), "padding": plainest(sides)}
    layer |= {"dilation": _one(module.dilation), "groups": module.groups}
    return [{**layer, "bias": module.bias is not None}]


def _batch_norm2d(module):
    need("affine=True", module.affine, module.affine)
    need("track_running_stats=True", module.running_mean is not None, module.track_running_stats)
    return [{"type": "batchnorm2d", "channels": module.num_features, "eps": module.eps}]


def modules() -> dict:
    """For every class of modules that is understood, a function from the module to its layers."""
    from torch import nn

    passed = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    elementwise = (nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.SiLU)
    return {
        **{kind: lambda m: [PASS] for kind in passed},
        **{kind: lambda m: [{"type": type(m).__name__.lower()}] for kind in elementwise},
        nn.GELU: lambda m: _gelu(m.approximate),
        nn.Softplus: lambda m: _softplus(m.beta, m.threshold),
        nn.Hardtanh: lambda m: _hardtanh(m.min_val, m.max_val),
        nn.Linear: _linear,
        nn.Conv2d: _conv2d,
        nn.BatchNorm2d: _batch_norm2d,
        nn.MaxPool2d: lambda m: _max_pool2d(
            m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
        ),
        nn.AvgPool2d: lambda m: _avg_pool2d(
            m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
        ),
        nn.AdaptiveAvgPool2d: lambda m: _adaptive_avg_pool2d(m.output_size),
        nn.Flatten: lambda m: _flatten(m.start_dim, m.end_dim),
        nn.ZeroPad2d: lambda m: _pad(m.padding),
        nn.ConstantPad2d: lambda m: _pad(m.padding, value=m.value),
    }


_ELEMENTWISE = {name: _elementwise(name) for name in ("relu", "tanh", "sigmoid")}

# Methods of tensors, by name; those whose name ends in `_` write into their input.
METHODS = {
    **_ELEMENTWISE,
    **{f"{name}_": layers for name, layers in _ELEMENTWISE.items()},
    "add": add,
    "add_": add,
    "clamp": _clamp,
    "clamp_": _clamp,
    "contiguous": _identity,
    "flatten": _flatten,
    "mean": _mean,
    "reshape": view,
    "view": view,
}


def functions() -> tuple[dict, set]:
    """For every function that is understood, one to its layers; the functions and methods that write in place."""
    import torch
    from torch.nn import functional as F

    writing = {
        **{getattr(torch, f"{name}_"): layers for name, layers in _ELEMENTWISE.items()},
        F.relu_: _ELEMENTWISE["relu"],
        operator.iadd: add,
    }
    dropouts = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, torch.dropout)
    table = {
        **{getattr(torch, name): layers for name, layers in _ELEMENTWISE.items()},
        **{getattr(F, name): layers for name, layers in _ELEMENTWISE.items()},
        **{getattr(F, name): _elementwise(name) for name in ("relu6", "silu")},
        **dict.fromkeys(dropouts, _dropout),
        **dict.fromkeys((operator.add, torch.add), add),
        F.pad: _pad,
        F.gelu: _gelu,
        F.softplus: _softplus,
        F.hardtanh: _hardtanh,
        F.max_pool2d: _max_pool2d,
        torch.max_pool2d: _max_pool2d,
        F.avg_pool2d: _avg_pool2d,
        F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
        torch.clamp: _clamp,
        torch.flatten: _flatten,
        torch.mean: _mean,
        torch.reshape: view,
    }
    return {**table, **writing}, {*writing, *(name for name in METHODS if name.endswith("_"))}
