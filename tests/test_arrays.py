"""Namespaces, moves, dtypes, checks, sorting and erf."""

import math
import subprocess
import sys
from fractions import Fraction
from types import ModuleType

import array_api_strict
import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from refprune import arrays
from tests.stand_in import DeviceArray
from tests.stand_in import xp as stand_in


def test_every_kind_has_its_namespace(backend):
    x = backend.asarray([1.0, 2.0])
    module = {"numpy": np, "stand": stand_in, "strict": array_api_strict}[backend.name.partition("-")[0]]
    assert arrays.namespace(x, x) is module
    assert arrays.library(x) is module


def test_boxes_of_autograd_have_autograds_namespace():
    seen = []

    def loss(w):
        seen.append(
            (arrays.namespace(w), arrays.namespace(w, np.ones(2)), arrays.plain(w), arrays.to_numpy(w))
        )
        return anp.sum(w)

    autograd.grad(loss)(np.array([1.0, 2.0]))
    alone, beside, plain, moved = seen[0]
    assert alone is beside is anp
    assert type(plain) is type(moved) is np.ndarray
    # a box in a box (second derivatives) is opened to the end
    autograd.grad(lambda w: anp.sum(autograd.grad(loss)(w) * w))(np.array([1.0, 2.0]))
    assert type(seen[-1][2]) is np.ndarray


@pytest.fixture
def fake_cupy(monkeypatch):
    """A module in the place of CuPy; its array class has no namespace, like CuPy's."""
    cupy = ModuleType("cupy")
    cupy.ndarray = type(
        "ndarray", (), {"__module__": "cupy", "dtype": np.dtype(float), "shape": (2,), "ndim": 1}
    )
    cupy.ndarray.get = lambda self: np.zeros(2)
    cupy.asarray = lambda array: ("moved", array)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def test_cupy_is_found_by_its_arrays(fake_cupy):
    x = fake_cupy.ndarray()
    assert arrays.namespace(x) is fake_cupy
    assert_array_equal(arrays.to_numpy(x), [0, 0])
    assert arrays.from_numpy(np.ones(2), x)[0] == "moved"
    assert arrays.precision(x) == np.float64
    with pytest.raises(TypeError, match=r"need arrays of one kind; got cupy\.ndarray, numpy\.ndarray"):
        arrays.namespace(x, np.ones(2))


def test_no_array_library_but_numpy_is_imported_unasked():
    names = "('cupy', 'autograd', 'torch', 'jax')"
    code = f"import sys, refprune; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("value", [[1.0], 1.0, np.float64(1), None, "x", np.ma.array([1.0]), np.ndarray])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(TypeError, match="need array to be an array of NumPy, CuPy"):
        arrays.namespace(np.ones(1), value)
    with pytest.raises(TypeError, match="need weight to be an array of NumPy, CuPy"):
        arrays.real("weight", value)
    with pytest.raises(TypeError, match="need mask to be an array of NumPy, CuPy"):
        arrays.boolean("mask", value)


def test_numpy_matrices_are_refused():
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix([[1.0]])
    with pytest.raises(TypeError, match="need array to be an array"):
        arrays.namespace(matrix)


def test_torch_tensors_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"got torch\.Tensor"):
        arrays.namespace(torch.ones(2))


def test_mixtures_are_refused():
    device = stand_in.asarray([1.0])
    strict = array_api_strict.asarray([1.0])
    for pair in ((np.ones(1), device), (device, strict), (strict, np.ones(1))):
        with pytest.raises(TypeError, match="need arrays of one kind; got "):
            arrays.namespace(*pair)
    other = array_api_strict.asarray([1.0], device=array_api_strict.Device("device1"))
    with pytest.raises(ValueError, match=r"need arrays on one device; got .*CPU_DEVICE.*device1"):
        arrays.namespace(strict, other)
    with pytest.raises(TypeError, match="need at least one array"):
        arrays.namespace()


def test_moves_there_and_back(backend):
    for x in (np.array([[1.5, -2.0]]), np.array([True, False]), np.array([3, 1]), np.zeros((0, 2))):
        moved = arrays.from_numpy(x.astype(backend.dtype) if x.dtype == float else x, backend.asarray([1.0]))
        assert type(moved) is type(backend.asarray([1.0]))
        assert arrays.device_of(moved) == arrays.device_of(backend.asarray([1.0]))
        back = arrays.to_numpy(moved)
        assert type(back) is np.ndarray
        assert_array_equal(back, x)


