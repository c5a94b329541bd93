"""Known mistakes in magnitude, Wanda and OBD, each killed by its certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
from tests.methods.checks import (
    cheapest,
    lowest_first,
    removed_exactly,
    untouched,
)
from tests.methods.problems import (
    spd,
)


def magnitude_certificate(method, W):
    weight, mask = method(W, W.size // 2)
    removed_exactly(weight, mask, W.size // 2)
    untouched(W, weight, mask)
    cheapest(abs(W).ravel(), mask.ravel(), "magnitude")
    lowest_first(abs(W).ravel(), mask.ravel())


def threshold(W, k):
    mask = abs(W) > np.sort(abs(W), axis=None)[k - 1]
    return np.where(mask, W, 0), mask


def ranked(scores, W, k, last=False):
    order = np.argsort(scores, axis=None, kind="stable")
    mask = np.ones(W.size, dtype=bool)
    mask[order[W.size - k :] if last else order[:k]] = False
    return np.where(mask.reshape(W.shape), W, 0), mask.reshape(W.shape)


MAGNITUDE_MISTAKES = {
    "signed": (lambda W, k: ranked(W, W, k), "magnitude of line 0"),
    "threshold": (threshold, "weights are pruned"),
    "inverted": (lambda W, k: ranked(abs(W), W, k, last=True), "magnitude of line 0"),
    "rescaled": (lambda W, k: (2 * ranked(abs(W), W, k)[0], ranked(abs(W), W, k)[1]), "has moved"),
    "last tie": (lambda W, k: [x[:, ::-1] for x in ranked(abs(W[:, ::-1]), W[:, ::-1], k)], "a later one"),
}


@pytest.fixture
def quantised():
    """Weights in steps of 1/4, with ties across the cut at 12 of 24."""
    W = (
        np.array([[-6, 1, 4, -4, 9, 7, 2, -8], [3, -4, 4, 1, -2, 10, 4, 12], [-1, 6, -5, 8, 2, 3, 11, -7]])
        / 4.0
    )
    ordered = np.sort(abs(W), axis=None)
    assert ordered[10] == ordered[11] == ordered[12] == 1.0
    return W


def test_magnitude_passes_its_certificate(quantised):
    def method(W, k):
        answer = rp.magnitude(W, rp.Unstructured(keep=W.size - k))
        return answer.weight, answer.mask

    magnitude_certificate(method, quantised)


@pytest.mark.parametrize("name", MAGNITUDE_MISTAKES)
def test_magnitude_mistakes_die(name, quantised):
    method, message = MAGNITUDE_MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        magnitude_certificate(method, quantised)


def wanda_certificate(method, W, G):
    weight, mask = method(W, G, 4)
    for row in mask:
        assert np.count_nonzero(~row) == 4, "the rows do not prune equally many"
    cheapest(abs(W) * np.sqrt(np.diag(G)), mask, "weight times norm")
    untouched(W, weight, mask)


def per_row(scores, W, k):
    rows = [ranked(scores[i], W[i], k) for i in range(len(W))]
    return np.stack([w for w, _ in rows]), np.stack([m for _, m in rows])


WANDA_MISTAKES = {
    "squared norm": (lambda W, G, k: per_row(abs(W) * np.diag(G), W, k), "weight times norm of line"),
    "no norm": (lambda W, G, k: per_row(abs(W), W, k), "weight times norm of line"),
    "signed": (lambda W, G, k: per_row(W * np.sqrt(np.diag(G)), W, k), "weight times norm of line"),
    "whole layer": (lambda W, G, k: ranked(abs(W) * np.sqrt(np.diag(G)), W, k * len(W)), "equally many"),
    "by columns": (
        lambda W, G, k: [x.T for x in per_row((abs(W) * np.sqrt(np.diag(G))).T, W.T, len(W) // 2)],
        "equally many",
    ),
}


@pytest.fixture
def unequal():
    """Rows of very different scale and inputs of very different norm."""
    rng = np.random.default_rng(11)
    return rng.normal(size=(5, 8)) * 4.0 ** np.arange(5)[:, None], spd(rng, 8)


def test_wanda_passes_its_certificate(unequal):
    def method(W, G, k):
        answer = rp.wanda(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k))
        return answer.weight, answer.mask

    wanda_certificate(method, *unequal)


@pytest.mark.parametrize("name", WANDA_MISTAKES)
def test_wanda_mistakes_die(name, unequal):
    method, message = WANDA_MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        wanda_certificate(method, *unequal)


def obd_certificate(method, w, h):
    weight, mask = method(w, h, 4)
    removed_exactly(weight, mask, 4)
    cheapest(h * w**2 / 2, mask, "saliency")
    untouched(w, weight, mask)


OBD_MISTAKES = {
    "no curvature": (lambda w, h, k: ranked(w**2, w, k), "saliency of line 0"),
    "weight not squared": (lambda w, h, k: ranked(h * abs(w), w, k), "saliency of line 0"),
    "inverse curvature": (lambda w, h, k: ranked(w**2 / h, w, k), "saliency of line 0"),
    "one too many": (lambda w, h, k: ranked(h * w**2, w, k + 1), "weights are pruned"),
    "survivors move": (
        lambda w, h, k: (ranked(h * w**2, w, k)[0] * (1 + 2.0**-52), ranked(h * w**2, w, k)[1]),
        "has moved",
    ),
}


@pytest.fixture
def curved():
    w = np.array([3.0, -1.0, 2.0, 0.5, -4.0, 1.5, -2.5, 1.0])
    return w, np.array([1.0, 4.0, 2.0, 7.0, 0.5, 8.0, 3.0, 12.0])


def test_obd_passes_its_certificate(curved):
    def method(w, h, k):
        answer = rp.obd(rp.Quadratic(h, w), rp.Unstructured(keep=len(w) - k))
        return answer.weight, answer.mask

    obd_certificate(method, *curved)


@pytest.mark.parametrize("name", OBD_MISTAKES)
def test_obd_mistakes_die(name, curved):
    method, message = OBD_MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        obd_certificate(method, *curved)
