"""Writes `sharpness.csv` beside itself: answers with one wrong step, by condition and dtype.

Run it by hand when the certificate or its bounds change: `python docs/make_sharpness.py`. It takes about two minutes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the arrays are small

from csv_tables import store

from refprune.testing.sharpness import GREEDY, MISTAKES, lone_mistakes

WRONG = 60  # wrong answers that are asked for in each cell


def lines():
    """One line for each contract, dtype and decade of the condition."""
    yield ["contract", "dtype", "condition", *MISTAKES, "near ties left out"]
    for contract in GREEDY:
        for dtype in ("float64", "float32"):
            rows = lone_mistakes(contract, dtype, examples=WRONG)
            for low in sorted({row.low for row in rows}):
                cells = [
                    row for mistake in MISTAKES for row in rows if (row.low, row.mistake) == (low, mistake)
                ]
                decade = f"{cells[0].low:.0e} to {cells[0].high:.0e}"
                near = sum(row.near_ties for row in cells)
                counts = [f"{row.passed + row.undecided} of {row.wrong}" for row in cells]
                yield [contract, dtype, decade, *counts, near]


if __name__ == "__main__":
    store("sharpness.csv", lines())
