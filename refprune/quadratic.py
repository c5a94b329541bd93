r"""Quadratic problems: a quadratic model of a loss, and least squares.

Both are objectives over a flat vector; see `refprune.problems`.
"""

from refprune.arrays import Array, astype, cast, diagonal, exactly_symmetric, eye, namespace, real, swap


class Quadratic:
    r"""The quadratic model :math:`q(v) = g^T (v - w) + \frac12 (v - w)^T H (v - w)` of a loss around `w`.

    Parameters
    ----------
    hessian : array, shape (d, d) or (d,)
        Symmetric (up to sqrt(eps) of its largest entry; the mean with its transpose is used), or a diagonal.
        It need not be positive definite; a method that needs that says so.
    weight : array, shape (d,)
    gradient : array, shape (d,), optional
        The gradient of the loss at `weight`; None means 0.

    Attributes
    ----------
    H, weight, g : arrays
        What was given, under the symbols of the papers; `g` is None without a gradient.
    diagonal : array, shape (d,)
        The diagonal of the Hessian.

    Raises
    ------
    TypeError, ValueError
        Not arrays of one kind with real numbers; shapes that do not fit; NaN or Inf; a Hessian that is not
        symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> problem = rp.Quadratic(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, -1.0]))
    >>> float(problem.value(np.array([0.0, -1.0])))  # 1/2 * 2 * 1^2
    1.0
    >>> problem.gradient(np.array([0.0, -1.0]))
    array([-2., -1.])
    """

    def __init__(self, hessian: Array, weight: Array, gradient: Array | None = None):
        real("weight", weight, ndim=1)
        real("hessian", hessian, ndim=(1, 2))
        self.weight, self.g, d = weight, gradient, weight.shape[0]
        self.H = hessian if hessian.ndim == 1 else exactly_symmetric("hessian", hessian)
        if hessian.shape[0] != d:
            raise ValueError(f"need hessian of shape ({d}, {d}) or ({d},); got {tuple(hessian.shape)}")
        if gradient is not None:
            real("gradient", gradient, shape=(d,))
        self._arrays = (self.H, weight) if gradient is None else (self.H, weight, gradient)
        cast(*self._arrays)

    @property
    def diagonal(self) -> Array:
        """The diagonal of the Hessian, (d,)."""
        return self.H if self.H.ndim == 1 else diagonal(self.H)

    def _at(self, w):
        """Return (H, w - weight, g) in one precision."""
        real("w", w, shape=(self.weight.shape[0],))
        w, H, weight, *g = cast(w, *self._arrays)
        return H, w - weight, g[0] if g else None

    def value(self, w: Array) -> Array:
        """The model at `w` (d,), a scalar in units of the loss."""
        H, step, g = self._at(w)
        xp = namespace(H, step)
        value = xp.sum(step * _times(H, step)) / 2
        return value if g is None else value + xp.sum(g * step)

    def gradient(self, w: Array) -> Array:
        """The gradient `g + H (w - weight)`, (d,)."""
        H, step, g = self._at(w)
        return _times(H, step) if g is None else g + _times(H, step)

    def hvp(self, w: Array, v: Array) -> Array:
        """The product of the Hessian and `v` (d,); the model's Hessian does not depend on `w`."""
        real("v", v, shape=(self.weight.shape[0],))
        H, v = cast(self.H, v)
        return _times(H, v)

    def hessian(self, w: Array) -> Array:
        """The Hessian as a new (d, d) array, whatever `w`; a diagonal is filled up with zeros."""
        (H,) = cast(self.H)
        return eye(H.shape[0], H) * H if H.ndim == 1 else astype(H, H.dtype)


def _times(H, v):
    return H * v if H.ndim == 1 else H @ v


class LeastSquares:
    r"""The objective :math:`\frac12 \|y - A w\|^2`.

    Parameters
    ----------
    design : array, shape (samples, d)
        `A`.
    target : array, shape (samples,)
        `y`.

    Raises
    ------
    TypeError, ValueError
        Not arrays of one kind with real numbers; shapes that do not fit; NaN or Inf.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> problem = rp.LeastSquares(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 3.0]))
    >>> float(problem.value(np.array([1.0, 0.0])))
    2.0
    >>> problem.gradient(np.array([1.0, 0.0]))
    array([-2., -2.])
    """

    def __init__(self, design: Array, target: Array):
        self.design = real("design", design, ndim=2)
        self.target = real("target", target, shape=(design.shape[0],))
        cast(design, target)

    def _residual(self, w):
        """Return (A, A w - y) in one precision."""
        real("w", w, shape=(self.design.shape[1],))
        A, y, w = cast(self.design, self.target, w)
        return A, A @ w - y

    def value(self, w: Array) -> Array:
        """Half the squared residual at `w` (d,), a scalar."""
        A, residual = self._residual(w)
        return namespace(A, residual).sum(residual * residual) / 2

    def gradient(self, w: Array) -> Array:
        """The gradient `A^T (A w - y)`, (d,)."""
        A, residual = self._residual(w)
        return swap(A) @ residual

    def hvp(self, w: Array, v: Array) -> Array:
        """`A^T A v` (d,) by two products, whatever `w`."""
        real("v", v, shape=(self.design.shape[1],))
        A, v = cast(self.design, v)
        return swap(A) @ (A @ v)

    def hessian(self, w: Array) -> Array:
        """`A^T A` (d, d), whatever `w`."""
        (A,) = cast(self.design)
        return swap(A) @ A
