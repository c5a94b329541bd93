"""What the contracts of one step share: a point v, its `keep` largest entries, and the values on them.

An answer of these contracts is one vector w (d,). Where no mask comes with it, its kept set holds what is not 0 and, up
to `keep`, the largest entries of v that are 0 in w: the best weight on a support may be 0.
"""

import numpy as np

from .. import checks
from ..bounds import PRODUCT
from ..contract import CheckSpec, Mistake, failed, passed, undecided
from ..views import View
from . import form_mistakes as form

TINY = 1e-6  # below this share of the largest weight: one that should be 0 and is not


class StepView(View):
    """A problem whose answer has the `keep` largest ``|v|``.

    Attributes
    ----------
    point : (d,) float64, v.
    slack : (d,), how far rounding may move an entry of v.
    keep : how many entries stay.
    dead : (d,) bool: entries that go before all others.
    floor : what ranking by squares may lose to underflow.
    word : what v is called in an explanation.
    """

    point = slack = keep = dead = None
    floor, word = 0.0, "|v|"

    def set_point(self, point, slack, keep, dead=None):
        """Store v, its slack, the count and the dead entries."""
        self.point, self.slack, self.keep = point, slack, keep
        self.dead = np.zeros(point.size, bool) if dead is None else dead
        self.floor = float(np.sqrt(self.tiny))

    @property
    def scores(self):
        """``|v|``, and -1 where an entry is dead."""
        return np.where(self.dead, -1.0, np.abs(self.point))

    def pruned(self, answer):
        """The pruned entries (d,) of an answer."""
        if answer.mask is not None:
            return ~answer.mask
        # of dead entries that are 0 those stay that should be 0
        order = np.lexsort((np.abs(self.point), -self.scores, answer.weight == 0))
        pruned = np.ones(self.point.size, bool)
        pruned[order[: max(self.keep, int((answer.weight != 0).sum()))]] = False
        return pruned

    def right(self, kept):
        """(w, how far rounding may move it), both (d,), for the support `kept`: here v itself."""
        return np.where(kept, self.point, 0.0), np.where(kept, self.slack, 0.0)

    def least(self):
        """How many weights of a right answer are surely not 0: dead ones stay where the living are too few."""
        sure = np.abs(self.point) > self.slack + self._store(self.point)
        living = int((~self.dead).sum())
        dead = self.keep - living - int((self.dead & ~sure).sum())
        return min(self.keep, int((sure & ~self.dead).sum())) + max(dead, 0)

    def allowed(self, values, slack):
        """`slack`, and what is lost when values are stored."""
        return slack + self._store(values)

    def _store(self, values):
        return PRODUCT * self.store_eps * np.abs(values) + float(np.finfo(self.dtype).tiny)

    def same(self, a, b, factor):
        """Whether two vectors are equal to `factor` times the slack."""
        size = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        slack = 0.0 if self.slack is None else self.slack.max(initial=0.0)  # a bad input has none
        limit = max(slack, self.store_eps * size)
        return np.array_equal(a == 0, b == 0) and bool((np.abs(a - b) <= factor * limit).all())


def _finite(view, answer):
    """No NaN and no Inf; told apart when they stand for what was pruned."""
    lost = np.isnan(answer.weight)
    if (
        view.keep is not None
        and lost.sum() == lost.size - view.keep
        and np.isfinite(answer.weight[~lost]).all()
    ):
        return failed("every pruned entry is NaN; exactly 0.0 is needed") if lost.any() else None
    return checks.finite(view, answer)


def _count(view, answer):
    """Exactly `keep` are kept by a mask; without one at most `keep` are not 0, and none is missing."""
    if answer.mask is not None:
        found = int(answer.mask.sum())
        return (
            failed(f"{found} weights are kept; keep is {view.keep}", found, view.keep)
            if found != view.keep
            else None
        )
    found = int((answer.weight != 0).sum())
    if found > view.keep and not _tiny(view, answer).any():
        return failed(f"{found} weights are not 0; keep is {view.keep}", found, view.keep)
    least = view.least() if view.expects == "answer" else 0
    if found < least:
        return failed(f"{found} weights are not 0; {least} can be kept", found, least)
    return None


