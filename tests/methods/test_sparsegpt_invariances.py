"""SparseGPT: invariances, most of them bit for bit, and other precisions."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from tests.methods.problems import layers, spd, with_dead
from tests.methods.sweeps import certify_sweep

PATTERNS = (rp.Unstructured(sparsity=0.5), rp.Unstructured(keep=4, scope="row"), rp.NM(2, 3))


def test_scale_with_dead_inputs():
    """6 of 128 inputs dead, and the others a thousandth in size: nothing may hang on an absolute number."""
    rng = np.random.default_rng(20)
    X = rng.normal(size=(300, 128)) @ (np.eye(128) + rng.normal(size=(128, 128)) / 12)
    X[:, [3, 17, 40, 41, 99, 127]] = 0
    W = rng.normal(size=(16, 128))
    for pattern in (rp.Unstructured(sparsity=0.5), rp.NM(2, 4)):
        for refit in (False, True):
            base, small = (
                rp.sparsegpt(rp.LayerProblem.from_inputs(W, scale * X), pattern, 50, refit=refit)
                for scale in (1.0, 1e-3)
            )
            assert_array_equal(small.mask, base.mask)
            # cond is below 1e4; the two Grams differ by rounding of the inputs
            assert_allclose(small.weight, base.weight, rtol=0, atol=1e-10)
            assert_allclose(small.objective, 1e-6 * base.objective, rtol=1e-10)
            dead = [3, 17, 40, 41, 99, 127]
            assert_array_equal(base.weight[:, dead], np.where(base.mask, W, 0)[:, dead])


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_powers_of_two_change_no_bit(pattern):
    rng = np.random.default_rng(21)
    W, G = rng.normal(size=(3, 9)), with_dead(spd(rng, 8), [5])
    base = rp.sparsegpt(rp.LayerProblem(W, G), pattern, 4, damp=0.125)
    for a, b in ((2.0**-30, 1.0), (0.5, 4.0**9), (2.0**200, 4.0**-100), (2.0**-300, 4.0**150)):
        scaled = rp.sparsegpt(rp.LayerProblem(a * W, b * G), pattern, 4, damp=0.125)
        assert_array_equal(scaled.weight, a * base.weight)
        assert_array_equal(scaled.order, base.order)
        assert scaled.objective == a * a * b * base.objective
        assert scaled.trace == tuple(a * a * b * loss for loss in base.trace)
    free = rp.sparsegpt(rp.LayerProblem(W, G), pattern, 4, damp=0)
    units = 4.0 ** rng.integers(-3, 4, size=9)  # of the single inputs, which only damping can tell
    other = rp.sparsegpt(rp.LayerProblem(W / units, G * units[:, None] * units), pattern, 4, damp=0)
    assert_array_equal(other.order, free.order)
    assert_array_equal(other.weight * units, free.weight)


@pytest.mark.parametrize("tiny", [1e-310, 1e-200, 1e200])
def test_squares_beyond_the_range(tiny):
    G, W = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]), np.array([[3.0, -1, 2]])
    base = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(1, 3), damp=0)
    for a, b in ((tiny, 1.0), (1.0, tiny)):
        answer = rp.sparsegpt(rp.LayerProblem(a * W, b * G), rp.NM(1, 3), damp=0)
        assert_array_equal(answer.order, base.order)
        assert_allclose(answer.weight / a, base.weight, rtol=1e-9)


def test_units_far_apart():
    """Inputs of 1e-75 beside inputs of 1e75: each pair is pruned as it would be alone."""
    G, W = np.array([[2.0, 1], [1, 2]]), np.array([[3.0, -1]])
    pair = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(1, 2), damp=0)
    far = np.zeros((4, 4))
    far[:2, :2], far[2:, 2:] = 1e-150 * G, 1e150 * G
    answer = rp.sparsegpt(rp.LayerProblem(np.tile(W, 2), far), rp.NM(1, 2), damp=0)
    assert_allclose(answer.weight, np.tile(pair.weight, 2), rtol=1e-12)


@given(layers(rows=(1, 4), columns=(1, 8), dead=False))
def test_signs_and_rows(layer):
    W, G, rng = layer.weight, layer.gram, layer.rng
    signs, rows = rng.choice([-1.0, 1.0], size=W.shape[1]), rng.permutation(len(W))
    for pattern in (rp.Unstructured(sparsity=0.4), rp.NM(1, 3, "dense")):
        base = rp.sparsegpt(rp.LayerProblem(W, G), pattern, 3)
        flipped = rp.sparsegpt(rp.LayerProblem(W * signs, G * signs[:, None] * signs), pattern, 3)
        assert_array_equal(flipped.weight, base.weight * signs)
        assert_array_equal(flipped.order, base.order)
        turned = rp.sparsegpt(rp.LayerProblem(W[rows], G), pattern, 3)
        assert_array_equal(turned.mask, base.mask[rows])
        assert_allclose(turned.weight, base.weight[rows], rtol=1e-9, atol=1e-12)


def test_a_dead_input_behind_changes_nothing_before():
    """Nor does it count for the mean of the damping: appended as a block of its own, bit for bit."""
    rng = np.random.default_rng(23)
    W, G = rng.normal(size=(4, 6)), spd(rng, 6)
    grown = np.hstack([W, rng.normal(size=(4, 3))])
    for pattern in (rp.Unstructured(sparsity=0.5), rp.NM(1, 3)):
        base = rp.sparsegpt(rp.LayerProblem(W, G), pattern, 3, damp=0.5)
        answer = rp.sparsegpt(rp.LayerProblem(grown, with_dead(G, [6, 7, 8])), pattern, 3, damp=0.5)
        assert_array_equal(answer.weight[:, :6], base.weight)
        assert_array_equal(answer.weight[:, 6:], np.where(answer.mask, grown, 0)[:, 6:])
        assert_allclose(answer.objective, base.objective, rtol=1e-14)
        assert answer.trace[: len(base.trace)] == base.trace
        assert not any(answer.trace[len(base.trace) :])


def test_all_inputs_dead():
    W = np.arange(1.0, 9).reshape(2, 4)
    answer = rp.sparsegpt(rp.LayerProblem(W, np.zeros((4, 4))), rp.Unstructured(sparsity=0.5), 2)
    assert_array_equal(answer.weight, [[0, 0, 0, 0], [5, 6, 7, 8]])  # the lowest index first, in each block
    assert answer.objective == 0
    assert answer.trace == (0.0,) * 4


def test_dead_inputs_go_before_weights_of_zero():
    """Both cost nothing; a prior zero goes before either."""
    W, G = np.array([[0.0, 5.0, 0.0, 3.0]]), np.diag([1.0, 0.0, 2.0, 1.0])
    problem = rp.LayerProblem(W, G)
    prior = np.array([[True, True, False, True]])
    for count, with_prior, without in ((1, [2], [1]), (2, [1, 2], [0, 1]), (3, [0, 1, 2], [0, 1, 2])):
        for mask, gone in ((prior, with_prior), (None, without)):
            answer = rp.sparsegpt(problem, rp.Unstructured(keep=4 - count), mask=mask)
            assert answer.order.tolist() == gone
            assert_array_equal(rp.sparsegpt(problem, rp.NM(4 - count, 4), mask=mask).order, gone)


def test_ties_go_to_the_lowest_flat_index():
    W, G = np.ones((3, 4)), np.eye(4)
    problem = rp.LayerProblem(W, G)
    answer = rp.sparsegpt(problem, rp.Unstructured(sparsity=0.5), 2)
    assert_array_equal(answer.mask, [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]])
    assert answer.order.tolist() == [0, 4, 1, 2, 6, 3]  # columns in turn, rows ascending
    assert_array_equal(rp.sparsegpt(problem, rp.NM(1, 2)).mask, [[0, 1, 0, 1]] * 3)


@pytest.mark.parametrize(
    ("dtype", "gram"), [("float32", "float32"), ("float32", "float64"), ("float64", "float32")]
)
def test_precision_is_that_of_all_arrays(dtype, gram):
    rng = np.random.default_rng(24)
    W, G = rng.normal(size=(4, 20)).astype(dtype), spd(rng, 20).astype(gram)
    answer = rp.sparsegpt(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5), 6, damp=0.01)
    assert answer.weight.dtype == dtype
    eps = 2.0**-23 if "float32" in (dtype, gram) else 2.0**-52
    counts = [12, 12, 12, 4]
    certify_sweep(W.astype(float), G.astype(float), answer, [0, 6, 12, 18, 20], counts, 0.01, eps=eps)


def test_half_precision_is_computed_in_single():
    rng = np.random.default_rng(25)
    W, G = rng.normal(size=(4, 12)).astype("float16"), spd(rng, 12).astype("float32")
    half = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(2, 4))
    single = rp.sparsegpt(rp.LayerProblem(W.astype("float32"), G), rp.NM(2, 4))
    assert half.weight.dtype == np.float16
    assert_array_equal(half.weight, single.weight.astype("float16"))
    assert_array_equal(half.mask, single.mask)


def test_inputs_are_read_only_and_answers_are_new():
    rng = np.random.default_rng(26)
    W, G = np.asfortranarray(rng.normal(size=(3, 6))), np.asfortranarray(spd(rng, 6))
    prior = rng.random((3, 6)) < 0.8
    W[~prior] = 0
    for array in (W, G, prior):
        array.flags.writeable = False
    for pattern in (rp.Unstructured(sparsity=0), rp.Unstructured(keep=5), rp.NM(1, 2)):
        mask = prior if pattern != rp.Unstructured(sparsity=0) else None
        answer = rp.sparsegpt(rp.LayerProblem(W, G), pattern, 4, mask=mask)
        again = rp.sparsegpt(rp.LayerProblem(W.copy(), G.copy()), pattern, 4, mask=mask)
        assert_array_equal(answer.weight, again.weight)
        assert_array_equal(answer.order, again.order)
        assert not np.shares_memory(answer.weight, W)
        assert not np.shares_memory(answer.mask, prior)
