"""refprune: the reference for second-order and sparse-recovery pruning of neural networks.

Read the definitions, run the methods on NumPy or CuPy, and let the oracle judge your own kernels.
"""

__version__ = "0.1.0"

# what comes back
from refprune.pruned import Pruned

__all__ = ["Pruned", "__version__"]
