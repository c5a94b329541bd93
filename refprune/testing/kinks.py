"""How far the input of a network is from the kinks of ReLU and ReLU6 and from the ties of max pools."""

from dataclasses import dataclass, replace

import numpy as np

from ..definitions.derivatives import forward
from ..definitions.jet_layers import look
from ..definitions.jet_network import RULES, rules
from ..definitions.jet_outputs import outputs, size


@dataclass(frozen=True)
class Kinks:
    """One layer with kinks, at one input.

    Attributes
    ----------
    distance : (entries,) array
        Of a ReLU `|z|`, of a ReLU6 the smaller of `|z|` and `|z - 6|`, of a max pool the lead of the winner in each
        window; infinite where the equal ones have equal derivatives, as the zeros behind a ReLU do: it does not matter
        which one wins.
    rivals : (entries,) array
        The same to what comes after it: the other kink of a ReLU6, the third largest of a window.
    side : (entries,) array of int
        On which side of its kinks each entry is; which one won.
    size : float
        The largest absolute value that came in.
    """

    distance: np.ndarray
    rivals: np.ndarray
    side: np.ndarray
    size: float


def watched(layers, params, x):
    """(outputs, one `Kinks` for each layer that has kinks, in the order of the forward pass).

    >>> layers = [{"type": "dense", "inputs": 1, "outputs": 2, "bias": False}, {"type": "relu"}]
    >>> f, found = watched(layers, {"0.weight": np.array([[2.0], [-1.0]])}, np.array([[3.0]]))
    >>> found[0].distance, found[0].side
    (array([6., 3.]), array([1, 0]))
    """
    found = []

    def watching(name, measure):
        def rule(layer, own, a, rules):
            found.append(measure(layer, a.value[0, 0]))
            return RULES[name](layer, own, a, rules)

        return rule

    measures = {"relu": _relu, "relu6": _relu6, "maxpool2d": _maxpool}
    watching_all = {**RULES, **{name: watching(name, measure) for name, measure in measures.items()}}
    f = forward(layers, params, x, watching_all)
    if any((kinks.distance == 0).any() for kinks in found):
        found = _without_idle_ties(layers, params, x, found)
    return f, found


def _without_idle_ties(layers, params, x, found):
    """Ties of entries whose derivatives are equal, whatever the slopes at kinks before them, are none."""
    steep, idle = rules(1), []

    def maxpool(layer, own, a, _):
        seen, slopes = look(layer, a.value, -np.inf), look(layer, a.left)
        tied = seen == seen.max(axis=(-4, -3), keepdims=True)
        most = np.where(tied, slopes, -np.inf).max(axis=(-4, -3))
        least = np.where(tied, slopes, np.inf).min(axis=(-4, -3))
        idle.append((most == least).all(axis=(0, 1)).ravel())
        return steep["maxpool2d"](layer, own, a, _)

    def relu(name):
        def rule(layer, own, a, _):
            idle.append(np.zeros(a.value.size, bool))
            return steep[name](layer, own, a, _)

        return rule

    watching = {"relu": relu("relu"), "relu6": relu("relu6"), "maxpool2d": maxpool}
    outputs(layers, params, x, np.eye(size(params)), None, {**steep, **watching})
    return [
        replace(kinks, **{name: np.where(at, np.inf, getattr(kinks, name)) for name in ("distance", "rivals")},
                side=np.where(at, 0, kinks.side))
        for kinks, at in zip(found, idle, strict=True)
    ]  # fmt: skip


def distances(layers, params, x):
    """Every distance to a kink, in one array."""
    return np.concatenate([np.zeros(0), *(found.distance for found in watched(layers, params, x)[1])])


def close(found, share, scales):
    """(entries exactly on a kink, entries and rivals closer than `share` of each layer's scale)."""
    exact = near = 0
    for kinks, scale in zip(found, scales, strict=True):
        exact += int((kinks.distance == 0).sum())
        near += sum(int((entry <= share * scale).sum()) for entry in (kinks.distance, kinks.rivals))
    return exact, near


def _size(z):
    return float(np.abs(z).max(initial=0.0))


def _relu(layer, z):
    z = z.ravel()
    return Kinks(abs(z), np.full(z.size, np.inf), (z > 0).astype(int), _size(z))


def _relu6(layer, z):
    z = z.ravel()
    both = np.sort([abs(z), abs(z - 6)], axis=0)
    return Kinks(*both, (z > 0).astype(int) + (z > 6), _size(z))


def _maxpool(layer, images):
    seen = look(layer, images, -np.inf)
    seen = np.moveaxis(seen, (-4, -3), (0, 1)).reshape(-1, seen[..., 0, 0, :, :].size)
    padding = np.full((2, seen.shape[1]), -np.inf)
    third, second, first = np.sort(np.concatenate([padding, seen]), axis=0)[-3:]
    return Kinks(first - second, first - third, np.argmax(seen, axis=0), _size(images))
