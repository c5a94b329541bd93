"""Layers one after the other: record a forward pass, then send tangents up and adjoints down.

The R-operator (Pearlmutter, 1994, *Fast exact multiplication by the Hessian*) applied to both passes gives
exact Hessian-vector products: 8 products with a layer's weight instead of the gradient's 3.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from .kinds import Layer, add


@dataclass
class Record:
    """One layer in one forward pass.

    Attributes
    ----------
    key : str
        The layer's place, for example ``"3"``.
    params : dict
        Its own parameters, by their own names.
    tape : object
        What its derivatives need.
    delta : array or None
        The derivative of the loss with respect to its output, once `pull` has passed.
    """

    layer: Layer
    key: str
    params: dict
    tape: Any
    delta: Any = field(default=None)


def own(params: dict) -> dict[str, dict]:
    """The entries of `params` by the first part of their names: what belongs to each layer, by its own names."""
    found = defaultdict(dict)
    for name, value in params.items():
        key, _, rest = name.partition(".")
        found[key][rest] = value
    return found


def forward(layers, params, x):
    """The output alone."""
    inside = own(params)
    for key, layer in enumerate(layers):
        x = layer.forward(inside[str(key)], x)
    return x


def record(layers, params, x) -> tuple[Any, list[Record]]:
    """The output, and a record of every layer."""
    records, inside = [], own(params)
    for key, layer in enumerate(layers):
        x, tape = layer.record(inside[str(key)], x)
        records.append(Record(layer, str(key), inside[str(key)], tape))
    return x, records


def trace(layers, params, x, start=""):
    """Yield (key, layer, input, output) for every layer, those inside a residual before the residual itself."""
    every = own(params)
    for n, layer in enumerate(layers):
        key, inside, y = f"{start}{n}", every[str(n)], None
        if isinstance(layer, Residual):
            for name, branch in layer.branches().items():
                last = x
                for found in trace(branch, own(inside)[name], x, f"{key}.{name}."):
                    yield found
                    last = found[3] if found[0].count(".") == key.count(".") + 2 else last
                y = add(y, last)
            y = add(y, x if layer.shortcut is None else None)
        else:
            y = layer.forward(inside, x)
        yield key, layer, x, y
        x = y


def push(records, dparams, dx):
    """The tangent of the output, and what every layer holds for `pull_tangent`."""
    held, inside = [], own(dparams)
    for r in records:
        dx, kept = r.layer.push(r.tape, r.params, inside[r.key], dx)
        held.append(kept)
    return dx, held


def pull(records, delta, want="sum", inner=True, keep=False) -> tuple[dict, Any]:
    """The gradients of all parameters, in no order, and the delta of the chain's input.

    With `keep` every record remembers the delta of its output, which `pull_tangent` needs.
    """
    gradients = {}
    for n in reversed(range(len(records))):
        r = records[n]
        if keep:
            r.delta = delta
        found, delta = r.layer.pull(r.tape, r.params, delta, want, inner or n > 0)
        gradients |= {f"{r.key}.{name}": value for name, value in found.items()}
    return gradients, delta


def wanted(want, key):
    """What `want` asks of the layer or branch `key`: True, False, or the rest of a longer key."""
    if isinstance(want, bool):
        return want
    first, _, rest = want.partition(".")
    return (rest or True) if first == key else False


def pull_tangent(records, held, dparams, ddelta, want=True, inner=True) -> tuple[dict, Any]:
    """The tangent of `pull`: a name that is missing from the gradients stands for zero.

    With `held` None and no directions only `ddelta` is sent down, as `pull` would: the Gauss-Newton product.
    `want` is True for all gradients, False for none, or the key of the one layer whose gradients are asked for, also
    inside a residual: ``"3.body.0"``.
    """
    gradients, inside = {}, own(dparams)
    for n in reversed(range(len(records))):
        r = records[n]
        asked, more = wanted(want, r.key), inner or n > 0
        kept = None if held is None else held[n]
        found, ddelta = r.layer.pull_tangent(
            r.tape, r.params, r.delta, kept, inside[r.key], ddelta, asked, more
        )
        gradients |= {f"{r.key}.{name}": value for name, value in found.items()}
    return gradients, ddelta


@dataclass(frozen=True)
class Residual(Layer):
    """`y = body(x) + shortcut(x)`, the identity when the shortcut is None.

    Parameters
    ----------
    body, shortcut : list of layers
        Both must give the same shape.

    Notes
    -----
    The keys of its parameters begin with ``body.`` and ``shortcut.``, body first.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Residual([rp.ReLU()]).forward({}, np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    body: list
    shortcut: list | None = None
    type = "residual"

    def __post_init__(self):
        for name, layers in (("body", self.body), ("shortcut", self.shortcut)):
            if layers is not None:
                object.__setattr__(self, name, checked_layers(name, layers))
        if not self.body:
            raise ValueError("need at least one layer in body; got none")

    def branches(self) -> dict:
        """Name -> layers: ``body``, and ``shortcut`` where there is one."""
        return {"body": self.body} | ({} if self.shortcut is None else {"shortcut": self.shortcut})

    def parameters(self):
        return _named(self.branches(), lambda layer: layer.parameters())

    def constants(self):
        return _named(self.branches(), lambda layer: layer.constants())

    def output_shape(self, shape):
        shapes = [output_shape(layers, shape, f"{name}.") for name, layers in self.branches().items()]
        if self.shortcut is None:
            shapes.append(shape)
        if shapes[0] != shapes[1]:
            raise ValueError(f"need a body and a shortcut of one shape; got {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def held(self, shape):
        return sum(sum(held(layers, shape)) for layers in self.branches().values())

    def forward(self, params, x):
        inside = own(params)
        y = forward(self.body, inside["body"], x)
        return y + (x if self.shortcut is None else forward(self.shortcut, inside["shortcut"], x))

    def record(self, params, x):
        inside = own(params)
        parts = {name: record(layers, inside[name], x) for name, layers in self.branches().items()}
        y = add(*(output for output, _ in parts.values()), x if self.shortcut is None else None)
        return y, {name: records for name, (_, records) in parts.items()}

    def push(self, tape, params, dparams, dx):
        inside = own(dparams)
        parts = {name: push(records, inside[name], dx) for name, records in tape.items()}
        dy = add(*(part for part, _ in parts.values()), dx if self.shortcut is None else None)
        return dy, {name: held for name, (_, held) in parts.items()}

    def pull(self, tape, params, delta, want="sum", inner=True):
        # every record remembers its delta, as `pull_tangent` needs it: inside a residual it costs no work
        parts = {name: pull(records, delta, want, inner, True) for name, records in tape.items()}
        return self._joined(parts, delta)

    def pull_tangent(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        inside, parts = own(dparams), {}
        for name, records in tape.items():
            asked, parts[name] = wanted(want, name), ({}, None)
            if asked or inner:  # else nobody looks at what this branch would give
                kept = held and held[name]
                parts[name] = pull_tangent(records, kept, inside[name], ddelta, asked, inner)
        return self._joined(parts, ddelta)

    def _joined(self, parts, delta):
        """The gradients of both branches, and the sum of their deltas."""
        gradients = {f"{name}.{key}": g for name, (found, _) in parts.items() for key, g in found.items()}
        below = add(*(part for _, part in parts.values()), delta if self.shortcut is None else None)
        return gradients, below

    def to_dict(self):
        return {"type": self.type} | {
            name: [layer.to_dict() for layer in layers] for name, layers in self.branches().items()
        }


def _named(branches, parts):
    return {
        f"{name}.{key}.{own_name}": shape
        for name, layers in branches.items()
        for key, layer in enumerate(layers)
        for own_name, shape in parts(layer).items()
    }


def checked_layers(name, layers) -> list:
    """The layers as a new list; TypeError for anything that is no layer."""
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"need {name} to be a list of layers; got {type(layers).__name__}")
    for key, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"need layers in {name}; got {layer!r} at {key}")
    return list(layers)


def output_shape(layers, shape, start="") -> tuple:
    """The shape of one sample after all `layers`; ValueError that names the layer that does not fit."""
    for key, layer in enumerate(layers):
        try:
            shape = tuple(layer.output_shape(shape))
        except ValueError as error:
            # the key of a layer in a residual goes on: layer 3.body.0
            text, inner = str(error).removeprefix("layer "), str(error).startswith("layer ")
            raise ValueError(f"layer {start}{key}{'.' if inner else ': '}{text}") from None
    return shape


def held(layers, shape) -> list[int]:
    """About how many numbers per sample the derivatives of each layer hold on to."""
    found = []
    for layer in layers:
        found.append(layer.held(shape))
        shape = layer.output_shape(shape)
    return found
