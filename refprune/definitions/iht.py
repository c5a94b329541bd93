"""Iterative hard thresholding (Blumensath and Davies 2009, 2010): a gradient step, then the k largest weights.

`objective` has `value`, `gradient`, `hvp` and `hessian`; those of `refprune.problems` are exact on Fractions.
Among equal sizes the lowest index goes first.
"""

from refprune.arrays import namespace
from refprune.definitions.masks import topk_mask
from refprune.definitions.one_shot import masked


def threshold(weight, keep):
    """T_k: the `keep` largest `|w|` of `weight` (d,), zeros elsewhere."""
    return masked(weight, topk_mask(abs(weight), keep))


def iht_step(weight, gradient, step, keep):
    """One step: `T_k(w - step g)`."""
    return threshold(weight - step * gradient, keep)


def iht(objective, keep, start, iterations, step="normalized"):
    """The points `T_k(start)`, and those after 1, 2, ... `iterations` steps; fewer where the gradient is 0.

    `step` is a number, or "normalized": the exact line search along the gradient on the support K, halved while a
    change `dw` of the support makes it longer than 0.99 over the curvature along `dw`. K is filled up to k weights by
    the largest gradients; where the gradient on K is 0 the search goes along the k largest gradients.
    """
    w = threshold(start, keep)
    points = [w]
    for _ in range(iterations):
        g = objective.gradient(w)
        if keep == 0 or not any(g):
            break
        kept, t = support(w, g, keep), step
        if step == "normalized":
            along = masked(g, kept)
            along = along if any(along) else threshold(g, keep)
            t = (along @ along) / (along @ objective.hvp(w, along))
        new = iht_step(w, g, t, keep)
        while step == "normalized" and any(masked(new, ~kept) != 0):
            dw = new - w
            if 100 * t * (dw @ objective.hvp(w, dw)) <= 99 * (dw @ dw):
                break
            t = t / 2
            new = iht_step(w, g, t, keep)
        w = new
        points.append(w)
    return points


def support(weight, gradient, keep):
    """The mask of the weights that are not 0, filled up to `keep` by the largest gradients."""
    xp = namespace(weight, gradient)
    above = 2 * max(abs(gradient)) + 1
    return topk_mask(xp.where(weight != 0, gradient - gradient + above, abs(gradient)), keep)
