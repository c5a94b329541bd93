"""Plain data over a pipe: arrays with their memory layout, scalars, lists and mappings.

`encode` turns a value into a tree of builtins and `decode` turns it back. A frame is a header and the pickled
tree. The reader accepts builtins only, so nothing that a worker sends can run code in the process that judges
it. A non-contiguous, transposed or read-only array arrives with the same strides and the same flag: a kernel
that ignores strides must meet them.
"""

import io
import pickle
import reprlib
import struct
from dataclasses import dataclass

import numpy as np

from refprune.testing.operators import Operator

HEADER = struct.Struct("<4sQ")
MAGIC = b"rfp1"
DEPTH = 8  # levels of nested lists and mappings in one answer
ITEMS = 1_000_000  # values in one answer, arrays counted as one
BYTES = 2**30  # of one array
REPR = 300  # characters of a foreign object's repr
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = REPR


@dataclass(frozen=True)
class Foreign:
    """An object that is no array, number, text, list or mapping: its type and its `repr`, never itself."""

    type_name: str
    repr: str

    def __repr__(self):
        return f"{self.type_name}: {self.repr}"


@dataclass(frozen=True)
class Raised:
    """An exception, or what befell the process, in words; `where` is the innermost line of its traceback."""

    type_name: str
    message: str
    where: str = ""

    def __str__(self):
        place = f" ({self.where})" if self.where else ""
        return f"{self.type_name}: {self.message}{place}"


def type_name(value):
    """The full name of the type of `value`; builtins without their module.

    >>> type_name(1), type_name(np.zeros(1))
    ('int', 'numpy.ndarray')
    """
    return class_name(type(value))


def class_name(kind):
    """The full name of the class `kind`; builtins without their module."""
    module = getattr(kind, "__module__", "builtins")
    name = getattr(kind, "__qualname__", "object")
    return name if module == "builtins" else f"{module}.{name}"


def foreign(value, text=None):
    """`value` as `Foreign`; a `__repr__` that raises is part of the description."""
    if text is None:
        try:
            text = _SHORT.repr(value)
        except BaseException as error:
            text = f"<repr raised {type_name(error)}>"
    return Foreign(type_name(value), text if len(text) <= REPR else text[: REPR - 3] + "...")


def encode(value, strict=False):
    """A tree of builtins for `value`.

    Arrays keep dtype, shape, layout and the writeable flag. NumPy scalars become Python numbers. Anything
    that has no plain form becomes `Foreign`; with `strict` it is a TypeError instead.
    """
    return _Encoder(strict).tree(value, DEPTH)


class _Encoder:
    def __init__(self, strict):
        self.strict, self.items = strict, 0

    def tree(self, value, depth):
        self.items += 1
        if isinstance(value, np.generic) and value.dtype.kind in "biufcU":
            value = complex(value) if value.dtype.kind == "c" else _number(value)
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is complex:
            return ("complex", value.real, value.imag)
        if kind is Foreign:
            return ("foreign", value.type_name, value.repr)
        if kind is Operator:
            return ("operator", self.tree(value.matrix, depth))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return _array_tree(value) if value.nbytes <= BYTES else self.other(value, _too_large(value))
        if depth and isinstance(value, (list, tuple, dict)) and self.items + len(value) <= ITEMS:
            if isinstance(value, (list, tuple)):
                return ("list" if kind is list else "tuple", [self.tree(v, depth - 1) for v in value])
            if isinstance(value, dict) and all(type(k) in (str, int) for k in value):
                return ("dict", [(k, self.tree(v, depth - 1)) for k, v in value.items()])
        return self.other(value)

    def other(self, value, text=None):
        if self.strict:
            raise TypeError(f"need arrays, numbers, text, lists or mappings; got {type_name(value)}")
        return ("foreign", *vars(foreign(value, text)).values())


def _number(scalar):
    plain = scalar.item()
    return float(plain) if isinstance(plain, np.floating) else plain  # a long double gives itself


def _too_large(array):
    return f"<array of shape {array.shape} and dtype {array.dtype}: more than 1 GiB>"


def _array_tree(array):
    flags = array.flags
    layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else array.strides
    return ("array", array.dtype.str, array.shape, layout, flags.writeable, array.tobytes())


def decode(tree):
    """The value of a tree that `encode` gave, in fresh memory."""
    if not isinstance(tree, tuple):
        return tree
    tag, *rest = tree
    if tag == "array":
        return _array(*rest)
    if tag == "dict":
        return {key: decode(item) for key, item in rest[0]}
    if tag == "operator":
        return Operator(decode(rest[0]))
    if tag in ("list", "tuple"):
        items = [decode(item) for item in rest[0]]
        return items if tag == "list" else tuple(items)
    return {"complex": complex, "foreign": Foreign}[tag](*rest)


def _array(dtype, shape, layout, writeable, data):
    values = np.frombuffer(data, dtype=dtype).reshape(shape)
    if isinstance(layout, str):
        array = np.empty(shape, dtype, order=layout)
    else:
        array = strided(shape, np.dtype(dtype), layout)
    array[...] = values
    array.flags.writeable = writeable
    return array


def strided(shape, dtype, strides):
    """An array of these strides in a buffer of its own; bytes between its entries are 255 (NaN in floats).

    Where the buffer would be more than four times the data (and 64 KiB), the array is C-ordered instead.
    """
    reach = [stride * (size - 1) for stride, size in zip(strides, shape)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + dtype.itemsize
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0 or high - low > max(4 * count * dtype.itemsize, 2**16):
        return np.empty(shape, dtype)
    buffer = np.full(high - low, 1 if dtype.kind == "b" else 255, np.uint8)
    return np.ndarray(shape, dtype, buffer, offset=-low, strides=strides)


def pack(tree):
    """One frame: header and pickled tree."""
    data = pickle.dumps(tree, protocol=5)
    return HEADER.pack(MAGIC, len(data)) + data


def length(header):
    """The number of bytes that follow a header; ValueError when it is none of ours."""
    magic, size = HEADER.unpack(header)
    if magic != MAGIC:
        raise ValueError(f"need a frame that begins with {MAGIC!r}; got {magic!r}")
    return size


class _Plain(pickle.Unpickler):
    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"need builtins only; got {module}.{name}")


def unpack(data):
    """The tree of a frame's body; refuses classes and functions."""
    return _Plain(io.BytesIO(data)).load()
