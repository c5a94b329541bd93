"""What `refprune demo` prints, from the first line to the last."""

from __future__ import annotations

import importlib
import inspect
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax

import refprune as rp
from refprune import console as reports
from refprune import testing
from refprune.demo import digits, mlp, pictures
from refprune.demo.compress import DAMP, GRADIENTS, STAGES, measure_all
from refprune.demo.table import table


class Kernel(NamedTuple):
    """A kernel to judge, what it is, and the verdict that it deserves."""

    module: str
    title: str
    contract: str
    outcome: str
    looks_like: tuple[str, ...]


KERNELS = (
    Kernel("refprune.demo.kernels.right", "a right kernel", "exact-obs", "pass", ()),
    Kernel(
        "refprune.demo.kernels.stale",
        "the same, but the inverse is never updated",
        "exact-obs",
        "fail",
        ("stale-inverse",),
    ),
    Kernel(
        "refprune.demo.kernels.zeros",
        "N read as zeros: right for 2:4, wrong for 1:4",
        "magnitude-nm",
        "fail",
        ("n-read-as-zeros",),
    ),
)


def main(out: str = "refprune-demo", quick: bool = False) -> int:
    """Run the demo: a table, two pictures in the folder `out`, three verdicts.

    Parameters
    ----------
    out
        Folder for `accuracy.png` and `masks.png`; made when it is not there.
    quick
        Judge each kernel on 40 cases instead of 200.

    Returns
    -------
    int
        Exit status: 0 when every kernel got the verdict that it deserves, else 1.
    """
    console = Console(width=None if sys.stdout.isatty() else reports.WIDTH, highlight=False)
    begin = time.perf_counter()
    console.print(Rule("1. prune a network"))
    _prune(console, Path(out))
    right = [
        _judge(console, number, kernel, 40 if quick else 200)
        for number, kernel in enumerate(KERNELS, start=2)
    ]
    console.print(Rule())
    console.print(
        f"{sum(right)} of {len(right)} verdicts as they should be, {time.perf_counter() - begin:.0f} s."
    )
    return 0 if all(right) else 1


def _prune(console: Console, out: Path) -> None:
    """Train, prune in every way, print the table and save the pictures."""
    data = digits.load()
    begin = time.perf_counter()
    network, params = mlp.train(data.train_x, data.train_y)
    seconds = time.perf_counter() - begin
    dense = rp.accuracy(network, params, data.test_x, data.test_y)
    sizes = "-".join(map(str, mlp.SIZES))
    console.print(
        f"A {sizes} network, trained on {len(data.train_y)} handwritten digits in {seconds:.1f} s: "
        f"{dense:.1%} right on {len(data.test_y)} others."
    )
    results = measure_all(network, params, data)
    console.print(table(results, dense))
    error = 50 / len(data.test_y) ** 0.5
    console.print(
        "Objective: 1/2 tr((V - W) G (V - W)^T), as a share of that of an empty layer, mean of the layers. "
        "It is measured on what the pruned layers below hand a layer, and most methods prune each layer on that. "
        f"OBS damps by {DAMP:g} of the Gram's mean diagonal. "
        f"WoodFisher has {STAGES} stages, each with the gradients of {GRADIENTS} images and their labels: "
        "it looks at the loss, and not at the objective. "
        "SNOWS fits what OBS keeps to the outputs of the whole network: a layer's own objective may rise for that. "
        "Nothing is retrained. "
        f"Accuracy has a standard error of up to {error:.1f} points."
    )
    for path in pictures.save(results, dense, out):
        console.print(f"picture: {path}", soft_wrap=True)


def _judge(console: Console, number: int, kernel: Kernel, examples: int) -> bool:
    """Print a kernel and its verdict; return whether the verdict is the one that it deserves."""
    source = inspect.getsource(importlib.import_module(kernel.module))
    implementation = f"{kernel.module}:prune"
    console.print(Rule(f"{number}. {kernel.title}"))
    console.print(Syntax(source.rstrip(), "python", background_color="default", word_wrap=True))
    command = f"\n$ refprune check {kernel.contract} {implementation} --examples {examples}\n"
    console.print(command, soft_wrap=True)
    with reports.bar(kernel.contract) as moved:
        report = testing.run(implementation, kernel.contract, examples=examples, seed=0, progress=moved)
    reports.show([report])
    return (report.outcome, tuple(report.looks_like)) == (kernel.outcome, kernel.looks_like)
