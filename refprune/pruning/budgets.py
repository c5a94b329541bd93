r"""One budget for many layers: how many units each of them loses.

Layers under the same pattern share its budget. With ``allocation="layer"`` each loses its share in proportion to
its size. With ``"global"`` the units of all layers are ranked together, by what the method itself looks at:

- magnitude: :math:`|w|`, the same number in every layer (sums for blocks and groups);
- obs: the losses of its steps, always the layer whose next removal is cheapest;
- every other method: :math:`\frac12 G_{jj} w^2`, the loss without its neighbours (sums for blocks and groups).

A loss is divided by its layer's :math:`\frac12 \mathrm{tr}\, W G W^T`, half the mean square of the outputs that
the weights make. Raw losses would move the whole budget when a layer's outputs are scaled and the next layer's
weights are scaled back, which changes nothing in a network of ReLUs. The Grams are those of the dense network.
Prior zeros go first. Among equals the first layer gives.
Cost: one more pass through the network; for obs also the whole path of every row, down to no weight at all.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from refprune.arrays import astype, diagonal, namespace, precision, to_numpy
from refprune.counts import units_to_prune
from refprune.methods import magnitude, obs
from refprune.methods.allocation import Path, spread
from refprune.methods.system import objective
from refprune.patterns import NM, Groups, Unstructured
from refprune.problems import LayerProblem
from refprune.progress import bar
from refprune.pruning.calibration import grams, in_order
from refprune.pruning.plan import base, named

RULES = ("layer", "global")


@dataclass(frozen=True)
class Pool:
    """Tasks that share the budget of one pattern, and how it is shared: "layer" or "global"."""

    tasks: tuple
    rule: str

    @property
    def needs_grams(self):
        """Whether the rule looks at losses, not at sizes or magnitudes alone."""
        return self.rule == "global" and base(self.tasks[0].method) is not magnitude


def pools(tasks, allocation) -> list[Pool]:
    """The tasks that share a budget.

    Raises
    ------
    ValueError
        An unknown allocation; a pattern whose budget it cannot share; magnitudes and losses in one pool.
    """
    if allocation not in (None, *RULES):
        raise ValueError(f"need allocation to be layer, global or None; got {allocation!r}")
    found = {}
    for task in tasks:
        if task.pattern is not None and _shared(task, allocation):
            found.setdefault(_of_network(task.pattern), []).append(task)
    for own in found.values():
        by_weight = {base(task.method) is magnitude for task in own}
        if len(by_weight) > 1 and allocation != "layer":
            raise ValueError(
                "need magnitude for all or none of the layers that share a budget; got a mixture"
            )
    return [Pool(tuple(own), allocation or "global") for own in found.values()]


def _shared(task, allocation):
    """Whether the layer shares a budget with others; ValueError where it cannot as it should."""
    scope = getattr(task.pattern, "scope", None)
    if allocation == "global" and (isinstance(task.pattern, NM) or scope in ("layer", "row")):
        what = f"{type(task.pattern).__name__} with scope {scope!r}" if scope else "NM"
        raise ValueError(f"layer {task.key}: need a budget that layers can share; got {what}")
    return scope == "network" or allocation == "global"


def _of_network(pattern):
    """The pattern without what belongs to one layer: those that agree in it share a budget."""
    if isinstance(pattern, Groups):
        return Groups(pattern.sparsity, pattern.keep, pattern.axis)
    return replace(pattern, scope=None)


def settled(network, params, working, batches, shared, executor=None, progress=False) -> dict:
    """Name -> the task with its layer's own count, for all tasks in the pools `shared`.

    Parameters
    ----------
    network : Network
    params : dict of arrays
    working : dict of arrays
        The same in one precision with the inputs.
    batches : list of arrays
        The inputs; the list is left as it is.
    shared : list of Pool
    executor : concurrent.futures.Executor, optional
    progress : bool

    Raises
    ------
    ValueError
        A pattern asks for fewer zeros than the prior masks hold; what `losses` raises.
    """
    by_name = {task.name: task for pool in shared if pool.needs_grams for task in pool.tasks}
    found = grams(network.layers, working, list(batches), by_name, executor)
    calls = ((by_name[name], params[name], gram) for name, gram in found)
    costs = {}
    with bar("share the budget", len(by_name), progress) as moved:
        for name, own in in_order(executor, losses, calls):
            costs[name] = own
            moved(len(costs), f"layer {by_name[name].key}")
    return {name: task for pool in shared for name, task in _settled(pool, params, costs).items()}


def _settled(pool, params, costs):
    """Name -> the task with its layer's own count, for the tasks of one pool."""
    pattern, tasks = pool.tasks[0].pattern, pool.tasks
    units = [unit_labels(task, params[task.name]) for task in tasks]
    sizes = np.array([len(np.unique(labels)) for labels in units])
    held = np.array([_held(task, labels) for task, labels in zip(tasks, units, strict=True)])
    count = units_to_prune(pattern, int(sizes.sum()), "network")
    if held.sum() > count:
        raise ValueError(
            f"need at least {held.sum()} pruned in the network, as many as masks prune; got {count}"
        )
    if pool.rule == "layer":
        counts = _in_proportion(count, sizes)
    else:
        own = [costs[task.name] if pool.needs_grams else losses(task, params[task.name])[1] for task in tasks]
        by_steps = any(base(task.method) is obs for task in tasks)
        counts = _together(count, sizes, held, own, "heap" if by_steps else "sorted")
    return {
        task.name: replace(task, pattern=_own(task.pattern, int(size - n)))
        for task, size, n in zip(tasks, sizes, counts, strict=True)
    }


