"""ALPS once more, as its paper writes it: normalised weights, a solve for every step; and certificates of answers."""

from typing import NamedTuple

import numpy as np

from tests.methods.checks import EPS, removed_exactly, stationary


class Run(NamedTuple):
    """The support (rows, columns) at the end, the rho of every iteration, and the least margin of a choice.

    The margin is the gap between the smallest kept and the largest pruned size, beside the largest.
    """

    mask: np.ndarray
    rho: list
    margin: float


def admm(W, G, sets, keep, rho=0.1, max_iter=300, wrong="", labels=None, prior=True):
    """Run the ADMM on living inputs. `sets` (lists of units) compete apart, each keeps `keep` of its own.

    A unit is a flat index, or a label in `labels` (rows, columns) that its weights share; its size is the root of
    the sum of their squares. `prior` (rows, columns) is False where a weight may only be zero; `wrong` names one
    step that is done in a wrong way.
    """
    labels = np.arange(W.size).reshape(W.shape) if labels is None else labels
    n = np.ones(len(G)) if wrong == "not normalised" else np.sqrt(np.diag(G))
    W, G = W * n, G / np.outer(n, n)
    margins, rhos = [1.0], []

    def project(T):
        T, kept = np.where(prior, T, 0), []
        size = np.sqrt(np.bincount(labels.ravel(), T.ravel() ** 2))
        for indices in sets:
            order = sorted(indices, key=lambda p: (size[p], p))
            cut = len(order) - keep
            kept += order[cut:]
            if 0 < cut < len(order):
                margins.append((size[order[cut]] - size[order[cut - 1]]) / max(size.max(), 1e-300))
        mask = np.isin(labels, kept) & prior
        return mask, np.where(mask, T, 0)

    mask, Z = project(W)
    M, before = np.zeros_like(W), mask
    for t in range(1, max_iter + 1):
        Y = np.linalg.solve(G + rho * np.eye(len(G)), (W @ G - M + rho * Z).T).T
        mask, Z = project(Y if wrong == "projection without the dual" else Y + M / rho)
        M = M + (-rho if wrong == "dual with the wrong sign" else rho) * (Y - Z)
        M = 0 * M if wrong == "no dual" else M
        rhos.append(rho)
        if t % 3 == 0:
            s = np.count_nonzero(mask != before)
            if s == 0:
                break
            rises = (1.3, 1.2, 1.1) if wrong != "rho stays" else (1.0, 1.0, 1.0)
            rho *= rises[0 if s >= 0.1 * mask.sum() else 1 if s >= 0.005 * mask.sum() else 2]
            before = mask
    return Run(mask, rhos, min(margins))


def certify(W, G, answer, damp=0.0, eps=EPS):
    """What ALPS promises of any answer: zeros where pruned, the best kept weights, true numbers."""
    W, weight, mask = W.astype(float), answer.weight.astype(float), answer.mask
    removed_exactly(weight, mask, np.count_nonzero(~mask))
    living = np.diag(G) > 0
    damped = G + np.diag(living * damp * np.diag(G)[living].mean()) if living.any() else G
    for row in range(len(W)):
        stationary(W[row], damped, weight[row], mask[row], eps)
    assert np.array_equal(weight[:, ~living], W[:, ~living] * mask[:, ~living]), "a kept dead input has moved"
    step = weight - W
    scale = W.size * np.sum(W @ damped * W)
    value = np.sum(step @ G * step) / 2
    assert abs(answer.objective - value) <= 20 * eps * scale, f"objective {answer.objective} is not {value}"


def same_support(mask, run):
    """The support is that of the run, whose choices were clear."""
    # A solve errs by d eps |W| / rho, ten times over for rho = 1/10, and 60 iterations add up: 1e5 eps
    assert run.margin > 1e-9, "the run has a choice that rounding may decide"
    differ = np.count_nonzero(mask != run.mask)
    assert differ == 0, f"the support is not that of the iteration: {differ} weights differ"
