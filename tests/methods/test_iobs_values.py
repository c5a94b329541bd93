"""The values that I-OBS reports: those of float64, whatever the dtype, and a number where there is one."""

import numpy as np
import pytest

import refprune as rp


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_those_of_float64_beyond_the_range_of_the_dtype(dtype):
    """The value is 2^140 for float32, 2^1020 for float64, from terms beyond; the same as of problems by one."""
    rng, d = np.random.default_rng(5), 4
    big = 2.0**70 if dtype is np.float32 else 2.0**510
    A, w = rng.normal(size=(9, d)).astype(dtype), rng.normal(size=d).astype(dtype)
    H = (A.T @ A).astype(dtype)
    H, g = (H + H.T) / 2, H @ rng.normal(size=d).astype(dtype)
    for small, large in (
        (rp.Quadratic(H, w, g), rp.Quadratic(H, w * dtype(big), g * dtype(big))),
        (rp.LayerProblem(w[None], H), rp.LayerProblem(w[None] * dtype(big), H)),
        (rp.LeastSquares(A, A @ w + 1), rp.LeastSquares(A, (A @ w + 1) * dtype(big))),
    ):
        expected, answer = rp.iobs(small, 2, steps=2), rp.iobs(large, 2, steps=2)
        assert answer.objective == expected.objective * big**2
        assert [step.value for step in answer.trace] == [step.value * big**2 for step in expected.trace]


def test_the_value_of_a_quadratic_is_a_number_where_its_terms_are_beyond_float64():
    """At 0 the terms are 2^1040 / 2 and -(2^1040): beyond float64, and so is their sum; with -(2^1039) it is 0."""
    weight, keep = np.full(2, 2.0**300), np.array([False, True])
    for factor, expected in ((1.0, -np.inf), (0.5, 0.0)):
        problem = rp.Quadratic(np.full(2, 2.0**440), weight, np.array([factor * 2.0**740, 0.0]))
        assert rp.optimal_weights(problem, keep).objective == expected


@pytest.mark.parametrize("method", [lambda q: rp.obs(q, rp.Unstructured(keep=1)), lambda q: rp.optimal_weights(
    q, np.array([True, False]))])  # fmt: skip
def test_weights_beyond_the_range_are_an_error_of_all_that_refit(method):
    """The best first weight is 1 + 100 / 0.001, which float16 does not hold."""
    hessian, gradient = np.diag([1e-3, 1.0]).astype(np.float16), np.array([-100, 0], dtype=np.float16)
    problem = rp.Quadratic(hessian, np.ones(2, dtype=np.float16), gradient)
    with pytest.raises(
        np.linalg.LinAlgError, match="need an answer in the range of float16; got larger numbers"
    ):
        method(problem)
    assert method(rp.Quadratic(hessian, np.ones(2), gradient.astype(float))).weight[0] > 65504
