"""Writes the four tables `before_training*.csv` beside itself: networks pruned before training, and what they learn.

Run it by hand when a method of pruning before training changes: `python docs/make_before_training.py [FOLDER]`, where
FOLDER holds the four IDX files of MNIST, packed or not. Without it Fashion-MNIST is taken where the files of its Debian
package are, else the small digits of scikit-learn, enlarged. It takes a quarter of an hour on two cores.
"""

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from math import prod
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import make_woodfisher
import numpy as np
from csv_tables import store

import refprune as rp
from refprune.demo import digits

SHARES, SMALL = (0.8, 0.9, 0.95, 0.98), 6**-0.5
FEWEST, KEPT = (f"{which} at {SHARES[-1]:.0%}" for which in ("fewest in a layer", "kept in each layer"))
THERE = {  # the independent runs on MNIST, at 90, 95 and 98 %
    "random": "85 / 46 / 21",
    "magnitude": "95 / 93 / 11",
    "SNIP": "95.3 / 93.5 / 88.1",
    "ProsPr, 3 steps": "95.4 / 93.7 / 88.2",
}


def he(network, rng) -> dict:
    """Normal with the variance 2 / n, where a unit has n inputs; no biases."""
    return network.init(rng)


def default(network, rng) -> dict:
    """PyTorch's: uniform within 1 / sqrt(n), the biases too. The variance is a sixth of He's."""
    drawn = {}
    for name, shape in network.shapes.items():
        if len(shape) > 1:
            within = prod(shape[1:]) ** -0.5
        drawn[name] = rng.uniform(-within, within, shape)
    return drawn


def flat(seed: int) -> tuple:
    """(digits, labels, digits to test, labels), split by `seed`."""
    return tuple(digits.load(seed))


def square(seed: int) -> tuple:
    """The same as images of one channel."""
    x, y, test, test_y = digits.load(seed)
    x, test = (part.reshape(-1, 1, 8, 8).astype("float32") for part in (x, test))
    return x, y, test, test_y


@cache
def images(seed: int = 0, folder: str | None = None) -> tuple:
    """Those of 28 x 28 pixels, which are not split by the seed."""
    return make_woodfisher.images(folder)[1:] if seed == 0 else images(0, folder)


@dataclass(frozen=True)
class Setting:
    """A network, its images, how it starts, what its scores are taken from, and how it is trained."""

    network: Any
    data: Callable
    training: dict
    seeds: int
    init: Callable = he
    looks: int | None = None  # so many images, else all
    scale: float = 1.0  # of the weights, while they are scored


def falling(done: float) -> float:
    """The learning rate, as a share of the first."""
    return 1 - done


def trained_for(epochs: int, lr: float) -> dict:
    return {"epochs": epochs, "lr": lr, "batch_size": 128, "schedule": falling}


DIGITS = Setting(rp.mlp([64, 256, 64, 10]), flat, trained_for(30, 0.2), 10)
IMAGES = Setting(rp.mlp([784, 40, 20, 10]), images, trained_for(3, 0.05), 5, default, 6000)
FILTERS = rp.Network(
    [
        *(rp.Conv2d(1, 16, 3, padding=1), rp.ReLU()),
        *(rp.Conv2d(16, 32, 3, stride=2, padding=1), rp.ReLU()),
        *(rp.Conv2d(32, 32, 3, stride=2, padding=1), rp.ReLU()),
        *(rp.Flatten(), rp.Dense(128, 10)),
    ]
)
CONVOLUTIONS = Setting(FILTERS, square, trained_for(15, 0.1), 5)


def tempered(network, params, x, y, pattern, rng, temperature=200):
    """The masks of GraSP with the outputs divided by `temperature`."""
    divided = rp.Network([*network.layers, rp.Dense(10, 10, bias=False)])
    last = {f"{len(network.layers)}.weight": np.eye(10) / temperature}
    g = divided.flatten(divided.gradient(params | last, x, y))
    g[network.size :] = 0  # the division is no parameter
    Hg = network.unflatten(divided.hvp(params | last, x, y, g)[: network.size])
    flow = np.concatenate([(params[name] * Hg[name]).ravel() for name in network.prunable])
    mask = rp.magnitude(flow - flow.min(), pattern).mask
    ends = np.cumsum([params[name].size for name in network.prunable])
    parts = zip(network.prunable, np.split(mask, ends[:-1]), strict=True)
    return {name: part.reshape(params[name].shape) for name, part in parts}


def shuffled(choose):
    """The choice, of which no more is left than how many weights each layer keeps."""

    def drawn(network, params, x, y, pattern, rng):
        masks = choose(network, params, x, y, pattern, rng)
        return {name: rng.permutation(mask.ravel()).reshape(mask.shape) for name, mask in masks.items()}

    return drawn


def ahead(steps, lr=0.1, **options):
    """ProsPr over so many steps, each on 256 images; without a step SNIP."""

    def choose(network, params, x, y, pattern, rng):
        batches = [(x[own], y[own]) for own in (rng.choice(len(x), 256, False) for _ in range(steps + 1))]
        return rp.prospr(network, params, batches, pattern, lr, momentum=0.9, **options).mask

    return choose


def on_a_batch(method, **options):
    return lambda network, params, x, y, pattern, rng: (
        method(network, params, (x, y), pattern, **options).mask
    )


def by_paths(steps):
    return lambda network, params, x, y, pattern, rng: (
        rp.synflow(network, params, x.shape[1:], pattern, steps).mask
    )


