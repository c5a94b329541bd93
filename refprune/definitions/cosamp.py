"""Compressive sampling matching pursuit (Needell and Tropp 2009): a solve on up to 3 k weights, cut to k.

`objective` is a quadratic with `gradient` and `hessian`; exact on Fractions.
"""

from refprune.arrays import namespace
from refprune.definitions.htp import restricted
from refprune.definitions.iht import threshold
from refprune.definitions.masks import topk_mask


def cosamp_step(objective, keep, weight):
    """One iteration: the 2 k largest gradients, merged with the support; the solve; T_k. Returns (weight, merged)."""
    xp, d = namespace(weight), weight.shape[0]
    omega = topk_mask(abs(objective.gradient(weight)), min(2 * keep, d))
    merged = xp.logical_or(omega, weight != 0)
    return threshold(restricted(objective, weight, merged), keep), merged


def cosamp(objective, keep, start):
    """The points from `T_k(start)` until the merged set returns, or the gradient is 0; the best one is the answer."""
    points, past = [threshold(start, keep)], []
    while any(objective.gradient(points[-1])):
        new, merged = cosamp_step(objective, keep, points[-1])
        if any(all(merged == old) for old in past):
            break
        past.append(merged)
        points.append(new)
    return points
