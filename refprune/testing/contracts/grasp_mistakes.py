"""Known mistakes of `grasp`: the definition with one thing changed."""

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_losses import curvature, slope
from refprune.definitions.snip import flattened, switched, unflattened

from ..contract import Mistake
from . import network_rules as wrong
from .network_mistakes import naive_curvature, naive_slope, terms
from .network_vectors import right
from .snip_mistakes import forms

TEMPERATURE = 200.0


def _mean_gradient(*call):
    return right("per_sample_gradients")(*call).mean(0)


def _weighed(theta, Hg, g):
    return -theta * Hg


_product = right("hvp")


def grasp(gradient=_mean_gradient, product=_product, score=_weighed):
    """The method with another gradient g, another product of the Hessian with it, or another score of both."""

    def call(layers, params, x, y, loss):
        wide = {name: array.astype(float) for name, array in params.items()}
        inside = [layers, wide, x.astype(float), y.astype(float) if y.dtype.kind == "f" else y, loss]
        g = gradient(*inside)
        found = unflattened(score(flattened(wide), product(*inside, g), g), wide)
        return {name: found[name].astype(x.dtype) for name in switched(params)}

    return call


def _kept(keep):
    """Parameters for which `keep(params, name)` is false are constants: 0 in the gradient."""

    def gradient(*call):
        params = call[1]
        parts = {name: np.full(array.shape, keep(params, name), float) for name, array in params.items()}
        return _mean_gradient(*call) * flattened(parts)

    return gradient


def _layer(name):
    return name.rpartition(".")[0]


def _is_weight(params, name):
    return name in switched(params)


def _not_norm(params, name):
    return params[f"{_layer(name)}.weight"].ndim > 1


def _blocks(layers, params, x, y, loss, g):
    """H without what couples two layers."""
    found = 0
    for layer in dict.fromkeys(map(_layer, params)):
        own = {name: np.full(array.shape, _layer(name) == layer, float) for name, array in params.items()}
        inside = flattened(own)
        if inside.any():
            found = found + inside * _product(layers, params, x, y, loss, inside * g)
    return found


def _gauss_newton(*call):
    return right("gauss_newton")(*call[:-1]) @ call[-1]


def _diagonal(*call):
    return np.diagonal(right("hessian")(*call[:-1])) * call[-1]


def _of_samples(layers, params, x, y, loss, g):
    """The mean over the samples of each one's Hessian times its own gradient."""
    own = right("per_sample_gradients")(layers, params, x, y, loss)
    products = [_product(layers, params, x[n : n + 1], y[n : n + 1], loss, own[n]) for n in range(len(x))]
    return sum(products) / len(x)


def _differences(layers, params, x, y, loss, g):
    """One-sided, of the gradient."""
    h = 1e-6
    moved = unflattened(flattened(params) + h * g, params)
    return (derivatives.gradient(layers, moved, x, y, loss) - g) / h


def _with_loss(*loss):
    """Another slope and curvature of the loss in the outputs."""
    own = terms("per_sample_gradients", *loss)
    return grasp(lambda *call: own(*call).mean(0), terms("hvp", *loss))


def _cooled():
    """The outputs are divided by a temperature, as in the published code."""
    T = TEMPERATURE
    return _with_loss(
        lambda f, y, name: slope(f / T, y, name) / T, lambda f, y, name: curvature(f / T, y, name) / T**2
    )


def _normalised(*call):
    found = grasp()(*call)
    total = sum(score.sum() for score in found.values())
    return {name: score / abs(total) for name, score in found.items()}


def _flat():
    """Activations without a second derivative."""
    return grasp(product=right("hvp", wrong.flat_activations()))


def _throughout(mistake):
    """Gradient and product by layers with a wrong step."""
    own = right("per_sample_gradients", mistake)
    return grasp(lambda *call: own(*call).mean(0), right("hvp", mistake))


MISTAKES = (
    Mistake("sign-turned", "the score is `w (H g)`", grasp(score=lambda theta, Hg, g: theta * Hg)),
    Mistake("size-taken", "the score is `|w (H g)|`", grasp(score=lambda theta, Hg, g: abs(theta * Hg))),
    Mistake("first-order", "the gradient stands for `H g`: `-w g`", grasp(product=lambda *call: call[-1])),
    Mistake("sensitivity", "the score is SNIP's, `|w g|`", grasp(score=lambda theta, Hg, g: abs(theta * g))),
    Mistake("weight-left-out", "the score is `-H g`", grasp(score=lambda theta, Hg, g: -Hg)),
    Mistake("weight-squared", "the score is `-w^2 (H g)`", grasp(score=lambda theta, Hg, g: -theta**2 * Hg)),
    Mistake("twice", "the gradient of `g^T g` is taken, `2 H g`", grasp(score=lambda theta, Hg, g: -2 * theta * Hg)),
    Mistake("weights-only", "g and H are of the weights alone", grasp(_kept(_is_weight))),
    Mistake("normalisation-constant", "weight and bias of a batch normalisation are constants",
            grasp(_kept(_not_norm))),
    Mistake("block-diagonal", "what couples two layers is missing in H", grasp(product=_blocks)),
    Mistake("diagonal", "the diagonal stands for H", grasp(product=_diagonal)),
    Mistake("gauss-newton", "the Gauss-Newton matrix stands for H", grasp(product=_gauss_newton)),
    Mistake("activations-not-curved", "the second derivative of activations is taken for 0", _flat()),
    Mistake("sample-by-sample", "each sample's Hessian meets that sample's gradient", grasp(product=_of_samples)),
    Mistake("differences", "`H g` is a difference of gradients, exact to half the digits", grasp(product=_differences)),
    Mistake("sum-over-samples", "loss and gradient are sums over the samples",
            lambda layers, params, x, *rest: {
                name: score * x.dtype.type(len(x) ** 2) for name, score in grasp()(layers, params, x, *rest).items()
            }),
    Mistake("temperature", "the outputs are divided by 200 first, as in the published code", _cooled()),
    Mistake("softmax-overflows", "exponentials are taken of the outputs as they are",
            _with_loss(naive_slope, naive_curvature), shows=("finite", "NaN or Inf", "LargeLogits")),
    Mistake("normalised", "the scores are divided by the size of their sum", _normalised),
    Mistake("shortcut-constant", "derivatives do not go through the shortcut",
            _throughout(wrong.shortcut_constant())),
    Mistake("batch-statistics", "batch normalisation uses the statistics of the batch",
            _throughout(wrong.batch_statistics())),
    Mistake("columns-without-padding", "windows that reach into the padding take no part in the gradient of a kernel",
            _throughout(wrong.border_left_out())),
    *forms(grasp()),
)  # fmt: skip
