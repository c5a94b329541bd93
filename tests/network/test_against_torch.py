"""Forward pass, loss and every derivative agree with PyTorch's on 200 generated networks, and on ResNet20.

The networks are run by PyTorch's own operators on the plain data, and differentiated by `torch.func`. "Relative"
means: the largest difference, divided by the largest entry of PyTorch's answer. An answer that is 0 has to be 0.
Measured: at most 3e-14, in the products with the Gauss-Newton matrix; 5e-15 elsewhere.
"""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from agreement import LOSSES, RTOL, difference, ours, types

from refprune.network.presets import resnet20
from refprune.testing.networks import problem

torch = pytest.importorskip("torch", reason='PyTorch is the other side here: pip install "refprune[torch]"')
F, func = torch.nn.functional, torch.func
# forward mode scripts a few formulas when it is first used
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

COUNT = 200
ELEMENTWISE = {
    "relu": F.relu,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": partial(F.softplus, threshold=700),  # by default PyTorch takes x for softplus(x) above 20
    "flatten": partial(torch.flatten, start_dim=1),
    "globalavgpool": partial(F.adaptive_avg_pool2d, output_size=1),
}


def forward(layers, params, x, start=""):
    """The outputs of the network that `layers` (plain data) describe, by PyTorch's operators."""
    for i, layer in enumerate(layers):
        kind, own = layer["type"], partial(_own, params, f"{start}{i}.")
        if kind in ELEMENTWISE:
            x = ELEMENTWISE[kind](x)
        elif kind == "residual":
            short = forward(layer.get("shortcut") or [], params, x, f"{start}{i}.shortcut.")
            x = forward(layer["body"], params, x, f"{start}{i}.body.") + short
        elif kind == "dense":
            x = F.linear(x, own("weight"), own("bias"))
        elif kind == "batchnorm2d":
            statistics = own("running_mean"), own("running_var")
            x = F.batch_norm(x, *statistics, own("weight"), own("bias"), eps=layer.get("eps", 1e-5))
        elif kind == "conv2d":
            stride, dilation = layer.get("stride", 1), layer.get("dilation", 1)
            x = F.pad(x, _sides(layer))
            x = F.conv2d(x, own("weight"), own("bias"), stride, 0, dilation, layer.get("groups", 1))
        else:
            x = {"maxpool2d": _max_pool, "avgpool2d": _average_pool}[kind](layer, x)
    return x


def _own(params, start, name):
    return params.get(start + name)


def _sides(layer):
    """PyTorch's order: left, right, top, bottom."""
    padding = layer.get("padding", 0)
    height, width = (padding, padding) if isinstance(padding, int) else padding
    (top, bottom), (left, right) = ((p, p) if isinstance(p, int) else p for p in (height, width))
    return (left, right, top, bottom)


def _windows(layer, x):
    """(samples, channels, kernel entries, positions): the entries of each window, by `F.unfold`."""
    kernel, stride = layer["kernel"], layer.get("stride")
    stride = kernel if stride is None else stride
    columns = F.unfold(x, kernel, layer.get("dilation", 1), 0, stride)
    return columns.reshape(*x.shape[:2], -1, columns.shape[-1])


def _size(layer, x):
    """(height, width) of what a pool gives."""
    pool = partial(F.max_pool2d, kernel_size=layer["kernel"], stride=layer.get("stride"))
    return pool(torch.zeros(1, *x.shape[-2:]), dilation=layer.get("dilation", 1)).shape[-2:]


def _max_pool(layer, x):
    x = F.pad(x, _sides(layer), value=-float("inf"))
    return F.max_pool2d(x, layer["kernel"], layer.get("stride"), 0, layer.get("dilation", 1))


def _average_pool(layer, x):
    pixels = torch.ones_like(x[:1])
    counted = 1.0 if layer.get("count_padding", True) else 0.0
    x, pixels = F.pad(x, _sides(layer)), F.pad(pixels, _sides(layer), value=counted)
    means = _windows(layer, x).sum(2) / _windows(layer, pixels).sum(2)
    return means.reshape(*x.shape[:2], *_size(layer, x))


def outputs_loss(f, y, loss):
    """The mean loss of outputs `f`."""
    if loss == "cross_entropy":
        return F.cross_entropy(f, y)
    return 0.5 * ((f - y) ** 2).sum() / len(f)


