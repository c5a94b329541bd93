"""Gauss-Newton and the empirical Fisher matrix, against sums over samples and exact Fractions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from refprune.curvature import empirical_fisher, gauss_newton
from tests.methods.problems import fractions


def problem(rng, samples=5, outputs=3, d=4):
    J = rng.normal(size=(samples, outputs, d)) + 0.5
    roots = rng.normal(size=(samples, outputs, outputs)) + 0.2
    return J, roots @ roots.transpose(0, 2, 1)


def by_loops(J, H):
    """One entry, one sample, one pair of outputs at a time."""
    samples, outputs, d = J.shape
    total = [[0 * J.ravel()[0]] * d for _ in range(d)]
    for i in range(d):
        for j in range(d):
            for s in range(samples):
                for a in range(outputs):
                    for c in range(outputs):
                        total[i][j] = total[i][j] + J[s, a, i] * H[s, a, c] * J[s, c, j]
    return np.array(total) / samples


def test_gauss_newton_is_the_sum_by_loops(backend):
    J, H = problem(np.random.default_rng(0))
    found = gauss_newton(backend.asarray(J), backend.asarray(H))
    assert found.dtype == backend.asarray(J).dtype
    # 45 products of three factors for each entry (Higham, section 3.1), and the rounded inputs
    size = by_loops(np.abs(J), np.abs(H))
    assert np.all(np.abs(backend.numpy(found) - by_loops(J, H)) <= 60 * backend.eps * size)


def test_empirical_fisher_is_the_sum_by_loops(backend):
    G = np.random.default_rng(1).normal(size=(6, 4)) + 0.3
    found = empirical_fisher(backend.asarray(G))
    right = sum(np.outer(g, g) for g in G) / 6
    size = sum(np.outer(abs(g), abs(g)) for g in G) / 6
    assert np.all(np.abs(backend.numpy(found) - right) <= 20 * backend.eps * size)


def test_exact_on_fractions():
    rng = np.random.default_rng(2)
    J, G = rng.integers(-3, 4, size=(3, 2, 4)).astype(float), rng.integers(-3, 4, size=(3, 4)).astype(float)
    H = np.array([[[2.0, 1.0], [1.0, 3.0]]] * 3)
    assert_array_equal(gauss_newton(fractions(J), fractions(H)), by_loops(fractions(J), fractions(H)))
    exact = fractions(G)
    assert_array_equal(empirical_fisher(exact), exact.T @ exact / 3)


@pytest.mark.parametrize(("dtype", "far"), [("float32", 61), ("float64", 509)])
def test_sums_may_leave_the_range(dtype, far):
    """The sum over 4096 samples is beyond the dtype, the mean is not; powers of two change no bit."""
    rng = np.random.default_rng(4)
    G = rng.uniform(0.5, 1, size=(4096, 2)).astype(dtype)
    up, one = np.dtype(dtype).type(2.0**far), np.ones((4096, 1, 1), dtype=dtype)
    for power, back in ((up, 1 / up), (1 / up, up)):
        for found in (
            empirical_fisher(G * power),
            gauss_newton((G * power)[:, None], one),
            gauss_newton(G[:, None], one * power * power),
        ):
            # 4096 terms of one sign, in any order (Higham, section 4.2)
            assert_allclose(found * back * back, empirical_fisher(G), rtol=4096 * np.finfo(dtype).eps)
    assert_array_equal(empirical_fisher(G * up), empirical_fisher(G) * up * up)
    for call in (
        lambda: empirical_fisher(G * up * 16),
        lambda: gauss_newton((G * up)[:, None], one * 128),
    ):
        with pytest.raises(ValueError, match=f"need finite numbers in the answer in {dtype}; got inf"):
            call()


def test_both_are_exactly_symmetric_and_semidefinite():
    rng = np.random.default_rng(3)
    J, H = problem(rng, 7, 4, 9)
    for found in (gauss_newton(J, H), empirical_fisher(J[:, 0])):
        assert_array_equal(found, found.T)
        assert np.linalg.eigvalsh(found)[0] >= -100 * 2.0**-52 * np.linalg.norm(found, 2)


def test_identities():
    rng = np.random.default_rng(4)
    J, _ = problem(rng, 6, 1, 5)
    least_squares = gauss_newton(J, np.ones((6, 1, 1)))
    assert_allclose(least_squares, empirical_fisher(J[:, 0]), rtol=1e-14)
    # the model's Fisher matrix of a softmax: expectation over the labels of the outer products of J^T (p - e_y)
    J, _ = problem(rng, 4, 3, 5)
    p = rng.dirichlet(np.ones(3), size=4)
    H = np.stack([np.diag(q) - np.outer(q, q) for q in p])
    outer = [
        sum(p[s, y] * np.outer(g := J[s].T @ (p[s] - np.eye(3)[y]), g) for y in range(3)) for s in range(4)
    ]
    assert_allclose(gauss_newton(J, H), np.mean(outer, axis=0), rtol=0, atol=1e-13 * np.abs(outer).max())


def test_invariances():
    rng = np.random.default_rng(5)
    J, H = problem(rng)
    base = gauss_newton(J, H)
    assert_array_equal(gauss_newton(J * 2.0**-30, H * 2.0**7), base * 2.0**-53)
    order = rng.permutation(4)
    assert_allclose(gauss_newton(J[:, :, order], H), base[np.ix_(order, order)], rtol=1e-13, atol=1e-13)
    mix = rng.permutation(5)
    assert_allclose(gauss_newton(J[mix], H[mix]), base, rtol=1e-13, atol=1e-13)
    twice = gauss_newton(np.concatenate([J, J]), np.concatenate([H, H]))
    assert_allclose(twice, base, rtol=1e-13, atol=1e-13)  # duplicated samples change no mean


MISTAKES = {
    "square of the mean": lambda G: np.outer(G.mean(axis=0), G.mean(axis=0)),
    "not divided": lambda G: G.T @ G,
    "centred": lambda G: np.cov(G.T, bias=True),
    "divided by N - 1": lambda G: G.T @ G / (len(G) - 1),
    "last sample only": lambda G: np.outer(G[-1], G[-1]),
    "over the weights": lambda G: G @ G.T / len(G),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_far_from_right(name):
    G = np.random.default_rng(6).normal(size=(4, 4)) + 1
    found = empirical_fisher(G)
    assert np.abs(MISTAKES[name](G) - found).max() > 1e-3 * np.abs(found).max()


def test_boundaries():
    assert gauss_newton(np.zeros((2, 0, 3)), np.zeros((2, 0, 0))).tolist() == [[0, 0, 0]] * 3
    assert gauss_newton(np.zeros((2, 1, 0)), np.ones((2, 1, 1))).shape == (0, 0)
    assert empirical_fisher(np.array([[3.0]])).tolist() == [[9]]
    J, H = problem(np.random.default_rng(7))
    for array in (J, H):
        array.flags.writeable = False
    gauss_newton(J, H)
    half = empirical_fisher(J[:, 0].astype("float16"))
    assert half.dtype == "float16"


def test_errors():
    J, H = problem(np.random.default_rng(8))
    for call, kind, words in (
        (lambda: gauss_newton(J[0], H), ValueError, "need jacobian with 3 dimensions"),
        (lambda: gauss_newton(J, H[:, :2, :2]), ValueError, r"need output_hessian of shape \(5, 3, 3\)"),
        (lambda: gauss_newton(J, H + np.triu(H)), ValueError, "need output_hessian to be symmetric"),
        (lambda: gauss_newton(J * np.nan, H), ValueError, "need finite numbers in jacobian"),
        (lambda: gauss_newton(J.tolist(), H), TypeError, "need jacobian to be an array"),
        (lambda: gauss_newton(J[:0], H[:0]), ValueError, "need at least one sample in jacobian"),
        (lambda: empirical_fisher(J), ValueError, "need gradients with 2 dimensions"),
        (lambda: empirical_fisher(J[:0, 0]), ValueError, "need at least one sample in gradients"),
        (
            lambda: empirical_fisher(np.full((1, 1), 1000, "float16")),
            ValueError,
            "need finite numbers in the answer in float16",
        ),
    ):
        with pytest.raises(kind, match=words):
            call()
