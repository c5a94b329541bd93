"""Patterns against enumeration, plain Python loops, and each other."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import prod

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import refprune as rp

# few dyadic values: ties abound, sums are exact in float32 too
levels = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0, 3.0])


def filled(shape, data):
    return np.array(data.draw(st.lists(levels, min_size=prod(shape), max_size=prod(shape)))).reshape(shape)


def every_mask(shape):
    for bits in product([False, True], repeat=prod(shape)):
        yield np.array(bits, dtype=bool).reshape(shape)


def kept_by_sorting(scores, units, count):
    """The definition with Python's sort: prune the `count` units with the least sums, the first of equals."""
    totals = [sum(Fraction(float(scores[index])) for index in unit) for unit in units]
    order = sorted(range(len(units)), key=lambda u: (totals[u], u))
    mask = np.ones(scores.shape, dtype=bool)
    for u in order[:count]:
        for index in units[u]:
            mask[index] = False
    return mask


def rows_of(shape):
    """The indices of each row of a weight, in C order."""
    if len(shape) == 1:
        return [[(j,) for j in range(shape[0])]]
    return [[(r, *rest) for rest in np.ndindex(*shape[1:])] for r in range(shape[0])]


def runs_of(shape, width):
    """The runs of `width` consecutive inputs of each row and kernel position; no short last run."""
    if len(shape) == 1:
        lines = [[(j,) for j in range(shape[0])]]
    elif len(shape) == 2:
        lines = [[(r, j) for j in range(shape[1])] for r in range(shape[0])]
    else:
        out, inputs, kh, kw = shape
        lines = [
            [(r, c, i, j) for c in range(inputs)] for r, i, j in product(range(out), range(kh), range(kw))
        ]
    return [line[start : start + width] for line in lines for start in range(0, len(line) - width + 1, width)]


SHAPES = [(6,), (1, 6), (3, 4), (2, 8), (4, 1), (2, 4, 1, 2), (3, 2, 2, 2)]


@given(st.sampled_from(SHAPES), st.sampled_from(["layer", "row", None]), st.data())
def test_unstructured_against_sorting(shape, scope, data):
    scores = filled(shape, data)
    units = rows_of(shape) if scope == "row" else [[index for row in rows_of(shape) for index in row]]
    keep = data.draw(st.integers(0, len(units[0])))
    pattern = rp.Unstructured(keep=keep, scope=scope)
    wanted = np.ones(shape, dtype=bool)
    for unit in units:
        wanted &= kept_by_sorting(scores, [[index] for index in unit], len(unit) - keep) | ~inside(
            shape, unit
        )
    got = pattern.mask(scores)
    assert_array_equal(got, wanted)
    assert got.dtype == bool
    assert pattern.removals(shape) == len(units[0]) - keep
    assert pattern.admits(got)


def inside(shape, indices):
    mask = np.zeros(shape, dtype=bool)
    for index in indices:
        mask[index] = True
    return mask


@given(st.sampled_from(SHAPES), st.integers(1, 4), st.sampled_from(["error", "dense"]), st.data())
def test_nm_against_sorting(shape, m, remainder, data):
    scores, n = filled(shape, data), data.draw(st.integers(0, m))
    inputs = shape[0] if len(shape) == 1 else shape[1]
    pattern = rp.NM(n, m, remainder)
    if inputs % m and remainder == "error":
        for call in (pattern.mask, pattern.admits):
            with pytest.raises(ValueError, match=f"need columns in a multiple of m = {m}.*; got {inputs}"):
                call(scores if call == pattern.mask else scores > 0)
        with pytest.raises(ValueError, match="need columns in a multiple"):
            pattern.removals(shape)
        return
    wanted = np.ones(shape, dtype=bool)
    for run in runs_of(shape, m):
        wanted &= kept_by_sorting(scores, [[index] for index in run], m - n) | ~inside(shape, run)
    got = pattern.mask(scores)
    assert_array_equal(got, wanted)
    assert pattern.admits(got)
    assert pattern.removals(shape) == m - n
    labels = pattern.labels(shape)
    for run in runs_of(shape, m):
        assert {labels[index] for index in run} == {labels[run[0]]}
    assert len(np.unique(labels[labels >= 0])) == len(runs_of(shape, m))
    assert (labels == -1).sum() == prod(shape) - m * len(runs_of(shape, m))


