"""Known mistakes in SOSP-H, each killed with its own message: in the scores, and in what is taken out."""

import functools

import numpy as np
import pytest

import refprune as rp
from refprune.definitions import derivatives
from refprune.definitions.snip import flattened, unflattened
from tests.unit_networks import EPS, NETWORKS, labels, problem

# (theta_s rows, g, H, the part of theta in groups, all of theta) -> scores
SCORES = {
    "right": lambda T, g, H, inside, theta: abs(T @ g) + abs(T @ H @ inside) / 2,
    "each group by itself": lambda T, g, H, inside, theta: abs(T @ g) + abs(np.sum(T @ H * T, axis=1)) / 2,
    "the diagonal of H": lambda T, g, H, inside, theta: abs(T @ g) + T**2 @ np.diag(H) / 2,
    "no half": lambda T, g, H, inside, theta: abs(T @ g) + abs(T @ H @ inside),
    "no slope": lambda T, g, H, inside, theta: abs(T @ H @ inside) / 2,
    "no curvature": lambda T, g, H, inside, theta: abs(T @ g),
    "one absolute value for both": lambda T, g, H, inside, theta: abs(-T @ g + T @ H @ inside / 2),
    "no absolute values": lambda T, g, H, inside, theta: T @ g + T @ H @ inside / 2,
    "absolute values of single weights": lambda T, g, H, inside, theta: (
        abs(T) @ abs(g) + abs(T) @ abs(H @ inside) / 2
    ),
    "along ones": lambda T, g, H, inside, theta: abs(T @ g) + abs(T @ H @ (inside != 0)) / 2,
    "the factor theta_s is missing": lambda T, g, H, inside, theta: (
        abs((T != 0) @ g) + abs((T != 0) @ H @ inside) / 2
    ),
    "sums over the samples": lambda T, g, H, inside, theta: 7 * (abs(T @ g) + abs(T @ H @ inside) / 2),
    "what has no group takes part": lambda T, g, H, inside, theta: abs(T @ g) + abs(T @ H @ theta) / 2,
    "the mean over a group": lambda T, g, H, inside, theta: (
        (abs(T @ g) + abs(T @ H @ inside) / 2) / (T != 0).sum(axis=1)
    ),
}
SEED = 1  # scores of all mistakes differ there
PARTS = {"no biases": "bias", "no BatchNorm": "1.", "no depthwise filters": "3."}


@functools.cache
def model(name):
    """(network, theta, g, H), dense."""
    network, params, x, y, loss = problem(name, SEED)
    at = network.to_dicts(), params, x, y, loss
    return network, flattened(params), derivatives.gradient(*at), derivatives.hessian(*at)


def pieces(name, without=None, axis=0):
    """(theta_s (groups, d), g, H, inside, theta), from a dense Hessian; groups without the parameters named so."""
    network, theta, g, H = model(name)
    of = labels(name, axis)
    if without is not None:
        names = np.concatenate([np.full(np.prod(shape), key) for key, shape in network.shapes.items()])
        out = np.char.startswith(names, without) | np.char.endswith(names, without)
        of = np.where(out, -1, of)
    T = np.where(of == np.arange(of.max() + 1)[:, None], theta, 0)
    return T, g, H, np.where(of >= 0, theta, 0), theta


def check_scores(found, name, axis=0):
    """AssertionError that names the mistake, unless the scores are right."""
    known = {key: rule(*pieces(name, axis=axis)) for key, rule in SCORES.items()}
    if name == "convolutions" and axis == 0:
        known |= {key: SCORES["right"](*pieces(name, part)) for key, part in PARTS.items()}
    size = abs(known["right"]).max()  # 1e5 eps: see `test_sosp.close`
    fits = [key for key, scores in known.items() if abs(found - scores).max() <= 1e5 * EPS * size]
    assert fits[:1] == ["right"], f"wrong scores: {', '.join(fits) or 'of no known kind'}"


def flat(scores):
    return np.concatenate(list(scores.values()))


