"""Pruned units removed from a network: fewer neurons, filters and channels, the same outputs.

Model: what a unit adds to the network goes through the columns of the next layer that read it.
Solution: a unit whose columns are all pruned adds nothing. A unit whose own row is pruned is a constant,
``act(bias)`` and what BatchNorm and pools make of it; times the next layer's columns it is a bias. Both kinds go,
until no more do: a removed unit takes its row and its columns along, and others may become superfluous by that.
"""

from dataclasses import dataclass, replace

import numpy as np

from refprune.arrays import astype, cast, from_numpy, full, namespace, to_numpy
from refprune.network import AvgPool2d, BatchNorm2d, Conv2d, Dense, Network, Residual
from refprune.network.kinds import Elementwise
from refprune.network.training import checked_masks
from refprune.pruning.units import Link, depthwise, every_layer, links


def shrink(network: Network, params: dict, masks: dict) -> tuple[Network, dict]:
    r"""Remove pruned units physically; the outputs stay those of the masked network, on any input.

    A unit is a neuron of a Dense or a filter of a Conv2d. It is removed where the next layer's columns that read
    it are all pruned; or where its own row is pruned (or that of a depthwise convolution behind it), so that what
    it emits does not depend on the input. That constant c is then folded into the next layer's bias:
    :math:`b + \sum_{j \text{ reads the unit}} W_{:j} c`. A bias is added where there was none.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    masks : dict of boolean arrays
        True = kept, by the name of the weight. Weights without a mask are all kept.

    Returns
    -------
    network : Network
        With the same layers in the same places, some of them smaller, and inputs and outputs of the same shape.
    params : dict of arrays
        New arrays in the dtypes of the given ones; a new bias has its weight's.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit each other; a weight that is not 0 where its mask prunes it; inputs of a layer
        that are no multiple of the units before it.

    See Also
    --------
    prune : with ``Groups(axis=1)`` it prunes units so that they can be removed.

    Notes
    -----
    What stays:

    - units that a residual shares or sums, or that go in or out of a convolution in groups (but for depthwise ones);
    - a pruned filter that emits a constant other than 0 into zeros around the image, those of a padded
      convolution or of a padded average pool that counts them: at the border its contribution is another;
    - one unit, the first, of a layer that could lose all: a layer needs one;
    - rows of zeros that no mask prunes: a mask is never inferred from weights.

    Outputs are equal up to rounding. A folded bias is computed in float32 at least and rounded to its dtype.

    Examples
    --------
    The first neuron is pruned. It emits tanh(1), which becomes a bias of the output.

    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 2), rp.Tanh(), rp.Dense(2, 1, bias=False)])
    >>> W = np.array([[0.0, 0.0], [0.5, 2.0]])
    >>> params = {"0.weight": W, "0.bias": np.ones(2), "2.weight": np.array([[3.0, 4.0]])}
    >>> small, values = rp.shrink(network, params, {"0.weight": W != 0})
    >>> small
    Network([Dense(inputs=2, outputs=1, bias=True), Tanh(), Dense(inputs=1, outputs=1, bias=True)])
    >>> values["2.bias"] / np.tanh(1.0)
    array([3.])
    """
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    network.check(params)
    for name, mask in checked_masks(network, masks).items():
        xp = namespace(mask, params[name])
        if not bool(xp.all(xp.where(mask, 0, params[name]) == 0)):
            rule = f"need params[{name!r}] to be 0 where masks[{name!r}] prunes"
            raise ValueError(f"{rule}; got another value there")
    state = _start(network, params, masks)
    while any(_remove(state, link) for link in state.links):
        pass
    return _smaller(network, params, state)


@dataclass(frozen=True)
class _State:
    """What is left of a network.

    `layers` maps keys to layers; `params` are in one precision, with folded biases, which `folded` names; `open`
    maps the key of a weight to the entries of its matrix that count (NumPy, boolean), `alive` that of a producer
    to its units.
    """

    layers: dict
    links: list[Link]
    params: dict
    open: dict
    alive: dict
    folded: set

    def own(self, key):
        """The parameters of a layer by their own names."""
        layer = self.layers[key]
        names = [*layer.parameters(), *layer.constants()]
        return {name: self.params[f"{key}.{name}"] for name in names}


def _start(network, params, masks):
    """The state before anything is removed."""
    names = [*network.shapes, *network.constants]
    arrays = dict(zip(names, cast(*(params[name] for name in names)) if names else [], strict=True))
    opened = {}
    for name in network.prunable:
        rows = network.shapes[name][0]
        mask = to_numpy(masks[name]) if name in masks else np.ones(network.shapes[name], dtype=bool)
        opened[name.removesuffix(".weight")] = mask.reshape(rows, -1).copy()
    found = links(network)
    alive = {link.producer: np.ones(link.units, dtype=bool) for link in found}
    return _State(every_layer(network.layers), found, arrays, opened, alive, set())


