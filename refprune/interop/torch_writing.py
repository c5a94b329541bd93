"""Back to PyTorch: the parameters of a network into the module it came from."""

from typing import Any

from refprune.interop.parameters import numpy_params
from refprune.interop.torch_nodes import torch, traced
from refprune.network import Network


def to_torch(module: Any, params: dict, masks: dict | None = None) -> Any:
    r"""Write the parameters of a network back into the module it came from.

    Parameters
    ----------
    module : torch.nn.Module
        It has the structure of `params`, as `from_torch` reads it. Its weights and running statistics are
        overwritten, in their own dtype and on their own device.
    params : dict of str to array
        All parameters, named as `from_torch` names them.
    masks : dict of str to boolean array, optional
        Some weights' masks, True = kept; the other weights become exactly 0.

    Returns
    -------
    torch.nn.Module
        `module`.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError, ValueError
        Names, shapes or masks that do not fit, NaN or Inf, numbers too large for the module's dtype, a module
        that `from_torch` refuses. Nothing is written then.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np
    >>> from refprune.interop import from_torch, to_torch
    >>> module = torch.nn.Linear(2, 1, bias=False)
    >>> network, params = from_torch(module)
    >>> weight = np.array([[1.0, 2.0]], np.float32)
    >>> to_torch(module, {"0.weight": weight}, {"0.weight": np.array([[False, True]])}).weight.tolist()
    [[0.0, 2.0]]
    """
    found = traced(module)
    network, t = Network.from_dicts(found.layers), torch()
    arrays = numpy_params(network, params, masks)
    written = {}
    for name, array in arrays.items():
        tensor, shape = found.params[name], tuple(found.params[name].shape)
        if shape != array.shape:
            raise ValueError(f"need a module with {name} of shape {array.shape}; got {shape}")
        written[name] = t.from_numpy(array).to(tensor.dtype)
        if not bool(t.isfinite(written[name]).all()):
            raise ValueError(
                f"need numbers that {tensor.dtype} holds in params[{name!r}]; got {abs(array).max()}"
            )
    with t.no_grad():
        for name, value in written.items():
            found.params[name].copy_(value)
    return module
