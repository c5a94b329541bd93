r"""Iterative magnitude pruning: the smallest weights go in stages, with training in between.

Model: none; a small weight is taken for one that does little.
Solution: in each stage the smallest :math:`|w|` go, what has gone before first among them; the share rises by a
schedule. Between stages the caller trains, and what is left may be rewound to earlier values after each stage.
Ties: the lowest flat index is pruned first.
Cost: a sort for each stage, and what the training takes.
Source: Han, Pool, Tran, Dally 2015; Zhu, Gupta 2017, (1); Frankle, Carbin 2019, The Lottery Ticket Hypothesis.
"""

from collections.abc import Callable
from numbers import Real

from refprune.arrays import flag, integer, namespace
from refprune.network import Network
from refprune.patterns import NM, Groups, Unstructured
from refprune.progress import bar
from refprune.pruned import Pruned
from refprune.pruning.choices import choices, magnitudes
from refprune.pruning.stages import copies, settled, stages


def iterative_magnitude(
    network: Network,
    params: dict,
    pattern: Unstructured | NM | Groups,
    between: Callable | None = None,
    *,
    steps: int = 10,
    start_sparsity: Real = 0,
    schedule: str = "cubic",
    rewind: dict | None = None,
    allocation: str | None = None,
    progress: bool = True,
) -> Pruned:
    r"""Prune the smallest weights, or neurons and filters, of a network in stages.

    Parameters
    ----------
    network : Network
    params : dict of arrays
        What the first stage ranks: a trained network.
    pattern : Unstructured, NM or Groups
        Where the last stage ends, over the weights of every Dense and Conv2d. The scope None is "network": all layers
        share one count. `Groups` without labels stands for neurons and filters, ranked by the sum of :math:`|w|` over
        their groups, which are those of `sosp`.
    between : callable, optional
        Called between two stages as ``between(params, masks, stage)``, stage from 1; it returns the parameters for the
        next one. Pruned weights must be 0 there. `rp.train` with its masks does so.
    steps : int
        In how many stages, T.
    start_sparsity : number
        :math:`s_0`, in [0, 1], where the schedule begins.
    schedule : {"cubic", "exponential"}
        With :math:`s_1` the sparsity of the pattern, stage t prunes in all :math:`s_1 + (s_0 - s_1)(1 - t/T)^3`; or
        :math:`1 - (1 - s_0)^{1 - t/T} (1 - s_1)^{t/T}`, the same share of what is left each time.
    rewind : dict of arrays, optional
        Parameters, those of an earlier time. After every stage, the last included, all parameters go back to them, with
        zeros where the masks prune.
    allocation : {"global", "layer"}, optional
        For `Groups` alone: whether the units of all layers share one count, or each layer loses its share (None too).
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    Pruned
        `weight` has all parameters, `mask` a mask for every prunable weight. `scores` are the magnitudes that the last
        stage ranked, by the name of the weight (of units (units,), by that of the weight whose rows they are); `trace`
        is the share of weights (units) that are gone at the end of each stage.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; `keep` in stages where layers or rows do not share one count.
        Later: what `between` returns does not fit, or revives a pruned weight.
    numpy.linalg.LinAlgError
        A unit's sum beyond the range.

    See Also
    --------
    magnitude : one array, in one shot.
    woodfisher_network : in stages too, by the loss.

    Notes
    -----
    Without training between and without rewinding the stages come to the same as one shot for weights, whatever the
    schedule. Units that went take weights out of the groups of their neighbours, so the next stage ranks other sums;
    with one hidden layer there are no neighbours.

    Units of different layers have groups of different size: with one count for all, a layer whose sums are small loses
    all its units, and the network its function. Hence the share of each layer is what None stands for.

    The answer is not trained after its last stage: ``rp.train(network, answer.weight, x, y, masks=answer.mask)``.

    Source: Han, Pool, Tran, Dally 2015, Learning both Weights and Connections for Efficient Neural Networks; Zhu and
    Gupta 2017, To prune, or not to prune, (1); Frankle and Carbin 2019, The Lottery Ticket Hypothesis, with
    `rewind` the parameters before training.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> network = rp.mlp([2, 24, 2])
    >>> start = network.init(rng)
    >>> params = rp.train(network, start, x, y, epochs=30)
    >>> def train(params, masks, stage):
    ...     return rp.train(network, params, x, y, epochs=5, masks=masks, rng=stage)
    >>> answer = rp.iterative_magnitude(network, params, rp.Unstructured(sparsity=0.75), train, steps=4)
    >>> [round(share, 3) for share in answer.trace], rp.sparsity(answer.mask)
    ([0.438, 0.656, 0.74, 0.75], 0.75)
    >>> rp.accuracy(network, rp.train(network, answer.weight, x, y, masks=answer.mask), x, y) > 0.9
    True

    A lottery ticket, the values before training under the mask:

    >>> ticket = rp.iterative_magnitude(network, params, rp.Unstructured(sparsity=0.75), train, rewind=start)
    >>> bool(np.all(ticket.weight["0.weight"] == start["0.weight"] * ticket.mask["0.weight"]))
    True
    """
    if isinstance(pattern, Groups) and allocation is None:
        allocation = "layer"
    chosen, pattern = choices(network, params, pattern, allocation)
    if not (between is None or callable(between)):
        raise TypeError(f"need between to be a callable; got {type(between).__name__}")
    steps = integer("steps", steps, least=1)
    plan = stages(pattern, steps, start_sparsity, chosen.total, chosen.shared, schedule)
    progress, found, kept, trace = flag("progress", progress), params, None, ()
    back = None if rewind is None else settled(network, rewind, {}, found, "rewind")
    namespace(*params.values(), *(back or {}).values())
    with bar("magnitude", steps, progress) as moved:
        for t, stage in enumerate(plan, 1):
            scores = chosen.scores(magnitudes(found))
            kept = chosen.kept(stage, scores, kept)
            found, masks = chosen.removed(found if back is None else back, kept)
            trace = (*trace, chosen.share(kept))
            moved(t, f"stage {t}/{steps}")
            if between is not None and t < steps:
                found = settled(network, between(copies(found), copies(masks), t), masks, found)
    return Pruned(found, masks, trace=trace, scores=scores)