@given(st.sampled_from(SHAPES), st.integers(1, 4), st.sampled_from(["layer", "row", None]), st.data())
def test_blocks_against_sorting(shape, size, scope, data):
    scores = filled(shape, data)
    inputs = shape[0] if len(shape) == 1 else shape[1]
    if inputs % size:
        with pytest.raises(
            ValueError, match=f"need columns in a multiple of the block size {size}; got {inputs}"
        ):
            rp.Blocks(size, sparsity=0.5, scope=scope).mask(scores)
        return
    units = runs_of(shape, size)
    per_row = len(units) // len(rows_of(shape))
    per = per_row if scope == "row" else len(units)
    keep = data.draw(st.integers(0, per))
    pattern = rp.Blocks(size, keep=keep, scope=scope)
    wanted = np.ones(shape, dtype=bool)
    for start in range(0, len(units), per):
        wanted &= kept_by_sorting(scores, units[start : start + per], per - keep)
    got = pattern.mask(scores)
    assert_array_equal(got, wanted)
    assert pattern.admits(got)
    assert pattern.removals(shape) == per - keep
    labels = pattern.labels(shape)  # row * blocks_per_row + index in the row
    for number, unit in enumerate(units):
        assert {int(labels[index]) for index in unit} == {number}
        assert {index[0] if len(shape) > 1 else 0 for index in unit} == {number // per_row}


@given(st.sampled_from(SHAPES), st.integers(0, 1), st.booleans(), st.data())
def test_groups_against_sorting(shape, axis, labelled, data):
    scores = filled(shape, data)
    if labelled:
        labels = np.array(data.draw(st.lists(st.integers(-2, 3), min_size=prod(shape), max_size=prod(shape))))
        pattern, labels = rp.Groups(keep=0, labels=labels.reshape(shape)), labels.reshape(shape)
    else:
        pattern = rp.Groups(keep=0, axis=axis)
        rows = 0 if len(shape) == 1 else np.indices(shape)[0]
        columns = np.indices(shape)[0 if len(shape) == 1 else 1]
        labels = np.broadcast_to(rows if axis == 0 else columns, shape)
    assert_array_equal(pattern.labels(shape), labels)
    units = [[index for index in np.ndindex(*shape) if labels[index] == label] for label in np.unique(labels)]
    keep = data.draw(st.integers(0, len(units)))
    pattern = rp.Groups(keep=keep, axis=axis, labels=labels if labelled else None)
    got = pattern.mask(scores)
    assert_array_equal(got, kept_by_sorting(scores, units, len(units) - keep))
    assert pattern.admits(got)
    assert pattern.removals(shape) == len(units) - keep


PATTERNS = [
    rp.Unstructured(keep=3),
    rp.Unstructured(sparsity=0.5, scope="row"),
    rp.NM(1, 2),
    rp.NM(1, 4),
    rp.NM(3, 4),
    rp.NM(1, 3, remainder="dense"),
    rp.Blocks(2, keep=1),
    rp.Blocks(2, sparsity=0.5, scope="row"),
    rp.Groups(keep=1),
    rp.Groups(keep=2, axis=1),
    rp.Groups(keep=1, labels=np.array([[5, 5, 0, 1], [0, 0, 1, 5]])),
    rp.Groups(keep=1, axis=1, labels=np.array([3, 3, -1, 3])),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_the_mask_keeps_the_largest_total_that_the_pattern_admits(pattern):
    scores = np.array(
        [[0.5, 4.0, 0.25, 1.0], [2.0, 8.0, 0.125, 16.0]]
    )  # powers of two: every sum is different
    admitted = [mask for mask in every_mask((2, 4)) if pattern.admits(mask)]
    best = max(admitted, key=lambda mask: scores[mask].sum())
    assert_array_equal(pattern.mask(scores), best)
    assert 1 < len(admitted) < 2**8


def test_admits_by_counting():
    for mask in every_mask((2, 4)):
        assert rp.Unstructured(keep=3).admits(mask) == (mask.sum() == 3)
        assert rp.Unstructured(sparsity=0.25, scope="row").admits(mask) == all(mask.sum(axis=1) == 3)
        assert rp.NM(1, 2).admits(mask) == (mask.reshape(2, 2, 2).sum(axis=2) <= 1).all()
        assert rp.NM(1, 3, remainder="dense").admits(mask) == (mask[:, :3].sum(axis=1) <= 1).all()
        pairs = mask.reshape(4, 2)
        whole = (pairs[:, 0] == pairs[:, 1]).all()
        assert rp.Blocks(2, keep=1).admits(mask) == (whole and pairs[:, 0].sum() == 1)
        assert rp.Blocks(2, keep=1, scope="row").admits(mask) == (whole and all(mask.sum(axis=1) == 2))
        assert rp.Groups(keep=1).admits(mask) == (sorted(mask.sum(axis=1)) == [0, 4])
        assert rp.Groups(keep=1, axis=1).admits(mask) == (sorted(mask.sum(axis=0)) == [0, 0, 0, 2])


@given(st.sampled_from([(2, 4), (4,), (2, 4, 1, 2)]), st.sampled_from(range(6)), st.data())
def test_a_prior_mask_is_pruned_first_counted_and_never_revived(shape, which, data):
    scores = filled(shape, data)
    flags = data.draw(st.lists(st.booleans(), min_size=prod(shape), max_size=prod(shape)))
    prior = np.array(flags).reshape(shape)
    pattern = [
        rp.Unstructured(sparsity=0.5),
        rp.Unstructured(sparsity=0.5, scope="row"),
        rp.NM(2, 4),
        rp.NM(1, 3, remainder="dense"),
        rp.Blocks(2, sparsity=0.5),
        rp.Groups(sparsity=0.5, axis=1),
    ][which]
    units, scopes = (
        pattern.labels(shape),
        rows_of(shape) if getattr(pattern, "scope", None) == "row" else None,
    )
    scopes = [[index for row in rows_of(shape) for index in row]] if scopes is None else scopes
    nm = isinstance(pattern, rp.NM)
    if nm:
        scopes = [[i for i in np.ndindex(*shape) if units[i] == label] for label in range(units.max() + 1)]
        units = np.arange(prod(shape)).reshape(shape)
    wanted = prior.copy()
    for scope in scopes:
        labels = sorted({int(units[index]) for index in scope})
        gone = {label: not any(prior[i] for i in scope if units[i] == label) for label in labels}
        count = pattern.removals(shape)
        if sum(gone.values()) > count and not nm:
            with pytest.raises(
                ValueError, match=r"need at least \d+ units pruned per (layer|row), as many as the prior"
            ):
                pattern.mask(scores, prior)
            return
        total = {label: sum(scores[i] for i in scope if units[i] == label) for label in labels}
        order = sorted(labels, key=lambda label: (not gone[label], total[label], label))
        for label in order[:count]:
            for index in scope:
                wanted[index] &= units[index] != label
    got = pattern.mask(scores, prior)
    assert_array_equal(got, wanted)
    assert not (got & ~prior).any()


def test_a_prior_mask_may_leave_a_group_fewer_than_n():
    prior = np.array([[True, False, False, False, True, True, True, True]])
    scores = np.arange(8.0)[None]
    assert_array_equal(
        rp.NM(2, 4).mask(scores, prior), [[True, False, False, False, False, False, True, True]]
    )


def test_a_prior_of_ones_changes_nothing():
    scores = np.random.default_rng(0).normal(size=(2, 4))
    for pattern in PATTERNS:
        assert_array_equal(pattern.mask(scores, np.ones((2, 4), dtype=bool)), pattern.mask(scores))


@pytest.mark.parametrize("pattern", [*PATTERNS, rp.NM(0, 2), rp.NM(2, 2), rp.Unstructured(keep=0)], ids=repr)
def test_every_backend_gives_the_same_mask(pattern, backend):
    rng = np.random.default_rng(1)
    scores = rng.integers(-3, 4, size=(2, 4)) / 4
    kept = rng.random((2, 4)) < 0.9
    got = pattern.mask(backend.asarray(scores))
    assert type(got) is type(backend.asarray(scores))
    assert_array_equal(backend.numpy(got), pattern.mask(scores))
    assert pattern.admits(got)
    got = pattern.mask(backend.asarray(scores), backend.asarray(kept))
    assert_array_equal(backend.numpy(got), pattern.mask(scores, kept))


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_other_kinds_of_scores(pattern):
    scores = np.array([[0.5, 4.0, 0.25, 1.0], [2.0, 8.0, 0.125, 16.0]])
    wanted = pattern.mask(scores)
    exact = np.array([Fraction(x) for x in scores.ravel()], dtype=object).reshape(2, 4)
    for other in (scores.astype(np.float16), exact, np.asfortranarray(scores), scores[::-1][::-1]):
        got = pattern.mask(other)
        assert_array_equal(got, wanted)
        assert got.dtype == bool
    frozen = scores.copy()
    frozen.flags.writeable = False
    assert_array_equal(pattern.mask(frozen), wanted)
    seen = []
    autograd.grad(lambda x: seen.append(pattern.mask(x)) or (x * x).sum())(scores)
    assert type(seen[0]) is np.ndarray
    assert_array_equal(seen[0], wanted)


@pytest.mark.parametrize("pattern", PATTERNS[:10], ids=repr)
def test_nothing_is_changed_and_nothing_is_shared(pattern):
    scores, prior = np.arange(8.0).reshape(2, 4), np.ones((2, 4), dtype=bool)
    mask = pattern.mask(scores, prior)
    assert_array_equal(scores, np.arange(8.0).reshape(2, 4))
    assert prior.all()
    assert not np.shares_memory(mask, prior)
    labels = pattern.labels((2, 4))
    labels[:] = -7
    assert (pattern.labels((2, 4)) >= -1).all()


@pytest.mark.parametrize("count", [0, 8])
def test_none_and_all(count):
    scores = np.zeros((2, 4))
    for pattern in (rp.Unstructured(sparsity=count / 8), rp.Unstructured(keep=8 - count)):
        assert pattern.mask(scores).sum() == 8 - count
    share = count // 8
    for pattern in (
        rp.Blocks(4, sparsity=share),
        rp.Groups(sparsity=share),
        rp.Groups(sparsity=share, axis=1),
    ):
        assert pattern.mask(scores).sum() == 8 - count
    assert rp.NM(4 * (1 - share), 4).mask(scores).sum() == 8 - count


def test_ties_prune_the_lowest_flat_index():
    scores = np.ones((2, 4))
    assert_array_equal(rp.Unstructured(keep=3).mask(scores), np.arange(8).reshape(2, 4) >= 5)
    assert_array_equal(rp.Unstructured(keep=3, scope="row").mask(scores), np.tile(np.arange(4) >= 1, (2, 1)))
    assert_array_equal(rp.NM(1, 2).mask(scores), np.tile([False, True], (2, 2)))
    assert_array_equal(rp.Blocks(2, keep=1).mask(scores), np.arange(8).reshape(2, 4) >= 6)
    assert_array_equal(rp.Groups(keep=1).mask(scores), [[False] * 4, [True] * 4])


def test_a_share_of_a_float_is_read_as_a_decimal():
    for total in (10, 20, 100):
        for sparsity, tenths in ((0.1, 10), (0.55, 55), (0.7, 70)):
            pattern = rp.Unstructured(sparsity=sparsity)
            exact = Fraction(tenths, 100) * total
            assert pattern.removals((total,)) == round(exact)
            assert (~pattern.mask(np.arange(total, dtype=float))).sum() == round(exact)
    assert rp.Unstructured(sparsity=0.55, count_rule="floor").removals((1, 10)) == 5
    assert rp.Unstructured(sparsity=0.5, count_rule="strict").removals((1, 10)) == 6
    assert rp.Unstructured(sparsity=0.7, scope="row").removals((5, 10)) == 7


def test_identities_between_patterns():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(3, 8))
    keep_four = rp.Unstructured(keep=4, scope="row").mask(scores)
    assert_array_equal(rp.NM(4, 8).mask(scores), keep_four)  # one group a row
    assert_array_equal(rp.Blocks(1, keep=11).mask(scores), rp.Unstructured(keep=11).mask(scores))
    assert_array_equal(rp.Groups(keep=2).mask(scores), rp.Blocks(8, keep=2).mask(scores))
    flat = np.arange(24).reshape(3, 8)
    assert_array_equal(rp.Groups(keep=5, labels=flat).mask(scores), rp.Unstructured(keep=5).mask(scores))
    labels = rp.Blocks(2, keep=1).labels((3, 8))
    assert_array_equal(rp.Groups(keep=5, labels=labels).mask(scores), rp.Blocks(2, keep=5).mask(scores))


def test_convolutions_are_their_input_channels():
    scores = np.random.default_rng(3).normal(size=(3, 4, 2, 2))
    moved = scores.transpose(0, 2, 3, 1)  # (out, kh, kw, in)
    dense = moved.reshape(12, 4)
    for pattern in (rp.NM(1, 4), rp.NM(1, 2), rp.Blocks(2, keep=9)):
        assert_array_equal(pattern.mask(scores).transpose(0, 2, 3, 1).reshape(12, 4), pattern.mask(dense))
    # consecutive columns of the flattened weight are not a group
    assert not rp.NM(1, 2).admits(rp.NM(1, 2).mask(scores.reshape(3, 16)).reshape(3, 4, 2, 2))
    filters = rp.Groups(keep=1).mask(scores)
    best = int(np.argmax(scores.sum(axis=(1, 2, 3))))
    assert_array_equal(filters.sum(axis=(1, 2, 3)), 16 * (np.arange(3) == best))
    channels = rp.Groups(keep=1, axis=1).mask(scores)
    best = int(np.argmax(scores.sum(axis=(0, 2, 3))))
    assert_array_equal(channels.sum(axis=(0, 2, 3)), 12 * (np.arange(4) == best))


def test_scaling_and_permuting_scores():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(4, 6))
    rows, columns = rng.permutation(4), rng.permutation(6)
    for pattern in (rp.Unstructured(keep=7), rp.Groups(keep=2), rp.Groups(keep=2, axis=1)):
        mask = pattern.mask(scores)
        assert_array_equal(pattern.mask(8 * scores), mask)
        assert_array_equal(pattern.mask(scores[rows][:, columns]), mask[rows][:, columns])
    pairs = np.array([[4, 5], [0, 1], [2, 3]]).ravel()  # whole groups may move
    assert_array_equal(rp.NM(1, 2).mask(scores[:, pairs]), rp.NM(1, 2).mask(scores)[:, pairs])


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0), (0, 4, 3, 3)])
def test_empty_weights(shape, backend):
    scores = backend.asarray(np.zeros(shape))
    for pattern in (
        rp.Unstructured(sparsity=0.5),
        rp.Unstructured(keep=0, scope="row"),
        rp.NM(2, 4),
        rp.Blocks(2, sparsity=1),
        rp.Blocks(2, sparsity=0.5, scope="row"),
        rp.Groups(sparsity=0),
    ):
        mask = pattern.mask(scores)
        assert tuple(mask.shape) == shape
        assert pattern.admits(mask)
    with pytest.raises(ValueError, match="need keep <= 0"):
        rp.Unstructured(keep=1).mask(scores)


