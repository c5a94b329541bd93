"""Reading an answer: the array, tuple, mapping or `Pruned` that an implementation returned, as NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .kinds import from_kind

FIELDS = ("weight", "mask", "objective", "order", "saliencies")
# what rp.Pruned carries; `trace` holds the saliencies of a greedy method and is read only with an order
PRUNED = ("weight", "mask", "objective", "order")


class Unreadable(Exception):
    """The answer has not the form that the contract asks for; the message says how."""


@dataclass
class Answer:
    """An answer's parts as NumPy arrays; a part that was not given is None."""

    weight: np.ndarray | None = None
    mask: np.ndarray | None = None
    objective: float | None = None
    order: np.ndarray | None = None
    saliencies: np.ndarray | None = None
    scores: dict | None = None  # arrays by name, where those are asked for; `weight` has them in one vector
    products: int | None = None  # how often the call asked for a product, where somebody counted


def read(raw, returns) -> Answer:
    """Read `raw` by the contract's `returns`, e.g. ``("weight", "mask")``.

    A single array is the first part, a tuple or list its parts in order, a mapping or an object like
    `rp.Pruned` its parts by name. Scores are a mapping from the names of weights to arrays.
    """
    if returns == ("scores",):
        return _scores(raw)
    if isinstance(raw, Mapping):
        parts = dict(raw)
        if returns == ("mask",) and "weight" in parts:
            parts.pop("weight")
    elif all(hasattr(raw, name) for name in PRUNED):
        wanted = returns if returns == ("mask",) else PRUNED
        parts = {name: getattr(raw, name) for name in wanted}
    elif isinstance(raw, (tuple, list)) and not _is_numbers(raw) and (raw or returns != ("kept",)):
        if not 1 <= len(raw) <= len(returns):
            raise Unreadable(f"need ({', '.join(returns)}); got a {type(raw).__name__} of {len(raw)} parts")
        parts = dict(zip(returns, raw, strict=False))
    else:
        parts = {returns[0]: raw}
    unknown = [name for name in parts if name not in (*FIELDS, *returns, "trace", "scores")]
    if unknown:
        raise Unreadable(f"need the parts {', '.join(FIELDS)}; got {unknown[0]!r}")
    parts = {
        name: _array(name, part)
        for name, part in parts.items()
        if part is not None and name in (*FIELDS, *returns)
    }
    if returns[0] not in FIELDS and "weight" in parts:  # an `rp.Pruned` where one array has a name of its own
        parts.setdefault(returns[0], parts.pop("weight"))
    if returns[0] not in parts:
        raise Unreadable(f"need {returns[0]}; got none")
    if returns[0] not in FIELDS:  # a contract that returns one array under a name of its own
        parts["weight"] = parts.pop(returns[0])
    return _checked(parts)


def _scores(raw):
    """Arrays by name; in `weight` they are one vector, the names in the order of text."""
    inner = raw.get("scores") if isinstance(raw, Mapping) else getattr(raw, "scores", None)
    raw = inner if isinstance(inner, Mapping) else raw
    if not isinstance(raw, Mapping):
        raise Unreadable(f"need scores as a mapping from the names of weights to arrays; got {_show(raw)}")
    scores = {str(name): _array(f"the scores of {name}", raw[name]) for name in sorted(raw, key=str)}
    return Answer(np.concatenate([np.zeros(0), *(part.ravel() for part in scores.values())]), scores=scores)


def _is_numbers(raw):
    return isinstance(raw, list) and bool(raw) and all(isinstance(item, (int, float)) for item in raw)


def _array(name, part):
    """One part as a NumPy array; a list of plain numbers is fine for what is not the main array."""
    if name in ("order", "saliencies", "objective", "kept") and isinstance(part, (list, tuple, int, float)):
        try:
            return np.asarray(part, dtype=None if len(np.shape(part)) == 0 or len(part) else np.int64)
        except (ValueError, TypeError):
            raise Unreadable(f"need {name} as numbers; got {_show(part)}") from None
    try:
        array = from_kind(part)
    except (TypeError, ValueError):
        array = None
    if not isinstance(array, np.ndarray):
        raise Unreadable(f"need {name} as an array; got {_show(part)}")
    if array.dtype.kind not in "biuf":
        raise Unreadable(f"need {name} as an array of real numbers; got dtype {array.dtype}")
    return array


def _checked(parts):
    answer = Answer(**parts)
    if answer.objective is not None:
        if answer.objective.size != 1:
            raise Unreadable(f"need objective as one number; got shape {answer.objective.shape}")
        answer.objective = float(answer.objective.reshape(()))
    for name, dtype in (("order", np.int64), ("saliencies", float)):
        part = getattr(answer, name)
        if part is not None and part.shape == (0,):  # an empty list has no dtype: packages choose one
            setattr(answer, name, part.astype(dtype))
    if answer.order is not None:
        if answer.order.ndim != 1 or answer.order.dtype.kind not in "iu":
            raise Unreadable(
                f"need order as a 1-D array of integers; got shape {answer.order.shape}, dtype {answer.order.dtype}"
            )
        answer.order = answer.order.astype(np.int64)
    found = answer.saliencies
    if found is not None and (found.ndim != 1 or found.dtype.kind != "f"):
        raise Unreadable(
            f"need saliencies as a 1-D array of floats; got shape {found.shape}, dtype {found.dtype}"
        )
    return answer


def _show(part):
    try:
        text = repr(part)
    except Exception:
        text = "an object that cannot be shown"
    return f"{type(part).__name__} {text[:80]}"
