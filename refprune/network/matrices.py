r"""Explicit curvature matrices of a network: methods of `refprune.network.Network`.

The Hessian is computed by the R-operator in many directions at once, the unit vectors of the parameters of one
layer after the other. A direction in layer l has no tangents below l, and by symmetry nobody needs its gradients
below l: each pass runs over the layers from l on only, and the block above the diagonal is mirrored.
"""

from math import prod

import numpy as np

from refprune.arrays import (
    Array,
    concat,
    diagonal,
    dtype_name,
    from_numpy,
    full,
    integer,
    library,
    namespace,
    swap,
    to_numpy,
)

from . import chain
from .derivatives import join, points

MEMORY = 2**28  # bytes of temporary arrays
CACHE = (
    2**24
)  # bytes of the tangents of one chunk of directions: the time goes into memory, not into products
LEAST = 8  # directions at once, where memory allows, so that products are large
STRIP = 64  # rows of a matrix that are made symmetric at once
PART = 2**20  # numbers that the samples of one part hold


def hessian(
    network,
    params: dict,
    x: Array,
    y: Array,
    loss: str = "cross_entropy",
    rows=None,
    columns=None,
    memory: int = MEMORY,
) -> Array:
    """The exact Hessian of the mean loss over the flat vector, or a block of it.

    Parameters
    ----------
    params, x, y, loss
        As of `loss`.
    rows, columns : None, str, list of str, or integer array
        Which part of the flat vector: all of it, a layer by its key (``"0"``, ``"3.body.0"``), a parameter by
        its name (``"0.weight"``), a list of those, or indices. `columns` is what `rows` is when None.
    memory : int
        About how many bytes of temporary arrays may be held, beside the result.

    Returns
    -------
    array, shape (rows, columns)
        Exactly symmetric where rows and columns are the same.

    Raises
    ------
    ValueError, TypeError
        As all methods; keys that name nothing, indices outside [0, d), a budget that is no positive integer.

    Notes
    -----
    Cost: at most a Hessian-vector product for each column (or row, whichever are fewer); less for the whole
    matrix, where a direction passes only through the layers from its own on.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1)])
    >>> params = {"0.weight": np.zeros((1, 2)), "0.bias": np.zeros(1)}
    >>> x, y = np.array([[1.0, 2.0]]), np.array([[1.0]])
    >>> network.hessian(params, x, y, loss="squared")
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    >>> network.hessian(params, x, y, loss="squared", rows="0.bias", columns="0.weight")
    array([[1., 2.]])
    """
    integer("memory", memory, least=1)
    left = chosen(network, "rows", rows)
    right = left if columns is None else chosen(network, "columns", columns)
    if right.size > left.size:
        return swap(_block(network, params, x, y, loss, right, left, memory))
    return _block(network, params, x, y, loss, left, right, memory)


