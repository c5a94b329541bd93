"""Parameters and masks on their way between frameworks: always checked, always copies in NumPy."""

from typing import Any

import numpy as np

from refprune.arrays import boolean, real, to_numpy
from refprune.network import Network


def numpy_copy(name: str, value: Any, shape: tuple | None = None) -> np.ndarray:
    """A tensor of PyTorch or an array as a new NumPy array in C order, of the same dtype.

    Raises
    ------
    TypeError, ValueError
        Not float16, float32 or float64; another shape; NaN or Inf.
    """
    if hasattr(value, "detach"):  # a tensor of PyTorch
        if str(value.dtype) not in ("torch.float16", "torch.float32", "torch.float64"):
            raise TypeError(f"need float16, float32 or float64 numbers in {name}; got {value.dtype}")
        value = value.detach().cpu().numpy()
    return np.array(to_numpy(real(name, value, shape=shape)), order="C")


def numpy_params(network: Network, params: dict, masks: dict | None = None) -> dict[str, np.ndarray]:
    """All parameters, running statistics behind those of the flat vector, with the masked weights exactly 0.

    Raises
    ------
    TypeError, ValueError
        Names, shapes, numbers or masks that do not fit the network; masks of what is not prunable.
    """
    for name, value in (("params", params), ("masks", {} if masks is None else masks)):
        if not isinstance(value, dict):
            raise TypeError(f"need {name} to be a dict of arrays; got {type(value).__name__}")
    shapes = network.shapes | network.constants
    if set(params) != set(shapes):
        missing, unknown = sorted(set(shapes) - set(params)), sorted(set(params) - set(shapes))
        raise ValueError(f"need params named as the network's; got missing {missing} and unknown {unknown}")
    arrays = {name: numpy_copy(f"params[{name!r}]", params[name], shape) for name, shape in shapes.items()}
    for name, mask in (masks or {}).items():
        if name not in network.prunable:
            raise ValueError(
                f"need masks of prunable weights {', '.join(network.prunable)}; got one of {name!r}"
            )
        boolean(f"masks[{name!r}]", mask, shape=shapes[name])
        arrays[name][~to_numpy(mask)] = 0.0
    return arrays


def is_running(name: str) -> bool:
    """Whether a parameter is a running statistic of a batch normalisation."""
    return name.rpartition(".")[2] in ("running_mean", "running_var")
