"""Known mistakes in I-OBS, each killed by its certificate with its own message."""

from dataclasses import replace

import numpy as np
import pytest

import refprune as rp
from tests.methods.newton_steps import certify
from tests.methods.problems import with_dead

KEEP, DAMP = 4, 0.125


def problem():
    """(H, theta, g): a dead input, and rules that all choose another support."""
    rng = np.random.default_rng(147)
    A = rng.normal(size=(9, 8))
    H = with_dead(A.T @ A / 9, [2])
    theta = rng.normal(size=9)
    return H, theta, H @ rng.normal(size=9)


def step(selection="topk", project="H", *, H=None, g=None, keep=KEEP, damp=DAMP):
    """A right step of the problem, or of a wrong one."""
    given = problem()
    H, g = given[0] if H is None else H, given[2] if g is None else g
    return rp.iobs(rp.Quadratic(H, given[1], g), keep, selection=selection, project=project, damp=damp)


def on(mask, project):
    """The right weights on another mask."""
    H, theta, g = problem()
    A = H + DAMP * np.trace(H) / 8 * np.diag((np.diag(H) > 0).astype(float))
    newton = theta - np.linalg.pinv(A) @ g
    weight = np.where(mask, newton, 0)
    if project == "H":
        K = np.flatnonzero(mask & (np.diag(H) > 0))
        weight[K] = np.linalg.solve(A[np.ix_(K, K)], A[K] @ newton)
    gap = weight - newton
    trace = (step().trace[0]._replace(loss=gap @ A @ gap / 2),)
    return replace(step(), weight=weight, mask=mask, trace=trace)


def largest(scores):
    """The right weights on the mask of the largest `scores` of the living."""
    scores[np.diag(problem()[0]) == 0] = -1
    mask = np.zeros(9, dtype=bool)
    mask[np.argsort(scores)[-KEEP:]] = True
    return on(mask, "H")


def newton():
    return step(keep=9).weight


def one_by_one():
    """Every removal with the first inverse, and none of the others in it."""
    H, _, _ = problem()
    living, v = np.diag(H) > 0, newton()
    C = np.linalg.pinv(H + DAMP * np.trace(H) / 8 * np.diag(living.astype(float)))
    answer = step()
    for p in np.flatnonzero(~answer.mask & living):
        v = v - newton()[p] / C[p, p] * C[:, p]
    return replace(answer, weight=np.where(answer.mask, v, 0))


def curvature():
    H, _, _ = problem()
    return np.diag(np.linalg.pinv(H + DAMP * np.trace(H) / 8 * np.diag((np.diag(H) > 0).astype(float))))


BIGGER, SLOPE = "a larger one went", "the model's gradient is not 0 on the support"
POINT = "not the Newton point on the support"
MISTAKES = {
    "largest of theta, not of theta+": ("topk", "H", lambda: largest(abs(problem()[1])), BIGGER),
    "by value": ("topk", "H", lambda: largest(newton()), BIGGER),
    "magnitude for saliency": ("saliency", "H", lambda: step("topk"), BIGGER),
    "C_pp on the wrong side": ("saliency", "H", lambda: largest(newton() ** 2 * curvature()), BIGGER),
    "the diagonal of H for C": (
        "saliency", "H", lambda: largest(newton() ** 2 * np.diag(problem()[0])), BIGGER,
    ),
    "greedy for the best": ("exact", "H", lambda: step("obs"), "another support is cheaper"),
    "keep as the number that goes": ("topk", "H", lambda: step(keep=5), "keeps another number of weights"),
    "projection left out": ("topk", "H", lambda: step(project="euclid"), SLOPE),
    "projection unasked": ("topk", "euclid", lambda: step(), POINT),
    "gradient of another scale": ("topk", "H", lambda: step(g=2 * problem()[2]), SLOPE),
    "gradient with the wrong sign": ("topk", "H", lambda: step(g=-problem()[2]), SLOPE),
    "Hessian of another scale": ("topk", "euclid", lambda: step(project="euclid", H=problem()[0] / 2), POINT),
    "undamped": ("topk", "H", lambda: step(damp=0.0), SLOPE),
    "one removal at a time with the first inverse": ("topk", "H", one_by_one, SLOPE),
    "rounded zeros": (
        "topk", "H", lambda: replace(step(), weight=step().weight + 1e-17 * ~step().mask), "a pruned weight is not 0",
    ),
    "a dead input that stays": (
        "topk", "H", lambda: on(step().mask ^ np.isin(np.arange(9), [2, np.flatnonzero(step().mask)[0]]), "H"),
        "a dead input stays while a living one goes",
    ),
    "a dead input that moves": (
        "topk", "H", lambda: replace(step(keep=9), weight=newton() + np.eye(9)[2]), "a kept dead input moved",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_seen(name):
    selection, project, wrong, message = MISTAKES[name]
    keep = 9 if name == "a dead input that moves" else KEEP
    certify(*problem(), keep, step(selection, project, keep=keep), selection, project, DAMP)
    with pytest.raises(AssertionError, match=message):
        certify(*problem(), keep, wrong(), selection, project, DAMP)


def test_the_best_and_the_greedy_support_differ_here():
    assert not np.array_equal(step("exact").mask, step("obs").mask)


def test_rounding_is_no_mistake():
    for selection in ("topk", "saliency", "obs", "exact"):
        answer = step(selection)
        nudged = replace(answer, weight=answer.weight * (1 + 2.0**-50))
        certify(*problem(), KEEP, nudged, selection, "H", DAMP)
