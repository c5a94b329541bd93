"""refprune: the reference for second-order and sparse-recovery pruning of neural networks.

Read the definitions, run the methods on NumPy or CuPy, and let the oracle judge your own kernels.
"""

__version__ = "0.1.0"

# methods: problem and pattern in, answer out
from refprune.methods import magnitude, obd, obs, optimal_weights, wanda

# patterns: which zeros are allowed
from refprune.patterns import NM, Blocks, Groups, Unstructured

# problems: what is pruned
from refprune.problems import GramAccumulator, LayerProblem, LeastSquares, Quadratic

# answers: what comes back
from refprune.pruned import Pruned

__all__ = [
    "NM",
    "Blocks",
    "GramAccumulator",
    "Groups",
    "LayerProblem",
    "LeastSquares",
    "Pruned",
    "Quadratic",
    "Unstructured",
    "__version__",
    "magnitude",
    "obd",
    "obs",
    "optimal_weights",
    "wanda",
]
