"""A network, given as plain data, as a step from the jet of its input to the jet of its outputs.

`RULES` names the step of every type of layer: `rule(layer, own, a, rules)`, where `own(name)` is the jet of the
layer's array of that name. `rules(share)` takes the slope `share`, of [0, 1], at the kinks of ReLU and ReLU6, and gives
the last of equal winners of a max pool that share: every choice is right there.
"""

from math import prod

from refprune.definitions import elementwise as phi
from refprune.definitions.jet_layers import avgpool2d, batchnorm2d, conv2d, dense, maxpool2d
from refprune.definitions.jets import add, elementwise, linear

SMOOTH = {
    "tanh": phi.tanh,
    "sigmoid": phi.sigmoid,
    "gelu": phi.gelu,
    "silu": phi.silu,
    "softplus": phi.softplus,
}


def rules(share=0):
    """The step of every type of layer."""
    kinked = {"relu": phi.relu(share), "relu6": phi.relu(share, top=6)}
    return {
        **{name: lambda layer, own, a, _, f=f: elementwise(f, a) for name, f in (SMOOTH | kinked).items()},
        "dense": lambda layer, own, a, _: dense(layer, own, a),
        "conv2d": lambda layer, own, a, _: conv2d(layer, own, a),
        "batchnorm2d": lambda layer, own, a, _: batchnorm2d(layer, own, a),
        "maxpool2d": lambda layer, own, a, _: maxpool2d(layer, a, share),
        "avgpool2d": lambda layer, own, a, _: avgpool2d(layer, a),
        "globalavgpool": lambda layer, own, a, _: linear(lambda b: b.mean((-2, -1))[..., None, None], a),
        "flatten": lambda layer, own, a, _: linear(lambda b: b.reshape(*b.shape[:3], prod(b.shape[3:])), a),
        "residual": residual,
    }


def residual(layer, own, a, rules):
    """`body(a) + shortcut(a)`; without a shortcut, `body(a) + a`."""
    parts = [run(layer.get(name) or [], lambda key, name=name: own(f"{name}.{key}"), a, rules)
             for name in ("body", "shortcut")]  # fmt: skip
    return add(*parts)


def run(layers, own, a, rules):
    """The layers one after the other."""
    for i, layer in enumerate(layers):
        a = rules[layer["type"]](layer, lambda name, i=i: own(f"{i}.{name}"), a, rules)
    return a


RULES = rules()
