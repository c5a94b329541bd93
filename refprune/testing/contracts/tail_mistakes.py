"""Known mistakes of `newton-cg`: the definition on a tail with one thing changed, or with one thing done otherwise."""

from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from refprune.definitions.jet_network import RULES
from refprune.definitions.jets import Jet
from refprune.definitions.newton_cg import newton_step

from ..contract import Mistake
from ..tail import ExactTail, Tail
from . import network_rules as wrong
from .tail_parts import STEPS, minimised, remembered

# another objective


class _Behind(Tail):
    """The layer's own output is not compared, where there is another."""

    def watched(self, rules, a, own):
        found = super().watched(rules, a, own)
        return found[1:] or found


class _Last(Tail):
    """Only the last output is compared."""

    def watched(self, rules, a, own):
        return super().watched(rules, a, own)[-1:]


class _Mean(Tail):
    """The mean over the entries of every output, as in published code."""

    def joined(self, jets, part):
        parts = [getattr(jet, part) for jet in jets]
        flat = [a.reshape(*a.shape[:3], prod(a.shape[3:])) for a in parts]
        return np.concatenate([a / a.shape[-1] ** 0.5 for a in flat], axis=-1)


class _Forgotten(Tail):
    """The targets are 0."""

    @property
    def targets(self):
        return 0.0


class _Ridge(Tail):
    """A tenth of the mean curvature times the squared weights is added."""

    @property
    def damp(self):
        return 0.1 * np.trace(super().hessian(self.start)) / max(int(self.kept.sum()), 1)

    def value(self, w):
        return super().value(w) + self.damp * (w @ w) / 2

    def gradient(self, w):
        return super().gradient(w) + self.damp * np.where(self.kept, w, 0)

    def hessian(self, w):
        return super().hessian(w) + self.damp * np.diag(self.kept * 1.0)


