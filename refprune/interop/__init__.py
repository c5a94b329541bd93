"""Networks in and out: ONNX files, PyTorch modules, state dicts.

The other libraries are optional. They are imported when a function needs them, not with this package.
"""

from refprune.interop.onnx_export import to_onnx
from refprune.interop.onnx_import import from_onnx
from refprune.interop.state_dict import from_state_dict, to_state_dict
from refprune.interop.torch_building import torch_module
from refprune.interop.torch_reading import from_torch, torch_names
from refprune.interop.torch_writing import to_torch

__all__ = [
    "from_onnx",
    "from_state_dict",
    "from_torch",
    "to_onnx",
    "to_state_dict",
    "to_torch",
    "torch_module",
    "torch_names",
]
