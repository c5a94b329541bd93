"""ExactOBS (Frantar and Alistarh 2022, "OBC"): OBS on a layer, every row's whole greedy path first.

The objective is `1/2 tr((V - W) G (V - W)^T)`, so each row has the Hessian G and the rows meet only in the
budget: `refprune.definitions.allocation` says how many removals each row gets.
"""

from refprune.arrays import namespace
from refprune.definitions.allocation import row_counts
from refprune.definitions.obs import obs, obs_nm, steps
from refprune.definitions.obs_groups import group_steps, obs_groups


def exact_obs(weight, gram, count, allocation="heap"):
    """Prune `count` of all weights (rows, columns); `gram` is (columns, columns). Returns (weight, mask)."""
    losses = [[loss for _, loss, _ in steps(row, gram)] for row in weight]
    dead = sum(bool(gram[p, p] == 0) for p in range(gram.shape[0]))
    counts = row_counts(losses, dead, count, allocation)
    return _stack(weight, [obs(row, gram, k) for row, k in zip(weight, counts, strict=True)])


def exact_obs_nm(weight, gram, n, m):
    """Keep `n` of every `m` consecutive inputs in every row. Returns (weight, mask)."""
    return _stack(weight, [obs_nm(row, gram, n, m) for row in weight])


def exact_obs_blocks(weight, gram, size, count, allocation="heap"):
    """Prune `count` blocks of `size` consecutive inputs of a row. Returns (weight, mask)."""
    columns = gram.shape[0]
    labels = [column // size for column in range(columns)]
    losses = [[loss for _, loss, _ in group_steps(row, gram, labels)] for row in weight]
    living = {labels[p] for p in range(columns) if gram[p, p] != 0}
    counts = row_counts(losses, len(set(labels)) - len(living), count, allocation)
    rows = [obs_groups(row, gram, labels, k) for row, k in zip(weight, counts, strict=True)]
    gone = [(w, [p for p in range(columns) if labels[p] in order]) for w, order in rows]
    return _stack(weight, gone)


def _stack(weight, rows):
    """The pruned weight and its mask from one (weights, pruned columns) pair for each row."""
    xp = namespace(weight)
    pruned = weight.copy()
    mask = xp.ones(weight.shape, dtype=bool)
    for row, (w, gone) in enumerate(rows):
        pruned[row] = w
        for column in gone:
            mask[row, column] = False
    return pruned, mask
