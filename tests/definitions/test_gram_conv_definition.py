"""The Gram of a convolution's patches by its definition: exact, and equal to two other ways to see patches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune.definitions as definitions
from refprune.problems import GramAccumulator
from tests.methods.problems import fractions

sides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw):
    """Images of small integers, and a kernel that fits them."""
    kernel, stride, dilation = draw(sides), draw(sides), draw(sides)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    room = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [n + draw(st.integers(0, 3)) for n in room]
    groups, each = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = rng.integers(-4, 5, size=(draw(st.integers(1, 2)), groups * each, *size)).astype(float)
    return images, kernel, stride, padding, dilation, groups


@given(geometries())
def test_is_what_the_accumulator_finds(problem):
    images, *geometry = problem
    found = definitions.gram_conv(images, *geometry)
    # sums of integers are exact, one division by the number of positions
    assert_allclose(GramAccumulator(*geometry).update(images).gram, found, rtol=2**-51)
    assert_array_equal(found, np.swapaxes(found, -1, -2))


def test_exact_on_fractions_by_hand():
    image = fractions(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    found = definitions.gram_conv(image, (1, 2), padding=(0, 1))
    # patches (0, 1), (1, 2), (2, 0), (0, 3), (3, 4), (4, 0)
    patches = fractions(np.array([[0.0, 1], [1, 2], [2, 0], [0, 3], [3, 4], [4, 0]]))
    assert_array_equal(found, patches.T @ patches / 6)


def test_groups_are_stacked_independent_layers():
    images = np.random.default_rng(0).normal(size=(2, 4, 5, 4))
    stack = definitions.gram_conv(images, 3, 1, 1, 1, groups=2)
    for group in range(2):
        alone = definitions.gram_conv(images[:, 2 * group : 2 * group + 2], 3, 1, 1)
        assert_array_equal(stack[group], alone)


def test_one_by_one_kernels_are_dense_layers_of_pixels():
    images = np.random.default_rng(1).normal(size=(3, 5, 2, 4))
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, 5)
    assert_allclose(definitions.gram_conv(images, 1), pixels.T @ pixels / 24, rtol=1e-13, atol=1e-14)


def test_backends(cupy_like):
    images = np.random.default_rng(2).normal(size=(2, 2, 3, 4))
    given_images = cupy_like.asarray(images)
    found = definitions.gram_conv(given_images, (2, 3), (1, 2), (1, 0))
    assert type(found) is type(given_images)
    right = definitions.gram_conv(images, (2, 3), (1, 2), (1, 0))
    # 2 images, 4 positions: eight products for each entry
    size = definitions.gram_conv(abs(images), (2, 3), (1, 2), (1, 0))
    assert np.all(abs(cupy_like.numpy(found) - right) <= 12 * cupy_like.eps * size)


def test_is_what_torch_unfolds():
    torch = pytest.importorskip("torch", reason='compared with PyTorch: pip install "refprune[torch]"')
    images = np.random.default_rng(3).normal(size=(2, 3, 7, 6))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    columns = torch.nn.functional.unfold(torch.from_numpy(images), (3, 2), **options).numpy()
    rows = columns.transpose(0, 2, 1).reshape(-1, columns.shape[1])
    found = definitions.gram_conv(images, (3, 2), **options)
    assert_allclose(found, rows.T @ rows / len(rows), rtol=1e-12, atol=1e-14)
