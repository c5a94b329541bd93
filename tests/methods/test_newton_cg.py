"""Newton-CG against its definition, SciPy and exact solves; what a trace says; mini-batches, units and errors."""

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions import finite_differences
from tests.methods.newton_checks import EPS, MASK, Scaled, Uphill, logistic, quadratic
from tests.methods.problems import fractions, spd, with_dead

EXACT = {"cg_rtol": 1e-13, "tol": 0.0}


def read(f, mask, start, answer):
    """Hold a full-batch trace to what it says: the points are those of shorter runs."""
    assert_array_equal(answer.weight[~mask], 0)
    assert answer.objective == float(f.value(answer.weight))
    w = np.where(mask, start, 0)
    for step in answer.trace:
        assert step.value == float(f.value(w))
        g = f.gradient(w)[mask]
        assert_allclose(step.gradient, np.linalg.norm(g), rtol=1e-13)
        if step.step:
            new = rp.newton_cg(f, mask, w, max_iter=1, tol=0.0, cg_rtol=1e-13).weight
            # Armijo's rule along the whole way: new = w + t s; the sums differ by their rounding
            slope = g @ (new - w)[mask]
            assert f.value(new) <= step.value + 1e-5 * slope + 8 * EPS * step.value
            assert step.reason == ""
            assert step.iterations > 0
            w = new
    assert_array_equal(answer.weight, w)
    values = [step.value for step in answer.trace]
    assert all(np.diff(values) < 0)
    assert [bool(step.reason) for step in answer.trace] == [False] * (len(values) - 1) + [True]


@pytest.mark.parametrize("seed", range(10))
def test_a_smooth_objective_as_in_the_definition(seed):
    """Damped, so that every matrix is definite; both solve to rounding."""
    f, start, mask = logistic(seed=seed)
    points = definitions.newton_cg(f, mask, start, 4, damp=0.5)
    answer = rp.newton_cg(f, mask, start, damp=0.5, max_iter=4, **EXACT)
    assert_allclose(answer.weight, points[-1], rtol=0, atol=1e-10 * np.abs(points[-1]).max())
    assert [step.reason for step in answer.trace] == ["", "", "", "", "max_iter"]
    assert_allclose([step.value for step in answer.trace], [f.value(p) for p in points], rtol=1e-9)


def test_a_trace():
    """Logistic regression: convex."""
    rng = np.random.default_rng(312)
    network, x = rp.Network([rp.Dense(6, 3)]), rng.normal(size=(80, 6)) + 0.5
    f = rp.NetworkLoss(network, x, rng.integers(0, 3, size=80))
    mask = rng.random(21) < 0.6
    start = rng.normal(size=21)
    answer = rp.newton_cg(f, mask, start, tol=1e-7, cg_rtol=1e-13)
    read(f, mask, start, answer)
    assert answer.trace[-1].reason == "converged"
    assert answer.trace[-1].gradient <= 1e-7 * answer.trace[0].gradient
    assert 3 <= len(answer.trace) <= 15


def test_scipy_finds_the_same_minimum():
    rng = np.random.default_rng(313)
    network, x = rp.Network([rp.Dense(5, 2, bias=False)]), rng.normal(size=(60, 5)) + 0.5
    f = rp.NetworkLoss(network, x, (x[:, 0] + rng.normal(size=60) > 0).astype(int))
    mask = np.array([1, 0, 1, 1, 0, 0, 0, 1, 0, 0], dtype=bool)
    answer = rp.newton_cg(f, mask, np.zeros(10), tol=1e-9)

    def spread(v):
        w = np.zeros(10)
        w[mask] = v
        return w

    def gradient(v):
        return finite_differences.gradient(lambda u: f.value(spread(u)), v)

    # The two classes act by their difference, and no input keeps both its weights but one: look at the others.
    found = scipy.optimize.minimize(
        lambda v: f.value(spread(v)), np.zeros(4), jac=gradient, method="BFGS", tol=1e-7
    )
    assert_allclose(answer.weight[mask][[0, 1, 2]], found.x[[0, 1, 2]], atol=1e-4)
    assert answer.objective <= found.fun + 1e-12


