"""Problems for the tests of the methods: data of other scales, and Hypothesis strategies for them."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st


def fractions(array):
    """`array` as an object array of Fractions, exact."""
    flat = [Fraction(float(x)) for x in np.ravel(array)]
    return np.array(flat, dtype=object).reshape(np.shape(array))


def spd(rng, d, condition=30.0):
    """A positive definite (d, d) with random eigenvectors and columns of different units."""
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    H = Q * np.geomspace(1, condition, d) @ Q.T
    units = 2.0 ** rng.integers(-3, 4, size=d)
    H = H * units[:, None] * units
    return (H + H.T) / 2


def with_dead(H, dead):
    """`H` with zero rows and columns inserted, so that they end at the indices `dead`."""
    d = len(H) + len(dead)
    living = np.setdiff1d(np.arange(d), dead)
    grown = np.zeros((d, d))
    grown[np.ix_(living, living)] = H
    return grown


def condition(H):
    """The condition number of the living part of `H` at unit diagonal, on which greedy bounds rest."""
    living = np.flatnonzero(np.diag(H) > 0)
    if len(living) == 0:
        return 1.0
    unit = 1 / np.sqrt(np.diag(H)[living])
    return np.linalg.cond(H[np.ix_(living, living)] * unit[:, None] * unit)


@dataclass
class Layer:
    """A layer problem in NumPy: `weight` (rows, columns), `gram` (columns, columns), and a generator."""

    weight: np.ndarray
    gram: np.ndarray
    rng: np.random.Generator

    @property
    def size(self):
        return self.weight.size


@st.composite
def layers(draw, rows=(1, 4), columns=(1, 8), width=1, dead=True):
    """A layer of `columns` times `width` inputs, some of them dead, with a Gram of condition 1 to 300."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    r, d = draw(st.integers(*rows)), width * draw(st.integers(*columns))
    gone = np.flatnonzero(rng.random(d) < draw(st.sampled_from([0.0, 0.3]))) if dead else []
    G = with_dead(spd(rng, d - len(gone), draw(st.sampled_from([1.0, 10.0, 300.0]))), gone)
    W = rng.normal(size=(r, d)) * 2.0 ** rng.integers(-2, 3, size=(r, 1))
    return Layer(W, G, rng)


@st.composite
def exact_quadratics(draw, columns=(1, 5)):
    """(weight, hessian) of small integers: ties, zero weights and dead inputs are common; exact."""
    d = draw(st.integers(*columns))
    numbers = st.integers(-2, 2)
    A = np.array(draw(st.lists(numbers, min_size=d * d, max_size=d * d)), dtype=float).reshape(d, d)
    H = A.T @ A + np.eye(d)
    dead = draw(st.sets(st.integers(0, d - 1), max_size=d // 2))
    for j in dead:
        H[j, :] = H[:, j] = 0
    w = np.array(draw(st.lists(st.integers(-3, 3), min_size=d, max_size=d)), dtype=float)
    return w, H


def masks(size):
    """Boolean arrays of `size`."""
    return st.lists(st.booleans(), min_size=size, max_size=size).map(lambda kept: np.array(kept, dtype=bool))


PARTITIONS = {
    "rows": lambda rng, r, d: {"axis": 0},
    "columns": lambda rng, r, d: {"axis": 1},
    "sets of rows": lambda rng, r, d: {"axis": 0, "labels": rng.integers(-1, 2, size=r)},
    "sets of columns": lambda rng, r, d: {"axis": 1, "labels": rng.integers(0, 3, size=d)},
    "sets in rows": lambda rng, r, d: {
        "labels": rng.integers(0, 3, size=(r, d)) + 10 * np.arange(r)[:, None]
    },
    "anything": lambda rng, r, d: {"labels": rng.integers(0, 5, size=(r, d))},
    "tiles": lambda rng, r, d: {"labels": np.arange(r)[:, None] // 2 * d + np.arange(d) // 2},
}


def scores_of(name, W, G):
    return {"magnitude": abs(W), "wanda": abs(W) * np.sqrt(np.diag(G)), "obd": W**2 * np.diag(G) / 2}[name]
