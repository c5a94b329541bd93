"""The losses of all samples in their outputs `f` (samples, outputs): value, slope and curvature.

`"squared"`: `l = 1/2 sum_k (f_k - y_k)^2`, slope `f - y`, curvature the identity. `"cross_entropy"` with a label y:
`l = log(sum_k exp f_k) - f_y`; with the softmax `p_k = exp f_k / sum_j exp f_j` the slope is `p_k - [k = y]` and the
curvature `p_k [k = j] - p_k p_j`. Exponentials are taken of `f - max f`, which changes no softmax.
"""

from refprune.arrays import eye, namespace


def value(f, y, loss):
    """(samples,)."""
    if loss == "squared":
        return (slope(f, y, loss) ** 2).sum(-1) / 2
    xp, low = namespace(f), f - f.max(-1)[:, None]
    return xp.log(xp.exp(low).sum(-1)) - (low * one_hot(f, y)).sum(-1)


def slope(f, y, loss):
    """(samples, outputs)."""
    return f - y.reshape(f.shape) if loss == "squared" else softmax(f) - one_hot(f, y)


def curvature(f, y, loss):
    """(samples, outputs, outputs)."""
    if loss == "squared":
        return eye(f.shape[1], f) + 0 * f[:, :, None]
    p = softmax(f)
    return p[:, :, None] * eye(f.shape[1], f) - p[:, :, None] * p[:, None, :]


def softmax(f):
    """(samples, outputs): positive, and 1 in sum."""
    e = namespace(f).exp(f - f.max(-1)[:, None])
    return e / e.sum(-1)[:, None]


def one_hot(f, y):
    """(samples, outputs): True at the label."""
    return namespace(f, y).arange(f.shape[1]) == y[:, None]
