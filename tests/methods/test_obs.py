"""Optimal Brain Surgeon on single weights: the definition, its paths, exact facts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import inv
from refprune.definitions.obs import steps
from tests.methods.checks import (
    EPS,
    certify,
    replay,
    stationary,
)
from tests.methods.problems import (
    condition,
    exact_quadratics,
    fractions,
    layers,
    spd,
)


def exact_path(w, H):
    """(order, losses, relative gaps to the second cheapest) of the whole path in exact arithmetic."""
    order, losses, gaps = [], [], []
    for p, loss, _ in steps(fractions(w), fractions(H)):
        A = np.array([q for q in range(len(w)) if q not in order and H[q, q] > 0])
        if H[p, p] > 0:
            G = inv(fractions(H)[np.ix_(A, A)])
            v = G @ (fractions(H)[A] @ fractions(w))
            others = [v[i] ** 2 / (2 * G[i, i]) for i, q in enumerate(A) if q != p]
            gaps.append(float(min(others) - loss) if others else np.inf)
        else:
            gaps.append(np.inf)
        order.append(p)
        losses.append(float(loss))
    return order, losses, gaps


@given(exact_quadratics(), st.data())
def test_the_exact_run_agrees(problem, data):
    """The certificate always holds; where no two candidates tie in exact arithmetic the orders are equal."""
    w, H = problem
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.LayerProblem(w[None], H), rp.Unstructured(keep=len(w) - k))
    certify(w[None], H, answer)
    order, losses, gaps = exact_path(w, H)
    if min(gaps[:k], default=np.inf) > 1e-9:
        assert answer.order.tolist() == order[:k]
        assert_allclose(answer.trace, losses[:k], rtol=0, atol=1e-12 * (w @ H @ w) * condition(H))
        exact = definitions.obs(fractions(w), fractions(H), k)[0].astype(float)
        assert_allclose(answer.weight[0], exact, rtol=0, atol=1e-11 * condition(H))


@given(layers(), st.data())
def test_layers_with_each_rule_are_the_definition(layer, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size))
    rule = data.draw(st.sampled_from(["heap", "sorted", "cumulative"]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), allocation=rule)
    V, mask = definitions.exact_obs(W, G, count, rule)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    certify(W, G, answer)


@given(layers(), st.data())
def test_rows_with_their_own_budget(layer, data):
    W, G = layer.weight, layer.gram
    k = data.draw(st.integers(0, W.shape[1]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k, scope="row"))
    assert (~answer.mask).sum(axis=1).tolist() == [k] * len(W)
    order = answer.order.reshape(len(W), k)
    for i in range(len(W)):
        assert definitions.obs(W[i], G, k)[1] == (order[i] - i * W.shape[1]).tolist()
    certify(W, G, answer)


@given(
    layers(columns=(1, 3), width=4), st.sampled_from([(0, 1), (1, 1), (1, 2), (2, 4), (1, 4), (3, 4), (0, 4)])
)
def test_nm_is_the_definition(layer, pattern):
    W, G = layer.weight, layer.gram
    n, m = pattern
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(n, m))
    V, mask = definitions.exact_obs_nm(W, G, n, m)
    assert_array_equal(answer.mask, mask)
    assert (answer.mask.reshape(len(W), -1, m).sum(axis=2) == n).all()
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    certify(W, G, answer, groups=np.arange(W.shape[1]) // m, zeros=m - n)


@given(layers(rows=(1, 1), columns=(1, 6)), st.data())
def test_sandwich(layer, data):
    """Best support <= OBS <= the loss of its own mask without update; OBS equals re-solving every candidate."""
    w, H = layer.weight[0], layer.gram
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k))
    slack = 100 * EPS * len(w) * condition(H) * (w @ H @ w)
    d = np.where(answer.mask, 0, w)
    assert definitions.best_support(w, H, k)[2] - slack <= answer.objective <= d @ H @ d / 2 + slack
    assert definitions.obs_by_resolving(w, H, k)[1] == answer.order.tolist()


@given(layers(rows=(1, 1)))
def test_shorter_paths_are_prefixes(layer):
    w, H = layer.weight[0], layer.gram
    answers = [rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k)) for k in range(len(w) + 1)]
    whole = answers[-1].order.tolist()
    slack = 100 * EPS * len(w) * condition(H) * (w @ H @ w)
    for k, answer in enumerate(answers):
        assert answer.order.tolist() == whole[:k]
        assert k == 0 or answer.objective >= answers[k - 1].objective - slack
    assert_array_equal(answers[0].weight, w)
    assert_array_equal(answers[-1].weight, 0 * w)
    assert_allclose(answers[-1].objective, w @ H @ w / 2, rtol=1e-12)


def test_boundaries_by_hand():
    """H = [[1, 7/8], [7/8, 1]] + 1: removing 1.5 costs 1.5^2 / 2 * (1 - 49/64), and 2.0 takes over 7/8 of it."""
    H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    answer = rp.obs(rp.Quadratic(H, np.array([2.0, 1.5, 1.0])), rp.Unstructured(keep=2))
    assert answer.weight.tolist() == [3.3125, 0, 1]
    assert answer.order.tolist() == [1]
    assert answer.objective == 0.263671875
    assert answer.trace[0] == pytest.approx(0.263671875, rel=1e-14)
    assert isinstance(answer.objective, float)
    assert all(type(loss) is float for loss in answer.trace)


def test_a_diagonal_hessian_is_obd():
    rng = np.random.default_rng(15)
    h, w = rng.uniform(0.1, 9, size=10), rng.normal(size=10)
    h[[2, 7]] = 0
    for k in range(11):
        pattern = rp.Unstructured(keep=10 - k)
        answer = rp.obs(rp.Quadratic(h, w), pattern)
        obd = rp.obd(rp.Quadratic(h, w), pattern)
        assert_array_equal(answer.mask, obd.mask)
        assert_array_equal(answer.weight, obd.weight)
        assert_array_equal(rp.obs(rp.Quadratic(np.diag(h), w), pattern).weight, answer.weight)


def test_ties_go_to_the_lowest_flat_index():
    W = np.array([[1.0, -1.0, 2.0, 1.0], [1.0, 1.0, 2.0, -1.0]])
    layer = rp.LayerProblem(W, np.eye(4))
    assert rp.obs(layer, rp.Unstructured(keep=3)).order.tolist() == [0, 1, 3, 4, 5]
    assert rp.obs(layer, rp.NM(1, 2)).order.tolist() == [0, 3, 4, 7]
    for rule in ("sorted", "cumulative"):
        assert (~rp.obs(layer, rp.Unstructured(keep=4), allocation=rule).mask).sum(axis=1).tolist() in (
            [3, 1],
            [2, 2],
        )
    zero = rp.obs(rp.LayerProblem(np.zeros((2, 4)), np.eye(4)), rp.Unstructured(keep=3))
    assert zero.order.tolist() == [0, 1, 2, 3, 4]


def test_the_three_rules_differ_on_the_integer_witness():
    """In units of 1/2 tr D G D^T with G = X^T X / 5; twice that in units of H = 2/n X^T X."""
    W = np.array([[2.0, -3.0, -5.0], [-9.0, -1.0, 4.0]])
    X = np.array([[0.0, 1, 2], [-2, 5, -2], [1, 5, 0], [0, -1, 1], [-4, -1, 3]])
    layer = rp.LayerProblem.from_inputs(W, X)
    paths = [rp.obs(layer.row(i), rp.Unstructured(keep=0)).trace for i in range(2)]
    assert [[round(loss, 2) for loss in path] for path in paths] == [
        [6.62, 48.46, 27.22],
        [4.27, 34.85, 230.48],
    ]
    for rule, counts, objective in (
        ("heap", [1, 2], 45.745), ("sorted", [2, 1], 59.348), ("cumulative", [1, 2], 45.745)
    ):  # fmt: skip
        answer = rp.obs(layer, rp.Unstructured(keep=3), allocation=rule)
        assert (~answer.mask).sum(axis=1).tolist() == counts
        assert round(answer.objective, 3) == objective


def test_either_of_two_tied_sets_is_certified():
    """H and w of the oracle's witness: {2, 0} is right, though 1 is cheapest of the others at the end."""
    H, w = np.array([[2, 1.2, 0], [1.2, 2, 0], [0, 0, 2]]), np.array([1.25, -1.35, 1])
    answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=1))
    replay(w, H, answer.order.tolist(), EPS)
    stationary(w, H, answer.weight, answer.mask, EPS)


