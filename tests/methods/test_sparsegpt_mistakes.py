"""Known mistakes in SparseGPT, each killed by the certificate with its own message."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import refprune as rp
from tests.methods.problems import with_dead
from tests.methods.sweeps import certify_sweep

GAP, ROOT = "was not moved by all before it", "a root of .* is pruned"


def kernel(
    W,
    G,
    prior,
    choose,
    width,
    damp,
    *,
    factor=lambda H: np.linalg.cholesky(np.linalg.inv(H)).T,
    score=lambda w, u: (w / u) ** 2,
    masks_from=lambda now, given_: now,
    spread=lambda U, j: U[j, j:],
    lazy=lambda U, block, rest: U[block, rest],
    mean=lambda diagonal, living: diagonal[living].mean(),
    absolute=False,
    of_kept=False,
    revive=False,
    zero=0.0,
    dead_weights=lambda w: w,
):
    """SparseGPT as it is published, pushing errors ahead, with a hole for every mistake.

    `choose(scores, prior, dead)` gives the mask of a window of `width` columns.
    """
    W, d, living = W.astype(float), W.shape[1], np.diag(G) > 0
    H = G + np.diag(np.where(living, damp if absolute else damp * mean(np.diag(G), living), 0) + ~living)
    U, V, mask, losses = factor(H), W.copy(), np.ones(W.shape, dtype=bool), []
    for first in range(0, d, width):
        block = np.arange(first, min(first + width, d))
        u = np.diag(U)[block]
        scores = np.where(living[block], score(masks_from(V[:, block], W[:, block]), u), 0)
        own = prior[:, block] | revive
        mask[:, block] = choose(scores, own, np.broadcast_to(~living[block], scores.shape))
        E = np.zeros((len(W), len(block)))
        for i, j in enumerate(block):
            e = V[:, j] / U[j, j] * (of_kept | ~mask[:, j])
            ahead = np.arange(j, block[-1] + 1)
            V[:, ahead] -= np.outer(e, spread(U, j)[: len(ahead)])
            E[:, i] = e
            gone = np.flatnonzero(~mask[:, j])
            V[gone, j] = zero
            losses += [(row * d + j, e[row] ** 2 / 2 * living[j]) for row in gone]
        V[:, block[-1] + 1 :] -= E @ lazy(U, block, slice(block[-1] + 1, d))
    V[:, ~living] = dead_weights(np.where(mask, W, 0)[:, ~living])
    step = V - W
    order, trace = zip(*losses, strict=True)
    return rp.Pruned(V, mask, np.sum(step @ G * step) / 2, np.array(order), trace)


def lowest(scores, prior, dead, count):
    """Keep all but `count` along the last axis: prior zeros go first, then dead inputs, then the cheapest."""
    order = np.lexsort((scores, ~dead, prior))
    return np.argsort(order, axis=-1) >= np.maximum(count, (~prior).sum(axis=-1, keepdims=True))


def of_block(scores, prior, dead, share=0.5, extra=0, axis=None):
    if axis is None:
        flat = [x.reshape(1, -1) for x in (scores, prior, dead)]
        return lowest(*flat, round(share * scores.size) + extra).reshape(scores.shape)
    return lowest(scores, prior, dead, round(share * scores.shape[1]))


def all_groups_at_once(scores, prior, dead):
    """2:4 chosen for two groups where the first one starts."""
    parts = [(slice(None), slice(first, first + 4)) for first in range(0, scores.shape[1], 4)]
    return np.hstack([lowest(scores[p], prior[p], dead[p], 2) for p in parts])


def shifted_groups(scores, prior, dead):
    """2:4 with groups counted from the start of a block of 6."""
    return np.hstack([lowest(scores[:, :4], prior[:, :4], dead[:, :4], 2), np.ones((len(scores), 2), bool)])


def by_threshold(scores, prior, dead):
    """`score <= threshold` with the threshold at the index of the count, as published."""
    flat = np.sort(np.where(prior, scores, -1), axis=None)
    return np.where(prior, scores, -1) > flat[round(0.5 * scores.size)]


def nm(scores, prior, dead):
    return lowest(scores, prior, dead, 2)


unstructured = {"choose": of_block, "width": 6}
groups = {"choose": nm, "width": 4}
MISTAKES = {
    "stale diagonal": (unstructured, {"score": lambda w, u: w**2}, ROOT),
    "missing square": (unstructured, {"score": lambda w, u: abs(w) / u**2}, ROOT),
    "times the inverse": (unstructured, {"score": lambda w, u: (w * u) ** 2}, ROOT),
    "mask from the first weights": (unstructured, {"masks_from": lambda now, first: first}, ROOT),
    "factor of the Hessian": (unstructured, {"factor": lambda H: np.linalg.cholesky(H).T}, GAP),
    "lower factor": (unstructured, {"factor": lambda H: np.linalg.inv(np.linalg.cholesky(H)).T}, GAP),
    "whole inverse at every column": (unstructured, {"factor": np.linalg.inv}, GAP),
    "no update": (
        unstructured,
        {"spread": lambda U, j: 0 * U[j, j:], "lazy": lambda U, b, r: 0 * U[b, r]},
        GAP,
    ),
    "update in the block only": (unstructured, {"lazy": lambda U, b, r: 0 * U[b, r]}, GAP),
    "last error of a block lost": (
        unstructured,
        {"lazy": lambda U, b, r: U[b, r] * (b < b[-1])[:, None]},
        GAP,
    ),
    "half an update": (unstructured, {"spread": lambda U, j: 0.5 * U[j, j:]}, GAP),
    "errors of kept weights": (unstructured, {"of_kept": True}, GAP),
    "one more by the threshold": (unstructured, {"choose": by_threshold}, "pruned, .* were asked for"),
    "one too few": (unstructured, {"choose": partial(of_block, extra=-1)}, "pruned, .* were asked for"),
    "row by row": (unstructured, {"choose": partial(of_block, axis=1)}, ROOT),
    "other blocks": (unstructured, {"width": 4}, "pruned where|" + ROOT),
    "columns of the mask at once": (groups, {"choose": all_groups_at_once, "width": 8}, ROOT),
    "groups from the block's start": (groups, {"choose": shifted_groups, "width": 6}, "pruned|revived"),
    "2:4 read as two pruned of eight": (
        groups,
        {"choose": partial(of_block, share=0.25, axis=1), "width": 8},
        "pruned",
    ),
    "damping by all inputs": (unstructured, {"mean": lambda diagonal, living: diagonal.mean()}, GAP),
    "absolute damping": (unstructured, {"absolute": True}, GAP),
    "dead weights cleared": (groups, {"dead_weights": lambda w: 0 * w}, GAP),
    "dead inputs last": (
        unstructured,
        {"choose": lambda scores, prior, dead: of_block(np.where(dead, 1e9, scores), prior, ~dead)},
        "a living weight was pruned before a dead one",
    ),
    "revived": (groups, {"revive": True}, "a prior zero was revived"),
    "rounded zeros": (unstructured, {"zero": 1e-17}, "not exactly zero"),
}


def certificate(settings, **mistake):
    """Certify the kernel on layers with dead inputs, prior zeros, correlated inputs, and damping."""
    settings = {**settings, **mistake}
    for seed in range(30, 34):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 10)) + 0.3 * rng.normal(size=(60, 10))
        W, G = rng.normal(size=(12, 12)) + 0.1, with_dead(X.T @ X / 60, [2, 9])
        prior = rng.random(W.shape) < 0.97
        prior[1, 4:7] = False
        W, width = np.where(prior, W, 0), 6 if settings["choose"] is not nm else 4
        if mistake.get("choose") in (all_groups_at_once, shifted_groups) or settings["width"] == 8:
            width = 4
        edges = list(range(0, 13, width))
        counts = [36, 36]
        if width == 4:
            counts = [np.maximum(2, (~prior[:, a:b]).sum(axis=1)) for a, b in pairwise(edges)]
        answer = kernel(W, G, prior, damp=0.05, **settings)
        certify_sweep(W, G, answer, edges, counts, 0.05, prior)


@pytest.mark.parametrize("settings", [unstructured, groups], ids=["unstructured", "groups"])
def test_the_kernel_without_mistakes_passes(settings):
    certificate(settings)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    settings, mistake, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(settings, **mistake)
