"""The demo's network: a small multilayer perceptron that learns to read digits."""

from __future__ import annotations

import numpy as np

import refprune as rp

SIZES = (64, 48, 32, 10)


def train(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[rp.Network, dict[str, np.ndarray]]:
    """Return the network and its parameters after 40 epochs; the same `seed` gives the same ones.

    The learning rate falls linearly to zero.
    """
    rng = np.random.default_rng(seed)
    network = rp.mlp(SIZES)
    start = network.init(rng)
    return network, rp.train(network, start, x, y, epochs=40, rng=rng, schedule=lambda done: 1 - done)
