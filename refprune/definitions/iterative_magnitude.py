"""Iterative magnitude pruning (Han et al. 2015; Frankle, Carbin 2019): prune a little, train, prune a little more.

The smallest `|w|` go at every stage, those that went before first among them, so that masks only shrink. Between two
stages the weights that are left are trained. With rewinding they go back, after every stage, to what they were early
in training, or before it: what pruning has found is then a mask, the "lottery ticket".
"""

from refprune.arrays import namespace
from refprune.definitions.one_shot import masked


def iterative_magnitude(weight, counts, train=None, rewind=None):
    """Prune `weight` (d,) in stages; returns (weight, mask).

    Parameters
    ----------
    weight : array (d,)
    counts : list of int
        How many weights are pruned in all after each stage, ascending; `zhu_gupta` is the usual schedule.
    train : callable, optional
        (weight, mask, stage from 1) -> weight, called between two stages.
    rewind : array (d,), optional
        Where the weights that are left go back to after every stage.
    """
    d = weight.shape[0]
    kept = list(range(d))
    for stage, count in enumerate(counts, 1):
        smallest = sorted(kept, key=lambda p: abs(weight[p]))  # stable: among equals the lowest index first
        kept = sorted(smallest[len(kept) - (d - count) :])
        mask = namespace(weight).asarray([p in kept for p in range(d)], dtype=bool)
        weight = masked(weight if rewind is None else rewind, mask)
        if train is not None and stage < len(counts):
            weight = train(weight, mask, stage)
    return weight, mask


def zhu_gupta(first, last, stages):
    """The cubic schedule (Zhu, Gupta 2017): the sparsity after each stage, steep at first."""
    return [last + (first - last) * (1 - (t / stages)) ** 3 for t in range(1, stages + 1)]
