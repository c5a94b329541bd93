"""The generated problems of `ispasp`, the problem as its checks read it, and its transformations."""

import numpy as np

from refprune import definitions

from .. import make
from ..bounds import INPUT_EPS, PRODUCT, arithmetic_eps
from ..transforms import permuted
from ..unit_certificate import ITERATIONS, UnitSearch
from ..views import View

FLAGS = (
    "Tie", "NearTie", "DuplicateColumn", "DuplicateSample", "OppositeUnits", "BothSigns", "DeadInput", "LoudUnit",
    "ZeroResidual", "RowScale", "LossScale", "KeepHalf", "K0", "K1", "KAll", "ManyIterations", "OneSample",
    "OneOutput", "OneColumn", "Square", "WiderThanBlock", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf",
    "Empty", "WrongShape", "WrongCount",
)  # fmt: skip
# units, samples, outputs
SHAPES = (
    (6, 4, 3), (8, 8, 5), (1, 3, 2), (2, 5, 2), (9, 7, 1), (10, 1, 4), (12, 6, 12), (16, 140, 6), (24, 24, 24),
    (32, 3, 40), (130, 4, 7),
)  # fmt: skip


def suits(flag, shape):
    """Whether a flag makes sense on (units, samples, outputs)."""
    units, samples, outputs = shape
    return {
        "OneSample": samples == 1,
        "DuplicateSample": samples > 2,
        "OneOutput": outputs == 1,
        "OneColumn": units == 1,
        "Square": units == outputs and units > 2,
        "WiderThanBlock": units > 128,
        "ManyIterations": 22 < units <= outputs,
        "K0": True,
        "KAll": True,
        "Empty": True,
        "NaN": True,
        "Inf": True,
        "WrongCount": True,
        "LossScale": True,
        "ZeroResidual": units > 1,
        "K1": units > 1,
        "KeepHalf": units > 1,
    }.get(flag, units > 4)


class UnitView(View):
    """H and W in float64, of size 1; row sums, importances, and how far rounding may move them.

    The terms of an importance are added by an implementation in any way: `V` from all units or from the pruned ones,
    afresh or carried along from set to set; the sum over samples first or last. By Higham, section 3.1, its error is
    at most ``n eps |W|^T |W| |H| 1``, with n the terms of the sums one after the other; the judge's own, in float64,
    is added. Nothing below the smallest normal number is relied on.
    """

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "hidden")
        hidden, weight = np.asarray(problem["hidden"]), np.asarray(problem["weight"])
        units = hidden.shape[0] if hidden.ndim == 2 else None
        if not self.need_arrays(hidden=(None, None), weight=(None, units)):
            return
        self.units = units
        self.keep = self.need_count("keep", 0, units)
        if self.keep is not None:
            self._measure(hidden.astype(float), weight.astype(float), arithmetic_eps(self.dtype, {}))

    def _measure(self, hidden, weight, eps):
        (units, samples), outputs = hidden.shape, weight.shape[0]
        loud, wide = (int(np.frexp(np.abs(array).max())[1]) for array in (hidden, weight))
        self.hidden, self.weight = np.ldexp(hidden, -loud), np.ldexp(weight, -wide)
        self.loud, self.heard = (
            loud,
            loud + 2 * wide,
        )  # powers of two that lead back to the units of the problem
        eps = max(eps, arithmetic_eps(np.dtype(self.claims.get("dtype", self.dtype)), {}))
        rounded = 2 * INPUT_EPS.get(self.claims.get("input_precision"), 0.0)  # of each factor of a product
        self.sums = self.hidden.sum(axis=1)
        size, columns = np.abs(self.hidden).sum(axis=1), np.abs(self.weight).sum(axis=0)
        carried = np.abs(self.weight).T @ (np.abs(self.weight) @ size)
        terms = 2 * (units + ITERATIONS) + outputs + samples + PRODUCT
        own = float(np.finfo(float).eps)
        with np.errstate(
            over="ignore", under="ignore"
        ):  # what underflow may take, of a sum and of the two products
            faint = np.ldexp(self.tiny * samples, -loud)
            lost = np.ldexp(outputs * faint, -2 * wide) + np.ldexp(units * faint, -wide) * columns
        self.sums_off = ((samples + PRODUCT) * (eps + own) + rounded) * size + faint
        self.off = (terms * (eps + own) + 2 * rounded) * carried + lost
        self.own_off = 4 * terms * own * carried

    def importance(self, kept):
        """The sums of W^T V over the samples, V the residual of the units `kept` (units,) bool."""
        return self.weight.T @ (self.weight[:, ~kept] @ self.sums[~kept])

    def search(self, share):
        """The search with near ties, to this share of the bounds."""
        return UnitSearch(self.sums, share * self.sums_off, self.importance, share * self.off, self.keep)

    def hides(self, kept):
        """True when rounding hides all differences of the importances, of U or of what `kept` leave."""
        for units in (np.zeros(self.units, bool), kept):
            y = self.importance(units)
            hidden = (y - self.off).max() <= (y + self.off).min() and np.ptp(y) > self.own_off.max()
            if hidden and 0 < 2 * self.keep < self.units:
                return True
        return False

    @property
    def tied(self):
        """Whether rounding may exchange two units by their row sums, or by what U says of them."""
        if self.expects != "answer":
            return False
        y = self.importance(np.zeros(self.units, bool))
        return _near(self.sums, self.sums_off) or _near(y, self.off)

    def chosen(self, answer):
        """The units of an answer, (units,) bool."""
        found = np.zeros(self.units, bool)
        found[answer.weight.astype(int)] = True
        return found

    def pruned(self, answer):
        """The units that an answer leaves out."""
        return ~self.chosen(answer)

    def same(self, mine, given, factor):
        """Indices are equal or not."""
        return np.array_equal(mine, given)


