"""Problems on networks: layers, parameters, samples, targets and a loss, from a NumPy Generator.

Numbers carry no hidden symmetry: nothing is centred, biases and running statistics are no neutral elements, and no
input is near a kink unless the flag `Kink` asks for one.
"""

import numpy as np

from ..definitions import derivatives
from . import kinks, make
from .architectures import ACTIVATIONS, PALETTE, SMOOTH
from .network_shapes import parameter_shapes
from .random_networks import random_layers

MARGIN = 0.02  # from every kink; the numbers there are of size 1
DRAWS = 2000
LOSSES = ("cross_entropy", "squared")
SQUARED = ("OneOutput", "OppositeGradients", "NegativeCurvature")
CROSS_ENTROPY = ("LargeLogits", "BadLabel")
KINKED = ("ReLU", "Kink")


def problem(rng, flag=None, dtype="float64", loss=None, architecture=None, extended=True):
    """One network problem.

    Parameters
    ----------
    rng : numpy.random.Generator
    flag : str, optional
        A named edge case of the numbers, or what an architecture of the palette is flagged with; any other name
        changes nothing.
    dtype : str
        Of the parameters and samples.
    loss : {"cross_entropy", "squared"}, optional
        Drawn when None.
    architecture : str or Architecture, optional
        A name in the palette, or one that is not in it. When None, one that has the flag, or without a flag a random
        network.
    extended : bool
        Whether a random network may hold what the contracts do not ask for.

    Returns
    -------
    dict
        ``layers`` (plain data), ``params``, ``x``, ``y`` (integer labels, or targets) and ``loss``.

    Examples
    --------
    >>> found = problem(np.random.default_rng(0), "ConvStride")
    >>> [layer["type"] for layer in found["layers"]]
    ['conv2d', 'gelu', 'avgpool2d', 'flatten', 'dense']
    >>> found["x"].shape, found["loss"]
    ((2, 1, 6, 5), 'squared')
    """
    loss = _loss(rng, flag, loss)
    for _ in range(DRAWS):
        layers, shape, samples = _network(rng, flag, architecture, extended)
        samples = (
            1 if flag == "OneSample" else samples + samples % 2 if flag == "OppositeGradients" else samples
        )
        params = parameters(rng, layers, shape, dtype, flag)
        if flag == "Saturated":
            params = _saturated(rng, params)
        x = inputs(rng, (samples, *shape), dtype, flag)
        found = {"layers": layers, "params": params, "x": x, "y": None, "loss": loss}
        found["y"] = targets(rng, found, dtype, flag)
        found = _scaled(rng, found, flag)
        if _fits(found, flag):
            return found
    raise RuntimeError(f"need a problem with the flag {flag} on {architecture}; none in {DRAWS} draws")


def _loss(rng, flag, loss):
    if loss is not None:
        return loss
    drawn = str(rng.choice(LOSSES))
    return "squared" if flag in SQUARED else "cross_entropy" if flag in CROSS_ENTROPY else drawn


def _network(rng, flag, architecture, extended):
    if architecture is None:
        flagged = [name for name, found in PALETTE.items() if flag in found.flags]
        if flag is None:
            layers, shape = random_layers(rng, extended)
            return layers, shape, int(rng.integers(1, 5))
        architecture = str(rng.choice(flagged or list(PALETTE)))
    found = PALETTE[architecture] if isinstance(architecture, str) else architecture
    choices = {"Smooth": SMOOTH, "NegativeCurvature": SMOOTH}.get(flag, ACTIVATIONS)
    choices = ("relu",) if flag in KINKED else choices
    return found.layers(lambda: {"type": str(rng.choice(choices))}), found.shape, found.samples


def parameters(rng, layers, shape, dtype, flag=None):
    """Parameters that keep activations at the size of 1."""
    shapes, _ = parameter_shapes(layers, shape)
    params, first = {}, True
    for name, size in shapes.items():
        kind = name.rpartition(".")[2]
        if kind == "weight" and len(size) > 1:
            array = rng.normal(size=size) * (1.5 / np.prod(size[1:])) ** 0.5
            if flag == "Kink" and first:
                array = rng.integers(-4, 5, size=size) / 4
            if flag == "ZeroWeight":
                array[rng.random(size) < 0.4] = 0.0
                array.flat[rng.integers(array.size)] = 0.0
            first = False
        elif kind == "running_var":
            array = rng.uniform(0.3, 2.0, size=size)
        elif kind == "weight":  # of a batch normalisation
            array = rng.uniform(0.5, 1.5, size=size) * rng.choice([-1.0, 1.0], size=size)
        else:
            array = 0.4 * rng.normal(size=size)
            if flag == "Kink":
                array = np.rint(4 * array) / 4
        params[name] = array.astype(dtype)
    return params


