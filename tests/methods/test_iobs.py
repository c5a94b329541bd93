"""I-OBS against its definition, by certificate, at exact cases, on every kind of objective, and its errors."""

import sys
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.convex import planted
from tests.methods.newton_steps import EPS, SELECTIONS, certify, drawn
from tests.methods.problems import condition, spd, with_dead


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("project", ["H", "euclid"])
def test_one_step_is_that_of_the_definition(selection, project):
    """60 problems; a damped Hessian is the definition's own."""
    for seed in range(60):
        H, theta, g, keep, damp = drawn(seed)
        answer = rp.iobs(rp.Quadratic(H, theta, g), keep, selection=selection, project=project, damp=damp)
        certify(H, theta, g, keep, answer, selection, project, damp)
        living = (np.diag(H) > 0).astype(float)
        damped = H + damp * np.trace(H) / max(living.sum(), 1) * np.diag(living)
        weight, mask = definitions.iobs_step(theta, g, damped, keep, selection, project)
        assert_array_equal(answer.mask, mask)  # no choice of these is closer than rounding
        slack = 1e4 * EPS * condition(H) * (np.abs(theta).max() + np.abs(weight).max())
        assert_allclose(answer.weight, weight, rtol=0, atol=slack)
        step = np.abs(answer.weight - theta)
        terms = step @ np.abs(H) @ step / 2 + np.abs(g) @ step  # rounded sums of products: Higham, (3.5)
        value = float(rp.Quadratic(H, theta, g).value(answer.weight))
        assert_allclose(answer.objective, value, rtol=0, atol=4 * (len(g) + 2) * EPS * terms)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("project", ["H", "euclid"])
def test_several_steps_on_objectives_that_are_no_quadratics(selection, project):
    for seed in range(20):
        f, best, few, rng = planted(seed, d=7)
        start = best + rng.normal(size=7) / 2
        keep = max(few - 1, 1)  # below the planted number: rounding does not choose among zeros
        answer = rp.iobs(f, keep, start, selection, project, steps=4)
        weight, mask = definitions.iobs(f, keep, start, selection, project, steps=4)
        assert_array_equal(answer.mask, mask)
        assert_allclose(answer.weight, weight, rtol=0, atol=1e-10 * (1 + np.abs(weight).max()))  # cond <= 1e3
        assert len(answer.trace) == 4
        assert answer.trace[-1].value == answer.objective == f.value(answer.weight)
        before = rp.iobs(f, keep, start, selection, project, steps=3)
        assert answer.trace[:3] == before.trace
        assert answer.trace[3].moved == pytest.approx(
            np.linalg.norm(answer.weight - before.weight), abs=1e-14
        )
        one = rp.iobs(f, keep, before.weight, selection, project)
        assert_array_equal(one.weight, answer.weight)
        certify(
            f.hessian(before.weight), before.weight, f.gradient(before.weight), keep, one, selection, project
        )


def test_by_hand():
    """theta+ = (2, 1.5, 1): the saliencies are 0.9375, 0.527..., 1 with C_11 = C_22 = 64/15."""
    H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    problem = rp.Quadratic(H, np.array([2.0, 1.5, 1.0]))
    top = rp.iobs(problem, 2)
    assert_array_equal(top.mask, [True, True, False])
    assert_allclose(top.weight, [2.0, 1.5, 0.0], rtol=1e-15)
    assert top.objective == top.trace[0].loss == 0.5
    for selection in ("saliency", "obs", "exact"):
        answer = rp.iobs(problem, 2, selection=selection)
        assert_allclose(answer.weight, [3.3125, 0.0, 1.0], rtol=1e-15)
        assert answer.objective == pytest.approx(0.263671875, rel=1e-15)
        cut = rp.iobs(problem, 2, selection=selection, project="euclid")
        assert_allclose(cut.weight, [2.0, 0.0, 1.0], rtol=1e-15)
        assert cut.objective == pytest.approx(1.125, rel=1e-15)
    assert rp.iobs(problem, 2, selection="obs").order.tolist() == [1]
    assert top.order is None