@pytest.mark.parametrize("count_rule", ["round", "floor", "ceil", "strict"])
@pytest.mark.parametrize("sparsity", [0.1, 0.55, 0.7])
def test_counts_are_exact(sparsity, count_rule):
    rng = np.random.default_rng(16)
    layer = rp.LayerProblem(rng.normal(size=(4, 5)), spd(rng, 5))
    pattern = rp.Unstructured(sparsity=sparsity, count_rule=count_rule)
    answer = rp.obs(layer, pattern)
    assert np.count_nonzero(~answer.mask) == len(answer.order) == pattern.removals((4, 5))
    assert pattern.admits(answer.mask)


def test_nm_edges():
    rng = np.random.default_rng(17)
    W, G = rng.normal(size=(3, 10)), spd(rng, 10)
    layer = rp.LayerProblem(W, G)
    assert_array_equal(rp.obs(layer, rp.NM(5, 5)).weight, W)
    assert_array_equal(rp.obs(layer, rp.NM(0, 5)).weight, 0 * W)
    dense = rp.obs(layer, rp.NM(1, 4, remainder="dense"))
    assert dense.mask[:, 8:].all()
    assert (dense.mask[:, :8].reshape(3, 2, 4).sum(axis=2) == 1).all()
    one = rp.obs(layer, rp.NM(3, 10))  # one group is unstructured in every row
    assert_array_equal(one.mask, rp.obs(layer, rp.Unstructured(keep=3, scope="row")).mask)
    with pytest.raises(ValueError, match="need columns in a multiple of m = 4"):
        rp.obs(layer, rp.NM(1, 4))


