r"""Which zeros are allowed: unstructured, N of M, blocks and groups.

Model: a weight has rows (outputs) and columns (inputs). A vector is one row; a convolution weight
(out, in, kh, kw) has a row for each output channel, and N:M and Blocks run along its input channels at one
kernel position. A mask is boolean, True = kept.
Problem: `pattern.mask(scores)` keeps the largest scores that the pattern allows.
Ties: among equals the lowest index is pruned first (flat C order; unit order for blocks and groups).
Cost: a stable sort, O(N log N) for N weights.
Source: counts and orientation are the conventions of refprune; N counts the *kept* of every M.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import prod
from numbers import Real

import numpy as np

from refprune.arrays import Array, boolean, concat, full, integer, namespace, smallest, to_numpy
from refprune.blocks import Blocks, Groups
from refprune.counts import RULES, check_amount, prune_count, units_to_prune
from refprune.layout import along_inputs, back, check_scope, dims, given, prune

__all__ = ["NM", "Blocks", "Groups", "Pattern", "Unstructured", "prune_count"]


@dataclass(frozen=True)
class Unstructured:
    """Any weights, up to a count.

    Parameters
    ----------
    sparsity : float, int, Fraction or Decimal, optional
        The share of weights to prune, in [0, 1]; see `prune_count` for its exact meaning.
    keep : int, optional
        The number of weights to keep in each scope. Exactly one of `sparsity` and `keep` is given.
    scope : {"network", "layer", "row"}, optional
        Within what the weights compete. None is the method's own; for `mask` that is "layer".
    count_rule : {"round", "floor", "ceil", "strict"}
        How a count that is not whole is rounded; it acts on the pruned count.

    Raises
    ------
    TypeError, ValueError
        Both or none of `sparsity` and `keep`; a share outside [0, 1]; a `keep` that is no integer.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Unstructured(sparsity=0.5).mask(np.array([[1.0, 4.0], [3.0, 2.0]]))
    array([[False,  True],
           [ True, False]])
    >>> rp.Unstructured(keep=1, scope="row").mask(np.array([[1.0, 4.0], [3.0, 3.0]]))  # a tie: index 0 goes
    array([[False,  True],
           [False,  True]])
    """

    sparsity: Real | Decimal | None = None
    keep: int | None = None
    scope: str | None = None
    count_rule: str = "round"

    def __post_init__(self):
        check_amount(self)
        check_scope(self, ("network", "layer", "row"))
        if self.count_rule not in RULES:
            raise ValueError(f"need count_rule to be one of {', '.join(RULES)}; got {self.count_rule!r}")
        if self.keep is not None and self.count_rule != "round":
            raise ValueError(f"need count_rule 'round' with keep, which is a count; got {self.count_rule!r}")

    def on(self, problem) -> "Unstructured":
        """The pattern itself: it reads every layer problem in the same way (see `Groups.on`)."""
        return self

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The unit of every weight, a NumPy int array of `shape`: its flat index."""
        dims(shape)
        return np.arange(prod(shape)).reshape(shape)

    def removals(self, shape: tuple[int, ...]) -> int:
        """The number of weights to prune in each scope (each row, or the layer) of a weight of `shape`."""
        rows = self._rows(shape)
        return units_to_prune(self, prod(shape) // max(rows, 1), "row" if self.scope == "row" else "layer")

    def _rows(self, shape):
        """The number of scopes: the rows, or one."""
        if self.scope == "network":
            raise ValueError("need scope 'layer' or 'row' for one array; got 'network'")
        return dims(shape)[0] if self.scope == "row" else 1

    def mask(self, scores: Array, prior: Array | None = None) -> Array:
        """Keep the largest `scores`; weights that `prior` marks False are pruned first, and counted."""
        scores, prior = given(scores, prior)
        xp, count, lines = namespace(scores), self.removals(scores.shape), self._rows(scores.shape)
        if 0 in scores.shape:
            return full(scores.shape, True, scores, dtype="bool")
        zeros = None if prior is None else xp.reshape(xp.logical_not(prior), (lines, -1))
        kept = prune(xp.reshape(scores, (lines, -1)), count, zeros, self.scope or "layer")
        return xp.reshape(kept, scores.shape)

    def admits(self, mask: Array) -> bool:
        """Whether `mask` prunes exactly as many weights as the pattern asks for, in every scope."""
        mask = to_numpy(boolean("mask", mask))
        count, lines = self.removals(mask.shape), self._rows(mask.shape)
        pruned = ~mask.reshape(lines, prod(mask.shape) // max(lines, 1))
        return bool(np.all(pruned.sum(axis=1) == count))


@dataclass(frozen=True)
class NM:
    """At most `n` kept weights in every `m` consecutive inputs of a row; `NM(1, 4)` keeps one of four.

    Groups are aligned to the layer: inputs 0 to m - 1 are the first one. For a convolution weight they run
    along the input channels, at one kernel position.

    Parameters
    ----------
    n, m : int
        0 <= n <= m and m >= 1.
    remainder : {"error", "dense"}
        What happens to the last inputs when their number is not a multiple of m: a ValueError, or they stay
        dense.

    Raises
    ------
    TypeError, ValueError
        `n` or `m` no integers or out of range; in the methods, inputs that do not fill a group.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.NM(1, 2).mask(np.array([[1.0, 4.0, 3.0, 2.0]]))
    array([[False,  True,  True, False]])
    >>> rp.NM(1, 2).admits(np.array([[False, False, True, False]]))  # fewer than n may be kept
    True
    """

    n: int
    m: int
    remainder: str = "error"

    def __post_init__(self):
        object.__setattr__(self, "m", integer("m", self.m, least=1))
        object.__setattr__(self, "n", integer("n", self.n, least=0, most=self.m))
        if self.remainder not in ("error", "dense"):
            raise ValueError(f"need remainder to be error or dense; got {self.remainder!r}")

    def _groups(self, inputs):
        """The number of whole groups of a row at one kernel position."""
        if inputs % self.m and self.remainder == "error":
            raise ValueError(
                f"need columns in a multiple of m = {self.m}, or remainder='dense'; got {inputs}"
            )
        return inputs // self.m

    def on(self, problem) -> "NM":
        """The pattern itself: it reads every layer problem in the same way (see `Groups.on`)."""
        return self

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The group of every weight, a NumPy int array of `shape`; -1 in a remainder that stays dense.

        Groups are numbered row by row, in a row by kernel position, then along the inputs.
        """
        rows, inputs, positions = dims(shape)
        groups = self._groups(inputs)
        labels = np.full((rows, positions, inputs), -1)
        numbers = np.arange(rows * positions * groups).reshape(rows, positions, groups)
        labels[:, :, : groups * self.m] = np.repeat(numbers, self.m, axis=2)
        return back(labels, shape)

    def removals(self, shape: tuple[int, ...]) -> int:
        """The number of weights to prune in each group, m - n."""
        self._groups(dims(shape)[1])
        return self.m - self.n

    def mask(self, scores: Array, prior: Array | None = None) -> Array:
        """Keep the `n` largest `scores` of each group.

        Weights that the boolean `prior` marks False are pruned first, and never revived even where that
        leaves a group fewer than `n`.
        """
        scores, prior = given(scores, prior)
        xp, groups = namespace(scores), self._groups(dims(scores.shape)[1])
        if 0 in scores.shape:
            return full(scores.shape, True, scores, dtype="bool")
        along = along_inputs(scores)  # (rows, positions, inputs)
        zeros = full(along.shape, False, along, dtype="bool")
        zeros = zeros if prior is None else along_inputs(xp.logical_not(prior))
        spread, width = (*along.shape[:2], groups, self.m), groups * self.m
        pruned = smallest(
            xp.reshape(along[:, :, :width], spread), self.m - self.n, xp.reshape(zeros[:, :, :width], spread)
        )
        pruned = concat([xp.reshape(pruned, (*along.shape[:2], width)), zeros[:, :, width:]], axis=2)
        return back(xp.logical_not(xp.logical_or(pruned, zeros)), scores.shape)

    def admits(self, mask: Array) -> bool:
        """Whether every group of `mask` keeps at most `n` weights (a remainder that stays dense is free)."""
        mask = to_numpy(boolean("mask", mask))
        labels = self.labels(mask.shape)
        kept = mask[labels >= 0]
        return bool(np.all(np.bincount(labels[labels >= 0], weights=kept) <= self.n))


Pattern = Unstructured | NM | Blocks | Groups
