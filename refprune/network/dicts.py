"""Networks as plain data: a list of dicts, as the oracle's contracts and saved files hold them."""

from dataclasses import fields

from .activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from .bilinear import BatchNorm2d, Conv2d, Dense
from .chain import Residual
from .pools import AvgPool2d, Flatten, GlobalAvgPool, MaxPool2d

LAYERS = (
    Dense, Conv2d, ReLU, ReLU6, Tanh, Sigmoid, GELU, SiLU, Softplus, MaxPool2d, AvgPool2d, GlobalAvgPool,
    Flatten, BatchNorm2d, Residual,
)  # fmt: skip
TYPES = {layer.type: layer for layer in LAYERS}


def from_dicts(dicts: list, start: str = "") -> list:
    """The layers that `dicts` describe; messages name a layer by its key, which begins with `start`.

    Raises
    ------
    TypeError, ValueError
        Not a list of mappings; an unknown type; a key that the type does not have, or one that it needs.
    """
    if not isinstance(dicts, (list, tuple)):
        where = f" for {start[:-1]}" if start else ""
        raise TypeError(f"need a list of layers{where}; got {type(dicts).__name__}")
    return [_layer(f"{start}{n}", spec) for n, spec in enumerate(dicts)]


def _layer(key, spec):
    if not isinstance(spec, dict):
        raise TypeError(f"need a mapping for layer {key}; got {type(spec).__name__}")
    rest = dict(spec)
    kind = rest.pop("type", None)
    if kind not in TYPES:
        raise ValueError(f"need a type of {', '.join(TYPES)} for layer {key}; got {kind!r}")
    layer = TYPES[kind]
    known = {f.name: f for f in fields(layer)}
    for name in rest:
        if name not in known:
            arguments = ", ".join(known) or "none"
            raise ValueError(f"need arguments of {kind} for layer {key}: {arguments}; got {name!r}")
    if layer is Residual:
        rest = {
            name: None if value is None else from_dicts(value, f"{key}.{name}.")
            for name, value in rest.items()
        }
    try:
        return layer(**rest)
    except TypeError as error:
        raise TypeError(f"layer {key}: {error}") from None
    except ValueError as error:
        raise ValueError(f"layer {key}: {error}") from None
