"""Writes `benchmarks.csv` and `scaling.csv` beside itself: how fast and how large ExactOBS is.

Run it by hand when the method changes: `python docs/make_benchmarks.py`. It takes about two minutes.
The figures are those of `python -m tests.benchmarks.exact_obs`.
"""

import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # arithmetic against arithmetic
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from csv_tables import store

import refprune as rp
from tests.benchmarks.exact_obs import (
    compare,
    direct_answer,
    layer,
    memory_bound,
    peak,
    scaling,
)

ROWS, COLUMNS = 128, 512


def forms():
    """The lines of `benchmarks.csv`: both forms on one layer, in one run."""
    slow, fast, equal, error = compare(ROWS, COLUMNS)
    assert equal, "the two forms chose different masks"
    W, H = layer(ROWS, COLUMNS)
    used = peak(rp.obs, rp.LayerProblem(W, H), rp.Unstructured(sparsity=0.5))
    bound = memory_bound(ROWS, COLUMNS)
    assert used <= bound, "the memory is above its bound"
    yield "form", "time (s)", "time, rp.obs = 1", "peak memory (MiB)", "stated bound (MiB)"
    yield (
        "direct",
        f"{slow[0]:.1f}",
        f"{slow[0] / fast[0]:.0f}",
        mib(peak(direct_answer, W, H, W.size // 2)),
        "",
    )
    yield "``rp.obs``", f"{fast[0]:.2f}", "1", mib(used), mib(bound)
    print(f"masks are equal, weights differ by at most {error:.1e}")


def widths():
    """The lines of `scaling.csv`: 32 rows, doubling the columns."""
    yield (
        "columns",
        "heap (s)",
        "growth",
        "one budget a row (s)",
        "2:4 (s)",
        "peak memory (MiB)",
        "stated bound (MiB)",
    )
    before = None
    for width, heap, row, nm, used, bound in scaling():
        growth = "" if before is None else f"{heap / before:.1f}"
        yield width, f"{heap:.2f}", growth, f"{row:.2f}", f"{nm:.2f}", f"{used:.0f}", f"{bound:.0f}"
        before = heap


def mib(number):
    """Bytes as whole MiB."""
    return f"{number / 2**20:.0f}"


def main() -> None:
    """Measure, print and store both tables."""
    store("benchmarks.csv", forms())
    store("scaling.csv", widths())


if __name__ == "__main__":
    main()
