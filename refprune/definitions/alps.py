"""ALPS (Meng, Behdin, Wang, Mazumder 2024): ADMM looks for the support, the normal equations set the weights.

The weights come in two copies, `Y` without zeros and `Z` with them, held together by multipliers `M` and a penalty
`rho`. Distances are those of inputs of unit norm: in the metric `S = diag G`, which spares the root of it:

    Y = Z + ((W - Z) G - M) (G + rho S)^-1
    Z = of T = Y + M S^-1 / rho the entries of largest T^2 S that the pattern allows, zeros elsewhere
    M = M + rho (Y - Z) S

Every third iteration counts the weights that entered or left the support since the last time: rho rises by 1.3
where they are a tenth of the kept or more, by 1.2 from one in 200, by 1.1 from one on; none ends it. Prior zeros go
first, then dead inputs (`G_jj = 0`), then the lowest index. `damp * mean(diag G)` is added to living diagonals.
"""

from refprune.arrays import inv, namespace
from refprune.definitions.masks import nm_mask, topk_mask
from refprune.definitions.one_shot import masked
from refprune.definitions.optimal_weights import optimal_weights


def alps(weight, gram, count, damp=0, prior=None, rho=0.1, max_iter=300):
    """Prune `count` of all weights (rows, columns); `gram` is (columns, columns). Returns (weight, mask)."""
    return _admm(weight, gram, lambda x: topk_mask(x, weight.size - count), damp, prior, rho, max_iter)


def alps_nm(weight, gram, n, m, damp=0, prior=None, rho=0.1, max_iter=300):
    """Keep `n` of every `m` consecutive inputs in every row."""
    return _admm(weight, gram, lambda x: nm_mask(x, n, m), damp, prior, rho, max_iter)


def _admm(weight, gram, choose, damp, prior, rho, max_iter):
    xp, gram = namespace(weight, gram), gram.copy()
    living = [j for j in range(gram.shape[0]) if gram[j, j] != 0]
    mean = sum(gram[j, j] for j in living) / max(len(living), 1)
    for j in living:
        gram[j, j] = gram[j, j] + damp * mean
    A = xp.asarray(living, dtype=int)
    W, G = weight[:, A], gram[A[:, None], A]
    S = xp.diagonal(G)
    prior = xp.ones(weight.shape, dtype=bool) if prior is None else prior

    def project(T):
        scores = weight - weight - 1  # a dead input's weight goes before any living one
        scores[:, A] = T**2 * S
        mask = choose(xp.where(prior, scores, scores - scores - 2)) & prior
        return mask, masked(T, mask[:, A])

    mask, Z = project(W)
    M, before = W - W, mask
    for t in range(max_iter):
        Y = Z + ((W - Z) @ G - M) @ inv(G + rho * xp.diag(S))
        mask, Z = project(Y + M / S / rho)
        M = M + rho * (Y - Z) * S
        if t % 3 == 2:
            changed, kept = int((mask != before).sum()), int(mask.sum())
            if changed == 0:
                break
            rho = rho * (13 if 10 * changed >= kept else 12 if 200 * changed >= kept else 11) / 10
            before = mask
    return optimal_weights(weight, gram, mask), mask
