"""ALPS (Meng, Behdin, Wang, Mazumder 2024): ADMM looks for the support, the normal equations set the weights.

The weights come in two copies, `B` without zeros and `D` with them, held together by multipliers `V` and a penalty
`rho`. Distances are those of inputs of unit norm: in the metric `N = diag G`, which spares the root of it:

    B = (W G - V + rho D N) (G + rho N)^-1
    D = of Z = B + V N^-1 / rho the entries of largest Z^2 N that the pattern allows, zeros elsewhere
    V = V + rho (B - D) N

Every third iteration counts the weights that entered or left the support since the last time, s: rho rises by 1.3
where s is at least a tenth of the kept, by 1.2 from one in 200, by 1.1 from one on; s = 0 ends it. Prior zeros go
first, then dead inputs (`G_jj = 0`), then the lowest index. `damp * mean(diag G)` is added to living diagonals.
"""

from refprune.arrays import inv, namespace
from refprune.definitions.masks import nm_mask, topk_mask
from refprune.definitions.one_shot import masked
from refprune.definitions.optimal_weights import optimal_weights


def alps(weight, gram, count, damp=0, prior=None, rho=0.1, max_iter=300):
    """Prune `count` of all weights (rows, columns); `gram` is (columns, columns). Returns (weight, mask)."""
    return _admm(weight, gram, lambda z: topk_mask(z, weight.size - count), damp, prior, rho, max_iter)


def alps_nm(weight, gram, n, m, damp=0, prior=None, rho=0.1, max_iter=300):
    """Keep `n` of every `m` consecutive inputs in every row."""
    return _admm(weight, gram, lambda z: nm_mask(z, n, m), damp, prior, rho, max_iter)


def _admm(weight, gram, choose, damp, prior, rho, max_iter):
    xp, gram = namespace(weight, gram), gram.copy()
    living = [j for j in range(gram.shape[0]) if gram[j, j] != 0]
    mean = sum(gram[j, j] for j in living) / max(len(living), 1)
    for j in living:
        gram[j, j] = gram[j, j] + damp * mean
    A = xp.asarray(living, dtype=int)
    W, G = weight[:, A], gram[A[:, None], A]
    N = xp.diagonal(G)
    prior = xp.ones(weight.shape, dtype=bool) if prior is None else prior

    def project(Z):
        scores = weight - weight - 1  # a dead input's weight goes before any living one
        scores[:, A] = Z**2 * N
        mask = choose(xp.where(prior, scores, scores - scores - 2)) & prior
        return mask, masked(Z, mask[:, A])

    mask, D = project(W)
    V, before = W - W, mask
    for t in range(max_iter):
        B = (W @ G - V + rho * D * N) @ inv(G + rho * xp.diag(N))
        mask, D = project(B + V / N / rho)
        V = V + rho * (B - D) * N
        if t % 3 == 2:
            s, kept = int((mask != before).sum()), int(mask.sum())
            if s == 0:
                break
            rho = rho * (13 if 10 * s >= kept else 12 if 200 * s >= kept else 11) / 10
            before = mask
    return optimal_weights(weight, gram, mask), mask
