"""Writes `woodfisher.csv` and `woodfisher_why.csv` beside itself: the network of WoodFisher's tables, pruned.

The network is 784-40-20-10 without biases, 32,360 weights. Run it by hand when a method changes:
`python docs/make_woodfisher.py [FOLDER]`, where FOLDER holds the four IDX files of MNIST, packed or not. Without it
Fashion-MNIST is taken where the files of its Debian package are, else the small digits of scikit-learn, enlarged.
It takes a quarter of an hour on two cores.
"""

import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import refprune as rp
from refprune.demo import digits

HERE = Path(__file__).resolve().parent
SPARSITIES, SEEDS, SAMPLES, MORE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98), range(3), 500, 2000
HEAD = [f"{100 * s:.0f} %" for s in SPARSITIES]
DAMPS = (1e-5, 1e-4, 1e-3)
NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
STAGES = {
    "joint, 10 stages": {"steps": 10},
    "joint, 10 stages, first order": {"damp": 0.1, "steps": 10, "first_order": True},
}
SOLVER = {"horizon": None, "damp": 1e-4, "max_iter": 5, "cg_max_iter": 50, "progress": False}


def images(folder: str | None = None, fashion: str = rp.datasets.FOLDER) -> tuple:
    """(name, images (n, 784), labels, images to test, labels): MNIST, else Fashion-MNIST, else digits."""
    if folder is not None:
        parts = [rp.datasets.read_idx(idx_file(Path(folder), name)) for name in NAMES]
        name, (x, y, test, test_y) = "MNIST", parts
    elif Path(fashion).is_dir():
        name, (x, y, test, test_y) = "Fashion-MNIST", rp.datasets.fashion_mnist(fashion)
    else:
        name, (x, y, test, test_y) = "digits", digits.load()
        x, test = (np.kron(part.reshape(-1, 8, 8), np.ones((1, 3, 3))) for part in (x, test))
        x, test = (np.pad(part, ((0, 0), (2, 2), (2, 2))) for part in (x, test))
    x, test = (part.reshape(len(part), 784).astype("float32") for part in (x, test))
    mean, deviation = x.mean(dtype=float), x.std(dtype=float)
    x, test = ((part - np.float32(mean)) / np.float32(deviation) for part in (x, test))
    return name, x, y.astype(int), test, test_y.astype(int)


