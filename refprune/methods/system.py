"""One view of a quadratic and of a layer: rows with a Hessian, scaled, split in living and dead inputs.

The rows are scaled by one power of two and the Hessians by another, so that neither squares nor inverses
leave the range of the dtype; that changes no bit of the answer. Dead inputs (``H_jj = 0``) are found before
damping, and ``damp * mean(diag H)`` over the living ones is added to the diagonal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from refprune.arrays import (
    astype,
    cast,
    diagonal,
    dtype_name,
    exponent,
    eye,
    from_numpy,
    inv_spd,
    namespace,
    nonnegative,
    precision,
    swap,
    to_numpy,
)
from refprune.problems import LayerProblem, Quadratic


@dataclass(frozen=True)
class Rows:
    """Consecutive rows that share a Hessian; everything but `dead` and `living` is scaled.

    `first` is the number of the first row. `living` and `dead` are the columns (NumPy int arrays) with a
    positive and a zero diagonal. `weight` (r, m), `hessian` (m, m), damped, and `gradient` (r, m) or None
    are those of the living columns. `name` is the matrix's name in messages.
    """

    first: int
    living: np.ndarray
    dead: np.ndarray
    weight: Any
    hessian: Any
    gradient: Any
    name: str

    @property
    def count(self):
        """The number of rows."""
        return self.weight.shape[0]

    def inverse(self):
        """The inverse of the damped Hessian; LinAlgError when it is not positive definite."""
        return inv_spd(self.hessian, self.name)

    def minimiser(self, inverse):
        """The unconstrained minimiser ``w - (H + D)^-1 g`` of each row, (r, m)."""
        return self.weight if self.gradient is None else self.weight - self.gradient @ inverse

    @property
    def floor(self):
        """``1 / H_pp``, below which no diagonal of an inverse over a living set is."""
        return 1 / diagonal(self.hessian)


@dataclass(frozen=True)
class System:
    """A problem's rows.

    `weight` (rows, columns) is the given one in the precision of the computation; `parts` are its `Rows`; the
    scaled weight is ``weight / 2**weight_exponent``, a Hessian likewise.
    """

    problem: Any
    weight: Any
    parts: tuple
    weight_exponent: int
    hessian_exponent: int

    @property
    def shape(self):
        """(rows, columns)."""
        return tuple(self.weight.shape)

    def losses(self, scaled):
        """Scaled losses (a NumPy array) in the units of the problem."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(np.asarray(scaled, dtype=float), 2 * self.weight_exponent + self.hessian_exponent)

    def restore(self, matrix):
        """`matrix` (rows, columns) in the shape of the problem's weight."""
        return namespace(matrix).reshape(matrix, self.problem.weight.shape)

    def objective(self, weight):
        """The undamped problem at `weight`, a float."""
        return objective(self.problem, weight)


