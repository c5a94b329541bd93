"""Shrinking: the result fails, is legal, is no larger, and is small where small cases exist."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from refprune.testing.shrink import shrink

LAYER = {"weight": ("row", "column"), "gram": ("column", "column")}


def layer(seed, rows, columns):
    """A layer with an invertible Gram."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(3.0, 2.0, (3 * columns, columns))
    return {"weight": rng.normal(size=(rows, columns)), "gram": inputs.T @ inputs / len(inputs)}


def legal(problem):
    """Shapes that fit, a symmetric positive definite Gram, a count in range."""
    weight, gram = problem["weight"], problem["gram"]
    fits = gram.shape == (weight.shape[1],) * 2 and 0 <= problem.get("keep", 0) <= weight.shape[1]
    return fits and np.array_equal(gram, gram.T) and np.linalg.eigvalsh(gram).min() > 1e-8


def test_a_gram_stays_square_and_the_failure_stays():
    problem = layer(0, 6, 12)

    def fails(candidate):
        assert legal({**candidate, "gram": candidate["gram"] + 1e6 * np.eye(len(candidate["gram"]))})
        return legal(candidate) and candidate["weight"].shape[1] >= 3 and (candidate["weight"] < 0).any()

    small = shrink(problem, LAYER, fails)
    assert small["weight"].shape == (1, 3)
    np.testing.assert_array_equal(small["gram"], np.eye(3))
    assert sorted(small["weight"].ravel()) == [-1.0, 0.0, 0.0]


def test_whole_groups_are_dropped():
    """Columns must stay a multiple of m = 4; 12 / 2 and 12 / 4 are none."""
    problem = {**layer(1, 2, 12), "n": 1, "m": 4}

    def fails(candidate):
        return legal(candidate) and candidate["m"] == 4 and candidate["weight"].shape[1] % 4 == 0

    assert shrink(problem, LAYER, fails)["weight"].shape == (1, 4)


def test_a_count_shrinks_with_the_columns():
    """keep = columns - 1: neither can shrink alone."""
    problem = {**layer(2, 1, 9), "keep": 8}

    def fails(candidate):
        return (
            legal(candidate)
            and candidate["keep"] == candidate["weight"].shape[1] - 1
            and candidate["keep"] > 0
        )

    small = shrink(problem, LAYER, fails)
    assert (small["weight"].shape[1], small["keep"]) == (2, 1)


def test_lists_lose_items_samples_and_columns():
    rng = np.random.default_rng(3)
    problem = {"batches": [rng.normal(size=(size, 5)) for size in (4, 1, 7)]}

    def fails(candidate):
        batches = candidate["batches"]
        columns = {b.shape[1] for b in batches}
        return len(batches) >= 2 and len(columns) == 1 and len({len(b) for b in batches}) >= 2

    small = shrink(problem, {"batches": ("sample", "column")}, fails)["batches"]
    assert sorted(b.shape for b in small) == [(1, 1), (2, 1)]


