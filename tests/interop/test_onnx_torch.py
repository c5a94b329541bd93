"""What `torch.onnx` writes, by both of its exporters, is read as the network that was exported."""

import io
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are read here: pip install "refprune[onnx]"')
torch = pytest.importorskip("torch", reason='PyTorch exports here: pip install "refprune[torch]"')
pytest.importorskip("onnxscript", reason="torch.onnx exports with onnxscript")

from torch import nn  # noqa: E402

from refprune.interop import from_onnx, to_onnx  # noqa: E402
from tests.interop.onnx_networks import equal, runtime  # noqa: E402
from tests.interop.rounding import bound  # noqa: E402

# What PyTorch's exporters say of themselves, to everybody who calls them.
NOISE = [
    (
        DeprecationWarning,
        "You are using the legacy TorchScript-based ONNX export",
        "the older exporter: it is old",
    ),
    (DeprecationWarning, "The feature will be removed", "the older exporter calls what it deprecates"),
    (FutureWarning, "`isinstance\\(treespec, LeafSpec\\)` is deprecated", "the newer one does the same"),
    (
        UserWarning,
        "Constant folding - Only steps=1 can be constant folded",
        "padding is written in many steps",
    ),
    (UserWarning, "Using padding='same' with even kernel lengths", "what the convolution itself may copy"),
]


def exported(module, x, dynamo):
    """The module as an ONNX model, with the number of samples left open."""
    module, file = module.eval(), io.BytesIO()
    with warnings.catch_warnings():
        for category, message, _ in NOISE:
            warnings.filterwarnings("ignore", message, category)
        if dynamo:
            batch = ({0: torch.export.Dim("batch")},)
            return torch.onnx.export(
                module, (x,), dynamo=True, dynamic_shapes=batch, verbose=False
            ).model_proto
        names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
        torch.onnx.export(module, (x,), file, dynamo=False, **names)
    return onnx.load_from_string(file.getvalue())


