"""Jets: a quantity carried forward together with its first and second derivatives in the parameters.

Let a depend on parameters theta (d,), and let u_1 .. u_p and v_1 .. v_q be directions in their space. The jet of
a holds a, its derivatives `D_u a` and `D_v a`, and the second ones `D_u D_v a`. With the unit vectors for both
sets of directions the last part is the whole matrix of second derivatives; with one v it is a matrix times v.
The rules are those of a first course: linear maps act on every part; `D_u (f g) = D_u f g + f D_u g`;
`D_u phi(z) = phi'(z) D_u z` and `D_u D_v phi(z) = phi''(z) D_u z D_v z + phi'(z) D_u D_v z`.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Jet:
    """Four arrays that broadcast: two leading axes for the directions u and v, then those of the quantity."""

    value: Any  # (1, 1, ...)
    left: Any  # (p, 1, ...) D_u a
    right: Any  # (1, q, ...) D_v a
    both: Any  # (p, q, ...) D_u D_v a


def constant(a):
    """The jet of an array that does not depend on theta: no derivatives."""
    a = a[None, None]
    return Jet(a, 0 * a, 0 * a, 0 * a)


def parameter(a, left, right):
    """The jet of a part of theta; `left` (p, *shape) and `right` (q, *shape) are its parts of the directions."""
    a = a[None, None]
    return Jet(a, left[:, None], right[None], 0 * a)


def add(a, b):
    """The sum of two quantities."""
    return Jet(a.value + b.value, a.left + b.left, a.right + b.right, a.both + b.both)


def linear(f, a):
    """`f(a)` for a linear map f, which is constant in theta and works on the last axes."""
    return Jet(f(a.value), f(a.left), f(a.right), f(a.both))


def product(f, a, b):
    """`f(a, b)` for a map f that is linear in a and linear in b: the product rule."""
    return Jet(
        f(a.value, b.value),
        f(a.left, b.value) + f(a.value, b.left),
        f(a.right, b.value) + f(a.value, b.right),
        f(a.both, b.value) + f(a.left, b.right) + f(a.right, b.left) + f(a.value, b.both),
    )


def elementwise(phi, z):
    """`phi(z)` for a function of each entry; `phi` gives (phi, phi', phi'') of an array."""
    p0, p1, p2 = phi(z.value)
    return Jet(p0, p1 * z.left, p1 * z.right, p2 * z.left * z.right + p1 * z.both)
