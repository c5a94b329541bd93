"""The generated calls of `prospr`, and their invariances: a network, batches, a step length and a momentum."""

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_network import RULES

from .. import kinks, make
from ..architectures import PALETTE
from ..networks import inputs, outputs, problem
from . import networks
from .prospr_parts import LOSS, Training, places
from .score_view import wide
from .snip import loud

OWN = (
    "Momentum", "ShortLoader", "ZeroStep", "SameBatch", "UnequalBatches", "LargeBatch", "ManySteps", "LargeActivations",
    "BadStep",
)  # fmt: skip
# Square networks have no bias.
LEFT_OUT = ("Kink", "NegativeCurvature", "OneOutput", "LossScale", "Empty", "WiderThanBlock", "NoBias")
FLAGS = (*(flag for flag in networks.FLAGS if flag not in LEFT_OUT), "LossScale", *OWN, "Empty")
SHAPES = tuple(name for name in PALETTE if name not in ("one output", "wide"))
MARGIN = 0.004  # from every kink on the way; the numbers there are of size 1
LOUD = 16.0  # PyTorch takes softplus for a line from 20 on, which is 2e-9 off
DRAWS = 2000
RATES, MOMENTA = (0.0625, 0.125, 0.3, 0.5), (0.0, 0.5, 0.9)


def suits(flag, name):
    """Whether a flag makes sense on an architecture of the palette; many samples or steps are slow on large ones."""
    if flag in ("LargeBatch", "ManySteps"):
        return name in ("dense", "skip")
    return networks.suits(flag, name)


def build(flag, name, rng, dtype):
    """One call."""
    for _ in range(DRAWS):
        call = _drawn(rng, flag, name, dtype)
        if _tame(call):
            return _spoiled(rng, _laid_out(rng, call, flag), flag)
    raise RuntimeError(
        f"need a training away from the kinks with the flag {flag} on {name}; none in {DRAWS} draws"
    )


def _tame(call):
    """Whether all steps are far from every kink, and no softplus sees what PyTorch takes it for a line at."""
    return all(_quiet(*place) for place in places(Training(wide(call))))


def _quiet(layers, params, x):
    seen = [0.0]

    def softplus(layer, own, a, rules):
        seen.append(a.value.max())
        return RULES["softplus"](layer, own, a, rules)

    derivatives.forward(layers, params, x, {**RULES, "softplus": softplus})
    return max(seen) < LOUD and kinks.distances(layers, params, x).min(initial=np.inf) >= MARGIN


def _drawn(rng, flag, name, dtype):
    known = flag if flag not in ("OneSample", "OppositeGradients", *OWN) else None
    found = problem(rng, "ReLU" if flag == "LargeActivations" else known, dtype, LOSS, name)
    if flag == "LargeActivations":
        found["params"] = loud(rng, found["params"])
    sizes = _sizes(rng, flag, PALETTE[name])
    x = inputs(rng, (sum(sizes), *PALETTE[name].shape), dtype, flag)
    f = outputs({**found, "x": x})
    y = f.argmax(axis=1) if flag == "LossScale" else rng.integers(f.shape[1], size=len(f))
    if flag == "OppositeGradients":  # the same sample twice, with different labels
        y[1::2] = (y[::2] + 1) % f.shape[1]
    cuts = np.cumsum(sizes)[:-1]
    batches = list(zip(np.split(x, cuts), np.split(y, cuts), strict=True))
    if flag == "SameBatch":
        batches = [batches[0]] * len(batches)
    momentum = 0.9 if flag in ("Momentum", "ManySteps") else float(rng.choice(MOMENTA))
    lr = 0.0 if flag == "ZeroStep" else RATES[0] if flag == "LargeActivations" else float(rng.choice(RATES))
    params = {key: a.copy() for key, a in found["params"].items()}
    return {"layers": found["layers"], "params": params, "batches": [(x.copy(), y.copy()) for x, y in batches],
            "lr": lr, "momentum": momentum}  # fmt: skip


def _sizes(rng, flag, found):
    """Samples of every batch: two to four of them, three at most of images; the last one is the outer one."""
    few = len(found.shape) == 3
    if flag == "ManySteps":
        return [2] * 6
    if flag == "LargeBatch":
        return [int(n) for n in rng.permutation([9, 17])]
    count = 1 if flag == "ShortLoader" else int(rng.integers(3 if flag == "Momentum" else 2, 4 if few else 5))
    if flag == "OneSample":
        return [1] * count
    if flag == "OppositeGradients":
        return [2] * count
    if flag == "UnequalBatches":
        return [int(n) for n in rng.permutation(4)[:count] + 1]
    return [min(found.samples, 2 if few else 4)] * count


def _laid_out(rng, call, flag):
    if flag not in make.LAYOUTS:
        return call
    params = {name: make.layout(rng, array, flag) for name, array in call["params"].items()}
    return {**call, "params": params, "batches": [(make.layout(rng, x, flag), y) for x, y in call["batches"]]}


def _spoiled(rng, call, flag):
    """One bad batch, bad parameters, no batch, a step or a momentum that is none."""
    if flag == "BadStep":
        wrong = [{"lr": -0.1}, {"lr": float("nan")}, {"momentum": 1.0}, {"momentum": -0.5}]
        return {**call, **wrong[rng.integers(len(wrong))]}
    if flag == "Empty":
        return {**call, "batches": []}
    batches, at = list(call["batches"]), int(rng.integers(len(call["batches"])))
    found = {"layers": call["layers"], "params": call["params"], "x": batches[at][0], "y": batches[at][1]}
    found = networks.spoil(rng, found, flag)
    batches[at] = found["x"], found["y"]
    return {**call, "layers": found["layers"], "params": found["params"], "batches": batches}


# invariances


def samples_reordered(contract, call, rng):
    """The samples of every batch in another order."""
    orders = [rng.permutation(len(x)) for x, _ in call["batches"]]
    batches = [(x[order], y[order]) for (x, y), order in zip(call["batches"], orders, strict=True)]
    return {**call, "batches": batches}


def samples_twice(contract, call, rng):
    """Every sample twice: means do not change."""
    return {
        **call,
        "batches": [(np.concatenate([x] * 2), np.concatenate([y] * 2)) for x, y in call["batches"]],
    }


def _if_tame(call):
    return call if _tame(call) else None


def batches_reversed(contract, call, rng):
    """The batches in the opposite order: the outer one is the first."""
    return _if_tame({**call, "batches": call["batches"][::-1]}) if len(call["batches"]) > 1 else None


def other_labels(contract, call, rng):
    """Other labels for the steps; samples and the outer batch are the same."""
    *inner, outer = call["batches"]
    classes = 1 + max(int(y.max()) for _, y in call["batches"])
    moved = [(x, (y + 1) % max(classes, 2)) for x, y in inner]
    return _if_tame({**call, "batches": [*moved, outer]}) if inner else None


def a_step_less(contract, call, rng):
    """Without the first batch."""
    return _if_tame({**call, "batches": call["batches"][1:]}) if len(call["batches"]) > 1 else None


def another_momentum(contract, call, rng):
    """Another momentum, a smaller step."""
    return _if_tame({**call, "lr": call["lr"] / 2, "momentum": 0.75})


TRANSFORMS = (
    samples_reordered, samples_twice, batches_reversed, a_step_less, another_momentum, other_labels
)  # fmt: skip
