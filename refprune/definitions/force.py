"""FORCE and iterative SNIP (de Jorge et al. 2021): SNIP in steps, on the network that is pruned already.

With switches `c = 1` at first, each step takes the gradient of the loss at `c w` and scores a weight by `|w dL|`, how
fast the loss changes with its switch where that stands now. The largest stay on: after step t of T,
`N (k / N)^(t / T)` of N weights, in the end k. FORCE (`revive`) scores a weight that is off by what it was, so that
it may come back; iterative SNIP lets it stay off. One step is SNIP. The network is plain data, as in
`refprune.definitions.derivatives`.
"""

from refprune.definitions.derivatives import gradient
from refprune.definitions.snip import cut, switched, unflattened
from refprune.definitions.synflow import behind, counts


def force(layers, params, x, y, loss, count, steps, revive=True):
    """Prune `count` weights of the network; returns (params, masks), the masks of the weights alone."""
    left, masks = params, {}
    for goal in counts(sum(params[key].size for key in switched(params)), count, steps):
        if revive:
            scores = force_scores(layers, params, left, x, y, loss)
        else:
            scores = behind(force_scores(layers, left, left, x, y, loss), masks)
        left, masks = cut(params, scores, goal)
    return left, masks


def force_scores(layers, params, left, x, y, loss):
    """`|w dL|` of every weight w of `params`, with the gradient at `left`, the network as it is now."""
    g = unflattened(gradient(layers, left, x, y, loss), params)
    return {key: abs(params[key] * g[key]) for key in switched(params)}
