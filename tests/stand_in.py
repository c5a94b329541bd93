"""A stand-in for CuPy without a GPU: an array type that behaves as CuPy's does where NumPy is kinder.

It refuses implicit conversion, mixing with NumPy arrays and NumPy functions called on it; reductions give 0-d
arrays; a failed Cholesky gives NaN and a singular solve gives NaN, without an exception; signatures are
CuPy's (``argsort`` has no ``stable=``, reductions no ``where=``); there is no object dtype. Where CuPy leaves
the result undefined (duplicate indices in an assignment, indices out of bounds) it raises.
"""

import operator
from types import ModuleType

import numpy as np

SCALARS = (bool, int, float, complex, np.generic)


class DeviceArray:
    """An array on the device that is not there: `asarray` is the one way in, `get()` the one way back."""

    __slots__ = ("_data",)
    __array_ufunc__ = None  # NumPy's operators and ufuncs refuse it
    __hash__ = None

    def __init__(self, data):
        if data.dtype == object:
            raise TypeError("the device has no object dtype")
        self._data = data

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use get()")

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(f"numpy.{func.__name__} was called on a device array")

    def __array_namespace__(self, *, api_version=None):
        return xp

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    nbytes = property(lambda self: self._data.nbytes)
    T = property(lambda self: DeviceArray(self._data.T))

    def get(self):
        """A copy on the host."""
        return self._data.copy()

    def item(self):
        return self._data.item()

    def tolist(self):
        return self._data.tolist()

    def copy(self):
        return DeviceArray(self._data.copy())

    def astype(self, dtype, copy=True):
        return DeviceArray(self._data.astype(dtype, copy=copy))

    def fill(self, value):
        self._data.fill(_host(value))

    def __repr__(self):
        return f"DeviceArray({self._data!r})"

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self._data)

    def __int__(self):
        return int(self._data)

    def __float__(self):
        return float(self._data)

    def __getitem__(self, key):
        return _device(self._data[_index(key)])

    def __setitem__(self, key, value):
        key = _index(key)
        touched = np.arange(self._data.size).reshape(self._data.shape)[key]
        if np.unique(touched).size != np.size(touched):
            raise ValueError("duplicate indices in an assignment: undefined on the device")
        with np.errstate(all="ignore"):
            self._data[key] = _host(value)


def _host(value):
    """The data of a device array, or a scalar; anything else is an implicit conversion."""
    if isinstance(value, DeviceArray):
        return value._data
    if isinstance(value, SCALARS):
        return value
    raise TypeError(f"mixing a device array with {type(value).__name__} is not allowed")


def _index(key):
    """Open the device arrays of an index; NumPy arrays and lists in it are implicit conversions."""
    if isinstance(key, tuple):
        return tuple(_index(part) for part in key)
    if isinstance(key, (np.ndarray, list)):
        raise TypeError(f"indexing a device array with {type(key).__name__} is not allowed")
    return key._data if isinstance(key, DeviceArray) else key


def _device(result):
    """Wrap what NumPy returned: every array and every NumPy scalar becomes a device array."""
    if isinstance(result, (tuple, list)):
        return tuple(_device(part) for part in result)
    return DeviceArray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _open(argument):
    """Open the device arrays in an argument, also inside lists of arrays; NumPy arrays are refused."""
    if isinstance(argument, DeviceArray):
        return argument._data
    if isinstance(argument, np.ndarray):
        raise TypeError("a NumPy array was given to a device function; use asarray")
    if isinstance(argument, (tuple, list)):
        return type(argument)(_open(part) for part in argument)
    return argument


def _holds_array(argument):
    return isinstance(argument, DeviceArray) or (
        isinstance(argument, (tuple, list)) and any(_holds_array(part) for part in argument)
    )


def _binary(function):
    def forward(self, other):
        with np.errstate(all="ignore"):
            return _device(function(self._data, _host(other)))

    def backward(self, other):
        with np.errstate(all="ignore"):
            return _device(function(_host(other), self._data))

    def in_place(self, other):
        with np.errstate(all="ignore"):
            self._data = function(self._data, _host(other), out=self._data)
        return self

    return forward, backward, in_place


def _unary(function):
    return lambda self: _device(function(self._data))


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
    "floordiv": np.floor_divide, "mod": np.remainder, "matmul": np.matmul, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor,
}.items():  # fmt: skip
    _forward, _backward, _in_place = _binary(_ufunc)
    setattr(DeviceArray, f"__{_name}__", _forward)
    setattr(DeviceArray, f"__r{_name}__", _backward)
    setattr(DeviceArray, f"__i{_name}__", _in_place)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(DeviceArray, f"__{_name}__", _binary(getattr(operator, _name))[0])
for _name in ("neg", "pos", "abs", "invert"):
    setattr(DeviceArray, f"__{_name}__", _unary(getattr(operator, _name)))


