"""Identities across methods, numbered as on the page that tells how the methods are one."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions.obs import outcome, steps
from tests.methods.problems import condition, spd

EPS = 2.0**-52


def drawn(number, seed, d=8):
    """(w, H, the pruned set ascending, rng) of an identity."""
    rng = np.random.default_rng([30, number, seed])
    gone = np.sort(rng.permutation(d)[: rng.integers(0, d + 1)])
    return rng.normal(size=d) + 0.25, spd(rng, d), gone, rng


def joint(w, H, gone):
    """Group OBS of the set `gone`: ``w - C_:P (C_PP)^-1 w_P``, by an inverse as it stands in the papers."""
    C = np.linalg.inv(H)
    v = w - C[:, gone] @ np.linalg.solve(C[np.ix_(gone, gone)], w[gone])
    v[gone] = 0
    return v


def slack(H, *weights):
    """Rounding of a solve with inputs of other units: the condition at unit diagonal, and the spread of the units."""
    units = np.diag(H).max() / np.diag(H).min()
    return 1e3 * EPS * condition(H) * units**0.5 * max(np.abs(w).max(initial=0) for w in weights)


def test_1_least_squares_on_a_support_is_the_projection_of_iobs_is_group_obs():
    """min ||G (v - w)||^2 / N + lam ||v - w||^2 on the support (CHITA without a first-order term)."""
    for seed in range(30):
        rng = np.random.default_rng([30, 1, seed])
        N, d, lam = int(rng.integers(3, 12)), 8, 0.05
        G, w = rng.normal(size=(N, d)), rng.normal(size=d)
        H = G.T @ G / N + lam * np.eye(d)
        for selection in ("topk", "saliency", "obs", "random"):
            answer = rp.iobs(rp.Quadratic(H, w), 3, selection=selection, rng=np.random.default_rng(seed))
            stacked = np.vstack([G / N**0.5, lam**0.5 * np.eye(d)])  # (N + d, d)
            fit = np.zeros(d)
            fit[answer.mask] = np.linalg.lstsq(stacked[:, answer.mask], stacked @ w, rcond=None)[0]
            assert_allclose(answer.weight, fit, rtol=0, atol=slack(H, fit, w))
            group = joint(w, H, np.flatnonzero(~answer.mask))
            assert_allclose(answer.weight, group, rtol=0, atol=slack(H, fit, w))


def test_2_removals_until_a_set_is_gone_are_its_group_obs_whatever_the_order():
    for seed in range(50):
        w, H, gone, rng = drawn(2, seed)
        wanted = rng.permutation(gone).tolist()
        ordered = outcome(
            w, steps(w, H, lambda p, done, wanted=wanted: wanted[len(done) : len(done) + 1] == [p])
        )
        assert ordered[1] == wanted
        best = rp.optimal_weights(rp.Quadratic(H, w), ~np.isin(np.arange(8), gone)).weight
        for weights in (joint(w, H, gone), best, outcome(w, steps(w, H, lambda p, _, P=gone: p in P))[0]):
            assert_allclose(ordered[0], weights, rtol=0, atol=slack(H, w, best))


def test_3_a_sweep_over_a_prefix_is_obs_in_that_order():
    for seed in range(30):
        w, H, _, rng = drawn(3, seed)
        k = int(rng.integers(0, 9))
        mask = np.arange(8) >= k
        swept = definitions.sparsegpt_weights(w[None], H, mask[None])[0]
        ordered, order = outcome(w, steps(w, H, lambda p, done, k=k: p == len(done) < k))
        assert order == list(range(k))
        best = rp.optimal_weights(rp.Quadratic(H, w), mask).weight
        for weights in (ordered, best):
            assert_allclose(swept, weights, rtol=0, atol=slack(H, w, best))


def test_3_a_step_of_the_sweep_is_the_removal_of_the_first_weight_that_is_left():
    """In the sub-problem G[j:, j:]: kept columns to the left are frozen."""
    frozen = 0
    for seed in range(30):
        w, H, gone, _ = drawn(4, seed)
        mask = ~np.isin(np.arange(8), gone)
        swept = definitions.sparsegpt_weights(w[None], H, mask[None])[0]
        v = w.copy()
        for j in gone:
            v[j:], order = outcome(v[j:], steps(v[j:], H[j:, j:], lambda p, done: p == len(done) == 0))
            assert order == [0]
        assert_allclose(swept, v, rtol=0, atol=slack(H, w, v))
        assert_array_equal(swept[~mask], 0)
        best = rp.optimal_weights(rp.Quadratic(H, w), mask).weight
        frozen += not np.allclose(swept, best)
    assert frozen > 20  # it is another answer than the best weights where kept columns are on the left
