"""refprune: the reference for second-order and sparse-recovery pruning of neural networks.

Read the definitions, run the methods on NumPy or CuPy, and let the oracle judge your own kernels.
"""

__version__ = "0.1.0"

# networks in and out: PyTorch, ONNX
from refprune import interop

# methods: problem and pattern in, answer out
from refprune.methods import magnitude, obd, obs, optimal_weights, wanda

# networks: layers, and what is built of them
from refprune.network import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    ReLU,
    ReLU6,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

# patterns: which zeros are allowed
from refprune.patterns import NM, Blocks, Groups, Unstructured

# problems: what is pruned
from refprune.problems import GramAccumulator, LayerProblem, LeastSquares, Quadratic

# answers: what comes back
from refprune.pruned import Pruned

__all__ = [
    "GELU",
    "NM",
    "AvgPool2d",
    "BatchNorm2d",
    "Blocks",
    "Conv2d",
    "Dense",
    "Flatten",
    "GlobalAvgPool",
    "GramAccumulator",
    "Groups",
    "LayerProblem",
    "LeastSquares",
    "MaxPool2d",
    "Network",
    "Pruned",
    "Quadratic",
    "ReLU",
    "ReLU6",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Unstructured",
    "__version__",
    "interop",
    "magnitude",
    "obd",
    "obs",
    "optimal_weights",
    "wanda",
]
