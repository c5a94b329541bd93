"""Every method of a network on every kind of array, against NumPy in float64."""

import numpy as np
import pytest

from refprune.arrays import dtype_name, to_numpy
from refprune.network import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    ReLU,
    ReLU6,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from tests.conftest import BACKENDS
from tests.network.checking import close

NETWORKS = {  # small: array-api-strict is slow
    "dense": ([Dense(3, 3), ReLU(), Dense(3, 2, bias=False), GELU(), Dense(2, 3)], (3,), "cross_entropy"),
    "activations": (
        [Dense(2, 3), ReLU6(), Tanh(), Dense(3, 2), Sigmoid(), SiLU(), Dense(2, 2), Softplus()], (2,), "squared",
    ),
    "images": (
        [Conv2d(2, 2, (2, 1), (1, 2), ((1, 0), (0, 2)), 1, 2), BatchNorm2d(2), MaxPool2d(2, 1, 1), SiLU(),
         AvgPool2d((2, 1), 1, (1, 0), 1, False), GlobalAvgPool(), Flatten(), Dense(2, 3)],
        (2, 3, 3), "cross_entropy",
    ),
    "residuals": (
        [AvgPool2d(2, padding=1),
         Residual([Conv2d(1, 2, 2), Softplus()], [Conv2d(1, 2, 2, bias=False), BatchNorm2d(2)]),
         Residual([Conv2d(2, 2, 3, padding=1, groups=2), Tanh()]), MaxPool2d(2), Flatten(), Dense(2, 2)],
        (1, 4, 4), "squared",
    ),
}  # fmt: skip
SAMPLES = 4


def problem(name):
    """(network, params, x, y, v, indices, loss) in NumPy; the same numbers, exactly, in float32."""
    layers, shape, loss = NETWORKS[name]
    network, rng = Network(layers), np.random.default_rng(7)
    params = {}
    for key, size in (network.shapes | network.constants).items():
        array = rng.uniform(0.5, 1.5, size=size) if "running_var" in key else rng.normal(size=size) / 2
        params[key] = exact(array)
    x = exact(rng.normal(size=(SAMPLES, *shape)) + 0.3)
    classes = network.output_shape(shape)[0]
    y = (
        rng.integers(classes, size=SAMPLES)
        if loss == "cross_entropy"
        else exact(rng.normal(size=(SAMPLES, classes)))
    )
    v, indices = exact(rng.normal(size=(2, network.size))), rng.permutation(network.size)[:6]
    return network, params, x, y, v, indices, loss


def exact(array):
    return array.astype("float32").astype(float)


def every(network, params, x, y, v, indices, loss):
    """Yield (name, result) for every method and way to call it."""
    data = (params, x, y)
    yield "forward", network.forward(params, x)
    yield "loss", network.loss(*data, loss)
    for key, array in network.gradient(*data, loss).items():
        yield f"gradient {key}", array
    for name in ("hvp", "gauss_newton_product"):
        yield name, getattr(network, name)(*data, v, loss)
        yield f"{name}, one direction", getattr(network, name)(*data, v[0, ...], loss)
    for name in ("hessian", "hessian_diagonal", "gauss_newton"):
        yield name, getattr(network, name)(*data, loss)
        yield f"{name} in chunks", getattr(network, name)(*data, loss, memory=20_000)
    first = next(iter(network.shapes))
    yield "hessian block", network.hessian(*data, loss, rows=indices, columns=first)
    yield "hessian block of indices", network.hessian(*data, loss, rows=indices)
    yield "hessian block of keys", network.hessian(*data, loss, rows=[first], columns=indices)
    yield "jacobian", network.jacobian(params, x)
    yield "per_sample_gradients", network.per_sample_gradients(*data, loss)
    yield "empirical_fisher", network.empirical_fisher(*data, loss)
    yield "model_fisher", network.model_fisher(params, x, loss)
    yield "flatten", network.flatten(params)
    for key, array in network.unflatten(v[1, ...], params).items():
        yield f"unflatten {key}", array
    for key, array in network.activations(params, x).items():
        yield f"activations {key}", array
    for key, array in network.layer_inputs(params, x).items():
        yield f"layer_inputs {key}", array


