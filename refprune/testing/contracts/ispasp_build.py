"""The generated problems of `ispasp`, and its transformations."""

import numpy as np

from refprune import definitions

from .. import make
from ..transforms import permuted

FLAGS = (
    "Tie", "NearTie", "DuplicateColumn", "DuplicateSample", "OppositeUnits", "BothSigns", "DeadInput", "LoudUnit",
    "HeavyUnit", "ZeroResidual", "RowScale", "LossScale", "KeepHalf", "K0", "K1", "KAll", "ManyIterations", "OneSample",
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
        "HeavyUnit": 4 < units < 40 and outputs > 1,
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


def build(flag, shape, rng, dtype):
    """One problem of the contract."""
    units = shape[0]
    if flag == "ManyIterations":
        hidden, weight = _chain(rng, *shape, rise=1.0 if dtype == np.float16 else rng.choice([1.0, 2.0**-8]))
        keep = 1
    else:
        hidden, weight = _layer(rng, *shape, flag)
        keep = _count(rng, units, flag)
        if flag in ("", "KeepHalf") and abs(2 * keep - units) <= 1 < units and rng.random() < 0.6:
            weight = _shunned(hidden, weight, keep)
    if flag == "HeavyUnit":
        hidden, weight, keep = _heavy(rng, shape, 1e3 if dtype == np.float64 else 300.0)
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
        least = -(-units // 2)
        return least if rng.random() < 0.5 else int(rng.integers(least, units))
    if not flag and rng.random() < 0.3:  # one unit more, and all are candidates
        return max((units - 1) // 2, 1)
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


def _shunned(hidden, weight, keep):
    """`weight` with a unit that works against all others: of the `keep` largest sums, and the least important."""
    sums, out = hidden.sum(axis=1), weight.copy()
    unit = int(np.argsort(-sums)[keep - 1])
    out[:, unit] = 0.0
    out[:, unit] = -(out @ sums) / (2 * max(sums[unit], sums.mean() / 4))
    return out


def _heavy(rng, shape, factor):
    """(hidden, weight, keep): one unit is nearly all of U; once it is kept, others are still exchanged."""
    for _ in range(40):
        hidden, weight = _layer(rng, *shape, "")
        keep, unit = _count(rng, shape[0], "HeavyUnit"), int(rng.integers(shape[0]))
        weight[:, unit] *= factor
        first = definitions.ispasp(hidden, weight, keep, 1)
        if unit in first and first != definitions.ispasp(hidden, weight, keep):
            break
    return hidden, weight, keep


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
    share = make.log_uniform(rng, *((1e-10, 1e-8) if dtype == np.float64 else (1e-3, 1e-2)))
    factor = 1 + share * rng.choice([-1, 1])
    hidden, weight = hidden.copy(), weight.copy()
    rising = np.flatnonzero(~kept & (sums > sums[kept].min()))
    for unit in rising[np.argsort(-sums[rising])] if rng.random() < 0.6 else ():
        scales = _entrance(sums, weight, kept, unit) * np.array([1 - share, 1 + share])
        less, more = (weight * np.where(np.arange(len(sums)) == unit, scale, 1.0) for scale in scales)
        if definitions.ispasp(hidden, less, keep) != definitions.ispasp(hidden, more, keep):
            return hidden, less if factor < 1 else more
    y = weight.T @ (weight[:, ~kept] @ sums[~kept])
    unit = np.flatnonzero(~kept)[np.argmax(y[~kept])]  # a candidate
    hidden[unit] *= factor * sums[kept].min() / sums[unit]
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
