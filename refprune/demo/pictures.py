"""The two pictures of the demo: accuracy against sparsity, and the masks of the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from refprune.demo.compress import METHODS, Result

# Colours that stay apart for colour-blind readers (Okabe and Ito), and a marker each for grey print.
LOOKS = dict(
    zip(METHODS, [("#7f7f7f", "s", "-"), ("#e69f00", "D", "-"), ("#56b4e9", "o", "-"), ("#0072b2", "^", "-")])
)


def _figure(width: float, height: float) -> Figure:
    """Return a figure that draws without a display and touches no global state of pyplot."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def accuracy_picture(results: list[Result], dense: float) -> Figure:
    """Draw test accuracy against the share of zeros, one line per method; N:M patterns are hollow marks."""
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    axes.axhline(100 * dense, color="black", linewidth=0.8, linestyle=":")
    axes.text(50.3, 100 * dense + 0.7, "not pruned", fontsize=8)
    for method, (colour, marker, line) in LOOKS.items():
        plain = [r for r in results if r.method == method and r.pattern.endswith("%")]
        places = [float(r.pattern.removesuffix("%")) for r in plain]
        values = [100 * r.accuracy for r in plain]
        axes.plot(places, values, line, color=colour, marker=marker, label=method)
        grouped = [r for r in results if r.method == method and ":" in r.pattern]
        places = [100 * (1 - _share(r.pattern)) for r in grouped]
        values = [100 * r.accuracy for r in grouped]
        axes.plot(
            places,
            values,
            linestyle="none",
            marker=marker,
            markerfacecolor="none",
            color=colour,
            markersize=8,
        )
    for pattern in ("2:4", "1:4"):
        axes.annotate(pattern, (100 * (1 - _share(pattern)), 0), (0, 4), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    axes.set(
        xlabel="zeros in every layer [%]", ylabel="test accuracy [%]", title="Digits: accuracy after pruning"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=9)
    return figure


def _share(pattern: str) -> float:
    """Return the share of kept weights of an N:M pattern.

    >>> _share("1:4")
    0.25
    """
    kept, group = pattern.split(":")
    return int(kept) / int(group)


def mask_picture(results: list[Result], pattern: str = "90 %") -> Figure:
    """Draw the first layer's masks at one pattern, and below them how many neurons still see each pixel."""
    chosen = [result for result in results if result.pattern == pattern]
    figure = _figure(2.4 * len(chosen), 4.4)
    axes = figure.subplots(2, len(chosen), height_ratios=(48, 56))
    seen = [np.asarray(result.masks[0]).sum(axis=0).reshape(8, 8) for result in chosen]
    top = max(int(counts.max()) for counts in seen)
    for result, counts, (above, below) in zip(chosen, seen, axes.T):
        above.imshow(~result.masks[0], cmap="gray", aspect="auto", interpolation="nearest")
        above.set_title(f"{result.method}\n{result.accuracy:.1%}", fontsize=10)
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
