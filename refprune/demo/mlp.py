"""A multilayer perceptron in plain NumPy, just enough to have a trained network to prune.

A network is a list of layers `(W, b)` with `W` (outputs, inputs) and `b` (outputs,). Between layers stands a
ReLU, after the last a softmax.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Network = list[tuple[np.ndarray, np.ndarray]]


def start(sizes: tuple[int, ...], rng: np.random.Generator) -> Network:
    """Draw an untrained network: normal weights of variance 2 / inputs (He 2015), biases zero."""
    return [
        (rng.normal(size=(n_out, n_in)) * np.sqrt(2.0 / n_in), np.zeros(n_out))
        for n_in, n_out in pairwise(sizes)
    ]


def hidden(network: Network, x: np.ndarray) -> list[np.ndarray]:
    """Return the inputs of every layer and, last, the outputs of the network before the softmax."""
    values = [x]
    for number, (weight, bias) in enumerate(network, start=1):
        z = values[-1] @ weight.T + bias  # (samples, outputs)
        values.append(z if number == len(network) else np.maximum(z, 0.0))
    return values


def accuracy(network: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the samples whose largest output is the label.

    >>> network = [(np.eye(2), np.zeros(2))]
    >>> accuracy(network, np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([0, 0]))
    0.5
    """
    return float(np.mean(np.argmax(hidden(network, x)[-1], axis=1) == y))


def gradients(network: Network, x: np.ndarray, y: np.ndarray) -> Network:
    """Return the gradient of the mean cross-entropy, in the shape of `network`.

    The gradient in the outputs is (softmax - one-hot) / samples; a layer hands `delta W` to the one below,
    where the ReLU was open.
    """
    values = hidden(network, x)
    delta = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)  # softmax (samples, classes)
    delta[np.arange(len(y)), y] -= 1.0
    delta /= len(y)
    answer: Network = []
    for (weight, _), value in zip(reversed(network), reversed(values[:-1])):
        answer.append((delta.T @ value, delta.sum(axis=0)))
        delta = (delta @ weight) * (value > 0)
    return answer[::-1]


def train(
    x: np.ndarray,
    y: np.ndarray,
    sizes: tuple[int, ...] = (64, 48, 32, 10),
    epochs: int = 40,
    batch: int = 32,
    lr: float = 0.1,
    momentum: float = 0.9,
    seed: int = 0,
) -> Network:
    """Train by SGD with momentum, `lr` falling linearly to zero; the same `seed` gives the same network."""
    rng = np.random.default_rng(seed)
    network = start(sizes, rng)
    speed = [(np.zeros_like(w), np.zeros_like(b)) for w, b in network]
    steps, step = epochs * -(-len(x) // batch), 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x), batch):
            chosen = order[first : first + batch]
            rate = lr * (1.0 - step / steps)
            slope = gradients(network, x[chosen], y[chosen])
            speed = [tuple(momentum * v - rate * g for v, g in zip(*pair)) for pair in zip(speed, slope)]
            network = [tuple(p + v for p, v in zip(*pair)) for pair in zip(network, speed)]
            step += 1
    return network
