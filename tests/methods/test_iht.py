"""IHT: its definition, certificates, monotone facts, recovery, exact cases, errors of its own."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.methods.hard_thresholding import view
from refprune.methods.lipschitz import lipschitz
from tests.methods import convex
from tests.methods.problems import fractions, spd, with_dead
from tests.methods.recovery import certify, largest, noisy, planted, top


@pytest.mark.parametrize("rule", ["normalized", 0.5])
def test_every_point_is_that_of_the_definition(rule):
    """Of 60 problems, after 0 to 6 steps. Rounding grows with the steps, by a factor |1 - t H| <= cond each."""
    for seed in range(60):
        problem, keep, rng = noisy(seed)
        start = rng.normal(size=problem.design.shape[1])
        step = rule if rule == "normalized" else rule / largest(problem)
        points = definitions.iht(problem, keep, start, 6, step)
        for t in range(len(points)):
            answer = rp.iht(problem, keep, start, step, max_iter=t, tol=0)
            assert_allclose(answer.weight, points[t], rtol=0, atol=1e-9 * np.abs(points[0]).max(initial=1))
            assert len(answer.trace) == t + 1 or answer.trace[-1].reason in ("converged", "stagnated")


def test_the_definition_is_exact_on_fractions():
    rng = np.random.default_rng(5)
    A, y = rng.integers(-3, 4, size=(5, 4)).astype(float), rng.integers(-3, 4, size=5).astype(float)
    for step in ("normalized", 0.125):
        exact = definitions.iht(
            rp.LeastSquares(fractions(A), fractions(y)), 2, fractions(np.zeros(4)), 3,
            fractions([step])[0] if step != "normalized" else step,
        )  # fmt: skip
        floats = definitions.iht(rp.LeastSquares(A, y), 2, np.zeros(4), 3, step)
        for e, f in zip(exact, floats, strict=True):
            assert_allclose(e.astype(float), f, rtol=1e-13, atol=1e-14)
    assert definitions.iht_step(fractions([1, 2]), fractions([4, 0]), fractions([0.5])[0], 1).tolist() == [
        0,
        2,
    ]


@pytest.mark.parametrize(("samples", "d", "keep"), [(30, 200, 6), (40, 24, 12), (60, 40, 40)])
def test_wide_designs_and_updated_residuals_give_the_points_of_the_definition(samples, d, keep):
    """Few columns of many, many of few, and all; the points are compared after 0 to 25 steps.

    Rounding grows with the steps, by a factor |1 - t H| each; nearly equal designs give no other supports here.
    """
    for seed in range(6):
        A, signal = planted(seed, samples, d, max(keep // 2, 1))
        y = A @ signal + 0.05 * np.random.default_rng(seed).normal(size=samples)
        problem, start = rp.LeastSquares(3 * A, y), np.random.default_rng(seed).normal(size=d)
        for rule in ("normalized", 0.5 / largest(problem)):
            points = definitions.iht(problem, keep, start, 25, rule)
            long = rp.iht(problem, keep, start, rule, max_iter=25, tol=0)
            for t in (0, 1, 2, 5, 9, 10, 16, 25):
                answer = rp.iht(problem, keep, start, rule, max_iter=t, tol=0)
                assert_allclose(answer.weight, points[t], rtol=0, atol=1e-10 * np.abs(points[0]).max())
                # of an updated residual: some ten roundings of numbers like y and A w_0
                size = problem.value(points[0]) + y @ y
                assert_allclose(long.trace[t].value, problem.value(points[t]), rtol=1e-10, atol=1e-15 * size)


def test_few_columns_are_held():
    """Up to 10 of 160; the numbers are whole, so the images are exact."""
    A = np.random.default_rng(0).integers(-9, 10, size=(7, 160)).astype(float)
    seen = view(rp.LeastSquares(A, np.ones(7)), 3, None)
    for used, held in (
        ([], []),
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([8, 3, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7, 8]),  # together they are few
        ([8, 1], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (range(20, 31), [0, 1, 2, 3, 4, 5, 6, 7, 8]),  # too many: a product with the design
        ([5, 40, 41], [5, 40, 41]),
        ([], [5, 40, 41]),
    ):
        v = np.zeros(160)
        v[list(used)] = np.arange(1, len(used) + 1)
        assert_array_equal(seen.image(v), A @ v)
        assert_array_equal(seen.held[0], held)
        assert_array_equal(seen.held[1], A[:, held])


@pytest.mark.parametrize("rule", ["normalized", "lipschitz"])
def test_answers_are_stationary_and_values_never_rise(rule):
    converged = 0
    for seed in range(24):
        problem, keep, rng = noisy(1000 + seed)
        start, L = rng.normal(size=problem.design.shape[1]), largest(problem)
        answer = rp.iht(problem, keep, start, rule, max_iter=400)
        values = [point.value for point in answer.trace]
        slack = 1e-13 * max(values)  # rounding of the residual's square
        assert np.all(np.diff(values) <= slack)
        last = answer.trace[-1]
        if last.reason == "converged":
            converged += 1
            certify(problem, answer, keep, start, step=last.step)
            # a rejected step is above (1 - 0.01) / L, and halved once
            assert keep == 0 or last.step == 0 or last.step >= (1 - 1e-9) * 0.99 / (2 * L)
            if rule == "lipschitz" and last.step:
                assert_allclose(last.step, 1 / L, rtol=1e-12)
    assert converged >= 10  # the rest are so ill-conditioned that 400 gradient steps are too few


def test_the_certificate_in_the_trace_is_the_one_that_can_be_computed_outside():
    for seed in range(40):
        problem, keep, rng = noisy(2000 + seed)
        answer = rp.iht(problem, keep, rng.normal(size=problem.design.shape[1]), max_iter=50)
        g, last = problem.gradient(answer.weight), answer.trace[-1]
        assert last.value == answer.objective
        assert_allclose(last.inside, np.linalg.norm(g[answer.mask]), rtol=1e-12)
        outside = np.abs(g[~answer.mask]).max(initial=0)
        least = np.abs(answer.weight[answer.mask]).min(initial=np.inf)
        assert_allclose(last.level, outside / least if outside else 0, rtol=1e-12)


def test_planted_signals_are_recovered():
    """Step 1/L, beside it, stops at other fixed points far more often."""
    found = {"normalized": 0, "lipschitz": 0}
    for seed in range(100):
        A, signal = planted(seed)
        problem = rp.LeastSquares(A, A @ signal)
        for rule in found:
            if rule == "lipschitz" and seed >= 12:
                continue
            answer = rp.iht(problem, 10, step=rule)
            assert answer.trace[-1].reason == "converged"
            found[rule] += np.linalg.norm(answer.weight - signal) <= 1e-6 * np.linalg.norm(signal)
    assert found["normalized"] >= 99
    assert 5 <= found["lipschitz"] <= 11  # of 12


def published(seed, scale, steps):
    """The distance after `steps` of the published synthetic experiment."""
    rng = np.random.default_rng(seed)
    A, signal = planted(seed, 256, 128, 16)
    start = rng.choice([-1.0, 1.0], size=128) / 128**0.5
    answer = rp.iht(rp.LeastSquares(A, A @ signal), 64, start, "lipschitz", steps, tol=0, loss_scale=scale)
    return np.linalg.norm(answer.weight - signal)


def test_the_published_curve_and_what_the_right_scale_makes_of_it():
    """Published: 1.14 +- 0.26 after 749 steps, with a gradient 2/n times too short."""
    distances = [published(seed, "mse-mean", 749) for seed in range(4)]
    assert 0.64 <= np.mean(distances) <= 1.64
    assert published(0, 2 / 256, 749) == distances[0]
    assert published(0, None, 749) < 1e-6


def test_the_published_rate_of_step_one_over_l():
    """Strongly convex f, k >= k*: the factor (1 + sqrt((d - k) / (d - k*))) (1 - mu / L) for each step."""
    for seed in range(300):
        objective, best, few, rng = convex.planted(seed)
        d = len(best)
        keep = int(rng.integers(few, d + 1))
        factor = (1 + np.sqrt((d - keep) / (d - few))) * (1 - objective.mu / objective.L)
        points = definitions.iht(objective, keep, best + rng.normal(size=d), 4, 1 / objective.L)
        errors = [np.linalg.norm(w - best) for w in points]
        for before, after in pairwise(errors):
            assert after <= factor * before + 1e-12


@pytest.mark.parametrize("rule", ["normalized", "lipschitz"])
def test_objectives_that_are_not_quadratic(rule):
    for seed in range(40):
        objective, best, few, rng = convex.planted(seed)
        d = len(best)
        keep, start = int(rng.integers(few, d + 1)), best + rng.normal(size=d)
        answer = rp.iht(objective, keep, start, rule)
        values = [point.value for point in answer.trace]
        assert np.all(np.diff(values) <= 1e-12 * max(map(abs, values)))
        if answer.trace[-1].reason == "converged":
            certify(objective, answer, keep, start, step=answer.trace[-1].step)
        if keep == d:
            assert_allclose(answer.weight, best, atol=1e-6 * np.abs(best).max())


def test_one_over_l_is_taken_from_the_largest_eigenvalue():
    """By power iteration where the Hessian is no constant: it ends at a residual of 1 %, or after 100 products."""
    for seed in range(40):
        objective, best, _, rng = convex.planted(seed)
        w = best + rng.normal(size=len(best))
        L = np.linalg.eigvalsh(objective.hessian(w))[-1]
        assert 0.97 * L <= lipschitz(objective, w) <= 1.02 * L
    H = spd(rng, 6)
    for problem in (
        rp.Quadratic(H, np.ones(6)),
        rp.LayerProblem(np.ones((2, 6)), H),
        rp.Quadratic(np.diag(H).copy(), np.ones(6)),
    ):
        step = rp.iht(problem, 3, None, "lipschitz", max_iter=0).trace[0].step
        assert_allclose(step, 1 / np.linalg.eigvalsh(problem.hessian(None))[-1], rtol=1e-12)


def test_a_network_gets_better_with_the_same_number_of_weights():
    rng = np.random.default_rng(3)
    network, x = rp.mlp([4, 6, 2], activation="tanh"), rng.normal(size=(40, 4)) + 0.5
    teacher = network.init(rng)
    objective = rp.NetworkLoss(network, x, network.forward(teacher, x), loss="squared")
    w = network.flatten(teacher)
    for rule in ("normalized", "lipschitz"):
        answer = rp.iht(objective, 20, w, rule, max_iter=60)
        values = [point.value for point in answer.trace]
        assert np.all(np.diff(values) <= 0)
        assert answer.objective < 0.5 * objective.value(top(w, 20))
    with pytest.raises(ValueError, match="need start"):
        rp.iht(objective, 20)


def test_an_orthonormal_design_needs_one_step():
    Q, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(9, 9)))
    y = np.arange(1.0, 10.0)
    for rule in ("normalized", "lipschitz", 1.0):
        answer = rp.iht(rp.LeastSquares(Q, y), 3, np.zeros(9), rule)
        assert_allclose(answer.weight, top(Q.T @ y, 3), rtol=1e-9, atol=1e-9)
        assert len(answer.trace) <= 5


def test_a_start_that_is_optimal_comes_back_bit_for_bit():
    A, signal = planted(8, 32, 40, 4)
    problem = rp.LeastSquares(A, A @ signal)
    for rule in ("normalized", "lipschitz", 0.25):
        answer = rp.iht(problem, 4, signal, rule)
        assert_array_equal(answer.weight, signal)
        assert len(answer.trace) == 1
    layer = rp.LayerProblem(np.array([[1.0, 0.0], [0.0, 2.0]]), spd(np.random.default_rng(9), 2))
    assert_array_equal(rp.iht(layer, 2).weight, layer.weight)


@pytest.mark.parametrize(
    "problem",
    [
        rp.Quadratic(np.array([4.0, 1.0]), np.array([1.0, 3.0])),
        rp.LeastSquares(np.diag([2.0, 1.0]), np.array([2.0, 3.0])),
    ],
    ids=["quadratic", "least squares"],
)
def test_the_search_goes_along_the_largest_gradients_where_the_support_has_none(problem):
    """From (1, 0) with H = diag(4, 1) and the minimum (1, 3): t = 1 is halved, 1/L = 1/4 would stay."""
    answer = rp.iht(problem, 1, np.array([1.0, 0.0]))
    assert (answer.trace[0].step, answer.trace[0].changed, answer.trace[0].inside) == (0.5, 1, 0.0)
    assert answer.trace[0].level == 3.0
    assert answer.trace[1].value == 3.125  # at (0, 1.5)
    assert_allclose(answer.weight, [0, 3], rtol=0, atol=1e-8)  # `tol` of the first gradient


def test_a_gradient_that_rounding_alone_keeps_from_0_holds_nothing_up():
    """After one step from 0 the first weight is 1/3, rounded, and its gradient is no exact 0."""
    problem = rp.Quadratic(np.array([[9.0, 3.0], [3.0, 2.0]]), np.array([0.0, 1.0]))
    answer = rp.iht(problem, 1, np.zeros(2))
    assert answer.trace[1].inside <= 1e-15
    assert_allclose(
        [point.step for point in answer.trace[:2]], [1 / 9, 1 / 2], rtol=1e-12
    )  # then along (0, 1)
    assert_allclose(answer.weight, [0, 1], rtol=0, atol=1e-9)
    assert rp.iht(problem, 1, np.zeros(2), "lipschitz").mask.tolist() == [True, False]


def test_the_lowest_index_goes_first_among_equals():
    problem = rp.Quadratic(np.ones(5), np.array([1.0, -1.0, 1.0, -1.0, 1.0]))
    assert rp.iht(problem, 2).mask.tolist() == [False, False, False, True, True]


def mild(rng, d):
    """The Gram of 8 d shifted samples: a condition that gradient steps can live with."""
    X = rng.normal(size=(8 * d, d)) + 0.25
    return X.T @ X / len(X)


def test_dead_weights_go_first():
    rng = np.random.default_rng(10)
    G = with_dead(mild(rng, 5), [1, 4])
    W = rng.normal(size=(2, 7))
    W[:, [1, 4]] = 9.0  # the largest of all
    layer = rp.LayerProblem(W, G)
    answer = rp.iht(layer, 6)
    assert not answer.mask[:, [1, 4]].any()
    certify(layer, answer, 6, np.where([True, False] + [True] * 2 + [False] + [True] * 2, W, 0).ravel())
    design = np.array([[1.0, 0.0, 2.0], [1.0, 0.0, -1.0]])
    assert rp.iht(rp.LeastSquares(design, np.ones(2)), 2).mask.tolist() == [True, False, True]


def test_convolutions_keep_their_shape_and_their_groups():
    rng = np.random.default_rng(11)
    W, grams = rng.normal(size=(4, 2, 1, 3)), np.stack([mild(rng, 6), mild(rng, 6)])
    layer = rp.LayerProblem(W, grams)
    answer = rp.iht(layer, 10)
    assert answer.weight.shape == answer.mask.shape == W.shape
    certify(layer, answer, 10, W.ravel(), step=answer.trace[-1].step)
    assert_array_equal(rp.iht(layer, 10, W).weight, rp.iht(layer, 10, W.ravel()).weight)


def test_a_step_that_is_too_long_is_an_error_once_it_is_out_of_range():
    """And no warning; of a wide design the products read few columns."""
    problem, _, _ = noisy(14)
    d = problem.design.shape[1]
    wide = rp.LeastSquares(np.tile(problem.design, (1, 40)), problem.target)
    model = rp.Quadratic(problem.hessian(np.zeros(d)), np.zeros(d))
    for objective, size in ((problem, d), (wide, 40 * d), (model, d)):
        with pytest.raises(np.linalg.LinAlgError, match="is a step too long"):
            rp.iht(objective, 2, np.ones(size), step=1e6)


def test_a_loss_without_curvature_has_no_minimum():
    with pytest.raises(np.linalg.LinAlgError, match="need a value and a gradient in the range of float64"):
        rp.iht(rp.Quadratic(np.array([1.0, -1.0, 2.0]), np.ones(3), np.full(3, 0.1)), 2)
    flat = rp.Quadratic(np.zeros(3), np.ones(3), np.array([0.0, 1.0, 0.0]))
    with pytest.raises(np.linalg.LinAlgError, match="need gradient 0 where the Hessian has a zero diagonal"):
        rp.iht(flat, 2)
    with pytest.raises(np.linalg.LinAlgError, match="need a Hessian with a largest eigenvalue"):
        rp.iht(Linear(), 2, np.ones(3))


class Linear:
    """The objective ``w[0]``, which has no minimum."""

    def value(self, w):
        return w[0]

    def gradient(self, w):
        return np.array([1.0, 0.0, 0.0])

    def hvp(self, w, v):
        return 0 * v

    def hessian(self, w):
        return np.zeros((3, 3))


def test_errors_of_loss_scale():
    problem = rp.LeastSquares(np.eye(3), np.ones(3))
    with pytest.raises(ValueError, match="need step 'lipschitz' with loss_scale"):
        rp.iht(problem, 2, loss_scale="mse-mean")
    with pytest.raises(ValueError, match="need loss_scale"):
        rp.iht(problem, 2, step="lipschitz", loss_scale="sum")


# --- known mistakes -----------------------------------------------------------------------------------------------


def by_value(v, keep):
    """T_k of the signed values."""
    kept = np.argsort(v, kind="stable")[len(v) - keep :]
    return np.where(np.isin(np.arange(len(v)), kept), v, 0)


def one_too_many(v, keep):
    """A threshold by >= the k-th value of those below."""
    return top(v, min(keep + 1, len(v)))


def loop(problem, keep, start, choose=top, length=1.0, inside=True):
    """IHT with step `length` / L and `choose` for T_k; `inside` False moves only what is off the support."""
    w, L = choose(start, keep), largest(problem)
    for _ in range(400):
        g = problem.gradient(w)
        w = choose(w - length / L * (g if inside else np.where(w != 0, 0, g)), keep)
    return rp.Pruned(w, np.abs(w) > 0, float(problem.value(w)))


MISTAKES = {
    "threshold by value": ({"choose": by_value}, "a weight off the support wants in"),
    "one weight too many": ({"choose": one_too_many}, "not exactly k"),
    "a step too long": ({"length": 6.0}, "above the k largest"),
    "uphill": ({"length": -0.01}, "above the k largest"),
    "only new weights move": ({"inside": False}, "the gradient on the support is not 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_known_mistakes_fail_by_their_own_message(name):
    changes, message = MISTAKES[name]
    A, signal = planted(16, 48, 64, 5)
    signal = -np.abs(signal) if name == "threshold by value" else signal
    problem, start = rp.LeastSquares(A * 3, A @ signal), np.linspace(1, 2, 64)
    right = loop(problem, 5, start)
    certify(problem, right, 5, start, step=1 / largest(problem))
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(AssertionError, match=message):
        certify(problem, loop(problem, 5, start, **changes), 5, start, step=1 / largest(problem))
