"""Optimal Brain Surgeon on blocks and groups: partitions of every kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import solve
from refprune.methods import partition_path, unit_walks
from tests.methods.checks import (
    EPS,
    certify_units,
)
from tests.methods.problems import (
    PARTITIONS,
    condition,
    exact_quadratics,
    fractions,
    layers,
    masks,
    spd,
    with_dead,
)


@given(layers(columns=(1, 3), width=2), st.sampled_from(["heap", "sorted", "cumulative"]), st.data())
def test_blocks_are_the_definition(layer, rule, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size // 2))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Blocks(2, keep=W.size // 2 - count), allocation=rule)
    V, mask = definitions.exact_obs_blocks(W, G, 2, count, rule)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    if rule == "heap":
        certify_units(W, G, answer, np.arange(W.size).reshape(W.shape) // 2, count)


@given(layers(columns=(1, 2), width=3), st.data())
def test_blocks_with_a_budget_for_each_row(layer, data):
    W, G = layer.weight, layer.gram
    per_row = W.shape[1] // 3
    k = data.draw(st.integers(0, per_row))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Blocks(3, keep=per_row - k, scope="row"))
    for i in range(len(W)):
        v, order = definitions.obs_groups(W[i], G, np.arange(W.shape[1]) // 3, k)
        assert (answer.order.reshape(len(W), k)[i] - i * per_row).tolist() == order
        assert_allclose(answer.weight[i], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)


@given(layers(), st.sampled_from(["heap", "sorted", "cumulative"]), st.data())
def test_blocks_of_one_are_single_weights(layer, rule, data):
    W, G = layer.weight, layer.gram
    keep = data.draw(st.integers(0, W.size))
    single = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=keep), allocation=rule)
    blocks = rp.obs(rp.LayerProblem(W, G), rp.Blocks(1, keep=keep), allocation=rule)
    assert_array_equal(blocks.order, single.order)
    assert_array_equal(blocks.weight, single.weight)
    assert blocks.trace == single.trace


@pytest.mark.parametrize("kind", PARTITIONS)
@given(layer=layers(columns=(1, 6)), data=st.data())
def test_groups_are_the_definition_on_the_whole_layer(kind, layer, data):
    """A layer is one problem with the Hessian I x G, whatever the groups."""
    W, G = layer.weight, layer.gram
    chosen = PARTITIONS[kind](layer.rng, *W.shape)
    labels = rp.Groups(keep=0, **chosen).labels(W.shape)
    total = len(np.unique(labels))
    count = data.draw(st.integers(0, total))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=total - count, **chosen))
    v, order = definitions.obs_groups(W.ravel(), np.kron(np.eye(len(W)), G), labels.ravel(), count)
    assert answer.order.tolist() == order
    assert_allclose(answer.weight.ravel(), v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    assert_array_equal(answer.mask, ~np.isin(labels, order))
    certify_units(W, G, answer, labels, count)


@given(exact_quadratics(), st.data())
def test_groups_of_a_quadratic_keep_their_certificate_through_ties(problem, data):
    w, H = problem
    labels = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(w), max_size=len(w))))
    total = len(np.unique(labels))
    count = data.draw(st.integers(0, total))
    answer = rp.obs(rp.Quadratic(H, w), rp.Groups(keep=total - count, labels=labels))
    layer = rp.obs(rp.LayerProblem(w[None], H), rp.Groups(keep=total - count, labels=labels[None]))
    assert_array_equal(answer.order, layer.order)
    certify_units(w[None], H, layer, labels[None], count)
    if count == 1:  # the first cost in exact arithmetic
        v, _ = definitions.obs_groups(fractions(w), fractions(H), labels, 1)
        loss = float((v - fractions(w)) @ fractions(H) @ (v - fractions(w)) / 2)
        assert_allclose(answer.objective, loss, rtol=0, atol=1e-12 * (w @ H @ w) * condition(H))


def test_the_cost_of_input_columns_is_a_trace():
    """1/2 tr(W_:B ([G^-1]_BB)^-1 W_:B^T), the same columns in all rows."""
    rng = np.random.default_rng(30)
    W, G = rng.normal(size=(3, 6)), spd(rng, 6)
    answer = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=2, axis=1, labels=np.array([5, 5, 1, 1, 9, 9])))
    inverse = np.linalg.inv(G)
    costs = {}
    for label, B in ((5, [0, 1]), (1, [2, 3]), (9, [4, 5])):
        costs[label] = np.trace(W[:, B] @ np.linalg.solve(inverse[np.ix_(B, B)], W[:, B].T)) / 2
    assert answer.order.tolist() == [min(costs, key=costs.get)]
    assert answer.trace[0] == pytest.approx(min(costs.values()), rel=1e-12)
    assert answer.objective == pytest.approx(min(costs.values()), rel=1e-12)


def test_output_rows_need_no_inverse_and_move_nothing():
    W, G = np.array([[1.0, 2.0], [0.5, 0.0], [1.0, -1.0]]), np.ones((2, 2))  # singular
    answer = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=1))
    assert answer.order.tolist() == [2, 1]  # 0, 1/8, 9/2
    assert answer.trace == (0.0, 0.125)
    assert answer.weight.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert answer.objective == 0.125


def test_one_group_of_everything():
    rng = np.random.default_rng(31)
    H, w = spd(rng, 5), rng.normal(size=5)
    answer = rp.obs(rp.Quadratic(H, w), rp.Groups(keep=0, labels=np.zeros(5, dtype=int)))
    assert_array_equal(answer.weight, np.zeros(5))
    assert answer.trace[0] == pytest.approx(w @ H @ w / 2, rel=1e-12)
    untouched = rp.obs(rp.Quadratic(H, w), rp.Groups(keep=1, labels=np.zeros(5, dtype=int)))
    assert_array_equal(untouched.weight, w)
    assert untouched.order.shape == (0,)


def test_dead_units_go_first():
    rng = np.random.default_rng(32)
    G = with_dead(spd(rng, 4), [2, 3, 4])  # block 1 is dead, block 2 half dead
    W = rng.normal(size=(2, 7))[:, :6] + 1
    G = G[:6, :6]
    answer = rp.obs(rp.LayerProblem(W, G), rp.Blocks(2, keep=4))
    assert answer.order.tolist() == [1, 4]
    assert answer.trace == (0.0, 0.0)
    assert_array_equal(answer.weight[answer.mask], W[answer.mask])
    columns = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=3, axis=1))
    assert columns.order.tolist() == [2, 3, 4]
    certify_units(W, G, answer, np.arange(12).reshape(2, 6) // 2, 2)


@given(layers(columns=(1, 3), width=2, dead=False), st.data())
def test_prior_zeros_of_blocks(layer, data):
    """A wholly marked block counts; a marked weight of another is a column that is not there."""
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    labels = np.arange(W.size).reshape(W.shape) // 2
    held = np.setdiff1d(labels, labels[prior])
    count = data.draw(st.integers(len(held), W.size // 2))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Blocks(2, keep=W.size // 2 - count), mask=prior)
    K = np.flatnonzero(prior)
    hessian = np.kron(np.eye(len(W)), G)[np.ix_(K, K)]
    v, order = definitions.obs_groups(W.ravel()[K], hessian, labels.ravel()[K], count - len(held))
    assert answer.order.tolist() == [*held, *order]
    assert_allclose(
        answer.weight.ravel()[K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100
    )
    assert_array_equal(answer.mask, prior & ~np.isin(labels, answer.order))


@pytest.mark.parametrize("kind", PARTITIONS)
@given(layer=layers(columns=(1, 4)), data=st.data())
def test_prior_zeros_of_groups(kind, layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    chosen = PARTITIONS[kind](layer.rng, *W.shape)
    labels = rp.Groups(keep=0, **chosen).labels(W.shape)
    total, held = len(np.unique(labels)), np.setdiff1d(labels, labels[prior])
    count = data.draw(st.integers(len(held), total))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=total - count, **chosen), mask=prior)
    K = np.flatnonzero(prior)
    hessian = np.kron(np.eye(len(W)), G)[np.ix_(K, K)]
    v, order = definitions.obs_groups(W.ravel()[K], hessian, labels.ravel()[K], count - len(held))
    assert answer.order.tolist() == [*held, *order]
    assert_allclose(
        answer.weight.ravel()[K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100
    )
    assert not answer.mask[~prior].any()


def test_a_group_may_not_revive_what_a_mask_prunes():
    W = np.array([[0.0, 0.0, 1.0, 1.0]])
    prior = W != 0
    with pytest.raises(ValueError, match="need at least 1 pruned per layer, as many as mask prunes; got 0"):
        rp.obs(rp.LayerProblem(W, np.eye(4)), rp.Groups(keep=2, labels=np.array([[3, 3, 4, 4]])), mask=prior)


@given(layers(rows=(1, 1)), st.data())
def test_a_gradient_moves_the_start(layer, data):
    w, H = layer.weight[0], layer.gram
    living = np.diag(H) > 0
    g = H @ layer.rng.normal(size=len(w))
    labels = layer.rng.integers(0, 3, size=len(w))
    total = len(np.unique(labels))
    count = data.draw(st.integers(0, total))
    answer = rp.obs(rp.Quadratic(H, w, g), rp.Groups(keep=total - count, labels=labels))
    start = w.copy()
    start[living] -= np.linalg.solve(H[np.ix_(living, living)], g[living])
    v, order = definitions.obs_groups(start, H, labels, count)
    assert answer.order.tolist() == order
    scale = np.abs(w).max() + np.abs(start).max()
    assert_allclose(answer.weight, v, rtol=0, atol=1e3 * EPS * condition(H) * scale * 100)


def test_convolutions():
    """Blocks run along input channels at one kernel position; axis 1 removes input channels."""
    rng = np.random.default_rng(33)
    W, G = rng.normal(size=(2, 4, 1, 2)), spd(rng, 8)
    blocks = rp.obs(rp.LayerProblem(W, G), rp.Blocks(2, sparsity=0.5))
    along = blocks.mask.transpose(0, 2, 3, 1).reshape(-1, 2)
    assert (along[:, 0] == along[:, 1]).all()
    assert np.count_nonzero(~along[:, 0]) == 4
    channels = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=3, axis=1))
    (gone,) = np.flatnonzero(~channels.mask.any(axis=(0, 2, 3)))
    assert channels.order.tolist() == [gone]
    assert channels.mask.sum() == 12
    labels = np.arange(8) // 2  # C order: channel, then kernel position
    v, order = definitions.obs_groups(W.ravel(), np.kron(np.eye(2), G), np.tile(labels, 2), 1)
    assert order == [gone]
    assert_allclose(channels.weight.ravel(), v, rtol=0, atol=1e-11)


def test_ties_go_to_the_lowest_label():
    W = np.array([[1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0]])
    layer = rp.LayerProblem(W, np.eye(4))
    assert rp.obs(layer, rp.Blocks(2, keep=1)).order.tolist() == [0, 1, 2]
    assert rp.obs(layer, rp.Groups(keep=1, axis=1)).order.tolist() == [0, 1, 2]
    assert rp.obs(layer, rp.Groups(keep=1)).order.tolist() == [0]
    labels = np.array([[7, 7, -2, -2], [3, 3, 5, 5]])
    assert rp.obs(layer, rp.Groups(keep=1, labels=labels)).order.tolist() == [-2, 3, 5]
    tiles = np.array([[4, 4, 1, 1], [4, 4, 1, 1]])
    assert rp.obs(layer, rp.Groups(keep=1, labels=tiles)).order.tolist() == [1]


@given(layers(columns=(1, 3), width=2), st.data())
def test_float32_keeps_its_certificate(layer, data):
    W, G = layer.weight.astype("float32"), layer.gram.astype("float32")
    G = (G + G.T) / 2
    total = W.size // 2
    count = data.draw(st.integers(0, total))
    labels = np.arange(W.size).reshape(W.shape) // 2
    answer = rp.obs(rp.LayerProblem(W, G), rp.Blocks(2, keep=total - count))
    assert answer.weight.dtype == "float32"
    certify_units(W.astype(float), G.astype(float), answer, labels, count, eps=2.0**-23)
    columns = data.draw(st.integers(0, W.shape[1]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Groups(keep=W.shape[1] - columns, axis=1))
    labels = np.broadcast_to(np.arange(W.shape[1]), W.shape)
    certify_units(W.astype(float), G.astype(float), answer, labels, columns, eps=2.0**-23)


def test_rows_of_one_layout_walk_together():
    """Without prior zeros all rows of a layer have one layout, so they are walked in one batch."""
    rng = np.random.default_rng(36)
    layer = rp.LayerProblem(rng.normal(size=(5, 8)), spd(rng, 8))
    calls = []
    original = unit_walks._walk

    def spy(part, weight, *rest):
        calls.append(weight.shape)
        return original(part, weight, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_walks, "_walk", spy)
        rp.obs(layer, rp.Blocks(4, sparsity=0.5))
        rp.obs(layer, rp.Groups(sparsity=0.5, axis=1))
    assert calls == [(5, 1, 8), (1, 5, 8)]


def test_groups_of_one_column_in_a_row_cost_no_solve(monkeypatch):
    """After unstructured pruning every row lacks other columns; most groups still have one column in each row."""
    solved = []

    def counted(A, b):
        solved.append(len(A))
        return solve(A, b)

    monkeypatch.setattr(partition_path, "solve", counted)
    rng = np.random.default_rng(41)
    prior = np.eye(4, 6) == 0
    W, G = np.where(prior, rng.normal(size=(4, 6)), 0), spd(rng, 6)
    pattern = rp.Groups(keep=3, axis=1)
    answer = rp.obs(rp.LayerProblem(W, G), pattern, mask=prior)
    assert len(solved) <= 3 * 4  # one for each removal in each row, none for the costs of what stays
    K = np.flatnonzero(prior)
    hessian, labels = np.kron(np.eye(4), G)[np.ix_(K, K)], np.tile(np.arange(6), 4)[K]
    _, order = definitions.obs_groups(W.ravel()[K], hessian, labels, 3)
    assert answer.order.tolist() == order
