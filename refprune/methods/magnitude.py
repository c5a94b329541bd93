r"""Magnitude pruning: the smallest weights go, no other weight moves.

Solution: keep the largest :math:`|w|` that the pattern allows.
Ties: the lowest flat index is pruned first.
Cost: a stable sort.
Source: Han, Pool, Tran, Dally 2015, Learning both Weights and Connections for Efficient Neural Networks.
"""

from refprune.arrays import Array, astype, precision, real
from refprune.methods.saliency import pruned_by
from refprune.methods.system import floating
from refprune.patterns import Pattern
from refprune.problems import LayerProblem, Quadratic
from refprune.pruned import Pruned


def magnitude(
    weight: Array | LayerProblem | Quadratic, pattern: Pattern, mask: Array | None = None
) -> Pruned:
    """Prune the weights of least magnitude.

    Parameters
    ----------
    weight : array, shape (d,), (rows, columns) or (out, in, kh, kw); or LayerProblem or Quadratic
        With a problem the answer's objective is filled in, and `Groups` with ``axis=1`` know the inputs of
        a grouped convolution apart.
    pattern : Unstructured, NM, Blocks or Groups
        The scope of `Unstructured` and `Blocks` is the layer unless it says ``"row"``. Blocks and groups
        are ranked by the sum of magnitudes.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first, counted, never revived. The weight must be 0 there.

    Returns
    -------
    Pruned
        `scores` are the magnitudes; `objective` is None for a bare weight.

    Raises
    ------
    TypeError, ValueError
        `weight` is not an array of real floating numbers or holds NaN or Inf; the pattern does not fit it,
        or asks for fewer zeros than `mask` holds; `mask` is no boolean array of the weight's kind and shape,
        or the weight is not 0 where it is False.

    Notes
    -----
    Source: Han, Pool, Tran, Dally 2015, Learning both Weights and Connections for Efficient Neural Networks.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> answer = rp.magnitude(np.array([[3.0, -1.0], [2.0, -4.0]]), rp.Unstructured(sparsity=0.5))
    >>> answer.weight
    array([[ 3.,  0.],
           [ 0., -4.]])
    """
    problem = weight if isinstance(weight, (LayerProblem, Quadratic)) else None
    weight = weight if problem is None else problem.weight
    real("weight", weight, ndim=(1, 2, 4))
    floating(weight)
    return pruned_by(abs(astype(weight, precision(weight))), 0, pattern, weight, problem, mask)
