"""Grams: any split into batches, every backend, convolutions against patches cut by hand."""

import copy
from fractions import Fraction
from itertools import product

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune import gram as gram_module
from tests.stand_in import DeviceArray
from tests.stand_in import xp as stand_in


def split(rows, cuts):
    return np.split(rows, sorted(cuts))


@given(
    st.integers(1, 20), st.integers(1, 4), st.lists(st.integers(0, 20), max_size=5), st.integers(0, 2**32 - 1)
)
def test_any_split_of_small_dyadic_numbers_gives_the_same_bits(samples, columns, cuts, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-50, 51, size=(samples, columns)) / 8 + 1.0
    accumulator = rp.GramAccumulator()
    for batch in split(X, [min(c, samples) for c in cuts]):  # empty and one-sample batches among them
        assert accumulator.update(batch) is accumulator
    once = rp.GramAccumulator().update(X).gram
    assert accumulator.samples == samples
    assert_array_equal(accumulator.gram, once)
    # integers in units of 1/64: the exact sums, divided once
    assert_array_equal(once, (X.T @ X * 2) / (2 * samples))
    order = rng.permutation(samples)
    assert_array_equal(rp.GramAccumulator().update(X[order]).gram, once)


@given(st.integers(2, 60), st.lists(st.integers(0, 60), max_size=6), st.integers(0, 2**32 - 1))
def test_any_split_of_any_numbers_agrees_to_rounding(samples, cuts, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(samples, 3)) * [1e-3, 1.0, 1e3] + [0.0, 5.0, 0.0]
    accumulator = rp.GramAccumulator()
    for batch in split(X, [min(c, samples) for c in cuts]):
        accumulator.update(batch)
    once = rp.GramAccumulator().update(X).gram
    # two sums of n products in any order differ by at most 2 n eps sum |x_i x_j| (Higham, section 3.1)
    bound = 2 * (samples + 2) * np.finfo(float).eps * (np.abs(X).T @ np.abs(X)) / samples
    assert (np.abs(accumulator.gram - once) <= bound).all()
    assert_array_equal(accumulator.gram, accumulator.gram.T)


def test_every_backend_accumulates_in_its_widest_dtype(backend):
    # products of float32 numbers: exact in float64, not in float32
    X = (np.random.default_rng(0).normal(size=(7, 3)) + 1).astype(np.float32).astype(float)
    accumulator = rp.GramAccumulator()
    for batch in (X[:1], X[1:1], X[1:5], X[5:]):
        accumulator.update(backend.asarray(batch))
    gram = accumulator.gram
    assert type(gram) is type(backend.asarray(X))
    wide = "float32" if backend.name == "strict-no-float64" else "float64"
    got = backend.numpy(gram)
    assert got.dtype == wide
    bound = 20 * np.finfo(wide).eps * (np.abs(X).T @ np.abs(X)) / 7  # 2 (n + 2) eps, as above
    assert (np.abs(got - X.T @ X / 7) <= bound).all()
    assert_array_equal(got, got.T)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_batches_do_not_overflow_or_stall(dtype):
    # 300^2 is beyond float16; 4096 batches of ones stall at 2048 in float16, 2^24 + 1 is lost in float32
    X = np.array([[300.0, 1.0]], dtype=dtype)
    accumulator = rp.GramAccumulator()
    for _ in range(4096):
        accumulator.update(X)
    assert_array_equal(accumulator.gram, [[90000.0, 300.0], [300.0, 1.0]])
    assert accumulator.gram.dtype == np.float64
    accumulator = rp.GramAccumulator().update(np.array([[4096.0]], dtype=dtype))
    assert accumulator.update(np.array([[1.0]], dtype=dtype)).gram[0, 0] == (2**24 + 1) / 2


def test_fractions_are_exact():
    X = np.array([[Fraction(1, 3), Fraction(1, 7)], [Fraction(2), Fraction(-1, 5)]])
    gram = rp.GramAccumulator().update(X[:1]).update(X[1:]).gram
    assert gram[0, 1] == (Fraction(1, 21) - Fraction(2, 5)) / 2
    assert_array_equal(gram, X.T @ X / Fraction(2))


