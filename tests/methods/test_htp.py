"""HTP: its definition, certificates, cycles, recovery, Foucart's theorem, other objectives, exact cases, errors."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

import refprune as rp
import refprune.definitions as definitions
from tests.methods import convex
from tests.methods.problems import fractions, spd
from tests.methods.recovery import certify, isometry, largest, near_isometry, noisy, planted, top


def unsettled(seed):
    """(problem, keep): few samples, columns of many lengths, where step 1 often runs in a cycle."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(12, 20)) / 12**0.5 * rng.uniform(0.5, 1.5, size=20)
    return rp.LeastSquares(A, A @ top(rng.normal(size=20), 5) + 0.1 * rng.normal(size=12)), 5


@pytest.mark.parametrize("rule", ["normalized", 1.0])
def test_answers_are_those_of_the_definition(rule):
    for seed in range(100):
        problem, keep, rng = noisy(seed) if seed % 2 else (*unsettled(seed), np.random.default_rng(seed))
        L, start = largest(problem), rng.normal(size=problem.design.shape[1])
        step = rule if rule == "normalized" or seed % 2 == 0 else rule / L
        points = definitions.htp(problem, keep, start, L, step)
        answer = rp.htp(problem, keep, start, step)
        # a solve with a condition of a few hundred, and values that agree to as much
        assert_allclose(answer.weight, points[-1], rtol=0, atol=1e-9 * np.abs(points[-1]).max(initial=1))
        values = [point.value for point in answer.trace]
        assert_allclose(values, [problem.value(w) for w in points], rtol=1e-8, atol=1e-12 * max(values))
        assert np.all(np.isin(np.flatnonzero(points[-1]), np.flatnonzero(answer.mask)))


