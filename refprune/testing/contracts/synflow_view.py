"""The flow through a network's weights as the checks read it: nothing is negative, so nothing cancels."""

from dataclasses import replace
from functools import cached_property, lru_cache
from numbers import Integral

import numpy as np

from refprune.definitions.jet_layers import look
from refprune.definitions.jet_outputs import outputs
from refprune.definitions.jets import linear
from refprune.definitions.snip import switched
from refprune.definitions.synflow import LINEAR, synflow_scores
from refprune.definitions.windows import winners

from .. import checks, wire
from ..bounds import INPUT_EPS, arithmetic_eps
from ..contract import Check, CheckSpec, failed, passed
from ..views import View
from . import score_view
from .synflow_mistakes import in_size, synflow

TIED = 1e-9  # of the larger one: what rounding may take for a tie in a max pool
ROUNDING = 64  # times eps of R, in the flow through a layer


class FlowView(score_view.NetworkScoreView):
    """Layers, parameters and the shape of a sample; there are no samples."""

    unique = False  # a flow in single precision loses other bits in every implementation

    def __init__(self, problem, claims):
        params, shape = problem["params"], problem["input_shape"]
        arrays = list(params.values()) if isinstance(params, dict) else []
        real = bool(arrays) and all(
            isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in arrays
        )
        View.__init__(self, {"params": arrays if real else np.zeros(0)}, claims, "params")
        self.calls = []
        if not real:
            self.expect("error", "params are no mapping from names to arrays of real floating numbers")
        elif not isinstance(shape, (tuple, list)) or not all(map(_is_side, shape)):
            self.expect("error", f"input_shape is {shape!r}; a tuple of integers >= 1 is needed")
        else:
            ones = np.ones((1, *shape))
            self.problem = {**problem, "x": ones}
            if self.need_parameters():
                self.calls = [(problem["layers"], params, ones)]
                self.name_weights(params)
        self.problem = problem

    @cached_property
    def solved(self):
        """The right scores; remembered for the next view of the same problem."""
        return _solved(self._packed)

    @cached_property
    def witness(self):
        """(name of a layer's weight, the flow through the layer) of every layer, and R; see `flows`."""
        return _flows(self._packed)

    @property
    def factor(self):
        """c of the bound: a sum forward and one backward in every layer, each as long as the longest."""
        return 2 * _count(self.problem["layers"]) * super().factor

    @cached_property
    def allowed(self):
        """What rounding explains of each score: a share of itself, in the dtype of the parameters."""
        eps = max(arithmetic_eps(d, self.claims) for d in (self.dtype, self.claims.get("dtype", self.dtype)))
        eps = max(eps, 8 * INPUT_EPS.get(self.claims.get("input_precision"), 0.0))
        least = self.tiny if self.dtype == np.float16 else np.finfo(float).tiny
        log = np.abs(np.log(np.where(self.right > 0, self.right, 1)))  # who adds logarithms rounds them
        return ((self.factor + 2 * log) * eps + self.store_eps) * self.right + least


def _is_side(side):
    return isinstance(side, Integral) and not isinstance(side, bool) and side >= 1


def _count(layers):
    return len(layers) + sum(map(_count, _inner(layers)))


def _inner(layers):
    return [layer[part] for layer in layers for part in ("body", "shortcut") if layer.get(part)]


def _types(layers):
    return {layer["type"] for layer in layers}.union(*map(_types, _inner(layers)))


def _unpacked(packed):
    return wire.decode(wire.unpack(packed[wire.HEADER.size :]))


def _winner(last):
    """A max pool that takes what is equal but for rounding for a tie; the first wins, or the last."""

    def rule(layer, own, a, rules):
        seen = look(layer, a.value, -np.inf)
        near = (seen >= (1 - TIED) * seen.max(axis=(-4, -3), keepdims=True)) * 1.0
        shares = winners(near, last)
        return linear(lambda part: (shares * look(layer, part)).sum((-4, -3)), a)

    return {"maxpool2d": rule}


@lru_cache(maxsize=512)
def _solved(packed):
    problem = _unpacked(packed)
    call, open_ = (problem["layers"], problem["params"], tuple(problem["input_shape"])), False
    right = score_view.vector(synflow_scores(*call))
    if "maxpool2d" in _types(problem["layers"]):
        first, last = (score_view.vector(synflow(_winner(share))(*call)) for share in (0, 1))
        open_ = bool((np.abs(first - last) > TIED * np.maximum(first, last)).any())
    return score_view.Solved(right, right, open_)


@lru_cache(maxsize=512)
def _flows(packed):
    """({name of a weight: the flow through its layer}, R), from values of R alone; None where a winner may change.

    R is linear in the weights of one layer, so the flow is R less what goes past the layer, R with its weights at 0;
    in a chain nothing goes past it. A max pool is linear only where nothing goes past it.
    """
    problem = _unpacked(packed)
    layers, shape = problem["layers"], tuple(problem["input_shape"])
    if {"maxpool2d", "residual"} <= _types(layers):
        return None
    positive = {name: in_size(name, array) for name, array in problem["params"].items()}

    def flow(params):
        return float(outputs(layers, params, np.ones((1, *shape)), None, None, LINEAR).value.sum())

    R = flow(positive)
    return {name: R - flow(positive | {name: 0 * positive[name]}) for name in switched(positive)}, R


def form(view, answer):
    """The weights' keys and shapes; float64, or the dtype of the parameters where that is wide enough."""
    single = [array.dtype for array in answer.scores.values() if array.dtype != np.float64]
    with np.errstate(over="ignore"):
        narrow = {name: array.astype(view.dtype) for name, array in answer.scores.items()}
    kept = answer.scores if single else narrow
    found = score_view.form(view, replace(answer, scores=kept))
    alive = view.right[view.right > 0]
    if found is None and single and single[0] == np.float32 and alive.size:
        range_of = np.finfo(np.float32)
        if alive.max() > range_of.max or alive.min() < range_of.tiny:
            text = f"the scores go from {alive.min():.3g} to {alive.max():.3g}, beyond the range of float32"
            return failed(f"{text}; float64 is needed")
    return found


def conserved(view, answer):
    """The scores of every layer sum to the flow through it."""
    if view.witness is None:
        return Check("", "not run", None, None, "a max pool inside a residual block may change its winner")
    flows, R = view.witness
    worst = (0.0, 1.0)
    for name, flow in flows.items():
        own = np.array([text.startswith(f"{name}[") for text in view.names])
        said = float(answer.weight[own].sum())
        bound = float(view.allowed[own].sum()) + ROUNDING * np.finfo(float).eps * R
        error = abs(said - flow)
        if not error <= bound:
            where = score_view.equal(view, answer).explanation
            past = "" if flow >= R * (1 - 1e-9) else f" of {R:.6g} in all"
            text = f"the scores of {name} sum to {said:.6g}; the flow through the layer is {flow:.6g}{past}"
            return failed("; ".join(filter(None, [text, where])), error, bound)
        worst = max(worst, (error, bound), key=lambda pair: pair[0] / pair[1] if pair[1] else 0.0)
    return passed(*worst)


FORM = CheckSpec("form", "well-formed", score_view.FORM.summary, form)
CONSERVED = CheckSpec(
    "conserved", "truthful", "the scores of every layer sum to the flow through it", conserved
)
CHECKS = (
    *checks.BEFORE,
    FORM,
    checks.FINITE,
    score_view.NONNEGATIVE,
    CONSERVED,
    score_view.EQUAL,
    *checks.AFTER,
)
