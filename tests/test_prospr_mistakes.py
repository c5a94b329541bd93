"""Known mistakes of ProsPr: each is killed by a check of its own, which names it."""

import numpy as np
import pytest

import refprune as rp
from refprune.pruning.units import links
from tests.training_steps import LR, loss_after, prunable, setting, vector

MOMENTUM = 0.9


def adjoint(name, M=3, seed=0, mistake=""):
    """The scores (dict) by the steps backward, straight from their formulas, with one mistake."""
    network, params, batches, loss = setting(name, M, seed)
    inner, outer = batches[:-1], batches[-1]
    if mistake == "first batch for the last":
        inner, outer = batches[1:], batches[0]
    theta, b, points = network.flatten(params), 0.0, []
    w = theta

    def at(u):
        return network.unflatten(u, params)

    for x, y in inner:
        points.append(theta)
        g = vector(network.gradient(at(theta), x, y, loss))
        g = g * prunable(network) if mistake == "biases stand still" else g
        b = MOMENTUM * b + (1 - MOMENTUM if mistake == "damped momentum" else 1) * g
        theta = theta - LR * (g + MOMENTUM * b if mistake == "Nesterov" else b)
    v, a = vector(network.gradient(at(theta), *outer, loss)), 0.0
    for t in reversed(range(len(inner))):
        if mistake == "first order":
            break
        a = (0 if mistake == "momentum forgotten backward" else MOMENTUM) * a - LR * v
        point = points[0] if mistake == "Hessians at the start" else points[t]
        x, y = inner[-1 - t] if mistake == "batches backward" else inner[t]
        product = network.gauss_newton_product if mistake == "Gauss-Newton" else network.hvp
        if not (t == 0 and mistake == "first step detached"):
            v = v + product(at(point), x, y, a, loss)
    found = {"no factor w": v, "w after the steps": theta * v, "magnitude": w}.get(mistake, w * v)
    values = network.unflatten(found, params)
    scores = {key: abs(values[key]) for key in network.prunable}
    if mistake == "signed":
        scores = {key: values[key] for key in network.prunable}
    return scores


MISTAKES = [
    "first order",
    "first step detached",
    "momentum forgotten backward",
    "damped momentum",
    "Nesterov",
    "biases stand still",
    "first batch for the last",
    "batches backward",
    "Hessians at the start",
    "Gauss-Newton",
    "no factor w",
    "w after the steps",
    "magnitude",
    "signed",
]


def near(found, right):
    # a few steps of sums of some dozen numbers near 1: 1e4 eps
    return np.abs(found - right).max() <= 1e-11 * max(np.abs(right).max(), np.abs(found).max())


def judge(found, name, M=3, seed=0):
    """The slope along a few directions of the switches must be that of the loss; if not, whose are the scores?"""
    network, *_ = setting(name, M, seed)
    found = vector(found)
    if (found < 0).any():
        raise AssertionError("a score is negative: signed")
    after, theta = loss_after(name, M, seed, MOMENTUM)
    inside = np.flatnonzero(prunable(network))
    for j in np.argsort(found)[-3:].tolist() + [0, 1, 2]:
        h = np.zeros(len(theta))
        h[inside[j]] = theta[inside[j]] * 2.0**-17
        slope = abs(float(after(theta + h) - after(theta - h))) * 2.0**16
        if abs(found[j] - slope) > 1e-7:
            names = [m for m in MISTAKES if near(found, vector(adjoint(name, M, seed, m)))]
            raise AssertionError(f"a score is not the slope of the loss after the steps: {', '.join(names)}")


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_each_mistake_is_named(name, mistake):
    with pytest.raises(AssertionError, match=f": {mistake}$"):
        judge(adjoint(name, mistake=mistake), name)


@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_the_method_passes(name):
    for seed in range(3):
        network, params, batches, loss = setting(name, 3, seed)
        answer = rp.prospr(network, params, batches, rp.Unstructured(keep=4), LR, MOMENTUM, loss=loss)
        judge(answer.scores, name, 3, seed)
        judge(adjoint(name, 3, seed), name, 3, seed)


def cut(scores, count, mistake=""):
    """The masks of a network that loses `count` weights, with one mistake; `scores` is a dict."""
    flat = np.sort(vector(scores))
    if mistake == "each layer by itself":
        shares = {key: round(count / len(flat) * value.size) for key, value in scores.items()}
        return {key: value > np.sort(value, axis=None)[shares[key] - 1] for key, value in scores.items()}
    if mistake == "one off":
        return {key: value > flat[count] for key, value in scores.items()}
    masks = {key: value > flat[count - 1] for key, value in scores.items()}
    return {key: ~mask for key, mask in masks.items()} if mistake == "keeps the smallest" else masks


def judge_masks(scores, masks, count):
    """Exactly `count` weights go, and none with a larger score than one that stays."""
    gone = sum(int((~mask).sum()) for mask in masks.values())
    if gone != count:
        raise AssertionError(f"{gone} weights are pruned, {count} were asked for")
    kept, flat = vector(masks), vector(scores)
    if flat[~kept].max() > flat[kept].min():
        all_larger = flat[~kept].min() > flat[kept].max()
        raise AssertionError(f"{'the smallest scores stay' if all_larger else 'scores compete in layers'}")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("each layer by itself", "scores compete in layers"),
        ("one off", "14 weights are pruned, 13 were asked for"),
        ("keeps the smallest", "the smallest scores stay"),
    ],
)
def test_mistakes_of_the_cut(mistake, message):
    network, params, batches, _ = setting("tanh")
    count = 13 if mistake != "keeps the smallest" else 15
    answer = rp.prospr(network, params, batches, rp.Unstructured(keep=30 - count), LR)
    judge_masks(answer.scores, answer.mask, count)
    judge_masks(answer.scores, cut(answer.scores, count), count)
    with pytest.raises(AssertionError, match=message):
        judge_masks(answer.scores, cut(answer.scores, count, mistake), count)


def by_units(network, slopes, mistake=""):
    """The scores of the rows of every layer with units, with one mistake; `slopes` with signs."""
    found = {}
    for link in links(network):
        key = f"{link.producer}.weight"
        rows = slopes[key].reshape(len(slopes[key]), -1)
        found[key] = {
            "sum of sizes": np.abs(rows).sum(axis=1),
            "root of squares": np.linalg.norm(rows, axis=1),
            "mean": np.abs(rows.mean(axis=1)),
        }.get(mistake, np.abs(rows.sum(axis=1)))
    return found


@pytest.mark.parametrize("mistake", ["", "sum of sizes", "root of squares", "mean"])
@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_mistakes_of_units(name, mistake):
    """A filter's switch: the signs belong inside the sum."""
    network, params, batches, _ = setting(name)
    after, theta = loss_after(name, 2, 0)
    place, slopes = 0, {}
    for key, shape in network.shapes.items():
        slopes[key] = np.zeros(shape)
        for j in range(int(np.prod(shape))):
            h = np.zeros(len(theta))
            h[place] = theta[place] * 2.0**-17
            slopes[key].flat[j] = float(after(theta + h) - after(theta - h)) * 2.0**16
            place += 1
    answer = rp.prospr(network, params, batches, rp.Groups(keep=1), LR)
    wrong = by_units(network, slopes, mistake)
    gap = max(np.abs(answer.scores[key] - wrong[key]).max() for key in wrong)
    assert (gap < 1e-7) == (mistake == ""), f"{mistake} passes for the sum"
