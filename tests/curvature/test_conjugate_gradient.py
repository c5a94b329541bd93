"""Conjugate gradients: exact on Fractions, optimal over the Krylov space, honest where it cannot converge."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal

import refprune.definitions as definitions
from refprune.arrays import solve
from refprune.curvature import conjugate_gradient
from refprune.testing.make import spd
from tests.methods.problems import exact_quadratics, fractions

EPS = 2.0**-52


def true_residual(A, b, x):
    """``b - A x`` without a rounding error, then its norm."""
    r = fractions(b) - fractions(A) @ fractions(x)
    return float(np.linalg.norm(r.astype(float)))


def rounding(A, b, x):
    """What one evaluation of ``b - A x`` may err by (Higham, section 3.5), as a norm."""
    return (len(b) + 2) * EPS * np.linalg.norm(np.abs(A) @ np.abs(x) + np.abs(b))


def krylov(A, b, k):
    """The vectors b, A b, ..., A^(k - 1) b as columns."""
    columns = [b]
    for _ in range(k - 1):
        columns.append(A @ columns[-1])
    return np.stack(columns, axis=1)


# ---------------------------------------------------------------- the definition


@given(exact_quadratics())
def test_the_definition_ends_in_at_most_d_steps_exactly(problem):
    b, A = fractions(problem[0]), fractions(problem[1] + np.eye(len(problem[1])))
    iterates = definitions.conjugate_gradient(lambda v: A @ v, b)
    assert len(iterates) <= len(b) + 1
    assert_array_equal(iterates[-1], solve(A, b))
    assert all(isinstance(entry, Fraction) for x in iterates for entry in x)


@given(exact_quadratics())
def test_every_iterate_of_the_definition_is_the_best_of_its_krylov_space_exactly(problem):
    b, A = fractions(problem[0]), fractions(problem[1] + np.eye(len(problem[1])))
    for k, x in enumerate(definitions.conjugate_gradient(lambda v: A @ v, b)):
        if k == 0:
            assert np.all(x == 0)
            continue
        basis = krylov(A, b, k)
        assert np.all(basis.T @ (b - A @ x) == 0)  # the error is A-orthogonal to the space
        # and x lies in the space: the best point of it, from the normal equations, is x
        assert_array_equal(basis @ solve(basis.T @ A @ basis, basis.T @ b), x)


def test_the_definition_takes_one_step_for_each_distinct_eigenvalue():
    A = fractions(np.diag([2.0, 2.0, 5.0, 5.0, 7.0]))
    for b, steps in (([1, 0, 0, 0, 0], 1), ([1, 3, 0, 0, 0], 1), ([1, 0, 2, 1, 0], 2), ([1, 1, 1, 1, 1], 3)):
        iterates = definitions.conjugate_gradient(lambda v: A @ v, fractions(np.array(b, float)))
        assert len(iterates) - 1 == steps


def test_the_definition_stops_at_the_tolerance(cupy_like):
    rng = np.random.default_rng(0)
    A, b = spd(rng, 6, 10.0), rng.normal(size=6)
    given_A, given_b = cupy_like.asarray(A), cupy_like.asarray(b)
    x = definitions.conjugate_gradient(lambda v: given_A @ v, given_b, rtol=1e-3)[-1]
    assert type(x) is type(given_b)
    left = np.linalg.norm(b - A @ cupy_like.numpy(x)) / np.linalg.norm(b)
    assert left <= 1e-3 + 100 * cupy_like.eps * np.linalg.cond(A)


# ---------------------------------------------------------------- the method


@pytest.mark.parametrize("d", [1, 2, 7, 30])
@pytest.mark.parametrize("cond", [1.0, 1e2, 1e5])
def test_solves_to_the_tolerance(d, cond):
    rng = np.random.default_rng(d)
    A, b = spd(rng, d, cond), rng.normal(size=d) + 0.5
    for rtol in (1e-2, 1e-6, 1e-9):
        answer = conjugate_gradient(A, b, rtol=rtol, max_iter=100 * d)
        assert answer.reason == "converged"
        left = true_residual(A, b, answer.solution)
        assert left <= rtol * np.linalg.norm(b) + rounding(A, b, answer.solution)
        assert abs(answer.residual - left) <= rounding(A, b, answer.solution)
        # |x - x*| <= cond * |r| / |A| for the exact x*
        error = np.linalg.norm(answer.solution - np.linalg.solve(A, b))
        assert error <= 2 * np.linalg.norm(np.linalg.inv(A), 2) * (
            left + 10 * rounding(A, b, answer.solution)
        )


@given(exact_quadratics(columns=(1, 6)))
def test_each_iterate_is_the_best_of_its_krylov_space(problem):
    b, H = problem
    A = H + np.eye(len(H))
    for k in range(1, len(b) + 1):
        x = conjugate_gradient(A, b, rtol=0.0, max_iter=k).solution
        exact = definitions.conjugate_gradient(lambda v: fractions(A) @ v, fractions(b), steps=k)[-1]
        # k <= 6 steps at cond(A) <= 100: 100 eps cond |x|
        assert_allclose(
            x, exact.astype(float), rtol=0, atol=100 * EPS * np.linalg.cond(A) * np.abs(exact).max()
        )


def test_the_error_in_the_norm_of_A_falls_at_every_step():
    rng = np.random.default_rng(4)
    A, b = spd(rng, 20, 1e4), rng.normal(size=20)
    best = np.linalg.solve(A, b)
    errors = []
    for k in range(40):
        e = conjugate_gradient(A, b, rtol=0.0, max_iter=k).solution - best
        errors.append(np.sqrt(e @ A @ e))
    assert errors == sorted(errors, reverse=True)
    # the Chebyshev bound (Higham does not give it; Saad, Iterative Methods, (6.128)), with its condition
    root = np.sqrt(np.linalg.cond(A))
    bounds = [2 * ((root - 1) / (root + 1)) ** k * errors[0] for k in range(40)]
    assert all(e <= bound for e, bound in zip(errors, bounds, strict=True))


def test_products_and_matrices_are_one():
    rng = np.random.default_rng(1)
    A, b = spd(rng, 8, 30.0), rng.normal(size=8)
    products = []

    def product(v):
        products.append(v)
        return A @ v

    by_matrix, by_product = conjugate_gradient(A, b), conjugate_gradient(product, b)
    assert_array_equal(by_product.solution, by_matrix.solution)
    assert (
        by_product.iterations == by_matrix.iterations == len(products) - 1
    )  # one more for the true residual


def test_boundaries_are_exact():
    A = np.array([[2.0, 1.0], [1.0, 4.0]])
    nothing = conjugate_gradient(A, np.zeros(2))
    assert (nothing.solution.tolist(), nothing.iterations, nothing.residual) == ([0, 0], 0, 0)
    assert nothing.reason == "converged"
    minus = conjugate_gradient(A, -np.zeros(2), start=np.ones(2))
    assert minus.solution.tolist() == [0, 0]
    assert not np.signbit(minus.solution).any()
    one = conjugate_gradient(np.array([[4.0]]), np.array([6.0]), rtol=0.0)
    assert (one.solution.tolist(), one.iterations, one.residual) == ([1.5], 1, 0)
    vector = conjugate_gradient(A, A @ np.array([0.0, 0.0]))
    assert vector.iterations == 0
    eigen = conjugate_gradient(np.diag([2.0, 4.0, 8.0]), np.array([0.0, 3.0, 0.0]), rtol=0.0)
    assert (eigen.solution.tolist(), eigen.iterations, eigen.reason) == ([0, 0.75, 0], 1, "converged")
    empty = conjugate_gradient(np.zeros((0, 0)), np.zeros(0))
    assert (empty.solution.shape, empty.iterations, empty.reason) == ((0,), 0, "converged")


def test_zero_is_found_without_a_product():
    def product(v):
        raise AssertionError("a product was asked for")

    assert conjugate_gradient(product, np.zeros(3)).reason == "converged"


def test_a_start():
    rng = np.random.default_rng(2)
    A, b = spd(rng, 9, 30.0), rng.normal(size=9)
    exact = conjugate_gradient(A, b, rtol=1e-13, max_iter=500).solution
    close = conjugate_gradient(A, b, rtol=1e-6, start=exact)
    assert (close.iterations, close.reason) == (0, "converged")
    assert_array_equal(close.solution, exact)
    assert not np.shares_memory(close.solution, exact)
    far = conjugate_gradient(A, b, rtol=1e-10, start=1e3 * np.ones(9))
    assert far.reason == "converged"
    assert true_residual(A, b, far.solution) <= 1e-10 * np.linalg.norm(b) + rounding(A, b, far.solution)
    half = conjugate_gradient(A, b, rtol=0.0, max_iter=0, start=np.ones(9))
    assert half.reason == "max_iter"
    assert_array_equal(half.solution, np.ones(9))
    assert half.residual == pytest.approx(np.linalg.norm(b - A @ np.ones(9)), rel=1e-14)


def test_the_tolerances_are_relative_or_absolute():
    A, b = np.diag([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 4.0])
    steps = [conjugate_gradient(A, b, rtol=rtol).iterations for rtol in (2.0, 0.5, 1e-9)]
    assert steps == [0, 1, 3]
    assert conjugate_gradient(A, b, rtol=0.0, atol=7.0).iterations == 0
    assert conjugate_gradient(A, b, rtol=0.0, atol=3.0).iterations == 1
    assert conjugate_gradient(A, b, rtol=1e-9, atol=3.0).iterations == 1  # the larger of the two


def test_max_iter_and_its_default():
    rng = np.random.default_rng(3)
    A, b = spd(rng, 12, 1e12), rng.normal(size=12)
    cut = conjugate_gradient(A, b, rtol=1e-12, max_iter=5)
    assert (cut.iterations, cut.reason) == (5, "max_iter")
    assert cut.residual == pytest.approx(true_residual(A, b, cut.solution), rel=1e-10)
    assert conjugate_gradient(A, b, rtol=0.0).iterations <= 120


def test_negative_curvature_is_told_and_what_was_there_is_given():
    A = np.diag([1.0, 2.0, -1.0])
    b = np.array([4.0, 1.0, 1.0])
    answer = conjugate_gradient(A, b)
    assert answer.reason == "negative_curvature"
    assert answer.iterations == 1
    assert_allclose(answer.solution, b * (18 / 17), rtol=1e-15)  # the step before: a = b^T b / b^T A b
    assert answer.residual == pytest.approx(true_residual(A, b, answer.solution), rel=1e-14)
    at_once = conjugate_gradient(-np.eye(3), b, start=np.array([1.0, 2.0, 3.0]))
    assert (at_once.iterations, at_once.reason) == (0, "negative_curvature")
    assert at_once.solution.tolist() == [1, 2, 3]
    flat = conjugate_gradient(np.zeros((3, 3)), b)
    assert (flat.reason, flat.solution.tolist()) == ("negative_curvature", [0, 0, 0])
    saddle = conjugate_gradient(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1.0, 0.0]))
    assert saddle.reason == "negative_curvature"


def test_singular_systems_that_have_a_solution():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(4, 9))
    A = X.T @ X
    y = rng.normal(size=9)
    b = A @ y
    answer = conjugate_gradient(A, b, rtol=1e-9)
    assert answer.reason == "converged"
    assert true_residual(A, b, answer.solution) <= 1e-9 * np.linalg.norm(b) + rounding(A, b, answer.solution)
    # from 0 it stays in the range of A: the solution of least norm, to cond(A) on its range
    least = np.linalg.lstsq(A, b)[0]
    values = np.linalg.eigvalsh(A)[-4:]
    assert_allclose(answer.solution, least, rtol=0, atol=2e-9 * np.linalg.norm(b) / values[0] + 1e-12)


def test_singular_systems_that_have_none_are_not_called_converged():
    A, b = np.diag([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 1.0])
    answer = conjugate_gradient(A, b)
    assert answer.reason == "negative_curvature"
    assert answer.residual == pytest.approx(true_residual(A, b, answer.solution), rel=1e-14)
    X = np.random.default_rng(13).normal(size=(3, 6))
    for b in np.random.default_rng(14).normal(size=(20, 6)):
        answer = conjugate_gradient(X.T @ X, b)
        assert answer.reason == "negative_curvature"
        outside = b - X.T @ np.linalg.lstsq(X.T, b)[0]
        assert np.linalg.norm(outside) <= answer.residual * (1 + 1e-12)
        assert np.abs(answer.solution).max() < 1e8


def test_rounding_is_told_from_convergence():
    rng = np.random.default_rng(6)
    A, b = spd(rng, 5, 1e10), rng.normal(size=5)
    answer = conjugate_gradient(A, b, rtol=1e-15, max_iter=500)
    assert answer.reason == "stagnated"
    left = true_residual(A, b, answer.solution)
    assert abs(answer.residual - left) <= rounding(A, b, answer.solution)
    # what is left is rounding of A x: Greenbaum's bound has eps |A| |x| times a small number of steps
    assert left <= 100 * EPS * np.linalg.norm(A, 2) * np.linalg.norm(answer.solution)
    assert left > 1e-15 * np.linalg.norm(b)


@pytest.mark.parametrize("a", [-900, -60, 0, 60, 900])
@pytest.mark.parametrize("c", [-600, -43, 1, 43, 600])
def test_powers_of_two_change_no_bit(a, c):
    """Loss times 2^a, right-hand side times 2^c: norms of 1e-13, 1e-300 and subnormal ones."""
    rng = np.random.default_rng(7)
    A, b = spd(rng, 6, 100.0), rng.normal(size=6)
    base = conjugate_gradient(A, b, rtol=1e-9)
    if abs(c - a) > 1000:
        a = a // 100
    scaled = conjugate_gradient(A * 2.0**a, b * 2.0**c, rtol=1e-9)
    assert_array_equal(scaled.solution, base.solution * 2.0 ** (c - a))
    assert (scaled.iterations, scaled.reason) == (base.iterations, "converged")
    assert scaled.residual == base.residual * 2.0**c


@pytest.mark.parametrize("size", [1e-13, 1e-300, 5e-324, 1e300])
def test_tiny_and_huge_right_hand_sides(size):
    A, b = np.diag([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 0.5]) * size
    answer = conjugate_gradient(A, b, rtol=1e-6)
    assert np.isfinite(answer.solution).all()
    assert answer.reason == "converged" if size > 1e-320 else answer.reason in ("converged", "stagnated")
    # half a unit of the smallest subnormal for each entry of x, times A
    assert np.abs(b - A @ answer.solution).max() <= 1e-6 * np.abs(b).max() + 16 * 5e-324


def test_solutions_out_of_range_are_errors():
    with pytest.raises(np.linalg.LinAlgError, match="need a solution in the range of float64"):
        conjugate_gradient(np.array([[1e-200]]), np.array([1e200]))
    with pytest.raises(np.linalg.LinAlgError, match="need a solution in the range of float32"):
        conjugate_gradient(np.array([[1e-30]], "f"), np.array([1e30], "f"))


def test_invariances():
    rng = np.random.default_rng(8)
    A, b = spd(rng, 7, 30.0), rng.normal(size=7)
    base = conjugate_gradient(A, b, rtol=1e-12).solution
    bound = 2e-12 * np.linalg.norm(b) * np.linalg.norm(np.linalg.inv(A), 2) + 1e3 * EPS * np.linalg.cond(A)
    order = rng.permutation(7)
    moved = conjugate_gradient(A[np.ix_(order, order)], b[order], rtol=1e-12).solution
    assert_allclose(moved, base[order], rtol=0, atol=bound)
    signs = rng.choice([-1.0, 1.0], size=7)
    flipped = conjugate_gradient(A * np.outer(signs, signs), b * signs, rtol=1e-12).solution
    assert_array_equal(flipped, base * signs)
    Q = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    turned = conjugate_gradient(Q @ A @ Q.T, Q @ b, rtol=1e-12).solution
    assert_allclose(turned, Q @ base, rtol=0, atol=bound)
    large = np.zeros((9, 9))
    large[:7, :7], large[7, 7], large[8, 8] = A, 3.0, 1.0
    assert_array_equal(conjugate_gradient(large, np.r_[b, 0, 0], rtol=1e-12).solution[7:], [0, 0])


def test_backends(backend):
    rng = np.random.default_rng(9)
    A, b = spd(rng, 6, 30.0), rng.normal(size=6)
    given_A, given_b = backend.asarray(A), backend.asarray(b)
    for operator in (given_A, lambda v: given_A @ v):
        answer = conjugate_gradient(
            operator, given_b, rtol=100 * backend.eps, start=backend.asarray(np.ones(6))
        )
        assert type(answer.solution) is type(given_b)
        assert answer.solution.dtype == given_b.dtype
        left = np.linalg.norm(b - A @ backend.numpy(answer.solution).astype(float))
        # the tolerance, and b, A and x rounded to the dtype
        size = np.linalg.norm(np.abs(A) @ np.abs(backend.numpy(answer.solution)) + np.abs(b))
        assert left <= 100 * backend.eps * np.linalg.norm(b) + 20 * backend.eps * size
        assert type(answer.residual) is float


def test_single_precision_keeps_tiny_curvatures():
    """``p^T A p`` of a float32 problem with A of size 1e-30 would underflow with p at the size of the residual."""
    rng = np.random.default_rng(10)
    A, b = spd(rng, 6, 30.0).astype("f"), rng.normal(size=6).astype("f")
    base = conjugate_gradient(A, b, rtol=1e-5)
    tiny = conjugate_gradient(A * np.float32(2.0**-100), b * np.float32(2.0**-90), rtol=1e-5)
    assert_array_equal(tiny.solution, base.solution * np.float32(2.0**10))


def test_half_precision_is_computed_wider():
    rng = np.random.default_rng(11)
    A, b = spd(rng, 5, 30.0).astype("float16"), rng.normal(size=5).astype("float16")
    A = (A + A.T) / np.float16(2)
    narrow = conjugate_gradient(A, b)
    wide = conjugate_gradient(A.astype("f"), b.astype("f"))
    assert narrow.solution.dtype == "float16"
    assert_array_equal(narrow.solution, wide.solution.astype("float16"))


def test_nothing_is_changed_and_nothing_is_shared():
    rng = np.random.default_rng(12)
    A, b, start = spd(rng, 5, 30.0), rng.normal(size=5), rng.normal(size=5)
    for array in (A, b, start):
        array.flags.writeable = False
    answer = conjugate_gradient(A, b, start=start)
    again = conjugate_gradient(lambda v: v, b, rtol=0.0)  # the identity may hand back what it was given
    assert_array_equal(again.solution, b)
    assert not np.shares_memory(again.solution, b)
    assert not np.shares_memory(answer.solution, start)


def test_errors():
    A, b = np.eye(3), np.ones(3)
    for wrong, kind, words in (
        ((A, [1.0, 1.0, 1.0]), TypeError, "need b to be an array"),
        ((A, np.ones((3, 1))), ValueError, "need b with 1 dimensions"),
        ((A, np.array([1.0, np.nan, 0.0])), ValueError, "need finite numbers in b"),
        ((A, np.ones(3, dtype=int)), TypeError, "need real floating numbers in b"),
        ((A, fractions(b)), TypeError, "need floating numbers in b"),
        ((np.eye(2), b), ValueError, r"need operator of shape \(3, 3\)"),
        ((np.triu(np.ones((3, 3))), b), ValueError, "need operator to be symmetric"),
        (("A", b), TypeError, "need operator to be an array"),
        ((lambda v: v[:2], b), ValueError, r"need operator\(v\) of shape \(3\)"),
        ((lambda v: v * np.nan, b), ValueError, r"need finite numbers in operator\(v\)"),
        ((lambda v: list(v), b), TypeError, r"need operator\(v\) to be an array"),
    ):
        with pytest.raises(kind, match=words):
            conjugate_gradient(*wrong)
    for wrong, kind, words in (
        ({"rtol": -1.0}, ValueError, "need rtol >= 0 and finite; got -1"),
        ({"rtol": float("nan")}, ValueError, "need rtol >= 0 and finite; got nan"),
        ({"atol": "1"}, TypeError, "need atol to be a real number"),
        ({"max_iter": 2.0}, TypeError, "need max_iter to be an integer"),
        ({"max_iter": -1}, ValueError, "need max_iter >= 0"),
        ({"start": np.ones(2)}, ValueError, r"need start of shape \(3\)"),
    ):
        with pytest.raises(kind, match=words):
            conjugate_gradient(A, b, **wrong)
