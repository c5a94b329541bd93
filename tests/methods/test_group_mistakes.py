"""Known mistakes in OBS on groups, each killed by the certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import (
    certify_units,
)
from tests.methods.problems import (
    spd,
)


def units_kernel(W, G, labels, count, cost, follow=True, joint=True):
    """OBS over groups of a Quadratic, with holes."""
    w, order, left = W.copy(), [], sorted(set(labels.tolist()))
    A = np.arange(len(w))
    first = np.linalg.inv(G)
    for _ in range(count):
        inverse = np.linalg.inv(G[np.ix_(A, A)]) if follow else first[np.ix_(A, A)]
        members = {label: np.flatnonzero(labels[A] == label) for label in left}
        label = min(left, key=lambda label: cost(w[A[members[label]]], inverse, members[label]))
        B = members[label]
        if joint:
            w[A] -= inverse[:, B] @ np.linalg.solve(inverse[np.ix_(B, B)], w[A[B]])
        else:
            w[A] -= sum(inverse[:, b] * w[A[b]] / inverse[b, b] for b in B)
        w[A[B]] = 0
        A = np.delete(A, B)
        left.remove(label)
        order.append(label)
    return w, order


def joint_cost(w, G, B):
    return w @ np.linalg.solve(G[np.ix_(B, B)], w)


MISTAKES = {
    "sum of single saliencies": (
        lambda *call: units_kernel(*call, lambda w, G, B: np.sum(w**2 / np.diag(G)[B])),
        "step .* removed unit",
    ),
    "sum of magnitudes": (lambda *call: units_kernel(*call, lambda w, G, B: np.abs(w).sum()), "removed unit"),
    "quadratic form of the inverse": (
        lambda *call: units_kernel(*call, lambda w, G, B: w @ G[np.ix_(B, B)] @ w),
        "step .* removed unit",
    ),
    "mean over the group": (
        lambda *call: units_kernel(*call, lambda w, G, B: joint_cost(w, G, B) / len(B)),
        "step .* removed unit",
    ),
    "stale inverse": (
        lambda *call: units_kernel(*call, joint_cost, follow=False),
        "removed unit|not stationary",
    ),
    "single updates, summed": (
        lambda *call: units_kernel(*call, joint_cost, joint=False),
        "removed unit|not stationary",
    ),
    "one group too few": (
        lambda w, G, labels, k: units_kernel(w, G, labels, k - 1, joint_cost),
        "were asked for",
    ),
}


def certificate(method):
    labels = np.array([0, 0, 0, 0, 3, 3, 4, 5, 5, 5])
    for seed in range(34, 46):
        rng = np.random.default_rng(seed)
        H, w = spd(rng, 10, 100.0), rng.normal(size=10)
        v, order = method(w, H, labels, 2)
        mask = ~np.isin(labels, order)
        D = v - w
        loss = D @ H @ D / 2
        answer = rp.Pruned(v[None], mask[None], loss, np.array(order), (loss,))
        certify_units(w[None], H, answer, labels[None], 2)


def test_the_method_passes_the_certificate():
    def method(w, H, labels, k):
        answer = rp.obs(rp.Quadratic(H, w), rp.Groups(keep=4 - k, labels=labels))
        return answer.weight, answer.order.tolist()

    certificate(method)
    certificate(definitions.obs_groups)
    certificate(lambda *call: units_kernel(*call, joint_cost))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(method)
