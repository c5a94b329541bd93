"""Mini-batches for I-OBS: right on average over all draws, the objective's own with all samples, drawn from `rng`."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp

CURVATURES = ("hessian", "gauss_newton", "fisher")


class Scripted(np.random.Generator):
    """A generator whose draws are written down beforehand."""

    def __init__(self, draws):
        super().__init__(np.random.PCG64(0))
        self.draws = iter(draws)

    def choice(self, samples, size, replace):
        """The next draw, after a look at what was asked for."""
        draw = np.array(next(self.draws))
        assert (samples, size, replace) == (5, len(draw), False), "drawn from elsewhere, or with repetition"
        return draw


def least_squares(rng):
    """(objective, a point, its five samples' gradients)."""
    A, y, w = rng.normal(size=(5, 4)) + 0.25, rng.normal(size=5) - 1, rng.normal(size=4)
    return rp.LeastSquares(A, y), w, A * (A @ w - y)[:, None]


def logistic(rng):
    """(loss of a small network with a bias, a point, its five samples' gradients)."""
    network = rp.Network([rp.Dense(2, 3), rp.Tanh(), rp.Dense(3, 2)])
    x, labels = rng.normal(size=(5, 2)) + 0.5, np.array([0, 1, 1, 0, 1])
    params = network.init(rng)
    gradients = network.per_sample_gradients(params, x, labels)
    return rp.NetworkLoss(network, x, labels), network.flatten(params), gradients


def whole(objective, w, gradients, curvature):
    """The curvature of all samples by another way: derivatives of the whole objective, or outer products one by one."""
    if curvature == "fisher":
        total = sum(np.outer(g, g) for g in gradients)
        return total if isinstance(objective, rp.LeastSquares) else total / len(gradients)
    if curvature == "hessian" or isinstance(objective, rp.LeastSquares):
        return objective.hessian(w)
    return np.stack([objective.gauss_newton_product(w, e) for e in np.eye(len(w))])


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("make", [least_squares, logistic])
def test_right_on_average_over_all_draws(make, curvature):
    """All C(5, 2) pairs for the gradient beside all C(5, 3) triples, reversed, for the curvature: no order matters."""
    objective, w, gradients = make(np.random.default_rng(1))
    sample = rp.MiniBatches(objective, 2, curvature, 3)
    draws = list(zip(combinations(range(5), 2), reversed(list(combinations(range(5), 3))), strict=True))
    found = [sample(w, Scripted(draw)) for draw in draws]
    gradient, matrix = (np.mean([pair[i] for pair in found], axis=0) for i in (0, 1))
    expected = whole(objective, w, gradients, curvature)
    # a mean of 10 sums of at most 3 terms, of which some cancel; the terms are below 30
    assert_allclose(gradient, objective.gradient(w), rtol=0, atol=1e-13 * 30)
    assert_allclose(matrix, expected, rtol=0, atol=1e-13 * 30 * max(1, np.abs(expected).max()))
    assert max(np.abs(pair[0] - gradient).max() for pair in found) > 0.01, "every batch is the same"


@pytest.mark.parametrize("block", [None, 1, 3, 4, 100])
@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("make", [least_squares, logistic])
def test_all_samples_are_the_objective(make, curvature, block):
    objective, w, gradients = make(np.random.default_rng(2))
    gradient, found = rp.MiniBatches(objective, 5, curvature, block=block)(w, np.random.default_rng(3))
    expected = whole(objective, w, gradients, curvature)
    atol = 1e-13 * 30 * max(1, np.abs(expected).max())  # as above
    assert_allclose(gradient, objective.gradient(w), rtol=0, atol=atol)
    if block is None:
        assert_allclose(found, expected, rtol=0, atol=atol)
        return
    assert sum(map(len, found)) == len(w)
    assert all(len(part) == min(block, len(w)) for part in found[:-1])
    first = 0
    for part in found:
        at = slice(first, first + len(part))
        assert_allclose(part, expected[at, at], rtol=0, atol=atol)
        first += len(part)


def test_two_draws_each_from_the_generator():
    """The samples of the curvature are not those of the gradient, and every call draws anew."""
    objective, w, gradients = least_squares(np.random.default_rng(4))
    seen = rp.MiniBatches(objective, 1, "fisher", 1)
    for draws in (([2], [4]), ([0], [2])):
        gradient, fisher = seen(w, Scripted(draws))
        (one,), (two,) = draws
        assert_allclose(gradient, 5 * gradients[one], rtol=1e-14)
        assert_allclose(fisher, 5 * np.outer(gradients[two], gradients[two]), rtol=1e-14)
    a, b, again = (seen(w, np.random.default_rng(seed)) for seed in (5, 6, 5))
    assert_array_equal(a[0], again[0])
    assert_array_equal(a[1], again[1])
    assert np.abs(a[0] - b[0]).max() > 0


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("block", [None, 3])
def test_in_iobs_all_samples_are_the_deterministic_form(curvature, block):
    """Against I-OBS on the same matrices, built from all samples at every point."""
    rng = np.random.default_rng(7)
    network = rp.Network([rp.Dense(3, 2)])
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)) * 2 + 1
    loss, start = rp.NetworkLoss(network, x, y, "squared"), rng.normal(size=8)

    def all_samples(w, rng):
        G = network.per_sample_gradients(network.unflatten(w), x, y, "squared")
        H = rp.empirical_fisher(G) if curvature == "fisher" else loss.hessian(w)
        return loss.gradient(w), H if block is None else tuple(H[a : a + 3, a : a + 3] for a in (0, 3, 6))

    sample = rp.MiniBatches(loss, 40, curvature, block=block)
    given = {"steps": 3, "damp": 0.01, "rng": np.random.default_rng(8)}
    answer, expected = (rp.iobs(loss, 5, start, sample=s, **given) for s in (sample, all_samples))
    assert_array_equal(answer.mask, expected.mask)
    assert_allclose(answer.weight, expected.weight, rtol=0, atol=1e-10)  # the condition is below 1e3
    if curvature != "fisher" and block is None:
        assert_allclose(answer.weight, rp.iobs(loss, 5, start, steps=3, damp=0.01).weight, rtol=0, atol=1e-10)


