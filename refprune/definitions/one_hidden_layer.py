r"""One hidden layer, `f(x) = W2 phi(W1 x + b1) + b2`: derivatives of the loss, the chain rule written out.

For one sample `z_j = sum_i W1_ji x_i`, `h_j = phi(z_j)`, `f_k = sum_j W2_kj h_j`; a bias weighs a last input that
is always 1. So `df_k/dW2_kj = h_j`, `df_k/dW1_ji = W2_kj phi'(z_j) x_i`, `d2f_k/dW1_ji dW2_kj = phi'(z_j) x_i`,
`d2f_k/dW1_ji dW1_jl = W2_kj phi''(z_j) x_i x_l`, all others 0. With slope r and curvature S of the loss in f,
`g_p = sum_k r_k df_k/dp` and `H_pq = sum_kl df_k/dp S_kl df_l/dq + sum_k r_k d2f_k/dpdq`, means over samples.
`params` is (W1, b1, W2, b2), flat in this order; `phi` is (phi, phi', phi''); `loss` is of `losses`.
"""

from itertools import product

from refprune.arrays import concat, full
from refprune.definitions.losses import curvature, slope


def gradient(params, phi, x, y, loss):
    """The gradient, (d,)."""
    g = full((len(_places(params)),), 0, params[0])
    for s in range(x.shape[0]):
        f, df, _ = _derivatives(params, phi, x[s])
        for i, p in enumerate(_places(params)):
            g[i] = g[i] + sum(r * df(k, *p) for k, r in enumerate(slope(f, y[s], loss)))
    return g / x.shape[0]


def hessian(params, phi, x, y, loss, second=1):
    """The Hessian, (d, d); with `second=0` without the second sum, which leaves the Gauss-Newton matrix."""
    H = full((len(_places(params)),) * 2, 0, params[0])
    for s in range(x.shape[0]):
        f, df, d2f = _derivatives(params, phi, x[s])
        r, S, ks = slope(f, y[s], loss), curvature(f, y[s], loss), range(f.shape[0])
        for (i, p), (j, q) in product(enumerate(_places(params)), repeat=2):
            first = sum(df(k, *p) * S[k][m] * df(m, *q) for k in ks for m in ks)
            H[i, j] = H[i, j] + first + second * sum(r[k] * d2f(k, p, q) for k in ks)
    return H / x.shape[0]


def _places(params):
    """(layer, output, input) of every parameter in flat order; the bias is the input after the last."""
    (c, m), n = params[2].shape, params[0].shape[1]
    first = [(1, j, i) for j in range(m) for i in range(n)] + [(1, j, n) for j in range(m)]
    return first + [(2, k, j) for k in range(c) for j in range(m)] + [(2, k, m) for k in range(c)]


def _derivatives(params, phi, x):
    """Of one sample `x` (n,): f (c,), and the functions `df(k, *p)` and `d2f(k, p, q)`."""
    (W1, b1, W2, b2), one = params, 1 + 0 * params[3][:1]
    z = W1 @ x + b1
    x, h, (_, d1, d2) = concat([x, one], 0), concat([phi[0](z), one], 0), [g(z) for g in phi]

    def df(k, layer, j, i):
        return W2[k, j] * d1[j] * x[i] if layer == 1 else h[i] * (j == k)

    def d2f(k, p, q):
        (layer, j, i), (other, m, n) = sorted((p, q))  # W1 before W2
        if layer == other == 1:
            return W2[k, j] * d2[j] * x[i] * x[n] * (m == j)
        return d1[j] * x[i] * ((m, n) == (k, j)) if layer == 1 else one[0] * 0

    return W2 @ h[:-1] + b2, df, d2f
