"""Making a failing case small enough to read: fewer rows and columns, smaller counts, simpler numbers.

Greedy: a candidate replaces the case when it is simpler and still fails. What may be dropped follows from
the names of the axes: an index of "column" leaves every array that has that axis, so a Gram stays square.
Whether a candidate is a legal case at all is for `fails` to say.
"""

import copy
import time

import numpy as np

from refprune.testing import wire
from refprune.testing.operators import Operator

ENTRIES = 64  # arrays larger than this are simplified as a whole only


def shrink(problem, axes, fails, seconds=30.0):
    """The simplest case found that still fails.

    Parameters
    ----------
    problem : dict
        Argument name -> array, list or mapping of arrays, list of tuples of them, number or text. Not changed.
    axes : dict
        Argument name -> tuple of axis names (of each item, for a list), e.g.
        ``{"weight": ("row", "column"), "gram": ("column", "column")}``.
    fails : callable
        ``fails(candidate) -> bool``: True when the candidate is legal and fails in the same way.
    seconds : float
        No candidate is tried after this time.

    Returns
    -------
    dict
        A problem like the one given, at most as large. An array keeps its dtype, and its kind of memory
        (transposed, strided, read-only) unless the case fails without it too.

    Notes
    -----
    The cost is one call of `fails` a candidate: size + log(size) candidates an axis and seven a number.

    Examples
    --------
    >>> problem = {"weight": np.array([0.3, -7.1, 2.6, 0.4]), "keep": 2}
    >>> shrink(problem, {"weight": ("column",)}, lambda p: p["weight"].min() < -3)
    {'weight': array([-8.]), 'keep': 0}
    """
    search = _Search(problem, axes, fails, time.monotonic() + seconds)
    try:
        while True:
            before = search.accepted
            for stage in (_memory, _items, _axes, _scalars, _numbers):
                stage(search)
            if search.accepted == before:
                return search.problem
    except _OutOfTime:
        return search.problem


class _OutOfTime(Exception):
    pass


class _Search:
    """The best case so far, and what was tried."""

    def __init__(self, problem, axes, fails, deadline):
        self.problem = dict(problem)
        self.axes, self.fails, self.deadline = axes, fails, deadline
        self.accepted, self.tried = 0, set()

    def attempt(self, **changes):
        """Take the case with these arguments replaced when it still fails."""
        candidate = {**self.problem, **changes}
        key = hash(wire.pack(wire.encode(candidate)))
        if key in self.tried:
            return False
        if time.monotonic() > self.deadline:
            raise _OutOfTime
        self.tried.add(key)
        if not self.fails(candidate):
            return False
        self.problem = candidate
        self.accepted += 1
        return True

    def arrays(self):
        """(argument, position in its list or mapping or None, array) for every array."""
        for name, value in self.problem.items():
            if isinstance(value, (np.ndarray, Operator)):
                yield name, None, self.array(name, None)
            elif isinstance(value, dict):
                yield from ((name, key, item) for key, item in value.items() if isinstance(item, np.ndarray))
            elif isinstance(value, list):
                every = list(enumerate(value))
                every += [((i, j), a) for i, own in every if type(own) is tuple for j, a in enumerate(own)]
                yield from ((name, i, item) for i, item in every if isinstance(item, np.ndarray))

    def array(self, name, position):
        """The array at this place; an operator's is its matrix."""
        value = self.problem[name]
        for step in position if type(position) is tuple else (position,) * (position is not None):
            value = value[step]
        return value.matrix if isinstance(value, Operator) else value

    def replaced(self, changes):
        """Arguments for `attempt` from (argument, position) -> array."""
        out = {}
        for (name, position), array in changes.items():
            if position is None:
                out[name] = Operator(array) if isinstance(self.problem[name], Operator) else array
            else:
                out[name] = copy.copy(out.get(name, self.problem[name]))
                if type(position) is tuple:
                    position, j = position
                    array = (*out[name][position][:j], array, *out[name][position][j + 1 :])
                out[name][position] = array
        return out


def _memory(search):
    """Plain memory: C order, writeable."""
    for name, position, array in list(search.arrays()):
        if not (array.flags.c_contiguous and array.flags.writeable):
            search.attempt(**search.replaced({(name, position): np.array(array, order="C")}))


def _items(search):
    """Fewer arrays in a list."""
    for name in [n for n, value in search.problem.items() if isinstance(value, list)]:
        for drop in _chunks(lambda name=name: len(search.problem[name]), ()):
            search.attempt(**{name: [v for i, v in enumerate(search.problem[name]) if i not in drop]})


def _axes(search):
    """Fewer rows, columns, samples."""
    steps = [v for v in search.problem.values() if type(v) is int and v > 1]  # groups of m, blocks
    for axis in dict.fromkeys(a for names in search.axes.values() for a in names):
        for places in _places(search, axis):
            for drop in _chunks(lambda places=places: _size(search, places), steps):
                changes = search.replaced(_without(search, places, drop))
                if not search.attempt(**changes):
                    _with_smaller_count(search, changes, len(drop))


