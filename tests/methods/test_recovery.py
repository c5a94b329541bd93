"""The helpers of the tests of sparse recovery are tested too."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import refprune as rp
from tests.methods.recovery import certify, isometry, near_isometry, top


def test_isometry_constants_of_designs_that_can_be_checked_by_hand():
    assert isometry(np.eye(4), 2) == 0
    assert_allclose(isometry(np.diag([1.0, 2.0, 1.0]), 1), 3)  # |4 - 1|
    correlated = np.array([[1.0, 0.6], [0.0, 0.8]])  # unit columns with inner product 0.6
    assert_allclose(isometry(correlated, 2), 0.6)
    assert_allclose(isometry(correlated, 1), 0, atol=1e-15)


def test_isometry_constants_bound_the_norms_of_sparse_images():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(12, 7)) / 12**0.5
    delta = isometry(A, 3)
    for _ in range(200):
        x = np.zeros(7)
        x[rng.choice(7, 3, replace=False)] = rng.normal(size=3)
        ratio = np.sum((A @ x) ** 2) / (x @ x)
        assert 1 - delta - 1e-12 <= ratio <= 1 + delta + 1e-12
    assert isometry(A, 2) <= delta <= isometry(A, 4)


def test_near_isometries_are_just_below_what_was_wanted():
    found = isometry(near_isometry(np.random.default_rng(1), 12, 6, 3, 0.3), 3)
    assert 0.29 < found < 0.3


def test_top_keeps_the_last_of_equals():
    assert top(np.array([1.0, -1.0, 1.0]), 2).tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("weight", "mask", "message"),
    [
        ([2.0, 1.0], [True, True], "not exactly k"),
        ([2.0, 1.0], [True, False], "a pruned weight is not 0"),
        ([0.0, 1.0], [False, True], "a weight off the support wants in"),
        ([1.0, 0.0], [True, False], "the gradient on the support is not 0"),
        ([-9.0, 0.0], [True, False], "above the k largest"),
    ],
)
def test_the_certificate_sees_what_is_wrong(weight, mask, message):
    problem = rp.LeastSquares(np.eye(2), np.array([2.0, 1.0]))
    weight = np.array(weight)
    answer = rp.Pruned(weight, np.array(mask), float(problem.value(weight)))
    with pytest.raises(AssertionError, match=message):
        certify(problem, answer, 1, np.zeros(2), step=1.0)


def test_the_certificate_passes_what_is_right():
    problem = rp.LeastSquares(np.eye(2), np.array([2.0, 1.0]))
    answer = rp.Pruned(np.array([2.0, 0.0]), np.array([True, False]), 0.5)
    certify(problem, answer, 1, np.zeros(2), step=1.0)
    with pytest.raises(AssertionError, match="the objective is another one"):
        certify(problem, rp.Pruned(answer.weight, answer.mask, 0.25), 1, np.zeros(2))
