"""What the other floors import: namespaces, validated arguments, stable sorting, linear algebra, `erf`.

No other module above this floor calls NumPy on a user's arrays.
"""

import importlib

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
from refprune.checks import boolean, exactly_symmetric, integer, nonnegative, real, symmetric
from refprune.linear import cholesky, eigh, inv, inv_spd, inverse_factor, solve, solve_spd

__all__ = [
    "Array",
    "argsort",
    "astype",
    "blocks",
    "boolean",
    "cast",
    "cholesky",
    "concat",
    "device_of",
    "diagonal",
    "dtype_name",
    "eigh",
    "eps",
    "erf",
    "exactly_symmetric",
    "eye",
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
    order = argsort(scores)
    if first is not None:
        later = xp.where(first, full(first.shape, 0, order), full(first.shape, 1, order))
        order = xp.take_along_axis(order, argsort(xp.take_along_axis(later, order, axis=-1)), axis=-1)
    return argsort(order) < count  # the rank of each entry


def erf(array):
    """The error function, elementwise. Where a library has none, the array is moved to NumPy and back."""
    family = library(array).__name__
    own = {"autograd.numpy": "autograd.scipy.special", "cupy": "cupyx.scipy.special"}
    if family in own:
        return importlib.import_module(own[family]).erf(array)
    return from_numpy(scipy.special.erf(to_numpy(array)), array)
