"""Known mistakes in ALPS, each killed by its certificate with its own message."""

from dataclasses import replace

import numpy as np
import pytest

import refprune as rp
from tests.methods.admm import admm, certify, same_support
from tests.methods.problems import spd

PATTERN = rp.NM(1, 4)
SETS = np.arange(48).reshape(12, 4)


@pytest.fixture
def layer():
    """A weight of zero among those that are kept, and inputs of other scales."""
    rng = np.random.default_rng(60)
    return rp.LayerProblem(rng.normal(size=(6, 8)) + 0.5, spd(rng, 8, 1e3))


def judge(answer, layer):
    W, G = layer.weight, layer.gram
    assert PATTERN.admits(answer.mask), "a group keeps more than 1"
    assert np.count_nonzero(answer.mask) == 12, "a group keeps fewer than 1"
    certify(W, G, answer)
    same_support(answer.mask, admm(W, G, SETS, 1))


def searched(wrong):
    """The exact refit on the support of an iteration with one wrong step."""
    return lambda layer: rp.optimal_weights(layer, admm(layer.weight, layer.gram, SETS, 1, wrong=wrong).mask)


def no_refit(layer):
    answer = rp.alps(layer, PATTERN)
    weight = np.where(answer.mask, layer.weight, 0)
    return replace(answer, weight=weight, objective=float(layer.objective(weight)))


MISTAKES = {
    "not normalised": (searched("not normalised"), "the support is not that of the iteration"),
    "no dual": (searched("no dual"), "the support is not that of the iteration"),
    "dual with the wrong sign": (
        searched("dual with the wrong sign"),
        "the support is not that of the iteration",
    ),
    "projection without the dual": (
        searched("projection without the dual"),
        "the support is not that of the iteration",
    ),
    "rho stays": (searched("rho stays"), "the support is not that of the iteration"),
    "another rho": (
        lambda layer: rp.alps(layer, PATTERN, rho=1.0),
        "the support is not that of the iteration",
    ),
    "damped unasked": (lambda layer: rp.alps(layer, PATTERN, damp=0.01), "not stationary"),
    "no refit": (no_refit, "not stationary"),
    "n read as zeros": (lambda layer: rp.alps(layer, rp.NM(3, 4)), "a group keeps more than 1"),
    "one too many": (lambda layer: rp.alps(layer, rp.NM(0, 4)), "a group keeps fewer than 1"),
    "objective in other units": (
        lambda layer: replace(rp.alps(layer, PATTERN), objective=2 * rp.alps(layer, PATTERN).objective),
        "objective .* is not",
    ),
    "the pruned not zero": (
        lambda layer: replace(rp.alps(layer, PATTERN), weight=rp.alps(layer, PATTERN).weight + 1e-300),
        "not exactly zero",
    ),
}


def test_the_method_passes(layer):
    judge(rp.alps(layer, PATTERN), layer)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name, layer):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        judge(method(layer), layer)


def test_ten_steps_of_conjugate_gradients_are_no_refit():
    """The published last step, from the pruned weights."""
    rng = np.random.default_rng(61)
    W, G = rng.normal(size=(3, 40)), spd(rng, 40, 1e4)
    answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5))
    certify(W, G, answer)
    weight = np.where(answer.mask, W, 0)
    residual = (W - weight) @ G * answer.mask
    direction = residual
    for _ in range(10):
        size = np.sum(residual**2, axis=1, keepdims=True)
        step = direction @ G * answer.mask
        length = size / np.sum(direction * step, axis=1, keepdims=True)
        weight, residual = weight + length * direction, residual - length * step
        direction = residual + np.sum(residual**2, axis=1, keepdims=True) / size * direction
    with pytest.raises(AssertionError, match="not stationary"):
        certify(W, G, replace(answer, weight=weight))


def test_a_choice_that_rounding_may_decide_is_seen():
    with pytest.raises(AssertionError, match="rounding may decide"):
        same_support(np.ones((1, 2), dtype=bool), admm(np.ones((1, 2)), np.eye(2), [range(2)], 1))
