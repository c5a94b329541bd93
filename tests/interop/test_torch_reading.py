"""PyTorch modules become networks that compute the same, with the same numbers as parameters."""

import operator
from collections import Counter

import numpy as np
import pytest

from refprune.interop import from_torch, torch_names

torch = pytest.importorskip("torch", reason='PyTorch modules are read here: pip install "refprune[torch]"')
nn, F = torch.nn, torch.nn.functional
torch_examples = pytest.importorskip("torch_examples")
from torch_examples import (  # noqa: E402
    BasicBlock,
    Calls,
    Ends,
    LeNet,
    PreActivation,
    ResNet,
    bound,
    filled,
    images,
    outputs,
)


def same(module, x):
    """The network read from the module, after it was found to compute what the module computes."""
    network, params = from_torch(module)
    found, expected = network.forward(params, x), outputs(module, x)
    assert found.shape == expected.shape
    assert (abs(found - expected) <= bound(network, params, x)).all()
    return network, params


def types(layers):
    return [layer["type"] for layer in layers]


LAYERS = {
    "linear": (nn.Linear(5, 3), (5,)),
    "linear without bias": (nn.Linear(5, 3, bias=False), (5,)),
    "one output": (nn.Linear(5, 1), (5,)),
    "conv": (nn.Conv2d(3, 4, 3), (3, 6, 7)),
    "conv without bias": (nn.Conv2d(3, 4, 3, bias=False), (3, 6, 7)),
    "conv, all of it oblong": (
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3), groups=2),
        (4, 8, 9),
    ),
    "depthwise": (nn.Conv2d(3, 6, 3, padding=1, groups=3), (3, 5, 6)),
    "conv, dilation": (nn.Conv2d(2, 3, 3, dilation=2), (2, 7, 6)),
    "conv, padding same, odd": (nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(1, 3)), (2, 7, 6)),
    "conv, padding same": (nn.Conv2d(2, 3, 3, padding="same"), (2, 7, 6)),
    "conv, padding valid": (nn.Conv2d(2, 3, 3, padding="valid"), (2, 7, 6)),
    "batch norm": (nn.BatchNorm2d(3, eps=0.3), (3, 4, 2)),
    "max pool": (nn.MaxPool2d(2), (2, 6, 7)),
    "max pool, oblong": (nn.MaxPool2d((3, 2), (2, 3), (1, 0), dilation=(1, 2)), (2, 8, 9)),
    "max pool, stride one": (nn.MaxPool2d(3, 1, 1), (2, 5, 4)),
    "average pool": (nn.AvgPool2d(2), (2, 6, 7)),
    "average pool, oblong, counted": (nn.AvgPool2d((3, 2), (1, 2), (1, 1)), (2, 7, 6)),
    "average pool, uncounted": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 7, 6)),
    "global pool": (nn.AdaptiveAvgPool2d(1), (3, 4, 5)),
    "global pool, pair": (nn.AdaptiveAvgPool2d((1, 1)), (3, 4, 5)),
    "flatten": (nn.Flatten(), (3, 4, 5)),
    "relu": (nn.ReLU(), (7,)),
    "relu6": (nn.ReLU6(), (7,)),
    "hardtanh as relu6": (nn.Hardtanh(0.0, 6.0), (7,)),
    "tanh": (nn.Tanh(), (7,)),
    "sigmoid": (nn.Sigmoid(), (7,)),
    "gelu": (nn.GELU(), (7,)),
    "silu": (nn.SiLU(), (7,)),
    "softplus": (nn.Softplus(), (7,)),
    "softplus, later threshold": (nn.Softplus(threshold=40), (7,)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_every_module(name):
    module, shape = LAYERS[name]
    network, params = same(filled(module), images(3, *shape) * 3)
    assert len(network.layers) == 1
    for key, array in params.items():
        assert np.array_equal(array, module.state_dict()[key.removeprefix("0.")].numpy())


@pytest.mark.parametrize("module", [nn.Identity(), nn.Dropout(0.5), nn.Dropout2d(), nn.AlphaDropout()])
def test_what_passes_its_input_on_is_no_layer(module):
    network, _ = same(
        filled(nn.Sequential(nn.Conv2d(1, 2, 2), module, nn.Tanh(), module)), images(2, 1, 3, 3)
    )
    assert types(network.to_dicts()) == ["conv2d", "tanh"]


@pytest.mark.parametrize("size", range(4, 13))
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, 2, ceil_mode=True),
        nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
        nn.MaxPool2d((5, 3), (3, 2), (2, 1), ceil_mode=True),
        nn.MaxPool2d(3, 1, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(3, 3, ceil_mode=True),
        nn.AvgPool2d(5, 3, 2, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(3, 1, 1, ceil_mode=True),
    ],
    ids=str,
)
def test_ceil_mode_is_padding_on_one_side_for_every_size(pool, size):
    same(pool, images(2, 2, size, size + 1) - 3)


