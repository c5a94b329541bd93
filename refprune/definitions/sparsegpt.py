"""SparseGPT (Frantar and Alistarh 2023): one sweep over the columns of a layer, from left to right.

What the sweep has passed is final, so at column j only the columns from j on can move. With `C` the inverse of
`G + D` over the living ones of these, pruning `w_j` costs `w_j^2 / (2 C_jj)` and moves the later weights of its
row by `-w_j / C_jj C_j:`. `D = damp * mean(diag G)` over the living inputs, on their diagonal. The masks of a
block of columns are chosen when the sweep comes to the first of them, by `w^2 / C_jj` of the weights as they are
then; prior zeros go first, then dead inputs (`G_jj = 0`), among equals the lowest index.
"""

from refprune.arrays import inv, namespace
from refprune.definitions.one_shot import masked


def sparsegpt(weight, gram, counts, block_size, damp=0, prior=None):
    """Prune `counts[b]` weights of all rows in the b-th block of `block_size` columns. Returns (weight, mask)."""
    return _sweep(weight, gram, damp, prior, block_size, lambda j, p: _lowest(p, counts[j // block_size]))


def sparsegpt_nm(weight, gram, n, m, damp=0, prior=None):
    """Keep `n` of every `m` consecutive inputs in every row; a shorter last group stays dense."""
    rows, columns = weight.shape

    def choose(j, ranks):
        groups = [{place: ranks[place] for place in ranks if place[0] == row} for row in range(rows)]
        return [place for group in groups if j + m <= columns for place in _lowest(group, m - n)]

    return _sweep(weight, gram, damp, prior, m, choose)


def sparsegpt_weights(weight, gram, mask, damp=0):
    """The weights that the sweep gives to a `mask` from anywhere (True = kept)."""
    return _sweep(weight, gram, damp, mask, weight.shape[1], lambda j, ranks: [])[0]


def _sweep(weight, gram, damp, prior, width, choose):
    """`choose(j, ranks)` gives the places (row, column) to prune of those in `ranks`, from column j on."""
    xp = namespace(weight, gram)
    rows, columns = weight.shape
    w, mask = weight.copy(), xp.ones(weight.shape, dtype=bool) if prior is None else prior.copy()
    living = [j for j in range(columns) if gram[j, j] != 0]
    mean, gram = sum(gram[j, j] for j in living) / max(len(living), 1), gram.copy()
    for j in living:
        gram[j, j] = gram[j, j] + damp * mean
    ahead = {j: xp.asarray([k for k in living if k >= j]) for j in living}
    C = {j: inv(gram[A[:, None], A]) for j, A in ahead.items()}  # its first row and column are those of j
    for j in range(columns):
        if j % width == 0:
            block = [(row, k) for row in range(rows) for k in range(j, min(j + width, columns))]
            cost = {(row, k): w[row, k] ** 2 / C[k][0, 0] if k in C else 0 for row, k in block}
            for place in choose(j, {p: (bool(mask[p]), p[1] in C, cost[p], p) for p in block}):
                mask[place] = False
        for row in range(rows):
            if j in C and not mask[row, j]:
                w[row, ahead[j]] = w[row, ahead[j]] - w[row, j] / C[j][0, 0] * C[j][0]
        w[:, j] = masked(w[:, j], mask[:, j])  # exactly zero, not a rounded zero
    return w, mask


def _lowest(ranks, count):
    return sorted(ranks, key=ranks.get)[:count]
