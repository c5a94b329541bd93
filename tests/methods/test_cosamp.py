"""CoSaMP: its definition, recovery, Needell and Tropp's bound, cycles, other objectives, exact cases, errors."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

import refprune as rp
import refprune.definitions as definitions
from tests.methods import convex
from tests.methods.problems import fractions
from tests.methods.recovery import isometry, near_isometry, noisy, planted, top


def by_hand(A, y, keep, w, mistake=None):
    """One iteration with NumPy's least squares, with one `mistake`."""
    correlation = A.T @ (y - A @ w)
    size = correlation if mistake == "largest by value" else np.abs(correlation)
    width = keep if mistake == "k for 2 k" else min(2 * keep, len(w))
    merged = np.isin(np.arange(len(w)), np.argsort(size, kind="stable")[len(w) - width :])
    if mistake != "the old support is left out":
        merged = merged | (w != 0)
    b = np.zeros_like(w)
    if mistake == "least squares left out":
        b = np.where(merged, w + correlation, 0)
    else:
        b[merged] = np.linalg.lstsq(A[:, merged], y)[0]
    return b if mistake == "not cut" else top(b, keep)


def test_one_step_is_that_of_the_definition_and_that_by_hand():
    """The first step of the method is its best point where it is lower than the start."""
    seen = 0
    for seed in range(100):
        problem, keep, rng = noisy(seed)
        A, y = problem.design, problem.target
        start = top(rng.normal(size=A.shape[1]), keep)
        step, merged = definitions.cosamp_step(problem, keep, start)
        scale = np.abs(np.linalg.lstsq(A, y)[0]).max()
        assert_allclose(step, by_hand(A, y, keep, start), rtol=0, atol=1e-9 * scale)
        assert np.count_nonzero(merged) <= 3 * keep
        answer = rp.cosamp(problem, keep, start, max_iter=1)
        if problem.value(step) < problem.value(start):
            seen += 1
            assert_allclose(answer.weight, step, rtol=0, atol=1e-9 * scale)
    assert seen >= 50


def test_answers_are_the_best_points_of_the_definition():
    for seed in range(100):
        problem, keep, rng = noisy(500 + seed)
        start = rng.normal(size=problem.design.shape[1])
        points = definitions.cosamp(problem, keep, start)
        values = [problem.value(w) for w in points]
        answer = rp.cosamp(problem, keep, start)
        assert_allclose(answer.objective, min(values), rtol=1e-9)
        assert_allclose(
            answer.weight, points[int(np.argmin(values))], rtol=0, atol=1e-9 * np.abs(points).max()
        )
        assert np.count_nonzero(answer.mask) == keep
        assert not answer.weight[~answer.mask].any()
        assert answer.objective == problem.value(answer.weight) == answer.trace[-1].value
        assert answer.objective <= problem.value(top(start, keep))
        again, _ = definitions.cosamp_step(problem, keep, points[-1])
        rests = np.allclose(again, points[-1], rtol=1e-9, atol=0)
        rests &= values[-1] <= min(values) + 1e-12 * abs(values[0])  # "converged" is said of the answer
        assert answer.trace[-1].reason == ("converged" if rests else "cycle")


