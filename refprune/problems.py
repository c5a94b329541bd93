r"""What is pruned: a quadratic model, least squares, or a layer with the Gram of its inputs.

Model: :math:`q(v) = g^T (v - w) + \frac12 (v - w)^T H (v - w)` around the given weight `w`.
Each problem is an objective over a flat vector: `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)`, in the
precision of the arrays (float32 at least; exact on object arrays of Fractions). Arrays are kept, not copied:
do not change them afterwards. Scalars are 0-d results of the array library, so that autograd can go through
them.
"""

from refprune.gram import GramAccumulator
from refprune.layer_problem import LayerProblem
from refprune.quadratic import LeastSquares, Quadratic

__all__ = ["GramAccumulator", "LayerProblem", "LeastSquares", "Quadratic"]
