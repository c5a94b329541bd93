"""Writes `objectives_*.csv` beside itself: what every layer-wise method leaves of the layers of two networks.

Run it by hand when a method changes: `python docs/make_objectives.py`. It takes about a minute, after
training. It needs scikit-learn for the digits, and the files of Fashion-MNIST (see `tutorials/fashion_mnist.py`, which
trains the network, too).
"""

import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tutorials")]

import fashion_mnist  # noqa: E402
import numpy as np  # noqa: E402
from csv_tables import store  # noqa: E402

import refprune as rp  # noqa: E402
from refprune.demo import digits, mlp  # noqa: E402

SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9)
DAMP = 0.0  # the same for every method that inverts: all of them then minimise what is measured
METHODS = {
    "magnitude": rp.magnitude,
    "Wanda": rp.wanda,
    "SparseGPT": partial(rp.sparsegpt, damp=DAMP),
    "SparseGPT, refit": partial(rp.sparsegpt, damp=DAMP, refit=True),
    "ALPS": partial(rp.alps, damp=DAMP),
    "ExactOBS": partial(rp.obs, damp=DAMP),
}
SCOPES = {"layer": "over the layer", "row": "in each row"}


def problems(network: rp.Network, params: dict, inputs: np.ndarray, batch: int = 500) -> dict:
    """The problem of every prunable layer, by its key, on the inputs that the dense network hands to it."""
    params, grams = {name: value.astype("float64") for name, value in params.items()}, {}
    for first in range(0, len(inputs), batch):
        for key, rows in network.layer_inputs(params, inputs[first : first + batch]).items():
            grams.setdefault(key, rp.GramAccumulator()).update(rows)
    return {key: rp.LayerProblem(_matrix(params[f"{key}.weight"]), sums.gram) for key, sums in grams.items()}


def _matrix(weight):
    """The matrix form: without N:M, a convolution's layer problem is that of its columns."""
    return weight.reshape(len(weight), -1)


def digits_problems() -> dict:
    """Those of the demo's network, on its 1297 training images."""
    data = digits.load()
    return problems(*mlp.train(data.train_x, data.train_y), data.train_x)


def fashion_problems() -> dict:
    """Those of the network of `tutorials/fashion_mnist.py`, on 5000 training images."""
    data = rp.datasets.fashion_mnist()
    network, params = fashion_mnist.trained(data, HERE.parent / fashion_mnist.NETWORK)
    return problems(network, params, data.train_x[: fashion_mnist.CALIBRATION])


def objectives(problem: rp.LayerProblem, sparsity: float, scope: str) -> dict[str, float]:
    """The undamped objective of every method, as a share of that of the empty layer."""
    empty = float(problem.objective(np.zeros_like(problem.matrix)))
    pattern = rp.Unstructured(sparsity, scope=scope)
    found = {}
    for name, method in METHODS.items():
        pruned = method(problem, pattern)
        assert pattern.admits(pruned.mask), name
        found[name] = float(problem.objective(pruned.weight)) / empty
    return found


def cells(found: dict[str, float]) -> list[str]:
    """The objectives in percent; a star where a method is lower than ExactOBS by more than rounding."""
    least = (1 - 1e-9) * found["ExactOBS"]
    return [f"{100 * value:.3g}" + (" *" if value < least else "") for value in found.values()]


def main() -> None:
    """Prune every layer of both networks by every method, scope by scope; print and store the tables."""
    wanda = [
        (
            "network",
            "layer",
            "zeros (%)",
            "magnitude, layer",
            "Wanda, layer",
            "Wanda, rows",
            "magnitude, rows",
        )
    ]
    for data, layers in (("digits", digits_problems()), ("fashion_mnist", fashion_problems())):
        found = {
            (scope, key, sparsity): objectives(problem, sparsity, scope)
            for scope in SCOPES
            for key, problem in layers.items()
            for sparsity in SPARSITIES
        }
        for scope in SCOPES:
            lines = [("layer", "zeros (%)", *METHODS)]
            for key, problem in layers.items():
                for sparsity in SPARSITIES:
                    name = f"{key} ({problem.rows} x {problem.columns})"
                    lines.append((name, round(100 * sparsity), *cells(found[scope, key, sparsity])))
            print(data, SCOPES[scope], sep="\n")
            store(f"objectives_{data}_{scope}.csv", lines)
        for key in layers:
            for sparsity in SPARSITIES:
                over, rows = found["layer", key, sparsity], found["row", key, sparsity]
                if rows["Wanda"] > over["magnitude"]:
                    values = over["magnitude"], over["Wanda"], rows["Wanda"], rows["magnitude"]
                    figures = [f"{100 * value:.3g}" for value in values]
                    wanda.append((data.replace("_", " "), key, round(100 * sparsity), *figures))
    store("objectives_wanda.csv", wanda)


if __name__ == "__main__":
    main()
