"""Known mistakes in SNIP, GraSP, SynFlow and FORCE, each killed by the certificate with its own message."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import refprune as rp
from tests.methods.start_scores import (
    AUTOGRAD,
    certify,
    cut,
    drawn,
    flow_by_autograd,
    grasp_by_autograd,
    in_steps,
    linear,
    loss_at,
    of_weights,
    slope_by_autograd,
    snip_by_autograd,
    vector,
)
from tests.testing.right_networks import unflattened

NETWORK, PARAMS, (X, Y), LOSS = drawn("images", 9)
BATCH, SHAPE, KEEP, STEPS = (X, Y), X.shape[1:], 9, 4
ANOTHER, SIZE, SIGN = "a score is another one", "the size of a signed score", "the other sign"
BETTER, NUMBER, PATH = "a better weight went", "another number of weights", "the steps end elsewhere"


def answered(scores, keep=KEEP, reported=None, highest=False):
    """The answer that keeps the largest `scores` (the lowest, where the highest go); it reports them or others."""
    ranks = {key: -score for key, score in scores.items()} if highest else scores
    pruned, masks = cut(NETWORK, PARAMS, ranks, keep)
    weight = {key: pruned[key] for key in NETWORK.prunable}
    return rp.Pruned(weight, masks, scores=scores if reported is None else reported)


def after(scores_at, keep=KEEP, steps=STEPS, revive=False):
    """The answer of a loop with those scores in every step; it reports what it ranked by last."""
    masks, scores, _ = in_steps(NETWORK, PARAMS, scores_at, keep, steps, revive)
    return rp.Pruned({key: np.where(m, PARAMS[key], 0) for key, m in masks.items()}, masks, scores=scores)


def changed(change):
    return {key: change(score) for key, score in SNIP.items()}


def slope(params=PARAMS, batch=BATCH):
    return slope_by_autograd(NETWORK, params, batch, LOSS)


def each_sample():
    """The mean of the sizes, not the size of the mean: opposite gradients do not cancel."""
    parts = [snip_by_autograd(NETWORK, PARAMS, (X[n : n + 1], Y[n : n + 1]), LOSS) for n in range(len(X))]
    return {key: sum(part[key] for part in parts) / len(parts) for key in SNIP}


def layer_by_layer():
    """A share of every layer, not of the network."""
    masks = {
        key: np.argsort(np.argsort(score, axis=None)).reshape(score.shape) for key, score in SNIP.items()
    }
    masks = {key: rank >= round(0.8 * rank.size) for key, rank in masks.items()}
    keep = sum(int(mask.sum()) for mask in masks.values())
    return rp.Pruned({k: np.where(m, PARAMS[k], 0) for k, m in masks.items()}, masks, scores=SNIP), keep


def product_with_the_hessian(g, batch=BATCH, only=None):
    """`-w (H g)`; with `only` (0 and 1) of those parameters alone."""
    only = np.ones(NETWORK.size) if only is None else only
    first = autograd.grad(loss_at(NETWORK, PARAMS, batch, LOSS))
    found = autograd.grad(lambda u: anp.sum(first(u) * only * g))(vector(PARAMS))
    return of_weights(NETWORK, -vector(PARAMS) * found, PARAMS)


def gradient(batch=BATCH):
    return autograd.grad(loss_at(NETWORK, PARAMS, batch, LOSS))(vector(PARAMS))


def flow(params=PARAMS, signed=False, shifted=False, active=False, inputs=None):
    """The sizes of `w dR / dw`, with a mistake."""
    own = {k: v if signed or k.endswith("var") else abs(v) for k, v in params.items()}
    own = {k: 0 * v if k.endswith(("bias", "mean")) and not shifted else v for k, v in own.items()}
    layers = NETWORK.to_dicts() if active else linear(NETWORK.to_dicts())
    x, w = np.ones((1, *SHAPE)) if inputs is None else inputs, vector(own)
    R = autograd.grad(lambda u: anp.sum(AUTOGRAD.forward(layers, unflattened(own, u), x)))
    return of_weights(NETWORK, abs(w * R(w)), params)


def right_flow(params):
    return flow_by_autograd(NETWORK, params, SHAPE)


def foresight(now, own=PARAMS):
    """FORCE's scores: with the first value of every weight."""
    return {key: abs(own[key] * g) for key, g in slope(now).items()}