def system(problem, damp):
    """Validate `problem` and `damp` and split the problem into rows.

    Raises
    ------
    TypeError
        Neither a Quadratic nor a LayerProblem; Fractions; a `damp` that is no number.
    ValueError
        `damp` negative or not finite.
    numpy.linalg.LinAlgError
        A Hessian with a negative diagonal, a dead input that is not dead in all its row, or one with a
        nonzero linear term (such a model has no minimum).
    """
    if not isinstance(problem, (Quadratic, LayerProblem)):
        raise TypeError(f"need a Quadratic or a LayerProblem; got {type(problem).__name__}")
    damp = nonnegative("damp", damp)
    layer = isinstance(problem, LayerProblem)
    weight = problem.matrix if layer else problem.weight[None, :]
    hessian = problem.gram if layer else problem.H
    arrays = (weight, hessian) if layer or problem.g is None else (weight, hessian, problem.g)
    floating(*arrays)
    weight, hessian, *linear = (astype(x, precision(*arrays)) for x in arrays)
    if not layer and hessian.ndim == 1:
        hessian = eye(hessian.shape[0], hessian) * hessian
    stack = hessian if hessian.ndim == 3 else hessian[None, :, :]
    a, b = exponent(weight), exponent(stack)
    b += b % 2  # even, so that a square root in it is exact too
    grams = stack.shape[0]
    names = ["hessian" if not layer else "gram" if grams == 1 else f"gram[{i}]" for i in range(grams)]
    share = weight.shape[0] // grams
    # products of an input whose square is below the range and another one, in scaled units
    least = float(np.finfo(dtype_name(stack.dtype)).tiny) ** 0.5 * 2.0 ** max(-b // 2, 0)
    parts = []
    for i, name in enumerate(names):
        rows = weight[i * share : (i + 1) * share] * 2.0**-a
        g = linear[0][None, :] * 2.0**-a * 2.0**-b if linear else None
        parts.append(_rows(i * share, rows, stack[i] * 2.0**-b, g, damp, name, least))
    return System(problem, weight, tuple(parts), a, b)


def objective(problem, weight):
    """The value of a Quadratic or LayerProblem at `weight`, undamped, as a float.

    Computed from scaled arrays, as everything here: it is inf only where the value itself is beyond float64.
    """
    layer = isinstance(problem, LayerProblem)
    H, linear = (problem.gram, None) if layer else (problem.H, problem.g)
    v, w, H, *g = cast(weight, problem.weight, H, *([] if linear is None else [linear]))
    xp, groups = namespace(v, w, H, *g), problem.groups if layer else 1
    step = xp.reshape(v - w, (groups, -1, H.shape[-1])) if v.size else xp.reshape(v, (groups, 0, H.shape[-1]))
    a, b = exponent(step), exponent(H)
    step, H = step * 2.0**-a, H * 2.0**-b
    product = step * H if H.ndim == 1 else step @ H
    with np.errstate(over="ignore"):
        value, power = float(xp.sum(step * product)) / 2, 2 * a + b
        if g:
            c = exponent(g[0])
            most = max(power, a + c)  # the sum is in range, whatever the two terms are
            value = np.ldexp(value, power - most) + np.ldexp(
                float(xp.sum(step[0, 0] * g[0] * 2.0**-c)), a + c - most
            )
            power = most
        return float(np.ldexp(value, power))


def in_range(name, x):
    """`x`, or LinAlgError where it has left the range of its dtype; `name` says in the message what it is."""
    if not bool(namespace(x).all(namespace(x).isfinite(x))):
        raise np.linalg.LinAlgError(f"need {name} in the range of {dtype_name(x.dtype)}; got larger numbers")
    return x


def floating(*arrays):
    """Raise TypeError for Fractions: methods take square roots."""
    if any(dtype_name(x.dtype) == "object" for x in arrays):
        raise TypeError("need floating arrays in methods (Fractions are for definitions); got objects")


def _rows(first, weight, hessian, gradient, damp, name, least):
    """The `Rows` of scaled arrays; beside a zero on the diagonal entries up to `least` are rounding."""
    size = to_numpy(diagonal(hessian))
    if (size < 0).any():
        raise np.linalg.LinAlgError(f"need a positive semidefinite {name}; got a negative diagonal entry")
    living, dead = np.flatnonzero(size > 0), np.flatnonzero(size == 0)
    A, Z = from_numpy(living, weight), from_numpy(dead, weight)
    xp = namespace(weight, hessian)
    if bool(xp.any(abs(hessian[Z]) > least)):
        raise np.linalg.LinAlgError(
            f"need a positive semidefinite {name}; got a zero on its diagonal in a row that is not zero"
        )
    if gradient is not None and bool(xp.any(gradient[:, Z] != 0)):
        raise np.linalg.LinAlgError(
            f"need gradient 0 where {name} has a zero diagonal (else there is no minimum); got another"
        )
    hessian = hessian[A[:, None], A]
    hessian = (hessian + swap(hessian)) / 2
    if len(living):
        hessian = hessian + damp * xp.mean(diagonal(hessian)) * eye(len(living), hessian)
    return Rows(
        first, living, dead, weight[:, A], hessian, None if gradient is None else gradient[:, A], name
    )
