"""Generated networks with masks that prune whole units, and the bound within which outputs must agree."""

from itertools import pairwise
from math import prod

import numpy as np

import refprune as rp
from refprune.pruning.units import links

SMOOTH = (rp.ReLU, rp.Tanh, rp.Sigmoid, rp.GELU, rp.SiLU, rp.Softplus)


def vectors(rng):
    """(layers, shape) of a perceptron of two to four layers."""
    sizes = rng.integers(1, 7, size=rng.integers(3, 6))
    layers = []
    for inputs, outputs in pairwise(sizes.tolist()):
        layers += [rp.Dense(inputs, outputs, bias=bool(rng.integers(2)))]
        layers += [rng.choice(SMOOTH)()] if rng.random() < 0.7 else []
    return layers, (int(sizes[0]),)


def images(rng):
    """(layers, shape) of a convolutional network with anything that may lie between two convolutions."""
    while True:
        channels = first = int(rng.integers(1, 4))
        layers = []
        for _ in range(rng.integers(2, 4)):
            found, channels = _stage(rng, channels)
            layers += found
        if rng.random() < 0.6:
            layers += [rp.GlobalAvgPool()] if rng.random() < 0.3 else []
            shape = (first, *rng.integers(3, 8, size=2))
            try:
                inputs = rp.Network([*layers, rp.Flatten()]).output_shape(shape)[0]
            except ValueError:  # too many windows for such small images
                continue
            layers += [rp.Flatten(), rp.Dense(inputs, 4), rng.choice(SMOOTH)(), rp.Dense(4, 2)]
        shape = (first, *rng.integers(4, 9, size=2))
        try:
            rp.Network(layers).output_shape(shape)
        except ValueError:
            continue
        return layers, tuple(map(int, shape))


def _stage(rng, channels):
    """Layers that end in another number of channels, and that number."""
    out = int(rng.integers(1, 6))
    conv = rp.Conv2d(
        channels,
        out,
        rng.integers(1, 4, 2).tolist(),
        padding=int(rng.integers(2)),
        bias=bool(rng.integers(2)),
    )
    between = [
        lambda: rp.BatchNorm2d(out),
        lambda: rng.choice(SMOOTH)(),
        lambda: rp.MaxPool2d(2, 1, int(rng.integers(2))),
        lambda: rp.AvgPool2d(2, 1, int(rng.integers(2)), count_padding=bool(rng.integers(2))),
        lambda: rp.Conv2d(out, out, 2, padding=int(rng.integers(2)), groups=out, bias=bool(rng.integers(2))),
        lambda: rp.Residual(
            [rp.Conv2d(out, 3, 3, padding=1), rp.BatchNorm2d(3), rp.ReLU(), rp.Conv2d(3, out, 1)],
            [rp.Conv2d(out, out, 1, bias=False)] if rng.integers(2) else None,
        ),
    ]
    chosen = rng.choice(len(between), size=rng.integers(1, 5), p=[0.2, 0.35, 0.15, 0.15, 0.1, 0.05])
    return [conv, *(between[i]() for i in chosen)], out


def parameters(network, rng):
    """Random parameters: rows of weights sum to at most 2 in size, biases are often not above 0."""
    params = {}
    for name, shape in (network.shapes | network.constants).items():
        array = rng.normal(size=shape)
        if name in network.prunable:
            array /= np.abs(array).reshape(shape[0], -1).sum(axis=1).reshape(-1, *(1 for _ in shape[1:])) / 2
        elif name.endswith("running_var"):
            array = array**2 + 0.5
        elif name.endswith("bias"):
            array = np.where(rng.random(shape) < 0.5, -np.abs(array), array) * (rng.random() < 0.7)
        params[name] = array
    return params


def masks(network, rng):
    """Masks with whole rows, whole units of inputs and single weights pruned; some weights without a mask."""
    found = {}
    for name in network.prunable:
        shape = network.shapes[name]
        mask = rng.random(shape) < rng.choice([0.7, 1.0])
        mask[rng.random(shape[0]) < 0.4] = False
        if rng.random() < 0.85:
            found[name] = mask
    for link in links(network):
        name = f"{link.consumer}.weight"
        if name in found:
            pruned = np.flatnonzero(rng.random(link.units) < 0.3)
            flat = found[name].reshape(len(found[name]), -1)
            flat[:, np.isin(link.columns, pruned)] = False
    return found


def masked(params, masks):
    """The parameters with zeros where a mask prunes."""
    return {
        name: np.where(masks[name], value, 0) if name in masks else value for name, value in params.items()
    }


def bound(network, params, x):
    """What rounding may do to an output of the network, and of one with fewer units.

    A sum of n terms errs by at most n eps times the size of its terms, an activation by 8 eps. Numbers are at
    most `largest`; what follows a layer stretches an error at most by its gain: the largest row sum of a weight,
    1.2 for an activation, 2 for the sum of a residual. Twice, for two networks.
    """
    gains, terms = 1.0, 8 * len(network.layers)
    for name, shape in network.shapes.items():
        if len(shape) > 1:
            gains *= max(1.0, np.abs(params[name]).reshape(shape[0], -1).sum(axis=1).max())
            terms += prod(shape[1:]) + 2
        elif name.endswith("weight"):  # of a BatchNorm
            variance = params[name.replace("weight", "running_var")]
            gains *= max(1.0, np.abs(params[name] / np.sqrt(variance)).max())
            terms += 8
    every = network.activations(params, x)
    largest = max(1.0, *(np.abs(y).max() for y in every.values()), np.abs(x).max())
    elementwise = len(every) - len(network.prunable)
    eps = np.finfo(np.result_type(*params.values(), x)).eps
    return 2 * terms * eps * largest * gains * 1.2**elementwise * 2 ** sum("body.0" in key for key in every)
