"""Activations: each gives (phi, phi', phi'') of an array `z`, written out.

`t = tanh z`; `s = 1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2`, the sigmoid; `P(z) = (1 + erf(z / sqrt 2)) / 2` and
`p(z) = exp(-z^2 / 2) / sqrt(2 pi)`, the normal law. ReLU and ReLU6 have kinks, where every number from 0 to 1 is a
right slope: `relu(slope)` and `relu6(slope)` are the functions that take that one; their curvature is 0.
"""

from math import pi, sqrt

from refprune.arrays import erf, namespace


def relu(slope=0, top=None):
    """`max(z, 0)`, and `min(max(z, 0), top)` where a top is given."""

    def phi(z):
        xp = namespace(z)
        below, above = z <= 0, (z >= top if top is not None else z != z)
        kink = (z == 0) | (z == top) if top is not None else z == 0
        value = xp.where(below, 0 * z, xp.where(above, 0 * z + (top or 0), z))
        return value, xp.where(kink, 0 * z + slope, xp.where(below | above, 0 * z, 0 * z + 1)), 0 * z

    return phi


def tanh(z):
    """`t`, `1 - t^2`, `-2 t (1 - t^2)`."""
    t = namespace(z).tanh(z)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def sigmoid(z):
    """`s`, `s (1 - s)`, `s (1 - s) (1 - 2 s)`."""
    s = (1 + namespace(z).tanh(z / 2)) / 2
    return s, s * (1 - s), s * (1 - s) * (1 - 2 * s)


def gelu(z):
    """`z P(z)`, `P(z) + z p(z)`, `(2 - z^2) p(z)`: the exact one, with erf."""
    P, p = (1 + erf(z / sqrt(2))) / 2, namespace(z).exp(-z * z / 2) / sqrt(2 * pi)
    return z * P, P + z * p, (2 - z * z) * p


def silu(z):
    """`z s`, `s + z s (1 - s)`, `s (1 - s) (2 + z (1 - 2 s))`."""
    s, s1, s2 = sigmoid(z)
    return z * s, s + z * s1, 2 * s1 + z * s2


def softplus(z):
    """`log(1 + exp z) = max(z, 0) + log(1 + exp(-|z|))`, `s`, `s (1 - s)`."""
    xp = namespace(z)
    s, s1, _ = sigmoid(z)
    return xp.where(z > 0, z, 0 * z) + xp.log1p(xp.exp(-abs(z))), s, s1
