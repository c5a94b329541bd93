"""Writes `recovery.csv` beside itself: how often IHT, HTP and CoSaMP find a planted signal.

Run it by hand when one of them changes: `python docs/make_recovery.py`. It takes about a minute.
"""

import os
from collections.abc import Iterator
from functools import partial

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from csv_tables import store

import refprune as rp

SAMPLES, D, SEEDS = 128, 256, 100
NONZEROS = (10, 20, 30, 40)
METHODS = {
    "IHT, normalized": rp.iht,
    "IHT, 1 / L": partial(rp.iht, step="lipschitz"),
    "HTP, normalized": rp.htp,
    "HTP, 1 / L": partial(rp.htp, step="lipschitz"),
    "CoSaMP": rp.cosamp,
}


def planted(seed: int, few: int) -> tuple:
    """(design, signal): entries from N(0, 1 / samples); `few` nonzeros from N(0, 1)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(SAMPLES, D)) / SAMPLES**0.5
    signal = np.zeros(D)
    signal[rng.choice(D, few, replace=False)] = rng.normal(size=few)
    return A, signal


def lines() -> Iterator[list]:
    """A line for each method: signals found of `SEEDS` for each number of nonzeros; iterations at the first number."""
    yield ["method", *(f"{few} nonzeros" for few in NONZEROS), f"iterations at {NONZEROS[0]}"]
    for name, method in METHODS.items():
        found, iterations = [], []
        for few in NONZEROS:
            hits = 0
            for seed in range(SEEDS):
                A, signal = planted(seed, few)
                answer = method(rp.LeastSquares(A, A @ signal), few)
                hits += bool(np.linalg.norm(answer.weight - signal) <= 1e-6 * np.linalg.norm(signal))
                if few == NONZEROS[0]:
                    iterations.append(len(answer.trace) - 1)
            found.append(hits)
        yield [name, *found, int(np.median(iterations))]


if __name__ == "__main__":
    store("recovery.csv", lines())
