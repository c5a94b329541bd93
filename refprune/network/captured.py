r"""Outputs inside a network that are compared with targets: :math:`F = \sum_j c_j \|y_j - t_j\|^2`.

Such a layer behaves as it did, and what F adds enters where its output is: :math:`2 c_j (y_j - t_j)` is added to
the delta that comes from above, and its tangent :math:`2 c_j \dot y_j` to the delta's tangent. One pass through
the network then gives the derivatives of all terms together.
"""

import numpy as np

from refprune.arrays import concat, namespace

from . import chain
from .chain import Residual
from .kinds import Layer, add
from .point import parts


class Captured(Layer):
    """The `layer`, the `target` of its output (None: the output itself), and the factor `scale` of the term."""

    def __init__(self, layer, target, scale):
        for name, value in (("layer", layer), ("target", target), ("scale", scale)):
            object.__setattr__(self, name, value)

    def record(self, params, x):
        y, tape = self.layer.record(params, x)
        return y, (tape, None if self.target is None else 2 * self.scale * (y - self.target))

    def push(self, tape, params, dparams, dx):
        dy, held = self.layer.push(tape[0], params, dparams, dx)
        return dy, (held, None if dy is None else 2 * self.scale * dy)

    def pull(self, tape, params, delta, want="sum", inner=True):
        return self.layer.pull(tape[0], params, add(delta, tape[1]), want, inner)

    def pull_tangent(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        delta, ddelta = add(delta, tape[1]), add(ddelta, held[1])
        return self.layer.pull_tangent(tape[0], params, delta, held[0], dparams, ddelta, want, inner)


def reached(layers: list, path: list, types: tuple, start: str = "") -> list[str]:
    """The keys of the layer at `path`, and of all layers of `types` that its output reaches, in their order.

    A path is the layer's key in parts: ``["3", "body", "0"]``. Inside a residual the body stands before the
    shortcut; what runs beside the layer, in the other branch, is not reached.
    """
    n, *rest = path
    key, found = f"{start}{n}", []
    if rest:
        branch, *rest = rest
        found += reached(layers[int(n)].branches()[branch], rest, types, f"{key}.{branch}.")
        found += [key] if "residual" in types else []
    else:
        found.append(key)
    for m in range(int(n) + 1, len(layers)):
        found += _inside(layers[m], f"{start}{m}", types)
    return found


def _inside(layer, key, types):
    """The keys of `layer` and of the layers in it that are of `types`."""
    found = []
    if isinstance(layer, Residual):
        for name, branch in layer.branches().items():
            for n, part in enumerate(branch):
                found += _inside(part, f"{key}.{name}.{n}", types)
    return found + ([key] if layer.type in types else [])


def wrapped(layers: list, targets: dict, scales: dict, start: str = "") -> list:
    """The layers, those whose keys are in `targets` captured."""
    found = []
    for n, layer in enumerate(layers):
        key = f"{start}{n}"
        if isinstance(layer, Residual):
            branches = layer.branches().items()
            layer = Residual(*(wrapped(part, targets, scales, f"{key}.{name}.") for name, part in branches))
        found.append(Captured(layer, targets[key], scales[key]) if key in targets else layer)
    return found


def top(name):
    """The index in the list of layers of what is called `name`."""
    return int(name.partition(".")[0])


def moved(name, by):
    """The name with its first index moved."""
    n, dot, rest = name.partition(".")
    return f"{int(n) + by}{dot}{rest}"


def traced(network, params, x, first, keys):
    """The inputs of layer `first` and the outputs of the layers `keys`, for all samples."""
    inputs, outputs, last = [], {key: [] for key in keys}, max(map(top, keys))
    with np.errstate(over="ignore", invalid="ignore"):  # `in_range` tells
        for part in parts(network, x):
            for key, _, u, y in chain.trace(network.layers[: last + 1], params, x[part, ...]):
                if key == str(first):
                    inputs.append(u + 0)
                if key in outputs:
                    outputs[key].append(y)
    return concat(inputs, axis=0), {key: concat(found, axis=0) for key, found in outputs.items()}


def in_range(outputs):
    """LinAlgError unless all `outputs`, a dict by the layer's key, are finite."""
    for key, y in outputs.items():
        if not bool(namespace(y).all(namespace(y).isfinite(y))):
            raise np.linalg.LinAlgError(
                f"need outputs of layer {key} in the range of their dtype; got others"
            )
