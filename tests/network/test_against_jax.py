"""Forward pass, loss and every derivative agree with JAX's on 216 generated networks, in float64.

The networks are run by JAX's own operators on the plain data. JAX compiles for every structure anew, so there are
twelve structures, and for each of them 18 draws of parameters, samples and targets, with both losses. "Relative"
means: the largest difference, divided by the largest entry of JAX's answer. An answer that is 0 has to be 0.
"""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from agreement import LOSSES, RTOL, difference, ours, types

from refprune.network import Network
from refprune.testing.kinks import distances
from refprune.testing.networks import MARGIN, inputs, parameters, targets
from refprune.testing.random_networks import random_layers

jax = pytest.importorskip("jax", reason='JAX is the other side here: pip install "refprune[jax]"')
jnp, lax = pytest.importorskip("jax.numpy"), pytest.importorskip("jax.lax")

DRAWS = 18
STRUCTURES = range(12)
ELEMENTWISE = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "flatten": lambda x: x.reshape(len(x), -1),
    "globalavgpool": lambda x: x.mean((2, 3), keepdims=True),
}


@pytest.fixture(autouse=True, scope="module")
def _float64():
    """64 bits, and little optimisation: the time goes into compiling."""
    names = ("jax_enable_x64", "jax_disable_most_optimizations")
    before = {name: jax.config.read(name) for name in names}
    for name in names:
        jax.config.update(name, True)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def forward(layers, params, x, start=""):
    """The outputs of the network that `layers` (plain data) describe, by JAX's operators."""
    for i, layer in enumerate(layers):
        kind, own = layer["type"], partial(_own, params, f"{start}{i}.")
        if kind in ELEMENTWISE:
            x = ELEMENTWISE[kind](x)
        elif kind == "residual":
            body = forward(layer["body"], params, x, f"{start}{i}.body.")
            x = body + forward(layer.get("shortcut") or [], params, x, f"{start}{i}.shortcut.")
        elif kind == "dense":
            x = x @ own("weight").T + own("bias", 0.0)
        elif kind == "batchnorm2d":
            mean, var, weight, bias = (
                own(name)[:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
            )
            x = (x - mean) * lax.rsqrt(var + layer.get("eps", 1e-5)) * weight + bias
        else:
            x = {"conv2d": _conv, "maxpool2d": _max_pool, "avgpool2d": _average_pool}[kind](layer, own, x)
    return x


def _own(params, start, name, default=None):
    return params.get(start + name, default)


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _sides(layer):
    """((top, bottom), (left, right))."""
    return [_pair(side) for side in _pair(layer.get("padding", 0))]


def _conv(layer, own, x):
    y = lax.conv_general_dilated(
        x,
        own("weight"),
        _pair(layer.get("stride", 1)),
        _sides(layer),
        rhs_dilation=_pair(layer.get("dilation", 1)),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=layer.get("groups", 1),
    )
    return y + own("bias", jnp.zeros(1))[:, None, None]


def _windows(layer, x, fill):
    """The entries of each window, stacked: the padded images, cut by strides."""
    (kh, kw), (dh, dw) = _pair(layer["kernel"]), _pair(layer.get("dilation", 1))
    stride = layer.get("stride")
    sh, sw = _pair(layer["kernel"] if stride is None else stride)
    x = jnp.pad(x, [(0, 0), (0, 0), *_sides(layer)], constant_values=fill)
    rows, columns = ((x.shape[2] - dh * (kh - 1) - 1) // sh, (x.shape[3] - dw * (kw - 1) - 1) // sw)
    cuts = [
        x[:, :, i * dh : i * dh + rows * sh + 1 : sh, j * dw : j * dw + columns * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]
    return jnp.stack(cuts)


def _max_pool(layer, own, x):
    return _windows(layer, x, -jnp.inf).max(0)


def _average_pool(layer, own, x):
    counted = 1.0 if layer.get("count_padding", True) else 0.0
    return _windows(layer, x, 0.0).sum(0) / _windows(layer, jnp.ones_like(x), counted).sum(0)


def outputs_loss(f, labels, targets, entropy):
    """The mean loss of outputs `f`: cross-entropy with `labels` where `entropy`, else squared with `targets`."""
    cross = -jnp.take_along_axis(jax.nn.log_softmax(f), labels[:, None], 1).mean()
    return jnp.where(entropy, cross, 0.5 * ((f - targets) ** 2).sum() / len(f))


def answers(layers, shapes, theta, constants, x, v, *target):
    """Everything that is compared, by the name of the network's method."""

    def outputs(theta):
        sizes = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        pieces = jnp.split(theta, sizes[:-1])
        params = {name: p.reshape(shape) for (name, shape), p in zip(shapes.items(), pieces)}
        return forward(layers, params | constants, x)

    def gradient(theta):
        found = jax.grad(lambda theta: outputs_loss(outputs(theta), *target))(theta)
        return found, found

    f = outputs(theta)
    hessian, first = jax.jacfwd(gradient, has_aux=True)(theta)
    jacobian = jax.jacrev(outputs)(theta)
    curvature = jax.hessian(outputs_loss)(f, *target)
    gauss_newton = jnp.einsum("iaj,iakb,kbl->jl", jacobian, curvature, jacobian)
    per_sample = jnp.einsum("iaj,ia->ij", jacobian, jax.grad(outputs_loss)(f, *target)) * len(f)
    return {
        "forward": f,
        "loss": outputs_loss(f, *target),
        "gradient": first,
        "hvp": v @ hessian,
        "hessian": hessian,
        "hessian_diagonal": jnp.diagonal(hessian),
        "jacobian": jacobian,
        "per_sample_gradients": per_sample,
        "gauss_newton": gauss_newton,
        "model_fisher": gauss_newton,
        "gauss_newton_product": v @ gauss_newton,
        "empirical_fisher": per_sample.T @ per_sample / len(f),
    }


def generated(structure, draw):
    """A problem with the layers of `structure`; the losses take turns."""
    layers, shape = random_layers(np.random.default_rng(structure))
    rng, loss = np.random.default_rng([structure, draw]), LOSSES[draw % 2]
    while True:
        params, x = parameters(rng, layers, shape, "float64"), inputs(rng, (3, *shape), "float64")
        if distances(layers, params, x).min(initial=np.inf) >= MARGIN:
            break
    found = {"layers": layers, "params": params, "x": x, "loss": loss}
    return found | {"y": targets(rng, found, "float64")}, rng


@pytest.mark.parametrize("structure", STRUCTURES)
def test_generated_networks(structure):
    layers, _ = random_layers(np.random.default_rng(structure))
    network = Network.from_dicts(layers)
    reference = jax.jit(partial(answers, layers, network.shapes))
    for draw in range(DRAWS):
        found, rng = generated(structure, draw)
        params, x, y, v = found["params"], found["x"], found["y"], rng.normal(size=(2, network.size))
        theta = np.concatenate([params[name].ravel() for name in network.shapes])
        constants = {name: params[name] for name in network.constants}
        f = network.forward(params, x)
        entropy = found["loss"] == "cross_entropy"
        target = (y, np.zeros_like(f)) if entropy else (np.zeros(len(f), int), y)
        expected = reference(theta, constants, x, v, *target, entropy)
        mine = ours(found, v)
        gaps = {name: difference(mine[name], np.asarray(answer)) for name, answer in expected.items()}
        assert max(gaps.values()) <= RTOL, (draw, gaps)


def test_the_structures_hold_every_layer():
    met, problems = Counter(), 0
    for structure in STRUCTURES:
        layers, _ = random_layers(np.random.default_rng(structure))
        met.update({*types(layers)})
        problems += DRAWS
    assert set(met) == {*ELEMENTWISE, "dense", "conv2d", "batchnorm2d", "maxpool2d", "avgpool2d", "residual"}
    assert problems >= 200