def test_nm_of_a_convolution_runs_along_input_channels():
    rng = np.random.default_rng(18)
    W, G = rng.normal(size=(3, 4, 1, 2)), spd(rng, 8)
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4))
    assert answer.weight.shape == W.shape
    assert (answer.mask.sum(axis=1) == 2).all()
    order = np.array([c * 2 + k for k in range(2) for c in range(4)])  # columns as (kernel, channel)
    flat = rp.obs(rp.LayerProblem(W.reshape(3, 8)[:, order], G[order][:, order]), rp.NM(2, 4))
    assert_array_equal(answer.mask.reshape(3, 8)[:, order], flat.mask)


def test_a_grouped_convolution_is_stacked_layers_with_one_budget():
    rng = np.random.default_rng(19)
    W = rng.normal(size=(4, 2, 3, 1)) * np.array([1.0, 4, 1, 4])[:, None, None, None]
    grams = np.stack([spd(rng, 6), 2.0**-7 * spd(rng, 6)])
    answer = rp.obs(rp.LayerProblem(W, grams), rp.Unstructured(sparsity=0.5))
    hessian = np.zeros((24, 24))
    for i in range(4):
        hessian[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] = grams[i // 2]
    v, order = definitions.obs_groups(W.ravel(), hessian, np.arange(24), 12)
    assert answer.order.tolist() == order
    assert_allclose(answer.weight.ravel(), v, rtol=0, atol=1e-10)
    rows = rp.obs(rp.LayerProblem(W, grams), rp.Unstructured(keep=2, scope="row"))
    for i in range(2):
        half = rp.LayerProblem(W[2 * i : 2 * i + 2].reshape(2, 6), grams[i])
        alone = rp.obs(half, rp.Unstructured(keep=2, scope="row"))
        assert_array_equal(rows.mask[2 * i : 2 * i + 2].reshape(2, 6), alone.mask)
