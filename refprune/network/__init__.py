"""Small networks whose first and second derivatives are explicit and exact.

A layer is of one of three kinds (`kinds`), and its kind supplies the second-order rules once: *bilinear* in
parameters and input (`bilinear`), *elementwise* (`activations`), *linear or selecting* (`pools`). `chain` runs
layers one after the other and holds Residual; `derivatives`, `matrices` and `outer_products` hold methods of
`Network`. `presets`, `training` and `saving` make, train and keep networks; `objectives` are for optimisers.
"""

from .activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from .bilinear import BatchNorm2d, Conv2d, Dense
from .chain import Residual
from .network import Network
from .objectives import NetworkLoss, Reconstruction
from .pools import AvgPool2d, Flatten, GlobalAvgPool, MaxPool2d
from .presets import cnn, mlp, resnet20
from .saving import load, save
from .training import accuracy, sparsity, train

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
    "NetworkLoss",
    "ReLU",
    "ReLU6",
    "Reconstruction",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "accuracy",
    "cnn",
    "load",
    "mlp",
    "resnet20",
    "save",
    "sparsity",
    "train",
]
