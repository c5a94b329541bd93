"""The definition of SparseGPT, exact on Fractions, by another formula and by hand."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune.definitions as definitions
from tests.methods.problems import exact_quadratics, fractions, layers, masks
from tests.methods.sweeps import damped, response, schur


def test_by_hand():
    """C is the whole inverse at column 0, and the inverse of what is left at column 1."""
    G = np.array([[2, 1], [1, 2]], dtype=object) * Fraction(1)
    w = np.array([[Fraction(3), Fraction(2)]])
    # costs: 9 / (2/3) = 27/2 and 4 / (1/2) = 8, so the second goes, and the first has passed
    weight, mask = definitions.sparsegpt(w, G, [1], 2)
    assert weight.tolist() == [[3, 0]]
    assert mask.tolist() == [[True, False]]
    # blocks of one: the first goes, and the second moves by 3 / (2/3) * 1/3
    weight, mask = definitions.sparsegpt(w, G, [1, 0], 1)
    assert weight.tolist() == [[0, Fraction(7, 2)]]
    assert mask.tolist() == [[False, True]]
    # damped by 1/2 * mean(2, 2): the matrix is [[3, 1], [1, 3]]
    weight, _ = definitions.sparsegpt(w, G, [1, 0], 1, damp=Fraction(1, 2))
    assert weight.tolist() == [[0, 3]]


@given(exact_quadratics(columns=(1, 6)), st.data())
def test_a_kept_weight_is_the_best_beside_what_has_passed(problem, data):
    """For any mask and damping, exactly: the columns from j on are optimal when the sweep comes to j."""
    w, G = fractions(problem[0])[None, :], fractions(problem[1])
    mask, damp = data.draw(masks(w.size))[None, :], data.draw(st.sampled_from([0, Fraction(1, 3)]))
    V, H = definitions.sparsegpt_weights(w, G, mask, damp), damped(G, damp)
    for j in range(w.size):
        if mask[0, j]:
            assert V[0, j] == response(w, V, H, j)[0, 0]
        else:
            assert V[0, j] == 0
    assert all(isinstance(x, Fraction) for x in V.ravel())


@given(exact_quadratics(columns=(1, 6)), st.data())
def test_masks_are_the_cheapest_of_their_block(problem, data):
    """Two rows, one of them doubled; ties, dead inputs and prior zeros are common."""
    row = fractions(problem[0])
    w, G, d = np.stack([row, 2 * row[::-1]]), fractions(problem[1]), len(row)
    prior = data.draw(masks(2 * d)).reshape(2, d) | (np.arange(d) % 3 > 0)
    w, width = np.where(prior, w, 0 * w), data.draw(st.integers(1, d))
    starts = range(0, d, width)
    held = [int((~prior[:, a : a + width]).sum()) for a in starts]
    counts = [
        data.draw(st.integers(h, prior[:, a : a + width].size)) for h, a in zip(held, starts, strict=True)
    ]
    V, mask = definitions.sparsegpt(w, G, counts, width, prior=prior)
    for first, count in zip(starts, counts, strict=True):
        own = np.s_[:, first : first + width]
        now = response(w, V, G, first)[:, :width]
        prices = [schur(G, j) for j in range(first, min(first + width, d))]
        ranks = [
            (bool(prior[i, first + k]), prices[k] != 0, now[i, k] ** 2 * prices[k], i, k)
            for i in range(2)
            for k in range(len(prices))
        ]
        gone = {rank[3:] for rank in sorted(ranks)[:count]}
        assert {(i, k) for i, k in np.argwhere(~mask[own]).tolist()} == gone
    assert_array_equal(V, definitions.sparsegpt_weights(w, G, mask))
    at_once, kept = definitions.sparsegpt(w, G, [2 * d], d)
    assert not kept.any()
    assert not at_once.any()


@given(exact_quadratics(columns=(2, 6)), st.data())
def test_groups_are_blocks_of_single_rows(problem, data):
    w, G = fractions(problem[0])[None, :], fractions(problem[1])
    m = data.draw(st.integers(1, w.size))
    n = data.draw(st.integers(0, m))
    counts = [m - n if a + m <= w.size else 0 for a in range(0, w.size, m)]
    V, mask = definitions.sparsegpt_nm(w, G, n, m, Fraction(1, 5))
    U, other = definitions.sparsegpt(w, G, counts, m, Fraction(1, 5))
    assert_array_equal(mask, other)
    assert_array_equal(V, U)
    both, kept = definitions.sparsegpt_nm(np.vstack([w, w]), G, n, m, Fraction(1, 5))
    assert_array_equal(both, np.vstack([V, V]))
    assert_array_equal(kept, np.vstack([mask, mask]))


@given(layers(rows=(1, 3), columns=(1, 6)))
def test_a_group_keeps_fewer_where_the_prior_says_so(layer):
    prior = layer.rng.random(layer.weight.shape) < 0.5
    w = np.where(prior, layer.weight, 0)
    V, mask = definitions.sparsegpt_nm(w, layer.gram, 2, 3, prior=prior)
    kept = np.add.reduceat(mask, np.arange(0, w.shape[1], 3), axis=1, dtype=int)
    own = np.add.reduceat(prior, np.arange(0, w.shape[1], 3), axis=1, dtype=int)
    sizes = np.diff([*range(0, w.shape[1], 3), w.shape[1]])
    assert_array_equal(kept, np.where(sizes == 3, np.minimum(own, 2), own))
    assert not mask[~prior].any()
    assert not V[~mask].any()


@given(layers(rows=(1, 3), columns=(1, 6)))
def test_the_losses_sum_to_the_objective(layer):
    """``(V - W) R = E`` with ``G = R R^T``, so what the pruned weights cost sums to 1/2 tr((V-W) G (V-W)^T)."""
    W, G = layer.weight, layer.gram
    V, mask = definitions.sparsegpt(W, G, [W.size // 2], W.shape[1])
    total = 0.0
    for i, j in np.argwhere(~mask):
        total += response(W, V, G, j)[i, 0] ** 2 * schur(G, j) / 2
    step = V - W
    # rounding of the sums and solves: eps cond, with cond at most 300 and the sizes of the terms
    size = np.sum(abs(step) @ abs(G) * abs(step)) + np.sum(W @ G * W)
    assert_allclose(total, np.sum(step @ G * step) / 2, rtol=0, atol=1e-11 * size)
