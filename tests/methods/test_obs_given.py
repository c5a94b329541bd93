"""OBS with what else is given: dead inputs, prior zeros, damping, a gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import (
    EPS,
    replay,
    stationary,
    truthful,
)
from tests.methods.problems import (
    condition,
    layers,
    masks,
    spd,
    with_dead,
)


def test_dead_inputs_go_first_and_lowest_first():
    rng = np.random.default_rng(20)
    G = with_dead(spd(rng, 4), [1, 4])
    W = rng.normal(size=(2, 6))
    W[0, 0] = 0  # free as well, and of a lower index, but not dead
    for rule in ("heap", "sorted", "cumulative"):
        answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=9), allocation=rule)
        assert answer.order.tolist() == [1, 4, 7]
        assert_array_equal(answer.weight[answer.mask], W[answer.mask])  # nothing moves
        assert answer.weight[1, 4] == W[1, 4] != 0
        assert answer.trace == (0.0, 0.0, 0.0)
        assert answer.objective == 0
    beyond = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=6))
    assert beyond.order.tolist()[:5] == [1, 4, 7, 10, 0]
    nm = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 3))
    assert nm.order.tolist() == [1, 4, 7, 10]


@pytest.mark.parametrize("method", [rp.obs, rp.sparsegpt, rp.alps], ids=lambda method: method.__name__)
@pytest.mark.parametrize("size", [1.0, 1e-100, 1e100])
def test_an_input_whose_square_is_below_the_range_is_dead(method, size):
    """Its products with other inputs need not be 0; what softplus makes of -400 is such an input."""
    rng = np.random.default_rng(5)
    X, W = rng.normal(size=(30, 4)) * size, rng.normal(size=(3, 4))
    X[:, 1] = 0
    dead = rp.LayerProblem.from_inputs(W, X)
    X[:, 1] = rng.normal(size=30) * 1e-170
    layer = rp.LayerProblem.from_inputs(W, X)
    assert layer.gram[1, 1] == 0
    assert np.any(layer.gram[1] != 0)
    for pattern in (rp.Unstructured(sparsity=0.5), rp.NM(2, 4)):
        answer, expected = method(layer, pattern), method(dead, pattern)
        assert_array_equal(answer.mask, expected.mask)
        assert_array_equal(answer.weight, expected.weight)


def test_everything_dead():
    layer = rp.LayerProblem(np.ones((2, 4)), np.zeros((4, 4)))
    for pattern in (rp.Unstructured(keep=3), rp.NM(1, 2), rp.Blocks(2, keep=2), rp.Groups(keep=2, axis=1)):
        answer = rp.obs(layer, pattern)
        assert pattern.admits(answer.mask)
        assert answer.objective == 0
        assert_array_equal(answer.weight, answer.mask * 1.0)
    assert rp.obs(layer, rp.Unstructured(keep=3)).order.tolist() == [0, 1, 2, 3, 4]


@given(layers(), st.data())
def test_prior_zeros_are_columns_that_are_not_there(layer, data):
    """Each row with a prior mask is the row with those columns deleted from weight and Hessian."""
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    k = data.draw(st.integers(int((~prior).sum(axis=1).max()), W.shape[1]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k, scope="row"), mask=prior)
    assert not answer.mask[~prior].any()
    for i in range(len(W)):
        K = np.flatnonzero(prior[i])
        v, order = definitions.obs(W[i, K], G[np.ix_(K, K)], k - (W.shape[1] - len(K)))
        assert_allclose(answer.weight[i, K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
        own = (answer.order.reshape(len(W), k)[i] - i * W.shape[1]).tolist()
        assert own == [*np.flatnonzero(~prior[i]), *K[order]]
    D = answer.weight - W
    total = np.sum(W @ G * W) / 2
    truthful(np.sum(D @ G * D) / 2, answer.objective, answer.trace, W.size * total, EPS, condition(G))


@given(layers(), st.data())
def test_prior_zeros_in_a_shared_budget(layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    count = data.draw(st.integers(int((~prior).sum()), W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), mask=prior)
    K = np.flatnonzero(prior)
    hessian = np.kron(np.eye(len(W)), G)[np.ix_(K, K)]
    v, order = definitions.obs_groups(
        W.ravel()[K], hessian, np.arange(len(K)), count - np.count_nonzero(~prior)
    )
    assert answer.order.tolist() == [*np.flatnonzero(~prior), *K[order]]
    assert_allclose(
        answer.weight.ravel()[K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100
    )


@given(layers(columns=(1, 2), width=4, dead=False), st.data())
def test_prior_zeros_in_nm_are_counted_and_never_revived(layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4), mask=prior)
    assert not answer.mask[~prior].any()
    held = (~prior).reshape(len(W), -1, 4).sum(axis=2)
    assert_array_equal((~answer.mask).reshape(len(W), -1, 4).sum(axis=2), np.maximum(held, 2))
    for i in range(len(W)):
        stationary(W[i], G, answer.weight[i], answer.mask[i], EPS)
        K = np.flatnonzero(prior[i])
        own = [p % W.shape[1] for p in answer.order.tolist() if p // W.shape[1] == i]
        assert own[: len(prior[i]) - len(K)] == np.flatnonzero(~prior[i]).tolist()
        left = [int(np.flatnonzero(p == K)[0]) for p in own[len(prior[i]) - len(K) :]]
        replay(W[i, K], G[np.ix_(K, K)], left, EPS, groups=K // 4, zeros=2 - held[i])


def test_a_zero_weight_without_a_prior_mask_is_ordinary():
    H = np.array([[2.0, 1.0], [1.0, 1.0]])
    answer = rp.obs(rp.Quadratic(H, np.array([0.0, 3.0])), rp.Unstructured(keep=1))
    assert answer.order.tolist() == [0]  # it is the cheapest
    H = np.eye(3)
    H[0, 1] = H[1, 0] = 0.5
    answer = rp.obs(
        rp.Quadratic(H, np.array([0.0, 3.0, 0.0])),
        rp.Unstructured(keep=2),
        mask=np.array([True, True, False]),
    )
    assert answer.order.tolist() == [2]  # the prior zero goes before the free one of a lower index


@given(layers(), st.data())
def test_damping_chooses_and_refits_with_the_damped_matrix(layer, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), damp=0.5)
    living = np.diag(G) > 0
    damped = G.copy()
    if living.any():
        damped += np.diag(living * (0.5 * np.diag(G)[living].mean()))
    V, mask = definitions.exact_obs(W, damped, count)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(damped) * np.abs(W).max() * 100)
    D = answer.weight - W
    assert_allclose(answer.objective, np.sum(D @ G * D) / 2, rtol=1e-11, atol=1e-300)  # undamped
    assert_allclose(sum(answer.trace), np.sum(D @ damped * D) / 2, rtol=1e-9, atol=1e-12 * np.sum(W @ G * W))


@given(layers(rows=(1, 1)), st.data())
def test_a_gradient_moves_the_start(layer, data):
    w, H = layer.weight[0], layer.gram
    g = H @ layer.rng.normal(size=len(w))  # in the range of H: zero on dead inputs
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.Quadratic(H, w, g), rp.Unstructured(keep=len(w) - k))
    living = np.diag(H) > 0
    start = w.copy()
    start[living] -= np.linalg.solve(H[np.ix_(living, living)], g[living])
    v, order = definitions.obs(start, H, k)
    assert answer.order.tolist() == order
    scale = np.abs(w).max() + np.abs(start).max()
    assert_allclose(answer.weight, v, rtol=0, atol=1e3 * EPS * condition(H) * scale * 100)
    drop = g @ (start - w) / 2  # -1/2 g^T H^-1 g
    size = start @ H @ start + w @ H @ w
    assert_allclose(answer.objective, sum(answer.trace) + drop, rtol=0, atol=1e3 * EPS * condition(H) * size)
    stationary(w, H, answer.weight, answer.mask, EPS, gradient=g)