def test_converged_is_said_of_the_answer():
    """With little data and noise the method often rests above a point that it passed: that is no convergence."""
    reasons = {"converged": 0, "cycle": 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        problem = rp.LeastSquares(rng.normal(size=(10, 14)), rng.normal(size=10))
        answer = rp.cosamp(problem, 3)
        again = rp.cosamp(problem, 3, answer.weight, max_iter=1)
        reasons[answer.trace[-1].reason] += 1
        if answer.trace[-1].reason == "converged":
            assert_allclose(again.weight, answer.weight, rtol=1e-9, atol=0)
            assert again.trace[0].changed == 0
    assert min(reasons.values()) >= 5


def test_the_definition_is_exact_on_fractions():
    rng = np.random.default_rng(5)
    A, y = rng.integers(-3, 4, size=(6, 4)).astype(float), rng.integers(-3, 4, size=6).astype(float)
    exact = definitions.cosamp(rp.LeastSquares(fractions(A), fractions(y)), 1, fractions(np.zeros(4)))
    floats = definitions.cosamp(rp.LeastSquares(A, y), 1, np.zeros(4))
    for e, f in zip(exact, floats, strict=True):
        assert_allclose(e.astype(float), f, rtol=1e-13, atol=1e-14)


def test_planted_signals_are_recovered():
    found = 0
    for seed in range(100):
        A, signal = planted(seed)
        answer = rp.cosamp(rp.LeastSquares(A, A @ signal), 10)
        found += np.linalg.norm(answer.weight - signal) <= 1e-9 * np.linalg.norm(signal)
    assert found >= 99


def test_the_error_halves_on_designs_with_a_known_constant():
    """Needell and Tropp, theorem 2.1 without noise: delta_4s <= 0.1 and an s-sparse signal."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s, d = int(rng.integers(1, 3)), 9
        A = near_isometry(rng, 12, d, 4 * s, rng.uniform(0.3, 1) * 0.1)
        assert isometry(A, 4 * s) <= 0.1
        signal = top(rng.normal(size=d) * 2.0 ** rng.integers(-4, 5, size=d), s)
        problem = rp.LeastSquares(A, A @ signal)
        points = definitions.cosamp(problem, s, top(rng.normal(size=d), s))
        errors = [np.linalg.norm(w - signal) for w in points]
        for before, after in pairwise(errors):
            assert after <= before / 2 + 1e-12
        assert_allclose(rp.cosamp(problem, s).weight, signal, rtol=0, atol=1e-12 * np.abs(signal).max())


def test_cycles_end():
    """Some 40 of 400 problems with little data cycle; the best point comes back."""
    cycles = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        A = rng.normal(size=(18, 24)) @ (np.eye(24) + 0.4 * rng.normal(size=(24, 24)))
        answer = rp.cosamp(rp.LeastSquares(A, rng.normal(size=18)), 4, max_iter=400)
        cycles += answer.trace[-1].reason == "cycle"
        assert answer.trace[-1].reason != "max_iter"
        assert answer.objective == min(point.value for point in answer.trace)
    assert cycles >= 10


def test_objectives_that_are_not_quadratic():
    for seed in range(40):
        objective, best, few, rng = convex.planted(seed)
        d = len(best)
        keep, start = int(rng.integers(few, d + 1)), best + rng.normal(size=d)
        answer = rp.cosamp(objective, keep, start)
        assert answer.objective <= objective.value(top(start, keep))
        if 3 * keep >= 2 * d:  # the set is everything at once: one solve, one cut
            assert_allclose(answer.weight, best, rtol=0, atol=1e-6 * np.abs(best).max())


def test_sets_that_cannot_be_solved_are_errors():
    A = np.random.default_rng(14).normal(size=(3, 9))
    with pytest.raises(
        np.linalg.LinAlgError, match="need at least as many samples as kept weights to solve on"
    ):
        rp.cosamp(rp.LeastSquares(A, np.ones(3)), 2)


MISTAKES = (
    "k for 2 k", "largest by value", "the old support is left out", "least squares left out", "not cut",
)  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes_give_another_step(mistake):
    """The step is unique, so the value after it tells; every mistake is seen on most problems."""
    told = 0
    for seed in range(40):
        A, signal = planted(seed, 40, 60, 6)
        rng = np.random.default_rng(seed)
        y, w = A @ signal + 0.05 * rng.normal(size=40), top(A.T @ (A @ signal), 6)
        right, _ = definitions.cosamp_step(rp.LeastSquares(A, y), 6, w)
        assert_allclose(by_hand(A, y, 6, w), right, rtol=0, atol=1e-10)
        told += np.abs(by_hand(A, y, 6, w, mistake) - right).max() > 1e-6
    assert told >= 20
