"""The certificate of a sweep: what SparseGPT promises, said without its factor.

When the sweep comes to column j, the columns before it are final and the others are optimal beside them:
``c_{j:} = w_{j:} - (G + D)_{j:,j:}^-1 (G + D)_{j:,:j} (v - w)_{:j}``. A kept weight ends as c_j, and pruning
c_j costs ``c_j^2 s_j / 2`` with the Schur complement ``s_j`` of the later columns in ``G + D``.

Bounds: the computed factor is that of a matrix within (d + 1) eps of ``G + D`` (Higham, Accuracy and
Stability, theorem 10.3), which moves its entries by eps cond to first order; so weights and roots of costs, in
units of unit diagonal, may err by 10 eps cond times the largest weight before or after.
"""

from fractions import Fraction
from itertools import pairwise

import numpy as np

from refprune.arrays import solve
from tests.methods.checks import EPS, removed_exactly
from tests.methods.problems import condition, fractions


def damped(G, damp):
    """``G + D``, in the numbers of G."""
    living = np.flatnonzero(np.diag(G) != 0)
    G, damp = G.copy(), Fraction(damp) if G.dtype == object else damp
    if len(living):
        G[living, living] = G[living, living] + damp * np.mean(G[living, living])
    return G


def slack(W, V, H, eps=EPS):
    """The bound on weights and roots of costs at unit diagonal."""
    unit = np.sqrt(np.diag(H))
    return 10 * eps * condition(H) * max((abs(W) * unit).max(initial=0), (abs(V) * unit).max(initial=0))


def response(W, V, H, j):
    """The columns from `j` on (rows, d - j), the best beside those of `V` before j; dead ones as they are."""
    c = W[:, j:].copy()
    A = np.flatnonzero(np.diag(H)[j:] != 0)
    if len(A) and j:
        pull = (V[:, :j] - W[:, :j]) @ H[:j, j:][:, A]  # (rows, |A|)
        c[:, A] = c[:, A] - solve(H[j:, j:][np.ix_(A, A)], pull.T).T
    return c


def schur(H, j):
    """What is left of ``H_jj`` when all later columns are eliminated; 0 for a dead input."""
    A = j + 1 + np.flatnonzero(np.diag(H)[j + 1 :] != 0)
    if H[j, j] == 0 or not len(A):
        return H[j, j]
    return H[j, j] - H[j, A] @ solve(H[np.ix_(A, A)], H[A, j])


def certify_sweep(W, G, answer, edges, counts, damp=0, prior=None, eps=EPS):
    """Certify an answer whose masks were chosen in the windows between `edges`.

    `counts[b]` is one number for all rows of the b-th window, or a sequence with one for each row. The
    matrices may hold Fractions.
    """
    H, V, mask = damped(G, damp), answer.weight, answer.mask
    V = V if W.dtype != object else fractions(V)
    exact = [array.astype(float) for array in (W, V, H)]
    prior = np.ones(W.shape, dtype=bool) if prior is None else prior
    assert not mask[~prior].any(), "a prior zero was revived"
    removed_exactly(exact[1], mask, np.sum(counts))
    bound, unit = slack(*exact, eps), np.sqrt(np.diag(exact[2]))
    prices = np.array([schur(H, j) for j in range(W.shape[1])])
    losses = []
    for j in range(W.shape[1]):
        now = response(W, V, H, j)[:, 0].astype(float)
        error = abs(now - exact[1][:, j])[mask[:, j]].max(initial=0) * (unit[j] or 1)
        assert error <= bound, f"column {j} is off by {error:.3g}: it was not moved by all before it"
        losses += [
            (i * W.shape[1] + j, now[i] ** 2 * float(prices[j]) / 2) for i in np.flatnonzero(~mask[:, j])
        ]
    for (first, last), count in zip(pairwise(edges), counts, strict=True):
        now = response(W, V, H, first)[:, : last - first]
        roots = (abs(now) * np.sqrt(prices[first:last].astype(float))).astype(float)
        _chosen(roots, mask[:, first:last], prior[:, first:last], np.diag(H)[first:last] != 0, count, bound)
    assert answer.order.tolist() == [place for place, _ in losses], "the order is not that of the sweep"
    roots = np.sqrt(np.array([loss for _, loss in losses]))
    assert np.all(abs(np.sqrt(answer.trace) - roots) <= bound), "the trace is not what each weight cost"
    _truthful(*exact[:2], G.astype(float), exact[2], answer, eps)


def _chosen(roots, mask, prior, living, count, bound):
    """In every line that competes: prior zeros, then dead inputs, then the cheapest."""
    lines = [(slice(None), count)] if np.ndim(count) == 0 else list(enumerate(count))
    for line, number in lines:
        root, kept, own = (x[line].ravel() for x in (roots, mask, prior))
        alive = np.broadcast_to(living, mask.shape)[line].ravel()
        assert np.count_nonzero(~kept) == number, f"{np.count_nonzero(~kept)} pruned where {number} were due"
        gone = own & ~kept
        if (own & kept & ~alive).any():
            assert not (gone & alive).any(), "a living weight was pruned before a dead one"
        if gone.any() and (own & kept).any():
            dearest, best = root[gone].max(), root[own & kept].min()
            assert dearest <= best + 2 * bound, f"a root of {dearest:.6g} is pruned, {best:.6g} is kept"


def _truthful(W, V, G, H, answer, eps):
    """The objective is the undamped one at the weights; the trace sums to the damped one."""
    step = V - W
    scale = np.sum(abs(step) @ abs(H) * abs(step)) / 2
    value = np.sum(step @ G * step) / 2
    assert abs(answer.objective - value) <= 20 * W.size * eps * scale, (
        "the objective is not that of the weights"
    )
    value, total = np.sum(step @ H * step) / 2, np.sum(answer.trace)
    assert abs(total - value) <= 20 * W.size * eps * condition(H) * scale, (
        f"the trace sums to {total:.9g}, the damped objective is {value:.9g}"
    )