def test_the_definition_is_exact_on_fractions():
    rng = np.random.default_rng(5)
    A, y = rng.integers(-3, 4, size=(6, 4)).astype(float), rng.integers(-3, 4, size=6).astype(float)
    exact = definitions.htp(rp.LeastSquares(fractions(A), fractions(y)), 2, fractions(np.zeros(4)), 50)
    answer = rp.htp(rp.LeastSquares(A, y), 2)
    assert_allclose(answer.weight, exact[-1].astype(float), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("rule", ["normalized", "lipschitz"])
def test_answers_are_stationary_and_no_worse_than_any_point(rule):
    for seed in range(100):
        problem, keep, rng = noisy(1000 + seed)
        start = rng.normal(size=problem.design.shape[1])
        answer = rp.htp(problem, keep, start, rule)
        last = answer.trace[-1]
        assert last.reason == "converged"
        certify(problem, answer, keep, start, tol=1e-11, step=last.step)
        assert last.value <= min(point.value for point in answer.trace) * (1 + 1e-12) + 1e-20
        best = definitions.optimal_weights(
            np.linalg.lstsq(problem.design, problem.target)[0], problem.design.T @ problem.design, answer.mask
        )
        assert_allclose(answer.weight, best, rtol=0, atol=1e-8 * np.abs(best).max(initial=1))


def test_it_leaves_every_cycle_for_a_better_end():
    cycles = 0
    for seed in range(400):
        problem, keep = unsettled(seed)
        answer = rp.htp(problem, keep, step=1.0)
        reasons = [point.reason for point in answer.trace]
        assert reasons[-1] == "converged"
        assert reasons.count("cycle") <= 1
        if "cycle" in reasons:
            cycles += 1
            at = reasons.index("cycle")
            before, after = (
                [point.value for point in part] for part in (answer.trace[: at + 1], answer.trace[at + 1 :])
            )
            assert after[0] == min(before)
            assert np.all(np.diff(after) < 0)
            certify(problem, answer, keep, np.zeros(20), step=answer.trace[-1].step)
    assert cycles >= 19


@pytest.mark.parametrize("seed", [20, 53])
def test_it_leaves_an_end_that_is_not_the_best_point(seed):
    """The normalised step comes to rest on these two, above a point that it passed."""
    problem, keep = unsettled(seed)
    answer = rp.htp(problem, keep)
    reasons = [point.reason for point in answer.trace]
    at = reasons.index("cycle")
    assert answer.trace[at].changed == 0
    assert answer.objective <= min(point.value for point in answer.trace) < answer.trace[at].value
    certify(problem, answer, keep, np.zeros(20), step=answer.trace[-1].step)


class Wall:
    """``(w_0 - 1)^2 / 2 - 2 w_1 + 250 w_1^4``: at w_1 = 0 its Hessian does not show the wall beside it."""

    def value(self, w):
        return (w[0] - 1) ** 2 / 2 - 2 * w[1] + 250 * w[1] ** 4

    def gradient(self, w):
        return np.array([w[0] - 1, 1000 * w[1] ** 3 - 2])

    def hvp(self, w, v):
        return np.array([v[0], 3000 * w[1] ** 2 * v[1]])

    def hessian(self, w):
        return np.diag([1.0, 3000 * w[1] ** 2])


def test_a_step_of_one_over_l_is_halved_where_l_is_larger_elsewhere():
    """Step 10 runs between (1, 0) and (0, 0.126). From the better one, 1/L = 1 would choose the other again."""
    answer = rp.htp(Wall(), 1, np.zeros(2), step=10.0)
    assert_allclose(answer.weight, [1, 0], rtol=0, atol=1e-8)
    assert "cycle" in [point.reason for point in answer.trace]
    assert answer.trace[-1].reason == "converged"
    assert answer.trace[-1].step < 0.6


def test_columns_of_any_units_are_solved():
    problem, _, rng = noisy(18)
    d = problem.design.shape[1]
    units = 2.0 ** rng.integers(-60, 60, size=d)
    answer = rp.htp(rp.LeastSquares(problem.design * units, problem.target), d)
    expected = np.linalg.lstsq(problem.design, problem.target)[0]
    assert_allclose(answer.weight * units, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_planted_signals_are_recovered():
    """Step 1/L, beside it, stops elsewhere far more often."""
    found = {"normalized": 0, "lipschitz": 0}
    for seed in range(100):
        A, signal = planted(seed)
        problem = rp.LeastSquares(A, A @ signal)
        for rule in found:
            answer = rp.htp(problem, 10, step=rule)
            found[rule] += np.linalg.norm(answer.weight - signal) <= 1e-9 * np.linalg.norm(signal)
    assert found["normalized"] >= 99
    assert 60 <= found["lipschitz"] <= 90


def test_foucarts_theorem_on_designs_with_a_known_constant():
    """delta_3s < 1/sqrt 3: step 1 contracts with sqrt(2 delta_3s^2 / (1 - delta_2s^2)) to every s-sparse signal."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s, d = int(rng.integers(1, 3)), 8
        A = near_isometry(rng, 10, d, 3 * s, rng.uniform(0.2, 1) * 3**-0.5)
        third, second = isometry(A, 3 * s), isometry(A, 2 * s)
        assert third < 3**-0.5
        rate = np.sqrt(2 * third**2 / (1 - second**2))
        signal = top(rng.normal(size=d), s)
        problem = rp.LeastSquares(A, A @ signal)
        points = definitions.htp(problem, s, rng.normal(size=d), largest(problem), 1)
        errors = [np.linalg.norm(w - signal) for w in points]
        for before, after in pairwise(errors):
            assert after <= rate * before + 1e-12
        assert errors[-1] < 1e-12
        assert_allclose(rp.htp(problem, s, rng.normal(size=d), 1.0).weight, signal, atol=1e-12)


@pytest.mark.parametrize("rule", ["normalized", "lipschitz"])
def test_objectives_that_are_not_quadratic(rule):
    """The weights against SciPy's minimiser on the same support; with all weights, against the planted one."""
    for seed in range(40):
        objective, best, few, rng = convex.planted(seed)
        d = len(best)
        keep, start = int(rng.integers(few, d + 1)), best + rng.normal(size=d)
        answer = rp.htp(objective, keep, start, rule)
        assert answer.trace[-1].reason == "converged"
        certify(objective, answer, keep, start, step=answer.trace[-1].step)
        K = np.flatnonzero(answer.mask)
        spread = np.eye(d)[:, K]
        found = scipy.optimize.minimize(
            lambda v, f=objective, E=spread: f.value(E @ v), np.zeros(keep),
            jac=lambda v, f=objective, E=spread: E.T @ f.gradient(E @ v), method="BFGS", options={"gtol": 1e-9},
        )  # fmt: skip
        assert_allclose(answer.weight[K], found.x, rtol=0, atol=1e-5 * np.abs(best).max())


def test_a_network_is_solved_on_its_support():
    rng = np.random.default_rng(4)
    network, x = rp.mlp([3, 4, 2], activation="softplus"), rng.normal(size=(50, 3)) + 0.5
    objective = rp.NetworkLoss(network, x, rng.integers(0, 2, size=50))
    start = network.flatten(network.init(rng)) + 0.1
    regularised = Ridge(objective, 0.1)
    answer = rp.htp(regularised, 12, start, max_iter=30)
    certify(regularised, answer, 12, start, tol=1e-7)
    assert answer.objective < regularised.value(top(start, 12))


class Ridge:
    """An objective plus ``ridge |w|^2 / 2``, so that it has minima on supports."""

    def __init__(self, objective, ridge):
        self.objective, self.ridge = objective, ridge

    def value(self, w):
        return self.objective.value(w) + self.ridge * (w @ w) / 2

    def gradient(self, w):
        return self.objective.gradient(w) + self.ridge * w

    def hvp(self, w, v):
        return self.objective.hvp(w, v) + self.ridge * v

    def hessian(self, w):
        return self.objective.hessian(w) + self.ridge * np.eye(len(w))


def test_an_orthonormal_design_needs_one_solve():
    Q, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(9, 9)))
    answer = rp.htp(rp.LeastSquares(Q, np.arange(1.0, 10.0)), 3)
    assert_allclose(answer.weight, top(Q.T @ np.arange(1.0, 10.0), 3), rtol=1e-13, atol=1e-14)
    assert len(answer.trace) == 2