class Block(nn.Module):
    """A residual with a convolution on its shortcut, as ResNet has it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.Conv2d(6, 6, 3, 1, 1, bias=False)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(6), nn.BatchNorm2d(6, eps=1e-3), nn.BatchNorm2d(6)
        self.shortcut = nn.Conv2d(4, 6, 1, 2, bias=False)

    def forward(self, x):
        y = self.bn2(self.second(torch.relu(self.bn1(self.first(x)))))
        return torch.relu(y + self.bn3(self.shortcut(x)))


class Keep(nn.Module):
    """A residual with the identity."""

    def __init__(self):
        super().__init__()
        # BatchNorm stands before the convolution: exporters fold one that stands behind into its weights
        self.inside = nn.Sequential(nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 6, 3, 1, 1))

    def forward(self, x):
        return x + self.inside(x)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), Block(), Keep())
        self.head = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(6 * 9, 8), nn.GELU(), nn.Linear(8, 3, bias=False)
        )

    def forward(self, x):
        x = self.body(x)
        return self.head(x.view(x.size(0), -1))


@pytest.fixture(scope="module")
def trained():
    """A classifier after a few steps of SGD, and the images that it saw."""
    torch.manual_seed(0)
    model, rng = Classifier(), np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0.3, 1.0, size=(24, 1, 12, 12)).astype("float32"))
    y = torch.from_numpy(rng.integers(0, 3, size=24))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return model, x


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "older"])
def test_a_trained_cnn_gives_the_logits_of_onnxruntime_and_goes_back_unchanged(trained, dynamo):
    model, x = trained
    file = exported(model, x[:2], dynamo)
    network, params = from_onnx(file)
    types = [layer["type"] for layer in network.to_dicts()]
    assert types[:5] == ["conv2d", "maxpool2d", "residual", "relu", "residual"]
    assert types[5:] == ["flatten", "dense", "gelu", "dense"]
    assert any(name.endswith("running_var") for name in params)

    images = x.numpy()
    logits, expected = network.forward(params, images), runtime(file, images)
    assert logits.shape == expected.shape == (24, 3)
    error = 2 * bound(network, params, images)  # two computations in float32, each within the bound
    assert np.all(np.abs(logits - expected) <= error)
    assert error.max() < 1e-2 * np.abs(expected).max()  # so the comparison says something
    with torch.no_grad():
        assert np.all(np.abs(logits - model(x).numpy()) <= error)

    again = to_onnx(network, params)
    equal(from_onnx(again), (network, params))
    assert np.all(np.abs(runtime(again, images) - expected) <= error)
    # and once more: what was read from our file writes the same file
    assert to_onnx(*from_onnx(again)).SerializeToString() == again.SerializeToString()


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


IMAGES, VECTORS = (3, 4, 9, 8), (3, 5)
MODULES = {
    "view": (Call(lambda x: x.view(x.size(0), -1)), IMAGES, ["flatten"]),
    "view of a known size": (Call(lambda x: x.view(-1, 4 * 72)), IMAGES, ["flatten"]),
    "reshape": (Call(lambda x: x.reshape(x.shape[0], -1)), IMAGES, ["flatten"]),
    "flatten": (Call(lambda x: torch.flatten(x, 1)), IMAGES, ["flatten"]),
    "global mean": (Call(lambda x: x.mean((2, 3))), IMAGES, ["globalavgpool", "flatten"]),
    "mean that keeps": (Call(lambda x: x.mean((-1, -2), keepdim=True)), IMAGES, ["globalavgpool"]),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), IMAGES, ["globalavgpool", "flatten"]),
    "clamp": (Call(lambda x: x.clamp(min=0)), VECTORS, ["relu"]),
    "relu6": (nn.ReLU6(), VECTORS, ["relu6"]),
    "softplus": (nn.Softplus(), VECTORS, ["softplus"]),
    "gelu": (nn.GELU(), VECTORS, ["gelu"]),
    "silu": (nn.SiLU(), VECTORS, ["silu"]),
    "no bias": (nn.Linear(5, 2, bias=False), VECTORS, ["dense"]),
    "same": (nn.Conv2d(4, 2, (2, 3), padding="same"), IMAGES, ["conv2d"]),
    "depthwise": (nn.Conv2d(4, 8, 3, (2, 1), (1, 2), (1, 2), groups=4), IMAGES, ["conv2d"]),
    "zeros around": (nn.Sequential(nn.ZeroPad2d((1, 2, 3, 0)), nn.Conv2d(4, 2, 3)), IMAGES, ["conv2d"]),
    "mean pool": (nn.AvgPool2d(3, 2, 1), IMAGES, ["avgpool2d"]),
    "mean of pixels": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGES, ["avgpool2d"]),
    "mean pool, ceil": (nn.AvgPool2d((3, 2), (2, 3), ceil_mode=True), IMAGES, ["avgpool2d"]),
    "max pool, ceil": (nn.MaxPool2d((3, 2), (3, 3), (1, 0), (1, 2), ceil_mode=True), IMAGES, ["maxpool2d"]),
    "nothing": (nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.Tanh()), VECTORS, ["tanh"]),
}


# The newer exporter takes seconds for each module: here are many in one.
CHAINS = {
    "activations": (
        nn.Sequential(
            *(nn.Linear(5, 5, bias=False), nn.SiLU(), nn.Linear(5, 5), nn.Softplus(), nn.ReLU6(), nn.GELU()),
            *(nn.Dropout(0.5), nn.Identity(), nn.Tanh(), MODULES["clamp"][0]),
        ),
        VECTORS,
        ["dense", "silu", "dense", "softplus", "relu6", "gelu", "tanh", "relu"],
    ),
    "images": (
        nn.Sequential(
            *(nn.ZeroPad2d((1, 2, 3, 0)), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, (2, 3), padding="same")),
            *(nn.Conv2d(2, 4, 3, (2, 1), (1, 2), (1, 2), groups=2), nn.AvgPool2d(3, 2, 1)),
            *(nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(2, (2, 1), ceil_mode=True)),
            *(nn.MaxPool2d((2, 1), (3, 2), (1, 0), ceil_mode=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ),
        IMAGES,
        [*["conv2d"] * 3, *["avgpool2d"] * 3, "maxpool2d", "globalavgpool", "flatten"],
    ),
    "mean that keeps": MODULES["mean that keeps"],
    "global mean": MODULES["global mean"],
    "view": MODULES["view"],
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_as_the_older_exporter_writes_them(name):
    reads(*MODULES[name], dynamo=False)


@pytest.mark.parametrize("name", CHAINS)
def test_modules_as_the_newer_exporter_writes_them(name):
    reads(*CHAINS[name], dynamo=True)


def reads(module, shape, types, dynamo):
    """The exported module is read as layers of these types, and they compute what the module computes."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.7, 0.9)
    x = torch.from_numpy(np.random.default_rng(2).normal(0.4, 2.0, size=shape).astype("float32"))
    network, params = from_onnx(exported(module, x, dynamo))
    assert [layer["type"] for layer in network.to_dicts()] == types
    expected, found = module(x).detach().numpy(), network.forward(params, x.numpy())
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= 2 * bound(network, params, x.numpy()))
