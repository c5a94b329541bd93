"""Invariances of derivatives of networks: each turns a call into another, which is judged by its own ladder."""

import numpy as np

from .network_shapes import SHAPELESS


def samples_reordered(contract, problem, rng):
    """Samples and targets in another order."""
    order = rng.permutation(len(problem["x"]))
    return {**problem, "x": problem["x"][order], "y": problem["y"][order]} if len(order) > 1 else None


def samples_twice(contract, problem, rng):
    """Every sample twice: means do not change."""
    return {**problem, **{name: np.concatenate([problem[name]] * 2) for name in ("x", "y")}}


def first_samples(contract, problem, rng):
    """The first half of the batch."""
    half = len(problem["x"]) // 2
    return {**problem, **{name: problem[name][:half].copy() for name in ("x", "y")}} if half else None


def other_targets(contract, problem, rng):
    """The same inputs with other targets: nothing of an earlier call must be left."""
    y = problem["y"]
    if y.dtype.kind == "f":
        return {**problem, "y": y[::-1] * y.dtype.type(2)}
    return {**problem, "y": np.roll(y, 1)} if len(y) > 1 else None


def outputs_scaled(contract, problem, rng):
    """For the squared loss: the last layer and the targets times a power of two, the loss times a power of four."""
    if problem["loss"] != "squared" or problem["layers"][-1]["type"] != "dense":
        return None
    return outputs_times(problem, 2.0 ** int(rng.choice([-12, -6, 3, 6])))


def outputs_times(problem, factor):
    """A problem whose last layer is dense and whose loss is squared, with outputs and targets times `factor`."""
    last, y = f"{len(problem['layers']) - 1}.", problem["y"]
    params = {
        name: (array * factor).astype(array.dtype) if name.startswith(last) else array
        for name, array in problem["params"].items()
    }
    return {**problem, "params": params, "y": (y * factor).astype(y.dtype)}


def hidden_units(contract, problem, rng):
    """The units between two dense layers in another order, and the weights on both sides with them."""
    layers, params = problem["layers"], dict(problem["params"])
    for i in range(len(layers) - 2):
        kinds = [layer["type"] for layer in layers[i : i + 3]]
        if kinds[0] == kinds[2] == "dense" and kinds[1] in SHAPELESS:
            order = rng.permutation(layers[i]["outputs"])
            params[f"{i}.weight"] = params[f"{i}.weight"][order]
            if layers[i]["bias"]:
                params[f"{i}.bias"] = params[f"{i}.bias"][order]
            params[f"{i + 2}.weight"] = params[f"{i + 2}.weight"][:, order].copy()
            return {**problem, "params": params}
    return None


def direction(contract, problem, rng):
    """Another direction, far longer or shorter, of the other sign: the product is linear."""
    v = problem["v"]
    powers = [-30, -10, 10, 30] if v.dtype == np.float64 else [-15, -5, 5, 15]
    return {**problem, "v": (-v * 2.0 ** int(rng.choice(powers))).astype(v.dtype)}


def other_direction(contract, problem, rng):
    """The same network and another direction."""
    return {**problem, "v": rng.permutation(problem["v"])}
