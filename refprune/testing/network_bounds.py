r"""How far rounding can move a derivative of a network: a first-order analysis in absolute values.

A derivative is a sum over paths of products of weights, inputs, slopes and curvatures. Whatever the order, forward or
backward, in which an algorithm adds, a sum errs by a multiple of eps times the sum of the absolute values of its terms
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). So two jets are carried along with the
values: `A`, the sums of absolute values over all paths, and `E`, what one rounding at each step on the way makes of
them. A step adds its own `A` to `E` and hands on the `E` that came in: through a product by the product rule; through
an activation, which is taken at a z that errs by `E_z`, by

    E_0 = |phi'| E_z,                       E_1 = |phi'| E_u + |phi''| E_z A_u,
    E_2 = |phi''| (E_u A_v + A_u E_v) + |phi'''| E_z A_u A_v + |phi'| E_uv + |phi''| E_z A_uv.

The softmax of outputs that err by E_f errs by ``2 max E_f`` of itself. The bound is ``c eps E``, see
`factor`.
"""

import numpy as np

from ..definitions.jet_layers import look
from ..definitions.jet_losses import curvature, one_hot, slope, softmax
from ..definitions.jet_network import RULES, run
from ..definitions.jets import Jet, add, constant, linear, parameter
from ..definitions.windows import winners

# The largest |phi'|, |phi''| and |phi'''|, rounded up.
STEEPEST = {
    "tanh": (1.0, 0.77, 2.0),
    "sigmoid": (0.25, 0.0963, 0.125),
    "gelu": (1.13, 0.8, 0.78),
    "silu": (1.1, 0.5, 0.31),
    "softplus": (1.0, 0.25, 0.0963),
}
# Where an activation is flat, its computed slope may still be off by an eps of the steepest one, and the slopes of
# several layers multiply, as do small values: none counts as smaller than a rounding of half precision.
LEAST = 2.0**-11


def carried(layers, params, x, left, right):
    """(outputs (samples, outputs), the jets A and E of the outputs along `left` (p, d) and `right` (q, d))."""
    own, at = {}, 0
    none = np.zeros((0, left.shape[1]))
    for key, array in params.items():
        if "running" in key:
            own[key] = (
                constant(array),
                constant(array if "var" in key else -np.abs(array)),
            )  # the mean is subtracted
        else:
            parts = [np.abs(u[:, at : at + array.size]).reshape(len(u), *array.shape) for u in (left, right)]
            empty = none[:, : array.size].reshape(0, *array.shape)
            own[key] = parameter(array, empty, empty), parameter(np.abs(array), *parts)
            at += array.size
    f, A, E = run(layers, own.__getitem__, (constant(x), constant(np.abs(x)), constant(0 * x)), CARRIED)
    flat = f.value[0, 0].reshape(len(x), -1)
    return flat, *(linear(lambda part: part.reshape(*part.shape[:2], *flat.shape), jet) for jet in (A, E))


def _stepped(true, A, E):
    """One rounding of `A`, the sum of absolute values, is added to `E`; values are known and need no sum."""
    return true, Jet(np.abs(true.value), A.left, A.right, A.both), add(E, A)


def _alike(name):
    """A layer that adds and multiplies: the same on absolute values."""

    def rule(layer, own, carry, rules):
        step, true, size = RULES[name], lambda key: own(key)[0], lambda key: own(key)[1]
        return _stepped(
            step(layer, true, carry[0], None), *(step(layer, size, jet, None) for jet in carry[1:])
        )

    return rule


