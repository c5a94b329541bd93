"""The definitions: exact on Fractions, equal to each other by different formulas, and short."""

from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune.definitions as definitions
from refprune.arrays import inv, solve
from tests.methods.problems import exact_quadratics, fractions, layers, masks

W = np.array([[2.0, -3.0, -5.0], [-9.0, -1.0, 4.0]])
X = np.array([[0.0, 1, 2], [-2, 5, -2], [1, 5, 0], [0, -1, 1], [-4, -1, 3]])


def all_fractions(array):
    return all(isinstance(x, Fraction) for x in array.ravel())


def test_files_are_short():
    folder = Path(definitions.__file__).parent
    lengths = {path.name: len(path.read_text().splitlines()) for path in folder.glob("[!_]*.py")}
    assert len(lengths) > 8
    assert {name: n for name, n in lengths.items() if n > 60} == {}


@given(exact_quadratics(), st.data())
def test_obs_is_resolving_every_candidate_exactly(problem, data):
    w, H = problem
    k = data.draw(st.integers(0, len(w)))
    v, order = definitions.obs(fractions(w), fractions(H), k)
    u, again = definitions.obs_by_resolving(fractions(w), fractions(H), k)
    assert order == again
    assert_array_equal(v, u)
    assert all_fractions(v)
    assert len(set(order)) == k
    assert np.all(v[order] == 0)


@given(exact_quadratics(), st.data())
def test_groups_of_one_are_single_weights_exactly(problem, data):
    w, H = problem
    k = data.draw(st.integers(0, len(w)))
    v, order = definitions.obs(fractions(w), fractions(H), k)
    u, labels = definitions.obs_groups(fractions(w), fractions(H), np.arange(len(w)) + 7, k)
    assert [label - 7 for label in labels] == order
    assert_array_equal(v, u)


@given(exact_quadratics())
def test_nm_with_one_group_is_unstructured_exactly(problem):
    w, H = problem
    for n in range(len(w) + 1):
        v, order = definitions.obs_nm(fractions(w), fractions(H), n, len(w))
        u, again = definitions.obs(fractions(w), fractions(H), len(w) - n)
        assert order == again
        assert_array_equal(v, u)


@given(exact_quadratics(), st.data())
def test_groups_are_optimal_on_their_support_exactly(problem, data):
    w, H = problem
    labels = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(w), max_size=len(w))))
    k = data.draw(st.integers(0, len(np.unique(labels))))
    v, order = definitions.obs_groups(fractions(w), fractions(H), labels, k)
    mask = ~np.isin(labels, order)
    assert_array_equal(v, definitions.optimal_weights(fractions(w), fractions(H), mask))


@given(exact_quadratics(), st.data())
def test_optimal_weights_are_stationary_and_equal_the_lagrange_form(problem, data):
    w, H = fractions(problem[0]), fractions(problem[1])
    mask = data.draw(masks(len(w)))
    v = definitions.optimal_weights(w, H, mask)
    assert all(v[~mask] == 0)
    assert all((H @ (v - w))[mask] == 0)  # exactly
    dead = np.diag(H) == 0
    assert_array_equal(v[mask & dead], w[mask & dead])
    # v = w - G_:P (G_PP)^-1 w_P over the living weights, from the inverse instead of the normal equations
    L, P = np.flatnonzero(~dead), np.flatnonzero(~mask[~dead])
    if len(L) and len(P):
        G = inv(H[np.ix_(L, L)])
        assert_array_equal(v[L], w[L] - G[:, P] @ solve(G[np.ix_(P, P)], w[L][P]))


@given(exact_quadratics(columns=(1, 4)), st.data())
def test_best_support_beats_every_support_and_every_method(problem, data):
    w, H = fractions(problem[0]), fractions(problem[1])
    k = data.draw(st.integers(0, len(w)))
    v, mask, loss = definitions.best_support(w, H, k)
    assert np.count_nonzero(~mask) == k
    assert loss == (v - w) @ H @ (v - w) / 2
    for pruned in combinations(range(len(w)), k):
        # the loss of a support by another formula: 1/2 w_P^T S w_P, S the Schur complement of the living kept
        P = [p for p in pruned if H[p, p] != 0]
        K = [p for p in range(len(w)) if p not in pruned and H[p, p] != 0]
        S = H[np.ix_(P, P)]
        if K and P:
            S = S - H[np.ix_(P, K)] @ solve(H[np.ix_(K, K)], H[np.ix_(K, P)])
        assert loss <= (w[P] @ S @ w[P] / 2 if P else 0)
    u, _ = definitions.obs(w, H, k)
    assert loss <= (u - w) @ H @ (u - w) / 2


def test_the_three_allocation_rules_differ_on_the_integer_witness():
    """Step losses [6.62, 48.46, 27.22] and [4.27, 34.85, 230.48]; in units of 1/2 tr D G D^T, G = X^T X / 5."""
    G = fractions(X.T @ X) / Fraction(5)
    counts, losses = {}, {}
    for rule in ("heap", "sorted", "cumulative"):
        V, mask = definitions.exact_obs(fractions(W), G, 3, rule)
        counts[rule] = (~mask).sum(axis=1).tolist()
        D = V - fractions(W)
        losses[rule] = round(float(np.trace(D @ G @ D.T) / 2), 3)
    assert counts == {"heap": [1, 2], "sorted": [2, 1], "cumulative": [1, 2]}
    assert losses == {"heap": 45.745, "sorted": 59.348, "cumulative": 45.745}