def test_pairs_in_a_list_lose_their_samples_together_and_become_simple():
    rng = np.random.default_rng(4)
    problem = {"batches": [(rng.normal(size=(size, 3)), rng.integers(5, size=size)) for size in (4, 6, 5)]}
    given = [(x.copy(), y.copy()) for x, y in problem["batches"]]

    def fails(candidate):
        batches = candidate["batches"]
        return (
            len(batches) >= 2 and all(len(x) == len(y) > 0 for x, y in batches) and batches[-1][0].max() > 0
        )

    small = shrink(problem, {"batches": ("sample",)}, fails)["batches"]
    assert [(x.shape, y.shape) for x, y in small] == [((1, 3), (1,))] * 2
    assert [x.tolist() for x, _ in small] in (
        [[[0, 0, 0]], [row]] for row in ([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    )
    assert all(type(pair) is tuple and pair[1].tolist() == [0] for pair in small)
    for (x, y), (before, labels) in zip(problem["batches"], given):
        assert np.array_equal(x, before)
        assert np.array_equal(y, labels)


def test_shares_and_labels_become_simple():
    problem = {"weight": np.arange(6.0), "groups": np.array([7, 7, -3, 40, 40, -3]), "sparsity": 0.4666666666}
    axes = {"weight": ("column",), "groups": ("column",)}
    small = shrink(problem, axes, lambda p: len(set(p["groups"])) >= 2)
    assert small["sparsity"] == 0.5
    assert len(small["groups"]) == 2
    assert set(small["groups"]) == {0, 1}


@pytest.mark.parametrize("kind", ["F", "strided", "read-only"])
def test_memory_stays_where_it_matters(kind):
    array = np.arange(1.0, 37.0).reshape(6, 6)
    array = {
        "F": np.asfortranarray(array),
        "strided": np.repeat(array, 2, axis=1)[:, ::2],
        "read-only": array,
    }[kind]
    array.flags.writeable = kind != "read-only"

    def fails(candidate):
        flags = candidate["x"].flags
        wanted = {
            "F": flags.f_contiguous and not flags.c_contiguous,
            "strided": not flags.f_contiguous and not flags.c_contiguous,
            "read-only": not flags.writeable,
        }
        return wanted[kind]

    small = shrink({"x": array}, {"x": ("row", "column")}, fails)["x"]
    assert small.size <= 4
    assert fails({"x": small})
    plain = shrink({"x": array}, {"x": ("row", "column")}, lambda p: p["x"].size >= 4)["x"]
    assert plain.flags.c_contiguous
    assert plain.flags.writeable


def test_nothing_is_changed_and_nothing_is_accepted_that_passes():
    problem = {**layer(4, 3, 6), "keep": 2}
    copies = {name: np.copy(value) for name, value in problem.items()}
    assert shrink(problem, LAYER, lambda p: False) == problem
    shrink(problem, LAYER, legal)
    for name, value in problem.items():
        np.testing.assert_array_equal(value, copies[name])


def test_time_is_kept():
    calls = []

    def slow(candidate):
        calls.append(0)
        time.sleep(0.05)
        return False

    start = time.monotonic()
    shrink(layer(5, 20, 40), LAYER, slow, seconds=0.3)
    assert time.monotonic() - start < 2.0  # the limit, one call and slack for a busy machine
    assert 1 <= len(calls) <= 8


def test_no_candidate_is_tried_twice():
    seen = []

    def fails(candidate):
        key = tuple(candidate[name].tobytes() + repr(candidate[name].shape).encode() for name in LAYER)
        assert key not in seen
        seen.append(key)
        return legal(candidate) and candidate["weight"].shape[0] > 2

    assert shrink(layer(6, 5, 4), LAYER, fails)["weight"].shape == (3, 1)


def test_odd_numbers():
    x = np.array([np.nan, np.inf, -1e-310, 3e300, 5.0])
    small = shrink({"x": x}, {"x": ("column",)}, lambda p: np.isnan(p["x"]).any())["x"]
    assert small.shape == (1,)
    small = shrink({"x": x}, {"x": ("column",)}, lambda p: (p["x"] > 1e299).sum() == 2)["x"]
    assert small.shape == (2,)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-8, 8)),
    st.sampled_from(["sum", "max", "pair"]),
)
def test_the_result_always_fails_and_is_no_larger(array, rule):
    rules = {
        "sum": lambda a: a.sum() >= array.sum(),
        "max": lambda a: a.max() >= array.max(),
        "pair": lambda a: a.shape == array.shape and (a == array).mean() >= 0.5,
    }
    small = shrink({"x": array}, {"x": ("row", "column")}, lambda p: rules[rule](p["x"]), seconds=5.0)["x"]
    assert rules[rule](small)
    assert small.shape[0] <= array.shape[0]
    assert small.shape[1] <= array.shape[1]
    assert small.dtype == array.dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dtypes_are_kept(dtype):
    x = np.linspace(-2, 2, 7).astype(dtype)
    small = shrink({"x": x}, {"x": ("column",)}, lambda p: p["x"].min() < -1.2)["x"]
    assert small.dtype == dtype
    assert small.tolist() == [-2.0]
