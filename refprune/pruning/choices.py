"""What competes in a network: its weights, or its units as groups. Their scores, who stays, and what is left.

Weights: the entries of every Dense and Conv2d. Units: the neurons and filters that can go (`refprune.pruning.units`).
A unit is scored by its own group of parameters, and goes as a whole, however it was scored.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from refprune.arrays import Array, astype, concat, from_numpy, full, namespace, precision, to_numpy, widest
from refprune.counts import units_to_prune
from refprune.layout import prune
from refprune.methods.many_weights import ManyWeights, many_weights
from refprune.methods.system import floating, in_range
from refprune.network import Network
from refprune.patterns import NM, Groups, Pattern, Unstructured

from .stages import copies
from .units import Link, links, silence

ALLOCATIONS = ("global", "layer")


@dataclass(frozen=True)
class Weights:
    """The weights of every Dense and Conv2d, that compete as an `Unstructured` or `NM` pattern says."""

    given: ManyWeights
    shared: bool

    @property
    def total(self) -> int:
        """How many there are."""
        return self.given.edges[-1]

    def scores(self, arrays: dict) -> dict:
        """Name -> the array, for arrays that are scores of the weights themselves."""
        return {name: arrays[name] for name in self.given.arrays}

    def spread(self, vector: np.ndarray) -> dict:
        """Name -> scores, from one vector (total,)."""
        return self.given.restore(vector)

    def kept(self, pattern: Pattern, scores: dict, prior: dict | None = None) -> dict:
        """Name -> mask of the largest `scores`; what `prior` (an earlier answer) prunes goes first."""
        flat = None if prior is None else self.given.flat(prior)
        return self.given.restore(self.given.mask(pattern, self.given.flat(scores), flat))

    def share(self, kept: dict) -> float:
        """The share that does not stay."""
        return sum(int(np.count_nonzero(~to_numpy(mask))) for mask in kept.values()) / self.total

    def removed(self, params: dict, kept: dict) -> tuple[dict, dict]:
        """(parameters, masks): new ones, with zeros where `kept` says so."""
        found, masks = copies(params), {}
        for name, mask in kept.items():
            masks[name] = mask if not isinstance(mask, np.ndarray) else from_numpy(mask, found[name])
            xp = namespace(found[name], masks[name])
            found[name] = xp.where(masks[name], found[name], xp.zeros_like(found[name]))
        return found, masks


@dataclass(frozen=True)
class Units:
    """Neurons and filters, each with a group of parameters by which it is scored.

    Attributes
    ----------
    links : tuple of Link
        In flat order; the units are those of the producers.
    names : tuple of tuple of str
        For each link the parameters that hold its groups. `axis` 0: what makes the unit, that is its row and its
        bias in the producer, its weight and bias in a BatchNorm2d behind it, its filter and bias in a depthwise
        convolution behind it. `axis` 1: what reads it, its columns of the next layer.
    axis : int
    shared : bool
        Whether the units of all layers share one count.
    prunable : tuple of str
        All weights of the network.
    """

    links: tuple[Link, ...]
    names: tuple[tuple[str, ...], ...]
    axis: int
    shared: bool
    prunable: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many units there are."""
        return sum(link.units for link in self.links)

    def members(self, arrays: dict) -> dict:
        """The arrays of all parameters, with zeros in what belongs to no group."""
        inside = {name for names in self.names for name in names}
        return {name: a if name in inside else full(a.shape, 0, a) for name, a in arrays.items()}

    def scores(self, arrays: dict) -> dict:
        """Name of the producer's weight -> the sums over the groups, (units,), in float64 where there is one.

        Raises
        ------
        numpy.linalg.LinAlgError
            A sum beyond the range.
        """
        found = {}
        for link, names in zip(self.links, self.names, strict=True):
            total = 0
            for name in names:
                a, xp = astype(arrays[name], widest(arrays[name])), namespace(arrays[name])
                lead = a.shape[0] if self.axis else 1
                parts = xp.reshape(a, (lead, link.units, prod(a.shape) // (lead * link.units)))
                with np.errstate(over="ignore"):  # what is not finite is found
                    total = total + xp.sum(xp.sum(parts, axis=2), axis=0)
            found[f"{link.producer}.weight"] = in_range("the sum over a unit", total)
        return found

    def spread(self, vector: np.ndarray) -> dict:
        """Name of the producer's weight -> scores, from one vector (total,)."""
        ends = np.cumsum([link.units for link in self.links])[:-1]
        pieces = np.split(vector, ends)
        return {f"{link.producer}.weight": own for link, own in zip(self.links, pieces, strict=True)}

    def kept(self, pattern: Groups, scores: dict, prior: dict | None = None) -> dict:
        """Name of the producer's weight -> which units stay (NumPy, boolean): those of the largest `scores`."""
        if self.shared:
            zeros = None if prior is None else np.concatenate([~own for own in prior.values()])
            flat = concat(list(scores.values()), axis=0)
            return self.spread(_largest(flat, units_to_prune(pattern, self.total, "network"), zeros))
        found = {}
        for name, own in scores.items():
            zeros = None if prior is None else ~prior[name]
            found[name] = _largest(own, units_to_prune(pattern, own.shape[0]), zeros)
        return found

    def share(self, kept: dict) -> float:
        """The share that does not stay."""
        return sum(int(np.count_nonzero(~own)) for own in kept.values()) / self.total

    def removed(self, params: dict, kept: dict) -> tuple[dict, dict]:
        """(parameters, masks): new ones, without what makes and what reads the units that are not `kept`."""
        found = copies(params)
        masks = {name: full(found[name].shape, True, found[name], dtype="bool") for name in self.prunable}
        for link in self.links:
            stays = kept[f"{link.producer}.weight"]
            name = f"{link.consumer}.weight"
            shape = tuple(found[name].shape)
            marks = np.broadcast_to(stays[link.columns], (shape[0], len(link.columns))).reshape(shape)
            marks, xp = from_numpy(marks.copy(), found[name]), namespace(found[name])
            found[name] = xp.where(marks, found[name], xp.zeros_like(found[name]))
            masks[name] = xp.logical_and(masks[name], marks)
            found, masks = silence(found, masks, link, np.flatnonzero(~stays))
        return found, masks


def _largest(scores: Array, count: int, zeros: np.ndarray | None) -> np.ndarray:
    """Which of the scores (n,) stay (NumPy) without the `count` smallest; those in `zeros` go first."""
    xp, zeros = namespace(scores), None if zeros is None else from_numpy(zeros[None], scores)
    return to_numpy(prune(xp.reshape(scores, (1, -1)), count, zeros, "layer"))[0]


def choices(
    network: Network, params: dict, pattern: Pattern, allocation: str | None = None, layers=None
) -> tuple[Weights | Units, Pattern]:
    """What competes under `pattern`, and the pattern with its scope.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    pattern : Unstructured, NM or Groups
        `Groups` without labels stands for units.
    allocation : {"global", "layer"}, optional
        For `Groups`: whether the units of all layers share one count. None is "global".
    layers : iterable of str or int, optional
        For `Groups`: the layers whose units compete, by key or by the name of the weight; None stands for all.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other; no unit that can go.
    """
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    network.check(params)
    floating(*params.values())
    if not isinstance(pattern, (Unstructured, NM, Groups)):
        raise TypeError(f"need pattern to be Unstructured, NM or Groups; got {type(pattern).__name__}")
    if not isinstance(pattern, Groups):
        if not network.prunable:
            raise ValueError("need a network with at least one Dense or Conv2d; got none")
        given, pattern, _ = many_weights({name: params[name] for name in network.prunable}, pattern, None)
        if allocation is not None:
            raise ValueError(f"need allocation with Groups alone; got {allocation!r} with {pattern}")
        return Weights(given, not isinstance(pattern, NM) and pattern.scope == "network"), pattern
    if pattern.partition is not None:
        raise ValueError("need Groups without labels: the groups are the units of the network; got labels")
    if allocation not in (None, *ALLOCATIONS):
        raise ValueError(f"need allocation to be global or layer; got {allocation!r}")
    found = _chosen(links(network), layers)
    names = tuple(_names(network, link, pattern.axis) for link in found)
    units = Units(found, names, pattern.axis, allocation != "layer", network.prunable)
    if units.shared:
        units_to_prune(pattern, units.total, "network")
    for link in () if units.shared else found:
        units_to_prune(pattern, link.units)
    return units, pattern


def _chosen(found, layers):
    """The links whose producers are among `layers`."""
    if not found:
        raise ValueError(
            "need a network with units that can go; got none: no Dense or Conv2d reads those of another"
        )
    if layers is None:
        return tuple(found)
    if isinstance(layers, str) or not np.iterable(layers):
        raise TypeError(f"need layers to be a list of layers; got {layers!r}")
    keys = [str(key).removesuffix(".weight") for key in layers]
    known = [link.producer for link in found]
    if not keys or len(set(keys)) < len(keys) or not set(keys) <= set(known):
        raise ValueError(
            f"need layers whose units can go, {', '.join(known)}, at least one and each once; got {keys}"
        )
    return tuple(link for link in found if link.producer in keys)


def _names(network, link, axis):
    """The parameters that hold the groups of a link."""
    if axis:
        return (f"{link.consumer}.weight",)
    own = [f"{key}.{name}" for key in (link.producer, *link.through) for name in ("weight", "bias")]
    return tuple(name for name in own if name in network.shapes)


def magnitudes(arrays: dict) -> dict:
    """Name -> absolute values, in float32 or wider."""
    return {name: abs(astype(array, precision(array))) for name, array in arrays.items()}
