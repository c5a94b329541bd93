r"""The losses, per sample: value, gradient and Hessian with respect to the network's outputs.

- ``"cross_entropy"``: :math:`\log \sum_c e^{f_c} - f_y` with an integer label y; computed after the largest
  output is subtracted, so nothing overflows. With p = softmax(f): gradient :math:`p - e_y`, Hessian
  :math:`\mathrm{diag}(p) - p p^T`.
- ``"squared"``: :math:`\frac12 \|f - y\|^2`; gradient :math:`f - y`, Hessian :math:`I`.
"""

import numpy as np

from refprune.arrays import (
    astype,
    device_of,
    dtype_name,
    eye,
    full,
    library,
    namespace,
    plain,
    real,
    to_numpy,
)

NAMES = ("cross_entropy", "squared")
FAR = 1000  # an output this far below the largest has probability 0 in float32 and float64


def check(loss, y, samples, shape):
    """Raise unless `loss` is known and the targets `y` fit outputs (samples, *shape)."""
    if loss not in NAMES:
        raise ValueError(f"need loss in {', '.join(NAMES)}; got {loss!r}")
    if loss == "squared":
        real("y", y, shape=(samples, *shape))
        return
    if len(shape) != 1:
        raise ValueError(f"need outputs (samples, classes) for cross_entropy; got samples of shape {shape}")
    library(y, "y")
    if not dtype_name(y.dtype).startswith(("int", "uint")):
        raise TypeError(f"need integer labels in y; got {dtype_name(y.dtype)}")
    if tuple(y.shape) != (samples,):
        raise ValueError(f"need y of shape ({samples},); got {tuple(y.shape)}")
    labels = to_numpy(y)
    wrong = np.flatnonzero((labels < 0) | (labels >= shape[0]))
    if wrong.size:
        raise ValueError(f"need labels in [0, {shape[0] - 1}]; got {labels[wrong[0]]} at {wrong[0]}")


def one_hot(y, like):
    """The labels (samples,) as a boolean (samples, classes) beside the outputs `like`."""
    xp = library(plain(like))
    y = astype(y, xp.int64)  # small integers may not count to the number of classes
    return y[:, None] == xp.arange(like.shape[-1], dtype=xp.int64, **device_of(plain(like)))[None, :]


def values(loss, f, y):
    """The loss of every sample, (samples,)."""
    xp = namespace(f)
    if loss == "squared":
        return xp.sum(xp.reshape((f - y) ** 2, (f.shape[0], -1)), axis=1) / 2
    picked = xp.sum(xp.where(one_hot(y, f), f, full(f.shape, 0, f)), axis=1)
    return xp.log(xp.sum(xp.exp(_shifted(f)), axis=1)) + (xp.max(f, axis=1) - picked)


def _shifted(f):
    """The outputs less the largest of their sample, cut off where they have no weight: nothing overflows."""
    xp = namespace(f)
    top = xp.max(f, axis=-1, keepdims=True)
    return 2 * xp.maximum(f / 2 - top / 2, -FAR / 2)


def softmax(f):
    """The probabilities (..., classes) of the outputs."""
    xp = namespace(f)
    e = xp.exp(_shifted(f))
    return e / xp.sum(e, axis=-1, keepdims=True)


def gradient(loss, f, y):
    """The derivative of every sample's loss with respect to its outputs, of their shape."""
    if loss == "squared":
        return f - y
    return softmax(f) - astype(one_hot(y, f), f.dtype)


def hessian_product(loss, f, t):
    """The Hessian of every sample's loss in its outputs, times the tangents `t` (..., samples, outputs)."""
    if loss == "squared":
        return t
    p = softmax(f)
    mean = (p * t) @ full((f.shape[-1], 1), 1, f)  # a product with ones: NumPy sums short axes slowly
    return p * (t - mean)


def factor(loss, f):
    r"""Rows :math:`\sqrt{P(y)} \nabla_f \ell(y)` for every label y that the model draws: (samples, rows, outputs).

    Their outer products sum to the model's Fisher information in the outputs. For the squared loss the model
    is normal with unit variance, and the expectation is the identity.
    """
    xp, classes = namespace(f), f.shape[-1]
    if loss == "squared":
        return xp.broadcast_to(eye(classes, f)[None, :, :], (f.shape[0], classes, classes))
    p = softmax(f)
    return xp.sqrt(p)[:, :, None] * (p[:, None, :] - eye(classes, f)[None, :, :])
