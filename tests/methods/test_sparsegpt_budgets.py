"""SparseGPT: exact counts in every scope, convolutions, grouped convolutions, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.problems import fractions, layers, spd, with_dead
from tests.methods.sweeps import certify_sweep, damped, slack


def shared(count, free):
    """`count` over blocks in proportion to `free`, rounded cumulatively, by the words of the rule."""
    before, taken, total = 0, [], sum(free)
    for i in range(len(free)):
        upto = int(np.floor(count * sum(free[: i + 1]) / total + 0.5)) if total else 0
        taken.append(upto - before)
        before = upto
    return taken


def test_shares_by_hand():
    W, G = np.arange(1.0, 23).reshape(2, 11), np.diag(np.arange(11.0, 0, -1))
    problem = rp.LayerProblem(W, G)
    cases = [
        (rp.Unstructured(sparsity=0.25), [2, 2, 2]),  # of 8, 8 and 6: 2, 2 and 1.5
        (rp.Unstructured(sparsity=0.3, scope="layer"), [3, 2, 2]),  # 7 of 22: 2.55, 5.09, 7
        (rp.Unstructured(keep=21), [0, 1, 0]),  # 1 of 22: 0.36, 0.73, 1
        (rp.Unstructured(keep=21, scope="layer"), [0, 1, 0]),
        (rp.Unstructured(sparsity=0.25, count_rule="strict"), [3, 3, 2]),
        (rp.Unstructured(keep=8, scope="row"), [[1, 1], [1, 1], [1, 1]]),  # 3 of 11: 1.09, 2.18, 3
        (rp.Unstructured(sparsity=0.5, scope="row"), [[2, 2], [2, 2], [2, 2]]),  # 5.5 is 6: 2.18, 4.36, 6
    ]
    for pattern, counts in cases:
        answer = rp.sparsegpt(problem, pattern, 4)
        per_row = np.add.reduceat(~answer.mask, [0, 4, 8], axis=1, dtype=int).T
        assert (per_row if pattern.scope == "row" else per_row.sum(axis=1)).tolist() == counts, pattern
        certify_sweep(W, G, answer, [0, 4, 8, 11], counts, 0.01)


@given(layers(rows=(1, 4), columns=(1, 10)), st.data())
def test_prior_zeros_are_counted_and_the_rest_is_shared(layer, data):
    rng, r, d = layer.rng, *layer.weight.shape
    prior = rng.random((r, d)) < 0.7
    W, G, width = np.where(prior, layer.weight, 0), layer.gram, data.draw(st.integers(1, d + 1))
    edges = [*range(0, d, width), d]
    free = np.add.reduceat(prior, edges[:-1], axis=1, dtype=int).T  # (blocks, rows)
    size = np.diff(edges)
    keep = data.draw(st.integers(0, int(prior.sum())))
    layer_counts = size * r - free.sum(axis=1) + shared(prior.sum() - keep, free.sum(axis=1).tolist())
    least = int(prior.sum(axis=1).min())
    keep_row = data.draw(st.integers(0, least))
    row_counts = [
        size - free[:, i] + shared(prior[i].sum() - keep_row, free[:, i].tolist()) for i in range(r)
    ]
    problem = rp.LayerProblem(W, G)
    for pattern, counts in (
        (rp.Unstructured(keep=keep), layer_counts.tolist()),
        (rp.Unstructured(keep=keep_row, scope="row"), np.array(row_counts).T.tolist()),
    ):
        answer = rp.sparsegpt(problem, pattern, width, mask=prior)
        assert pattern.admits(answer.mask)
        certify_sweep(W, G, answer, edges, counts, 0.01, prior)


def test_a_group_keeps_fewer_where_the_prior_says_so():
    rng = np.random.default_rng(8)
    prior = np.ones((2, 8), dtype=bool)
    prior[0, :3] = prior[1, 5] = False
    W = np.where(prior, rng.normal(size=(2, 8)) + 0.1, 0)
    answer = rp.sparsegpt(rp.LayerProblem(W, spd(rng, 8)), rp.NM(2, 4), mask=prior)
    assert answer.mask.reshape(2, 2, 4).sum(axis=2).tolist() == [[1, 2], [2, 2]]
    assert not answer.mask[~prior].any()


def test_a_dense_remainder_makes_up_for_others():
    rng = np.random.default_rng(9)
    W, G = rng.normal(size=(3, 10)), spd(rng, 10)
    answer = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(1, 4, "dense"))
    assert answer.mask[:, 8:].all()
    assert (answer.weight[:, 8:] != W[:, 8:]).all()
    with pytest.raises(ValueError, match="need columns in a multiple of m = 4"):
        rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(1, 4))


def test_convolutions_are_their_matrix_in_the_order_of_the_sweep():
    """Unstructured: C order. N:M: channels last, so that groups are channels at one kernel position."""
    rng = np.random.default_rng(10)
    W, G = rng.normal(size=(3, 8, 2, 3)), with_dead(spd(rng, 46), [7, 30])
    flat = rp.sparsegpt(rp.LayerProblem(W.reshape(3, 48), G), rp.Unstructured(sparsity=0.5), 10)
    image = rp.sparsegpt(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5), 10)
    assert_array_equal(image.weight, flat.weight.reshape(W.shape))
    assert_array_equal(image.order, flat.order)

    last = np.arange(48).reshape(8, 6).T.ravel()
    for n, m in ((2, 4), (1, 3)):
        image = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(n, m, "dense"))
        dense = np.arange(48) % 8 >= 8 // m * m
        edges = sorted({8 * p + j for p in range(7) for j in range(0, 8 if p < 6 else 1, m)})
        counts = [[0 if dense[first] else m - n] * 3 for first in edges[:-1]]
        order = np.argsort(last)[image.order % 48] + image.order // 48 * 48  # places in the sweep
        turned = rp.Pruned(
            image.weight.reshape(3, 48)[:, last],
            image.mask.reshape(3, 48)[:, last],
            image.objective,
            order,
            image.trace,
        )
        certify_sweep(W.reshape(3, 48)[:, last], G[np.ix_(last, last)], turned, edges, counts, 0.01)
        assert rp.NM(n, m, "dense").admits(image.mask)


@pytest.mark.parametrize("scope", [None, "row"])
def test_groups_of_a_convolution_share_the_budget_of_a_block(scope):
    """It is one layer with the inputs of all groups side by side, the foreign ones prior zeros."""
    rng = np.random.default_rng(11)
    W, grams = rng.normal(size=(6, 9)), [spd(rng, 9), with_dead(spd(rng, 7), [1, 4]), spd(rng, 9)]
    wide, prior, G = np.zeros((6, 27)), np.zeros((6, 27), dtype=bool), np.zeros((27, 27))
    for g, gram in enumerate(grams):
        wide[2 * g : 2 * g + 2, g::3], prior[2 * g : 2 * g + 2, g::3], G[g::3, g::3] = (
            W[2 * g : 2 * g + 2],
            True,
            gram,
        )
    stacked = rp.LayerProblem(W.reshape(6, 1, 3, 3), np.stack(grams))
    pattern = rp.Unstructured(keep=5 if scope else 23, scope=scope)
    answer = rp.sparsegpt(stacked, pattern, 4, damp=0)
    whole = rp.sparsegpt(rp.LayerProblem(wide, G), pattern, 12, damp=0, mask=prior)
    own = np.stack([whole.weight[i, i // 2 :: 3] for i in range(6)])
    assert_array_equal(answer.mask.reshape(6, 9), np.stack([whole.mask[i, i // 2 :: 3] for i in range(6)]))
    bound = max(slack(W, own, gram) / np.sqrt(np.diag(gram)[np.diag(gram) > 0].min()) for gram in grams)
    assert_allclose(answer.weight.reshape(6, 9), own, rtol=0, atol=bound)
    assert_allclose(answer.objective, whole.objective, rtol=1e-9)


def test_every_group_has_its_own_damping():
    rng = np.random.default_rng(13)
    W, grams = rng.normal(size=(4, 8)), np.stack([spd(rng, 8), 100 * spd(rng, 8)])
    answer = rp.sparsegpt(rp.LayerProblem(W, grams), rp.NM(1, 2), damp=1.0)
    for g in range(2):
        rows = slice(2 * g, 2 * g + 2)
        alone = rp.sparsegpt(rp.LayerProblem(W[rows], grams[g]), rp.NM(1, 2), damp=1.0)
        assert_allclose(answer.weight[rows], alone.weight, rtol=1e-12)
    total = sum(
        np.sum(D @ damped(gram, 1.0) * D) / 2
        for D, gram in zip(np.split(answer.weight - W, 2), grams, strict=True)
    )
    assert_allclose(sum(answer.trace), total, rtol=1e-9)


def test_errors_come_before_any_work():
    W, G = np.ones((2, 4)), np.eye(4)
    problem, half = rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5)
    for bad, what in ((rp.Blocks(2, sparsity=0.5), "Blocks"), (rp.Groups(keep=1), "Groups"), (0.5, "float")):
        with pytest.raises(TypeError, match=f"need an Unstructured or NM pattern; got {what}"):
            rp.sparsegpt(problem, bad)
    with pytest.raises(TypeError, match="need a LayerProblem; got Quadratic"):
        rp.sparsegpt(rp.Quadratic(G, W[0]), half)
    with pytest.raises(TypeError, match="Fractions are for definitions"):
        rp.sparsegpt(rp.LayerProblem(fractions(W), fractions(G)), half)
    with pytest.raises(ValueError, match="need scope 'layer' or 'row' for one array; got 'network'"):
        rp.sparsegpt(problem, rp.Unstructured(sparsity=0.5, scope="network"))
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"need block_size >= 1; got {size}"):
            rp.sparsegpt(problem, half, size)
    with pytest.raises(TypeError, match="need block_size to be an integer"):
        rp.sparsegpt(problem, half, 2.0)
    with pytest.raises(TypeError, match="need refit to be True or False; got 'no'"):
        rp.sparsegpt(problem, half, refit="no")
    with pytest.raises(ValueError, match="need damp >= 0 and finite; got -1"):
        rp.sparsegpt(problem, half, damp=-1)
    with pytest.raises(ValueError, match="need keep <= 8"):
        rp.sparsegpt(problem, rp.Unstructured(keep=9))
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram; .* damp=1e-\d+ or more"):
        rp.sparsegpt(rp.LayerProblem(W, np.ones((4, 4))), half, damp=0)
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram\[1\]"):
        rp.sparsegpt(rp.LayerProblem(W, np.stack([G, np.ones((4, 4))])), rp.NM(2, 4), damp=0)


def test_errors_of_prior_masks():
    problem = rp.LayerProblem(np.zeros((2, 4)), np.eye(4))
    prior = np.array([[False, False, True, True], [False, True, True, True]])
    with pytest.raises(ValueError, match=r"need at least 3 pruned per block of columns, .* got 2"):
        rp.sparsegpt(problem, rp.Unstructured(sparsity=0.5), 2, mask=prior)
    with pytest.raises(ValueError, match="need at least 3 pruned per layer, as many as mask prunes; got 2"):
        rp.sparsegpt(problem, rp.Unstructured(keep=6), 2, mask=prior)
    with pytest.raises(ValueError, match="need at least 2 pruned per row, as many as mask prunes; got 1"):
        rp.sparsegpt(problem, rp.Unstructured(keep=3, scope="row"), 2, mask=prior)
    with pytest.raises(ValueError, match="need weight to be 0 where mask marks a prior zero"):
        rp.sparsegpt(rp.LayerProblem(np.ones((2, 4)), np.eye(4)), rp.NM(2, 4), mask=prior)
    with pytest.raises(TypeError, match="need a boolean array mask"):
        rp.sparsegpt(problem, rp.NM(2, 4), mask=prior.astype(int))


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty(shape):
    problem = rp.LayerProblem(np.zeros(shape), np.eye(shape[1]))
    for pattern in (
        rp.Unstructured(sparsity=0.5),
        rp.Unstructured(keep=0),
        rp.Unstructured(keep=0, scope="row"),
        rp.NM(1, 4),
    ):
        answer = rp.sparsegpt(problem, pattern, 3)
        assert answer.weight.shape == answer.mask.shape == shape
        assert answer.objective == 0
