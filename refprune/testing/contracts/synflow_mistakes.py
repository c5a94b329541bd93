"""Known mistakes of `synflow-scores`: the definition with one thing changed."""

import numpy as np

from refprune.definitions.jet_network import RULES, run
from refprune.definitions.jet_outputs import outputs, size
from refprune.definitions.jets import linear
from refprune.definitions.snip import flattened, switched, unflattened
from refprune.definitions.synflow import ACTIVATIONS, LINEAR

from ..contract import Mistake
from . import network_rules as wrong
from .snip_mistakes import forms

SHIFTS = ("bias", "running_mean")


def in_size(name, array):
    """What takes part of an array: its size, or nothing."""
    return 0 * array if name.endswith(SHIFTS) else abs(array)


def _ones(shape):
    return np.ones((1, *shape))


def _summed(f):
    return f.reshape(len(f), -1).sum(-1)


def synflow(
    rules=None, positive=in_size, inputs=_ones, of_outputs=_summed, score=lambda theta, slope: theta * slope
):
    """The method with wrong steps for some layers, other signs, another input, other outputs, or another score.

    `of_outputs` takes (directions, outputs) and gives the slope of R along each direction.
    """
    steps = LINEAR | (rules or {})

    def call(layers, params, input_shape):
        given = {name: positive(name, array.astype(float)) for name, array in params.items()}
        theta = flattened(given)
        f = outputs(layers, given, inputs(tuple(input_shape)), np.eye(size(params)), None, steps)
        slope = of_outputs(f.left.reshape(theta.size, -1))
        scores = unflattened(score(theta, slope), params)
        return {name: scores[name] for name in switched(params)}

    return call


def _signed():
    """The scores in size, of weights with their signs."""
    keep = synflow(positive=lambda name, array: 0 * array if name.endswith(SHIFTS) else array)
    return lambda *call: {name: abs(score) for name, score in keep(*call).items()}


def _norm_signed(name, array):
    """The weight of a batch normalisation keeps its sign."""
    return array if name.endswith("weight") and array.ndim == 1 else in_size(name, array)


def _but(word):
    """What `word` names is taken in size and not as 0."""
    return lambda name, array: abs(array) if name.endswith(word) else in_size(name, array)


def _normalised(*call):
    found = synflow()(*call)
    total = sum(score.sum() for score in found.values())
    return {name: score / total for name, score in found.items()}


def _through_single(layers, params, input_shape):
    """In float32: the flow through deep layers leaves the range."""
    single = {name: array.astype(np.float32) for name, array in params.items()}
    given = {name: in_size(name, array) for name, array in single.items()}
    f = outputs(layers, given, _ones(tuple(input_shape)).astype(np.float32),
                np.eye(size(params), dtype=np.float32), None, LINEAR)  # fmt: skip
    theta = flattened(given)
    scores = unflattened(theta * f.left.reshape(theta.size, -1).sum(-1), params)
    return {name: scores[name].astype(float) for name in switched(params)}


def _without_shortcut():
    """A residual block is its body."""

    def rule(layer, own, a, rules):
        return run(layer["body"], lambda key: own(f"body.{key}"), a, rules)

    return {"residual": rule}


def _halved_shortcut():
    """The mean of body and shortcut."""
    return {
        "residual": lambda layer, own, a, rules: linear(
            lambda part: part / 2, RULES["residual"](layer, own, a, rules)
        )
    }


def _overwritten(layers, params, input_shape):
    """The signs are not put back."""
    found = synflow()(layers, params, input_shape)
    for array in params.values():
        np.abs(array, out=array)
    return found


def _inputs_first(*call):
    """The entries of a dense weight's scores in the order of its transpose."""
    found = synflow()(*call)
    return {name: a.T.reshape(a.shape) if a.ndim == 2 else a for name, a in found.items()}


def _turned(*call):
    """The scores of a kernel by 180 degrees, as a convolution of signal processing has its gradient."""
    return {name: a[..., ::-1, ::-1].copy() if a.ndim == 4 else a for name, a in synflow()(*call).items()}


MISTAKES = (
    Mistake("signs-kept", "the weights keep their signs", _signed()),
    Mistake("parameters-overwritten", "the parameters are not what they were, as where they are taken in size and "
            "stay so", _overwritten, shows=("unchanged", "params changed during the call")),
    Mistake("weight-left-out", "the score is `dR/dw`", synflow(score=lambda theta, slope: slope)),
    Mistake("weight-squared", "the score is `w^2 dR/dw`", synflow(score=lambda theta, slope: theta**2 * slope)),
    Mistake("paths-squared", "R is made of squares of weights",
            synflow(positive=lambda name, array: in_size(name, array) ** (1 if "running" in name else 2))),
    Mistake("biases-kept", "biases take part", synflow(positive=_but(".bias"))),
    Mistake("running-mean-kept", "a batch normalisation subtracts its mean", synflow(positive=_but("running_mean"))),
    Mistake("normalisation-left-out", "a batch normalisation changes nothing",
            synflow({"batchnorm2d": lambda layer, own, a, _: a})),
    Mistake("normalisation-signed", "the weight of a batch normalisation keeps its sign",
            synflow(positive=_norm_signed)),
    Mistake("eps-outside-the-root", "sqrt(var) + eps is divided by", synflow(wrong.eps_outside())),
    Mistake("activations-kept", "activations are as they are", synflow({name: RULES[name] for name in ACTIVATIONS})),
    Mistake("mean-of-outputs", "R is the mean of the outputs", synflow(of_outputs=lambda f: f.mean(-1))),
    Mistake("first-output", "R is the first output", synflow(of_outputs=lambda f: f[:, 0])),
    Mistake("input-of-unit-sum", "the input sums to 1", synflow(inputs=lambda shape: _ones(shape) / np.prod(shape))),
    Mistake("two-samples", "the input of ones has two samples, over which R sums",
            synflow(inputs=lambda shape: np.ones((2, *shape)))),
    Mistake("normalised", "the scores are divided by their sum", _normalised),
    Mistake("shortcut-left-out", "a residual block is its body", synflow(_without_shortcut())),
    Mistake("shortcut-averaged", "a residual block is the mean of body and shortcut", synflow(_halved_shortcut())),
    Mistake("average-without-padding", "an average pool divides by the real pixels",
            synflow(wrong.padding_not_counted())),
    Mistake("max-pool-spread", "the flow through a max pool comes from all of its window",
            synflow(wrong.spread_over_window())),
    Mistake("columns-without-padding", "windows that reach into the padding take no part in the flow through a kernel",
            synflow(wrong.border_left_out())),
    Mistake("groups-interleaved", "group g sees every channel g, g + groups, ...",
            synflow(wrong.conv2d(wrong.interleaved))),
    Mistake("reshaped", "the scores of a dense weight are in the order of (inputs, outputs)", _inputs_first),
    Mistake("kernel-turned", "the scores of a kernel are turned by 180 degrees", _turned),
    Mistake("in-single", "R is taken in float32", _through_single),
    *(mistake for mistake in forms(synflow()) if mistake.name != "parameters-overwritten"),
)  # fmt: skip
