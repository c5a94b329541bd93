r"""Derivatives by the package autograd, of the forward code alone: no derivative of refprune is used.

`f` is a function of a flat vector `w` (d,), in array code: autograd's NumPy is one more namespace. Or a network,
its `params` (a dict), samples `x` and `y`, and the `name` of the loss.
"""

import importlib

from refprune.definitions.losses import value


def jacobian(f, w):
    """The derivative of the array or number `f(w)` in every entry of `w`, (..., d)."""
    try:
        autograd = importlib.import_module("autograd")
    except ImportError:
        raise ImportError(
            "need autograd for refprune.definitions.by_autograd: pip install autograd"
        ) from None
    return autograd.jacobian(f)(w)


def gradient(f, w):
    """The gradient of the number `f(w)`, (d,)."""
    return jacobian(f, w)


def hvp(f, w, v):
    """The Hessian of the number `f(w)` times `v`, (d,): the gradient of `gradient . v`."""
    return gradient(lambda u: (gradient(f, u) * v).sum(), w)


def hessian(f, w):
    """The Hessian of the number `f(w)`, (d, d): the derivative of the gradient."""
    return jacobian(lambda u: gradient(f, u), w)


def loss(network, params, x, y, name):
    """The loss as a function of the flat vector."""
    return lambda w: network.loss(network.unflatten(w, params), x, y, name)


def outputs(network, params, x):
    """The outputs (samples, outputs) as a function of the flat vector."""
    return lambda w: network.forward(network.unflatten(w, params), x).reshape(x.shape[0], -1)


def per_sample_gradients(network, params, x, y, name):
    """The gradient of every sample's own loss, a list of (d,)."""
    w, one = network.flatten(params), [slice(s, s + 1) for s in range(x.shape[0])]
    return [gradient(loss(network, params, x[s], y[s], name), w) for s in one]


def gauss_newton(network, params, x, y, name):
    """The mean over the samples of `J^T S J`: J the derivative of the outputs, S the loss's Hessian in them."""
    f, w = outputs(network, params, x), network.flatten(params)
    targets = y.reshape(x.shape[0], -1) if name == "squared" else y
    S = [hessian(lambda u, t=t: value(u, t, name), f_s) for f_s, t in zip(f(w), targets)]
    return sum(J_s.T @ S_s @ J_s for J_s, S_s in zip(jacobian(f, w), S)) / x.shape[0]
