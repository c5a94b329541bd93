"""Every public method raises before any work, and its message names argument, rule and value."""

import numpy as np
import pytest

from refprune.network import BatchNorm2d, Conv2d, Dense, Flatten, Network, ReLU, Residual, Tanh, chain

IMAGES = Network(
    [Conv2d(1, 2, 2), BatchNorm2d(2), Residual([Conv2d(2, 2, 1), Tanh()]), Flatten(), Dense(8, 3)]
)
GOOD = IMAGES.init(np.random.default_rng(0))
X, LABELS, TARGETS = np.ones((2, 1, 3, 3)), np.array([0, 2]), np.ones((2, 3))
V = np.ones(IMAGES.size)

ALL = {  # method -> call of (params, x, y, loss)
    "forward": lambda n, p, x, y, loss: n.forward(p, x),
    "activations": lambda n, p, x, y, loss: n.activations(p, x),
    "layer_inputs": lambda n, p, x, y, loss: n.layer_inputs(p, x),
    "jacobian": lambda n, p, x, y, loss: n.jacobian(p, x),
    "model_fisher": lambda n, p, x, y, loss: n.model_fisher(p, x, loss),
    "loss": lambda n, p, x, y, loss: n.loss(p, x, y, loss),
    "gradient": lambda n, p, x, y, loss: n.gradient(p, x, y, loss),
    "hvp": lambda n, p, x, y, loss: n.hvp(p, x, y, np.ones(n.size), loss),
    "gauss_newton_product": lambda n, p, x, y, loss: n.gauss_newton_product(p, x, y, np.ones(n.size), loss),
    "hessian": lambda n, p, x, y, loss: n.hessian(p, x, y, loss),
    "hessian_diagonal": lambda n, p, x, y, loss: n.hessian_diagonal(p, x, y, loss),
    "gauss_newton": lambda n, p, x, y, loss: n.gauss_newton(p, x, y, loss),
    "per_sample_gradients": lambda n, p, x, y, loss: n.per_sample_gradients(p, x, y, loss),
    "empirical_fisher": lambda n, p, x, y, loss: n.empirical_fisher(p, x, y, loss),
}
WITH_TARGETS = [
    name for name in ALL if name not in ("forward", "activations", "layer_inputs", "jacobian", "model_fisher")
]


@pytest.fixture
def no_work(monkeypatch):
    """The forward pass fails: an argument error must come before it."""

    def work(*arguments):
        raise AssertionError("work began")

    for name in ("forward", "record", "trace"):
        monkeypatch.setattr(chain, name, work)


def entry(array, value):
    """A copy with `value` as its last entry."""
    array = array.copy()
    array.flat[-1] = value
    return array


