"""Known mistakes of derivatives of networks: the definition with one thing changed."""

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_losses import curvature, slope
from refprune.definitions.jet_network import RULES
from refprune.definitions.jet_outputs import flat_outputs, size

from ..contract import Mistake
from . import network_rules as wrong
from .network_vectors import of_vectors, remembered, right


def of(quantity):
    """The mistakes that apply to one of ``"hvp"``, ``"hessian"``, ``"gauss_newton"``, ``"per_sample_gradients"``."""
    own = {"hvp": _products, "gauss_newton": _gauss_newton, "per_sample_gradients": _samples}.get(quantity)
    found = [*_layers(quantity), *_losses(quantity), *of_vectors(quantity), *_forms(quantity)]
    if quantity in ("hvp", "hessian"):
        found += _curved(quantity)
    if quantity != "per_sample_gradients":
        found += _means(quantity)
    return (*found, *(own() if own else ()))


def _layers(quantity):
    """Forward passes that do something else, in a layer or in the gradient of its weight."""
    steps = {
        "gelu-by-tanh": ("GELU is approximated by tanh", wrong.gelu_by_tanh()),
        "padding-at-end": (
            "all padding of a convolution is at the bottom and on the right", wrong.conv2d(wrong.padding_at_end),
        ),
        "columns-without-padding": (
            "the gradient of a convolution leaves out the windows that reach into the padding", wrong.border_left_out(),
        ),
        "dilation-ignored": ("the kernel is not spread", wrong.conv2d(wrong.step_ignored("dilation"))),
        "stride-ignored": ("the windows move by 1", wrong.conv2d(wrong.step_ignored("stride"))),
        "groups-interleaved": ("group g sees every channel g, g + groups, ...", wrong.conv2d(wrong.interleaved)),
        "kernel-flipped": (
            "the kernel is turned by 180 degrees, as signal processing has it",
            wrong.conv2d(kernel=lambda w: w[..., ::-1, ::-1]),
        ),
        "shortcut-constant": ("derivatives do not go through the shortcut", wrong.shortcut_constant()),
        "average-without-padding": ("an average pool divides by the real pixels", wrong.padding_not_counted()),
        "padding-wins": ("the padding of a max pool is 0 and may win", wrong.padding_wins()),
        "max-pool-spread": ("the derivative of a max pool goes to all of its window", wrong.spread_over_window()),
        "batch-statistics": ("batch normalisation uses the statistics of the batch", wrong.batch_statistics()),
        "eps-outside-the-root": ("sqrt(var) + eps is divided by", wrong.eps_outside()),
    }  # fmt: skip
    return [Mistake(name, text, right(quantity, rules)) for name, (text, rules) in steps.items()]


# the loss


def terms(quantity, g_of=slope, S_of=curvature, first=1, second=1):
    """`first` times `D_u f . S D_v f` plus `second` times `g . D_u D_v f`, with another slope g or curvature S."""

    def call(layers, params, x, y, loss, v=None):
        every = np.eye(size(params))
        along = v[None] if v is not None else every if second else None
        f = flat_outputs(layers, params, x, every, along, RULES)
        g, S = g_of(f.value[0, 0], y, loss), S_of(f.value[0, 0], y, loss)
        if quantity == "per_sample_gradients":
            return (g * f.left[:, 0]).sum(-1).T
        bent = (S @ (f.right if second or v is not None else f.left.swapaxes(0, 1))[..., None])[..., 0]
        found = (first * f.left * bent + (second * g * f.both if second else 0)).sum((-2, -1)) / len(x)
        return found if v is None else found[:, 0]

    return remembered(call)


def naive_softmax(f):
    """Without taking the largest output away first."""
    return np.exp(f) / np.exp(f).sum(axis=1)[:, None]


def naive_slope(f, y, loss):
    """`p - [k = y]` from it."""
    return slope(f, y, loss) if loss == "squared" else naive_softmax(f) - np.eye(f.shape[1])[y]


