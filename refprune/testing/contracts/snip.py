"""`snip`: how fast the loss changes with a switch on every weight."""

from functools import partial

import numpy as np

from refprune.definitions.derivatives import per_sample_gradients
from refprune.definitions.snip import snip_scores, switched, unflattened

from .. import checks, kinks, network_differences
from ..architectures import PALETTE
from ..contract import Contract
from ..diagnosis import wide
from ..network_view import sizes
from ..networks import MARGIN, outputs, problem
from . import networks
from . import score_view as view
from .snip_mistakes import MISTAKES, snip

OWN = ("LargeActivations", "SureAndWrong")
FLAGS = (*(flag for flag in networks.FLAGS if flag not in ("Kink", "NegativeCurvature")), *OWN)
PROMISE = (
    "a mapping from the names of the weights of dense layers and convolutions to arrays of their shapes, in the dtype "
    "of {}"
)
SIZED = (
    "`c eps E` for every score, E what one rounding at each step makes of it, carried through the definition in "
    "absolute values (first order); c is 4 + sqrt(n), n the longest sum (Higham, section 3.1; Higham and Mary 2019); "
    "the eps of the samples' dtype on top, for storing"
)
EXAMPLE = """def snip(layers, params, x, y, loss):
    import refprune as rp  # in place of your own
    gradient = rp.Network.from_dicts(layers).gradient(params, x, y, loss)
    weights = [name for name, a in params.items() if name.endswith("weight") and a.ndim > 1]
    return {name: abs(params[name] * gradient[name]) for name in weights}"""


def loud(rng, params):
    """The parameters with some entries of the first bias far above 0: behind a ReLU there are no bounds."""
    for name, array in params.items():
        if name.endswith("bias"):
            far = rng.random(array.shape) < 0.5
            far.flat[rng.integers(far.size)] = True
            return {**params, name: array + (8 * far).astype(array.dtype)}
    return params


def sure_and_wrong(found):
    """The last layer louder, the labels those that it thinks least likely: of some the probability is exp(-40)."""
    f = outputs(found)
    factor = 40 / np.ptp(f, axis=1).max()
    last = f"{len(found['layers']) - 1}."
    params = {
        name: (array * factor).astype(array.dtype) if name.startswith(last) else array
        for name, array in found["params"].items()
    }
    return {**found, "params": params, "y": f.argmin(axis=1)}


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette."""
    return networks.suits("LargeLogits" if flag == "SureAndWrong" else flag, name)


def build(flag, name, rng, dtype):
    """One call, away from the kinks."""
    if flag == "SureAndWrong":
        return sure_and_wrong(problem(rng, None, dtype, "cross_entropy", name))
    while True:
        found = networks.build("ReLU" if flag == "LargeActivations" else flag, name, rng, dtype, "snip")
        if flag != "LargeActivations":
            return found
        found["params"] = loud(rng, found["params"])
        call = wide(found)
        if kinks.distances(call["layers"], call["params"], call["x"]).min(initial=np.inf) >= MARGIN:
            return found


def _size(call):
    """|w| times what rounding makes of a gradient, and the product itself."""
    size = unflattened(sizes("per_sample_gradients", *call.values()).mean(0), call["params"])
    return {
        key: abs(call["params"][key]) * size[key] + scores
        for key, scores in snip_scores(*call.values()).items()
    }


def _witness(call):
    """(u with the signs of `w g`, the slope of the loss with the switches moved along |u|, its uncertainty)."""
    along = network_differences.Along(*call.values())
    g = per_sample_gradients(*call.values()).mean(0)
    u = np.random.default_rng(0).normal(size=g.shape)
    w = np.concatenate([np.ravel(a) for key, a in call["params"].items() if "running" not in key])
    scored = np.concatenate([np.full(a.size, key in switched(call["params"])) for key, a in call["params"].items()
                             if "running" not in key])  # fmt: skip
    try:
        slope, unsure = network_differences.once(along, along.losses, u * w * scored)
    except network_differences.Crossed:
        return None
    signed = unflattened(u * np.sign(w * g), call["params"])
    return {key: signed[key] for key in switched(call["params"])}, slope.mean(), np.mean(unsure)


METHOD = view.Method(
    batches=lambda call: [(call["x"], call["y"], call["loss"])],
    define=lambda call: snip_scores(*call.values()),
    size=_size,
    witness=_witness,
)
CONTRACT = Contract(
    name="snip",
    arguments=("layers", "params", "x", "y", "loss"),
    returns=("scores",),
    promises=(f"`|w dL/dw|` of every weight, L the mean loss: {PROMISE.format('x')}",),
    readings=(
        *networks.READINGS,
        "the derivative is that of the mean loss in a switch c on the weight at c = 1, and its size: not that of each "
        "sample, and not divided by the sum of all scores, as the paper's (6) is to rank them",
        "biases and the parameters of a batch normalisation have no switch and no score; those of residual blocks have",
    ),
    tolerance=SIZED,
    ties="on a kink of a ReLU, or a tie in a max pool, many slopes are right: other scores there are left undecided",
    reference=snip,
    checks=(
        *checks.BEFORE, view.FORM, checks.FINITE, view.NONNEGATIVE, view.DIFFERENCES, view.EQUAL, *checks.AFTER,
    ),
    mistakes=MISTAKES,
    view=partial(view.NetworkScoreView, method=METHOD),
    flags=FLAGS,
    shapes=tuple(PALETTE),
    build=build,
    axes=networks.AXES,
    transforms=networks.TRANSFORMS,
    example=EXAMPLE,
    suits=suits,
    sizes=lambda name: None,
    call_shapes=networks.SHAPES,
)  # fmt: skip
