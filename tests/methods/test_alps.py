"""ALPS against its definition and a second transcription, by certificate, at exact cases, and its errors."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.methods.alps import raised
from tests.methods.admm import admm, certify, same_support
from tests.methods.problems import condition, fractions, layers, masks, spd, with_dead

PATTERNS = {
    "half": rp.Unstructured(sparsity=0.5),
    "rows": rp.Unstructured(keep=3, scope="row"),
    "1:4": rp.NM(1, 4),
    "blocks": rp.Blocks(2, sparsity=0.5),
    "blocks in rows": rp.Blocks(4, keep=1, scope="row"),
    "rows as groups": rp.Groups(keep=2),
    "columns": rp.Groups(keep=5, axis=1),
    "partition": rp.Groups(keep=2, labels=np.arange(24).reshape(3, 8) % 5),
}


@pytest.fixture
def layer():
    rng = np.random.default_rng(40)
    return rng.normal(size=(3, 8)) + 0.25, spd(rng, 8, 100.0)


def drawn(seed):
    """(weight, gram, prior, rng) of a small problem with other scales, dead inputs and prior zeros."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 5), 4 * rng.integers(1, 4)
    dead = np.flatnonzero(rng.random(columns) < rng.choice([0.0, 0.25]))
    G = with_dead(spd(rng, columns - len(dead), rng.choice([1.0, 10.0, 1e4])), dead)
    prior = rng.random((rows, columns)) < rng.choice([0.8, 1.0])
    W = rng.normal(size=(rows, columns)) * 2.0 ** rng.integers(-2, 3, size=(rows, 1))
    return np.where(prior, W, 0), G, prior, rng


def test_the_answers_are_those_of_the_definition():
    """Of 300 problems; where rounding may decide a choice of the ADMM the certificate still holds."""
    equal = 0
    for seed in range(300):
        W, G, prior, rng = drawn(seed)
        damp = float(rng.choice([0.0, 0.125]))
        if seed % 2:
            answer = rp.alps(rp.LayerProblem(W, G), rp.NM(1, 4), damp, prior)
            weight, mask = definitions.alps_nm(W, G, 1, 4, damp, prior)
        else:
            count = int(rng.integers(np.count_nonzero(~prior), W.size + 1))
            answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), damp, prior)
            weight, mask = definitions.alps(W, G, count, damp, prior)
            assert np.count_nonzero(~answer.mask) == count
        certify(W, G, answer, damp)
        assert not answer.mask[~prior].any()
        if np.array_equal(mask, answer.mask):
            equal += 1
            assert_allclose(
                answer.weight, weight, rtol=0, atol=1e3 * 2.0**-52 * condition(G) * np.abs(W).max() * 100
            )
    assert equal == 300  # no choice of these is closer than rounding