def _near(values, off):
    order = np.argsort(values)
    return bool(((values - off)[order][1:] <= (values + off)[order][:-1]).any())


def build(flag, shape, rng, dtype):
    """One problem of the contract."""
    units = shape[0]
    if flag == "ManyIterations":
        hidden, weight = _chain(rng, *shape, rise=1.0 if dtype == np.float16 else rng.choice([1.0, 2.0**-8]))
        keep = 1
    else:
        hidden, weight = _layer(rng, *shape, flag)
        keep = _count(rng, units, flag)
    if flag == "NearTie":
        hidden, weight = _near_tie(rng, hidden, weight, keep, dtype)
    if flag == "LossScale":
        hidden, weight = (a * rng.choice([1e-3, 1e3]) for a in (hidden, weight))
    hidden, weight = hidden.astype(dtype), weight.astype(dtype)
    if flag in ("NaN", "Inf", "WrongShape") and rng.random() < 0.5:
        weight = make.spoil(rng, weight, flag)
    elif flag == "WrongShape":
        hidden = np.concatenate([hidden, hidden[:1]])
    else:
        hidden = make.spoil(rng, hidden, flag)
    hidden, weight = (make.layout(rng, array, flag) for array in (hidden, weight))
    return {"hidden": hidden, "weight": weight, "keep": keep}


