r"""Random pruning: the baseline. What goes is drawn, by a seed, without a look at weights or data.

Solution: every weight (unit) draws a number, and the smallest go as the pattern says: every set of the right size has
the same chance.
Cost: a draw and a sort.
Source: the usual baseline, as in Frankle, Dziugaite, Roy, Carbin 2021, Pruning Neural Networks at Initialization.
"""

import numpy as np

from refprune.arrays import dtype_name, from_numpy, integer, widest
from refprune.network import Network
from refprune.patterns import NM, Groups, Unstructured
from refprune.pruned import Pruned
from refprune.pruning.choices import choices


def random_pruning(
    network: Network,
    params: dict,
    pattern: Unstructured | NM | Groups,
    rng: np.random.Generator | int = 0,
    *,
    allocation: str | None = None,
) -> Pruned:
    """Prune weights, or neurons and filters, of a network at random.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    pattern : Unstructured, NM or Groups
        Over the weights of every Dense and Conv2d. The scope None is "network": all layers share one count. `Groups`
        without labels stands for neurons and filters, those of `sosp`; either `axis` is the same.
    rng : numpy.random.Generator or int
        Draws with NumPy, so that every kind of array sees the same.
    allocation : {"global", "layer"}, optional
        For `Groups` alone: whether the units of all layers share one count (None too), or each layer loses its share.

    Returns
    -------
    Pruned
        `weight` has all parameters, `mask` a mask for every prunable weight; nothing that stays has moved. `scores`
        are the numbers that were drawn, by the name of the weight; of units by that of the weight whose rows they are.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; a seed below 0; no unit that can go.

    See Also
    --------
    iterative_magnitude, sosp

    Notes
    -----
    With one count for all layers each layer loses about its share, give or take what chance does.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([4, 8, 3])
    >>> params = network.init(np.random.default_rng(0))
    >>> answer = rp.random_pruning(network, params, rp.Unstructured(sparsity=0.75), rng=1)
    >>> rp.sparsity(answer.mask)
    0.75
    >>> answer = rp.random_pruning(network, params, rp.Groups(keep=5), rng=1)
    >>> rp.shrink(network, answer.weight, answer.mask)[0].layers[0]
    Dense(inputs=4, outputs=5, bias=True)
    """
    if not isinstance(rng, np.random.Generator):
        rng = np.random.default_rng(integer("rng", rng, least=0))
    chosen, pattern = choices(network, params, pattern, allocation)
    drawn = chosen.spread(rng.random(chosen.total))
    weight, mask = chosen.removed(params, chosen.kept(pattern, drawn))
    scores = {
        name: from_numpy(own.astype(dtype_name(widest(params[name]))), params[name])
        for name, own in drawn.items()
    }
    return Pruned(weight, mask, scores=scores)
