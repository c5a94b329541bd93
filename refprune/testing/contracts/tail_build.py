"""The generated calls of `newton-cg`, and their invariances: a network, one of its layers, a mask, how far ahead."""

import numpy as np

from .. import make
from ..architectures import PALETTE
from ..network_shapes import SHAPELESS
from ..networks import problem
from ..tail import ExactTail, Tail, operations
from .tail_parts import minimised

FLAGS = (
    "Square", "NoBias", "WiderThanBlock", "OneOutput", "Residual", "Shortcut", "Conv", "ConvPadding", "ConvStride",
    "ConvDilation", "ConvGroups", "Depthwise", "MaxPool", "AvgPool", "BatchNorm", "ReLU", "Smooth", "OneSample",
    "LossScale", "ZeroWeight", "DeadInput", "ZeroResidual", "K1", "KAll", "Horizon0",
    "HorizonBeyond", "LastLayer", "NegativeCurvature", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf",
    "Empty", "WrongShape", "WrongCount", "UnknownLayer",
)  # fmt: skip
# Of NegativeCurvature: architectures, factor of the weights, masks for each network, share of the largest curvature,
BENDING = ("dense", "square", "wide", "one output", "skip", "groups", "dilation")
STEEP, MASKS, LEAST = 2, 8, 0.02
ENDS, ENOUGH = 12, 1e-6  # and the definition's steps, after which such a share of the gradient is left
SMALL = (10, 20)  # powers of two that what is pruned is divided by
SPECIAL = {flag for found in PALETTE.values() for flag in found.flags}


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette."""
    if flag == "NegativeCurvature":
        return name in BENDING
    return flag not in SPECIAL or flag in PALETTE[name].flags


def build(flag, name, rng, dtype):
    """One call."""
    if flag == "NegativeCurvature":
        return _bent(rng, name, dtype)
    found = problem(rng, flag, dtype, "squared", name)
    layers = found["layers"]
    places = [i for i, layer in enumerate(layers) if layer["type"] in ("dense", "conv2d")]
    few = (
        flag == "LossScale" and rng.random() < 0.5
    )  # what is pruned is small; else the last layer's numbers are
    last = flag == "LastLayer" or (flag == "LossScale" and not few)
    place = places[-1] if last else places[0] if flag in SPECIAL else int(rng.choice(places))
    mask = _mask(rng, found["params"][f"{place}.weight"], flag)
    call = {name: found[name] for name in ("layers", "params", "x")}
    call |= {"layer": place, "mask": mask, "horizon": _horizon(rng, operations(layers[place:]) - 1, flag)}
    if few:
        weight = call["params"][f"{place}.weight"]
        small = np.where(mask, weight, weight / weight.dtype.type(2 ** int(rng.choice(SMALL))))
        call["params"] = {**call["params"], f"{place}.weight": small}
    return _spoiled(rng, _laid_out(rng, call, flag), flag)


def _horizon(rng, ahead, flag):
    """Up to `ahead`, or as the flag says; often to the end, to see what leaves a block, a pool, a normalisation."""
    if flag == "Residual" or (flag in SPECIAL and rng.random() < 0.5):
        return ahead
    return {"Horizon0": 0, "HorizonBeyond": ahead + 2}.get(flag, int(rng.integers(0, ahead + 1)))


def _mask(rng, weight, flag):
    """True = kept: of every size a part, or as the flag says."""
    if flag in ("ZeroResidual", "KAll"):
        return np.full(weight.shape, flag == "ZeroResidual")
    pruned = (
        1 if flag == "K1" else int(np.clip(round(weight.size * rng.uniform(0.2, 0.7)), 1, weight.size - 1))
    )
    for _ in range(MASKS):
        mask = np.ones(weight.size, bool)
        mask[rng.permutation(weight.size)[:pruned]] = False
        mask = mask.reshape(weight.shape)
        rows, zero = mask.reshape(len(mask), -1), weight.reshape(len(mask), -1) == 0
        # an output that lost something, and keeps a weight of 0 that has to make up for it
        if flag != "ZeroWeight" or ((rows & zero).any(1) & ~(rows | zero).all(1)).any():
            break
    return mask


def _bent(rng, name, dtype):
    """Few entries kept, before a smooth tail that is steep: F has a direction of negative curvature at the start."""
    while True:
        found = problem(rng, "Smooth", dtype, "squared", name)
        layers, x = found["layers"], found["x"]
        params = {key: a * a.dtype.type(STEEP if a.ndim > 1 else 1) for key, a in found["params"].items()}
        places = [i for i, layer in enumerate(layers[:-1]) if layer["type"] in ("dense", "conv2d")]
        wide = {key: a.astype(float) for key, a in params.items()}
        for _ in range(MASKS):
            place = int(rng.choice(places))
            kept = np.zeros(params[f"{place}.weight"].size, bool)
            kept[rng.permutation(kept.size)[: rng.integers(2, max(3, kept.size // 3))]] = True
            horizon = operations(layers[place:]) - 1
            tail = Tail(layers, wide, x.astype(float), place, kept, horizon)
            if bends(tail) and arrives(tail):
                mask = kept.reshape(params[f"{place}.weight"].shape)
                call = {"layers": layers, "params": params, "x": x, "layer": place, "mask": mask}
                return {**call, "horizon": horizon}


def bends(tail):
    """Whether the Hessian at the start has a negative eigenvalue, so that Newton's exact step leads uphill.

    Along the gradient its curvature is positive, and it is not near singular: a step of conjugate gradients is sound.
    """
    g = tail.gradient(tail.start)[tail.kept]
    values, vectors = np.linalg.eigh(tail.exact_hessian(tail.start)[np.ix_(tail.kept, tail.kept)])
    shares, least = (vectors.T @ g) ** 2, LEAST * values[-1]
    if not values[0] < -least < least or np.abs(values).min() < LEAST**2 * values[-1]:
        return False
    return (shares * values).sum() > least * shares.sum() and (shares / values).sum() * least < -(
        LEAST**2
    ) * shares.sum()


def arrives(tail):
    """Whether the definition's steps end where nothing is left, with either matrix: nowhere is the way blocked."""
    exact = ExactTail(tail.layers, tail.params, tail.x, tail.place, tail.kept, tail.horizon)
    count = int(tail.kept.sum())
    ends = (minimised(other, ENDS, steps, ENOUGH) for other, steps in ((exact, count + 1), (tail, None)))
    enough = ENOUGH * np.linalg.norm(tail.gradient(tail.start))
    return all(np.linalg.norm(tail.gradient(w)) <= enough for w in ends)


