"""Unfolding against a convolution written with loops, SciPy's correlation, and PyTorch if it is installed."""

from fractions import Fraction
from itertools import product

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate2d

from refprune.unfold import Window, pair, unfold


def convolve(images, weight, stride, padding, dilation, groups):
    """A convolution from its definition: one sum for each output entry, entries outside the image are 0."""
    samples, _, height, width = images.shape
    out, share, kh, kw = weight.shape
    rows = (height + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (width + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    result = np.zeros((samples, out, rows, columns))
    for n, o, r, c in product(range(samples), range(out), range(rows), range(columns)):
        first = o // (out // groups) * share
        for ch, i, j in product(range(share), range(kh), range(kw)):
            y = r * stride[0] + i * dilation[0] - padding[0]
            x = c * stride[1] + j * dilation[1] - padding[1]
            if 0 <= y < height and 0 <= x < width:
                result[n, o, r, c] += weight[o, ch, i, j] * images[n, first + ch, y, x]
    return result


def by_unfolding(images, weight, options):
    """The same by `W @ unfold(x)`, a group at a time."""
    groups, out = options["groups"], weight.shape[0]
    columns = unfold(images, weight.shape[2:], **options)
    columns = columns[None] if groups == 1 else columns
    W = weight.reshape(groups, out // groups, -1)  # C order: channel, kernel row, kernel column
    rest = {name: options[name] for name in ("stride", "padding", "dilation")}
    size = Window.of(weight.shape[2:], **rest).output_size(images.shape[2:])
    outputs = np.concatenate([W[g] @ columns[g].T for g in range(groups)])  # (out, samples * positions)
    return outputs.reshape(out, images.shape[0], *size).transpose(1, 0, 2, 3)


sides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    kernel=sides,
    stride=sides,
    dilation=sides,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.sampled_from([1, 2, 3]),
    share=st.integers(1, 2),
    samples=st.integers(0, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_unfold_times_weight_is_the_convolution(
    kernel, stride, dilation, padding, groups, share, samples, seed
):
    rng = np.random.default_rng(seed)
    size = [max(d * (k - 1) + 1 - 2 * p, 1) for d, k, p in zip(dilation, kernel, padding)]
    height, width = size[0] + int(rng.integers(0, 4)), size[1] + int(rng.integers(0, 4))
    # integers, so that both sums are exact
    images = rng.integers(-4, 5, size=(samples, groups * share, height, width)).astype(float)
    weight = rng.integers(-4, 5, size=(2 * groups, share, *kernel)).astype(float)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    wanted = convolve(images, weight, stride, padding, dilation, groups)
    assert_array_equal(by_unfolding(images, weight, options), wanted)


def test_against_scipy():
    rng = np.random.default_rng(0)
    images, weight = rng.normal(size=(2, 3, 6, 5)), rng.normal(size=(4, 3, 3, 2))
    for mode, padding in (("valid", 0), ("full", (2, 1))):
        wanted = [
            [sum(correlate2d(x, k, mode) for x, k in zip(image, w)) for w in weight] for image in images
        ]
        got = by_unfolding(images, weight, {"stride": 1, "padding": padding, "dilation": 1, "groups": 1})
        assert_allclose(got, wanted, atol=1e-13)  # 18 terms of size about 1 to 10: 18 * 10 * eps = 4e-14


def test_against_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    images = rng.integers(-4, 5, size=(2, 4, 7, 6)).astype(float)
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    columns = torch.nn.functional.unfold(torch.from_numpy(images), (3, 2), **options).numpy()
    wanted = columns.transpose(0, 2, 1).reshape(-1, 24)  # (samples, columns, positions) to rows of patches
    assert_array_equal(unfold(images, (3, 2), **options), wanted)


def test_the_order_of_rows_and_columns():
    images = np.arange(2 * 2 * 2 * 3, dtype=float).reshape(2, 2, 2, 3)
    got = unfold(images, (2, 2))
    assert got.shape == (4, 8)
    # sample 1, output column 1: channel 0 then channel 1, kernel rows before kernel columns
    assert_array_equal(got[3], [13, 14, 16, 17, 19, 20, 22, 23])
    grouped = unfold(images, (2, 2), groups=2)
    assert_array_equal(grouped, [got[:, :4], got[:, 4:]])


def test_a_kernel_of_one_is_a_transposition():
    images = np.random.default_rng(2).normal(size=(3, 4, 2, 5))
    assert_array_equal(unfold(images, 1), images.transpose(0, 2, 3, 1).reshape(30, 4))


def test_every_backend_gives_the_same_columns(backend):
    images = np.random.default_rng(3).integers(-9, 9, size=(2, 4, 5, 4)) / 4
    options = {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 1), "groups": 2}
    got = unfold(backend.asarray(images), (2, 3), **options)
    assert type(got) is type(backend.asarray(images))
    assert got.dtype == backend.asarray(images).dtype
    assert_array_equal(backend.numpy(got), unfold(images, (2, 3), **options))


def test_fractions_and_half_precision():
    images = np.arange(8.0).reshape(1, 2, 2, 2)
    exact = np.array([Fraction(x) for x in images.ravel()], dtype=object).reshape(images.shape)
    for other in (exact, images.astype(np.float16)):
        got = unfold(other, 2, padding=1)
        assert got.dtype == other.dtype
        assert_array_equal(got, unfold(images, 2, padding=1))


def test_gradients_go_through():
    images = np.random.default_rng(4).normal(size=(1, 2, 4, 3))
    gradient = autograd.grad(lambda x: (unfold(x, (2, 2), padding=1) ** 2).sum() / 2)(images)
    assert_allclose(gradient, 4 * images, rtol=1e-14)  # with a padding of 1 each pixel is in 4 patches


def test_the_output_does_not_share_memory():
    images = np.ones((1, 1, 2, 2))
    unfold(images, 1)[:] = 5
    assert_array_equal(images, np.ones((1, 1, 2, 2)))


@pytest.mark.parametrize(
    ("size", "kernel", "options", "wanted"),
    [
        ((5, 7), 3, {}, (3, 5)),
        ((5, 7), 3, {"padding": 1}, (5, 7)),
        ((5, 7), (1, 2), {"stride": (2, 3)}, (3, 2)),
        ((5, 7), 3, {"dilation": 2}, (1, 3)),
        ((4, 4), 2, {"stride": 3}, (1, 1)),
        ((1, 1), 3, {"padding": (1, 2)}, (1, 3)),
    ],
)
def test_output_sizes(size, kernel, options, wanted):
    assert Window.of(kernel, **options).output_size(size) == wanted


def test_kernels_that_do_not_fit():
    for options in ({}, {"padding": (0, 3)}, {"dilation": (1, 2)}):
        with pytest.raises(
            ValueError, match=r"need a kernel that fits the padded images; got extent \(4, \d\)"
        ):
            unfold(np.zeros((1, 1, 3, 3)), (4, 3), **options)


def test_arguments_are_checked():
    images = np.zeros((2, 3, 4, 4))
    for name in ("kernel", "stride", "dilation", "padding"):
        least = 0 if name == "padding" else 1
        for bad in (least - 1, (1, least - 1)):
            with pytest.raises(ValueError, match=f"need {name} >= {least}; got {least - 1}"):
                unfold(images, **{"kernel": 2, name: bad})
        for bad in (1.5, True, "1", None, (1, 2.0)):
            with pytest.raises(TypeError, match=f"need {name} to be an integer"):
                unfold(images, **{"kernel": 2, name: bad})
        with pytest.raises(ValueError, match=f"need {name} to be an integer or a pair.*; got "):
            unfold(images, **{"kernel": 2, name: (1, 1, 1)})
    with pytest.raises(ValueError, match="need groups that divide the 3 channels; got 2"):
        unfold(images, 2, groups=2)
    with pytest.raises(ValueError, match="need groups >= 1; got 0"):
        unfold(images, 2, groups=0)
    with pytest.raises(ValueError, match="need images with 4 dimensions"):
        unfold(images[0], 2)
    with pytest.raises(TypeError, match="need real floating numbers in images"):
        unfold(images.astype(int), 2)
    assert pair("stride", [2, 3], 1) == (2, 3)
