"""The definition of WoodFisher: exact on fractions, by hand, and the minimiser that it states."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune.definitions as definitions
from refprune.arrays import inv
from tests.methods.problems import fractions


def exact(seed, samples=3, d=5):
    """(weight, gradients, damp) of Fractions; opposite gradients, so that their mean says little."""
    rng = np.random.default_rng([61, seed])
    G = rng.integers(-3, 4, size=(samples, d)) + 0.5
    G[-1] = -G[0]
    return fractions(rng.integers(-4, 5, size=d) + 0.25), fractions(G), Fraction(1, 4 + seed)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_joint_is_the_minimiser_exactly(seed, first_order):
    w, G, damp = exact(seed)
    F = G.T @ G / Fraction(3) + damp * fractions(np.eye(5))
    weight, mask = definitions.woodfisher(w, G, 2, damp, "joint", first_order)
    assert list(mask).count(False) == 2
    assert all(weight[~mask] == 0)
    slope = F @ (weight - w) + (G.sum(axis=0) / Fraction(3) if first_order else 0)
    assert all(slope[mask] == 0)  # the model's gradient on the support
    value = definitions.woodfisher_model(w, G, weight - w, damp, first_order)
    delta = weight - w
    linear = G.sum(axis=0) @ delta / Fraction(3) if first_order else 0
    assert value == delta @ F @ delta / 2 + linear


@pytest.mark.parametrize("first_order", [False, True])
def test_a_score_is_the_cost_of_a_weight_alone(first_order):
    w, G, damp = exact(7)
    scores = definitions.woodfisher_scores(w, G, damp, first_order)
    everything = np.ones(5, dtype=bool)
    free = definitions.woodfisher_weights(w, G, everything, damp, "joint", first_order)
    least = definitions.woodfisher_model(w, G, free - w, damp, first_order)
    for p in range(5):
        alone = everything.copy()
        alone[p] = False
        joint = definitions.woodfisher_weights(w, G, alone, damp, "joint", first_order)
        assert definitions.woodfisher_model(w, G, joint - w, damp, first_order) - least == scores[p]
        both = definitions.woodfisher_weights(w, G, alone, damp, "sum", first_order)
        assert_array_equal(both, joint)  # of one weight the sum is the joint move


def test_sum_adds_the_moves_of_single_weights():
    w, G, damp = exact(8)
    C = inv(G.T @ G / Fraction(3) + damp * fractions(np.eye(5)))
    mask = np.array([True, False, True, False, False])
    moves = [-w[p] / C[p, p] * C[:, p] for p in (1, 3, 4)]
    assert_array_equal(definitions.woodfisher_weights(w, G, mask, damp, "sum")[mask], (w + sum(moves))[mask])
    assert definitions.woodfisher_model(
        w, G, definitions.woodfisher_weights(w, G, mask, damp, "sum") - w, damp
    ) > definitions.woodfisher_model(w, G, definitions.woodfisher_weights(w, G, mask, damp) - w, damp)


def test_by_hand():
    w, G = np.array([1.0, 3.0]), np.array([[2.0, 0.0], [0.0, 1.0]])  # F = diag(2 + 1/2, 1/2 + 1/2)
    np.testing.assert_allclose(definitions.woodfisher_scores(w, G, 0.5), [1.25, 4.5], rtol=1e-15)
    weight, mask = definitions.woodfisher(w, G, 1, 0.5)
    assert_array_equal(weight, [0, 3])
    assert_array_equal(mask, [False, True])
    # with the mean gradient (1, 1/2) the minimum is at (1 - 1/2.5, 3 - 1/2)
    np.testing.assert_allclose(definitions.woodfisher(w, G, 1, 0.5, "joint", True)[0], [0, 2.5], rtol=1e-15)
    for count, kept in ((0, w), (2, [0, 0])):
        assert_array_equal(definitions.woodfisher(w, G, count, 0.5)[0], kept)
