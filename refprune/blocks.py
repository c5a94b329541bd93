"""Patterns whose unit is more than one weight: blocks of consecutive inputs, and groups of any shape."""

from dataclasses import dataclass
from decimal import Decimal
from math import prod
from numbers import Real

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    boolean,
    dtype_name,
    from_numpy,
    full,
    integer,
    library,
    namespace,
    precision,
    to_numpy,
)
from refprune.counts import check_amount, units_to_prune
from refprune.layout import along_inputs, back, check_scope, dims, given, prune


@dataclass(frozen=True)
class Blocks:
    """Blocks of `size` consecutive inputs of a row, pruned as a whole.

    For a convolution weight a block runs along the input channels, at one kernel position.

    Parameters
    ----------
    size : int
        At least 1; size 1 is unstructured.
    sparsity : float, int, Fraction or Decimal, optional
        The share of blocks to prune, in [0, 1].
    keep : int, optional
        The number of blocks to keep in each scope. Exactly one of `sparsity` and `keep` is given.
    scope : {"layer", "row"}, optional
        Within what the blocks compete. None is the method's own; for `mask` that is "layer".

    Raises
    ------
    TypeError, ValueError
        A bad `size`, `sparsity`, `keep` or `scope`; in the methods, inputs that do not fill a block.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Blocks(2, sparsity=0.5).mask(np.array([[1.0, 4.0, 3.0, 3.0]]))
    array([[False, False,  True,  True]])
    """

    size: int
    sparsity: Real | Decimal | None = None
    keep: int | None = None
    scope: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "size", integer("size", self.size, least=1))
        check_amount(self)
        check_scope(self, ("layer", "row"))

    def _blocks(self, shape):
        """The number of blocks in each scope, and the shape of a row of blocks."""
        rows, inputs, positions = dims(shape)
        if inputs % self.size:
            raise ValueError(f"need columns in a multiple of the block size {self.size}; got {inputs}")
        per_row = positions * (inputs // self.size)
        return per_row if self.scope == "row" else rows * per_row, (rows, positions, inputs // self.size)

    def on(self, problem) -> "Blocks":
        """The pattern itself: it reads every layer problem in the same way (see `Groups.on`)."""
        return self

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The block of every weight, a NumPy int array of `shape`: row * blocks_per_row + index in the row.

        In a row, blocks are numbered by kernel position, then along the inputs.
        """
        _, spread = self._blocks(shape)
        return back(np.repeat(np.arange(prod(spread)).reshape(spread), self.size, axis=2), shape)

    def removals(self, shape: tuple[int, ...]) -> int:
        """The number of blocks to prune in each scope (each row, or the layer) of a weight of `shape`."""
        return units_to_prune(self, self._blocks(shape)[0], self.scope or "layer")

    def mask(self, scores: Array, prior: Array | None = None) -> Array:
        """Keep the blocks with the largest sums of `scores`.

        Blocks that the boolean `prior` marks False as a whole are pruned first and counted; a weight that it
        marks False in a kept block stays pruned.
        """
        scores, prior = given(scores, prior)
        xp, count = namespace(scores), self.removals(scores.shape)
        units, spread = self._blocks(scores.shape)
        if 0 in scores.shape:
            return full(scores.shape, True, scores, dtype="bool")

        def gather(array):
            return xp.reshape(along_inputs(array), (prod(spread) // units, units, self.size))

        zeros = None if prior is None else xp.all(gather(xp.logical_not(prior)), axis=2)
        sums = xp.sum(gather(astype(scores, precision(scores))), axis=2)
        kept = xp.reshape(prune(sums, count, zeros, self.scope or "layer"), (*spread, 1))
        kept = xp.reshape(xp.broadcast_to(kept, (*spread, self.size)), (*spread[:2], spread[2] * self.size))
        kept = back(kept, scores.shape)
        return kept if prior is None else xp.logical_and(kept, prior)

    def admits(self, mask: Array) -> bool:
        """Whether `mask` prunes whole blocks, as many as the pattern asks for in every scope."""
        mask = to_numpy(boolean("mask", mask))
        count, (units, spread) = self.removals(mask.shape), self._blocks(mask.shape)
        kept = along_inputs(mask).reshape(prod(spread) // max(units, 1), units, self.size)
        whole = np.all(kept.all(axis=2) == kept.any(axis=2))
        return bool(whole and np.all((~kept[:, :, 0]).sum(axis=1) == count))


@dataclass(frozen=True, eq=False, repr=False)
class Groups:
    """Groups of weights, pruned as a whole; they compete within the layer.

    Parameters
    ----------
    sparsity : float, int, Fraction or Decimal, optional
        The share of groups to prune, in [0, 1].
    keep : int, optional
        The number of groups to keep. Exactly one of `sparsity` and `keep` is given.
    axis : {0, 1}
        0: a group is an output row (a neuron, a filter). 1: an input column (of a convolution: an input
        channel). The groups of a grouped convolution read different inputs, so there channel c of group g is
        column ``g * in / groups + c`` (see `on`).
    labels : integer array, optional
        Any partition: the label of every weight, in the weight's shape; or a vector with the label of every
        line along `axis`. Any integers of int64; a copy is kept.

    Raises
    ------
    TypeError, ValueError
        A bad `sparsity`, `keep`, `axis` or `labels`; in the methods, labels that do not fit the weight.

    Notes
    -----
    Among groups with equal sums the lowest label is pruned first.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> scores = np.array([[1.0, 4.0, 3.0], [1.0, 1.0, 1.0]])
    >>> rp.Groups(keep=1).mask(scores)
    array([[ True,  True,  True],
           [False, False, False]])
    >>> rp.Groups(keep=1, axis=1, labels=np.array([7, 7, 5])).mask(scores)
    array([[ True,  True, False],
           [ True,  True, False]])
    """

    sparsity: Real | Decimal | None = None
    keep: int | None = None
    axis: int = 0
    partition: np.ndarray | None = None

    def __init__(
        self,
        sparsity: Real | Decimal | None = None,
        keep: int | None = None,
        axis: int = 0,
        labels: Array | None = None,
    ):
        object.__setattr__(self, "sparsity", sparsity)
        object.__setattr__(self, "keep", keep)
        object.__setattr__(self, "axis", integer("axis", axis, least=0, most=1))
        check_amount(self)
        if labels is not None:
            library(labels, "labels")
            if "int" not in dtype_name(labels.dtype):
                raise TypeError(f"need integers in labels; got {dtype_name(labels.dtype)}")
            labels = to_numpy(labels)
            if labels.size and labels.max() > np.iinfo(np.int64).max:
                raise ValueError(f"need labels below 2^63; got {labels.max()}")
            labels = labels.astype(np.int64)
        object.__setattr__(self, "partition", labels)

    def __repr__(self):
        amount = f"sparsity={self.sparsity!r}, keep={self.keep!r}"
        return f"Groups({amount}, axis={self.axis}, labels={self.partition!r})"

    def _key(self):
        labels = None if self.partition is None else (self.partition.shape, self.partition.tobytes())
        return self.sparsity, self.keep, self.axis, labels

    def __eq__(self, other):
        return isinstance(other, Groups) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def on(self, problem) -> "Groups":
        """The pattern as it stands for `problem`: the inputs of a grouped convolution are told apart.

        The weight of a grouped convolution does not say that its groups read different inputs; its layer
        problem does, by its stack of Grams. For that one, with ``axis=1``, the answer has the label of every
        weight spelled out: by default ``g * in / groups + c`` for channel c of group g, which is the number
        of the channel in the input of the layer; else those of a vector that has one for each such channel.
        Labels in the weight's shape stay as they are, as do all other patterns. Methods ask for
        this themselves; call it to read or check their answers.

        Parameters
        ----------
        problem : LayerProblem or Quadratic

        Raises
        ------
        ValueError
            A vector of labels that does not name every input channel of a grouped convolution.

        Examples
        --------
        >>> import numpy as np
        >>> import refprune as rp
        >>> layer = rp.LayerProblem(np.ones((2, 2)), np.stack([np.eye(2)] * 2))
        >>> pattern = rp.Groups(keep=3, axis=1)
        >>> pattern.on(layer).labels((2, 2))
        array([[0, 1],
               [2, 3]])
        >>> pattern.on(layer).admits(rp.magnitude(layer, pattern).mask)
        True
        """
        groups, shape = getattr(problem, "groups", 1), tuple(problem.weight.shape)
        if self.axis == 0 or groups == 1 or getattr(self.partition, "shape", None) == shape:
            return self
        rows, inputs, positions = dims(shape)
        lines = self._of_lines(groups * inputs, shape).reshape(groups, 1, inputs, 1)
        labels = np.broadcast_to(lines, (groups, rows // groups, inputs, positions)).reshape(shape)
        return Groups(self.sparsity, self.keep, self.axis, labels)

    def _of_lines(self, lines, shape):
        """The label of each of the `lines` along the axis in a weight of `shape`."""
        labels = np.arange(lines) if self.partition is None else self.partition
        if labels.shape != (lines,):
            raise ValueError(f"need labels of shape {tuple(shape)} or ({lines},); got {labels.shape}")
        return labels

    def labels(self, shape: tuple[int, ...]) -> np.ndarray:
        """The label of every weight, a NumPy int array of `shape`: its row, its column, or the one given."""
        rows, inputs, positions = dims(shape)
        if self.partition is not None and self.partition.shape == tuple(shape):
            return self.partition.copy()
        along = self._of_lines(rows if self.axis == 0 else inputs, shape)
        along = along[:, None, None] if self.axis == 0 else along[None, :, None]
        return np.broadcast_to(along, (rows, inputs, positions)).reshape(shape).copy()

    def removals(self, shape: tuple[int, ...]) -> int:
        """The number of groups to prune of a weight of `shape`."""
        return units_to_prune(self, len(np.unique(self.labels(shape))))

    def mask(self, scores: Array, prior: Array | None = None) -> Array:
        """Keep the groups with the largest sums of `scores`.

        Groups that the boolean `prior` marks False as a whole are pruned first and counted; a weight that it
        marks False in a kept group stays pruned.
        """
        scores, prior = given(scores, prior)
        xp, count = namespace(scores), self.removals(scores.shape)
        if 0 in scores.shape:
            return full(scores.shape, True, scores, dtype="bool")
        _, unit, sizes = np.unique(self.labels(scores.shape), return_inverse=True, return_counts=True)
        unit = unit.reshape(-1)
        members = np.split(np.argsort(unit, kind="stable"), np.cumsum(sizes)[:-1])
        members = [from_numpy(indices, scores) for indices in members]
        flat = xp.reshape(astype(scores, precision(scores)), (-1,))
        sums = xp.stack([xp.sum(xp.take(flat, indices)) for indices in members])
        zeros = None
        if prior is not None:
            gone = xp.reshape(xp.logical_not(prior), (-1,))
            zeros = xp.stack([xp.all(xp.take(gone, indices)) for indices in members])
        kept = xp.reshape(xp.take(prune(sums, count, zeros, "layer"), from_numpy(unit, scores)), scores.shape)
        return kept if prior is None else xp.logical_and(kept, prior)

    def admits(self, mask: Array) -> bool:
        """Whether `mask` prunes whole groups, as many as the pattern asks for."""
        mask = to_numpy(boolean("mask", mask))
        count, labels = self.removals(mask.shape), self.labels(mask.shape)
        _, unit, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        kept = np.bincount(unit.reshape(-1), mask.reshape(-1), len(sizes))
        return bool(np.all((kept == 0) | (kept == sizes)) and np.sum(kept == 0) == count)
