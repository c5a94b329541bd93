r"""WoodFisher on whole networks: the weights of all layers together, at once or in stages.

The rows of G are the gradients of single samples with respect to the weights of every Dense and Conv2d, in flat order;
biases and BatchNorm2d stay as they are. In stages the sparsity rises by the cubic schedule of Zhu and Gupta: gradients
are taken anew at the network of each stage, and what is pruned once stays pruned.

Cost: for each stage the gradients of N samples, or of N batches, and 2 N^2 d operations.
Source: Singh and Alistarh 2020, WoodFisher, section 5; Zhu and Gupta 2017, To prune, or not to prune, (1).
"""

import time
from collections.abc import Callable
from itertools import accumulate, pairwise
from math import prod
from numbers import Real

import numpy as np

from refprune.arrays import Array, astype, concat, full, integer, namespace, to_numpy
from refprune.methods.many_weights import many_weights
from refprune.methods.woodfisher import options, woodfisher
from refprune.network import Network, accuracy
from refprune.network.derivatives import prepared
from refprune.patterns import NM, Unstructured
from refprune.progress import bar
from refprune.prune import PrunedNetwork
from refprune.pruning.report import Report, Row, words
from refprune.pruning.stages import copies, settled, stages

NUMBERS = 2**22  # of the gradients by all parameters that are held at once: 32 MiB in float64


def woodfisher_network(
    network: Network,
    params: dict,
    x: Array,
    y: Array,
    pattern: Unstructured | NM,
    damp: float = 1e-5,
    block: int | str | None = None,
    update: str = "joint",
    first_order: bool = False,
    *,
    search: str | None = None,
    max_iter: int = 200,
    loss: str = "cross_entropy",
    batch: int = 1,
    steps: int = 1,
    start_sparsity: Real = 0,
    between: Callable | None = None,
    progress: bool = True,
) -> PrunedNetwork:
    r"""Prune the weights of a network by the empirical Fisher matrix of its loss.

    The weights of every Dense and Conv2d make one vector, with a model of the loss over all of it, see `woodfisher`.
    Biases and BatchNorm2d stay as they are.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    x : array, shape (samples, ...)
        The samples whose gradients make F: as many as are given.
    y : array
        Integer labels (samples,), or targets of the outputs' shape for ``loss="squared"``.
    pattern : Unstructured or NM
        With the scope "network" (None), all layers share one count; "layer" and "row" are the others. N:M is of every
        layer.
    damp, block, update, first_order, search, max_iter
        As of `woodfisher`; ``block="layer"`` leaves out what couples layers.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.
    batch : int
        So many samples make a row of G, by the mean of their gradients; the last row may be of fewer. With more than
        one, F is about so many times smaller, since gradients cancel: it is cheaper, and it is another matrix.
    steps : int
        In how many stages.
    start_sparsity : number
        :math:`s_0`, in [0, 1], where the schedule begins: stage t of T has the sparsity
        :math:`s_1 + (s_0 - s_1) (1 - t / T)^3`, :math:`s_1` that of the pattern.
    between : callable, optional
        Called between two stages as ``between(params, masks, stage)``, stage from 1; it returns the parameters for the
        next one. Pruned weights must be 0 there. `rp.train` with its masks does so.
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    PrunedNetwork
        New parameters, a mask for every prunable weight, and the report. Its objective and error are those of the
        layer alone in the last stage: with its own block of F, :math:`\frac12 \delta^T F \delta`, and the root of its
        share of :math:`\frac12 w^T F w`; its seconds are its share of all by its weights. The accuracy is that on
        `x` and `y`.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; `keep` in stages with another scope than "network". Later: what
        `between` returns does not fit, or revives a pruned weight.
    numpy.linalg.LinAlgError
        F is singular to rounding.

    See Also
    --------
    woodfisher : the same on arrays, for gradients from anywhere.
    prune : layer by layer, by what each layer's outputs lose.

    Notes
    -----
    Memory: gradients (N, d) of d weights, a few times, and arrays (N, N). Time: the gradients, and 2 N^2 d for each
    stage. `x` may be a few hundred samples; more make F better, up to a point.

    Source: Singh and Alistarh 2020; Zhu and Gupta 2017, (1).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 4))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> network = rp.mlp([4, 16, 2])
    >>> params = rp.train(network, network.init(rng), x, y, epochs=30)
    >>> def train(params, masks, stage):
    ...     return rp.train(network, params, x, y, epochs=2, masks=masks, rng=stage)
    >>> half = rp.Unstructured(sparsity=0.5)
    >>> answer = rp.woodfisher_network(network, params, x, y, half, damp=1e-3, steps=5, between=train)
    >>> rp.sparsity(answer.masks), rp.accuracy(network, answer.params, x, y) > 0.9
    (0.5, True)
    """
    begin = time.perf_counter()
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    if not network.prunable:
        raise ValueError("need a network with at least one Dense or Conv2d; got none")
    prepared(network, params, x, y, loss)
    integer("batch", batch, least=1)
    settings = {
        "block": block,
        "update": update,
        "first_order": first_order,
        "search": search,
        "max_iter": max_iter,
    }
    options(damp, **settings)
    if not (between is None or callable(between)):
        raise TypeError(f"need between to be a callable; got {type(between).__name__}")
    weights = {name: params[name] for name in network.prunable}
    _, pattern, _ = many_weights(weights, pattern, None)
    total, shared = sum(prod(w.shape) for w in weights.values()), getattr(pattern, "scope", "") == "network"
    plan = stages(pattern, integer("steps", steps, least=1), start_sparsity, total, shared)
    before = accuracy(network, params, x, y) if loss == "cross_entropy" else None
    found = copies(params)
    masks = {name: full(w.shape, True, w, dtype="bool") for name, w in weights.items()}
    with bar("WoodFisher", len(plan), progress) as moved:
        for t, stage in enumerate(plan, 1):
            now = {name: found[name] for name in weights}
            G = _gradients(network, found, x, y, loss, batch)
            answer = woodfisher(now, G, stage, damp, mask=masks if t > 1 else None, **settings)
            found, masks = found | answer.weight, answer.mask
            moved(t, f"stage {t}/{len(plan)}")
            if between is not None and t < len(plan):
                found = settled(network, between(dict(found), copies(masks), t), masks, found)
    losses = _losses(now, answer.weight, G, damp)
    seconds = time.perf_counter() - begin
    rows = tuple(_row(name, masks[name], pattern, losses[name], seconds / total) for name in weights)
    accuracies = None if before is None else (before, accuracy(network, found, x, y))
    report = Report(rows, "dense" if len(plan) == 1 else "pruned", seconds, accuracies)
    return PrunedNetwork(found, masks, report)