def _laid_out(rng, call, flag):
    if flag not in make.LAYOUTS:
        return call
    params = {name: make.layout(rng, array, flag) for name, array in call["params"].items()}
    arrays = {name: make.layout(rng, call[name], flag) for name in ("x", "mask")}
    return {**call, "params": params, **arrays}


def _spoiled(rng, call, flag):
    """Bad numbers, shapes that do not fit, no sample, a layer without weights, a horizon behind."""
    params, x = dict(call["params"]), call["x"]
    if flag in ("NaN", "Inf", "WrongShape"):
        place = str(rng.choice(["x", "params", *(["mask"] if flag == "WrongShape" else [])]))
        if place == "params":
            name = str(rng.choice([name for name in params if "running" not in name]))
            return {**call, "params": {**params, name: make.spoil(rng, params[name], flag)}}
        if (
            place == "x" and flag == "WrongShape"
        ):  # images of another size may be fine, other channels are not
            return {**call, "x": make.spoil(rng, x.swapaxes(1, -1), flag).swapaxes(1, -1)}
        return {**call, place: make.spoil(rng, call[place], flag)}
    if flag == "Empty":
        return {**call, "x": x[:0]}
    if flag == "UnknownLayer":
        layers = [dict(layer) for layer in call["layers"]]
        layers.append({"type": "maxout"})
        return {**call, "layers": layers}
    if flag == "WrongCount":
        without = [i for i, layer in enumerate(call["layers"]) if layer["type"] not in ("dense", "conv2d")]
        wrong = [{"layer": int(rng.choice(without))}, {"layer": len(call["layers"])}, {"horizon": -1}]
        return {**call, **wrong[rng.integers(len(wrong))]}
    return call


# invariances


def samples_reordered(contract, call, rng):
    """The samples in another order."""
    order = rng.permutation(len(call["x"]))
    return {**call, "x": call["x"][order]} if len(order) > 1 else None


def samples_twice(contract, call, rng):
    """Every sample twice: the mean does not change."""
    return {**call, "x": np.concatenate([call["x"]] * 2)}


def another_mask(contract, call, rng):
    """As many entries in other places."""
    mask = rng.permutation(call["mask"].reshape(-1)).reshape(call["mask"].shape)
    return {**call, "mask": mask} if not np.array_equal(mask, call["mask"]) else None


def another_horizon(contract, call, rng):
    """One operation less, or one more."""
    return {**call, "horizon": call["horizon"] - 1 if call["horizon"] else 1}


def hidden_units(contract, call, rng):
    """The units between two dense layers in another order; weights on both sides and the mask with them."""
    layers, params, mask, place = call["layers"], dict(call["params"]), call["mask"], call["layer"]
    for i in range(len(layers) - 2):
        kinds = [layer["type"] for layer in layers[i : i + 3]]
        if kinds[0] == kinds[2] == "dense" and kinds[1] in SHAPELESS:
            order = rng.permutation(layers[i]["outputs"])
            for name in (f"{i}.weight", f"{i}.bias"):
                if name in params:
                    params[name] = params[name][order]
            params[f"{i + 2}.weight"] = params[f"{i + 2}.weight"][:, order].copy()
            mask = mask[order] if place == i else mask[:, order].copy() if place == i + 2 else mask
            return {**call, "params": params, "mask": mask}
    return None


TRANSFORMS = (samples_reordered, samples_twice, another_mask, another_horizon, hidden_units)
