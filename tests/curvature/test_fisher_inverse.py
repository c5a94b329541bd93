"""The inverse Fisher matrix: the recursion of its definition, exact inverses, and its range of damping."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune.definitions as definitions
from refprune.arrays import inv
from refprune.curvature import empirical_fisher, fisher_inverse
from tests.methods.problems import fractions

EPS = 2.0**-52


def damped(G, damp):
    return G.T @ G / len(G) + damp * np.eye(G.shape[1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 5]))
def test_the_definition_is_the_inverse_exactly(seed, samples, d, part):
    G = fractions(np.random.default_rng(seed).integers(-3, 4, size=(samples, d)).astype(float))
    damp = Fraction(1, part)
    F = G.T @ G / samples + damp * fractions(np.eye(d))
    assert_array_equal(definitions.fisher_inverse(G, damp), inv(F))


@pytest.mark.parametrize(("samples", "d"), [(1, 1), (1, 6), (5, 6), (6, 6), (7, 6), (40, 6), (8, 30)])
@pytest.mark.parametrize("damp", [1e-8, 1e-5, 1e-2, 10.0])
def test_is_the_recursion_and_the_inverse(samples, d, damp):
    rng = np.random.default_rng(samples * 100 + d)
    G = rng.normal(size=(samples, d)) + 0.3
    F = damped(G, damp)
    found = fisher_inverse(G, damp)
    assert_array_equal(found, found.T)
    exact = definitions.fisher_inverse(fractions(G), Fraction(damp)).astype(float)
    # forward error of a stable inverse: c d eps cond(F) |F^-1| (Higham, section 14.1)
    bound = 20 * d * EPS * np.linalg.cond(F) * np.linalg.norm(exact, 2)
    assert np.linalg.norm(found - exact, 2) <= bound
    by_recursion = definitions.fisher_inverse(G, damp)
    # it starts from I / damp, and every update errs by eps of that
    assert np.linalg.norm(by_recursion - exact, 2) <= bound + 200 * samples * EPS / damp


def test_more_gradients_than_weights_keep_their_digits():
    """Woodbury subtracts nearly equal numbers there: 9e-6 at N = 400, d = 50, damp = 1e-10."""
    rng = np.random.default_rng(0)
    G = rng.normal(size=(400, 50))
    exact = np.linalg.inv(damped(G, 1e-10))
    relative = np.linalg.norm(fisher_inverse(G, 1e-10) - exact) / np.linalg.norm(exact)
    assert relative <= 100 * EPS * np.linalg.cond(damped(G, 1e-10))


def test_backends(backend):
    rng = np.random.default_rng(1)
    for samples in (3, 9):
        G = rng.normal(size=(samples, 5))
        found = fisher_inverse(backend.asarray(G), 0.125)
        assert found.dtype == backend.asarray(G).dtype
        right = np.linalg.inv(damped(G, 0.125))
        bound = 100 * backend.eps * np.linalg.cond(damped(G, 0.125)) * np.linalg.norm(right, 2)
        assert np.linalg.norm(backend.numpy(found) - right, 2) <= bound


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 9])
def test_blocks_are_the_inverses_of_the_blocks(block):
    G = np.random.default_rng(2).normal(size=(4, 7))
    parts = fisher_inverse(G, 0.1, block)
    edges = [*range(0, 7, block), 7]
    assert [len(part) for part in parts] == list(np.diff(edges))
    for part, low, high in zip(parts, edges[:-1], edges[1:], strict=True):
        assert_array_equal(part, fisher_inverse(G[:, low:high], 0.1))
    if block >= 7:
        assert_array_equal(parts[0], fisher_inverse(G, 0.1))


def test_boundaries_are_exact():
    assert fisher_inverse(np.array([[2.0]]), 0.0).tolist() == [[0.25]]
    assert fisher_inverse(np.zeros((3, 2)), 0.25).tolist() == [
        [4, 0],
        [0, 4],
    ]  # no gradient: the damping alone
    assert fisher_inverse(np.zeros((1, 3)), 0.25).tolist() == (4 * np.eye(3)).tolist()
    assert fisher_inverse(np.zeros((2, 0)), 0.5).shape == (0, 0)
    assert fisher_inverse(np.zeros((2, 0)), 0.5, block=3) == ()
    opposite = fisher_inverse(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1.0)  # the mean gradient is zero
    assert_allclose(opposite, [[0.5, 0], [0, 1]], rtol=8 * EPS)


def test_invariances():
    rng = np.random.default_rng(3)
    G = rng.normal(size=(4, 6))
    base = fisher_inverse(G, 2.0**-7)
    size = 1e3 * EPS * np.linalg.cond(damped(G, 2.0**-7)) * np.linalg.norm(base, 2)
    assert_array_equal(
        fisher_inverse(G * 2.0**-40, 2.0**-87), base * 2.0**80
    )  # absolute damping moves with G^2
    order, mix = rng.permutation(6), rng.permutation(4)
    assert np.abs(fisher_inverse(G[:, order], 2.0**-7) - base[np.ix_(order, order)]).max() <= size
    assert np.abs(fisher_inverse(G[mix] * rng.choice([-1, 1], size=(4, 1)), 2.0**-7) - base).max() <= size
    assert np.abs(fisher_inverse(np.concatenate([G, G]), 2.0**-7) - base).max() <= size  # Cholesky now


@pytest.mark.parametrize(("dtype", "far"), [("float32", 60), ("float64", 500)])
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_squares_may_leave_the_range(shape, dtype, far):
    """Powers of two change no bit; the inverse beyond the range is refused, whatever the way to it."""
    G = np.random.default_rng(6).normal(size=shape).astype(dtype)
    base = fisher_inverse(G, 0.25)
    for power in (far, -far):
        found = fisher_inverse(G * dtype_of(dtype, power), 2.0 ** (2 * power - 2))
        assert_array_equal(found, base * dtype_of(dtype, -power) * dtype_of(dtype, -power))
    for zero in (G * 0, G * 0 + dtype_of(dtype, -1.2 * far)):
        with pytest.raises(ValueError, match=f"need finite numbers in the answer in {dtype}; got inf"):
            fisher_inverse(zero, 2.0 ** {"float32": -130, "float64": -1050}[dtype])
    # only the gradients or only the damping is out of range: sound to rounding, no warning
    size = np.linalg.norm(base, 2)
    assert fisher_inverse(G * 0, 2.0 ** (far * 1.5))[0, 0] == 2.0 ** (-far * 1.5)
    loud = fisher_inverse(G[:1] * dtype_of(dtype, far + 10), 1.0)  # projects on what g leaves out
    g = G[0].astype(float)
    slack = 100 * float(np.finfo(dtype).eps) * size
    assert_allclose(loud, np.eye(len(g)) - np.outer(g, g) / (g @ g), rtol=0, atol=slack)


def dtype_of(dtype, power):
    return np.dtype(dtype).type(2.0**power)


@pytest.mark.parametrize("samples", [1, 4])
def test_fractions_are_exact(samples):
    G = fractions(np.random.default_rng(7).integers(-3, 4, size=(samples, 3)).astype(float))
    for damp in (Fraction(1, 3), 1, 0.5):
        assert_array_equal(fisher_inverse(G, damp), definitions.fisher_inverse(G, Fraction(damp)))


MISTAKES = {
    "damping divided by N": lambda G, damp: np.linalg.inv(damped(G, damp / len(G))),
    "not divided by N": lambda G, damp: np.linalg.inv(G.T @ G + damp * np.eye(G.shape[1])),
    "mean gradient": lambda G, damp: np.linalg.inv(
        np.outer(G.mean(0), G.mean(0)) + damp * np.eye(G.shape[1])
    ),
    "damping relative": lambda G, damp: np.linalg.inv(damped(G, damp * np.mean(G**2))),
    "no final division by the damping": lambda G, damp: damp * np.linalg.inv(damped(G, damp)),
    "recursion without N": lambda G, damp: definitions.fisher_inverse(G * len(G) ** 0.5, damp),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_far_from_right(name):
    G = np.random.default_rng(4).normal(size=(5, 7)) + 0.5
    right = np.linalg.inv(empirical_fisher(G) + 0.1 * np.eye(7))
    assert np.abs(fisher_inverse(G, 0.1) - right).max() <= 1e-12 * np.abs(right).max()
    assert np.abs(MISTAKES[name](G, 0.1) - right).max() > 1e-2 * np.abs(right).max()


def test_errors():
    G = np.random.default_rng(5).normal(size=(3, 4))
    for call, kind, words in (
        (lambda: fisher_inverse(G[0], 0.1), ValueError, "need gradients with 2 dimensions"),
        (lambda: fisher_inverse(G[:0], 0.1), ValueError, "need at least one sample in gradients"),
        (lambda: fisher_inverse(G, -0.1), ValueError, "need damp >= 0 and finite"),
        (lambda: fisher_inverse(G, "small"), TypeError, "need damp to be a real number"),
        (lambda: fisher_inverse(G, 0.1, 0), ValueError, "need block >= 1"),
        (lambda: fisher_inverse(G, 0.1, 2.0), TypeError, "need block to be an integer"),
        (lambda: fisher_inverse(G * np.inf, 0.1), ValueError, "need finite numbers in gradients"),
        (
            lambda: fisher_inverse(fractions(G), 0),
            np.linalg.LinAlgError,
            "got damp 0 with 3 gradients of 4 weights",
        ),
        (lambda: fisher_inverse(G, 0.0), np.linalg.LinAlgError, "got damp 0 with 3 gradients of 4 weights"),
        (
            lambda: fisher_inverse(np.ones((3, 4), "f"), 1e-9),
            np.linalg.LinAlgError,
            "a larger damp would do",
        ),
        (
            lambda: fisher_inverse(G.astype("float16"), 1e-6),
            ValueError,
            "need finite numbers in the answer in float16",
        ),
    ):
        with pytest.raises(kind, match=words):
            call()