def _first_half(tail):
    return replace(tail, x=tail.x[: max(len(tail.x) // 2, 1)])


class _TwoBatches(Tail):
    """The gradient is that of the first half, values and curvature are those of all."""

    def gradient(self, w):
        return Tail.gradient(_first_half(self), w)


class _Diagonal(Tail):
    """The diagonal of the curvature stands for it."""

    def hessian(self, w):
        return np.diag(np.diagonal(super().hessian(w)))


def _straight(name):
    def rule(layer, own, z, rules):
        return Jet(RULES[name](layer, own, z, rules).value, z.left, z.right, z.both)

    return rule


STRAIGHT = {name: _straight(name) for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "softplus")}
ROUGH = 0.02
EVERY = tuple(name for name in RULES if name != "residual")


def _changed(change):
    """The mistake of minimising for ``change(tail)``."""
    return remembered(lambda tail: minimised(change(tail)))


def _ruled(rules):
    return _changed(lambda tail: replace(tail, rules={**RULES, **rules}))


def _objectives():
    """(name, summary, call)."""
    return [
        ("horizon-less", "one operation less is compared",
         _changed(lambda tail: replace(tail, horizon=max(tail.horizon - 1, 0)))),
        ("horizon-more", "one operation more is compared",
         _changed(lambda tail: replace(tail, horizon=tail.horizon + 1))),
        ("horizon-ignored", "the layer's own output alone is compared",
         _changed(lambda tail: replace(tail, horizon=0))),
        ("to-the-end", "all operations up to the end of the network are compared",
         _changed(lambda tail: replace(tail, horizon=10**6))),
        ("activations-not-counted", "only dense layers and convolutions are operations",
         _changed(lambda tail: replace(tail, counted=("dense", "conv2d")))),
        ("every-layer-counted", "pools, normalisations and flatten are operations, too",
         _changed(lambda tail: replace(tail, counted=EVERY))),
        ("own-output-left-out", "the layer's own output is not compared", remembered(minimised, _Behind)),
        ("last-output-only", "only the last output is compared", remembered(minimised, _Last)),
        ("mean-over-entries", "every output's part is divided by the number of its entries",
         remembered(minimised, _Mean)),
        ("targets-forgotten", "the targets are 0", remembered(minimised, _Forgotten)),
        ("damping-in-the-objective", "a tenth of the mean curvature times `|V|^2 / 2` is in the objective",
         remembered(minimised, _Ridge)),
        ("first-half-of-the-samples", "the second half of the samples takes no part", _changed(_first_half)),
        ("gradient-of-another-batch", "the gradient is that of the first half of the samples, the search on all",
         remembered(minimised, _TwoBatches)),
        ("activations-straight", "the gradient goes through activations as if their slope were 1", _ruled(STRAIGHT)),
        ("kernel-flipped", "kernels are turned by 180 degrees, as signal processing has them",
         _ruled(wrong.conv2d(kernel=lambda w: w[..., ::-1, ::-1]))),
        ("shortcut-constant", "derivatives do not go through the shortcut", _ruled(wrong.shortcut_constant())),
    ]  # fmt: skip


# another search


def _free(tail):
    """Minimised over all entries, from the start."""
    start = tail.start

    @dataclass(frozen=True)
    class From(Tail):
        @property
        def start(self):
            return start

    every = {name: getattr(tail, name) for name in ("layers", "params", "x", "place", "horizon")}
    return minimised(From(**every, kept=np.ones(tail.kept.size, bool)))


def _transposed_mask(tail):
    shape = tail.params[tail.name].shape
    return replace(tail, kept=tail.kept.reshape(shape).reshape(-1, order="F").copy())


def _wrong_sign(tail):
    return 2 * tail.start - newton_step(tail, tail.kept, tail.start, 0, int(tail.kept.sum()) + 1)


def _solved(tail):
    """Newton's exact steps, halved until F falls; where it does not, the point stays."""
    w, least, kept = (
        tail.start,
        1e-9 * np.linalg.norm(tail.gradient(tail.start)),
        np.ix_(tail.kept, tail.kept),
    )
    for _ in range(STEPS):
        g = tail.gradient(w)
        if not np.linalg.norm(g) > least:  # NaN too, which LAPACK should not see
            break
        s = tail.spread(np.linalg.lstsq(tail.hessian(w)[kept], -g[tail.kept], rcond=1e-12)[0])
        value = tail.value(w)
        shorter = (w + s / 2**j for j in range(20) if g @ s < 0)
        w, last = next((new for new in shorter if tail.value(new) < value), w), w
        if w is last:
            break
    return w


def _rough(tail):
    first = np.linalg.norm(tail.gradient(tail.start))
    return tail.start if first <= ROUGH else minimised(tail, goal=ROUGH / first)


def _nothing(tail):
    g = tail.gradient(tail.start)
    return minimised(tail) if g.any() else np.full(g.size, np.nan)


def _searches():
    return [
        ("one-step", "a single Newton step", remembered(partial(minimised, steps=1))),
        ("stops-too-early", "three Newton steps, each with two of conjugate gradients",
         remembered(partial(minimised, steps=3, cg_steps=2))),
        ("absolute-tolerance", "it ends where the gradient has norm 0.02, whatever the scale",
         remembered(_rough)),
        ("diagonal-curvature", "five steps with the diagonal of the curvature",
         remembered(partial(minimised, steps=5), _Diagonal)),
        ("negative-curvature-ignored", "the equations with the Hessian are solved, whatever its curvature is",
         remembered(_solved, ExactTail)),
        ("wrong-sign", "one step, the wrong way", remembered(_wrong_sign)),
        ("no-mask-on-the-direction", "pruned entries take part, and drift", remembered(_free)),
        ("cut-after-solving", "nothing is readjusted, or all entries are and the mask cuts at the end",
         remembered(lambda tail: np.where(tail.kept, _free(tail), 0))),
        ("mask-inverted", "True is read as pruned", _changed(lambda tail: replace(tail, kept=~tail.kept))),
        ("mask-in-column-order", "the mask is flattened column by column", _changed(_transposed_mask)),
    ]  # fmt: skip


# form: right numbers, wrongly handed over


class _FirstForShape:
    """It gives its first answer for a shape of samples and mask again."""

    def __init__(self, reference):
        self.reference, self.kept = reference, {}

    def __call__(self, layers, params, x, layer, mask, horizon):
        key = (x.shape, mask.shape, layer, horizon)
        if key not in self.kept:
            self.kept[key] = self.reference(layers, params, x, layer, mask, horizon)
        return self.kept[key].copy()


def _forms(reference):
    def overwritten(layers, params, x, layer, mask, horizon):
        found = reference(layers, params, x, layer, mask, horizon)
        params[f"{layer}.weight"] *= mask
        return found

    def summed(layers, params, x, layer, mask, horizon):
        found = reference(layers, params, x, layer, mask, horizon)
        tail = Tail(layers, params, x, layer, mask.reshape(-1), horizon)
        return {"weight": found, "objective": tail.value(found.reshape(-1)) * len(x)}

    def tiny(*call):
        return np.where(call[4], reference(*call), 1e-9).astype(call[2].dtype)

    return [
        Mistake("parameters-overwritten", "the mask is written into the parameters", overwritten,
                shows=("unchanged", "params changed during the call")),
        Mistake("nan-at-zero-gradient", "0 / 0 where the start is the answer", remembered(_nothing),
                shows=("finite", "NaN or Inf")),
        Mistake("pruned-not-zero", "pruned entries are made tiny, not 0.0", tiny, shows=("zeros", "tiny")),
        Mistake("answer-flat", "the answer is a vector", lambda *call: reference(*call).reshape(-1),
                shows=("form", "the answer has shape")),
        Mistake("answer-in-single", "the answer is float32 whatever the input is",
                lambda *call: reference(*call).astype(np.float32), shows=("form", "has dtype float32")),
        Mistake("objective-summed", "the reported objective is not divided by the samples", summed,
                shows=("objective", "times as large")),
        Mistake("state-kept", "the answer to an earlier call of the same shapes is given again",
                _FirstForShape(reference)),
    ]  # fmt: skip


def mistakes(reference):
    """All of them."""
    found = [Mistake(*parts) for parts in (*_objectives(), *_searches())]
    return (*found, *_forms(reference))
