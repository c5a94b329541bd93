"""One case, carried out: hand over arrays of the asked kind, call, look at what came back and at the inputs.

The same code runs in a worker and, for `isolate=False`, in the process that judges. The reply is a tree of
builtins (see `wire`).
"""

import inspect
import time

import numpy as np

from refprune.testing import kinds, wire
from refprune.testing.loading import one_line, where
from refprune.testing.operators import Operator

PARTS = ("weight", "mask", "objective", "order")


def perform(function, problem, calls, kind, spare=()):
    """Call `function` on the values of `problem` in order, `calls` times on the same buffers.

    Parameters
    ----------
    function : callable
        The implementation. Keyword-only parameters named like an argument are given by name.
    problem : dict
        Argument name -> NumPy array, number, text, or lists and mappings of those. Not changed as long as its
        memory is the caller's only through `wire.decode`.
    calls : int
        How often.
    kind : str
        The kind of array that the implementation is given.
    spare : tuple of exception types
        Exceptions that are not the implementation's and are passed on.

    Returns
    -------
    dict
        `kind` ("answer" or "error"), `answers` (a tree per call), `products` (of operators, per call), `error`,
        `mutated`, `aliased`, `wrong_kind` and `seconds`, all builtins.
    """
    given = {name: kinds.tree_to_kind(value, kind) for name, value in problem.items()}
    before = {name: kinds.state(problem[name], value) for name, value in given.items()}
    args, named = _bind(function, given)
    reply = {"kind": "answer", "answers": [], "products": [], "error": None, "aliased": [], "wrong_kind": []}
    operators = [value for value in given.values() if isinstance(value, Operator)]
    start = time.perf_counter()
    seconds = 0.0
    try:
        for _ in range(calls):
            start, before_call = time.perf_counter(), _products(operators)
            raw = function(*args, **named)
            seconds += time.perf_counter() - start
            start = None
            reply["products"].append(_products(operators) - before_call)
            _read(raw, kind, given, reply)
    except spare:
        raise
    except BaseException as error:
        seconds += time.perf_counter() - start if start is not None else 0.0
        reply["kind"] = "error"
        reply["error"] = raised(error)
    mutated = [name for name, value in given.items() if kinds.state(problem[name], value) != before[name]]
    return {**reply, "mutated": mutated, "seconds": seconds}


def _products(operators):
    return sum(operator.products for operator in operators)


def raised(error):
    """The type, message and place of an exception, as a tuple of texts."""
    return (wire.type_name(error), one_line(error), where(error))


def _bind(function, given):
    """Positional arguments, and those that the signature takes by keyword only."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in C, without a signature
        parameters = ()
    by_name = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    named = {name: value for name, value in given.items() if name in by_name}
    return [value for name, value in given.items() if name not in by_name], named


def _read(raw, kind, given, reply):
    """Convert one answer at once, before another call can write over it."""
    found = []
    plain = _plain(raw, "answer", found)
    reply["answers"].append(wire.encode(plain))
    for place, array in found:
        if not kinds.plain_type(array, kind):
            _note(reply["wrong_kind"], f"{place} ({wire.type_name(array)})")
        for name, value in given.items():
            if any(kinds.shares(array, leaf) for leaf in kinds.leaves(value)):
                _note(reply["aliased"], name)


def _note(names, name):
    if name not in names:
        names.append(name)


def _plain(value, place, found, depth=wire.DEPTH):
    """`value` with its arrays on NumPy and its records as mappings; arrays are collected with their place."""
    if kinds.kind_of(value) is not None:
        found.append((place, value))
        return kinds.from_kind(value)
    if isinstance(value, np.generic) or not depth:
        return value
    if isinstance(value, dict):
        return {_key(k): _plain(v, _key(k), found, depth - 1) for k, v in value.items()}
    record = _record(value)
    if record:
        return {k: _plain(v, k, found, depth - 1) for k, v in record.items() if v is not None}
    if isinstance(value, (list, tuple)) and len(value) < wire.ITEMS:
        items = [_plain(v, f"{place}[{i}]", found, depth - 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def _key(key):
    return key if isinstance(key, str) else repr(key)


def _record(value):
    """The parts of an object with the attributes weight and mask, such as `rp.Pruned`; else nothing."""
    try:
        if not (hasattr(value, "weight") and hasattr(value, "mask")):
            return {}
        return {name: getattr(value, name) for name in PARTS if hasattr(value, name)}
    except Exception:  # an object that cannot even be asked
        return {}
