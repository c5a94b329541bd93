"""Which known mistake gives this answer? A wrong name is worse than none, so a match must be exact to the bound."""

import numpy as np

from .answer import Unreadable, read
from .bounds import PRODUCT, SOLVE

APART = 100.0  # a mistake counts only where it differs from the reference by more than this many bounds


def fitting(contract, problem, view, answer) -> list:
    """The known mistakes whose answer to `problem` equals `answer` and not the reference's."""
    wide = {name: _wide(value) for name, value in problem.items()}
    right = _called(contract, contract.reference, wide)
    if right is not None and view.expects != "error" and same(view, right, answer, APART):
        return []
    return [mistake for mistake in contract.mistakes if _fits(contract, mistake, wide, view, answer)]


def _fits(contract, mistake, problem, view, answer):
    found = _called(contract, mistake.call, problem)
    return found is not None and same(view, found, answer)


def _called(contract, function, problem):
    """The answer of a wrong version or of the reference; None where it raises or makes no sense."""
    try:
        with np.errstate(all="ignore"):
            return read(function(**{name: _copy(value) for name, value in problem.items()}), contract.returns)
    except (ArithmeticError, ValueError, TypeError, IndexError, np.linalg.LinAlgError, Unreadable):
        return None


def _wide(value):
    """Halves and singles in float64, so that only the judged arithmetic rounds."""
    if isinstance(value, list):
        return [_wide(item) for item in value]
    if isinstance(value, np.ndarray):
        return np.array(value, dtype=float if value.dtype.kind == "f" else value.dtype)
    return value


def _copy(value):
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def same(view, mine, given, factor=1.0) -> bool:
    """True when two answers are equal within `factor` bounds: the same pruned set, order and weights."""
    for part in ("mask", "order"):
        a, b = getattr(mine, part), getattr(given, part)
        if a is not None and b is not None and not np.array_equal(a, b):
            return False
    if given.weight is None or mine.weight is None:
        return given.weight is None and mine.weight is None
    if mine.weight.shape != given.weight.shape:
        return False
    a, b = mine.weight.astype(float), given.weight.astype(float)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    if getattr(view, "hessian", None) is None:
        allowed = PRODUCT * max(view.store_eps, view.eps) * max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        if view.main != "batches" and not np.array_equal(a == 0, b == 0):
            return False
        samples = getattr(view, "samples", np.zeros((1, 1))).shape[0]
        return bool((np.abs(a - b) <= factor * samples * allowed).all())
    return _same_weights(view, a.reshape(view.weight.shape), b.reshape(view.weight.shape), factor)


def _same_weights(view, a, b, factor):
    if view.expects == "free" or not np.array_equal(a == 0, b == 0):
        return False
    scale = np.sqrt(np.abs(np.diagonal(view.hessian)))
    scale = np.where(scale > 0, scale, 1.0)
    for row in range(a.shape[0]):
        size = max(np.linalg.norm(view.weight[row] * scale), np.linalg.norm(a[row] * scale))
        bound = SOLVE * max(view.eps * view.condition, view.store_eps) * size
        if np.abs((a[row] - b[row]) * scale).max() > factor * bound:
            return False
    return True


def agree(contract, failures) -> list:
    """Names of the mistakes that give the answer of every failure, at least 3 of them, and no other does.

    `failures` lists (problem, view, answer).
    """
    if len(failures) < 3:
        return []
    left = None
    for problem, view, answer in failures:
        names = [mistake.name for mistake in fitting(contract, problem, view, answer)]
        left = names if left is None else [name for name in left if name in names]
        if not left:
            return []
    return left if len(left) == 1 else []
