"""The left-looking walk: its identity, its limits, its chunks, and rows that stop early."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.methods import refit, removal, walks, weight_paths
from tests.methods.checks import (
    EPS,
    removed_exactly,
)
from tests.methods.problems import (
    condition,
    spd,
)


def test_the_inverse_stays_the_inverse_of_the_living_block():
    """After each removal U, the diagonal and the weights are those of a fresh inverse, through compactions."""
    rng = np.random.default_rng(13)
    W, H = rng.normal(size=(3, 1, 40)), spd(rng, 40, 1e3)
    state = removal.Removal(W, np.linalg.inv(H), 1 / np.diag(H), depth=40)
    for _ in range(40):
        state.make_room()
        p = np.argmax(np.where(state.alive, np.abs(state.weight[:, 0]), -1), axis=1)  # any choice will do
        state.remove(p)
        for r in range(3):
            A = np.sort(state.column[r][state.alive[r]])
            G = np.linalg.inv(H[np.ix_(A, A)])
            # 10 d eps cond at the scale of the columns
            size = 10 * 40 * EPS * condition(H)
            unit = np.sqrt(np.diag(H)[A])
            diagonal = state.diagonal[r][state.alive[r]]
            assert_allclose(diagonal * unit**2, np.diag(G) * unit**2, rtol=size)
            weight = state.weight[r, 0][state.alive[r]]
            expected = W[r, 0, A] + G @ (
                H[A][:, np.setdiff1d(np.arange(40), A)] @ W[r, 0, np.setdiff1d(range(40), A)]
            )
            scale = np.sqrt(W[r, 0] @ H @ W[r, 0])
            assert_allclose(weight * unit, expected * unit, rtol=0, atol=size * scale)
    assert state.pivots.shape[2] < 20  # it did compact


def test_rounding_cannot_make_a_diagonal_negative():
    """Near the limit of the arithmetic a downdated diagonal loses its digits; it stays at 1 / H_pp or above."""
    rng = np.random.default_rng(14)
    for cond, dtype in ((2e13, "float64"), (1e4, "float32")):
        matrix = spd(rng, 30, cond).astype(dtype).astype(float)
        W = rng.normal(size=(2, 30)).astype(dtype)
        answer = rp.obs(rp.LayerProblem(W, matrix.astype(dtype)), rp.Unstructured(sparsity=0.9))
        removed_exactly(answer.weight, answer.mask, 54)
        assert all(loss >= 0 for loss in answer.trace)
        kept_only = np.where(answer.mask, W, 0) - W
        assert answer.objective <= np.sum(kept_only @ matrix * kept_only) / 2 * (1 + 1e-3)


@pytest.mark.parametrize("rule", ["heap", "cumulative"])
@pytest.mark.parametrize("count", [1, 30, 100, 150])
def test_rows_that_stop_early_change_nothing(count, rule, monkeypatch):
    """Rows of very different scale: some give all their weights, some none, far from an equal share."""
    rng = np.random.default_rng(28)
    W, G = rng.normal(size=(4, 40)) * np.array([1.0, 64.0, 0.25, 1.0])[:, None], spd(rng, 40)
    walked, original = [], weight_paths.weight_paths

    def spy(weight, inverse, floor, depth, *rest):
        walked.append((len(weight), depth))
        return original(weight, inverse, floor, depth, *rest)

    monkeypatch.setattr(walks, "weight_paths", spy)
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=160 - count), allocation=rule)
    V, mask = definitions.exact_obs(W, G, count, rule)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    if count == 30:
        assert walked == [(4, 17), (1, 30)]  # 5/4 of an equal share and 8, then the one row that gives more
        assert sorted((~mask).sum(axis=1).tolist())[-1] > 17


def test_chunks_change_no_bit(monkeypatch):
    rng = np.random.default_rng(24)
    layer = rp.LayerProblem(rng.normal(size=(9, 24)), spd(rng, 24))
    prior = rng.random((9, 24)) < 0.9
    masked = rp.LayerProblem(np.where(prior, layer.weight, 0), layer.gram)
    calls = [
        (layer, rp.Unstructured(sparsity=0.5), {}),
        (layer, rp.Blocks(4, sparsity=0.5), {}),
        (masked, rp.NM(2, 4), {"mask": prior}),
        (masked, rp.Unstructured(sparsity=0.75), {"mask": prior}),
    ]
    wide = [rp.obs(problem, pattern, **more) for problem, pattern, more in calls]
    monkeypatch.setattr(removal, "CACHE", 1)
    monkeypatch.setattr(refit, "CACHE", 1)
    assert [len(part) for part in removal.chunks(9, 24, 12, 8)] == [1] * 9
    for (problem, pattern, more), before in zip(calls, wide, strict=True):
        after = rp.obs(problem, pattern, **more)
        assert_array_equal(after.order, before.order)
        assert_array_equal(after.weight, before.weight)
