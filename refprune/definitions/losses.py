"""The losses of one sample in its outputs `f` (c,): value, slope and curvature.

`"squared"`: `l = 1/2 sum_k (f_k - y_k)^2` with targets y (c,), so `r_k = f_k - y_k` and `S = I`.
`"cross_entropy"`: `l = log sum_k exp(f_k - f_y)` with a label y; with the softmax `p_k = exp(f_k) / sum_j
exp(f_j)`, `r_k = p_k - [k = y]` and `S_kl = p_k [k = l] - p_k p_l`.
"""

from refprune.arrays import namespace


def value(f, y, loss):
    """The loss."""
    xp, outputs = namespace(f), range(f.shape[0])
    if loss == "squared":
        return sum((f[k] - y[k]) ** 2 for k in outputs) / 2
    return xp.log(sum(xp.exp(f[k] - f[int(y)]) for k in outputs))


def slope(f, y, loss):
    """`r_k = dl / df_k`, a list of c numbers."""
    outputs = range(f.shape[0])
    if loss == "squared":
        return [f[k] - y[k] for k in outputs]
    return [p_k - int(k == y) for k, p_k in enumerate(softmax(f))]


def curvature(f, y, loss):
    """`S_kl = d^2 l / df_k df_l`, a list of c lists."""
    outputs = range(f.shape[0])
    if loss == "squared":
        return [[int(k == j) for j in outputs] for k in outputs]
    p = softmax(f)
    return [[p[k] * int(k == j) - p[k] * p[j] for j in outputs] for k in outputs]


def softmax(f):
    """`p_k = 1 / sum_j exp(f_j - f_k)`, a list."""
    xp, outputs = namespace(f), range(f.shape[0])
    return [1 / sum(xp.exp(f[j] - f[k]) for j in outputs) for k in outputs]
