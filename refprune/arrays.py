"""What the other floors import: namespaces, validated arguments, stable sorting, linear algebra, `erf`.

No other module above this floor calls NumPy on a user's arrays.
"""

import importlib
from math import frexp

import numpy as np
import scipy.special

from refprune.backends import (
    Array,
    astype,
    blocks,
    cast,
    concat,
    device_of,
    diagonal,
    dtype_name,
    eps,
    eye,
    from_numpy,
    full,
    library,
    namespace,
    plain,
    precision,
    swap,
    to_numpy,
    transpose,
    widest,
)
from refprune.checks import boolean, exactly_symmetric, flag, integer, nonnegative, real, symmetric
from refprune.linear import cholesky, eigh, inv, inv_spd, inverse_factor, solve, solve_spd

__all__ = [
    "Array",
    "argsort",
    "astype",
    "blocks",
    "boolean",
    "cast",
    "cholesky",
    "columns",
    "concat",
    "device_of",
    "diagonal",
    "dtype_name",
    "eigh",
    "eps",
    "erf",
    "exactly_symmetric",
    "exponent",
    "eye",
    "flag",
    "from_numpy",
    "full",
    "integer",
    "inv",
    "inv_spd",
    "inverse_factor",
    "library",
    "namespace",
    "nonnegative",
    "plain",
    "precision",
    "real",
    "smallest",
    "solve",
    "solve_spd",
    "swap",
    "symmetric",
    "times_power",
    "to_numpy",
    "transpose",
    "widest",
]


def argsort(array, axis=-1):
    """Indices that sort `array` ascending, equal entries in the order of their index (a stable sort)."""
    xp = library(array)
    if xp.__name__ in ("numpy", "autograd.numpy"):
        return xp.argsort(array, axis=axis, kind="stable")
    return xp.argsort(array, axis=axis)  # CuPy's sort and the standard's are stable by default


def columns(matrix, which):
    """The columns of `matrix` (m, n) at the integers `which`, as a new array."""
    if isinstance(matrix.dtype, np.dtype):
        return matrix[:, which]
    return library(matrix).take(matrix, which, axis=1)  # the standard has no index arrays beside slices


def smallest(scores, count, first=None):
    """Mark the `count` smallest entries along the last axis, among equals the lowest index first.

    Parameters
    ----------
    scores : array, shape (..., n)
    count : int, or integer array of shape (..., 1)
        From 0 to n.
    first : boolean array, shape (..., n), optional
        Entries that are taken before all others, whatever their score.

    Returns
    -------
    boolean array, shape (..., n)
    """
    xp = library(scores)
    if 0 in scores.shape:
        return full(scores.shape, False, scores, dtype="bool")
    if first is None:
        return _smallest(xp, scores, count)
    order = argsort(scores)
    later = xp.where(first, full(first.shape, 0, order), full(first.shape, 1, order))
    order = xp.take_along_axis(order, argsort(xp.take_along_axis(later, order, axis=-1)), axis=-1)
    return argsort(order) < count  # the rank of each entry


def _smallest(xp, scores, count):
    """`smallest` without a stable sort: what is below the last entry taken, and the first of its equals."""
    if getattr(count, "shape", ()):
        last = xp.take_along_axis(xp.sort(scores, axis=-1), xp.maximum(count - 1, 0 * count), axis=-1)
    else:
        at = max(count - 1, 0)
        partition = getattr(xp, "partition", None)  # not in the standard
        ordered = partition(scores, at, axis=-1) if partition else xp.sort(scores, axis=-1)
        last = ordered[..., at][..., None]
    below, equal = scores < last, scores == last
    cumulate = xp.cumsum if hasattr(xp, "cumsum") else xp.cumulative_sum
    rank = xp.sum(astype(below, xp.int64), axis=-1, keepdims=True) + cumulate(
        astype(equal, xp.int64), axis=-1
    )
    return below | (equal & (rank <= count))


def erf(array):
    """The error function, elementwise. Where a library has none, the array is moved to NumPy and back."""
    family = library(array).__name__
    own = {"autograd.numpy": "autograd.scipy.special", "cupy": "cupyx.scipy.special"}
    if family in own:
        return importlib.import_module(own[family]).erf(array)
    return from_numpy(scipy.special.erf(to_numpy(array)), array)


def exponent(array):
    """The exponent of the power of two next above the largest `|array|`, clipped to what has an inverse."""
    if 0 in array.shape:
        return 0
    limit = 1000 if dtype_name(array.dtype) == "float64" else 120
    return max(-limit, min(limit, frexp(float(library(array).max(abs(array))))[1]))


def times_power(array, power):
    """`array` times ``2**power``, in steps: the power alone may be out of range. No warning beyond the range."""
    with np.errstate(over="ignore"):
        for part in range(3):
            array = array * 2.0 ** ((power + part) // 3)
    return array
