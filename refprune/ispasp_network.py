r"""i-SpaSP on whole networks: hidden units of every layer, from the input to the output.

The units of a layer are what the next Dense or Conv2d reads (`refprune.pruning.units`), through everything that
lies between: activations, pools, Flatten, BatchNorm2d, depthwise convolutions. The linear map W of `rp.ispasp` is
that next layer, with the BatchNorm2d layers right behind it. Inside a residual these are the inner channels; the
sum stays whole. Each layer sees the inputs that reach it through the layers before, already pruned.

Cost: a forward pass, and for each layer the search of `ispasp` and two passes of all samples through the next one.
Source: Wolfe, Kyrillidis 2021, i-SpaSP: Structured Neural Pruning via Sparse Signal Recovery, for networks of more
than two layers, convolutions and residual blocks.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from numbers import Real

import numpy as np

from refprune.arrays import Array, astype, flag, from_numpy, full, integer, namespace, to_numpy
from refprune.counts import prune_count
from refprune.methods.ispasp import options
from refprune.methods.optimal_weights import optimal_weights
from refprune.methods.unit_selection import Hidden
from refprune.network import BatchNorm2d, Network, Residual, accuracy
from refprune.network.kinds import add
from refprune.network.point import parts
from refprune.patterns import Groups
from refprune.problems import LayerProblem
from refprune.progress import bar
from refprune.prune import PrunedNetwork
from refprune.pruning.calibration import accumulator, inside
from refprune.pruning.plan import named
from refprune.pruning.report import Report, Row, words
from refprune.pruning.structured import without_producers
from refprune.pruning.units import links


def ispasp_network(
    network: Network,
    params: dict,
    inputs: Array,
    sparsity: Real | Decimal | Mapping,
    targets: Array | None = None,
    *,
    importance: str = "signed",
    rank: str = "sums",
    refit: bool = False,
    iterations: int = 20,
    damp: float = 0.0,
    batch_size: int | None = None,
    progress: bool = True,
) -> PrunedNetwork:
    r"""Remove neurons and filters of a network, layer by layer, by i-SpaSP.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    inputs : array, shape (samples, ...)
        Calibration samples.
    sparsity : number or mapping
        The share of units that each layer loses, all layers that have units that can go. Or a mapping from the layer
        (``"0"`` or ``"0.weight"``) whose units go to the share; layers that are not in it keep all.
    targets : integer array, shape (samples,), optional
        Labels of the inputs. With them the report has the accuracy before and after.
    importance, rank, refit, iterations, damp
        As of `ispasp`. The refit gives each next layer the weights that are best on the units it still reads.
    batch_size : int, optional
        Samples that go through a layer at once; None keeps a batch to about 8 MiB.
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    PrunedNetwork
        New parameters, a mask for every prunable weight, and the report. What made a pruned unit is 0 (its row,
        its bias, its weight and bias in a BatchNorm2d), and so are the columns that read it, so that `shrink` takes
        it out. Nothing that was given is changed.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit; no layer with units that can go; a layer in the mapping that has
        none.
    numpy.linalg.LinAlgError
        Of the refit: the Gram of the kept inputs of a layer is not positive definite.

    See Also
    --------
    ispasp : one layer.
    prune : with ``Groups(axis=1)`` by the layer-wise methods.

    Notes
    -----
    ``round(s * units)`` units go, half to even. Objective and error in the report are those of the next layer by
    itself, without the BatchNorm2d behind it. A BatchNorm2d takes its running statistics, as everywhere in
    refprune; those of removed channels go with them in `shrink`.

    Memory: the activations of one place in the network for all samples (of three places inside a residual). Time:
    a forward pass, and for each layer two passes of it through the next one, for the report. The search itself
    needs one image, the sum of all samples, with signed importance; with absolute importance every iteration
    sends all samples through the next layer and back.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network = rp.mlp([8, 6, 6, 3])
    >>> params, x = network.init(rng), rng.normal(size=(100, 8))
    >>> answer = rp.ispasp_network(network, params, x, {"0": 0.5})
    >>> rp.shrink(network, answer.params, answer.masks)[0].layers[0]
    Dense(inputs=8, outputs=3, bias=True)
    """
    begin = time.perf_counter()
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    options(importance, refit, iterations, True, rank, damp)
    if batch_size is not None:
        batch_size = integer("batch_size", batch_size, least=1)
    progress = flag("progress", progress)
    working, x = network.ready(params, inputs, "inputs")
    found, shares = links(network), _shares(network, sparsity)
    wanted = {link.consumer: link for link in found if link.producer in shares}
    with named("targets"):
        before = None if targets is None else accuracy(network, params, inputs, targets)
    size = batch_size or max(part.stop - part.start for part in parts(network, x, keep=False))
    batches = [x[i : min(i + size, x.shape[0]), ...] for i in range(0, x.shape[0], size)]
    weights = {name: value + 0 for name, value in params.items()}
    masks = {name: full(params[name].shape, True, params[name], dtype="bool") for name in network.prunable}
    settings, rows = _Settings(importance, rank, iterations, refit, damp), {}
    with bar("i-SpaSP", len(wanted), progress) as moved:
        for done, (key, layer, behind, arrived) in enumerate(
            reached(network.layers, working, batches, wanted), 1
        ):
            name, link = f"{key}.weight", wanted[key]
            with named(f"layer {key}"):
                hidden = Hidden.of(layer, working[name], arrived, link.units, behind)
                outcome = _pruned(hidden, params[name], link, shares[link.producer], settings)
            weights[name], masks[name], rows[key] = outcome
            working[name] = astype(weights[name], working[name].dtype)
            moved(done, f"layer {key}")
    weights, masks = without_producers(weights, masks, list(wanted.values()))
    after = None if targets is None else accuracy(network, weights, inputs, targets)
    lost = {link.producer: (link, prune_count(shares[link.producer], link.units)) for link in wanted.values()}
    table = tuple(_row(name.removesuffix(".weight"), mask, rows, lost) for name, mask in masks.items())
    report = Report(table, "pruned", time.perf_counter() - begin, None if after is None else (before, after))
    return PrunedNetwork(weights, masks, report)


@dataclass(frozen=True)
class _Settings:
    """The options of `ispasp`."""

    importance: str
    rank: str
    iterations: int
    refit: bool
    damp: float


def _shares(network, sparsity):
    """Key of a layer with units that can go -> the share that goes."""
    units = {link.producer: link.units for link in links(network)}
    if not units:
        raise ValueError(
            "need a network with units that can go; got none: no Dense or Conv2d reads those of another"
        )
    if not isinstance(sparsity, Mapping):
        sparsity = dict.fromkeys(units, sparsity)
    shares = {}
    for key, share in sparsity.items():
        own = key.removesuffix(".weight") if isinstance(key, str) else key
        if own not in units:
            raise ValueError(f"need sparsity for layers whose units can go, {', '.join(units)}; got {key!r}")
        if own in shares:
            raise ValueError(f"need one sparsity for each layer; got two for {own}")
        with named(f"layer {own}"):
            prune_count(share, units[own])
        shares[own] = share
    return shares


def reached(layers, params, batches, wanted, start=""):
    """Yield (key, layer, what is right behind it, its inputs) for the layers in `wanted`, in the order of execution.

    Parameters
    ----------
    layers : list of layers
    params : dict of arrays
        Read when the inputs go on: whoever gets a layer may put another weight there.
    batches : list of arrays
        The inputs; they go through all layers, so that in the end the list holds the outputs.
    wanted : container of str
    """
    for n, layer in enumerate(layers):
        key = f"{start}{n}"
        if isinstance(layer, Residual):
            outputs = []
            for name, branch in layer.branches().items():
                inner = list(batches)
                yield from reached(branch, params, inner, wanted, f"{key}.{name}.")
                outputs.append(inner)
            for i, x in enumerate(batches):
                batches[i] = add(*(inner[i] for inner in outputs), x if layer.shortcut is None else None)
            continue
        if key in wanted:
            norms = takewhile(
                lambda entry: isinstance(entry[1], BatchNorm2d), enumerate(layers[n + 1 :], n + 1)
            )
            yield key, layer, [(norm, inside(params, f"{start}{m}")) for m, norm in norms], batches
        own = inside(params, key)
        for i, x in enumerate(batches):
            batches[i] = layer.forward(own, x)


def _pruned(hidden, weight, link, share, settings):
    """The weight of the consumer, its mask, and what the report says: (method, pattern, objective, error, seconds)."""
    begin = time.perf_counter()
    keep = link.units - prune_count(share, link.units)
    kept = np.zeros(link.units, dtype=bool)
    trace = hidden.selections(keep, settings.importance, settings.iterations, True, settings.rank)
    kept[trace[-1].kept] = True
    xp, shape = namespace(weight), tuple(weight.shape)
    marks = np.broadcast_to(kept[link.columns], (shape[0], len(link.columns))).reshape(shape)
    mask = from_numpy(marks.copy(), weight)
    if settings.refit:
        total = accumulator(hidden.layers.layers[0])
        for x in hidden.batches:
            total = total.update(x)
        answer = optimal_weights(LayerProblem(weight, total.gram), mask, settings.damp)
        found, objective = answer.weight, answer.objective
    else:
        found, objective = xp.where(mask, weight, xp.zeros_like(weight)), hidden.energy(~kept)
    seconds, zero = time.perf_counter() - begin, hidden.energy(kept | True)
    error = (objective / zero) ** 0.5 if objective > 0 and zero > 0 else (0.0 if objective <= 0 else np.inf)
    pattern = words(Groups(sparsity=share, axis=1))
    return found, mask, ("ispasp", pattern, objective, float(error), seconds)


def _row(key, mask, rows, lost):
    """The row of the report."""
    weights = int(np.prod(mask.shape))
    pruned = weights - int(np.count_nonzero(to_numpy(mask)))
    method, pattern, objective, error, seconds = rows.get(key, ("", "dense", 0.0, 0.0, 0.0))
    note = ""
    if key in lost and lost[key][1]:
        link, count = lost[key]
        note = f"lost {count} of {link.units} rows, the inputs that layer {link.consumer} lost"
    return Row(key, method, pattern, weights, pruned, pruned / weights, objective, error, None, seconds, note)
