"""Jets against autograd over a plain forward pass, against finite differences, and by hand in fractions."""

from fractions import Fraction

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from refprune.definitions import derivatives, elementwise
from refprune.definitions.jet_network import rules
from refprune.definitions.windows import patches, winners
from refprune.testing.architectures import PALETTE
from refprune.testing.networks import problem
from tests.testing.right_networks import Autograd, trainable, unflattened

EPS = np.finfo(float).eps
AUTOGRAD = Autograd()
KINDS = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")


def vector(params):
    return np.concatenate([params[name].ravel() for name in trainable(params)])


def call(found):
    return [found[name] for name in ("layers", "params", "x", "y", "loss")]


def along(found):
    """The losses (samples,) and the outputs, as functions of the flat parameters."""
    layers, params, x, y, loss = call(found)

    def outputs(w):
        return AUTOGRAD.forward(layers, unflattened(params, w), x)

    return lambda w: AUTOGRAD.losses(outputs(w), y, loss), outputs


def close(found, right, scale=1.0):
    # sums of some thousand products of numbers of size 1, then whatever cancels: 1e3 eps of the largest entry
    assert found.shape == right.shape
    assert np.abs(found - right).max(initial=0.0) <= 1e3 * EPS * (np.abs(right).max(initial=0.0) + scale)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(1)
    found = [problem(rng) for _ in range(40)]
    return found + [problem(rng, architecture=name) for name in PALETTE]


def differentiate(found, v):
    """By autograd: outputs, mean loss, gradients by sample, gradient, Hessian times v."""
    of_w, outputs = along(found)
    w = vector(found["params"])
    slope = autograd.grad(lambda u: anp.mean(of_w(u)))
    return (
        outputs(w),
        of_w(w).mean(),
        autograd.jacobian(of_w)(w),
        slope(w),
        autograd.grad(lambda u: anp.dot(slope(u), v))(w),
    )


def matrices(found):
    """By autograd: the Hessian, and Gauss-Newton sample by sample."""
    of_w, outputs = along(found)
    w, y, loss = vector(found["params"]), found["y"], found["loss"]
    f, J = outputs(w), autograd.jacobian(outputs)(w)
    G = 0.0
    for n in range(len(f)):
        S = autograd.hessian(lambda t, n=n: AUTOGRAD.losses(t[None], y[n : n + 1], loss)[0])(f[n])
        G = G + J[n].T @ S @ J[n] / len(f)
    return autograd.hessian(lambda u: anp.mean(of_w(u)))(w), G


def test_values_gradients_and_products_are_those_of_autograd(drawn):
    rng = np.random.default_rng(2)
    for found in drawn:
        v = rng.normal(size=vector(found["params"]).size)
        f, value, own, slope, product = differentiate(found, v)
        close(derivatives.forward(*call(found)[:3]), f)
        close(derivatives.network_loss(*call(found)), value)
        close(derivatives.per_sample_gradients(*call(found)), own)
        close(derivatives.gradient(*call(found)), slope)
        close(derivatives.hvp(*call(found), v), product, np.abs(v).max())


def test_matrices_are_those_of_autograd(drawn):
    for found in drawn[::6]:
        if vector(found["params"]).size < 90:
            H, G = matrices(found)
            close(derivatives.hessian(*call(found)), H)
            close(derivatives.gauss_newton(*call(found)), G)
            close(H, H.T)


def test_products_are_columns_of_the_matrix(drawn):
    for found in drawn[::10]:
        H = derivatives.hessian(*call(found))
        for j in (0, len(H) - 1):
            close(derivatives.hvp(*call(found), np.eye(len(H))[j]), H[:, j])


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_activations_by_differences(kind):
    phi = (
        getattr(elementwise, kind)
        if kind not in ("relu", "relu6")
        else elementwise.relu(0, 6 if "6" in kind else None)
    )
    z, h = np.linspace(-4.9, 8.3, 133), 1e-5
    p0, p1, p2 = phi(z)
    np.testing.assert_allclose(p0, getattr(AUTOGRAD, kind)(None, z), rtol=4 * EPS, atol=4 * EPS)
    # central differences err by h^2 / 6 times the third derivative (below 3) and by eps / h
    near = np.minimum(abs(z), abs(z - 6)) < 2 * h if "relu" in kind else np.zeros(z.shape, bool)
    for below, above in ((p0, p1), (p1, p2)):
        index = 0 if below is p0 else 1
        slope = (phi(z + h)[index] - phi(z - h)[index]) / (2 * h)
        assert np.abs(slope - above)[~near].max() < 1e-9


def test_activations_neither_overflow_nor_cancel():
    far = np.array([-800.0, 800.0])
    assert elementwise.softplus(far)[0].tolist() == [0.0, 800.0]
    for phi in (
        elementwise.sigmoid,
        elementwise.silu,
        elementwise.gelu,
        elementwise.tanh,
        elementwise.softplus,
    ):
        assert all(np.isfinite(part).all() for part in phi(far))


def test_slopes_at_kinks_are_those_asked_for():
    z = np.array([0.0, 6.0, 3.0, -1.0, 7.0])
    assert elementwise.relu(0.25)(z)[1].tolist() == [0.25, 1, 1, 0, 1]
    assert elementwise.relu(0.25, 6)(z)[1].tolist() == [0.25, 0.25, 1, 0, 0]
    assert elementwise.relu(0, 6)(z)[0].tolist() == [0, 6, 3, 0, 6]


