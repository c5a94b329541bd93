"""Generated steps of I-OBS, and the certificate of one."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.methods.problems import condition, spd, with_dead

SELECTIONS = ("topk", "saliency", "obs", "exact")
EPS = 2.0**-52


def certify(H, theta, g, keep, answer, selection, project, damp=0.0):
    """The answer of one step from `theta`, by formulas that the method does not use."""
    d, living = len(theta), np.flatnonzero(np.diag(H) > 0)
    slack = (
        1e4
        * EPS
        * condition(H)
        * (1 + np.abs(theta).max() + np.abs(g).max() / np.diag(H)[living].min(initial=1))
    )
    mask, w = answer.mask, answer.weight
    assert np.count_nonzero(mask) == keep, "keeps another number of weights"
    assert not w[~mask].any(), "a pruned weight is not 0"
    dead = np.setdiff1d(np.arange(d), living)
    assert not mask[dead[: d - keep]].any(), "a dead input stays while a living one goes"
    assert_array_equal(w[dead[mask[dead]]], theta[dead[mask[dead]]], "a kept dead input moved")
    A = H[np.ix_(living, living)] + damp * np.trace(H) / max(len(living), 1) * np.eye(len(living))
    newton = theta.copy()
    newton[living] -= np.linalg.solve(A, g[living])
    slope = A @ (w - theta)[living] + g[living]
    size = np.abs(A) @ (np.abs(w) + np.abs(theta))[living] + np.abs(g[living])  # w is rounded itself
    if project == "H":
        bound = 1e3 * EPS * len(A) * size
        assert np.all(np.abs(slope)[mask[living]] <= bound[mask[living]]), (
            "the model's gradient is not 0 on the support"
        )
    else:
        assert_allclose(
            w[mask], newton[mask], rtol=0, atol=slack, err_msg="not the Newton point on the support"
        )
    kept, gone = mask & (np.diag(H) > 0), ~mask & (np.diag(H) > 0)
    if selection in ("topk", "saliency") and kept.any() and gone.any():
        C = np.full(d, np.inf)
        C[living] = np.diag(np.linalg.pinv(A)) if selection == "saliency" else 1.0
        scores = newton**2 / C
        assert scores[gone].max() <= scores[kept].min() + slack * np.abs(newton).max() / C[living].min(), (
            "a larger one went"
        )
    if selection == "exact" and gone.any():
        at = np.searchsorted(living, np.flatnonzero(gone))
        losses = [_loss(A, newton[living], S) for S in combinations(range(len(A)), len(at))]
        assert _loss(A, newton[living], at) <= min(losses) * (1 + 1e-9), "another support is cheaper"
    gap = (w - newton)[living]
    doubt = slack * np.abs(A).max(initial=0) * (np.abs(gap).sum() + slack)
    assert answer.trace[-1].loss == pytest.approx(gap @ A @ gap / 2, rel=1e-6, abs=doubt)


def _loss(A, newton, S):
    """What the zeros at S cost: the normal equations of the rest, by least squares."""
    K = np.setdiff1d(np.arange(len(A)), S)
    v = np.zeros(len(A))
    v[K] = np.linalg.lstsq(A[np.ix_(K, K)], A[K] @ newton, rcond=None)[0]
    return (v - newton) @ A @ (v - newton) / 2


def drawn(seed):
    """(H, theta, g, keep, damp) with other scales and some dead inputs."""
    rng = np.random.default_rng([7, seed])
    d = int(rng.integers(1, 9))
    dead = np.flatnonzero(rng.random(d) < rng.choice([0.0, 0.25]))
    H = with_dead(spd(rng, d - len(dead), rng.choice([1.0, 30.0, 1e4])), dead)
    g = H @ rng.normal(size=d) * rng.choice([0.0, 1.0])
    return H, rng.normal(size=d) + 0.25, g, int(rng.integers(0, d + 1)), float(rng.choice([0.0, 0.125]))
