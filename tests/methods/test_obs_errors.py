"""OBS: errors come first and name rule and value; empty, read-only and strided arrays."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
from tests.methods.problems import (
    fractions,
    spd,
)


def test_errors_come_first_and_name_rule_and_value():
    W, G = np.ones((2, 4)), np.eye(4)
    layer, half = rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5)
    singular = rp.LayerProblem(W, np.ones((4, 4)))
    with pytest.raises(
        np.linalg.LinAlgError, match=r"need a positive definite gram; .*deficient by 3.*damp="
    ):
        rp.obs(singular, half)
    assert rp.obs(singular, half, damp=0.01).mask.sum() == 4
    with pytest.raises(np.linalg.LinAlgError, match="need a positive definite hessian"):
        rp.obs(rp.Quadratic(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2)), half)
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram\[1\]"):
        rp.obs(rp.LayerProblem(np.ones((2, 2, 1, 1)), np.stack([np.eye(2), np.ones((2, 2))])), half)
    with pytest.raises(np.linalg.LinAlgError, match="negative diagonal"):
        rp.obs(rp.Quadratic(np.array([-1.0, 1.0]), np.ones(2)), half)
    with pytest.raises(np.linalg.LinAlgError, match="need gradient 0 where hessian has a zero diagonal"):
        rp.obs(rp.Quadratic(np.array([0.0, 1.0]), np.ones(2), np.ones(2)), half)
    for bad, error, message in (
        ({"pattern": 0.5}, TypeError, "need an Unstructured, NM, Blocks or Groups pattern; got float"),
        ({"pattern": rp.Unstructured(keep=9)}, ValueError, "need keep <= 8"),
        ({"pattern": rp.Unstructured(keep=5, scope="row")}, ValueError, "need keep <= 4"),
        ({"pattern": rp.Unstructured(sparsity=0.5, scope="network")}, ValueError, "got 'network'"),
        ({"pattern": rp.NM(1, 3)}, ValueError, "multiple of m = 3"),
        ({"pattern": rp.Blocks(3, keep=0)}, ValueError, "multiple of the block size 3"),
        ({"pattern": rp.Groups(keep=0, labels=np.zeros(3, dtype=int))}, ValueError, "need labels of shape"),
        ({"damp": -0.5}, ValueError, "need damp >= 0 and finite; got -0.5"),
        ({"damp": float("inf")}, ValueError, "need damp >= 0 and finite; got inf"),
        ({"damp": "1"}, TypeError, "need damp to be a real number; got '1'"),
        (
            {"allocation": "greedy"},
            ValueError,
            "need allocation to be one of heap, sorted, cumulative; got 'greedy'",
        ),
        ({"mask": np.ones((2, 4))}, TypeError, "need a boolean array mask"),
        ({"mask": np.ones((4, 2), dtype=bool)}, ValueError, "need mask of shape"),
        ({"mask": np.zeros((2, 4), dtype=bool)}, ValueError, "need weight to be 0 where mask marks"),
        ({"problem": W}, TypeError, "need a Quadratic or a LayerProblem; got ndarray"),
        (
            {"problem": rp.LayerProblem(fractions(W), fractions(G))},
            TypeError,
            "Fractions are for definitions",
        ),
    ):
        with pytest.raises(error, match=message):
            rp.obs(**{"problem": layer, "pattern": half, **bad})


def test_a_mask_may_not_hold_more_zeros_than_the_pattern_asks_for():
    prior = np.array([[True, False, False, False], [True, True, True, True]])
    layer = rp.LayerProblem(np.where(prior, 1.0, 0.0), np.eye(4))
    for pattern, message in (
        (rp.Unstructured(keep=6), "need at least 3 pruned per layer, as many as mask prunes; got 2"),
        (
            rp.Unstructured(keep=2, scope="row"),
            "need at least 3 pruned per row, as many as mask prunes; got 2",
        ),
        (rp.Blocks(2, keep=4), "need at least 1 pruned per layer, as many as mask prunes; got 0"),
        (rp.Blocks(2, keep=2, scope="row"), "need at least 1 pruned per row, as many as mask prunes; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            rp.obs(layer, pattern, mask=prior)
    assert (~rp.obs(layer, rp.NM(3, 4), mask=prior).mask).sum(axis=1).tolist() == [3, 1]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (2, 0, 1, 1), (0, 4, 1, 1)])
@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(sparsity=0.5), rp.Unstructured(sparsity=0.5, scope="row"), rp.NM(1, 2),
                rp.Blocks(2, sparsity=0.5), rp.Groups(sparsity=0.5), rp.Groups(sparsity=0.5, axis=1)], ids=repr,
)  # fmt: skip
def test_empty(shape, pattern):
    columns = int(np.prod(shape[1:]))
    answer = rp.obs(rp.LayerProblem(np.zeros(shape), np.eye(columns)), pattern)
    assert answer.weight.shape == answer.mask.shape == shape
    assert answer.objective == 0


def test_inputs_are_read_only_strided_and_answers_are_new():
    rng = np.random.default_rng(27)
    wide = rng.normal(size=(6, 16))
    W, G = wide[::2, ::2], np.asfortranarray(spd(rng, 8))
    prior = np.asfortranarray(np.ones((3, 8), dtype=bool))
    for array in (W, G, prior):
        array.flags.writeable = False
    for pattern in (
        rp.Unstructured(sparsity=0),
        rp.Unstructured(sparsity=0.5),
        rp.NM(2, 4),
        rp.Blocks(2, keep=5),
    ):
        answer = rp.obs(rp.LayerProblem(W, G), pattern, mask=prior)
        again = rp.obs(rp.LayerProblem(W.copy(), np.ascontiguousarray(G)), pattern)
        assert_array_equal(answer.weight, again.weight)
        assert_array_equal(answer.order, again.order)
        for made in (answer.weight, answer.mask):
            assert not np.shares_memory(made, wide)
            assert not np.shares_memory(made, prior)
