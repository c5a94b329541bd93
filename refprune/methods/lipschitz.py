"""The largest eigenvalue of a Hessian, L, and the step 1/L."""

from math import inf

import numpy as np

from refprune.arrays import astype, from_numpy, namespace, precision, swap
from refprune.methods.vectors import dot, norm
from refprune.problems import LayerProblem, LeastSquares, Quadratic


def lipschitz(objective, w):
    """The largest eigenvalue of the Hessian in size: exact for quadratics, else by power iteration at `w`."""
    if isinstance(objective, LeastSquares):
        A = objective.design
        A = astype(A, precision(A))
        matrix = swap(A) @ A if A.shape[0] >= A.shape[1] else A @ swap(A)
    elif isinstance(objective, (Quadratic, LayerProblem)):
        matrix = objective.gram if isinstance(objective, LayerProblem) else objective.H
    else:
        return _power_iteration(objective, w)
    xp, matrix = namespace(matrix), astype(matrix, precision(matrix))
    if 0 in matrix.shape:
        return 0.0
    return float(xp.max(xp.abs(matrix if matrix.ndim == 1 else xp.linalg.eigvalsh(matrix))))


def _power_iteration(objective, w):
    """The largest ``|eigenvalue|`` of the Hessian at `w`, plus the residual that the iteration has left."""
    v = from_numpy(np.random.default_rng(0).normal(size=w.shape[0]), w)
    v, found, left = astype(v, w.dtype), 0.0, 0.0
    for _ in range(100):
        v = v / norm(v)
        product = objective.hvp(w, v)
        found = dot(v, product)
        left = norm(product - found * v)
        if left <= 0.01 * abs(found):
            break
        v = product
    return abs(found) + left


def reciprocal(largest):
    """The step 1/L."""
    if not 0 < largest < inf:
        raise np.linalg.LinAlgError(
            f"need a Hessian with a largest eigenvalue that is positive and finite for a step; got {largest}"
        )
    return 1 / largest
