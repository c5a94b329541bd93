"""PyTorch modules for the tests of interop, written as PyTorch's users write them."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from refprune.network import BatchNorm2d, Network, Residual
from refprune.network.activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh


class BasicBlock(nn.Module):
    """The block of a ResNet, as torchvision has it: one ReLU used twice, in place, and `+=`."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A ResNet of two stages."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.Sequential(
            nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 4)),
            nn.Sequential(BasicBlock(4, 6, 2), BasicBlock(6, 6)),
        )
        self.fc = nn.Linear(6, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.bn(self.stem(x))))
        x = F.adaptive_avg_pool2d(self.stages(x), 1)
        return self.fc(torch.flatten(x, 1))


class PreActivation(nn.Module):
    """A residual whose first activation serves body and shortcut."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(2)
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.shortcut = nn.Conv2d(2, 3, 1)

    def forward(self, x):
        out = F.silu(self.bn(x))
        short = self.shortcut(out)
        return short + self.conv2(F.gelu(self.conv1(out)))


class LeNet(nn.Module):
    """The network of PyTorch's first tutorial: functions, and `view(-1, features)`."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3)
        self.conv2 = nn.Conv2d(3, 4, 2)
        self.drop = nn.Dropout(0.3)
        self.fc1 = nn.Linear(4 * 2 * 2, 5)
        self.fc2 = nn.Linear(5, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2, stride=1)
        x = x.view(-1, 4 * 2 * 2)
        x = F.dropout(F.relu(self.fc1(self.drop(x))), training=self.training)
        return self.fc2(x)


class Calls(nn.Module):
    """One function between a convolution and a convolution."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv1, self.conv2 = nn.Conv2d(2, 3, 2), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv2(self.function(self.conv1(x)))


class Ends(nn.Module):
    """One function after a convolution."""

    def __init__(self, function):
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(2, 3, 2)

    def forward(self, x):
        return self.function(self.conv(x))


def filled(module, seed=0, dtype=torch.float64):
    """The module with random numbers everywhere, running statistics too, so that no part is neutral."""
    rng = np.random.default_rng(seed)
    module.to(dtype)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("num_batches_tracked"):
            continue
        numbers = rng.normal(size=tuple(tensor.shape)) * 0.7
        if name.endswith("running_var"):
            numbers = rng.uniform(0.5, 2, size=tuple(tensor.shape))
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(numbers))
    return module


def images(*shape, seed=1):
    """Normal numbers (samples, ...) that are not centred."""
    return np.random.default_rng(seed).normal(size=shape) + 0.2


def outputs(module, x):
    """What the module gives at inference, as NumPy; its mode is put back."""
    modes = [(part, part.training) for part in module.modules()]
    with torch.no_grad():
        found = module.eval()(torch.from_numpy(x)).numpy()
    for part, mode in modes:
        part.training = mode
    return found


def bound(network, params, x):
    """How far two float64 forward passes of the network may be apart, entry by entry.

    Every layer is a sum of n products, whose error is at most (n + 2) eps times the same sum of absolute values
    (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1), or an activation with |phi'| < 1.13 and
    |phi(x)| < |x| + 1, computed within 8 eps. So a pass with absolute values everywhere gives the scale, and
    the relative errors of all layers on the way add up.
    """
    scale, terms = _scale(network.layers, params, abs(x), "")
    return 2 * terms * np.finfo(float).eps * scale


def _scale(layers, params, x, prefix):
    terms = 0
    for i, layer in enumerate(layers):
        start = f"{prefix}{i}."
        own = {name[len(start) :]: abs(a) for name, a in params.items() if name.startswith(start)}
        if isinstance(layer, (ReLU, ReLU6, Tanh, Sigmoid, GELU, SiLU, Softplus)):
            x, terms = 1.13 * x + 1, terms + 8
            continue
        if isinstance(layer, Residual):
            body, n = _scale(layer.body, params, x, f"{start}body.")
            short, m = _scale(layer.shortcut or [], params, x, f"{start}shortcut.")
            x, terms = body + short, terms + n + m + 1
            continue
        if isinstance(layer, BatchNorm2d):
            own["running_mean"] = -own["running_mean"]  # it is subtracted
        step = Network([layer])
        terms += max([np.prod(shape[1:]) for shape in step.shapes.values()] + [x[0].size]) + 4
        x = step.forward({f"0.{name}": a for name, a in own.items()}, x)
    return x, terms
