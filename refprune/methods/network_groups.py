r"""Groups of weights all over a network: their sums, and which of them stay.

Model: a group is a line of one weight, a row (a neuron, a filter) or an input column; see `refprune.patterns.Groups`.
Problem: keep the largest scores, of the groups of all layers together or of each layer by itself.
Ties: among equals the first layer gives, and in a layer the lowest label.
"""

from dataclasses import dataclass

import numpy as np

from refprune.arrays import astype, from_numpy, to_numpy
from refprune.counts import units_to_prune
from refprune.network import Conv2d, Dense, Network, Residual
from refprune.patterns import Groups

ALLOCATIONS = ("global", "layer")


@dataclass(frozen=True)
class NetworkGroups:
    """The groups of some weights under a pattern.

    Attributes
    ----------
    members : dict
        Name -> the number of the group of every weight, from 0 by ascending label (NumPy, int, shape of the weight).
    removals : dict
        Name -> how many groups go there; the one entry None: how many go of all together.
    """

    members: dict
    removals: dict

    @classmethod
    def of(cls, pattern: Groups, shapes: dict, allocation: str) -> "NetworkGroups":
        """The groups of the weights of `shapes` (name -> shape).

        Raises
        ------
        ValueError
            A pattern that does not fit a weight or the number of groups; an unknown allocation.
        """
        if allocation not in ALLOCATIONS:
            raise ValueError(f"need allocation to be global or layer; got {allocation!r}")
        members = {}
        for name, shape in shapes.items():
            _, numbers = np.unique(pattern.labels(shape), return_inverse=True)
            members[name] = numbers.reshape(shape)
        if allocation == "layer":
            return cls(members, {name: pattern.removals(shape) for name, shape in shapes.items()})
        total = sum(_count(numbers) for numbers in members.values())
        return cls(members, {None: units_to_prune(pattern, total, "network")})

    def sums(self, arrays: dict) -> dict:
        """Name -> the sum of the entries of every group, (groups,), added in float64, for arrays like the weights."""
        found = {}
        for name, numbers in self.members.items():
            values = to_numpy(arrays[name]).ravel().astype(float)
            sums = np.bincount(numbers.ravel(), values, _count(numbers))
            found[name] = from_numpy(sums.astype(to_numpy(arrays[name]).dtype), arrays[name])
        return found

    def masks(self, scores: dict, like: dict) -> dict:
        """Name -> the mask that keeps the groups of the largest `scores` (name -> (groups,)), beside `like`."""
        every = {name: to_numpy(astype(scores[name], scores[name].dtype)) for name in self.members}
        if None in self.removals:
            flat = _kept(np.concatenate(list(every.values())), self.removals[None])
            ends = np.cumsum([own.size for own in every.values()])
            kept = dict(zip(every, np.split(flat, ends[:-1]), strict=True))
        else:
            kept = {name: _kept(own, self.removals[name]) for name, own in every.items()}
        return {name: from_numpy(kept[name][self.members[name]], like[name]) for name in self.members}


def _count(numbers):
    """How many groups there are."""
    return int(numbers.max(initial=-1)) + 1


def _kept(scores, count):
    """The mask without the `count` smallest; among equals the first goes."""
    kept = np.ones(scores.size, dtype=bool)
    kept[np.argsort(scores, kind="stable")[:count]] = False
    return kept


def chosen_weights(network: Network, layers, spare_outputs: bool) -> list[str]:
    """The names of the weights of `layers`, in flat order.

    Parameters
    ----------
    network : Network
    layers : iterable of str or int, or None
        Layers by key (``"2"``, ``2``) or by the name of the weight. None stands for all.
    spare_outputs : bool
        None stands for all but those whose rows are the outputs of the network.

    Raises
    ------
    TypeError, ValueError
        A layer that is not there or has no prunable weight; one that is named twice; no layer at all.
    """
    if layers is None:
        last = _outputs(network.layers)[0] if spare_outputs else []
        names = [name for name in network.prunable if name not in last]
    else:
        if isinstance(layers, str) or not np.iterable(layers):
            raise TypeError(f"need layers to be a list of layers; got {layers!r}")
        names = [f"{str(key).removesuffix('.weight')}.weight" for key in layers]
    for name in names:
        if name not in network.prunable:
            raise ValueError(f"need layers of {', '.join(network.prunable)}; got {name}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"need at least one layer, and each once; got {names}")
    return [name for name in network.prunable if name in names]


def _outputs(layers, start=""):
    """The weights whose rows are outputs of `layers`, and whether no layer before them gives outputs too."""
    found = []
    for n in range(len(layers) - 1, -1, -1):
        layer, key = layers[n], f"{start}{n}"
        if isinstance(layer, Residual):
            ends = [_outputs(branch, f"{key}.{name}.") for name, branch in layer.branches().items()]
            found += [name for names, _ in ends for name in names]
            if len(ends) == 2 and all(closed for _, closed in ends):
                return found, True
        elif isinstance(layer, (Dense, Conv2d)):
            found.append(f"{key}.weight")
            if not 1 < getattr(layer, "groups", 1) == layer.in_channels == layer.out_channels:
                return found, True
    return found, False
