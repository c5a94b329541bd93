r"""The least value of an objective on a support.

Least squares are solved by a QR factorisation of the kept columns, for the change from where the method stands: the
condition is that of the design, not its square. A quadratic and a layer go through the normal equations
(`optimal_weights`). Any other objective is minimised by Newton's method: directions by conjugate gradients from
products with the Hessian alone, steps by halving until Armijo's rule holds, stopped where the gradient on the support
is small.
Source: Nocedal and Wright 2006, Numerical Optimization, algorithms 3.2 and 7.1.
"""

import numpy as np

from refprune.arrays import (
    astype,
    columns,
    diagonal,
    eps,
    eye,
    from_numpy,
    full,
    namespace,
    solve,
    solve_spd,
    swap,
    to_numpy,
)
from refprune.curvature import conjugate_gradient
from refprune.methods.optimal_weights import optimal_weights
from refprune.methods.vectors import count, cut, dot, norm
from refprune.problems import LayerProblem, LeastSquares, Quadratic

ARMIJO = 1e-4  # the share of the promised decrease that a step must bring
NEWTON_STEPS, HALVINGS = 100, 60


def minimise(view, w, kept, goal):
    """The minimiser (d,) of the objective of `view` on the mask `kept`.

    Parameters
    ----------
    view : View
    w : array, shape (d,)
        Where the search starts; what is off the support is cut first. An exact solve does not depend on it.
    kept : boolean array, shape (d,)
    goal : float
        Newton's method stops where the gradient on the support is at most so long.

    Raises
    ------
    numpy.linalg.LinAlgError
        The Hessian of a quadratic is not positive definite on the support; the objective has no minimum there that
        Newton's method can find.
    """
    f, xp = view.objective, namespace(w, kept)
    if view.dead is not None:
        kept = xp.logical_and(kept, xp.logical_not(view.dead))
    w = cut(w, kept)
    if count(kept) == 0:
        return w
    if isinstance(f, LeastSquares):
        return _by_factors(f, w, kept)
    if view.quadratic:
        return _by_normal_equations(f, w, kept)
    return _by_newton(view, w, from_numpy(np.flatnonzero(to_numpy(kept)), w), goal)


def _by_factors(problem, w, kept):
    """``w_K + R^-1 Q^T (y - A w)`` with ``A_K = Q R``, the columns scaled by powers of two to lengths near 1."""
    xp, K = namespace(w), from_numpy(np.flatnonzero(to_numpy(kept)), w)
    A = columns(problem.design, K)
    if A.shape[0] < A.shape[1]:
        raise np.linalg.LinAlgError(
            f"need at least as many samples as kept weights to solve on; got {A.shape[0]} for {A.shape[1]}"
        )
    scale = 2.0 ** xp.round(-0.5 * xp.log2(xp.sum(A * A, axis=0)))  # (k,)
    Q, R = xp.linalg.qr(A * scale)
    size = xp.abs(diagonal(R))
    if not bool(xp.min(size) > R.shape[0] * eps(R.dtype) * xp.max(size)):
        raise np.linalg.LinAlgError("need kept columns of design that are independent; got dependent ones")
    w[kept] = w[kept] + scale * solve(R, swap(Q) @ (problem.target - A @ w[kept]))
    return w


def _by_normal_equations(problem, w, kept):
    """`optimal_weights` in the precision of `w`."""
    if isinstance(problem, LayerProblem):
        wide = LayerProblem(astype(problem.weight, w.dtype), problem.gram)
    else:
        wide = Quadratic(problem.H, astype(problem.weight, w.dtype), problem.g)
    try:
        best = optimal_weights(wide, namespace(kept).reshape(kept, wide.weight.shape)).weight
        if isinstance(wide, Quadratic) and not bool(namespace(w).any(best != cut(wide.weight, kept))):
            _definite(
                wide.H, from_numpy(np.flatnonzero(to_numpy(kept)), w)
            )  # nothing moved, nothing was solved
    except np.linalg.LinAlgError as error:
        said = str(error).partition("; damp=")[0].partition("; no damp")[0]  # damping is not offered here
        raise np.linalg.LinAlgError(said) from None
    return namespace(best).reshape(best, w.shape)


def _definite(H, K):
    """Raise LinAlgError unless `H` is positive definite on `K`."""
    H = eye(K.shape[0], H) * H[K] if H.ndim == 1 else H[K[:, None], K[None, :]]
    solve_spd(H, full((K.shape[0],), 0, H))


def _by_newton(view, w, K, goal):
    """Newton's method on the indices `K`."""
    f = view.objective

    def spread(v):
        out = namespace(w).zeros_like(w)
        out[K] = v
        return out

    value, g = view.at(w)
    slack, first = 32 * view.eps * abs(value), norm(g[K])
    for _ in range(NEWTON_STEPS):
        g, size = g[K], norm(g[K])
        if size <= goal:
            return w
        direction = conjugate_gradient(
            lambda v, at=w: f.hvp(at, spread(v))[K], -g, rtol=min(0.1, size / first)
        ).solution
        slope = dot(g, direction)
        if slope >= 0:
            direction, slope = -g, -size * size
        length = 1.0
        for _ in range(HALVINGS):
            new = w + length * spread(direction)
            new_value, new_g = view.at(new)
            if new_value <= value + ARMIJO * length * slope + slack:
                break
            length /= 2
        else:
            break
        w, value, g = new, new_value, new_g
    raise np.linalg.LinAlgError(
        f"need a minimum on the support that Newton's method finds; got a gradient of {norm(g):.3g},"
        f" above {goal:.3g}, when it stopped"
    )
