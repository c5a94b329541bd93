r"""Sums of outer products over samples: Gauss-Newton and Fisher matrices, methods of `refprune.network.Network`."""

from math import prod

from refprune.arrays import Array, full, integer, namespace, swap

from . import losses
from .derivatives import jacobian_part, join, points, prepared, trainable
from .matrices import MEMORY, PART, STRIP, symmetrise
from .point import parts


def gauss_newton(
    network, params: dict, x: Array, y: Array, loss: str = "cross_entropy", memory: int = MEMORY
) -> Array:
    r"""The Gauss-Newton matrix :math:`\frac1N \sum_s J_s^T H_s J_s`, (d, d). Arguments as of `hessian`.

    J (outputs, d) is the Jacobian of a sample's outputs, H the Hessian of its loss in the outputs. It equals the
    Hessian where the network is piecewise linear in each layer's parameters and the outputs' own curvature
    has no weight (one layer, or a zero residual), and it is the model's Fisher information for both losses.
    """
    integer("memory", memory, least=1)
    trainable(network)
    params, x, _ = prepared(network, params, x, y, loss)
    total = full((network.size, network.size), 0, x)
    for f, J in _jacobians(network, params, x, memory):
        HJ = swap(losses.hessian_product(loss, f[:, None, :], swap(J)))
        _add_outer(total, J, HJ, memory)
    return _mean(total, x.shape[0])


def model_fisher(network, params: dict, x: Array, loss: str = "cross_entropy", memory: int = MEMORY) -> Array:
    r"""The Fisher information of the model, (d, d): no labels are needed.

    The mean over samples of :math:`\sum_y P(y \mid x) \nabla \ell_y \nabla \ell_y^T`: for the cross-entropy over
    all classes, for the squared loss over a normal with unit variance. It equals the Gauss-Newton matrix.
    """
    integer("memory", memory, least=1)
    trainable(network)
    params, x = network.ready(params, x)
    shape = network.output_shape(x.shape[1:])
    if loss not in losses.NAMES or (loss == "cross_entropy" and len(shape) != 1):
        raise ValueError(f"need loss in {', '.join(losses.NAMES)} for outputs {shape}; got {loss!r}")
    total = full((network.size, network.size), 0, x)
    for f, J in _jacobians(network, params, x, memory):
        scores = losses.factor(loss, f) @ J  # (samples, labels, d)
        _add_outer(total, scores, scores, memory)
    return _mean(total, x.shape[0])


def empirical_fisher(network, params: dict, x: Array, y: Array, loss: str = "cross_entropy") -> Array:
    """The mean of the outer products of every sample's own gradient, (d, d). Arguments as of `loss`."""
    total = None
    for point in points(network, params, x, y, loss, PART):
        gradients = point.pull("samples")
        gradients = join(network, gradients, network.shapes, (point.outputs.shape[0],), point.outputs)
        total = full((network.size, network.size), 0, gradients) if total is None else total
        _add_outer(total, gradients, gradients, MEMORY)
    return _mean(total, x.shape[0])


def _jacobians(network, params, x, memory):
    """Yield the outputs (samples, outputs) and the Jacobian (samples, outputs, d) of parts of the samples."""
    outputs = prod(network.output_shape(x.shape[1:]))
    each = outputs * (network.held(x) + network.size)
    for part in parts(network, x, max(1, memory // 32 * network.held(x) // each)):
        f, J = jacobian_part(network, params, x[part, ...])
        yield namespace(f).reshape(f, (f.shape[0], outputs)), J


def _add_outer(total, a, b, memory):
    """Add the sum over the leading axes of a^T b to `total` (d, d), some rows at a time."""
    xp, d = namespace(a, b), a.shape[-1]
    a, b = swap(xp.reshape(a, (-1, d))), xp.reshape(b, (-1, d))
    step = max(STRIP, memory // (32 * d))
    for start in range(0, d, step):
        rows = slice(start, min(start + step, d))
        total[rows, :] += a[rows, :] @ b


def _mean(total, samples):
    """The symmetric mean, in place."""
    total /= samples
    symmetrise(total, 0, total.shape[0])
    return total
