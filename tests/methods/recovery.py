"""Planted signals, certificates recomputed outside the solvers, and isometry constants by enumeration."""

from itertools import combinations

import numpy as np

import refprune as rp


def planted(seed, samples=128, d=256, few=10):
    """(design, signal): Gaussian entries of variance 1 / samples, and `few` nonzeros from N(0, 1)."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(samples, d)) / samples**0.5
    signal = np.zeros(d)
    signal[rng.choice(d, few, replace=False)] = rng.normal(size=few)
    return A, signal


def noisy(seed):
    """(problem, keep, rng): a least squares problem of other scales, correlated, shifted, with noise."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 16))
    n = d + int(rng.integers(1, 2 * d + 2))
    A = rng.normal(size=(n, d)) @ (np.eye(d) + rng.uniform(0, 0.5) * rng.normal(size=(d, d)))
    A = (A + rng.uniform(-0.5, 0.5)) * 2.0 ** rng.integers(-3, 4)
    w = np.where(rng.random(d) < 0.5, rng.normal(size=d), 0)
    return rp.LeastSquares(A, A @ w + 0.1 * rng.normal(size=n)), int(rng.integers(0, d + 1)), rng


def largest(objective):
    """The largest eigenvalue of the Hessian of a quadratic objective over w (d,)."""
    d = objective.design.shape[1]
    return np.linalg.eigvalsh(objective.hessian(np.zeros(d)))[-1]


def top(v, keep):
    """T_k by sorting: the lowest index goes first among equals."""
    kept = np.argsort(np.abs(v), kind="stable")[len(v) - keep :]
    out = np.zeros_like(v)
    out[kept] = v[kept]
    return out


def certify(objective, answer, keep, start, tol=1e-8, step=None):
    """What a converged answer promises, from its weight, mask and objective alone (flat, NumPy).

    `step` is one for which it must be a fixed point of `T_k(w - step g)`; None leaves that out.
    """
    w, mask = answer.weight.reshape(-1), answer.mask.reshape(-1)
    assert np.count_nonzero(mask) == keep, "not exactly k are kept"
    assert np.all(w[~mask] == 0), "a pruned weight is not 0"
    value = float(objective.value(w))
    first = float(objective.value(top(start, keep)))
    assert answer.objective == value, "the objective is another one"
    slack = 1e-12 * max(abs(first), abs(value))  # a few thousand eps of the values that are compared
    assert value <= first + slack, "above the k largest of the start"
    g = objective.gradient(w)
    scale = max(
        np.linalg.norm(objective.gradient(0 * w)), np.linalg.norm(objective.gradient(top(start, keep)))
    )
    assert np.linalg.norm(g[mask]) <= tol * scale, "the gradient on the support is not 0"
    if step is not None and keep and np.linalg.norm(g) > tol * scale:
        entering = step * np.abs(g[~mask]).max(initial=0)
        # a tie up to rounding, and up to what the gradient on the support still moves
        slack = 1e-12 * np.abs(w).max() + step * tol * scale
        assert entering <= np.abs(w[mask]).min() + slack, "a weight off the support wants in"


def isometry(A, order):
    """The restricted isometry constant of `A`: the largest ``|A_S^T A_S - I|`` (2-norm) over supports of `order`."""
    gram = A.T @ A - np.eye(A.shape[1])
    return max(
        np.linalg.norm(gram[np.ix_(S, S)], 2) for S in combinations(range(len(gram)), min(order, len(gram)))
    )


def near_isometry(rng, samples, d, order, wanted):
    """A design with a restricted isometry constant just below `wanted`: an orthonormal one, moved and rescaled."""
    Q, _ = np.linalg.qr(rng.normal(size=(samples, d)))
    move = rng.normal(size=(samples, d))
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if isometry(Q + middle * move, order) < wanted else (low, middle)
    return Q + low * move
