r"""A running error bound for the outputs of a network that is computed in floats, in any order of summation.

With the unit roundoff u = eps / 2, a sum of n products is off by at most :math:`\gamma_n \sum |a_i b_i|`,
:math:`\gamma_n = n u / (1 - n u)`, whatever the order (Higham 2002, *Accuracy and Stability of Numerical
Algorithms*, equation 3.5). Errors of the input go on through |W|, and through the largest slope of an activation.
"""

import numpy as np

# The largest slope, and what the intermediate results are measured in (1, or |x|): an activation errs by 8 u
# times that and its own size: at most four operations of two roundings each (library functions are good to 2 u
# or better).
ACTIVATIONS = {
    "relu": (1.0, lambda x: 0 * x),
    "relu6": (1.0, lambda x: 0 * x),
    "tanh": (1.0, lambda x: 0 * x),
    "sigmoid": (0.25, lambda x: 0 * x),
    "softplus": (1.0, lambda x: 1 + 0 * x),
    "gelu": (1.13, np.abs),
    "silu": (1.10, np.abs),
}


def bound(network, params, x):
    """The largest rounding error of `network.forward(params, x)`, entry by entry."""
    unit = np.finfo(np.asarray(x).dtype).eps / 2
    return _chain(network.layers, params, np.asarray(x, np.float64), 0.0 * x, unit)[1]


def _own(params, key):
    return {name.removeprefix(f"{key}."): a for name, a in params.items() if name.startswith(f"{key}.")}


def _chain(layers, params, x, error, unit):
    for key, layer in enumerate(layers):
        x, error = _layer(layer, _own(params, str(key)), x, error, unit)
    return x, error


def _layer(layer, params, x, error, unit):
    if layer.type == "residual":
        body = _chain(layer.body, _own(params, "body"), x, error, unit)
        shortcut = _chain(layer.shortcut or [], _own(params, "shortcut"), x, error, unit)
        y = body[0] + shortcut[0]
        return y, body[1] + shortcut[1] + unit * (np.abs(y) + body[1] + shortcut[1])
    params = {name: np.asarray(array, np.float64) for name, array in params.items()}
    y = layer.forward(params, x)
    if layer.type in ACTIVATIONS:
        slope, size = ACTIVATIONS[layer.type]
        return y, slope * error + 8 * unit * (np.abs(y) + size(x))
    if layer.type == "flatten":
        return y, layer.forward({}, error)
    if layer.type == "maxpool2d":
        return y, layer.forward({}, error)
    if layer.type in ("avgpool2d", "globalavgpool"):
        terms = np.prod(x.shape[-2:]) if layer.type == "globalavgpool" else np.prod(layer.window.kernel)
        return y, layer.forward({}, error) + _gamma(terms + 1, unit) * layer.forward({}, np.abs(x) + error)
    sizes = {name: np.abs(array) for name, array in params.items()}
    if layer.type == "batchnorm2d":
        # |x| + |mean|, whatever is folded into what; five operations
        sizes["running_mean"] = -sizes["running_mean"]
        through = layer.forward(
            {**sizes, "bias": 0 * sizes["bias"], "running_mean": 0 * sizes["bias"]}, error
        )
        return y, through + _gamma(8, unit) * layer.forward(sizes, np.abs(x) + error)
    terms = sizes["weight"][0].size + 2  # the products, the bias, and one factor that a file may scale by
    free = {**sizes, "bias": 0 * sizes["bias"]} if "bias" in sizes else sizes
    through = layer.forward(free, error)
    return y, through + _gamma(terms, unit) * layer.forward(sizes, np.abs(x) + error)


def _gamma(n, unit):
    return n * unit / (1 - n * unit)
