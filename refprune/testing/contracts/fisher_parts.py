"""What the contracts of the empirical Fisher matrix share: F and its inverse in float64, its rounding, the cases.

With ``kappa = |F| / damp``, ``a_i = sqrt(C_ii)`` and ``b_i = sqrt(F_ii) / damp``, which is at least a_i, every common
way to ``C = F^-1`` errs in entry (i, j) by at most ``eps kappa (c a_i a_j + 4 (a_i b_j + b_i a_j))``:

- an inverse of F as a whole has a backward error of eps |F| (Higham, theorem 10.4), so it errs by
  ``eps |F| |C e_i| |C e_j|``, and ``|C e_i|^2 <= C_ii / damp``;
- the recursion from ``I / damp`` rounds ``C_k`` by ``eps / damp``; a change E of ``C_k`` ends as ``(C F_k) E (F_k C)``,
  and ``|F_k C e_i|^2 <= |F| C_ii``;
- Woodbury's identity solves with ``A = G G^T + damp N I``, and ``A^-1 G e_i = G C e_i / N``; the last difference rounds
  by ``eps / damp``, which is below ``eps kappa C_ii`` since ``C_ii >= 1 / |F|``;
- where A is inverted first and then multiplied by G, the second term is needed: each column of an inverse has its own
  backward error E_k, and ``A^-1 E_k A^-1 e_k`` meets G e_j only afterwards.
"""

from functools import cached_property
from numbers import Real

import numpy as np

from .. import make
from ..bounds import PRODUCT, condition_limit

SPOILED = ("NaN", "Inf", "Empty", "WrongShape", "WrongCount")


class Fisher:
    """``F = damp I + G^T G / N`` and what is needed of it, in float64; all arrays (d, d) or (d,)."""

    def __init__(self, gradients, damp):
        self.gradients, self.damp = np.asarray(gradients, dtype=float), float(damp)
        samples, d = self.gradients.shape
        values, basis = np.linalg.svd(self.gradients)[1:]
        self.values = self.damp + np.pad(values, (0, d - values.size)) ** 2 / samples
        self.basis = basis
        self.matrix = self.gradients.T @ self.gradients / samples + self.damp * np.eye(d)

    @property
    def size(self):
        """The largest eigenvalue."""
        return float(self.values.max())

    @property
    def kappa(self):
        """``|F| / damp``; without damping the condition of F."""
        return self.size / self.least if self.least > 0 else float("inf")

    @property
    def least(self):
        """damp; without it the least eigenvalue."""
        return self.damp if self.damp else float(self.values.min())

    @cached_property
    def inverse(self):
        """C, from the singular values of G."""
        return (self.basis.T / self.values) @ self.basis

    @cached_property
    def roots(self):
        """``sqrt(C_ii)``."""
        return np.sqrt(np.diagonal(self.inverse))

    def rounding(self, eps, c):
        """How far rounding may move the entries of C, (d, d)."""
        wide = np.outer(self.roots, np.sqrt(np.diagonal(self.matrix)) / self.least)
        return eps * self.kappa * (c * np.outer(self.roots, self.roots) + PRODUCT * (wide + wide.T))


def need_fisher(view):
    """The `Fisher` of a problem whose gradients are good; None where damping is not, or F has no inverse to judge."""
    damp = view.problem["damp"]
    if isinstance(damp, (bool, np.bool_)) or not isinstance(damp, Real) or not 0 <= damp < np.inf:
        view.expect("error", f"damp is {damp!r}; a finite number of at least 0 is needed")
        return None
    fisher = Fisher(view.problem["gradients"], damp)
    if fisher.kappa * fisher.values.size * view.eps > 1:
        view.expect("free", "F is singular to rounding")
    elif fisher.kappa > condition_limit(view.eps):
        limit = condition_limit(view.eps)
        view.expect("beyond", f"|F| / damp is {fisher.kappa:.1e}, past {limit:.1e}")
    return fisher


