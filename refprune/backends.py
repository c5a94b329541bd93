"""The array namespace: the one place that knows of NumPy, CuPy, autograd's boxes and array-API arrays.

A function asks `namespace` for `xp` in its first line and then writes array code that runs on all of them.
What the libraries call differently (moves, casts, creation on a device) is settled here. The arrays of one
call must be of one kind and lie on one device; with CuPy that is the current device. The other floors import
`refprune.arrays`.
"""

import importlib
from typing import Any

import numpy as np

from refprune import exact

Array = Any  # an array of one of the libraries below: they share no type
KINDS = "NumPy, CuPy, autograd or another array-API library"


def type_name(value):
    """The type of `value` with its module, for messages."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def library(array, name="array"):
    """Return the module whose functions work on `array`; TypeError when it is no array of a known kind."""
    if type(array) is np.ndarray:
        return np
    family = type(array).__module__.partition(".")[0]
    if isinstance(array, np.ndarray) and not isinstance(array, (np.matrix, np.ma.MaskedArray)):
        return np
    if family == "autograd" and hasattr(array, "dtype"):
        return importlib.import_module("autograd.numpy")
    if family == "cupy" and hasattr(array, "dtype"):
        return importlib.import_module("cupy")
    if not isinstance(array, (np.ndarray, np.generic, type)) and hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    raise TypeError(f"need {name} to be an array of {KINDS}; got {type_name(array)}")


def namespace(*arrays):
    """Return the module `xp` whose functions work on all of `arrays`.

    Mixtures of kinds, lists, scalars and arrays of other libraries are a TypeError; arrays on different
    devices are a ValueError. NumPy arrays beside autograd's boxes are fine: autograd takes them as constants.
    """
    if not arrays:
        raise TypeError("need at least one array; got none")
    if all(type(array) is np.ndarray for array in arrays):
        return np  # what follows says the same, more slowly
    libraries = {module.__name__: module for module in map(library, arrays)}
    if set(libraries) == {"numpy", "autograd.numpy"}:
        return libraries["autograd.numpy"]
    if len(libraries) > 1:
        raise TypeError(f"need arrays of one kind; got {', '.join(sorted({type_name(a) for a in arrays}))}")
    devices = {str(device_of(a).get("device")) for a in arrays}
    if len(devices) > 1:
        raise ValueError(f"need arrays on one device; got {', '.join(sorted(devices))}")
    return next(iter(libraries.values()))


def device_of(like):
    """The keyword that creates an array beside `like`: the standard's `device`, else nothing."""
    own = library(like).__name__ in ("numpy", "autograd.numpy", "cupy")
    device = None if own else getattr(like, "device", None)
    return {} if device is None else {"device": device}


def dtype_name(dtype):
    """The name of a dtype of any library, for example ``"float64"``."""
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]


def _dtype(name, like):
    """The dtype called `name` of the library of `like`."""
    return np.dtype(name) if isinstance(like.dtype, np.dtype) else getattr(library(like), name)


def precision(*arrays):
    """The dtype to compute in: ``result_type`` of all arrays and float32; object (Fractions) stays object.

    Integer, boolean and complex arrays are a TypeError, and so are Fractions beside floats.
    """
    namespace(*arrays)
    names = {dtype_name(a.dtype) for a in arrays}
    if not (names <= {"float16", "float32", "float64"} or names == {"object"}):
        raise TypeError(f"need real floating arrays, or Fractions alone; got {', '.join(sorted(names))}")
    if names == {"object"}:
        return np.dtype(object)
    return _dtype("float64" if "float64" in names else "float32", arrays[0])


def widest(like):
    """The dtype to accumulate in: float64, or float32 where the device has no float64; object stays."""
    if dtype_name(like.dtype) == "object":
        return like.dtype
    if device_of(like):
        info = namespace(like).__array_namespace_info__()
        if "float64" not in info.dtypes(device=like.device, kind="real floating"):
            return _dtype("float32", like)
    return _dtype("float64", like)


def eps(dtype):
    """The distance from 1 to the next number of `dtype`, as a float; 0.0 for exact Fractions."""
    name = dtype_name(dtype)
    return 0.0 if name == "object" else float(np.finfo(name).eps)


def plain(array):
    """The array under autograd's boxes (masks and checks have no derivative); any other array as it is."""
    while type(array).__module__.startswith("autograd.") and hasattr(array, "_value"):
        array = array._value
    return array


def to_numpy(array):
    """Move `array` to NumPy, explicitly. A NumPy array is returned as it is, not copied."""
    array = plain(array)
    if library(array) is np:
        return array
    if hasattr(array, "get"):  # CuPy
        return array.get()
    if device_of(array):
        home = namespace(array).__array_namespace_info__().default_device()
        array = array.to_device(home) if hasattr(array, "to_device") else array
    return np.asarray(array)


def from_numpy(array, like):
    """Move the NumPy `array` to the library and device of `like` (NumPy, autograd: as it is)."""
    xp = library(like)
    return array if xp.__name__ in ("numpy", "autograd.numpy") else xp.asarray(array, **device_of(like))


def full(shape, value, like, dtype=None):
    """A new array filled with `value`, of the library and device of `like`; its dtype, or the one named."""
    dtype = like.dtype if dtype is None else _dtype(dtype, like)
    return library(like).full(shape, value, dtype=dtype, **device_of(like))


def eye(d, like):
    """The identity (d, d) of the library, device and dtype of `like`."""
    if dtype_name(like.dtype) == "object":
        return exact.identity(d)
    return library(like).eye(d, dtype=like.dtype, **device_of(like))


def astype(array, dtype):
    """`array` in `dtype`: always a new array, except for autograd's boxes, which are never written to."""
    return array.astype(dtype) if hasattr(array, "astype") else library(array).astype(array, dtype)


def cast(*arrays):
    """The arrays in their common `precision`, in a list; an array that has it already is not copied."""
    dtype = precision(*arrays)
    return [array if array.dtype == dtype else astype(array, dtype) for array in arrays]


def blocks(batch):
    """Iterate over `batch` along its first axis: computed blocks of a Dask array, else the array itself."""
    if type(batch).__module__.partition(".")[0] != "dask":
        yield batch
        return
    batch = batch.rechunk(dict.fromkeys(range(1, batch.ndim), -1))
    for i in range(batch.numblocks[0]):
        yield batch.blocks[i].compute()


def transpose(array, axes):
    """`array` with its axes in the order `axes`."""
    return array.transpose(axes) if hasattr(array, "transpose") else library(array).permute_dims(array, axes)


def swap(array):
    """`array` with its last two axes exchanged."""
    return transpose(array, (*range(array.ndim - 2), array.ndim - 1, array.ndim - 2))


def concat(arrays, axis):
    """Join `arrays` along `axis`."""
    xp = namespace(*arrays)
    return xp.concatenate(arrays, axis=axis) if hasattr(xp, "concatenate") else xp.concat(arrays, axis=axis)


def diagonal(matrix):
    """The diagonal (..., d) of `matrix` (..., d, d)."""
    xp = library(matrix)
    return xp.diagonal(matrix, axis1=-2, axis2=-1) if hasattr(xp, "diagonal") else xp.linalg.diagonal(matrix)
