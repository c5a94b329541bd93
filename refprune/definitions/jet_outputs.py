"""The outputs of a network as a jet along directions in the space of its flattened parameters theta (d,)."""

from math import prod

from refprune.arrays import full
from refprune.definitions.jet_network import RULES, run
from refprune.definitions.jets import constant, linear, parameter


def size(params):
    """d: every parameter but the running statistics."""
    return sum(array.size for key, array in params.items() if "running" not in key)


def outputs(layers, params, x, left=None, right=None, rules=RULES):
    """The jet of the outputs along `left` (p, d) and `right` (q, d), none of them when None."""
    none = full((0, size(params)), 0, x)
    directions = [none if u is None else u for u in (left, right)]
    own, at = {}, 0
    for key, array in params.items():
        if "running" in key:
            own[key] = constant(array)
        else:
            parts = [u[:, at : at + array.size].reshape(u.shape[0], *array.shape) for u in directions]
            own[key], at = parameter(array, *parts), at + array.size
    return run(layers, own.__getitem__, constant(x), rules)


def flat_outputs(*arguments):
    """The same with the outputs of a sample on one axis, as losses read them."""
    return linear(lambda f: f.reshape(*f.shape[:3], prod(f.shape[3:])), outputs(*arguments))