def test_row_counts_by_hand():
    """Two rows whose losses rise and fall: every rule gives other counts."""
    losses = [[4, 1, 1, 1], [2, 3, 3, 3]]
    assert definitions.row_counts(losses, 0, 3, "heap") == [0, 3]  # 2, 3, 3 before the 4
    assert definitions.row_counts(losses, 0, 3, "sorted") == [3, 0]  # the ones
    assert definitions.row_counts(losses, 0, 3, "cumulative") == [2, 1]  # 2, 4, 5 (ties: 5 of row 0)
    assert definitions.row_counts([[0, 9], [0, 1]], 1, 1, "heap") == [1, 0]  # dead inputs first, row by row
    assert definitions.row_counts([[0, 9], [0, 1]], 1, 3, "heap") == [1, 2]


def test_dead_inputs_go_first_and_kept_ones_keep_their_weight():
    H = np.diag([2.0, 0.0, 1.0, 0.0])
    w = np.array([0.0, 7.0, 1.0, -5.0])  # the living zero at 0 is free as well, but not dead
    for exact in (False, True):
        v, order = definitions.obs(*((fractions(w), fractions(H)) if exact else (w, H)), 1)
        assert order == [1]
        assert v.tolist() == [0, 0, 1, -5]
        assert definitions.obs(*((fractions(w), fractions(H)) if exact else (w, H)), 4)[1] == [1, 3, 0, 2]


def test_ties_go_to_the_lowest_index():
    w, H = np.array([1.0, -1.0, 1.0, 2.0]), np.eye(4)
    assert definitions.obs(w, H, 3)[1] == [0, 1, 2]
    assert definitions.magnitude(w, 2)[1].tolist() == [False, False, True, True]
    assert definitions.obd(w, np.ones(4), 1)[1].tolist() == [False, True, True, True]
    assert definitions.best_support(w, H, 2)[1].tolist() == [False, False, True, True]
    assert definitions.topk_mask(w * 0, 1).tolist() == [False, False, False, True]
    assert definitions.nm_mask(np.array([[1.0, 1, 1, 3, 2, 1]]), 1, 3).tolist() == [
        [False, False, True, True, False, False]
    ]


def test_one_shot_by_hand():
    weight = np.array([[3.0, -1.0], [2.0, -4.0]])
    assert definitions.magnitude(weight, 2)[0].tolist() == [[3, 0], [0, -4]]
    assert definitions.wanda(weight, np.diag([1.0, 16.0]), 1)[0].tolist() == [[0, -1], [0, -4]]
    assert definitions.obd(np.array([1.0, -2, 3]), np.array([10.0, 1, 1]), 1)[0].tolist() == [1, 0, 3]


@given(layers(), st.data())
def test_layers_are_one_problem_with_a_block_diagonal_hessian(layer, data):
    """ExactOBS with the heap is OBS on the whole layer; blocks and N:M likewise."""
    W, G = layer.weight, layer.gram
    rows = len(W)
    count = data.draw(st.integers(0, W.size))
    V, mask = definitions.exact_obs(W, G, count)
    flat, order = definitions.obs_groups(W.ravel(), np.kron(np.eye(rows), G), np.arange(W.size), count)
    assert sorted(order) == np.flatnonzero(~mask.ravel()).tolist()
    # two runs of the same steps on blocks of one matrix: errors of 10 d eps cond, cond <= 1e4 here
    assert_allclose(V.ravel(), flat, rtol=0, atol=1e-9 * np.abs(W).max() * 64)
    blocks, block_mask = definitions.exact_obs_blocks(W, G, 1, count)
    assert_array_equal(block_mask, mask)
    assert_allclose(blocks, V, rtol=0, atol=1e-9 * np.abs(W).max() * 64)


def test_inputs_stay_as_they_are(cupy_like):
    rng = np.random.default_rng(3)
    A = rng.normal(size=(9, 6)) + 1
    weight, gram = rng.normal(size=(2, 6)), A.T @ A
    W, G = cupy_like.asarray(weight), cupy_like.asarray(gram)
    before = cupy_like.numpy(W).copy(), cupy_like.numpy(G).copy()
    answers = [
        definitions.magnitude(W, 3),
        definitions.wanda(W, G, 2),
        definitions.obd(W[0], cupy_like.asarray(np.diag(gram)), 2),
        definitions.obs(W[0], G, 2),
        definitions.obs_nm(W[0], G, 1, 3),
        definitions.obs_groups(W[0], G, cupy_like.asarray(np.array([0, 0, 1, 1, 2, 2])), 1),
        definitions.obs_by_resolving(W[0], G, 2),
        definitions.exact_obs(W, G, 5),
        definitions.exact_obs_nm(W, G, 1, 2),
        definitions.exact_obs_blocks(W, G, 3, 1),
        definitions.optimal_weights(W, G, W > 0),
        definitions.best_support(W[0], G, 2),
    ]
    assert_array_equal(cupy_like.numpy(W), before[0])
    assert_array_equal(cupy_like.numpy(G), before[1])
    for answer in answers:
        assert type(answer[0] if isinstance(answer, tuple) else answer) is type(W)


@pytest.mark.parametrize("k", [0, 4])
def test_nothing_and_everything(k):
    rng = np.random.default_rng(1)
    A = rng.normal(size=(6, 4)) + 2
    w, H = rng.normal(size=4), A.T @ A
    v, order = definitions.obs(w, H, k)
    assert len(order) == k
    assert_array_equal(v, w if k == 0 else 0 * w)
