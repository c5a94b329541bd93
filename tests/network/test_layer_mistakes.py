"""Known mistakes in layers: the checks of these tests convict each, and each with its own words."""

import numpy as np
import pytest

from refprune.network import GELU, AvgPool2d, BatchNorm2d, Conv2d, Dense, MaxPool2d, Residual, Tanh
from refprune.network.kinds import Bilinear
from refprune.unfold import Window
from tests.network import test_activations, test_layers
from tests.network.checking import check_layer
from tests.network.mistakes import convict, registry
from tests.network.test_kinds import check_linear, check_maps

MISTAKES, mistake = registry()
DENSE, CONV, NORM = (Dense(3, 2), (3,)), (Conv2d(2, 3, 2, 1, 1), (2, 3, 3)), (BatchNorm2d(2), (2, 2, 3))
RESIDUAL = (Residual([Dense(2, 2), Tanh()]), (2,))


def layer(what, check=check_layer):
    return lambda: check(*what)


def ties():
    test_layers.check_selection(MaxPool2d(2), np.zeros((1, 1, 4, 4)))


@mistake(layer((Tanh(), (3,))), "Tanh: pull_tangent of x gives a wrong x")
def the_second_derivative_of_an_activation_is_missing(patch):
    patch.setattr(Tanh, "bend", None)


@mistake(layer(DENSE), "Dense: push of bias")
def the_tangent_of_the_bias_is_forgotten(patch):
    push = Bilinear.push
    patch.setattr(
        Bilinear, "push", lambda s, t, p, dp, dx: push(s, t, p, {k: dp[k] for k in dp if k != "bias"}, dx)
    )


