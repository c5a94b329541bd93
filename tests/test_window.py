"""Windows over images: padding of four sides, places in their order, and `fold`, the adjoint of `patches`."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune.unfold import Window, fold, patches, rows, unfold
from tests.network import direct

sides = st.tuples(st.integers(1, 3), st.integers(1, 3))
one_or_two = st.one_of(st.integers(1, 3), sides)
four = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)
paddings = st.one_of(st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)), four)
settings = st.tuples(one_or_two, one_or_two, paddings, one_or_two)  # kernel, stride, padding, dilation
sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def fitting(size, given_):
    """The window, where it fits into the padded images."""
    window = Window.of(*given_)
    try:
        window.output_size(size)
    except ValueError:
        assume(False)
    return window


def integers(seed, shape):
    """As floats: their sums are exact."""
    return np.random.default_rng(seed).integers(-9, 10, size=shape).astype(float)


@given(sizes, paddings, st.integers(0, 99))
def test_padding_is_numpys(size, padding, seed):
    images, window = integers(seed, (2, 1, *size)), Window.of(1, 1, padding)
    for value in (0, -7.5, -np.inf):
        padded = window.pad(images, value)
        assert_array_equal(padded, np.pad(images, [(0, 0), (0, 0), *window.padding], constant_values=value))
        assert_array_equal(padded[window.inside(size)], images)
    assert window.padding == direct.margins(padding)


@given(sizes, settings)
def test_places_are_what_the_definition_sees(size, given_):
    window = fitting(size, given_)
    padded = window.pad(np.arange(1.0, size[0] * size[1] + 1).reshape(1, 1, *size))
    seen = [padded[place] for place in window.places(size)]
    number = 0
    for row, column, entries in direct.windows(size, *given_):
        pixels = [y * size[1] + x + 1 if direct.inside(size, y, x) else 0 for _, _, y, x in entries]
        assert [float(part[0, 0, row, column]) for part in seen] == pixels
        number += 1
    assert number == np.prod(window.output_size(size))
    assert {part.shape[2:] for part in seen} == {window.output_size(size)}


@given(sizes, settings, st.sampled_from([1, 2, 4]), st.integers(0, 99))
def test_patches_are_the_rows_of_unfold(size, given_, groups, seed):
    window, images = fitting(size, given_), integers(seed, (2, 4, *size))
    seen = patches(images, window, groups)
    assert seen.shape == (2, groups, 4 // groups * np.prod(window.kernel), *window.output_size(size))
    assert_array_equal(rows(seen), unfold(images, *given_, groups))
    kernel, stride, _, dilation = given_
    around = np.pad(images, [(0, 0), (0, 0), *window.padding])  # padding first is the same
    assert_array_equal(rows(seen), unfold(around, kernel, stride, 0, dilation, groups))


@given(sizes, settings, st.sampled_from([1, 2]), st.sampled_from([(2,), (3, 2)]), st.integers(0, 99))
def test_fold_is_the_adjoint_of_patches(size, given_, groups, lead, seed):
    """<patches(x), c> = <x, fold(c)>, in integers: no rounding."""
    window, images = fitting(size, given_), integers(seed, (2, 2, *size))
    seen = patches(images, window, groups)
    columns = integers(seed + 1, (*lead[:-1], *seen.shape))
    back = fold(columns, window, 2, size)
    assert back.shape == (*lead[:-1], *images.shape)
    for c, b in zip(columns.reshape(-1, *seen.shape), back.reshape(-1, *images.shape), strict=True):
        assert (seen * c).sum() == (images * b).sum()


@given(sizes, settings)
def test_fold_of_patches_counts_how_often_a_pixel_is_seen(size, given_):
    window = fitting(size, given_)
    counts = np.zeros(size)
    for _, _, entries in direct.windows(size, *given_):
        for _, _, y, x in entries:
            if direct.inside(size, y, x):
                counts[y, x] += 1
    ones = np.ones((1, 1, *size))
    assert_array_equal(fold(patches(ones, window), window, 1, size)[0, 0], counts)


def test_nothing_is_written_to(backend):
    window, images = Window.of(2, 1, ((1, 0), (0, 2))), backend.asarray(integers(0, (2, 2, 3, 3)))
    before = backend.numpy(images).copy()
    seen = patches(images, window)
    columns = backend.numpy(seen).copy()
    back = fold(seen, window, 2, (3, 3))
    assert type(back) is type(images)
    assert_array_equal(backend.numpy(images), before)
    assert_array_equal(backend.numpy(seen), columns)


@pytest.mark.parametrize(
    ("padding", "error", "message"),
    [
        (
            (1, 2, 3),
            ValueError,
            r"need padding to be an integer or a pair, or a pair of pairs; got \(1, 2, 3\)",
        ),
        (((1, 2, 3), (0, 0)), ValueError, r"need padding to be an integer or a pair; got \(1, 2, 3\)"),
        (((1, -1), (0, 0)), ValueError, "need padding >= 0; got -1"),
        (((1, 0.5), (0, 0)), TypeError, "need padding to be an integer; got 0.5"),
        ((1, (2, "0")), TypeError, "need padding to be an integer; got '0'"),
    ],
)
def test_paddings_that_are_none(padding, error, message):
    with pytest.raises(error, match=message):
        Window.of(2, 1, padding)
    with pytest.raises(error, match=message):
        unfold(np.ones((1, 1, 3, 3)), 2, padding=padding)
