"""ALPS: invariances, most of them bit for bit, other precisions, and inputs that stay as they are."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.admm import certify
from tests.methods.problems import condition, spd, with_dead

PATTERNS = (
    rp.Unstructured(sparsity=0.5),
    rp.NM(1, 3),
    rp.Blocks(3, sparsity=0.5),
    rp.Groups(keep=4, axis=1),
    rp.Groups(keep=2),
)


@pytest.fixture
def layer():
    rng = np.random.default_rng(50)
    return rng.normal(size=(3, 9)) + 0.25, with_dead(spd(rng, 8, 100.0), [5])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_powers_of_two_change_no_bit(pattern, layer):
    W, G = layer
    units = 4.0 ** np.array([0, -3, 2, 1, 3, 0, -2, 1, -1])
    base = rp.alps(rp.LayerProblem(W, G), pattern, damp=0.125)
    for a, b in ((2.0**-30, 1.0), (0.5, 4.0**9), (2.0**200, 4.0**-100), (2.0**-300, 4.0**150)):
        scaled = rp.alps(rp.LayerProblem(a * W, b * G), pattern, damp=0.125)
        assert_array_equal(scaled.weight, a * base.weight)
        assert scaled.objective == a * a * b * base.objective
        assert scaled.trace == base.trace
    free = rp.alps(rp.LayerProblem(W, G), pattern)
    other = rp.alps(rp.LayerProblem(W / units, G * units[:, None] * units), pattern)
    assert_array_equal(other.weight * units, free.weight)
    assert other.trace == free.trace


@pytest.mark.parametrize("pattern", PATTERNS)
def test_other_scales_change_nothing_but_rounding(pattern, layer):
    W, G = layer
    base = rp.alps(rp.LayerProblem(W, G), pattern, damp=0.01)
    scaled = rp.alps(rp.LayerProblem(W, G * 1e-6), pattern, damp=0.01)
    assert_array_equal(scaled.mask, base.mask)
    slack = 1e3 * 2.0**-52 * condition(G) * 100
    assert_allclose(scaled.weight, base.weight, rtol=0, atol=slack * np.abs(W).max())


def test_signs_permutations_and_rows(layer):
    W, G = layer
    rng = np.random.default_rng(51)
    slack = 1e3 * 2.0**-52 * condition(G) * 100 * np.abs(W).max()
    signs = np.where(rng.random(9) < 0.5, -1.0, 1.0)
    rows, columns = np.array([2, 0, 1]), rng.permutation(9)
    for pattern in (
        rp.Unstructured(sparsity=0.5),
        rp.Unstructured(keep=4, scope="row"),
        rp.Groups(keep=5, axis=1),
    ):
        base = rp.alps(rp.LayerProblem(W, G), pattern)
        flipped = rp.alps(rp.LayerProblem(W * signs, G * signs[:, None] * signs), pattern)
        assert_array_equal(flipped.mask, base.mask)
        assert_allclose(flipped.weight, base.weight * signs, rtol=0, atol=slack)
        moved = rp.alps(rp.LayerProblem(W[rows][:, columns], G[columns][:, columns]), pattern)
        assert_array_equal(moved.mask, base.mask[rows][:, columns])
        assert_allclose(moved.weight, base.weight[rows][:, columns], rtol=0, atol=slack)
    groups = np.array([6, 7, 8, 0, 1, 2, 3, 4, 5])  # whole groups of N:M may move
    nm = rp.alps(rp.LayerProblem(W, G), rp.NM(2, 3))
    assert_array_equal(
        rp.alps(rp.LayerProblem(W[:, groups], G[groups][:, groups]), rp.NM(2, 3)).mask, nm.mask[:, groups]
    )


def test_a_dead_input_more_and_its_weights_pruned_more_changes_nothing():
    rng = np.random.default_rng(52)
    W, G = rng.normal(size=(3, 6)), spd(rng, 6, 100.0)
    base = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=9), damp=0.25)
    grown = np.insert(W, [0, 4], 7.0, axis=1)
    answer = rp.alps(rp.LayerProblem(grown, with_dead(G, [0, 5])), rp.Unstructured(keep=9), damp=0.25)
    living = [1, 2, 3, 4, 6, 7]
    assert_array_equal(answer.weight[:, living], base.weight)  # bit for bit
    assert not answer.mask[:, [0, 5]].any()
    assert answer.trace == base.trace


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_precisions_keep_the_certificate(dtype, layer):
    W, G = layer[0].astype(dtype), layer[1].astype("float32")
    for pattern in PATTERNS:
        answer = rp.alps(rp.LayerProblem(W, G), pattern)
        assert answer.weight.dtype == dtype
        assert pattern.admits(answer.mask)
        certify(W.astype(float), G.astype(float), answer, eps=float(np.finfo(dtype).eps))


def test_inputs_are_read_only_and_answers_are_new(layer):
    W, G = (np.asfortranarray(x) for x in layer)
    prior = np.ones(W.shape, dtype=bool)
    for array in (W, G, prior):
        array.flags.writeable = False
    for sparsity in (0, 0.5):
        answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(sparsity=sparsity), mask=prior)
        again = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(sparsity=sparsity), mask=prior)
        for made in (answer.weight, answer.mask):
            assert not any(np.shares_memory(made, array) for array in (W, G, prior))
        assert_array_equal(answer.weight, again.weight)
        assert answer.trace == again.trace
