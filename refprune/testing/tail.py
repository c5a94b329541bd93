"""F of SNOWS: how far another weight V of one layer moves its own output and those of the next operations.

    F(V) = 1/samples sum_s sum_j |y_j(x_s; V) - t_j(x_s)|^2,    j = 0 .. horizon,

as jets through the layers, along the units of the kept entries of V alone; and what rounding makes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from ..definitions.derivatives import forward
from ..definitions.jet_network import RULES, run
from ..definitions.jets import constant, parameter
from ..definitions.snows import OPERATIONS
from . import network_bounds

POINTS = 4  # that are kept


def operations(layers, counted=OPERATIONS) -> int:
    """How many layers are of a counted type, those inside residual blocks too.

    >>> operations([{"type": "dense"}, {"type": "flatten"}, {"type": "residual", "body": [{"type": "relu"}]}])
    2
    """
    inner = [layer.get(part) or [] for layer in layers for part in ("body", "shortcut")]
    return sum(layer["type"] in counted for layer in layers) + sum(
        operations(part, counted) for part in inner
    )


@dataclass(frozen=True)
class Tail:
    """F of the weight of the layer at `place`, in float64; what `definitions.newton_cg` calls an objective.

    Attributes
    ----------
    layers, params, x : the network, and its samples.
    place, kept, horizon : the layer's index, the flat mask (d,), and how many operations are looked ahead.
    counted : tuple of str
        The types of layers that count.
    rules : mapping
        The step of every type of layer.
    """

    layers: list
    params: dict
    x: np.ndarray
    place: int
    kept: np.ndarray
    horizon: int
    counted: tuple = OPERATIONS
    rules: Mapping = field(default_factory=lambda: RULES)

    @property
    def name(self):
        """The key of the weight."""
        return f"{self.place}.weight"

    @property
    def weight(self):
        """The dense one (d,)."""
        return self.params[self.name].reshape(-1)

    @property
    def start(self):
        """The dense one, cut by the mask."""
        return np.where(self.kept, self.weight, 0.0)

    @cached_property
    def behind(self):
        """The layers from this one to the last that is compared."""
        place = self.place
        for end in range(place + 1, len(self.layers)):
            if operations(self.layers[place:end], self.counted) > self.horizon:
                return self.layers[place:end]
        return self.layers[place:]

    @cached_property
    def reached(self):
        """What comes into the layer."""
        return forward(self.layers[: self.place], self.params, self.x, self.rules)

    @cached_property
    def before(self):
        """The jet of `reached`."""
        return constant(self.reached)

    @cached_property
    def constants(self):
        """The jets of the parameters."""
        return {key: constant(array) for key, array in self.params.items()}

    @cached_property
    def units(self):
        """One direction for each kept entry, in the shape of V."""
        return np.eye(self.kept.size)[self.kept].reshape(-1, *self.params[self.name].shape)

    @cached_property
    def targets(self):
        """What the dense network has (samples, entries)."""
        return self.outputs(self.weight)

    def moved(self, key):
        """The key in the whole network of what is called `key` from this layer on."""
        head, _, rest = key.partition(".")
        return f"{int(head) + self.place}.{rest}"

    def watched(self, rules, a, own):
        """What the counted layers give, in the order of execution."""
        found = []

        def watching(rule):
            def step(layer, own, a, inner):
                out = rule(layer, own, a, inner)
                found.append(out)
                return out

            return step

        seen = {**rules, **{name: watching(rules[name]) for name in self.counted}}
        run(self.behind, lambda key: own(self.moved(key)), a, seen)
        return found[: self.horizon + 1]

    def jets(self, w, left, right):
        """The jets of all outputs that are compared, along directions in the shape of V."""

        own = {**self.constants, self.name: parameter(w.reshape(self.params[self.name].shape), left, right)}
        return self.watched(self.rules, self.before, own.__getitem__)

    def joined(self, jets, part):
        """One part of the jets, all outputs beside each other: two axes of directions, (samples, entries)."""
        parts = [getattr(jet, part) for jet in jets]
        return np.concatenate([a.reshape(*a.shape[:3], prod(a.shape[3:])) for a in parts], axis=-1)

    def outputs(self, w):
        """All that is compared (samples, entries)."""
        return self.known(w, self.units[:0])[0]

    def slopes(self, w):
        """(outputs, their derivatives (kept, samples, entries))."""
        return self.known(w, self.units)

    @cached_property
    def points(self):
        """What `known` has found."""
        return {}

    def known(self, w, units):
        """(outputs, their derivatives along `units`); those of the last points are kept, as a search asks again."""
        key = len(units), w.tobytes()
        if key not in self.points:
            jets = self.jets(w, units, units[:0])
            while len(self.points) >= POINTS:
                del self.points[next(iter(self.points))]
            self.points[key] = self.joined(jets, "value")[0, 0], self.joined(jets, "left")[:, 0]
        return self.points[key]

    def value(self, w):
        """F."""
        return float(((self.outputs(w) - self.targets) ** 2).sum()) / len(self.x)

    def gradient(self, w):
        """(d,), 0 off the mask."""
        y, J = self.slopes(w)
        return self.spread(2 * (J * (y - self.targets)).sum((1, 2)) / len(self.x))

    def hessian(self, w):
        """The Gauss-Newton matrix (d, d), 0 off the mask."""
        J = self.slopes(w)[1]
        out = np.zeros((self.kept.size, self.kept.size))
        out[np.ix_(self.kept, self.kept)] = 2 * np.tensordot(J, J, ((1, 2), (1, 2))) / len(self.x)
        return out

    def exact_hessian(self, w):
        """The Hessian (d, d), 0 off the mask."""
        jets = self.jets(w, self.units, self.units)
        y, bent = self.joined(jets, "value")[0, 0], self.joined(jets, "both")
        out = Tail.hessian(self, w)
        out[np.ix_(self.kept, self.kept)] += 2 * (bent * (y - self.targets)).sum((-1, -2)) / len(self.x)
        return out

    def spread(self, part):
        """Numbers at the kept entries, in a vector of all."""
        out = np.zeros(self.kept.size)
        out[self.kept] = part
        return out

    def sizes(self, w, units):
        """(E of the outputs, A and E of their slopes along `units`): what one rounding at each step makes of them."""

        def own(key):
            array = self.params[key] if key != self.name else w.reshape(self.params[key].shape)
            if key == self.name:
                return (
                    parameter(array, self.units[:0], self.units[:0]),
                    parameter(np.abs(array), units, self.units[:0]),
                )
            return constant(array), constant(-np.abs(array) if "mean" in key else np.abs(array))

        first = tuple(constant(part) for part in (self.x, np.abs(self.x), 0 * self.x))
        a = run(self.layers[: self.place], own, first, network_bounds.CARRIED)
        _, A, E = zip(*self.watched(network_bounds.CARRIED, a, own), strict=True)
        return self.joined(E, "value")[0, 0], self.joined(A, "left")[:, 0], self.joined(E, "left")[:, 0]


class ExactTail(Tail):
    """With the Hessian in the place of the Gauss-Newton matrix."""

    def hessian(self, w):
        """The Hessian (d, d), 0 off the mask."""
        return self.exact_hessian(w)
