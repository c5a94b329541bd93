"""What `rp.prune` did to each layer, as a table and as plain data."""

from dataclasses import asdict, dataclass, fields

from refprune.patterns import Groups


@dataclass(frozen=True)
class Row:
    r"""What happened to one layer.

    Parameters
    ----------
    layer : str
        Its key: ``"3.body.0"``.
    method, pattern : str
        The name of the method and the pattern in short; ``"dense"`` where the layer was left as it is.
    weights, pruned : int
        The number of weights, and of those that are pruned in the end, read off the mask.
    sparsity : float
        The second as a share of the first.
    objective : float
        :math:`\frac12 \mathrm{tr}\,(V - W) G (V - W)^T`, half the mean square of the change of the layer's
        outputs, for the inputs that it was pruned for.
    error : float
        The root of the objective's share of :math:`\frac12 \mathrm{tr}\, W G W^T`: the change of the outputs
        relative to the outputs without bias.
    dead : int, optional
        How many inputs were 0 in every sample; None where nobody counted: a dense layer, i-SpaSP.
    seconds : float
        In the method.
    note : str
        Why a layer stayed dense although its pattern is another, and which rows it lost with its units.
    """

    layer: str
    method: str
    pattern: str
    weights: int
    pruned: int
    sparsity: float
    objective: float
    error: float
    dead: int | None
    seconds: float
    note: str = ""

    head = (
        "layer", "method", "pattern", "weights", "pruned", "sparsity", "objective", "output error", "seconds"
    )  # fmt: skip

    def cells(self):
        """The entries of the table, as words."""
        numbers = (
            f"{self.sparsity:.2%}",
            f"{self.objective:.4g}",
            f"{self.error:.2%}",
            f"{self.seconds:.2f}",
        )
        return (self.layer, self.method, self.pattern, str(self.weights), str(self.pruned), *numbers)


@dataclass(frozen=True)
class Report:
    """What happened to each layer of a network.

    Parameters
    ----------
    layers : tuple of Row
        In flat order; of :class:`refprune.pruning.readjusted.Readjusted` after `rp.snows`.
    calibration : str
        ``"pruned"`` or ``"dense"``.
    seconds : float
        All together, with the passes through the network.
    accuracy : tuple of two floats, optional
        Of the dense and of the pruned network on the inputs, where targets were given.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1, bias=False)])
    >>> params, x = {"0.weight": np.array([[2.0, 1.0]])}, np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> report = rp.prune(network, params, x, "magnitude", rp.Unstructured(keep=1)).report
    >>> report.layers[0].objective, report.sparsity  # 1^2 * 1^2 / 2, over 2 samples
    (0.25, 0.5)
    >>> report.to_dict()["total"]
    {'weights': 2, 'pruned': 1, 'sparsity': 0.5}
    """

    layers: tuple
    calibration: str
    seconds: float
    accuracy: tuple | None = None

    @property
    def weights(self) -> int:
        """The number of prunable weights."""
        return sum(row.weights for row in self.layers)

    @property
    def pruned(self) -> int:
        """The number of weights that are pruned."""
        return sum(row.pruned for row in self.layers)

    @property
    def sparsity(self) -> float:
        """The share of prunable weights that are pruned."""
        return self.pruned / self.weights

    def to_dict(self) -> dict:
        """The report as plain numbers, strings, lists and dicts, ready for JSON."""
        totals = {"weights": self.weights, "pruned": self.pruned, "sparsity": self.sparsity}
        accuracy = None if self.accuracy is None else dict(zip(("dense", "pruned"), self.accuracy))
        head = {"calibration": self.calibration, "seconds": self.seconds, "accuracy": accuracy}
        return {"layers": [asdict(row) for row in self.layers], "total": totals, **head}

    def __str__(self):
        total = ("total", "", "", str(self.weights), str(self.pruned), f"{self.sparsity:.2%}", "", "")
        head = self.layers[0].head
        lines = [head, *(row.cells() for row in self.layers), (*total, f"{self.seconds:.2f}")]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        text += [f"layer {row.layer}: {row.note}" for row in self.layers if row.note]
        if self.accuracy is not None:
            text.append(f"accuracy: dense {self.accuracy[0]:.2%}, pruned {self.accuracy[1]:.2%}")
        return "\n".join(text)


def words(pattern) -> str:
    """A pattern in short: its name and the arguments that are not the defaults."""
    if pattern is None:
        return "dense"
    given = []
    names = ("sparsity", "keep", "axis") if isinstance(pattern, Groups) else [f.name for f in fields(pattern)]
    for name in names:
        value = getattr(pattern, name)
        if name in ("n", "m", "size"):
            given.append(str(value))
        elif value is not None and (name, value) not in DEFAULTS:
            given.append(f"{name}={value}")
    return f"{type(pattern).__name__}({', '.join(given)})"


DEFAULTS = (("count_rule", "round"), ("remainder", "error"), ("axis", 0))
