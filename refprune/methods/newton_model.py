"""The quadratic model of an objective at a point: the damped Hessian, the Newton point, the best weights on a support.

The Hessian is split and scaled as in `refprune.methods.system`. It is one matrix, or blocks on a diagonal: the Gram
of a layer for each of its rows, or the blocks of a Fisher matrix. Those are rows with a matrix each; a smaller last
one is filled up with dead inputs, at the end of the flat order, that nobody sees.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refprune.arrays import (
    astype,
    cast,
    concat,
    diagonal,
    dtype_name,
    exponent,
    from_numpy,
    namespace,
    precision,
    real,
    symmetric,
)
from refprune.methods import walks
from refprune.methods.answer import refitted
from refprune.methods.system import System, in_range, system
from refprune.patterns import Unstructured
from refprune.problems import LayerProblem, Quadratic


@dataclass(frozen=True)
class NewtonModel:
    """The model ``q(v) = g.(v - theta) + 1/2 (v - theta)^T (H + D) (v - theta)`` over flat vectors (d,).

    `view` holds theta, g and H + D, scaled; `inverses` are those of its parts. `living` and `dead` are flat indices,
    ascending (NumPy). `newton` (d,) is the minimiser; it keeps theta at dead inputs. It is None before `at`.
    """

    view: System
    inverses: tuple
    living: np.ndarray
    dead: np.ndarray
    newton: Any = None

    @property
    def size(self):
        """How many weights there are, d."""
        return len(self.living) + len(self.dead)

    def at(self, theta, gradient):
        """This model around another `theta` (d,), with the `gradient` (d,) there.

        Raises
        ------
        numpy.linalg.LinAlgError
            A dead input has a nonzero gradient: the model has no minimum. The minimum is out of range.
        """
        theta, gradient, _ = cast(theta, gradient, self.view.weight)
        xp, b = namespace(theta, gradient), self.view.hessian_exponent
        if bool(xp.any(gradient[from_numpy(self.dead, theta)] != 0)):
            raise np.linalg.LinAlgError(
                "need gradient 0 where the hessian has a zero diagonal (else there is no minimum); got another"
            )
        limit = 1000 if dtype_name(theta.dtype) == "float64" else 120
        sizes = [exponent(x) - c for x, c in ((theta, 0), (gradient, b)) if bool(xp.any(x != 0))]
        a = max(-limit, min(limit, max(sizes, default=0)))
        W, g = self._rows(theta), self._rows(gradient * 2.0**-a * 2.0**-b)
        newton, parts = astype(W, W.dtype), []
        for part, inverse in zip(self.view.parts, self.inverses, strict=True):
            rows, columns = slice(part.first, part.first + part.count), from_numpy(part.living, theta)
            part = replace(part, weight=W[rows, columns] * 2.0**-a, gradient=g[rows, columns])
            with np.errstate(over="ignore"):
                newton[rows, columns] = part.minimiser(inverse) * 2.0**a
            parts.append(part)
        in_range("a Newton point", newton)
        view = replace(self.view, weight=W, parts=tuple(parts), weight_exponent=a)
        return replace(self, view=view, newton=self._flat(newton))

    def greedy(self, keep):
        """What OBS removes from the Newton point until `keep` are left: flat indices in order (NumPy)."""
        prior = np.arange(self.view.weight.size).reshape(self.view.shape) < self.size
        order, _ = walks.unstructured(self.view, Unstructured(keep=keep), prior, "heap")
        return order[order < self.size]

    def best(self, kept):
        """The minimiser of the model (d,) among the weights that are zero where `kept` (d,) (NumPy) is False."""
        kept = np.resize(
            np.append(kept, np.zeros(self.view.weight.size - self.size, dtype=bool)), self.view.shape
        )
        return self._flat(refitted(self.view, kept, checked=True).weight)

    def loss(self, v):
        """How much higher the model is at `v` (d,) than at its minimiser, a float in units of the loss."""
        a, b, total = self.view.weight_exponent, self.view.hessian_exponent, 0.0
        gap = self._rows((v - self.newton) * 2.0**-a)
        for part in self.view.parts:
            rows, columns = slice(part.first, part.first + part.count), from_numpy(part.living, v)
            own = gap[rows, columns]
            total += float(namespace(own).sum(own * (own @ part.hessian))) / 2
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(total, 2 * a + b))

    def inverse(self):
        """The inverse of H + D over the living weights, (m, m), scaled: the parts' along the diagonal."""
        like = self.newton
        columns, m = self.view.shape[1], len(self.living)
        full = namespace(like).zeros((m, m), dtype=like.dtype)
        for part, C in zip(self.view.parts, self.inverses, strict=True):
            for row in range(part.first, part.first + part.count):
                at = np.searchsorted(self.living, row * columns + part.living)
                full[from_numpy(at[:, None], like), from_numpy(at, like)] = C
        return full

    def inverse_diagonal(self):
        """The diagonal of the inverse of H + D over the living weights, (m,), scaled."""
        full = 0 * self.view.weight
        for part, C in zip(self.view.parts, self.inverses, strict=True):
            rows, columns = slice(part.first, part.first + part.count), from_numpy(part.living, full)
            full[rows, columns] = diagonal(C)[None, :]
        return self._flat(full)[from_numpy(self.living, full)]

    def _rows(self, flat):
        """The vector (d,) as the rows of `view`, filled up with zeros."""
        xp, (rows, columns) = namespace(flat), self.view.shape
        if rows * columns > self.size:
            flat = concat([flat, xp.zeros((rows * columns - self.size,), dtype=flat.dtype)], axis=0)
        return xp.reshape(flat, (rows, columns))

    def _flat(self, rows):
        """The d weights that are in `rows`."""
        return namespace(rows).reshape(rows, (-1,))[: self.size]


