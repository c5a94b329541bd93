"""Writes `sparsegpt.csv` and `sparsegpt_scaling.csv` beside itself: how fast and how large SparseGPT is.

Run it by hand when the method changes, on a machine with PyTorch that does nothing else:
`python docs/make_layerwise_benchmarks.py`. It takes about a minute. The figures are those of
`python -m tests.benchmarks.sparsegpt`.
"""

import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # arithmetic against arithmetic
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from csv_tables import store

from tests.benchmarks.sparsegpt import PATTERNS, compare, scaling


def forms():
    """The lines of `sparsegpt.csv`: both forms on one layer of 512 x 512, in turns."""
    yield (
        "zeros",
        "dtype",
        "``rp.sparsegpt`` (ms)",
        "direct form (ms)",
        "ratio",
        "masks differ in",
        "weights differ by",
    )
    for name, pattern in PATTERNS.items():
        for dtype in ("float64", "float32"):
            fast, slow, others, error = compare(pattern, dtype=dtype, repeat=25)
            seconds = f"{fast * 1e3:.0f}", f"{slow * 1e3:.0f}", f"{fast / slow:.2f}"
            yield name, dtype, *seconds, f"{others:.4%}" if others else "none", f"{error:.0e}"


def widths():
    """The lines of `sparsegpt_scaling.csv`: 512 rows, doubling the columns."""
    yield "columns", "50 % (s)", "growth", "2:4 (s)", "peak memory (MiB)", "stated bound (MiB)"
    before = None
    for width, half, nm, used, bound in scaling():
        growth = "" if before is None else f"{half / before:.1f}"
        yield width, f"{half:.2f}", growth, f"{nm:.2f}", f"{used:.0f}", f"{bound:.0f}"
        before = half


def main() -> None:
    """Measure, print and store both tables."""
    store("sparsegpt.csv", forms())
    store("sparsegpt_scaling.csv", widths())


if __name__ == "__main__":
    main()
