"""`rp.prune` on every kind of array: the answers of NumPy in float64, the kind and dtype given back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.arrays import dtype_name
from tests.stand_in import xp as stand_in

NETWORK = rp.Network(
    [
        rp.Conv2d(2, 4, 3, padding=1),
        rp.BatchNorm2d(4),
        rp.ReLU(),
        rp.Conv2d(4, 4, 1),
        rp.Residual([rp.Conv2d(4, 4, 3, padding=1, groups=2)], [rp.Conv2d(4, 4, 1)]),
        rp.MaxPool2d(2),
        rp.Flatten(),
        rp.Dense(16, 3),
    ]
)
rng = np.random.default_rng(0)
PARAMS = {name: (value + 0.1).astype("float32").astype(float) for name, value in NETWORK.init(rng).items()}
X = (rng.normal(size=(30, 2, 4, 4)) + 0.5).astype("float32").astype(float)
Y = np.arange(30) % 3
PRIOR = rng.random((3, 16)) > 0.2
PARAMS["7.weight"] *= PRIOR

PATTERNS = {
    "layer": rp.Unstructured(sparsity=0.4),
    "network": rp.Unstructured(sparsity=0.4, scope="network"),
    "2 of 4": rp.NM(2, 4, remainder="dense"),
    "units": rp.Groups(sparsity=0.5, axis=1),
}


ONE_SHOT = [
    ("magnitude", "network"),
    ("wanda", "network"),
    ("wanda", "units"),
    ("obd", "2 of 4"),
    ("obd", "layer"),
]
MOVING = [
    *(("obs", name) for name in PATTERNS),
    ("sparsegpt", "layer"),
    ("sparsegpt", "2 of 4"),
    ("alps", "layer"),
]


@pytest.mark.parametrize(("method", "pattern"), ONE_SHOT)
def test_one_shot_methods(backend, method, pattern):
    """On array-api-strict too."""
    agree(backend, method, PATTERNS[pattern])


@pytest.mark.parametrize(("method", "pattern"), MOVING)
def test_methods_that_move_weights(cupy_like, method, pattern):
    agree(cupy_like, method, PATTERNS[pattern])


def agree(backend, method, pattern):
    masks = {} if isinstance(pattern, rp.Groups) else {"7.weight": PRIOR}
    expected = rp.prune(NETWORK, PARAMS, X, method, pattern, Y, masks=masks)
    params = {name: backend.asarray(value) for name, value in PARAMS.items()}
    prior = {name: backend.asarray(mask) for name, mask in masks.items()}
    answer = rp.prune(NETWORK, params, backend.asarray(X), method, pattern, backend.asarray(Y), masks=prior)
    kind = type(params["0.weight"])
    for name, value in answer.params.items():
        assert type(value) is kind
        assert dtype_name(value.dtype) == backend.dtype
        # solves on Grams of a condition below 1e4, one behind the other
        assert_allclose(backend.numpy(value), expected.params[name], rtol=0, atol=1e5 * backend.eps)
    for name, mask in answer.masks.items():
        assert type(mask) is kind
        assert dtype_name(mask.dtype) == "bool"
        assert_array_equal(backend.numpy(mask), expected.masks[name])
    for own, other in zip(answer.report.layers, expected.report.layers, strict=True):
        assert own.pruned == other.pruned
        assert_allclose(own.error, other.error, rtol=1e5 * backend.eps)


def test_half_precision_is_computed_wider_and_given_back():
    half = {name: value.astype("float16") for name, value in PARAMS.items()}
    answer = rp.prune(NETWORK, half, X.astype("float16"), "obs", PATTERNS["layer"])
    wide = rp.prune(
        NETWORK,
        {name: value.astype(float) for name, value in half.items()},
        X.astype("float16").astype(float),
        "obs",
        PATTERNS["layer"],
    )
    for name, value in answer.params.items():
        assert value.dtype == "float16"
        # half an ulp in the answer, and the rounding of the layers before
        assert_allclose(value, wide.params[name], rtol=0.01, atol=0.01)


def test_mixtures_are_refused():
    with pytest.raises(TypeError, match="need arrays of one kind"):
        rp.prune(NETWORK, PARAMS, stand_in.asarray(X), "wanda", PATTERNS["layer"])
    params = {name: stand_in.asarray(value) for name, value in PARAMS.items()}
    with pytest.raises(TypeError, match="need arrays of one kind"):
        rp.prune(NETWORK, params, stand_in.asarray(X), "wanda", PATTERNS["layer"], masks={"7.weight": PRIOR})
