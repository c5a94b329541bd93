"""Arrays of the kind that an implementation works on: NumPy, PyTorch, JAX or CuPy.

Each package is imported only when its kind is asked for. An array that comes back is recognised by packages
that are loaded already: an answer cannot be a tensor where torch was never imported.
"""

import importlib
import sys

import numpy as np

from refprune.testing.operators import Operator
from refprune.testing.wire import Foreign, encode, foreign, type_name

KINDS = ("numpy", "torch", "jax", "cupy")
_ARRAY_TYPES = (("torch", "Tensor"), ("jax", "Array"), ("cupy", "ndarray"))


def require(kind):
    """Import the package of `kind` and return it (`jax.numpy` for jax).

    Raises
    ------
    ValueError
        The kind is unknown, or its package is not installed here.
    """
    if kind not in KINDS:
        raise ValueError(f"need arrays in {', '.join(KINDS)}; got {kind!r}")
    try:
        return importlib.import_module("jax.numpy" if kind == "jax" else kind)
    except ImportError as error:
        install = f'pip install "refprune[{kind}]"'
        raise ValueError(f"need the package {kind} for arrays={kind!r} ({install}); got {error}") from None


def to_kind(array, kind):
    """The NumPy `array` as an array of `kind`.

    NumPy arrays stay as they are, strides and flags too. A tensor shares the array's memory and strides, but
    torch has neither read-only tensors nor negative strides: those are copied. JAX and CuPy copy.

    >>> to_kind(np.arange(2.0), "numpy")
    array([0., 1.])
    """
    if kind == "numpy":
        return array
    package = require(kind)
    if kind == "torch":
        plain = array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy()
        return package.from_numpy(plain)
    if kind == "cupy":
        return package.array(array)
    moved = package.array(array)
    if moved.dtype != array.dtype:
        raise ValueError(
            f"need JAX_ENABLE_X64=1 for arrays='jax' in {array.dtype}; JAX made it {moved.dtype}"
        )
    return moved


def tree_to_kind(value, kind):
    """`to_kind` on every array inside lists, tuples, mappings and operators; the rest is passed through."""
    if isinstance(value, np.ndarray):
        return to_kind(value, kind)
    return _map(value, lambda item: tree_to_kind(item, kind))


def _map(value, function):
    """`function` on the items of a list, tuple, mapping or operator, which stays one; the rest is returned."""
    if isinstance(value, Operator):
        return Operator(function(value.matrix))
    if isinstance(value, dict):
        return {key: function(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [function(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def kind_of(value):
    """The kind of an array, None for anything else. NumPy scalars are not arrays."""
    if isinstance(value, np.ndarray):
        return "numpy"
    for package, name in _ARRAY_TYPES:
        array_type = getattr(sys.modules.get(package), name, None)
        if array_type is not None and isinstance(value, array_type):
            return package
    return None


def from_kind(value):
    """An array of any kind as a NumPy array; what NumPy cannot hold (bfloat16, sparse tensors) as `Foreign`.

    Anything that is no array is returned as it is.
    """
    kind = kind_of(value)
    if kind is None:
        return value
    try:
        array = _host(value, kind)
    except BaseException as error:
        return Foreign(
            type_name(value),
            f"<{getattr(value, 'dtype', 'array')} that NumPy cannot read: {str(error)[:200]}>",
        )
    if array.dtype.kind not in "biufc":
        return foreign(
            value, f"<array of dtype {getattr(value, 'dtype', array.dtype)} and shape {array.shape}>"
        )
    return array


def _host(value, kind):
    if kind == "torch":
        return value.detach().cpu().resolve_conj().resolve_neg().numpy()
    if kind == "cupy":
        return value.get()
    return np.asarray(value)


def plain_type(value, kind):
    """Whether `value` is an array of `kind` and of no odd subclass (a matrix or a masked array is one)."""
    if kind_of(value) != kind:
        return False
    return kind != "numpy" or type(value) in (np.ndarray, np.memmap)


def leaves(value):
    """The arrays of any kind inside lists, tuples, mappings and operators, in order."""
    if isinstance(value, Operator):
        return [value.matrix]
    if kind_of(value) is not None:
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return []


def shares(a, b):
    """Whether two arrays share memory, through any chain of views. JAX arrays cannot change: never."""
    kinds = (kind_of(a), kind_of(b))
    if "jax" in kinds:
        return False
    if "cupy" in kinds:
        return kinds == ("cupy", "cupy") and bool(sys.modules["cupy"].shares_memory(a, b))
    if kinds == ("torch", "torch") and "cpu" not in (a.device.type, b.device.type):
        storages = {tensor.untyped_storage().data_ptr() for tensor in (a, b)}
        return bool(a.numel() and b.numel()) and len(storages) == 1
    try:
        return bool(np.shares_memory(_memory(a), _memory(b), max_work=100_000))
    except np.exceptions.TooHardError:
        return True  # the ranges overlap, and whether an entry does is too hard to tell
    except (RuntimeError, TypeError):
        return False  # a tensor without memory that NumPy could see: a copy by construction


def _memory(value):
    return value.detach().numpy() if kind_of(value) == "torch" else value


def state(source, value):
    """What must not change when `value`, made from the NumPy tree `source`, is handed to an implementation.

    The bytes of the buffers (gaps between strided entries too), and shape, dtype and flags of every array.
    """
    try:
        buffers = [_root(leaf).tobytes() for leaf in leaves(source)]
        return buffers, encode(_tree_from_kind(value))
    except BaseException as error:  # a donated or deleted buffer can no longer be read
        return type_name(error)


def _root(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _tree_from_kind(value):
    return from_kind(value) if kind_of(value) is not None else _map(value, _tree_from_kind)
