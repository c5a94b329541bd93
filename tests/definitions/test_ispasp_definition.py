"""The definition of i-SpaSP: by hand, on fractions, its invariances, and the labels of units."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refprune.definitions import ispasp
from tests.methods.units import whole


def test_by_hand():
    """W^T W h for h = (4, 7, 1, 1), the row sums: the last unit takes from the first and is not important."""
    H = np.array([[2.0, 2.0], [3.0, 4.0], [1.0, 0.0], [0.0, 1.0]])
    W = np.array([[1.0, 0.0, 1.0, -1.0]])
    # y = W^T (4 + 1 - 1) = (4, 0, 4, -4): candidates 0 and 2, unit 0 is the larger; then V = W_:P H_P: sums to 0
    assert ispasp(H, W, 1, iterations=1) == [0]
    assert ispasp(H, W, 1) == [0]
    # all four are candidates for two: row sums alone
    assert ispasp(H, W, 2) == [0, 1]
    assert ispasp(H, W, 0) == []
    assert ispasp(H, W, 4) == [0, 1, 2, 3]


def test_absolute_importance_sees_what_cancels():
    """Unit 0 moves the outputs by 4.25 / 2 and -1.75 / 2: much, with a small sum."""
    H = np.array([[4.25, -1.75], [1.0, 1.0], [1.0, 0.0], [0.0, 0.5]])
    W = np.diag([0.5, 1.0, 1.0, 1.0])
    # signed: y = W^T W (2.5, 2, 1, 0.5) = (0.625, 2, 1, 0.5), candidates 1 and 2
    assert ispasp(H, W, 1, iterations=1) == [1]
    # absolute: (6 / 4, 2, 1, 0.5), candidates 0 and 1, and the row sum of 0 is larger
    assert ispasp(H, W, 1, iterations=1, absolute=True) == [0]
    # what unit 1 gives is then no longer missing, y = (0.625, 0, 1, 0.5), and unit 0 comes in by its sum
    assert ispasp(H, W, 1) == [0]


def test_ties_go_from_the_lowest_index():
    H, W = np.ones((4, 3)), np.ones((1, 4))
    assert ispasp(H, W, 1) == [3]
    assert ispasp(H, W, 3) == [1, 2, 3]


@given(st.integers(0, 10**6))
def test_fractions_give_what_whole_numbers_give(seed):
    rng = np.random.default_rng(seed)
    H, W = whole(rng, 5, 4), whole(rng, 3, 5)
    exact = [np.array([[Fraction(int(x), 7) for x in row] for row in A]) for A in (H, W)]
    for keep in range(6):
        for absolute in (False, True):
            assert ispasp(*exact, keep, absolute=absolute) == ispasp(H, W, keep, absolute=absolute)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_sum_never_falls_and_the_search_settles(seed, keep):
    rng = np.random.default_rng(seed)
    H, W = abs(whole(rng, 12, 5)), whole(rng, 4, 12)
    sets = [ispasp(H, W, keep, iterations=t) for t in range(1, 15)]
    sums = [H[S].sum() for S in sets]
    assert sums == sorted(sums)
    assert sets[-1] == sets[-2]
    assert all(len(S) == keep for S in sets)


@pytest.mark.parametrize("absolute", [False, True])
def test_units_of_several_inputs(absolute):
    """Inputs that belong to one unit count together; a unit of copies scaled apart is one unit."""
    rng = np.random.default_rng(1)
    H, W = whole(rng, 6, 5), whole(rng, 3, 6)
    twice, half = np.repeat(H, 2, axis=0), np.repeat(W, 2, axis=1) / 2  # the same function of the units
    found = [ispasp(H, W, keep, absolute=absolute) for keep in range(7)]
    labels = np.repeat(np.arange(6), 2)
    assert [ispasp(twice, half, keep, units=labels, absolute=absolute) for keep in range(7)] == found