def idx_file(folder: Path, name: str) -> Path:
    """The file of this name as it is spelled on either site, packed or not."""
    spelled = [folder / f"{name}{dot}ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for place in (*spelled, *(folder / place.name.replace("-idx", ".idx") for place in spelled)):
        if place.is_file():
            return place
    raise FileNotFoundError(f"need the file {name}-ubyte or {name}-ubyte.gz in {folder}; got neither")


def trained(x: np.ndarray, y: np.ndarray) -> tuple:
    """(network, parameters)."""
    network = rp.mlp([784, 40, 20, 10], bias=False)
    params = rp.train(
        network, network.init(np.random.default_rng(0)), x, y, epochs=max(8, 200_000 // len(x)), batch_size=64,
        lr=0.05, schedule=lambda t: 1 - t, rng=0,
    )  # fmt: skip
    return network, params


@dataclass(frozen=True)
class Task:
    """A network, one draw of the images it is pruned by, those it is tested on, and a sparsity."""

    network: Any
    params: dict
    x: np.ndarray
    y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray
    sparsity: float

    def read(self, params: dict) -> tuple[float, float]:
        """(loss on the images it was pruned by, accuracy on the others)."""
        loss = self.network.loss(params, self.x, self.y)
        return float(loss), rp.accuracy(self.network, params, self.test, self.test_y)

    @cached_property
    def gradients(self) -> np.ndarray:
        """(samples, weights); all parameters are weights."""
        return self.network.per_sample_gradients(self.params, self.x, self.y)

    def woodfisher(self, damp: float = 1e-4, count_rule: str = "round", **options) -> rp.Pruned:
        pattern = rp.Unstructured(sparsity=self.sparsity, count_rule=count_rule)
        return rp.woodfisher(self.params, self.gradients, pattern, damp, **options)

    def best_damp(self, **options) -> rp.Pruned:
        """WoodFisher with the damp of the least loss on the images it is pruned by."""
        found = (self.woodfisher(damp, **options) for damp in DAMPS)
        return min(found, key=lambda answer: self.read(answer.weight)[0])

    def stages(self, damp: float = 1e-4, **options) -> rp.PrunedNetwork:
        given = self.network, self.params, self.x, self.y, rp.Unstructured(sparsity=self.sparsity), damp
        return rp.woodfisher_network(*given, **options, progress=False)

    def exact_obs(self, keep=None, **options) -> rp.PrunedNetwork:
        """ExactOBS; `keep` says how many weights each layer keeps, else the layers share one budget."""
        pattern, overrides = rp.Unstructured(sparsity=self.sparsity), None
        if keep is None:
            options = {"allocation": "global"} | options
        else:
            keys = (name.removesuffix(".weight") for name in self.network.prunable)
            overrides = {key: rp.Unstructured(keep=int(n)) for key, n in zip(keys, keep, strict=True)}
        method = partial(rp.obs, damp=1e-3)
        given = self.network, self.params, self.x, method, pattern
        return rp.prune(*given, overrides=overrides, **options, progress=False)

    def readjusted(self, masks: dict, params: dict) -> dict:
        """The kept weights of all layers in turn, by Newton-CG, up to the network's end."""
        return rp.snows(self.network, self.params, masks, self.x, start=params, **SOLVER).params


def methods(task: Task) -> Iterator[tuple]:
    """(name, parameters) of all methods at one sparsity."""
    flat = rp.magnitude(task.network.flatten(task.params), rp.Unstructured(sparsity=task.sparsity))
    yield "magnitude", task.network.unflatten(flat.weight)
    yield "WoodFisher, sum", task.best_damp(update="sum").weight
    yield "WoodFisher, joint", task.best_damp().weight
    yield "joint, CHITA's search", task.woodfisher(search="iht", max_iter=50).weight
    swaps = task.woodfisher(search="swap")
    yield "joint, swaps", swaps.weight
    yield "joint, swaps, readjusted", task.readjusted(swaps.mask, swaps.weight)
    exact = task.exact_obs()
    yield "ExactOBS", exact.params
    yield "ExactOBS, readjusted", task.readjusted(exact.masks, exact.params)
    for name, options in STAGES.items():
        staged = task.stages(**options)
        yield name, staged.params
        yield f"{name}, readjusted", task.readjusted(staged.masks, staged.params)


def reasons(task: Task) -> Iterator[tuple]:
    """(name, parameters) of what else one may try; the images of `task` are more than the others have."""
    few = replace(task, x=task.x[:SAMPLES], y=task.y[:SAMPLES])
    for damp in (*DAMPS, 1e-2):
        yield f"joint, damp {damp:g}", few.woodfisher(damp).weight
    for damp in (*DAMPS, 1e-2):
        yield f"sum, damp {damp:g}", few.woodfisher(damp, update="sum").weight
    yield "joint, damp 0.0001, the count of the published code", few.woodfisher(count_rule="strict").weight
    yield f"joint, damp 0.0001, {MORE} images", task.woodfisher().weight
    for steps in (2, 5):
        yield f"joint, {steps} stages", few.stages(steps=steps).params
    masks = few.woodfisher().mask
    counts, sizes = (np.array([f(mask) for mask in masks.values()]) for f in (np.count_nonzero, np.size))
    roots = np.minimum(np.floor(counts.sum() * sizes**0.5 / (sizes**0.5).sum()), sizes)
    roots[0] += counts.sum() - roots.sum()
    yield "ExactOBS, one budget", few.exact_obs().params
    yield "ExactOBS, the counts of joint", few.exact_obs(counts).params
    yield "ExactOBS, by the roots of the sizes", few.exact_obs(roots).params
    yield "ExactOBS, the same share everywhere", few.exact_obs(allocation="layer").params
    exact = task.exact_obs()
    yield f"ExactOBS, {MORE} images", exact.params
    yield f"ExactOBS, readjusted, {MORE} images", task.readjusted(exact.masks, exact.params)


def readings(of, task: Task) -> dict:
    """Name -> (loss, accuracy) of what `of(task)` yields."""
    return {name: task.read(params) for name, params in of(task)}


def cells(found) -> list[str]:
    """For each row its mean in percent and, where there is one, the largest distance from it."""
    values = 100 * np.array(found)
    means = values.mean(axis=1)
    spread = abs(values - means[:, None]).max(axis=1)
    return [
        f"{mean:.1f} ± {most:.1f}" if most > 1e-6 else f"{mean:.1f}"
        for mean, most in zip(means, spread, strict=True)
    ]


def tasks(network, params, data, samples: int, sparsities) -> list[Task]:
    """One for each sparsity and draw of the images."""
    _, x, y, test, test_y = data
    draws = [np.random.default_rng(seed).choice(len(x), samples, replace=False) for seed in SEEDS]
    return [Task(network, params, x[r], y[r], test, test_y, s) for s in sparsities for r in draws]


def accuracies(found: list) -> Iterator[list]:
    """The lines of the first table, of what `readings` found for all tasks."""
    yield ["", *HEAD]
    for name in found[0]:
        yield [name, *cells(np.reshape([reading[name][1] for reading in found], (len(HEAD), -1)))]


def losses(found: list) -> Iterator[list]:
    """The lines of the second one, at the last two sparsities."""
    yield ["", *(f"{what}, {s}" for s in HEAD[-2:] for what in ("loss", "accuracy"))]
    for name in found[0]:
        loss, accuracy = np.moveaxis(np.reshape([reading[name] for reading in found], (2, -1, 2)), -1, 0)
        both = zip(loss.mean(axis=1), cells(accuracy), strict=True)
        yield [name, *(cell for mean, seen in both for cell in (f"{mean:.2f}", seen))]


def write(name: str, lines) -> None:
    with (HERE / name).open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def main(folder: str | None = None) -> None:
    """Both tables, by two processes."""
    data = images(folder)
    network, params = trained(data[1], data[2])
    few = tasks(network, params, data, SAMPLES, SPARSITIES)
    many = tasks(network, params, data, min(MORE, len(data[1])), SPARSITIES[-2:])
    dense = f"{100 * rp.accuracy(network, params, data[3], data[4]):.1f}"
    with ProcessPoolExecutor(2) as pool:
        found, why = (
            list(pool.map(partial(readings, of), some)) for of, some in [(methods, few), (reasons, many)]
        )
    head, *lines = accuracies(found)
    write("woodfisher.csv", [head, [f"dense ({data[0]})", *[dense] * len(HEAD)], *lines])
    write("woodfisher_why.csv", losses(why))


if __name__ == "__main__":
    main(*sys.argv[1:2])