def test_quadratics_are_solved_in_one_step():
    _, f, start = quadratic()
    answer = rp.newton_cg(f, MASK, start, cg_rtol=1e-13)
    assert_allclose(answer.weight, rp.optimal_weights(f, MASK).weight, rtol=1e-8)
    read(f, MASK, start, answer)
    assert len(answer.trace) == 2
    rng = np.random.default_rng(314)
    A, y = rng.normal(size=(20, 7)), rng.normal(size=20)
    found = rp.newton_cg(rp.LeastSquares(A, y), MASK, cg_rtol=1e-13).weight
    assert_allclose(found[MASK], np.linalg.lstsq(A[:, MASK], y, rcond=None)[0], rtol=1e-10)


def test_a_layer_whose_dead_inputs_keep_their_weights():
    rng = np.random.default_rng(315)
    layer = rp.LayerProblem(rng.normal(size=(3, 7)) + 0.5, with_dead(spd(rng, 6), [2]))
    mask = rng.random((3, 7)) < 0.7
    mask[:, 2] = [True, True, False]
    answer = rp.newton_cg(layer, mask, cg_rtol=1e-13)
    best = rp.optimal_weights(layer, mask)
    assert answer.weight.shape == answer.mask.shape == (3, 7)
    assert_array_equal(answer.weight[:2, 2], layer.weight[:2, 2])
    assert_allclose(answer.weight, best.weight, rtol=0, atol=1e-9)
    flat = rp.newton_cg(layer, mask.ravel(), layer.weight.ravel() + 0, cg_rtol=1e-13)
    assert_array_equal(flat.weight, answer.weight)


def test_the_exact_ends():
    _, f, start = quadratic()
    nothing = rp.newton_cg(f, MASK & False, start)
    assert_array_equal(nothing.weight, np.zeros(7))
    assert nothing.trace[0][1:] == (0.0, 0, "", 0.0, "converged")
    here = rp.newton_cg(f, MASK, start, max_iter=0)
    assert_array_equal(here.weight, np.where(MASK, start, 0))
    assert here.trace[0].reason == "max_iter"
    done = rp.newton_cg(f, MASK | True, f.weight)  # b = 0
    assert_array_equal(done.weight, f.weight)
    assert done.trace == ((0.0, 0.0, 0, "", 0.0, "converged"),)


def test_negative_curvature_is_told():
    saddle = rp.Quadratic(np.diag([1.0, -2.0]), np.zeros(2))
    both = np.array([True, True])
    at_once = rp.newton_cg(saddle, both, np.array([1.0, 1.0]))
    assert_array_equal(at_once.weight, [1.0, 1.0])
    assert at_once.trace[0].reason == at_once.trace[0].solve == "negative_curvature"
    assert at_once.trace[0].iterations == 0
    later = rp.newton_cg(saddle, both, np.array([2.0, 0.5]), max_iter=1)
    assert later.trace[0][2:] == (1, "negative_curvature", 1.0, "")
    assert later.objective < saddle.value(np.array([2.0, 0.5]))
    damped = rp.newton_cg(saddle, both, np.array([1.0, 1.0]), damp=3.0, max_iter=1)
    assert damped.trace[0].solve == "converged"
    assert damped.objective < saddle.value(np.array([1.0, 1.0]))


def test_a_failed_search_keeps_the_point():
    _, f, start = quadratic()
    answer = rp.newton_cg(Uphill(f), MASK, start)
    assert_array_equal(answer.weight, np.where(MASK, start, 0))
    assert answer.trace[0].reason == "line_search"
    assert len(answer.trace) == 1
    # at a minimum whose value is not 0 a step is lost in the rounding of the value, and that is told apart
    best = rp.newton_cg(f, MASK, start, cg_rtol=1e-13)
    again = rp.newton_cg(f, MASK, best.weight, tol=0.0)
    assert again.trace[-1].reason == "stagnated"
    assert again.objective <= best.objective


