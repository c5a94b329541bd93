r"""Whole networks, pruned layer by layer.

Model: every Dense and Conv2d is a layer problem, :math:`\frac12 \mathrm{tr}\,(V - W) G (V - W)^T` with the Gram G
of the inputs that reach it.
Solution: the layers in the order of execution; each is pruned by a layer-wise method, and the next Gram comes
from the activations behind the weights that are pruned already.
Cost: one forward pass and the Grams, n d^2 for each layer, and the method of each layer.
Source: Frantar and Alistarh 2023, SparseGPT, section 4: layers one after the other, in order.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from refprune.arrays import Array, flag, integer, to_numpy
from refprune.network import Network, accuracy
from refprune.network.point import parts
from refprune.patterns import Pattern
from refprune.progress import bar
from refprune.pruning import layers
from refprune.pruning.budgets import pools, settled
from refprune.pruning.calibration import grams, in_order
from refprune.pruning.plan import fit, named, on_layers, plan
from refprune.pruning.report import Report, Row, words
from refprune.pruning.structured import gone, with_units, without_producers


@dataclass(frozen=True, eq=False)
class PrunedNetwork:
    """A pruned network: what `rp.prune` returns.

    Parameters
    ----------
    params : dict of arrays
        With the names, order and dtypes of the given ones; pruned weights are exactly 0.0.
    masks : dict of boolean arrays
        One for every prunable weight, True = kept.
    report : Report
        What happened to each layer: ``print(answer.report)`` is a table, ``answer.report.layers`` its rows,
        ``answer.report.to_dict()`` the same as plain data. See :class:`refprune.pruning.report.Report`.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.mlp([4, 4, 2])
    >>> rng = np.random.default_rng(0)
    >>> answer = rp.prune(network, network.init(rng), rng.normal(size=(20, 4)), "obs", rp.NM(2, 4))
    >>> rp.sparsity(answer.masks)
    0.5
    """

    params: dict
    masks: dict
    report: Report


def prune(
    network: Network,
    params: dict,
    inputs: Array,
    method: str | Callable,
    pattern: Pattern,
    targets: Array | None = None,
    *,
    overrides: Mapping | None = None,
    calibration: str = "pruned",
    allocation: str | None = None,
    masks: dict | None = None,
    batch_size: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> PrunedNetwork:
    r"""Prune the weights of every Dense and Conv2d of a network, layer by layer.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    inputs : array, shape (samples, ...)
        Calibration samples.
    method : str or callable
        ``"magnitude"``, ``"wanda"``, ``"obd"``, ``"obs"``, ``"sparsegpt"``, ``"alps"``, or any callable (layer
        problem, pattern) -> `Pruned`, such as ``functools.partial(rp.obs, damp=0.01)``. Where a layer has a prior
        mask, it is called with ``mask=`` too.
    pattern : Unstructured, NM, Blocks or Groups
        For each layer, with the scope that the method takes. With ``scope="network"`` the layers share one
        budget: ``round(s N)`` of all N weights under this pattern are pruned, exactly. ``Groups(axis=1)`` without
        labels is structured pruning: the groups are the units of the layer before, which lose their rows too.
    targets : integer array, shape (samples,), optional
        Labels of the inputs. With them the report has the accuracy before and after.
    overrides : mapping, optional
        Layer (``"2"`` or ``"2.weight"``) -> None (it stays dense), a pattern, or a mapping with ``"method"``,
        ``"pattern"`` or both.
    calibration : {"pruned", "dense"}
        Whether the inputs of a layer come through the layers before it as pruned, or as given.
    allocation : {"layer", "global"}, optional
        How layers share a budget: in proportion to their sizes, or by ranking the weights (blocks, groups) of all
        layers together; see the notes. ``"global"`` makes any pattern without a scope of its own share one. None:
        ``"global"`` for ``scope="network"``, else no layer shares its budget.
    masks : dict of boolean arrays, optional
        Prior masks by the name of the weight: their zeros are pruned first, counted, and never revived.
    batch_size : int, optional
        Samples that go through a layer at once; None keeps a batch to about 8 MiB.
    executor : concurrent.futures.Executor, optional
        Runs the batches, and with ``calibration="dense"`` the layers too. The answer is the same, bit for bit.
    progress : bool
        A bar on standard error, where that is a terminal.

    Returns
    -------
    PrunedNetwork
        New parameters, a mask for every prunable weight, and the report. Nothing that was given is changed.

    Raises
    ------
    TypeError, ValueError
        Before any work: arguments that do not fit, an unknown layer in `overrides`, a pattern that does not fit a
        layer. Later, with the layer's name: what its method raises, and an answer that breaks its pattern.
    numpy.linalg.LinAlgError
        From the method: the Gram of a layer is singular where it must not be.

    Notes
    -----
    ``allocation="global"`` ranks magnitudes for ``"magnitude"``, else losses relative to the layer's output energy
    :math:`\frac12 \mathrm{tr}\, W G W^T`, G from the dense network: those of its own steps for ``"obs"``,
    :math:`\frac12 G_{jj} w^2` for all others. The relative losses do not change when a layer is scaled up and the
    next one down. They set how many weights each layer loses; which ones is the method's to say, with the whole
    layer as the scope.

    Every layer is passed once. Memory: the activations of one place in the network for all samples (of three
    places inside a residual), the Gram of one layer and that of each batch in flight, beside what the method
    needs. An executor has up to one batch in flight for each processor, and with ``calibration="dense"`` up to one
    layer. A global ranking holds a few numbers for each weight.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network = rp.mlp([8, 6, 3])
    >>> params, x = network.init(rng), rng.normal(size=(100, 8))
    >>> answer = rp.prune(network, params, x, "obs", rp.Unstructured(sparsity=0.5), overrides={"2": None})
    >>> [(row.layer, row.pattern, row.pruned) for row in answer.report.layers]
    [('0', 'Unstructured(sparsity=0.5)', 24), ('2', 'dense', 0)]
    """
    begin = time.perf_counter()
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    if pattern is None:
        raise TypeError("need pattern to be Unstructured, NM, Blocks or Groups; got None")
    if calibration not in ("pruned", "dense"):
        raise ValueError(f"need calibration to be pruned or dense; got {calibration!r}")
    if not isinstance(executor, (Executor, type(None))):
        raise TypeError(f"need executor to be a concurrent.futures.Executor; got {type(executor).__name__}")
    flag("progress", progress)
    if batch_size is not None:
        batch_size = integer("batch_size", batch_size, least=1)
    if not network.prunable:
        raise ValueError("need a network with at least one Dense or Conv2d; got none")
    working, x = network.ready(params, inputs, "inputs")
    tasks, links = with_units(network, plan(network, params, method, pattern, overrides, masks))
    if all(task.note for task in tasks):
        raise ValueError(
            f"need inputs that are units which can go; got {'; '.join(f'layer {t.key}: {t.note}' for t in tasks)}"
        )
    tasks = on_layers(network, params, tasks)
    shared = pools(tasks, allocation)
    pooled = {task.name for pool in shared for task in pool.tasks}
    for task in tasks:
        if task.name not in pooled:
            fit(params, task)
    with named("targets"):
        before = None if targets is None else accuracy(network, params, inputs, targets)
    batches = _batches(network, x, batch_size)
    counted = settled(network, params, working, batches, shared, executor, progress)
    for task in counted.values():
        fit(params, task)
    tasks = [counted.get(task.name, task) for task in tasks]
    outcomes = _outcomes(network, params, working, batches, tasks, calibration, executor, progress)
    found = {name: outcomes[name].weight if name in outcomes else params[name] + 0 for name in params}
    kept = {task.name: outcomes[task.name].mask for task in tasks}
    tasks = [replace(task, note="; ".join(filter(None, notes))) for task, notes in _notes(tasks, links, kept)]
    found, kept = without_producers(found, kept, links)
    rows = tuple(_row(task, outcomes[task.name], kept[task.name]) for task in tasks)
    after = None if targets is None else accuracy(network, found, inputs, targets)
    accuracies = None if targets is None else (before, after)
    report = Report(rows, calibration, time.perf_counter() - begin, accuracies)
    return PrunedNetwork(found, kept, report)


def _batches(network, x, batch_size):
    """The samples as a list of batches."""
    if batch_size is None:
        return [x[part, ...] for part in parts(network, x, keep=False)]
    return [x[i : min(i + batch_size, x.shape[0]), ...] for i in range(0, x.shape[0], batch_size)]


def _outcomes(network, params, working, batches, tasks, calibration, executor, progress):
    """Name -> `layers.Outcome` of every task; `working` are the parameters that the samples go through."""
    by_name = {task.name: task for task in tasks if task.pattern is not None}
    outcomes = {task.name: layers.dense(task, params[task.name]) for task in tasks if task.pattern is None}
    found = grams(network.layers, working, batches, by_name, executor)
    calls = ((by_name[name], params[name], gram) for name, gram in found)
    # behind pruned layers only one layer can be pruned at a time
    answers = in_order(executor if calibration == "dense" else None, layers.pruned, calls)
    with bar("prune", len(by_name), progress) as moved:
        for done, outcome in enumerate(answers, 1):
            outcomes[outcome.name] = outcome
            if calibration == "pruned":
                working[outcome.name] = outcome.weight
            moved(done, f"layer {by_name[outcome.name].key}")
    return outcomes


def _notes(tasks, links, masks):
    """(task, (its note, what its layer lost as the producer of units))."""
    notes = {}
    for link in links:
        if count := len(gone(link, masks[f"{link.consumer}.weight"])):
            what = f"lost {count} of {link.units} rows, the inputs that layer {link.consumer} lost"
            notes[link.producer] = what
    return [(task, (task.note, notes.get(task.key, ""))) for task in tasks]


def _row(task, outcome, mask):
    """The row of the report."""
    weights = int(np.prod(mask.shape))
    pruned = weights - int(np.count_nonzero(to_numpy(mask)))
    method = "" if task.pattern is None else task.label
    numbers = (weights, pruned, pruned / weights, outcome.objective, outcome.error, outcome.dead)
    return Row(task.key, method, words(task.pattern), *numbers, outcome.seconds, task.note)
