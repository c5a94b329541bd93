"""The stand-in refuses what CuPy refuses, and answers as CuPy answers: a test for each property."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from refprune.arrays import namespace
from tests.stand_in import DeviceArray, xp

SINGULAR = np.ones((2, 2))


@pytest.fixture
def x():
    return xp.asarray(np.array([[1.0, 2.0], [3.0, 5.0]]))


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.array,
        lambda x: np.array([x, x]),
        lambda x: np.zeros((2, 2)).__setitem__(slice(None), x),
        lambda x: np.zeros(2)[x],
        lambda x: np.frombuffer(x),
        lambda x: np.zeros((2, 2)) + x,
        lambda x: x + np.zeros((2, 2)),
        lambda x: np.zeros((2, 2)) @ x,
        lambda x: x @ np.zeros((2, 2)),
        lambda x: x == np.zeros((2, 2)),
        lambda x: x.__iadd__(np.zeros((2, 2))),
        lambda x: x.__setitem__(0, np.zeros(2)),
        lambda x: x.__setitem__(0, [1.0, 2.0]),
        lambda x: x[np.array([0])],
        lambda x: x[[0, 1]],
        lambda x: x[0, np.array([True, False])],
        lambda x: x + [1.0, 2.0],
    ],
)
def test_conversion_and_mixing_are_type_errors(convert, x):
    with pytest.raises(TypeError):
        convert(x)


@pytest.mark.parametrize(
    "function",
    [
        np.add,
        np.sqrt,
        np.isfinite,
        np.sum,
        np.argsort,
        np.where,
        np.concatenate,
        np.linalg.inv,
        np.stack,
        np.dot,
    ],
)
def test_numpys_functions_refuse_it(function, x):
    with pytest.raises(TypeError):
        function(*([x] * getattr(function, "nin", 1)))
    with pytest.raises(TypeError):
        function([x, x])


@pytest.mark.parametrize(
    "name", ["sqrt", "sum", "argsort", "concatenate", "where", "diagonal", "take", "maximum"]
)
def test_its_functions_refuse_numpys_arrays(name, x):
    host = np.ones((2, 2))
    with pytest.raises(TypeError):
        getattr(xp, name)(host)
    with pytest.raises(TypeError):
        getattr(xp, name)([host, host])
    with pytest.raises(TypeError):
        getattr(xp, name)(x, host)
    with pytest.raises(TypeError):
        xp.linalg.solve(x, host)


def test_its_functions_refuse_lists_and_scalars_alone():
    for value in ([1.0, 2.0], 1.0):
        with pytest.raises(TypeError, match="needs a device array"):
            xp.sum(value)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "argmax", "argmin", "all", "any", "prod"])
def test_reductions_are_0d_arrays(name, x):
    for result in (getattr(xp, name)(x), getattr(x, name)()):
        assert type(result) is DeviceArray
        assert result.shape == ()
        assert_array_equal(result.get(), getattr(np, name)(x.get()))


def test_entries_and_linear_algebra_are_its_own_arrays(x):
    for result in (x[0, 0], x[0], xp.linalg.norm(x), xp.linalg.det(x), *xp.linalg.eigh(x), *xp.nonzero(x)):
        assert type(result) is DeviceArray


def test_scalars_leave_only_by_name(x):
    entry = x[1, 0]
    assert (float(entry), int(entry), bool(entry), entry.item()) == (3.0, 3, True, 3.0)
    with pytest.raises(TypeError):
        range(xp.asarray(3))
    with pytest.raises(TypeError):
        [1, 2, 3][xp.asarray(1)]
    for many in (bool, int, float):
        with pytest.raises((TypeError, ValueError)):
            many(x)
    with pytest.raises(TypeError):
        hash(x)


def test_a_failed_cholesky_is_nan(x):
    assert xp.isnan(xp.linalg.cholesky(xp.asarray(-np.eye(2)))).all()
    good = np.array([[4.0, 2.0], [2.0, 5.0]])
    stack = xp.linalg.cholesky(xp.asarray(np.stack([good, -good]))).get()
    assert_array_equal(stack[0], np.linalg.cholesky(good))
    assert np.isnan(stack[1]).all()


def test_singular_matrices_do_not_raise(x):
    singular = xp.asarray(SINGULAR)
    assert not xp.isfinite(xp.linalg.inv(singular)).any()
    assert not xp.isfinite(xp.linalg.solve(singular, x[:, :1])).any()
    assert xp.linalg.solve(singular, x[:, :1]).shape == (2, 1)
    assert_array_equal(xp.linalg.inv(x).get(), np.linalg.inv(x.get()))
    assert_array_equal(xp.linalg.solve(x, x).get(), np.linalg.solve(x.get(), x.get()))


def test_signatures_are_those_of_cupy(x):
    with pytest.raises(TypeError, match="stable"):
        xp.argsort(x, stable=True)
    with pytest.raises(ValueError, match="kind"):
        xp.argsort(x, kind="quicksort")
    with pytest.raises(TypeError, match="where"):
        xp.sum(x, where=x > 1)
    with pytest.raises(TypeError, match="initial"):
        xp.max(x, initial=0.0)
    for absent in (
        "astype",
        "permute_dims",
        "concat",
        "isdtype",
        "matrix_transpose",
        "bool",
        "unique_values",
    ):
        assert not hasattr(xp, absent)
    assert not hasattr(x, "device")


def test_sorting_is_stable():
    x = xp.asarray(np.array([1.0, 0.0] * 50))
    assert_array_equal(xp.argsort(x).get(), np.argsort(x.get(), kind="stable"))
    assert_array_equal(x.argsort().get(), np.argsort(x.get(), kind="stable"))


def test_there_is_no_object_dtype():
    with pytest.raises(TypeError, match="no object dtype"):
        xp.asarray(np.array([None]))


def test_floating_point_warnings_do_not_exist_on_the_device():
    x = xp.asarray(np.array([0.0, -1.0, 1e308]))
    for result in (1 / x, xp.sqrt(x), x * 1e308, xp.log(x)):
        assert not np.isfinite(result.get()).all()


def test_writing_in_place(x):
    before = x.get()
    part = x[0]
    part[:] = 7.0  # a slice is a view, as in NumPy and CuPy
    assert_array_equal(x.get(), [[7, 7], [3, 5]])
    x[xp.asarray(np.array([1])), :] = x[:1]
    x[x > 6] = 0.0
    x += 1
    x *= x
    assert_array_equal(x.get(), np.ones((2, 2)))
    assert_array_equal(before, [[1, 2], [3, 5]])
    with pytest.raises(ValueError, match="duplicate indices"):
        x[xp.asarray(np.array([0, 0]))] = 1.0
    with pytest.raises(IndexError):
        x[xp.asarray(np.array([2]))]


def test_moves_are_explicit_copies(x):
    host = np.ones(2)
    moved = xp.asarray(host)
    host[:] = 5
    back = moved.get()
    back[:] = 6
    assert_array_equal(moved.get(), [1, 1])
    assert_array_equal(xp.asnumpy(moved), [1, 1])
    assert xp.asarray(moved) is moved
    copy = xp.array(moved)
    copy[0] = 9
    assert_array_equal(moved.get(), [1, 1])


def test_it_gives_itself_as_a_namespace(x):
    assert namespace(x, x) is xp
    assert x.__array_namespace__() is xp


def test_operators_are_numpys(x):
    a, b = x.get(), np.array([[2.0, 1.0], [4.0, 3.0]])
    y = xp.asarray(b)
    pairs = [
        (x + y, a + b), (2 - x, 2 - a), (x * np.float64(3), a * 3), (np.float64(3) * x, 3 * a),
        (2.0**x, 2.0**a), (x / y, a / b), (x // y, a // b), (x % y, a % b), (x @ y, a @ b), (-x, -a),
        (abs(-x), a), (x < y, a < b), (x >= 2, a >= 2), (x != y, a != b), (~(x < 3), a >= 3), (x.T, a.T),
        ((x < 3) & (x > 1), (a < 3) & (a > 1)),
    ]  # fmt: skip
    for got, wanted in pairs:
        assert type(got) is DeviceArray
        assert got.dtype == wanted.dtype
        assert_array_equal(got.get(), wanted)
    assert [float(row[0]) for row in x] == [1.0, 3.0]
    assert len(x) == 2
    with pytest.raises(TypeError, match="0-d"):
        iter(x[0, 0])
