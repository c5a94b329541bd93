"""`rp.woodfisher` against its definition on fractions, a certificate, other methods, and what leaves it unchanged."""

import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.fishers import EPS, certify, drawn, fisher
from tests.methods.problems import fractions

CASES = [(update, first) for update in ("joint", "sum") for first in (False, True)]


def run(w, G, count, damp=1e-5, **options):
    """One budget of `count` removals over the vector."""
    return rp.woodfisher(w, G, rp.Unstructured(keep=len(w) - count), damp, **options)


@pytest.mark.parametrize(("update", "first_order"), CASES)
@pytest.mark.parametrize("seed", range(40))
def test_certificate(seed, update, first_order):
    w, G, damp = drawn(seed)
    for count in {0, 1, len(w) // 2, len(w)}:
        answer = run(w, G, count, damp, update=update, first_order=first_order)
        certify(w, G, damp, answer, count, update, first_order)


@pytest.mark.parametrize(("update", "first_order"), CASES)
@pytest.mark.parametrize(("samples", "d"), [(3, 7), (7, 7), (9, 5), (1, 4)])
def test_is_the_definition_on_fractions(samples, d, update, first_order):
    """The definition adds one gradient after the other, exactly."""
    rng = np.random.default_rng([63, samples, d])
    w, G, damp = (
        rng.integers(-9, 10, size=d) / 4 + 0.125,
        rng.integers(-4, 5, size=(samples, d)) + 0.5,
        2.0**-6,
    )
    weight, mask = definitions.woodfisher(
        fractions(w), fractions(G), d // 2, Fraction(damp), update, first_order
    )
    answer = run(w, G, d // 2, damp, update=update, first_order=first_order)
    assert_array_equal(answer.mask, mask.astype(bool))
    slack = 100 * d * EPS * np.linalg.cond(fisher(G, damp)) * max(1, abs(weight.astype(float)).max())
    assert_allclose(answer.weight, weight.astype(float), rtol=0, atol=slack)
    model = definitions.woodfisher_model(
        fractions(w), fractions(G), weight - fractions(w), Fraction(damp), first_order
    )
    assert answer.objective == pytest.approx(float(model), rel=1e-9, abs=slack)


@pytest.mark.parametrize("share", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize(("samples", "d"), [(40, 120), (120, 40)])
def test_costs_to_nine_digits(samples, d, share):
    """At a damp of 1e-4 of the mean diagonal and more."""
    rng = np.random.default_rng([64, samples])
    w, G = rng.normal(size=d), rng.normal(size=(samples, d)) + 0.3
    damp = share * float(np.mean(G**2))
    inverse = np.linalg.inv(fisher(G, damp))
    answer = run(w, G, d // 2, damp)
    assert_allclose(answer.scores, w**2 / (2 * np.diag(inverse)), rtol=1e-9)
    recursion = definitions.fisher_inverse(G, damp)
    assert_allclose(np.diag(recursion), np.diag(inverse), rtol=1e-9)
    P = np.flatnonzero(~answer.mask)
    joint = w - inverse[:, P] @ np.linalg.solve(inverse[np.ix_(P, P)], w[P])
    assert_allclose(answer.weight, np.where(answer.mask, joint, 0), rtol=0, atol=1e-9 * abs(joint).max())


@pytest.mark.parametrize("seed", range(12))
def test_identities_with_other_methods(seed):
    """I-OBS by saliency with F; without first order its gradient is 0. Group OBS of the complement."""
    w, G, _ = drawn(seed)
    damp, d = 0.25 * float(np.mean(G**2)), len(w)
    F, count = fisher(G, damp), len(w) // 2
    scale = abs(w).max() * np.linalg.cond(F) * 100 * EPS
    for first_order in (False, True):
        g = G.mean(axis=0) if first_order else None
        answer = run(w, G, count, damp, first_order=first_order)
        step = rp.iobs(rp.Quadratic(F, w, g), d - count, selection="saliency")
        assert_array_equal(answer.mask, step.mask)
        size = 1 + (0 if g is None else np.linalg.norm(np.linalg.solve(F, g)) / abs(w).max())
        assert_allclose(answer.weight, step.weight, rtol=0, atol=scale * size)
        assert answer.objective == pytest.approx(step.objective, rel=1e-9, abs=scale)
    best = rp.optimal_weights(rp.Quadratic(F, w), run(w, G, count, damp).mask)
    assert_allclose(run(w, G, count, damp).weight, best.weight, rtol=0, atol=scale)


def test_is_group_obs_of_what_goes():
    """OBS on two groups, what goes and what stays; where the first is the cheaper one."""
    compared = 0
    for seed in range(12):
        w, G, _ = drawn(seed)
        damp = 0.25 * float(np.mean(G**2))
        answer = run(w, G, len(w) // 2, damp)
        if answer.mask.all():
            continue
        group = rp.obs(rp.Quadratic(fisher(G, damp), w), rp.Groups(keep=1, labels=answer.mask.astype(int)))
        if np.array_equal(group.mask, answer.mask):
            compared += 1
            assert_allclose(answer.weight, group.weight, rtol=0, atol=3e-13 * abs(w).max())
            assert group.objective == pytest.approx(answer.objective, rel=3e-13)
    assert compared >= 6


def test_the_sum_costs_more_than_the_joint_update():
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng([65, seed])
        w, G = rng.normal(size=40), rng.normal(size=(60, 40)) * np.geomspace(1, 4, 40) + 0.5
        joint, total = (run(w, G, 20, 1e-3, update=update).objective for update in ("joint", "sum"))
        ratios.append(total / joint)
    assert min(ratios) > 1
    assert np.median(ratios) > 1.1  # published: 1.4 to 3.2 times on networks


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("update", ["joint", "sum"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("samples", [3, 12])
def test_blocks(samples, size, update, first_order):
    rng = np.random.default_rng([66, samples])
    w, G = rng.normal(size=8), rng.normal(size=(samples, 8)) + 0.25
    answer = run(w, G, 4, 0.125, block=size, update=update, first_order=first_order)
    edges = [*range(0, 8, size), 8]
    certify(w, G, 0.125, answer, 4, update, first_order, np.array(edges[1:-1] or [8]))
    if size == 9:
        assert_array_equal(answer.weight, run(w, G, 4, 0.125, update=update, first_order=first_order).weight)
    if size == 1 and not first_order:
        assert_array_equal(answer.weight[answer.mask], w[answer.mask])  # nobody makes up for anybody
        assert_allclose(answer.scores, w**2 * (0.125 + np.mean(G**2, axis=0)) / 2, rtol=1e-14)


def layers(seed=0, samples=6):
    """A network's weights of two layers, unequal in scale, and gradients of the 12 + 8 weights."""
    rng = np.random.default_rng([67, seed])
    weights = {"0.weight": rng.normal(size=(3, 4)), "2.weight": 4 * rng.normal(size=(2, 4)) + 1}
    return weights, rng.normal(size=(samples, 20)) * np.repeat([1.0, 0.25], [12, 8]) + 0.1


def flat(weights):
    return np.concatenate([np.ravel(x) for x in weights.values()])


@pytest.mark.parametrize("update", ["joint", "sum"])
def test_a_network_is_one_vector(update):
    weights, G = layers()
    answer = rp.woodfisher(weights, G, rp.Unstructured(sparsity=0.5), 0.01, update=update)
    alone = run(flat(weights), G, 10, 0.01, update=update)
    for name in ("weight", "mask", "scores"):
        found = getattr(answer, name)
        assert list(found) == list(weights)
        assert [x.shape for x in found.values()] == [(3, 4), (2, 4)]
        assert_array_equal(flat(found), getattr(alone, name))
    assert answer.objective == alone.objective
    assert np.count_nonzero(answer.mask["0.weight"]) != 6  # the layers do not share alike


@pytest.mark.parametrize(
    "pattern",
    [rp.Unstructured(0.5, scope="layer"), rp.Unstructured(keep=1, scope="row"), rp.NM(1, 4), rp.NM(3, 4)],
    ids=str,
)
def test_budgets_of_layers_rows_and_groups(pattern):
    """The whole F updates all layers together, whatever the pattern."""
    weights, G = layers(1)
    answer = rp.woodfisher(weights, G, pattern, 0.01)
    scores = definitions.woodfisher_scores(flat(weights), G, 0.01)
    for name, part in (("0.weight", scores[:12].reshape(3, 4)), ("2.weight", scores[12:].reshape(2, 4))):
        assert_array_equal(answer.mask[name], pattern.mask(part))
        assert pattern.admits(answer.mask[name])
    right = definitions.woodfisher_weights(flat(weights), G, flat(answer.mask), 0.01)
    assert_allclose(flat(answer.weight), right, rtol=0, atol=1e-11 * abs(right).max())
    if isinstance(pattern, rp.NM):
        same = rp.woodfisher(weights["0.weight"], G[:, :12], pattern, 0.01)
        assert_array_equal(same.mask, pattern.mask(same.scores))


def test_blocks_of_layers():
    weights, G = layers(2)
    each = rp.woodfisher(weights, G, rp.Unstructured(0.5, scope="layer"), 0.01, "layer")
    for name, columns in (("0.weight", slice(0, 12)), ("2.weight", slice(12, 20))):
        alone = rp.woodfisher(weights[name], G[:, columns], rp.Unstructured(0.5), 0.01)
        assert_array_equal(each.weight[name], alone.weight)
    # blocks of numbers start anew in each layer: 5, 5, 2 and 5, 3
    answer = rp.woodfisher(weights, G, rp.Unstructured(0.5), 0.01, 5)
    vector = replace(answer, weight=flat(answer.weight), mask=flat(answer.mask), scores=flat(answer.scores))
    certify(flat(weights), G, 0.01, vector, 10, edges=np.array([5, 10, 12, 17]))


def test_a_convolution():
    rng = np.random.default_rng(68)
    weight, G = rng.normal(size=(2, 4, 1, 3)), rng.normal(size=(5, 24))
    answer = rp.woodfisher(weight, G, rp.NM(2, 4), 0.01)
    assert answer.weight.shape == weight.shape
    assert_array_equal(answer.mask.sum(axis=1), np.full((2, 1, 3), 2))  # along the input channels
    right = definitions.woodfisher_weights(weight.ravel(), G, answer.mask.ravel(), 0.01)
    assert_allclose(answer.weight.ravel(), right, rtol=0, atol=1e-11 * abs(right).max())


@pytest.mark.parametrize("samples", [4, 30])
@pytest.mark.parametrize(("update", "first_order"), CASES)
@pytest.mark.parametrize("block", [None, 3, 1])
def test_prior_zeros_take_no_part(samples, update, first_order, block):
    rng = np.random.default_rng([69, samples])
    prior = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1], dtype=bool)
    w, G = np.where(prior, rng.normal(size=9), 0), rng.normal(size=(samples, 9)) + 0.5
    answer = run(w, G, 5, 0.01, mask=prior, update=update, first_order=first_order, block=block)
    edges = None if block is None else np.arange(block, 9, block)
    inside = None if edges is None else np.searchsorted(np.flatnonzero(prior), edges)
    living = replace(
        answer, weight=answer.weight[prior], mask=answer.mask[prior], scores=answer.scores[prior]
    )
    certify(w[prior], G[:, prior], 0.01, living, 3, update, first_order, inside)
    assert not answer.mask[~prior].any()
    assert not answer.weight[~prior].any()
    assert not answer.scores[~prior].any()
    kept = rp.woodfisher(w, G, rp.Unstructured(keep=7), 0.01, mask=prior)
    assert_array_equal(kept.mask, prior)
    assert_array_equal(kept.weight, w)
    if samples > 9:  # no damping is needed: what does not live is left out of F
        assert_array_equal(run(w, G, 5, 0.0, mask=prior).mask[~prior], [False, False])


def test_counts_of_the_published_code():
    """It keeps ceil(n (1 - s)) - 1."""
    w, G, _ = np.arange(1.0, 11.0), np.eye(10), 0
    for s in (0.1, 0.3, 0.55, 0.7, 0.9):
        pattern = rp.Unstructured(sparsity=s, count_rule="strict")
        answer = rp.woodfisher(w, G, pattern, 1.0)
        keeps = -(-(10 * (100 - round(100 * s))) // 100) - 1
        assert np.count_nonzero(answer.mask) == keeps
        assert_array_equal(answer.mask, np.arange(10) >= 10 - keeps)


def test_boundaries_are_exact():
    rng = np.random.default_rng(70)
    w, G = rng.normal(size=6), rng.normal(size=(3, 6))
    for update in ("joint", "sum"):
        nothing = run(w, G, 0, update=update)
        assert_array_equal(nothing.weight, w)  # bit for bit
        assert nothing.objective == 0
        everything = run(w, G, 6, update=update)
        assert not everything.weight.any()
        assert everything.objective == pytest.approx(w @ fisher(G, 1e-5) @ w / 2, rel=1e-13)
    w[[1, 4]] = 0
    assert_array_equal(run(w, G, 2).weight, w)  # zeros cost nothing and move nobody
    one = run(np.array([2.0]), np.array([[3.0]]), 1, 1.0)
    assert one.scores.tolist() == [20.0]  # 2^2 (9 + 1) / 2
    assert one.objective == 20.0
    silent = run(w, np.zeros((2, 6)), 3, 0.5)  # no gradient: the damping alone, by magnitude
    assert_array_equal(silent.mask, rp.magnitude(w, rp.Unstructured(keep=3)).mask)
    assert_array_equal(silent.weight[silent.mask], w[silent.mask])
    assert run(np.zeros(0), np.zeros((2, 0)), 0).weight.shape == (0,)
    tie = run(np.ones(4), np.eye(4), 2, 0.5)
    assert_array_equal(tie.mask, [False, False, True, True])  # the lowest index goes first


def test_opposite_gradients_do_not_cancel():
    g = np.array([2.0, 0.0, 1.0])
    answer = run(np.array([1.0, 1.0, 1.0]), np.stack([g, -g]), 1, 0.5)
    assert_array_equal(answer.mask, [True, False, True])
    assert answer.scores[1] == 0.25  # the damping alone
    assert answer.scores[0] > 0.3
    first = run(np.array([1.0, 1.0, 1.0]), np.stack([g, -g]), 1, 0.5, first_order=True)
    assert_allclose(first.weight, answer.weight, rtol=0, atol=4 * EPS)  # the mean gradient is 0


@pytest.mark.parametrize("first_order", [False, True])
def test_what_no_weight_reaches_costs_no_digits(first_order):
    """G has rank 9: the normal equations hold to rounding all the same, not only to eps cond(F) = 1e-5."""
    rng = np.random.default_rng(73)
    half = rng.normal(size=(9, 57))
    G, w = np.concatenate([half, -half]), rng.normal(size=57)  # the mean gradient is 0
    F = fisher(G, 1e-10)
    for count in (0, 20, 37):
        answer = run(w, G, count, 1e-10, first_order=first_order)
        slope, size = F @ (answer.weight - w), abs(F) @ (abs(w) + abs(answer.weight)) + abs(G).mean(axis=0)
        assert np.all(abs(slope)[answer.mask] <= 100 * len(w) * EPS * size[answer.mask])


@pytest.mark.parametrize(("update", "first_order"), CASES)
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_invariances(seed, update, first_order):
    w, G, _ = drawn(seed)
    rng, count, damp = np.random.default_rng(seed), len(w) // 2, 2.0**-6
    base = run(w, G, count, damp, update=update, first_order=first_order)
    slack = 1e3 * EPS * np.linalg.cond(fisher(G, damp)) * max(abs(w).max(), abs(base.weight).max())

    def same(answer, weight=base.weight, mask=base.mask):
        assert_array_equal(answer.mask, mask)
        assert_allclose(answer.weight, weight, rtol=0, atol=slack)

    order, mix = rng.permutation(len(w)), rng.permutation(len(G))
    same(
        run(w[order], G[:, order], count, damp, update=update, first_order=first_order),
        base.weight[order],
        base.mask[order],
    )
    same(run(w, G[mix], count, damp, update=update, first_order=first_order))
    same(run(w, np.concatenate([G, G]), count, damp, update=update, first_order=first_order))
    if not first_order:
        signs = rng.choice([-1.0, 1.0], size=(len(G), 1))
        same(run(w, G * signs, count, damp, update=update))
    # the loss times 4^-50 (so G times 4^-50, damp times 4^-100), and weights in other units: exact
    scaled = run(w * 2.0**30, G * 2.0**-130, count, damp * 2.0**-260, update=update, first_order=False)
    plain = run(w, G, count, damp, update=update)
    assert_array_equal(scaled.weight, plain.weight * 2.0**30)
    assert scaled.objective == plain.objective * 2.0**-200
    # where squares leave the range
    far = run(w * 2.0**-515, G * 2.0**515, count, 2.0**1010, update=update)
    near = run(w, G, count, 2.0**-20, update=update)
    assert_array_equal(far.weight, near.weight * 2.0**-515)
    assert far.objective == near.objective


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_arrays(dtype):
    rng = np.random.default_rng(71)
    w, G = rng.normal(size=12).astype(dtype), (rng.normal(size=(5, 12)) + 0.5).astype(dtype)
    wide = run(w.astype(float), G.astype(float), 6, 1e-4)
    answer = run(w, G, 6, 1e-4)
    assert answer.weight.dtype == dtype
    assert_array_equal(answer.mask, wide.mask)
    assert_array_equal(answer.weight, wide.weight.astype(dtype))  # computed in float64
    assert answer.objective == pytest.approx(
        definitions.woodfisher_model(
            w.astype(float), G.astype(float), answer.weight.astype(float) - w.astype(float), 1e-4
        ),
        rel=1e-9,
    )


def test_no_matrix_of_all_weights():
    """d = 20,000: F would take 3 GB. Three times the gradients and some vectors are 11 MiB."""
    rng = np.random.default_rng(72)
    w, G = rng.normal(size=20_000), rng.normal(size=(20, 20_000))
    tracemalloc.start()
    answers = [run(w, G, 16_000, 1e-3, update=u, first_order=f, block=b) for u, f, b in
               (("joint", False, None), ("joint", True, None), ("sum", False, None), ("joint", False, 1))]  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * G.nbytes + 30 * w.nbytes
    for answer in answers:
        assert np.count_nonzero(answer.mask) == 4000
    delta = answers[0].weight - w
    slope = G.T @ (G @ delta) / 20 + 1e-3 * delta
    assert abs(slope[answers[0].mask]).max() < 1e-11 * abs(G.T @ (G @ w)).max()


def test_nothing_is_changed_and_nothing_is_shared():
    weights, G = layers(4)
    prior = {name: x > -1 for name, x in weights.items()}
    weights = {name: np.where(prior[name], x, 0) for name, x in weights.items()}
    before = [x.copy() for x in (*weights.values(), G, *prior.values())]
    for array in (*weights.values(), G, *prior.values()):
        array.setflags(write=False)
    answers = [rp.woodfisher(weights, G, rp.Unstructured(0.5), mask=prior) for _ in range(2)]
    answers[0].weight["0.weight"][:] = 7
    answers[0].mask["0.weight"][:] = False
    answers[0].scores["2.weight"][:] = 7
    assert answers[1].weight["0.weight"].max() != 7
    for array, old in zip((*weights.values(), G, *prior.values()), before, strict=True):
        assert_array_equal(array, old)
    assert_array_equal(run(flat(weights), G, 0).weight, flat(weights))


def test_errors():
    weights, G = layers(5)
    w, half = flat(weights), rp.Unstructured(0.5)
    off = {name: np.zeros(x.shape, dtype=bool) for name, x in weights.items()}
    zeros = {name: 0 * x for name, x in weights.items()}
    twins, same = np.array([6e4, 6e4], "float16"), np.array([[1.0, 1.0]], "float16")  # one takes over for two
    for kind, words, arguments, options in (
        (TypeError, "need an Unstructured or NM pattern; got Groups", (w, G, rp.Groups(0.5)), {}),
        (TypeError, "need real floating numbers in weight; got int64", (np.arange(20), G, half), {}),
        (TypeError, "need floating arrays in methods", (fractions(w), fractions(G), half), {}),
        (ValueError, "need gradients of 20 weights; got shape", (w, G[:, 1:], half), {}),
        (ValueError, "need gradients with 2 dimensions", (w, G[0], half), {}),
        (ValueError, "need at least one sample in gradients; got none", (w, G[:0], half), {}),
        (ValueError, "need finite numbers in gradients", (w, G * np.nan, half), {}),
        (ValueError, r"need finite numbers in weight\['2.weight'\]", (weights | {"2.weight": w * np.inf}, G, half), {}),
        (ValueError, "need at least one array in weight; got none", ({}, G, half), {}),
        (ValueError, "need scope 'layer' or 'row' for one array", (w, G, rp.Unstructured(0.5, scope="network")), {}),
        (ValueError, "need keep <= 20, the number of units per network", (weights, G, rp.Unstructured(keep=21)), {}),
        (ValueError, "need columns in a multiple of m = 3", (weights, G, rp.NM(1, 3)), {}),
        (ValueError, "need damp >= 0 and finite; got -1", (w, G, half, -1), {}),
        (ValueError, "need damp >= 0 and finite; got a number beyond", (w, G, half, 10**400), {}),
        (ValueError, "need finite numbers in the answer in float64; got inf",
         (np.full(2, 1.5e308), np.ones((1, 2)), half), {}),
        (ValueError, "need block >= 1; got 0", (w, G, half, 0.1, 0), {}),
        (TypeError, "need block to be an integer", (w, G, half, 0.1, 1.5), {}),
        (ValueError, "need block to be an integer, 'layer' or None; got 'row'", (w, G, half, 0.1, "row"), {}),
        (ValueError, "need update to be one of joint, sum; got 'both'", (w, G, half), {"update": "both"}),
        (TypeError, "need first_order to be True or False; got 1", (w, G, half), {"first_order": 1}),
        (ValueError, "need mask to be a dict named like weight", (weights, G, half), {"mask": w > 0}),
        (ValueError, r"need weight\['0.weight'\] to be 0 where mask", (weights, G, half), {"mask": off}),
        (TypeError, r"need a boolean array mask\['0.weight'\]", (weights, G, half), {"mask": zeros}),
        (ValueError, "need at least 20 units pruned", (zeros, G, half, 0.0), {"mask": off}),
        (ValueError, "need finite numbers in the answer in float16; got inf", (twins, same, half), {}),
        (np.linalg.LinAlgError, "positive definite to rounding.*6 gradients of 20 weights", (w, G, half, 0.0), {}),
        (np.linalg.LinAlgError, "got damp 0 with 30 gradients of 20", (w, np.zeros((30, 20)), half, 0.0), {}),
        (np.linalg.LinAlgError, "got damp 0 with 30 gradients of 20", (w, np.zeros((30, 20)), half, 0.0, 1), {}),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            rp.woodfisher(*arguments, **options)
