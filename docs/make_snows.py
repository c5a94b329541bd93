"""Writes `snows.csv` beside itself: networks that read digits, 80 % of their weights gone, readjusted by SNOWS.

Run it by hand when SNOWS changes: `python docs/make_snows.py`. It takes some minutes.
"""

import csv
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import refprune as rp
from refprune.demo import digits

SEEDS, SAMPLES = range(5), 400
HORIZONS = (0, 2, None)
METHODS = {"magnitude": "magnitude", "ExactOBS": partial(rp.obs, damp=1e-3)}
SOLVER = {"damp": 1e-4, "max_iter": 5, "cg_max_iter": 50}


def networks() -> dict:
    """Name -> (network, the shape of one of its inputs)."""
    cnn = [
        rp.Conv2d(1, 8, 3, padding=1),
        rp.ReLU(),
        rp.MaxPool2d(2),
        rp.Conv2d(8, 16, 3, padding=1),
        rp.ReLU(),
    ]
    return {
        "MLP 64-48-32-10": (rp.mlp([64, 48, 32, 10]), (64,)),
        "CNN 1-8-16-10": (rp.Network([*cnn, rp.MaxPool2d(2), rp.Flatten(), rp.Dense(64, 10)]), (1, 8, 8)),
    }


def readings(name: str, seed: int) -> dict:
    """(method, horizon) -> (error on the calibration images, on the held out ones, accuracy there)."""
    network, shape = networks()[name]
    data, rng = digits.load(seed), np.random.default_rng(seed)
    train, test = (images.reshape(-1, *shape) for images in (data.train_x, data.test_x))
    schedule = {"epochs": 40, "schedule": lambda done: 1 - done}
    params = rp.train(network, network.init(rng), train, data.train_y, rng=rng, **schedule)
    x, found = train[:SAMPLES], {}

    def read(given):
        errors = []
        for images in (x, test):
            dense = network.forward(params, images)
            errors.append(((network.forward(given, images) - dense) ** 2).sum() / (dense**2).sum())
        return (*errors, rp.accuracy(network, given, test, data.test_y))

    found["dense", ""] = read(params)
    for label, method in METHODS.items():
        pruned = rp.prune(network, params, x, method, rp.Unstructured(sparsity=0.8))
        found[label, ""] = read(pruned.params)
        for horizon in HORIZONS:
            answer = rp.snows(network, params, pruned.masks, x, horizon, start=pruned.params, **SOLVER)
            found[label, "all" if horizon is None else horizon] = read(answer.params)
    return found


def main() -> None:
    """A line for each network, mask and horizon: means over the seeds, with the standard error of the accuracy."""
    rows = []
    for name in networks():
        every = [readings(name, seed) for seed in SEEDS]
        for method, horizon in every[0]:
            errors, fresh, scores = np.array([found[method, horizon] for found in every]).T
            spread = scores.std(ddof=1) / len(scores) ** 0.5
            shown = [f"{errors.mean():.2%}", f"{fresh.mean():.2%}", f"{scores.mean():.1%}", f"{spread:.1%}"]
            rows.append([name, method, horizon, *shown])
            print(*rows[-1], sep="\t", flush=True)
    head = ["network", "mask", "horizon", "error", "error on other images", "accuracy", "standard error"]
    with open(Path(__file__).with_name("snows.csv"), "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


if __name__ == "__main__":
    main()
