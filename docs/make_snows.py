"""Writes two tables beside itself: networks that read digits, 80 % of their weights gone, readjusted by SNOWS.

`snows.csv` has masks and horizons, `snows_fits.csv` numbers of calibration images and damping. Run it by hand when
SNOWS changes: `python docs/make_snows.py`. It takes some minutes.
"""

import os
from functools import partial

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from csv_tables import store

import refprune as rp
from refprune.demo import digits

SEEDS, SAMPLES = range(5), 400
HORIZONS = (0, 2, None)
METHODS = {"magnitude": "magnitude", "ExactOBS": partial(rp.obs, damp=1e-3)}
SOLVER = {"damp": 1e-4, "max_iter": 5, "cg_max_iter": 50}
FITS = ((100, 1e-4), (200, 1e-4), (400, 1e-4), (400, 0.0), (400, 1.0))  # images, damp


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


def trained(name: str, seed: int) -> tuple:
    """The network, its parameters, the images of training, and the images and labels that no method sees."""
    network, shape = networks()[name]
    data, rng = digits.load(seed), np.random.default_rng(seed)
    train, test = (images.reshape(-1, *shape) for images in (data.train_x, data.test_x))
    schedule = {"epochs": 40, "schedule": lambda done: 1 - done}
    params = rp.train(network, network.init(rng), train, data.train_y, rng=rng, **schedule)
    return network, params, train, test, data.test_y


def error(network: rp.Network, params: dict, given: dict, images: np.ndarray) -> float:
    """The squared change of the outputs beside their squares."""
    dense = network.forward(params, images)
    return float(((network.forward(given, images) - dense) ** 2).sum() / (dense**2).sum())


def readings(name: str, seed: int) -> dict:
    """(method, horizon) -> (error on the calibration images, on the held out ones, accuracy there)."""
    network, params, train, test, labels = trained(name, seed)
    x, found = train[:SAMPLES], {}

    def read(given):
        errors = [error(network, params, given, images) for images in (x, test)]
        return (*errors, rp.accuracy(network, given, test, labels))

    found["dense", ""] = read(params)
    for label, method in METHODS.items():
        pruned = rp.prune(network, params, x, method, rp.Unstructured(sparsity=0.8))
        found[label, ""] = read(pruned.params)
        for horizon in HORIZONS:
            answer = rp.snows(network, params, pruned.masks, x, horizon, start=pruned.params, **SOLVER)
            found[label, "all" if horizon is None else horizon] = read(answer.params)
    return found


def fits(name: str, seed: int) -> list:
    """For each of `FITS` the errors before and after, on the calibration images and on the held out ones."""
    network, params, train, test, _ = trained(name, seed)
    found = []
    for samples, damp in FITS:
        x = train[:samples]
        pruned = rp.prune(network, params, x, METHODS["ExactOBS"], rp.Unstructured(sparsity=0.8))
        solver = {**SOLVER, "damp": damp}
        answer = rp.snows(network, params, pruned.masks, x, None, start=pruned.params, **solver)
        given = ((images, p) for images in (x, test) for p in (pruned.params, answer.params))
        found.append([error(network, params, p, images) for images, p in given])
    return found


def of_horizons():
    """The head, and a line for each network, mask and horizon; of the accuracy the standard error too."""
    yield "network", "mask", "horizon", "error", "error on other images", "accuracy", "standard error"
    for name in networks():
        every = [readings(name, seed) for seed in SEEDS]
        for method, horizon in every[0]:
            errors, fresh, scores = np.array([found[method, horizon] for found in every]).T
            spread = scores.std(ddof=1) / len(scores) ** 0.5
            shown = [f"{errors.mean():.2%}", f"{fresh.mean():.2%}", f"{scores.mean():.1%}", f"{spread:.1%}"]
            yield name, method, horizon, *shown


def of_fits():
    """The head, and a line for each network and each of `FITS`."""
    yield "network", "images", "damp", "error before", "error after", "on others before", "on others after"
    for name in networks():
        means = np.mean([fits(name, seed) for seed in SEEDS], axis=0)
        for (samples, damp), errors in zip(FITS, means, strict=True):
            yield name, samples, f"{damp:g}", *(f"{value:.2%}" for value in errors)


if __name__ == "__main__":
    store("snows.csv", of_horizons())
    store("snows_fits.csv", of_fits())