def with_tangents(change):
    """`pull_tangent` of bilinear layers on changed (held, dparams, ddelta)."""
    pull = Bilinear.pull_tangent

    def wrong(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        return pull(self, tape, params, delta, *change(held, dparams, ddelta), want, inner)

    return wrong


@mistake(layer(DENSE), "Dense: pull_tangent of weight gives a wrong x")
def the_tangent_of_the_weight_is_dropped_on_the_way_back(patch):
    patch.setattr(Bilinear, "pull_tangent", with_tangents(lambda held, dparams, ddelta: (held, {}, ddelta)))


@mistake(layer(DENSE), "Dense: pull_tangent of x gives a wrong weight")
def the_tangent_of_the_input_is_dropped_in_the_gradient(patch):
    patch.setattr(
        Bilinear, "pull_tangent", with_tangents(lambda held, dparams, ddelta: (None, dparams, ddelta))
    )


@mistake(layer(DENSE), "Dense: pull_tangent of ddelta gives a wrong x")
def the_tangent_of_delta_goes_no_further(patch):
    pull = Bilinear.pull_tangent

    def wrong(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        gradients, _ = pull(self, tape, params, delta, held, dparams, ddelta, want, inner)
        return gradients, pull(self, tape, params, delta, held, dparams, None, want, inner)[1]

    patch.setattr(Bilinear, "pull_tangent", wrong)


@mistake(layer(CONV), "Conv2d: pull gives a wrong bias")
def the_gradient_of_the_bias_is_a_mean_over_positions(patch):
    adjoint = Bilinear._bias_adjoint
    patch.setattr(Bilinear, "_bias_adjoint", lambda s, d, own=False: adjoint(s, d, own) / d.shape[-1])


@mistake(layer(CONV), "Conv2d: pull per sample gives a wrong weight")
def the_gradients_of_samples_are_their_mean(patch):
    adjoint = Conv2d.weight_adjoint

    def wrong(self, delta, u, per_sample=False):
        own = adjoint(self, delta, u, per_sample)
        return own.mean(axis=0, keepdims=True) + 0 * own if per_sample else own

    patch.setattr(Conv2d, "weight_adjoint", wrong)


@mistake(layer(CONV, check_maps), "Conv2d: lower is not the adjoint of lift")
def the_images_are_cut_out_at_the_corner_of_the_padding(patch):
    patch.setattr(Window, "inside", lambda self, size: (..., slice(size[0]), slice(size[1])))


@mistake(layer(CONV), "Conv2d: push of weight")
def the_channels_of_a_convolution_are_mixed_up(patch):
    matrix = Conv2d._matrix
    patch.setattr(
        Conv2d, "_matrix", lambda self, W: matrix(self, W)[..., ::-1] if W.ndim > 4 else matrix(self, W)
    )


@mistake(layer(NORM, check_maps), "BatchNorm2d: lower is not the adjoint of lift")
def the_scale_of_a_batchnorm_is_left_out_on_the_way_back(patch):
    patch.setattr(BatchNorm2d, "lower", lambda self, params, u, shape: u)


@mistake(layer(NORM), "BatchNorm2d: push of x")
def the_mean_of_a_batchnorm_is_subtracted_from_tangents(patch):
    lift = BatchNorm2d.lift
    patch.setattr(BatchNorm2d, "lift", lambda self, params, x, tangent=False: lift(self, params, x))


@mistake(lambda: test_layers.test_batchnorm_is_its_formula(0.5), "batchnorm: off by")
def the_eps_of_a_batchnorm_is_outside_the_root(patch):
    scale = BatchNorm2d._scale
    patch.setattr(
        BatchNorm2d,
        "_scale",
        lambda s, p: scale(s, p) * 0 + 1 / (p["running_var"] ** 0.5 + s.eps)[:, None, None],
    )


@mistake(layer(RESIDUAL), "Residual: push of x")
def the_shortcut_is_dropped_from_tangents(patch):
    push = Residual.push

    def wrong(self, tape, params, dparams, dx):
        dy, held = push(self, tape, params, dparams, dx)
        return (dy if dx is None else dy - dx), held

    patch.setattr(Residual, "push", wrong)


@mistake(layer(RESIDUAL), "Residual: pull gives a wrong x")
def the_shortcut_is_dropped_on_the_way_back(patch):
    joined = Residual._joined
    patch.setattr(
        Residual, "_joined", lambda self, parts, delta: (joined(self, parts, delta)[0], parts["body"][1])
    )


@mistake(ties, "apply does not select the first of the largest")
def a_max_pool_selects_all_that_tie(patch):
    def wrong(self, params, x):
        y = self.forward(params, x)
        return y, ([(part == y).astype(float) for part in self._seen(x)], tuple(x.shape[-2:]))

    patch.setattr(MaxPool2d, "record", wrong)


@mistake(lambda: test_layers.test_padding_never_wins(), "Arrays are not equal")
def padded_zeros_take_part_in_a_max_pool(patch):
    places = Window.places

    def seen(self, x):
        padded = self.window.pad(x, 0)
        return [padded[place] for place in places(self.window, x.shape[-2:])]

    patch.setattr(MaxPool2d, "_seen", seen)


@mistake(layer((AvgPool2d(2), (1, 4, 4)), check_linear), "AvgPool2d: adjoint is not that of apply")
def the_adjoint_of_an_average_is_not_divided(patch):
    patch.setattr(AvgPool2d, "adjoint", lambda self, tape, t: self.window.spread([t] * 4, tape[1]))


@mistake(lambda: test_activations.test_scipys_functions(GELU), "value")
def gelu_is_its_approximation_by_tanh(patch):
    inside = lambda x: np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)  # noqa: E731
    patch.setattr(GELU, "value", staticmethod(lambda x: x * (1 + np.tanh(inside(x))) / 2))


@pytest.mark.parametrize(("make", "check", "words"), MISTAKES)
def test_mistakes_are_convicted(make, check, words, monkeypatch):
    convict(make, check, words, monkeypatch)


def test_every_mistake_has_its_own_words():
    words = [mistake.values[2] for mistake in MISTAKES]
    assert len(words) == len(set(words)) >= 18
