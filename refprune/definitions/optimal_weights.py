"""The best weights on a given support: the normal equations of the kept weights.

With K the kept set, `1/2 (v - w)^T H (v - w)` under `v_P = 0` is least where `H_KK v_K = H_K: w`.
A kept dead input (`H_pp = 0`) costs nothing at any value: it keeps its weight.
"""

from refprune.arrays import namespace, solve
from refprune.definitions.one_shot import masked


def optimal_weights(weight, hessian, mask):
    """The minimiser on the support `mask` (True = kept) for one row (d,) or every row of (rows, d)."""
    xp = namespace(weight, hessian)
    if weight.ndim == 2:
        best = weight.copy()
        for row in range(weight.shape[0]):
            best[row] = optimal_weights(weight[row], hessian, mask[row])
        return best
    best = masked(weight, mask)
    kept = [p for p in range(weight.shape[0]) if mask[p] and hessian[p, p] != 0]
    if kept:
        K = xp.asarray(kept)
        best[K] = solve(hessian[K[:, None], K], hessian[K] @ weight)
    return best


def objective(weight, hessian, pruned):
    """`1/2 (v - w)^T H (v - w)` at `v = pruned`, in units of the loss."""
    difference = pruned - weight
    return difference @ hessian @ difference / 2
