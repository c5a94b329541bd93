"""`hvp`, `hessian`, `gauss-newton`, `per-sample-gradients`: derivatives of a network's loss."""

from functools import partial

import numpy as np

from refprune.definitions import derivatives

from .. import checks, make, network_checks
from .. import network_transforms as moves
from ..architectures import PALETTE
from ..contract import Contract
from ..network_view import NetworkView
from ..networks import problem, spoiled
from . import network_mistakes
from .network_vectors import right

FLAGS = (
    "Square",
    "NoBias",
    "WiderThanBlock",
    "OneOutput",
    "Residual",
    "Shortcut",
    "Conv",
    "ConvPadding",
    "ConvStride",
    "ConvDilation",
    "ConvGroups",
    "Depthwise",
    "MaxPool",
    "AvgPool",
    "BatchNorm",
    "ReLU",
    "Smooth",
    "Kink",
    "OneSample",
    "OppositeGradients",
    "LossScale",
    "LargeLogits",
    "NegativeCurvature",
    "ZeroWeight",
    "DeadInput",
    "NonContiguous",
    "ReadOnly",
    "Transposed",
    "NaN",
    "Inf",
    "Empty",
    "WrongShape",
    "BadLabel",
    "UnknownLayer",
)
DIRECTIONS = ("ZeroDirection", "UnitDirection")
# Entries of a matrix are products of two small numbers there, below what a first-order bound tells; sums are not.
VECTORS_ONLY = ("Saturated",)
SPECIAL = {flag for found in PALETTE.values() for flag in found.flags}
VECTORS = ("dense", "square", "wide", "skip", "conv")  # where a negative curvature is found fast


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette."""
    if flag in SPECIAL:
        return flag in PALETTE[name].flags
    if flag == "NegativeCurvature":
        return name in VECTORS
    if flag == "Kink":
        return name not in ("batch norm", "shortcut", "depthwise")  # sums are rounded, or never on one kink
    return name != "one output" or flag not in ("LargeLogits", "BadLabel")


def build(flag, name, rng, dtype, quantity, palette=PALETTE):
    """One problem, with a direction for products; a network with one output has no classes."""
    loss = "squared" if name == "one output" else None
    found = problem(rng, flag, dtype, loss, palette[name])
    d = sum(array.size for key, array in found["params"].items() if "running" not in key)
    if quantity == "hvp":
        found["v"] = _direction(rng, found, d, flag).astype(dtype)
    return spoil(rng, laid_out(rng, found, flag), flag)


def _direction(rng, found, d, flag):
    if flag == "ZeroDirection":
        return np.zeros(d)
    if flag == "UnitDirection":
        return np.eye(d)[rng.integers(d)]
    if flag == "NegativeCurvature":
        H = right("hessian")(*found.values())
        return np.linalg.eigh(H.astype(float))[1][:, 0] + 0.0
    return rng.normal(size=d) + 0.1


def laid_out(rng, found, flag):
    """Every array in the layout that the flag names, if it names one."""
    if flag in make.LAYOUTS:
        params = {name: make.layout(rng, array, flag) for name, array in found["params"].items()}
        others = {name: make.layout(rng, found[name], flag) for name in ("x", "y", "v") if name in found}
        found = {**found, "params": params, **others}
    return found


def spoil(rng, found, flag):
    """Bad numbers, shapes that do not fit, no sample, a label too many, a layer that nobody knows."""
    params, x, y = found["params"], found["x"], found["y"]
    if flag in ("NaN", "Inf", "WrongShape"):
        others = [*(["v"] if "v" in found else []), *(["y"] if y.dtype.kind == "f" else [])]
        return spoiled(rng, found, flag, others)
    if flag == "Empty":
        return {**found, "x": x[:0], "y": y[:0]}
    if flag == "BadLabel":
        y = y.copy()
        y[rng.integers(len(y))] = rng.choice([-1, derivatives.forward(found["layers"], params, x).shape[1]])
        return {**found, "y": y}
    if flag == "UnknownLayer":
        layers = [dict(layer) for layer in found["layers"]]
        layers.insert(int(rng.integers(len(layers))), {"type": "maxout"})
        return {**found, "layers": layers}
    return found


READINGS = (
    "`layers` is a list of mappings with the key `type`: dense (inputs, outputs, bias), conv2d (in_channels, "
    "out_channels, kernel, stride, padding, dilation, groups, bias), relu, tanh, sigmoid, gelu (exact, by erf), silu, "
    "softplus, maxpool2d and avgpool2d (kernel, stride, padding), globalavgpool, flatten, batchnorm2d (channels, eps), "
    "residual (body, shortcut)",
    "kernel, stride, padding and dilation are an integer or a pair (height, width); a pool without stride moves by its "
    "kernel, without padding has none; a residual block without shortcut adds its input",
    "padding is zeros on both sides; those of an average pool count, those of a max pool never win; globalavgpool "
    "gives (samples, channels, 1, 1)",
    "batch normalisation is that of inference: running statistics are constants",
    "`params` is keyed like a PyTorch `state_dict` (`3.body.0.weight`), in flat order: layers in order, body before "
    "shortcut, weight then bias; a dense weight is (outputs, inputs), a convolution's (out, channels / groups, kh, kw)",
    "the flat vector holds every array of `params` in C order, but for the running statistics",
    "`loss` is cross_entropy (y holds integer labels; softmax of the outputs) or squared (`1/2 |f - y|^2` of a "
    "sample); the loss of a batch is the mean over its samples",
)
SHAPES = "`x` is (samples, inputs) or (samples, channels, height, width), `y` (samples,) integers or (samples, outputs)"
TOLERANCE = (
    "`c eps E` entrywise: E is what one rounding at each step makes of an entry, carried through the definition in "
    "absolute values (first order, the sensitivity of activations and softmax included); c is 4 + sqrt(n), n the "
    "longest sum (Higham, section 3.1; Higham and Mary 2019); the eps of x's dtype on top, for storing"
)
TIES = "on a kink of a ReLU, or a tie in a max pool, every slope in [0, 1] is right, the same in all entries"
AXES = {"x": ("sample",), "y": ("sample",)}
TRANSFORMS = (
    moves.samples_reordered,
    moves.samples_twice,
    moves.first_samples,
    moves.other_targets,
    moves.outputs_scaled,
    moves.hidden_units,
)
KINDS = {
    "hvp": ("product", "the Hessian of the mean loss times v", "(d,)"),
    "hessian": ("hessian", "the Hessian of the mean loss", "(d, d)"),
    "gauss_newton": (
        "matrix",
        "the mean over the samples of `J^T S J`, S the loss's curvature in the outputs",
        "(d, d)",
    ),
    "per_sample_gradients": (
        "gradients",
        "each row is the gradient of that sample's own loss",
        "(samples, d)",
    ),
}
EXAMPLE = """def {name}({arguments}):
    import refprune as rp  # in place of your own
    network = rp.Network.from_dicts(layers)
    return network.{name}(params, x, y, {v}loss)"""


def _contract(quantity):
    returned, promise, shape = KINDS[quantity]
    product = quantity == "hvp"
    arguments = ("layers", "params", "x", "y", "loss", *(["v"] if product else []))
    certificates = {
        "hessian": (network_checks.SYMMETRIC,),
        "gauss_newton": (network_checks.SYMMETRIC, network_checks.SEMIDEFINITE),
    }.get(quantity, ())
    return Contract(
        name=quantity.replace("_", "-"),
        arguments=arguments,
        returns=(returned,),
        promises=(
            f"{promise}, {shape}, in the dtype of x",
            *(["linear in v"] if product else []),
            *(["symmetric to rounding"] if certificates else []),
            *(["no negative eigenvalue"] if quantity == "gauss_newton" else []),
        ),
        readings=READINGS,
        tolerance=TOLERANCE,
        ties=TIES,
        reference=right(quantity),
        checks=(
            *checks.BEFORE,
            network_checks.FORM,
            checks.FINITE,
            *certificates,
            network_checks.DIFFERENCES,
            network_checks.EQUAL,
            *checks.AFTER,
        ),
        mistakes=network_mistakes.of(quantity),
        view=partial(NetworkView, quantity=quantity),
        flags=(*FLAGS, *(() if certificates else VECTORS_ONLY), *(DIRECTIONS if product else ())),
        shapes=tuple(PALETTE),
        build=partial(build, quantity=quantity),
        axes=AXES,
        transforms=(*TRANSFORMS, *((moves.direction, moves.other_direction) if product else ())),
        example=EXAMPLE.format(name=quantity, arguments=", ".join(arguments), v="v, " if product else ""),
        suits=suits,
        sizes=lambda name: None,
        call_shapes=f"{SHAPES}{', `v` (d,)' if product else ''}; d counts the entries of the flat vector",
    )


CONTRACTS = tuple(map(_contract, KINDS))