@pytest.mark.parametrize("selection", SELECTIONS)
def test_nothing_and_everything(selection):
    H, theta, g, _, _ = drawn(3)
    d = len(theta)
    none = rp.iobs(rp.Quadratic(H, theta, g), 0, selection=selection)
    assert not none.weight.any()
    assert not none.mask.any()
    for project in ("H", "euclid"):
        everything = rp.iobs(rp.Quadratic(H, theta), d, selection=selection, project=project)
        assert_array_equal(everything.weight, theta)  # no gradient: bit for bit
        assert everything.objective == 0
        assert everything.weight is not theta
    empty = rp.iobs(rp.Quadratic(np.zeros((0, 0)), np.zeros(0)), 0, selection=selection)
    assert empty.weight.shape == (0,)


def test_ties_go_to_the_lowest_index():
    problem = rp.Quadratic(np.eye(4), np.array([1.0, -1.0, 1.0, 1.0]))
    for selection in SELECTIONS:
        assert_array_equal(rp.iobs(problem, 2, selection=selection).mask, [False, False, True, True])


def test_all_supports_are_tried_some_at_a_time(monkeypatch):
    """The first of equal sets wins, whatever the batch that it is in."""
    for seed in range(30):
        H, theta, g, keep, _ = drawn(seed)
        for problem in (rp.Quadratic(H, theta, g), rp.Quadratic(np.eye(6), np.sign(np.arange(6) - 2.5))):
            keep = min(keep, 3)
            expected = rp.iobs(problem, keep, selection="exact")
            with monkeypatch.context() as patch:
                patch.setattr(sys.modules["refprune.methods.iobs"], "BATCH", 3)
                assert_array_equal(rp.iobs(problem, keep, selection="exact").mask, expected.mask)


def test_least_squares_and_its_quadratic_are_one():
    for seed in range(20):
        rng = np.random.default_rng([9, seed])
        A, y = rng.normal(size=(12, 6)) * 2.0 ** rng.integers(-2, 3, size=6), rng.normal(size=12)
        problem = rp.LeastSquares(A, y)
        for selection in SELECTIONS:
            answer = rp.iobs(problem, 3, selection=selection)
            best = np.zeros(6)
            best[answer.mask] = np.linalg.lstsq(A[:, answer.mask], y, rcond=None)[0]
            assert_allclose(answer.weight, best, atol=1e4 * EPS * condition(A.T @ A) * np.abs(best).max())
            far = rp.iobs(problem, 3, rng.normal(size=6), selection)
            assert_array_equal(
                far.mask, answer.mask
            )  # the Newton point of a quadratic does not depend on the start
            same = rp.iobs(rp.Quadratic(A.T @ A, np.zeros(6), -A.T @ y), 3, selection=selection)
            assert_array_equal(same.mask, answer.mask)
            assert_allclose(same.weight, answer.weight, rtol=1e-12)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_layers_are_quadratics_whose_hessian_is_never_formed(selection):
    for seed in range(6):
        rng = np.random.default_rng([10, seed])
        groups = int(rng.integers(1, 3))
        grams = np.stack([with_dead(spd(rng, 3), [int(rng.integers(4))]) for _ in range(groups)])
        W = rng.normal(size=(2 * groups, 4)) + 0.25
        layer = rp.LayerProblem(W, grams[0] if groups == 1 else grams)
        start = rng.normal(size=W.size)
        for given in (None, start, start.reshape(W.shape)):
            keep = int(rng.integers(0, W.size + 1))
            answer = rp.iobs(layer, keep, given, selection, damp=0.125)
            theta = W.ravel() if given is None else start
            H, g = layer.hessian(theta), layer.gradient(theta)
            means = [np.diag(G)[np.diag(G) > 0].mean() for G in grams]  # every group has its own
            D = 0.125 * np.repeat(means, 2)[:, None] * (np.diagonal(grams, axis1=1, axis2=2).repeat(2, 0) > 0)
            weight, mask = definitions.iobs_step(theta, g, H + np.diag(D.ravel()), keep, selection)
            assert_array_equal(answer.mask.ravel(), mask)
            assert_allclose(answer.weight.ravel(), weight, rtol=0, atol=1e-10)  # cond 30 and damping
            assert answer.weight.shape == answer.mask.shape == W.shape
            assert answer.objective == float(layer.objective(answer.weight))


