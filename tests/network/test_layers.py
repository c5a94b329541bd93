"""The forward pass of every layer against its definition, one output entry after the other, and SciPy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.signal import correlate

from refprune.network import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Residual,
    Tanh,
)
from tests.network import direct
from tests.network.checking import close, frozen

EPS = 2.0**-52
sides = st.tuples(st.integers(1, 3), st.integers(1, 3))
one_or_pair = st.one_of(st.integers(1, 3), sides)
paddings = st.one_of(
    st.integers(0, 2), *(st.tuples(p, p) for p in (st.integers(0, 2), st.tuples(*[st.integers(0, 2)] * 2)))
)
seeds = st.integers(0, 2**32 - 1)


def images(rng, kernel, padding, dilation, channels, samples=2, extra=3):
    """Integers as floats, so that sums are exact; barely or more than large enough for one window."""
    size = []
    for k, p, d in zip(direct.sides(kernel), direct.margins(padding), direct.sides(dilation)):
        size.append(max(1, d * (k - 1) + 1 - sum(p)) + int(rng.integers(0, extra + 1)))
    return frozen(rng.integers(-4, 5, size=(samples, channels, *size)).astype(float))


def test_dense_is_the_sum_over_its_inputs():
    rng = np.random.default_rng(0)
    W, b, x = (rng.integers(-4, 5, size=size).astype(float) for size in ((3, 4), 3, (5, 4)))
    for bias in (True, False):
        wanted = np.zeros((5, 3))
        for n, o in product(range(5), range(3)):
            wanted[n, o] = sum(W[o, i] * x[n, i] for i in range(4)) + (b[o] if bias else 0)
        params = {"weight": W, "bias": b} if bias else {"weight": W}
        assert_array_equal(Dense(4, 3, bias=bias).forward(params, x), wanted)


@given(one_or_pair, one_or_pair, paddings, one_or_pair, st.sampled_from([1, 2, 3]), st.booleans(), seeds)
def test_convolutions_are_their_sums(kernel, stride, padding, dilation, groups, bias, seed):
    rng = np.random.default_rng(seed)
    share, out = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    layer = Conv2d(groups * share, out, kernel, stride, padding, dilation, groups, bias)
    x = images(rng, kernel, padding, dilation, groups * share)
    params = {name: rng.integers(-4, 5, size=size).astype(float) for name, size in layer.parameters().items()}
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    wanted = direct.conv2d(x, params["weight"], params.get("bias"), **options)
    assert_array_equal(layer.forward(params, x), wanted)
    assert layer.output_shape(x.shape[1:]) == wanted.shape[1:]


@pytest.mark.parametrize("mode", ["valid", "full"])
def test_convolutions_are_scipys_correlation(mode):
    rng = np.random.default_rng(1)
    layer = Conv2d(3, 4, (3, 2), padding=(2, 1) if mode == "full" else 0, bias=False)
    W, x = rng.normal(size=(4, 3, 3, 2)), rng.normal(size=(2, 3, 6, 5))
    if mode == "valid":
        wanted = [[correlate(image, w, "valid")[0] for w in W] for image in x]
    else:  # the channels are not padded: one image and one kernel at a time
        wanted = [[sum(correlate(i, k, "full") for i, k in zip(image, w)) for w in W] for image in x]
    # sums of 18 products of numbers below 5, in two orders
    close("correlation", layer.forward({"weight": W}, x), np.array(wanted), 2 * 18 * 25 * 18 * EPS)


def test_a_depthwise_convolution_keeps_channels_apart():
    rng = np.random.default_rng(2)
    W, x = rng.normal(size=(6, 1, 2, 2)), rng.normal(size=(2, 3, 4, 4))
    y = Conv2d(3, 6, 2, groups=3, bias=False).forward({"weight": W}, x)
    for channel in range(3):
        own = Conv2d(1, 2, 2, bias=False).forward(
            {"weight": W[2 * channel : 2 * channel + 2]}, x[:, channel : channel + 1]
        )
        close("depthwise", y[:, 2 * channel : 2 * channel + 2], own, 4 * 25 * 8 * EPS)


def test_a_kernel_as_large_as_the_image_is_a_dense_layer():
    rng = np.random.default_rng(3)
    W, b, x = (rng.integers(-4, 5, size=size).astype(float) for size in ((5, 2, 3, 4), 5, (2, 2, 3, 4)))
    y = Conv2d(2, 5, (3, 4)).forward({"weight": W, "bias": b}, x)
    flat = Dense(24, 5).forward({"weight": W.reshape(5, 24), "bias": b}, x.reshape(2, 24))
    assert_array_equal(y, flat[:, :, None, None])


pool_paddings = paddings.map(lambda p: p if np.max(p) < 2 else 1)


@given(one_or_pair, st.one_of(st.none(), one_or_pair), pool_paddings, one_or_pair, st.booleans(), seeds)
def test_pools_are_what_their_windows_hold(kernel, stride, padding, dilation, count, seed):
    rng = np.random.default_rng(seed)
    x = images(rng, kernel, padding, dilation, 2) - 5.0 * (seed % 2)  # half of them all negative
    settings = (kernel, stride, padding, dilation)
    step = kernel if stride is None else stride
    seen = [
        sum(direct.inside(x.shape[2:], y, x_) for _, _, y, x_ in entries)
        for _, _, entries in direct.windows(x.shape[2:], kernel, step, padding, dilation)
    ]
    if min(seen) == 0:
        for layer in (MaxPool2d(*settings), AvgPool2d(*settings)):
            with pytest.raises(ValueError, match="need a pixel in every window of"):
                layer.output_shape(x.shape[1:])
        return
    arguments = (kernel, step, padding, dilation)
    wanted = direct.maxpool2d(x, *arguments)
    assert_array_equal(MaxPool2d(*settings).forward({}, x), wanted)
    assert MaxPool2d(*settings).output_shape(x.shape[1:]) == wanted.shape[1:]
    wanted = direct.avgpool2d(x, *arguments, count)
    got = AvgPool2d(*settings, count_padding=count).forward({}, x)
    close(
        "average", got, wanted, 9 * 2 * EPS
    )  # integers below 9 are summed exactly; one over the count, one product


def test_padding_never_wins():
    lowest = -np.finfo(float).max
    for pixel in (-1e-300, -5.0, -1e300, lowest):
        x = np.full((1, 1, 2, 2), pixel)
        assert_array_equal(MaxPool2d(2, 1, 1).forward({}, x), np.full((1, 1, 3, 3), pixel))
    x = np.array([[[[-3.0, -7.0], [-9.0, -4.0]]]])
    wanted = [[[[-3, -3, -7], [-3, -3, -4], [-9, -4, -4]]]]
    assert_array_equal(MaxPool2d(2, 1, 1).forward({}, x), wanted)


def check_selection(layer, x):
    """A tangent at one pixel comes out where the definition selects this pixel, and its adjoint goes back there."""
    y, tape = layer.record({}, x)
    chosen = direct.winners(x, layer.kernel, layer.stride or layer.kernel, layer.padding, layer.dilation)
    t = np.arange(1.0, x.size + 1).reshape(x.shape)
    wanted, back, delta = np.zeros(y.shape), np.zeros(x.shape), np.arange(1.0, y.size + 1).reshape(y.shape)
    for place, pixel in chosen.items():
        wanted[place] = t[pixel]
        back[pixel] += delta[place]
    assert np.array_equal(layer.apply(tape, t), wanted), (
        "MaxPool2d: apply does not select the first of the largest"
    )
    assert np.array_equal(layer.adjoint(tape, delta), back), "MaxPool2d: adjoint goes to other pixels"


@pytest.mark.parametrize("settings", [(2,), (3, 1, 1), ((2, 3), (1, 2), ((1, 0), (0, 1))), (2, 1, 1, 2)])
def test_among_equals_the_first_in_c_order_is_selected(settings):
    rng = np.random.default_rng(4)
    for x in (
        np.zeros((2, 2, 5, 6)),
        np.full((1, 1, 5, 6), -2.0),
        rng.integers(-1, 1, size=(3, 2, 5, 6)).astype(float),
        np.full((1, 1, 5, 6), -np.finfo(float).max),
        np.where(rng.random((2, 1, 5, 6)) < 0.5, 0.0, -0.0),
    ):
        check_selection(MaxPool2d(*settings), x)


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_batchnorm_is_its_formula(eps):
    rng = np.random.default_rng(5)
    x = frozen(rng.normal(size=(2, 3, 2, 4)) + 1)
    params = {name: rng.normal(size=3) + 0.3 for name in ("weight", "bias", "running_mean")}
    params["running_var"] = np.array([0.0, 0.25, 3.0])  # a variance of 0 is what eps is for
    wanted = direct.batchnorm2d(x, *params.values(), eps)
    # one over a root of at least eps: six roundings
    close("batchnorm", BatchNorm2d(3, eps).forward(params, x), wanted, 6 * EPS * np.abs(wanted).max())


def test_shapes_and_order_of_layers_without_parameters():
    x = np.arange(48.0).reshape(2, 3, 2, 4)
    y = GlobalAvgPool().forward({}, x)
    assert y.shape == (2, 3, 1, 1)
    assert_array_equal(y, np.array([3.5, 11.5, 19.5, 27.5, 35.5, 43.5]).reshape(2, 3, 1, 1))
    assert_array_equal(Flatten().forward({}, x), np.arange(48.0).reshape(2, 24))
    assert_array_equal(Flatten().forward({}, np.asfortranarray(x)), np.arange(48.0).reshape(2, 24))
    assert_array_equal(Flatten().forward({}, np.arange(6.0).reshape(2, 3)), np.arange(6.0).reshape(2, 3))


def test_a_residual_is_a_sum():
    rng = np.random.default_rng(6)
    x, W, V = rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    body = np.tanh(x @ W.T)
    got = Residual([Dense(3, 3, bias=False), Tanh()]).forward({"body.0.weight": W}, x)
    close("identity", got, body + x, 30 * EPS)  # sums of 3 products below 5, a tanh and a sum
    short = Residual([Dense(3, 2, bias=False)], [Dense(3, 2, bias=False), Tanh()])
    params = {"body.0.weight": W[:2], "shortcut.0.weight": V}
    close("shortcut", short.forward(params, x), x @ W[:2].T + np.tanh(x @ V.T), 100 * EPS)
    inner = Residual([Residual([Tanh()]), Tanh()])  # nested
    close("nested", inner.forward({}, x), np.tanh(x + np.tanh(x)) + x, 30 * EPS)
    assert_array_equal(Residual([Tanh()], []).forward({}, x), np.tanh(x) + x)  # no layer is the identity
