"""Building blocks of the generated problems: weights, Hessians, Grams, and the layouts of arrays in memory.

Everything is drawn from a NumPy Generator, so a case is the same on every machine and backend. Data carry no
hidden symmetry: nothing is centred, rows and columns differ in scale, order is random.
"""

from fractions import Fraction
from functools import lru_cache

import numpy as np

from .bounds import condition_limit

ERRORS = ("NaN", "Inf", "Empty", "WrongShape", "WrongCount", "NMRemainder", "NonSymmetric", "KernelTooLarge",
          "GroupsRemainder", "BadLabel", "UnknownLayer", "BadStep")  # fmt: skip
FREE = (
    "Singular",
    "NegativeCurvature",
    "BeyondArithmetic",
)  # an error is right too, or the certificate is another
LAYOUTS = ("NonContiguous", "ReadOnly", "Transposed")
SPARSITIES = (0.1, 0.55, 0.7, 0.3, 0.25, 0.5, 0.9)


def weights(rng, rows, columns, flag):
    """(rows, columns) float64 weights with the named property."""
    w = rng.normal(size=(rows, columns)) + 0.2 * rng.choice([-1.0, 1.0], size=(rows, 1))
    w *= 2.0 ** rng.integers(-2, 3, size=(rows, 1))
    if flag == "Tie":
        w = rng.choice([-1.0, -0.5, 0.5, 1.0], size=(rows, columns)) * rng.choice(
            [1.0, 1.0, 2.0], size=(1, columns)
        )
        if rng.random() < 0.25:
            w = np.sign(w) / 2  # all equal
    elif flag == "ZeroWeight":
        w[rng.random(w.shape) < 0.3] = 0.0
        w.flat[rng.integers(w.size)] = 0.0
    elif flag == "ZeroRow":
        w[rng.integers(rows)] = 0.0
    elif flag == "RowScale":
        w *= 10.0 ** rng.permutation(np.linspace(-3, 2, rows))[:, None]
    elif flag == "Subnormal":
        tiny = rng.random(w.shape) < 0.25
        tiny.flat[rng.integers(w.size)] = True
        w = np.where(tiny, w * 2.0**-140, w)  # subnormal in float32; far below every other weight in float64
    elif flag == "LossScale":
        w *= 2.0 ** rng.choice([-12, 10])
    return w


