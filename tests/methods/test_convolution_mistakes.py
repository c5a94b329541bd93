"""Known mistakes on convolutions, each killed by the certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
from tests.methods.convolutions import CHANNELS, CONVOLUTIONS, LAYER, certify, matrix_form


def wrong_options(**options):
    """Wanda on the problem of another geometry."""
    return lambda conv, pattern: rp.wanda(
        rp.LayerProblem.from_inputs(*conv.problem(), **{**conv.options, **options}), pattern
    )


def with_gram(change):
    """Wanda with a Gram that `change` makes of the right one, in the weight's shape."""

    def run(conv, pattern):
        problem = conv.layer()
        return rp.wanda(rp.LayerProblem(problem.weight, change(problem.gram, problem.weight.shape)), pattern)

    return run


def channels_last(gram, shape):
    order = np.transpose(np.arange(gram.shape[-1]).reshape(shape[1:]), (1, 2, 0)).ravel()
    return gram[..., order[:, None], order]


def flat_groups(conv, pattern):
    """N:M over consecutive columns of the flattened weight."""
    problem = conv.layer()
    mask = pattern.mask(abs(problem.matrix)).reshape(problem.weight.shape)
    weight = np.where(mask, problem.weight, 0)
    return rp.Pruned(weight, mask, float(problem.objective(weight)), None, ())


def channel_of_all_groups(conv, pattern):
    """Groups(axis=1) by the columns of the weight alone."""
    problem = conv.layer()
    mask = pattern.mask(abs(problem.weight))
    weight = np.where(mask, problem.weight, 0)
    return rp.Pruned(weight, mask, float(problem.objective(weight)), None, ())


MISTAKES = {
    "no padding": (wrong_options(padding=0), "padding", LAYER, "the objective is .*, the outputs change by"),
    "padding on the other side": (
        wrong_options(padding=((2, 0), (0, 1))), "padding of one side", LAYER, "the objective is",
    ),
    "height and width swapped": (wrong_options(padding=(2, 1)), "padding", LAYER, "the objective is"),
    "no stride": (wrong_options(stride=1), "stride", LAYER, "the objective is"),
    "no dilation": (wrong_options(dilation=1), "dilation", LAYER, "the objective is"),
    "a flipped kernel": (
        with_gram(lambda gram, shape: np.flip(gram.reshape(*shape[1:], *shape[1:]), (1, 2, 4, 5))
                  .reshape(gram.shape)), "plain", LAYER, "the objective is",
    ),
    "one Gram for all groups": (
        with_gram(lambda gram, shape: np.stack([gram.mean(axis=0)] * len(gram))), "groups", LAYER,
        "the objective is",
    ),
    "the Grams of other groups": (
        with_gram(lambda gram, shape: gram[::-1].copy()), "all", LAYER, "the objective is",
    ),
    "channels last": (with_gram(channels_last), "plain", LAYER, "the objective is"),
    "N:M on the flattened kernel": (flat_groups, "plain", CHANNELS, "the pattern does not admit the mask"),
    "a channel of all groups": (
        channel_of_all_groups, "groups", rp.Groups(keep=1, axis=1), "the pattern does not admit the mask",
    ),
    "the matrix form given back": (
        lambda conv, pattern: rp.obs(matrix_form(conv.layer(), pattern)[0], pattern), "plain", LAYER,
        "not in the weight's shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    run, shape, pattern, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certify(CONVOLUTIONS[shape], pattern, run(CONVOLUTIONS[shape], pattern))


def test_right_kernels_pass_where_mistakes_die():
    for _, shape, pattern, _ in MISTAKES.values():
        certify(CONVOLUTIONS[shape], pattern, rp.magnitude(CONVOLUTIONS[shape].layer(), pattern))
