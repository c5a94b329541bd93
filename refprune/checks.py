"""Validated arguments: each check returns its argument, or raises an error with name, rule and value."""

from fractions import Fraction
from numbers import Real
from operator import index

import numpy as np

from refprune.backends import cast, dtype_name, eps, library, plain, swap, to_numpy


def real(name, array, ndim=None, shape=None):
    """Return `array` when it holds finite real numbers.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    array : array
        float16, float32, float64, or a NumPy object array of Fractions.
    ndim : int or tuple of int, optional
        The numbers of dimensions that are allowed.
    shape : tuple, optional
        The shape that is needed; None stands for any length.

    Raises
    ------
    TypeError
        Not an array of a known kind, or not of real floating numbers.
    ValueError
        Wrong number of dimensions, wrong shape, NaN or Inf.
    """
    xp = library(array, name)
    kind = dtype_name(array.dtype)
    if kind not in ("float16", "float32", "float64", "object"):
        raise TypeError(f"need real floating numbers in {name}; got {kind}")
    if kind == "object":
        strange = [type(x).__name__ for x in array.ravel() if not isinstance(x, Fraction)]
        if strange:
            raise TypeError(f"need Fractions in the object array {name}; got {strange[0]}")
    _shaped(name, array, ndim, shape)
    if kind != "object" and not bool(xp.all(xp.isfinite(array))):
        value = to_numpy(array).ravel()
        at = int(np.flatnonzero(~np.isfinite(value))[0])
        raise ValueError(f"need finite numbers in {name}; got {value[at]} at flat index {at}")
    return array


def boolean(name, array, ndim=None, shape=None):
    """Return `array` when it is a boolean array; errors as `real`."""
    library(array, name)
    if dtype_name(array.dtype) != "bool":
        raise TypeError(f"need a boolean array {name} (True = kept); got {dtype_name(array.dtype)}")
    _shaped(name, array, ndim, shape)
    return array


def _shaped(name, array, ndim, shape):
    """Raise ValueError unless `array` has one of the numbers of dimensions `ndim` and the shape `shape`."""
    got = tuple(array.shape)
    dims = (ndim,) if isinstance(ndim, int) else ndim
    if dims is not None and array.ndim not in dims:
        raise ValueError(f"need {name} with {' or '.join(map(str, dims))} dimensions; got shape {got}")
    if shape is None:
        return
    if len(got) != len(shape) or any(n is not None and n != m for m, n in zip(got, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"need {name} of shape ({wanted}); got {got}")


def symmetric(name, matrix):
    """Return `matrix` (..., d, d) when it is symmetric up to sqrt(eps) max|matrix|; errors as `real`."""
    real(name, matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"need {name} to be a square matrix; got shape {tuple(matrix.shape)}")
    if 0 in matrix.shape:
        return matrix
    xp, bare = library(plain(matrix)), plain(matrix)
    slack = eps(bare.dtype) ** 0.5
    with np.errstate(over="ignore"):
        gap, size = xp.max(xp.abs(bare - swap(bare))), xp.max(xp.abs(bare))
    if bool(gap > (slack * size if slack else 0)):
        raise ValueError(f"need {name} to be symmetric; got |{name} - {name}^T| up to {float(gap):.3g}")
    return matrix


def exactly_symmetric(name, matrix):
    """`matrix` itself when it equals its transpose, else their mean; errors as `symmetric`."""
    symmetric(name, matrix)
    bare = plain(matrix)
    if bool(library(bare).all(bare == swap(bare))):
        return matrix
    (matrix,) = cast(matrix)
    return (matrix + swap(matrix)) / 2


def integer(name, value, least=None, most=None):
    """Return `value` as an int; TypeError for booleans and floats, ValueError outside [least, most]."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__") or getattr(value, "ndim", 0):
        raise TypeError(f"need {name} to be an integer; got {value!r}")
    value = index(value)
    if (least is not None and value < least) or (most is not None and value > most):
        rule = f">= {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"need {name} {rule}; got {value}")
    return value


def flag(name, value):
    """Return `value` as a bool; TypeError unless it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"need {name} to be True or False; got {value!r}")
    return bool(value)


def nonnegative(name, value):
    """Return `value` as a float; TypeError for booleans and no numbers, ValueError outside [0, inf)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"need {name} to be a real number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"need {name} >= 0 and finite; got a number beyond float64") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"need {name} >= 0 and finite; got {value}")
    return number