def test_convolutions_are_solved_group_by_group():
    rng = np.random.default_rng(8)
    convolution = rp.LayerProblem(rng.normal(size=(4, 2, 1, 2)), np.stack([spd(rng, 4), spd(rng, 4)]))
    answer = rp.htp(convolution, 7)
    assert answer.weight.shape == answer.mask.shape == (4, 2, 1, 2)
    certify(convolution, answer, 7, convolution.weight.ravel(), tol=1e-11, step=answer.trace[-1].step)


def test_supports_that_cannot_be_solved_are_errors():
    A = np.random.default_rng(14).normal(size=(3, 6))
    with pytest.raises(
        np.linalg.LinAlgError, match="need at least as many samples as kept weights to solve on; got 3 for 5"
    ):
        rp.htp(rp.LeastSquares(A, np.ones(3)), 5)
    twins = rp.LeastSquares(np.column_stack([A[:, 0], A[:, 0]]), np.ones(3))
    with pytest.raises(np.linalg.LinAlgError, match="need kept columns of design that are independent"):
        rp.htp(twins, 2)
    with pytest.raises(np.linalg.LinAlgError, match="need a positive definite hessian") as caught:
        rp.htp(rp.Quadratic(np.ones((3, 3)), np.arange(3.0), np.ones(3)), 2)
    assert "damp" not in str(caught.value)
    with pytest.raises(np.linalg.LinAlgError, match="got a negative diagonal entry"):
        rp.htp(rp.Quadratic(np.array([1.0, -1.0]), np.ones(2)), 1)
    with pytest.raises(
        np.linalg.LinAlgError, match="need a minimum on the support that Newton's method finds"
    ):
        rp.htp(Saddle(), 2, np.ones(2), step=0.1)


class Saddle:
    """``w_0^2 - w_1^2`` has no minimum."""

    def value(self, w):
        return w[0] ** 2 - w[1] ** 2

    def gradient(self, w):
        return np.array([2 * w[0], -2 * w[1]])

    def hvp(self, w, v):
        return np.array([2 * v[0], -2 * v[1]])

    def hessian(self, w):
        return np.diag([2.0, -2.0])