def test_the_step_is_the_first_that_armijo_lets_pass():
    """``|v| + v^2 / 200`` from 1: 38 times shorter, as in the definition."""
    wall = WALL()
    answer = rp.newton_cg(wall, np.array([True]), np.array([1.0]), max_iter=1)
    assert_allclose(answer.trace[0].step, 0.9**38, rtol=1e-14)
    points = definitions.newton_cg(wall, np.array([True]), np.array([1.0]), 1)
    assert_allclose(answer.weight, points[1], rtol=1e-12)


class WALL:
    def value(self, w):
        return np.abs(w[0]) + w[0] ** 2 / 200

    def gradient(self, w):
        return np.sign(w) + w / 100

    def hvp(self, w, v):
        return v / 100

    def hessian(self, w):
        return np.eye(1) / 100


def test_gauss_newton_is_asked_for_by_name():
    f, start, mask = logistic()
    w = np.where(mask, start, 0)
    Z = np.flatnonzero(mask)
    answer = rp.newton_cg(f, mask, start, curvature="gauss-newton", damp=0.25, max_iter=1, **EXACT)
    J = f.network.gauss_newton(f.network.unflatten(w), f.inputs, f.targets)[np.ix_(Z, Z)]
    s = np.linalg.solve(J + 0.25 * np.eye(len(Z)), -f.gradient(w)[Z])
    assert_allclose((answer.weight - w)[Z], answer.trace[0].step * s, rtol=0, atol=1e-11)


def test_units_change_nothing():
    """Powers of two in the loss: every point bit for bit; and the scale of a weight is its own."""
    f, start, mask = logistic(seed=5)
    plain = rp.newton_cg(f, mask, start, damp=0.5, max_iter=5)
    small = rp.newton_cg(Scaled(f, 2.0**-30), mask, start, damp=0.5 * 2.0**-30, max_iter=5)
    assert_array_equal(plain.weight, small.weight)
    assert [step[2:] for step in plain.trace] == [step[2:] for step in small.trace]
    H, q, start = quadratic()
    order = np.random.default_rng(3).permutation(7)
    turned = rp.Quadratic(H[np.ix_(order, order)], q.weight[order])
    assert_allclose(
        rp.newton_cg(turned, MASK[order], start[order], cg_rtol=1e-13).weight,
        rp.newton_cg(q, MASK, start, cg_rtol=1e-13).weight[order],
        rtol=1e-8,
    )


def test_an_absolute_tolerance_ends_the_solve_too():
    _, f, start = quadratic()
    g = np.linalg.norm(f.gradient(np.where(MASK, start, 0))[MASK])
    loose = rp.newton_cg(f, MASK, start, max_iter=1, cg_atol=2 * g)
    assert loose.trace[0][2:] == (0, "converged", 0.0, "converged")
    assert rp.newton_cg(f, MASK, start, max_iter=1, cg_rtol=0.0, cg_atol=g / 10).trace[0].iterations > 0
    few = rp.newton_cg(f, MASK, start, max_iter=1, cg_max_iter=2, cg_rtol=1e-12)
    assert few.trace[0][2:4] == (2, "max_iter")
    assert few.objective < f.value(np.where(MASK, start, 0))


def test_mini_batches():
    """Every step has one objective for everything; the trace ends with the whole one."""
    rng = np.random.default_rng(316)
    network, x = rp.Network([rp.Dense(6, 2, bias=False)]), rng.normal(size=(300, 6)) + 0.25
    labels = (x[:, 1] > 0.3).astype(int)
    f, mask, drawn = rp.NetworkLoss(network, x, labels), np.arange(12) % 5 != 3, []

    def sample(rng):
        rows = rng.choice(300, 50, replace=False)
        drawn.append(rp.NetworkLoss(network, x[rows], labels[rows]))
        return drawn[-1]

    options = {"sample": sample, "max_iter": 5, "damp": 0.1}
    answer = rp.newton_cg(f, mask, np.zeros(12), rng=np.random.default_rng(1), **options)
    assert (len(drawn), len(answer.trace)) == (5, 6)
    assert answer.trace[-1].value == answer.objective == f.value(answer.weight)
    assert answer.trace[-1].reason == "max_iter"
    assert answer.objective < 0.6 * f.value(np.zeros(12))
    w = np.zeros(12)
    for batch, step in zip(list(drawn), answer.trace, strict=False):
        assert step.value == batch.value(w)
        w = rp.newton_cg(batch, mask, w, max_iter=1, tol=0.0, damp=0.1).weight
        assert batch.value(w) < step.value
    assert_array_equal(answer.weight, w)
    again = rp.newton_cg(f, mask, np.zeros(12), rng=np.random.default_rng(1), **options)
    assert_array_equal(again.weight, answer.weight)


