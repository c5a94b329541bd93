"""Random pruning: which weights go is drawn, without a look at them. The baseline that a method must beat."""

from refprune.arrays import namespace
from refprune.definitions.masks import topk_mask
from refprune.definitions.one_shot import masked


def random_pruning(weight, count, rng):
    """Prune `count` weights of the array, every set of so many with the same chance; returns (weight, mask).

    Every weight draws a number in [0, 1) from the NumPy Generator `rng`, and the `count` smallest go.
    """
    mask = topk_mask(namespace(weight).asarray(rng.random(weight.shape)), weight.size - count)
    return masked(weight, mask), mask
