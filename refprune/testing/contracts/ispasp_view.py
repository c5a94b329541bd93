"""A problem of `ispasp` as its checks read it."""

import numpy as np

from ..bounds import INPUT_EPS, PRODUCT, arithmetic_eps
from ..unit_certificate import ITERATIONS, UnitSearch
from ..views import View


class UnitView(View):
    """H and W in float64, of size 1; row sums, importances, and how far rounding may move them.

    The terms of an importance are added by an implementation in any way: `V` from all units or from the pruned ones,
    afresh or carried along from set to set; the sum over samples first or last. By Higham, section 3.1, its error is
    at most ``n eps |W|^T |W| |H| 1``, with n the terms of the sums one after the other; the judge's own, in float64,
    is added. Nothing below the smallest normal number is relied on.
    """

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "hidden")
        hidden, weight = np.asarray(problem["hidden"]), np.asarray(problem["weight"])
        units = hidden.shape[0] if hidden.ndim == 2 else None
        if not self.need_arrays(hidden=(None, None), weight=(None, units)):
            return
        self.units = units
        self.keep = self.need_count("keep", 0, units)
        if self.keep is not None:
            self._measure(hidden.astype(float), weight.astype(float), arithmetic_eps(self.dtype, {}))

    def _measure(self, hidden, weight, eps):
        (units, samples), outputs = hidden.shape, weight.shape[0]
        loud, wide = (int(np.frexp(np.abs(array).max())[1]) for array in (hidden, weight))
        self.hidden, self.weight = np.ldexp(hidden, -loud), np.ldexp(weight, -wide)
        self.loud, self.heard = (
            loud,
            loud + 2 * wide,
        )  # powers of two that lead back to the units of the problem
        eps = max(eps, arithmetic_eps(np.dtype(self.claims.get("dtype", self.dtype)), {}))
        rounded = 2 * INPUT_EPS.get(self.claims.get("input_precision"), 0.0)  # of each factor of a product
        self.sums = self.hidden.sum(axis=1)
        size, columns = np.abs(self.hidden).sum(axis=1), np.abs(self.weight).sum(axis=0)
        carried = np.abs(self.weight).T @ (np.abs(self.weight) @ size)
        terms = 2 * (units + ITERATIONS) + outputs + samples + PRODUCT
        own = float(np.finfo(float).eps)
        with np.errstate(
            over="ignore", under="ignore"
        ):  # what underflow may take, of a sum and of the two products
            faint = np.ldexp(self.tiny * samples, -loud)
            lost = np.ldexp(outputs * faint, -2 * wide) + np.ldexp(units * faint, -wide) * columns
        self.sums_off = ((samples + PRODUCT) * (eps + own) + rounded) * size + faint
        self.off = (terms * (eps + own) + 2 * rounded) * carried + lost
        self.own_off = 4 * terms * own * carried

    def importance(self, kept):
        """The sums of W^T V over the samples, V the residual of the units `kept` (units,) bool."""
        return self.weight.T @ (self.weight[:, ~kept] @ self.sums[~kept])

    def search(self, share):
        """The search with near ties, to this share of the bounds."""
        return UnitSearch(self.sums, share * self.sums_off, self.importance, share * self.off, self.keep)

    def hides(self, kept):
        """True when rounding hides all differences of the importances, of U or of what `kept` leave."""
        for units in (np.zeros(self.units, bool), kept):
            y = self.importance(units)
            hidden = (y - self.off).max() <= (y + self.off).min() and np.ptp(y) > self.own_off.max()
            if hidden and 0 < 2 * self.keep < self.units:
                return True
        return False

    @property
    def tied(self):
        """Whether rounding may exchange two units by their row sums, or by what U says of them."""
        if self.expects != "answer":
            return False
        y = self.importance(np.zeros(self.units, bool))
        return _near(self.sums, self.sums_off) or _near(y, self.off)

    def chosen(self, answer):
        """The units of an answer, (units,) bool."""
        found = np.zeros(self.units, bool)
        found[answer.weight.astype(int)] = True
        return found

    def pruned(self, answer):
        """The units that an answer leaves out."""
        return ~self.chosen(answer)

    def same(self, mine, given, factor):
        """Indices are equal or not."""
        return np.array_equal(mine, given)


def _near(values, off):
    order = np.argsort(values)
    return bool(((values - off)[order][1:] <= (values + off)[order][:-1]).any())
