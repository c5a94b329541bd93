"""Finite differences and autograd as definitions: exact cases, their orders of error, and what they cannot do."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from refprune.definitions import by_autograd, finite_differences

W = np.array([1.5, -2.0, 0.25])


def cubes(w):
    """Gradient 3 w^2, Hessian diag(6 w)."""
    return (w**3).sum()


def slope_of_cubes(w):
    return 3 * w**2


def test_quadratics_are_exact():
    # third derivatives are zero, and the step is a power of two: with dyadic numbers nothing is rounded
    H = np.array([[2.0, 1.0, 0.0], [1.0, -4.0, 0.5], [0.0, 0.5, 1.0]])
    w = np.array([1.0, -2.0, 0.5])
    assert_array_equal(finite_differences.gradient(lambda u: u @ H @ u / 2, w), H @ w)
    assert_array_equal(finite_differences.hessian(lambda u: H @ u, w), H)
    assert_array_equal(finite_differences.hvp(lambda u: H @ u, w, np.array([1.0, 3.0, -2.0])), H @ [1, 3, -2])


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_the_error_is_of_the_order_that_is_claimed(name):
    w = W.astype(name)
    eps = float(np.finfo(name).eps)
    g = finite_differences.gradient(cubes, w)
    assert g.dtype == name
    # h <= sqrt(2) 2 eps^(1/3) (|w| = 2), f''' = 6, |f| <= 12: 8 eps^(2/3) of cut-off and 12 eps^(2/3) of rounding
    assert_allclose(g, 3 * w**2, rtol=0, atol=20 * eps ** (2 / 3))
    assert np.abs(g - 3 * w**2).max() > eps  # it is no exact derivative


def test_one_sided_differences_die():
    h = 2.0**-17
    forward = np.array([(cubes(W + h * unit) - cubes(W)) / h for unit in np.eye(3)])
    with pytest.raises(AssertionError):
        assert_allclose(forward, 3 * W**2, rtol=0, atol=20 * np.finfo(float).eps ** (2 / 3))


def test_the_length_of_a_direction_only_scales_the_answer():
    v = np.array([1.0, -0.5, 3.0])
    once = finite_differences.along(cubes, W, v)
    assert finite_differences.along(cubes, W, 2.0**20 * v) == 2.0**20 * once  # the step shrinks with it
    assert_allclose(once, 3 * W**2 @ v, rtol=0, atol=1e-8)


def test_jacobians_keep_the_shape_of_what_is_derived():
    def f(w):
        return np.outer(w[:2], w)

    J = finite_differences.jacobian(f, W)
    assert J.shape == (2, 3, 3)
    expected = np.zeros((2, 3, 3))
    for i in range(2):
        for j in range(3):
            expected[i, j, i] += W[j]
            expected[i, j, j] += W[i]
    assert_allclose(J, expected, rtol=0, atol=1e-9)
    assert_allclose(finite_differences.complex_step(f, W), expected, rtol=1e-15, atol=0)


def test_complex_steps_are_exact_to_rounding():
    # the cut-off error is 1e-60: what is left are the roundings of three products
    assert_allclose(finite_differences.complex_step(cubes, W), slope_of_cubes(W), rtol=4 * 2.0**-52)
    assert_array_equal(finite_differences.complex_step(slope_of_cubes, W), np.diag(6 * W))


def test_complex_steps_are_wrong_where_the_code_is_not_analytic():
    assert_array_equal(finite_differences.complex_step(lambda w: np.abs(w).sum(), W), np.zeros(3))


def test_differences_on_other_arrays(cupy_like):
    w = cupy_like.asarray(W)
    slack = 40 * cupy_like.eps ** (2 / 3)
    g = finite_differences.gradient(lambda u: (u * u * u).sum(), w)
    assert_allclose(cupy_like.numpy(g), 3 * W**2, rtol=0, atol=slack)
    H = finite_differences.hessian(lambda u: 3 * u * u, w)
    assert_allclose(cupy_like.numpy(H), np.diag(6 * W), rtol=0, atol=slack)


def test_autograd_knows_what_is_known():
    pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")
    v = np.array([1.0, 0.0, -4.0])
    assert_array_equal(by_autograd.gradient(cubes, W), 3 * W**2)
    assert_array_equal(by_autograd.hessian(cubes, W), np.diag(6 * W))
    assert_array_equal(by_autograd.hvp(cubes, W, v), 6 * W * v)
    assert_array_equal(by_autograd.jacobian(lambda w: w[:2] * w[1], W), [[-2, 1.5, 0], [0, -4, 0]])


def test_autograd_missing_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "autograd", None)
    with pytest.raises(ImportError, match=r"^need autograd for .*by_autograd: pip install autograd$"):
        by_autograd.gradient(cubes, W)