MAKERS = [rp.Unstructured, lambda **amount: rp.Blocks(2, **amount), rp.Groups]


@pytest.mark.parametrize("make", MAKERS)
def test_amounts_are_checked(make):
    for both_or_none in ({}, {"sparsity": 0.5, "keep": 2}):
        with pytest.raises(ValueError, match="need exactly one of sparsity and keep; got "):
            make(**both_or_none)
    for bad in (True, 2.0, "2", np.array([2])):
        with pytest.raises(TypeError, match="need keep to be an integer; got "):
            make(keep=bad)
    with pytest.raises(ValueError, match="need keep >= 0; got -1"):
        make(keep=-1)
    for bad in (-0.1, 1.2, float("nan")):
        with pytest.raises(ValueError, match=r"need sparsity in \[0, 1\]; got "):
            make(sparsity=bad)
    for bad in (True, "0.5", np.array([0.5])):
        with pytest.raises(TypeError, match="need sparsity to be a real number; got "):
            make(sparsity=bad)
    with pytest.raises(ValueError, match=r"need keep <= \d+, the number of units per layer; got 99"):
        make(keep=99).mask(np.zeros((2, 4)))
    assert make(keep=np.int64(1)).mask(np.arange(8.0).reshape(2, 4)).any()


def test_other_arguments_are_checked():
    for bad in ("rows", 1):
        with pytest.raises(ValueError, match="need scope to be one of network, layer, row; got "):
            rp.Unstructured(keep=1, scope=bad)
    with pytest.raises(ValueError, match="need scope to be one of layer, row; got 'network'"):
        rp.Blocks(2, keep=1, scope="network")
    with pytest.raises(ValueError, match="need count_rule to be one of round, floor, ceil, strict; got 'up'"):
        rp.Unstructured(sparsity=0.5, count_rule="up")
    with pytest.raises(ValueError, match="need count_rule 'round' with keep"):
        rp.Unstructured(keep=1, count_rule="floor")
    for n, m, message in (
        (3, 2, r"need n in \[0, 2\]; got 3"),
        (-1, 2, "need n in"),
        (0, 0, "need m >= 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            rp.NM(n, m)
    for n, m in ((1.0, 2), (True, 2), (1, 2.0), (1, "4")):
        with pytest.raises(TypeError, match=r"need (n|m) to be an integer"):
            rp.NM(n, m)
    with pytest.raises(ValueError, match="need remainder to be error or dense; got 'pad'"):
        rp.NM(1, 2, remainder="pad")
    for size, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="need size"):
            rp.Blocks(size, keep=1)
    for axis, error in ((2, ValueError), (-1, ValueError), (0.0, TypeError), ("row", TypeError)):
        with pytest.raises(error, match="need axis"):
            rp.Groups(keep=1, axis=axis)


def test_the_network_scope_is_not_for_one_array():
    pattern = rp.Unstructured(keep=1, scope="network")
    for call in (pattern.mask, lambda x: pattern.admits(x > 0), lambda x: pattern.removals(x.shape)):
        with pytest.raises(ValueError, match="need scope 'layer' or 'row' for one array; got 'network'"):
            call(np.ones((2, 2)))
    assert replace(pattern, scope="row").removals((2, 2)) == 1


def test_labels_of_groups_are_checked():
    with pytest.raises(TypeError, match=r"need integers in labels; got float64"):
        rp.Groups(keep=1, labels=np.zeros(3))
    with pytest.raises(TypeError, match="need labels to be an array"):
        rp.Groups(keep=1, labels=[0, 1])
    with pytest.raises(ValueError, match=r"need labels below 2\^63; got 9223372036854775808"):
        rp.Groups(keep=1, labels=np.array([1, 2**63], dtype="uint64"))
    pattern = rp.Groups(keep=1, labels=np.array([0, 1, 1]))
    with pytest.raises(ValueError, match=r"need labels of shape \(3, 4\) or \(3,\); got \(2,\)"):
        rp.Groups(keep=1, labels=np.array([0, 1])).mask(np.zeros((3, 4)))
    assert_array_equal(pattern.labels((3, 2)), [[0, 0], [1, 1], [1, 1]])
    assert_array_equal(pattern.labels((3, 1, 2, 1))[:, 0, 0, 0], [0, 1, 1])


def test_labels_are_kept_as_a_copy(backend):
    labels = np.array([1, 1, 0])
    given = labels if backend.name.startswith("numpy") else backend.asarray(labels)
    pattern = rp.Groups(keep=1, axis=1, labels=given)
    labels[:] = 5
    assert_array_equal(pattern.labels((2, 3)), [[1, 1, 0]] * 2)
    mask = pattern.mask(backend.asarray(np.array([[1.0, 1.0, 5.0]])))
    assert_array_equal(backend.numpy(mask), [[False, False, True]])


@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(keep=1), rp.NM(1, 2), rp.Blocks(2, keep=1), rp.Groups(keep=1)]
)
def test_arrays_are_checked(pattern):
    scores = np.zeros((2, 4))
    for bad in (scores.astype(int), scores.astype(bool), scores.tolist(), 1.0):
        with pytest.raises(TypeError, match="scores"):
            pattern.mask(bad)
    for bad in (np.full((2, 4), np.nan), np.array([[np.inf, 1.0]]), np.zeros((2, 2, 2)), np.array(1.0)):
        with pytest.raises(ValueError, match="scores"):
            pattern.mask(bad)
    with pytest.raises(TypeError, match="need a boolean array prior"):
        pattern.mask(scores, scores)
    with pytest.raises(ValueError, match="need prior of shape"):
        pattern.mask(scores, np.ones((4, 2), dtype=bool))
    with pytest.raises(TypeError, match="need a boolean array mask"):
        pattern.admits(np.ones((2, 4)))
    with pytest.raises(TypeError, match="need mask to be an array"):
        pattern.admits([[True, False]])
    for shape in ((), (2, 2, 2), (1, 1, 1, 1, 1)):
        with pytest.raises(ValueError, match="need a weight with 1, 2 or 4 dimensions; got shape"):
            pattern.labels(shape)


