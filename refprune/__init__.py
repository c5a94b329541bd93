"""refprune: the reference for second-order and sparse-recovery pruning of neural networks.

Read the definitions, run the methods on NumPy or CuPy, and let the oracle judge your own kernels.
"""

__version__ = "0.1.0"

# data sets that lie on this computer; networks in and out: PyTorch, ONNX
from refprune import datasets, interop

# curvature: matrices and solvers beside the methods of networks and objectives
from refprune.curvature import conjugate_gradient, empirical_fisher, fisher_inverse, gauss_newton

# whole networks, unit by unit
from refprune.ispasp_network import ispasp_network

# whole networks in stages, by the size of the weights
from refprune.iterative_magnitude import iterative_magnitude

# methods: problem and pattern in, answer out
from refprune.methods import (
    MiniBatches,
    alps,
    cosamp,
    force,
    grasp,
    htp,
    iht,
    iobs,
    ispasp,
    magnitude,
    newton_cg,
    obd,
    obs,
    optimal_weights,
    snip,
    sparsegpt,
    synflow,
    wanda,
    woodfisher,
)

# networks: layers, what is built of them, and what is done with it
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
    NetworkLoss,
    Reconstruction,
    ReLU,
    ReLU6,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    accuracy,
    cnn,
    load,
    mlp,
    resnet20,
    save,
    sparsity,
    train,
)

# patterns: which zeros are allowed
from refprune.patterns import NM, Blocks, Groups, Unstructured

# problems: what is pruned
from refprune.problems import GramAccumulator, LayerProblem, LeastSquares, Quadratic

# whole networks before training, by what the first steps make of the weights
from refprune.prospr import prospr

# whole networks, layer by layer
from refprune.prune import PrunedNetwork, prune

# answers: what comes back
from refprune.pruned import Pruned

# whole networks, by chance
from refprune.random_pruning import random_pruning

# whole networks
from refprune.shrink import shrink

# whole networks, readjusted to what the dense one computes
from refprune.snows import snows

# whole networks, neurons and filters by the loss
from refprune.sosp import sosp

# whole networks, by the gradients of their loss
from refprune.woodfisher_network import woodfisher_network

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
    "MiniBatches",
    "Network",
    "NetworkLoss",
    "Pruned",
    "PrunedNetwork",
    "Quadratic",
    "ReLU",
    "ReLU6",
    "Reconstruction",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "Unstructured",
    "__version__",
    "accuracy",
    "alps",
    "cnn",
    "conjugate_gradient",
    "cosamp",
    "datasets",
    "empirical_fisher",
    "fisher_inverse",
    "force",
    "gauss_newton",
    "grasp",
    "htp",
    "iht",
    "interop",
    "iobs",
    "ispasp",
    "ispasp_network",
    "iterative_magnitude",
    "load",
    "magnitude",
    "mlp",
    "newton_cg",
    "obd",
    "obs",
    "optimal_weights",
    "prospr",
    "prune",
    "random_pruning",
    "resnet20",
    "save",
    "shrink",
    "snip",
    "snows",
    "sosp",
    "sparsegpt",
    "sparsity",
    "synflow",
    "train",
    "wanda",
    "woodfisher",
    "woodfisher_network",
]
