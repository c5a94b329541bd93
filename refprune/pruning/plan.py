"""What happens to each layer: method, pattern and prior mask, from the arguments of `rp.prune`."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from refprune import methods
from refprune.arrays import namespace
from refprune.network.training import checked_masks
from refprune.patterns import NM, Blocks, Groups, Pattern, Unstructured
from refprune.pruning.units import every_layer

METHODS = {name: getattr(methods, name) for name in ("magnitude", "wanda", "obd", "obs", "sparsegpt", "alps")}
PATTERNS = (Unstructured, NM, Blocks, Groups)


@dataclass(frozen=True)
class Task:
    """One weight: its name, the method, and the pattern (None: the layer stays dense).

    `label` is the method's name in the report, `prior` the mask that was given, `note` why a layer stays dense.
    """

    name: str
    method: Callable
    label: str
    pattern: Pattern | None
    prior: Any = None
    note: str = ""

    @property
    def key(self):
        """The key of the layer."""
        return self.name.removesuffix(".weight")

    def options(self):
        """The keywords of the method's call: the prior mask where there is one."""
        return {} if self.prior is None else {"mask": self.prior}


def plan(network, params, method, pattern, overrides, masks) -> list[Task]:
    """A `Task` for every prunable weight, in flat order.

    Raises
    ------
    TypeError, ValueError
        An argument that does not fit; the message names the layer where it is one layer's.
    """
    masks = checked_masks(network, {} if masks is None else masks)
    changed = _overrides(network, overrides)
    tasks = []
    for name in network.prunable:
        own = {"method": method, "pattern": pattern} | changed.get(name, {})
        function, label = _method(own["method"])
        task = Task(name, function, label, _pattern(own["pattern"]), masks.get(name))
        if task.prior is not None:
            _check_prior(task, params[name])
        tasks.append(task)
    return tasks


def _method(method):
    """The function and its name."""
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"need method to be one of {', '.join(METHODS)}, or a callable; got {method!r}")
        return METHODS[method], method
    if not callable(method):
        raise TypeError(f"need method to be a name or a callable; got {type(method).__name__}")
    bare = base(method)
    return method, getattr(bare, "__name__", type(bare).__name__)


def base(method):
    """The function inside any `functools.partial`."""
    while isinstance(method, partial):
        method = method.func
    return method


def option(method, name, default):
    """The keyword `name` as the `functools.partial`s around a method set it, the outermost first."""
    while isinstance(method, partial):
        if name in method.keywords:
            return method.keywords[name]
        method = method.func
    return default


def _pattern(pattern):
    """Return `pattern` when it is one, or None."""
    if pattern is not None and not isinstance(pattern, PATTERNS):
        raise TypeError(
            f"need pattern to be Unstructured, NM, Blocks or Groups (None in overrides); got {type(pattern).__name__}"
        )
    return pattern


def _overrides(network, overrides):
    """Name of the weight -> {"method": ..., "pattern": ...}, what is given of the two."""
    if not isinstance(overrides, (Mapping, type(None))):
        raise TypeError(f"need overrides to be a mapping by layer; got {type(overrides).__name__}")
    found = {}
    for key, value in (overrides or {}).items():
        name = key if key in network.prunable else f"{key}.weight"
        if name not in network.prunable or not isinstance(key, str):
            known = ", ".join(name.removesuffix(".weight") for name in network.prunable)
            raise ValueError(f"need overrides for the layers {known}; got {key!r}")
        if name in found:
            raise ValueError(f"need one override for each layer; got two for {name.removesuffix('.weight')}")
        value = value if isinstance(value, Mapping) else {"pattern": value}
        if not value or value.keys() - {"method", "pattern"}:
            raise ValueError(
                f"need method or pattern or both in overrides[{key!r}]; got {sorted(map(str, value))}"
            )
        with named(f"overrides[{key!r}]"):
            _pattern(value.get("pattern"))
            _method(value.get("method", "obs"))
        found[name] = dict(value)
    return found


def _check_prior(task, weight):
    """Raise unless the weight is 0 where the prior mask prunes."""
    xp = namespace(task.prior, weight)
    if not bool(xp.all(xp.where(task.prior, 0, weight) == 0)):
        raise ValueError(
            f"need params[{task.name!r}] to be 0 where masks[{task.name!r}] prunes; got another value there"
        )


def on_layers(network, params, tasks) -> list[Task]:
    """The tasks with their patterns as they stand for their layers; ValueError, with the layer, where one cannot."""
    layers, found = every_layer(network.layers), []
    for task in tasks:
        if task.pattern is not None:
            weight = params[task.name]
            # what `Groups.on` reads of a layer problem, before there is one
            layer = SimpleNamespace(weight=weight, groups=getattr(layers[task.key], "groups", 1))
            with named(f"layer {task.key}"):
                task = replace(task, pattern=task.pattern.on(layer))
                task.pattern.labels(tuple(weight.shape))
                if base(task.method) is methods.sparsegpt and not isinstance(
                    task.pattern, (Unstructured, NM)
                ):
                    kind = type(task.pattern).__name__
                    raise TypeError(f"need an Unstructured or NM pattern for sparsegpt; got {kind}")
        found.append(task)
    return found


def fit(params, task):
    """Raise ValueError, with the layer, where its count does not fit the weight or the prior mask."""
    if task.pattern is None:
        return
    weight, own = params[task.name], own_scope(task)
    with named(f"layer {task.key}"):
        task.pattern.removals(tuple(weight.shape))
        if task.prior is not None and getattr(own, "scope", "") is not None:
            own.mask(weight * 0, task.prior)


@contextlib.contextmanager
def named(place):
    """Put `place` in front of the message of a TypeError, ValueError or LinAlgError, behind that of any other."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kinds = (np.linalg.LinAlgError, TypeError, ValueError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(f"{place}: {error}") from error
    except Exception as error:
        error.add_note(place)
        raise


def own_scope(task):
    """The pattern with the scope that the method takes where the pattern leaves it open.

    It is still None for methods whose scope is not known from here.
    """
    pattern, method = task.pattern, base(task.method)
    if not isinstance(pattern, (Unstructured, Blocks)) or pattern.scope is not None:
        return pattern
    scope = {"wanda": "row"} | dict.fromkeys(("magnitude", "obd", "obs", "alps"), "layer")
    known = {METHODS[name]: own for name, own in scope.items()}
    return replace(pattern, scope=known.get(method))
