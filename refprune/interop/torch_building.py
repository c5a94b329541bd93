"""A PyTorch module built from a network."""

from typing import Any

from refprune.interop.parameters import numpy_params
from refprune.interop.torch_layers import both_sides, pair
from refprune.interop.torch_nodes import torch
from refprune.network import Network


def torch_module(network: Network, params: dict, masks: dict | None = None) -> Any:
    r"""A PyTorch module that computes what the network computes.

    Parameters
    ----------
    network : Network
    params : dict of str to array
    masks : dict of str to boolean array, optional
        Some weights' masks, True = kept; the other weights are exactly 0.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode, on the CPU, in the dtypes of `params`. Its `state_dict` has the names of `params`
        (and `num_batches_tracked` of every BatchNorm2d). A residual is a `torch.fx.GraphModule` with a `body`
        and perhaps a `shortcut`; padding that PyTorch's layer cannot have is a module before it, `"2_pad"`.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError, ValueError
        Names, shapes or masks that do not fit, NaN or Inf; an average pool that PyTorch does not have (with
        dilation, or with uncounted padding that is not the same on both sides).

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np
    >>> import refprune as rp
    >>> from refprune.interop import torch_module
    >>> network = rp.Network([rp.Dense(2, 1), rp.Tanh()])
    >>> torch_module(network, network.init(np.random.default_rng(0)))
    Sequential(
      (0): Linear(in_features=2, out_features=1, bias=True)
      (1): Tanh()
    )
    """
    t = torch()
    arrays = numpy_params(network, params, masks)
    with t.device("meta"):  # no memory yet, and no draw from PyTorch's generator
        module = _sequential(network.to_dicts())
    module.load_state_dict({name: t.from_numpy(array) for name, array in arrays.items()}, assign=True)
    return module.eval()


def _sequential(layers):
    module = torch().nn.Sequential()
    for i, layer in enumerate(layers):
        pad, step = _BUILDERS.get(layer["type"], _elementwise)(layer)
        if pad is not None:
            module.add_module(f"{i}_pad", pad)
        module.add_module(str(i), step)
    return module


def _elementwise(layer):
    names = ("ReLU", "ReLU6", "Tanh", "Sigmoid", "GELU", "SiLU", "Softplus")
    (name,) = [name for name in names if name.lower() == layer["type"]]
    return None, getattr(torch().nn, name)()


def _dense(layer):
    return None, torch().nn.Linear(layer["inputs"], layer["outputs"], layer["bias"])


def _batchnorm2d(layer):
    return None, torch().nn.BatchNorm2d(layer["channels"], layer["eps"])


def _globalavgpool(layer):
    return None, torch().nn.AdaptiveAvgPool2d(1)


def _flatten(layer):
    return None, torch().nn.Flatten()


def _residual(layer):
    t = torch()
    branches = {
        name: _sequential(layer[name]) for name in ("body", "shortcut") if layer.get(name) is not None
    }
    graph = t.fx.Graph()
    x = graph.placeholder("x")
    ends = [graph.call_module(name, (x,)) for name in branches]
    graph.output(graph.call_function(t.add, (ends[0], (*ends, x)[1])))
    return None, t.fx.GraphModule(branches, graph, class_name="Residual")


def _conv2d(layer):
    pad, padding = _padding(layer, 0.0, largest=None)
    module = torch().nn.Conv2d(
        layer["in_channels"],
        layer["out_channels"],
        layer["kernel"],
        layer["stride"],
        padding,
        layer["dilation"],
        layer["groups"],
        layer["bias"],
    )
    return pad, module


def _maxpool2d(layer):
    kernel, dilation = pair(layer["kernel"]), pair(layer["dilation"])
    pad, padding = _padding(layer, float("-inf"), [k // 2 for k in kernel])
    return pad, torch().nn.MaxPool2d(kernel, layer["stride"], padding, dilation)


def _avgpool2d(layer):
    kernel, sides, counted = pair(layer["kernel"]), both_sides(layer["padding"]), layer["count_padding"]
    if pair(layer["dilation"]) != (1, 1):
        raise ValueError(f"need dilation 1 in an average pool of PyTorch; got {layer['dilation']}")
    if counted:
        pad, padding = _padding(layer, 0.0, [k // 2 for k in kernel])
        return pad, torch().nn.AvgPool2d(kernel, layer["stride"], padding)
    stride = pair(kernel if layer["stride"] is None else layer["stride"])
    padding = tuple(before for before, _ in sides)
    ceiled = sides == tuple((p, p + s - 1) for p, s in zip(padding, stride))
    same = sides == tuple((p, p) for p in padding)
    fits = all(p <= k // 2 and (same or s <= k - p) for p, k, s in zip(padding, kernel, stride))
    if not (fits and (same or ceiled)):
        raise ValueError(f"need uncounted padding of an average pool of PyTorch; got {layer['padding']}")
    pool = torch().nn.AvgPool2d
    return None, pool(kernel, stride, padding, ceil_mode=not same, count_include_pad=False)


def _padding(layer, value, largest):
    """A module that pads with `value`, or None, and the padding that PyTorch's own layer can have."""
    (top, bottom), (left, right) = both_sides(layer["padding"])
    own = (top, left) == (bottom, right) and (largest is None or (top <= largest[0] and left <= largest[1]))
    if own:
        return None, (top, left)
    return torch().nn.ConstantPad2d((left, right, top, bottom), value), (0, 0)


_BUILDERS = {
    "avgpool2d": _avgpool2d,
    "batchnorm2d": _batchnorm2d,
    "conv2d": _conv2d,
    "dense": _dense,
    "flatten": _flatten,
    "globalavgpool": _globalavgpool,
    "maxpool2d": _maxpool2d,
    "residual": _residual,
}
