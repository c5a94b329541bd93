"""Magnitude, Wanda and OBD with a prior mask: its zeros go first, are counted, and never come back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import cheapest, removed_exactly, untouched
from tests.methods.problems import layers, masks, scores_of

METHODS = ("magnitude", "wanda", "obd")


def call(name, W, G, pattern, mask):
    return getattr(rp, name)(rp.LayerProblem(W, G), pattern, mask=mask)


def certificate(answer, W, scores, prior, count):
    """`count` are gone, the prior zeros among them; of the others the least scores went, nothing moved."""
    assert not answer.mask[~prior].any(), "a prior zero is kept"
    removed_exactly(answer.weight, answer.mask, count)
    untouched(W, answer.weight, answer.mask)
    cheapest(scores[prior], answer.mask[prior], "score without prior zeros")


def case(layer, data):
    """(weight with zeros, Gram, prior mask)"""
    prior = data.draw(masks(layer.size)).reshape(layer.weight.shape)
    return np.where(prior, layer.weight, 0), layer.gram, prior


@pytest.mark.parametrize("name", METHODS)
@given(layers(), st.data())
def test_unstructured(name, layer, data):
    W, G, prior = case(layer, data)
    count = data.draw(st.integers(int(np.count_nonzero(~prior)), W.size))
    answer = call(name, W, G, rp.Unstructured(keep=W.size - count, scope="layer"), prior)
    certificate(answer, W, scores_of(name, W, G), prior, count)


@pytest.mark.parametrize("name", METHODS)
@given(layers(), st.data())
def test_each_row_is_the_row_without_its_prior_zeros(name, layer, data):
    """The same as the definition on what is left, so ties fall as there."""
    W, G, prior = case(layer, data)
    k = data.draw(st.integers(int((~prior).sum(axis=1).max()), W.shape[1]))
    answer = call(name, W, G, rp.Unstructured(keep=W.shape[1] - k, scope="row"), prior)
    scores = scores_of(name, W, G)
    for i, own in enumerate(prior):
        expected = own.copy()
        expected[own] = definitions.topk_mask(scores[i, own], W.shape[1] - k)
        assert_array_equal(answer.mask[i], expected)


@pytest.mark.parametrize("name", METHODS)
@given(layers(columns=(1, 2), width=4), st.data())
def test_nm_may_keep_fewer(name, layer, data):
    W, G, prior = case(layer, data)
    answer = call(name, W, G, rp.NM(1, 4), prior)
    held = (~prior).reshape(len(W), -1, 4).sum(axis=2)
    assert not answer.mask[~prior].any(), "a prior zero is kept"
    assert_array_equal((~answer.mask).reshape(len(W), -1, 4).sum(axis=2), np.maximum(held, 3))
    untouched(W, answer.weight, answer.mask)


@pytest.mark.parametrize("name", METHODS)
def test_units_that_are_gone_are_counted(name):
    rng = np.random.default_rng(30)
    W, prior = rng.normal(size=(3, 6)) + 2, np.ones((3, 6), dtype=bool)
    prior[1, 2:4] = prior[:, 5] = False  # a block, a column, and parts of other blocks
    W = np.where(prior, W, 0)
    G = np.diag(rng.random(6) + 0.5)
    blocks = call(name, W, G, rp.Blocks(2, keep=8, scope="layer"), prior)
    assert_array_equal(blocks.mask, prior)
    columns = call(name, W, G, rp.Groups(keep=5, axis=1), prior)
    assert_array_equal(columns.mask, prior)
    fewer = call(name, W, G, rp.Groups(keep=4, axis=1), prior)
    assert not fewer.mask[~prior].any()
    assert (~fewer.mask).all(axis=0).sum() == 2


@pytest.mark.parametrize("name", METHODS)
def test_a_zero_without_a_prior_mask_is_ordinary(name):
    W, G = np.array([[0.0, 3.0, 0.0, 2.0]]), np.eye(4)
    pattern = rp.Unstructured(keep=3)
    assert call(name, W, G, pattern, None).mask.tolist() == [[False, True, True, True]]
    prior = np.array([[True, True, False, True]])
    assert call(name, W, G, pattern, prior).mask.tolist() == prior.tolist()


def test_a_bare_weight_a_vector_and_a_convolution():
    prior = np.array([True, True, False, True])
    w = np.array([1.0, -2.0, 0.0, 3.0])
    assert rp.magnitude(w, rp.Unstructured(keep=2), mask=prior).mask.tolist() == [False, True, False, True]
    H = np.array([9.0, 1.0, 1.0, 1.0])
    answer = rp.obd(rp.Quadratic(H, w), rp.Unstructured(keep=2), mask=prior)
    assert answer.mask.tolist() == [True, False, False, True]
    assert answer.objective == 2.0
    conv, kept = w.reshape(2, 2, 1, 1), prior.reshape(2, 2, 1, 1)
    layer = rp.LayerProblem(conv, np.stack([np.eye(2), np.eye(2)])[:1])
    assert rp.wanda(layer, rp.NM(1, 2), mask=kept).mask.ravel().tolist() == [False, True, False, True]


@pytest.mark.parametrize("name", METHODS)
def test_all_kept_is_no_mask_and_nothing_is_shared(name):
    rng = np.random.default_rng(31)
    W, G = rng.normal(size=(2, 4)), np.eye(4)
    prior = np.ones((2, 4), dtype=bool)
    prior.flags.writeable = False
    answer = call(name, W, G, rp.Unstructured(sparsity=0), prior)
    assert_array_equal(answer.weight, W)
    assert not np.shares_memory(answer.mask, prior)
    half = rp.Unstructured(sparsity=0.5)
    assert_array_equal(call(name, W, G, half, prior).mask, call(name, W, G, half, None).mask)


@pytest.mark.parametrize("name", METHODS)
def test_errors(name):
    W, G, half = np.array([[1.0, 0.0, 2.0, 0.0]]), np.eye(4), rp.Unstructured(sparsity=0.5)
    prior = W != 0
    with pytest.raises(TypeError, match=r"need a boolean array mask \(True = kept\); got float64"):
        call(name, W, G, half, W)
    with pytest.raises(ValueError, match=r"need mask of shape \(1, 4\); got \(4,\)"):
        call(name, W, G, half, prior[0])
    with pytest.raises(ValueError, match="need weight to be 0 where mask marks a prior zero"):
        call(name, W, G, half, ~prior)
    for pattern in (rp.Unstructured(keep=3), rp.Unstructured(keep=3, scope="row"), rp.Blocks(1, keep=3)):
        with pytest.raises(ValueError, match=r"need at least 2 units pruned per .*, as many as the prior"):
            call(name, W, G, pattern, prior)
    with pytest.raises(TypeError, match="need an Unstructured, NM, Blocks or Groups pattern; got float"):
        call(name, W, G, 0.5, prior)


def revived(W, prior, k):
    """The prior mask is not looked at: a free zero of a lower index goes instead."""
    return rp.magnitude(W, rp.Unstructured(keep=W.size - k))


def not_counted(W, prior, k):
    """The prior zeros come on top of the count."""
    return rp.magnitude(W, rp.Unstructured(keep=W.size - k - np.count_nonzero(~prior)), mask=prior)


def from_zeros(W, prior, k):
    """The mask is read from the zeros of the weight."""
    answer = rp.magnitude(W, rp.Unstructured(keep=W.size - k), mask=prior)
    return replace(answer, mask=answer.weight != 0)


def inverted(W, prior, k):
    """The largest of the others go."""
    mask = rp.Unstructured(keep=W.size - k).mask(-abs(W), prior)
    return replace(rp.magnitude(W, rp.Unstructured(keep=W.size)), weight=np.where(mask, W, 0), mask=mask)


@pytest.mark.parametrize(
    ("method", "count", "message"),
    [
        (revived, 2, "a prior zero is kept"),
        (not_counted, 3, "weights are pruned"),
        (from_zeros, 2, "weights are pruned"),
        (inverted, 4, "score without prior zeros"),
    ],
)
def test_mistakes_die(method, count, message):
    W = np.array([[3.0, 0.0, 1.0, 0.0], [0.5, 2.0, 0.0, 4.0]])
    prior = np.array([[True, True, True, False], [True, True, False, True]])
    right = rp.magnitude(W, rp.Unstructured(keep=8 - count), mask=prior)
    certificate(right, W, abs(W), prior, count)
    with pytest.raises(AssertionError, match=message):
        certificate(method(W, prior, count), W, abs(W), prior, count)
