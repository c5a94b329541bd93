"""The stochastic form of I-OBS: mini-batches, Fisher matrices in blocks, supports at random, what a sample may be."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.newton_steps import SELECTIONS, certify, drawn
from tests.methods.problems import spd, with_dead


def test_mini_batches_and_a_fisher_in_blocks():
    """A batch for the gradient and another for the Fisher matrix, drawn from the generator that is handed over."""
    rng = np.random.default_rng(13)
    network = rp.mlp([3, 3, 2])
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 2, size=60)
    f, theta = rp.NetworkLoss(network, x, y, "cross_entropy"), network.flatten(network.init(rng))
    seen = []

    def sample(w, rng):
        one, two = rng.permutation(60)[:20], rng.permutation(60)[:30]
        seen.append((w, one, two))
        G = network.per_sample_gradients(network.unflatten(w), x[two], y[two], loss="cross_entropy")
        F = rp.empirical_fisher(G)
        gradient = rp.NetworkLoss(network, x[one], y[one], "cross_entropy").gradient(w)
        return gradient, tuple(
            F[a : a + 8, a : a + 8] + 0.05 * np.eye(len(F[a : a + 8])) for a in range(0, 20, 8)
        )

    assert len(theta) == 20  # blocks of 8, 8 and 4
    for selection in ("topk", "saliency", "obs"):
        seen.clear()
        answer = rp.iobs(f, 9, theta, selection, steps=3, rng=np.random.default_rng(5), sample=sample)
        w, again = theta, np.random.default_rng(5)
        for point, one, two in list(seen):
            assert_allclose(point, w, rtol=0, atol=1e-11)
            g, blocks = sample(point, again)
            assert_array_equal(seen[-1][1], one)
            assert_array_equal(seen[-1][2], two)
            F = np.zeros((20, 20))
            for a, block in zip((0, 8, 16), blocks, strict=True):
                F[a : a + 8, a : a + 8] = block
            w, mask = definitions.iobs_step(point, g, F, 9, selection)
        assert_array_equal(answer.mask, mask)
        assert_allclose(answer.weight, w, rtol=0, atol=1e-11)  # cond below 1e3
        if selection == "obs":
            assert sorted(answer.order) == np.flatnonzero(~mask).tolist()


def test_blocks_that_hold_dead_inputs():
    rng = np.random.default_rng(14)
    blocks = (with_dead(spd(rng, 2), [1]), with_dead(spd(rng, 1), [0]))
    H = np.zeros((5, 5))
    H[:3, :3], H[3:, 3:] = blocks
    f, theta = rp.Quadratic(H, rng.normal(size=5)), rng.normal(size=5)
    g = f.gradient(theta)
    for keep in range(6):
        for selection in SELECTIONS:
            answer = rp.iobs(f, keep, theta, selection, sample=lambda w, rng: (f.gradient(w), blocks))
            weight, mask = definitions.iobs_step(theta, g, H, keep, selection)
            assert_array_equal(answer.mask, mask)
            assert_allclose(answer.weight, weight, rtol=0, atol=1e-12)
            certify(H, theta, g, keep, answer, selection, "H")


def test_every_step_draws_anew():
    """On a quadratic too, whose own Hessian would stay."""
    f, diagonals = rp.Quadratic(np.eye(3), np.zeros(3), np.ones(3)), iter([1.0, 2.0, 4.0])
    answer = rp.iobs(f, 3, steps=3, sample=lambda w, rng: (np.ones(3), np.full(3, next(diagonals))))
    assert_array_equal(answer.weight, np.full(3, -1.75))


@pytest.mark.parametrize("form", ["matrix", "diagonal", "blocks"])
def test_arrays_of_several_precisions_are_computed_in_the_widest(form):
    """The gradient a^2 with a = 1 + 2^-40 needs float64, so does the curvature a, and the Newton point -a."""
    a = 1 + 2.0**-40
    wide = {"matrix": a * np.eye(2), "diagonal": np.full(2, a), "blocks": (np.array([[a]]), np.array([[a]]))}[
        form
    ]
    f = rp.Quadratic(np.eye(2, dtype="float32"), np.zeros(2, dtype="float32"))
    for project in ("H", "euclid"):
        answer = rp.iobs(f, 2, project=project, sample=lambda w, rng: (np.ones(2) * a**2, wide))
        assert answer.weight.dtype == "float32"
        assert_array_equal(answer.weight, [-1.0, -1.0])
        assert answer.trace[0].moved == pytest.approx(a * 2**0.5, rel=1e-14)
        narrow = rp.iobs(rp.Quadratic(np.eye(2), np.zeros(2)), 2, project=project,
                         sample=lambda w, rng: (np.ones(2) * a, np.eye(2, dtype="float32")))  # fmt: skip
        assert_array_equal(narrow.weight, [-a, -a])


def test_random_supports_come_from_the_generator():
    H = drawn(6)[0]
    H, d = with_dead(H[np.ix_(np.diag(H) > 0, np.diag(H) > 0)], [0]), np.count_nonzero(np.diag(H)) + 1
    theta, problem = np.arange(1.0, d + 1), rp.Quadratic(H, np.arange(1.0, d + 1))
    masks = [rp.iobs(problem, 3, selection="random", rng=np.random.default_rng(s)).mask for s in range(200)]
    again = rp.iobs(problem, 3, selection="random", rng=np.random.default_rng(0))
    assert_array_equal(again.mask, masks[0])
    certify(H, theta, 0 * theta, 3, again, "random", "H")
    shares = np.mean(masks, axis=0)
    assert shares[0] == 0  # the dead input goes first
    # three of d - 1 at random, 200 times: five standard deviations
    p = 3 / (d - 1)
    assert np.all(np.abs(shares[1:] - p) <= 5 * (p * (1 - p) / 200) ** 0.5)


def test_what_a_sample_returns_is_checked():
    problem, g = rp.Quadratic(np.eye(3), np.ones(3)), np.ones(3)
    for error, message, given in (
        (ValueError, r"need gradient of shape \(3\); got \(2,\)", (g[:2], np.eye(3))),
        (ValueError, "need finite numbers in gradient", (g * np.inf, np.eye(3))),
        (ValueError, r"need hessian of shape \(3, 3\) or \(3,\); got \(2, 2\)", (g, np.eye(2))),
        (ValueError, "need hessian to be symmetric", (g, np.tri(3))),
        (TypeError, "need curvature to be an array", (g, [np.eye(3)])),
        (TypeError, "need real floating numbers in curvature; got int64", (g, np.eye(3, dtype=int))),
        (
            ValueError,
            r"need blocks of one size.*for 3 weights; got sizes \[1, 2\]",
            (g, (np.eye(1), np.eye(2))),
        ),
        (ValueError, r"got sizes \[2, 2\]", (g, (np.eye(2), np.eye(2)))),
        (ValueError, r"got sizes \[\]", (g, ())),
        (ValueError, r"got sizes \[3, 0\]", (g, (np.eye(3), np.zeros((0, 0))))),
        (ValueError, r"need curvature\[0\] to be symmetric", (g, (np.tri(2), np.eye(1)))),
        (np.linalg.LinAlgError, "need positive semidefinite blocks", (g, (np.eye(2), -np.eye(1)))),
        (np.linalg.LinAlgError, r"need a positive definite gram\[0\]", (g, (np.ones((2, 2)), np.eye(1)))),
    ):
        with pytest.raises(error, match=message):
            rp.iobs(problem, 1, sample=lambda w, rng, given=given: given)
    diagonal = rp.iobs(problem, 2, sample=lambda w, rng: (g, np.array([2.0, 4.0, 8.0])))
    assert_array_equal(diagonal.weight, [0.0, 0.75, 0.875])