def test_creation_is_beside_the_given_array(backend):
    like = backend.asarray([1.0])
    made = {
        "full": (arrays.full((2, 2), 3, like), np.full((2, 2), 3.0)),
        "bool": (arrays.full((2,), True, like, dtype="bool"), np.array([True, True])),
        "eye": (arrays.eye(2, like), np.eye(2)),
        "concat": (arrays.concat([like, like], axis=0), np.ones(2)),
        "transpose": (arrays.transpose(backend.asarray(np.ones((2, 3, 1))), (2, 0, 1)), np.ones((1, 2, 3))),
        "swap": (arrays.swap(backend.asarray(np.ones((4, 2, 3)))), np.ones((4, 3, 2))),
        "diagonal": (arrays.diagonal(backend.asarray([[[1.0, 2.0], [3.0, 4.0]]])), np.array([[1.0, 4.0]])),
        "astype": (arrays.astype(like, arrays.precision(like)), np.ones(1)),
    }
    for name, (got, wanted) in made.items():
        assert arrays.device_of(got) == arrays.device_of(like), name
        assert_array_equal(backend.numpy(got), wanted)
        if name != "bool":
            assert got.dtype == like.dtype, name
    assert arrays.eye(2, np.array([Fraction(1)], dtype=object)).dtype == object


def test_precision_is_at_least_float32():
    half, single, double = (np.ones(1, dtype) for dtype in ("float16", "float32", "float64"))
    swapped = double.astype(">f8")
    exact = np.array([Fraction(1)], dtype=object)
    assert arrays.precision(half) == arrays.precision(single, half) == np.float32
    assert arrays.precision(half, double) == arrays.precision(swapped) == np.float64
    assert arrays.precision(swapped).isnative
    assert arrays.dtype_name(arrays.precision(exact, exact)) == "object"
    one = array_api_strict.asarray([1.0], dtype=array_api_strict.float32)
    assert arrays.precision(one) == array_api_strict.float32
    assert arrays.precision(one, array_api_strict.asarray([1.0])) == array_api_strict.float64
    for bad in ("int64", "bool", "complex128", "longdouble"):
        with pytest.raises(TypeError, match="need real floating arrays, or Fractions alone; got "):
            arrays.precision(double, np.ones(1, bad))
    with pytest.raises(TypeError, match="Fractions alone; got float64, object"):
        arrays.precision(double, exact)


def test_cast_copies_only_what_it_must():
    single, double = np.ones(2, np.float32), np.ones(2)
    first, second = arrays.cast(single, double)
    assert first.dtype == np.float64
    assert second is double


def test_the_accumulator_dtype_is_float64_where_there_is_one(backend):
    wanted = "float32" if backend.name == "strict-no-float64" else "float64"
    assert arrays.dtype_name(arrays.widest(backend.asarray([1.0]))) == wanted
    assert arrays.dtype_name(arrays.widest(np.array([Fraction(1)], dtype=object))) == "object"


def test_eps():
    assert arrays.eps(np.dtype("float32")) == arrays.eps(array_api_strict.float32) == 2.0**-23
    assert arrays.eps(np.float64(1).dtype) == 2.0**-52
    assert arrays.eps(np.dtype(object)) == 0.0


class TestReal:
    def test_good_arrays_come_back_themselves(self, backend):
        x = backend.asarray([[1.0, -2.0]])
        assert arrays.real("x", x) is x
        assert arrays.real("x", x, ndim=2, shape=(None, 2)) is x
        assert arrays.real("x", x, ndim=(1, 2)) is x

    @pytest.mark.parametrize("dtype", [int, bool, complex, np.longdouble, "U1", "datetime64[s]"])
    def test_other_dtypes_are_type_errors(self, dtype):
        with pytest.raises(TypeError, match="need real floating numbers in weight; got "):
            arrays.real("weight", np.zeros(2, dtype))

    @pytest.mark.parametrize("entry", [1, 0.5, "1", None])
    def test_objects_must_be_fractions(self, entry):
        x = np.array([Fraction(1), entry], dtype=object)
        got = type(entry).__name__
        with pytest.raises(TypeError, match=f"need Fractions in the object array w; got {got}"):
            arrays.real("w", x)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_nan_and_inf_are_named(self, backend, bad):
        x = np.zeros((2, 3))
        x[1, 1] = bad
        with pytest.raises(ValueError, match=f"need finite numbers in gram; got {bad} at flat index 4"):
            arrays.real("gram", backend.asarray(x))

    def test_shapes_are_named(self):
        x = np.zeros((2, 3))
        with pytest.raises(ValueError, match=r"need w with 1 or 4 dimensions; got shape \(2, 3\)"):
            arrays.real("w", x, ndim=(1, 4))
        for shape in ((3, 2), (2,), (None, 2), (2, 3, 1)):
            with pytest.raises(ValueError, match=r"need w of shape \(.*\); got \(2, 3\)"):
                arrays.real("w", x, shape=shape)


