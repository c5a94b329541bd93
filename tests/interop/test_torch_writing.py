"""Weights back into the module they came from, and modules built from networks: round trips to the bit."""

import copy
import pickle

import numpy as np
import pytest

from refprune.interop import from_torch, to_torch, torch_module
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
from refprune.testing.networks import problem

torch = pytest.importorskip("torch", reason='PyTorch modules are written here: pip install "refprune[torch]"')
nn = torch.nn
torch_examples = pytest.importorskip("torch_examples")
from torch_examples import LeNet, PreActivation, ResNet, bound, filled, images, outputs  # noqa: E402


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


MODULES = {
    "LeNet": (LeNet, (1, 10, 10)),
    "ResNet": (ResNet, (3, 9, 8)),
    "PreActivation": (PreActivation, (2, 5, 4)),
    "Linear": (lambda: nn.Linear(3, 2), (3,)),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", MODULES)
def test_there_and_back(name, dtype):
    make, _ = MODULES[name]
    module, other = (filled(make(), seed, getattr(torch, dtype)) for seed in (0, 1))
    _, params = from_torch(module)
    assert not unchanged(other, state(module))
    assert to_torch(other, params) is other
    assert unchanged(other, state(module))


def test_modes_and_gradients_stay():
    module = filled(ResNet()).train()
    module.bn.eval()
    _, params = from_torch(module)
    modes = [part.training for part in module.modules()]
    to_torch(module, {name: array * 2 for name, array in params.items()})
    assert [part.training for part in module.modules()] == modes
    assert all(p.requires_grad and p.is_leaf and p.grad is None for p in module.parameters())
    module.train()(torch.from_numpy(images(2, 3, 9, 8))).sum().backward()


def test_params_are_not_aliased():
    module = filled(nn.Linear(3, 2))
    _, params = from_torch(module)
    to_torch(module, params)
    before = state(module)
    params["0.weight"][...] = 5
    assert unchanged(module, before)


def test_weights_in_other_strides():
    module = filled(nn.Sequential(nn.Conv2d(2, 3, (2, 3))))
    _, params = from_torch(module)
    other = filled(nn.Sequential(nn.Conv2d(2, 3, (2, 3))), 1).to(memory_format=torch.channels_last)
    transposed = {name: np.asfortranarray(array) for name, array in params.items()}
    to_torch(other, transposed)
    assert unchanged(other, state(module))
    assert not other[0].weight.is_contiguous()


def test_masked_weights_are_exactly_zero():
    module = filled(ResNet())
    network, params = from_torch(module)
    rng = np.random.default_rng(3)
    masks = {name: rng.random(network.shapes[name]) < 0.5 for name in network.prunable[1:]}
    kept = {name: mask.copy() for name, mask in masks.items()}
    to_torch(module, params, masks)
    _, after = from_torch(module)
    for name, array in after.items():
        mask = masks.get(name, np.ones(array.shape, bool))
        assert (array == np.where(mask, params[name], 0.0)).all()
        assert not np.signbit(array[~mask]).any()
    assert all(np.array_equal(masks[name], kept[name]) for name in masks)
    x = images(2, 3, 9, 8)
    masked = {name: np.where(masks.get(name, True), array, 0.0) for name, array in params.items()}
    assert (abs(outputs(module, x) - network.forward(masked, x)) <= bound(network, masked, x)).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda p: {**p, "0.weight": p["0.weight"].T}, ValueError, r"params\['0.weight'\] of shape \(3, 4\)"),
        (lambda p: {**p, "2.bias": p["2.bias"][:1]}, ValueError, r"params\['2.bias'\] of shape \(2\)"),
        (lambda p: {**p, "2.bias": p["2.bias"] * np.nan}, ValueError, "finite numbers"),
        (lambda p: {**p, "2.bias": np.array([1, 2])}, TypeError, "real floating numbers"),
        (lambda p: {**p, "2.bias": [1.0, 2.0]}, TypeError, "need params"),
        (lambda p: {**p, "3.bias": p["2.bias"]}, ValueError, r"unknown \['3.bias'\]"),
        (lambda p: {n: a for n, a in p.items() if n != "2.bias"}, ValueError, r"missing \['2.bias'\]"),
        (lambda p: list(p.values()), TypeError, "a dict"),
    ],
)
@pytest.mark.parametrize("write", [True, False], ids=["to_torch", "torch_module"])
def test_params_that_do_not_fit(change, error, words, write):
    module = filled(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    before = state(module)
    network, params = from_torch(module)
    with pytest.raises(error, match=words):
        to_torch(module, change(params)) if write else torch_module(network, change(params))
    assert unchanged(module, before)


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        (
            {"0.bias": np.ones(3, bool)},
            ValueError,
            "prunable weights 0.weight, 2.weight; got one of '0.bias'",
        ),
        ({"4.weight": np.ones(3, bool)}, ValueError, "got one of '4.weight'"),
        ({"0.weight": np.ones((4, 3), bool)}, ValueError, r"masks\['0.weight'\] of shape \(3, 4\)"),
        ({"0.weight": np.ones((3, 4))}, TypeError, r"a boolean array masks\['0.weight'\]"),
        ([np.ones((3, 4), bool)], TypeError, "a dict"),
    ],
)
def test_masks_that_do_not_fit(masks, error, words):
    module = filled(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    before = state(module)
    _, params = from_torch(module)
    with pytest.raises(error, match=words):
        to_torch(module, params, masks)
    assert unchanged(module, before)


def test_numbers_that_the_module_cannot_hold():
    module = filled(nn.Linear(2, 2), dtype=torch.float32)
    before = state(module)
    _, params = from_torch(module)
    large = {name: array.astype(float) * 1e300 for name, array in params.items()}
    with pytest.raises(ValueError, match=r"numbers that torch.float32 holds in params\['0.weight'\]; got \d"):
        to_torch(module, large)
    assert unchanged(module, before)


def test_another_module_is_refused_before_it_is_written_to():
    _, params = from_torch(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    other = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 5))
    before = state(other)
    with pytest.raises(ValueError, match=r"params\['2.weight'\] of shape \(5, 3\)"):
        to_torch(other, params)
    assert unchanged(other, before)
    with pytest.raises(ValueError, match="LayerNorm"):
        to_torch(nn.LayerNorm(3), params)


