"""Optimal Brain Surgeon (Hassibi and Stork 1993): one weight at a time, the inverse Hessian always fresh.

With `G = (H_AA)^-1` over the living set A, removing p costs `w_p^2 / (2 G_pp)` (in units of the loss) and
moves the survivors by `-w_p / G_pp * G e_p`. The cheapest goes; among equals the lowest index. Dead inputs
(`H_pp = 0`) go first, lowest index first, at no cost; one that stays keeps its weight.
"""

from itertools import islice

from refprune.arrays import inv, namespace


def obs(weight, hessian, count):
    """Remove `count` of the weights (d,) one by one; `hessian` is (d, d). Returns (weight, order)."""
    return outcome(weight, islice(steps(weight, hessian), count))


def obs_nm(weight, hessian, n, m):
    """Remove weights (d,) one by one until every `m` consecutive ones keep `n`. Returns (weight, order)."""
    return outcome(
        weight, steps(weight, hessian, lambda p, gone: sum(q // m == p // m for q in gone) < m - n)
    )


def outcome(weight, removals):
    """(the weights after the last removal, what was removed in order)."""
    removals = list(removals)
    return (removals[-1][2] if removals else weight.copy()), [p for p, _, _ in removals]


def steps(weight, hessian, may_go=lambda p, gone: True):
    """Yield (index, saliency, weights after it) of each removal, while `may_go(index, gone)` allows one."""
    xp = namespace(weight, hessian)
    w, gone = weight.copy(), []
    dead = [p for p in range(weight.shape[0]) if hessian[p, p] == 0]
    living = [p for p in range(weight.shape[0]) if hessian[p, p] != 0]
    for p in dead:
        if may_go(p, gone):
            w = w.copy()
            w[p] = w[p] - w[p]  # exactly zero
            gone.append(p)
            yield p, w[p], w
    while any(may_go(p, gone) for p in living):
        A = xp.asarray(living)  # (m,) the living indices, ascending
        G = inv(hessian[A[:, None], A])  # (m, m) re-inverted: the definition, not the fast way
        saliency = w[A] ** 2 / (2 * xp.diagonal(G))  # (m,) in units of the loss
        candidates = [j for j, p in enumerate(living) if may_go(p, gone)]
        j = min(candidates, key=lambda j: saliency[j])  # the first minimum: the lowest index
        w = w.copy()
        w[A] = w[A] - w[A][j] / G[j, j] * G[:, j]  # the survivors make up for it
        w[A[j]] = w[A[j]] - w[A[j]]  # exactly zero, not a rounded zero
        gone.append(living.pop(j))
        yield gone[-1], saliency[j], w
