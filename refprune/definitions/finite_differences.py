r"""Derivatives of any function by differences: no rule of calculus is used, so they can judge all others.

Central difference: `(f(w + h v) - f(w - h v)) / 2h = f'(w) v + h^2 f''' / 6 + rounding`. With `|w|` and the scale
on which f changes of order one, the rounding is about `eps |f| / h`. Cut-off and rounding are equal near
`h = eps^(1/3)`, and the error is then of order `eps^(2/3) (|f| + |f'''|)`: 4e-11 in float64, 2e-5 in float32.
Twice the step has four times the cut-off: a third of the difference of the two answers estimates it.
Complex step: `Im f(w + i h v) / h = f'(w) v - h^2 f''' / 6`. Nothing is subtracted, so h may be tiny and the
answer is exact to rounding. f must be analytic and its code take complex numbers: no abs, max or comparison.
`w` is flat (d,); `f` gives a number or an array.
"""

from math import log2

from refprune.arrays import eps, eye, namespace


def along(f, w, v, stretch=1):
    """The derivative of `f` at `w` in the direction `v` (d,), not zero; the step times `stretch`, a power of two."""
    h = stretch * step(w, v)
    return (f(w + h * v) - f(w - h * v)) / (2 * h)


def step(w, v):
    """`eps^(1/3)` in units of w, for the longest entry of v; a power of two, so that `h v` is exact."""
    xp = namespace(w, v)
    longest = float(xp.max(xp.abs(v)))
    return 2.0 ** round(log2(eps(w.dtype) ** (1 / 3) * max(1.0, float(xp.max(xp.abs(w)))) / longest))


def jacobian(f, w):
    """The derivative of `f` (any shape) in every entry of `w`, (..., d); of a number: the gradient (d,)."""
    return namespace(w).stack([along(f, w, unit) for unit in eye(w.shape[0], w)], axis=-1)


def gradient(f, w):
    """The gradient (d,) of the number f."""
    return jacobian(f, w)


def hvp(g, w, v):
    """The Hessian times `v`, (d,), from differences of the gradient function `g`."""
    return along(g, w, v)


def hessian(g, w):
    """The Hessian (d, d) from differences of the gradient function `g`; symmetric only up to its error."""
    return jacobian(g, w)


def complex_step(f, w, h=1e-30):
    """The derivative of the analytic `f` in every entry of the NumPy array `w`, (..., d), exact to rounding."""
    xp = namespace(w)
    return xp.stack([xp.imag(f(w + 1j * h * unit)) / h for unit in eye(w.shape[0], w)], axis=-1)
