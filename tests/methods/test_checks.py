"""The helpers are tested too: generators keep what they say, certificates are as sharp as they claim."""

import numpy as np
import pytest
from hypothesis import given

import refprune.definitions as definitions
from tests.methods.checks import EPS, cheapest, lowest_first, replay, stationary, untouched
from tests.methods.problems import condition, exact_quadratics, layers, spd, with_dead


@pytest.mark.parametrize("cond", [1.0, 1e3, 1e9])
def test_spd_is_definite_and_as_conditioned_as_asked(cond):
    H = spd(np.random.default_rng(1), 9, cond)
    assert np.array_equal(H, H.T)
    assert np.linalg.eigvalsh(H / np.sqrt(np.outer(np.diag(H), np.diag(H)))).min() > 0
    assert condition(H) <= 9 * max(
        cond, 1.001
    )  # unit diagonal is within d of the best scaling (van der Sluis)
    assert condition(H) >= cond / 100


def test_with_dead_puts_the_zeros_where_they_belong():
    H = with_dead(np.array([[1.0, 2.0], [2.0, 5.0]]), [0, 2])
    assert H.tolist() == [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 2, 0, 5]]
    assert condition(H) == pytest.approx(condition(H[1::2, 1::2]))
    assert condition(np.zeros((2, 2))) == 1


@given(layers())
def test_layers_are_inside_the_condition_that_the_tests_assume(layer):
    assert condition(layer.gram) < 300 * len(layer.gram) + 1  # unit diagonal is within d of the best scaling
    assert (np.diag(layer.gram) >= 0).all()


@given(exact_quadratics())
def test_exact_quadratics_are_integers(problem):
    w, H = problem
    assert np.array_equal(H, np.round(H))
    assert np.array_equal(w, np.round(w))
    assert condition(H) < 1e6


def test_stationary_sees_a_hundred_bounds():
    rng = np.random.default_rng(2)
    H, w = spd(rng, 8), rng.normal(size=8)
    mask = np.array([True] * 5 + [False] * 3)
    v = definitions.optimal_weights(w, H, mask)
    stationary(w, H, v, mask, EPS)
    bound = 40 * 8 * EPS * np.abs(v).max()
    off = v + 100 * bound * mask * np.where(np.diag(H) > 0, 1 / np.sqrt(np.diag(H)), 0) * np.sqrt(
        np.diag(H).max()
    )
    with pytest.raises(AssertionError, match="not stationary"):
        stationary(w, H, off, mask, EPS)


def test_replay_accepts_both_of_two_tied_weights_and_no_third():
    H, w = np.eye(3), np.array([1.0, 1.0, 1.0 + 1e-6])
    replay(w, H, [0, 1], EPS)
    replay(w, H, [1, 0], EPS)
    with pytest.raises(AssertionError, match=r"step 1 removed column 2 at .*; column 1 cost"):
        replay(w, H, [0, 2], EPS)
    with pytest.raises(AssertionError, match="step 1 removed column 0, which was no candidate"):
        replay(w, H, [0, 0], EPS)
    with pytest.raises(AssertionError, match="before the dead column 1"):
        replay(w, np.diag([1.0, 0.0, 1.0]), [0], EPS)
    with pytest.raises(AssertionError, match="no candidate"):
        replay(w, H, [0, 1], EPS, groups=[0, 0, 1], zeros=1)


def test_the_other_checks():
    cheapest(np.array([1.0, 2.0, 2.0]), np.array([False, True, False]), "score")
    with pytest.raises(AssertionError, match="score of line 0: 3 is pruned, 1 is kept"):
        cheapest(np.array([1.0, 2.0, 3.0]), np.array([True, True, False]), "score")
    lowest_first(np.array([1.0, 1.0]), np.array([False, True]))
    with pytest.raises(AssertionError, match=r"of equal scores 1\.0 a later one"):
        lowest_first(np.array([1.0, 1.0]), np.array([True, False]))
    with pytest.raises(AssertionError, match="has moved"):
        untouched(np.array([1.0, 2.0]), np.array([1.0, np.nextafter(2, 3)]), np.array([True, True]))
