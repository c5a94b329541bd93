"""Exact linear algebra: every statement is an equality of rationals."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune import exact

# zeros are drawn often, so that leading pivots vanish
entries = st.one_of(st.just(Fraction(0)), st.fractions(-3, 3, max_denominator=4))


def matrices(rows, columns):
    return st.lists(entries, min_size=rows * columns, max_size=rows * columns).map(
        lambda values: np.array(values, dtype=object).reshape(rows, columns)
    )


def determinant(A):
    """Leibniz's sum over permutations: it shares nothing with elimination."""
    total = Fraction(0)
    for order in permutations(range(len(A))):
        swaps = sum(order[i] > order[j] for j in range(len(order)) for i in range(j))
        term = Fraction((-1) ** swaps)
        for i, j in enumerate(order):
            term *= A[i, j]
        total += term
    return total


@given(st.integers(1, 4).flatmap(lambda d: st.tuples(matrices(d, d), matrices(d, 2))))
def test_solve_and_inv_agree_with_the_determinant(case):
    A, B = case
    before = A.copy(), B.copy()
    if determinant(A) == 0:
        with pytest.raises(np.linalg.LinAlgError, match="need an invertible matrix"):
            exact.solve(A, B)
        with pytest.raises(np.linalg.LinAlgError, match="need an invertible matrix"):
            exact.inv(A)
    else:
        assert_array_equal(A @ exact.solve(A, B), B)
        assert_array_equal(A @ exact.solve(A, B[:, 0]), B[:, 0])
        assert_array_equal(A @ exact.inv(A), exact.identity(len(A)))
        assert all(isinstance(x, Fraction) for x in exact.inv(A).ravel())
    assert_array_equal(A, before[0])
    assert_array_equal(B, before[1])


def test_a_vanishing_leading_pivot_is_exchanged():
    A = np.array([[Fraction(0), Fraction(2)], [Fraction(3), Fraction(1)]])
    assert_array_equal(exact.inv(A), [[Fraction(-1, 6), Fraction(1, 3)], [Fraction(1, 2), Fraction(0)]])


@given(st.integers(1, 4).flatmap(lambda d: matrices(d, d)), st.fractions(0, 3, max_denominator=4))
def test_definite_means_that_every_leading_minor_is_positive(A, shift):
    # Sylvester's criterion; A A^T + shift I is often definite, A + A^T seldom
    for H in (A + A.T, A @ A.T + shift * exact.identity(len(A))):
        minors = [determinant(H[:k, :k]) > 0 for k in range(1, len(H) + 1)]
        positive = minors.index(False) if False in minors else len(H)
        assert exact.rank_of_definite(H) == positive


def test_the_identity_holds_fractions():
    assert {type(x) for x in exact.identity(3).ravel()} == {Fraction}
    assert_array_equal(exact.identity(3), np.eye(3))
    assert exact.identity(0).shape == (0, 0)
