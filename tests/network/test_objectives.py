"""The network's loss over the flat vector: equal to the network's own methods, and of use to optimisers."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.definitions import finite_differences
from refprune.testing import networks


def generated(seed, dtype="float64"):
    """A generated network, its problem, the objective and the point."""
    problem = networks.problem(np.random.default_rng(seed), dtype=dtype)
    network = rp.Network.from_dicts(problem["layers"])
    params, x, y, loss = (problem[name] for name in ("params", "x", "y", "loss"))
    return network, problem, rp.NetworkLoss(network, x, y, loss, params), network.flatten(params)


def small(loss="squared"):
    rng = np.random.default_rng(0)
    network = rp.mlp([3, 4, 2], activation="tanh")
    x = rng.normal(size=(15, 3))
    y = rng.integers(0, 2, size=15) if loss == "cross_entropy" else rng.normal(size=(15, 2))
    return rp.NetworkLoss(network, x, y, loss), rng.normal(size=network.size)


@given(st.integers(0, 2**32 - 1))
def test_the_methods_are_those_of_the_network(seed):
    network, problem, objective, w = generated(seed)
    batch = tuple(problem[name] for name in ("params", "x", "y"))
    loss = problem["loss"]
    v = np.random.default_rng(seed).normal(size=(2, w.size))
    assert objective.value(w) == network.loss(*batch, loss)
    g = network.gradient(*batch, loss)
    assert_array_equal(objective.gradient(w), np.concatenate([g[name].ravel() for name in network.shapes]))
    assert_array_equal(objective.hvp(w, v), network.hvp(*batch, v, loss))
    assert_array_equal(
        objective.gauss_newton_product(w, v[0]), network.gauss_newton_product(*batch, v[0], loss)
    )
    assert_array_equal(objective.hessian(w), network.hessian(*batch, loss))


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_differences_agree(loss):
    objective, w = small(loss)
    # cut-off h^2 f''' / 6 and rounding eps f / h, each some 1e-10 here
    assert_allclose(finite_differences.gradient(objective.value, w), objective.gradient(w), rtol=0, atol=1e-8)
    assert_allclose(
        finite_differences.hessian(objective.gradient, w), objective.hessian(w), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "trust-exact", "Newton-CG", "BFGS"])
def test_optimisers_of_scipy(method):
    """From near a network that gives the targets: a minimum with loss 0 is there."""
    rng = np.random.default_rng(0)
    network, x = rp.mlp([3, 4, 2], activation="tanh"), rng.normal(size=(15, 3))
    teacher = network.init(rng)
    objective = rp.NetworkLoss(network, x, network.forward(teacher, x), "squared")
    start = network.flatten(teacher) + 0.1 * rng.normal(size=network.size)
    keywords = {"trust-exact": {"hess": objective.hessian}, "BFGS": {}}.get(method, {"hessp": objective.hvp})
    found = scipy.optimize.minimize(objective.value, start, jac=objective.gradient, method=method, **keywords)
    assert objective.value(start) > 1e-3
    assert found.fun < 1e-5
    assert np.abs(objective.gradient(found.x)).max() < 1e-3


def test_running_statistics_are_constants():
    network = rp.Network([rp.Conv2d(1, 2, 1), rp.BatchNorm2d(2), rp.Flatten()])
    rng = np.random.default_rng(1)
    params = network.init(rng) | {
        "1.running_mean": np.array([1.0, -2.0]),
        "1.running_var": np.array([2.0, 0.5]),
    }
    x, y = rng.normal(size=(3, 1, 1, 2)), rng.integers(0, 4, size=3)
    objective = rp.NetworkLoss(network, x, y, params=params)
    assert objective.value(network.flatten(params)) == network.loss(params, x, y)
    with pytest.raises(
        ValueError, match=r"need params with the running statistics; got none for 1\.running_mean"
    ):
        rp.NetworkLoss(network, x, y)
    with pytest.raises(ValueError, match=r"got none for 1\.running_var"):
        rp.NetworkLoss(network, x, y, params={"1.running_mean": params["1.running_mean"]})


def test_nothing_is_changed_and_nothing_is_shared():
    objective, w = small()
    v = np.ones((2, w.size))
    for array in (w, v, objective.inputs, objective.targets):
        array.flags.writeable = False
    for answer in (objective.gradient(w), objective.hvp(w, v), objective.hessian(w)):
        assert not np.shares_memory(answer, w)
    assert objective.value(w) == objective.value(w.copy())


def test_on_other_arrays(backend):
    network, problem, here, w = generated(5, "float32")
    there = {name: backend.asarray(value) for name, value in problem["params"].items()}
    x, y = backend.asarray(problem["x"]), backend.asarray(problem["y"])
    objective = rp.NetworkLoss(network, x, y, problem["loss"], there)
    u, v = backend.asarray(w), np.linspace(-1, 1, w.size).astype("float32")
    # sums of some 100 terms in the lower precision, weights and inputs are exact in both
    slack = 1000 * max(backend.eps, 2.0**-23)
    for got, expected in (
        (objective.value(u), here.value(w)),
        (objective.gradient(u), here.gradient(w)),
        (objective.hvp(u, backend.asarray(v)), here.hvp(w, v)),
        (objective.hessian(u), here.hessian(w)),
    ):
        got = np.asarray(got) if got.ndim == 0 and backend.name.startswith("numpy") else got
        assert type(got) is type(u)
        assert_allclose(backend.numpy(got), expected, rtol=0, atol=slack * (1 + np.abs(expected).max()))


def test_errors():
    network = rp.mlp([3, 2])
    x, y = np.ones((4, 3)), np.zeros(4, int)
    for arguments, error, message in (
        ((x[:, :2], y), ValueError, "layer 0: need samples of shape"),
        ((x[:0], y[:0]), ValueError, "need inputs of shape .*; got \\(0, 3\\)"),
        ((x * np.inf, y), ValueError, "need finite numbers in inputs"),
        (([1.0], y), TypeError, "need inputs to be an array"),
        ((x, y + 2), ValueError, "need labels in"),
        ((x, y.astype(float)), TypeError, "need integer labels"),
        ((x, y, "absolute"), ValueError, "need loss in"),
    ):
        with pytest.raises(error, match=message):
            rp.NetworkLoss(network, *arguments)
    objective = rp.NetworkLoss(network, x, y)
    with pytest.raises(ValueError, match=r"need vector of shape \(8\); got \(7,\)"):
        objective.value(np.ones(7))
    with pytest.raises(ValueError, match="need v of shape"):
        objective.hvp(np.ones(8), np.ones(7))