def _tiny(view, answer):
    """Where more than `keep` are not 0 (d,): the surplus, if it is tiny."""
    size = np.abs(answer.weight.astype(float))
    surplus = np.argsort(-size, kind="stable")[view.keep :]
    found = np.zeros(size.shape, bool)
    if view.keep and size[surplus].max(initial=0.0) <= TINY * size.max(initial=0.0):
        found[surplus] = size[surplus] > 0
    return found


def _zeros(view, answer):
    """Every pruned weight is exactly 0.0."""
    if answer.mask is not None:
        return checks.zeros(view, answer)
    if (surplus := _tiny(view, answer)).any():
        at = int(np.flatnonzero(surplus)[0])
        return failed(f"pruned entry {at} is tiny, {answer.weight[at]:.3g}; exactly 0.0 is needed")
    return None


def _ranked(view, answer):
    """No pruned ``|v|`` above a kept one by more than rounding."""
    if view.expects == "beyond":
        return undecided(view.reason)
    if view.expects == "free":
        return None
    pruned, scores = view.pruned(answer), view.scores
    if not pruned.any() or pruned.all():
        return None
    gone, stays = np.flatnonzero(pruned), np.flatnonzero(~pruned)
    p = gone[np.argmax((scores - view.slack)[gone])]
    j = stays[np.argmin((scores + view.slack)[stays])]
    excess, bound = float(scores[p] - scores[j]), float(view.slack[p] + view.slack[j] + view.floor)
    if view.dead[j] and not view.dead[p]:
        return failed(f"entry {j} is dead and kept, entry {p} is alive and pruned")
    if excess > bound:
        text = (
            f"entry {p} with {view.word} = {scores[p]:.6g} is pruned, entry {j} with {scores[j]:.6g} is kept"
        )
        return failed(text, excess, bound)
    return passed(max(excess, 0.0), bound)


def values(view, answer):
    """The kept weights are the right ones for their support."""
    if view.expects != "answer":
        return None
    right, slack = view.right(~view.pruned(answer))
    bounds = view.allowed(right, slack)
    error = np.abs(answer.weight.astype(float) - right)
    at = int(np.argmax(error / bounds))
    if error[at] > bounds[at]:
        text = f"weight {at} is {answer.weight[at]:.6g}; on this support {right[at]:.6g} is right"
        return failed(text, float(error[at]), float(bounds[at]))
    return passed(float(error[at]), float(bounds[at]))


FINITE = CheckSpec("finite", "well-formed", "no NaN, no Inf", _finite)
COUNT = CheckSpec("count", "feasible", "as many weights stay as are asked for, no more and no fewer", _count)
ZEROS = CheckSpec("zeros", "feasible", "every pruned weight is exactly 0.0", _zeros)
RANKED = CheckSpec("ranked", "greedy", "no pruned entry of the point above a kept one", _ranked)
EQUAL = CheckSpec("equal", "equal", "kept weights are those of the point", values)
BEFORE = (*checks.BEFORE, checks.FORM, FINITE, COUNT, ZEROS)


def scale(**exponents):
    """A transform: every argument times ``2**(a m + b n)``, with (a, b) from `exponents` and random m, n."""

    def scaled(contract, problem, rng):
        double = problem[contract.arguments[0]].dtype == np.float64
        powers = rng.choice([-40, -20, 3, 20, 40] if double else [-12, -6, 3, 6, 12], size=2)
        out = dict(problem)
        for name, share in exponents.items():
            factor = 2.0 ** int(np.dot(share, powers))
            value = problem[name] * factor
            out[name] = value.astype(problem[name].dtype) if isinstance(value, np.ndarray) else value
        return out

    scaled.__name__ = "scale"
    return scaled


def another_count(contract, problem, rng):
    """The same arrays with another count: what a call left behind must not matter."""
    d = problem[next(name for name, axes in contract.axes.items() if axes == ("column",))].size
    return {**problem, "keep": int(rng.integers(0, d + 1))}


