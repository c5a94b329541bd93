"""Activations and their two derivatives: SciPy's functions, identities, differences, kinks and extreme inputs."""

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.special import expit, ndtr

from refprune.network import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh

KINKED, SMOOTH = (ReLU, ReLU6), (Tanh, Sigmoid, GELU, SiLU, Softplus)
EPS = 2.0**-52
GRID = np.concatenate([np.linspace(-12, 12, 193), [-300.0, -40.0, -1e-8, 0.0, 1e-300, 40.0, 300.0]])
DENSITY = np.exp(-GRID * GRID / 2) / np.sqrt(2 * np.pi)
TAIL = expit(-GRID)
KNOWN = {  # value, slope, bend
    Tanh: (np.tanh(GRID), 1 / np.cosh(GRID) ** 2, -2 * np.tanh(GRID) / np.cosh(GRID) ** 2),
    Sigmoid: (expit(GRID), expit(GRID) * TAIL, expit(GRID) * TAIL * (TAIL - expit(GRID))),
    GELU: (GRID * ndtr(GRID), ndtr(GRID) + GRID * DENSITY, (2 - GRID**2) * DENSITY),
    SiLU: (
        GRID * expit(GRID),
        expit(GRID) * (1 + GRID * TAIL),
        expit(GRID) * TAIL * (2 + GRID * (TAIL - expit(GRID))),
    ),
    Softplus: (np.logaddexp(0, GRID), expit(GRID), expit(GRID) * TAIL),
}


def three(kind, x):
    """(value, slope, bend) as `record` gives them: a bend of None is zero."""
    y, (slope, bend) = kind().record({}, x)
    assert_array_equal(y, kind().forward({}, x))
    return y, slope, 0 * x if bend is None else bend


@pytest.mark.parametrize("kind", SMOOTH)
def test_scipys_functions(kind):
    for got, wanted, name in zip(three(kind, GRID), KNOWN[kind], ("value", "slope", "bend"), strict=True):
        # at most 16 roundings of numbers of size 1 (2 for tanh' = 1 - y^2); x Phi(x) has |x| times them
        np.testing.assert_allclose(got, wanted, rtol=16 * EPS, atol=16 * EPS, err_msg=name)


@pytest.mark.parametrize("kind", [Sigmoid, SiLU, Softplus])
def test_nothing_is_lost_far_below_zero(kind):
    # e^x itself, times x for SiLU: relative to the value; an exponential of x is off by |x| eps
    x = np.array([-20.0, -100.0, -300.0])
    wanted = np.exp(x) * (x if kind is SiLU else 1)
    np.testing.assert_allclose(three(kind, x)[0], wanted, rtol=4e-9)  # next term: e^-20
    np.testing.assert_allclose(three(kind, x[1:])[0], wanted[1:], rtol=8 * EPS)


@given(st.floats(-30, 30))
def test_identities(at):
    x = np.array([at])
    y, other = {kind: three(kind, x) for kind in SMOOTH}, {kind: three(kind, -x) for kind in SMOOTH}
    bound = 16 * EPS * max(1, abs(at))
    for kind, rest in ((GELU, at), (SiLU, at), (Softplus, at), (Sigmoid, None)):
        if rest is None:
            assert abs(y[kind][0] + other[kind][0] - 1) <= bound
            continue
        assert abs(y[kind][0] - other[kind][0] - rest) <= bound  # f(x) - f(-x) = x
        assert abs(y[kind][1] + other[kind][1] - 1) <= bound
        assert abs(y[kind][2] - other[kind][2]) <= bound
    assert abs(y[Tanh][0] - (2 * three(Sigmoid, 2 * x)[0] - 1)) <= bound
    assert abs(y[Softplus][1] - y[Sigmoid][0]) <= bound
    assert abs(y[Softplus][2] - y[Sigmoid][1]) <= bound
    assert_array_equal(three(ReLU6, x)[0], three(ReLU, x)[0] - three(ReLU, x - 6)[0])


