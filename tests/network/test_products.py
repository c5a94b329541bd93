"""Loss, gradient and products: properties that hold for every network, and the definitions."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from refprune.network import Conv2d, Dense, Flatten, Network, ReLU, Tanh, derivatives, outer_products, point
from refprune.network import network as network_module
from tests.network.checking import Case, case, check_network, close, frozen, single

cases = st.integers(0, 2**32 - 1).map(case)
flags = st.sampled_from(
    ["OneSample", "OppositeGradients", "Conv", "ConvStride", "ConvDilation", "ConvGroups", "Depthwise", "BatchNorm",
     "MaxPool", "AvgPool", "Residual", "Shortcut", "LossScale", "LargeLogits", "NegativeCurvature", "DeadInput",
     "ZeroWeight"]
)  # fmt: skip


def directions(case, count=3, seed=1):
    return frozen(np.random.default_rng(seed).normal(size=(count, case.network.size)).astype(case.x.dtype))


@given(cases)
def test_every_method_is_its_definition(found):
    check_network(found)


@given(st.integers(0, 2**32 - 1), flags)
def test_every_method_is_its_definition_in_edge_cases(seed, flag):
    check_network(case(seed, flag))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("flag", ["Conv", "Residual", "Shortcut", "BatchNorm", "ConvGroups", "AvgPool", None])
def test_single_and_half_precision(dtype, flag):
    for seed in range(3):
        found = case(seed, flag, dtype)
        check_network(found)
        network, arguments = found.network, (*found.data, found.loss)
        results = [
            network.forward(found.params, found.x),
            network.hessian(*arguments),
            network.jacobian(*arguments[:2]),
        ]
        results += [
            network.hvp(*found.data, directions(found), found.loss),
            *network.gradient(*arguments).values(),
        ]
        assert {result.dtype.name for result in results} == {"float32"}


@given(cases, st.integers(-3, 3), st.integers(-3, 3))
def test_products_are_linear_in_the_direction(found, a, b):
    v = directions(found, 2)
    for method in (found.network.hvp, found.network.gauss_newton_product):
        separate = method(*found.data, v, found.loss)
        together = method(*found.data, a * v[0] + b * v[1], found.loss)
        wanted = a * separate[0] + b * separate[1]
        bound = 9 * found.bound(separate) * found.network.size  # a direction of size 3 in every parameter
        close("linear", together, wanted, bound)


@given(cases)
def test_products_are_symmetric(found):
    u, v = directions(found, 2)
    for method in (found.network.hvp, found.network.gauss_newton_product):
        Hu, Hv = method(*found.data, u, found.loss), method(*found.data, v, found.loss)
        close("symmetric", u @ Hv, v @ Hu, 9 * found.bound([Hu, Hv]) * found.network.size)


@given(cases, st.integers(1, 4))
def test_stacked_directions_are_single_ones(found, count):
    v = directions(found, count)
    for method in (found.network.hvp, found.network.gauss_newton_product):
        stacked = method(*found.data, v, found.loss)
        assert stacked.shape == v.shape
        for one, result in zip(v, stacked, strict=True):
            close("stacked", method(*found.data, one, found.loss), result, 3 * found.bound(stacked))
        assert method(*found.data, v[:0], found.loss).shape == (0, found.network.size)
        assert not method(*found.data, 0 * v, found.loss).any()


@given(cases)
def test_the_mean_over_samples_is_that_of_single_samples(found):
    network, ones = found.network, [single(found, s) for s in range(len(found.x))]
    v = directions(found, 2)
    for name in (
        "loss",
        "hessian",
        "gauss_newton",
        "per_sample_gradients",
        "empirical_fisher",
        "hessian_diagonal",
    ):
        whole = getattr(network, name)(*found.data, found.loss)
        parts = [getattr(network, name)(*one.data, found.loss) for one in ones]
        wanted = np.concatenate(parts) if name == "per_sample_gradients" else np.mean(parts, axis=0)
        close(name, whole, wanted, 2 * found.bound(parts))
    parts = [network.hvp(*one.data, v, found.loss) for one in ones]
    close("hvp", network.hvp(*found.data, v, found.loss), np.mean(parts, axis=0), 6 * found.bound(parts))
    gradient = network.flatten(network.gradient(*found.data, found.loss))
    own = network.per_sample_gradients(*found.data, found.loss)
    close("gradient", gradient, own.mean(axis=0), 2 * found.bound(own))


@given(cases)
def test_order_of_samples_does_not_matter(found):
    order = np.random.default_rng(0).permutation(len(found.x))
    moved = Case(found.layers, found.params, frozen(found.x[order]), frozen(found.y[order]), found.loss)
    H, own = (
        getattr(found.network, name)(*found.data, found.loss) for name in ("hessian", "per_sample_gradients")
    )
    close("hessian", found.network.hessian(*moved.data, found.loss), H, 2 * found.bound(H))
    close(
        "own", found.network.per_sample_gradients(*moved.data, found.loss), own[order], 2 * found.bound(own)
    )


@given(cases)
def test_jacobians_are_gradients_of_single_outputs(found):
    """With the loss 1/2 |f - y|^2 and y = f - e_k the gradient of a sample is row k of its Jacobian."""
    network = found.network
    f, J = network.forward(found.params, found.x), network.jacobian(found.params, found.x)
    assert J.shape == (*f.shape, network.size)
    for k in range(f.shape[1]):
        y = f - np.eye(f.shape[1])[k]
        own = network.per_sample_gradients(found.params, found.x, y, "squared")
        close("jacobian", own, J[:, k], 2 * found.bound(J))


def every_result(found):
    network, arguments, v = found.network, (*found.data, found.loss), directions(found)
    for name in (
        "loss",
        "hessian",
        "hessian_diagonal",
        "gauss_newton",
        "per_sample_gradients",
        "empirical_fisher",
    ):
        yield getattr(network, name)(*arguments)
    yield network.flatten(network.gradient(*arguments))
    yield network.hvp(*found.data, v, found.loss)
    yield network.gauss_newton_product(*found.data, v, found.loss)
    yield from (network.forward(found.params, found.x), network.jacobian(found.params, found.x))
    yield network.model_fisher(found.params, found.x, found.loss)


@pytest.mark.parametrize("numbers", [1, 200, 3000])
def test_parts_of_the_samples_change_nothing_but_rounding(numbers, monkeypatch):
    found = [case(seed, ("Conv", "Shortcut", None)[seed % 3]) for seed in range(8)]
    whole, steps = [list(every_result(one)) for one in found], []

    def small_parts(network, x, most=numbers, keep=True, parts=point.parts):
        slices = parts(network, x, min(most, numbers), keep)
        steps.extend(part.stop - part.start for part in slices)
        return slices

    for module in (network_module, derivatives, outer_products):
        monkeypatch.setattr(module, "parts", small_parts)
    for one, results in zip(found, whole, strict=True):
        for got, wanted in zip(every_result(one), results, strict=True):
            close(f"parts of {numbers} numbers", got, wanted, 6 * one.bound(wanted))
    assert min(steps) < max(len(one.x) for one in found)  # it did run in parts
    assert numbers > 1 or max(steps) == 1


@given(cases)
def test_the_same_bits_twice(found):
    again = Case(found.layers, dict(found.params), found.x.copy(), found.y.copy(), found.loss)
    v = directions(found)
    for name in (
        "gradient",
        "hvp",
        "hessian",
        "gauss_newton",
        "model_fisher",
        "jacobian",
        "empirical_fisher",
    ):
        extra = {"hvp": (v,), "model_fisher": (), "jacobian": ()}.get(name, ())
        results = []
        for one in (found, again):
            given_ = one.data[:2] if name in ("model_fisher", "jacobian") else one.data
            loss = () if name == "jacobian" else (one.loss,)
            result = getattr(one.network, name)(*given_, *extra, *loss)
            results.append(one.network.flatten(result) if name == "gradient" else result)
        assert_array_equal(*results)


def test_precision_is_that_of_the_widest_argument():
    found = case(0, "Conv", "float32", "squared")
    network, v = found.network, directions(found)
    wide = [({name: array.astype(float) for name, array in found.params.items()}, found.x, found.y, v)]
    wide += [
        (found.params, found.x.astype(float), found.y, v),
        (found.params, found.x, found.y.astype(float), v),
    ]
    for params, x, y, u in wide:
        assert network.loss(params, x, y, "squared").dtype == "float64"
        assert {g.dtype.name for g in network.gradient(params, x, y, "squared").values()} == {"float64"}
        for result in (network.hvp(params, x, y, u, "squared"), network.hessian(params, x, y, "squared")):
            assert result.dtype == "float64"
        assert network.gauss_newton_product(params, x, y, u, "squared").dtype == "float64"
        assert network.per_sample_gradients(params, x, y, "squared").dtype == "float64"
    assert network.hvp(*found.data, v.astype(float), "squared").dtype == "float64"


def test_overflow_is_not_hidden():
    network = Network([Dense(1, 1, bias=False), ReLU()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loss = network.loss(
            {"0.weight": np.array([[1e200]])}, np.array([[1e200]]), np.zeros((1, 1)), "squared"
        )
    assert loss == np.inf


def test_results_are_new_arrays():
    """Also where the network does nothing, and for images, strided and read-only arguments."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 2, 6, 3))
    for layers in (
        [],
        [Flatten()],
        [Flatten(), ReLU()],
        [Conv2d(2, 1, 1)],
        [Tanh(), Flatten(), Dense(36, 2)],
    ):
        network = Network(layers)
        params = network.init(rng) if layers else {}
        results = [network.forward(params, x), *network.activations(params, x).values()]
        results += [*network.layer_inputs(params, x).values()]
        if network.size:
            w = network.flatten(params)
            results += [w, *network.unflatten(w).values()]
            assert not any(np.shares_memory(a, w) for a in results[-len(params) :])
        for result in results:
            assert not any(np.shares_memory(result, a) for a in (x, *params.values()))
            assert result.flags.writeable