def test_a_batch_where_the_search_fails_costs_a_step_only():
    _, f, start = quadratic()
    given = iter([Uphill(f), f])
    answer = rp.newton_cg(
        f,
        MASK,
        start,
        max_iter=2,
        sample=lambda rng: next(given),
        rng=np.random.default_rng(0),
        cg_rtol=1e-13,
    )
    assert [step.reason for step in answer.trace] == ["line_search", "", "max_iter"]
    assert_allclose(answer.weight, rp.optimal_weights(f, MASK).weight, rtol=1e-8)


def test_narrow_weights_and_inputs_that_stay():
    _, f, start = quadratic()
    start = start.astype("float16")
    start.flags.writeable = False
    answer = rp.newton_cg(f, MASK, start)
    assert answer.weight.dtype == "float16"
    wide = rp.newton_cg(f, MASK, start.astype("float32")).weight
    assert_array_equal(answer.weight, wide.astype("float16"))
    assert answer.objective == f.value(answer.weight)
    kept = rp.newton_cg(f, MASK | True, f.weight)
    assert not np.shares_memory(kept.weight, f.weight)
    assert not np.shares_memory(kept.mask, MASK)


ERRORS = {
    "need curvature to be one of hessian, gauss-newton; got 'fisher'": (ValueError, {"curvature": "fisher"}),
    "need objective with gauss_newton_product; got Quadratic": (TypeError, {"curvature": "gauss-newton"}),
    r"need damp >= 0 and finite; got -1": (ValueError, {"damp": -1}),
    r"need tol >= 0 and finite; got nan": (ValueError, {"tol": np.nan}),
    r"need cg_rtol >= 0": (ValueError, {"cg_rtol": -1}),
    r"need cg_atol to be a real number": (TypeError, {"cg_atol": "a"}),
    r"need cg_max_iter >= 1; got 0": (ValueError, {"cg_max_iter": 0}),
    r"need max_iter >= 0; got -1": (ValueError, {"max_iter": -1}),
    r"need sample to be a callable; got int": (TypeError, {"sample": 3}),
    r"need rng, a numpy.random.Generator, for sample; got None": (TypeError, {"sample": abs}),
    r"need rng to be a numpy.random.Generator; got int": (TypeError, {"rng": 3}),
    r"need mask of shape \(7,\); got \(6,\)": (ValueError, {"mask": MASK[:6]}),
    r"need a boolean array mask": (TypeError, {"mask": MASK.astype(float)}),
    r"need start of shape": (ValueError, {"start": np.zeros(6)}),
    r"need finite numbers in start": (ValueError, {"start": np.full(7, np.nan)}),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    kind, given = ERRORS[message]
    _, f, start = quadratic()
    with pytest.raises(kind, match=message):
        rp.newton_cg(f, **({"mask": MASK, "start": start} | given))


def test_errors_of_objectives():
    with pytest.raises(TypeError, match="need an objective with value, gradient, hvp, hessian; got int"):
        rp.newton_cg(3, MASK, np.zeros(7))
    with pytest.raises(ValueError, match="need start where the objective is no problem of refprune"):
        rp.newton_cg(WALL(), MASK[:1])
    with pytest.raises(TypeError, match=r"need sample\(rng\) with value, gradient, hvp; got int"):
        rp.newton_cg(WALL(), MASK[:1], np.ones(1), sample=lambda rng: 3, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match="Fractions"):
        rp.newton_cg(rp.Quadratic(fractions(np.eye(2)), fractions(np.ones(2))), MASK[:2])

    class Endless(WALL):
        def value(self, w):
            return np.inf

    with pytest.raises(np.linalg.LinAlgError, match="need a finite objective at every point; got inf"):
        rp.newton_cg(Endless(), np.array([True]), np.array([1.0]))
