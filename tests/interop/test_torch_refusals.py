"""What no network computes is refused before any work, with the module's path and the reason."""

import copy
import operator

import pytest

from refprune.interop import from_torch

torch = pytest.importorskip("torch", reason='PyTorch modules are read here: pip install "refprune[torch]"')
nn, F = torch.nn, torch.nn.functional
torch_examples = pytest.importorskip("torch_examples")
from torch_examples import Calls, Ends, LeNet, filled  # noqa: E402


def refused(module, *words):
    """The message, after each of `words` was found in it and the module was found as it was."""
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError) as caught:
        from_torch(module)
    for word in words:
        assert word in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


MODULES = {
    "unknown": (nn.LayerNorm(3), ["LayerNorm", "no layer"]),
    "unknown activation": (nn.ELU(), ["ELU"]),
    "one dimension": (nn.Conv1d(1, 1, 1), ["Conv1d"]),
    "transposed": (nn.ConvTranspose2d(1, 1, 1), ["ConvTranspose2d"]),
    "reflected padding": (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), ["padding_mode", "reflect"]),
    "gelu by tanh": (nn.GELU("tanh"), ["GELU", "approximate", "tanh"]),
    "softplus, beta": (nn.Softplus(beta=2), ["Softplus", "beta=1", "2"]),
    "softplus, threshold": (nn.Softplus(threshold=10), ["Softplus", "threshold", "10"]),
    "hardtanh": (nn.Hardtanh(), ["Hardtanh", "(0, 6)", "-1"]),
    "batch norm without weight": (nn.BatchNorm2d(2, affine=False), ["BatchNorm2d", "affine=True"]),
    "batch norm of the batch": (
        nn.BatchNorm2d(2, track_running_stats=False),
        ["BatchNorm2d", "track_running_stats=True"],
    ),
    "batch norm, 1-D": (nn.BatchNorm1d(2), ["BatchNorm1d"]),
    "adaptive pool": (nn.AdaptiveAvgPool2d(2), ["AdaptiveAvgPool2d", "output_size=1", "2"]),
    "adaptive pool, one axis": (nn.AdaptiveAvgPool2d((None, 1)), ["output_size=1", "None"]),
    "max pool with indices": (nn.MaxPool2d(2, return_indices=True), ["MaxPool2d", "return_indices=False"]),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), ["AvgPool2d", "divisor_override=None", "3"]),
    "ceil_mode, wide stride": (nn.MaxPool2d(2, 3, ceil_mode=True), ["ceil_mode", "stride", "3"]),
    "ceil_mode, padding and stride": (nn.MaxPool2d(2, 2, 1, ceil_mode=True), ["ceil_mode", "stride"]),
    "ceil_mode, counted padding": (
        nn.AvgPool2d(4, 2, 1, ceil_mode=True),
        ["ceil_mode", "count_include_pad=False", "1"],
    ),
    "flatten all": (nn.Flatten(0), ["Flatten", "start_dim=1", "0"]),
    "flatten two": (nn.Flatten(1, 2), ["Flatten", "end_dim=-1", "2"]),
    "pad alone": (nn.Sequential(nn.ZeroPad2d(1), nn.ReLU()), ["ZeroPad2d", "'1.0'", "convolution or a pool"]),
    "pad by reflection": (nn.ReflectionPad2d(1), ["ReflectionPad2d"]),
    "pad of ones": (
        nn.Sequential(nn.ConstantPad2d(1, 1.0), nn.Conv2d(1, 1, 2)),
        ["ConstantPad2d", "constant 0 before conv2d", "1.0"],
    ),
    "zeros before max pool": (
        nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)),
        ["ZeroPad2d", "constant -inf before maxpool2d", "0"],
    ),
    "pad that crops": (nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(1, 1, 1)), ["ZeroPad2d", "negative"]),
    "zeros counted and not": (
        nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        ["ZeroPad2d", "uncounted padding"],
    ),
    "recurrent": (nn.LSTM(2, 3), ["LSTM"]),
    "attention": (nn.MultiheadAttention(4, 2), ["MultiheadAttention"]),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    module, words = MODULES[name]
    path = "'1'" if not isinstance(module, nn.Sequential) else "'1."
    refused(nn.Sequential(nn.Identity(), module), path, *words)


