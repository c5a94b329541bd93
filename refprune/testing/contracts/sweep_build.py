"""Problems and views of the contracts of SparseGPT: a layer, its Gram, a block size and damping."""

from functools import cached_property
from numbers import Real

import numpy as np

from .. import make
from ..bounds import SOLVE, condition, is_singular, unit_diagonal
from ..sweep import Sweep, rounding, sweep_limit
from . import greedy_build as build

DAMPS = (0.0, 0.01, 0.1, 0.001)
WITH_DEAD = (
    "RowScale",
    "Square",
    "OneRow",
    "WiderThanBlock",
    "ZeroRow",
)  # some inputs are dead in half of the cases
ONE_BLOCK = ("K1", "NearTie", "UnrepresentableSparsity")  # flags about one budget


class SweepView(build.LayerView):
    """`sparsegpt`: in every block of columns the budget is shared by all rows.

    Attributes
    ----------
    damped : (columns, columns) float64, the Gram with its damping.
    sweep : `Sweep` on it; `width`: columns of a block in which masks are chosen.
    """

    def set_budget(self, columns):
        """Block size, damping and the count of every block; False when the numbers are bad."""
        self.width = self.need_count("block_size", 1, np.inf)
        damp = self.problem["damp"]
        if isinstance(damp, (bool, np.bool_)) or not isinstance(damp, Real) or not 0 <= damp < np.inf:
            self.expect("error", f"damp is {damp!r}; a finite number of at least 0 is needed")
        if self.expects == "error" or not self.set_counts(columns):
            return False
        diagonal = np.diagonal(self.hessian)
        absolute = self.claims.get("damping", "mean") == "absolute"
        added = damp * (1.0 if absolute else diagonal[self.living].mean() if self.living.any() else 0.0)
        self.damped = self.hessian + np.diag(np.where(self.living, added, 0.0))
        return True

    def set_counts(self, columns):
        """How many weights every block prunes."""
        rows = self.weight.shape[0]
        widths = [min(self.width, columns - start) for start in range(0, columns, self.width)]
        self.counts = [self.count_from_sparsity(rows * width) for width in widths]
        return None not in self.counts

    def judge_condition(self):
        """What is singular after damping, and what is too ill-conditioned."""
        for column in np.flatnonzero(~self.living):
            if np.abs(self.hessian[column]).max() > 0:
                self.expect("free", f"G has a zero at ({column}, {column}) beside nonzero entries")
        part = self.damped[np.ix_(self.living, self.living)]
        if part.size and np.linalg.eigvalsh(unit_diagonal(part)[0])[0] < -part.shape[0] * self.eps:
            self.expect("free", "the damped G is indefinite")
        elif is_singular(part, self.eps):
            self.expect("free", "the damped G is singular to rounding")
        elif self.condition > sweep_limit(self.eps):
            self.expect("beyond", f"the condition {self.condition:.1e} is past {sweep_limit(self.eps):.1e}")

    @cached_property
    def condition(self):
        """Condition of the living part of the damped Gram at unit diagonal."""
        return condition(self.damped[np.ix_(self.living, self.living)])

    @cached_property
    def sweep(self):
        """The sweep over this layer."""
        return Sweep(self.weight, self.damped, self.living)

    def floor(self, scores):
        """What underflow may hide of scores that are compared by squares: `w^2` or `w^2 / C_jj` is subnormal."""
        least = self.tiny * np.maximum(1.0, (self.sweep.root * self.sweep.scale) ** 2)
        return least / np.maximum(scores, np.sqrt(least))

    @cached_property
    def _runs(self):
        return {}

    def run(self, pruned):
        """The sweep at this mask."""
        key = pruned.tobytes()
        if key not in self._runs:
            self._runs[key] = self.sweep.run(pruned, self.width)
        return self._runs[key]

    def unit_scopes(self):
        """(boolean (rows, columns), number of weights pruned there) of every block."""
        scopes = []
        for number, count in enumerate(self.counts):
            scope = np.zeros(self.weight.shape, bool)
            scope[:, number * self.width : (number + 1) * self.width] = True
            scopes.append((scope, count))
        return scopes

    def scope_words(self, scope):
        """Where a scope is."""
        row, columns = np.flatnonzero(scope.any(axis=1)), np.flatnonzero(scope.any(axis=0))
        where = f"in columns {columns[0]} to {columns[-1]}"
        return where if len(row) == len(scope) and self.group is None else f"in row {row[0]}, {where[3:]}"

    def count_fault(self, pruned):
        """None, or (explanation, pruned, asked) of the first block with a wrong count."""
        for scope, count in self.unit_scopes():
            found = int(pruned[scope].sum())
            if found != count:
                text = f"{found} weights are pruned {self.scope_words(scope)}; {count} is asked for"
                return text, found, count
        return None

    def same(self, a, b, factor):
        """True when two answers are equal within `factor` bounds."""
        a, b = (weight.reshape(self.weight.shape) for weight in (a, b))
        if self.expects == "free" or not np.array_equal(a == 0, b == 0):
            return False
        if self.expects == "error":  # no sweep to speak of
            return bool(np.allclose(a, b, rtol=np.sqrt(self.store_eps), atol=0))
        largest = np.maximum(self.sweep.norms(a * self.sweep.scale), self.sweep.norms(self.sweep.start))
        bounds = SOLVE * max(rounding(self.eps, self.condition), self.store_eps) * largest
        bounds = bounds[:, None] + self.store_eps * np.abs(a) * ~self.living
        return bool((np.abs((a - b) * self.sweep.scale) <= factor * bounds).all())