def _block(network, params, x, y, loss, rows, columns, memory):
    """The block (rows, columns), indices in any order, directions over the columns."""
    symmetric = np.array_equal(rows, columns)
    (r, back_r), (c, back_c) = (np.unique(index, return_inverse=True) for index in (rows, columns))
    total = None
    for point in points(network, params, x, y, loss, min(memory // 64, PART)):
        if total is None:
            total = full((c.size, r.size), 0, point.outputs)
        point.pull(None)
        _accumulate(total, point, r, c, symmetric, memory)
    if symmetric:
        total = _mirrored(total, network, c)
    if np.array_equal(back_r, np.arange(r.size)) and np.array_equal(back_c, np.arange(c.size)):
        return total if symmetric else swap(total)
    xp = namespace(total)
    total = xp.take(total, from_numpy(back_c, total), axis=0)
    return swap(xp.take(total, from_numpy(back_r, total), axis=1))


def _accumulate(total, point, rows, columns, symmetric, memory):
    """Add the Hessian of `point` to `total` (columns, rows); of a symmetric block only what lies on or above
    the blocks of the diagonal."""
    spans = layer_spans(point.network)
    lowest = next((key for key, (_, end) in spans.items() if rows.size and rows[0] < end), 0)
    for key, (start, end) in spans.items():
        first, stop = np.searchsorted(columns, (start, end))
        if first == stop or not rows.size:
            continue
        low = key if symmetric else lowest
        names = [name for name in point.network.shapes if int(name.split(".")[0]) >= low]
        begin = spans[low][0]
        at = np.searchsorted(rows, begin)
        whole = rows.size - at == point.network.size - begin
        for a, b, directions in _directions(point, key, columns[first:stop] - start, memory):
            found = point.tangent(directions, start=key, stop=low)
            found = join(point.network, found, names, (b - a,), point.outputs)
            if not whole:
                found = namespace(found).take(found, from_numpy(rows[at:] - begin, found), axis=1)
            total[first + a : first + b, at:] += found


def _directions(point, key, indices, memory):
    """Yield (first, stop, dict of unit tangents) for the parameters `indices` of layer `key`, in chunks."""
    network, samples = point.network, point.outputs.shape[0]
    names = [name for name in network.shapes if name.startswith(f"{key}.")]
    size = sum(prod(network.shapes[name]) for name in names)
    each = 8 * (3 * samples * sum(chain.held(network.layers, point.shape)) + size + network.size)
    step = max(1, min(memory, CACHE) // each, min(LEAST, memory // each))
    for a in range(0, indices.size, step):
        b = min(a + step, indices.size)
        unit = np.zeros((b - a, size), dtype_name(point.outputs.dtype))
        unit[np.arange(b - a), indices[a:b]] = 1
        unit, directions, start = from_numpy(unit, point.outputs), {}, 0
        for name in names:
            shape = network.shapes[name]
            piece = unit[:, start : start + prod(shape)]
            directions[name] = namespace(unit).reshape(piece, (b - a, *shape))
            start += prod(shape)
        yield a, b, directions


def _mirrored(total, network, columns):
    """Fill the part below the blocks of the diagonal; a block of the diagonal becomes its symmetric part."""
    for start, end in layer_spans(network).values():
        a, b = np.searchsorted(columns, (start, end))
        if a < b:
            symmetrise(total, a, b)
            total[b:, a:b] = swap(total[a:b, b:])
    return total


def symmetrise(matrix, start, stop):
    """Make the block [start, stop) of the diagonal its symmetric part, some rows at a time: little memory is held."""
    for a in range(start, stop, STRIP):
        rows = slice(a, min(a + STRIP, stop))
        mean = (matrix[rows, a:stop] + swap(matrix[a:stop, rows])) / 2
        matrix[rows, a:stop] = mean
        matrix[a:stop, rows] = swap(mean)


def hessian_diagonal(
    network, params: dict, x: Array, y: Array, loss: str = "cross_entropy", memory: int = MEMORY
) -> Array:
    """The diagonal (d,) of the exact Hessian of the mean loss. Arguments as of `hessian`.

    Cost: a pass over the layers from its own on for every parameter; memory stays below the budget, the
    matrix is not formed.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1, bias=False)])
    >>> params, x, y = {"0.weight": np.zeros((1, 2))}, np.array([[1.0, 2.0]]), np.array([[1.0]])
    >>> network.hessian_diagonal(params, x, y, loss="squared")
    array([1., 4.])
    """
    integer("memory", memory, least=1)
    total = None
    for point in points(network, params, x, y, loss, min(memory // 64, PART)):
        point.pull(None)
        pieces = []
        for key, (start, end) in layer_spans(network).items():
            names = [name for name in network.shapes if name.startswith(f"{key}.")]
            for a, b, directions in _directions(point, key, np.arange(end - start), memory):
                found = point.tangent(directions, start=key, stop=key, want=str(key))
                found = join(network, found, names, (b - a,), point.outputs)
                pieces.append(diagonal(found[:, a:b]) + 0)
        found = concat(pieces, axis=0)
        total = found if total is None else total + found
    return total


def layer_spans(network) -> dict:
    """Top-level layer -> (start, end) of its parameters in the flat vector, for layers that have any."""
    spans, start = {}, 0
    for name, shape in network.shapes.items():
        key = int(name.split(".")[0])
        spans[key] = (spans.get(key, (start,))[0], start + prod(shape))
        start += prod(shape)
    return spans


def chosen(network, name, which) -> np.ndarray:
    """The flat indices that `which` names."""
    if which is None:
        return np.arange(network.size)
    if isinstance(which, (str, list, tuple)):
        keys = [which] if isinstance(which, str) else which
        return np.concatenate([np.arange(0), *(_named(network, name, key) for key in keys)])
    library(which, name)
    indices = to_numpy(which)
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise TypeError(
            f"need {name} to be names or a 1-D integer array; got {indices.dtype} {indices.shape}"
        )
    wrong = indices[(indices < 0) | (indices >= network.size)]
    if wrong.size:
        raise ValueError(f"need {name} in [0, {network.size}); got {wrong[0]}")
    return indices.astype(np.intp)


def _named(network, name, key):
    """The flat indices of the parameters of one name, or of the layer at one key."""
    if not isinstance(key, str):
        raise TypeError(f"need {name} to be names or a 1-D integer array; got a list with {key!r}")
    found, start = [], 0
    for parameter, shape in network.shapes.items():
        if parameter == key or parameter.startswith(f"{key}."):
            found.append(np.arange(start, start + prod(shape)))
        start += prod(shape)
    if not found:
        raise ValueError(f"need {name} of {list(network.shapes)} or a layer's key; got {key!r}")
    return np.concatenate(found)