@pytest.mark.parametrize("selection", ["topk", "saliency", "obs"])
def test_a_layer_takes_no_more_memory_than_its_rows(selection):
    """Its Hessian would have 32 MiB, 2048 x 2048."""
    rng = np.random.default_rng(18)
    layer = rp.LayerProblem(rng.normal(size=(64, 32)), spd(rng, 32))
    tracemalloc.start()
    rp.iobs(layer, 1900, rng.normal(size=2048), selection)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_convolutions_keep_their_shape():
    rng = np.random.default_rng(11)
    weight, gram = rng.normal(size=(3, 2, 1, 2)), spd(rng, 4)
    answer = rp.iobs(rp.LayerProblem(weight, gram), 5, selection="obs")
    expected = rp.obs(rp.LayerProblem(weight, gram), rp.Unstructured(keep=5))
    assert_array_equal(answer.weight, expected.weight)
    assert_array_equal(answer.order, expected.order)


def test_a_network_by_its_gauss_newton_matrix():
    rng = np.random.default_rng(12)
    network = rp.mlp([3, 4, 2], activation="tanh")
    params, x, y = network.init(rng), rng.normal(size=(40, 3)), rng.integers(0, 2, size=40)
    f = rp.NetworkLoss(network, x, y, "cross_entropy")
    theta = network.flatten(params)

    def sample(w, rng):
        p = network.unflatten(w)
        return f.gradient(w), network.gauss_newton(p, x, y, loss="cross_entropy") + 0.1 * np.eye(len(w))

    for selection in ("topk", "saliency", "obs"):
        answer = rp.iobs(f, 15, theta, selection, sample=sample)
        weight, mask = definitions.iobs_step(theta, *sample(theta, None), 15, selection)
        assert_array_equal(answer.mask, mask)
        assert_allclose(answer.weight, weight, rtol=0, atol=1e-10)  # cond below 1e3
        assert answer.objective == float(f.value(answer.weight))
    with pytest.raises(np.linalg.LinAlgError, match="need a positive semidefinite hessian"):
        rp.iobs(f, 15, theta)  # its Hessian has negative entries on the diagonal


def test_a_network_of_one_layer_is_logistic_regression():
    """Its Hessian is singular, since all outputs may rise together: it needs damping."""
    rng = np.random.default_rng(17)
    network = rp.mlp([4, 3])
    f = rp.NetworkLoss(network, rng.normal(size=(30, 4)), rng.integers(0, 3, size=30), "cross_entropy")
    theta = network.flatten(network.init(rng)) / 4  # nearer: nothing makes Newton's steps shorter
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite hessian.*damp="):
        rp.iobs(f, 8, theta)
    for selection in ("topk", "saliency", "obs"):
        answer = rp.iobs(f, 8, theta, selection, steps=3, damp=0.1)
        before = rp.iobs(f, 8, theta, selection, steps=2, damp=0.1).weight
        certify(f.hessian(before), before, f.gradient(before), 8, answer, selection, "H", 0.1)
        assert f.value(answer.weight) < f.value(np.where(answer.mask, theta, 0))