def test_steps_from_mini_batches_lead_towards_a_planted_signal():
    """From batches of half of the samples: nearer in every one of 20 runs, by a factor of 20 on average."""
    far = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A, planted = rng.normal(size=(400, 20)), np.zeros(20)
        planted[rng.choice(20, 4, replace=False)] = rng.choice([-1, 1], 4) * rng.uniform(1, 2, size=4)
        f = rp.LeastSquares(A, A @ planted + 0.1 * rng.normal(size=400))
        answer = rp.iobs(f, 4, steps=5, rng=rng, sample=rp.MiniBatches(f, 200))
        far.append(np.linalg.norm(answer.weight - planted) / np.linalg.norm(planted))
    assert max(far) < 1
    assert np.mean(far) < 0.05


def test_running_statistics_and_narrow_inputs():
    """BatchNorm's statistics are those of the objective; float16 data are computed in float32."""
    rng = np.random.default_rng(9)
    network = rp.Network([rp.Conv2d(1, 2, 2), rp.BatchNorm2d(2), rp.ReLU(), rp.Flatten(), rp.Dense(8, 2)])
    params, x = network.init(rng), rng.normal(size=(6, 1, 3, 3))
    params = {name: value + 0.5 if name in network.constants else value for name, value in params.items()}
    loss, w = rp.NetworkLoss(network, x, np.array([0, 1, 1, 0, 1, 0]), params=params), network.flatten(params)
    for curvature in CURVATURES:
        gradient, matrix = rp.MiniBatches(loss, 6, curvature)(w, rng)
        assert_allclose(gradient, loss.gradient(w), rtol=0, atol=1e-13)
        assert matrix.shape == (len(w), len(w))
    A, y = rng.normal(size=(8, 3)).astype("float16"), rng.normal(size=8).astype("float16")
    gradient, fisher = rp.MiniBatches(rp.LeastSquares(A, y), 8, "fisher")(np.ones(3, "float32"), rng)
    assert gradient.dtype == fisher.dtype == "float32"
    G = A.astype(float) * (A.astype(float) @ np.ones(3) - y)[:, None]
    assert_allclose(fisher, G.T @ G, rtol=0, atol=1e-5 * (G.T @ G).max())


def test_errors_name_the_argument_the_rule_and_the_value():
    f = rp.LeastSquares(np.eye(3), np.ones(3))
    for error, words, call in (
        (TypeError, "need objective to be a LeastSquares or a NetworkLoss; got Quadratic",
         lambda: rp.MiniBatches(rp.Quadratic(np.eye(2), np.ones(2)), 1)),
        (ValueError, "need batch in [1, 3]; got 4", lambda: rp.MiniBatches(f, 4)),
        (ValueError, "need batch in [1, 3]; got 0", lambda: rp.MiniBatches(f, 0)),
        (ValueError, "need curvature_batch in [1, 3]; got 9", lambda: rp.MiniBatches(f, 2, "fisher", 9)),
        (ValueError, "need block >= 1; got 0", lambda: rp.MiniBatches(f, 2, block=0)),
        (ValueError, "need curvature to be one of hessian, gauss_newton, fisher; got 'ggn'",
         lambda: rp.MiniBatches(f, 2, "ggn")),
        (TypeError, "need rng to be a numpy.random.Generator; got NoneType",
         lambda: rp.iobs(f, 1, sample=rp.MiniBatches(f, 2))),
    ):  # fmt: skip
        with pytest.raises(error) as raised:
            call()
        assert words in str(raised.value)