@pytest.mark.parametrize("keep", [5, 12, 20])
def test_the_iteration_is_that_of_the_paper(keep):
    for seed in range(20):
        rng = np.random.default_rng([keep, seed])
        W, G = rng.normal(size=(3, 8)) + 0.25, spd(rng, 8, 1e3)
        run = admm(W, G, [range(24)], keep)
        answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=keep))
        same_support(answer.mask, run)
        assert_allclose([step.rho for step in answer.trace], run.rho, rtol=1e-13)
        rows = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=keep // 3, scope="row"))
        same_support(rows.mask, admm(W, G, np.arange(24).reshape(3, 8), keep // 3))
        nm = rp.alps(rp.LayerProblem(W, G), rp.NM(1, 4))
        same_support(nm.mask, admm(W, G, np.arange(24).reshape(6, 4), 1))


def test_units_are_kept_by_their_sums_of_squares():
    """Blocks, columns and any partition: the nearest weights that the pattern allows."""
    longest = 0
    for seed in range(20):
        rng = np.random.default_rng([49, seed])
        W, G = rng.normal(size=(6, 8)) + 0.25, spd(rng, 8, 1e3)
        layer, flat = rp.LayerProblem(W, G), np.arange(48).reshape(6, 8)
        anyhow = rng.permutation(48).reshape(6, 8) // 5
        for pattern, labels, sets, keep in (
            (rp.Blocks(2, keep=9), flat // 2, [range(24)], 9),
            (rp.Blocks(2, keep=2, scope="row"), flat // 2, np.arange(24).reshape(6, 4), 2),
            (rp.Groups(keep=4, axis=1), flat % 8, [range(8)], 4),
            (rp.Groups(keep=5, labels=anyhow), anyhow, [range(10)], 5),
        ):
            run, answer = admm(W, G, sets, keep, labels=labels), rp.alps(layer, pattern)
            same_support(answer.mask, run)
            assert_allclose([step.rho for step in answer.trace], run.rho, rtol=1e-13)
            longest = max(longest, len(run.rho))
            prior = rng.random(W.shape) < 0.8  # parts of units, and what may not come back does not count
            given = rp.LayerProblem(np.where(prior, W, 0), G)
            run = admm(given.weight, G, sets, keep, labels=labels, prior=prior)
            same_support(rp.alps(given, pattern, mask=prior).mask, run)
    assert longest > 9  # not all of them end where they start


def test_one_iteration_by_hand():
    """Y = [2.1875, 0.9375]: Z keeps the first, and the copies are 0.9375 apart, beside |W| = 2.5."""
    layer = rp.LayerProblem(np.array([[2.0, 1.5]]), np.array([[1.0, 0.5], [0.5, 1.0]]))
    answer = rp.alps(layer, rp.Unstructured(keep=1), rho=0.5, max_iter=1)
    (step,) = answer.trace
    assert (step.rho, step.changed) == (0.5, 0)
    assert step.gap == pytest.approx(0.375, rel=1e-14)
    assert_allclose(answer.weight, [[2.75, 0.0]], rtol=1e-15)
    assert answer.objective == pytest.approx(0.84375, rel=1e-14)  # 1.5^2 / 2 * (1 - 1/4)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("damp", [0.0, 0.25])
def test_every_pattern_keeps_its_certificate(pattern, damp, layer):
    W, G = layer
    G = with_dead(G[1:, 1:], [3])
    answer = rp.alps(rp.LayerProblem(W, G), pattern, damp)
    assert pattern.admits(answer.mask)
    certify(W, G, answer, damp)
    assert answer.order is None
    assert answer.trace[-1].changed == 0


@given(layers(), st.data())
def test_prior_zeros_are_counted_and_never_revived(layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    count = data.draw(st.integers(int((~prior).sum()), W.size))
    answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), mask=prior)
    assert not answer.mask[~prior].any()
    assert np.count_nonzero(~answer.mask) == count
    certify(W, G, answer)
    dead = (np.diag(G) == 0) & prior
    if (~answer.mask & prior & ~dead).any():
        assert not (answer.mask & dead).any()  # dead inputs go before living ones
    gone = np.flatnonzero((~answer.mask & dead).ravel())
    assert gone.tolist() == np.flatnonzero(dead.ravel())[: len(gone)].tolist()  # the lowest first


def test_prior_zeros_in_nm_leave_fewer(layer):
    W, G = layer
    prior = np.ones((3, 8), dtype=bool)
    prior[0, :3] = prior[2, 5] = False
    W = np.where(prior, W, 0)
    answer = rp.alps(rp.LayerProblem(W, G), rp.NM(2, 4), mask=prior)
    assert answer.mask.reshape(3, 2, 4).sum(axis=2).tolist() == [[1, 2], [2, 2], [2, 2]]
    assert not answer.mask[~prior].any()
    certify(W, G, answer)


def test_a_remainder_stays_dense():
    rng = np.random.default_rng(41)
    W, G = rng.normal(size=(2, 7)), spd(rng, 7)
    answer = rp.alps(rp.LayerProblem(W, G), rp.NM(1, 4, remainder="dense"))
    assert answer.mask[:, 4:].all()
    assert answer.mask[:, :4].sum(axis=1).tolist() == [1, 1]
    certify(W, G, answer)
    with pytest.raises(ValueError, match="need columns in a multiple of m = 4"):
        rp.alps(rp.LayerProblem(W, G), rp.NM(1, 4))


def test_units_without_a_living_weight_go_first_the_lowest_label_first():
    rng = np.random.default_rng(42)
    G = with_dead(spd(rng, 4), [0, 1, 4, 6])
    W = rng.normal(size=(2, 8)) + 3
    blocks = rp.alps(rp.LayerProblem(W, G), rp.Blocks(2, keep=7))
    assert (~blocks.mask).nonzero()[1].tolist() == [0, 1]  # both weights of the one dead block, in row 0
    assert_array_equal(blocks.weight[blocks.mask], W[blocks.mask])
    columns = rp.Groups(keep=1, axis=1, labels=np.array([9, 9, 5, 5, 7, 5, 7, 5]))
    answer = rp.alps(rp.LayerProblem(W, G), columns)
    assert answer.mask[0].tolist() == [False, False, True, True, False, True, False, True]
    assert answer.objective == 0
    first = rp.alps(rp.LayerProblem(W, G), rp.Groups(keep=2, axis=1, labels=columns.partition))
    assert (~first.mask[0]).nonzero()[0].tolist() == [4, 6]  # label 7 before label 9
    with_prior = np.ones((2, 8), dtype=bool)
    with_prior[:, 0] = False
    mixed = rp.alps(rp.LayerProblem(W * with_prior, G), first_of(columns, 2), mask=with_prior)
    assert (~mixed.mask[0]).nonzero()[0].tolist() == [0, 4, 6]  # of label 9 only a part was gone


def test_dead_inputs_go_before_living_weights_of_zero():
    """On a diagonal Gram a weight of zero stays one, and is as cheap as a dead input, but not before it."""
    layer = rp.LayerProblem(
        np.array([[0.0, 7.0, 2.0, 0.0, 5.0, 0.0]]), np.diag([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    )
    kept = {keep: rp.alps(layer, rp.Unstructured(keep=keep)).mask[0].tolist() for keep in (5, 4, 3, 2)}
    assert kept[5] == [True, False, True, True, True, True]
    assert kept[4] == [True, False, True, True, False, True]
    assert kept[3] == [True, False, True, True, False, False]
    assert kept[2] == [False, False, True, True, False, False]
    assert rp.alps(layer, rp.NM(2, 3)).mask[0].tolist() == [True, False, True, True, False, True]
    layer = rp.LayerProblem(layer.weight, np.diag([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]))
    prior = np.array([[True, True, True, True, True, False]])
    groups = rp.Groups(keep=2, labels=np.array([[1, 3, 2, 1, 3, 3]]))  # label 3: two dead, one prior zero
    assert rp.alps(layer, groups, mask=prior).mask[0].tolist() == [True, False, True, True, False, False]


def test_a_unit_with_one_living_weight_is_a_living_unit():
    G = with_dead(np.eye(5), [0, 1, 4])
    W = np.array([[9.0, 9.0, 1.0, 1.0, 9.0, 3.0, 2.0, 2.0], [9.0, 9.0, 2.0, 2.0, 9.0, 4.0, 1.0, 2.0]])
    answer = rp.alps(rp.LayerProblem(W, G), rp.Blocks(2, keep=5), rho=1e9)
    assert (~answer.mask).any(axis=0).tolist() == [True, True, True, True, False, False, False, False]
    assert answer.weight[0].tolist() == [0, 0, 0, 0, 9, 3, 2, 2]  # 9 at a dead input is worth nothing


@pytest.mark.parametrize("tiny", [1e-150, 1e-250])
def test_rows_of_their_own_scale(tiny):
    """The squares of such weights are zero beside those of another row; their sizes rank all the same."""
    rng = np.random.default_rng(53)
    W, G = rng.normal(size=(2, 8)), spd(rng, 8)
    W[1] *= tiny
    answer = rp.alps(rp.LayerProblem(W, G), rp.NM(1, 4), rho=1e9)
    assert_array_equal(answer.mask[1], rp.wanda(rp.LayerProblem(W[1:], G), rp.NM(1, 4)).mask[0])
    assert answer.mask[1].sum() == 2


def first_of(groups, keep):
    return rp.Groups(keep=keep, axis=groups.axis, labels=groups.partition)


def test_everything_dead_and_nothing_there():
    dead = rp.LayerProblem(np.ones((2, 4)), np.zeros((4, 4)))
    for pattern in (rp.Unstructured(keep=3), rp.NM(1, 2), rp.Blocks(2, keep=2), rp.Groups(keep=2, axis=1)):
        answer = rp.alps(dead, pattern)
        assert pattern.admits(answer.mask)
        assert answer.objective == 0
        assert_array_equal(answer.weight, answer.mask * 1.0)
    empty = rp.alps(rp.LayerProblem(np.ones((0, 4)), np.eye(4)), rp.Unstructured(sparsity=0.5))
    assert empty.weight.shape == (0, 4)
    assert empty.objective == 0


def test_nothing_and_everything(layer):
    W, G = layer
    nothing, everything = (rp.alps(rp.LayerProblem(W, G), rp.Unstructured(sparsity=s)) for s in (0, 1))
    assert_array_equal(nothing.weight, W)
    assert nothing.objective == 0
    assert not everything.weight.any()
    assert_allclose(everything.objective, np.sum(W @ G * W) / 2, rtol=W.size * 8 * 2.0**-52)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_where_nothing_is_lost_nothing_moves(dtype):
    """As many zeros are asked for as there are: the lowest go, in one look, and no weight changes by a bit."""
    rng = np.random.default_rng(55)
    W = (rng.normal(size=(6, 12)) * (rng.random((6, 12)) < 0.5)).astype(dtype)
    G = spd(rng, 12, 100.0).astype(dtype)
    count = np.count_nonzero(W == 0) - 5
    answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count))
    assert np.flatnonzero(~answer.mask.ravel()).tolist() == np.flatnonzero(W.ravel() == 0)[:count].tolist()
    assert_array_equal(answer.weight, W)
    assert answer.objective == 0
    assert answer.trace == ((0.1, 0, 0.0),) * 3
    W[0, :4] = [0, 1, 0, 0]
    W[0, 4:] *= 1.5
    rows = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=12 - np.count_nonzero(W[0] == 0), scope="row"))
    assert_array_equal(rows.weight[0], W[0])  # though other rows lose something
    assert rows.objective > 0


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_large_rho_stays_at_the_start(pattern, layer):
    """Z is P(W) up to 1 / rho: the mask of the largest W^2 diag(G), which is that of OBD."""
    W, G = layer
    answer = rp.alps(rp.LayerProblem(W, G), pattern, rho=1e10)
    assert_array_equal(answer.mask, rp.obd(rp.LayerProblem(W, G), pattern).mask)
    assert_array_equal(answer.weight, rp.optimal_weights(rp.LayerProblem(W, G), answer.mask).weight)
    assert len(answer.trace) == 3


def test_rho_rises_with_the_change_of_the_support():
    rises = set()
    for seed in range(4):
        rng = np.random.default_rng([43, seed])
        W, G = rng.normal(size=(40, 40)), spd(rng, 40, 1e3)
        answer = rp.alps(rp.LayerProblem(W, G), rp.Unstructured(keep=480))
        rhos, changes = [s.rho for s in answer.trace], [s.changed for s in answer.trace]
        assert len(rhos) % 3 == 0
        for t in range(3, len(rhos), 3):
            share = changes[t - 1] / 480
            rises.add(1.3 if share >= 0.1 else 1.2 if share >= 0.005 else 1.1)
            assert rhos[t] == pytest.approx(
                rhos[t - 1] * (13 if share >= 0.1 else 12 if share >= 0.005 else 11) / 10
            )
            assert rhos[t - 1] == rhos[t - 2] == rhos[t - 3]
            assert changes[t - 1] > 0
        assert changes[-1] == 0
    assert rises == {1.1, 1.2, 1.3}  # all of them are seen


def test_the_limits_of_the_rises():
    assert [raised(1.0, s, 400) for s in (400, 40, 39, 2, 1)] == [1.3, 1.3, 1.2, 1.2, 1.1]


def test_where_it_does_not_settle_the_answer_keeps_every_promise():
    rng = np.random.default_rng(44)
    W, G = rng.normal(size=(6, 12)), spd(rng, 12, 1e3)
    layer, pattern = rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5)
    settled = rp.alps(layer, pattern)
    assert len(settled.trace) > 9
    for most in (1, 2, 3, 4, 8, 9):
        answer = rp.alps(layer, pattern, max_iter=most)
        assert answer.trace == settled.trace[:most]  # a shorter run of the same iteration
        assert pattern.admits(answer.mask)
        certify(W, G, answer)
    assert rp.alps(layer, pattern, max_iter=9).trace[-1].changed > 0  # the trace tells
    assert rp.alps(layer, pattern, max_iter=len(settled.trace)).trace == settled.trace


