"""How far the input of a network is from the kinks of ReLU and ReLU6 and from the ties of max pools."""

import numpy as np

from ..definitions.derivatives import forward
from ..definitions.jet_layers import look
from ..definitions.jet_network import RULES


def distances(layers, params, x):
    """All distances, one array for each layer with kinks, in the order of the forward pass.

    Of a ReLU `|z|`, of a ReLU6 the smaller of `|z|` and `|z - 6|`, of a max pool the lead of the winner in each window;
    infinite where all entries are exactly 0: they are dead, and it does not matter which one wins.

    >>> layers = [{"type": "dense", "inputs": 1, "outputs": 2, "bias": False}, {"type": "relu"}]
    >>> distances(layers, {"0.weight": np.array([[2.0], [-1.0]])}, np.array([[3.0]]))
    [array([6., 3.])]
    """
    found = []

    def watched(name, measure):
        def rule(layer, own, a, rules):
            found.append(np.asarray(measure(layer, a.value[0, 0]), float).ravel())
            return RULES[name](layer, own, a, rules)

        return rule

    watching = {
        "relu": watched("relu", lambda layer, z: abs(z)),
        "relu6": watched("relu6", lambda layer, z: np.minimum(abs(z), abs(z - 6))),
        "maxpool2d": watched("maxpool2d", _lead),
    }
    forward(layers, params, x, {**RULES, **watching})
    return found


def nearest(layers, params, x):
    """The smallest distance; infinite for a network without kinks."""
    return min((float(d.min(initial=np.inf)) for d in distances(layers, params, x)), default=np.inf)


def _lead(layer, images):
    seen = look(layer, images, -np.inf)
    seen = np.sort(np.moveaxis(seen, (-4, -3), (0, 1)).reshape(-1, seen[..., 0, 0, :, :].size), axis=0)
    if seen.shape[0] == 1:
        return np.full(seen.shape[1], np.inf)
    dead = (seen[-1] == 0) & (seen[-2] == 0)
    return np.where(dead, np.inf, seen[-1] - seen[-2])
