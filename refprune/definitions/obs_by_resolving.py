"""OBS once more, with no inverse at all: at every step, every candidate is tried by solving what is left.

The cost of removing p is the loss of the best weights without p minus the loss of the best weights with it.
The second is the same for all candidates, so the least loss decides. Dead inputs (`H_pp = 0`) go first,
lowest index first.
"""

from refprune.arrays import namespace
from refprune.definitions.optimal_weights import objective, optimal_weights


def obs_by_resolving(weight, hessian, count):
    """Remove `count` of the weights (d,) one by one; `hessian` is (d, d). Returns (weight, order)."""
    xp = namespace(weight, hessian)
    d, order = weight.shape[0], []

    def without(p):
        """The best weights when p and all that went before it are zero."""
        mask = xp.asarray([q != p and q not in order for q in range(d)], dtype=bool)
        return optimal_weights(weight, hessian, mask)

    best = weight.copy()
    for _ in range(count):
        candidates = [p for p in range(d) if p not in order]
        dead = [p for p in candidates if hessian[p, p] == 0]
        p = dead[0] if dead else min(candidates, key=lambda p: objective(weight, hessian, without(p)))
        best = without(p)
        order.append(p)
    return best, order
