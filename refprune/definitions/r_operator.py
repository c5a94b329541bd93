r"""One hidden layer, `f(x) = W2 phi(W1 x + b1) + b2`: the Hessian times a vector by the R-operator.

Pearlmutter (1994): R{a} is the derivative of a at `params + t v` in t, at t = 0. It obeys the rules of every
derivative, so each line of the forward pass and of the gradient has its own line under it. No second
derivative is ever stored, and the cost is that of a few gradients.
"""

from refprune.arrays import concat, full, namespace
from refprune.definitions.losses import curvature, slope


def hvp(params, phi, x, y, loss, v):
    """The Hessian of the mean loss times `v` (d,); arguments as in `refprune.definitions.one_hidden_layer`."""
    W1, _, W2, _ = params
    (m, n), c = W1.shape, W2.shape[0]
    V1, v1 = v[: m * n].reshape(m, n), v[m * n : m * n + m]
    V2, v2 = v[-c * m - c : -c].reshape(c, m), v[-c:]
    return (
        sum(_of_sample(params, phi, x[s], y[s], loss, V1, v1, V2, v2) for s in range(x.shape[0])) / x.shape[0]
    )


def _of_sample(params, phi, x, y, loss, V1, v1, V2, v2):
    """The product for one sample `x` (n,)."""
    W1, b1, W2, b2 = params
    z = W1 @ x + b1  # (m,)
    Rz = V1 @ x + v1
    h = phi[0](z)
    Rh = phi[1](z) * Rz
    f = W2 @ h + b2  # (c,)
    Rf = V2 @ h + W2 @ Rh + v2
    r = _array(slope(f, y, loss), f)  # dl/df
    Rr = _array([sum(S_kl * Rf_l for S_kl, Rf_l in zip(S_k, Rf)) for S_k in curvature(f, y, loss)], f)
    e = W2.T @ r  # dl/dh
    Re = V2.T @ r + W2.T @ Rr
    # the gradient is (delta x^T, delta, r h^T, r) with delta = e phi'(z) = dl/dz; under R:
    Rdelta = Re * phi[1](z) + e * phi[2](z) * Rz
    RW1 = Rdelta[:, None] * x[None, :]
    RW2 = Rr[:, None] * h[None, :] + r[:, None] * Rh[None, :]
    return concat([RW1.reshape(-1), Rdelta, RW2.reshape(-1), Rr], axis=0)


def _array(numbers, like):
    """The list as an array (c,) beside `like`."""
    return namespace(like).stack([full((), 0, like) + number for number in numbers])
