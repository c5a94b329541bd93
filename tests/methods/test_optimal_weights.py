"""The best weights on a given mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import solve
from refprune.methods import refit
from tests.methods.checks import (
    EPS,
    removed_exactly,
    stationary,
)
from tests.methods.problems import (
    condition,
    exact_quadratics,
    fractions,
    layers,
    masks,
    spd,
    with_dead,
)


@given(exact_quadratics(), st.data())
def test_is_the_exact_minimiser(problem, data):
    w, H = problem
    mask = data.draw(masks(len(w)))
    answer = rp.optimal_weights(rp.Quadratic(H, w), mask)
    exact = definitions.optimal_weights(fractions(w), fractions(H), mask).astype(float)
    # forward error of a stable solve: 10 d eps cond(H_KK) |v - w| at unit diagonal (Higham, 10.1); |v - w| <= 100
    assert_allclose(answer.weight, exact, rtol=0, atol=10 * len(w) * EPS * condition(H) * 100)
    assert_array_equal(answer.mask, mask)
    assert np.all(answer.weight[~mask] == 0)


@given(layers(), st.data())
def test_layers_are_stationary_row_by_row(layer, data):
    W, G = layer.weight, layer.gram
    mask = data.draw(masks(W.size)).reshape(W.shape)
    answer = rp.optimal_weights(rp.LayerProblem(W, G), mask)
    removed_exactly(answer.weight, mask, np.count_nonzero(~mask))
    for i in range(len(W)):
        stationary(W[i], G, answer.weight[i], mask[i], EPS)
    dead = np.diag(G) == 0
    assert_array_equal(answer.weight[:, dead], np.where(mask, W, 0)[:, dead])
    D = answer.weight - W
    assert_allclose(answer.objective, np.sum(D @ G * D) / 2, rtol=1e-12, atol=1e-300)


def test_equals_the_joint_step_from_the_inverse():
    rng = np.random.default_rng(8)
    H, w = spd(rng, 7), rng.normal(size=7) + 1
    mask = np.array([True, False, True, False, False, True, True])
    G = np.linalg.inv(H)
    joint = w - G[:, ~mask] @ np.linalg.solve(G[np.ix_(~mask, ~mask)], w[~mask])
    answer = rp.optimal_weights(rp.Quadratic(H, w), mask)
    # the joint step errs by about eps cond(H) |w| in units of its columns
    assert_allclose(answer.weight, np.where(mask, joint, 0), rtol=0, atol=100 * EPS * condition(H) * 100)


def test_gradient_and_damping():
    rng = np.random.default_rng(4)
    H, w, g = spd(rng, 6), rng.normal(size=6), rng.normal(size=6)
    mask = np.array([True, True, False, True, False, True])
    answer = rp.optimal_weights(rp.Quadratic(H, w, g), mask, damp=0.25)
    damped = H + 0.25 * np.mean(np.diag(H)) * np.eye(6)
    stationary(w, damped, answer.weight, mask, EPS, gradient=g)
    d = answer.weight - w
    assert_allclose(answer.objective, g @ d + d @ H @ d / 2, rtol=1e-13)  # undamped
    everything = rp.optimal_weights(rp.Quadratic(H, w, g), np.ones(6, dtype=bool))
    assert_allclose(everything.weight, w - np.linalg.solve(H, g), rtol=0, atol=1e-12 * condition(H))


def test_damping_is_relative_to_the_living():
    rng = np.random.default_rng(9)
    H, w = spd(rng, 5), rng.normal(size=5)
    mask = np.array([True, False, True, True, False])
    small = rp.optimal_weights(rp.Quadratic(H, w), mask, damp=0.5)
    dead = [0, 3, 6]
    living = [1, 2, 4, 5, 7]
    grown = np.full(8, 2.5)
    grown[living] = w
    kept = np.ones(8, dtype=bool)
    kept[living] = mask
    large = rp.optimal_weights(rp.Quadratic(with_dead(H, dead), grown), kept, damp=0.5)
    assert_array_equal(large.weight[living], small.weight)  # bit for bit
    assert_array_equal(large.weight[dead], grown[dead])


@pytest.mark.parametrize("cond", [1e2, 1e8, 1e12])
def test_stationary_at_any_condition(cond):
    rng = np.random.default_rng(int(np.log10(cond)))
    H, w = spd(rng, 12, cond), rng.normal(size=12)
    mask = rng.random(12) < 0.6
    stationary(w, H, rp.optimal_weights(rp.Quadratic(H, w), mask).weight, mask, EPS)


def test_boundaries_are_exact():
    H, w = np.array([[2.0, 1.0, 0.5], [1.0, 4.0, 1.0], [0.5, 1.0, 2.0]]), np.array([1.0, -2.0, 3.0])
    problem = rp.Quadratic(H, w)
    everything = rp.optimal_weights(problem, np.ones(3, dtype=bool))
    assert_array_equal(everything.weight, w)
    assert everything.objective == 0
    nothing = rp.optimal_weights(problem, np.zeros(3, dtype=bool))
    assert_array_equal(nothing.weight, np.zeros(3))
    assert nothing.objective == w @ H @ w / 2
    one = rp.optimal_weights(problem, np.array([True, False, False]))
    assert one.weight.tolist() == [1 + (1 * -2 + 0.5 * 3) / 2, 0, 0]
    diagonal = rp.optimal_weights(rp.Quadratic(np.array([2.0, 3.0, 0.0]), w), np.array([True, False, True]))
    assert diagonal.weight.tolist() == [1, 0, 3]
    zero = rp.optimal_weights(rp.Quadratic(H, np.array([1.0, 0.0, 3.0])), np.array([True, False, True]))
    assert zero.weight.tolist() == [1, 0, 3]  # only a zero goes: nothing moves


def test_only_the_kept_block_must_be_definite():
    w = np.array([1.0, 2.0, 3.0])
    H = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])  # inputs 0 and 1 are copies
    problem = rp.Quadratic(H, w)
    assert rp.optimal_weights(problem, np.array([True, False, True])).weight.tolist() == [3, 0, 3]
    assert rp.optimal_weights(problem, np.array([True, True, False])).weight.tolist() == [1, 2, 0]  # no pull
    coupled = H + np.array([[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]])
    with pytest.raises(
        np.linalg.LinAlgError, match=r"hessian restricted to the kept columns of row 0.*damp="
    ):
        rp.optimal_weights(rp.Quadratic(coupled, w), np.array([True, True, False]))
    damped = rp.optimal_weights(rp.Quadratic(coupled, w), np.array([True, True, False]), damp=0.125)
    assert damped.weight[0] - w[0] == pytest.approx(damped.weight[1] - w[1])  # the copies share the pull


def test_invariances():
    rng = np.random.default_rng(6)
    W, G = rng.normal(size=(3, 7)) - 0.5, spd(rng, 7)
    mask = rng.random((3, 7)) < 0.5
    base = rp.optimal_weights(rp.LayerProblem(W, G), mask)
    for a, b in ((2.0**-20, 1.0), (2.0**300, 4.0**-50), (2.0**-1030, 4.0**400)):
        scaled = rp.optimal_weights(rp.LayerProblem(a * W, b * G), mask)
        if a > 2.0**-1000:
            assert_array_equal(scaled.weight, a * base.weight)
            assert scaled.objective == base.objective * a * a * b
        else:  # subnormal weights have fewer bits
            assert_allclose(scaled.weight / a, base.weight, rtol=0, atol=1e-10)
    signs = np.array([1.0, -1, -1, 1, -1, 1, 1])
    flipped = rp.optimal_weights(rp.LayerProblem(W * signs, G * signs[:, None] * signs), mask)
    assert_array_equal(flipped.weight, base.weight * signs)
    rows = np.array([1, 2, 0])
    assert_array_equal(rp.optimal_weights(rp.LayerProblem(W[rows], G), mask[rows]).weight, base.weight[rows])
    order = rng.permutation(7)
    moved = rp.optimal_weights(rp.LayerProblem(W[:, order], G[order][:, order]), mask[:, order])
    # sums in another order: 100 d eps cond
    assert_allclose(moved.weight, base.weight[:, order], rtol=0, atol=700 * EPS * condition(G) * 100)
    units = 2.0 ** np.arange(-3, 4)
    other = rp.optimal_weights(rp.LayerProblem(W / units, G * units[:, None] * units), mask)
    assert_array_equal(other.weight * units, base.weight)  # inputs in other units


def test_embedding_and_rows_alone():
    rng = np.random.default_rng(7)
    W, G = rng.normal(size=(4, 6)), spd(rng, 6)
    mask = rng.random((4, 6)) < 0.5
    base = rp.optimal_weights(rp.LayerProblem(W, G), mask).weight
    for i in range(4):
        alone = rp.optimal_weights(rp.Quadratic(G, W[i]), mask[i])
        assert_allclose(alone.weight, base[i], rtol=0, atol=60 * EPS * condition(G) * 100)
    larger = np.kron(np.eye(2), G)
    both = rp.optimal_weights(rp.Quadratic(larger, W[:2].ravel()), mask[:2].ravel())
    assert_allclose(both.weight.reshape(2, 6), base[:2], rtol=0, atol=60 * EPS * condition(G) * 100)


def test_convolutions_keep_their_shape_and_groups_are_independent():
    rng = np.random.default_rng(3)
    W = rng.normal(size=(4, 2, 1, 3))
    grams = np.stack([spd(rng, 6), spd(rng, 6)])
    mask = rng.random(W.shape) < 0.5
    answer = rp.optimal_weights(rp.LayerProblem(W, grams), mask)
    assert answer.weight.shape == W.shape == answer.mask.shape
    for i in range(4):
        row = rp.optimal_weights(rp.Quadratic(grams[i // 2], W[i].ravel()), mask[i].ravel())
        assert_allclose(answer.weight[i].ravel(), row.weight, rtol=0, atol=1e-10)


@given(layers(), st.data())
def test_float32_inside_its_own_bound(layer, data):
    W, G = layer.weight.astype("float32"), layer.gram.astype("float32")
    G = (G + G.T) / 2
    mask = data.draw(masks(W.size)).reshape(W.shape)
    answer = rp.optimal_weights(rp.LayerProblem(W, G), mask)
    assert answer.weight.dtype == "float32"
    for i in range(len(W)):
        stationary(W[i].astype(float), G.astype(float), answer.weight[i], mask[i], 2.0**-23)


def test_half_precision_is_computed_wider():
    rng = np.random.default_rng(2)
    W, G = rng.normal(size=(2, 5)).astype("float16"), spd(rng, 5)
    mask = rng.random((2, 5)) < 0.6
    answer = rp.optimal_weights(rp.LayerProblem(W, G), mask)
    wide = rp.optimal_weights(rp.LayerProblem(W.astype(float), G), mask)
    assert answer.weight.dtype == "float16"
    assert_array_equal(answer.weight, wide.weight.astype("float16"))
    D = answer.weight.astype(float) - W
    assert_allclose(answer.objective, np.sum(D @ G * D) / 2, rtol=1e-12)  # of the weights that are returned


def test_errors():
    problem = rp.Quadratic(np.eye(3), np.ones(3))
    mask = np.ones(3, dtype=bool)
    with pytest.raises(TypeError, match="need a boolean array mask"):
        rp.optimal_weights(problem, mask.astype(float))
    with pytest.raises(TypeError, match="need mask to be an array"):
        rp.optimal_weights(problem, [True, True, False])
    with pytest.raises(ValueError, match=r"need mask of shape \(3\)"):
        rp.optimal_weights(problem, np.ones(2, dtype=bool))
    with pytest.raises(ValueError, match="need damp >= 0 and finite; got -1"):
        rp.optimal_weights(problem, mask, damp=-1)
    with pytest.raises(ValueError, match="need damp >= 0 and finite; got nan"):
        rp.optimal_weights(problem, mask, damp=float("nan"))
    with pytest.raises(TypeError, match="need damp to be a real number; got True"):
        rp.optimal_weights(problem, mask, damp=True)
    with pytest.raises(TypeError, match="need a Quadratic or a LayerProblem; got ndarray"):
        rp.optimal_weights(np.ones(3), mask)
    with pytest.raises(TypeError, match="Fractions are for definitions"):
        rp.optimal_weights(rp.Quadratic(fractions(np.eye(3)), fractions(np.ones(3))), mask)
    dead = rp.Quadratic(np.diag([1.0, 0.0]), np.ones(2), np.array([0.0, 1.0]))
    with pytest.raises(np.linalg.LinAlgError, match="need gradient 0 where hessian has a zero diagonal"):
        rp.optimal_weights(dead, mask[:2])
    with pytest.raises(np.linalg.LinAlgError, match="a zero on its diagonal in a row that is not zero"):
        rp.optimal_weights(rp.Quadratic(np.array([[1.0, 1.0], [1.0, 0.0]]), np.ones(2)), mask[:2])
    indefinite = rp.Quadratic(np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 0.0], [1.0, 0.0, 1.0]]), np.ones(3))
    with pytest.raises(np.linalg.LinAlgError, match="need a positive definite hessian restricted"):
        rp.optimal_weights(indefinite, np.array([True, True, False]))


def test_rows_that_share_a_support_share_one_solve(monkeypatch):
    """Input columns removed in all rows leave one support: one factorisation, not one for each row."""
    systems = []

    def counted(A, b):
        systems.append(len(A))
        return solve(A, b)

    monkeypatch.setattr(refit, "solve", counted)
    rng = np.random.default_rng(17)
    layer = rp.LayerProblem(rng.normal(size=(6, 5)), spd(rng, 5))
    rp.obs(layer, rp.Groups(keep=3, axis=1))
    assert sum(systems) == 1
    mask = np.ones((6, 5), dtype=bool)
    mask[[0, 2, 5], 1] = mask[[1, 3], 4] = mask[4, :2] = False
    answer = rp.optimal_weights(layer, mask, damp=0.25)
    for row in range(6):
        alone = rp.optimal_weights(rp.LayerProblem(layer.weight[[row]], layer.gram), mask[[row]], damp=0.25)
        # both solve a 5 x 5 system backward stably: 4 d eps kappa times weights of size 3
        assert_allclose(answer.weight[[row]], alone.weight, rtol=0, atol=64 * EPS * condition(layer.gram))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty(shape):
    W = np.zeros(shape)
    problem = rp.LayerProblem(W, np.eye(shape[1])) if len(shape) == 2 else rp.Quadratic(np.zeros((0, 0)), W)
    answer = rp.optimal_weights(problem, np.ones(shape, dtype=bool))
    assert answer.weight.shape == answer.mask.shape == shape
    assert answer.objective == 0


def test_inputs_are_read_only_and_answers_are_new():
    rng = np.random.default_rng(1)
    W, G = np.asfortranarray(rng.normal(size=(3, 6))), spd(rng, 6)
    mask = np.asfortranarray(rng.random((3, 6)) < 0.5)
    for array in (W, G, mask):
        array.flags.writeable = False
    answer = rp.optimal_weights(rp.LayerProblem(W, G), mask)
    again = rp.optimal_weights(rp.LayerProblem(W.copy(), G.copy()), mask)
    assert_array_equal(answer.weight, again.weight)
    assert not np.shares_memory(answer.mask, mask)
    assert not np.shares_memory(rp.optimal_weights(rp.LayerProblem(W, G), mask | True).weight, W)
