"""The best support of a given size, by trying every one of them.

No method can do better with the same number of zeros. The cost is (d choose count) solves.
"""

from itertools import combinations

from refprune.arrays import namespace
from refprune.definitions.optimal_weights import objective, optimal_weights


def best_support(weight, hessian, count):
    """Prune the `count` of the `d` weights (d,) that cost least together; `hessian` is (d, d).

    Returns (weight, mask, objective), the objective in units of the loss. Among equals the first set in
    dictionary order wins.
    """
    xp = namespace(weight, hessian)
    best = None
    for pruned in combinations(range(weight.shape[0]), count):
        mask = xp.asarray([p not in pruned for p in range(weight.shape[0])], dtype=bool)
        candidate = optimal_weights(weight, hessian, mask)
        loss = objective(weight, hessian, candidate)
        if best is None or loss < best[2]:
            best = candidate, mask, loss
    return best
