"""Linear algebra that checks itself, on every backend."""

import re
from fractions import Fraction

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from refprune import exact
from refprune.arrays import cholesky, eigh, inv, inv_spd, inverse_factor, solve, solve_spd
from tests.stand_in import xp as stand_in


def rational(A):
    return np.array([Fraction(float(x)) for x in np.ravel(A)], dtype=object).reshape(np.shape(A))


def spd(rng, d, condition=10.0, scales=True):
    """A positive definite (d, d): eigenvalues from 1 to `condition`, then rows and columns scaled."""
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    H = Q * np.geomspace(1, condition, d) @ Q.T
    D = rng.uniform(0.1, 10, size=d) if scales else np.ones(d)
    H = H * D[:, None] * D
    return (H + H.T) / 2


def unit_diagonal_condition(H):
    s = 1 / np.sqrt(np.diag(H))
    return np.linalg.cond(H * s[:, None] * s, 1)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_inv_and_solve_have_small_residuals(backend, d):
    rng = np.random.default_rng(d)
    A, B = rng.normal(size=(d, d)) + 3 * np.eye(d), rng.normal(size=(d, 3)) + 1
    A, B = A.astype(backend.dtype), B.astype(backend.dtype)
    X, Y = inv(backend.asarray(A)), solve(backend.asarray(A), backend.asarray(B))
    X, Y = backend.numpy(X), backend.numpy(Y)
    y = backend.numpy(solve(backend.asarray(A), backend.asarray(B[:, 0])))
    assert (X.dtype, Y.dtype, y.shape) == (A.dtype, A.dtype, (d,))
    # LU with partial pivoting: |A X - I| <= c d eps |A| |X| (Higham, section 14.3), c = 20
    bound = 20 * d * backend.eps * (np.abs(A) @ np.abs(X)).max()
    assert np.abs(A.astype(float) @ X - np.eye(d)).max() <= bound
    size = (np.abs(A) @ np.abs(Y) + np.abs(B)).max()
    assert np.abs(A.astype(float) @ Y - B).max() <= 20 * d * backend.eps * size
    assert_allclose(y, Y[:, 0], rtol=20 * d * backend.eps * np.linalg.cond(A))


def test_stacks_are_matrices_one_by_one(backend):
    rng = np.random.default_rng(0)
    A = np.stack([spd(rng, 3), spd(rng, 3)])
    B = rng.normal(size=(2, 3, 2))
    stack, right = backend.asarray(A), backend.asarray(B)
    for i in range(2):
        one, b = backend.asarray(A[i]), backend.asarray(B[i])
        tolerance = 100 * backend.eps * np.linalg.cond(A[i])
        for whole, single in ((inv(stack), inv(one)), (solve(stack, right), solve(one, b))):
            assert_allclose(backend.numpy(whole)[i], backend.numpy(single), rtol=tolerance, atol=tolerance)
        assert_allclose(backend.numpy(cholesky(stack))[i], backend.numpy(cholesky(one)), rtol=tolerance)


def test_cholesky_is_the_lower_factor(backend):
    H = spd(np.random.default_rng(1), 6).astype(backend.dtype)
    L = backend.numpy(cholesky(backend.asarray(H)))
    assert_array_equal(L, np.tril(L))
    size = np.sqrt(np.diag(H))
    assert np.abs((L.astype(float) @ L.T - H) / size[:, None] / size).max() <= 7 * backend.eps  # (d + 1) eps


SINGULAR = {
    "rank one": np.ones((3, 3)),
    "zero": np.zeros((2, 2)),
    "dead input": np.diag([1.0, 0.0, 2.0]),
    "indefinite": np.array([[1.0, 2.0], [2.0, 1.0]]),
    "negative": -np.eye(2),
    "scaled rank one": np.outer([1e-8, 1.0, 1e8], [1e-8, 1.0, 1e8]),
    "tiny diagonal": np.array([[1e-30, 1.0], [1.0, 1.0]]),
}