def _smooth(name):
    k1, k2, k3 = STEEPEST[name]

    def rule(layer, own, carry, rules):
        z, A, E = carry
        true = RULES[name](layer, own, z, None)
        one = Jet(z.value, np.ones_like(z.value), np.ones_like(z.value), 0 * z.value)
        bent = RULES[name](layer, own, one, None)
        p1, p2 = np.abs(bent.left) + LEAST * k1, np.abs(bent.both) + LEAST * k2
        passed = Jet(
            p1 * E.value,
            p1 * E.left + p2 * E.value * A.left,
            p1 * E.right + p2 * E.value * A.right,
            p2 * (E.left * A.right + A.left * E.right + E.value * A.both)
            + k3 * E.value * A.left * A.right
            + p1 * E.both,
        )
        # phi, phi' and phi'' are themselves rounded, by an eps of what they are made of
        own_error = Jet(
            k1 * np.abs(z.value) + np.abs(true.value),
            k1 * A.left,
            k1 * A.right,
            k2 * A.left * A.right + k1 * A.both,
        )
        least = LEAST * k1 * np.abs(z.value)
        out = Jet(np.abs(true.value) + least, p1 * A.left, p1 * A.right, p2 * A.left * A.right + p1 * A.both)
        return true, out, add(passed, own_error)

    return rule


def _kinked(name, top):
    def rule(layer, own, carry, rules):
        z = carry[0].value
        passes = ((z >= 0) & (z <= top)) * 1.0
        return RULES[name](layer, own, carry[0], None), *(
            linear(lambda a: passes * a, jet) for jet in carry[1:]
        )

    return rule


def _maxpool(layer, own, carry, rules):
    seen = look(layer, carry[0].value, -np.inf)
    shares = np.maximum(winners(seen), winners(seen, 1))  # of equal ones, the first and the last
    picked = (linear(lambda a: (shares * look(layer, a)).sum((-4, -3)), jet) for jet in carry[1:])
    return RULES["maxpool2d"](layer, own, carry[0], None), *picked


def _residual(layer, own, carry, rules):
    parts = [run(layer.get(name) or [], lambda key, name=name: own(f"{name}.{key}"), carry, rules)
             for name in ("body", "shortcut")]  # fmt: skip
    return _stepped(*(add(body, shortcut) for body, shortcut in zip(*parts, strict=True)))


CARRIED = {
    **{
        name: _alike(name)
        for name in ("dense", "conv2d", "batchnorm2d", "avgpool2d", "globalavgpool", "flatten")
    },
    **{name: _smooth(name) for name in STEEPEST},
    "relu": _kinked("relu", np.inf),
    "relu6": _kinked("relu6", 6.0),
    "maxpool2d": _maxpool,
    "residual": _residual,
}


def of_slope(f, E, y, loss):
    """(|g|, what it errs by), (samples, outputs): the slope of the loss in outputs `f` that err by `E`."""
    g = np.abs(slope(f, y, loss))
    if loss == "squared":
        return g, E + np.abs(f) + np.abs(y.reshape(f.shape))
    p = softmax(f)
    return g, p * (1 + 2 * E.max(axis=1)[:, None]) + one_hot(f, y)


def of_curvature(f, E, y, loss):
    """(|S|, what it errs by), (samples, outputs, outputs), of the curvature."""
    S = np.abs(curvature(f, y, loss))
    if loss == "squared":
        return S, S
    p = softmax(f)
    sums = p[:, :, None] * np.eye(f.shape[1]) + p[:, :, None] * p[:, None, :]
    return S, sums * (2 + 4 * E.max(axis=1))[:, None, None]


def factor(params, x) -> float:
    """c of the bound, `4 + sqrt(n)` with n the terms of the longest sum.

    Of a weight the sums over what it reads and over what reads it, of its gradient that over the samples and their
    pixels. Roundings of n terms add up like sqrt(n), not n, but with a probability that can be neglected (Higham and
    Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019); the 4 stands for
    what surrounds the sum.

    >>> factor({"0.weight": np.zeros((3, 5)), "0.bias": np.zeros(3)}, np.zeros((4, 5)))
    7.0
    """
    sums = [max(np.prod(a.shape[1:]), a.size / a.shape[1]) for a in params.values() if a.ndim > 1]
    return float(4 + np.sqrt(x.shape[0] * np.prod(x.shape[2:]) + max(sums, default=0)))