FUNCTIONS = {
    "product": (lambda x: x * x, ["mul"]),
    "difference": (lambda x: x - torch.tanh(x), ["sub"]),
    "number added": (lambda x: x + 1.0, ["add", "sum of two values", "1.0"]),
    "number added in place": (lambda x: operator.iadd(x, 1.0), ["iadd", "sum of two values"]),
    "number added from the left": (lambda x: 1.0 + x, ["add"]),
    "scaled sum": (lambda x: torch.add(x, torch.tanh(x), alpha=2), ["add", "alpha=1", "2"]),
    "value to itself": (lambda x: x + x, ["adds a value to itself"]),
    "exponential": (torch.exp, ["exp"]),
    "leaky": (F.leaky_relu, ["leaky_relu"]),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), ["gelu", "approximate"]),
    "softplus": (lambda x: F.softplus(x, beta=3), ["softplus", "beta=1"]),
    "clamp": (lambda x: x.clamp(-1, 6), ["clamp", "-1"]),
    "adaptive pool": (lambda x: F.adaptive_avg_pool2d(x, 2), ["adaptive_avg_pool2d", "output_size=1"]),
    "max pool with indices": (
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        ["max_pool2d_with_indices"],
    ),
    "dropout that acts at inference": (lambda x: F.dropout(x), ["dropout", "training=self.training"]),
    "mean over channels": (lambda x: x.mean(1, keepdim=True), ["mean", "dim=(2, 3)", "1"]),
    "mean over all": (lambda x: x.mean(), ["mean", "dim=(2, 3)", "None"]),
    "transposed": (lambda x: x.transpose(2, 3), ["transpose"]),
    "view that mixes": (lambda x: x.view(x.size(0), 4, -1), ["view", "(samples, -1)"]),
    "view by a channel count": (lambda x: x.view(x.size(1), -1), ["view", "a computed value"]),
    "flatten all": (lambda x: x.flatten(), ["flatten", "start_dim=1"]),
    "part of the samples": (lambda x: x[:1], ["getitem"]),
    "pad by reflection": (lambda x: F.pad(x, (1, 1), mode="reflect"), ["pad", "reflect"]),
    "pad of channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), ["pad", "last two axes"]),
    "random": (lambda x: x + torch.rand_like(x), ["rand_like"]),
    "a value computed": (lambda x: F.max_pool2d(x, x.size(2)), ["max_pool2d", "not computed"]),
    "unknown argument": (lambda x: torch.tanh(x, out=x), ["tanh", "out"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, words = FUNCTIONS[name]
    refused(nn.Sequential(nn.Identity(), Calls(function)), "'1.", *words)


def relu_then_sum(x):
    return F.relu(x, inplace=True) + x


WRITES = {
    "relu, then its input": relu_then_sum,
    "module in place": lambda x: nn.ReLU(inplace=True)(x) + x,
    "relu_, then a sum": lambda x: torch.add(x.relu_(), x),
    "a view of what is written over": lambda x: _second(F.dropout(x, training=False), x.tanh_()),
    "a sum into a value that is read later": lambda x: _second(operator.iadd(x, torch.tanh(x)), x),
    "what is returned was written over": lambda x: _second(torch.sigmoid_(x), x),
}


def _second(first, second):
    return second + first if first is not second else second


@pytest.mark.parametrize("name", WRITES)
def test_values_that_are_written_over(name):
    """The graph says relu(x) + x; PyTorch computes relu(x) + relu(x)."""
    if name == "module in place":

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.act = nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True)

            def forward(self, x):
                x = self.conv(x)
                return self.act(x) + x

        refused(Block(), "in place", "conv")
    else:
        refused(Calls(WRITES[name]), "in place")


def test_a_weight_that_is_shared():
    linear = nn.Linear(3, 3)
    refused(nn.Sequential(linear, nn.Tanh(), linear), "Linear", "'0'", "0.weight", "used once")
    other = nn.Linear(3, 3)
    other.bias = linear.bias
    refused(nn.Sequential(linear, nn.Tanh(), other), "Linear", "'2'", "bias", "0.bias")


PADS = {
    "two layers read it": lambda x: _both(F.pad(x, (1, 1, 1, 1))),
    "a sum reads it": lambda x: torch.tanh(x) + F.pad(x, (1, 1)),
    "a sum reads it first": lambda x: F.pad(x, (1, 1)) + torch.tanh(x),
    "another pad reads it": lambda x: F.max_pool2d(F.pad(F.pad(x, (1, 1)), (0, 1)), 2),
    "dropout reads it": lambda x: F.avg_pool2d(F.dropout(F.pad(x, (1, 1)), training=False), 2),
    "nothing reads it": lambda x: F.pad(x, (1, 1)),
}


@pytest.mark.parametrize("name", PADS)
def test_pads_that_no_layer_takes_in(name):
    refused(Ends(PADS[name]), "pad", "convolution or")


def _both(x):
    return F.avg_pool2d(x, 2) + F.avg_pool2d(x, 2)


@pytest.mark.parametrize("features", [59, 61, 30, 120])
def test_a_view_that_may_mix_samples(features):
    """view(-1, features) makes 2 * 60 / features samples of 2, where PyTorch can."""
    after = nn.Linear(60, 2)
    refused(nn.Sequential(Ends(lambda x: x.view(-1, features)), after), "view", str(features), "'inputs': 60")


def test_a_view_before_no_dense_layer():
    refused(nn.Sequential(Ends(lambda x: x.view(-1, 60)), nn.Tanh()), "view", "Dense layer with 60 inputs")
    from_torch(nn.Sequential(Ends(lambda x: x.view(-1, 60)), nn.Tanh(), nn.Linear(60, 2)))


class TwoInputs(nn.Module):
    def forward(self, x, other):
        return x + other


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, torch.tanh(x)


class Branching(nn.Module):
    def forward(self, x):
        return torch.tanh(x) if x.sum() > 0 else x


class OwnWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x + self.scale


class Shared(nn.Module):
    """Two branches share a step, but no sum joins where they part."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        return (b + a) + self.c(b)


class Raising(nn.Module):
    def forward(self, x):
        raise KeyError("nothing here")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (TwoInputs(), ["torch.fx", "'other'"]),
        (TwoOutputs(), ["an array", "tanh"]),
        (Branching(), ["torch.fx", "Branching", "control flow"]),
        (OwnWeight(), ["scale", "no layer"]),
        (Shared(), ["two branches share"]),
        (Raising(), ["torch.fx", "Raising", "nothing here"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_modules_of_ones_own(module, words):
    refused(module, *words)


def test_hooks():
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    handle = module[1].register_forward_hook(lambda part, inputs, output: output * 2)
    refused(module, "Tanh", "'1'", "hooks")
    handle.remove()
    from_torch(module)
    pruning = pytest.importorskip("torch.nn.utils.prune")
    pruning.l1_unstructured(module[0], "weight", amount=2)
    refused(module, "Linear", "'0'", "prune.remove")
    pruning.remove(module[0], "weight")
    _, params = from_torch(module)
    assert (params["0.weight"] == 0).sum() == 2


def test_parametrizations():
    refused(
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), "ParametrizedLinear", "'0'"
    )


def test_numbers_that_numpy_does_not_have():
    with pytest.raises(TypeError, match=r"float16, float32 or float64 numbers in weight; got torch.bfloat16"):
        from_torch(nn.Linear(2, 2).bfloat16())
    with pytest.raises(TypeError, match=r"numbers in 0.fc.weight; got torch.complex64"):
        from_torch(nn.Sequential(Ends2()))


class Ends2(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2, dtype=torch.complex64)

    def forward(self, x):
        return self.fc(x)


def test_numbers_that_are_not_finite():
    module = filled(LeNet())
    with torch.no_grad():
        module.fc1.weight[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"finite numbers in fc1.weight; got nan"):
        from_torch(module)


@pytest.mark.parametrize("value", [None, 3, torch.zeros(2), torch.tanh, nn.Linear, {"0.weight": 1}])
def test_what_is_no_module(value):
    with pytest.raises(TypeError, match=r"need a torch.nn.Module; got"):
        from_torch(value)
