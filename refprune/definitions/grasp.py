"""GraSP (Wang, Zhang, Grosse 2020): what each weight means to the flow of the gradient, from one batch.

A step along the gradient g lowers the loss by about `lr g^T g`. Moving theta by delta changes `g^T g` by
`2 delta^T H g`, to first order; taking a weight w out alone is `delta = -w` there. Its score `-w (H g)` is half that
change. Of all layers together the **highest** scores go, so that the flow is kept or raised; the rest stays as it is.
g and H are of all parameters, biases too, which have no score. Over all of them `sum theta (H g) = g^T H theta`.
The network is plain data, as in `refprune.definitions.derivatives`.
"""

from refprune.definitions.derivatives import gradient, hvp
from refprune.definitions.snip import cut, switched, unflattened


def grasp_scores(layers, params, x, y, loss):
    """`-w (H g)` of every weight, a dict keyed and shaped like the weights."""
    g = gradient(layers, params, x, y, loss)
    Hg = unflattened(hvp(layers, params, x, y, loss, g), params)
    return {key: -params[key] * Hg[key] for key in switched(params)}


def grasp(layers, params, x, y, loss, count):
    """Prune the `count` highest scores of the network; returns (params, masks), the masks of the weights alone."""
    scores = grasp_scores(layers, params, x, y, loss)
    return cut(params, {key: -score for key, score in scores.items()}, count)
