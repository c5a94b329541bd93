"""Graphs of other frameworks, turned into the layers of a network.

A reader of a file or of a module describes what it finds by `Node`: what is read, what is written, and which
layer that is. `assemble` finds the chain and its residual sums. Nothing here knows ONNX or PyTorch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

ADD = "add"
PASS = "pass"


@dataclass(frozen=True)
class Node:
    """One step of a graph.

    Parameters
    ----------
    name : str
        What the framework calls the step; errors and `Assembled.names` say it.
    operator : str
        The framework's word for what it does, such as `"Conv"`, for errors.
    inputs : tuple of str
        Names of the values that it reads: one, or two for a sum.
    output : str
        Name of the value that it gives.
    does : dict or str
        A layer as plain data (`{"type": "dense", ...}`), or `ADD` (the sum of two values), or `PASS` (the
        value itself: Identity, Dropout at inference).
    params : mapping of str to array
        The layer's arrays under its own names (`"weight"`, `"running_mean"`), in the flat order.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    output: str
    does: dict | str
    params: Mapping = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self):
        return f"{self.operator} (node {self.name!r})"


class Assembled(NamedTuple):
    """What `assemble` gives.

    Attributes
    ----------
    layers : list of dict
        Plain data for `Network.from_dicts`.
    params : dict of str to array
        Keyed `"0.weight"`, `"3.body.0.weight"`, in the flat order.
    names : dict of str to str
        The node's name of every layer, keyed `"0"`, `"3.body.0"`; a residual has the name of its sum.
    """

    layers: list
    params: dict
    names: dict


class _Branches(NamedTuple):
    node: Node
    body: list
    shortcut: list


def unsupported(operator: str, name: str, why: str) -> ValueError:
    """The error of an operator that no layer stands for; every reader raises this one."""
    return ValueError(f"need operators that are layers of refprune; got {operator} (node {name!r}): {why}")


def assemble(nodes: Iterable[Node], source: str, result: str) -> Assembled:
    r"""Turn a graph with one input and one output into a chain of layers and residual sums.

    A sum :math:`f(z) + g(z)` whose branches part at the value z becomes `Residual(f, g)`. The body is the
    branch that is not empty; where both have layers, it is the one that the sum reads first. Sums may stand
    inside branches, and follow each other (three branches are two sums).

    Parameters
    ----------
    nodes : iterable of Node
        In an order where every value is given before it is read. Nodes that `result` does not need are
        ignored.
    source, result : str
        Names of the values that go in and come out.

    Returns
    -------
    Assembled
        `layers`, `params`, `names`.

    Raises
    ------
    ValueError
        A value is read before it is given; a sum adds a value to itself; a layer is read in two branches (the
        graph is no chain with residual sums). The operator and the node are named.

    Notes
    -----
    The value where two branches part is their lowest common dominator: the last value through which every
    path from `source` goes. Time is linear in the number of nodes times the depth of nesting.

    Examples
    --------
    >>> from refprune.interop.graph import ADD, Node, assemble
    >>> nodes = [
    ...     Node("first", "Tanh", ("x",), "a", {"type": "tanh"}),
    ...     Node("second", "Relu", ("a",), "b", {"type": "relu"}),
    ...     Node("sum", "Add", ("b", "a"), "y", ADD),
    ... ]
    >>> assemble(nodes, "x", "y").layers
    [{'type': 'tanh'}, {'type': 'residual', 'body': [{'type': 'relu'}]}]
    """
    nodes, result = _without_passes(nodes, result)
    made = {node.output: node for node in nodes}
    steps = _chain(result, source, made, _forks(nodes, source, result), set())
    params, names = {}, {}
    return Assembled(_built(steps, "", params, names), params, names)


def _without_passes(nodes, result):
    """The nodes without those that pass a value on; what they gave is read where it came from."""
    real, kept = {}, []
    for node in nodes:
        inputs = tuple(real.get(name, name) for name in node.inputs)
        if node.does == PASS:
            real[node.output] = inputs[0]
        else:
            kept.append(Node(node.name, node.operator, inputs, node.output, node.does, node.params))
    return kept, real.get(result, result)


def _forks(nodes, source, result):
    """For every value the last one that all paths to it go through: its parent in the tree of dominators."""
    parent, depth = {}, {source: 0}
    for node in nodes:
        if any(name not in depth for name in node.inputs):
            continue  # it hangs on another input, which matters only where the result needs it
        fork = node.inputs[0]
        for other in node.inputs[1:]:
            while fork != other:
                if depth[fork] >= depth[other]:
                    fork = parent[fork]
                else:
                    other = parent[other]
        parent[node.output], depth[node.output] = fork, depth[fork] + 1
    if result not in depth:
        raise ValueError(f"need a result that is computed from {source!r}, in order; got {result!r}")
    return parent


def _chain(value, stop, made, forks, used):
    """The steps that lead from the value `stop` to `value`, in order."""
    steps = []
    while value != stop:
        node, fork = made[value], forks[value]
        if value in used:
            raise ValueError(f"need a chain with residual sums; got {node}, which two branches share")
        used.add(value)
        if node.does == ADD:
            body, shortcut = (_chain(name, fork, made, forks, used) for name in node.inputs)
            if not body and not shortcut:
                raise unsupported(node.operator, node.name, "it adds a value to itself")
            steps.append(_Branches(node, body or shortcut, shortcut if body else []))
        else:
            steps.append(node)
        value = fork
    return steps[::-1]


def _built(steps, prefix, params, names):
    """The plain data of `steps`; fills `params` and `names`."""
    layers = []
    for index, step in enumerate(steps):
        key = f"{prefix}{index}"
        if isinstance(step, Node):
            names[key] = step.name
            params.update({f"{key}.{name}": array for name, array in step.params.items()})
            layers.append(dict(step.does))
        else:
            names[key] = step.node.name
            layer = {"type": "residual", "body": _built(step.body, f"{key}.body.", params, names)}
            if step.shortcut:
                layer["shortcut"] = _built(step.shortcut, f"{key}.shortcut.", params, names)
            layers.append(layer)
    return layers
