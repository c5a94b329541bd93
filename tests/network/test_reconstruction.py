"""The reconstruction of a layer: by its definition over the outputs of all layers, by autograd, by layer problems."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.definitions import by_autograd, finite_differences
from refprune.network import reconstruction
from refprune.testing import networks

pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")

CNN = rp.Network(
    [
        rp.Conv2d(2, 3, 3, padding=1),  # 0
        rp.Tanh(),
        rp.AvgPool2d(2),
        rp.Residual([rp.Conv2d(3, 3, 1), rp.GELU(), rp.Conv2d(3, 4, 1)], [rp.Conv2d(3, 4, 1)]),  # 3
        rp.BatchNorm2d(4),
        rp.SiLU(),  # 5
        rp.Flatten(),
        rp.Dense(16, 3),  # 7
        rp.Softplus(),
    ]
)
# layer, horizon, what is compared
CAPTURED = [
    (0, 0, "0"),
    (0, 1, "0 1"),
    (0, 3, "0 1 3.body.0 3.body.1"),
    (0, 5, "0 1 3.body.0 3.body.1 3.body.2 3.shortcut.0"),
    (0, None, "0 1 3.body.0 3.body.1 3.body.2 3.shortcut.0 5 7 8"),
    ("3.body.0", 0, "3.body.0"),
    ("3.body.0", 3, "3.body.0 3.body.1 3.body.2 5"),
    ("3.body.2", 1, "3.body.2 5"),
    ("3.shortcut.0", 2, "3.shortcut.0 5 7"),
    ("7", 0, "7"),
    (7, 1, "7 8"),
    (7, 9, "7 8"),
]
captured = pytest.mark.parametrize(("layer", "horizon", "keys"), CAPTURED)


def setting(network=CNN, shape=(2, 4, 4), samples=5, seed=0):
    """Parameters that are no neutral elements, and inputs."""
    rng = np.random.default_rng(seed)
    params = {
        name: rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))
        for name, shape in network.shapes.items()
    }
    for name, size in network.constants.items():
        params[name] = rng.normal(size=size) if name.endswith("mean") else rng.uniform(0.5, 2, size=size)
    return params, rng.normal(size=(samples, *shape)) + 0.2


def naive(network, params, x, key, keys, dense=None):
    """F as a function of V: every output of the network for the new weight and for the old one."""
    name = f"{key}.weight"
    targets = network.activations(params if dense is None else dense, x)

    def value(v):
        outputs = network.activations(params | {name: v.reshape(network.shapes[name])}, x)
        return sum(((outputs[k] - targets[k]) ** 2).sum() for k in keys) / len(x)

    return value


def moved(objective, seed=0, by=0.5):
    rng = np.random.default_rng(seed)
    return objective.weight + by * rng.normal(size=objective.weight.shape)


def close(got, expected, what):
    # Every entry is a sum over samples, positions and terms, a few thousand numbers at most: 1e4 eps of the largest
    # entry covers its rounding in another order.
    gap, size = np.abs(got - expected).max(), np.abs(expected).max()
    assert gap <= 1e4 * 2.0**-52 * size, f"{what}: off by {gap:.2g}, the largest entry is {size:.2g}"


@captured
def test_what_is_compared(layer, horizon, keys):
    params, x = setting()
    assert rp.Reconstruction(CNN, params, x, layer, horizon).captured == tuple(keys.split())


@captured
def test_the_definition_and_autograd(layer, horizon, keys):
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, layer, horizon)
    w = moved(objective)
    F = naive(CNN, params, x, str(layer), keys.split())
    close(objective.value(w), F(w), "value")
    close(objective.gradient(w), by_autograd.gradient(F, w), "gradient")
    H = by_autograd.hessian(F, w)
    close(objective.hessian(w), H, "Hessian")
    assert_array_equal(objective.hessian(w), objective.hessian(w).T)
    V = np.random.default_rng(1).normal(size=(3, w.size))
    close(objective.hvp(w, V), V @ H, "products")
    assert_array_equal(objective.hvp(w, V[0]).shape, w.shape)
    close(objective.hvp(w, V[0]), H @ V[0], "product")


@given(st.integers(0, 2**32 - 1))
def test_generated_networks(seed):
    rng = np.random.default_rng(seed)
    problem = networks.problem(rng)
    network, params, x = rp.Network.from_dicts(problem["layers"]), problem["params"], problem["x"]
    key = str(rng.choice(network.prunable)).removesuffix(".weight")
    objective = rp.Reconstruction(network, params, x, key, [0, 1, 2, None][rng.integers(4)])
    w = moved(objective, seed, 1e-3)
    F = naive(network, params, x, key, objective.captured)
    v = rng.normal(size=w.size)
    assert abs(objective.value(w) - F(w)) <= 1e-12 * F(w)
    # F is a small difference of outputs: its gradient carries the rounding of outputs of size 1, times |y'| ~ 1
    size = np.abs(by_autograd.gradient(F, moved(objective, seed, 1.0))).max() + 1
    assert np.abs(objective.gradient(w) - by_autograd.gradient(F, w)).max() <= 1e-12 * size
    product = by_autograd.hvp(F, w, v)
    assert np.abs(objective.hvp(w, v) - product).max() <= 1e-12 * (np.abs(product).max() + size)


def test_differences_agree():
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, 0, None)
    w, v = moved(objective), np.random.default_rng(2).normal(size=54)
    v /= np.linalg.norm(v)
    for f, derivative in (
        (objective.value, objective.gradient(w) @ v),
        (objective.gradient, objective.hvp(w, v)),
    ):
        once, twice = (finite_differences.along(f, w, v, stretch) for stretch in (1, 2))
        # a third of the change is the cut-off; eps times a value of about 100 over a step of 1e-5 the rounding
        assert np.all(np.abs(once - derivative) <= np.abs(twice - once) + 1e-8)


def test_zero_at_the_weight_itself():
    params, x = setting()
    for layer, horizon, _ in CAPTURED:
        objective = rp.Reconstruction(CNN, params, x, layer, horizon)
        assert_array_equal(objective.weight, params[f"{layer}.weight"].ravel())
        # record and plain forward may round differently: squares of 1e-15
        assert objective.value(objective.weight) < 1e-25
        assert np.abs(objective.gradient(objective.weight)).max() < 1e-12


@pytest.mark.parametrize("groups", [1, 2])
def test_horizon_zero_is_the_layer_problem(groups):
    network = rp.Network(
        [rp.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), 1, groups), rp.ReLU(), rp.Flatten(), rp.Dense(54, 3)]
    )
    params, x = setting(network, (4, 5, 4))
    inputs = network.layer_inputs(params, x)
    h = network.activations(params, x)["2"]
    for key, problem, positions in (
        (0, rp.LayerProblem.from_inputs(params["0.weight"], x, (2, 1), (1, 0), 1, groups), 9),
        (3, rp.LayerProblem.from_inputs(params["3.weight"], h), 1),
    ):
        objective = rp.Reconstruction(network, params, x, key)
        w, v = moved(objective), moved(objective, 1)
        factor = 2 * positions
        close(objective.value(w), factor * problem.value(w), "value")
        close(objective.gradient(w), factor * problem.gradient(w), "gradient")
        close(objective.hvp(w, v), factor * problem.hvp(w, v), "product")
        close(objective.hessian(w), factor * problem.hessian(w), "Hessian")
    assert inputs["3"].shape == h.shape


def test_the_targets_may_come_from_another_prefix():
    params, x = setting()
    dense = params | {
        "0.weight": params["0.weight"] + 0.3,
        "3.body.0.weight": params["3.body.0.weight"] - 0.2,
    }
    objective = rp.Reconstruction(CNN, params, x, "3.body.2", 2, dense=dense)
    F = naive(CNN, params, x, "3.body.2", objective.captured, dense)
    w = moved(objective)
    close(objective.value(w), F(w), "value")
    close(objective.gradient(w), by_autograd.gradient(F, w), "gradient")
    close(objective.hvp(w, w), by_autograd.hvp(F, w, w), "product")
    assert objective.value(objective.weight) > 0.1


def test_horizon_zero_with_a_pruned_prefix_is_least_squares():
    network = rp.mlp([4, 6, 3], activation="tanh")
    params, x = setting(network, (4,), samples=30)
    mask = np.random.default_rng(1).random((6, 4)) < 0.5
    pruned = params | {"0.weight": np.where(mask, params["0.weight"], 0)}
    objective = rp.Reconstruction(network, pruned, x, 2, dense=params)
    a, b = (network.activations(p, x)["1"] for p in (pruned, params))
    W = params["2.weight"]
    best = np.linalg.lstsq(a, b @ W.T, rcond=None)[0].T
    assert np.abs(objective.gradient(best.ravel())).max() < 1e-12
    assert objective.value(best.ravel()) < objective.value(W.ravel())


def test_reductions_and_operations():
    params, x = setting()
    plain = rp.Reconstruction(CNN, params, x, 0, 1)
    w = moved(plain)
    total = rp.Reconstruction(CNN, params, x, 0, 1, reduction="sum")
    entries = rp.Reconstruction(CNN, params, x, 0, 1, reduction="entries")
    v = moved(plain, 3)
    for name, arguments in (
        ("value", (w,)),
        ("gradient", (w,)),
        ("hvp", (w, v)),
        ("gauss_newton_product", (w, v)),
    ):
        ours = getattr(plain, name)(*arguments)
        close(getattr(total, name)(*arguments), 5 * ours, name)
        close(getattr(entries, name)(*arguments), ours / (3 * 4 * 4), name)  # both outputs have 48 entries
    for operations, keys in (
        (("conv2d", "dense"), "0 3.body.0 3.body.2 3.shortcut.0 7"),
        (("residual", "avgpool2d"), "0 2 3"),
        (("batchnorm2d", "flatten", "dense"), "0 4 6 7"),
        ((), "0"),
    ):
        objective = rp.Reconstruction(CNN, params, x, 0, None, operations=operations)
        assert objective.captured == tuple(keys.split())
        F = naive(CNN, params, x, "0", objective.captured)
        close(objective.value(w), F(w), "value")
        close(objective.gradient(w), by_autograd.gradient(F, w), "gradient")
        close(objective.hvp(w, v), by_autograd.hvp(F, w, v), "product")


def test_the_output_of_the_network_can_be_compared_too():
    params, x = setting()
    for layer, horizon, keys in (
        (0, 1, "0 1 8"),
        ("3.body.0", 0, "3.body.0 8"),
        (7, 0, "7 8"),
        (7, 1, "7 8"),
        (0, None, "0 1 3.body.0 3.body.1 3.body.2 3.shortcut.0 5 7 8"),
    ):
        objective = rp.Reconstruction(CNN, params, x, layer, horizon, logits=True)
        assert objective.captured == tuple(keys.split())
        F, w = naive(CNN, params, x, str(layer), keys.split()), moved(objective)
        close(objective.value(w), F(w), "value")
        close(objective.gradient(w), by_autograd.gradient(F, w), "gradient")
        close(objective.hvp(w, w), by_autograd.hvp(F, w, w), "product")
    network = rp.Network(
        [rp.Dense(4, 4), rp.Residual([rp.Dense(4, 4), rp.Tanh()])]
    )  # its output is no operation
    params, x = setting(network, (4,))
    assert rp.Reconstruction(network, params, x, 0, 0, logits=True).captured == ("0", "1")


@pytest.mark.parametrize("kept", [0, 2**27])
def test_many_products_at_one_point(monkeypatch, kept):
    """Bit for bit those of `hvp`, whether what does not depend on v is kept or not."""
    monkeypatch.setattr(reconstruction, "KEPT", kept)
    monkeypatch.setattr(reconstruction, "NUMBERS", 2000)  # in parts
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, "3.body.0", None)
    w, passes = moved(objective), []
    record = reconstruction.chain.record
    for gauss_newton, name in ((False, "hvp"), (True, "gauss_newton_product")):
        product = objective.products(w, gauss_newton)
        monkeypatch.setattr(reconstruction.chain, "record", lambda *args: passes.append(1) or record(*args))
        for seed in range(3):
            v = moved(objective, seed)
            before = len(passes)
            found = product(v)
            assert (len(passes) > before) == (kept == 0)
            assert_array_equal(found, getattr(objective, name)(w, v))
        monkeypatch.setattr(reconstruction.chain, "record", record)
    with pytest.raises(ValueError, match=r"need v of shape \(9\); got \(8,\)"):
        product(w[:-1])


@pytest.mark.parametrize("layer", ["0", "3.body.0", "3.body.2", "3.shortcut.0"])
def test_a_product_takes_the_tangent_of_one_gradient(monkeypatch, layer):
    """Not those of the other convolutions, in a residual neither."""
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, layer, None)
    product, adjoint, taken = objective.products(objective.weight), rp.Conv2d.weight_adjoint, []
    monkeypatch.setattr(rp.Conv2d, "weight_adjoint", lambda *args: taken.append(1) or adjoint(*args))
    product(objective.weight)
    # d/dV of delta^T u: once for the tangent of delta; the tangent of u is 0
    assert len(taken) == 1


@pytest.mark.parametrize("reduction", ["samples", "sum", "entries"])
def test_some_of_the_samples(reduction):
    params, x = setting()
    rows = np.array([3, 0, 4])
    given = {
        "network": CNN,
        "params": params,
        "layer": 0,
        "horizon": 3,
        "reduction": reduction,
        "logits": True,
    }
    whole, few = (rp.Reconstruction(inputs=part, **given) for part in (x, x[rows]))
    part, w = whole.part(rows), moved(whole)
    assert (part.samples, whole.samples) == (3, 5)
    close(part.value(w), few.value(w), "value")
    close(part.gradient(w), few.gradient(w), "gradient")
    close(part.hvp(w, w), few.hvp(w, w), "product")
    close(whole.part(np.arange(5)).gradient(w), whole.gradient(w), "gradient")
    for wrong, kind, message in (
        ([0, 1], TypeError, "need rows to be a NumPy array of integers"),
        (np.array([0.0]), TypeError, "need rows to be a NumPy array of integers"),
        (np.array([5]), ValueError, r"need rows \(n,\), indices below 5, one at least"),
        (np.array([], dtype=int), ValueError, "one at least"),
        (np.array([-1]), ValueError, "indices below 5"),
    ):
        with pytest.raises(kind, match=message):
            whole.part(wrong)


def test_gauss_newton_of_a_smooth_tail():
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, 0, None)
    w = moved(objective)

    def outputs(v):
        found = CNN.activations(params | {"0.weight": v.reshape(3, 2, 3, 3)}, x)
        return [found[key].reshape(-1) for key in objective.captured]

    G = (
        sum(J.T @ J for J in (by_autograd.jacobian(lambda v, j=j: outputs(v)[j], w) for j in range(9)))
        * 2
        / len(x)
    )
    V = np.random.default_rng(4).normal(size=(2, w.size))
    close(objective.gauss_newton_product(w, V), V @ G, "Gauss-Newton")
    close(objective.gauss_newton_product(w, V[0]), G @ V[0], "Gauss-Newton")
    assert np.abs(objective.hvp(w, V) - V @ G).max() > 1e-3 * np.abs(G).max()  # it is not the Hessian


def test_tails_of_relu_have_the_gauss_newton_matrix_as_hessian():
    network = rp.Network(
        [
            rp.Conv2d(1, 2, 2), rp.ReLU(), rp.MaxPool2d(2, 1), rp.Residual([rp.Conv2d(2, 2, 1), rp.ReLU6()]),
            rp.Flatten(), rp.Dense(8, 4), rp.ReLU(),
        ]
    )  # fmt: skip
    params, x = setting(network, (1, 4, 4), seed=3)
    objective = rp.Reconstruction(network, params, x, 0, None)
    w = moved(objective)
    H = objective.hessian(w)
    close(np.stack([objective.gauss_newton_product(w, unit) for unit in np.eye(w.size)]), H, "Gauss-Newton")
    assert np.linalg.eigvalsh(H).min() > -1e-12 * np.abs(H).max()


def test_samples_in_parts_add_up(monkeypatch):
    params, x = setting(samples=7)
    objective = rp.Reconstruction(CNN, params, x, 0, None)
    w, V = moved(objective), np.ones((2, 54))
    whole = [objective.value(w), objective.gradient(w), objective.hvp(w, V), objective.hessian(w)]
    for numbers in (1, 5000):  # one sample at a time; a few
        monkeypatch.setattr(reconstruction, "NUMBERS", numbers)
        monkeypatch.setattr(reconstruction, "DIRECTIONS", 10)
        parts = [objective.value(w), objective.gradient(w), objective.hvp(w, V), objective.hessian(w)]
        for part, all_at_once in zip(parts, whole):
            close(part, all_at_once, "parts")


def test_the_rest_of_the_network_does_not_matter():
    """What stands behind the last compared output, and samples twice: a mean, not a sum."""
    params, x = setting()
    w = moved(rp.Reconstruction(CNN, params, x, 0, 1))
    short = rp.Network(CNN.layers[:2])
    few = {name: value for name, value in params.items() if name.startswith("0.")}
    expected = rp.Reconstruction(CNN, params, x, 0, 1).gradient(w)
    assert_array_equal(rp.Reconstruction(short, few, x, 0, 1).gradient(w), expected)
    assert_array_equal(rp.Reconstruction(short, few, x, 0, None).gradient(w), expected)
    close(rp.Reconstruction(CNN, params, np.concatenate([x, x]), 0, 1).gradient(w), expected, "samples twice")


def test_nothing_is_changed_and_nothing_is_shared():
    params, x = setting()
    for array in (*params.values(), x):
        array.flags.writeable = False
    objective = rp.Reconstruction(CNN, params, x, 7, 1)
    w = objective.weight
    w.flags.writeable = False
    for answer in (w, objective.gradient(w), objective.hvp(w, w), objective.hessian(w)):
        assert not np.shares_memory(answer, params["7.weight"])
    assert_array_equal(objective.gradient(w + 1), objective.gradient(w + 1))


def test_on_other_arrays(backend):
    params, x = setting()
    params, x = {name: value.astype("float32") for name, value in params.items()}, x.astype("float32")
    wide = {name: value.astype(float) for name, value in params.items()}
    expected = rp.Reconstruction(CNN, wide, x.astype(float), "3.body.0", None)
    there = {name: backend.asarray(value) for name, value in params.items()}
    objective = rp.Reconstruction(CNN, there, backend.asarray(x), "3.body.0", None)
    w = moved(expected).astype("float32")
    u = backend.asarray(w)
    slack = 1000 * backend.eps  # sums of some hundred terms, in the precision of the arrays
    for name in ("value", "gradient", "hessian"):
        answer, right = getattr(objective, name)(u), getattr(expected, name)(w.astype(float))
        answer = np.asarray(answer) if name == "value" and backend.name.startswith("numpy") else answer
        assert type(answer) is type(u)
        assert_allclose(backend.numpy(answer), right, rtol=0, atol=slack * np.abs(right).max())
    for name in ("hvp", "gauss_newton_product"):
        answer, right = (
            getattr(objective, name)(u, u),
            getattr(expected, name)(w.astype(float), w.astype(float)),
        )
        assert_allclose(backend.numpy(answer), right, rtol=0, atol=slack * np.abs(right).max())


def test_half_precision_is_computed_wider():
    params, x = setting()
    params = {name: value.astype("float16") for name, value in params.items()}
    objective = rp.Reconstruction(CNN, params, x.astype("float16"), 0, 2)
    w = objective.weight + np.float16(0.25)
    assert objective.gradient(w).dtype == "float32"
    assert objective.gradient(w.astype(float)).dtype == "float64"


def value_of(keys, factor=1.0):
    return lambda params, x, w: factor * naive(CNN, params, x, "0", keys.split())(w)


WRONG = {
    "half of it": value_of("0 1", 0.5),
    "a sum over samples": value_of("0 1", 5.0),
    "the layer's own output forgotten": value_of("1"),
    "one operation too few": value_of("0"),
    "one operation too many": value_of("0 1 3.body.0"),
    "pools counted": value_of("0 1 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_readings_differ(name):
    params, x = setting()
    objective = rp.Reconstruction(CNN, params, x, 0, 1)
    w = moved(objective)
    with pytest.raises(AssertionError, match="value: off by"):
        close(WRONG[name](params, x, w), objective.value(w), "value")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"layer": 1}, ValueError, r"need layer to be a Dense or Conv2d, one of 0, 3.body.0, .*, 7; got 1"),
        ({"layer": "3"}, ValueError, "got '3'"),
        ({"layer": "0.weight"}, ValueError, "got '0.weight'"),
        ({"layer": 9}, ValueError, r"need layer in \[0, 8\]; got 9"),
        ({"layer": -1}, ValueError, r"need layer in \[0, 8\]; got -1"),
        ({"layer": 0.0}, TypeError, "need layer to be an integer; got 0.0"),
        ({"horizon": -1}, ValueError, "need horizon >= 0; got -1"),
        ({"horizon": 1.5}, TypeError, "need horizon to be an integer; got 1.5"),
        ({"logits": 1}, TypeError, "need logits to be True or False; got 1"),
        ({"reduction": "mean"}, ValueError, "need reduction in samples, sum, entries; got 'mean'"),
        ({"operations": "conv2d"}, TypeError, "need operations to be a tuple of types; got 'conv2d'"),
        ({"operations": ("conv",)}, ValueError, "need operations among dense, .*; got 'conv'"),
        ({"operations": [["dense"]]}, ValueError, r"need operations among dense, .*; got \['dense'\]"),
        (
            {"reduction": np.array(["sum", "sum"])},
            ValueError,
            "need reduction in samples, sum, entries; got array",
        ),
        ({"inputs": np.full((2, 2, 4, 4), np.nan)}, ValueError, "need finite numbers in inputs"),
        ({"inputs": np.ones((2, 1, 4, 4))}, ValueError, "layer 0: need images of shape"),
        ({"params": {}}, ValueError, "missing"),
        ({"dense": {}}, ValueError, "dense: .*missing"),
        ({"dense": 3}, TypeError, "dense: need params to be a dict of arrays; got int"),
        ({"network": 3}, TypeError, "need a Network; got int"),
    ],
)
def test_errors(wrong, error, message):
    params, x = setting()
    arguments = {"network": CNN, "params": params, "inputs": x, "layer": 0, "horizon": 1} | wrong
    with pytest.raises(error, match=message):
        rp.Reconstruction(**arguments)


def test_targets_out_of_range_are_an_error():
    network = rp.mlp([3, 3, 2], bias=False)
    params, x = setting(network, (3,))
    big = params | {"0.weight": params["0.weight"] * 1e200, "2.weight": params["2.weight"] * 1e200}
    assert rp.Reconstruction(network, big, x, 0, 1).captured == ("0", "1")
    for here, dense in ((big, None), (params, big)):
        with pytest.raises(
            np.linalg.LinAlgError, match="need outputs of layer 2 in the range of their dtype"
        ):
            rp.Reconstruction(network, here, x, 0, None, dense=dense)


def test_errors_of_vectors():
    objective = rp.Reconstruction(CNN, *setting(), 7)
    for call, error, message in (
        (lambda w: objective.value(w[:-1]), ValueError, r"need w of shape \(48\); got \(47,\)"),
        (lambda w: objective.gradient(w * np.nan), ValueError, "need finite numbers in w"),
        (lambda w: objective.hvp(w, w[:-1]), ValueError, r"need v of shape \(48,\) or \(directions, 48\)"),
        (lambda w: objective.hvp(w, list(w)), TypeError, "need v to be an array"),
        (lambda w: objective.hessian(w.astype(int)), TypeError, "need real floating numbers in w"),
        (lambda w: objective.products(w[:-1]), ValueError, r"need w of shape \(48\); got \(47,\)"),
        (lambda w: objective.products(w, "no"), TypeError, "need gauss_newton to be True or False; got 'no'"),
    ):
        with pytest.raises(error, match=message):
            call(objective.weight)
