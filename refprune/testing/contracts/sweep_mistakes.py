"""A plain SparseGPT with every known slip as a switch, and rules that choose masks, right and wrong.

`sweep` is right when no switch is set (a test holds it to the definition); each mistake sets one.
"""

import numpy as np

from refprune import definitions

SCORES = {
    "saliency": lambda w, lead, inverse, gram: w**2 / lead,
    "not-squared": lambda w, lead, inverse, gram: w**2 / np.sqrt(lead),
    "squared-twice": lambda w, lead, inverse, gram: w**2 / lead**2,
    "whole-inverse": lambda w, lead, inverse, gram: w**2 / inverse,
    "wanda": lambda w, lead, inverse, gram: w**2 * gram,
    "magnitude": lambda w, lead, inverse, gram: w**2,
}


def damped(gram, damp, rule="mean"):
    """(matrix, dead): the damping added by the mean of the living diagonal, or by a wrong rule."""
    dead, h = gram.diagonal() == 0, gram.copy()
    if rule == "dead-as-one":
        h[dead, dead] = 1.0
    living = h.diagonal()[~dead]
    mean = {"mean": living.mean() if living.size else 0.0, "absolute": 1.0, "none": 0.0}.get(
        rule, h.diagonal().mean()
    )
    h[dead, dead] = 1.0
    added = h.dtype.type(damp * mean)
    if rule == "dead-undetected":  # damped before the zeros are looked for: no input is dead
        h[dead, dead], dead = added, dead & (added == 0)
        h[dead, dead] = 1.0
        return h + np.diag(added * (gram.diagonal() > 0)), dead
    return h + np.diag(np.where(dead, 0, added)).astype(h.dtype), dead


def rows_of(h, factor, width):
    """(leads, rows, inverse): what divides the score of every column, the row its weights are moved by (1 at j), and
    the whole inverse."""
    d = len(h)
    inverse = np.linalg.inv(h)
    if factor == "schur":
        upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
        return upper.diagonal() ** 2, upper / upper.diagonal()[:, None], inverse
    if factor == "wrong-end":  # the factor U U^T, for a sweep from the right
        upper = np.linalg.cholesky(inverse[::-1, ::-1])[::-1, ::-1]
        return upper.diagonal() ** 2, upper / upper.diagonal()[:, None], inverse
    if factor == "gram":
        return inverse.diagonal(), h / h.diagonal()[:, None], inverse
    if factor == "stale-in-block":  # one inverse for each block, of the columns from its start on
        leads, rows = np.ones(d, h.dtype), np.zeros_like(h)
        for start in range(0, d, width):
            block = np.linalg.inv(h[start:, start:])
            for j in range(start, min(start + width, d)):
                leads[j], rows[j, start:] = (
                    block[j - start, j - start],
                    block[j - start] / block[j - start, j - start],
                )
        return leads, rows, inverse
    return inverse.diagonal(), inverse / inverse.diagonal()[:, None], inverse  # "stale"


def sweep(weight, gram, damp, choose, *, damping="mean", factor="schur", width=1, score="saliency", update=1.0,
          frozen=False, reach=None, everywhere=False, divided=True, dead_zeroed=False, fallback=False):  # fmt: skip
    """(weight, mask); every keyword is a slip.

    ``choose(j, scores)`` gives None or a boolean (rows, columns) of what is pruned from column j on; `scores()` are
    those of the weights as they are (`frozen`: as they were), dead inputs at -1.
    `update`: factor of the update; `reach`: columns of a block that an update does not leave; `everywhere`: updates
    move earlier columns too; `divided=False`: the weight is not divided by the pivot of U; `dead_zeroed`: kept dead
    inputs lose their weight; `fallback`: the identity stands in for an inverse that fails.
    """
    h, dead = damped(gram, damp, damping)
    if fallback and np.linalg.matrix_rank(h, hermitian=True) < len(h):
        h = np.eye(len(h), dtype=h.dtype)
    leads, rows, inverse = rows_of(h, factor, width)
    w, d = weight.astype(h.dtype), weight.shape[1]
    start, pruned = w.copy(), np.zeros(weight.shape, bool)

    def scores():
        found = SCORES[score](start if frozen else w, leads, inverse.diagonal(), h.diagonal())
        return np.where(dead, -1.0, found)

    for j in range(d):
        new = choose(j, scores)
        if new is not None:
            pruned |= new
        if not dead[j]:
            row = rows[j] * (np.arange(d) != j)
            row = row if everywhere else row * (np.arange(d) > j)
            row = row if reach is None else row * (np.arange(d) // reach == j // reach)
            row = row if divided else row * np.sqrt(leads[j])
            w -= update * np.outer(np.where(pruned[:, j], w[:, j], 0), row).astype(w.dtype)
        w[pruned[:, j], j] = 0.0
    w[pruned] = 0.0
    if dead_zeroed:
        w[:, dead] = 0.0
    return w.astype(weight.dtype), ~pruned


def lowest(scores, count):
    """True at the `count` lowest scores."""
    return ~definitions.topk_mask(scores, scores.size - count)


def up_to(scores, count):
    """True at all scores that are not above the one at the position of the count: one or more too many."""
    return scores <= np.sort(scores, axis=None)[min(count, scores.size - 1)]


def in_rows(scores, count):
    """The block's count shared evenly: every row loses as many, the first ones one more."""
    share, more = divmod(count, len(scores))
    return np.stack([lowest(row, share + (i < more)) for i, row in enumerate(scores)])


def by_block(width, count, pick=lowest, whole_only=False):
    """Masks of blocks of `width` columns, chosen at each block's start; `count(size)` of `size` weights go."""

    def choose(j, scores):
        if j % width:
            return None
        found = scores()
        part = found[:, j : j + width]
        pruned = np.zeros(found.shape, bool)
        if part.shape[1] == width or not whole_only:
            pruned[:, j : j + width] = pick(part, count(part.size))
        return pruned

    return choose


def at_start(pruned):
    """One mask for the whole layer, made by `pruned(scores)` before the sweep."""
    return lambda j, scores: pruned(scores()) if j == 0 else None


def by_group(n, m, group=None, block=None, early=None):
    """N:M; `group`: the group of every column; `block`: groups start anew in every block; `early`: masks of all groups
    of `early` columns are chosen at the first of them."""

    def choose(j, scores):
        found = scores()
        d = found.shape[1]
        labels = np.arange(d) // m if group is None else group
        if block is not None:
            labels = np.arange(d) // block * d + np.arange(d) % block // m
        first = j == 0 or labels[j] != labels[j - 1] if group is None else j == 0
        if not (j % early == 0 if early else first):
            return None
        chosen = labels == labels[j] if group is None else labels >= 0
        if early:
            chosen = (np.arange(d) >= j) & (np.arange(d) < j + early)
        pruned = np.zeros(found.shape, bool)
        for label in np.unique(labels[chosen]):
            at = np.flatnonzero((labels == label) & chosen)
            for row in range(len(found)):
                pruned[row, at[lowest(found[row, at], min(m - n, len(at)))]] = True
        return pruned

    return choose


def mirrored(call):
    """The sweep from right to left: a wrong version that swaps the ends of the layer."""

    def swapped(weight, gram, *rest):
        out, mask = call(np.ascontiguousarray(weight[:, ::-1]), np.ascontiguousarray(gram[::-1, ::-1]), *rest)
        return np.ascontiguousarray(out[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])

    return swapped