def test_a_singular_gram_is_fine_where_the_kept_columns_are_not():
    rng = np.random.default_rng(45)
    X, W = rng.normal(size=(4, 9)), rng.normal(size=(3, 9))
    layer = rp.LayerProblem.from_inputs(W, X)
    answer = rp.alps(layer, rp.Unstructured(keep=3, scope="row"))
    certify(W, layer.gram, answer)
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram restricted to .* damp="):
        rp.alps(layer, rp.Unstructured(keep=6, scope="row"))
    damped = rp.alps(layer, rp.Unstructured(keep=6, scope="row"), damp=0.01)
    certify(W, layer.gram, damped, 0.01)


def test_duplicated_inputs_are_not_both_kept():
    """Two equal inputs carry the weight of both, and one of them can stand in for the other exactly."""
    rng = np.random.default_rng(46)
    X, W = rng.normal(size=(50, 6)), np.array([[1.0, 2.0, 0.5, -1.0, 1.5, 3.0]])
    X[:, 5] = X[:, 1]
    answer = rp.alps(rp.LayerProblem.from_inputs(W, X), rp.Unstructured(keep=1))
    assert answer.mask.sum() == 1
    assert answer.weight[answer.mask][0] > 4  # 2 + 3, and some of the others


def test_a_grouped_convolution_is_a_layer_with_prior_zeros():
    """Two groups are a dense layer whose Gram has two blocks and whose weight is zero across them."""
    for seed in range(10):
        rng = np.random.default_rng([47, seed])
        W = rng.normal(size=(4, 2, 1, 3)) * np.array([1.0, 3.0, 0.5, 2.0]).reshape(4, 1, 1, 1)
        grams = np.stack([spd(rng, 6), 9 * spd(rng, 6)])
        whole, prior, G = np.zeros((4, 12)), np.zeros((4, 12), dtype=bool), np.zeros((12, 12))
        for i in range(2):
            rows, columns = slice(2 * i, 2 * i + 2), slice(6 * i, 6 * i + 6)
            whole[rows, columns], prior[rows, columns] = W[rows].reshape(2, 6), True
            G[columns, columns] = grams[i]
        answer = rp.alps(rp.LayerProblem(W, grams), rp.Unstructured(keep=10))
        dense = rp.alps(rp.LayerProblem(whole, G), rp.Unstructured(keep=10), mask=prior)
        assert answer.mask.shape == W.shape
        assert_array_equal(answer.mask.ravel(), dense.mask[prior])
        assert_allclose(answer.weight.ravel(), dense.weight[prior], rtol=0, atol=1e-11 * np.abs(W).max())
        assert answer.objective == pytest.approx(dense.objective, rel=1e-11)
        assert [s.changed for s in answer.trace] == [s.changed for s in dense.trace]
        channels = rp.alps(
            rp.LayerProblem(W, grams), rp.Groups(keep=3, axis=1)
        )  # of the input: 2 of each group
        columns = rp.Groups(keep=3, axis=1, labels=np.arange(12) // 3)
        dense = rp.alps(rp.LayerProblem(whole, G), columns, mask=prior)
        assert_array_equal(channels.mask.ravel(), dense.mask[prior])


def test_convolutions_run_along_their_input_channels():
    rng = np.random.default_rng(48)
    W, G = rng.normal(size=(3, 4, 2, 2)), spd(rng, 16)
    for pattern in (rp.NM(1, 2), rp.Blocks(2, sparsity=0.5), rp.Groups(keep=2, axis=1), rp.Groups(keep=1)):
        answer = rp.alps(rp.LayerProblem(W, G), pattern)
        assert answer.weight.shape == answer.mask.shape == W.shape
        assert pattern.admits(answer.mask)
        matrix = W.reshape(3, 16)
        flat = rp.Pruned(answer.weight.reshape(3, 16), answer.mask.reshape(3, 16), answer.objective)
        certify(matrix, G, flat)


@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(sparsity=0.5), rp.NM(2, 4), rp.Groups(sparsity=0.5, axis=1)]
)
def test_memory(pattern):
    """Sixteen arrays like the weight, eight like G, 8 MiB: a Hessian for every row would take 32 MiB more."""
    rng = np.random.default_rng(54)
    X = rng.normal(size=(256, 128)) @ (np.eye(128) + rng.normal(size=(128, 128)) / 11)
    layer = rp.LayerProblem.from_inputs(rng.normal(size=(256, 128)), X)
    tracemalloc.start()
    try:
        rp.alps(layer, pattern, max_iter=6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 16 * layer.weight.nbytes + 8 * layer.gram.nbytes + 8 * 2**20


def test_errors(layer):
    problem, half = rp.LayerProblem(*layer), rp.Unstructured(sparsity=0.5)
    prior = np.ones((3, 8), dtype=bool)
    prior[0, 0] = False
    zero = rp.LayerProblem(np.where(prior, layer[0], 0), layer[1])
    indefinite = rp.LayerProblem(np.ones((1, 2)), np.array([[1.0, 2.0], [2.0, 1.0]]))
    for error, message, call in (
        (TypeError, "need a LayerProblem; got Quadratic", lambda: rp.alps(problem.row(0), half)),
        (TypeError, "need an Unstructured, NM, Blocks or Groups pattern; got float", lambda: rp.alps(problem, 0.5)),
        (TypeError, "Fractions are for definitions",
         lambda: rp.alps(rp.LayerProblem(*map(fractions, layer)), half)),
        (ValueError, "need damp >= 0", lambda: rp.alps(problem, half, damp=-1.0)),
        (ValueError, "need rho > 0; got 0", lambda: rp.alps(problem, half, rho=0.0)),
        (ValueError, "need rho >= 0 and finite; got -1", lambda: rp.alps(problem, half, rho=-1.0)),
        (TypeError, "need rho to be a real number", lambda: rp.alps(problem, half, rho="0.1")),
        (ValueError, "need max_iter >= 1; got 0", lambda: rp.alps(problem, half, max_iter=0)),
        (TypeError, "need max_iter to be an integer", lambda: rp.alps(problem, half, max_iter=3.0)),
        (ValueError, "got 'network'", lambda: rp.alps(problem, rp.Unstructured(sparsity=0.5, scope="network"))),
        (ValueError, "need keep <= 24", lambda: rp.alps(problem, rp.Unstructured(keep=25))),
        (ValueError, "as many as the prior mask", lambda: rp.alps(zero, rp.Unstructured(keep=24), mask=prior)),
        (ValueError, "need weight to be 0 where mask", lambda: rp.alps(problem, half, mask=prior)),
        (ValueError, r"need mask of shape \(3, 8\)", lambda: rp.alps(problem, half, mask=prior[0])),
        (np.linalg.LinAlgError, "need a positive semidefinite gram; got an eigenvalue of -1 beside 3",
         lambda: rp.alps(indefinite, half)),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