def another_order(*names):
    """A transform: the columns of the arguments `names` in another order, the others as they were.

    A matrix is scaled to the diagonal that it had: the others stay of its size.
    None where that has no right answer, as a dead input with a gradient has not.
    """

    def another(contract, problem, rng):
        d = problem[names[0]].shape[-1]
        order = np.roll(rng.permutation(d), 1)
        out = dict(problem)
        for name in names:
            for axis, kind in enumerate(contract.axes[name]):
                out[name] = np.take(out[name], order, axis=axis) if kind == "column" else out[name]
            if contract.axes[name] == ("column", "column"):
                out[name] = _with_diagonal(out[name], np.diagonal(problem[name]))
        return out if d > 1 and contract.view(out, {}).expects != "free" else None

    another.__name__ = f"another_{names[0]}"
    return another


def _with_diagonal(matrix, wanted):
    """``D matrix D`` with this diagonal, D diagonal; rows of dead inputs stay as they are."""
    found = np.diagonal(matrix)
    alive = (found > 0) & (wanted > 0)
    scale = np.sqrt(np.where(alive, wanted, 1) / np.where(alive, found, 1))
    return (matrix * np.outer(scale, scale)).astype(matrix.dtype)


def loss(w, design, target, *rest):
    """``|A w - y|^2 / 2``, for the mistake that reports twice as much."""
    return float(np.sum((design @ w - target).astype(float) ** 2)) / 2


def need_finite(*arrays):
    """Raise at NaN and Inf, for mistakes that call on LAPACK: it complains at them, or never ends."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("need finite numbers")


def top(scores, keep):
    """The mask of the `keep` largest; among equals the lowest index goes first."""
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores, kind="stable")[max(scores.size - keep, 0) :]] = True
    return mask


def chosen(v, keep, how="top"):
    """The mask of the `keep` largest ``|v|``, or a wrong one."""
    size, d = np.abs(v), v.size
    descending = np.sort(size)[::-1]
    if how == "threshold":
        return size >= descending[keep - 1] if keep else np.zeros(d, bool)
    if how == "strict":
        return size > descending[keep] if keep < d else np.ones(d, bool)
    if how == "signed":
        return top(v, keep)
    if how == "smallest":
        return top(-size, keep)
    counts = {"more": min(keep + 1, d), "fewer": max(keep - 1, 0), "pruned": d - keep, "all": d}
    return top(size, counts.get(how, keep))


def of_choice(wrong, what):
    """The mistakes of choosing among the entries of `what`; ``wrong(how)`` is the call with that choice."""
    return (
        Mistake("threshold", f"everything that ties with the k-th largest of {what} is kept", wrong("threshold")),
        Mistake("strict-threshold", f"only what is above the next largest of {what} is kept: none of equals",
                wrong("strict")),
        Mistake("signed", f"the largest signed values of {what} are kept, not the largest sizes", wrong("signed")),
        Mistake("keeps-smallest", f"the smallest of {what} are kept", wrong("smallest")),
        Mistake("one-too-many", "one weight more than asked for is kept", wrong("more")),
        Mistake("one-too-few", "one weight less than asked for is kept", wrong("fewer")),
        Mistake("keep-read-as-prune", "as many weights are pruned as should stay", wrong("pruned")),
    )  # fmt: skip


def forms(reference, nothing, first, reported=None):
    """The mistakes of form; `nothing(*arguments)` is True for a call that prunes nothing.

    `reported(w, *arguments)` is the objective that may be reported with w.
    """

    def filled(value):
        def call(*arguments):
            w = reference(*arguments)
            return np.where(w == 0, value * np.abs(w).max(initial=0.0), w).astype(w.dtype)

        return call

    return (
        *form.of(reference, ("w",), nothing, reported, first=first),
        Mistake("answer-in-single", "the answer is float32 whatever the input is",
                lambda *a: reference(*a).astype(np.float32), shows=("form", "has dtype float32")),
        Mistake("pruned-as-nan", "pruned weights are NaN, not 0.0", filled(np.nan),
                shows=("finite", "every pruned entry is NaN")),
        Mistake("pruned-not-zero", "pruned weights are made tiny, not 0.0", filled(1e-9), shows=("zeros", "tiny")),
        form.first_for_shape(reference),
    )  # fmt: skip
