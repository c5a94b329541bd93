"""Losses of outputs: loops, SciPy, autograd, and outputs of any size."""

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.special import log_softmax

from refprune.network import Dense, Flatten, Network, losses
from tests.network.checking import EPS, close

BOUND = (
    64 * EPS["float64"]
)  # a softmax of at most 9 outputs: 9 exponentials of 2 eps, a sum, a division, a product


def drawn(seed):
    rng = np.random.default_rng(seed)
    samples, classes = rng.integers(1, 5), rng.integers(1, 9)
    f = 3 * rng.normal(size=(samples, classes)) + rng.normal()
    return f, rng.integers(classes, size=samples), f + rng.normal(size=f.shape), rng


@given(st.integers(0, 2**32 - 1))
def test_values_are_their_definitions(seed):
    f, labels, targets, _ = drawn(seed)
    wanted = [-log_softmax(outputs)[label] for outputs, label in zip(f, labels, strict=True)]
    close("cross_entropy", losses.values("cross_entropy", f, labels), wanted, BOUND * np.abs(f).max())
    wanted = [sum((a - b) ** 2 for a, b in zip(u, v)) / 2 for u, v in zip(f, targets, strict=True)]
    close("squared", losses.values("squared", f, targets), wanted, BOUND * max(1, np.max(wanted)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(losses.NAMES))
def test_gradients_and_hessians_are_autograds(seed, loss):
    f, labels, targets, rng = drawn(seed)
    y = labels if loss == "cross_entropy" else targets
    t = rng.normal(size=(3, *f.shape))
    for n in range(len(f)):

        def value(u, n=n):  # autograd warns of what does not depend on its argument
            return losses.values(loss, u[None], y[n : n + 1])[0] + 0 * (u**3).sum()

        gradient, hessian = autograd.grad(value)(f[n]), autograd.hessian(value)(f[n])
        close("gradient", losses.gradient(loss, f, y)[n], gradient, BOUND * max(1, np.abs(f).max()))
        close("hessian_product", losses.hessian_product(loss, f, t)[:, n], t[:, n] @ hessian, 4 * BOUND)
        close("hessian_product", losses.hessian_product(loss, f, t[0])[n], hessian @ t[0, n], 4 * BOUND)
        rows = losses.factor(loss, f)[n]
        close("factor", rows.T @ rows, hessian, BOUND)


def test_the_scores_of_the_model_are_those_of_its_labels():
    f = np.array([[1.0, -2.0, 0.5]])
    p = np.exp(log_softmax(f[0]))
    for label in range(3):
        gradient = losses.gradient("cross_entropy", f, np.array([label]))[0]
        close(
            "score",
            np.abs(losses.factor("cross_entropy", f)[0, label]),
            p[label] ** 0.5 * np.abs(gradient),
            BOUND,
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_outputs_are_exact(dtype):
    for size in (1e3, 1e4, 1e30, 1e38 if dtype == "float32" else 1e308):
        f = np.array([[size, -size, 0], [-size, size, size], [size, size, size]], dtype)
        values = losses.values("cross_entropy", f, np.array([0, 2, 1]))
        assert values.dtype == dtype
        np.testing.assert_allclose(values, np.log([1, 2, 3]), rtol=4 * np.finfo(dtype).eps)
        gradient = losses.gradient("cross_entropy", f, np.array([0, 2, 1]))
        third = np.asarray(1, dtype) / 3
        assert_array_equal(gradient, np.array([[0, 0, 0], [0, 0.5, -0.5], [third, third - 1, third]], dtype))
        product = losses.hessian_product("cross_entropy", f, np.array([1, 3, 5], dtype) + 0 * f)
        np.testing.assert_allclose(product[:2], [[0, 0, 0], [0, -0.5, 0.5]], atol=4 * np.finfo(dtype).eps)
        assert losses.values("cross_entropy", f[:, 1:], np.array([1, 0, 0]))[0] == 0
        # what is far away is charged as it is, up to the largest number
        assert losses.values("cross_entropy", f[:1], np.array([2]))[0] == f[0, 0]


@pytest.mark.parametrize("size", [5e-324, 1e-310])
def test_small_outputs_are_exact(size):
    f = np.array([[size, -size]])
    assert losses.values("cross_entropy", f, np.array([0]))[0] == np.log(2)
    assert_array_equal(losses.gradient("cross_entropy", f, np.array([1])), [[0.5, -0.5]])
    assert losses.values("squared", f, -f)[0] == 0.0


def test_a_shift_of_the_outputs_changes_nothing():
    f = np.array([[1.0, -2.0, 0.5], [0.25, 0.5, -4.0]])  # dyadic: the shift is exact
    y = np.array([2, 0])
    for shift in (0.5, -1024.0, 2.0**30):
        assert_array_equal(
            losses.gradient("cross_entropy", f + shift, y), losses.gradient("cross_entropy", f, y)
        )
        close(
            "value", losses.values("cross_entropy", f + shift, y), losses.values("cross_entropy", f, y), BOUND
        )


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_labels_of_every_integer_type(kind):
    f = np.zeros((2, 300))
    labels = np.array([5, 127], kind)  # 300 classes do not fit into 8 bits
    assert_array_equal(losses.one_hot(labels, f).nonzero(), [[0, 1], [5, 127]])
    losses.check("cross_entropy", labels, 2, (300,))
    network = Network([Dense(2, 300)])
    params = network.unflatten(np.zeros(900))
    gradient = network.gradient(params, np.ones((2, 2)), labels)["0.bias"]
    assert_array_equal(np.flatnonzero(gradient < 0), [5, 127])


def test_one_class_costs_nothing():
    f, y = np.array([[3.0], [-1e300]]), np.array([0, 0])
    assert_array_equal(losses.values("cross_entropy", f, y), [0, 0])
    assert_array_equal(losses.gradient("cross_entropy", f, y), [[0], [0]])
    assert_array_equal(losses.hessian_product("cross_entropy", f, f / 1e300), [[0], [0]])


def test_squared_losses_of_images():
    rng = np.random.default_rng(0)
    network, x, y = Network([]), rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(3, 2, 4, 5))
    flat = Network([Flatten()]).loss({}, x, y.reshape(3, 40), "squared")
    assert network.loss({}, x, y, "squared") == flat
    # 120 squares below 30
    close("mean over samples", flat, ((x - y) ** 2).sum() / 6, 120 * 30 * 120 * EPS["float64"])


@pytest.mark.parametrize(
    ("loss", "y", "shape", "error", "message"),
    [
        ("hinge", [0, 1], (3,), ValueError, "need loss in cross_entropy, squared; got 'hinge'"),
        (None, [0, 1], (3,), ValueError, "need loss in cross_entropy, squared; got None"),
        (
            "cross_entropy",
            [0, 1],
            (3, 1, 1),
            ValueError,
            r"need outputs \(samples, classes\) .*shape \(3, 1, 1\)",
        ),
        ("cross_entropy", [0.0, 1.0], (3,), TypeError, "need integer labels in y; got float64"),
        ("cross_entropy", [True, False], (3,), TypeError, "need integer labels in y; got bool"),
        ("cross_entropy", [[0], [1]], (3,), ValueError, r"need y of shape \(2,\); got \(2, 1\)"),
        ("cross_entropy", [0], (3,), ValueError, r"need y of shape \(2,\); got \(1,\)"),
        ("cross_entropy", [0, 3], (3,), ValueError, r"need labels in \[0, 2\]; got 3 at 1"),
        ("cross_entropy", [-1, 0], (3,), ValueError, r"need labels in \[0, 2\]; got -1 at 0"),
        ("squared", [0, 1], (3,), TypeError, "need real floating numbers in y; got int64"),
        ("squared", [0.0, 1.0], (3,), ValueError, r"need y of shape \(2, 3\); got \(2,\)"),
        ("squared", [[np.nan], [1.0]], (1,), ValueError, "need finite numbers in y; got nan at flat index 0"),
        ("squared", [[0.0], [np.inf]], (1,), ValueError, "need finite numbers in y; got inf at flat index 1"),
    ],
)
def test_targets_that_do_not_fit(loss, y, shape, error, message):
    with pytest.raises(error, match=message):
        losses.check(loss, np.array(y), 2, shape)


def test_targets_are_arrays():
    for loss in losses.NAMES:
        with pytest.raises(TypeError, match="need y to be an array of NumPy"):
            losses.check(loss, [0, 1], 2, (3,))
