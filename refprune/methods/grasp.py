r"""GraSP: the weights go whose removal hurts the flow of the gradient least, in one shot, before any training.

Model: a step along the gradient g lowers the loss by about ``lr g^T g``. To first order, moving theta by delta changes
``g^T g`` by ``2 delta^T H g``; taking weight w out is ``delta = -w`` there: a change of ``2 (-w (H g))``.
Solution: the score ``-w (H g)``; the highest go, no other weight moves.
Ties: the lowest flat index is pruned first.
Cost: one gradient and one product with the Hessian, no more than 11/3 gradients; a sort.
Source: Wang, Zhang, Grosse 2020, Picking Winning Tickets Before Training by Preserving Gradient Flow.
"""

import numpy as np

from refprune.arrays import exponent
from refprune.methods.many_weights import ManyWeights
from refprune.methods.system import in_range
from refprune.methods.weight_scores import network_weights, pair, product, pruned
from refprune.network import Network
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned


def grasp(
    network: Network, params: dict, batch: tuple, pattern: Unstructured | NM, *, loss: str = "cross_entropy"
) -> Pruned:
    r"""Prune the weights of the **highest** :math:`-w \, (H g)`: what is left keeps the most gradient flow.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    batch : pair (x, y)
        As of `snip`. The gradient and the Hessian are both of this batch.
    pattern : Unstructured or NM
        As of `snip`: the scope None is "network".
    loss : str
        ``"cross_entropy"`` or ``"squared"``.

    Returns
    -------
    Pruned
        As of `snip`; `scores` are :math:`-w (H g)`, and the **highest** of them are pruned.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit, NaN and Inf.
    numpy.linalg.LinAlgError
        A gradient or a product beyond the range of its dtype.

    Notes
    -----
    g and H are those of all parameters, biases and BatchNorm2d among them, though only weights have a score. Over
    all of them :math:`\sum \theta \, (H g) = g^T H \theta`.

    Taking out weight w changes :math:`g^T g` by about twice its score. A score below zero tells of a weight that the
    gradient flow needs. Scores are signed: where many weights have a positive one, going by size would keep what
    should go. The published code divides the outputs by a temperature of 200 first, which is another loss, and takes
    g and H over the weights alone. Undivided, most weights that stay may be those that make the network sure and
    wrong: then the gradient is long, and training does not come back from there. Look at the loss of the answer;
    smaller weights in `params` than those that are trained, with He's about 1 / sqrt(6) of them, mostly prevent it.

    Source: Wang, Zhang, Grosse 2020, (8) and algorithm 1.

    Examples
    --------
    A quadratic, whose Hessian is x^T x: with x = (1, 2), w = (3, 1) and the target 4, g = (1, 2) and H g = (5, 10).

    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1, bias=False)])
    >>> params, batch = {"0.weight": np.array([[3.0, 1.0]])}, (np.array([[1.0, 2.0]]), np.array([[4.0]]))
    >>> answer = rp.grasp(network, params, batch, rp.Unstructured(keep=1), loss="squared")
    >>> answer.scores["0.weight"], answer.weight["0.weight"]
    (array([[-15., -10.]]), array([[3., 0.]]))
    """
    weights, pattern = network_weights(network, params, pattern)
    x, y = pair(batch)
    every = ManyWeights({name: params[name] for name in network.shapes}, False)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found
        g = in_range("a gradient", every.flat(network.gradient(params, x, y, loss)))
        scale = exponent(g)  # H times a g of the size of 1: the square of a small loss may be below the range
        Hg = in_range("H g", network.hvp(params, x, y, g * 2.0**-scale, loss))
    Hg = every.restore(Hg)
    flow, power = product(params, {name: Hg[name] for name in weights.arrays})
    flow = weights.flat(flow)
    return pruned(weights, weights.mask(pattern, flow, None), -flow, power + scale)
