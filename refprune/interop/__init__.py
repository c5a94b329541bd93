"""Networks in and out: ONNX files, PyTorch modules, state dicts.

The other libraries are optional. They are imported when a function needs them, not with this package.
"""