@pytest.mark.parametrize("d", [1, 2, 7, 64, 65, 150])
def test_the_factor_of_the_inverse(backend, d):
    """It is lower triangular, and its squared diagonal is what is left when all earlier columns are gone."""
    H = spd(np.random.default_rng(d), d).astype(backend.dtype)
    x = backend.asarray(H)
    F = backend.numpy(inverse_factor(x)).astype(float)
    assert type(inverse_factor(x)) is type(x)
    assert inverse_factor(x).dtype == x.dtype
    assert np.all(np.triu(F, 1) == 0)
    H = H.astype(float)
    slack = 10 * d * backend.eps * unit_diagonal_condition(H)  # a backward stable factor and its inverse
    unit = np.sqrt(np.diag(H))
    assert_allclose(
        (F @ F.T) * unit[:, None] * unit, np.linalg.inv(H) * unit[:, None] * unit, rtol=0, atol=slack
    )
    for j in {0, d // 2, d - 1}:
        assert_allclose(F[j, j] ** 2, np.linalg.inv(H[j:, j:])[0, 0], rtol=slack)
    inverse = backend.numpy(inv_spd(x)).astype(float)  # by halves where d is above 64
    assert_allclose(
        inverse * unit[:, None] * unit, np.linalg.inv(H) * unit[:, None] * unit, rtol=0, atol=slack
    )


@pytest.mark.parametrize("name", SINGULAR)
def test_what_is_not_definite_raises_on_every_backend(backend, name):
    H = backend.asarray(SINGULAR[name])
    with pytest.raises(np.linalg.LinAlgError, match=r"definite gram; got numerical rank \d of"):
        inv_spd(H, "gram")
    with pytest.raises(np.linalg.LinAlgError, match="need a positive definite hessian"):
        solve_spd(H, H)
    if name not in ("rank one", "scaled rank one"):  # rounding may hide these from a Cholesky alone
        with pytest.raises(np.linalg.LinAlgError, match="need a positive definite matrix"):
            cholesky(H)


@pytest.mark.parametrize("name", ["rank one", "zero", "dead input"])
def test_exactly_singular_matrices_have_no_inverse_on_any_backend(backend, name):
    A = backend.asarray(SINGULAR[name])
    with pytest.raises(np.linalg.LinAlgError, match="need an invertible matrix"):
        inv(A)
    with pytest.raises(np.linalg.LinAlgError, match="need an invertible matrix"):
        solve(A, A)


def test_a_half_factored_matrix_is_no_factor(monkeypatch):
    # what cuSOLVER leaves behind when it stops at a minor: finite numbers, and no exception
    monkeypatch.setattr(stand_in.linalg, "cholesky", lambda A: stand_in.tril(A))
    with pytest.raises(np.linalg.LinAlgError, match="L L\\^T far from it"):
        cholesky(stand_in.asarray(np.array([[4.0, 2.0], [2.0, 9.0]])))


def test_a_factor_that_is_a_little_off_is_no_factor(monkeypatch):
    A = np.array([[4.0, 2.0], [2.0, 9.0]])
    L = np.linalg.cholesky(A)
    for error, fits in ((2.0**-50, True), (1e-12, False)):
        wrong = stand_in.asarray(L * (1 + np.array([[0.0, 0.0], [0.0, error]])))
        monkeypatch.setattr(stand_in.linalg, "cholesky", lambda A, wrong=wrong: wrong)
        if fits:
            assert cholesky(stand_in.asarray(A)) is wrong
        else:
            with pytest.raises(np.linalg.LinAlgError, match="far from it"):
                cholesky(stand_in.asarray(A))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1.0, 1e4]))
def test_the_message_tells_the_deficiency_and_a_damp_that_would_do(d, samples, seed, scale):
    X = scale * (np.random.default_rng(seed).normal(size=(samples, d)) + 0.5)
    G = X.T @ X / samples
    if samples >= d:
        return  # almost surely definite
    with pytest.raises(np.linalg.LinAlgError) as caught:
        inv_spd(G, "gram")
    message = str(caught.value)
    assert f"rank {samples} of {d} (deficient by {d - samples})" in message
    damp = float(re.search(r"damp=(\S+) or more would do", message).group(1))
    assert np.isfinite(inv_spd(G + damp * np.mean(np.diag(G)) * np.eye(d))).all()


def test_the_damp_is_relative_to_the_living_inputs():
    # two equal living inputs among 400; the mean over all of them would be 200 times smaller
    G = np.zeros((400, 400))
    G[:2, :2] = 1.0
    with pytest.raises(np.linalg.LinAlgError, match=r"damp=1e-\d+ or more would do") as caught:
        inv_spd(G)
    damp = float(re.search(r"damp=(\S+) or", str(caught.value)).group(1))
    inv_spd(G + damp * np.eye(400))  # the living mean is 1
    with pytest.raises(np.linalg.LinAlgError):
        inv_spd(G + damp / 100 * np.eye(400))


def test_no_damp_is_promised_where_none_would_do():
    for H in (np.zeros((2, 2)), -np.eye(2)):
        with pytest.raises(np.linalg.LinAlgError, match="no damp up to 1e3 would do"):
            inv_spd(H)


