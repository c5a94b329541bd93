"""A plain Optimal Brain Surgeon with every known slip as a switch, and the mistakes made from it.

`surgeon` is right when no switch is set (a test holds it to the definition); each mistake sets one.
"""

import numpy as np

from refprune import definitions

SCORES = {
    "saliency": lambda w, h, g: w**2 / (2 * g),
    "obd-order": lambda w, h, g: w**2 * h,
    "magnitude-order": lambda w, h, g: w**2,
    "weight-not-squared": lambda w, h, g: abs(w) / g,
    "times-the-inverse": lambda w, h, g: w**2 * g,
}


def surgeon(w, hessian, count, *, score="saliency", stale=False, update=1.0, by_hessian=False, old_scores=False,
            damp=0.0, identity=0.0, dead_first=True, revive=False, may_go=None):  # fmt: skip
    """[(index, loss, weights after)] of up to `count` removals; every keyword is a slip.

    `stale`: the inverse is never downdated; `update`: factor of the update (0 none, -1 wrong sign);
    `by_hessian`: the update uses H's column and diagonal for the inverse's; `old_scores`: scores use the original
    weights; `damp`, `identity`: damping nobody asked for; `dead_first=False`: a dead input gets a 1 on the
    diagonal and is scored like the others; `revive`: pruned weights are moved again by later updates.
    """
    w, h = w.astype(hessian.dtype), hessian.copy()
    start, d = w.copy(), w.shape[0]
    dead = np.flatnonzero(h.diagonal() == 0)
    living_mean = h.diagonal()[h.diagonal() > 0].mean() if (h.diagonal() > 0).any() else 0.0
    h[dead, dead] = 1.0
    if damp or identity:
        h = h + np.eye(d, dtype=h.dtype) * h.dtype.type(damp * living_mean + identity)
    inverse = np.linalg.inv(h)
    steps, gone = [], []
    for _ in range(count):
        living = [p for p in range(d) if p not in gone and (may_go is None or may_go(p, gone))]
        if not living:
            break
        first = [p for p in living if p in dead] if dead_first else []
        scored = SCORES[score](start if old_scores else w, h.diagonal(), inverse.diagonal())
        p = first[0] if first else min(living, key=lambda q: scored[q])
        loss = 0.0 if first else float(w[p] ** 2 / (2 * inverse[p, p]))
        column = h[:, p] / h[p, p] if by_hessian else inverse[:, p] / inverse[p, p]
        w = w - w.dtype.type(update) * w[p] * column
        w[p] = 0.0
        if not revive:
            w[[*gone, p]] = 0.0
        if not stale:
            others = inverse - np.outer(inverse[:, p], inverse[p]) / inverse[p, p]
            others[p, p] = 1.0
            inverse = others
        gone.append(p)
        steps.append((p, loss, w.copy()))
    return steps


def removed(w, steps):
    """(weights, order) after the steps."""
    return (steps[-1][2] if steps else w.copy()), np.array([step[0] for step in steps], dtype=np.int64)


def one_shot(w, hessian, count, joint=True):
    """All removals chosen by the first saliencies; the update joint, or the sum of the single updates."""
    d = w.shape[0]
    dead = hessian.diagonal() == 0
    h = hessian + np.diag(dead.astype(hessian.dtype))
    inverse = np.linalg.inv(h)
    saliency = np.where(dead, -1.0, w**2 / (2 * inverse.diagonal()))
    gone = np.argsort(saliency, kind="stable")[:count]
    mask = np.ones(d, bool)
    mask[gone] = False
    if joint:
        return definitions.optimal_weights(w, hessian, mask), gone
    living = gone[~dead[gone]]
    moved = w - inverse[:, living] @ (w[living] / inverse.diagonal()[living])
    moved[gone] = 0.0
    return moved, gone


