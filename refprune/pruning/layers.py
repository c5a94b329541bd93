"""One layer pruned, and its answer checked: count, pattern, prior mask, exact zeros."""

import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refprune.arrays import boolean, diagonal, dtype_name, full, namespace, real, to_numpy
from refprune.methods.sparsegpt import sparsegpt
from refprune.methods.system import objective
from refprune.patterns import Blocks, Groups, Unstructured
from refprune.problems import LayerProblem
from refprune.pruning.plan import METHODS, base, named, option, own_scope


@dataclass(frozen=True, eq=False)
class Outcome:
    """A layer after its method.

    `objective` is the layer's at the answer, `error` the root of its share of the objective at 0: the change of
    the outputs relative to the outputs. `dead` counts inputs that are 0 in all samples, `seconds` is the time of
    the method.
    """

    name: str
    weight: Any
    mask: Any
    objective: float = 0.0
    error: float = 0.0
    dead: int | None = None
    seconds: float = 0.0


def dense(task, weight):
    """The `Outcome` of a layer that stays as it is."""
    mask = full(weight.shape, True, weight, dtype="bool") if task.prior is None else task.prior | False
    return Outcome(task.name, weight + 0, mask)


def pruned(task, weight, gram):
    """The `Outcome` of `task.method` on the layer problem of `weight` and `gram`."""
    with named(f"layer {task.key}"):
        problem = given = LayerProblem(weight, gram)
        options = task.options()
        if base(task.method) not in METHODS.values():  # others may write into what they are given
            given = LayerProblem(weight + 0, gram + 0)
            options = {name: mask | False for name, mask in options.items()}
        start = time.perf_counter()
        answer = task.method(given, task.pattern, **options)
        seconds = time.perf_counter() - start
        _check(task, weight, answer)
    value, zero = objective(problem, answer.weight), objective(problem, weight * 0)
    error = (value / zero) ** 0.5 if value > 0 and zero > 0 else (0.0 if value <= 0 else np.inf)
    dead = int(np.count_nonzero(to_numpy(diagonal(gram)) == 0))
    return Outcome(task.name, answer.weight + 0, answer.mask | False, value, float(error), dead, seconds)


def _check(task, weight, answer):
    """Raise TypeError or ValueError where the answer is not what the pattern and the prior mask ask for."""
    name = f"the method {task.label}"
    for field in ("weight", "mask"):
        if not hasattr(answer, field):
            raise TypeError(f"need a Pruned answer from {name}; got {type(answer).__name__}")
    real(f"the weight of {name}", answer.weight, shape=tuple(weight.shape))
    boolean(f"the mask of {name}", answer.mask, shape=tuple(weight.shape))
    xp = namespace(weight, answer.weight, answer.mask)
    if dtype_name(answer.weight.dtype) != dtype_name(weight.dtype):
        kinds = f"{dtype_name(weight.dtype)} from {name}; got {dtype_name(answer.weight.dtype)}"
        raise TypeError(f"need a weight of {kinds}")
    if not bool(xp.all(xp.where(answer.mask, 0, answer.weight) == 0)):
        raise ValueError(f"need weights that are 0 where the mask of {name} prunes; got another value")
    if task.prior is not None and bool(xp.any(xp.logical_and(answer.mask, xp.logical_not(task.prior)))):
        raise ValueError(f"need prior zeros that stay pruned; got one that {name} revived")
    if not admitted(task, answer.mask):
        kept = int(np.count_nonzero(to_numpy(answer.mask)))
        raise ValueError(
            f"need a mask that {task.pattern} allows from {name}; got another one, which keeps {kept} (a method that"
            " counts neither by layer nor by row needs a pattern with scope='layer')"
        )


def admitted(task, mask):
    """Whether the pattern allows `mask`; where the method's scope is not known, the layer or the row will do."""
    pattern = own_scope(task)
    if isinstance(pattern, (Unstructured, Blocks)) and pattern.scope is None:
        if base(task.method) is sparsegpt and pattern.keep is None:
            return _block_by_block(pattern, mask, option(task.method, "block_size", 128))
        return any(_holds(own, mask, task.prior) for own in _scoped(pattern, tuple(mask.shape)))
    return _holds(pattern, mask, task.prior)


def _scoped(pattern, shape):
    """The pattern over the layer and over the row, where its count fits there."""
    for scope in ("layer", "row"):
        own = replace(pattern, scope=scope)
        with contextlib.suppress(ValueError):  # more to keep than a row has
            own.removals(shape)
            yield own


def _holds(pattern, mask, prior):
    """`pattern.admits`, where a kept block or group may lack the prior zeros in it, and nothing else."""
    mask = to_numpy(mask)
    if prior is None or not isinstance(pattern, (Blocks, Groups)):
        return pattern.admits(mask)
    labels = pattern.labels(mask.shape)
    whole = np.isin(labels, labels[mask])
    return pattern.admits(whole) and np.array_equal(mask, whole & to_numpy(prior))


def _block_by_block(pattern, mask, block_size):
    """Whether every block of columns of a SparseGPT mask has its count."""
    pruned = ~to_numpy(mask).reshape(mask.shape[0], -1)
    blocks = [pruned[:, first : first + block_size] for first in range(0, pruned.shape[1], block_size)]
    return all(np.count_nonzero(block) == pattern.removals(block.shape) for block in blocks)