@pytest.mark.parametrize("name", ["perceptron", "convolutions"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("mistake", list(SCORES)[1:])
def test_wrong_scores_are_named(mistake, name, axis):
    with pytest.raises(AssertionError, match=rf"(?m)wrong scores: {mistake}$"):
        check_scores(SCORES[mistake](*pieces(name, axis=axis)), name, axis)


@pytest.mark.parametrize("mistake", PARTS)
def test_parameters_that_are_left_out_are_named(mistake):
    with pytest.raises(AssertionError, match=rf"(?m)wrong scores: {mistake}$"):
        check_scores(SCORES["right"](*pieces("convolutions", PARTS[mistake])), "convolutions")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("axis", [0, 1])
def test_ours_are_right(name, axis):
    network, params, x, y, loss = problem(name, SEED)
    check_scores(
        flat(rp.sosp(network, params, x, y, rp.Groups(keep=2, axis=axis), loss=loss).scores), name, axis
    )


def check_answer(name, params, masks, keep):
    """AssertionError that says what is left of a unit, or which unit should have stayed."""
    network = model(name)[0]
    T, g, H, inside, theta = pieces(name)
    order = np.argsort(SCORES["right"](T, g, H, inside, theta), kind="stable")
    gone, after = order[: len(order) - keep], flattened(params)
    rows, columns = labels(name, 0), labels(name, 1)
    outs = {key: ~np.isin(of, gone) for key, of in (("what makes it", rows), ("what reads it", columns))}
    masked = np.concatenate(
        [np.ravel(masks.get(key, np.full(shape, True))) for key, shape in network.shapes.items()]
    )
    weights = np.concatenate([np.full(np.prod(shape), key in masks) for key, shape in network.shapes.items()])
    lost = (after == 0) & (theta != 0) & outs["what makes it"] & outs["what reads it"]
    wrong = sorted({*rows[lost]} - {-1})
    assert not wrong, f"unit {wrong[0]} should have stayed" if len(wrong) < keep else "the largest scores go"
    for what, stays in outs.items():
        assert not after[~stays].any(), f"a unit is left in part: {what}"
        assert not masked[~stays & weights].any(), f"a mask keeps a unit in part: {what}"
    moved = (after != theta) & outs["what makes it"] & outs["what reads it"]
    assert not moved.any(), "a parameter that stays has moved"


def answer(name, mistake=""):
    """(params, masks) with two units kept, taken out by labels, with one step done otherwise."""
    network, params, *_ = problem(name, SEED)
    T, g, H, inside, theta = pieces(name)
    order = np.argsort(SCORES["right"](T, g, H, inside, theta), kind="stable")
    gone = order[2:] if mistake == "the largest" else order[: len(order) - 2]
    gone = [*gone[:-1], order[-1]] if mistake == "another unit" else gone
    makes, reads = np.isin(labels(name, 0), gone), np.isin(labels(name, 1), gone)
    names = np.concatenate([np.full(np.prod(shape), key) for key, shape in network.shapes.items()])
    if mistake == "the columns stay":
        reads = reads & False
    if mistake == "biases stay":
        makes = makes & ~np.char.endswith(names, "bias")
    if mistake == "the BatchNorm stays":
        makes = makes & ~np.char.startswith(names, "1.")
    out = unflattened(np.where(makes | reads, 0, theta * (1.01 if mistake == "others move" else 1)), params)
    masks = unflattened(~(makes | reads & (mistake != "the mask knows rows alone")), params)
    return out, {key: masks[key] for key in network.prunable}


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("the largest", "the largest scores go"),
        ("another unit", "unit . should have stayed"),
        ("the columns stay", "a unit is left in part: what reads it"),
        ("biases stay", "a unit is left in part: what makes it"),
        ("the BatchNorm stays", "a unit is left in part: what makes it"),
        ("the mask knows rows alone", "a mask keeps a unit in part: what reads it"),
        ("others move", "a parameter that stays has moved"),
    ],
)
def test_wrong_answers_are_named(mistake, message):
    check_answer("convolutions", *answer("convolutions"), 2)
    with pytest.raises(AssertionError, match=message):
        check_answer("convolutions", *answer("convolutions", mistake), 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_our_answers_are_right(name):
    network, params, x, y, loss = problem(name, SEED)
    found = rp.sosp(network, params, x, y, rp.Groups(keep=2), loss=loss)
    check_answer(name, found.weight, found.mask, 2)
