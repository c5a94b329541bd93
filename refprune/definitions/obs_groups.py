"""Optimal Brain Surgeon on whole groups of weights.

With `G = (H_AA)^-1` over the living set A and B the members of a group, removing the group costs `1/2 w_B^T
(G_BB)^-1 w_B` (in units of the loss) and moves the survivors by `-G_:B (G_BB)^-1 w_B`. Among equals the
lowest label goes first. A group whose inputs are all dead (`H_pp = 0`) goes before the others, at no cost;
the dead inputs of another group fall with it and cost nothing.
"""

from itertools import islice

from refprune.arrays import inv, namespace
from refprune.definitions.obs import outcome


def obs_groups(weight, hessian, labels, count):
    """Remove `count` groups of the weights (d,); `labels` (d,) names each weight's group.

    Returns (weight, order of the removed labels).
    """
    return outcome(weight, islice(group_steps(weight, hessian, labels), count))


def group_steps(weight, hessian, labels):
    """Yield (label, saliency, weights after it) of every removal until no group is left."""
    xp = namespace(weight, hessian)
    d, w = weight.shape[0], weight.copy()
    labels = [int(label) for label in labels]
    living = [p for p in range(d) if hessian[p, p] != 0]
    left = sorted(set(labels))
    while left:
        A = xp.asarray(living, dtype=int)  # (m,) the living indices, ascending
        G = inv(hessian[A[:, None], A]) if living else None
        members = {label: [j for j, p in enumerate(living) if labels[p] == label] for label in left}
        costs = {label: _cost(w[A], G, members[label]) for label in left}
        label = min(left, key=lambda label: (bool(members[label]), costs[label]))  # the first minimum
        w = w.copy()
        if members[label]:
            B = xp.asarray(members[label])
            w[A] = w[A] - G[:, B] @ (inv(G[B[:, None], B]) @ w[A[B]])  # the survivors make up for it
        gone = xp.asarray([p for p in range(d) if labels[p] == label])
        w[gone] = w[gone] - w[gone]  # exactly zero, not rounded zeros
        living = [p for p in living if labels[p] != label]
        left.remove(label)
        yield label, costs[label], w


def _cost(w, G, members):
    """`1/2 w_B^T (G_BB)^-1 w_B`; nothing for a group with no living member."""
    if not members:
        return 0
    B = namespace(w).asarray(members)
    return w[B] @ inv(G[B[:, None], B]) @ w[B] / 2
