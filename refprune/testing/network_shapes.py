"""Shapes of a network given as plain data: of every parameter, and of what every layer gives.

The judge's own count of sizes. It says in words what does not fit.
"""

from math import prod

SHAPELESS = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")


def parameter_shapes(layers, shape, prefix=""):
    """(name -> shape of every array in `params`, in their order; the shape of one sample's output).

    Parameters
    ----------
    layers : list of dict
    shape : tuple of int
        Of one sample: ``(inputs,)`` or ``(channels, height, width)``.

    Raises
    ------
    ValueError
        A layer is unknown, or does not fit what it is given.

    Examples
    --------
    >>> parameter_shapes([{"type": "dense", "inputs": 3, "outputs": 2}, {"type": "relu"}], (3,))
    ({'0.weight': (2, 3), '0.bias': (2,)}, (2,))
    """
    found, shape = {}, tuple(shape)
    for i, layer in enumerate(layers):
        step = _STEPS.get(layer.get("type"))
        if step is None:
            raise ValueError(f"layer {prefix}{i} is of the type {layer.get('type')!r}, which is unknown")
        try:
            own, shape = step(layer, shape, f"{prefix}{i}.")
        except KeyError as error:
            raise ValueError(f"layer {prefix}{i} ({layer['type']}) lacks {error}") from None
        except ValueError as error:
            raise ValueError(f"layer {prefix}{i} ({layer['type']}): {error}") from None
        found |= own
    return found, shape


def _same(layer, shape, prefix):
    return {}, shape


def _dense(layer, shape, prefix):
    inputs, outputs = layer["inputs"], layer["outputs"]
    if shape[-1:] != (inputs,) or len(shape) != 1:
        raise ValueError(f"a sample has the shape {shape}; {(inputs,)} is needed")
    return _arrays(prefix, (outputs, inputs), outputs, layer), (outputs,)


def _conv2d(layer, shape, prefix):
    channels, out, groups = layer["in_channels"], layer["out_channels"], layer.get("groups", 1)
    _need_images(shape, channels)
    if channels % groups or out % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels and {out} outputs")
    weight = (out, channels // groups, *pair(layer["kernel"]))
    return _arrays(prefix, weight, out, layer), (out, *_windows(layer, shape, 1))


def _arrays(prefix, weight, outputs, layer):
    bias = {f"{prefix}bias": (outputs,)} if layer.get("bias", True) else {}
    return {f"{prefix}weight": weight, **bias}


def _pool(layer, shape, prefix):
    _need_images(shape)
    return {}, (shape[0], *_windows(layer, shape, layer["kernel"]))


def _global(layer, shape, prefix):
    _need_images(shape)
    return {}, (shape[0], 1, 1)


def _flatten(layer, shape, prefix):
    return {}, (prod(shape),)


def _batchnorm2d(layer, shape, prefix):
    _need_images(shape, layer["channels"])
    names = ("weight", "bias", "running_mean", "running_var")
    return {prefix + name: (layer["channels"],) for name in names}, shape


def _residual(layer, shape, prefix):
    body, out = parameter_shapes(layer["body"], shape, f"{prefix}body.")
    shortcut, other = parameter_shapes(layer.get("shortcut") or [], shape, f"{prefix}shortcut.")
    if out != other:
        raise ValueError(f"the body gives {out} and the shortcut {other}")
    return body | shortcut, out


def _need_images(shape, channels=None):
    if len(shape) != 3 or channels not in (None, shape[0]):
        wanted = "channels" if channels is None else channels
        raise ValueError(f"a sample has the shape {shape}; ({wanted}, height, width) is needed")


def _windows(layer, shape, stride):
    sides = []
    given = [pair(layer.get(name) or default) for name, default in (("stride", stride), ("dilation", 1))]
    kernel, padding = pair(layer["kernel"]), [sum(pair(p)) for p in pair(layer.get("padding", 0))]
    for size, k, pad, step, spread in zip(shape[1:], kernel, padding, *given, strict=True):
        room = size + pad - spread * (k - 1) - 1
        if room < 0:
            raise ValueError(f"a kernel of {k} does not fit {size} pixels and {pad} of padding")
        sides.append(room // step + 1)
    return tuple(sides)


def pair(value):
    """(height, width) of a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


_STEPS = {
    **dict.fromkeys(SHAPELESS, _same),
    "dense": _dense,
    "conv2d": _conv2d,
    "maxpool2d": _pool,
    "avgpool2d": _pool,
    "globalavgpool": _global,
    "flatten": _flatten,
    "batchnorm2d": _batchnorm2d,
    "residual": _residual,
}