NETWORKS = {
    "mlp": ([Dense(4, 3), Softplus(), Dense(3, 3, bias=False), Sigmoid(), Dense(3, 1)], (4,)),
    "cnn": (
        [
            Conv2d(2, 4, (3, 2), (2, 1), 1, (1, 2), 2),
            BatchNorm2d(4, eps=0.01),
            ReLU6(),
            MaxPool2d(2, 1, 1, 1),
            AvgPool2d((2, 3), 1, (1, 0)),
            Flatten(),
            Dense(140, 3),
        ],
        (2, 9, 6),
    ),
    "residuals": (
        [
            Conv2d(2, 2, 3, padding=1),
            Residual([GELU(), Conv2d(2, 2, 1), Residual([Tanh()], [SiLU()])]),
            Residual([Conv2d(2, 3, 3, 2, 1), BatchNorm2d(3)], [Conv2d(2, 3, 1, 2, bias=False)]),
            ReLU(),
            GlobalAvgPool(),
        ],
        (2, 6, 5),
    ),
    "four-sided padding": (
        [
            Conv2d(2, 2, 3, 2, ((0, 1), (2, 1))),
            Tanh(),
            MaxPool2d(3, 2, ((1, 0), (0, 1))),
            AvgPool2d(2, 1, ((1, 0), (0, 1))),
            AvgPool2d(3, 2, ((1, 2), (1, 2)), count_padding=False),
        ],
        (2, 9, 8),
    ),
    "same padding": ([Conv2d(1, 2, (2, 3), padding=((0, 1), (1, 1)))], (1, 4, 4)),
    "wide padding": ([MaxPool2d(5, 1, ((4, 0), (2, 2)))], (1, 6, 6)),
    "uncounted, both sides": ([AvgPool2d(3, 2, 1, count_padding=False)], (1, 6, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_modules_from_networks(name):
    layers, shape = NETWORKS[name]
    network = Network(layers)
    params = noisy(network)
    module = torch_module(network, params)
    names = [key for key in module.state_dict() if not key.endswith("num_batches_tracked")]
    assert sorted(names) == sorted(network.shapes | network.constants)
    assert not any(part.training for part in module.modules())
    x = images(3, *shape)
    found, expected = outputs(module, x), network.forward(params, x)
    assert found.shape == expected.shape
    assert (abs(found - expected) <= bound(network, params, x)).all()
    again, back = from_torch(module)
    assert [*again.shapes] == [*network.shapes]
    assert all(np.array_equal(back[key], params[key]) for key in params)
    assert (again.forward(back, x) == network.forward(params, x)).all()


def noisy(network, seed=0):
    """Random numbers everywhere."""
    rng = np.random.default_rng(seed)
    shapes = network.shapes | network.constants
    params = {name: rng.normal(size=shape) * 0.7 for name, shape in shapes.items()}
    return {name: abs(a) + 0.3 if name.endswith("running_var") else a for name, a in params.items()}


def test_a_built_module_is_copied_and_pickled_and_trained():
    layers, shape = NETWORKS["residuals"]
    network = Network(layers)
    module = torch_module(network, noisy(network))
    x = torch.from_numpy(images(2, *shape))
    expected = module(x)
    assert torch.equal(copy.deepcopy(module)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), expected)
    optimiser = torch.optim.SGD(module.train().parameters(), lr=0.1)
    module(x).square().sum().backward()
    optimiser.step()
    assert len(list(module.parameters())) == len(network.shapes)
    assert int(module.state_dict()["2.body.1.num_batches_tracked"]) == 1


def test_a_built_module_has_its_own_numbers_and_leaves_the_generator():
    network = Network([Dense(3, 2)])
    params = noisy(network)
    torch.manual_seed(0)
    expected = torch.get_rng_state()
    module = torch_module(network, params, {"0.weight": np.eye(2, 3) > 0})
    assert torch.equal(torch.get_rng_state(), expected)
    assert np.array_equal(module[0].weight.detach().numpy(), np.eye(2, 3) * params["0.weight"])
    before = state(module)
    params["0.bias"][...] = 9
    assert unchanged(module, before)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    network = Network(NETWORKS["residuals"][0])
    params = {name: array.astype(dtype) for name, array in noisy(network).items()}
    _, back = from_torch(torch_module(network, params))
    assert all(back[name].dtype == dtype and np.array_equal(back[name], params[name]) for name in params)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (AvgPool2d(2, dilation=2), "need dilation 1 in an average pool"),
        (AvgPool2d(3, 2, ((1, 0), (1, 0)), count_padding=False), "uncounted padding"),
        (AvgPool2d(3, 2, ((1, 2), (1, 1)), count_padding=False), "uncounted padding"),
        (AvgPool2d(2, 2, ((1, 2), (1, 2)), count_padding=False), "uncounted padding"),
    ],
)
def test_average_pools_that_pytorch_does_not_have(pool, words):
    with pytest.raises(ValueError, match=words):
        torch_module(Network([pool]), {})


@pytest.mark.parametrize("index", range(60))
def test_generated_networks_there_and_back(index):
    """Average pools with dilation are not in PyTorch; everything else goes there and comes back."""
    found = problem(np.random.default_rng(1000 + index))
    network, params, x = Network.from_dicts(found["layers"]), found["params"], found["x"]
    if "'dilation': [2, 1]" in str(
        [one for one in _inside(network.to_dicts()) if one["type"] == "avgpool2d"]
    ):
        with pytest.raises(ValueError, match="need dilation 1"):
            torch_module(network, params)
        return
    module = torch_module(network, params)
    again, back = from_torch(module)
    assert list(again.shapes) == list(network.shapes)
    assert all(np.array_equal(back[name], params[name]) for name in params)
    assert (again.forward(back, x) == network.forward(params, x)).all()
    assert (abs(outputs(module, x) - network.forward(params, x)) <= bound(network, params, x)).all()


def _inside(layers):
    """All layers, those inside residuals too."""
    for layer in layers:
        yield layer
        yield from _inside([*layer.get("body", []), *(layer.get("shortcut") or [])])