@given(st.integers(1, 6), st.floats(0, 10), st.integers(0, 2**32 - 1))
def test_inv_spd_and_solve_spd_against_exact_rationals(d, log_condition, seed):
    rng = np.random.default_rng(seed)
    H, b = spd(rng, d, 10**log_condition), rng.normal(size=d) + 1
    truth, solution = exact.inv(rational(H)), exact.solve(rational(H), rational(b))
    X, x = inv_spd(H), solve_spd(H, b)
    assert_array_equal(X, X.T)
    # forward error of a Cholesky solve: c d eps cond of the scaled matrix (Higham, theorem 10.4), in the
    # units of the entries: |X - truth|_ij <= bound sqrt(truth_ii truth_jj); c = 10
    bound = 10 * d * np.finfo(float).eps * unit_diagonal_condition(H)
    size = np.sqrt(np.diag(truth).astype(float))
    assert np.abs((rational(X) - truth).astype(float) / size[:, None] / size).max() <= bound
    energy = np.sqrt(float(rational(b) @ solution))  # |x - truth|_i <= bound sqrt(truth_ii b^T H^-1 b)
    assert (np.abs((rational(x) - solution).astype(float)) <= bound * size * energy).all()
    residual = np.abs((rational(H) @ rational(x) - rational(b)).astype(float))
    assert (residual <= 10 * d * np.finfo(float).eps * (np.abs(H) @ np.abs(x) + np.abs(b)).max()).all()


@given(st.integers(2, 8), st.floats(6, 11), st.integers(0, 2**32 - 1))
def test_the_residual_is_small_where_the_solution_is(d, log_condition, seed):
    # H^-1 is large but x is not, since b = H x: multiplying by an inverse would lose a factor of the condition
    rng = np.random.default_rng(seed)
    H, X = spd(rng, d, 10**log_condition, scales=False), rng.integers(1, 5, size=(d, 2)).astype(float)
    B = H @ X
    for got, right in ((solve_spd(H, B), B), (solve_spd(H, B[:, 0]), B[:, 0])):
        residual = np.abs((rational(H) @ rational(got) - rational(right)).astype(float))
        assert residual.max() <= 10 * d * np.finfo(float).eps * (np.abs(H) @ np.abs(got)).max()


@given(st.integers(1, 6), st.integers(-40, 40), st.integers(0, 2**32 - 1))
def test_scaling_by_powers_of_four_changes_no_bit(d, power, seed):
    H = spd(np.random.default_rng(seed), d, 1e3)
    assert_array_equal(inv_spd(H * 4.0**power), inv_spd(H) / 4.0**power)
    b = np.arange(1.0, d + 1)
    assert_array_equal(solve_spd(H * 4.0**power, b), solve_spd(H, b) / 4.0**power)


