"""State dicts: the parameters of a network under the names of a PyTorch module."""

from typing import Any

import numpy as np

from refprune.interop.parameters import is_running, numpy_copy, numpy_params
from refprune.interop.torch_nodes import torch
from refprune.network import Network


def from_state_dict(
    state_dict: dict, network: Network | list, names: dict[str, str] | None = None
) -> dict[str, np.ndarray]:
    r"""The parameters of a network from a PyTorch `state_dict`.

    Parameters
    ----------
    state_dict : dict of str to tensor or array
        Entries `num_batches_tracked` are left out.
    network : Network, or list of layers or of dicts
    names : dict of str to str, optional
        For every parameter of the network its key in `state_dict`, as `torch_names(module)` gives it. Without it
        keys that are the network's own count as such; otherwise the entries are taken in order, running
        statistics apart, and every entry must have the shape and the last part of the name (`weight`, `bias`)
        of the parameter at its place.

    Returns
    -------
    dict of str to NumPy array
        Copies, each in the dtype of its entry.

    Raises
    ------
    TypeError, ValueError
        Entries that are no real numbers; the first entry that does not fit, by name; too many or too few.

    Notes
    -----
    The order of a `state_dict` is that in which the module made its parts, which need not be the order in
    which it uses them. Two layers of one shape in the wrong order cannot be told apart: give `names`.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> from refprune.interop import from_state_dict
    >>> state = {"fc1.weight": np.ones((2, 3)), "fc1.bias": np.zeros(2), "fc2.weight": np.ones((1, 2))}
    >>> layers = [rp.Dense(3, 2), rp.ReLU(), rp.Dense(2, 1, bias=False)]
    >>> list(from_state_dict(state, layers))
    ['0.weight', '0.bias', '2.weight']
    """
    network = _network(network)
    if not isinstance(state_dict, dict):
        raise TypeError(f"need a dict of arrays; got {type(state_dict).__name__}")
    state = {key: value for key, value in state_dict.items() if not str(key).endswith("num_batches_tracked")}
    if names is None:
        names = _names(state, network)
    missing = [key for key in network.shapes | network.constants if names.get(key) not in state]
    extra = [key for key in state if key not in names.values()]
    if missing or extra:
        raise ValueError(f"need one entry for every parameter; missing {missing}, without a use {extra}")
    shapes = network.shapes | network.constants
    return {key: numpy_copy(repr(names[key]), state[names[key]], shape) for key, shape in shapes.items()}


def _network(network):
    if isinstance(network, Network):
        return network
    dicts = [layer if isinstance(layer, dict) else layer.to_dict() for layer in network]
    return Network.from_dicts(dicts)


def _names(state, network):
    """For every parameter its key in `state`: the same, else by order."""
    if set(state) == set(network.shapes | network.constants):
        return {key: key for key in state}
    names = {}
    for running, wanted in ((False, network.shapes), (True, network.constants)):
        keys = iter([key for key in state if is_running(key) == running])
        for name, shape in wanted.items():
            key = next(keys, None)
            if key is None:
                raise ValueError(f"need an entry for {name!r} of shape {shape}; got no more entries")
            got = tuple(getattr(state[key], "shape", ()))
            if got != shape or _kind(key) not in (_kind(name), None):
                raise ValueError(f"need an entry for {name!r} of shape {shape}; got {key!r} of shape {got}")
            names[name] = key
    return names


def _kind(name):
    """What a parameter is to its layer, None where its name does not say so."""
    kind = str(name).rpartition(".")[2]
    return kind if kind in ("weight", "bias", "running_mean", "running_var") else None


def to_state_dict(
    network: Network, params: dict, names: dict[str, str] | None = None, masks: dict | None = None
) -> dict[str, Any]:
    r"""The parameters of a network as a PyTorch `state_dict`, for `module.load_state_dict`.

    Parameters
    ----------
    network : Network
    params : dict of str to array
    names : dict of str to str, optional
        For every parameter its key, as `torch_names(module)` gives it; the network's own names without it.
    masks : dict of str to boolean array, optional
        Some weights' masks, True = kept; the other weights are exactly 0.

    Returns
    -------
    dict of str to torch.Tensor
        Copies on the CPU in the dtypes of `params`.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError, ValueError
        Names, shapes or masks that do not fit, NaN or Inf.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np
    >>> import refprune as rp
    >>> from refprune.interop import to_state_dict
    >>> network = rp.Network([rp.Dense(1, 1, bias=False)])
    >>> to_state_dict(network, {"0.weight": np.array([[2.0]])}, {"0.weight": "fc.weight"})
    {'fc.weight': tensor([[2.]], dtype=torch.float64)}
    """
    t = torch()
    arrays = numpy_params(network, params, masks)
    if names is not None and set(names) != set(arrays):
        raise ValueError(f"need names of {list(arrays)}; got names of {list(names)}")
    return {key if names is None else names[key]: t.from_numpy(array) for key, array in arrays.items()}