def unit_labels(task, weight) -> np.ndarray:
    """The unit of every weight, a NumPy int array of the weight's shape."""
    shape = tuple(weight.shape)
    if isinstance(task.pattern, Unstructured):
        return np.arange(int(np.prod(shape))).reshape(shape)
    return task.pattern.labels(shape)


def _held(task, labels):
    """How many units the prior mask prunes as a whole."""
    if task.prior is None:
        return 0
    return len(np.setdiff1d(labels, labels[to_numpy(task.prior)]))


def _own(pattern, keep):
    """The pattern for one layer that keeps `keep` units."""
    if isinstance(pattern, Groups):
        return Groups(keep=keep, axis=pattern.axis, labels=pattern.partition)
    changed = {"count_rule": "round"} if isinstance(pattern, Unstructured) else {}
    return replace(pattern, sparsity=None, keep=keep, scope="layer", **changed)


def _in_proportion(count, sizes):
    """Whole shares of `count` in proportion to `sizes`, by the largest remainder; the sum is exact."""
    total = max(int(sizes.sum()), 1)
    shares = np.array([count * int(size) // total for size in sizes])
    rest = np.array([count * int(size) % total for size in sizes])
    shares[np.argsort(-rest, kind="stable")[: count - shares.sum()]] += 1
    return shares


def _together(count, sizes, held, costs, rule):
    """The counts of the layers when all their units are ranked together."""
    paths, ends = [], np.cumsum(sizes)
    for end, size, prior, own in zip(ends, sizes, held, costs, strict=True):
        numbers = np.arange(end - size, end)  # units in the order in which the layer gives them
        paths.append(Path(numbers[:prior].tolist(), [], numbers[prior:], own))
    order, _ = spread(count, paths, rule)
    return np.bincount(np.searchsorted(ends, order, side="right"), minlength=len(sizes))


def losses(task, weight, gram=None) -> tuple[str, np.ndarray]:
    """The task's name, and what each unit that is no prior zero costs, in the order in which the layer gives them.

    Parameters
    ----------
    task : Task
    weight : array
    gram : array, optional
        Magnitudes need none.
    """
    labels = unit_labels(task, weight)
    if base(task.method) is magnitude:
        return task.name, _sums(task, labels, to_numpy(abs(astype(weight, precision(weight)))))
    with named(f"layer {task.key}"):
        problem = LayerProblem(weight, gram)
        energy = objective(problem, weight * 0)
        if base(task.method) is obs:
            everything = _own(task.pattern, 0)
            answer = partial(task.method, allocation="heap")(problem, everything, **task.options())
            own = np.array(answer.trace)[_held(task, labels) :]
        else:
            own = _sums(task, labels, _diagonal_losses(problem))
    return task.name, own / energy if energy > 0 else np.zeros_like(own)


def _diagonal_losses(problem):
    """``G_jj w^2 / 2`` of every weight, a NumPy array of the weight's shape."""
    (weight, gram), rows = (problem.matrix, problem.gram), problem.rows // problem.groups
    dtype = precision(weight, gram)
    xp = namespace(weight, gram)
    w = xp.reshape(astype(weight, dtype), (problem.groups, rows, problem.columns))
    squares = xp.reshape(diagonal(astype(gram, dtype)), (problem.groups, 1, problem.columns))
    return to_numpy(problem.restore(xp.reshape(w * w * squares / 2, (problem.rows, problem.columns))))


def _sums(task, labels, scores):
    """The sums of `scores` over the units that are no prior zeros, ascending."""
    _, unit = np.unique(labels, return_inverse=True)
    sums = np.bincount(unit.ravel(), scores.ravel().astype(float))
    if task.prior is not None:
        sums = sums[np.bincount(unit.ravel(), to_numpy(task.prior).ravel()) > 0]
    return np.sort(sums)