CHOICES = {  # (network, params, x, y, pattern, rng) -> masks
    "random": lambda network, params, x, y, pattern, rng: (
        rp.random_pruning(network, params, pattern, rng).mask
    ),
    "magnitude": lambda network, params, x, y, pattern, rng: (
        rp.iterative_magnitude(network, params, pattern, steps=1, progress=False).mask
    ),
    "GraSP": on_a_batch(rp.grasp),
    "GraSP, outputs / 200": tempered,
    "SNIP": on_a_batch(rp.snip),
    "iterative SNIP": on_a_batch(rp.force, revive=False),
    "FORCE": on_a_batch(rp.force),
    "ProsPr, 1 step": ahead(1),
    "ProsPr, 3 steps": ahead(3),
    "ProsPr, 10 steps": ahead(10),
    "ProsPr, 3 steps, first order": ahead(3, first_order=True),
    "SynFlow, 1 step": by_paths(1),
    "SynFlow": by_paths(100),
}
CHOICES |= {f"{name}, shuffled": shuffled(CHOICES[name]) for name in ("SNIP", "ProsPr, 3 steps", "SynFlow")}
MORE = {"SNIP of 256 images": ahead(0), "ProsPr, 3 steps, lr 0.01": ahead(3, lr=0.01)}
SCORES = ("GraSP", "SNIP", "iterative SNIP", "FORCE", "ProsPr, 3 steps")
FEW = ("random", "magnitude", *SCORES, "SynFlow", "SNIP, shuffled")


def learned(setting: Setting, choice: str, share: float, seed: int) -> tuple:
    """(accuracy on held out images after training, how many weights each layer keeps)."""
    x, y, test, test_y = setting.data(seed)
    network, rng = setting.network, np.random.default_rng(seed)
    params = setting.init(network, np.random.default_rng(seed))
    params = {name: value.astype(x.dtype) for name, value in params.items()}
    seen = slice(None) if setting.looks is None else rng.choice(len(x), setting.looks, replace=False)
    scored = {name: setting.scale * value for name, value in params.items()}
    pattern = rp.Unstructured(sparsity=share)
    masks = (CHOICES | MORE)[choice](network, scored, x[seen], y[seen], pattern, rng)
    start = params | {name: params[name] * mask for name, mask in masks.items()}
    trained = rp.train(network, start, x, y, masks=masks, rng=seed, progress=False, **setting.training)
    return rp.accuracy(network, trained, test, test_y), [int(mask.sum()) for mask in masks.values()]


def measured(setting: Setting, choice: str, share: float, each=map) -> tuple:
    """(mean and deviation of the accuracies of all seeds in words, what their layers keep)."""
    right, kept = zip(*each(partial(learned, setting, choice, share), range(setting.seeds)), strict=True)
    return f"{np.mean(right):.1%} ± {np.std(right, ddof=1):.1%}", np.array(kept)


def by_share(rows: dict, shares=SHARES, last: str = KEPT, each=map) -> Iterator[tuple]:
    """The head, the network that is not pruned, and a line for every name in `rows`, a (setting, choice)."""
    yield "chosen by", *(f"{share:.0%}" for share in shares), last
    whole, _ = measured(next(iter(rows.values()))[0], "random", 0, each)
    yield "nothing pruned", *[whole] * len(shares), ""
    for name, (setting, choice) in rows.items():
        found, counts = zip(*(measured(setting, choice, share, each) for share in shares), strict=True)
        means = (str(round(number)) for number in counts[-1].mean(axis=0))
        yield name, *found, counts[-1].min() if last == FEWEST else " / ".join(means)


def by_start(each=map) -> Iterator[tuple]:
    """What becomes of the choices on digits when their scores, or their networks, start elsewhere."""
    settings = {
        "He's": DIGITS,
        "He's, scored at 1/√6": replace(DIGITS, scale=SMALL),
        "PyTorch's": replace(DIGITS, init=default),
        "He's, 150 epochs": replace(DIGITS, training=trained_for(150, 0.2)),
    }
    yield "chosen by", "pruned", *settings
    for name, share in ("GraSP", 0.8), *((name, 0.98) for name in (*SCORES, *MORE)):
        yield name, f"{share:.0%}", *(measured(own, name, share, each)[0] for own in settings.values())


def with_those(lines) -> Iterator[tuple]:
    """The lines with a column more: what was found on MNIST by others."""
    for name, *cells in lines:
        yield name, *cells, "independent runs on MNIST" if name == "chosen by" else THERE.get(name, "")


def main(folder: str | None = None) -> None:
    """All tables, by two processes."""
    small, large = replace(CONVOLUTIONS, scale=SMALL), replace(IMAGES, data=partial(images, folder=folder))
    filters = {name: (CONVOLUTIONS, name) for name in FEW}
    filters |= {f"{name}, scored at 1/√6": (small, name) for name in SCORES}
    pixels = {name: (large, name) for name in FEW}
    pixels |= {f"{name}, He's weights": (replace(large, init=he), name) for name in ("magnitude", "SNIP")}
    table = {name: (DIGITS, name) for name in CHOICES}
    with ProcessPoolExecutor(2) as pool:
        each = pool.map
        store("before_training_start.csv", by_start(each))
        store("before_training_filters.csv", by_share(filters, each=each))
        store("before_training_mnist.csv", with_those(by_share(pixels, SHARES[1:], each=each)))
        store("before_training.csv", by_share(table, last=FEWEST, each=each))


if __name__ == "__main__":
    main(*sys.argv[1:2])
