"""The points that CoSaMP passes: a point is the restricted minimiser on a set T, cut; so errors do not add up.

Where rounding may choose between entries, every choice is followed. Points are few: the method soon stands still or
comes back to a set.
"""

from dataclasses import dataclass, field

import numpy as np

from .recovery_build import choices
from .step_parts import top

POINTS = 120  # followed at most
ERROR = 16.0  # the constant of the bounds; of normal equations in single precision 6 was seen


@dataclass
class Point:
    """A weight vector on the path: how far rounding may move it, its objective, and the points after it.

    `vague`: some of its zeros stand for numbers of the size of rounding, which may be in the support.
    """

    w: np.ndarray
    error: float
    value: float
    vague: bool = False
    after: list = field(default_factory=list)
    right: bool = False  # an answer may be this one


@dataclass(frozen=True)
class Path:
    """All points by the set and the support that they come from; `whole` is False where some choice was left out."""

    points: dict
    whole: bool


def follow(view):
    """The `Path` of ``view.keep`` from T_k(start)."""
    firsts = view.cut(view.start)
    whole = bool(firsts)
    points = {
        ("start", n): Point(w, 0.0, view.objective(w)) for n, w in enumerate(firsts or [view.cut_first()])
    }
    waiting = list(points)
    while waiting:
        name = waiting.pop()
        point = points[name]
        if len(points) > POINTS:
            whole = False
            break
        found, all_of_them = steps(view, point)
        whole = whole and all_of_them
        for key, new in found:
            if key not in points:
                points[key] = new
                waiting.append(key)
            point.after.append(key)
    _mark(view, points)
    return Path(points, whole)


def steps(view, point):
    """[(name, point)] of what one iteration may make of a point, and whether that is all; [] where it is done."""
    keep, found = view.keep, []
    merges, whole = merged(view, point)
    for mask in merges:
        b, error = restricted(view, mask, point.w)
        large = np.abs(b) > 2 * error
        vague = int(large.sum()) < min(keep, int(mask.sum()))
        cuts = [large] if vague else choices(np.where(mask, np.abs(b), -1.0), keep, 2 * error)
        whole = whole and bool(cuts)
        for kept in cuts or [top(np.abs(b), keep)]:
            new = np.where(kept, b, 0.0)
            found.append(((mask.tobytes(), kept.tobytes()), Point(new, error, view.objective(new), vague)))
    return found, whole


def merged(view, point):
    """The sets T that may follow a point, and whether these are all; none where the method is done.

    A point whose gradient is 0 to rounding stays: whatever is merged with its support gives it again.
    """
    w, count = point.w, min(2 * view.keep, point.w.size)
    size = np.where(view.living, np.abs(view.gradient(w)), -1.0)
    slack = ERROR * view.eps * view.lipschitz**0.5 * view.length(w) + view.lipschitz * point.error
    if count == 0 or size.max(initial=0.0) <= slack:
        return [], True
    chosen = choices(size, count, 2 * slack)
    sets = [(omega | (w != 0)) & view.living for omega in chosen or [top(size, count)]]
    return sets, bool(chosen) and not point.vague


def stands(view, w):
    """Whether some choice among equals leads from `w` to `w`."""
    sets, _ = merged(view, Point(w, view.rounding * float(np.linalg.norm(w)), view.objective(w)))
    for mask in sets:
        b, error = restricted(view, mask, w)
        error += view.rounding * float(np.linalg.norm(w))
        least = np.abs(b[w != 0]).min(initial=np.inf)
        same = np.linalg.norm((w - b)[w != 0]) <= error
        if same and np.abs(b[w == 0]).max(initial=0.0) <= least + 2 * error:
            return True
    return not sets


def restricted(view, mask, before):
    """The least squares weights on `mask`, and how far rounding may move them.

    Normal equations err by `c eps kappa^2 (|b| + |y| / |A|)` (Higham, section 20.4), other solvers by less; a solve for
    the change from the weights `before` errs by as many of them.
    """
    b, at = np.zeros(view.start.size), np.flatnonzero(mask)
    A = view.design[:, at]
    values = np.linalg.svd(A, compute_uv=False)
    b[at] = np.linalg.lstsq(A, view.target, rcond=None)[0]
    size = float(np.linalg.norm(b) + np.linalg.norm(before) + np.linalg.norm(view.target) / values[0])
    return b, ERROR * view.eps * float(values[0] / values[-1]) ** 2 * size


def _mark(view, points):
    """Which points may be answers: where it stands still, in a cycle, where the next is no better, the best of all.

    Stopping when the support returns is right too.
    """
    best = min(point.value for point in points.values())
    for name, point in points.items():
        slack = ERROR * view.eps * view.length(point.w) ** 2
        after = [points[other] for other in point.after if other in points]
        point.right |= not point.after or point.value <= best + slack
        point.right |= any(other.value >= point.value - slack for other in after) or _returns(points, name)
        for other in after:
            other.right |= bool(((other.w != 0) == (point.w != 0)).all())


def _returns(points, name):
    """Whether a path leads from a point to itself."""
    seen, waiting = set(), list(points[name].after)
    while waiting:
        other = waiting.pop()
        if other == name:
            return True
        if other not in seen and other in points:
            seen.add(other)
            waiting += points[other].after
    return False
