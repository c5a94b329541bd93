"""refprune: the reference for second-order and sparse-recovery pruning of neural networks.

Read the definitions, run the methods on NumPy or CuPy, and let the oracle judge your own kernels.
"""

__version__ = "0.1.0"

# which zeros are allowed
from refprune.patterns import NM, Blocks, Groups, Unstructured

# what comes back
from refprune.pruned import Pruned

__all__ = ["NM", "Blocks", "Groups", "Pruned", "Unstructured", "__version__"]
