"""Derivatives of a network's loss, the mean over the samples of `l(f(x; theta), y)`.

The network is plain data: `layers` a list of dicts, `params` keyed as in a PyTorch `state_dict`, in flat order
(layers in order, body before shortcut, weight then bias, C order). theta (d,) is everything but the running
statistics. `loss` is "cross_entropy" (y: labels) or "squared" (`1/2 |f - y|^2`). With g and S the slope and the
curvature of l in the outputs f, `D_u l = g . D_u f` and `D_u D_v l = D_u f . S D_v f + g . D_u D_v f`; the first
term of the second alone is Gauss-Newton's.
"""

from refprune.arrays import eye
from refprune.definitions.jet_losses import curvature, slope, value
from refprune.definitions.jet_network import RULES
from refprune.definitions.jet_outputs import flat_outputs, outputs, size


def forward(layers, params, x, rules=RULES):
    """The outputs, samples first."""
    return outputs(layers, params, x, None, None, rules).value[0, 0]


def network_loss(layers, params, x, y, loss, rules=RULES):
    """The mean loss."""
    return value(forward(layers, params, x, rules).reshape(x.shape[0], -1), y, loss).sum() / x.shape[0]


def per_sample_gradients(layers, params, x, y, loss, rules=RULES):
    """(samples, d): of each sample's own loss."""
    f = flat_outputs(layers, params, x, eye(size(params), x), None, rules)
    return (slope(f.value[0, 0], y, loss) * f.left[:, 0]).sum(-1).T


def gradient(layers, params, x, y, loss, rules=RULES):
    """(d,): the mean over the samples."""
    return per_sample_gradients(layers, params, x, y, loss, rules).sum(0) / x.shape[0]


def hessian(layers, params, x, y, loss, rules=RULES):
    """(d, d)."""
    return _curved(layers, params, x, y, loss, eye(size(params), x), rules)


def hvp(layers, params, x, y, loss, v, rules=RULES):
    """The Hessian times `v` (d,), without the Hessian: the derivative along v of every derivative."""
    return _curved(layers, params, x, y, loss, v[None], rules)[:, 0]


def gauss_newton(layers, params, x, y, loss, rules=RULES):
    """(d, d): the mean of `J^T S J` with J the Jacobian of a sample's outputs."""
    f = flat_outputs(layers, params, x, eye(size(params), x), None, rules)
    J = f.left[:, 0]  # (d, samples, outputs)
    SJ = (curvature(f.value[0, 0], y, loss) @ J[..., None])[..., 0]
    return J.reshape(J.shape[0], -1) @ SJ.reshape(J.shape[0], -1).T / x.shape[0]


def _curved(layers, params, x, y, loss, right, rules):
    f = flat_outputs(layers, params, x, eye(size(params), x), right, rules)
    g, S = slope(f.value[0, 0], y, loss), curvature(f.value[0, 0], y, loss)
    return (f.left * (S @ f.right[..., None])[..., 0] + g * f.both).sum((-2, -1)) / x.shape[0]
