"""The certificate of i-SpaSP against all ways that near ties leave, written out set by set."""

from itertools import combinations

import numpy as np
import pytest

from refprune.testing import unit_certificate
from refprune.testing.unit_certificate import ITERATIONS, UnitSearch


def tops(candidates, low, high, count):
    """Every choice of `count` of the candidates in which nobody is left out who is surely larger than a chosen one."""
    for chosen in combinations(sorted(candidates), count):
        left = set(candidates) - set(chosen)
        if all(high[i] >= low[j] for i in chosen for j in left):
            yield frozenset(chosen)


def ends(sums, sums_off, importance, off, keep):
    """All sets that the last of the iterations can keep, by going through all choices of every iteration."""
    units, found = len(sums), {frozenset()}
    for _ in range(ITERATIONS):
        after = set()
        for kept in found:
            y = importance(np.isin(np.arange(units), list(kept)))
            for omega in tops(range(units), y - off, y + off, min(2 * keep, units)):
                after |= set(tops(omega | kept, sums - sums_off, sums + sums_off, keep))
        if after == found:  # and so from here on
            break
        found = after
    return found


def problem(seed, units=5):
    """Small whole numbers, so that many are equal; every other one with wide bounds."""
    rng = np.random.default_rng(seed)
    sums = rng.integers(-1, 5, size=units).astype(float)
    weight = rng.integers(-2, 3, size=(int(rng.integers(1, 4)), units)).astype(float)
    wide = seed % 2
    sums_off, off = wide * rng.random(units), wide * rng.integers(0, 6, size=units) * rng.random()

    def importance(kept):
        return weight.T @ (weight[:, ~kept] @ sums[~kept])

    return sums, sums_off, importance, off


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 5])
def test_the_certificate_accepts_what_some_way_ends_with_and_nothing_else(keep):
    sizes = []
    for seed in range(20):
        call = (*problem(seed), keep)
        right = ends(*call)
        for answer in combinations(range(5), keep):
            marks = np.isin(np.arange(5), answer)
            assert UnitSearch(*call).ends_with(marks) is (frozenset(answer) in right), (seed, answer)
        sizes.append(len(right))
    if keep in (1, 2):
        assert sizes.count(1) >= 3  # some have one end
        assert sum(1 < size < 5 for size in sizes) >= 4  # some several, and not all


def test_what_can_follow_is_listed_once_and_whole():
    for seed in range(40):
        sums, sums_off, importance, off = problem(seed, 6)
        search, kept = UnitSearch(sums, sums_off, importance, off, 2), np.arange(6) < 2
        y = importance(kept)
        right = {
            chosen
            for omega in tops(range(6), y - off, y + off, 4)
            for chosen in tops(omega | {0, 1}, sums - sums_off, sums + sums_off, 2)
        }
        found = [frozenset(np.flatnonzero(after).tolist()) for after in search.following(kept, kept)]
        assert len(found) == len(set(found))
        assert set(found) == right
        for pair in combinations(range(6), 2):
            assert search.follows(kept, np.isin(np.arange(6), pair)) is (frozenset(pair) in right)


def test_a_chain_is_followed_for_so_many_iterations():
    """Iteration t keeps unit t, which makes the next one important; nothing is nearly equal."""
    sums, none = np.arange(1.0, 31.0), np.zeros(30)

    def importance(kept):
        after = int(np.flatnonzero(kept)[-1]) + 1 if kept.any() else 0
        return np.where(np.arange(30) == after, 2.0, np.where(np.arange(30) == 0, 1.0, -np.arange(30.0)))

    for last in (19, 20, 21, 29):
        search = UnitSearch(sums, none, importance, none, 1)
        assert search.ends_with(np.arange(30) == last) is (last == ITERATIONS)


def test_a_search_may_wait_at_a_tie():
    """As above, but after unit 5 the next one ties with two others: the search stays as long as these are taken."""
    sums, none = np.arange(1.0, 31.0), np.zeros(30)

    def importance(kept):
        last = int(np.flatnonzero(kept)[-1]) if kept.any() else -1
        next_one = np.arange(30) == last + 1
        y = np.where(next_one, 2.0, np.where(np.arange(30) == 0, 1.0, -np.arange(30.0)))
        return np.where(next_one | (np.arange(30) < 2), 1.0, y) if last == 5 else y

    search = UnitSearch(sums, none, importance, none, 1)
    assert [u for u in range(30) if search.ends_with(np.arange(30) == u)] == list(range(5, ITERATIONS + 1))


def test_a_search_gives_up_in_time(monkeypatch):
    """All units tie, but for the importance of one, that the answer lacks a reason for: too many ways to try."""
    units = 24
    sums, none = np.ones(units), np.zeros(units)

    def importance(kept):
        return np.ones(units) - 2.0 * (np.arange(units) == 0)

    call = (sums, none, importance, none, 6)
    assert UnitSearch(*call).ends_with(np.arange(units) < 6) is None
    assert UnitSearch(*call).ends_with((np.arange(units) > 0) & (np.arange(units) < 7)) is True
    monkeypatch.setattr(unit_certificate, "NODES", 0)
    assert UnitSearch(*call).ends_with((np.arange(units) > 0) & (np.arange(units) < 7)) is True
    assert UnitSearch(*call).ends_with(np.arange(units) < 6) is None