@pytest.mark.parametrize("name", NETWORKS)
def test_every_method(name, backend):
    network, params, x, y, v, indices, loss = problem(name)
    there = {key: backend.asarray(array) for key, array in params.items()}
    arguments = [backend.asarray(array) for array in (x, y, v, indices)]
    results = every(network, there, *arguments, loss)
    # one of 8 products in each of 10 layers, sums of at most 60 terms of size 5; 1/8 of that was never reached
    bound = 8 * 10 * 60 * backend.eps
    for (what, got), (_, wanted) in zip(results, every(*problem(name)), strict=True):
        if not isinstance(got, np.generic):  # a scalar of NumPy
            assert type(got) is type(arguments[0]), f"{what}: {type(got).__name__}"
            assert getattr(got, "device", None) == getattr(arguments[0], "device", None), what
        assert dtype_name(got.dtype) == backend.dtype, f"{what}: {got.dtype}"
        got = got if isinstance(got, np.generic) else to_numpy(got)
        close(f"{what} on {backend.name}", got, wanted, bound * max(1, np.abs(wanted).max()))
    for array, before in zip(
        [*there.values(), *arguments], [*params.values(), x, y, v, indices], strict=True
    ):
        assert (to_numpy(array) == before).all()  # nothing was written to


def test_initial_parameters_are_the_same_numbers(backend):
    network = Network(NETWORKS["images"][0])
    like = backend.asarray(np.zeros(1))
    here = network.init(np.random.default_rng(3), backend.dtype)
    there = network.init(np.random.default_rng(3), backend.dtype, like=like)
    assert list(here) == list(there)
    for name, array in there.items():
        assert type(array) is type(like)
        assert dtype_name(array.dtype) == backend.dtype
        assert (to_numpy(array) == here[name]).all()


def test_labels_of_small_integer_types(backend):
    network = Network([Dense(2, 200)])
    params = {"0.weight": backend.asarray(np.zeros((200, 2))), "0.bias": backend.asarray(np.zeros(200))}
    x = backend.asarray(np.ones((2, 2)))
    for kind in ("int8", "uint8", "int32", "int64"):
        labels = backend.asarray(np.array([3, 100], kind))
        gradient = to_numpy(network.gradient(params, x, labels)["0.bias"])
        assert list(np.flatnonzero(gradient < 0)) == [3, 100]


def test_half_precision_is_computed_in_float32(cupy_like):  # the standard has no float16
    network, params, x, y, v, _, _ = problem("residuals")
    half = {key: cupy_like.asarray(array).astype("float16") for key, array in params.items()}
    arguments = [cupy_like.asarray(array).astype("float16") for array in (x, y, v)]
    for method in (network.hvp, network.gauss_newton_product):
        assert method(half, *arguments, "squared").dtype == "float32"
    assert network.hessian(half, *arguments[:2], "squared").dtype == "float32"
    assert {array.dtype.name for array in network.gradient(half, *arguments[:2], "squared").values()} == {
        "float32"
    }


@pytest.mark.parametrize("other", ["stand-in", "strict"])
def test_kinds_are_not_mixed(other):
    network, params, x, y, v, _, _ = problem("dense")
    y, backend = np.zeros((SAMPLES, 3)), BACKENDS[other]
    labels = np.zeros(SAMPLES, int)
    there = {key: backend.asarray(array) for key, array in params.items()}
    x_, y_, v_ = (backend.asarray(array) for array in (x, y, v))
    one = there | {"0.bias": params["0.bias"]}
    for call in (
        lambda: network.forward(there, x),
        lambda: network.forward(params, x_),
        lambda: network.flatten(one),
        lambda: network.loss(there, x_, y, "squared"),
        lambda: network.loss(there, x_, labels),
        lambda: network.gradient(one, x_, y_, "squared"),
        lambda: network.hvp(there, x_, y_, v, "squared"),
        lambda: network.hvp(there, x_, y, v_, "squared"),
        lambda: network.hessian(there, x_, labels),
        lambda: network.gauss_newton(there, x_, labels),
        lambda: network.jacobian(there, x),
        lambda: network.model_fisher(one, x_),
        lambda: network.per_sample_gradients(there, x, y_, "squared"),
    ):
        with pytest.raises(TypeError, match="need arrays of one kind; got"):
            call()
