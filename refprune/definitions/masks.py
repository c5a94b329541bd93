"""Masks from scores: the largest are kept, and among equal scores the lowest index is pruned first."""

from refprune.arrays import namespace


def topk_mask(scores, keep):
    """Keep the `keep` largest of all `scores` (any shape); True = kept."""
    flat = scores.reshape(-1)
    order = sorted(range(flat.shape[0]), key=lambda p: flat[p])  # stable: the lowest index first
    return _without(scores, order[: len(order) - keep])


def nm_mask(scores, n, m):
    """Keep the `n` largest of every `m` consecutive scores of a row; `scores` is (rows, columns)."""
    rows, columns = scores.shape
    pruned = []
    for row in range(rows):
        for start in range(0, columns, m):
            order = sorted(range(start, start + m), key=lambda column: scores[row, column])
            pruned += [row * columns + column for column in order[: m - n]]
    return _without(scores, pruned)


def _without(scores, pruned):
    """The mask in the shape of `scores` that is False at the flat indices `pruned`."""
    xp = namespace(scores)
    pruned = set(pruned)
    size = scores.reshape(-1).shape[0]
    return xp.asarray([p not in pruned for p in range(size)], dtype=bool).reshape(scores.shape)