def _remove(state, link):
    """Remove the units of a link that can go; whether there was one."""
    alive, rows, columns = state.alive[link.producer], state.open[link.producer], state.open[link.consumer]
    unread = np.bincount(link.columns, columns.any(axis=0)) == 0
    constant, value = _emission(state, link)
    going = alive & (unread | constant)
    if (going == alive).all():
        going[np.flatnonzero(alive)[0]] = False
    if not going.any():
        return False
    _fold(state, link, going & ~unread, value)
    alive &= ~going
    rows[going] = False
    columns[:, going[link.columns]] = False
    return True


def _emission(state, link):
    """Which units reach the consumer as a constant (NumPy, boolean), and that constant (units,)."""
    first = state.params[f"{link.producer}.weight"]
    value = state.params.get(f"{link.producer}.bias", full((link.units,), 0, first))
    xp = namespace(value)
    value = xp.reshape(value, (1, link.units, 1, 1))  # one pixel of an image
    constant = ~state.open[link.producer].any(axis=1)

    def zero():
        return to_numpy(value == 0).reshape(-1)

    for key, layer in link.between:
        own = state.own(key)
        if depthwise(layer):
            inner = constant if not _padded(layer) else constant & zero()
            constant = inner | ~state.open[key].any(axis=1)
            value = value * xp.reshape(xp.sum(own["weight"], axis=(1, 2, 3)), value.shape)
            value = value + xp.reshape(own["bias"], value.shape) if layer.bias else value
        elif isinstance(layer, AvgPool2d) and layer.count_padding and _padded(layer):
            constant = constant & zero()
        elif isinstance(layer, (Elementwise, BatchNorm2d)):
            value = layer.forward(own, value)
    consumer = state.layers[link.consumer]
    if isinstance(consumer, Conv2d) and _padded(consumer):
        constant = constant & zero()
    return constant, xp.reshape(value, (link.units,))


def _padded(layer):
    """Whether there are zeros around the images of a convolution or pool."""
    return any(map(any, layer.window.padding))


def _fold(state, link, units, value):
    """Add what the constant `units` (NumPy, boolean) contribute to the bias of the consumer."""
    xp = namespace(value)
    value = xp.where(from_numpy(units, value), value, 0)
    if not bool(xp.any(value != 0)):
        return
    name, weight = f"{link.consumer}.bias", state.params[f"{link.consumer}.weight"]
    matrix = xp.reshape(weight, (weight.shape[0], len(link.columns)))
    added = matrix @ xp.take(value, from_numpy(link.columns, value))
    state.params[name] = added + state.params[name] if name in state.params else added
    state.folded.add(name)
    state.layers[link.consumer] = replace(state.layers[link.consumer], bias=True)


def _smaller(network, params, state):
    """The network and the parameters that are left."""
    layers, found = dict(state.layers), dict(params)
    for name in state.folded:
        like = params[name if name in params else name.removesuffix("bias") + "weight"]
        found[name] = astype(state.params[name], like.dtype)
    for link in state.links:
        units = np.flatnonzero(state.alive[link.producer])
        for key in (link.producer, *link.through):
            for own in (*layers[key].parameters(), *layers[key].constants()):
                found[f"{key}.{own}"] = _take(found[f"{key}.{own}"], units, axis=0)
            layers[key] = _with_outputs(layers[key], len(units))
        key, weight = link.consumer, found[f"{link.consumer}.weight"]
        matrix = namespace(weight).reshape(weight, (weight.shape[0], len(link.columns)))
        matrix = _take(matrix, np.flatnonzero(state.alive[link.producer][link.columns]), axis=1)
        layers[key] = _with_inputs(layers[key], len(units), matrix.shape[1])
        found[f"{key}.weight"] = namespace(matrix).reshape(
            matrix, (-1, *layers[key].parameters()["weight"][1:])
        )
    small = Network(_rebuilt(network.layers, layers))
    return small, {name: found[name] + 0 for name in (*small.shapes, *small.constants)}


def _take(array, indices, axis):
    """The lines of `array` at the NumPy `indices`."""
    return namespace(array).take(array, from_numpy(indices, array), axis=axis)


def _with_outputs(layer, units):
    """The layer with another number of output units."""
    if isinstance(layer, Dense):
        return replace(layer, outputs=units)
    if isinstance(layer, BatchNorm2d):
        return replace(layer, channels=units)
    if depthwise(layer):
        return replace(layer, in_channels=units, out_channels=units, groups=units)
    return replace(layer, out_channels=units)


def _with_inputs(layer, units, columns):
    """The layer with another number of inputs."""
    return replace(layer, inputs=columns) if isinstance(layer, Dense) else replace(layer, in_channels=units)


def _rebuilt(layers, new, start=""):
    """The layers with those of `new`, by key."""
    found = []
    for n, layer in enumerate(layers):
        key = f"{start}{n}"
        if isinstance(layer, Residual):
            parts = {name: _rebuilt(part, new, f"{key}.{name}.") for name, part in layer.branches().items()}
            found.append(Residual(**parts))
        else:
            found.append(new[key])
    return found