def naive_curvature(f, y, loss):
    """`diag p - p p^T` from it."""
    p = naive_softmax(f)
    if loss == "squared":
        return curvature(f, y, loss)
    return p[:, :, None] * np.eye(f.shape[1]) - p[:, :, None] * p[:, None, :]


def diagonal_softmax(f, y, loss):
    """`diag p` for `diag p - p p^T`."""
    if loss == "squared":
        return curvature(f, y, loss)
    return np.einsum("nk,kj->nkj", slope(f, y, loss) + np.eye(f.shape[1])[y], np.eye(f.shape[1]))


def no_curvature(f, y, loss):
    """The identity, whatever the loss."""
    return np.broadcast_to(np.eye(f.shape[1]), (*f.shape, f.shape[1]))


def _losses(quantity):
    second = int(quantity in ("hvp", "hessian"))

    def classes(layers, params, x, y, loss, *v):
        f = derivatives.forward(layers, params, x)
        return right(quantity)(layers, params, x, y, loss, *v) / f[0].size

    def double(layers, params, x, y, loss, *v):
        return right(quantity)(layers, params, x, y, loss, *v) * (2 if loss == "squared" else 1)

    found = [
        Mistake("mean-over-outputs", "the mean is taken over the outputs, too", classes),
        Mistake("squared-without-half", "the squared loss is `|f - y|^2`", double),
        Mistake("softmax-overflows", "exponentials are taken of the outputs as they are",
                terms(quantity, naive_slope, naive_curvature, second=second),
                shows=("finite", "NaN or Inf", "LargeLogits")),
    ]  # fmt: skip
    if quantity != "per_sample_gradients":
        found += [
            Mistake("softmax-diagonal", "the softmax's curvature is `diag p`, without `- p p^T`",
                    terms(quantity, S_of=diagonal_softmax, second=second)),
            Mistake("loss-curvature-left-out", "the curvature of the loss in the outputs is taken for the identity",
                    terms(quantity, S_of=no_curvature, second=second)),
        ]  # fmt: skip
    return found


def _curved(quantity):
    def gauss_newton(layers, params, x, y, loss, *v):
        matrix = right("gauss_newton")(layers, params, x, y, loss)
        return matrix @ v[0] if v else matrix

    return [
        Mistake("gauss-newton", "the Gauss-Newton matrix stands for the Hessian", gauss_newton),
        Mistake("outer-term-left-out", "only the slope of the loss times the curvature of the outputs is there",
                terms(quantity, first=0)),
        Mistake("activations-not-curved", "the second derivative of activations is taken for 0",
                right(quantity, wrong.flat_activations())),
    ]  # fmt: skip


def _means(quantity):
    def summed(layers, params, x, *rest):
        return right(quantity)(layers, params, x, *rest) * len(x)

    def shorter(layers, params, x, y, *rest):
        keep = max(len(x) - 1, 1)
        return right(quantity)(layers, params, x[:keep], y[:keep], *rest)

    return [
        Mistake("sum-over-samples", "the sum over the samples is not divided", summed),
        Mistake("last-sample-left-out", "the last sample takes no part", shorter),
    ]


# one contract's own


def _products():
    def differences(layers, params, x, y, loss, v):
        def slope_at(step):
            moved, at = dict(params), 0
            for name, a in params.items():
                if "running" not in name:
                    moved[name], at = a + step * v[at : at + a.size].reshape(a.shape), at + a.size
            return derivatives.gradient(layers, moved, x, y, loss)

        h = 1e-5
        return (slope_at(h) - slope_at(-h)) / (2 * h)

    def unit(layers, params, x, y, loss, v):
        return right("hvp")(layers, params, x, y, loss, v / np.linalg.norm(v))

    def fisher(layers, params, x, y, loss, v):
        own = derivatives.per_sample_gradients(layers, params, x, y, loss)
        return own.T @ (own @ v) / len(x)

    return [
        Mistake(
            "differences", "the product is a difference of gradients, exact to half the digits", differences
        ),
        Mistake("direction-normalised", "the direction is divided by its norm", unit),
        Mistake("fisher-product", "the empirical Fisher matrix stands for the Hessian", fisher),
    ]


