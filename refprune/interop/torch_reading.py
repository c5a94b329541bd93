"""From PyTorch: a module as a network and its parameters."""

from typing import Any

import numpy as np

from refprune.interop.parameters import numpy_copy
from refprune.interop.torch_nodes import traced
from refprune.network import Network


def from_torch(module: Any) -> tuple[Network, dict[str, np.ndarray]]:
    r"""The network that a PyTorch module computes at inference, and its parameters.

    The module's forward is traced by `torch.fx`: an `nn.Sequential`, nested ones, and modules of one's own
    whose forward is a chain of supported steps with residual sums.

    Parameters
    ----------
    module : torch.nn.Module
        It is read as in evaluation mode, whatever mode it is in (Dropout passes its input on, BatchNorm uses
        its running statistics), and is left in its mode.

    Returns
    -------
    network : Network
    params : dict of str to NumPy array
        Copies, each in the dtype of its tensor, named as the network names them: `"0.weight"`,
        `"3.body.0.weight"`. `torch_names` gives the module's own names.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError
        Not a module; weights that are not float16, float32 or float64 (NumPy has no bfloat16).
    ValueError
        A step that no layer stands for; the message names the module's path, and why. Weights that are used
        twice; a module that `torch.fx` cannot trace (a forward that branches on numbers), that has hooks or
        several inputs or outputs; a value that is read after another step wrote over it (`inplace=True`,
        `+=`); NaN or Inf.

    Notes
    -----
    Modules: Linear, Conv2d (zero padding, also `"same"`), BatchNorm2d (affine, with running statistics),
    ReLU, ReLU6, Tanh, Sigmoid, GELU (exact), SiLU, Softplus (beta 1), Hardtanh(0, 6), MaxPool2d, AvgPool2d,
    AdaptiveAvgPool2d(1), Flatten, ZeroPad2d and ConstantPad2d before a convolution or a pool, Identity,
    Dropout. Functions and methods: the same activations and pools, `pad`, `flatten(x, 1)`,
    `x.view(x.size(0), -1)`, `x.mean((2, 3))`, `dropout`, sums.
    `ceil_mode` of a pool is taken where it means the same for images of every size.
    Subclasses of PyTorch's modules are traced like modules of one's own, as they may compute something else.
    PyTorch's Softplus returns x itself above its threshold of 20, where the two differ by up to 2.1e-9.
    Cost: one trace, no forward pass.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from refprune.interop import from_torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    >>> network, params = from_torch(module)
    >>> network
    Network([Dense(inputs=3, outputs=2, bias=True), ReLU()])
    >>> {name: array.shape for name, array in params.items()}
    {'0.weight': (2, 3), '0.bias': (2,)}
    """
    found = traced(module)
    network = Network.from_dicts(found.layers)
    names = _names(found)
    shapes = network.shapes | network.constants
    params = {key: numpy_copy(names[key], tensor, shapes[key]) for key, tensor in found.params.items()}
    return network, params


def torch_names(module: Any) -> dict[str, str]:
    """The module's own name (its key in `state_dict()`) of every parameter of `from_torch(module)`.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `from_torch`, except for the weights' values.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> from collections import OrderedDict
    >>> from refprune.interop import torch_names
    >>> torch_names(torch.nn.Sequential(OrderedDict(first=torch.nn.Linear(3, 2, bias=False))))
    {'0.weight': 'first.weight'}
    """
    return _names(traced(module))


def _names(found):
    path = {key: found.names[key.rpartition(".")[0]] for key in found.params}
    return {key: f"{path[key]}.{key.rpartition('.')[2]}".lstrip(".") for key in found.params}