def _gradients(network, params, x, y, loss, batch):
    """The gradients by the prunable weights, (rows, d), of one sample or the mean of a mini-batch each."""
    size = max(1, NUMBERS // network.size) if batch == 1 else batch
    places, rows = _places(network), []
    for first in range(0, x.shape[0], size):
        part = slice(first, min(first + size, x.shape[0]))
        if batch == 1:
            found = network.per_sample_gradients(params, x[part, ...], y[part, ...], loss)
            pieces = [found[:, place] for place in places]
        else:
            found = network.gradient(params, x[part, ...], y[part, ...], loss)
            pieces = [namespace(x).reshape(found[name], (1, -1)) for name in network.prunable]
        rows.append(concat(pieces, axis=1) if len(pieces) > 1 else pieces[0])
    return concat(rows, axis=0)


def _places(network):
    """Where the prunable weights are in the flat vector, as slices; those that touch are one."""
    edges, found = list(accumulate(map(prod, network.shapes.values()), initial=0)), []
    for name, (first, last) in zip(network.shapes, pairwise(edges), strict=True):
        if name not in network.prunable:
            continue
        if found and found[-1].stop == first:
            first = found.pop().start
        found.append(slice(first, last))
    return found


def _losses(before, after, gradients, damp):
    """Name -> (objective, error) of every layer with its own block of F."""
    found, first = {}, 0
    for name, w in before.items():
        own = gradients[:, first : first + prod(w.shape)]
        first += prod(w.shape)
        values = []
        for step in (after[name] - w, w):
            step = namespace(step).reshape(astype(step, own.dtype), (-1,))
            image = own @ step
            quadratic = float(namespace(image).sum(image * image)) / own.shape[0]
            values.append((quadratic + damp * float(namespace(step).sum(step * step))) / 2)
        found[name] = values[0], (values[0] / values[1]) ** 0.5 if values[1] > 0 else 0.0
    return found


def _row(name, mask, pattern, losses, seconds):
    """The row of the report."""
    weights = int(np.prod(mask.shape))
    pruned = weights - int(np.count_nonzero(to_numpy(mask)))
    key, label = name.removesuffix(".weight"), words(pattern)
    return Row(key, "woodfisher", label, weights, pruned, pruned / weights, *losses, None, seconds * weights)