class GroupedSweepView(SweepView):
    """`sparsegpt-nm`: every group of every row gives m - n; masks are chosen at the group's first column."""

    def set_counts(self, columns):
        """The quota of every group; the block size has no say in the answer."""
        pattern = self.need_nm(columns)
        if pattern is None:
            return False
        n, m = pattern
        self.width, self.group, self.quota = m, np.arange(columns) // m, m - n
        return True

    def unit_scopes(self):
        """Every group of every row."""
        return build.LayerView.unit_scopes(self)


def _arrays(flag, shape, rng, dtype):
    """(weight, gram, damp) with the named property, of a condition after damping that scores can be compared at."""
    w, g = build.arrays("Singular" if flag == "DampedSingular" else flag, shape, rng, dtype, greedy=False)
    if flag == "DampedDeadInput" or (flag in WITH_DEAD and rng.random() < 0.5):
        _kill(rng, g)
    if flag in make.ERRORS or flag in make.FREE or g.size == 0:
        return w, g, 0.0 if flag in make.FREE else float(rng.choice(DAMPS))
    damp = float(rng.choice(DAMPS[1:] if flag.startswith("Damped") else DAMPS))
    living = np.diagonal(g) > 0
    part = np.asarray(g, dtype=float)[np.ix_(living, living)]
    eps = float(np.finfo(np.float64 if dtype == np.float64 else np.float32).eps)
    share = 0.3 if flag in ("IllConditioned", "DuplicateColumn", "CorrelatedPair") else 0.05
    while condition(_damped(part, damp)) > share * sweep_limit(eps):
        damp = max(10 * damp, 1e-6)
    if flag == "NearTie":
        cost = np.ones(shape[1])
        cost[living] = Sweep(w[:, living].astype(float), _damped(part, damp), living[living]).root ** 2
        cost[living] *= np.diagonal(_damped(part, damp))
        w = make.near_tie(rng, w.astype(float), cost, dtype).astype(dtype)
    return w, g, damp


def _kill(rng, gram):
    """Make a few inputs dead, and sometimes all features about a thousandth of what they were."""
    d = len(gram)
    dead = rng.choice(d, size=max(1, d // int(rng.integers(2, 6))), replace=False)
    gram[dead], gram[:, dead] = 0.0, 0.0
    gram *= gram.dtype.type(rng.choice([1.0, 2.0**-20]))


def _damped(part, damp):
    return part + np.eye(len(part)) * (damp * np.diagonal(part).mean() if len(part) else 0.0)


def _block_size(rng, columns, flag):
    if flag in ONE_BLOCK:
        return int(rng.choice([columns, columns + 1, 128]))
    if flag == "WiderThanBlock":
        return int(rng.choice([columns - 1, columns, 200, 128, 100, 33, 6]))
    return int(rng.choice([1, 2, 3, 4, 5, 6, 8, max(columns - 1, 1), columns, 128]))


def layer(flag, shape, rng, dtype):
    """weight, gram, sparsity, block_size, damp."""
    w, g, damp = _arrays(flag, shape, rng, dtype)
    width = _block_size(rng, shape[1], flag)
    total = shape[0] * min(width, shape[1])
    share = make.sparsity(rng, total, flag)
    if flag == "K1" and total > 1 and rng.random() < 0.5:
        share = 1 - 1 / total  # all but one
    if not flag and rng.random() < 0.5:
        share = round(float(rng.uniform(0.05, 0.95)), 3)
    if flag == "ZeroWeight" and shape[1] > 2 and rng.random() < 0.7:
        w, width, share = _late_zeros(w), (shape[1] + 1) // 2, 0.25
    problem = {"weight": w, "gram": g, "sparsity": share, "block_size": width, "damp": damp}
    if flag == "DeadInput" and rng.random() < 0.5:
        dead = int((np.diagonal(g) == 0).sum())
        problem["sparsity"] = round(float(rng.uniform(0, dead / shape[1])), 3)
    return {**problem, **_wrong(rng, flag, {"sparsity": -0.25, "block_size": 0, "damp": -0.01})}


def _late_zeros(weight):
    """All zeros in the second half of the columns, more than a quarter of it; what is pruned before moves them."""
    late, first = weight.copy(), (weight.shape[1] + 1) // 2
    late[late == 0] = 0.75
    late[:, first::2] = 0
    return late


def grouped_layer(flag, shape, rng, dtype):
    """weight, gram, n, m, block_size, damp."""
    w, g, damp = _arrays(flag, shape, rng, dtype)
    n, m = make.nm(rng, shape[1], flag)
    if flag == "NMRemainder":  # the weights fill groups, the rows do not
        straddling = [k for k in range(2, shape[1]) if shape[1] % k and shape[0] * shape[1] % k == 0]
        m = int(rng.choice(straddling)) if straddling else m
        n = min(n, m)
    problem = {"weight": w, "gram": g, "n": n, "m": m}
    problem |= {"block_size": _block_size(rng, shape[1], flag), "damp": damp}
    return {**problem, **_wrong(rng, flag, {"n": m + 1, "block_size": 0, "damp": -0.01})}


def _wrong(rng, flag, values):
    """One bad number, for the flag WrongCount."""
    name = str(rng.choice(list(values)))
    return {name: values[name]} if flag == "WrongCount" else {}
