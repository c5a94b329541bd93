r"""FORCE and iterative SNIP: SNIP in steps, with the gradient of the network that is pruned already.

Model: as SNIP, but the switches of the pruned weights stand at 0: ``dL / dc = w dL(c w) / d(c w)``.
Solution: from all N weights to k in T steps, ``N (k / N)^(t / T)`` kept after step t, the largest ``|w dL|`` each time.
FORCE ranks every weight by its first value, so a pruned one may come back; iterative SNIP ranks what is left.
Ties: the lowest flat index is pruned first. Behind ReLU, without biases, the only weight into a unit and the only one
out of it have equal scores but for rounding.
Cost: T gradients, and T sorts.
Source: de Jorge et al. 2021, Progressive Skeletonization: Trimming more fat from a network at initialization.
"""

from refprune.arrays import flag
from refprune.methods.vectors import count
from refprune.methods.weight_scores import kept, network_weights, pruned, sensitivity, stages
from refprune.network import Network
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned


def force(
    network: Network,
    params: dict,
    batch: tuple,
    pattern: Unstructured | NM,
    steps: int = 60,
    revive: bool = True,
    *,
    loss: str = "cross_entropy",
) -> Pruned:
    r"""Prune by foresight connection sensitivity: SNIP, iterated on the pruned network.

    With masks :math:`c_0 = 1`, step t = 1, ..., T ranks by
    :math:`|w \odot \nabla L(c_{t-1} \odot w)|`, and :math:`c_t` keeps the largest
    :math:`N (k / N)^{t / T}` of N weights.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    batch : pair (x, y)
        As of `snip`; all steps see the same one.
    pattern : Unstructured or NM
        As of `snip`. In steps, the scopes "layer" and "row" need `sparsity`; then every count follows the share,
        :math:`1 - (1 - s)^{t / T}`, and of N:M :math:`M (N / M)^{t / T}` are kept.
    steps : int
        T. One step is SNIP.
    revive : bool
        Whether what is pruned may come back (FORCE); without it, iterative SNIP.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.

    Returns
    -------
    Pruned
        As of `snip`; `scores` are those of the last step. `trace` has the number of kept weights after each step
        where there are several. Without `revive` a weight that went earlier has the score 0.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit, NaN and Inf.
    numpy.linalg.LinAlgError
        A gradient beyond the range of its dtype.

    See Also
    --------
    snip : in one step.
    synflow : steps without data.

    Notes
    -----
    A pruned weight is ranked by its first value and the gradient where it is 0: by what the loss would do if it began
    to come back. When a layer is cut off, the gradients before it vanish, and behind it all but what biases feed: then
    scores of 0 are chosen by their index. More steps make that rarer.

    Where the loss is above that of a blind guess before training, as with He's weights, the steps may keep what makes
    it so. Scores of smaller weights, as ``{name: w / 6**0.5 for name, w in params.items()}``, mended that on the
    networks tried; the mask is for `params`.

    Source: de Jorge et al. 2021, (6) for the sensitivity, section 4 for both ways and for the exponential schedule.
    There every step may have batches of its own.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network, x = rp.mlp([4, 16, 2]), rng.normal(size=(50, 4))
    >>> params, y = network.init(rng), (x[:, 0] > x[:, 1]).astype(int)
    >>> answer = rp.force(network, params, (x, y), rp.Unstructured(keep=6), steps=4)
    >>> answer.trace  # of 96
    (48, 24, 12, 6)
    >>> rp.sparsity(answer.mask)
    0.9375
    """
    weights, pattern = network_weights(network, params, pattern)
    flag("revive", revive)
    now, mask, trace = params, None, []
    for stage in stages(pattern, steps, weights):
        scores, power = sensitivity(network, now, batch, loss, weights, params if revive else now)
        mask = weights.mask(stage, scores, None if revive else mask)
        now = params | kept(weights, mask)
        trace.append(count(mask))
    return pruned(weights, mask, scores, power, trace if steps > 1 else ())
