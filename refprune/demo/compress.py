"""Prune every layer of a trained network in several ways, and measure what is left.

Most methods go from the first layer to the last. Each layer is a least-squares problem of its own: keep the layer's
outputs on its calibration inputs. The inputs of a layer are those that the already pruned layers below hand to it, so
that later layers see the errors of earlier ones. Two see the whole network: WoodFisher has the gradients of the loss,
and needs the labels; SNOWS takes the masks of OBS and fits the kept weights to the network's outputs. Biases stay.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

import refprune as rp

# The share of the mean diagonal of a Gram that is added to its diagonal before it is inverted. Dead pixels
# need none. But without it 2 of 12 training seeds ended in a LinAlgError: after pruning to 70 % the hidden
# units of a layer had become linearly dependent. With it the other answers hardly move.
DAMP = 0.001
GRADIENTS = 300  # of single images, for WoodFisher
FISHER_DAMP = (
    1e-6  # absolute, and small: so are the gradients of a network that reads nearly all of them right
)
STAGES = 8
SAMPLES = 400  # that SNOWS fits to

PATTERNS: dict[str, dict] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "90 %": {"sparsity": 0.9},
    "2:4": {"n": 2, "m": 4},
    "1:4": {"n": 1, "m": 4},
}
METHODS = (
    "magnitude",
    "Wanda",
    "OBS in each row",
    "OBS over the layer",
    "WoodFisher in stages",
    "SNOWS, masks by OBS",
)


class Result(NamedTuple):
    """One pruned network.

    `objective` is `f(V) / f(0)`, the mean over the layers, `f(V) = 1/2 tr((V - W) G (V - W)^T)` undamped:
    0 when every layer still does what it did, 1 when every layer is empty. The plain sum would compare apples
    with pears, since the inputs `G` of a later layer depend on how the earlier ones were pruned.
    """

    pattern: str
    method: str
    accuracy: float  # on the held-out images
    objective: float
    seconds: float  # for the pruning alone
    masks: list[np.ndarray]  # of every layer, True = kept


def applies(method: str, pattern: str) -> bool:
    """Tell whether the pair is a case of its own: N:M fixes every row's count, nothing is left to allot."""
    return not (method == METHODS[3] and "n" in PATTERNS[pattern])


def zeros(method: str, pattern: str) -> rp.NM | rp.Unstructured:
    """Return the pattern of this name, as the method shares it out."""
    numbers = PATTERNS[pattern]
    if "n" in numbers:
        return rp.NM(**numbers)
    return rp.Unstructured(**numbers, scope="row" if method in METHODS[1:3] else "layer")


def prune_layer(problem: rp.LayerProblem, method: str, pattern: str) -> rp.Pruned:
    """Prune one layer by the method and the pattern of these names."""
    wanted = zeros(method, pattern)
    if method == "magnitude":
        return rp.magnitude(problem, wanted)
    if method == "Wanda":
        return rp.wanda(problem, wanted)
    return rp.obs(problem, wanted, damp=DAMP)


def prune_network(network: rp.Network, params: dict, data, method: str, pattern: str) -> tuple:
    """Prune on the images of training.

    Returns
    -------
    pruned : the parameters
    masks : of every layer
    """
    if method == METHODS[4]:
        x, y = data.train_x[:GRADIENTS], data.train_y[:GRADIENTS]
        settings = {"damp": FISHER_DAMP, "steps": STAGES, "progress": False}
        answer = rp.woodfisher_network(network, params, x, y, zeros(method, pattern), **settings)
        return answer.params, list(answer.masks.values())
    if method == METHODS[5]:
        start, masks = prune_network(network, params, data, METHODS[3], pattern)
        named = dict(zip(network.prunable, masks, strict=True))
        settings = {"horizon": None, "damp": 1e-4, "max_iter": 5, "cg_max_iter": 50, "progress": False}
        answer = rp.snows(network, params, named, data.train_x[:SAMPLES], start=start, **settings)
        return answer.params, list(answer.masks.values())
    pruned, masks = dict(params), []
    for name in network.prunable:
        problem = _problem(network, params, pruned, name, data.train_x)
        layer = prune_layer(problem, method, pattern)
        pruned[name] = layer.weight
        masks.append(layer.mask)
    return pruned, masks


def shares(network: rp.Network, params: dict, pruned: dict, inputs: np.ndarray) -> list[float]:
    """Return `f(V) / f(0)` of every layer, on what the pruned layers below hand it."""
    problems = {name: _problem(network, params, pruned, name, inputs) for name in network.prunable}
    return [
        problem.objective(pruned[name]) / problem.objective(0 * pruned[name])
        for name, problem in problems.items()
    ]


def _problem(network, params, pruned, name, inputs):
    """The problem of the layer that has this weight."""
    inputs = network.layer_inputs(pruned, inputs)[name.removesuffix(".weight")]
    return rp.LayerProblem.from_inputs(params[name], inputs)


def measure(network: rp.Network, params: dict, data, method: str, pattern: str) -> Result:
    """Prune the network, time it, and try it on the held-out images."""
    begin = time.perf_counter()
    pruned, masks = prune_network(network, params, data, method, pattern)
    seconds = time.perf_counter() - begin
    objectives = shares(network, params, pruned, data.train_x)
    return Result(
        pattern,
        method,
        rp.accuracy(network, pruned, data.test_x, data.test_y),
        sum(objectives) / len(objectives),
        seconds,
        masks,
    )


def measure_all(network: rp.Network, params: dict, data) -> list[Result]:
    """Measure every method on every pattern, pattern by pattern."""
    return [
        measure(network, params, data, method, pattern)
        for pattern in PATTERNS
        for method in METHODS
        if applies(method, pattern)
    ]
