"""Optimal Brain Surgeon on whole groups of weights.

With `G = (H_AA)^-1` over the living set A and B the members of a group, removing the group costs
`1/2 w_B^T (G_BB)^-1 w_B` (in units of the loss) and moves the survivors by `-G_:B (G_BB)^-1 w_B`. Among equals the
lowest label goes first. A group whose inputs are all dead (`H_pp = 0`) goes before the others, at no cost; the
dead inputs of another group fall with it and cost nothing.
"""

from itertools import islice

from refprune.arrays import inv, namespace


def obs_groups(weight, hessian, labels, count):
    """Remove `count` groups of the weights (d,); `labels` (d,) names each weight's group.

    Returns (weight, order of the removed labels).
    """
    w, order = weight.copy(), []
    for label, _, w in islice(group_steps(weight, hessian, labels), count):
        order.append(label)
    return w, order


def group_steps(weight, hessian, labels):
    """Yield (label, saliency, weights after it) of every removal until no group is left."""
    xp = namespace(weight, hessian)
    d, w = weight.shape[0], weight.copy()
    labels = [int(label) for label in labels]
    living = [p for p in range(d) if hessian[p, p] != 0]
    left = sorted(set(labels))
    while left:
        A = xp.asarray(living, dtype=int)
        G = inv(hessian[A[:, None], A]) if living else None

        def removal(label):
            """(not wholly dead, saliency, positions in A of the members B, (G_BB)^-1 w_B)."""
            B = xp.asarray([j for j, p in enumerate(living) if labels[p] == label], dtype=int)
            if B.shape[0] == 0:
                return False, 0, B, w[A[B]]
            pull = inv(G[B[:, None], B]) @ w[A[B]]
            return True, w[A[B]] @ pull / 2, B, pull

        label = min(left, key=lambda label: removal(label)[:2])  # the first minimum: the lowest label
        alive, saliency, B, pull = removal(label)
        w = w.copy()
        if alive:
            w[A] = w[A] - G[:, B] @ pull
        members = xp.asarray([p for p in range(d) if labels[p] == label])
        w[members] = w[members] - w[members]  # exactly zero
        living = [p for p in living if labels[p] != label]
        left.remove(label)
        yield label, saliency, w