BAD_PARAMS = [
    ([1.0], TypeError, "need params to be a dict of arrays; got list"),
    ({k: v for k, v in GOOD.items() if k != "0.bias"}, ValueError, r"unknown \[\], missing \['0.bias'\]"),
    (GOOD | {"5.weight": V}, ValueError, r"need params named \['0.weight'.*unknown \['5.weight'\], missing \[\]"),
    ({k.replace("body.", ""): v for k, v in GOOD.items()}, ValueError, r"unknown \['2.0.bias', '2.0.weight'\]"),
    (GOOD | {"0.bias": [0.0, 0.0]}, TypeError, r"need params\['0.bias'\] to be an array of NumPy.*; got builtins.list"),
    (GOOD | {"0.bias": None}, TypeError, r"need params\['0.bias'\] to be an array"),
    (GOOD | {"0.bias": np.zeros(3)}, ValueError, r"need params\['0.bias'\] of shape \(2\); got \(3,\)"),
    (GOOD | {"4.weight": GOOD["4.weight"].T}, ValueError, r"need params\['4.weight'\] of shape \(3, 8\); got \(8, 3\)"),
    (GOOD | {"0.bias": np.zeros(2, int)}, TypeError, r"need real floating numbers in params\['0.bias'\]; got int64"),
    (GOOD | {"0.bias": np.zeros(2, complex)}, TypeError, "need real floating numbers .* got complex128"),
    (GOOD | {"0.bias": np.zeros(2, bool)}, TypeError, "need real floating numbers .* got bool"),
    (GOOD | {"4.weight": entry(np.ones((3, 8)), np.nan)}, ValueError, r"'4.weight'\]; got nan at flat index 23"),
    (GOOD | {"0.bias": np.array([0.0, -np.inf])}, ValueError, r"in params\['0.bias'\]; got -inf at flat index 1"),
]  # fmt: skip
BAD_STATISTICS = [
    ({k: v for k, v in GOOD.items() if "mean" not in k}, ValueError, "need the running statistics '1.running_mean'"),
    (GOOD | {"1.running_var": np.ones(3)}, ValueError, r"need params\['1.running_var'\] of shape \(2\); got \(3,\)"),
    (GOOD | {"1.running_var": np.array([1.0, -1e-9])}, ValueError, r"need variances >= 0 in params\['1.running_var'\]"),
    (GOOD | {"1.running_mean": np.array([1.0, np.nan])}, ValueError, r"need finite .* params\['1.running_mean'\]"),
    (GOOD | {"1.running_mean": np.array([1, 2])}, TypeError, r"need real .* params\['1.running_mean'\]"),
]  # fmt: skip
BAD_INPUTS = [
    ([[1.0]], TypeError, "need x to be an array of NumPy"),
    (X.astype(int), TypeError, "need real floating numbers in x; got int64"),
    (X.astype(object), TypeError, "need Fractions in the object array x; got float"),
    (entry(X, np.nan), ValueError, "need finite numbers in x; got nan at flat index 17"),
    (entry(X, np.inf), ValueError, "need finite numbers in x; got inf at flat index 17"),
    (X[:0], ValueError, r"need x of shape \(samples, ...\) with at least one sample; got \(0, 1, 3, 3\)"),
    (np.ones(9), ValueError, r"need x of shape \(samples, ...\) with at least one sample; got \(9,\)"),
    (np.ones((2, 2, 3, 3)), ValueError, r"layer 0: need images of shape \(1, height, width\) .*got \(2, 3, 3\)"),
    (np.ones((2, 1, 3, 4)), ValueError, r"layer 4: need samples of shape \(8,\).*; got \(12,\)"),
    (np.ones((2, 9)), ValueError, r"layer 0: need images .*; got \(9,\)"),
]  # fmt: skip
BAD_TARGETS = [
    (LABELS, "hinge", ValueError, "need loss in cross_entropy, squared; got 'hinge'"),
    ([0, 2], "cross_entropy", TypeError, "need y to be an array of NumPy"),
    (LABELS.astype(float), "cross_entropy", TypeError, "need integer labels in y; got float64"),
    (LABELS[:1], "cross_entropy", ValueError, r"need y of shape \(2,\); got \(1,\)"),
    (np.array([0, 3]), "cross_entropy", ValueError, r"need labels in \[0, 2\]; got 3 at 1"),
    (np.array([-1, 0]), "cross_entropy", ValueError, r"need labels in \[0, 2\]; got -1 at 0"),
    (LABELS, "squared", TypeError, "need real floating numbers in y; got int64"),
    (TARGETS[:, :2], "squared", ValueError, r"need y of shape \(2, 3\); got \(2, 2\)"),
    (entry(TARGETS, np.nan), "squared", ValueError, "need finite numbers in y; got nan at flat index 5"),
]  # fmt: skip


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("params", "error", "message"), BAD_PARAMS + BAD_STATISTICS)
def test_parameters_that_do_not_fit(method, params, error, message, no_work):
    with pytest.raises(error, match=message):
        ALL[method](IMAGES, params, X, LABELS, "cross_entropy")


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("x", "error", "message"), BAD_INPUTS)
def test_inputs_that_do_not_fit(method, x, error, message, no_work):
    with pytest.raises(error, match=message):
        ALL[method](IMAGES, GOOD, x, LABELS, "cross_entropy")


@pytest.mark.parametrize("method", WITH_TARGETS)
@pytest.mark.parametrize(("y", "loss", "error", "message"), BAD_TARGETS)
def test_targets_that_do_not_fit(method, y, loss, error, message, no_work):
    with pytest.raises(error, match=message):
        ALL[method](IMAGES, GOOD, X, y, loss)


@pytest.mark.parametrize("method", ["hvp", "gauss_newton_product"])
@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        (V[1:], ValueError, rf"need v of shape \({V.size},\) or \(directions, d\); got \({V.size - 1},\)"),
        (np.ones((2, 3)), ValueError, r"need v of shape .*; got \(2, 3\)"),
        (np.ones((1, 1, V.size)), ValueError, "need v with 1 or 2 dimensions; got shape"),
        (np.ones(()), ValueError, "need v with 1 or 2 dimensions; got shape"),
        (entry(V, np.nan), ValueError, f"need finite numbers in v; got nan at flat index {V.size - 1}"),
        (V.astype(int), TypeError, "need real floating numbers in v; got int64"),
        (list(V), TypeError, "need v to be an array of NumPy"),
        (GOOD, TypeError, "need v to be an array of NumPy"),
    ],
)
def test_directions_that_do_not_fit(method, v, error, message, no_work):
    with pytest.raises(error, match=message):
        getattr(IMAGES, method)(GOOD, X, LABELS, v)