def _saturated(rng, params):
    """The first bias far from 0: some activations there are flat, some are lines."""
    for name, array in params.items():
        if name.endswith("bias"):
            far = (10,) if array.dtype == np.float16 else (10, 60)
            moved = rng.choice(far, size=array.shape) * rng.choice([-1, 1], size=array.shape)
            return {**params, name: array + moved.astype(array.dtype)}
    return params


def inputs(rng, shape, dtype, flag=None):
    """Samples that are not centred."""
    x = rng.normal(size=shape) + 0.3
    if flag == "Kink":
        x = rng.integers(-4, 5, size=shape) / 2
    if flag == "DeadInput":
        x[:, rng.integers(shape[1])] = 0.0
    if flag == "OppositeGradients":
        x[1::2] = x[::2]
    return x.astype(dtype)


def targets(rng, found, dtype, flag=None):
    """Labels, or targets near the outputs; far from them for NegativeCurvature, at opposite sides if asked."""
    f = outputs(found)
    if found["loss"] == "cross_entropy":
        if flag == "LossScale":
            return np.argmax(f, axis=1)
        return rng.integers(f.shape[1], size=f.shape[0])
    away = rng.normal(size=f.shape) * (6.0 if flag == "NegativeCurvature" else 1.0) + 0.2
    if flag == "OppositeGradients":
        away[1::2] = -away[::2]
    return (f + away).astype(dtype)


def outputs(found):
    """The outputs in float64."""
    wide = {name: array.astype(float) for name, array in found["params"].items()}
    return derivatives.forward(found["layers"], wide, found["x"].astype(float))


def _scaled(rng, found, flag):
    """The last layer changed so that the loss is small, or the logits are large."""
    if flag not in ("LossScale", "LargeLogits"):
        return found
    params, y = dict(found["params"]), found["y"]
    names = [name for name in params if name.startswith(f"{len(found['layers']) - 1}.")]
    if flag == "LargeLogits":
        params[names[-1]] = params[names[-1]] + params[names[-1]].dtype.type(rng.choice([-1000, 1000]))
    elif found["loss"] == "squared":
        factor = 2.0 ** int(rng.choice([-5, -8]))  # the loss is 1e-3 and 1.5e-5 times as large
        params |= {name: params[name] * params[name].dtype.type(factor) for name in names}
        y = y * y.dtype.type(factor)
    else:
        goal = rng.choice([1e-3, 1e-5])
        while _loss_of({**found, "params": params}) > goal and np.abs(params[names[0]]).max() < 500:
            params |= {name: params[name] * params[name].dtype.type(1.25) for name in names}
    return {**found, "params": params, "y": y}


def _loss_of(found):
    wide = {name: array.astype(float) for name, array in found["params"].items()}
    arguments = (found["layers"], wide, found["x"].astype(float), found["y"], found["loss"])
    return float(derivatives.network_loss(*arguments))


def _fits(found, flag):
    """Whether the input is far from every kink, or on exactly one; whether the curvature is what is asked for."""
    wide = {name: array.astype(float) for name, array in found["params"].items()}
    x = found["x"].astype(float)
    if flag == "Kink":
        return _on_one_kink(kinks.watched(found["layers"], wide, x)[1])
    if kinks.distances(found["layers"], wide, x).min(initial=np.inf) < MARGIN:
        return False
    if flag == "NegativeCurvature":
        values = np.linalg.eigvalsh(derivatives.hessian(found["layers"], wide, x, found["y"], found["loss"]))
        return values[0] < -0.05 * values[-1]
    return True


def _on_one_kink(found):
    """Whether one entry is exactly on a kink, with one rival at most, and all others are far from theirs."""
    distance, rivals = (
        np.concatenate([np.zeros(0), *(getattr(kinks, name) for kinks in found)])
        for name in ("distance", "rivals")
    )
    return (distance == 0).sum() == 1 and min(
        distance[distance > 0].min(initial=np.inf), rivals.min()
    ) >= MARGIN


def spoiled(rng, call, flag, others):
    """`call` with NaN, Inf or another shape in x, in a parameter or in one of `others`."""
    params, x = call["params"], call["x"]
    place = str(rng.choice(["x", "params", *others]))
    if place == "params":
        name = str(rng.choice([name for name in params if "running" not in name]))
        return {**call, "params": {**params, name: make.spoil(rng, params[name], flag)}}
    if place == "x" and flag == "WrongShape":  # images of another size may be fine, other channels are not
        return {**call, "x": make.spoil(rng, x.swapaxes(1, -1), flag).swapaxes(1, -1)}
    return {**call, place: make.spoil(rng, call[place], flag)}
