"""SNIP (Lee, Ajanthan, Torr 2019): how fast the loss changes with a switch on each weight, from one batch.

Every weight `w` of a dense layer or a convolution gets a switch c and works as `c w`. At `c = 1` the chain rule gives
`dL / dc = w dL / dw`, and the score of a weight is its size (the paper divides by the sum of all, which ranks the
same). Of all layers together the largest scores stay, with their weights unchanged. Biases and the parameters of a
BatchNorm have no switch. The network is plain data, as in `refprune.definitions.derivatives`.
"""

from refprune.arrays import concat
from refprune.definitions.derivatives import gradient
from refprune.definitions.masks import topk_mask
from refprune.definitions.one_shot import masked


def snip_scores(layers, params, x, y, loss):
    """`|w dL/dw|` of every weight, a dict keyed and shaped like the weights."""
    g = unflattened(gradient(layers, params, x, y, loss), params)
    return {key: abs(params[key] * g[key]) for key in switched(params)}


def snip(layers, params, x, y, loss, count):
    """Prune the `count` smallest scores of the network; returns (params, masks), the masks of the weights alone."""
    return cut(params, snip_scores(layers, params, x, y, loss), count)


def cut(params, scores, count):
    """`params` without the weights of the `count` smallest `scores` (a dict) of all layers together, and the masks."""
    flat = flattened(scores)
    masks = unflattened(topk_mask(flat, flat.shape[0] - count), scores)
    return {key: masked(array, masks.get(key, array == array)) for key, array in params.items()}, masks


def switched(params):
    """The keys of the weights of dense layers and convolutions: those of a BatchNorm have one axis."""
    return [key for key, array in params.items() if key.endswith("weight") and array.ndim > 1]


def flattened(params):
    """theta (d,): every array of the dict but the running statistics, one after the other."""
    return concat([array.reshape(-1) for key, array in params.items() if "running" not in key], axis=0)


def unflattened(vector, params):
    """The dict like `params` with the entries of `vector` (d,); running statistics stay."""
    found, at = {}, 0
    for key, array in params.items():
        found[key] = array
        if "running" not in key:
            found[key], at = vector[at : at + array.size].reshape(array.shape), at + array.size
    return found
