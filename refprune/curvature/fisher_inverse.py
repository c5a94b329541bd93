r"""The inverse of the damped empirical Fisher matrix.

Model: ``F = damp I + G^T G / N`` for gradients G (N, d), or its diagonal blocks.
Problem: F^-1.
Solution: with fewer gradients than weights the Woodbury identity, ``(I - G^T (damp N I + G G^T)^-1 G) / damp``, with
one N by N system; else the Cholesky factor of F, since Woodbury subtracts nearly equal numbers there.
Cost: N d^2 + N^2 d, or N d^2 + 6 d^3.
Source: Singh and Alistarh 2020, WoodFisher, (4) to (6), where one gradient is added after the other; that recursion
is the definition.
"""

from fractions import Fraction
from math import ceil, frexp, ldexp
from numbers import Rational

import numpy as np

from refprune.arrays import (
    Array,
    cast,
    dtype_name,
    exponent,
    eye,
    integer,
    inv_spd,
    namespace,
    nonnegative,
    real,
    solve_spd,
    swap,
    times_power,
)
from refprune.curvature.gauss_newton import beyond, narrowed, shifted


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
        the range of the dtype of `gradients`.
    numpy.linalg.LinAlgError
        F is singular to rounding: `damp` is too small for the dtype.

    See Also
    --------
    empirical_fisher : F without damping, not inverted.
    woodfisher : prunes by it, and forms no matrix of d by d.
    Network.per_sample_gradients : the gradients.

    Notes
    -----
    With fewer gradients than weights Woodbury's identity, else a Cholesky factor of F: N d^2 + N^2 d operations, or
    N d^2 + 6 d^3, and a few arrays (d, d). The error is about ``eps cond(F)`` times the norm of the inverse.

    Source: Singh and Alistarh 2020, WoodFisher, whose recursion is the definition.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.curvature import fisher_inverse
    >>> fisher_inverse(np.array([[2.0, 0.0]]), damp=0.5)  # F = diag(4.5, 0.5)
    array([[0.22222222, 0.        ],
           [0.        , 2.        ]])
    """
    real("gradients", gradients, ndim=2)
    number, d = nonnegative("damp", damp), gradients.shape[1]
    if dtype_name(gradients.dtype) == "object":
        damp = Fraction(damp if isinstance(damp, Rational) else number)
    else:
        damp = number
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
    compute = _exactly if isinstance(damp, Fraction) else _by_floats
    try:
        inverse = compute(G, damp)
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            f"need a Fisher matrix that is positive definite to rounding; got damp {float(damp):g} with {G.shape[0]} "
            f"gradients of {G.shape[1]} weights; a larger damp would do"
        ) from None
    return narrowed((inverse + swap(inverse)) / 2, gradients)


def _exactly(G, damp):
    """F^-1 in Fractions."""
    return inv_spd(swap(G) @ G / G.shape[0] + damp * eye(G.shape[1], G))


def _by_floats(G, damp):
    """F^-1, from G over 2^a, so that its squares and damp stay in range."""
    samples, d = G.shape
    share, power = frexp(damp)
    sizes = [exponent(G)] if bool(namespace(G).any(G != 0)) else []
    a = beyond(max([*sizes, -(-power // 2)] if damp else sizes, default=0), G.dtype, 2)
    G, ridge = shifted(G, a), ldexp(damp, -2 * a)
    if samples < d and damp > 0:
        inner = G @ swap(G) + ridge * samples * eye(samples, G)
        return times_power((eye(d, G) - swap(G) @ solve_spd(inner, G)) / share, -power)
    return shifted(inv_spd(swap(G) @ G / samples + ridge * eye(d, G)), 2 * a)
