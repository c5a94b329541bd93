"""Writes `iht_speed.csv` and `ispasp_speed.csv` beside itself: IHT and i-SpaSP beside their products.

Run it by hand when the methods change, on a machine that does nothing else: `python docs/make_recovery_benchmarks.py`.
It takes about two minutes. The figures are those of `python -m tests.benchmarks.sparse_recovery`.
"""

import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # arithmetic against arithmetic
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from csv_tables import store

from tests.benchmarks.sparse_recovery import RULES, iteration, search


def iterations():
    """The lines of `iht_speed.csv`: 2,000 x 4,000, two step rules, two supports."""
    yield "weights kept", "dtype", "step", "an iteration (ms)", "A w and A^T r (ms)", "ratio"
    for keep in (100, 1000):
        for dtype in ("float64", "float32"):
            for rule in RULES:
                mine, products = iteration(rule, keep=keep, dtype=dtype)
                yield (
                    keep,
                    dtype,
                    rule,
                    f"{mine * 1e3:.2f}",
                    f"{products * 1e3:.2f}",
                    f"{mine / products:.2f}",
                )


def searches():
    """The lines of `ispasp_speed.csv`: 4,096 units, 10,000 samples, a quarter of the units kept."""
    yield "outputs", "importance", "iterations", "``rp.ispasp`` (s)", "its products (s)", "ratio"
    for outputs in (10, 256):
        for importance in ("signed", "absolute"):
            count, mine, products = search(outputs=outputs, importance=importance)
            yield outputs, importance, count, f"{mine:.2f}", f"{products:.2f}", f"{mine / products:.2f}"


def main() -> None:
    """Measure, print and store both tables."""
    store("iht_speed.csv", iterations())
    store("ispasp_speed.csv", searches())


if __name__ == "__main__":
    main()