@given(st.sampled_from(SMOOTH), st.floats(-8, 8))
def test_central_differences(kind, at):
    h = 2.0**-17  # about eps^(1/3)
    low, middle, high = three(kind, np.array([at - h, at, at + h]))
    for function, derivative in ((low, middle), (middle, high)):
        difference = (function[2] - function[0]) / (2 * h)
        # h^2 / 6 times a third derivative of at most 4, and 2 * 16 eps |f| / 2h of rounding with |f| <= 8
        assert abs(difference - derivative[1]) <= 4 * h * h / 6 + 16 * 8 * EPS / h


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINKED + SMOOTH)
def test_extreme_inputs(kind, dtype):
    largest, smallest = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x = np.array([-largest, -1e30, -1e3, -smallest, 0, smallest, 1e3, 1e30, largest], dtype)
    y, slope, bend = three(kind, x)
    assert {array.dtype.name for array in (y, slope, bend)} == {dtype}
    at_zero = {
        Sigmoid: (0.5, 0.25, 0),
        Tanh: (0, 1, 0),
        Softplus: (np.log(2), 0.5, 0.25),
        SiLU: (0, 0.5, 0.5),
    }
    at_zero |= {GELU: (0, 0.5, (2 / np.pi) ** 0.5), ReLU: (0, 0, 0), ReLU6: (0, 0, 0)}
    above = {Tanh: np.ones(3), Sigmoid: np.ones(3), ReLU6: np.full(3, 6)}.get(kind, x[6:])
    assert_array_equal(y[6:], above)
    assert_array_equal(y[:3], -np.ones(3) if kind is Tanh else np.zeros(3))
    assert_array_equal(slope[:3], np.zeros(3))
    assert_array_equal(slope[6:], np.full(3, float(kind not in (Tanh, Sigmoid, ReLU6))))
    assert_array_equal(bend[:3], np.zeros(3))
    assert_array_equal(bend[6:], np.zeros(3))
    tolerance = 4 * np.finfo(dtype).eps
    for got, wanted in zip((y, slope, bend), at_zero[kind], strict=True):
        if kind in KINKED:
            assert got[4] == wanted
        else:
            np.testing.assert_allclose(got[3:6], wanted, rtol=tolerance, atol=tolerance)
    if kind in (ReLU, ReLU6, Tanh):
        assert_array_equal(y[3:6], x[3:6] if kind is Tanh else [0, 0, smallest])


@pytest.mark.parametrize("kind", KINKED)
def test_the_slope_at_a_kink_is_zero(kind):
    x = np.array([-1.0, -0.0, 0.0, 1.0, 6.0, 7.0])
    y, slope, bend = three(kind, x)
    assert_array_equal(y, [0, 0, 0, 1, 6, 7] if kind is ReLU else [0, 0, 0, 1, 6, 6])
    assert_array_equal(slope, [0, 0, 0, 1, 1, 1] if kind is ReLU else [0, 0, 0, 1, 0, 0])
    assert_array_equal(bend, np.zeros(6))


@pytest.mark.parametrize("kind", SMOOTH)
def test_autograd_finds_no_kink_at_zero(kind):
    value = kind().value
    for at in (0.0, -0.0):
        for order, derivative in ((1, autograd.grad), (2, lambda f: autograd.grad(autograd.grad(f)))):
            # autograd warns where a derivative depends on nothing: add what is zero and depends on x
            got = derivative(lambda x: value(x)[0] + 0 * x[0] ** 3)(np.array([at]))
            np.testing.assert_allclose(got, three(kind, np.array([at]))[order], atol=4 * EPS)


@pytest.mark.parametrize("kind", KINKED + SMOOTH)
def test_any_shape(kind):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    for view in (x, x[:, ::2], np.asfortranarray(x), x[0, 0, 0], x[:0], np.broadcast_to(x[:1], x.shape)):
        for got, flat in zip(three(kind, view), three(kind, view.ravel()), strict=True):
            # an exponential may be rounded otherwise where numbers lie apart in memory
            np.testing.assert_allclose(got, flat.reshape(view.shape), rtol=0, atol=32 * EPS)
            assert not np.shares_memory(got, x)
    assert kind().output_shape((3, 4)) == (3, 4)
