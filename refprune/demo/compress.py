"""Prune every layer of a trained network, from the first to the last, and measure what is left.

Each layer is a least-squares problem of its own: keep the layer's outputs on its calibration inputs. The
inputs of a layer are those that the already pruned layers below hand to it, so that later layers see the
errors of earlier ones. Biases stay.
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

PATTERNS: dict[str, dict] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "90 %": {"sparsity": 0.9},
    "2:4": {"n": 2, "m": 4},
    "1:4": {"n": 1, "m": 4},
}
METHODS = ("magnitude", "Wanda", "OBS in each row", "OBS over the layer")


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


def prune_layer(problem: rp.LayerProblem, method: str, pattern: str) -> rp.Pruned:
    """Prune one layer by the method and the pattern of these names."""
    numbers = PATTERNS[pattern]
    if "n" in numbers:
        zeros = rp.NM(**numbers)
    else:
        zeros = rp.Unstructured(**numbers, scope="row" if method in METHODS[1:3] else "layer")
    if method == "magnitude":
        return rp.magnitude(problem, zeros)
    if method == "Wanda":
        return rp.wanda(problem, zeros)
    return rp.obs(problem, zeros, damp=DAMP)


def prune_network(network: rp.Network, params: dict, inputs: np.ndarray, method: str, pattern: str):
    """Prune from the first layer to the last; `inputs` (samples, pixels) calibrate.

    Returns
    -------
    pruned : the parameters
    masks : of every layer
    objectives : of every layer, as shares `f(V) / f(0)`
    """
    pruned, masks, objectives = dict(params), [], []
    for name in network.prunable:
        weight, key = params[name], name.removesuffix(".weight")
        problem = rp.LayerProblem.from_inputs(weight, network.layer_inputs(pruned, inputs)[key])
        layer = prune_layer(problem, method, pattern)
        pruned[name] = layer.weight
        masks.append(layer.mask)
        objectives.append(layer.objective / problem.objective(np.zeros_like(weight)))
    return pruned, masks, objectives


def measure(network: rp.Network, params: dict, data, method: str, pattern: str) -> Result:
    """Prune the network, time it, and try it on the held-out images."""
    begin = time.perf_counter()
    pruned, masks, objectives = prune_network(network, params, data.train_x, method, pattern)
    seconds = time.perf_counter() - begin
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
