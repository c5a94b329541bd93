"""What PyTorch says in two steps and refprune in one: constants around images, a number of features."""

from collections import defaultdict
from dataclasses import replace
from math import inf

from refprune.interop.graph import PASS, Assembled, Node, unsupported
from refprune.interop.torch_layers import FEATURES, PAD, both_sides, need, plainest

ELEMENTWISE = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")
CONSTANTS = {"conv2d": 0, "avgpool2d": 0, "maxpool2d": -inf}  # what a layer's own padding stands for


def without_pads(nodes: list[Node]) -> list[Node]:
    """The nodes with every pad taken into the padding of the convolution or pool that reads it.

    Raises
    ------
    ValueError
        Something else reads the padded images, or they are padded with another constant.
    """
    pads = {node.output: node for node in nodes if _type(node.does) == PAD}
    readers, kept = defaultdict(list), []
    for node in nodes:
        for pad in [pads[value] for value in node.inputs if value in pads]:
            readers[pad.output].append(node)
            try:
                node = replace(node, does=_padded(node.does, pad.does))
            except ValueError as error:
                raise unsupported(pad.operator, pad.name, str(error)) from None
        kept.append(replace(node, does=PASS) if node.output in pads else node)
    for value, pad in pads.items():
        if len(readers[value]) != 1:
            got = ", ".join(map(str, readers[value])) or "none"
            raise unsupported(
                pad.operator, pad.name, f"need one convolution or pool that reads it; got {got}"
            )
    return kept


def _type(does):
    return does if isinstance(does, str) else does["type"]


def _padded(layer, pad):
    """The `layer` with `pad` added to its own padding."""
    kind = _type(layer)
    need("a convolution or a pool that reads the padded images", kind in CONSTANTS, kind)
    need(f"the constant {CONSTANTS[kind]} before {kind}", pad["value"] == CONSTANTS[kind], pad["value"])
    own = both_sides(layer["padding"])
    sides = tuple((a + p, b + q) for (a, b), (p, q) in zip(own, pad["sides"]))
    if kind == "avgpool2d" and not layer["count_padding"]:
        need("no uncounted padding of the pool itself", own == ((0, 0), (0, 0)), layer["padding"])
        layer = {**layer, "count_padding": True}
    return {**layer, "padding": plainest(sides)}


def confirm_features(found: Assembled, prefix: str = "", layers: list | None = None) -> None:
    """Take the numbers of features out of the Flatten layers; the next Dense layer has to agree.

    Raises
    ------
    ValueError
        There is none, or it has another number of inputs: `view(-1, features)` may then mix samples.
    """
    layers = found.layers if layers is None else layers
    for i, layer in enumerate(layers):
        for branch in ("body", "shortcut"):
            confirm_features(found, f"{prefix}{i}.{branch}.", layer.get(branch, []))
        features = layer.pop(FEATURES, None)
        after = [other for other in layers[i + 1 :] if other["type"] not in ELEMENTWISE][:1]
        if features is not None and [other.get("inputs") for other in after] != [features]:
            why = f"need a Dense layer with {features} inputs after a view(-1, {features}); got {after}"
            raise unsupported("view", found.names[f"{prefix}{i}"], why)
