"""What SNIP, GraSP, SynFlow and FORCE refuse, before any work and with the argument's name."""

import numpy as np
import pytest

import refprune as rp
from tests.methods.start_scores import drawn

METHODS = ("snip", "grasp", "force", "synflow")
HALF = rp.Unstructured(sparsity=0.5)


def call(method, pattern=HALF, network=None, params=None, batch=None, **options):
    own_network, own_params, own_batch, _ = drawn("relu", 1)
    network = own_network if network is None else network
    batch = own_batch if batch is None else batch
    return getattr(rp, method)(network, own_params if params is None else params, batch, pattern, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"network": "mlp"}, TypeError, "need a Network; got str"),
        ({"network": rp.Network([rp.ReLU()]), "params": {}}, ValueError, "at least one Dense or Conv2d"),
        ({"params": {}}, ValueError, "need params named"),
        ({"pattern": 0.5}, TypeError, "need an Unstructured or NM pattern; got float"),
        ({"pattern": rp.Groups(sparsity=0.5)}, TypeError, "need an Unstructured or NM pattern; got Groups"),
        ({"pattern": rp.Unstructured(keep=61)}, ValueError, "need keep <= 60"),
        ({"pattern": rp.NM(2, 4)}, ValueError, "columns in a multiple of m = 4"),
        ({"batch": "abc"}, TypeError, "need batch to be a"),
        ({"batch": np.ones(2)}, TypeError, "need batch to be a"),
        ({"batch": (np.ones((2, 3)), np.zeros(2, dtype=int))}, ValueError, "layer 0: need samples of shape"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(method, change, error, message):
    with pytest.raises(error, match=message):
        call(method, **change)


@pytest.mark.parametrize("method", ["snip", "grasp", "force"])
def test_batches_and_losses_that_do_not_fit(method):
    x, y = drawn("relu", 1)[2]
    with pytest.raises(TypeError, match=r"pair \(x, y\); got tuple of 3"):
        call(method, batch=(x, y, y))
    with pytest.raises(ValueError, match="got 'hinge'"):
        call(method, loss="hinge")
    with pytest.raises(ValueError, match="finite numbers in x"):
        call(method, batch=(np.full((1, 4), np.nan), np.array([0])))
    with pytest.raises(ValueError, match="at least one sample"):
        call(method, batch=(np.ones((0, 4)), np.zeros(0, dtype=int)))


@pytest.mark.parametrize("method", ["force", "synflow"])
def test_steps_that_do_not_fit(method):
    for steps, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="steps"):
            call(method, steps=steps)
    for scope in ("layer", "row"):
        with pytest.raises(ValueError, match=f"need sparsity, not keep, in 7 steps with scope '{scope}'"):
            call(method, rp.Unstructured(keep=2, scope=scope), steps=7)
        assert call(method, rp.Unstructured(keep=2, scope=scope), steps=1).trace == ()


def test_other_options_that_do_not_fit():
    with pytest.raises(TypeError, match="revive"):
        call("force", revive=1)
    for shape, error in (((4.0,), TypeError), ((0,), ValueError), ((5,), ValueError), ((), ValueError)):
        with pytest.raises(error):
            call("synflow", batch=shape)
    (x, y), words = drawn("relu", 1)[2], r"need batch to be a shape or a pair \(x, y\) .*; got \("
    for batch, got in (
        ((x, y, y), "ndarray, ndarray, ndarray"),
        ((x[0], y), "ndarray, "),
        (([1.0], [2]), "list, "),
    ):
        with pytest.raises(TypeError, match=words + got):
            call("synflow", batch=batch)


@pytest.mark.parametrize("method", ["snip", "grasp", "force"])
def test_a_gradient_beyond_the_range_is_an_error(method):
    network = rp.Network([rp.Dense(2, 1, bias=False)])
    params, batch = {"0.weight": np.full((1, 2), 1e30)}, (np.full((1, 2), 1e150), np.ones((1, 1)))
    with pytest.raises(np.linalg.LinAlgError, match="need a gradient in the range of float64"):
        getattr(rp, method)(network, params, batch, HALF, loss="squared")


def test_a_flow_beyond_the_range_is_an_error():
    """Between layers there are powers of two; inside a residual there are none."""
    body = [rp.Dense(3, 3, bias=False), rp.ReLU(), rp.Dense(3, 3, bias=False)]
    network = rp.Network([rp.Residual(body), rp.Dense(3, 2, bias=False)])
    params = {key: np.full(shape, 1e200) for key, shape in network.shapes.items()}
    with pytest.raises(
        np.linalg.LinAlgError, match="need the flow through one layer in the range of float64"
    ):
        rp.synflow(network, params, (3,), HALF)


def test_a_product_with_the_hessian_beyond_the_range_is_an_error():
    """The gradient of one layer is 2^140 times that of the other, within float32; the Hessian's square of that not."""
    network, rng = rp.mlp([4, 5, 3], bias=False), np.random.default_rng(85)
    a, b, x, y = (rng.normal(size=size).astype("float32") for size in ((5, 4), (3, 5), (6, 4), (6, 3)))
    params = {"0.weight": a * np.float32(2.0**70), "2.weight": b * np.float32(2.0**-70)}
    with pytest.raises(np.linalg.LinAlgError, match="need H g in the range of float32"):
        rp.grasp(network, params, (x, y), HALF, loss="squared")
