"""Writes `before_training.csv` beside itself: networks that read digits, pruned before training, and what they learn.

Run it by hand when a method of pruning before training changes: `python docs/make_before_training.py`. It takes some
minutes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from csv_tables import store

import refprune as rp
from refprune.demo import digits

SEEDS, SHARES = range(10), (0.8, 0.9, 0.95, 0.98)
NETWORK = rp.mlp([64, 256, 64, 10])
TRAINING = {"epochs": 30, "lr": 0.2, "batch_size": 128, "schedule": lambda done: 1 - done}


def tempered(params, x, y, pattern, temperature):
    """The masks of GraSP with the outputs divided by `temperature`."""
    divided = rp.Network([*NETWORK.layers, rp.Dense(10, 10, bias=False)])
    last = {f"{len(NETWORK.layers)}.weight": np.eye(10) / temperature}
    g = divided.flatten(divided.gradient(params | last, x, y))
    g[NETWORK.size :] = 0  # the division is no parameter
    Hg = NETWORK.unflatten(divided.hvp(params | last, x, y, g)[: NETWORK.size])
    flow = np.concatenate([(params[name] * Hg[name]).ravel() for name in NETWORK.prunable])
    return unraveled(rp.magnitude(flow - flow.min(), pattern).mask, params)


def unraveled(mask, params):
    """A mask for every weight, from one for all of them."""
    ends = np.cumsum([params[name].size for name in NETWORK.prunable])
    parts = zip(NETWORK.prunable, np.split(mask, ends[:-1]), strict=True)
    return {name: part.reshape(params[name].shape) for name, part in parts}


def shuffled(choose):
    """The choice, of which no more is left than how many weights each layer keeps."""

    def drawn(params, x, y, pattern, rng):
        masks = choose(params, x, y, pattern, rng)
        return {name: rng.permutation(mask.ravel()).reshape(mask.shape) for name, mask in masks.items()}

    return drawn


def ahead(steps, **options):
    """ProsPr over so many steps, each on 256 images."""

    def choose(params, x, y, pattern, rng):
        batches = [(x[own], y[own]) for own in (rng.choice(len(x), 256, False) for _ in range(steps + 1))]
        return rp.prospr(NETWORK, params, batches, pattern, lr=0.1, momentum=0.9, **options).mask

    return choose


CHOICES = {  # (params, x, y, pattern, rng) -> masks
    "random": lambda params, x, y, pattern, rng: rp.random_pruning(NETWORK, params, pattern, rng).mask,
    "magnitude": lambda params, x, y, pattern, rng: (
        rp.iterative_magnitude(NETWORK, params, pattern, steps=1, progress=False).mask
    ),
    "GraSP": lambda params, x, y, pattern, rng: rp.grasp(NETWORK, params, (x, y), pattern).mask,
    "GraSP, outputs / 200": lambda params, x, y, pattern, rng: tempered(params, x, y, pattern, 200),
    "SNIP": lambda params, x, y, pattern, rng: rp.snip(NETWORK, params, (x, y), pattern).mask,
    "iterative SNIP": lambda params, x, y, pattern, rng: (
        rp.force(NETWORK, params, (x, y), pattern, revive=False).mask
    ),
    "FORCE": lambda params, x, y, pattern, rng: rp.force(NETWORK, params, (x, y), pattern).mask,
    "ProsPr, 1 step": ahead(1),
    "ProsPr, 3 steps": ahead(3),
    "ProsPr, 10 steps": ahead(10),
    "ProsPr, 3 steps, first order": ahead(3, first_order=True),
    "SynFlow, 1 step": lambda params, x, y, pattern, rng: rp.synflow(NETWORK, params, (64,), pattern, 1).mask,
    "SynFlow": lambda params, x, y, pattern, rng: rp.synflow(NETWORK, params, (64,), pattern).mask,
}
CHOICES |= {f"{name}, shuffled": shuffled(CHOICES[name]) for name in ("SNIP", "ProsPr, 3 steps", "SynFlow")}


def learned(seed, choose, share):
    """(accuracy on held out digits after training, the fewest weights kept in a layer)."""
    data, params = digits.load(seed), NETWORK.init(np.random.default_rng(seed))
    x, y = data.train_x, data.train_y
    masks = choose(params, x, y, rp.Unstructured(sparsity=share), np.random.default_rng(seed))
    start = params | {name: params[name] * mask for name, mask in masks.items()}
    trained = rp.train(NETWORK, start, x, y, masks=masks, rng=seed, progress=False, **TRAINING)
    right = rp.accuracy(NETWORK, trained, data.test_x, data.test_y)
    return right, min(int(mask.sum()) for mask in masks.values())


def lines():
    """The head, the network that is not pruned, and a line for each choice."""
    yield "chosen by", *(f"{share:.0%}" for share in SHARES), f"fewest in a layer at {SHARES[-1]:.0%}"
    whole = [learned(seed, CHOICES["random"], 0)[0] for seed in SEEDS]
    yield "nothing pruned", *[f"{np.mean(whole):.1%} ± {np.std(whole, ddof=1):.1%}"] * len(SHARES), ""
    for name, choose in CHOICES.items():
        found = np.array([[learned(seed, choose, share) for share in SHARES] for seed in SEEDS])
        mean, spread = found[:, :, 0].mean(axis=0), found[:, :, 0].std(axis=0, ddof=1)
        cells = (f"{m:.1%} ± {s:.1%}" for m, s in zip(mean, spread, strict=True))
        yield name, *cells, int(found[:, -1, 1].min())


if __name__ == "__main__":
    store("before_training.csv", lines())
