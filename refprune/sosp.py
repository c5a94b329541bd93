r"""SOSP-H: neurons and filters of a whole network, by the gradient and one product with the Hessian.

Model: a group s holds the parameters of one unit, :math:`\theta_s` is :math:`\theta` with zeros elsewhere. When units M
go, the loss changes by :math:`-\theta_M^T g + \frac12 \theta_M^T H \theta_M` with :math:`\theta_M = \sum_M \theta_s`.
Problem: which units go? The second term couples them, over all layers.
Solution: the coupling with all units stands for that with those that go: one product :math:`H \theta_{all}` for all
scores, the identity that makes it fast.
Ties: among equals the first layer gives, and in a layer the first unit.
Cost: a gradient, a Hessian-vector product, a sort; whatever the number of units.
Source: Nonnenmacher, Pfeil, Steinwart, Reeb 2022, SOSP: Efficiently Capturing Global Correlations by Second-Order
Structured Pruning, SOSP-H.
"""

from collections.abc import Iterable

import numpy as np

from refprune.arrays import Array, astype, times_power, widest
from refprune.methods.system import in_range
from refprune.methods.weight_scores import product
from refprune.network import Network
from refprune.network.derivatives import prepared, split
from refprune.patterns import Groups
from refprune.pruned import Pruned
from refprune.pruning.choices import choices


def sosp(
    network: Network,
    params: dict,
    x: Array,
    y: Array,
    pattern: Groups,
    *,
    loss: str = "cross_entropy",
    allocation: str = "global",
    layers: Iterable | None = None,
    against: str = "groups",
) -> Pruned:
    r"""Remove the neurons and filters that matter least for the loss, to second order, all layers together.

    .. math:: \text{score}(s) = |\theta_s^T g| + \tfrac12\, |\theta_s^T H \theta_{all}|, \qquad
              \theta_{all} = \sum_s \theta_s

    with the gradient g and the Hessian H of the mean loss over all parameters.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    x : array, shape (samples, ...)
    y : array
        Integer labels (samples,), or targets of the outputs' shape for ``loss="squared"``.
    pattern : Groups
        Without labels; `sparsity` and `keep` count units. ``axis=0``: a unit's group is what makes it: its row and
        its bias, its weight and bias in a BatchNorm2d behind it, its filter and bias in a depthwise convolution behind
        it. ``axis=1``: what reads it, its columns of the next Dense or Conv2d, and no bias.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.
    allocation : {"global", "layer"}
        Whether the units of all layers share one count, or each layer loses its share.
    layers : iterable of str or int, optional
        The layers whose units compete, by key (``"0"``) or by the name of the weight; the others keep all of theirs,
        and do not count. None stands for every layer with units that can go.
    against : {"groups", "all"}
        What :math:`\theta_{all}` is: the sum of the groups that compete, as published, or all of :math:`\theta`, with
        the output layer and all else that stays.

    Returns
    -------
    Pruned
        `weight` has all parameters, `mask` a mask for every prunable weight, so that ``rp.shrink(network,
        answer.weight, answer.mask)`` takes the units out. On whichever side they were scored, what makes and what
        reads a removed unit is 0. No other parameter moved. `scores` are arrays (units,), in units of the loss, by
        the name of the weight whose rows they are.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; labels in the pattern; no layer with units that can go.
    numpy.linalg.LinAlgError
        A derivative or a score beyond the range of its dtype.

    See Also
    --------
    ispasp_network, prune : units by what the next layer's outputs lose.

    Notes
    -----
    Units that can go are those of `ispasp_network`: none that a residual sums, that a convolution in groups reads or
    makes (but for depthwise ones), or that are outputs of the network. With one count for all, a layer can lose all
    its units; `shrink` then leaves one there.

    A unit whose group is 0 has stopped only if its activation is 0 at 0, as ReLU and tanh are. Behind a sigmoid
    ``axis=1`` is the side that says what happens. For ReLU without a BatchNorm2d between, both sides have the same
    scores: twice the weights in and half of those out change nothing.

    Both terms have absolute values. What is lost to the first may be given back by the second; the sum is no estimate
    of the change of the loss, only a ranking. At a minimum the first term is 0.

    Memory: that of a Hessian-vector product, and a few vectors (d,).

    Source: Nonnenmacher, Pfeil, Steinwart, Reeb 2022, SOSP-H.

    Examples
    --------
    Two neurons, :math:`f = v_1 u_1 x + v_2 u_2 x` with u = (1, 2), v = (1, 3) at x = 1, and the target 6: the residual
    is 1, so for rows :math:`\theta_s^T g` is 1 for the first and 6 for the second.

    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([1, 2, 1], bias=False)
    >>> params = {"0.weight": np.array([[1.0], [2.0]]), "2.weight": np.array([[1.0, 3.0]])}
    >>> x, y = np.array([[1.0]]), np.array([[6.0]])
    >>> answer = rp.sosp(network, params, x, y, rp.Groups(keep=1), loss="squared")
    >>> answer.scores["0.weight"]  # 1 + 7 * 1 / 2 and 6 + 7 * 6 / 2
    array([ 4.5, 27. ])
    >>> rp.shrink(network, answer.weight, answer.mask)[0]
    Network([Dense(inputs=1, outputs=1, bias=False), ReLU(), Dense(inputs=1, outputs=1, bias=False)])
    """
    if not isinstance(pattern, Groups):
        raise TypeError(f"need a Groups pattern; got {type(pattern).__name__}")
    if against not in ("groups", "all"):
        raise ValueError(f"need against to be groups or all; got {against!r}")
    if allocation is None:
        raise ValueError("need allocation to be global or layer; got None")
    units, pattern = choices(network, params, pattern, allocation, layers)
    scores, power = _scores(network, units, params, x, y, loss, against)
    weight, mask = units.removed(params, units.kept(pattern, scores))
    scores = {name: in_range("a score", times_power(own, power)) for name, own in scores.items()}
    return Pruned(weight, mask, scores=scores)


def _scores(network, units, params, x, y, loss, against):
    """(c, e): name -> the scores of a layer's units (units,), as ``c 2**e``: none is lost to the range."""
    ready, x, y = prepared(network, params, x, y, loss)
    theta = {name: ready[name] for name in network.shapes}
    together = theta if against == "all" else units.members(theta)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found
        slope = network.gradient(ready, x, y, loss)
        curve = split(network, network.hvp(ready, x, y, network.flatten(ready | together), loss))
    both = {
        (term, name): astype(in_range("a derivative", a), widest(a))
        for term, found in enumerate((slope, curve))
        for name, a in found.items()
    }
    both, power = product({(term, name): theta[name] for term, name in both}, both)
    first, second = (units.scores({name: both[term, name] for name in theta}) for term in (0, 1))
    return {name: abs(first[name]) + abs(second[name]) / 2 for name in first}, power
