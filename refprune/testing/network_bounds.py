r"""How far rounding can move a derivative of a network: the sum of the absolute values of all that is added.

A derivative of a network is a sum over paths of products of weights, inputs, slopes and curvatures. In floating point
each factor and each addition errs by eps relative, in whatever order (forward or backward) the sums are formed; so a
derivative errs by at most ``c eps`` times the same sum with all factors positive (Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., section 3.1), c the number of roundings along a path. That sum is the definition's own
jet on absolute values. Two things are added to it. An activation is taken at a z that errs by ``c eps Z``, Z the sum of
absolute values behind z: phi moves by ``|phi'| Z``, phi' by ``|phi''| Z``, phi'' by ``|phi'''| Z``. And the softmax of
outputs that err by ``c eps F`` errs by ``2 max F`` of itself.
"""

import numpy as np

from ..definitions.jet_layers import look
from ..definitions.jet_losses import one_hot, softmax
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


def output_sizes(layers, params, x, left, right):
    """(outputs (samples, outputs), the jet of their sums of absolute values along `left` and `right`)."""
    own, at = {}, 0
    none = np.zeros((0, left.shape[1]))
    for key, array in params.items():
        if "running" in key:
            size = array if "var" in key else -np.abs(array)  # the mean is subtracted
            own[key] = constant(array), constant(size)
        else:
            shape, part = array.shape, slice(at, at + array.size)
            sides = [np.abs(u[:, part]).reshape(len(u), *shape) for u in (left, right)]
            empty = none[:, part].reshape(0, *shape)
            own[key] = parameter(array, empty, empty), parameter(np.abs(array), *sides)
            at += array.size
    value, size = run(layers, own.__getitem__, (constant(x), constant(np.abs(x))), _RULES)
    flat = value.value[0, 0].reshape(len(x), -1)
    return flat, linear(lambda f: f.reshape(*f.shape[:2], *flat.shape), size)


def _alike(name):
    """A layer that adds and multiplies: the same on absolute values."""

    def rule(layer, own, pair, rules):
        return tuple(RULES[name](layer, lambda key, i=i: own(key)[i], pair[i], None) for i in (0, 1))

    return rule


def _smooth(name):
    k1, k2, k3 = STEEPEST[name]

    def rule(layer, own, pair, rules):
        true, Z = RULES[name](layer, own, pair[0], None), pair[1]
        p0, p1, p2 = np.abs(true.value) + k1 * Z.value, k1 + k2 * Z.value, k2 + k3 * Z.value
        return true, Jet(p0, p1 * Z.left, p1 * Z.right, p2 * Z.left * Z.right + p1 * Z.both)

    return rule


def _kinked(name, top):
    def rule(layer, own, pair, rules):
        z = pair[0].value
        passes = (z >= 0) & (z <= top)
        return RULES[name](layer, own, pair[0], None), linear(lambda part: passes * part + 0.0, pair[1])

    return rule


def _maxpool(layer, own, pair, rules):
    seen = look(layer, pair[0].value, -np.inf)
    shares = np.maximum(winners(seen), winners(seen, 1))  # of equal ones, the first and the last
    size = linear(lambda part: (shares * look(layer, part)).sum((-4, -3)), pair[1])
    return RULES["maxpool2d"](layer, own, pair[0], None), size


def _residual(layer, own, pair, rules):
    parts = [run(layer.get(name) or [], lambda key, name=name: own(f"{name}.{key}"), pair, rules)
             for name in ("body", "shortcut")]  # fmt: skip
    return tuple(add(parts[0][i], parts[1][i]) for i in (0, 1))


_RULES = {
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


def slope_sizes(f, F, y, loss):
    """Sums of absolute values (samples, outputs) of the loss's slope in the outputs `f`; `F` are those of f."""
    if loss == "squared":
        return F + np.abs(y.reshape(f.shape))
    return softmax(f) * _moved(F) + one_hot(f, y)


def curvature_sizes(f, F, loss):
    """The same of the loss's curvature, (samples, outputs, outputs)."""
    unit = np.eye(f.shape[1])
    if loss == "squared":
        return unit + 0 * f[:, :, None]
    p = softmax(f)
    return (p[:, :, None] * unit + p[:, :, None] * p[:, None, :]) * (2 * _moved(F))[:, :, None]


def _moved(F):
    """What a share of the softmax errs by, in units of itself."""
    return 1 + 2 * F.max(axis=1)[:, None]


def roundings(params, x) -> int:
    """c: the additions and multiplications behind one number, forward and back, one after the other.

    Of each weight the longest sums of both directions, of the samples and their pixels those of its gradient, and
    32 for activations, pools and the loss.

    >>> roundings({"0.weight": np.zeros((3, 5)), "0.bias": np.zeros(3)}, np.zeros((4, 5)))
    44
    """
    sums = [np.prod(a.shape[1:]) + a.size / a.shape[1] for a in params.values() if a.ndim > 1]
    return int(32 + x.shape[0] * np.prod(x.shape[2:]) + sum(sums))
