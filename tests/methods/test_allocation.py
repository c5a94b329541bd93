"""The budget that rows share, alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import refprune.definitions as definitions
from refprune.methods import allocation


def paths_of(*losses):
    starts = np.cumsum([0, *[len(loss) for loss in losses]])
    return [allocation.Path([], [], start + np.arange(len(loss)), np.array(loss, dtype=float))
            for start, loss in zip(starts, losses)]  # fmt: skip


def test_allocation_by_hand():
    paths = paths_of([4, 1, 1, 1], [2, 3, 3, 3])
    order, losses = allocation.spread(3, paths, "heap")
    assert order.tolist() == [4, 5, 6]
    assert losses.tolist() == [2, 3, 3]
    assert allocation.spread(3, paths, "sorted")[0].tolist() == [0, 1, 2]
    assert allocation.spread(3, paths, "cumulative")[0].tolist() == [0, 1, 4]
    assert allocation.spread(0, paths, "sorted")[0].tolist() == []
    assert sorted(allocation.spread(8, paths, "cumulative")[0].tolist()) == list(range(8))


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_allocation_is_the_definition(losses, data):
    count = data.draw(st.integers(0, sum(map(len, losses))))
    paths = paths_of(*losses)
    for rule in allocation.RULES:
        order, _ = allocation.spread(count, paths, rule)
        counts = [int(np.isin(path.units, order).sum()) for path in paths]
        assert counts == definitions.row_counts(losses, 0, count, rule)
        for path, n in zip(paths, counts, strict=True):
            assert_array_equal(order[np.isin(order, path.units)], path.units[:n])  # every path from its start


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_a_path_that_is_not_short_may_be_cut(losses, data):
    """Paths known up to some step, and whole where `short_paths` says so, share a budget as whole paths do."""
    count = data.draw(st.integers(0, sum(map(len, losses))))
    whole = paths_of(*losses)
    ends = [data.draw(st.integers(0, len(loss))) for loss in losses]
    known = [
        allocation.Path([], [], path.units[:n], path.losses[:n]) for path, n in zip(whole, ends, strict=True)
    ]
    for rule in ("heap", "cumulative"):
        short = allocation.short_paths(count, known, [len(loss) for loss in losses], rule)
        mixed = [long if more else cut for long, cut, more in zip(whole, known, short, strict=True)]
        expected = allocation.spread(count, whole, rule)
        for mine, theirs in zip(allocation.spread(count, mixed, rule), expected, strict=True):
            assert_array_equal(mine, theirs)


def test_short_paths_by_hand():
    cut = paths_of([1, 2, 9], [5, 1], [3])  # of 6, 2 and 4 steps; the 3 smallest running maxima are 1, 2, 3
    assert allocation.short_paths(3, cut, [6, 2, 4], "heap").tolist() == [False, False, True]
    assert allocation.short_paths(2, cut, [6, 2, 4], "heap").tolist() == [False, False, False]
    assert allocation.short_paths(9, cut, [6, 2, 4], "heap").tolist() == [True, False, True]
    assert allocation.short_paths(0, cut, [6, 2, 4], "heap").tolist() == [False, False, False]


def test_free_units_go_before_all_others():
    first = allocation.Path([9], [2], np.array([0, 1]), np.array([0.0, 5.0]))
    second = allocation.Path([], [1], np.array([7]), np.array([0.0]))
    assert allocation.spread(4, [first, second], "heap")[0].tolist() == [9, 1, 2, 0]
    assert allocation.separate([2, 2], [first, second])[0].tolist() == [9, 2, 1, 7]