@pytest.mark.parametrize(
    "pad",
    [nn.ZeroPad2d((1, 0, 0, 1)), nn.ConstantPad2d(1, 0.0), nn.ZeroPad2d(0)],
    ids=str,
)
@pytest.mark.parametrize("after", [nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(3, 2), nn.AvgPool2d(3, 2, 1)])
def test_pads_go_into_the_next_layer(pad, after):
    network, _ = same(filled(nn.Sequential(nn.Tanh(), pad, after)), images(2, 2, 5, 6))
    assert len(network.layers) == 2


def test_pads_before_other_pools():
    lowest = nn.ConstantPad2d((1, 0, 1, 1), -float("inf"))
    same(nn.Sequential(lowest, nn.MaxPool2d(3, 2)), images(2, 2, 5, 6) - 5)
    # the pad's zeros are pixels to the pool, and so they count
    uncounted = nn.AvgPool2d(3, 2, count_include_pad=False)
    network, _ = same(nn.Sequential(nn.ZeroPad2d((1, 0, 0, 1)), uncounted), images(2, 2, 5, 6))
    assert network.layers[0].count_padding


FUNCTIONS = {
    "relu": torch.relu,
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "input by name": lambda x: F.relu(input=x),
    "x.relu": lambda x: x.relu(),
    "relu_": torch.relu_,
    "x.relu_": lambda x: x.relu_(),
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "clamp": lambda x: torch.clamp(x, 0, 6),
    "x.clamp": lambda x: x.clamp(min=0),
    "tanh": torch.tanh,
    "F.tanh": F.tanh,
    "x.tanh": lambda x: x.tanh(),
    "sigmoid": torch.sigmoid,
    "F.sigmoid": F.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "max pool": lambda x: F.max_pool2d(x, 2, stride=1),
    "max pool, oblong": lambda x: F.max_pool2d(x, (2, 3), (1, 2), padding=(1, 1), ceil_mode=True),
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "average pool": lambda x: F.avg_pool2d(x, 2),
    "average pool, uncounted": lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
    "global pool": lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
    "mean, axes kept": lambda x: x.mean((2, 3), keepdim=True),
    "torch.mean": lambda x: torch.mean(x, [-1, -2], keepdim=True),
    "pad": lambda x: F.max_pool2d(F.pad(x, (1, 0), value=float("-inf")), 2),
    "contiguous": lambda x: x.contiguous(),
    "dropout": lambda x: F.dropout(x, 0.3, training=False),
    "dropout that drops nothing": lambda x: F.dropout2d(x, 0.0),
    "sum": lambda x: x + torch.tanh(x),
    "sum, torch.add": lambda x: torch.add(torch.tanh(x), x),
    "sum, by name": lambda x: torch.add(x, alpha=1, other=torch.tanh(x)),
    "sum, x.add": lambda x: torch.tanh(x).add(x),
    "sum in place": lambda x: operator.iadd(torch.tanh(x), x),
    "sum in place, x.add_": lambda x: torch.tanh(x).add_(x),
    "sum into the first value, after its last use": lambda x: operator.iadd(x, torch.tanh(x)),
    "three branches": lambda x: x + torch.tanh(x) + torch.sigmoid(x),
    "sums inside sums": lambda x: x + torch.tanh(x + torch.sigmoid(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function(name):
    same(filled(Calls(FUNCTIONS[name])), images(2, 2, 5, 6))


ENDS = {
    "x.flatten": lambda x: x.flatten(1),
    "flatten": lambda x: torch.flatten(x, 1),
    "flatten by name": lambda x: torch.flatten(x, start_dim=1),
    "view": lambda x: x.view(x.size(0), -1),
    "view of a tuple": lambda x: x.view((x.shape[0], -1)),
    "reshape": lambda x: torch.reshape(x, (x.size()[0], -1)),
    "x.reshape": lambda x: x.reshape(x.shape[0], -1),
    "view, all said": lambda x: x.view(x.size(0), 60),
    "mean": lambda x: x.mean((2, 3)),
    "mean, from the end": lambda x: x.mean(dim=(-2, -1)),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_function_that_ends_the_images(name):
    same(filled(Ends(ENDS[name])), images(2, 2, 5, 6))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Sequential(), nn.Linear(4, 2)), (3,)),
        (BasicBlock(2, 2), (2, 5, 4)),
        (BasicBlock(2, 3, 2), (2, 5, 4)),
        (PreActivation(), (2, 5, 4)),
        (LeNet(), (1, 10, 10)),
        (ResNet(), (3, 9, 8)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_whole_modules(module, shape):
    network, params = same(filled(module), images(3, *shape))
    names = torch_names(module)
    assert list(names) == list(params)
    state = module.state_dict()
    assert {*names.values()} == {key for key in state if not key.endswith("num_batches_tracked")}
    for key, name in names.items():
        assert np.array_equal(params[key], state[name].numpy())
    assert [name for name in params if name in network.shapes] == list(network.shapes)


def test_the_resnet_is_what_it_should_be():
    network, _ = from_torch(ResNet())
    names = torch_names(ResNet())
    layers = network.to_dicts()
    head = ["conv2d", "batchnorm2d", "relu", "maxpool2d"]
    assert types(layers) == head + ["residual", "relu"] * 4 + ["globalavgpool", "flatten", "dense"]
    assert types(layers[4]["body"]) == ["conv2d", "batchnorm2d", "relu", "conv2d", "batchnorm2d"]
    assert layers[4].get("shortcut") is None
    assert types(layers[8]["shortcut"]) == ["conv2d", "batchnorm2d"]
    assert names["8.shortcut.1.running_var"] == "stages.1.0.downsample.1.running_var"
    assert names["0.weight"] == "stem.weight"


def test_the_body_is_what_the_sum_reads_first():
    network, _ = from_torch(PreActivation())
    assert types(network.to_dicts()[2]["body"]) == ["conv2d"]
    assert types(network.to_dicts()[2]["shortcut"]) == ["conv2d", "gelu", "conv2d"]


@pytest.mark.parametrize("training", [True, False])
def test_conversion_is_of_inference_and_leaves_the_mode(training):
    module = filled(nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Dropout(0.5), LeNetHead()))
    module.train(training)
    module[2].train(not training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    same(module, images(4, 1, 3, 3))
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


class LeNetHead(nn.Module):
    """It does something else in training."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = self.fc(x.flatten(1))
        return x * 2 if self.training else x


def test_the_mode_comes_back_after_an_error():
    module = nn.Sequential(nn.Dropout(), nn.LayerNorm(3)).train()
    module[0].eval()
    with pytest.raises(ValueError, match="LayerNorm"):
        from_torch(module)
    assert [part.training for part in module.modules()] == [True, False, True]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_are_kept(dtype):
    module = filled(ResNet(), dtype=getattr(torch, dtype))
    _, params = from_torch(module)
    assert {array.dtype.name for array in params.values()} == {dtype}


def test_mixed_dtypes_are_kept():
    _, params = from_torch(nn.Sequential(nn.Conv2d(1, 1, 1).half(), nn.BatchNorm2d(1)))
    assert [array.dtype.name for array in params.values()] == ["float16"] * 2 + ["float32"] * 4


def test_params_are_copies():
    module = filled(ResNet())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    _, params = from_torch(module)
    for array in params.values():
        assert array.flags.owndata
        assert array.flags.writeable
        array[...] = 7
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_weights_that_are_not_contiguous():
    module = filled(nn.Sequential(nn.Conv2d(2, 3, (2, 3)), nn.Flatten(), nn.Linear(18, 2)))
    module[0].to(memory_format=torch.channels_last)
    module[2].weight = nn.Parameter(torch.randn(18, 2, dtype=torch.float64).T)
    assert not module[0].weight.is_contiguous()
    _, params = same(module, images(2, 2, 3, 5))
    assert all(array.flags.c_contiguous for array in params.values())


def test_a_module_that_is_used_twice_without_weights():
    act = nn.ReLU()
    network, _ = same(filled(nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act)), images(2, 3))
    assert types(network.to_dicts()) == ["dense", "relu", "dense", "relu"]


def test_a_subclass_is_read_by_its_forward():
    class Doubled(nn.ReLU):
        def forward(self, x):
            return super().forward(x) + torch.tanh(x)

    network, _ = same(nn.Sequential(nn.Tanh(), Doubled()), images(2, 3))
    assert types(network.to_dicts()) == ["tanh", "residual"]


def test_an_argument_with_a_default_is_no_input():
    class Optional(nn.Module):
        def forward(self, x, mask=None):
            return torch.tanh(x)

    same(Optional(), images(2, 3))


def test_modules_that_are_not_called_are_left_out():
    module = filled(LeNet())
    module.head = nn.Linear(2, 2)
    _, params = same(module, images(1, 1, 10, 10))
    assert "head.weight" not in torch_names(module).values()
    assert len(params) == 8


STEPS = {
    "tanh": torch.tanh,
    "relu": lambda x: F.relu(x),
    "relu in place": lambda x: F.relu(x, inplace=True),
    "tanh_": lambda x: x.tanh_(),
    "silu in place": lambda x: F.silu(x, inplace=True),
    "same": lambda x: F.dropout(x, training=False),
    "view": lambda x: x.flatten(1),
    "sum": lambda x, y: x + y,
    "sum in place": operator.iadd,
}


class Program(nn.Module):
    """Steps that read any of the values before them, and write over some."""

    def __init__(self, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.first = nn.Linear(3, 4)
        self.steps = []
        for made in range(1, rng.integers(3, 8)):
            name = str(rng.choice(list(STEPS)))
            # mostly the newest values, so that some programs are chains with sums
            read = [made - 1 - int(min(rng.geometric(0.6) - 1, made - 1)) for _ in range(1 + ("sum" in name))]
            self.steps.append((name, read))

    def forward(self, x):
        values = [self.first(x)]
        for name, read in self.steps:
            values.append(STEPS[name](*(values[i] for i in read)))
        return values[-1]


def verdict(module):
    """ "accepted", or the reason in short."""
    try:
        from_torch(module)
    except ValueError as error:
        reasons = ("in place", "adds a value to itself", "two branches share")
        return next(reason for reason in reasons if reason in str(error))
    same(module, images(2, 3))
    return "accepted"


def test_what_is_accepted_computes_the_same():
    """300 random programs: each is refused, or read right; many of both, and of those that write in place."""
    met = Counter()
    for seed in range(300):
        module = filled(Program(seed), seed)
        writes = any("in place" in name or name.endswith("_") for name, _ in module.steps)
        met[verdict(module), writes] += 1
    assert met["in place", False] == 0
    assert min(met["accepted", True], met["accepted", False], met["in place", True]) >= 25, met
