"""SparseGPT: the definition on 500 problems, the certificate on more, identities."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.methods import sweep
from refprune.methods.system import system
from tests.methods.checks import EPS, stationary
from tests.methods.problems import fractions, layers, masks, spd, with_dead
from tests.methods.sweeps import certify_sweep, damped, slack


def windows(columns, width):
    return [*range(0, columns, width), columns]


def block_counts(rows, columns, width, sparsity):
    """round(s * rows * width) of every block, in exact arithmetic."""
    return [round(Fraction(str(sparsity)) * rows * w) for w in np.diff(windows(columns, width)).tolist()]


def group_counts(prior, n, m):
    """For every group of m the number pruned in each row: m - n, or the prior zeros where these are more."""
    edges = windows(prior.shape[1], m)
    held = [(~prior[:, a:b]).sum(axis=1) for a, b in pairwise(edges)]
    return [np.maximum(h, (m - n) * (w == m)) for h, w in zip(held, np.diff(edges), strict=True)]


def plain(rng, r, d):
    return rng.normal(size=(r, d)) * 2.0 ** rng.integers(-2, 3, size=(r, 1)), spd(rng, d, 300.0), 0.0


def with_dead_inputs(rng, r, d):
    gone = np.flatnonzero(rng.random(d) < 0.4)
    return rng.normal(size=(r, d)), with_dead(spd(rng, d - len(gone), 30.0), gone), 0.25


def duplicates(rng, r, d):
    """Small integers, and inputs that occur twice or are each other's negative: ties, and a singular Gram."""
    X = rng.integers(-2, 3, size=(2 * d, d)).astype(float)
    X[:, d // 2 :] = X[:, : d - d // 2] * rng.choice([-1, 1], size=d - d // 2)
    return rng.integers(-2, 3, size=(r, d)).astype(float), X.T @ X / (2 * d), 0.125


def singular(rng, r, d):
    """Fewer samples than inputs."""
    X = rng.normal(size=(max(d - 2, 1), d)) * 2.0 ** rng.integers(-2, 3, size=d)
    return rng.normal(size=(r, d)), X.T @ X / len(X), 0.01


def ill_conditioned(rng, r, d):
    return rng.normal(size=(r, d)), spd(rng, d, 1e12), 0.0


KINDS = {kind.__name__: kind for kind in (plain, with_dead_inputs, duplicates, singular, ill_conditioned)}


@pytest.mark.parametrize("priors", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_definition(kind, priors):
    """50 layers of each kind with and without priors, unstructured and N:M; the definition is exact, on Fractions.

    Where two masks differ, the certificate decides, exactly too: the answer's must be a tie up to rounding.
    """
    others = 0
    for seed in range(50):
        rng = np.random.default_rng(1000 * list(KINDS).index(kind) + 2 * seed + priors)
        r, d = int(rng.integers(1, 4)), int(rng.integers(2, 7))
        W, G, damp = KINDS[kind](rng, r, d)
        prior = rng.random((r, d)) < (0.8 if priors else 2)
        W, width, m = np.where(prior, W, 0), int(rng.integers(1, d + 2)), int(rng.integers(1, 5))
        n, sparsity = int(rng.integers(0, m + 1)), round(float(rng.uniform(0.2, 1)), 2)
        exact = fractions(W), fractions(G)
        problem, mask = rp.LayerProblem(W, G), prior if priors else None

        cases = [(rp.NM(n, m, "dense"), windows(d, m), group_counts(prior, n, m), (n, m))]
        edges, counts = windows(d, width), block_counts(r, d, width, sparsity)
        if all(
            np.count_nonzero(~prior[:, a:b]) <= c for (a, b), c in zip(pairwise(edges), counts, strict=True)
        ):
            cases.append((rp.Unstructured(sparsity=sparsity), edges, counts, (counts, width)))
        for pattern, edges, counts, given_ in cases:
            answer = rp.sparsegpt(problem, pattern, width, damp, mask=mask)
            definition = definitions.sparsegpt_nm if given_ == (n, m) else definitions.sparsegpt
            weight, kept = definition(*exact, *given_, Fraction(damp), mask)
            if not np.array_equal(kept, answer.mask):
                others += 1
                certify_sweep(*exact, answer, edges, counts, damp, prior)
                continue
            H, weight = damped(G, damp), weight.astype(float)
            error = abs(weight - answer.weight) * np.sqrt(np.diag(H))
            assert error.max() <= slack(W, weight, H), (
                f"{kind}, seed {seed}: weights are off by {error.max()}"
            )
    assert others <= (10 if kind in ("duplicates", "ill_conditioned") else 0)


@given(layers(rows=(1, 4), columns=(1, 10)), st.data())
def test_certificate(layer, data):
    """Larger layers, every pattern, in floats."""
    W, G, rng = layer.weight, layer.gram, layer.rng
    r, d = W.shape
    damp, width = data.draw(st.sampled_from([0.0, 0.01, 1.0])), data.draw(st.integers(1, d + 1))
    sparsity = data.draw(st.integers(0, 100)) / 100
    problem = rp.LayerProblem(W, G)
    answer = rp.sparsegpt(problem, rp.Unstructured(sparsity=sparsity), width, damp)
    certify_sweep(W, G, answer, windows(d, width), block_counts(r, d, width, sparsity), damp)
    prior = rng.random(W.shape) < 0.7
    W = np.where(prior, W, 0)
    n, m = data.draw(st.integers(0, 3)), data.draw(st.integers(3, 4))
    answer = rp.sparsegpt(rp.LayerProblem(W, G), rp.NM(n, m, "dense"), width, damp, mask=prior)
    certify_sweep(W, G, answer, windows(d, m), group_counts(prior, n, m), damp, prior)


def test_wider_than_a_batch():
    """Blocks below, at and above the batches of columns, and none of them a multiple of another."""
    rng = np.random.default_rng(3)
    W, G = rng.normal(size=(3, 170)), with_dead(spd(rng, 167, 50.0), [5, 130, 169])
    problem = rp.LayerProblem(W, G)
    for width in (7, 100, 150):
        answer = rp.sparsegpt(problem, rp.Unstructured(sparsity=0.4), width, damp=0.01)
        certify_sweep(W, G, answer, windows(170, width), block_counts(3, 170, width, 0.4), 0.01)
    for n, m in ((2, 5), (40, 85)):
        answer = rp.sparsegpt(problem, rp.NM(n, m), damp=0.01)
        certify_sweep(W, G, answer, windows(170, m), group_counts(W != 0, n, m), 0.01)


@given(layers(rows=(1, 4), columns=(1, 12)), st.data())
def test_at_a_fixed_mask_windows_change_nothing(layer, data):
    """Any mask, any windows, and batches and strips of any width: the weights are the definition's."""
    W, G = layer.weight, layer.gram
    d = W.shape[1]
    mask = data.draw(masks(W.size)).reshape(W.shape)
    expected = definitions.sparsegpt_weights(W, G, mask, 0.5)
    edges = sorted({0, d, *data.draw(st.lists(st.integers(0, d)))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "BATCH", data.draw(st.sampled_from([1, 3, 128])))
        patch.setattr(sweep, "STRIP", data.draw(st.sampled_from([1, 2, 32])))
        weight = at_mask(W, G, mask, edges, 0.5)
    H = damped(G, 0.5)
    assert np.all(abs(weight - expected) * np.sqrt(np.diag(H)) <= slack(W, expected, H))


def at_mask(W, G, mask, edges, damp):
    """The weights that the sweep gives to a mask from anywhere, window by window."""
    view = system(rp.LayerProblem(W, G), damp)
    (part,), weight = view.parts, np.where(mask, W, 0)
    walk = sweep.Sweep(part, np.arange(W.shape[1]))
    for first, last in pairwise(edges):
        start, stop = walk.window(first, last)
        walk.look(start, stop)
        walk.prune(start, stop, mask[:, walk.columns[start:stop]])
    weight[:, walk.columns] = walk.weight.T * 2.0**view.weight_exponent
    return weight


def test_block_size_means_nothing_for_groups():
    rng = np.random.default_rng(12)
    problem = rp.LayerProblem(rng.normal(size=(4, 24)), spd(rng, 24))
    base = rp.sparsegpt(problem, rp.NM(2, 4))
    for width in (1, 3, 4, 6, 24, 1000):
        assert_array_equal(rp.sparsegpt(problem, rp.NM(2, 4), width).weight, base.weight)


@given(layers(rows=(1, 4), columns=(1, 8)))
def test_boundaries_are_exact(layer):
    W, G = layer.weight, layer.gram
    problem = rp.LayerProblem(W, G)
    for pattern in (rp.Unstructured(sparsity=0), rp.Unstructured(keep=W.size), rp.NM(3, 3, "dense")):
        for refit in (False, True):
            answer = rp.sparsegpt(problem, pattern, 3, refit=refit)
            assert_array_equal(answer.weight, W)
            assert answer.mask.all()
            assert answer.objective == 0
            assert answer.order.size == len(answer.trace) == 0
    for pattern in (rp.Unstructured(sparsity=1), rp.Unstructured(keep=0, scope="row"), rp.NM(0, 1)):
        answer = rp.sparsegpt(problem, pattern, 3, refit=True)
        assert not answer.mask.any()
        assert not answer.weight.any()
        assert_allclose(answer.objective, np.sum(W @ G * W) / 2, rtol=1e-12)


def test_without_correlation_nothing_moves():
    """On a diagonal Gram it is OBD within each block."""
    rng = np.random.default_rng(5)
    W, G = rng.normal(size=(5, 12)), np.diag(rng.uniform(0.1, 9, size=12))
    answer = rp.sparsegpt(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5), 4, damp=0)
    for first in (0, 4, 8):
        block = np.s_[:, first : first + 4]
        scores = W[block] ** 2 * np.diag(G)[first : first + 4]
        assert_array_equal(answer.mask[block], rp.Unstructured(sparsity=0.5).mask(scores))
    assert_array_equal(answer.weight, np.where(answer.mask, W, 0))


def test_one_group_is_one_block():
    rng = np.random.default_rng(6)
    problem = rp.LayerProblem(rng.normal(size=(1, 9)), spd(rng, 9))
    group, block = rp.sparsegpt(problem, rp.NM(4, 9)), rp.sparsegpt(problem, rp.Unstructured(keep=4), 9)
    row = rp.sparsegpt(problem, rp.Unstructured(keep=4, scope="row"), 9)
    for other in (block, row):
        assert_array_equal(other.weight, group.weight)
        assert_array_equal(other.order, group.order)


@given(layers(rows=(1, 4), columns=(1, 10)), st.sampled_from([0.0, 0.01]))
def test_the_refit_is_optimal_on_the_same_mask(layer, damp):
    W, G = layer.weight, layer.gram
    problem, pattern, H = rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5), damped(G, damp)
    swept, best = (rp.sparsegpt(problem, pattern, 4, damp, refit=refit) for refit in (False, True))
    assert_array_equal(best.mask, swept.mask)
    assert_array_equal(best.order, swept.order)
    assert best.trace == swept.trace
    for i in range(len(W)):
        stationary(W[i], H, best.weight[i], best.mask[i], EPS)
    step = best.weight - W
    assert_allclose(best.objective, np.sum(step @ G * step) / 2, rtol=1e-12, atol=1e-300)
    # a minimum is below every other point, up to rounding of the sums
    assert np.sum(step @ H * step) / 2 <= sum(swept.trace) * (1 + 1e-9) + 1e-12 * np.sum(W @ H * W)


def test_the_refit_halves_the_objective_on_correlated_inputs():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 48)) + 0.3 * rng.normal(size=(400, 48))
    problem = rp.LayerProblem.from_inputs(rng.normal(size=(24, 48)), X)
    swept, best = (
        rp.sparsegpt(problem, rp.Unstructured(sparsity=0.5), refit=refit) for refit in (False, True)
    )
    assert best.objective < 0.6 * swept.objective
