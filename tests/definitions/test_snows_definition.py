"""The definition of SNOWS: exact on fractions, and what the method gives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune import definitions
from refprune.arrays import solve
from refprune.definitions.one_shot import masked
from refprune.definitions.snows import Ahead
from tests.methods.problems import fractions
from tests.snows_by_hand import problem

SMALL = rp.Network([rp.Dense(3, 2), rp.ReLU(), rp.Dense(2, 2)])  # fractions grow long
RELU = rp.Network([rp.Dense(3, 3), rp.ReLU(), rp.Dense(3, 2), rp.ReLU(), rp.Dense(2, 2)])
SMOOTH = rp.Network(
    [rp.Conv2d(1, 2, 2), rp.Tanh(), rp.AvgPool2d(2, 1), rp.Flatten(), rp.Dense(2, 2), rp.Softplus()]
)


def exact():
    """(layers, params, masks, x) of Fractions; two weights and one are pruned."""
    rng = np.random.default_rng(65)
    params = {name: fractions(rng.integers(-3, 4, size=shape) + 0.5) for name, shape in SMALL.shapes.items()}
    masks = {"0.weight": np.array([[1, 0, 1], [1, 1, 0]], bool), "2.weight": np.array([[1, 1], [0, 1]], bool)}
    return SMALL.to_dicts(), params, masks, fractions(rng.integers(-3, 4, size=(6, 3)) + 0.25)


def test_horizon_zero_is_least_squares_exactly():
    """Row by row: G v_K = X_K^T t, with the inputs behind the layers before and the outputs of the dense network."""
    layers, params, masks, x = exact()
    found = definitions.snows(layers, params, masks, x, 0, steps=1)
    for n in (0, 2):
        u = definitions.derivatives.forward(layers[:n], found, x) if n else x
        t = definitions.derivatives.forward(layers[: n + 1], params, x) - params[f"{n}.bias"]
        for row, mask, out in zip(found[f"{n}.weight"], masks[f"{n}.weight"], t.T, strict=True):
            X = u[:, mask]
            assert all(row[~mask] == 0)
            assert_array_equal(row[mask], solve(X.T @ X, X.T @ out))


@pytest.mark.parametrize("horizon", [1, 9])
def test_no_objective_rises_exactly(horizon):
    layers, params, masks, x = exact()
    found = definitions.snows(layers, params, masks, x, horizon, steps=1)
    given = params | {name: masked(params[name], mask) for name, mask in masks.items()}
    for name, mask in masks.items():
        f = Ahead(layers, given, params, x, name, horizon)
        assert f.value(found[name].reshape(-1)) < f.value(given[name].reshape(-1))
        assert all(found[name][~mask] == 0)
        given[name] = found[name]


@pytest.mark.parametrize(("network", "shape"), [(RELU, (3,)), (SMOOTH, (1, 3, 3))], ids=["ReLU", "smooth"])
@pytest.mark.parametrize("horizon", [0, 1, 9])
def test_the_method_gives_the_same(network, shape, horizon):
    params, masks, x = problem(20, network, shape, 25)
    layers = network.to_dicts()
    for name in network.prunable:
        key = name.removesuffix(".weight")
        f, g = (
            Ahead(layers, params, params, x, name, horizon),
            rp.Reconstruction(network, params, x, key, horizon),
        )
        w = g.weight + np.random.default_rng(1).normal(size=g.weight.shape)
        assert_allclose(g.value(w), f.value(w), rtol=1e-12)
        for mine, theirs in ((g.gradient(w), f.gradient(w)), (g.hessian(w), f.hessian(w))):
            assert_allclose(mine, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())
    found = definitions.snows(layers, params, masks, x, horizon, steps=2, damp=2.0)
    answer = rp.snows(network, params, masks, x, horizon, damp=2.0, max_iter=2, tol=0.0, cg_rtol=1e-13)
    for name in network.prunable:  # two damped solves: conditions below 100
        assert_allclose(answer.params[name], found[name], rtol=0, atol=1e-9 * np.abs(found[name]).max())
