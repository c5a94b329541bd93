"""The promises on the speed of WoodFisher: far from the recursion of its paper, and from any matrix of all weights."""

import numpy as np
import pytest

import refprune as rp
import refprune.definitions as definitions
from tests.benchmarks.timing import seconds


def problem(samples=400, d=2000):
    """(weight, gradients, damp): the damp is 1e-4 of the mean diagonal."""
    rng = np.random.default_rng(0)
    G = rng.normal(size=(samples, d)) + 0.3
    return rng.normal(size=d), G, 1e-4 * float(np.mean(G**2))


def by_the_inverse(w, G, damp, count):
    """The paper's formulas with numpy.linalg alone: the inverse of F, the costs, the joint update."""
    C = np.linalg.inv(G.T @ G / len(G) + damp * np.eye(len(w)))
    P = np.argsort(w**2 / np.diag(C), kind="stable")[:count]
    v = w - C[:, P] @ np.linalg.solve(C[np.ix_(P, P)], w[P])
    v[P] = 0
    return v


def without_running_inverse(w, G, damp, mask, swaps):
    """`swaps` of the best of all pairs after a return and a removal, with a new inverse of F_KK for each."""
    F = G.T @ G / len(G) + damp * np.eye(len(w))
    mask = mask.copy()
    for _ in range(swaps):
        K, P = np.flatnonzero(mask), np.flatnonzero(~mask)
        C = np.linalg.inv(F[np.ix_(K, K)])
        v = w[K] + C @ (F[np.ix_(K, P)] @ w[P])
        slope = F[np.ix_(P, K)] @ (v - w[K]) - F[np.ix_(P, P)] @ w[P]
        own = np.diag(F)[P] - np.sum(F[np.ix_(P, K)] * (F[np.ix_(P, K)] @ C), axis=1)
        mask[P[np.argmax(slope**2 / own)]], mask[K[np.argmin(v**2 / np.diag(C))]] = True, False
    return mask


@pytest.mark.benchmark
def test_the_inverse_is_20_times_faster_than_the_recursion():
    """N = 400, d = 2,000, in one run."""
    _, G, damp = problem()
    fast, found = seconds(lambda: rp.fisher_inverse(G, damp), repeat=5)
    slow, right = seconds(lambda: definitions.fisher_inverse(G, damp))
    assert np.abs(found - right).max() <= 1e-9 * np.abs(right).max()
    assert 20 * fast < slow, f"processor time: Woodbury {fast:.3f} s, recursion {slow:.3f} s"


@pytest.mark.benchmark
def test_no_matrix_of_all_weights_is_10_times_faster_than_numpy_with_one():
    """N = 400, d = 2,000, 90 %: choice and update."""
    w, G, damp = problem()
    fast, answer = seconds(lambda: rp.woodfisher(w, G, rp.Unstructured(0.9), damp), repeat=5)
    slow, right = seconds(lambda: by_the_inverse(w, G, damp, 1800), repeat=3)
    assert np.abs(answer.weight - right).max() <= 1e-9 * np.abs(right).max()
    assert 10 * fast < slow, f"processor time: rp.woodfisher {fast:.3f} s, with the inverse {slow:.3f} s"


@pytest.mark.benchmark
def test_swaps_are_10_times_faster_than_new_inverses():
    """N = 200, d = 1,500, 50 %: twenty swaps, each the best of 4,096 pairs."""
    w, G, damp = problem(200, 1500)
    mask = rp.woodfisher(w, G, rp.Unstructured(0.5), damp).mask
    fast, answer = seconds(
        lambda: rp.woodfisher(w, G, rp.Unstructured(0.5), damp, search="swap", max_iter=20), repeat=3
    )
    slow, _ = seconds(lambda: without_running_inverse(w, G, damp, mask, 20))
    assert len(answer.trace) == 21
    assert 10 * fast < slow, f"processor time: rp.woodfisher {fast:.3f} s, with new inverses {slow:.3f} s"
