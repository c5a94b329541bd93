"""The certificate of i-SpaSP: can the search end with these units, when rounding decides what is nearly equal?

Every number that the search compares lies in an interval: the row sum of a unit, and its importance after the set S
of the iteration before. A choice of the largest is possible when no unit that is left out lies, with its whole
interval, above one that is chosen. A set T can follow S when the `2 keep` units of largest importance can be chosen
so that T are, of these and S, units of largest row sum. The iterations are searched depth first over all sets that
can follow; what the answer holds comes first, and states that were visited are remembered.
"""

import numpy as np

ITERATIONS = 20
NODES = 4000  # partial sets that a search may look at before it is undecided


class UnitSearch:
    """The search of i-SpaSP with its near ties.

    Parameters
    ----------
    sums, sums_off : (units,) float64
        Row sums of H, and how far rounding may move them.
    importance : callable
        ``importance(kept)``, kept (units,) bool: the importances (units,) of the residual of that set.
    off : (units,) float64
        How far rounding may move an importance.
    keep : int
    """

    def __init__(self, sums, sums_off, importance, off, keep):
        self.low, self.high = sums - sums_off, sums + sums_off
        self.importance, self.off = importance, off
        self.units, self.keep, self.nodes = sums.size, keep, 0
        self.order = np.argsort(-sums, kind="stable")
        # the largest possible sum of the units from a place of the order on
        self.rest = np.append(np.maximum.accumulate(self.high[self.order][::-1])[::-1], -np.inf)
        self._intervals = {}

    def ends_with(self, answer):
        """True when `answer` (units,) bool can be what the last iteration keeps; None when the search gave up."""
        self._stays, self._seen, self.nodes = self.follows(answer, answer), set(), 0
        found = self._reaches(answer, np.zeros(self.units, bool), 0)
        return found or (None if self.nodes > NODES else False)

    def _reaches(self, answer, kept, number):
        """Whether the search can go from `kept`, after iteration `number`, to `answer`, after the last one."""
        if number == ITERATIONS or (number, kept.tobytes()) in self._seen:
            return number == ITERATIONS and np.array_equal(kept, answer)
        self._seen.add((number, kept.tobytes()))
        if self._stays and self.follows(kept, answer):
            return True
        itself, others = False, False
        for after in self.following(kept, answer):
            if np.array_equal(after, kept):
                itself = True
            elif self._reaches(answer, after, number + 1):
                return True
            else:
                others = True
        if itself and others:
            return self._reaches(answer, kept, number + 1)
        return itself and np.array_equal(kept, answer)

    def follows(self, kept, after):
        """True when the set `after` can follow `kept`; both (units,) bool."""
        least = self.high[after].min(initial=np.inf)
        return self._possible(kept, after, ~after & (self.low > least))

    def following(self, kept, answer):
        """Yield every set that can follow `kept`, with units of `answer` first."""
        if (only := self._only(kept)) is not None:
            yield only
            return
        stack = [(0, np.zeros(self.units, bool), np.zeros(self.units, bool))]
        while stack and self.nodes <= NODES:
            place, chosen, left = stack.pop()
            self.nodes += 1
            missing = self.keep - int(chosen.sum())
            if not missing:
                if self.follows(kept, chosen):
                    yield chosen
                continue
            if self.units - place < missing:
                continue
            unit, ways = self.order[place], []
            for inside in (True, False):
                more, less = chosen.copy(), left.copy()
                (more if inside else less)[unit] = True
                least = self.high[more].min(initial=np.inf)
                if missing > inside:  # more are to come, none of them above what is left of the order
                    least = min(least, self.rest[place + 1])
                if self._possible(kept, more, less & (self.low > least)):
                    ways.append((place + 1, more, less))
            stack += ways if len(ways) == 2 and not answer[unit] else ways[::-1]

    def _only(self, kept):
        """The set that follows `kept` where nothing is nearly equal; else None."""
        low, high = self.intervals(kept)
        order = np.argsort(-low, kind="stable")
        omega, others = np.split(order, [2 * self.keep])
        among = kept.copy()
        among[omega] = True
        chosen, beaten = np.split(self.order[among[self.order]], [self.keep])
        apart = low[omega].min(initial=np.inf) > high[others].max(initial=-np.inf)
        if not apart or self.low[chosen].min(initial=np.inf) <= self.high[beaten].max(initial=-np.inf):
            return None
        after = np.zeros(self.units, bool)
        after[chosen] = True
        return after

    def _possible(self, kept, wanted, barred):
        """Whether the most important units can be chosen so that, with `kept`, they hold `wanted`, none of `barred`."""
        if (kept & barred).any():
            return False
        needed, count = wanted & ~kept, min(2 * self.keep, self.units)
        low, high = self.intervals(kept)
        cuts = np.append(low, -np.inf)[:, None]  # the largest lower end of a unit that is left out
        inside = (low > cuts) | needed
        allowed = (high >= cuts) & ~barred
        fits = (
            (inside.sum(axis=1) <= count) & (allowed.sum(axis=1) >= count) & ~(inside & ~allowed).any(axis=1)
        )
        return bool(fits.any())

    def intervals(self, kept):
        """(lower, upper) ends of the importances of the residual of `kept`."""
        key = kept.tobytes()
        if key not in self._intervals:
            middle = self.importance(kept)
            self._intervals[key] = middle - self.off, middle + self.off
        return self._intervals[key]
