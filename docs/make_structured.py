"""Writes `structured.csv` beside itself: hidden neurons of the demo's network removed by every method.

Run it by hand when a method changes: `python docs/make_structured.py`. It takes some seconds and needs scikit-learn.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from csv_tables import store

import refprune as rp
from refprune.demo import digits, mlp

SPARSITIES = (0.25, 0.5, 0.75)
METHODS = ("magnitude", "obd", "alps", "obs")
NAMES = {"magnitude": "magnitude", "obd": "OBD", "alps": "ALPS", "obs": "OBS"}
SIGNALS = {
    "i-SpaSP": {},
    "i-SpaSP by norms": {"rank": "norms"},
    "i-SpaSP with a refit": {"refit": True},
    "i-SpaSP by norms, refit": {"rank": "norms", "refit": True},
}


def lines():
    """The share of neurons removed, how and by what they were chosen, and what is left of the network."""
    data = digits.load()
    network, params = mlp.train(data.train_x, data.train_y)
    yield "neurons removed", "chosen as", "method", "weights left", "output error", "test accuracy"
    yield "none", "", "", *_left(network, params, network, params, data)
    for share in SPARSITIES:
        for axis, what, methods in ((0, "rows", ("magnitude", "obs")), (1, "columns", METHODS)):
            for method in methods:
                pattern, last = rp.Groups(sparsity=share, axis=axis), {"4": None} if axis == 0 else None
                answer = rp.prune(
                    network, params, data.train_x, method, pattern, overrides=last, progress=False
                )
                small = rp.shrink(network, answer.params, answer.masks)
                yield f"{share:.0%}", what, NAMES[method], *_left(*small, network, params, data)
        for name, options in SIGNALS.items():
            answer = rp.ispasp_network(network, params, data.train_x, share, progress=False, **options)
            small = rp.shrink(network, answer.params, answer.masks)
            yield f"{share:.0%}", "columns", name, *_left(*small, network, params, data)


def _left(small, values, network, params, data):
    """Weights, the change of the outputs relative to the outputs without bias, accuracy."""
    dense = network.forward(params, data.train_x)
    change = ((small.forward(values, data.train_x) - dense) ** 2).sum()
    error = float((change / ((dense - params["4.bias"]) ** 2).sum()) ** 0.5)
    accuracy = rp.accuracy(small, values, data.test_x, data.test_y)
    return sum(values[name].size for name in small.prunable), f"{error:.1%}", f"{accuracy:.1%}"


def main() -> None:
    """Compute, print and store the table."""
    store("structured.csv", lines())


if __name__ == "__main__":
    main()
