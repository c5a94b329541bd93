r"""The inverse of the damped empirical Fisher matrix.

Model: ``F = damp I + G^T G / N`` for gradients G (N, d), or its diagonal blocks.
Problem: F^-1.
Solution: with fewer gradients than weights the Woodbury identity, ``(I - G^T (damp N I + G G^T)^-1 G) / damp``, with
one N by N system; else the Cholesky factor of F, since Woodbury subtracts nearly equal numbers there.
Cost: N d^2 + N^2 d, or N d^2 + 6 d^3.
Source: Singh and Alistarh 2020, WoodFisher, (4) to (6), where one gradient is added after the other; that recursion
is the definition.
"""

from math import ceil

import numpy as np

from refprune.arrays import Array, cast, eye, integer, inv_spd, nonnegative, real, solve_spd, swap
from refprune.curvature.gauss_newton import narrowed


def fisher_inverse(gradients: Array, damp: float, block: int | None = None) -> Array | tuple[Array, ...]:
    r"""The inverse of :math:`F = \text{damp}\, I + \frac1N \sum_s g_s g_s^T`.

    Parameters
    ----------
    gradients : array, shape (N, d)
        The gradient of every sample's own loss.
    damp : float
        Absolute: added to the diagonal as it is, in units of the loss per weight squared.
    block : int, optional
        Only the diagonal blocks of F of this size count, the last one may be smaller; the rest of F is taken as 0.

    Returns
    -------
    array, shape (d, d), or tuple of arrays, each (size, size)
        Exactly symmetric, in the dtype of `gradients`. With `block` the diagonal blocks of the inverse, in order: what
        lies outside of them is 0 and is not stored.

    Raises
    ------
    TypeError, ValueError
        Not a 2-D array of real numbers; NaN or Inf; no sample; a negative `damp`; `block` below 1; an answer beyond
        the range of a narrower dtype of `gradients`.
    numpy.linalg.LinAlgError
        F is singular to rounding: `damp` is too small for the dtype.

    Notes
    -----
    The error is about ``eps cond(F)`` times the norm of the inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.curvature import fisher_inverse
    >>> fisher_inverse(np.array([[2.0, 0.0]]), damp=0.5)  # F = diag(4.5, 0.5)
    array([[0.22222222, 0.        ],
           [0.        , 2.        ]])
    """
    real("gradients", gradients, ndim=2)
    damp, d = nonnegative("damp", damp), gradients.shape[1]
    if gradients.shape[0] == 0:
        raise ValueError("need at least one sample in gradients; got none")
    if block is None:
        return _inverse(gradients, damp)
    size = integer("block", block, least=1)
    return tuple(
        _inverse(gradients[:, k * size : min((k + 1) * size, d)], damp) for k in range(ceil(d / size))
    )


def _inverse(gradients, damp):
    """F^-1 for all columns of `gradients`."""
    (G,) = cast(gradients)
    samples, d = G.shape
    try:
        if samples < d and damp > 0:
            inner = G @ swap(G) + damp * samples * eye(samples, G)
            inverse = (eye(d, G) - swap(G) @ solve_spd(inner, G)) / damp
        else:
            inverse = inv_spd(swap(G) @ G / samples + damp * eye(d, G))
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            f"need a Fisher matrix that is positive definite to rounding; got damp {damp:g} with {samples} "
            f"gradients of {d} weights; a larger damp would do"
        ) from None
    return narrowed((inverse + swap(inverse)) / 2, gradients)