def linear_schedule():
    """As many go in each step."""
    total, now, masks = sum(PARAMS[key].size for key in SNIP), PARAMS, {}
    for t in range(1, STEPS + 1):
        scores = foresight(now)
        now, masks = cut(NETWORK, PARAMS, scores, total - round((total - KEEP) * t / STEPS))
    return rp.Pruned({key: now[key] for key in SNIP}, masks, scores=scores)


SNIP, GRASP = snip_by_autograd(NETWORK, PARAMS, BATCH, LOSS), grasp_by_autograd(NETWORK, PARAMS, BATCH, LOSS)
IS_WEIGHT = vector({key: np.full(value.shape, float(key in SNIP)) for key, value in PARAMS.items()})
HALVES = [(X[: len(X) // 2], Y[: len(X) // 2]), (X[len(X) // 2 :], Y[len(X) // 2 :])]
ONE_SHOT = {
    "snip: the derivative by the weight": (lambda: answered(slope()), ANOTHER),
    "snip: signed": (lambda: answered({k: PARAMS[k] * g for k, g in slope().items()}), SIZE),
    "snip: the sum of the samples' sizes": (lambda: answered(each_sample()), ANOTHER),
    "snip: the square of the slope": (lambda: answered(changed(np.square)), ANOTHER),
    "snip: by magnitude": (lambda: answered({k: abs(PARAMS[k]) for k in SNIP}, reported=SNIP), BETTER),
    "snip: the largest go": (lambda: answered(changed(np.negative), reported=SNIP), BETTER),
    "snip: above the threshold": (lambda: answered(SNIP, KEEP - 1), NUMBER),
    "grasp: the other sign": (lambda: answered({k: -s for k, s in GRASP.items()}), SIGN),
    "grasp: the lowest go": (lambda: answered(GRASP), BETTER),
    "grasp: by size": (lambda: answered({k: abs(s) for k, s in GRASP.items()}, highest=True), SIZE),
    "grasp: largest sizes stay": (
        lambda: answered({k: abs(s) for k, s in GRASP.items()}, reported=GRASP), BETTER,
    ),
    "grasp: biases left out": (
        lambda: answered(product_with_the_hessian(gradient(), only=IS_WEIGHT), highest=True), ANOTHER,
    ),
    "grasp: g and H of other samples": (
        lambda: answered(product_with_the_hessian(gradient(HALVES[0]), HALVES[1]), highest=True), ANOTHER,
    ),
    "grasp: H theta for H g": (
        lambda: answered(product_with_the_hessian(vector(PARAMS)), highest=True), ANOTHER,
    ),
    "grasp: one more than asked for is kept": (lambda: answered(GRASP, KEEP + 1, highest=True), NUMBER),
}  # fmt: skip
IN_STEPS = {
    "synflow: the signs stay": (False, lambda: after(lambda now: flow(now, signed=True)), ANOTHER),
    "synflow: biases and means shift": (False, lambda: after(lambda now: flow(now, shifted=True)), ANOTHER),
    "synflow: activations bend": (False, lambda: after(lambda now: flow(now, active=True)), ANOTHER),
    "synflow: on a sample": (False, lambda: after(lambda now: flow(now, inputs=abs(X))), ANOTHER),
    "synflow: all at once": (False, lambda: answered(right_flow(PARAMS)), ANOTHER),
    "synflow: all at once, the last step's scores told": (
        False, lambda: answered(right_flow(PARAMS), reported=after(right_flow).scores), PATH,
    ),
    "synflow: the factor w left out": (
        False, lambda: after(lambda now: {k: s / abs(PARAMS[k]) for k, s in right_flow(now).items()}), ANOTHER,
    ),
    "force: the gradient of the first network": (True, lambda: after(lambda _: foresight(PARAMS)), ANOTHER),
    "force: nothing comes back": (True, lambda: after(lambda now: foresight(now, now)), ANOTHER),
    "force: what is off goes first, though ranked by its first value": (
        True, lambda: after(lambda now: foresight(now)), ANOTHER,
    ),
    "force: one step for four": (True, lambda: answered(foresight(PARAMS)), ANOTHER),
    "force: a linear schedule": (True, linear_schedule, ANOTHER),
}  # fmt: skip


def certify_steps(answer, revive):
    """The scores of the last step, then the mask that the steps lead to."""
    right = after(foresight if revive else right_flow, revive=revive)
    for key, mask in right.mask.items():
        if np.any(mask != answer.mask[key]) and np.all(abs(answer.scores[key] - right.scores[key]) < 1e-9):
            raise AssertionError(PATH)
    certify(NETWORK, PARAMS, answer, right.scores, KEEP)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_mistakes_in_one_shot_are_seen(name):
    wrong, message = ONE_SHOT[name]
    highest = name.startswith("grasp")
    certify(
        NETWORK,
        PARAMS,
        answered(GRASP if highest else SNIP, highest=highest),
        GRASP if highest else SNIP,
        KEEP,
        highest,
    )
    with pytest.raises(AssertionError, match=message):
        certify(NETWORK, PARAMS, wrong(), GRASP if highest else SNIP, KEEP, highest)


def test_a_share_of_every_layer_is_seen():
    wrong, keep = layer_by_layer()
    with pytest.raises(AssertionError, match=BETTER):
        certify(NETWORK, PARAMS, wrong, SNIP, keep)


@pytest.mark.parametrize("name", IN_STEPS)
def test_mistakes_in_steps_are_seen(name):
    revive, wrong, message = IN_STEPS[name]
    with pytest.raises(AssertionError, match=message):
        certify_steps(wrong(), revive)


def test_the_methods_pass():
    few = rp.Unstructured(keep=KEEP)
    certify(NETWORK, PARAMS, rp.snip(NETWORK, PARAMS, BATCH, few, loss=LOSS), SNIP, KEEP)
    certify(NETWORK, PARAMS, rp.grasp(NETWORK, PARAMS, BATCH, few, loss=LOSS), GRASP, KEEP, True)
    certify_steps(rp.force(NETWORK, PARAMS, BATCH, few, STEPS, loss=LOSS), True)
    certify_steps(rp.synflow(NETWORK, PARAMS, BATCH, few, STEPS), False)


@pytest.mark.parametrize("method", ["snip", "synflow"])
def test_what_is_said_of_weights_and_masks_is_seen(method):
    """A kept weight rescaled, a pruned one rounded, a mask of numbers."""
    right = {"snip": SNIP, "synflow": right_flow(PARAMS)}[method]
    for change, message in (
        (lambda a: rp.Pruned({k: 2 * w for k, w in a.weight.items()}, a.mask, scores=a.scores), "has moved"),
        (
            lambda a: rp.Pruned({k: w + 1e-17 for k, w in a.weight.items()}, a.mask, scores=a.scores),
            "is not 0",
        ),
        (
            lambda a: rp.Pruned(a.weight, {k: 1.0 * m for k, m in a.mask.items()}, scores=a.scores),
            "not boolean",
        ),
        (lambda a: rp.Pruned(a.weight | {"0.bias": 0}, a.mask, scores=a.scores), "other names"),
    ):
        with pytest.raises(AssertionError, match=message):
            certify(NETWORK, PARAMS, change(answered(right)), right, KEEP)
