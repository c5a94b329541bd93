"""What `refprune demo` prints, from the first line to the last."""

from __future__ import annotations

import importlib
import inspect
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax

from refprune import testing
from refprune.demo import digits, mlp, pictures
from refprune.demo.compress import DAMP, measure_all
from refprune.demo.table import table


class Kernel(NamedTuple):
    """A kernel to judge, and the verdict that it deserves."""

    module: str
    contract: str
    outcome: str


KERNELS = (
    Kernel("refprune.demo.kernels.right", "exact-obs", "pass"),
    Kernel("refprune.demo.kernels.stale", "exact-obs", "fail"),
    Kernel("refprune.demo.kernels.zeros", "magnitude-nm", "fail"),
)


def main(out: str = "refprune-demo", quick: bool = False) -> int:
    """Run the demo: a table, two pictures in the folder `out`, three verdicts.

    Parameters
    ----------
    out
        Folder for `accuracy.png` and `masks.png`; made when it is not there.
    quick
        Judge each kernel on 20 cases instead of 100.

    Returns
    -------
    int
        Exit status: 0 when every kernel got the verdict that it deserves, else 1.
    """
    console = Console()
    begin = time.perf_counter()
    _prune(console, Path(out))
    right = [_judge(console, kernel, 20 if quick else 100) for kernel in KERNELS]
    console.print(Rule())
    console.print(
        f"{sum(right)} of {len(right)} verdicts as they should be, {time.perf_counter() - begin:.0f} s."
    )
    return 0 if all(right) else 1


def _prune(console: Console, out: Path) -> None:
    """Train, prune in every way, print the table and save the pictures."""
    data = digits.load()
    begin = time.perf_counter()
    network = mlp.train(data.train_x, data.train_y)
    seconds = time.perf_counter() - begin
    dense = mlp.accuracy(network, data.test_x, data.test_y)
    sizes = "-".join(str(size) for size in (network[0][0].shape[1], *(len(bias) for _, bias in network)))
    console.print(
        f"A {sizes} network, trained on {len(data.train_y)} handwritten digits in {seconds:.1f} s: "
        f"{dense:.1%} right on {len(data.test_y)} others."
    )
    results = measure_all(network, data)
    console.print(table(results, dense))
    console.print(
        f"Test accuracy has a standard error of up to {50 / len(data.test_y) ** 0.5:.1f} points. "
        "Each layer is pruned on the outputs of the pruned layers below it. "
        f"OBS damps by {DAMP:g} of the Gram's mean diagonal. No retraining."
    )
    for path in pictures.save(results, dense, out):
        console.print(f"picture: {path}")


def _judge(console: Console, kernel: Kernel, examples: int) -> bool:
    """Print a kernel and its verdict; return whether the verdict is the one that it deserves."""
    source = inspect.getsource(importlib.import_module(kernel.module))
    console.print(Rule(f"refprune check {kernel.contract} {kernel.module}:prune --examples {examples}"))
    console.print(Syntax(source, "python", background_color="default"))
    report = testing.run(f"{kernel.module}:prune", kernel.contract, examples=examples, seed=0)
    console.print(str(report), markup=False, highlight=False)
    return report.outcome == kernel.outcome and (kernel.outcome == "pass" or bool(report.looks_like))