def test_invariances():
    X = np.random.default_rng(1).normal(size=(6, 4)) + 0.5
    gram = rp.GramAccumulator().update(X).gram
    assert_array_equal(rp.GramAccumulator().update(4 * X).gram, 16 * gram)
    twice = rp.GramAccumulator().update(X).update(X).gram  # duplicated samples: doubling is exact
    assert_array_equal(twice, gram)
    order = [2, 0, 3, 1]
    moved = rp.GramAccumulator().update(X[:, order]).gram
    bound = 16 * np.finfo(float).eps * (np.abs(X).T @ np.abs(X)) / 6  # 2 (n + 2) eps, sums in another order
    assert (np.abs(moved - gram[order][:, order]) <= bound[order][:, order]).all()
    dead = np.concatenate([X, np.zeros((6, 1))], axis=1)
    assert_array_equal(rp.GramAccumulator().update(dead).gram[:, 4], np.zeros(5))


def patches(images, kernel, stride, padding, dilation):
    """Patches (channels * kh * kw) cut by hand, one for each image and position."""
    padded = np.pad(images, ((0, 0), (0, 0), *((p, p) for p in padding)))
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    tops = range(0, padded.shape[2] - extent[0] + 1, stride[0])
    lefts = range(0, padded.shape[3] - extent[1] + 1, stride[1])
    return [
        image[:, top : top + extent[0] : dilation[0], left : left + extent[1] : dilation[1]]
        for image, top, left in product(padded, tops, lefts)
    ]


sides = st.tuples(st.integers(1, 2), st.integers(1, 2))


