"""The palette of small networks that a run draws from, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass

SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "softplus")
ACTIVATIONS = ("relu", *SMOOTH)


@dataclass(frozen=True)
class Architecture:
    """One network of the palette.

    Attributes
    ----------
    shape : tuple of int
        Of one sample.
    samples : int
        In a batch, unless a flag says otherwise.
    layers : callable
        ``layers(a)``: the layers; ``a()`` draws an activation.
    flags : tuple of str
        What is special in it.
    """

    shape: tuple
    samples: int
    layers: Callable
    flags: tuple


def dense(inputs, outputs, bias=True):
    """A dense layer, all keys written."""
    return {"type": "dense", "inputs": inputs, "outputs": outputs, "bias": bias}


def conv(channels, out, kernel, stride=1, padding=0, dilation=1, groups=1, bias=True):
    """A convolution, all keys written."""
    return {
        "type": "conv2d", "in_channels": channels, "out_channels": out, "kernel": kernel, "stride": stride,
        "padding": padding, "dilation": dilation, "groups": groups, "bias": bias,
    }  # fmt: skip


def norm(channels, eps=1e-5):
    """Batch normalisation."""
    return {"type": "batchnorm2d", "channels": channels, "eps": eps}


FLATTEN, GLOBAL = {"type": "flatten"}, {"type": "globalavgpool"}


def _deep(a):
    """Eleven layers and more: their keys in order are not in the order of text."""
    hidden = [layer for bias in (True, False, True, False, True) for layer in (dense(3, 3, bias), a())]
    return [*hidden, dense(3, 3)]


def _skip(a):
    inner = {"type": "residual", "body": [dense(2, 2, False), a()]}
    body = [dense(4, 2), a(), inner, dense(2, 4)]
    return [dense(3, 4), a(), {"type": "residual", "body": body}, a(), dense(4, 2)]


def _shortcut(a):
    """A layer with parameters, then a shortcut that changes no shape, then one that does."""
    same = {
        "type": "residual",
        "body": [conv(2, 2, (1, 3), 1, (0, 1), bias=False), a()],
        "shortcut": [conv(2, 2, 1)],
    }
    body = [conv(2, 3, 2, 2, bias=False), norm(3), a()]
    shortcut = [conv(2, 3, 1, 2, bias=False), norm(3)]
    halved = {"type": "residual", "body": body, "shortcut": shortcut}
    return [conv(1, 2, 2), same, halved, a(), GLOBAL, FLATTEN, dense(3, 3)]


PALETTE = {
    "dense": Architecture((5,), 11, lambda a: [dense(5, 4), a(), dense(4, 3)], ()),
    "square": Architecture((3,), 3, _deep, ("Square", "NoBias")),
    "wide": Architecture((8,), 3, lambda a: [dense(8, 9), a(), dense(9, 5)], ("WiderThanBlock",)),
    "one output": Architecture((4,), 4, lambda a: [dense(4, 3), a(), dense(3, 1)], ("OneOutput",)),
    "skip": Architecture((3,), 3, _skip, ("Residual",)),
    "conv": Architecture(
        (2, 5, 4),
        2,
        lambda a: [
            conv(2, 3, (3, 2), 1, (1, 0)), a(), {"type": "maxpool2d", "kernel": (3, 2), "stride": (2, 1)}, FLATTEN,
            dense(12, 2),
        ],
        ("Conv", "ConvPadding", "MaxPool"),
    ),
    "stride": Architecture(
        (1, 6, 5),
        2,
        lambda a: [
            conv(1, 3, 3, (2, 1), 1), a(), {"type": "avgpool2d", "kernel": (2, 3), "padding": (1, 0)}, FLATTEN,
            dense(6, 2),
        ],
        ("ConvStride", "AvgPool"),
    ),
    "dilation": Architecture(
        (2, 5, 5),
        2,
        lambda a: [conv(2, 2, 2, 1, (0, 1), (1, 2), bias=False), a(), conv(2, 3, 2), a(), GLOBAL, FLATTEN, dense(3, 2)],
        ("ConvDilation",),
    ),
    "groups": Architecture(
        (4, 3, 3), 3, lambda a: [conv(4, 4, 2, groups=2), a(), GLOBAL, FLATTEN, dense(4, 3)], ("ConvGroups",)
    ),
    "depthwise": Architecture(
        (3, 4, 4),
        2,
        lambda a: [
            conv(3, 6, (2, 3), 1, 1, groups=3), a(), conv(6, 2, 1, 1, 1), {"type": "avgpool2d", "kernel": (3, 2)},
            FLATTEN, dense(12, 2),
        ],
        ("Depthwise",),
    ),
    "batch norm": Architecture(
        (2, 4, 4),
        3,
        lambda a: [
            conv(2, 3, 2, bias=False), norm(3, 0.01), {"type": "maxpool2d", "kernel": 2, "padding": 1}, a(), FLATTEN,
            dense(12, 2),
        ],
        ("BatchNorm",),
    ),
    "shortcut": Architecture((1, 5, 5), 2, _shortcut, ("Shortcut",)),
}  # fmt: skip
