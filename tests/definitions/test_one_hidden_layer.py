"""One hidden layer by hand: exact cases, the readings against each other, and the mistakes that they kill."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from refprune.arrays import namespace
from refprune.definitions import by_autograd, finite_differences, losses, one_hidden_layer, r_operator
from tests.methods.problems import fractions

EPS = 2.0**-52
LOSSES = ("squared", "cross_entropy")
SQUARE = (lambda z: z * z, lambda z: 2 * z, lambda z: 2 + 0 * z)
CUBE = (lambda z: z**3, lambda z: 3 * z * z, lambda z: 6 * z)
LINE = (lambda z: z, lambda z: 1 + 0 * z, lambda z: 0 * z)


def tanh(z):
    return namespace(z).tanh(z)


TANH = (tanh, lambda z: 1 - tanh(z) ** 2, lambda z: -2 * tanh(z) * (1 - tanh(z) ** 2))


def problem(seed, loss, n=2, m=3, c=3, samples=4):
    """Parameters, inputs and targets of different sizes; nothing is centred at zero."""
    rng = np.random.default_rng(seed)
    params = [rng.normal(size=shape) + 0.25 for shape in ((m, n), (m,), (c, m), (c,))]
    x = rng.normal(size=(samples, n)) + 0.5
    y = rng.normal(size=(samples, c)) - 1 if loss == "squared" else rng.integers(0, c, size=samples)
    return params, x, y


def flat(params):
    return np.concatenate([p.ravel() for p in params])


def unflat(w, params):
    """`w` (d,) in the shapes of `params`."""
    parts, start = [], 0
    for p in params:
        parts.append(w[start : start + p.size].reshape(p.shape))
        start += p.size
    return parts


def mean_loss(params, phi, x, y, loss):
    """The loss in matrix form, for complex numbers and autograd's boxes too."""
    xp = namespace(params[0])
    f = phi[0](x @ params[0].T + params[1]) @ params[2].T + params[3]
    if loss == "squared":
        return xp.sum((f - y) ** 2) / 2 / len(x)
    return xp.sum(xp.log(xp.sum(xp.exp(f), axis=1)) - f[np.arange(len(y)), y]) / len(x)


def agrees(got, expected, what):
    # An entry sums N (c^2 + c) = 48 products of at most 8 factors: 56 eps of the sum of their sizes (Higham,
    # 3.1), which is below 20 times the largest entry here.
    slack = 1000 * EPS * np.abs(expected).max()
    gap = np.abs(got - expected).max()
    assert gap <= slack, f"wrong {what}: off by {gap:.2g}, {gap / slack:.2g} bounds"


def certify(seed, loss, gradient, hessian):
    """Both against complex steps: the gradient's of the loss, the Hessian's of the certified gradient."""
    params, x, y = problem(seed, loss)
    w = flat(params)
    expected = finite_differences.complex_step(lambda u: mean_loss(unflat(u, params), TANH, x, y, loss), w)
    agrees(gradient(params, TANH, x, y, loss), expected, "gradient")

    def slope(u):
        return one_hidden_layer.gradient(unflat(u, params), TANH, x, y, loss)

    agrees(hessian(params, TANH, x, y, loss), finite_differences.complex_step(slope, w), "Hessian")