def test_without_iterations_nothing_is_solved():
    """Two rows are too few for a solve on four weights; a start that needs none is said to be one."""
    problem = rp.LeastSquares(np.ones((2, 5)) + np.eye(2, 5), np.ones(2))
    answer = rp.htp(problem, 4, max_iter=0)
    assert not answer.weight.any()
    assert [(point.reason, point.changed) for point in answer.trace] == [("max_iter", 0)]
    with pytest.raises(np.linalg.LinAlgError, match="as many samples as kept weights"):
        rp.htp(problem, 4, max_iter=1)
    A, signal = planted(30, 24, 32, 2)
    problem, _, _ = noisy(89)
    assert len(rp.htp(problem, 4).trace) > 3
    assert [point.reason for point in rp.htp(problem, 4, max_iter=2).trace] == ["", "", "max_iter"]
    for least, reason in ((0, "max_iter"), (1, "converged")):
        assert rp.htp(rp.LeastSquares(A, A @ signal), 2, signal, max_iter=least).trace[-1].reason == reason


def test_too_few_iterations_give_the_best_point():
    problem, keep = unsettled(3)
    for most in range(4):
        answer = rp.htp(problem, keep, step=1.0, max_iter=most)
        assert answer.trace[-1].value == answer.objective == min(point.value for point in answer.trace)
        assert (
            len(answer.trace) <= most + 2
        )  # the start, the iterations, and the best point where it is another
    assert rp.htp(problem, keep, max_iter=0).trace[-1].reason == "max_iter"


# --- known mistakes -----------------------------------------------------------------------------------------------


def loop(problem, keep, start, mistake=None):
    """HTP with step 1/L, until nothing changes or 50 times, with one `mistake`."""
    w, L = top(start, keep), largest(problem)
    kept = w != 0
    for _ in range(50):
        moved = w - problem.gradient(w) / L
        last, kept = kept, top(moved, keep) != 0
        solved = last if mistake == "least squares on the last set" else kept
        if mistake == "least squares left out":
            w = np.where(kept, moved, 0)
            break
        if mistake == "the selected entries of the full solution":
            w = np.where(kept, np.linalg.lstsq(problem.design, problem.target)[0], 0)
        else:
            w = np.zeros_like(w)
            w[solved] = np.linalg.lstsq(problem.design[:, solved], problem.target)[0]
        if mistake == "least squares on the last set":
            break
    mask = kept | (w != 0) if mistake == "the union of both sets" else kept
    if mistake == "the union of both sets":
        mask = mask | (np.arange(len(w)) == np.flatnonzero(~mask)[0])
    if mistake == "the gradient alone chooses":
        mask = top(problem.gradient(top(start, keep)), keep) != 0
        w = np.zeros_like(w)
        w[mask] = np.linalg.lstsq(problem.design[:, mask], problem.target)[0]
    return rp.Pruned(w, mask, float(problem.value(w)))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("least squares on the last set", "a pruned weight is not 0"),
        ("least squares left out", "the gradient on the support is not 0"),
        (
            "the selected entries of the full solution",
            "the gradient on the support is not 0|above the k largest",
        ),
        ("the union of both sets", "not exactly k are kept"),
        ("the gradient alone chooses", "a weight off the support wants in"),
    ],
)
def test_known_mistakes_fail_by_their_own_message(mistake, message):
    rng = np.random.default_rng(17)
    A = rng.normal(size=(40, 24)) @ (np.eye(24) + 0.4 * rng.normal(size=(24, 24)))
    problem, start = (
        rp.LeastSquares(A, A @ top(rng.normal(size=24), 8) + rng.normal(size=40)),
        rng.normal(size=24),
    )
    certify(problem, loop(problem, 6, start), 6, start, step=1 / largest(problem))
    with pytest.raises(AssertionError, match=message):
        certify(problem, loop(problem, 6, start, mistake), 6, start, step=1 / largest(problem))