def _function(name, function, keywords=None):
    """The device's version of a NumPy function; `keywords` are all that CuPy takes, None means any."""

    def call(*args, **kwargs):
        unknown = [] if keywords is None else sorted(set(kwargs) - set(keywords))
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}")
        if not any(_holds_array(argument) for argument in (*args, *kwargs.values())):
            raise TypeError(f"{name}() needs a device array; got {', '.join(type(a).__name__ for a in args)}")
        opened = {key: _open(value) for key, value in kwargs.items()}
        with np.errstate(all="ignore"):
            return _device(function(*map(_open, args), **opened))

    call.__name__ = name
    return call


def _creator(function):
    """Creation from shapes and scalars only."""

    def call(*args, **kwargs):
        return _device(function(*map(_open, args), **kwargs))

    return call


def _asarray(value, dtype=None):
    """Move to the device, explicitly: a NumPy array, a scalar or a list of scalars."""
    if isinstance(value, DeviceArray):
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    return DeviceArray(np.array(value, dtype=dtype))


def _array(value, dtype=None, copy=True):
    return _asarray(value.copy() if copy and isinstance(value, DeviceArray) else value, dtype)


def _sorted(function):
    def call(a, axis=-1, kind=None):
        if kind not in (None, "stable"):
            raise ValueError("the device sorts stably; kind must be None or 'stable'")
        return function(a, axis=axis, kind="stable")

    return call


def _quiet(function, shape):
    """A factorisation that does not raise: NaN, shaped as argument `shape`, for a matrix that fails."""

    def one(*matrices):
        try:
            return function(*matrices)
        except np.linalg.LinAlgError:
            return np.full(matrices[shape].shape, np.nan, dtype=np.result_type(*matrices, np.float32))

    def call(a, *others):
        if a.ndim == 2:
            return one(a, *others)
        return np.stack([call(*(x[i] for x in (a, *others))) for i in range(len(a))]) if len(a) else a

    return call


REDUCTIONS = "sum prod mean max min argmax argmin all any cumsum cumprod count_nonzero median var std"
FUNCTIONS = """abs absolute sqrt exp log log2 log10 log1p expm1 sin cos tanh sign floor ceil trunc rint
round square isfinite isnan isinf logical_and logical_or logical_not logical_xor maximum minimum power add
subtract multiply divide negative hypot clip where nan_to_num reshape transpose swapaxes moveaxis
concatenate stack vstack hstack broadcast_to tile repeat roll flip squeeze expand_dims ravel tril triu diag
diagonal trace take take_along_axis nonzero flatnonzero searchsorted unique argpartition partition lexsort
dot matmul inner outer vdot einsum tensordot array_equal allclose isclose bincount zeros_like ones_like
empty_like full_like less less_equal greater greater_equal equal not_equal copy split array_split atleast_1d
atleast_2d pad kron isin digitize diff"""
METHODS = """reshape transpose swapaxes ravel squeeze take diagonal trace dot nonzero repeat round
sum prod mean max min argmax argmin all any cumsum cumprod var std"""

xp = ModuleType("stand_in", "The stand-in's functions, with CuPy's names and signatures.")
xp.ndarray, xp.asarray, xp.array = DeviceArray, _asarray, _array
xp.newaxis, xp.inf, xp.nan, xp.pi, xp.finfo, xp.iinfo = None, np.inf, np.nan, np.pi, np.finfo, np.iinfo
xp.asnumpy = lambda a: a.get()
xp.result_type = lambda *a: np.result_type(*(x.dtype if isinstance(x, DeviceArray) else x for x in a))
for _name in (
    "float16",
    "float32",
    "float64",
    "int8",
    "int32",
    "int64",
    "uint8",
    "bool_",
    "dtype",
    "issubdtype",
):
    setattr(xp, _name, getattr(np, _name))
for _name in ("zeros", "ones", "empty", "full", "arange", "eye", "identity", "linspace", "tri"):
    setattr(xp, _name, _creator(getattr(np, _name)))
for _name in FUNCTIONS.split():
    setattr(xp, _name, _function(_name, getattr(np, _name)))
for _name in REDUCTIONS.split():
    setattr(xp, _name, _function(_name, getattr(np, _name), ("axis", "dtype", "out", "keepdims", "ddof")))
for _name in ("sort", "argsort"):
    setattr(xp, _name, _function(_name, _sorted(getattr(np, _name))))
for _name in METHODS.split():
    setattr(DeviceArray, _name, _function(_name, getattr(np.ndarray, _name)))
for _name in ("sort", "argsort"):
    setattr(DeviceArray, _name, getattr(xp, _name))
del DeviceArray.sort  # CuPy's sorts in place; nothing here should

xp.linalg = ModuleType("stand_in.linalg")
for _name in ("norm", "eigh", "eigvalsh", "qr", "svd", "det", "slogdet", "lstsq", "pinv", "matrix_rank"):
    setattr(xp.linalg, _name, _function(_name, getattr(np.linalg, _name)))
xp.linalg.cholesky = _function("cholesky", _quiet(np.linalg.cholesky, 0))
xp.linalg.inv = _function("inv", _quiet(np.linalg.inv, 0))
xp.linalg.solve = _function("solve", _quiet(np.linalg.solve, 1))
