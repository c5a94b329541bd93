"""What IHT, HTP and CoSaMP have in common: exact cases, invariances, dtypes, what is an error."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.problems import fractions, spd, with_dead
from tests.methods.recovery import noisy, planted

METHODS = {"iht": rp.iht, "htp": rp.htp, "cosamp": rp.cosamp}
every = pytest.mark.parametrize("name", METHODS)
PROBLEM = rp.LeastSquares(np.eye(3), np.ones(3))


@every
def test_no_weight_and_all_weights(name):
    problem, _, rng = noisy(7)
    d = problem.design.shape[1]
    none = METHODS[name](problem, 0, rng.normal(size=d))
    assert not none.mask.any()
    assert not none.weight.any()
    assert none.objective == problem.value(np.zeros(d))
    assert [point.reason for point in none.trace] == ["converged"]
    everything = METHODS[name](problem, d, max_iter=5000)
    assert everything.mask.all()
    assert everything.trace[-1].level == 0
    best = np.linalg.lstsq(problem.design, problem.target)[0]
    # IHT ends at a small gradient, the others solve
    error = {"atol": 1e-6} if name == "iht" else {"rtol": 1e-10}
    assert_allclose(everything.weight, best, **error)


@every
def test_a_start_that_is_optimal_comes_back_bit_for_bit(name):
    A, signal = planted(8, 32, 40, 4)
    problem = rp.LeastSquares(A, A @ signal)
    if name != "htp":  # it solves wherever it starts, and rounds
        answer = METHODS[name](problem, 4, signal)
        assert_array_equal(answer.weight, signal)
        assert len(answer.trace) == 1
    # what is 0 is measured at 0 too, not at the start alone
    answer = METHODS[name](problem, 4, signal * (1 + 1e-12))
    assert answer.trace[-1].reason == "converged"
    assert len(answer.trace) <= 2


@every
def test_layers_quadratics_and_least_squares_agree(name):
    rng = np.random.default_rng(8)
    X, w = rng.normal(size=(30, 8)) + 0.5, rng.normal(size=8)
    for keep in (2, 3):
        if 3 * keep > 8 and name == "cosamp":
            continue
        answers = [
            METHODS[name](rp.LeastSquares(X, X @ w), keep, w),
            METHODS[name](rp.Quadratic(X.T @ X, w), keep),
            METHODS[name](rp.LayerProblem.from_inputs(w[None, :], X), keep),
        ]
        for answer in answers[1:]:
            assert_allclose(answer.weight.reshape(-1), answers[0].weight, rtol=0, atol=1e-12)
    convolution = rp.LayerProblem(rng.normal(size=(4, 2, 1, 2)), np.stack([spd(rng, 4), spd(rng, 4)]))
    assert METHODS[name](convolution, 3).weight.shape == (4, 2, 1, 2)


@every
def test_dead_weights_go_first_and_keep_their_weight_when_kept(name):
    rng = np.random.default_rng(10)
    W = rng.normal(size=(2, 7))
    W[:, [1, 4]] = 9.0  # the largest of all
    layer = rp.LayerProblem(W, with_dead(spd(rng, 5), [1, 4]))
    assert not METHODS[name](layer, 6).mask[:, [1, 4]].any()
    most = METHODS[name](layer, 12)
    assert np.count_nonzero(most.mask[:, [1, 4]]) == 2
    assert_array_equal(most.weight[:, [1, 4]], np.where(most.mask[:, [1, 4]], 9.0, 0))
    assert most.objective < 1e-25


@every
def test_permutations_signs_and_scales_go_through(name):
    """IHT is compared on its way: rounding grows with its steps."""
    options, error = ({"max_iter": 20}, 1e-8) if name == "iht" else ({}, 1e-9)
    for seed in range(20):
        problem, keep, rng = noisy(100 + seed)
        d = problem.design.shape[1]
        start, order, sign = rng.normal(size=d), rng.permutation(d), rng.choice([-1.0, 1.0], size=d)
        answer = METHODS[name](problem, keep, start, **options)
        moved = rp.LeastSquares(problem.design[:, order] * sign * 3, problem.target * 0.7)
        other = METHODS[name](moved, keep, start[order] * sign * 0.7 / 3, **options)
        expected = answer.weight[order] * sign * 0.7 / 3
        assert_allclose(other.weight, expected, rtol=0, atol=error * np.abs(expected).max(initial=error))


@every
def test_powers_of_two_on_design_and_target_change_no_bit(name):
    problem, _, rng = noisy(12)
    d = problem.design.shape[1]
    keep, start = d // 2, rng.normal(size=d)
    expected = METHODS[name](problem, keep, start)
    for a, b in ((5, 0), (-7, 3), (20, -20)):
        other = rp.LeastSquares(problem.design * 2.0**a, problem.target * 2.0**b)
        answer = METHODS[name](other, keep, start * 2.0 ** (b - a))
        assert_array_equal(answer.weight, expected.weight * 2.0 ** (b - a))
        assert_array_equal(answer.mask, expected.mask)


@every
@pytest.mark.parametrize(
    ("dtype", "power"), [("float32", 60), ("float32", -60), ("float64", 300), ("float64", -300)]
)
def test_units_at_the_edge_of_the_range_change_no_bit(name, dtype, power):
    """No square of the design or of a gradient is in the range."""
    A, signal = planted(17, 24, 32, 2)
    A, y = A.astype(dtype), (A @ signal).astype(dtype)
    answer = METHODS[name](rp.LeastSquares(A * np.array(2.0**power, dtype), y), 2)
    expected = METHODS[name](rp.LeastSquares(A, y), 2)
    assert expected.trace[-1].reason == "converged"
    assert_array_equal(answer.mask, expected.mask)
    assert_array_equal(answer.weight * np.array(2.0**power, dtype), expected.weight)


@every
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_floats(name, dtype):
    A, signal = planted(13, 64, 96, 4)
    answer = METHODS[name](rp.LeastSquares(A.astype(dtype), (A @ signal).astype(dtype)), 4)
    assert answer.weight.dtype == dtype
    assert answer.trace[-1].reason == "converged"
    # the target's rounding, and IHT's goal of 16 eps
    assert_allclose(answer.weight, signal, atol=40 * float(np.finfo(dtype).eps) * np.abs(signal).max())


@every
def test_nothing_is_changed_and_nothing_is_shared(name):
    A, signal = planted(15, 16, 20, 3)
    y = A @ signal
    for start in (signal, signal + 0.1):
        given = tuple(array.copy() for array in (A, y, start))
        METHODS[name](rp.LeastSquares(given[0], given[1]), 3, given[2]).weight[:] = 9.0
        for array, before in zip(given, (A, y, start), strict=True):
            assert_array_equal(array, before)


@every
@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"need keep in \[0, 3\]; got 4", {"keep": 4}),
        (ValueError, r"need keep in \[0, 3\]; got -1", {"keep": -1}),
        (TypeError, "need keep to be an integer", {"keep": 1.0}),
        (TypeError, "need keep to be an integer", {"keep": 1.5}),
        (TypeError, "need keep to be an integer", {"keep": True}),
        (ValueError, "need max_iter >= 0", {"max_iter": -1}),
        (ValueError, "need tol >= 0", {"tol": -1.0}),
        (TypeError, "need tol to be a real number", {"tol": "small"}),
        (ValueError, r"need start of shape \(3,\)", {"start": np.ones(2)}),
        (ValueError, r"need start of shape \(3,\)", {"start": np.ones(4)}),
        (ValueError, "need finite numbers in start", {"start": np.array([1.0, np.nan, 0.0])}),
        (TypeError, "need an objective with", {"objective": np.eye(3)}),
        (TypeError, "need an objective with", {"objective": None}),
        (TypeError, "Fractions", {"objective": rp.LeastSquares(fractions(np.eye(3)), fractions(np.ones(3)))}),
    ],
)
def test_errors(name, error, message, arguments):
    with pytest.raises(error, match=message):
        METHODS[name](**{"objective": PROBLEM, "keep": 2, **arguments})


@pytest.mark.parametrize("name", ["iht", "htp"])
@pytest.mark.parametrize(
    ("error", "message", "step"),
    [
        (ValueError, "need step 'normalized', 'lipschitz' or a number; got 'newton'", "newton"),
        (TypeError, "need step 'normalized', 'lipschitz' or a number; got None", None),
        (TypeError, "need step 'normalized', 'lipschitz' or a number; got True", True),
        (ValueError, "need step > 0 and finite; got 0", 0),
        (ValueError, "need step > 0 and finite; got 0.0", 0.0),
        (ValueError, "need step > 0 and finite; got -1.0", -1.0),
    ],
)
def test_steps_that_are_none_are_errors(name, error, message, step):
    with pytest.raises(error, match=message):
        METHODS[name](PROBLEM, 2, step=step)
