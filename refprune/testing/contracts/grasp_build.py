"""Cases for `grasp`: those of networks, many samples, and activations where they are nearly flat."""

from ..architectures import FLATTEN, GLOBAL, PALETTE, SMOOTH, Architecture, conv, dense, norm
from ..network_transforms import outputs_times
from ..networks import LOSSES, inputs, parameters, problem, targets
from . import networks

FLAGS = (*(flag for flag in networks.FLAGS if flag != "Kink"), "ManySamples", "Saturated")
# A residual block that adds images: without a shortcut, as most blocks of a ResNet are.
GROUPS = Architecture(
    (4, 3, 3),
    3,
    lambda a: [
        conv(4, 4, 2, groups=2), {"type": "residual", "body": [conv(4, 4, 3, 1, 1, 1, 2, False), norm(4), a()]}, a(),
        GLOBAL, FLATTEN, dense(4, 3),
    ],
    ("ConvGroups",),
)  # fmt: skip
SHAPES = {**PALETTE, "groups": GROUPS}
ONLY = {
    "ManySamples": ("dense",),
    "Saturated": ("skip",),  # it has branches of its own
    "NonContiguous": ("batch norm", "shortcut"),  # kernels, dense weights, running statistics
}
MANY = 67  # no multiple of a usual batch
# Where e^-|z| is above the eps of single precision, of double, of none; PyTorch takes softplus for a line above 20.
NEAR, BELOW, ABOVE = (9, 12), (-22, -31), 45


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette."""
    if flag in ONLY:
        return name in ONLY[flag]
    if (flag, name) == ("LossScale", "one output"):  # classes are two or more
        return False
    return networks.suits(flag, name)


def build(flag, name, rng, dtype):
    """One problem."""
    if flag == "ManySamples":
        return _many(rng, dtype)
    if flag == "Saturated":
        return _saturated(rng, dtype)
    if flag == "LossScale":
        return _small(name, rng, dtype)
    return networks.build(flag, name, rng, dtype, "grasp", SHAPES)


def _small(name, rng, dtype):
    """A cross-entropy; in singles, where rounding may explain all of its scores, now and then a squared loss."""
    if dtype == "float64" or rng.random() < 0.5:
        return problem(rng, "LossScale", dtype, "cross_entropy", SHAPES[name])
    found = problem(rng, "LossScale", dtype, "squared", SHAPES[name])
    return outputs_times(found, 2.0**-8) if dtype == "float32" else found  # halves end at 6e-8


def _many(rng, dtype):
    """More samples than a batch of 64; the last one is the first again."""
    found = problem(rng, "Smooth", dtype, None, "dense")
    found["x"] = inputs(rng, (MANY, *PALETTE["dense"].shape), dtype)
    found["y"] = targets(rng, found, dtype)
    for name in ("x", "y"):
        found[name][-1] = found[name][0]
    return found


def _saturated(rng, dtype):
    """Every activation in a branch of its own, of five units: one as drawn, four far from 0."""
    branches = [[dense(2, 5), {"type": str(kind)}, dense(5, 2, False)] for kind in rng.permutation(SMOOTH)]
    layers = [*({"type": "residual", "body": body} for body in branches), dense(2, 3)]
    params = parameters(rng, layers, (2,), dtype)
    for name in [name for name in params if "body" in name and name.endswith("bias")]:
        moves = [0, rng.choice(NEAR), -rng.choice(NEAR), rng.choice(BELOW), ABOVE]
        params[name] = (params[name] + rng.permutation(moves)).astype(dtype)
    for name in [name for name in params if "body" in name and name.endswith("weight")]:
        # no unit comes near another one's place, and the next branch gets its input nearly as it was
        params[name] = params[name] / params[name].dtype.type(2 if "body.0" in name else 32)
    found = {"layers": layers, "params": params, "x": inputs(rng, (3, 2), dtype), "y": None}
    found["loss"] = str(rng.choice(LOSSES))
    return {**found, "y": targets(rng, found, dtype)}
