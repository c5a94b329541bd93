r"""The damped empirical Fisher matrix as the curvature of a model of the loss, and its minimisers on a support.

Model: ``q(v) = 1/2 (v - w)^T F (v - w)`` with ``F = damp I + G^T G / N`` of gradients G (N, d), or F's diagonal blocks;
with `first_order` also ``mean g . (v - w)``, which makes it the regression ``1/(2N) |G (v - w) + 1|^2`` with a ridge.
Problem: least q with zeros off a support K, and what one zero costs.
What makes it fast: no d by d matrix. With ``A = G G^T + damp N I`` (Woodbury) the diagonal of the inverse is
``(1 - g_j^T A^-1 g_j) / damp``, g_j a column of G. On K, with ``A_K = G_K G_K^T + damp N I``,

    v_K = w_K + G_K^T A_K^-1 r,    r = G_P w_P  (less 1 with first order).

A block with fewer columns than gradients has the smaller system of its columns instead.
Cost: N^2 d + N^3 for each of the two; a block of m < N columns N m^2.
Source: Singh and Alistarh 2020, WoodFisher; Benbaki et al. 2023, Fast as CHITA, for the regression.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refprune.arrays import (
    concat,
    diagonal,
    eps,
    eye,
    from_numpy,
    full,
    inv_spd,
    inverse_factor,
    namespace,
    solve_spd,
    swap,
    to_numpy,
)

CHUNK = 2**20  # numbers of a temporary array: 8 MiB in float64
REFINEMENTS = 3


@dataclass(frozen=True)
class FisherModel:
    """The model q over flat vectors (d,); one of the objectives of refprune, in one precision.

    `gradients` (N, d) are 0 in the columns of prior zeros, which `living` (d,) marks False; `blocks` are slices;
    `linear` is 1 with the first order, else 0, in the units of the rest; `asked` is the damping in the caller's.
    """

    weight: Any
    gradients: Any
    damp: float
    blocks: tuple
    linear: float
    living: Any
    asked: float

    @property
    def samples(self):
        """N."""
        return self.gradients.shape[0]

    def parts(self, *vectors):
        """(G_b, the piece of each vector) for every block."""
        for at in self.blocks:
            yield self.gradients[:, at], *(v[at] for v in vectors)

    def value(self, v):
        """q at `v` (d,), a float."""
        step, total = v - self.weight, 0.0
        for G, s in self.parts(step):
            image = G @ s
            total += _dot(image, image) / (2 * self.samples)
            total += self.linear * float(namespace(image).sum(image)) / self.samples
        return total + self.damp / 2 * _dot(step, step)

    def gradient(self, v):
        """The gradient of q at `v` (d,)."""
        step = v - self.weight
        found = [swap(G) @ (G @ s + self.linear) / self.samples for G, s in self.parts(step)]
        return _joined(found, step) + self.damp * step

    def hvp(self, w, v):
        """F v, (d,), whatever `w`."""
        return _joined([swap(G) @ (G @ s) / self.samples for G, s in self.parts(v)], v) + self.damp * v

    def curvature_along(self, v):
        """``v^T F v``, a float, with one product."""
        images = [G @ s for G, s in self.parts(v)]
        return sum(_dot(image, image) for image in images) / self.samples + self.damp * _dot(v, v)

    def hessian(self, w):
        """F (d, d), whatever `w`."""
        rows = eye(self.weight.shape[0], self.weight)
        return namespace(rows).stack([self.hvp(w, rows[i, :]) for i in range(rows.shape[0])])

    def inverse_diagonal(self):
        """The diagonal of F^-1, (d,); what is below its bound ``1 / F_jj`` by rounding is put there."""
        found = []
        for G, living in self.parts(self.living):
            xp, (G, places) = namespace(G), _columns(G, living)
            if self._wide(len(places)):
                half = swap(self.definite(inverse_factor, outer(G, self.damp)))
                own = (1 - concat(list(_column_sums(half, G)), axis=0)) / self.damp
                floor = 1 / (self.damp + xp.sum(G * G, axis=0) / self.samples)
                own = xp.where(own > floor, own, floor)
            else:
                own = diagonal(self.definite(inv_spd, _inner(G, self.damp) / self.samples))
            found.append(_spread(own, places, living, 1))
        return _joined(found, self.weight)

    def newton(self):
        """The minimiser of q, (d,): the weight itself without first order."""
        return self.best(self.living) if self.linear else self.weight + 0

    def best(self, mask):
        """The minimiser of q (d,) among the weights that are 0 where `mask` (d,) is False."""
        found = []
        for G, w, kept in self.parts(self.weight, mask):
            xp, (on, K) = namespace(G), _columns(G, kept)
            residual = G @ xp.where(kept, 0, w) - self.linear  # (N,)
            if len(K) == 0 or not bool(xp.any(residual != 0)):
                found.append(xp.where(kept, w, 0))
                continue
            if self._wide(len(K)):
                x = self._woodbury(on, residual)
            else:
                x = self.definite(solve_spd, _inner(on, self.damp), swap(on) @ residual)
            found.append(xp.where(kept, w + _spread(x, K, kept), 0))
        return _joined(found, self.weight)

    def _woodbury(self, on, residual):
        """``on^T A^-1 residual`` with A of the columns `on`, (k,).

        What of the residual no weight reaches is over damp N in ``A^-1 residual``, and cancels in the product with
        ``on^T``: so does the mean gradient of a trained network. Where that costs digits a step on what is left, by
        the same identity, brings them back.
        """
        A, ridge = outer(on, self.damp), self.damp * self.samples
        best = x = swap(on) @ self.definite(solve_spd, A, residual)
        least = float("inf")
        rounding = (50 * eps(x.dtype)) ** 2 * _dot(on, on)
        for _ in range(REFINEMENTS + 1):
            image = on @ x
            slope = swap(on) @ (image - residual) + ridge * x
            size = _dot(slope, slope)
            if not size < least:
                break
            best, least = x, size
            if size <= rounding * (_dot(image, image) + _dot(residual, residual)):
                break
            x = x - (slope - swap(on) @ self.definite(solve_spd, A, on @ slope)) / ridge
        return best

    def summed(self, mask, scores):
        """The Newton point and the sum of the best moves for each pruned weight alone, (d,), zeros off `mask`.

        `scores` (d,) is the diagonal of F^-1.
        """
        point, found = self.newton(), []
        xp = namespace(point)
        shares = xp.where(xp.logical_or(mask, xp.logical_not(self.living)), 0, point / scores)  # (d,)
        for G, share, living in self.parts(shares, self.living):
            G, places = _columns(G, living)
            share = xp.take(share, from_numpy(places, G), axis=0)
            if self._wide(len(places)):
                inner = self.definite(solve_spd, outer(G, self.damp), G @ share)
                move = (share - swap(G) @ inner) / self.damp
            else:
                move = self.definite(solve_spd, _inner(G, self.damp), share * self.samples)
            found.append(_spread(move, places, living))
        return xp.where(mask, point - _joined(found, point), 0)

    def _wide(self, columns):
        """Whether the system of the samples is the smaller one."""
        return self.samples < columns and self.damp > 0

    def definite(self, compute, *arrays):
        """`compute` of arrays whose first must be positive definite."""
        try:
            return compute(*arrays)
        except np.linalg.LinAlgError:
            raise self._singular() from None

    def _singular(self):
        N, d = self.gradients.shape
        return np.linalg.LinAlgError(
            f"need a Fisher matrix that is positive definite to rounding; got damp {self.asked:g} with {N} gradients "
            f"of {d} weights; a larger damp would do"
        )


@dataclass(frozen=True)
class DiagonalModel(FisherModel):
    """The same with the diagonal of F alone: no weight makes up for another one."""

    @cached_property
    def diagonal(self):
        """The diagonal of F, (d,)."""
        xp = namespace(self.gradients)
        found = self.damp + xp.sum(self.gradients * self.gradients, axis=0) / self.samples
        found = xp.where(self.living, found, 1)
        if not bool(xp.all(found > 0)):
            raise self._singular()
        return found

    @cached_property
    def slope(self):
        """The gradient of q at the weight, (d,)."""
        return self.linear * namespace(self.gradients).sum(self.gradients, axis=0) / self.samples

    def value(self, v):
        """q at `v` (d,), a float."""
        step = v - self.weight
        return _dot(step * self.diagonal, step) / 2 + _dot(self.slope, step)

    def gradient(self, v):
        """The gradient of q at `v` (d,)."""
        return self.diagonal * (v - self.weight) + self.slope

    def hvp(self, w, v):
        """F v, (d,), whatever `w`."""
        return self.diagonal * v

    def inverse_diagonal(self):
        """The diagonal of F^-1, (d,)."""
        return 1 / self.diagonal

    def curvature_along(self, v):
        """``v^T F v``, a float."""
        return _dot(self.diagonal * v, v)

    def best(self, mask):
        """The minimiser of q (d,) among the weights that are 0 where `mask` (d,) is False."""
        return namespace(mask).where(mask, self.weight - self.slope / self.diagonal, 0)

    def summed(self, mask, scores):
        """As `best`: no weight moves for another."""
        return self.best(mask)


def _column_sums(half, G):
    """The squared lengths of the columns of ``half G``, in pieces."""
    size = max(1, CHUNK // G.shape[0])
    for first in range(0, G.shape[1], size):
        image = half @ G[:, first : min(first + size, G.shape[1])]
        yield namespace(image).sum(image * image, axis=0)


def outer(G, damp):
    """``G G^T + damp N I``, (N, N)."""
    return G @ swap(G) + damp * G.shape[0] * eye(G.shape[0], G)


def _inner(G, damp):
    """``G^T G + damp N I``, (m, m)."""
    return swap(G) @ G + damp * G.shape[0] * eye(G.shape[1], G)


def _columns(G, marked):
    """The columns of G that `marked` (m,) marks, and their indices (NumPy); what is left out costs no time."""
    places = np.flatnonzero(to_numpy(marked))
    if len(places) == G.shape[1]:
        return G, places
    return namespace(G).take(G, from_numpy(places, G), axis=1), places


def _spread(x, places, marked, other=0):
    """The vector (m,) with `x` at the indices `places` (NumPy), which `marked` (m,) marks, and `other` elsewhere."""
    if len(places) == marked.shape[0]:
        return x
    indices = np.full(marked.shape[0], len(places))
    indices[places] = np.arange(len(places))
    return namespace(x).take(concat([x, full((1,), other, x)], axis=0), from_numpy(indices, marked), axis=0)


def _joined(pieces, like):
    """One vector of the pieces of all blocks."""
    return concat(pieces, axis=0) if pieces else like + 0


def _dot(a, b):
    """The inner product, a float."""
    return float(namespace(a, b).sum(a * b))