@pytest.mark.parametrize("name", ["rows", "columns"])
@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        ("3", ValueError, r"need {} of \['0.weight', .*\] or a layer's key; got '3'"),
        ("9", ValueError, "or a layer's key; got '9'"),
        ("", ValueError, "or a layer's key; got ''"),
        ("0.weigh", ValueError, "or a layer's key; got '0.weigh'"),
        ("1.running_mean", ValueError, "or a layer's key; got '1.running_mean'"),
        (["0", "weight"], ValueError, "or a layer's key; got 'weight'"),
        ([0, 1], TypeError, "need {} to be names or a 1-D integer array; got a list with 0"),
        ((None,), TypeError, "need {} to be names or a 1-D integer array; got a list with None"),
        (3, TypeError, "need {} to be an array of NumPy"),
        ({"0": 1}, TypeError, "need {} to be an array of NumPy"),
        (np.array([0.0, 1.0]), TypeError, r"need {} to be names or a 1-D integer array; got float64 \(2,\)"),
        (np.array([True, False]), TypeError, r"need {} .* 1-D integer array; got bool \(2,\)"),
        (np.array([[0, 1]]), TypeError, r"need {} .* 1-D integer array; got int64 \(1, 2\)"),
        (np.array(3), TypeError, r"need {} .* 1-D integer array; got int64 \(\)"),
        (np.array([0, V.size]), ValueError, rf"need {{}} in \[0, {V.size}\); got {V.size}"),
        (np.array([0, -1]), ValueError, rf"need {{}} in \[0, {V.size}\); got -1"),
    ],
)
def test_blocks_that_do_not_exist(name, which, error, message, no_work):
    with pytest.raises(error, match=message.format(name)):
        IMAGES.hessian(GOOD, X, LABELS, **{name: which})


@pytest.mark.parametrize("method", ["hessian", "hessian_diagonal", "gauss_newton", "model_fisher"])
@pytest.mark.parametrize(
    ("memory", "error"),
    [(0, ValueError), (-5, ValueError), (1e6, TypeError), (True, TypeError), (None, TypeError)],
)
def test_budgets_are_positive_integers(method, memory, error, no_work):
    arguments = (GOOD, X) if method == "model_fisher" else (GOOD, X, LABELS)
    with pytest.raises(error, match=f"need memory (>= 1|to be an integer); got {memory}$"):
        getattr(IMAGES, method)(*arguments, memory=memory)


def test_the_model_of_a_fisher_matrix(no_work):
    with pytest.raises(
        ValueError, match=r"need loss in cross_entropy, squared for outputs \(3,\); got 'hinge'"
    ):
        IMAGES.model_fisher(GOOD, X, "hinge")
    with pytest.raises(ValueError, match=r"for outputs \(2, 1, 1\); got 'cross_entropy'"):
        Network([Conv2d(1, 2, 3)]).model_fisher({"0.weight": np.ones((2, 1, 3, 3)), "0.bias": np.ones(2)}, X)


@pytest.mark.parametrize(("params", "error", "message"), BAD_PARAMS)
def test_parameters_that_cannot_be_flattened(params, error, message):
    with pytest.raises(error, match=message):
        IMAGES.flatten(params)


@pytest.mark.parametrize(("params", "error", "message"), BAD_STATISTICS + BAD_PARAMS[:1])
def test_statistics_beside_a_flat_vector(params, error, message):
    with pytest.raises(error, match=message):
        IMAGES.unflatten(V, params)


@pytest.mark.parametrize(
    ("vector", "error", "message"),
    [
        (V[1:], ValueError, rf"need vector of shape \({V.size}\); got \({V.size - 1},\)"),
        (V[None], ValueError, rf"need vector of shape \({V.size}\); got \(1, {V.size}\)"),
        (entry(V, np.inf), ValueError, "need finite numbers in vector; got inf"),
        (V.astype(int), TypeError, "need real floating numbers in vector; got int64"),
        (list(V), TypeError, "need vector to be an array of NumPy"),
    ],
)
def test_vectors_that_are_not_flat(vector, error, message):
    with pytest.raises(error, match=message):
        IMAGES.unflatten(vector)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), TypeError, "need rng to be a numpy.random.Generator; got int"),
        ((np.random.RandomState(0),), TypeError, "need rng to be a numpy.random.Generator; got RandomState"),
        ((None,), TypeError, "need rng to be a numpy.random.Generator; got NoneType"),
        ((np.random.default_rng(0), "int64"), ValueError, "need dtype float16, float32 or float64; got 'int64'"),
        ((np.random.default_rng(0), "float64", None, "zero"), ValueError, "scheme in he, glorot, lecun; got 'zero'"),
        ((np.random.default_rng(0), "float64", [1.0]), TypeError, "array"),
    ],
)  # fmt: skip
def test_initial_parameters(arguments, error, message):
    with pytest.raises(error, match=message):
        IMAGES.init(*arguments)


@pytest.mark.parametrize(
    "method", [name for name in ALL if name not in ("forward", "activations", "layer_inputs", "loss")]
)
def test_a_network_without_parameters_has_no_derivatives(method):
    network, x = Network([Flatten(), ReLU()]), X[:, :, :1]
    with pytest.raises(ValueError, match="need a network with parameters; got none"):
        ALL[method](network, {}, x, TARGETS, "squared")
    with pytest.raises(ValueError, match="need a network with parameters; got none"):
        network.flatten({})
    assert network.init(np.random.default_rng(0)) == {}
    assert network.forward({}, x).shape == (2, 3)
    assert network.loss({}, x, TARGETS, "squared") == 0
    assert network.layer_inputs({}, x) == {}
