"""Which known mistake gives this answer? A wrong name is worse than none, so a match must be exact to the bound."""

from collections import Counter

import numpy as np

from .answer import Unreadable, read
from .bounds import SOLVE
from .operators import Operator

DIAGNOSED = 25  # failing answers that the known mistakes are tried on
ENOUGH = 3  # entries pruned, and entries kept, below which one answer tells nothing
MATCHED = 0.8  # share of the telling cases that a mistake must match; all of them when they are few
SHOWN = 0.8  # share of the failing cases that must show a mistake of form
APART = 100.0  # a mistake counts only where it differs from the reference by more than this many bounds


def fitting(contract, problem, view, answer) -> list:
    """The known mistakes whose answer to `problem` equals `answer`; none where the reference's does too."""
    if near_reference(contract, problem, view, answer):
        return []
    problem = wide(dict(problem))
    return [mistake for mistake in contract.mistakes if _fits(contract, mistake, problem, view, answer)]


def telling(view, answer, checks) -> bool:
    """True when one answer is enough to name a mistake by: neither small, nor wrong by a count or two alone."""
    for check in checks:
        if check.name == "form" and check.outcome == "fail":
            return False
        if check.name == "count" and check.outcome == "fail":
            return check.measured is not None and abs(check.measured - check.bound) > 2
    if view.expects != "answer" or (answer.weight is None and answer.mask is None):
        return False
    if not hasattr(view, "pruned"):
        return True
    pruned = view.pruned(answer)
    return min(int(pruned.sum()), int((~pruned).sum())) >= ENOUGH


def near_reference(contract, problem, view, answer) -> bool:
    """True when the answer is within 100 bounds of the reference's: nothing can be told from it."""
    right = _called(contract, contract.reference, {name: wide(value) for name, value in problem.items()})
    return right is not None and same(view, right, answer, APART)


def _fits(contract, mistake, problem, view, answer):
    if mistake.shows:
        return False  # its numbers are right
    found = _called(contract, mistake.fresh(), problem)
    return found is not None and same(view, found, answer)


def _called(contract, function, problem):
    """The answer of a wrong version or of the reference; None where it raises or makes no sense."""
    try:
        with np.errstate(all="ignore"):
            return read(function(*(_copy(value) for value in problem.values())), contract.returns)
    except (ArithmeticError, ValueError, TypeError, IndexError, np.linalg.LinAlgError, Unreadable):
        return None


def wide(value):
    """Halves and singles in float64, so that only the judged arithmetic rounds."""
    if isinstance(value, dict):
        return {name: wide(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(wide(item) for item in value)
    if isinstance(value, np.ndarray):
        return np.array(value, dtype=float if value.dtype.kind == "f" else value.dtype)
    return Operator(wide(value.matrix)) if isinstance(value, Operator) else value


def _copy(value):
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(item) for item in value)
    if isinstance(value, Operator):
        return Operator(value.matrix.copy())
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
    if hasattr(view, "same"):
        return view.same(a, b, factor)
    if getattr(view, "hessian", None) is None:
        # scores decide here, not rounding: weights that were solved for may differ by the root of eps
        allowed = view.store_eps**0.5 * max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        if view.main != "batches" and not np.array_equal(a == 0, b == 0):
            return False
        return bool((np.abs(a - b) <= factor * allowed).all())
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


def agree(contract, failures, successes=()) -> list:
    """Names of the mistake that gives the answer of nearly every failure, at least 3; none when two do.

    `failures` and `successes` list (problem, view, answer). Only problems with one right answer count where there
    are enough of them: what comes of a singular matrix or a bad input is noise. A mistake that would have failed
    where the implementation passed is ruled out.
    """
    clear = [failure for failure in failures if failure[1].expects == "answer"]
    bad_input = [failure for failure in failures if failure[1].expects == "error"]
    # where units are equal, an answer tells of the tie break too
    untied = [failure for failure in clear if not _tied(failure[1])]
    chosen = next((found for found in (untied, clear) if len(found) >= 3), bad_input)[:DIAGNOSED]
    telling = [failure for failure in chosen if not near_reference(contract, *failure)]
    if len(telling) < 3:
        return []
    counts = Counter(mistake.name for failure in telling for mistake in fitting(contract, *failure))
    # another tie break may part the answers of the same mistake now and then, unless there is one answer alone
    unique = all(getattr(view, "unique", False) for _, view, _ in telling)
    least = len(telling) if unique or len(telling) < 5 else MATCHED * len(telling)
    all_of_them = [mistake for mistake in contract.mistakes if counts[mistake.name] == len(telling)]
    left = all_of_them or [mistake for mistake in contract.mistakes if counts[mistake.name] >= least]
    apart = [success for success in successes if not _tied(success[1])]
    for problem, view, _ in apart[: 2 * DIAGNOSED] if left else ():
        left = [mistake for mistake in left if _passes(contract, mistake, problem, view)]
    return [mistake.name for mistake in left] if len(left) == 1 else []


def _tied(view):
    return getattr(view, "tied", False)


def _passes(contract, mistake, problem, view):
    found = _called(contract, mistake.fresh(), {name: wide(value) for name, value in problem.items()})
    if found is None:
        return False
    if found.weight is not None and found.weight.dtype.kind == "f":  # indices stay what they are
        found.weight = found.weight.astype(view.dtype)
    if found.scores is not None:
        found.scores = {name: scores.astype(view.dtype) for name, scores in found.scores.items()}
    return all(check.outcome != "fail" for check in contract.climb(view, found))


def shown(contract, failures) -> list:
    """Names of the mistake of form that the failing checks show; `failures` lists the first one of each case."""
    names = []
    for mistake in contract.mistakes:
        if mistake.shows:
            check, words, *flags = mistake.shows
            places = (check, "repeatable", "invariant")
            found = sum(
                record.check in places and words in record.explanation and set(flags) <= set(record.flags)
                for record in failures
            )
            if found >= 3 and found >= SHOWN * len(failures):
                names.append(mistake.name)
    return names if len(names) == 1 else []
