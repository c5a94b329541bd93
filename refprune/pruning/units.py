"""Units of a network: which rows of one layer are which input columns of the next.

A unit is a neuron of a Dense or a filter of a Conv2d. What follows it up to the next Dense or Conv2d keeps units
apart (elementwise layers, pools, Flatten, BatchNorm2d, depthwise convolutions), so the next layer's columns that
read a unit are known, and pruning them makes the unit superfluous.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from refprune.arrays import Array, dtype_name, from_numpy, full, namespace
from refprune.network import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    Residual,
)
from refprune.network.kinds import Elementwise, Layer

UNIT_BY_UNIT = (Elementwise, MaxPool2d, AvgPool2d, GlobalAvgPool, Flatten, BatchNorm2d)


@dataclass(frozen=True, eq=False)
class Link:
    """The units of one layer as the inputs of the next layer with a prunable weight.

    Attributes
    ----------
    producer, consumer : str
        Keys of Dense or Conv2d layers: ``"0"``, ``"3.body.0"``.
    columns : int array, shape (consumer's matrix columns,)
        The unit, a row of the producer, that each input column of the consumer reads.
    between : tuple of (key, layer)
        All layers between the two.
    """

    producer: str
    consumer: str
    columns: np.ndarray
    between: tuple[tuple[str, Layer], ...]

    @property
    def through(self) -> tuple[str, ...]:
        """Keys of the layers between with parameters for each unit: BatchNorm2d, depthwise Conv2d."""
        return tuple(key for key, layer in self.between if layer.parameters())

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.columns[-1]) + 1


def depthwise(layer: Layer) -> bool:
    """Whether the layer is a convolution of every channel by itself, one filter for each.

    A convolution from one channel to one channel in one group is an ordinary one.
    """
    return isinstance(layer, Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def every_layer(layers: list, start: str = "") -> dict[str, Layer]:
    """Key -> layer, those inside a residual before the residual itself."""
    found = {}
    for n, layer in enumerate(layers):
        if isinstance(layer, Residual):
            for name, branch in layer.branches().items():
                found |= every_layer(branch, f"{start}{n}.{name}.")
        found[f"{start}{n}"] = layer
    return found


def links(network: Network, shape: tuple | None = None) -> list[Link]:
    """All links of a network, in the order of execution.

    There is a link wherever units can be removed. A layer's inputs are no such units where they are those of
    the network, where a residual shares or sums them, and on either side of a convolution in groups that is not
    depthwise.

    Parameters
    ----------
    network : Network
    shape : tuple, optional
        The shape of one sample, to check that the layers fit it.

    Returns
    -------
    list of Link

    Raises
    ------
    ValueError
        The layers do not fit the shape, or each other.

    Examples
    --------
    >>> import refprune as rp
    >>> from refprune.pruning.units import links
    >>> network = rp.Network([rp.Conv2d(1, 2, 3), rp.ReLU(), rp.Flatten(), rp.Dense(8, 3)])
    >>> (link,) = links(network, (1, 4, 4))
    >>> link.producer, link.consumer, link.columns
    ('0', '3', array([0, 0, 0, 0, 1, 1, 1, 1]))
    """
    if shape is not None:
        network.output_shape(shape)
    return [found for _, found in consumers(network.layers) if isinstance(found, Link)]


def consumers(layers: list, start: str = "", why: str = "its inputs are those of the network"):
    """Yield (key, Link) for every Dense or Conv2d whose inputs are units, (key, the reason) for the others."""
    producer, between = None, []  # producer: (key, units)
    for n, layer in enumerate(layers):
        key = f"{start}{n}"
        if isinstance(layer, Residual):
            for name, branch in layer.branches().items():
                shared = "its inputs are shared by the branches of a residual"
                yield from consumers(branch, f"{key}.{name}.", shared)
            producer, why = None, "its inputs are the sum of a residual"
        elif depthwise(layer):
            yield key, why if producer is None else f"its channels are the units of layer {producer[0]}"
            between.append((key, layer))
        elif isinstance(layer, (Dense, Conv2d)):
            grouped = isinstance(layer, Conv2d) and layer.groups > 1
            if producer is None or grouped:
                yield key, "it is a convolution in groups" if grouped else why
            else:
                yield key, Link(producer[0], key, _columns(*producer, key, layer), tuple(between))
            why = "its inputs are those of a convolution in groups"
            producer, between = None if grouped else (key, rows(layer)), []
        elif isinstance(layer, UNIT_BY_UNIT):
            between.append((key, layer))
        else:
            producer, why = None, f"its inputs come from a {type(layer).__name__}"


def rows(layer: Dense | Conv2d) -> int:
    """The number of output units."""
    return layer.outputs if isinstance(layer, Dense) else layer.out_channels


def _columns(producer, units, key, layer):
    """The unit of every matrix column of the consumer: channels and Flatten both run unit by unit."""
    inputs = layer.inputs if isinstance(layer, Dense) else layer.in_channels
    if inputs % units:
        raise ValueError(
            f"need inputs of layer {key} in a multiple of the {units} units of {producer}; got {inputs}"
        )
    kernel = 1 if isinstance(layer, Dense) else prod(layer.window.kernel)
    return np.repeat(np.arange(units), inputs // units * kernel)


def silence(params: dict, masks: dict, link: Link, units: Array) -> tuple[dict, dict]:
    """Remove what produces some units: their rows, biases, and per-unit parameters on the way to the consumer.

    Parameters
    ----------
    params : dict of arrays
    masks : dict of boolean arrays
        A weight without a mask gets one.
    link : Link
    units : int array
        Rows of the producer. The consumer's columns that read them should be pruned already: an activation may
        emit something at 0 (a sigmoid does), and this function does not touch the consumer.

    Returns
    -------
    params, masks : dict, dict
        New dicts; arrays that did not change are shared. In the rows of `units` the weights of the producer and
        of depthwise convolutions are 0 with masks False, their biases are 0, and so are weight and bias of a
        BatchNorm2d. Its running statistics stay.
    """
    params, masks = dict(params), dict(masks)
    kept = np.ones(link.units, dtype=bool)
    kept[units] = False
    for key in (link.producer, *link.through):
        weight = params[f"{key}.weight"]
        for name in (f"{key}.weight", f"{key}.bias"):
            if name in params:
                params[name] = _cleared(params[name], kept)
        if weight.ndim > 1:  # BatchNorm2d has no mask
            old = masks.get(f"{key}.weight")
            old = full(weight.shape, True, weight, dtype="bool") if old is None else old
            masks[f"{key}.weight"] = _cleared(old, kept)
    return params, masks


def _cleared(array, kept):
    """The array with 0 (False) in the rows that are not kept."""
    rows = from_numpy(kept.reshape(-1, *(1 for _ in array.shape[1:])), array)
    xp = namespace(array)
    return xp.logical_and(array, rows) if dtype_name(array.dtype) == "bool" else xp.where(rows, array, 0)
