"""OBS: invariances, most of them bit for bit, and other precisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.checks import (
    EPS,
    certify,
)
from tests.methods.problems import (
    condition,
    layers,
    spd,
    with_dead,
)


def test_powers_of_two_change_no_bit():
    rng = np.random.default_rng(21)
    W, G = rng.normal(size=(3, 9)), with_dead(spd(rng, 8), [5])
    patterns = (
        rp.Unstructured(sparsity=0.5),
        rp.NM(1, 3),
        rp.Blocks(3, sparsity=0.5),
        rp.Groups(keep=4, axis=1),
    )
    units = 4.0 ** rng.integers(-3, 4, size=9)
    for pattern in patterns:
        base = rp.obs(rp.LayerProblem(W, G), pattern, damp=0.125)
        for a, b in ((2.0**-30, 1.0), (0.5, 4.0**9), (2.0**200, 4.0**-100), (2.0**-300, 4.0**150)):
            scaled = rp.obs(rp.LayerProblem(a * W, b * G), pattern, damp=0.125)
            assert_array_equal(scaled.weight, a * base.weight)
            assert_array_equal(scaled.order, base.order)
            assert scaled.objective == a * a * b * base.objective
            assert scaled.trace == tuple(a * a * b * loss for loss in base.trace)
        free = rp.obs(rp.LayerProblem(W, G), pattern)
        other = rp.obs(rp.LayerProblem(W / units, G * units[:, None] * units), pattern)
        assert_array_equal(other.order, free.order)
        assert_array_equal(other.weight * units, free.weight)


@pytest.mark.parametrize("tiny", [1e-310, 1e-200, 1e200])
def test_squares_beyond_the_range(tiny):
    H, w = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]), np.array([3.0, -1, 2])
    base = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=1))
    for a, b in ((tiny, 1.0), (1.0, tiny)):
        answer = rp.obs(rp.Quadratic(b * H, a * w), rp.Unstructured(keep=1))
        assert_array_equal(answer.order, base.order)
        assert_allclose(answer.weight / a, base.weight, rtol=1e-9)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(keep=9), rp.Blocks(3, keep=4)], ids=["weights", "blocks"]
)
def test_rows_compete_where_losses_are_beyond_the_range(pattern, size):
    rng = np.random.default_rng(24)
    W, G = rng.normal(size=(4, 6)), spd(rng, 6)
    base = rp.obs(rp.LayerProblem(W, G), pattern)
    answer = rp.obs(rp.LayerProblem(size * W, G), pattern)
    assert_array_equal(answer.order, base.order)
    assert set(answer.trace) == {0.0 if size < 1 else np.inf}


def test_signs_permutations_and_rows():
    rng = np.random.default_rng(22)
    W, G = rng.normal(size=(4, 8)), spd(rng, 8)
    pattern = rp.Unstructured(sparsity=0.5)
    base = rp.obs(rp.LayerProblem(W, G), pattern)
    signs = np.where(rng.random(8) < 0.5, -1.0, 1.0)
    flipped = rp.obs(rp.LayerProblem(W * signs, G * signs[:, None] * signs), pattern)
    assert_array_equal(flipped.weight, base.weight * signs)
    rows, columns = np.array([3, 1, 0, 2]), rng.permutation(8)
    moved = rp.obs(rp.LayerProblem(W[rows][:, columns], G[columns][:, columns]), pattern)
    assert_array_equal(moved.mask, base.mask[rows][:, columns])
    assert_allclose(moved.weight, base.weight[rows][:, columns], rtol=0, atol=1e3 * EPS * condition(G) * 100)
    groups = np.array([4, 5, 6, 7, 0, 1, 2, 3])  # whole groups of N:M may move
    nm = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4))
    shifted = rp.obs(rp.LayerProblem(W[:, groups], G[groups][:, groups]), rp.NM(2, 4))
    assert_array_equal(shifted.mask, nm.mask[:, groups])


def test_a_dead_input_more_and_its_weights_pruned_more_changes_nothing():
    rng = np.random.default_rng(23)
    W, G = rng.normal(size=(3, 6)), spd(rng, 6)
    base = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=9), damp=0.25)
    grown = np.insert(W, [0, 4], 7.0, axis=1)
    answer = rp.obs(rp.LayerProblem(grown, with_dead(G, [0, 5])), rp.Unstructured(keep=9), damp=0.25)
    living = [1, 2, 3, 4, 6, 7]
    assert_array_equal(answer.weight[:, living], base.weight)  # bit for bit
    assert not answer.mask[:, [0, 5]].any()
    assert answer.objective == pytest.approx(base.objective, rel=1e-14)  # its sum has more zeros


@given(layers(), st.data())
def test_float32_keeps_its_certificate(layer, data):
    W, G = layer.weight.astype("float32"), layer.gram.astype("float32")
    G = (G + G.T) / 2
    count = data.draw(st.integers(0, W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count))
    assert answer.weight.dtype == "float32"
    certify(W.astype(float), G.astype(float), answer, eps=2.0**-23)


def test_half_precision_is_computed_wider():
    rng = np.random.default_rng(26)
    W, G = rng.normal(size=(3, 8)).astype("float16"), spd(rng, 8)
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5))
    wide = rp.obs(rp.LayerProblem(W.astype(float), G), rp.Unstructured(sparsity=0.5))
    assert answer.weight.dtype == "float16"
    assert_array_equal(answer.mask, wide.mask)
    assert_array_equal(answer.weight, wide.weight.astype("float16"))
    small = rp.obs(rp.LayerProblem(W, G.astype("float16").astype("float32")), rp.Unstructured(sparsity=0.5))
    assert small.weight.dtype == "float16"