def test_gradients_of_another_scale_make_steps_of_another_length():
    H, theta, g, _, _ = drawn(2)
    problem, d = rp.Quadratic(H, theta, g), len(theta)
    for factor in (0.25, 2.0):
        answer = rp.iobs(problem, d, loss_scale=factor)
        whole = rp.iobs(problem, d)
        assert_allclose(answer.weight - theta, factor * (whole.weight - theta), rtol=1e-10)
    A, y = np.random.default_rng(15).normal(size=(8, 3)), np.ones(8)
    one = rp.iobs(rp.LeastSquares(A, y), 2, loss_scale="mse-mean")
    assert_array_equal(one.weight, rp.iobs(rp.LeastSquares(A, y), 2, loss_scale=0.25).weight)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_answer_has_the_dtype_of_the_start(dtype):
    H, theta, g = np.eye(3), np.array([3.0, 1.0, 2.0], dtype=dtype), np.zeros(3)
    answer = rp.iobs(rp.Quadratic(H, theta, g), 2)
    assert answer.weight.dtype == dtype
    assert_array_equal(answer.weight, [3, 0, 2])
    assert rp.iobs(rp.LeastSquares(np.eye(3, dtype=dtype), theta), 2).weight.dtype == dtype


def test_scales_of_weights_and_losses_do_not_matter():
    """Powers of two change no bit; squares of 2^-600 are beyond float64."""
    H, theta, g, _, _ = drawn(8)
    keep = len(theta) // 2
    for selection in SELECTIONS:
        for project in ("H", "euclid"):
            answer = rp.iobs(rp.Quadratic(H, theta, g), keep, selection=selection, project=project)
            for a, b in ((-60, 0), (60, 0), (0, 80), (-30, -80), (-600, 40), (450, -100)):
                with np.errstate(over="ignore"):
                    scaled = rp.iobs(
                        rp.Quadratic(H * 2.0**b, theta * 2.0**a, g * 2.0 ** (a + b)),
                        keep, selection=selection, project=project,
                    )  # fmt: skip
                assert_array_equal(scaled.weight, answer.weight * 2.0**a)
                assert scaled.trace[0].moved == answer.trace[0].moved * 2.0**a
                if a > -600:
                    assert scaled.trace[0].loss == answer.trace[0].loss * 2.0 ** (2 * a + b)


def test_a_point_far_smaller_than_its_step_and_far_larger():
    H, g = spd(np.random.default_rng(19), 6), np.random.default_rng(20).normal(size=6)
    for selection in SELECTIONS:
        none = rp.iobs(rp.Quadratic(H, np.zeros(6), g), 3, selection=selection)
        tiny = rp.iobs(rp.Quadratic(H, np.full(6, 2.0**-600), g), 3, selection=selection)
        assert_array_equal(tiny.weight, none.weight)
        still = rp.iobs(rp.Quadratic(H, g), 3, selection=selection)
        slow = rp.iobs(rp.Quadratic(H, g, np.full(6, 2.0**-600)), 3, selection=selection)
        assert_array_equal(slow.weight, still.weight)
        small = rp.iobs(rp.Quadratic(H, np.zeros(6), g * 2.0**-600), 3, selection=selection)
        assert_array_equal(small.weight, none.weight * 2.0**-600)


def test_weights_may_be_in_any_order():
    rng = np.random.default_rng(16)
    for seed in range(20):
        H, theta, g, keep, _ = drawn(seed)
        p = rng.permutation(len(theta))
        if np.count_nonzero(np.diag(H) == 0) > 1:
            continue  # dead inputs go by their index
        for selection in SELECTIONS:
            answer = rp.iobs(rp.Quadratic(H, theta, g), keep, selection=selection)
            moved = rp.iobs(rp.Quadratic(H[np.ix_(p, p)], theta[p], g[p]), keep, selection=selection)
            assert_array_equal(moved.mask, answer.mask[p])


def test_inputs_stay_and_answers_do_not_alias():
    H, theta, g, _, _ = drawn(5)
    for array in (H, theta, g):
        array.flags.writeable = False
    for selection in SELECTIONS:
        for keep in (0, len(theta) // 2, len(theta)):
            answer = rp.iobs(rp.Quadratic(H, theta, g), keep, theta, selection, steps=2)
            answer.weight[:] = 99.0
            answer.mask[:] = False
