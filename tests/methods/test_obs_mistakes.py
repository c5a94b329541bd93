"""Known mistakes in OBS, each killed by the certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import (
    EPS,
    removed_exactly,
    replay,
    stationary,
)
from tests.methods.problems import (
    spd,
)


def greedy(w, H, k, score, follow=True, update=1.0):
    """A kernel with holes: `score(w, G, H, A)` ranks the living A; the inverse and the weights may go stale."""
    w, A, order = w.astype(float), list(range(len(w))), []
    G = np.linalg.inv(H)
    for _ in range(k):
        i = np.ix_(A, A)
        fresh = np.linalg.inv(H[i]) if follow else G[i]
        j = int(np.argmin(score(w[A], fresh, H[i])))
        w[A] -= update * w[A][j] / fresh[j, j] * fresh[:, j]
        w[A[j]] = 0
        order.append(A.pop(j))
    return w, order


def saliency(w, G, H):
    return w**2 / np.diag(G)


def refitted(order, w, H):
    mask = ~np.isin(np.arange(len(w)), order)
    return definitions.optimal_weights(w, H, mask), order


def refitted_by_zero(w, H, k):
    order = definitions.obs(w, H, k)[1]
    return np.where(np.isin(np.arange(len(w)), order), 0, w), order


def rounded(w, H, k):
    v, order = definitions.obs(w, H, k)
    return np.where(v == 0, 1e-17, v), order


MISTAKES = {
    "stale inverse": (lambda *call: greedy(*call, saliency, follow=False), "step .* removed column"),
    "stale inverse, refitted": (
        lambda w, H, k: refitted(greedy(w, H, k, saliency, follow=False)[1], w, H),
        "step .* removed column",
    ),
    "OBD order": (lambda *call: greedy(*call, lambda w, G, H: w**2 * np.diag(H)), "step .* removed"),
    "magnitude order": (lambda *call: greedy(*call, lambda w, G, H: abs(w)), "step .* removed column"),
    "missing square": (lambda *call: greedy(*call, lambda w, G, H: abs(w) / np.diag(G)), "step .* removed"),
    "times the inverse": (lambda *call: greedy(*call, lambda w, G, H: w**2 * np.diag(G)), "step .* removed"),
    "no update": (lambda *call: refitted_by_zero(*call), "not stationary"),
    "half an update": (lambda *call: greedy(*call, saliency, update=0.5), "removed column|not stationary"),
    "rounded zeros": (lambda *call: rounded(*call), "not exactly zero"),
    "one too few": (lambda w, H, k: definitions.obs(w, H, k - 1), "were asked for"),
}


def certificate(method):
    for seed in range(25, 28):
        rng = np.random.default_rng(seed)
        H, w = spd(rng, 9, 100.0), rng.normal(size=9) + 0.3
        v, order = method(w, H, 4)
        mask = ~np.isin(np.arange(9), order)
        removed_exactly(v, mask, 4)
        replay(w, H, order, EPS)
        stationary(w, H, v, mask, EPS)


def test_the_method_passes_the_certificate():
    def method(w, H, k):
        answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k))
        return answer.weight, answer.order.tolist()

    certificate(method)
    certificate(definitions.obs)
    certificate(definitions.obs_by_resolving)
    certificate(lambda w, H, k: greedy(w, H, k, saliency))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(method)