def gradients(flag, shape, rng, dtype):
    """(G, damp) with the named property, of a condition that the arithmetic can judge; G has the dtype."""
    samples, d = shape
    G = rng.normal(size=(samples, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    G *= 2.0 ** rng.integers(-2, 3, size=d)
    G += 0.5 * rng.normal(size=d)  # the mean is not 0
    G *= 2.0 ** rng.integers(-3, 4)
    if flag == "Tie":
        G = _tied(rng, samples, d)
    elif flag in ("OneSample", "Singular"):
        G = G[: 1 if flag == "OneSample" else max(1, d // 2)]
    elif flag == "OppositeGradients":
        half = samples // 2
        G[half : 2 * half] = -G[:half]
        G = G[rng.permutation(samples)]
    elif flag == "ZeroResidual":
        G[:] = 0.0
    elif flag == "ZeroGradient":
        G[rng.permutation(samples)[: int(rng.integers(1, samples + 1) * 0.7) + 1]] = 0.0
    elif flag == "DeadInput":
        G[:, rng.permutation(d)[: int(rng.choice([max(1, d // 5), d - 1]))]] = 0.0
    elif flag in ("DuplicateColumn", "CorrelatedPair"):
        j, k = rng.permutation(d)[:2]
        G[:, k] = G[:, j]
    elif flag == "Correlated":
        G = _shared(rng, G)
    elif flag == "LossScale":
        G *= rng.choice([1e-3, 1e-5])
    elif flag == "IllConditioned" and rng.random() < 0.5:
        G = _spread(rng, G, condition_limit(_eps(dtype)))
    G = G.astype(dtype)
    return G, _damp(flag, G, rng, dtype)


def _tied(rng, samples, d):
    """One entry in each row: F is diagonal, with few different entries; or two that are equal, in pairs of columns."""
    G, order = np.zeros((samples, d)), rng.permutation(d)
    for i in range(samples):
        G[i, order[i % d]] = 2.0
    return G[:, (order // 2) * 2 % d] if rng.random() < 0.5 else G


def _shared(rng, G):
    """`G` small beside what all its columns have in common, some with the other sign."""
    common = rng.normal(size=(len(G), 1)) * rng.choice([-1.0, 1.0], size=G.shape[1])
    return common * np.abs(G).mean(axis=0) + make.log_uniform(rng, 0.03, 0.3) * G


def _spread(rng, G, limit):
    """`G` with singular values that span what F can: not damp alone makes the condition."""
    basis, values, rows = np.linalg.svd(G, full_matrices=False)
    return (basis * values * limit ** -rng.uniform(0.0, 0.5, size=values.size)) @ rows


def _eps(dtype):
    return float(np.finfo(dtype).eps) if dtype == np.float64 else float(np.finfo(np.float32).eps)


def _damp(flag, G, rng, dtype):
    limit = condition_limit(_eps(dtype))
    size = np.linalg.norm(G.astype(float), 2) ** 2 / len(G)
    if flag == "Singular":
        return 0.0
    if flag == "Tie":
        return float(2.0 ** rng.integers(-4, 1))
    low, high = 3.0, min(1e4, 0.1 * limit)
    if flag == "IllConditioned":
        low, high = limit**0.4, 0.5 * limit
    elif flag == "Correlated":
        high = max(1e-2 * limit, high)
    elif flag == "NearTie":
        high = 30.0
    damp = (size or 1.0) / make.log_uniform(rng, low, high)
    return float(f"{damp:.4g}")


def bad(rng, flag, problem):
    """`problem` with what a flag of bad input spoils."""
    G, weight = problem["gradients"], problem.get("weight")
    if flag == "Empty":
        problem["gradients"] = G[:0] if weight is None or rng.random() < 0.5 else G[:, :0]
        if problem["gradients"].shape[1] == 0:
            problem["weight"] = weight[:0]
    elif flag == "WrongShape" and weight is None:
        problem["gradients"] = G[0] if rng.random() < 0.5 else G[None]
    elif flag in ("NaN", "Inf", "WrongShape"):
        name = "gradients" if weight is None or rng.random() < 0.5 else "weight"
        problem[name] = make.spoil(rng, problem[name], flag)
    elif flag == "WrongCount":
        if "sparsity" in problem and rng.random() < 0.5:
            problem["sparsity"] = float(rng.choice([-0.25, 1.5]))
        else:
            problem["damp"] = float(rng.choice([-1.0, np.nan])) * (problem["damp"] or 1.0)
    return problem


def other_samples(contract, problem, rng):
    """The samples in another order, some with the other sign: F is the same."""
    G = problem["gradients"]
    G = G[rng.permutation(len(G))] * rng.choice([-1.0, 1.0], size=(len(G), 1)).astype(G.dtype)
    return {**problem, "gradients": G}
