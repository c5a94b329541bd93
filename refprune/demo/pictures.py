"""The two pictures of the demo: accuracy against sparsity, and the masks of the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from refprune.demo.compress import METHODS, Result

# Colours that stay apart for colour-blind readers (Okabe and Ito), and a marker each for grey print.
LOOKS = dict(
    zip(
        METHODS,
        [
            ("#7f7f7f", "s"),
            ("#e69f00", "D"),
            ("#56b4e9", "o"),
            ("#0072b2", "^"),
            ("#cc79a7", "v"),
            ("#009e73", "P"),
        ],
        strict=True,
    )
)


def _figure(width: float, height: float) -> Figure:
    """Return a figure that draws without a display and touches no global state of pyplot."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def accuracy_picture(results: list[Result], dense: float) -> Figure:
    """Draw test accuracy against the share of zeros, one line per method, and beside it that of N:M."""
    figure = _figure(9.0, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(5, 3), sharey=True)
    for axes in (left, right):
        axes.axhline(100 * dense, color="black", linewidth=0.8, linestyle=":", label="not pruned")
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    patterns = list(dict.fromkeys(result.pattern for result in results if ":" in result.pattern))
    beside = list(dict.fromkeys(result.method for result in results if ":" in result.pattern))
    width = 0.85 / len(beside)
    for method, (colour, marker) in LOOKS.items():
        mine = [result for result in results if result.method == method]
        plain = [(_percent(r.pattern), 100 * r.accuracy) for r in mine if ":" not in r.pattern]
        left.plot(*zip(*plain), color=colour, marker=marker, label=method)
        for result in mine:
            if ":" in result.pattern:
                place = patterns.index(result.pattern) + width * (
                    beside.index(method) - (len(beside) - 1) / 2
                )
                bar = right.bar(place, 100 * result.accuracy, 0.93 * width, color=colour)
                right.bar_label(bar, fmt="%.0f", fontsize=8, padding=-12)
    left.set(xlabel="zeros in every layer [%]", ylabel="test accuracy [%]", ylim=(0, 105))
    left.set_title("any weights may go", fontsize=10)
    right.set_xticks(range(len(patterns)), patterns)
    right.set_xlabel("kept : group")
    right.set_title("N:M, in each row", fontsize=10)
    left.legend(loc="lower left", fontsize=9)
    figure.suptitle("Digits: accuracy after pruning every layer", fontsize=11)
    return figure


def _percent(pattern: str) -> float:
    """Return the number in a share.

    >>> _percent("70 %")
    70.0
    """
    return float(pattern.removesuffix("%"))


def mask_picture(results: list[Result], pattern: str = "90 %") -> Figure:
    """Draw the first layer's masks at one pattern, and below them how many neurons still see each pixel.

    SNOWS has no masks of its own.
    """
    chosen = [result for result in results if result.pattern == pattern and result.method != METHODS[-1]]
    figure = _figure(2.4 * len(chosen), 4.4)
    axes = figure.subplots(2, len(chosen), height_ratios=(48, 56))
    seen = [np.asarray(result.masks[0]).sum(axis=0).reshape(8, 8) for result in chosen]
    top = max(int(counts.max()) for counts in seen)
    for result, counts, (above, below) in zip(chosen, seen, axes.T):
        above.imshow(~result.masks[0], cmap="gray", aspect="auto", interpolation="nearest")
        above.set_title(f"{result.method}\n{result.accuracy:.1%} right", fontsize=10)
        image = below.imshow(counts, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("48 neurons\n(black: kept)", fontsize=9)
    axes[0, 0].set_xlabel("64 pixels", fontsize=9)
    axes[1, 0].set_ylabel("8 x 8 pixels", fontsize=9)
    figure.colorbar(image, ax=axes[1].tolist(), label="neurons that see the pixel", shrink=0.9)
    figure.suptitle(f"First layer at {pattern} zeros", fontsize=11)
    return figure


def save(results: list[Result], dense: float, out: Path) -> list[Path]:
    """Write both pictures as PNG files into the folder `out` and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "accuracy.png", out / "masks.png"]
    for path, figure in zip(paths, (accuracy_picture(results, dense), mask_picture(results))):
        figure.savefig(path)
    return paths