def _gauss_newton():
    def fisher(*call):
        own = derivatives.per_sample_gradients(*call)
        return own.T @ own / len(own)

    def squared_mean(*call):
        g = derivatives.gradient(*call)
        return np.outer(g, g)

    def mean_jacobian(layers, params, x, y, loss):
        f = flat_outputs(layers, params, x, np.eye(size(params)), None, RULES)
        J, S = f.left[:, 0].mean(1), curvature(f.value[0, 0], y, loss).mean(0)
        return J @ S @ J.T

    return [
        Mistake("hessian", "the Hessian stands for the Gauss-Newton matrix", right("hessian")),
        Mistake("empirical-fisher", "the mean of outer products of the samples' gradients", fisher),
        Mistake("square-of-mean-gradient", "the outer product of the mean gradient", squared_mean),
        Mistake("mean-jacobian", "the mean of the outputs' Jacobians is squared", mean_jacobian),
    ]


def _samples():
    own = right("per_sample_gradients")

    def repeated(*call):
        found = own(*call)
        return np.repeat(found.mean(0)[None], len(found), axis=0)

    def of_outputs(layers, params, x, y, loss):
        f = flat_outputs(layers, params, x, np.eye(size(params)), None, RULES)
        return f.left[:, 0].sum(-1).T

    return [
        Mistake("mean-gradient-repeated", "every row is the mean gradient", repeated),
        Mistake("divided-by-samples", "the gradients are those of the mean loss",
                lambda *call: own(*call) / len(call[2])),
        Mistake("gradients-not-reset", "the gradients of earlier samples are added",
                lambda *call: own(*call).cumsum(0)),
        Mistake("squared", "the gradients are squared", lambda *call: own(*call) ** 2),
        Mistake("of-outputs", "the gradients are those of the summed outputs", of_outputs),
        Mistake("samples-last", "the answer is (d, samples)", lambda *call: own(*call).T.copy(),
                shows=("form", "(transposed)")),
    ]  # fmt: skip


# form: right numbers, wrongly handed over


class _FirstForShape:
    """An implementation that gives its first answer for a shape of samples and parameters again."""

    def __init__(self, quantity):
        self.call, self.kept = right(quantity), {}

    def __call__(self, layers, params, x, *rest):
        key = (x.shape, size(params))
        if key not in self.kept:
            self.kept[key] = self.call(layers, params, x, *rest)
        return self.kept[key].copy()


def _forms(quantity):
    own = right(quantity)

    def overwritten(layers, params, *rest):
        found = own(layers, params, *rest)
        last = list(params.values())[-1]
        last += last.dtype.type(0.125)
        return found

    def one_sample(layers, params, x, y, loss, *v):
        if len(x) == 1:
            np.zeros((1, 0)).max(axis=1)
        return own(layers, params, x, y, loss, *v)

    def column(*call):
        return own(*call)[..., None]

    return [
        Mistake("parameters-overwritten", "the parameters are moved and not put back", overwritten,
                shows=("unchanged", "params changed during the call")),
        Mistake("raises-at-one-sample", "a batch of one sample raises", one_sample,
                shows=("answers", "zero-size array")),
        Mistake("one-axis-more", "the answer has an axis of length 1 at the end", column,
                shows=("form", "(one axis too many)")),
        Mistake("answer-in-single", "the answer is float32 whatever the input is",
                lambda *call: own(*call).astype(np.float32), shows=("form", "has dtype float32")),
        Mistake("state-kept", "the answer to an earlier call of the same shapes is given again",
                _FirstForShape(quantity)),
    ]  # fmt: skip
