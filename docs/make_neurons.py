"""Writes `neurons.csv` beside itself: which hidden neurons of networks on Fashion-MNIST are kept, and what that leaves.

Run it by hand when i-SpaSP changes: `python docs/make_neurons.py`. It takes a minute and needs the data
(`rp.datasets.fashion_mnist`).
"""

import csv
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

import refprune as rp  # noqa: E402

UNITS, KEEP, SEEDS, DRAWS = 256, (16, 32, 64, 128), range(5), 5


def largest(sizes, k):
    """True for the k largest."""
    return np.isin(np.arange(len(sizes)), np.argsort(sizes, kind="stable")[-k:])


CHOICES = {  # (H, W, k, rng) -> True for the neurons that stay
    "random": lambda H, W, k, rng: largest(rng.random(UNITS), k),
    "magnitude": lambda H, W, k, rng: largest(np.linalg.norm(W, axis=0), k),
    "i-SpaSP": lambda H, W, k, rng: rp.ispasp(H, W, k).mask[0],
    "i-SpaSP, absolute": lambda H, W, k, rng: rp.ispasp(H, W, k, importance="absolute").mask[0],
    "i-SpaSP by norms": lambda H, W, k, rng: rp.ispasp(H, W, k, rank="norms").mask[0],
    "OBD": lambda H, W, k, rng: rp.obd(rp.LayerProblem.from_inputs(W, H.T), rp.Groups(keep=k, axis=1)).mask[
        0
    ],
}


def trained(x, y, seed):
    """Network and parameters: 6 epochs on 20,000 images."""
    network = rp.mlp([784, UNITS, 10])
    start = {
        name: value.astype("float32") for name, value in network.init(np.random.default_rng(seed)).items()
    }
    options = {"epochs": 6, "lr": 0.05, "batch_size": 64, "schedule": lambda done: 1 - done}
    return network, rp.train(network, start, x, y, rng=seed, progress=False, **options)


def measured(data):
    """(test accuracies not pruned, {(choice, refit): accuracies (seeds, KEEP)})."""
    x, test = (part.reshape(len(part), -1) for part in (data.train_x[:20000], data.test_x))
    dense, found = [], {}
    for n, seed in enumerate(SEEDS):
        network, params = trained(x, data.train_y[:20000], seed)
        dense.append(rp.accuracy(network, params, test, data.test_y))
        first = rp.Network(network.layers[:2])
        own = {name: value for name, value in params.items() if name.startswith("0.")}
        H, T, W = first.forward(own, x[:5000]).T, first.forward(own, test).T, params["2.weight"]
        layer, rng = rp.LayerProblem.from_inputs(W, H.T), np.random.default_rng(seed)
        for i, k in enumerate(KEEP):
            for name, choose in CHOICES.items():
                draws = DRAWS if name == "random" else 1
                for _ in range(draws):
                    stay = choose(H, W, k, rng)
                    refit = rp.optimal_weights(layer, np.tile(stay, (10, 1)), damp=1e-4).weight
                    for fit, V in ((False, W * stay), (True, refit)):
                        right = (V @ T + params["2.bias"][:, None]).argmax(axis=0) == data.test_y
                        table = found.setdefault((name, fit), np.zeros((len(SEEDS), len(KEEP))))
                        table[n, i] += right.mean() / draws
    return dense, found


def main() -> None:
    """Measure, print and store the table."""
    dense, found = measured(rp.datasets.fashion_mnist())
    print(f"not pruned: {np.mean(dense):.1%}")
    with (HERE / "neurons.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["neurons kept by", "refit", *(f"{k} of {UNITS}" for k in KEEP)])
        table.writerow(["all", "", *[f"{np.mean(dense):.1%}"] * len(KEEP)])
        for (name, fit), values in sorted(found.items(), key=lambda item: item[0][1]):
            mean, spread = values.mean(axis=0), values.std(axis=0)
            cells = [f"{m:.1%} ± {s:.1%}" for m, s in zip(mean, spread, strict=True)]
            print(name, fit, *cells, sep=", ")
            table.writerow([name, "yes" if fit else "", *cells])


if __name__ == "__main__":
    main()