def test_of_equal_winners_the_first_wins_unless_the_last_has_a_share():
    seen = patches(np.array([[[1.0, 3.0, 3.0]]]), (1, 3), 1, 1)
    assert winners(seen).ravel().tolist() == [0, 1, 0]
    assert winners(seen, 0.25).ravel().tolist() == [0, 0.75, 0.25]
    assert winners(patches(np.array([[[1.0, 4.0, 3.0]]]), (1, 3), 1, 1), 0.25).ravel().tolist() == [0, 1, 0]


def test_at_a_kink_the_gradient_is_between_those_of_both_sides():
    layers = [{"type": "dense", "inputs": 1, "outputs": 1, "bias": False}, {"type": "relu"}]
    params, x, y = {"0.weight": np.zeros((1, 1))}, np.array([[2.0]]), np.array([[3.0]])
    found = [derivatives.gradient(layers, params, x, y, "squared", rules(share))[0] for share in (0, 0.5, 1)]
    assert found == [0.0, -3.0, -6.0]  # (f - y) x share


def fractions(array):
    return np.array([Fraction(v) for v in np.ravel(array)], dtype=object).reshape(np.shape(array))


def test_one_hidden_unit_by_hand_in_fractions():
    """f = v max(u x, 0) at u = 2, v = 3, x = 1/2, y = 1: f - y = 2, df/du = v x = 3/2, df/dv = u x = 1."""
    one = {"type": "dense", "inputs": 1, "outputs": 1, "bias": False}
    layers = [one, {"type": "relu"}, one]
    params = {"0.weight": fractions([[2]]), "2.weight": fractions([[3]])}
    given = layers, params, fractions([["1/2"]]), fractions([[1]]), "squared"
    assert derivatives.network_loss(*given) == 2
    assert derivatives.per_sample_gradients(*given).tolist() == [[3, 2]]
    assert derivatives.gauss_newton(*given).tolist() == [
        [Fraction(9, 4), Fraction(3, 2)],
        [Fraction(3, 2), 1],
    ]
    # d2f/dudv = x = 1/2, times f - y = 2
    assert derivatives.hessian(*given).tolist() == [[Fraction(9, 4), Fraction(5, 2)], [Fraction(5, 2), 1]]
    assert derivatives.hvp(*given, fractions([2, -1])).tolist() == [2, 4]


def test_a_convolution_by_hand_in_fractions():
    """One 1 x 2 kernel (a, b) with padding, ReLU, the average, squared: f = (a p1 + b p2 summed over windows) / 3."""
    layers = [
        {"type": "conv2d", "in_channels": 1, "out_channels": 1, "kernel": (1, 2), "padding": (0, 1), "bias": True},
        {"type": "relu"}, {"type": "globalavgpool"}, {"type": "flatten"},
    ]  # fmt: skip
    params = {"0.weight": fractions([[[[1, 2]]]]), "0.bias": fractions([0])}
    x, y = fractions([[[[1, 3]]], [[[5, -4]]]]), fractions([[4], [0]])
    # windows of sample 0: (0, 1) (1, 3) (3, 0) give 2, 7, 3: f = 4, r = 0, df = (4, 4, 3) / 3
    # windows of sample 1: (0, 5) (5, -4) (-4, 0) give 10, -3, -4: f = 10/3, r = 10/3, df = (0, 5, 1) / 3
    own = derivatives.per_sample_gradients(layers, params, x, y, "squared")
    assert own.tolist() == [[0, 0, 0], [0, Fraction(50, 9), Fraction(10, 9)]]
    G = derivatives.gauss_newton(layers, params, x, y, "squared")
    u, w = np.array([4, 4, 3]), np.array([0, 5, 1])
    assert_array_equal(G * 18, np.outer(u, u) + np.outer(w, w))
    assert_array_equal(
        derivatives.hessian(layers, params, x, y, "squared"), G
    )  # one layer: nothing is curved


def test_the_hessian_of_softmax_regression_by_hand():
    """x = 1, W = 0, two classes: p = (1/2, 1/2), the Hessian is [[1, -1], [-1, 1]] / 4."""
    layers = [{"type": "dense", "inputs": 1, "outputs": 2, "bias": False}]
    given = layers, {"0.weight": np.zeros((2, 1))}, np.ones((1, 1)), np.array([1]), "cross_entropy"
    assert derivatives.per_sample_gradients(*given).tolist() == [[0.5, -0.5]]
    assert derivatives.hessian(*given).tolist() == [[0.25, -0.25], [-0.25, 0.25]]
    assert derivatives.network_loss(*given) == np.log(2)


def test_second_differences_of_the_loss(drawn):
    """`u^T H v` by four values of the loss, which no rule for a derivative enters."""
    rng, h = np.random.default_rng(3), 2.0**-13
    for found in drawn[::4]:
        layers, params, x, y, loss = call(found)
        w = vector(params)
        u, v = (rng.normal(size=w.size) / np.sqrt(w.size) for _ in range(2))

        def at(s, t, u=u, v=v, w=w, params=params, layers=layers, x=x, y=y, loss=loss):
            return derivatives.network_loss(layers, unflattened(params, w + s * u + t * v), x, y, loss)

        slope = (at(h, h) - at(h, -h) - at(-h, h) + at(-h, -h)) / (4 * h * h)
        # eps / h^2 of the loss, h^2 of the fourth derivatives
        assert abs(slope - u @ derivatives.hvp(layers, params, x, y, loss, v)) < 1e-5 * (1 + abs(slope))
