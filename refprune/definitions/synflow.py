"""SynFlow (Tanaka et al. 2020): the flow through every weight, without data, in many steps.

R is the sum of the outputs on an input of ones, with every weight in size, no biases and no activations: the sum over
all paths of the products of `|w|` along them. The score `|w dR / dw|` of a weight is the sum over the paths through
it. A BatchNorm multiplies by `|weight| / sqrt(var + eps)` and shifts nothing. In each of `steps` steps the scores are
taken anew, and the smallest go: after step t of T, `N (k / N)^(t / T)` of N weights are left, in the end k. What went
before goes first. The network is plain data, as in `refprune.definitions.derivatives`.
"""

from refprune.arrays import eye, full
from refprune.definitions.jet_network import RULES
from refprune.definitions.jet_outputs import outputs, size
from refprune.definitions.snip import cut, flattened, switched, unflattened

ACTIVATIONS = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")
LINEAR = RULES | dict.fromkeys(ACTIVATIONS, lambda layer, own, a, _: a)


def synflow_scores(layers, params, shape):
    """`|w dR / dw|` of every weight, a dict keyed and shaped like the weights; `shape` is that of one sample."""
    shifts = ("bias", "running_mean")
    positive = {key: 0 * array if key.endswith(shifts) else abs(array) for key, array in params.items()}
    theta = flattened(positive)
    R = outputs(layers, positive, full((1, *shape), 1, theta), eye(size(params), theta), None, LINEAR)
    scores = unflattened(theta * R.left.reshape(theta.shape[0], -1).sum(-1), params)
    return {key: scores[key] for key in switched(params)}


def synflow(layers, params, shape, count, steps=100):
    """Prune `count` weights of the network; returns (params, masks), the masks of the weights alone."""
    left, masks = params, {}
    for goal in counts(sum(params[key].size for key in switched(params)), count, steps):
        left, masks = cut(params, behind(synflow_scores(layers, left, shape), masks), goal)
    return left, masks


def behind(scores, masks):
    """The scores, none of them negative, with -1 at weights that are off already and score 0: they go first."""
    return {key: score - 1 * ~masks[key] for key, score in scores.items()} if masks else scores


def counts(total, count, steps):
    """How many of `total` weights are pruned after each step: what is left falls exponentially."""
    share = (total - count) / total
    return [total - round(total * share ** (t / steps)) for t in range(1, steps)] + [count]
