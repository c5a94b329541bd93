r"""SNIP: the weights whose switches move the loss least go, in one shot, before any training.

Model: every weight w of a network works as ``c w`` with a switch c; at ``c = 1``, ``dL / dc = w dL / dw``.
Solution: keep the largest ``|w dL / dw|`` of all layers together; no weight moves.
Ties: the lowest flat index is pruned first.
Cost: one gradient, and a sort.
Source: Lee, Ajanthan, Torr 2019, SNIP: Single-shot Network Pruning based on Connection Sensitivity.
"""

from refprune.methods.weight_scores import network_weights, pruned, sensitivity
from refprune.network import Network
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned


def snip(
    network: Network, params: dict, batch: tuple, pattern: Unstructured | NM, *, loss: str = "cross_entropy"
) -> Pruned:
    r"""Prune the weights of least connection sensitivity :math:`|w \, \partial L / \partial w|`.

    Parameters
    ----------
    network : Network
    params : dict of arrays
        As they are before training, or at any other time.
    batch : pair (x, y)
        `x` (samples, ...); `y` integer labels (samples,), or targets of the outputs' shape for ``loss="squared"``.
    pattern : Unstructured or NM
        Over the weights of every Dense and Conv2d. The scope None is "network": all layers share one count.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.

    Returns
    -------
    Pruned
        `weight`, `mask` and `scores` are dicts with the names of `network.prunable`; ``params | answer.weight`` is
        the pruned network. `scores` are in units of the loss. No kept weight has moved; biases and BatchNorm2d have
        no switch.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit, NaN and Inf.
    numpy.linalg.LinAlgError
        A gradient beyond the range of its dtype.

    See Also
    --------
    force : the same in steps, on the network that is pruned already.

    Notes
    -----
    A score tells what the loss does when one weight shrinks a little while all others stay. It says nothing of many
    that go together: at high sparsity whole layers can vanish.

    Source: Lee, Ajanthan, Torr 2019, (5) and (6). The paper divides by the sum of all scores, which ranks the same.

    Examples
    --------
    f = v max(u x, 0) at u = 2, v = (3, -1) and x = 1/2, with the targets (1, 0):

    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([1, 1, 2], bias=False)
    >>> params = {"0.weight": np.array([[2.0]]), "2.weight": np.array([[3.0], [-1.0]])}
    >>> batch = np.array([[0.5]]), np.array([[1.0, 0.0]])
    >>> answer = rp.snip(network, params, batch, rp.Unstructured(keep=2), loss="squared")
    >>> answer.scores["0.weight"], answer.scores["2.weight"]
    (array([[7.]]), array([[6.],
           [1.]]))
    >>> answer.weight["2.weight"]
    array([[3.],
           [0.]])
    """
    weights, pattern = network_weights(network, params, pattern)
    scores, power = sensitivity(network, params, batch, loss, weights, params)
    return pruned(weights, weights.mask(pattern, scores, None), scores, power)