@given(
    sides, sides, st.tuples(st.integers(0, 1), st.integers(0, 1)), sides, st.sampled_from([1, 2]), st.data()
)
def test_convolutions_against_patches_cut_by_hand(kernel, stride, padding, dilation, groups, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    images = np.random.default_rng(seed).integers(-3, 4, size=(3, 4, 4, 3)).astype(float)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    accumulator = rp.GramAccumulator(kernel, **options).update(images[:1]).update(images[1:])
    cut = patches(images, kernel, stride, padding, dilation)
    wanted = []
    for g in range(groups):
        rows = np.stack([patch[g * 4 // groups : (g + 1) * 4 // groups].ravel() for patch in cut])
        wanted.append(rows.T @ rows / len(rows))
    assert accumulator.samples == len(cut)  # images * output positions
    assert_array_equal(accumulator.gram, wanted[0] if groups == 1 else np.stack(wanted))


def test_convolutions_on_every_backend(backend):
    images = np.random.default_rng(2).integers(-3, 4, size=(3, 4, 5, 4)) / 2
    options = {"kernel": (3, 2), "stride": (1, 2), "padding": 1, "groups": 2}
    got = rp.GramAccumulator(**options).update(backend.asarray(images)).gram
    assert got.shape == (2, 12, 12)
    wanted = rp.GramAccumulator(**options).update(images).gram
    assert_allclose(backend.numpy(got), wanted, rtol=2 * backend.eps)  # exact sums, one division


def test_images_are_unfolded_in_pieces(monkeypatch):
    images = np.random.default_rng(3).integers(-3, 4, size=(5, 2, 4, 4)).astype(float)
    whole = rp.GramAccumulator(3, padding=1).update(images)
    sizes = []
    unfold = gram_module.unfold
    monkeypatch.setattr(gram_module, "unfold", lambda x, *a, **k: sizes.append(len(x)) or unfold(x, *a, **k))
    monkeypatch.setattr(gram_module, "CHUNK", 2 * 2 * 9 * 16)  # two images
    pieces = rp.GramAccumulator(3, padding=1).update(images)
    assert sizes == [2, 2, 1]
    assert_array_equal(pieces.gram, whole.gram)
    assert pieces.samples == whole.samples == 80
    monkeypatch.setattr(gram_module, "CHUNK", 1)  # never less than one image
    assert_array_equal(rp.GramAccumulator(3, padding=1).update(images).gram, whole.gram)


def test_empty_batches():
    X = np.ones((2, 3))
    accumulator = rp.GramAccumulator().update(X[:0]).update(X).update(X[:0])
    assert_array_equal(accumulator.gram, np.ones((3, 3)))
    accumulator = rp.GramAccumulator(2).update(np.zeros((0, 1, 3, 3)))
    assert accumulator.samples == 0
    assert_array_equal(accumulator.update(np.ones((1, 1, 3, 3))).gram, np.ones((4, 4)))


@pytest.mark.parametrize("batches", [[], [np.zeros((0, 3))], [np.zeros((0, 3))] * 2])
def test_no_samples_is_an_error(batches):
    accumulator = rp.GramAccumulator()
    for batch in batches:
        accumulator.update(batch)
    with pytest.raises(ValueError, match="need at least one sample for a Gram; got 0"):
        accumulator.gram  # noqa: B018
    with pytest.raises(ValueError, match="need at least one sample"):
        rp.LayerProblem.from_inputs(np.ones((2, 3)), np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.ones((2, 4)), ValueError, "need batches of 3 columns; got 4"),
        (np.ones(3), ValueError, "need batch with 2 dimensions"),
        (np.ones((1, 1, 3)), ValueError, "need batch with 2 dimensions"),
        (np.array([[1.0, np.nan, 0.0]]), ValueError, "need finite numbers in batch; got nan at flat index 1"),
        (np.array([[1.0, np.inf, 0.0]]), ValueError, "need finite numbers in batch; got inf"),
        (np.ones((2, 3), dtype=int), TypeError, "need real floating numbers in batch; got int64"),
        ([[1.0, 2.0, 3.0]], TypeError, "need batch to be an array"),
    ],
)
def test_a_bad_batch_leaves_the_accumulator_as_it_was(bad, error, message):
    accumulator = rp.GramAccumulator().update(np.eye(3))
    before, samples = accumulator.gram.copy(), accumulator.samples
    with pytest.raises(error, match=message):
        accumulator.update(bad)
    assert_array_equal(accumulator.gram, before)
    assert accumulator.samples == samples == 3


def test_a_stream_that_breaks_leaves_the_accumulator_as_it_was(monkeypatch):
    monkeypatch.setattr(gram_module, "blocks", iter)  # a list stands for the blocks of a Dask array
    accumulator = rp.GramAccumulator().update([np.eye(3), np.eye(3)])
    assert accumulator.samples == 6
    with pytest.raises(ValueError, match="need finite numbers in batch"):
        accumulator.update([np.ones((2, 3)), np.full((2, 3), np.nan)])
    assert accumulator.samples == 6
    assert_array_equal(accumulator.gram, np.eye(3) / 3)


def test_products_that_round_differently_on_both_sides_give_a_symmetric_gram(monkeypatch):
    # a GPU's product need not be symmetric in the last bit
    product = DeviceArray.__matmul__
    tilt = np.array([[1.0, 1.0 + 2.0**-52], [1.0, 1.0]])
    monkeypatch.setattr(DeviceArray, "__matmul__", lambda a, b: product(a, b) * stand_in.asarray(tilt))
    gram = rp.GramAccumulator().update(stand_in.asarray(np.array([[1.0, 3.0], [0.5, 7.0]]))).gram.get()
    assert_array_equal(gram, gram.T)


def test_another_kind_of_arrays_is_refused(backend):
    accumulator = rp.GramAccumulator().update(np.eye(3))
    if backend.name.startswith("numpy"):
        return
    with pytest.raises(TypeError, match="need arrays of one kind"):
        accumulator.update(backend.asarray(np.eye(3)))


def test_options_are_checked_at_once():
    for options in ({"stride": 2}, {"padding": 1}, {"dilation": 2}, {"groups": 2}):
        with pytest.raises(ValueError, match="need a kernel with stride, padding, dilation or groups; got "):
            rp.GramAccumulator(**options)
    for options in ({"kernel": 0}, {"stride": 0}, {"padding": -1}, {"dilation": 0}, {"groups": 0}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"need {name} >= "):
            rp.GramAccumulator(**{"kernel": 2, **options})
    for options in ({"kernel": 2.0}, {"stride": True}, {"groups": 1.0}):
        with pytest.raises(TypeError, match="to be an integer"):
            rp.GramAccumulator(**{"kernel": 2, **options})
    with pytest.raises(ValueError, match="need a kernel that fits"):
        rp.GramAccumulator(4).update(np.zeros((1, 1, 3, 3)))
    with pytest.raises(ValueError, match="need groups that divide the 3 channels"):
        rp.GramAccumulator(2, groups=2).update(np.zeros((1, 3, 3, 3)))


def test_batches_are_not_changed_and_grams_are_new():
    X = np.ones((2, 3))
    X.flags.writeable = False
    accumulator = rp.GramAccumulator().update(X)
    gram = accumulator.gram
    gram[:] = 7
    assert_array_equal(accumulator.gram, np.ones((3, 3)))
    other = copy.copy(accumulator).update(X)  # sums are replaced, never written to
    assert (accumulator.samples, other.samples) == (2, 4)
    assert_array_equal(accumulator.gram, np.ones((3, 3)))


def test_strange_memory_orders():
    X = np.random.default_rng(4).integers(-3, 4, size=(6, 4)).astype(float)
    wanted = rp.GramAccumulator().update(X).gram
    for same in (np.asfortranarray(X), X[::-1], np.repeat(X, 2, axis=1)[:, ::2]):
        assert_array_equal(rp.GramAccumulator().update(same).gram, wanted)


def test_gradients_go_through():
    X = np.random.default_rng(5).normal(size=(4, 3))
    gradient = autograd.grad(lambda x: rp.GramAccumulator().update(x).gram[0, 1])(X)
    wanted = np.stack([X[:, 1], X[:, 0], np.zeros(4)], axis=1) / 4
    assert_allclose(gradient, wanted, rtol=1e-14)


def test_dask_arrays_are_streamed():
    dask_array = pytest.importorskip("dask.array")
    rng = np.random.default_rng(6)
    X = rng.integers(-3, 4, size=(10, 4)).astype(float)
    accumulator = rp.GramAccumulator().update(dask_array.from_array(X, chunks=(3, 2)))
    assert accumulator.samples == 10
    assert_array_equal(accumulator.gram, rp.GramAccumulator().update(X).gram)
    images = rng.integers(-3, 4, size=(5, 2, 4, 4)).astype(float)
    lazy = dask_array.from_array(images, chunks=(2, 1, 2, 4))
    wanted = rp.GramAccumulator(3, padding=1).update(images).gram
    assert_array_equal(rp.GramAccumulator(3, padding=1).update(lazy).gram, wanted)
    X[7, 2] = np.nan
    with pytest.raises(ValueError, match="need finite numbers in batch"):
        accumulator.update(dask_array.from_array(X, chunks=(3, 4)))
    assert accumulator.samples == 10  # the good blocks before it are not counted either


def test_merged_accumulators_hold_all_samples():
    X = np.random.default_rng(50).integers(-9, 10, size=(12, 3)) / 4 + 0.5
    parts = [rp.GramAccumulator().update(part) for part in np.split(X, [5, 6])]
    merged = rp.GramAccumulator()
    for part in (*parts, rp.GramAccumulator()):
        assert merged.merge(part) is merged
    assert merged.samples == 12
    assert_array_equal(merged.gram, X.T @ X / 12)
    assert_array_equal(parts[0].gram, (X[:5].T @ X[:5] * 2) / 10)  # what was merged stays


def test_accumulators_of_other_options_do_not_merge():
    images = np.ones((1, 1, 3, 3))
    first = rp.GramAccumulator(2).update(images)
    with pytest.raises(ValueError, match="need an accumulator of"):
        first.merge(rp.GramAccumulator(2, padding=1).update(images))
    with pytest.raises(TypeError, match="need a GramAccumulator; got ndarray"):
        first.merge(images)
    with pytest.raises(ValueError, match="need batches of 4 columns; got 8"):
        first.merge(rp.GramAccumulator(2).update(np.ones((1, 2, 3, 3))))
    with pytest.raises(TypeError, match="need arrays of one kind"):
        first.merge(rp.GramAccumulator(2).update(stand_in.asarray(images)))
    assert first.samples == 4
