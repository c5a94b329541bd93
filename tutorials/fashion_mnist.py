"""
A larger example: Fashion-MNIST
===============================

A small convolutional network learns to tell ten kinds of clothes apart, and is saved. Then every layer of it is
pruned by every layer-wise method: half of the weights, four fifths, nine tenths, and two of every four; then with
one budget for all layers together. The table shows what is left of its accuracy on 10,000 images that neither
training nor pruning saw.

The script needs the files of Fashion-MNIST: the Debian package ``dataset-fashion-mnist`` installs them. Without
them it says so and ends. Nothing is downloaded.

    python tutorials/fashion_mnist.py
    python tutorials/fashion_mnist.py --csv fashion_mnist.csv    # stores the table, too

Training takes a minute or two on one core. The network is kept in ``refprune-demo/fashion_mnist.npz``; a second
run reads it from there.
"""

import argparse
import csv
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import refprune as rp

NETWORK = Path("refprune-demo/fashion_mnist.npz")
CALIBRATION = 5000  # training images that the layers are pruned on
FLOOR = 0.88  # test accuracy of a network that was trained right

# ReLU units that are linearly dependent make a Gram singular. A little damping lets OBS invert it.
METHODS = {
    "magnitude": "magnitude",
    "Wanda": "wanda",
    "OBD": "obd",
    "SparseGPT": "sparsegpt",
    "ALPS": "alps",
    "ExactOBS": partial(rp.obs, damp=0.001),
}

# Groups of N:M run along input channels. The first convolution has one channel: it stays dense.
PATTERNS = {
    "2:4": (rp.NM(2, 4), {"0": None}),
    "50 %": (rp.Unstructured(0.5), None),
    "80 %": (rp.Unstructured(0.8), None),
    "90 %": (rp.Unstructured(0.9), None),
    "80 %, global": (rp.Unstructured(0.8, scope="network"), None),
    "90 %, global": (rp.Unstructured(0.9, scope="network"), None),
}


def build() -> rp.Network:
    """Two convolutions with pools, then two dense layers: 20,522 parameters."""
    return rp.cnn((1, 28, 28), channels=(8, 16), kernel=5, hidden=(64,))


def train(x: np.ndarray, y: np.ndarray, epochs: int = 6, seed: int = 0) -> tuple[rp.Network, dict]:
    """Return the network and its parameters; the learning rate falls linearly to zero."""
    rng = np.random.default_rng(seed)
    network = build()
    start = {name: value.astype(x.dtype) for name, value in network.init(rng).items()}
    options = {"lr": 0.05, "weight_decay": 1e-4, "schedule": lambda done: 1 - done}
    return network, rp.train(network, start, x, y, epochs=epochs, batch_size=64, rng=rng, **options)


def trained(data, path: Path) -> tuple[rp.Network, dict]:
    """Return the network that `path` holds; train it and save it there first where there is no such file."""
    if not path.exists():
        begin = time.perf_counter()
        network, params = train(data.train_x, data.train_y)
        print(f"trained on {len(data.train_x)} images in {time.perf_counter() - begin:.0f} s")
        path.parent.mkdir(parents=True, exist_ok=True)
        rp.save(path, network, params)
    network, params, _ = rp.load(path)
    if network.to_dicts() != build().to_dicts():
        raise ValueError(f"need the network of this script; got another one in {path}: remove the file")
    return network, params


def prune(
    network: rp.Network, params: dict, inputs: np.ndarray, pattern: str, method: str
) -> rp.PrunedNetwork:
    """Prune every layer on the inputs that the pruned layers below hand to it."""
    zeros, overrides = PATTERNS[pattern]
    return rp.prune(network, params, inputs, method=METHODS[method], pattern=zeros, overrides=overrides)


def measure(network: rp.Network, params: dict, data, images: int = CALIBRATION):
    """Yield one line of the table after the other: the dense network, then every pattern and method."""
    yield (
        "pattern",
        "method",
        "zeros (%)",
        "test accuracy (%)",
        "mean error of outputs (%)",
        "processor time (s)",
    )
    dense = rp.accuracy(network, params, data.test_x, data.test_y)
    yield "dense", "", "0.0", f"{100 * dense:.2f}", "0.0", ""
    for pattern in PATTERNS:
        for method in METHODS:
            begin = time.process_time()
            pruned = prune(network, params, data.train_x[:images], pattern, method)
            seconds = time.process_time() - begin
            errors = [row["error"] for row in pruned.report.to_dict()["layers"]]
            accuracy = rp.accuracy(network, pruned.params, data.test_x, data.test_y)
            yield (
                pattern,
                method,
                f"{100 * rp.sparsity(pruned.masks):.1f}",
                f"{100 * accuracy:.2f}",
                f"{100 * np.mean(errors):.1f}",
                f"{seconds:.1f}",
            )


def main(arguments: list[str] | None = None) -> int:
    """Train or load, prune, print the table, and store it where a file is named."""
    parser = argparse.ArgumentParser(description="Prune a small network that reads Fashion-MNIST.")
    parser.add_argument("--data", default=rp.datasets.FOLDER, help="the folder of the four IDX files")
    parser.add_argument("--network", type=Path, default=NETWORK, help="where the trained network is kept")
    parser.add_argument("--csv", type=Path, help="store the table in this file")
    options = parser.parse_args(arguments)
    try:
        data = rp.datasets.fashion_mnist(options.data)
    except FileNotFoundError as error:
        print(f"nothing done: {error}")
        return 0
    network, params = trained(data, options.network)
    accuracy = rp.accuracy(network, params, data.test_x, data.test_y)
    assert accuracy >= FLOOR, f"the dense network has only {accuracy:.1%} right"
    lines = []
    for line in measure(network, params, data):
        print("{:<12} {:<10} {:>10} {:>18} {:>26} {:>19}".format(*line), flush=True)
        lines.append(line)
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
