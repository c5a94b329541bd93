"""Small networks whose first and second derivatives are explicit and exact.

A layer is of one of three kinds (`kinds`), and its kind supplies the second-order rules once: *bilinear* in
parameters and input (`bilinear`), *elementwise* (`activations`), *linear or selecting* (`pools`). `chain` runs
layers one after the other and holds Residual; `derivatives` and `matrices` are methods of `Network`.
"""

from .activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from .bilinear import BatchNorm2d, Conv2d, Dense
from .chain import Residual
from .network import Network
from .pools import AvgPool2d, Flatten, GlobalAvgPool, MaxPool2d

__all__ = [
    "GELU",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dense",
    "Flatten",
    "GlobalAvgPool",
    "MaxPool2d",
    "Network",
    "ReLU",
    "ReLU6",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
]