def test_boolean_masks(backend):
    mask = backend.asarray([True, False])
    assert arrays.boolean("mask", mask, shape=(2,)) is mask
    with pytest.raises(ValueError, match=r"need mask of shape \(3\); got \(2,\)"):
        arrays.boolean("mask", mask, shape=(3,))
    with pytest.raises(TypeError, match=r"need a boolean array mask \(True = kept\); got float"):
        arrays.boolean("mask", backend.asarray([1.0, 0.0]))


class TestSymmetric:
    @pytest.mark.parametrize("share", [0.5, 2.0])
    def test_the_slack_is_the_square_root_of_eps_of_the_largest_entry(self, backend, share):
        H = 7.0 * np.array([[4.0, 1.0], [1.0, 3.0]])
        H[0, 1] += share * math.sqrt(backend.eps) * 28
        H = backend.asarray(H)
        if share < 1:
            assert arrays.symmetric("H", H) is H
        else:
            with pytest.raises(ValueError, match=r"need H to be symmetric; got \|H - H\^T\| up to"):
                arrays.symmetric("H", H)

    def test_fractions_are_symmetric_exactly(self):
        H = np.array([[Fraction(1), Fraction(1, 3)], [Fraction(1, 3), Fraction(1)]])
        assert arrays.symmetric("H", H) is H
        H[0, 1] += Fraction(1, 10**30)
        with pytest.raises(ValueError, match="need H to be symmetric"):
            arrays.symmetric("H", H)

    def test_stacks_and_empty_matrices(self):
        stack = np.stack([np.eye(2), np.array([[1.0, 5.0], [5.0, 2.0]])])
        assert arrays.symmetric("H", stack) is stack
        stack = stack + np.array([[0.0, 0.0], [1.0, 0.0]]) * np.array([0, 1])[:, None, None]
        with pytest.raises(ValueError, match="need H to be symmetric"):
            arrays.symmetric("H", stack)
        assert arrays.symmetric("H", np.zeros((0, 0))).shape == (0, 0)
        for shape in ((2, 3), (4,), (2, 2, 3)):
            with pytest.raises(ValueError, match="need H to be a square matrix"):
                arrays.symmetric("H", np.zeros(shape))

    def test_huge_entries_do_not_overflow_into_symmetry(self):
        with pytest.raises(ValueError, match="need H to be symmetric"):
            arrays.symmetric("H", np.array([[1.0, 1.5e308], [-1.5e308, 1.0]]))

    def test_the_mean_with_the_transpose_is_exactly_symmetric(self):
        H = np.array([[4.0, 1.0], [1.0, 3.0]])
        assert arrays.exactly_symmetric("H", H) is H
        tilted = H + np.array([[0.0, 2.0**-30], [0.0, 0.0]])
        assert_array_equal(arrays.exactly_symmetric("H", tilted), H + 2.0**-31 * np.array([[0, 1], [1, 0]]))
        assert arrays.exactly_symmetric("H", tilted.astype(np.float16)).dtype == np.float16


@pytest.mark.parametrize("good", [3, np.int64(3), np.uint8(3)])
def test_integers_are_taken(good):
    assert arrays.integer("k", good, least=0, most=3) == arrays.integer("k", good, least=3) == 3
    assert type(arrays.integer("k", good)) is int


@pytest.mark.parametrize("bad", [True, np.True_, 3.0, np.float64(3), "3", None, np.array([3])])
def test_what_is_no_integer_is_a_type_error(bad):
    with pytest.raises(TypeError, match="need k to be an integer; got "):
        arrays.integer("k", bad)


def test_the_range_of_an_integer_is_named():
    with pytest.raises(ValueError, match=r"need k >= 1; got 0"):
        arrays.integer("k", 0, least=1)
    with pytest.raises(ValueError, match=r"need k in \[0, 2\]; got 3"):
        arrays.integer("k", 3, least=0, most=2)


@pytest.mark.parametrize("good", [0, 0.5, np.float32(0.5), np.int64(3), Fraction(1, 2)])
def test_nonnegative_numbers_are_taken(good):
    assert arrays.nonnegative("damp", good) == float(good)
    assert type(arrays.nonnegative("damp", good)) is float


@pytest.mark.parametrize("bad", [True, np.bool_(True), "1", None, 1j, np.ones(1)])
def test_what_is_no_real_number_is_a_type_error(bad):
    with pytest.raises(TypeError, match="need damp to be a real number; got "):
        arrays.nonnegative("damp", bad)


@pytest.mark.parametrize(
    "bad", [-1, -1e-300, float("nan"), float("inf"), 10**400, 10**5000, Fraction(10**400)], ids=range(7)
)
def test_the_range_of_a_nonnegative_number_is_named(bad):
    with pytest.raises(ValueError, match="need damp >= 0 and finite; got "):
        arrays.nonnegative("damp", bad)


