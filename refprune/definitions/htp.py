"""Hard thresholding pursuit (Foucart 2011): a gradient step chooses k weights, the normal equations set them.

`objective` is a quadratic with `value`, `gradient`, `hvp` and `hessian`; exact on Fractions. "normalized" is the
exact line search along the k largest gradients.
"""

from refprune.arrays import namespace, solve
from refprune.definitions.iht import support, threshold
from refprune.definitions.masks import topk_mask
from refprune.definitions.one_shot import masked


def htp(objective, keep, start, lipschitz, step="normalized"):
    """The points from `T_k(start)` to a support that returns at once; the last one is the answer.

    Where a support returns later, or the end is not the best point, the run goes on from the best one with steps
    `1 / lipschitz`, the largest eigenvalue of the Hessian: then every new support is better.
    """
    points, settled = _run(objective, threshold(start, keep), keep, step, False)
    best = min(points, key=lambda w: float(objective.value(w)))
    if settled and objective.value(points[-1]) == objective.value(best):
        return points
    return points + _run(objective, best, keep, 1 / lipschitz, best is not points[0])[0]


def _run(objective, w, keep, step, solved):
    """The points, and whether the last support came twice in a row (else it was in a cycle)."""
    g = objective.gradient(w)
    points, kept, past = [w], support(w, g, keep), []
    while keep and any(g):
        t = step
        if step == "normalized":
            along = threshold(g, keep)
            t = (along @ along) / (along @ objective.hvp(w, along))
        new = topk_mask(abs(w - t * g), keep)
        if solved and all(new == kept):
            break
        if any(all(new == old) for old in past):
            return points, False
        kept, solved = new, True
        past.append(kept)
        w = restricted(objective, w, kept)
        g = objective.gradient(w)
        points.append(w)
    return points, True


def restricted(objective, weight, mask):
    """The minimiser of a quadratic on the support `mask`: one Newton step from anywhere on it."""
    xp, w = namespace(weight, mask), masked(weight, mask)
    kept = [p for p in range(w.shape[0]) if mask[p]]
    if kept:
        K = xp.asarray(kept)
        w[K] = w[K] - solve(objective.hessian(w)[K[:, None], K], objective.gradient(w)[K])
    return w