def test_patterns_are_values():
    assert rp.NM(2, 4) == rp.NM(2, 4) != rp.NM(1, 4)
    assert rp.Unstructured(sparsity=0.5) == rp.Unstructured(sparsity=0.5)
    assert len({rp.Blocks(2, keep=1), rp.Blocks(2, keep=1), rp.Blocks(4, keep=1)}) == 2
    labels = np.array([0, 1])
    assert rp.Groups(keep=1, labels=labels) == rp.Groups(keep=1, labels=labels.copy()) != rp.Groups(keep=1)
    assert len({rp.Groups(keep=1), rp.Groups(keep=1), rp.Groups(keep=1, axis=1)}) == 2
    assert repr(rp.Groups(keep=1)) == "Groups(sparsity=None, keep=1, axis=0, labels=None)"
    assert repr(rp.NM(2, 4)) == "NM(n=2, m=4, remainder='error')"
    for pattern, name in ((rp.NM(2, 4), "n"), (rp.Groups(keep=1), "keep"), (rp.Blocks(2, keep=1), "size")):
        with pytest.raises(AttributeError):
            setattr(pattern, name, 3)


def test_every_subset_of_units_can_be_asked_for():
    # raising the scores of one subset of groups selects exactly that subset
    labels = np.array([[0, 1, 2], [2, 0, 1]])
    for wanted in combinations(range(3), 2):
        scores = np.isin(labels, wanted).astype(float) + 0.125
        assert_array_equal(rp.Groups(keep=2, labels=labels).mask(scores), np.isin(labels, wanted))