def newton_model(curvature, theta, damp):
    """The `NewtonModel` with a `curvature` at `theta` (d,): LayerProblem, array (d, d) or (d,), or tuple of blocks.

    Raises
    ------
    TypeError, ValueError
        Not arrays of `theta`'s kind with finite real numbers, not symmetric, or not of those shapes.
    numpy.linalg.LinAlgError
        The (damped) Hessian of the living inputs is not positive definite.
    """
    if isinstance(curvature, LayerProblem):
        gram = curvature.gram
        view = system(LayerProblem(_zeros((curvature.rows, curvature.columns), theta, gram), gram), damp)
    elif isinstance(curvature, tuple):
        stack = _stack(curvature, theta)
        view = system(LayerProblem(_zeros(stack.shape[:2], theta, stack), stack), damp)
    else:
        real("hessian", curvature)
        view = system(Quadratic(curvature, _zeros(theta.shape, theta, curvature)), damp)
    living = np.zeros(view.shape, dtype=bool)
    for part in view.parts:
        living[part.first : part.first + part.count, part.living] = True
    d = theta.shape[0]
    living = np.flatnonzero(living.reshape(-1)[:d])
    inverses = tuple(part.inverse() for part in view.parts)
    return NewtonModel(view, inverses, living, np.setdiff1d(np.arange(d), living))


def _zeros(shape, *arrays):
    """Zeros in the common precision of `arrays`."""
    return namespace(*arrays).zeros(shape, dtype=precision(*arrays))


def _stack(blocks, theta):
    """Square `blocks` of one size, but for a smaller last one, as an array (blocks, size, size)."""
    for i, block in enumerate(blocks):
        real(f"curvature[{i}]", block, ndim=2)
        symmetric(f"curvature[{i}]", block)
    sizes, d = [block.shape[0] for block in blocks], theta.shape[0]
    if not sizes or sum(sizes) != d or 0 in sizes or len({*sizes[:-1], max(sizes)}) > 1:
        raise ValueError(
            f"need blocks of one size, but for a smaller last one, for {d} weights; got sizes {sizes}"
        )
    stack = _zeros((len(sizes), sizes[0], sizes[0]), theta, *blocks)
    for i, block in enumerate(blocks):
        stack[i, : sizes[i], : sizes[i]] = astype(block, stack.dtype)
    if bool(namespace(stack).any(diagonal(stack) < 0)):
        raise np.linalg.LinAlgError(
            "need positive semidefinite blocks of the curvature; got a negative diagonal entry"
        )
    return stack