def by_products(params, phi, x, y, loss):
    """The Hessian whose columns are products with the unit vectors."""
    d = sum(p.size for p in params)
    return np.stack([r_operator.hvp(params, phi, x, y, loss, unit) for unit in np.eye(d)], axis=1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_complex_steps_agree(seed, loss):
    certify(seed, loss, one_hidden_layer.gradient, one_hidden_layer.hessian)
    certify(seed, loss, one_hidden_layer.gradient, by_products)


def test_everything_on_paper():
    # f = 3 (2 x + 1)^2 - 1 at x = 1: z = 3, h = 9, f = 26, so r = 26 - 20 = 6
    params = [fractions(np.array(p)) for p in ([[2]], [1], [[3]], [-1])]
    x, y = fractions(np.array([[1]])), fractions(np.array([[20]]))
    df = np.array([18, 18, 9, 1])  # W2 phi' x, W2 phi', h, 1
    d2f = np.array([[6, 6, 6, 0], [6, 6, 6, 0], [6, 6, 0, 0], [0, 0, 0, 0]])  # W2 phi'' = phi' = 6
    assert_array_equal(one_hidden_layer.gradient(params, SQUARE, x, y, "squared"), 6 * df)
    H = one_hidden_layer.hessian(params, SQUARE, x, y, "squared")
    assert_array_equal(H, np.outer(df, df) + 6 * d2f)
    assert all(isinstance(entry, Fraction) for entry in H.ravel())
    only_first = one_hidden_layer.hessian(params, SQUARE, x, y, "squared", second=0)
    assert_array_equal(only_first, np.outer(df, df))
    v = fractions(np.array([1, 0, -2, 5]))
    assert_array_equal(r_operator.hvp(params, SQUARE, x, y, "squared", v), H @ v)


def test_cross_entropy_on_paper():
    # all outputs are 0: p = (1/2, 1/2), label 1: r = (1/2, -1/2), S = [[1, -1], [-1, 1]] / 4; z = 3, h = 9
    params = [np.array([[2.0]]), np.array([1.0]), np.zeros((2, 1)), np.zeros(2)]
    x, y = np.array([[1.0]]), np.array([1])
    g = one_hidden_layer.gradient(params, SQUARE, x, y, "cross_entropy")
    assert_array_equal(g, [0, 0, 4.5, -4.5, 0.5, -0.5])
    S = np.array([[0.25, -0.25], [-0.25, 0.25]])
    mixed = np.array([[3.0, -3.0], [3.0, -3.0]])  # r_k phi' x
    nothing = np.zeros((2, 2))
    expected = np.block([[nothing, mixed, nothing], [mixed.T, 81 * S, 9 * S], [nothing, 9 * S, S]])
    assert_array_equal(one_hidden_layer.hessian(params, SQUARE, x, y, "cross_entropy"), expected)
    assert losses.value(np.zeros(2), y[0], "cross_entropy") == np.log(2)


def test_the_loss_is_a_mean_over_samples():
    params, x, y = problem(5, "squared", samples=1)
    for function in (one_hidden_layer.gradient, one_hidden_layer.hessian):
        once = function(params, TANH, x, y, "squared")
        twice = function(params, TANH, np.concatenate([x, x]), np.concatenate([y, y]), "squared")
        agrees(twice, once, "mean")


@given(st.integers(0, 2**32 - 1), st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))
def test_the_two_readings_are_equal_exactly(seed, n, m, c):
    rng = np.random.default_rng(seed)
    shapes = ((m, n), (m,), (c, m), (c,), (2, n), (2, c))
    *params, x, y = [fractions(rng.integers(-3, 4, size=shape)) for shape in shapes]
    H = one_hidden_layer.hessian(params, CUBE, x, y, "squared")
    v = fractions(rng.integers(-3, 4, size=len(H)))
    assert_array_equal(H, H.T)
    assert_array_equal(r_operator.hvp(params, CUBE, x, y, "squared", v), H @ v)