def _count(rng, units, flag):
    """How many to keep: less than half, unless the flag says otherwise."""
    if flag == "WrongCount":
        return int(rng.choice([-1, units + 1]))
    if flag == "KeepHalf":
        return int(rng.integers(-(-units // 2), units))
    if flag in ("K0", "K1", "KAll"):
        return make.keep_count(rng, units, flag)
    return int(rng.integers(1, max((units - 1) // 2, 1) + 1))


def _layer(rng, units, samples, outputs, flag):
    """What units emit after a ReLU, some louder than others, and weights of both signs."""
    loud = np.exp(0.7 * rng.normal(size=units))
    if flag == "RowScale":
        loud = rng.permutation(np.arange(1.0, units + 1) ** (-1 / rng.choice([0.3, 0.5, 0.7, 0.9])))
    hidden = rng.normal(size=(units, samples)) + rng.uniform(-0.5, 0.7, size=(units, 1))
    if flag != "BothSigns":
        hidden[:, 0] = np.abs(hidden[:, 0])  # no unit is dead by chance
        hidden = np.maximum(hidden, 0.0)
    else:
        loud *= rng.choice([-1.0, 1.0], size=units)
    hidden = rng.permutation(loud[:, None] * hidden, axis=1)
    weight = rng.normal(size=(outputs, units)) + 0.3 * rng.normal(size=(outputs, 1))
    weight *= np.exp(0.5 * rng.normal(size=units))
    if flag == "Tie":
        hidden = rng.choice([0.0, 0.5, 1.0], size=hidden.shape)
        weight = rng.choice([-1.0, -0.5, 0.5, 1.0], size=weight.shape)
    elif flag in ("DuplicateColumn", "OppositeUnits"):
        pairs = rng.permutation(units)[: 2 * int(rng.integers(1, units // 2 + 1))].reshape(2, -1)
        hidden[pairs[1]] = hidden[pairs[0]]
        weight[:, pairs[1]] = weight[:, pairs[0]] * (1.0 if flag == "DuplicateColumn" else -1.0)
    elif flag == "DuplicateSample":
        hidden = hidden[:, np.append(rng.integers(0, samples - 1, size=samples - 1), 0)]  # one at least twice
    elif flag == "DeadInput":
        hidden[
            rng.permutation(units)[: int(rng.choice([max(1, units // 5), units // 2, units - 1, units]))]
        ] = 0
    elif flag == "LoudUnit":
        at = rng.permutation(units)[: int(rng.integers(1, 3))]
        hidden[at] *= 2.0 ** rng.integers(3, 7)
        weight[:, at] = 0.0
    elif flag == "ZeroResidual":
        hidden, weight = (hidden, 0 * weight) if rng.random() < 0.5 else (0 * hidden, weight)
    return hidden, weight


def _chain(rng, units, samples, outputs, rise=1.0):
    """A problem whose search goes on from unit to unit: every one that is kept makes the next one important.

    Neighbours have opposite weights, so the next unit gains when the last one leaves the residual; all others gain
    nothing. The importance of the chain is set by its products with one unit more, which is the most important of
    all and has the smallest sum. The sums rise along the chain, by `rise` in all.
    """
    n = units - 1
    sums = np.append(1 + rise * np.arange(n) / n, 0.5)
    first = np.append(
        0.3, np.linspace(0.1, 0.25, n - 1)
    )  # importances before anything is kept: the first leads
    links = np.append(0.6, np.ones(n - 2))
    gram = np.diag(np.full(n, 2.05)) - np.diag(links, 1) - np.diag(links, -1)
    other = (first - gram @ sums[:-1]) / sums[-1]
    corner = np.full((1, 1), 20.0 + other @ np.linalg.solve(gram, other))
    whole = np.block([[gram, other[:, None]], [other[None, :], corner]])
    rotation = np.linalg.qr(rng.normal(size=(outputs, outputs)))[0]
    weight = rotation[:, :units] @ np.linalg.cholesky(whole).T
    shares = rng.random((units, samples)) + 0.1
    hidden = sums[:, None] * shares / shares.sum(axis=1, keepdims=True)
    order = rng.permutation(units)
    return hidden[order], weight[:, order]


def _near_tie(rng, hidden, weight, keep, dtype):
    """A unit that is nearly kept: by its row sum, or by its importance in the residual of those that are."""
    kept, sums = np.zeros(len(hidden), bool), hidden.sum(axis=1)
    kept[definitions.ispasp(hidden, weight, keep)] = True
    share = make.log_uniform(rng, *((1e-10, 1e-7) if dtype == np.float64 else (1e-3, 1e-2)))
    factor = 1 + share * rng.choice([-1, 1])
    hidden, weight = hidden.copy(), weight.copy()
    if rng.random() < 0.5:
        y = weight.T @ (weight[:, ~kept] @ sums[~kept])
        unit = np.flatnonzero(~kept)[np.argmax(y[~kept])]  # a candidate
        hidden[unit] *= factor * sums[kept].min() / sums[unit]
    else:
        unit = np.flatnonzero(~kept)[np.argmax(sums[~kept])]
        weight[:, unit] *= factor * _entrance(sums, weight, kept, unit)
    return hidden, weight


def _entrance(sums, weight, kept, unit):
    """By how much the weights of `unit` grow until it is among the most important ones, found by bisection."""

    def inside(factor):
        scaled = weight * np.where(np.arange(len(sums)) == unit, factor, 1.0)
        y = scaled.T @ (scaled[:, ~kept] @ sums[~kept])
        return y[unit] > np.sort(np.delete(y, unit))[-2 * int(kept.sum())]

    low, high = 0.0, 1.0
    while not inside(high):
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if inside(middle) else (middle, high)
    return high


def samples(contract, problem, rng):
    """The samples in another order."""
    size = problem["hidden"].shape[1]
    return permuted(contract, problem, {"sample": rng.permutation(size)}) if size > 1 else None


def rotated(contract, problem, rng):
    """The outputs in another orthonormal basis: what matters is W^T W."""
    weight = problem["weight"]
    basis = np.linalg.qr(rng.normal(size=(weight.shape[0],) * 2))[0]
    return {**problem, "weight": (basis @ weight).astype(weight.dtype)}


def another_keep(contract, problem, rng):
    """The same layer with another count: what a call left behind must not matter."""
    return {**problem, "keep": int(rng.integers(0, problem["hidden"].shape[0] + 1))}


def dead_unit(contract, problem, rng):
    """One unit falls silent, and its weights are as large as all others together."""
    hidden, weight = (np.array(problem[name]) for name in ("hidden", "weight"))
    unit = int(rng.integers(hidden.shape[0]))
    hidden[unit] = 0.0
    weight[:, unit] = np.abs(weight).sum(axis=1)
    return {**problem, "hidden": hidden, "weight": weight}
