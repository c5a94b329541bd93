"""SOSP-H by the definition: by autograd, by differences of the loss, on fractions, and where the model is exact."""

from fractions import Fraction

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import refprune.definitions as definitions
from refprune.definitions import derivatives
from refprune.definitions.snip import flattened, unflattened
from tests.methods.problems import fractions
from tests.testing.right_networks import Autograd
from tests.unit_networks import EPS, NETWORKS, labels, problem

AUTOGRAD = Autograd()


def pieces(network, params, x, y, loss, together, own):
    """(theta_s . g, theta_s . H theta_all), by autograd along two directions."""
    layers, theta = network.to_dicts(), flattened(params)

    def value(a, b):
        at = unflattened(theta + a * own + b * together, params)
        return anp.mean(AUTOGRAD.losses(AUTOGRAD.forward(layers, at, x), y, loss))

    def slope(b):
        return autograd.grad(value)(0.0, b)

    return slope(0.0), autograd.grad(slope)(0.0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("against", ["groups", "all"])
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_what_autograd_finds_along_the_groups(name, against, axis):
    network, params, x, y, loss = problem(name)
    theta, of = flattened(params), labels(name, axis)
    together = theta if against == "all" else np.where(of >= 0, theta, 0)
    found = definitions.sosp_scores(network.to_dicts(), params, x, y, loss, of, against)
    assert list(found) == sorted(set(of[of >= 0].tolist()))
    size = max(found.values())
    for s, score in found.items():
        first, second = pieces(network, params, x, y, loss, together, np.where(of == s, theta, 0))
        # a few hundred products of numbers of size 1, twice differentiated: 1e5 eps
        assert abs(score - abs(first) - abs(second) / 2) <= 1e5 * EPS * size, f"the score of group {s}"


def test_exact_on_fractions():
    """f = v1 u1 x + v2 u2 x with target t: for a row theta_s . g = r u_s v_s x, and the product couples all rows."""
    u, v, x, t = fractions([[1], [2]]), fractions([[1, 3]]), fractions([[2]]), fractions([[11]])
    layers = [
        {"type": "dense", "inputs": 1, "outputs": 2, "bias": False},
        {"type": "relu"},
        {"type": "dense", "inputs": 2, "outputs": 1, "bias": False},
    ]
    params = {"0.weight": u, "2.weight": v}
    of = np.array([0, 1, -1, -1])
    found = definitions.sosp_scores(layers, params, x, t, "squared", of)
    # r = 14 - 11 = 3, f = 14: |3 * 2| + |2 * 14| / 2, |3 * 12| + |12 * 14| / 2
    assert found == {0: 20, 1: 120}
    assert all(isinstance(score, (Fraction, int)) for score in found.values())
    pruned, gone = definitions.sosp(layers, params, x, t, "squared", of, 1)
    assert gone == [0]
    assert pruned["0.weight"].tolist() == [[0], [2]]


def test_the_sum_over_all_groups_is_the_loss_without_them_where_the_model_is_exact():
    """The loss is quadratic in the last columns. At g = 0, and with units that all pull one way, nothing is lost to
    the absolute values: the scores add up to the loss without any unit."""
    rng = np.random.default_rng(3)
    network, params, x, _, _ = problem("perceptron, 1 layer")
    layers = network.to_dicts()
    params = {key: np.abs(value) + 0.1 for key, value in params.items()}
    x = np.abs(rng.normal(size=x.shape))
    y = derivatives.forward(layers, params, x)
    of = labels("perceptron, 1 layer", 1)
    scores = definitions.sosp_scores(layers, params, x, y, "squared", of)
    without = {**params, "2.weight": 0 * params["2.weight"]}
    lost = derivatives.network_loss(layers, without, x, y, "squared")
    assert abs(sum(scores.values()) - lost) <= 1e3 * EPS * lost


def test_one_group_alone_is_its_own_model():
    """With one group of all parameters: |theta . g| + 1/2 |theta . H theta|."""
    network, params, x, y, loss = problem("perceptron")
    theta, layers = flattened(params), network.to_dicts()
    g, H = (f(layers, params, x, y, loss) for f in (derivatives.gradient, derivatives.hessian))
    (score,) = definitions.sosp_scores(layers, params, x, y, loss, np.zeros(len(theta), dtype=int)).values()
    assert abs(score - abs(theta @ g) - abs(theta @ H @ theta) / 2) <= 1e3 * EPS * score


def test_among_equals_the_lowest_label_goes():
    """Two equal units and a smaller score behind them: exact on fractions."""
    u, v = fractions([[2], [2], [1]]), fractions([[1, 1, 1]])
    layers = [
        {"type": "dense", "inputs": 1, "outputs": 3, "bias": False},
        {"type": "relu"},
        {"type": "dense", "inputs": 3, "outputs": 1, "bias": False},
    ]
    params, of = {"0.weight": u, "2.weight": v}, np.array([4, 0, 2, -1, -1, -1])
    pruned, gone = definitions.sosp(layers, params, fractions([[1]]), fractions([[0]]), "squared", of, 2)
    assert gone == [2, 0]
    assert pruned["0.weight"].tolist() == [[2], [0], [0]]
