"""Known mistakes in the refit, each killed by the certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
from tests.methods.checks import (
    EPS,
    removed_exactly,
    stationary,
)
from tests.methods.problems import (
    spd,
)


def certificate(method):
    rng = np.random.default_rng(12)
    H, w = spd(rng, 6), rng.normal(size=6) + 0.5
    H[2, :] = H[:, 2] = 0
    mask = np.array([True, False, True, True, False, True])
    v = method(H, w, mask)
    removed_exactly(v, mask, 2)
    assert v[2] == w[2], "a kept dead input lost its weight"
    stationary(w, H, v, mask, EPS)


def on_support(H, right, mask):
    K = mask & (np.diag(H) > 0)
    v = np.zeros(len(right))
    v[K] = np.linalg.solve(H[np.ix_(K, K)], right[K])
    return v


def with_dead_weight(v, w):
    v[2] = w[2]
    return v


def from_sum_of_single_steps(H, w, mask):
    L = np.diag(H) > 0
    G = np.zeros_like(H)
    G[np.ix_(L, L)] = np.linalg.inv(H[np.ix_(L, L)])
    v = w - sum(w[p] / G[p, p] * G[:, p] for p in np.flatnonzero(~mask))
    return np.where(mask, v, 0)


def not_zeroed(H, w, mask):
    """The Lagrange form with a rounded zero left in the pruned places."""
    return np.where(mask, rp.optimal_weights(rp.Quadratic(H, w), mask).weight, 1e-17)


MISTAKES = {
    "no update": (lambda H, w, m: np.where(m, w, 0), "not stationary"),
    "kept columns only": (
        lambda H, w, m: with_dead_weight(on_support(H, H @ np.where(m, w, 0), m), w),
        "not stationary",
    ),
    "damped silently": (
        lambda H, w, m: with_dead_weight(on_support(H + 0.01 * np.diag(np.diag(H)), H @ w, m), w),
        "not stationary",
    ),
    "sum of single steps": (from_sum_of_single_steps, "not stationary"),
    "dead input dropped": (lambda H, w, m: on_support(H, H @ w, m), "dead input lost its weight"),
    "not exactly zero": (not_zeroed, "not exactly zero"),
}


def test_the_method_passes_the_certificate():
    certificate(lambda H, w, mask: rp.optimal_weights(rp.Quadratic(H, w), mask).weight)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(method)
