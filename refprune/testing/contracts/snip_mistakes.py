"""Known mistakes of SNIP: another product, another mean, other weights; and right scores, wrongly handed over."""

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_network import RULES
from refprune.definitions.jet_outputs import flat_outputs, size
from refprune.definitions.snip import switched, unflattened

from ..contract import Mistake
from . import network_rules as wrong
from .network_vectors import right


def snip(layers, params, x, y, loss):
    """The definition, in float64; scores in the dtype of x."""
    return given(lambda w, g: abs(w * g))(layers, params, x, y, loss)


def given(score, changed=None):
    """`score(w, g)` of every weight, with wrong steps for some types of layers."""
    gradients = right("per_sample_gradients", changed)

    def call(layers, params, x, y, loss):
        wide = {key: a.astype(float) for key, a in params.items()}
        each = gradients(layers, wide, x.astype(float), y, loss)
        g = unflattened(each.mean(0), wide)
        return {key: score(wide[key], g[key]).astype(x.dtype) for key in switched(params)}

    return call


def of_samples(total):
    """`total(w g_i)` over the samples, each sample's gradient alone."""

    def call(layers, params, x, y, loss):
        each = derivatives.per_sample_gradients(layers, params, x, y, loss)
        found = [unflattened(row, params) for row in each]
        return {key: total(np.stack([params[key] * g[key] for g in found])) for key in switched(params)}

    return call


def of_outputs(layers, params, x, y, loss):
    """The summed outputs stand for the loss."""
    f = flat_outputs(layers, params, x, np.eye(size(params)), None, RULES)
    g = unflattened(f.left[:, 0].sum(-1).mean(-1), params)
    return {key: abs(params[key] * g[key]) for key in switched(params)}


def ranked_alike(layers, params, x, y, loss):
    """Divided by the sum of all, as the paper's (6) is."""
    found = snip(layers, params, x, y, loss)
    total = sum(float(scores.sum()) for scores in found.values())
    return {key: scores / total for key, scores in found.items()}


def per_layer(layers, params, x, y, loss):
    """Divided by the norm of the layer's scores."""
    return {key: scores / np.linalg.norm(scores) for key, scores in snip(layers, params, x, y, loss).items()}


def last_sample_left_out(layers, params, x, y, loss):
    """The mean over all samples but the last."""
    keep = max(len(x) - 1, 1)
    return snip(layers, params, x[:keep], y[:keep], loss)


def removed(layers, params, x, y, loss):
    """The change of the loss when the weight is 0, to second order in the switch."""
    H = right("hessian")(layers, params, x, y, loss)
    curved = unflattened(np.diagonal(H), params)
    g = unflattened(derivatives.gradient(layers, params, x, y, loss), params)
    return {key: abs(params[key] * g[key] - params[key] ** 2 * curved[key] / 2) for key in switched(params)}


# right scores, wrongly handed over


def overwriting(scores):
    """`scores`, and the last array of `params` is not what it was."""

    def call(layers, params, *rest):
        found, last = scores(layers, params, *rest), list(params.values())[-1]
        last += last.dtype.type(0.125)
        return found

    return call


def with_biases(scores):
    """Biases have scores, too."""

    def call(layers, params, *rest):
        found = scores(layers, params, *rest)
        biases = {key: np.zeros_like(a) for key, a in params.items() if key.endswith("bias")}
        return found | biases

    return call


def without_last(scores):
    """The last layer is never pruned, and has no scores."""

    def call(layers, params, *rest):
        found = scores(layers, params, *rest)
        return {key: found[key] for key in list(found)[:-1]}

    return call


def transposed(scores):
    """Scores are (inputs, outputs)."""
    return lambda *call: {key: array.swapaxes(0, -1).copy() for key, array in scores(*call).items()}


def single(scores):
    """Scores are float32 whatever the parameters are."""
    return lambda *call: {key: array.astype(np.float32) for key, array in scores(*call).items()}


class FirstForShape:
    """An implementation that gives its first answer for the shapes of the parameters again."""

    def __init__(self, scores):
        self.scores, self.kept = scores, {}

    def __call__(self, layers, params, *rest):
        """The scores, or those of an earlier call with numbers in it."""
        key = tuple((name, array.shape) for name, array in params.items())
        if key not in self.kept:
            found = self.scores(layers, params, *rest)
            if not all(np.isfinite(array).all() for array in found.values()):
                return found
            self.kept[key] = found
        return {name: array.copy() for name, array in self.kept[key].items()}


def forms(scores):
    """The mistakes of form of a contract of scores."""
    return (
        Mistake("parameters-overwritten", "the parameters are moved and not put back", overwriting(scores),
                shows=("unchanged", "params changed during the call")),
        Mistake("others-scored", "what is no weight of a dense layer or a convolution has scores, too, as biases",
                with_biases(scores), shows=("form", "the answer has scores for")),
        Mistake("weights-left-out", "some weights have no scores, as those of the last layer", without_last(scores),
                shows=("form", "the answer has no scores for")),
        Mistake("inputs-first", "scores are (inputs, outputs)", transposed(scores),
                shows=("form", "(transposed)")),
        Mistake("answer-in-single", "scores are float32 whatever the parameters are", single(scores),
                shows=("form", "have dtype float32")),
        Mistake("state-kept", "the answer to an earlier call of the same shapes is given again",
                FirstForShape(scores)),
    )  # fmt: skip


MISTAKES = (
    Mistake("gradient-alone", "the slope in the weight, without the factor w", given(lambda w, g: abs(g))),
    Mistake("magnitude", "the size of the weight alone", given(lambda w, g: abs(w))),
    Mistake("signed", "the sign of `w g` is kept", given(lambda w, g: w * g)),
    Mistake("squared", "the square of `w g`", given(lambda w, g: (w * g) ** 2)),
    Mistake("weight-squared", "`w^2 |g|`", given(lambda w, g: w * w * abs(g))),
    Mistake("mean-of-sizes", "the mean of every sample's `|w g_i|`", of_samples(lambda each: abs(each).mean(0))),
    Mistake("fisher-diagonal", "the mean of every sample's `(w g_i)^2`",
            of_samples(lambda each: (each**2).mean(0))),
    Mistake("sum-over-samples", "the sum over the samples is not divided",
            of_samples(lambda each: abs(each.sum(0)))),
    Mistake("last-sample-left-out", "the last sample takes no part", last_sample_left_out),
    Mistake("slope-of-outputs", "the gradient is that of the summed outputs", of_outputs),
    Mistake("divided-by-the-sum", "scores are divided by the sum of all, as the paper ranks them", ranked_alike),
    Mistake("divided-by-the-layer", "scores are divided by the norm of their layer's", per_layer),
    Mistake("second-order", "the second order of the removal is added", removed),
    Mistake("shortcut-constant", "the derivatives go through the body of a residual block alone",
            given(lambda w, g: abs(w * g), wrong.shortcut_constant())),
    Mistake("channels-interleaved", "group g of a convolution sees the channels g, g + groups, ...",
            given(lambda w, g: abs(w * g), wrong.conv2d(wrong.interleaved))),
    Mistake("border-left-out", "the gradient of a convolution comes from the windows inside the image only",
            given(lambda w, g: abs(w * g), wrong.border_left_out())),
    *forms(snip),
)  # fmt: skip
