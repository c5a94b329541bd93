"""Strongly convex objectives that are no quadratics, with known constants and a minimiser that is planted."""

from dataclasses import dataclass

import numpy as np

# phi: (phi, phi', phi'', the largest phi'', the largest |phi'''|)
SHAPES = {
    "logistic": (
        lambda z: np.logaddexp(0, z),
        lambda z: 0.5 + np.tanh(z / 2) / 2,
        lambda z: (1 - np.tanh(z / 2) ** 2) / 4,
        0.25,
        1 / (6 * 3**0.5),
    ),
    "root": (
        lambda z: np.sqrt(1 + z**2),
        lambda z: z / np.sqrt(1 + z**2),
        lambda z: (1 + z**2) ** -1.5,
        1.0,
        48 / (25 * 5**0.5),
    ),
    "log cosh": (
        lambda z: np.logaddexp(z, -z),
        np.tanh,
        lambda z: 1 - np.tanh(z) ** 2,
        1.0,
        4 / (3 * 3**0.5),
    ),
}


@dataclass
class Convex:
    """The objective ``sum_i phi(a_i . w - c_i) / n + w^T D w / 2 - b . w``, with D diagonal and positive.

    Its Hessian ``A^T diag(phi'') A / n + D`` lies between the smallest of D and the largest eigenvalue for the largest
    phi''. It changes by at most ``largest |phi'''| |A|^2 max |a_i| / n`` for each unit of w: the third derivative
    along u, v, v is ``sum phi''' (a_i . u) (a_i . v)^2 / n``.
    """

    A: np.ndarray
    c: np.ndarray
    D: np.ndarray
    b: np.ndarray
    shape: str

    def value(self, w):
        phi = SHAPES[self.shape][0]
        return np.mean(phi(self.A @ w - self.c)) + w @ (self.D * w) / 2 - self.b @ w

    def gradient(self, w):
        return self.A.T @ SHAPES[self.shape][1](self.A @ w - self.c) / len(self.A) + self.D * w - self.b

    def hessian(self, w):
        curvature = SHAPES[self.shape][2](self.A @ w - self.c)
        return self.A.T @ (curvature[:, None] * self.A) / len(self.A) + np.diag(self.D)

    def hvp(self, w, v):
        return self.hessian(w) @ v

    @property
    def mu(self):
        return self.D.min()

    @property
    def L(self):
        top = SHAPES[self.shape][3]
        return np.linalg.eigvalsh(top * self.A.T @ self.A / len(self.A) + np.diag(self.D))[-1]

    @property
    def M(self):
        rows = np.linalg.norm(self.A, axis=1)
        return SHAPES[self.shape][4] * np.linalg.norm(self.A, 2) ** 2 * rows.max() / len(self.A)


def planted(seed, d=None):
    """(objective, minimiser, its number of nonzeros, rng): the linear term makes the gradient 0 at a sparse point."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(3, 15)) if d is None else d
    n, few = int(rng.integers(1, 3 * d)), int(rng.integers(1, d))
    A = rng.normal(size=(n, d)) @ np.diag(2.0 ** rng.uniform(-1, 1, size=d)) + rng.normal(size=(1, d)) / 2
    best = np.zeros(d)
    best[rng.permutation(d)[:few]] = rng.normal(size=few) * 2.0 ** rng.integers(-2, 2)
    shape = list(SHAPES)[seed % 3]
    D = rng.uniform(0.05, 1.0) * rng.uniform(1, 4, size=d)
    objective = Convex(A, rng.normal(size=n), D, np.zeros(d), shape)
    objective.b = objective.gradient(best)
    return objective, best, few, rng