def layer(weight, gram, count, allocation="heap", spread=None, **slips):
    """(weight, mask): every row's whole path by `surgeon`, then the counts by a rule.

    `spread`: "even" gives every row the same count, "first-row" the first row's choice to all.
    """
    rows, columns = weight.shape
    paths = [surgeon(row, gram, columns, **slips) for row in weight]
    if spread == "even":
        counts = [count // rows + (row < count % rows) for row in range(rows)]
    else:
        dead = int((gram.diagonal() == 0).sum())
        counts = definitions.row_counts(
            [[step[1] for step in path] for path in paths], dead, count, allocation
        )
    out, mask = weight.astype(gram.dtype), np.ones(weight.shape, bool)
    for row, (path, k) in enumerate(zip(paths, counts, strict=True)):
        out[row], order = removed(out[row], path[:k])
        mask[row, order] = False
    return out.astype(weight.dtype), mask


def layer_nm(weight, gram, n, m, group=None, **slips):
    """(weight, mask): N:M row by row; `group` is the group of every column (consecutive by default)."""
    group = np.arange(weight.shape[1]) // m if group is None else group
    out, mask = weight.astype(gram.dtype), np.ones(weight.shape, bool)
    for row in range(weight.shape[0]):

        def may_go(p, gone):
            return sum(group[q] == group[p] for q in gone) < m - n

        steps = surgeon(weight[row], gram, weight.shape[1], may_go=may_go, **slips)
        out[row], order = removed(out[row], steps)
        mask[row, order] = False
    return out.astype(weight.dtype), mask


def refit(weight, gram, mask):
    """(weight, mask) with the best weights on `mask`."""
    return definitions.optimal_weights(weight, gram, mask).astype(weight.dtype), mask


def groups(w, hessian, labels, count, score="saliency", stale=False, update=True):
    """(weights, order of labels): OBS on groups, with slips.

    `score`: "saliency"; "sum-of-singles" adds the single saliencies of the members; "mean" divides the saliency
    by the size; "diagonal-block" scores by H_BB; "magnitude". `stale`: the inverse is not downdated.
    """
    w = w.astype(hessian.dtype)
    dead = hessian.diagonal() == 0
    living = ~dead
    left, order = sorted(set(labels.tolist())), []
    whole = np.linalg.inv(hessian + np.diag(dead.astype(hessian.dtype)))
    inverse = whole
    for _ in range(count):
        costs = {}
        for label in left:
            at = np.flatnonzero((labels == label) & living & ~dead)
            block = inverse[np.ix_(at, at)]
            costs[label] = _group_cost(w[at], block, hessian[np.ix_(at, at)], score) if at.size else -1.0
        label = min(left, key=lambda one: costs[one])
        at = np.flatnonzero((labels == label) & living & ~dead)
        if at.size and update:
            w = w - inverse[:, at] @ np.linalg.solve(inverse[np.ix_(at, at)], w[at])
        w[labels == label] = 0.0
        w[np.isin(labels, order)] = 0.0
        if at.size and not stale:
            inverse = inverse - inverse[:, at] @ np.linalg.solve(inverse[np.ix_(at, at)], inverse[at])
        living = living & (labels != label)
        left.remove(label)
        order.append(label)
    return w, np.array(order, dtype=np.int64)


def _group_cost(w, inverse, hessian, score):
    if score == "sum-of-singles":
        return float((w**2 / inverse.diagonal()).sum())
    if score == "diagonal-block":
        return float(w @ hessian @ w)
    if score == "magnitude":
        return float(w @ w)
    cost = float(w @ np.linalg.solve(inverse, w))
    return cost / w.size if score == "mean" else cost


def blocks(weight, gram, size, count, spread=None, **slips):
    """(weight, mask): blocks of consecutive inputs, every row's whole path, then the heap."""
    rows, columns = weight.shape
    labels = np.arange(columns) // size
    units = columns // size
    full = [groups(row, gram, labels, units, **slips) for row in weight]
    losses = [
        [_block_loss(row, gram, labels, order[: k + 1]) for k in range(units)]
        for row, (_, order) in zip(weight, full, strict=True)
    ]
    steps = [list(np.diff(np.concatenate([[0.0], row]))) for row in losses]
    if spread == "even":
        counts = [count // rows + (row < count % rows) for row in range(rows)]
    else:
        dead = sum(not gram.diagonal()[labels == u].any() for u in range(units))
        counts = definitions.row_counts(steps, dead, count, "heap")
    out, mask = weight.copy(), np.ones(weight.shape, bool)
    for row, k in enumerate(counts):
        out[row], order = groups(weight[row], gram, labels, k, **slips)
        mask[row] = ~np.isin(labels, order)
    return out, mask


def _block_loss(w, gram, labels, order):
    best = definitions.optimal_weights(w, gram, ~np.isin(labels, order))
    return float((best - w) @ gram @ (best - w) / 2)


def lasting(v, inverse):
    """Scores (d,): the later `v` loses an entry to OBS, by downdates of the inverse, the larger."""
    v, C, left, scores = v.copy(), inverse.copy(), list(range(v.size)), np.zeros(v.size)
    for rank in range(1, v.size + 1):
        p = left.pop(int(np.argmin(v[left] ** 2 / C[left, left])))
        column = C[:, p] / C[p, p]
        v, C, scores[p] = v - column * v[p], C - np.outer(column, C[p]), rank
    return scores