def log_uniform(rng, low, high):
    """One number, log-uniform in [low, high]."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def spd(rng, d, cond):
    """A dense symmetric positive definite (d, d) matrix of condition `cond`, with uneven eigenvalues.

    >>> bool(abs(np.linalg.cond(spd(np.random.default_rng(0), 5, 1e4)) / 1e4 - 1) < 1e-6)
    True
    """
    if d == 0:
        return np.zeros((0, 0))
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    powers = (
        np.sort(np.concatenate([[0.0, 1.0], rng.random(max(d - 2, 0))]))[-d:] if d > 1 else np.array([1.0])
    )
    matrix = (basis * cond**powers) @ basis.T / cond**0.5
    return (matrix + matrix.T) / 2


def hessian(rng, d, flag, dtype, greedy=True, exact=False):
    """(d, d) float64 Hessian with the named property, of a condition that the arithmetic can judge.

    `greedy` contracts draw conditions up to `condition_limit`, the others up to ``min(1e12, 0.01 / eps)``.
    Duplicates are `exact` where the method inverts nothing.
    """
    eps = (
        max(float(np.finfo(dtype).eps), np.finfo(np.float32).eps)
        if dtype != np.float64
        else np.finfo(float).eps
    )
    limit = condition_limit(eps) if greedy else min(1e12, 0.01 / eps)
    if flag == "Tie":
        return tied(rng, d)
    if flag == "Singular":
        samples = max(1, d // 2)
        x = rng.normal(size=(samples, d)) + 0.3
        return x.T @ x / samples * rng.choice([1.0, 1e-6])
    if flag == "BeyondArithmetic":
        return spd(rng, d, log_uniform(rng, min(30 * condition_limit(eps), 0.003 / eps), 0.01 / eps))
    if flag == "IllConditioned":
        return spd(rng, d, log_uniform(rng, 1.0, 0.5 * limit))
    if flag == "NearTie":
        return spd(rng, d, log_uniform(rng, 3.0, 10.0))
    matrix = spd(rng, d, log_uniform(rng, 3.0, min(300.0, 0.1 * limit)))
    if flag in ("DuplicateColumn", "CorrelatedPair") and d > 1:
        # the condition grows with 1 / gap^2
        return paired(rng, matrix, 0.0 if exact else log_uniform(rng, min((4000 / limit) ** 0.5, 0.5), 0.5))
    if flag == "DeadInput":
        dead = rng.choice(d, size=int(rng.choice([max(1, d // 5), d - 1, d])), replace=False)
        matrix[dead, :] = 0.0
        matrix[:, dead] = 0.0
        return matrix * rng.choice([1.0, 2.0**-20])  # features times about 1e-3
    if flag == "LossScale":
        return matrix * rng.choice([1e-3, 1e-5])
    scale = 2.0 ** rng.integers(-2, 3, size=d)
    return matrix * scale[:, None] * scale[None, :]


def faint(rng, weight, matrix, dtype):
    """One input far below the others, and alive: its weights are as large as it is small.

    It is alone, since solvers that know no scales, by eigenvalues for example, lose what it shares with others.
    """
    j, power = rng.integers(len(matrix)), 12 if dtype == np.float64 else 5
    size = np.diagonal(matrix).mean()
    matrix[j], matrix[:, j] = 0.0, 0.0
    matrix[j, j] = size * 2.0 ** (-2 * power)
    weight[:, j] *= 2.0**power
    return weight, matrix


def tied(rng, d):
    """Dyadic block-diagonal Hessian whose saliencies are equal in many places, randomly permuted."""
    kind = rng.integers(3)
    matrix = np.eye(d) * 2.0
    if kind:
        coupling = 1.0 if kind == 1 else -0.5
        for start in range(0, d - 1, 2):
            matrix[start, start + 1] = matrix[start + 1, start] = coupling
    order = rng.permutation(d)
    return matrix[np.ix_(order, order)]


def paired(rng, matrix, gap):
    """Make input k a copy of input j, up to a share `gap` of its own; `gap` 0 is an exact duplicate."""
    d = matrix.shape[0]
    j, k = rng.choice(d, size=2, replace=False)
    mix = np.eye(d)
    mix[k] = 0.0
    mix[k, j], mix[k, k] = 1.0, gap
    out = mix @ matrix @ mix.T
    return (out + out.T) / 2


def opposite(rng, w, matrix):
    """Weights (w, -w) on the two most correlated inputs."""
    unit = np.abs(matrix / np.sqrt(np.outer(matrix.diagonal(), matrix.diagonal())))
    np.fill_diagonal(unit, 0.0)
    j, k = np.unravel_index(np.argmax(unit), unit.shape)
    w = w.copy()
    w[:, k] = -w[:, j] * (1 if rng.random() < 0.5 else 1 + 2.0**-6)
    return w


def near_tie(rng, w, cost, dtype, bounds=1.0):
    """In every row the two cheapest entries differ by a share that is small, and more than rounding explains.

    The score of an entry is ``|w| * sqrt(cost)``; `bounds` widens the share where a condition number enters.
    """
    w = w.copy()
    low, high = (1e-11, 1e-8) if dtype == np.float64 else (1e-3, 1e-2)
    share = log_uniform(rng, low * bounds, high * bounds)
    for row in w:
        score = np.abs(row) * np.sqrt(cost)
        j, k = rng.permutation(np.argsort(score)[:2])
        row[k] = np.copysign(score[j] * (1 + share) / np.sqrt(cost[k]), row[k])
    least = (np.abs(w) * np.sqrt(cost)).min(axis=1)
    apart = 1 + 2 * share * rng.permutation(w.shape[0])  # the rows compete for a layer's budget
    return w * (least[0] * apart / least)[:, None]


def layout(rng, array, flag):
    """The same numbers in another memory layout."""
    if flag == "ReadOnly":
        array = array.copy()
        array.setflags(write=False)
    elif flag == "Transposed":
        array = np.asfortranarray(array)
    elif flag == "NonContiguous":
        wide = np.full(tuple(2 * size for size in array.shape), -7.0, dtype=array.dtype)
        view = wide[tuple(slice(1, None, 2) for _ in array.shape)]
        view[...] = array
        array = view
    return array


def spoil(rng, array, flag):
    """Bad numbers, a wrong shape, or nothing at all."""
    array = np.array(array)
    if flag in ("NaN", "Inf"):
        array.flat[rng.integers(array.size)] = np.nan if flag == "NaN" else rng.choice([np.inf, -np.inf])
    elif flag == "Empty":
        array = array[..., :0]
    elif flag == "WrongShape":
        array = array[..., :-1] if array.shape[-1] > 1 else np.concatenate([array, array], axis=-1)
    return array


def keep_count(rng, total, flag):
    """How many of `total` to keep for the flags K0, K1, KAll (they name how many are pruned) and NearTie (one)."""
    if flag == "NearTie":
        return total - 1
    if flag in ("K0", "K1", "KAll"):
        return total - {"K0": 0, "K1": min(1, total), "KAll": total}[flag]
    return int(rng.integers(1, total)) if total > 1 else int(rng.integers(0, total + 1))


def sparsity(rng, total, flag):
    """A sparsity for the flags K0, K1, KAll and UnrepresentableSparsity, else one that prunes a good part."""
    if flag == "K0":
        return 0.0
    if flag == "KAll":
        return 1.0
    if flag in ("K1", "NearTie"):
        return 1 / total
    if flag == "UnrepresentableSparsity":
        product, number = misrounded(total)
        telling = product if rng.random() < 0.6 else number
        return float(rng.choice(telling or product or (0.1, 0.55, 0.7)))
    return float(rng.choice(SPARSITIES))


@lru_cache
def misrounded(total) -> tuple:
    """Sparsities of at most three decimals that round to another count of `total` than their decimal does.

    The first tuple: through a product in double precision. The second: in single precision, or exactly from the
    binary number that stands for the decimal.

    >>> 0.7 in misrounded(45)[0]  # 31.5 goes to 32, but 0.7 * 45 is 31.499999999999996
    True
    """
    right = {k / 1000: round(Fraction(k, 1000) * total) for k in range(1, 1000)}
    product = tuple(s for s, count in right.items() if round(s * total) != count)
    number = tuple(
        s
        for s, count in right.items()
        if round(float(np.float32(s) * np.float32(total))) != count or round(Fraction(s) * total) != count
    )
    return product, number


def nm(rng, columns, flag):
    """(n, m) with m a divisor of `columns`, or none for the flag NMRemainder."""
    divisors = [m for m in (2, 3, 4, 5, 8, columns) if m <= columns and columns % m == 0]
    m = int(rng.choice(divisors)) if divisors else 1
    if flag == "NearTie":
        return columns - 1, columns
    if flag == "DeadInput" and rng.random() < 0.5:
        return m - 1, m  # some dead inputs stay
    if flag == "NMRemainder":
        m = next((m for m in (4, 3, 5, 2) if m < columns and columns % m), columns + 1)
        return max(1, m // 2), m
    if flag == "NMNotHalf":
        m = max([m for m in divisors if m in (3, 4)] or [max(divisors)])
        return (int(rng.choice([1, m - 1])) if m > 1 else 1), m
    if flag in ("K0", "KAll"):
        return (m if flag == "K0" else 0), m
    return int(rng.integers(1, m)) if m > 1 else 1, m
