"""Layers that do something else: steps from jet to jet as in `definitions.jet_network`, with one thing changed.

Each function gives a mapping from the type of a layer to its wrong step.
"""

import numpy as np

from refprune.definitions.jet_layers import look, per_channel
from refprune.definitions.jet_network import RULES, run
from refprune.definitions.jets import Jet, add, constant, elementwise, linear, product
from refprune.definitions.windows import convolution, padded, pair, patches, winners

SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "softplus")


def flat_activations():
    """phi'' is taken for 0."""

    def flat(name):
        def rule(layer, own, z, rules):
            right, slope = RULES[name](layer, own, z, rules), RULES[name](layer, own, _seed(z), rules).left
            return Jet(right.value, right.left, right.right, slope * z.both)

        return rule

    return {name: flat(name) for name in SMOOTH}


def _seed(z):
    one = np.ones_like(z.value)
    return Jet(z.value, one, 0 * one, 0 * one)


def gelu_by_tanh():
    """`z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2`."""

    def phi(z):
        c = np.sqrt(2 / np.pi)
        inner, i1, i2 = c * (z + 0.044715 * z**3), c * (1 + 0.134145 * z * z), c * 0.26829 * z
        t = np.tanh(inner)
        t1, t2 = (1 - t * t) * i1, (1 - t * t) * i2 - 2 * t * (1 - t * t) * i1 * i1
        return z * (1 + t) / 2, (1 + t + z * t1) / 2, t1 + z * t2 / 2

    return {"gelu": lambda layer, own, z, rules: elementwise(phi, z)}


def conv2d(see=look, kernel=lambda w: w):
    """A convolution whose windows see, or whose kernel is read, in another way."""

    def rule(layer, own, a, rules):
        seen, weight = linear(lambda part: see(layer, part), a), linear(kernel, own("weight"))
        z = product(lambda w, part: convolution(w, part, layer.get("groups", 1)), weight, seen)
        return add(z, linear(per_channel, own("bias"))) if layer.get("bias", True) else z

    return {"conv2d": rule}


def padding_at_end(layer, part):
    """All padding at the bottom and on the right."""
    ph, pw = pair(layer.get("padding", 0))
    return patches(
        padded(part, ((0, 2 * ph), (0, 2 * pw))),
        layer["kernel"],
        layer.get("stride", 1),
        layer.get("dilation", 1),
    )


def step_ignored(name):
    """Stride or dilation is 1; of the windows as many as there should be are used."""

    def see(layer, part):
        right = look(layer, part)
        return look({**layer, name: 1}, part)[..., : right.shape[-2], : right.shape[-1]]

    return see


def interleaved(layer, part):
    """Group g sees the channels g, g + groups, ..."""
    seen = look(layer, part)
    order = np.arange(seen.shape[-5]).reshape(-1, layer.get("groups", 1)).T.ravel()
    return seen[..., order, :, :, :, :]


def border_left_out():
    """The gradient of the weight comes from the windows that lie inside the image only: columns without padding."""

    def rule(layer, own, a, rules):
        w, zero = own("weight"), 0 * own("weight").value
        fixed, moving = constant(w.value[0, 0]), Jet(zero, w.left, w.right, w.both)
        seen = linear(lambda part: look(layer, part), a)
        whole = look(layer, np.ones(a.value.shape[-3:])).all(axis=(0, 1, 2))
        inside = linear(lambda part: part * whole, seen)
        times = lambda w, part: convolution(w, part, layer.get("groups", 1))  # noqa: E731
        z = add(product(times, fixed, seen), product(times, moving, inside))
        return add(z, linear(per_channel, own("bias"))) if layer.get("bias", True) else z

    return {"conv2d": rule}


def shortcut_constant():
    """The forward pass adds the shortcut, the derivatives go through the body alone."""

    def rule(layer, own, a, rules):
        body = run(layer["body"], lambda key: own(f"body.{key}"), a, rules)
        return Jet(RULES["residual"](layer, own, a, rules).value, body.left, body.right, body.both)

    return {"residual": rule}


def padding_not_counted():
    """An average pool divides by the number of real pixels."""
    return {
        "avgpool2d": lambda layer, own, a, rules: RULES["avgpool2d"](
            {**layer, "count_padding": False}, own, a, rules
        )
    }


def padding_wins():
    """The zeros around the image take part in the maximum."""

    def rule(layer, own, a, rules):
        shares = winners(look(layer, a.value))
        return linear(lambda part: (shares * look(layer, part)).sum((-4, -3)), a)

    return {"maxpool2d": rule}


def spread_over_window():
    """The derivative of a max pool goes to all entries of a window in equal shares."""

    def rule(layer, own, a, rules):
        mean = linear(lambda part: look(layer, part).mean((-4, -3)), a)
        return Jet(RULES["maxpool2d"](layer, own, a, rules).value, mean.left, mean.right, mean.both)

    return {"maxpool2d": rule}


def batch_statistics():
    """Batch normalisation by the mean and variance of the batch, taken as constants."""

    def rule(layer, own, a, rules):
        batch = a.value[0, 0]
        found = {"running_mean": batch.mean((0, 2, 3)), "running_var": batch.var((0, 2, 3))}
        return RULES["batchnorm2d"](
            layer, lambda key: constant(found[key]) if key in found else own(key), a, rules
        )

    return {"batchnorm2d": rule}


def eps_outside():
    """`sqrt(var) + eps` for `sqrt(var + eps)`."""

    def rule(layer, own, a, rules):
        root = np.sqrt(own("running_var").value[0, 0]) + layer.get("eps", 1e-5)
        var = constant(root * root)
        return RULES["batchnorm2d"](
            {**layer, "eps": 0.0}, lambda key: var if key == "running_var" else own(key), a, rules
        )

    return {"batchnorm2d": rule}