# few values, so that ties abound; -0.0 equals 0.0
levels = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])


@given(st.integers(1, 3), st.integers(1, 7), st.data())
def test_smallest_takes_the_lowest_index_among_equals(rows, n, data):
    scores = np.array(data.draw(st.lists(levels, min_size=rows * n, max_size=rows * n))).reshape(rows, n)
    count = data.draw(st.integers(0, n))
    flags = data.draw(st.lists(st.booleans(), min_size=rows * n, max_size=rows * n))
    first = np.array(flags).reshape(rows, n)
    order = [sorted(range(n), key=lambda i, row=row: (row[i], i)) for row in scores]
    assert_array_equal(arrays.argsort(scores), order)
    wanted = [[i in taken[:count] for i in range(n)] for taken in order]
    assert_array_equal(arrays.smallest(scores, count), wanted)
    each = np.array(data.draw(st.lists(st.integers(0, n), min_size=rows, max_size=rows))).reshape(rows, 1)
    by_row = [arrays.smallest(scores[i], int(each[i, 0])) for i in range(rows)]
    assert_array_equal(arrays.smallest(scores, each), np.array(by_row).reshape(scores.shape))
    order = [sorted(range(n), key=lambda i, r=r: (not first[r, i], scores[r, i], i)) for r in range(rows)]
    wanted = [[i in taken[:count] for i in range(n)] for taken in order]
    assert_array_equal(arrays.smallest(scores, count, first), wanted)


def test_sorting_is_the_same_on_every_backend(backend):
    scores = np.random.default_rng(3).integers(0, 4, size=(3, 50)).astype(float)
    first = np.random.default_rng(4).random((3, 50)) < 0.3
    x = backend.asarray(scores)
    assert_array_equal(backend.numpy(arrays.argsort(x)), arrays.argsort(scores))
    assert_array_equal(backend.numpy(arrays.argsort(x, axis=0)), arrays.argsort(scores, axis=0))
    for count in (0, 1, 20, 50):
        assert_array_equal(backend.numpy(arrays.smallest(x, count)), arrays.smallest(scores, count))
        each = np.array([[count], [3], [0]])
        got = arrays.smallest(x, backend.asarray(each))
        assert_array_equal(backend.numpy(got), arrays.smallest(scores, each))
        got = arrays.smallest(x, count, backend.asarray(first))
        assert_array_equal(backend.numpy(got), arrays.smallest(scores, count, first))
        assert type(got) is type(x)


def test_fractions_are_sorted():
    scores = np.array([Fraction(1, 3), Fraction(1, 4), Fraction(1, 3), Fraction(0)], dtype=object)
    assert_array_equal(arrays.smallest(scores, 3), [True, True, False, True])


def test_erf_is_that_of_the_standard_library(backend):
    x = np.linspace(-4, 4, 33)
    got = arrays.erf(backend.asarray(x))
    assert type(got) is type(backend.asarray(x))
    assert got.dtype == backend.asarray(x).dtype
    # x is dyadic, so both see the same numbers; both are good to a few units in the last place
    assert_allclose(backend.numpy(got), [math.erf(v) for v in x], rtol=4 * backend.eps)


def test_erf_has_a_derivative():
    slope = autograd.elementwise_grad(arrays.erf)(np.array([0.0, 0.5]))
    assert_allclose(slope, 2 / np.sqrt(np.pi) * np.exp([0.0, -0.25]), rtol=1e-15)


def test_dask_arrays_are_walked_block_by_block():
    dask_array = pytest.importorskip("dask.array")
    x = np.arange(24.0).reshape(6, 4)
    walked = list(arrays.blocks(dask_array.from_array(x, chunks=(4, 3))))
    assert [block.shape for block in walked] == [(4, 4), (2, 4)]
    assert_array_equal(np.concatenate(walked), x)
    assert next(arrays.blocks(x)) is x


def test_the_backends_of_the_tests_are_what_they_say(backend):
    x = backend.asarray([1.0])
    assert arrays.dtype_name(x.dtype) == backend.dtype
    assert isinstance(x, DeviceArray) == backend.name.startswith("stand-in")


def test_columns_are_a_new_array_in_the_order_that_is_asked_for(backend):
    matrix = np.arange(12.0).reshape(3, 4)
    given = backend.asarray(matrix)
    for which in ([2, 0], [3], [1, 1, 2], []):
        which = np.array(which, dtype=np.int64)
        got = arrays.columns(given, arrays.from_numpy(which, given))
        assert_array_equal(backend.numpy(got), matrix[:, which])
    got = arrays.columns(given, arrays.from_numpy(np.arange(4), given))
    got[0, 0] = 9
    assert_array_equal(backend.numpy(given), matrix)
