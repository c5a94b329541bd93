"""Known mistakes in WoodFisher, each killed by its certificate with its own message."""

from dataclasses import replace

import numpy as np
import pytest

import refprune as rp
from tests.methods.fishers import certify, fisher

COUNT, DAMP = 4, 0.03


def problem():
    """(w, G): gradients with a mean, of other units, fewer than weights."""
    rng = np.random.default_rng(73)
    units = 2.0 ** rng.integers(-1, 2, size=9)
    return (rng.normal(size=9) + 0.25) / units, (rng.normal(size=(6, 9)) + 0.4) * units


def right(update="joint", first_order=False, *, G=None, damp=DAMP, count=COUNT, block=None):
    """A right answer to the problem, or to another one."""
    w, own = problem()
    G = own if G is None else G
    return rp.woodfisher(w, G, rp.Unstructured(keep=9 - count), damp, block, update, first_order)


def ranked(scores):
    """The right weights on the mask of the largest `scores`, which are reported."""
    w, G = problem()
    F, mask = fisher(G, DAMP), np.zeros(9, dtype=bool)
    mask[np.argsort(scores)[COUNT:]] = True
    v = np.zeros(9)
    v[mask] = np.linalg.solve(F[np.ix_(mask, mask)], F[mask] @ w)
    return rp.Pruned(v, mask, (v - w) @ F @ (v - w) / 2, scores=scores)


def truly(scores):
    """As `ranked`, but the right scores are reported."""
    return replace(ranked(scores), scores=right().scores)


def mean_squared():
    _, G = problem()
    return right(G=np.broadcast_to(G.mean(axis=0), G.shape).copy())


def step(point, mask):
    """A wrong first-order answer: the best weights for another point."""
    w, G = problem()
    F, v = fisher(G, DAMP), np.zeros(9)
    v[mask] = np.linalg.solve(F[np.ix_(mask, mask)], F[mask] @ point)
    value = (v - w) @ F @ (v - w) / 2 + G.mean(axis=0) @ (v - w)
    return replace(right(first_order=True), weight=v, objective=value)


def curvature():
    return np.diag(np.linalg.inv(fisher(problem()[1], DAMP)))


def late_newton():
    """The first order left out of the choice alone."""
    w, G = problem()
    point = w - np.linalg.inv(fisher(G, DAMP)) @ G.mean(axis=0)
    return replace(step(point, right().mask), mask=right().mask, scores=right().scores)


COST, DEARER = "a score is not the cost of the weight alone", "a dearer weight went"
SLOPE, SUM = "the model's gradient is not 0 on the support", "not the sum of the moves of single weights"
MISTAKES = {
    "the square of the mean gradient": ("joint", False, mean_squared, COST),
    "damping divided by N": ("joint", False, lambda: right(damp=DAMP / 6), COST),
    "not divided by N": ("joint", False, lambda: right(G=problem()[1] * 6**0.5), COST),
    "relative damping": ("joint", False, lambda: right(damp=DAMP * np.mean(problem()[1] ** 2)), COST),
    "a diagonal for F": ("joint", False, lambda: right(block=1), COST),
    "blocks for F": ("joint", False, lambda: right(block=5), COST),
    "1/2 left out": ("joint", False, lambda: replace(right(), scores=2 * right().scores), COST),
    "C_pp on the wrong side": ("joint", False, lambda: ranked(problem()[0] ** 2 * curvature()), COST),
    "by magnitude": ("joint", False, lambda: truly(abs(problem()[0])), DEARER),
    "the diagonal of F for C in the choice": (
        "joint", False, lambda: truly(problem()[0] ** 2 * np.diag(fisher(problem()[1], DAMP))), DEARER,
    ),
    "the sum for the joint update": ("joint", False, lambda: right("sum"), SLOPE),
    "the joint update for the sum": ("sum", False, lambda: right("joint"), SUM),
    "no update": (
        "joint", False, lambda: replace(right(), weight=np.where(right().mask, problem()[0], 0)), SLOPE,
    ),
    "a threshold that one more falls below": (
        "joint", False, lambda: right(count=COUNT + 1), "another number of weights is pruned",
    ),
    "rounded zeros": (
        "joint", False, lambda: replace(right(), weight=right().weight + 1e-17 * ~right().mask),
        "a pruned weight is not 0",
    ),
    "the gradient with the wrong sign": (
        "joint", True,
        lambda: step(
            problem()[0] + np.linalg.inv(fisher(problem()[1], DAMP)) @ problem()[1].mean(axis=0),
            right(first_order=True).mask,
        ),
        SLOPE,
    ),
    "the gradient left out of the update": (
        "joint", True, lambda: step(problem()[0], right(first_order=True).mask), SLOPE,
    ),
    "the gradient left out of the choice": ("joint", True, late_newton, COST),
    "the gradient left out of the objective": (
        "joint", True,
        lambda: replace(right(first_order=True), objective=right(first_order=True).objective
                        - problem()[1].mean(axis=0) @ (right(first_order=True).weight - problem()[0])),
        "another objective",
    ),
    "the undamped model for the objective": (
        "joint", False,
        lambda: replace(right(), objective=right().objective
                        - DAMP / 2 * np.sum((right().weight - problem()[0]) ** 2)),
        "another objective",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_seen(name):
    update, first_order, wrong, message = MISTAKES[name]
    certify(*problem(), DAMP, right(update, first_order), COUNT, update, first_order)
    with pytest.raises(AssertionError, match=message):
        certify(*problem(), DAMP, wrong(), COUNT, update, first_order)


def test_rounding_is_no_mistake():
    for first_order in (False, True):
        answer = right(first_order=first_order)
        nudged = replace(answer, weight=answer.weight * (1 + 2.0**-51), scores=answer.scores * (1 - 2.0**-51))
        certify(*problem(), DAMP, nudged, COUNT, "joint", first_order)
