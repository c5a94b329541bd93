"""A problem as the checks read it: float64 copies of the numbers, what may be pruned and how many.

`View.expects` says what kind of answer is right: ``"answer"``; ``"error"`` (bad input, `View.reason` says
why); ``"free"`` (a singular matrix: an error, or an answer that satisfies counts and stationarity);
``"beyond"`` (a condition number past what the arithmetic can judge greedily).
"""

from numbers import Integral

import numpy as np

from ..patterns import prune_count
from .bounds import arithmetic_eps, smallest_normal, storage_eps


class View:
    """What every problem has: its dtype, the claims, and whether it is well-posed."""

    expects, reason = "answer", ""
    empty = remainder = False

    def __init__(self, problem, claims, main):
        self.problem, self.claims, self.main = problem, claims, main
        first = problem[main]
        self.dtype = (first[0] if isinstance(first, list) and first else np.asarray(first)).dtype
        worked_in = claims.get("dtype", self.dtype)
        self.eps = (
            max(arithmetic_eps(d, claims) for d in (self.dtype, worked_in)) if self.dtype.kind == "f" else 0.0
        )
        self.tiny = smallest_normal(self.dtype)
        self.store_eps = storage_eps(self.dtype) if self.dtype.kind == "f" else 0.0

    def expect(self, kind, reason):
        """Set what is expected, once: the first reason stands."""
        if self.expects == "answer":
            self.expects, self.reason = kind, reason

    def need_arrays(self, **shapes):
        """Bad input unless each named array is real, finite and has its shape (None: any size)."""
        for name, shape in shapes.items():
            array = np.asarray(self.problem[name])
            if array.dtype.kind not in "f":
                self.expect("error", f"{name} has dtype {array.dtype}; real numbers are needed")
            elif array.size == 0:
                self.empty = self.expects == "answer"
                self.expect("error", f"{name} is empty, shape {array.shape}")
            elif array.ndim != len(shape) or any(
                want is not None and want != got for want, got in zip(shape, array.shape, strict=True)
            ):
                want = ", ".join("any" if size is None else str(size) for size in shape)
                self.expect("error", f"{name} has shape {array.shape}; ({want}) is needed")
            elif not np.isfinite(array).all():
                self.expect("error", f"{name} holds NaN or Inf")
        return self.expects != "error"

    def need_symmetric(self, name):
        """Bad input unless the matrix is symmetric up to sqrt(eps) of its largest entry."""
        matrix = np.asarray(self.problem[name], dtype=float)
        limit = np.sqrt(storage_eps(np.asarray(self.problem[name]).dtype)) * np.abs(matrix).max()
        if np.abs(matrix - matrix.T).max() > limit:
            self.expect("error", f"{name} is not symmetric")
        elif (np.diagonal(matrix) < 0).any():
            self.expect("free", f"{name} has a negative diagonal entry: it is not positive semidefinite")

    def need_count(self, name, least, most):
        """The integer argument `name`; bad input unless it lies between `least` and `most`."""
        value = self.problem[name]
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, np.integer)):
            self.expect("error", f"{name} is {value!r}; an integer is needed")
            return None
        if not least <= value <= most:
            self.expect("error", f"{name} is {value}; {least} to {most} is needed")
            return None
        return int(value)

    def count_from_sparsity(self, total):
        """How many of `total` the sparsity prunes, by the claimed rounding; None for a bad sparsity."""
        try:
            return prune_count(self.problem["sparsity"], total, self.claims.get("count_rule", "round"))
        except (ValueError, TypeError) as error:
            self.expect("error", str(error))
            return None

    def need_nm(self, columns):
        """(weights kept, m) of every group; None for numbers that do not fit."""
        m = self.need_count("m", 1, max(columns, 1))
        n = self.need_count("n", 0, m or 0)
        if m is None or n is None:
            return None
        if columns % m:
            self.remainder = self.expects == "answer"
            self.expect("error", f"{columns} columns are no multiple of m = {m}")
            return None
        return (n if self.claims.get("n_counts", "kept") == "kept" else m - n), m


class ScoreView(View):
    """One-shot methods: in each scope the `count` lowest scores go and nothing else changes.

    Attributes
    ----------
    original : (rows, columns) float64 weights, None where the answer is a mask alone.
    scores : (rows, columns) float64; higher is kept.
    scope : (rows, columns) int label of the scope that each entry competes in.
    counts : number pruned in each scope.
    slack : relative error of a score that rounding explains; `floor`: absolute, from underflow.
    """

    original = scores = scope = counts = None
    slack = floor = 0.0

    def scope_whole(self, count):
        """One budget over everything."""
        self.scope, self.counts = np.zeros(self.scores.shape, int), np.array([count])

    def scope_rows(self, count):
        """The same budget in every row."""
        rows, columns = self.scores.shape
        self.scope = np.repeat(np.arange(rows)[:, None], columns, axis=1)
        self.counts = np.full(rows, count)

    def scope_groups(self, n, m):
        """`m - n` in every `m` consecutive entries of a row."""
        rows, columns = self.scores.shape
        self.scope = np.arange(rows * columns).reshape(rows, columns) // m
        self.counts = np.full(rows * columns // m, m - n)

    def scope_name(self, label):
        """The scope in words."""
        if len(self.counts) == 1:
            return "in all"
        columns = self.scores.shape[1]
        if len(self.counts) == self.scores.shape[0] and "m" not in self.problem:
            return f"in row {label}"
        m = self.problem["m"]
        row, start = divmod(label * m, columns)
        return f"in row {row}, columns {start} to {start + m - 1}"

    def pruned(self, answer):
        """The answer's pruned entries (rows, columns); chosen among the zeros when it gave no mask."""
        if answer.mask is not None:
            return ~answer.mask.reshape(self.scores.shape)
        zeros = answer.weight.reshape(self.scores.shape) == 0
        pruned = np.zeros(zeros.shape, bool)
        for label, count in enumerate(self.counts):
            at = np.flatnonzero((self.scope == label).ravel() & zeros.ravel())
            was_zero = self.original.ravel()[at] == 0  # what was not zero before must have been pruned
            pruned.flat[at[np.lexsort((self.scores.ravel()[at], was_zero))][:count]] = True
        return pruned

    def count_fault(self, pruned):
        """None, or (explanation, pruned, asked) of the first scope with a wrong count."""
        found = np.bincount(self.scope[pruned], minlength=len(self.counts))
        for label in np.flatnonzero(found != self.counts):
            where = self.scope_name(int(label))
            text = f"{found[label]} entries are pruned {where}; {self.counts[label]} is asked for"
            return text, int(found[label]), int(self.counts[label])
        return None