def _places(search, axis):
    """Sets of places that lose an index together: all of one name; an item of a list alone too."""
    every = [
        (name, position, number)
        for name, position, _ in search.arrays()
        for number, a in enumerate(search.axes.get(name, ()))
        if a == axis
    ]
    arrays = {}
    for place in every:
        item = place[1][0] if type(place[1]) is tuple else place[1]
        arrays.setdefault((place[0], item), []).append(place)
    sets = [every] if len({_size(search, [place]) for place in every}) == 1 else []
    return sets + ([s for (_, i), s in arrays.items() if i is not None] if len(arrays) > 1 else [])


def _size(search, places):
    name, position, number = places[0]
    return search.array(name, position).shape[number]


def _without(search, places, drop):
    changes = {}
    for name, position, number in places:
        array = changes.get((name, position), search.array(name, position))
        changes[name, position] = _like(np.delete(array, list(drop), axis=number), array)
    return changes


def _with_smaller_count(search, changes, number):
    """The same drop with a count lowered by as many."""
    for name, value in search.problem.items():
        if type(value) is int and value >= number and search.attempt(**changes, **{name: value - number}):
            return


def _chunks(size, steps):
    """Ranges of indices to drop, long ones first, from the end; `size()` is asked again after each."""
    total = size()
    lengths = {total // 2**i for i in range(1, total.bit_length())}
    lengths |= {step * k for step in steps for k in (1, 2, 4) if step * k < total}
    for length in sorted(lengths - {0}, reverse=True):
        start = size() - length
        while start >= 0 and size() > length:
            yield range(start, start + length)
            start = min(start, size()) - length


def _scalars(search):
    """Smaller counts, rounder shares."""
    for name, value in list(search.problem.items()):
        simpler = []
        if type(value) is int:
            simpler = _smaller(value)
        elif type(value) is tuple and all(type(part) is int for part in value):
            parts = enumerate(value)
            simpler = [(*value[:i], v, *value[i + 1 :]) for i, part in parts for v in _smaller(part)]
        elif type(value) is float:
            rounder = (0.5, 0.25, round(value, 1), round(value, 2))
            simpler = [v for v in rounder if len(repr(v)) < len(repr(value))]
        any(search.attempt(**{name: v}) for v in simpler)


def _smaller(value):
    return [v for v in (0, 1, 2, value // 2, value - 1) if abs(v) < abs(value)]


def _numbers(search):
    """Zeros, ones and numbers of few bits, first for whole arrays and then entry by entry."""
    for name, position, array in list(search.arrays()):
        names = search.axes.get(name, ())
        square = array.ndim == 2 and len(set(names)) < len(names)
        for simpler in _whole(array, square):
            if _cost(simpler) < _cost(array) and search.attempt(
                **search.replaced({(name, position): _like(simpler, array)})
            ):
                break
        if array.size <= ENTRIES:
            _entries(search, name, position, square)


def _whole(array, square):
    """Simpler arrays of the same shape, the simplest first."""
    if array.dtype.kind == "b":
        return [np.ones_like(array)]
    if array.dtype.kind in "iu":
        return [np.unique(array, return_inverse=True)[1].reshape(array.shape).astype(array.dtype)]
    if array.dtype.kind != "f":
        return []
    constant = [np.eye(*array.shape, dtype=array.dtype)] if square else []
    return [*constant, np.ones_like(array), *(_round(array, bits) for bits in (1, 2, 3, 4, 8, 16))]


def _round(array, bits):
    """Entries rounded to so many significant bits."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(array.dtype)


def _entries(search, name, position, square):
    """One entry after the other; (i, j) and (j, i) together where an array has one axis twice."""

    for index in np.ndindex(search.array(name, position).shape):
        if square and index[0] > index[1]:
            continue
        for simpler in _entry(search.array(name, position)[index]):
            array = search.array(name, position)
            changed = np.array(array)
            changed[index] = simpler
            if square:
                changed[index[::-1]] = simpler
            if _cost(changed) < _cost(array) and search.attempt(
                **search.replaced({(name, position): _like(changed, array)})
            ):
                break


def _entry(value):
    if value.dtype.kind == "b":
        return [True]
    if value.dtype.kind != "f" or not np.isfinite(value):
        return [0]
    return [0, 1, -1, np.rint(value), *(_round(value, bits) for bits in (1, 2, 4))]


def _cost(array):
    """How hard an array is to read: bits of entries and exponents, signs; a zero costs nothing."""
    if array.dtype.kind == "b":
        return int(array.size - np.count_nonzero(array))
    values = array.astype(np.float64)
    finite = np.isfinite(values)
    mantissa, exponent = np.frexp(np.where(finite, values, 0.0))
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    zeros = np.log2(np.maximum(whole & -whole, 1))  # trailing
    bits = np.where(whole > 0, 53 - zeros + np.abs(exponent - 1), 0)
    return float(bits.sum() + 0.5 * (values < 0).sum() + 64 * (~finite).sum())


def _like(array, model):
    """`array` in memory of the kind of `model`: its order, gaps between entries, read-only."""
    flags = model.flags
    if flags.c_contiguous:
        out = np.array(array, model.dtype, order="C")
    elif flags.f_contiguous:
        out = np.array(array, model.dtype, order="F")
    else:
        steps = [2 * model.itemsize * int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
        out = wire.strided(array.shape, model.dtype, tuple(steps))
        out[...] = array
    out.flags.writeable = flags.writeable
    return out