@given(st.integers(0, 2**32 - 1))
def test_without_curvature_only_the_product_of_the_layers_is_curved(seed):
    rng = np.random.default_rng(seed)
    shapes = ((2, 2), (2,), (1, 2), (1,), (3, 2), (3, 1))
    *params, x, y = [fractions(rng.integers(-3, 4, size=shape)) for shape in shapes]
    full, first = (one_hidden_layer.hessian(params, LINE, x, y, "squared", second=s) for s in (1, 0))
    rest = full - first
    assert all(rest[:6, :6].ravel() == 0)
    assert all(rest[6:, 6:].ravel() == 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_autograd_and_central_differences_agree(loss):
    pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")
    params, x, y = problem(7, loss)
    w = flat(params)
    g, H = (f(params, TANH, x, y, loss) for f in (one_hidden_layer.gradient, one_hidden_layer.hessian))

    def value(u):
        return mean_loss(unflat(u, params), TANH, x, y, loss)

    def slope(u):
        return one_hidden_layer.gradient(unflat(u, params), TANH, x, y, loss)

    agrees(by_autograd.gradient(value, w), g, "gradient")
    agrees(by_autograd.hessian(value, w), H, "Hessian")
    # error of central differences: eps^(2/3) = 4e-11 times |f| + |f'''| / 6, both below 100 here
    assert_allclose(finite_differences.gradient(value, w), g, rtol=0, atol=4e-9)
    assert_allclose(finite_differences.hessian(slope, w), H, rtol=0, atol=4e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_on_other_arrays(cupy_like, loss):
    params, x, y = problem(9, loss)
    d = sum(p.size for p in params)
    v = np.linspace(-1, 2, d)
    there = [cupy_like.asarray(p) for p in params], TANH, cupy_like.asarray(x), cupy_like.asarray(y), loss
    answers = one_hidden_layer.gradient(*there), one_hidden_layer.hessian(*there)
    answers += (r_operator.hvp(*there, cupy_like.asarray(v)),)
    H = one_hidden_layer.hessian(params, TANH, x, y, loss)
    for answer, expected in zip(answers, (one_hidden_layer.gradient(params, TANH, x, y, loss), H, H @ v)):
        assert str(answer.dtype) == cupy_like.dtype
        # as in `agrees`, with the rounding of the inputs to the precision (cond of the loss below 20)
        slack = 2000 * cupy_like.eps * np.abs(expected).max()
        assert_allclose(cupy_like.numpy(answer), expected, rtol=0, atol=slack)


def scaled(function, factor):
    return lambda params, phi, x, y, loss: factor * function(params, phi, x, y, loss)


def with_phi(function, change):
    return lambda params, phi, x, y, loss: function(params, change(phi), x, y, loss)


def without_biases(function):
    """The rows and columns of the biases stay zero."""

    def wrong(params, phi, x, y, loss):
        answer = function(params, phi, x, y, loss).copy()
        forgotten = flat([np.full(p.shape, p.ndim == 1) for p in params])
        answer[forgotten] = 0
        if answer.ndim == 2:
            answer[:, forgotten] = 0
        return answer

    return wrong


def block_diagonal(params, phi, x, y, loss):
    H = one_hidden_layer.hessian(params, phi, x, y, loss)
    first = params[0].size + params[1].size
    H[:first, first:] = H[first:, :first] = 0
    return H


def biases_first(params, phi, x, y, loss):
    """Flat in the order b1, W1, W2, b2."""
    order = np.arange(sum(p.size for p in params))
    n, m = params[0].size, params[1].size
    order[: n + m] = np.r_[n : n + m, :n]
    return one_hidden_layer.hessian(params, phi, x, y, loss)[np.ix_(order, order)]


def gauss_newton(params, phi, x, y, loss):
    return one_hidden_layer.hessian(params, phi, x, y, loss, second=0)


def square_of_the_mean(params, phi, x, y, loss):
    """The empirical Fisher of the mean gradient."""
    g = one_hidden_layer.gradient(params, phi, x, y, loss)
    return np.outer(g, g)


def ignored(phi):
    return phi[0], phi[1], lambda z: 0 * z


HESSIANS = {
    "Gauss-Newton for the Hessian": gauss_newton,
    "phi'' forgotten": with_phi(one_hidden_layer.hessian, ignored),
    "phi'' forgotten in the R-operator": with_phi(by_products, ignored),
    "sign of phi''": with_phi(one_hidden_layer.hessian, lambda phi: (*phi[:2], lambda z: -phi[2](z))),
    "biases forgotten": without_biases(one_hidden_layer.hessian),
    "mean over classes": scaled(one_hidden_layer.hessian, 1 / 3),
    "sum over samples": scaled(one_hidden_layer.hessian, 4),
    "factor 2": scaled(one_hidden_layer.hessian, 2),
    "one block for each layer": block_diagonal,
    "biases first": biases_first,
    "square of the mean gradient": square_of_the_mean,
}
GRADIENTS = {
    "phi' forgotten": with_phi(one_hidden_layer.gradient, lambda phi: (*LINE[:2], phi[2])),
    "phi' at phi(z)": with_phi(
        one_hidden_layer.gradient, lambda phi: (phi[0], lambda z: phi[1](phi[0](z)), phi[2])
    ),
    "biases forgotten": without_biases(one_hidden_layer.gradient),
    "mean over classes": scaled(one_hidden_layer.gradient, 1 / 3),
    "factor 2": scaled(one_hidden_layer.gradient, 2),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", HESSIANS)
def test_wrong_hessians_die(name, loss):
    with pytest.raises(AssertionError, match="wrong Hessian"):
        certify(0, loss, one_hidden_layer.gradient, HESSIANS[name])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", GRADIENTS)
def test_wrong_gradients_die(name, loss):
    with pytest.raises(AssertionError, match="wrong gradient"):
        certify(0, loss, GRADIENTS[name], one_hidden_layer.hessian)


def test_the_softmax_without_its_second_term_dies(monkeypatch):
    def diagonal_only(f, y, loss):
        S = losses.curvature(f, y, loss)
        return [[s if k == j else 0 * s for j, s in enumerate(row)] for k, row in enumerate(S)]

    monkeypatch.setattr(one_hidden_layer, "curvature", diagonal_only)
    with pytest.raises(AssertionError, match="wrong Hessian"):
        certify(0, "cross_entropy", one_hidden_layer.gradient, one_hidden_layer.hessian)
