"""Writes `woodfisher.csv` beside itself: accuracy of the network of WoodFisher's tables behind its variants.

The network is 784-40-20-10 without biases, 32,360 weights, trained on Fashion-MNIST where its files are. Run it by hand
when a method changes: `python docs/make_woodfisher.py`. It takes a quarter of an hour.
"""

import csv
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import refprune as rp

SPARSITIES, SEEDS, SAMPLES = (0.8, 0.9, 0.95, 0.98), 3, 500
METHODS = {
    "sum": {"damp": 1e-4, "update": "sum"},
    "joint": {"damp": 1e-4},
    "joint, swaps": {"damp": 1e-4, "search": "swap"},
    "joint, 10 stages": {"damp": 1e-4, "steps": 10},
    "joint, 10 stages, first order": {"damp": 0.1, "steps": 10, "first_order": True},
}


def trained(data) -> tuple:
    """(network, parameters)."""
    network = rp.mlp([784, 40, 20, 10], bias=False)
    params = rp.train(
        network, network.init(np.random.default_rng(0)), *data, epochs=8, batch_size=64, lr=0.05,
        schedule=lambda t: 1 - t, rng=0,
    )  # fmt: skip
    return network, params


def magnitude(network, params, pattern) -> dict:
    """The parameters without the smallest weights of all layers."""
    return network.unflatten(rp.magnitude(network.flatten(params), pattern).weight)


def cells(values) -> str:
    """Mean and largest distance from it, in percent."""
    values = 100 * np.array(values)
    return f"{values.mean():.1f} ± {abs(values - values.mean()).max():.1f}"


def main() -> None:
    """A line for each method: test accuracy at each sparsity, over draws of the samples that make F."""
    data = rp.datasets.fashion_mnist()
    x, test = (
        (images.reshape(len(images), -1) - 0.286) / 0.353 for images in (data.train_x, data.test_x)
    )  # mean 0, deviation 1
    network, params = trained((x, data.train_y))

    def accuracy(found):
        return rp.accuracy(network, found, test, data.test_y)

    patterns = [rp.Unstructured(sparsity=s) for s in SPARSITIES]
    lines = [["magnitude", *(f"{100 * accuracy(magnitude(network, params, p)):.1f}" for p in patterns)]]
    for name, options in METHODS.items():
        prune = partial(rp.woodfisher_network, network, params, **options)
        found = []
        for pattern in patterns:
            seen = []
            for seed in range(SEEDS):
                rows = np.random.default_rng(seed).choice(len(x), SAMPLES, replace=False)
                seen.append(accuracy(prune(x[rows], data.train_y[rows], pattern).params))
            found.append(cells(seen))
        lines.append([name, *found])
        print(*lines[-1], sep="\t", flush=True)
    head = [f"dense {100 * accuracy(params):.1f}", *(f"{100 * s:.0f} %" for s in SPARSITIES)]
    with open(Path(__file__).with_name("woodfisher.csv"), "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *lines])


if __name__ == "__main__":
    main()
