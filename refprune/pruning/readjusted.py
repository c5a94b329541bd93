"""What SNOWS did to each layer: rows for the report of a network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Readjusted:
    r"""What happened to one layer.

    Parameters
    ----------
    layer : str
        Its key: ``"3.body.0"``.
    weights, pruned : int
        The number of weights, and of those that the mask prunes.
    sparsity : float
        The second as a share of the first.
    compared : tuple of str
        The keys of the layers whose outputs are compared; empty for a layer that was not readjusted.
    before, after : float, optional
        :math:`F(V) = \sum_j \| y_j(V) - t_j \|^2` over all samples, in the reduction that was asked for; None for a
        layer that was not readjusted.
    trace : tuple
        A :class:`refprune.methods.newton_cg.NewtonStep` for every point.
    seconds : float
        All together.
    """

    layer: str
    weights: int
    pruned: int
    sparsity: float
    compared: tuple = ()
    before: float | None = None
    after: float | None = None
    trace: tuple = ()
    seconds: float = 0.0

    head = (
        "layer",
        "outputs",
        "Newton-CG",
        "weights",
        "pruned",
        "sparsity",
        "F before",
        "F after",
        "seconds",
    )
    note = ""

    @property
    def steps(self) -> int:
        """How many Newton steps were made."""
        return sum(step.step > 0 for step in self.trace)

    @property
    def products(self) -> int:
        """How many steps of conjugate gradients were made in all of them."""
        return sum(step.iterations for step in self.trace)

    def cells(self):
        """The entries of the table, as words."""
        numbers = (str(self.weights), str(self.pruned), f"{self.sparsity:.2%}")
        if not self.trace:
            return (self.layer, "", "", *numbers, "", "", f"{self.seconds:.2f}")
        solver = f"{self.steps} steps, {self.products} CG, {self.trace[-1].reason}"
        values = (f"{self.before:.4g}", f"{self.after:.4g}", f"{self.seconds:.2f}")
        return (self.layer, str(len(self.compared)), solver, *numbers, *values)
