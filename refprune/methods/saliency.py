"""What the one-shot methods share: a score, the pattern's mask, the weight with zeros, nothing else moved."""

from refprune.arrays import namespace, times_power
from refprune.blocks import Blocks, Groups
from refprune.methods.answer import check_prior
from refprune.methods.system import objective
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned


def pruned_by(scores, exponent, pattern, weight, problem=None, mask=None):
    """The `Pruned` answer of `weight` under the mask that `pattern` gives to `scores` (shape of the weight).

    `scores` are ranked as they are, and reported times ``2**exponent``; `problem` tells the objective. What the
    prior `mask` marks False is pruned first.
    """
    if not isinstance(pattern, (Unstructured, NM, Blocks, Groups)):
        raise TypeError(f"need an Unstructured, NM, Blocks or Groups pattern; got {type(pattern).__name__}")
    pattern = pattern if problem is None else pattern.on(problem)
    xp = namespace(scores, weight)
    mask = pattern.mask(scores, None if mask is None else check_prior(mask, weight))
    scores = times_power(scores, exponent)
    pruned = xp.where(mask, weight, xp.zeros_like(weight))
    return Pruned(pruned, mask, None if problem is None else objective(problem, pruned), scores=scores)
