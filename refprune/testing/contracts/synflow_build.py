"""Cases for `synflow-scores`: networks without samples, and flows beyond the range of single precision."""

import numpy as np

from .. import make
from ..architectures import ACTIVATIONS, FLATTEN, GLOBAL, PALETTE, SMOOTH, Architecture, conv, dense, norm
from ..network_shapes import SHAPELESS, parameter_shapes
from ..networks import parameters
from . import networks

OF_SAMPLES = (
    "Kink",
    "OneSample",
    "OppositeGradients",
    "LossScale",
    "LargeLogits",
    "NegativeCurvature",
    "BadLabel",
)
OF_FLOW = ("DeadUnit", "LargeBias", "LargeFlow", "FaintFlow")  # in the place of DeadInput
KNOWN = [flag for flag in networks.FLAGS if flag not in OF_SAMPLES]
AT = KNOWN.index("DeadInput")
FLAGS = (*KNOWN[:AT], *OF_FLOW, *KNOWN[AT + 1 :])
# On an input of ones all channels are alike: groups come later. Most blocks of a ResNet add images as they are.
SHAPES = {
    **PALETTE,
    "groups": Architecture(
        (2, 4, 4),
        1,
        lambda a: [
            conv(2, 4, 2), {"type": "residual", "body": [conv(4, 4, 3, 1, 1), norm(4), a()]}, a(),
            conv(4, 6, 2, groups=2), a(), GLOBAL, FLATTEN, dense(6, 3),
        ],
        ("ConvGroups",),
    ),
}  # fmt: skip
SPECIAL = {flag for found in SHAPES.values() for flag in found.flags}
EVERY_ARRAY = ("batch norm", "shortcut")  # kernels, dense weights, running statistics
FAR = 200  # powers of two: float32 ends at 127 and -149
SINGLE = 9


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette."""
    if flag in SPECIAL:
        return flag in SHAPES[name].flags
    return flag != "NonContiguous" or name in EVERY_ARRAY


def build(flag, name, rng, dtype):
    """One problem; the shape of a sample is a tuple."""
    found, choices = SHAPES[name], {"Smooth": SMOOTH, "ReLU": ("relu",)}.get(flag, ACTIVATIONS)
    layers = found.layers(lambda: {"type": str(rng.choice(choices))})
    params = _changed(rng, parameters(rng, layers, found.shape, dtype, flag), flag)
    if flag in make.LAYOUTS:
        params = {key: make.layout(rng, array, flag) for key, array in params.items()}
    return _spoiled(rng, {"layers": layers, "params": params, "input_shape": found.shape}, flag)


def _changed(rng, params, flag):
    weights = [name for name in params if name.endswith("weight") and params[name].ndim > 1]
    first = weights[0]
    if flag == "DeadUnit":
        array = params[first].copy()
        array[rng.integers(len(array))] = 0.0
        return {**params, first: array}
    if flag == "LargeBias":
        return {
            name: array * array.dtype.type(100) if name.endswith(("bias", "running_mean")) else array
            for name, array in params.items()
        }
    if flag in ("LargeFlow", "FaintFlow"):
        far = (FAR if params[first].dtype != np.float16 else SINGLE) // len(weights)
        factor = 2.0 ** (far if flag == "LargeFlow" else -far)
        return params | {name: (params[name] * factor).astype(params[name].dtype) for name in weights}
    return params


def _spoiled(rng, found, flag):
    """Bad numbers, shapes that do not fit, a layer that nobody knows."""
    params, shape, layers = found["params"], found["input_shape"], found["layers"]
    if flag in ("NaN", "Inf") or (flag == "WrongShape" and rng.random() < 0.5):
        name = str(rng.choice([name for name in params if "running" not in name]))
        return {**found, "params": {**params, name: make.spoil(rng, params[name], flag)}}
    if flag == "WrongShape":
        return {**found, "input_shape": (shape[0] + 1, *shape[1:])}
    if flag == "Empty":
        return {**found, "input_shape": (0, *shape[1:])}
    if flag == "UnknownLayer":
        layers = [dict(layer) for layer in layers]
        layers.insert(int(rng.integers(len(layers))), {"type": "maxout"})
        return {**found, "layers": layers}
    return found


def signs(contract, problem, rng):
    """Other signs: only sizes count."""
    params = {
        name: array
        if "running" in name
        else array * rng.choice([-1, 1], size=array.shape).astype(array.dtype)
        for name, array in problem["params"].items()
    }
    return {**problem, "params": params}


def shifts(contract, problem, rng):
    """Other biases and running means: none takes part."""
    params = {
        name: (array * 2 + 1).astype(array.dtype) if name.endswith(("bias", "running_mean")) else array
        for name, array in problem["params"].items()
    }
    return {**problem, "params": params}


def scale(contract, problem, rng):
    """The weights of one layer times a power of two."""
    params = problem["params"]
    name = str(rng.choice([name for name in params if name.endswith("weight") and params[name].ndim > 1]))
    factor = 2.0 ** int(rng.choice([-6, -2, 3, 5]))
    return {**problem, "params": {**params, name: (params[name] * factor).astype(params[name].dtype)}}


def larger_image(contract, problem, rng):
    """The same parameters on a larger image, where a pool over all of it lets them fit."""
    layers, shape = problem["layers"], problem["input_shape"]
    if len(shape) == 1:
        return None
    larger = (shape[0], *(side + 2 for side in shape[1:]))
    try:
        same = parameter_shapes(layers, larger)[0] == parameter_shapes(layers, shape)[0]
    except ValueError:  # a dense layer sees more entries
        return None
    return {**problem, "input_shape": larger} if same else None


def activations(contract, problem, rng):
    """Other activations: all count as the identity."""

    def other(layer):
        if layer["type"] in SHAPELESS:
            return {"type": "tanh" if layer["type"] == "relu" else "relu"}
        inner = {part: list(map(other, layer[part])) for part in ("body", "shortcut") if layer.get(part)}
        return layer | inner

    return {**problem, "layers": list(map(other, problem["layers"]))}
