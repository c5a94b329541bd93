"""`cosamp`: where the method leads from its start, and the planted signal where the theory promises it."""

from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np

from refprune import definitions

from .. import checks
from ..contract import Check, CheckSpec, Contract, failed, passed, undecided
from . import recovery_build as build
from . import recovery_rules as rules
from .cosamp_mistakes import of_cosamp
from .recovery import half_squares, in_double
from .recovery_path import follow, restricted, stands
from .recovery_slips import of_form, remembered

DELTA = 0.1  # Needell and Tropp 2009, theorem 4.1: the restricted isometry constant of order 4 k
NOISE = 15.0  # there: |x - w| <= 2^-n |x| + 15 |e| after n iterations
SETS = 500  # column sets that are enumerated at most
SHARE = 6  # samples for every weight that stays, in designs that are not tall


class CosampView(rules.RecoveryView):
    """Solves are on up to 3 k columns; the path that the method takes is found once."""

    def judge_design(self):
        """Any 3 k columns must be independent."""
        self.need_independent(3 * self.keep)

    @cached_property
    def path(self):
        """Where the method leads from T_k(start)."""
        return follow(self)

    @cached_property
    def isometry(self):
        """(a bound of the restricted isometry constant of order 4 k, the square of the scale that makes it so)."""
        gram = self.design.T @ self.design
        size = min(4 * self.keep, len(gram))
        sets = [np.flatnonzero(self.living)]
        if comb(len(sets[0]), min(size, len(sets[0]))) <= SETS:
            sets = list(combinations(sets[0], min(size, len(sets[0]))))
        values = [np.linalg.eigvalsh(gram[np.ix_(at, at)]) for at in sets if len(at)]
        low, high = min(v[0] for v in values), max(v[-1] for v in values)
        return float((high - low) / (high + low)), float((high + low) / 2)


def recovers(view, answer):
    """In the theory's range the answer is within 15 |e| of the signal, e the noise."""
    if view.expects != "answer" or view.keep == 0 or not view.living.any():
        return Check("", "not run", None, None, view.reason)
    delta, scale = view.isometry
    if delta > DELTA:
        return Check("", "not run", None, None, f"the restricted isometry constant may be {delta:.2g}")
    w = answer.weight.astype(float)
    best = min(view.path.points.values(), key=lambda point: point.value)
    signal, error = restricted(view, best.w != 0, best.w) if best.w.any() else (best.w, 0.0)
    noise = (2 * view.objective(signal) / scale) ** 0.5
    # theorem 4.1 holds for any signal with at most k nonzeros; the noise is what it leaves of the target
    found, bound = float(np.linalg.norm(w - signal)), NOISE * noise + error + _stored(view, signal)
    if not found <= bound:
        index = int(np.argmax(np.abs(w - signal)))
        text = f"weight {index} is {w[index]:.6g}; the signal has {signal[index]:.6g}"
        return failed(f"{text}, and |A_S^T A_S - I| <= {delta:.2g}", found, bound)
    return passed(found, bound)


def follows(view, answer):
    """The answer is where the method leads: a point where it stands still, of its cycle, or the best that it passed."""
    if view.expects != "answer":
        return Check("", "not run", None, None, view.reason)
    w, path = answer.weight.astype(float), view.path
    shares = [(_share(view, w, point), point) for point in path.points.values()]
    share, point = min(((share, point) for share, point in shares if point.right), key=lambda pair: pair[0])
    if share <= 1:
        return passed(share, 1.0)
    if not path.whole:
        if stands(view, w):
            return None
        return undecided("too many equal numbers: the points that CoSaMP may pass are too many to follow")
    index = int(np.argmax(np.abs(w - point.w)))
    text = f"weight {index} is {w[index]:.6g}; CoSaMP leads from T_k(start) to {point.w[index]:.6g}"
    if any(other <= 1 for other, _ in shares):
        text += " (it passes the answer, and goes on to a better point)"
    return failed(text, share, 1.0)


def _stored(view, w):
    """How far storing an answer may move it."""
    return view.rounding * float(np.linalg.norm(w))


def _share(view, w, point):
    """The distance of the answer to a point, as a share of what rounding explains."""
    distance, allowed = float(np.linalg.norm(w - point.w)), point.error + _stored(view, point.w)
    return distance / allowed if allowed > 0 else np.inf if distance else 0.0


def _cosamp(design, target, keep, start):
    """The definition; the best point."""
    f, w = in_double(design, target, keep, start)
    points = definitions.cosamp(f, keep, w)
    return min(points, key=lambda point: float(f.value(point)))


CONTRACT = Contract(
    name="cosamp",
    arguments=("design", "target", "keep", "start"),
    returns=("w",),
    promises=(
        "at most `keep` weights are not 0",
        "w is where the method leads from T_k(start)",
        "where the restricted isometry constant of order 4 k is at most 0.1 for some scale of A, w is within `15 |e|` "
        "of the signal, e the noise (Needell and Tropp 2009, theorem 4.1)",
    ),
    readings=(
        "`design` A is (samples, columns), `target` y (samples,), `start` and the answer (columns,), in one dtype",
        "an iteration: Omega = the 2 k largest `|A^T (A w - y)|`; T = Omega and the support of w; b = the least "
        "squares weights on T, exactly; w = T_k(b); no solve after the cut",
        "it starts from T_k(start), whatever the start holds",
        "it may stop where nothing changes any more, where T or the support returns, where the residual is no longer "
        "smaller, or anywhere in a cycle, and answer with that point or the best that it passed; not before",
        "where some 3 k columns are dependent an error is right, and so is any answer of at most `keep` weights",
    ),
    tolerance="`16 eps kappa^2 (|b| + |y| / |A|)` for the weights on a set T, kappa the condition of A on T; each "
    "point follows from T alone, so errors do not add up",
    ties="where rounding, or equality, leaves a choice of Omega or of T_k, every choice is followed, up to 120 points",
    reference=remembered(_cosamp),
    checks=(
        *rules.BEFORE,
        CheckSpec("recovers", "equal", "the planted signal is found where theory promises it", recovers),
        CheckSpec("follows", "equal", "the answer is where the method leads from its start", follows),
        *checks.AFTER,
    ),
    mistakes=(*of_cosamp(), *of_form(remembered(_cosamp), half_squares)),
    view=CosampView,
    flags=build.FLAGS,
    shapes=build.SHAPES,
    build=lambda flag, shape, rng, dtype: build.problem(flag, shape, rng, dtype, SHARE),
    axes=build.AXES,
    call_shapes="`design` (samples, columns), `target` (samples,), `start` (columns,)",
    transforms=rules.TRANSFORMS,
    suits=build.suits,
    example="""def cosamp(design, target, keep, start):
    def largest(v, count):
        return np.argsort(abs(v), kind="stable")[max(len(v) - count, 0) :]

    w = np.zeros_like(start)
    w[largest(start, keep)] = start[largest(start, keep)]
    best, loss = w, np.linalg.norm(design @ w - target)
    for _ in range(100):
        merged = np.union1d(largest(design.T @ (design @ w - target), 2 * keep), np.flatnonzero(w))
        merged = merged.astype(int)
        b = np.zeros_like(w)
        b[merged] = np.linalg.lstsq(design[:, merged], target, rcond=None)[0]
        w = np.zeros_like(w)
        w[largest(b, keep)] = b[largest(b, keep)]
        if np.linalg.norm(design @ w - target) < loss:
            best, loss = w, np.linalg.norm(design @ w - target)
    return best""",
)