class Reference:
    """A problem, as functions of the flat vector of trainable parameters."""

    def __init__(self, found, dtype=torch.float64):
        def tensor(array):
            return torch.from_numpy(np.array(array)).to(dtype if array.dtype.kind == "f" else torch.int64)

        self.layers, self.lossname = found["layers"], found["loss"]
        self.params = {name: tensor(array) for name, array in found["params"].items()}
        self.names = [name for name in self.params if "running_" not in name]
        self.x, self.y = tensor(found["x"]), tensor(found["y"])
        self.theta = torch.cat([self.params[name].reshape(-1) for name in self.names])

    def outputs(self, theta, x):
        pieces = torch.split(theta, [self.params[name].numel() for name in self.names])
        own = {name: p.reshape(self.params[name].shape) for name, p in zip(self.names, pieces)}
        return forward(self.layers, self.params | own, x)

    def loss(self, theta):
        return outputs_loss(self.outputs(theta, self.x), self.y, self.lossname)

    def sample_loss(self, theta, x, y):
        return outputs_loss(self.outputs(theta, x[None]), y[None], self.lossname)

    def hvp(self, v):
        return func.jvp(func.grad(self.loss), (self.theta,), (v,))[1]

    def gauss_newton_product(self, v):
        """J^T H_out J v by two products with J and one with the Hessian of the loss in the outputs."""
        f, back = func.vjp(lambda theta: self.outputs(theta, self.x), self.theta)
        _, tangent = func.jvp(lambda theta: self.outputs(theta, self.x), (self.theta,), (v,))
        loss = func.grad(lambda f: outputs_loss(f, self.y, self.lossname))
        return back(func.jvp(loss, (f,), (tangent,))[1])[0]

    def answers(self, v):
        """Everything that is compared, by the name of the network's method."""
        theta = self.theta
        jacobian = func.jacrev(lambda theta: self.outputs(theta, self.x))(theta)
        per_sample = func.vmap(func.grad(self.sample_loss), (None, 0, 0))(theta, self.x, self.y)
        hessian = func.jacfwd(func.grad(self.loss))(theta)
        f = self.outputs(theta, self.x)
        curvature = func.hessian(lambda f: outputs_loss(f, self.y, self.lossname))(f)
        found = {
            "forward": f,
            "loss": self.loss(theta),
            "gradient": func.grad(self.loss)(theta),
            "hvp": torch.stack([self.hvp(u) for u in v]),
            "hessian": hessian,
            "hessian_diagonal": torch.diagonal(hessian),
            "jacobian": jacobian,
            "per_sample_gradients": per_sample,
            "gauss_newton": torch.einsum("iaj,iakb,kbl->jl", jacobian, curvature, jacobian),
            "gauss_newton_product": torch.stack([self.gauss_newton_product(u) for u in v]),
            "empirical_fisher": per_sample.T @ per_sample / len(f),
        }
        found["model_fisher"] = found["gauss_newton"]
        return {name: answer.numpy() for name, answer in found.items()}


def generated(index):
    """Problem number `index`; the losses take turns."""
    rng = np.random.default_rng(index)
    return problem(rng, loss=LOSSES[index % 2]), rng


@pytest.mark.parametrize("index", range(COUNT))
def test_generated_networks(index):
    found, rng = generated(index)
    reference = Reference(found)
    v = rng.normal(size=(2, len(reference.theta)))
    expected, mine = reference.answers(torch.from_numpy(v)), ours(found, v)
    gaps = {name: difference(mine[name], expected[name]) for name in expected}
    assert max(gaps.values()) <= RTOL, gaps


def test_the_networks_hold_every_layer():
    """And every layer is met with both losses, by five networks at least."""
    met = Counter()
    for index in range(COUNT):
        found, _ = generated(index)
        met.update({(kind, found["loss"]) for kind in {*types(found["layers"])}})
        met.update({("shortcut", found["loss"]) for layer in found["layers"] if layer.get("shortcut")})
    layers = [
        *ELEMENTWISE,
        "dense",
        "conv2d",
        "batchnorm2d",
        "maxpool2d",
        "avgpool2d",
        "residual",
        "shortcut",
    ]
    assert set(met) == {(kind, loss) for kind in layers for loss in LOSSES}
    assert min(met.values()) >= 5, met


@pytest.mark.parametrize("what", ["weight", "input", "target"])
def test_the_comparison_sees_a_change_of_the_tenth_digit(what):
    """The tolerance is no blind eye: a relative change of 1e-9 in one array is seen."""
    found, rng = generated(1)
    reference = Reference(found)
    v = rng.normal(size=(2, len(reference.theta)))
    changed = {**found, "params": dict(found["params"])}
    if what == "weight":
        name = next(iter(changed["params"]))
        changed["params"][name] = changed["params"][name] * (1 + 1e-9)
    else:
        key = {"input": "x", "target": "y"}[what]
        changed[key] = changed[key] * (1 + 1e-9)
    expected, mine = reference.answers(torch.from_numpy(v)), ours(changed, v)
    assert difference(mine["gradient"], expected["gradient"]) > 10 * RTOL


@pytest.mark.parametrize("loss", LOSSES)
def test_resnet20(loss):
    """272,474 parameters, 32x32x3 images: loss, gradient and a Hessian-vector product."""
    network = resnet20()
    assert network.size == 272474
    rng = np.random.default_rng(0)
    params = network.init(rng)
    for name in network.constants:  # running statistics that are not neutral
        params[name] = rng.uniform(0.5, 2, size=network.constants[name])
    x = rng.normal(size=(2, 3, 32, 32)) + 0.1
    y = rng.integers(10, size=2) if loss == "cross_entropy" else rng.normal(size=(2, 10))
    v = rng.normal(size=network.size)
    found = {"layers": network.to_dicts(), "params": params, "x": x, "y": y, "loss": loss}
    gradient = network.gradient(params, x, y, loss)
    mine = {
        "forward": network.forward(params, x),
        "gradient": np.concatenate([gradient[name].ravel() for name in network.shapes]),
        "hvp": network.hvp(params, x, y, v, loss),
    }
    reference = Reference(found)
    expected = {
        "forward": reference.outputs(reference.theta, reference.x),
        "gradient": func.grad(reference.loss)(reference.theta),
        "hvp": reference.hvp(torch.from_numpy(v)),
    }
    gaps = {name: difference(mine[name], answer.detach().numpy()) for name, answer in expected.items()}
    assert max(gaps.values()) <= RTOL, gaps
