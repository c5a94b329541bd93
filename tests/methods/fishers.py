"""Generated problems for WoodFisher, and the certificate of an answer, by formulas that the method does not use."""

import numpy as np

EPS = 2.0**-52


def fisher(G, damp, edges=None):
    """F (d, d); with `edges` only its diagonal blocks."""
    F = G.T @ G / len(G) + damp * np.eye(G.shape[1])
    if edges is not None:
        block = np.searchsorted(edges, np.arange(G.shape[1]), side="right")
        F = np.where(block[:, None] == block, F, 0)
    return F


def certify(w, G, damp, answer, count, update="joint", first_order=False, edges=None):
    """One budget over the vector `w` (d,): raises AssertionError with what is wrong."""
    F = fisher(G, damp, edges)
    g = G.mean(axis=0) if first_order else np.zeros(len(w))
    C = np.linalg.inv(F)
    point = w - C @ g
    mask, v = answer.mask, answer.weight
    assert np.count_nonzero(~mask) == count, "another number of weights is pruned"
    assert not v[~mask].any(), "a pruned weight is not 0"
    # a stable inverse errs by c d eps cond(F) |C|, and |C| <= 1 / least eigenvalue (Higham, 14.1)
    error = 20 * len(w) * EPS * np.linalg.cond(F) * np.linalg.norm(C, 2)
    right = point**2 / (2 * np.diag(C))
    # of the score: through C, and through the point with the cancellation in w - C g
    slack = right * error / np.diag(C) + abs(point) * (
        error * np.linalg.norm(g) + 8 * EPS * abs(w)
    ) / np.diag(C)
    slack = slack + error**2 * (g @ g) / np.diag(C) + 8 * EPS * right
    assert np.all(abs(answer.scores - right) <= slack), "a score is not the cost of the weight alone"
    if 0 < count < len(w):
        worst = int(np.argmax(np.where(mask, -np.inf, answer.scores)))
        best = int(np.argmin(np.where(mask, answer.scores, np.inf)))
        assert right[worst] <= right[best] + slack[worst] + slack[best], "a dearer weight went"
    if update == "joint":
        slope = F @ (v - w) + g
        size = np.abs(F) @ (np.abs(v) + np.abs(w)) + np.abs(G).mean(axis=0)
        size = np.maximum(size, np.linalg.norm(F, 2) * np.linalg.norm(v - w))
        assert np.all(abs(slope)[mask] <= 100 * len(w) * EPS * size[mask]), (
            "the model's gradient is not 0 on the support"
        )
    else:
        P = np.flatnonzero(~mask)
        summed = point - C[:, P] @ (point[P] / np.diag(C)[P])
        bound = error * (np.linalg.norm(point[P] / np.diag(C)[P]) + np.linalg.norm(g))
        bound = bound * (1 + error / np.diag(C).min()) + 8 * EPS * abs(w).max()
        assert np.all(abs(v - summed)[mask] <= bound), "not the sum of the moves of single weights"
    delta = v - w
    value, terms = delta @ F @ delta / 2 + g @ delta, abs(delta) @ abs(F) @ abs(delta) + abs(g) @ abs(delta)
    assert abs(answer.objective - value) <= 100 * len(w) * EPS * terms, "another objective"


def drawn(seed):
    """(w, G, damp): shifted gradients of other units for each weight, fewer or more than weights."""
    rng = np.random.default_rng([62, seed])
    N, d = int(rng.integers(1, 14)), int(rng.integers(1, 10))
    units = 2.0 ** rng.integers(-3, 4, size=d)
    G = (rng.normal(size=(N, d)) + rng.choice([0.0, 0.5])) * units
    return (rng.normal(size=d) + 0.25) / units, G, float(rng.choice([1e-5, 1e-2, 0.5]))
