r"""Second-order matrices from first derivatives: Gauss-Newton and the empirical Fisher matrix.

Model: a loss ``L(theta) = mean over samples of loss(f(x; theta), y)`` with outputs f of each sample.
Problem: a positive semidefinite stand-in for its Hessian.
Solution: ``mean of J^T H_out J`` with the Jacobian J of one sample's outputs and the Hessian H_out of its loss with
respect to them; ``mean of g g^T`` with the gradient g of one sample's loss.
Cost: samples outputs d (outputs + d), samples d^2; one GEMM each.
Source: Schraudolph 2002, Fast curvature matrix-vector products, (3); Singh and Alistarh 2020, WoodFisher, (3).
"""

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    cast,
    dtype_name,
    exactly_symmetric,
    exponent,
    namespace,
    plain,
    real,
    swap,
    times_power,
)


def gauss_newton(jacobian: Array, output_hessian: Array) -> Array:
    r"""The Gauss-Newton matrix :math:`\frac1n \sum_s J_s^T H_s J_s`.

    Parameters
    ----------
    jacobian : array, shape (samples, outputs, d)
        Derivatives of every sample's outputs.
    output_hessian : array, shape (samples, outputs, outputs)
        Symmetric: the second derivatives of every sample's own loss (not divided by the samples) with respect to
        its outputs. The identity for ``1/2 ||f - y||^2``; ``diag(p) - p p^T`` for the cross-entropy of a softmax p.

    Returns
    -------
    array, shape (d, d)
        Exactly symmetric, in the dtype of `jacobian`.

    Raises
    ------
    TypeError, ValueError
        Not arrays of one kind with real numbers; shapes that do not fit; NaN or Inf; an output Hessian that is not
        symmetric; no sample; an answer beyond the range of the dtype of `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.curvature import gauss_newton
    >>> gauss_newton(np.array([[[1.0, 2.0]], [[3.0, 0.0]]]), np.ones((2, 1, 1)))  # least squares: J^T J / samples
    array([[5., 1.],
           [1., 2.]])
    """
    real("jacobian", jacobian, ndim=3)
    samples, outputs, d = jacobian.shape
    real("output_hessian", output_hessian, shape=(samples, outputs, outputs))
    J, H = cast(jacobian, exactly_symmetric("output_hessian", output_hessian))
    _need_samples("jacobian", samples)
    xp, rows = namespace(J, H), (samples * outputs, d)
    a, b = excess(J, 3), excess(H, 3)
    J, H = shifted(J, a), shifted(H, b)
    return _mean(xp.reshape(J, rows), xp.reshape(H @ J, rows), samples, 2 * a + b, jacobian)


def empirical_fisher(gradients: Array) -> Array:
    r"""The empirical Fisher matrix :math:`\frac1n \sum_s g_s g_s^T`: a mean of squares, not a square of the mean.

    Parameters
    ----------
    gradients : array, shape (samples, d)
        The gradient of every sample's own loss (not divided by the samples).

    Returns
    -------
    array, shape (d, d)
        Exactly symmetric, in the dtype of `gradients`.

    Raises
    ------
    TypeError, ValueError
        Not a 2-D array of real numbers; NaN or Inf; no sample; an answer beyond the range of the dtype of `gradients`.

    See Also
    --------
    fisher_inverse : its inverse, with damping.
    Network.empirical_fisher : that of a network.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.curvature import empirical_fisher
    >>> empirical_fisher(np.array([[1.0, 1.0], [-1.0, -1.0]]))  # the mean gradient is zero, this is not
    array([[1., 1.],
           [1., 1.]])
    """
    real("gradients", gradients, ndim=2)
    _need_samples("gradients", gradients.shape[0])
    (G,) = cast(gradients)
    a = excess(G, 2)
    G = shifted(G, a)
    return _mean(G, G, G.shape[0], 2 * a, gradients)


def _need_samples(name, samples):
    if samples == 0:
        raise ValueError(f"need at least one sample in {name}; got none")


def _mean(A, B, samples, power, like):
    """``2^power A^T B / samples``, exactly symmetric, in the dtype of `like`."""
    total = swap(A) @ B
    return narrowed(shifted((total + swap(total)) / (2 * samples), -power), like)


def excess(array, factors):
    """The power of two to divide by, so that sums of products of so many factors stay in range; mostly 0."""
    bare = plain(array)
    return 0 if dtype_name(bare.dtype) == "object" else beyond(exponent(bare), bare.dtype, factors)


def beyond(size, dtype, factors):
    """`excess` for numbers up to ``2**size``."""
    most = (900 if dtype_name(dtype) == "float64" else 90) // factors
    return size - max(-most, min(most, size))


def shifted(array, power):
    """`array` over ``2**power``."""
    return times_power(array, -power) if power else array


def narrowed(matrix, like):
    """`matrix` in the dtype of `like`; ValueError where an entry is beyond its range."""
    if matrix.dtype != like.dtype:
        with np.errstate(over="ignore"):
            matrix = astype(matrix, like.dtype)
    return real(f"the answer in {dtype_name(like.dtype)}", matrix)