def test_dyadic_matrices_are_inverted_without_a_rounding_error(backend):
    H = np.diag([4.0, 0.25, 16.0])
    assert_array_equal(backend.numpy(inv_spd(backend.asarray(H))), np.diag([0.25, 4.0, 0.0625]))
    assert_array_equal(
        backend.numpy(solve_spd(backend.asarray(H), backend.asarray(np.ones(3)))), [0.25, 4, 0.0625]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_limit_is_d_eps_at_unit_diagonal(dtype):
    # [[1, r], [r, 1]] has rcond (1 - r) / (1 + r), the limit is 2 eps; the units of the weights must not matter
    eps = np.finfo(dtype).eps
    for gap, fits in ((16 * eps, True), (2 * eps, False)):
        for unit, scale in ((1.0, 1.0), (1.0, 2.0**20), (3.75, 1.0)):
            H = unit * np.array([[1, (1 - gap) * scale], [(1 - gap) * scale, scale**2]], dtype=dtype)
            H = H.astype(dtype)
            if fits:
                assert np.isfinite(inv_spd(H)).all()
            else:
                with pytest.raises(np.linalg.LinAlgError, match="rcond"):
                    inv_spd(H)


def test_an_inverse_out_of_range_is_an_error():
    with pytest.raises(np.linalg.LinAlgError, match="need a hessian whose inverse is in range"):
        inv_spd(np.array([[1e-310]]))


def test_fractions_go_to_the_exact_elimination():
    H = rational(np.array([[2.0, 1.0], [1.0, 2.0]]))
    truth = np.array([[Fraction(2, 3), Fraction(-1, 3)], [Fraction(-1, 3), Fraction(2, 3)]])
    for inverse in (inv(H), inv_spd(H), solve(H, exact.identity(2)), solve_spd(H, exact.identity(2))):
        assert_array_equal(inverse, truth)
    assert_array_equal(inv(np.stack([H, H])), np.stack([truth, truth]))
    assert_array_equal(solve(H, H[0]), [1, 0])
    for bad in (rational(np.ones((2, 2))), rational(np.diag([1.0, -1.0]))):
        with pytest.raises(np.linalg.LinAlgError, match="got pivot 1 <= 0"):
            inv_spd(bad)
        with pytest.raises(np.linalg.LinAlgError, match="got pivot 1 <= 0"):
            solve_spd(bad, bad)
    with pytest.raises(TypeError, match="need floating numbers for a Cholesky factor"):
        cholesky(H)


def test_half_precision_is_computed_in_float32():
    H = np.array([[2.0, 1.0], [1.0, 2.0]], dtype=np.float16)
    for result in (inv(H), inv_spd(H), inverse_factor(H), cholesky(H), solve(H, H), solve_spd(H, H[0])):
        assert result.dtype == np.float32
    assert solve_spd(H, H.astype(np.float64)).dtype == np.float64


def test_empty_matrices():
    empty = np.zeros((0, 0))
    for result in (
        inv(empty),
        inv_spd(empty),
        inverse_factor(empty),
        cholesky(empty),
        solve_spd(empty, empty),
    ):
        assert result.shape == (0, 0)
    assert solve_spd(np.eye(2), np.zeros((2, 0))).shape == (2, 0)


@pytest.mark.parametrize("function", [inv_spd, inverse_factor, lambda H, name: solve_spd(H, H, name)])
def test_asymmetric_and_strange_matrices_are_refused(function):
    with pytest.raises(ValueError, match="need G to be symmetric"):
        function(np.array([[1.0, 0.5], [0.0, 1.0]]), "G")
    with pytest.raises(ValueError, match="need G to be a square matrix"):
        function(np.ones((2, 3)), "G")
    with pytest.raises(ValueError, match="need finite numbers in G; got nan at flat index 3"):
        function(np.array([[1.0, 0.0], [0.0, np.nan]]), "G")
    with pytest.raises(TypeError, match="need real floating numbers in G; got int64"):
        function(np.eye(2, dtype=int), "G")


@pytest.mark.parametrize("d", [1, 2, 9])
def test_eigenvectors_of_a_semidefinite_matrix(backend, d):
    rng = np.random.default_rng(d)
    A = spd(rng, d).astype(backend.dtype).astype(float)
    values, vectors = (backend.numpy(x).astype(float) for x in eigh(backend.asarray(A)))
    # |A Q - Q L| and |Q^T Q - I| are at most c d eps |A| and c d eps (Golub and Van Loan, 8.1), c = 20
    slack = 20 * d * backend.eps
    assert np.abs(A @ vectors - vectors * values).max() <= slack * np.linalg.norm(A)
    assert np.abs(vectors.T @ vectors - np.eye(d)).max() <= slack
    assert (np.diff(values) >= 0).all()


def test_eigenvalues_that_rounding_put_below_zero_are_zero(backend):
    X = np.random.default_rng(5).normal(size=(3, 8))
    values, _ = eigh(backend.asarray(X.T @ X))
    values = backend.numpy(values)
    assert (values >= 0).all()
    assert (values[:5] <= 80 * backend.eps * values[7]).all()
    assert eigh(backend.asarray(np.zeros((0, 0))))[0].shape == (0,)


def test_a_negative_eigenvalue_is_an_error():
    with pytest.raises(
        np.linalg.LinAlgError, match="need a positive semidefinite gram; got an eigenvalue of -1 beside"
    ):
        eigh(np.array([[1.0, 2.0], [2.0, 1.0]]), "gram")
    most = np.sqrt(2.0**-52)
    eigh(np.diag([1.0, -0.9 * most]))
    with pytest.raises(np.linalg.LinAlgError, match="need a positive semidefinite matrix"):
        eigh(np.diag([1.0, -1.1 * most]))
    with pytest.raises(np.linalg.LinAlgError):
        eigh(np.full((2, 2), np.nan))


def test_inputs_are_not_changed(backend):
    H = backend.asarray(spd(np.random.default_rng(5), 4))
    before = backend.numpy(H).copy()
    for result in (inv(H), inv_spd(H), inverse_factor(H), cholesky(H), solve(H, H), solve_spd(H, H)):
        assert not np.shares_memory(backend.numpy(result), backend.numpy(H))
    assert_array_equal(backend.numpy(H), before)


def test_autograd_goes_through():
    H = spd(np.random.default_rng(6), 3)
    # d trace(inv H) / dH = -inv(H)^2, here for a symmetric change
    gradient = autograd.grad(lambda A: anp.trace(inv_spd((A + A.T) / 2)))(H)
    assert_allclose(gradient, -inv_spd(H) @ inv_spd(H), rtol=1e-12)
    gradient = autograd.grad(lambda b: anp.sum(b * solve_spd(H, b)))(np.arange(1.0, 4))
    assert_allclose(gradient, 2 * inv_spd(H) @ np.arange(1.0, 4), rtol=1e-12)
