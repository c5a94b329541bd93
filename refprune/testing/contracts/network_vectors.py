"""Mistakes of derivatives of networks that concern the flat vector: what is in it, in which order, in which chunks."""

from functools import lru_cache

import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_network import RULES
from refprune.definitions.jet_outputs import size

from .. import wire
from ..contract import Mistake

CHUNK = 64  # directions at a time


def right(quantity, wrong=None):
    """The definition, with wrong steps for some types of layers; computed in float64, in the dtype of x."""
    changed = remembered(lambda *call: getattr(derivatives, quantity)(*call, {**RULES, **(wrong or {})}))

    def call(layers, params, x, y, loss, *v):
        wide = {name: array.astype(float) for name, array in params.items()}
        y = y.astype(float) if y.dtype.kind == "f" else y
        define = changed if _types(layers) & set(wrong or ()) else _DEFINED[quantity]
        return define(layers, wide, x.astype(float), y, loss, *(u.astype(float) for u in v)).astype(x.dtype)

    return call


def remembered(call, answers=64):
    """The same function, which keeps its last answers: a diagnosis asks for them again and again."""

    @lru_cache(maxsize=answers)
    def found(packed):
        return call(*wire.decode(wire.unpack(packed[wire.HEADER.size :])))

    return lambda *arguments: found(wire.pack(wire.encode(list(arguments)))).copy()


_DEFINED = {
    quantity: remembered(getattr(derivatives, quantity), 256)
    for quantity in ("hvp", "hessian", "gauss_newton", "per_sample_gradients")
}


def _types(layers):
    found = {layer["type"] for layer in layers}
    inner = [layer[part] for layer in layers for part in ("body", "shortcut") if layer.get(part)]
    return found.union(*map(_types, inner))


def of_vectors(quantity):
    """The mistakes that apply to a quantity."""
    found = [
        _masked(quantity, "biases-constant", "biases are taken for constants",
                lambda params, name: not name.endswith("bias")),
        _masked(quantity, "normalisation-constant", "weight and bias of a batch normalisation are taken for constants",
                lambda params, name: params[f"{_layer(name)}.weight"].ndim > 1),
        _masked(quantity, "zero-weights-frozen", "weights that are 0 are taken for pruned",
                lambda params, name: (params[name] != 0) | name.endswith("bias")),
        _reordered(quantity, "bias-first", "the bias of a layer stands before its weight", _bias_first),
        _reordered(quantity, "inputs-first", "a dense weight is flattened as (inputs, outputs)", _inputs_first),
        _reordered(quantity, "shortcut-first", "the shortcut of a residual block stands before its body",
                   _shortcut_first),
    ]  # fmt: skip
    if quantity == "per_sample_gradients":
        return found
    found += [
        Mistake("last-chunk-left-out", f"directions after the last full {CHUNK} are left out",
                _columns(quantity, lambda d: np.arange(d) < max(d // CHUNK, 1) * CHUNK)),
        Mistake("chunks-overlap", f"neighbouring chunks of {CHUNK} directions share one, which counts twice",
                _columns(quantity, lambda d: 1 + ((np.arange(d) % CHUNK == 0) & (np.arange(d) > 0)))),
        Mistake("block-diagonal", "only the blocks of single layers are there", _blocks(quantity)),
    ]  # fmt: skip
    if quantity != "hvp":
        found += [
            Mistake("triangle-only", "only the upper triangle is filled",
                    lambda *call: np.triu(right(quantity)(*call))),
            Mistake("diagonal-doubled", "a triangle and its transpose are added, so the diagonal counts twice",
                    lambda *call: right(quantity)(*call) * (1 + np.eye(size(call[1])))),
        ]  # fmt: skip
    return found


def _trainable(params):
    return [name for name in params if "running" not in name]


def _layer(name):
    return name.rpartition(".")[0]


def _masked(quantity, name, summary, keep):
    """Parameters for which `keep(params, name)` is false are taken for constants."""

    def call(layers, params, x, y, loss, *v):
        parts = [np.broadcast_to(keep(params, n), params[n].shape).ravel() for n in _trainable(params)]
        kept = np.concatenate(parts)
        found = right(quantity)(layers, params, x, y, loss, *(u * kept for u in v))
        return found * kept * (kept[:, None] if quantity in ("hessian", "gauss_newton") else 1)

    return Mistake(name, summary, call)


def _reordered(quantity, name, summary, order_of):
    """The flat vector is read and written in another order."""

    def call(layers, params, x, y, loss, *v):
        order = order_of(params)
        found = right(quantity)(layers, params, x, y, loss, *(u[np.argsort(order)] for u in v))
        return found[np.ix_(order, order)] if quantity in ("hessian", "gauss_newton") else found[..., order]

    return Mistake(name, summary, call)


def _places(params):
    """Name -> positions in the flat vector, in the parameter's shape."""
    found, at = {}, 0
    for name in _trainable(params):
        found[name] = at + np.arange(params[name].size).reshape(params[name].shape)
        at += params[name].size
    return found


def _bias_first(params):
    layers = list(dict.fromkeys(_layer(name) for name in params))
    places = _places(params)
    order = sorted(places, key=lambda name: (layers.index(_layer(name)), name.endswith("weight")))
    return np.concatenate([places[name].ravel() for name in order])


def _inputs_first(params):
    return np.concatenate([p.T.ravel() if p.ndim == 2 else p.ravel() for p in _places(params).values()])


def _shortcut_first(params):
    places = _places(params)
    order = sorted(places, key=lambda name: (int(name.partition(".")[0]), ".body." in name))
    return np.concatenate([places[name].ravel() for name in order])


def _columns(quantity, counts_of):
    """Every direction counts as often as `counts_of(d)` says."""

    def call(layers, params, x, y, loss, *v):
        counts = counts_of(size(params))
        found = right(quantity)(layers, params, x, y, loss, *(u * counts for u in v))
        return found if v else found * counts

    return call


def _blocks(quantity):
    def call(layers, params, x, y, loss, *v):
        matrix = "hessian" if quantity == "hvp" else quantity
        layers_of = list(dict.fromkeys(map(_layer, _trainable(params))))
        layer = np.concatenate(
            [np.full(params[n].size, layers_of.index(_layer(n))) for n in _trainable(params)]
        )
        blocks = right(matrix)(layers, params, x, y, loss) * (layer[:, None] == layer)
        return blocks @ v[0] if v else blocks

    return call
