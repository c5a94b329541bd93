"""Certificates, computed outside the methods: each names what is wrong in its message.

Bounds have the form c eps kappa scale. r_p = |w_p| / sqrt(2 [G]_pp), the root of the cost, is compared
additively: |r_hat - r| <= c eps cond(H) sqrt(w^T H w), with H at unit diagonal and c = 10 (an inverse
downdated k times errs by a small multiple of eps cond; Higham, Accuracy and Stability, section 14.4).
"""

import numpy as np

from tests.methods.problems import condition

EPS = 2.0**-52


def removed_exactly(weight, mask, count):
    """`count` weights are pruned, and each of them is exactly zero."""
    assert mask.dtype == bool, f"mask is {mask.dtype}, not boolean"
    pruned = int(np.count_nonzero(~mask))
    assert pruned == count, f"{pruned} weights are pruned, {count} were asked for"
    assert np.all(weight[~mask] == 0), "a pruned weight is not exactly zero"


def untouched(before, after, mask):
    """The kept weights are those given, bit for bit."""
    assert np.array_equal(after[mask], before[mask]), "a kept weight has moved"


def stationary(weight, hessian, pruned, mask, eps, gradient=0.0):
    """The gradient of the model is zero on the kept entries of one row, up to rounding of its terms."""
    step = pruned.astype(float) - weight
    residual = np.abs(hessian @ step + gradient)
    size = np.abs(hessian) @ (np.abs(pruned) + np.abs(weight)) + np.abs(gradient)
    # A backward stable solve: |residual| <= c d eps |H| (|v| + |w|) at its diagonal's scale (Higham, 10.1)
    unit = np.sqrt(np.diag(hessian))
    largest = (size / np.where(unit > 0, unit, 1)).max(initial=0) * unit
    worst = residual[mask] > 40 * len(weight) * eps * largest[mask]
    assert not worst.any(), f"not stationary: the gradient is {residual[mask].max():.3g} on kept weights"


def replay(weight, hessian, order, eps, groups=None, zeros=None):
    """Every removal in `order` was the cheapest candidate of its moment, and dead columns went first.

    With `groups` (d,) only columns whose group has given fewer than `zeros` (one number, or one for each
    group) are candidates.
    """
    slack = 10 * eps * condition(hessian) * np.sqrt(weight @ hessian @ weight)
    d, gone = len(weight), []
    groups = np.zeros(d, dtype=int) if groups is None else groups
    zeros = d if zeros is None else zeros
    zeros = zeros if np.ndim(zeros) else np.full(max(groups, default=0) + 1, zeros)
    for step, p in enumerate(order):
        spent = [groups[q] for q in gone]
        left = [q for q in range(d) if q not in gone and spent.count(groups[q]) < zeros[groups[q]]]
        assert p in left, f"step {step} removed column {p}, which was no candidate"
        dead = [q for q in left if hessian[q, q] == 0]
        if dead:
            assert p == dead[0], f"step {step} removed column {p} before the dead column {dead[0]}"
        else:
            costs = _roots(weight, hessian, [q for q in range(d) if q not in gone])
            best = min(left, key=costs.get)
            assert costs[p] <= costs[best] + slack, (
                f"step {step} removed column {p} at {costs[p]:.6g}; column {best} cost {costs[best]:.6g}"
            )
        gone.append(p)


def _roots(weight, hessian, left):
    """r_p of every living column, from the given matrix and weights and a fresh inverse."""
    A = np.array([q for q in left if hessian[q, q] > 0], dtype=int)
    G = np.linalg.inv(hessian[np.ix_(A, A)])
    w = G @ (hessian[A] @ weight)
    return dict(zip(A.tolist(), np.abs(w) / np.sqrt(2 * np.diag(G)), strict=True))


def truthful(problem_value, objective, trace, scale, eps, cond=1.0):
    """The objective is the problem's at the weights, and the trace sums to it."""
    slack = 20 * eps * scale
    assert abs(objective - problem_value) <= slack, f"objective {objective} is not that of the weights"
    total = float(np.sum(trace))
    assert abs(total - objective) <= slack * cond, f"the trace sums to {total}, the objective is {objective}"


def cheapest(scores, mask, what):
    """Along the last axis no pruned score is above a kept one."""
    for line, (score, kept) in enumerate(zip(np.atleast_2d(scores), np.atleast_2d(mask), strict=True)):
        if kept.any() and not kept.all():
            dearest, best = score[~kept].max(), score[kept].min()
            assert dearest <= best, f"{what} of line {line}: {dearest:.6g} is pruned, {best:.6g} is kept"


def lowest_first(scores, mask):
    """Of entries of one line that are equal the lowest were pruned."""
    for score, kept in zip(np.atleast_2d(scores), np.atleast_2d(mask), strict=True):
        for value in np.unique(score):
            tied = kept[score == value]
            assert (np.diff(tied.astype(int)) >= 0).all(), f"of equal scores {value} a later one was pruned"


def certify(W, G, answer, eps=EPS, **nm):
    """Each row of an answer, given its order: greedy, stationary; and the layer's numbers are true."""
    columns = W.shape[1]
    removed_exactly(answer.weight, answer.mask, len(answer.order))
    assert sorted(answer.order.tolist()) == np.flatnonzero(~answer.mask).tolist()
    for i in range(len(W)):
        replay(W[i], G, [p % columns for p in answer.order.tolist() if p // columns == i], eps, **nm)
        stationary(W[i], G, answer.weight[i], answer.mask[i], eps)
    D = answer.weight.astype(float) - W
    total = np.sum(W @ G * W) / 2
    truthful(np.sum(D @ G * D) / 2, answer.objective, answer.trace, W.size * total, eps, condition(G))


def certify_units(W, G, answer, labels, count, eps=EPS):
    """Whole units are gone, the rest is optimal, and every removal was the cheapest unit of its moment."""
    flat = labels.ravel()
    mask = answer.mask
    assert len(answer.order) == count, f"{len(answer.order)} units are gone, {count} were asked for"
    removed_exactly(answer.weight, mask, np.isin(flat, answer.order).sum())
    for i in range(len(W)):
        stationary(W[i], G, answer.weight[i], mask[i], eps)
    replay_units(W.ravel(), np.kron(np.eye(len(W)), G), flat, answer.order.tolist(), eps)
    D = answer.weight.astype(float) - W
    total = np.sum(W @ G * W) / 2
    truthful(np.sum(D @ G * D) / 2, answer.objective, answer.trace, W.size * total, eps, condition(G))


def replay_units(w, H, labels, order, eps):
    """The roots of the costs, from a fresh inverse at every step; dead units first."""
    slack = 10 * eps * condition(H) * np.sqrt(w @ H @ w)
    left = sorted(set(labels.tolist()))
    for step, label in enumerate(order):
        A = np.flatnonzero(np.isin(labels, left) & (np.diag(H) > 0))
        G = np.linalg.inv(H[np.ix_(A, A)])
        v = G @ (H[A] @ w)
        roots = {}
        for unit in left:
            B = np.flatnonzero(labels[A] == unit)
            roots[unit] = (
                np.sqrt(max(v[B] @ np.linalg.solve(G[np.ix_(B, B)], v[B]) / 2, 0)) if len(B) else -1.0
            )
        best = min(left, key=roots.get)
        if roots[best] < 0:
            assert label == best, f"step {step} removed unit {label} before the dead unit {best}"
        assert roots[label] <= roots[best] + slack, (
            f"step {step} removed unit {label} at {roots[label]:.6g}; unit {best} cost {roots[best]:.6g}"
        )
        left.remove(label)
