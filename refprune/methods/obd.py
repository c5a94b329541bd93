r"""Optimal Brain Damage: the diagonal of the Hessian says what a weight is worth.

Model: the quadratic model with its off-diagonal entries left out.
Solution: prune the least :math:`\frac12 H_{pp} w_p^2 - g_p w_p`, the model's increase when ``w_p`` becomes
0 and nothing else moves (at a minimum g = 0).
Ties: the lowest flat index is pruned first.
Cost: a stable sort.
Source: LeCun, Denker, Solla 1990, Optimal Brain Damage, section 2. With the mean of squared gradients as
the diagonal it is the diagonal Fisher version.
"""

from refprune.arrays import Array, astype, diagonal, exponent, namespace, precision
from refprune.methods.saliency import pruned_by
from refprune.methods.system import floating
from refprune.patterns import Pattern
from refprune.problems import LayerProblem, Quadratic
from refprune.pruned import Pruned


def obd(problem: Quadratic | LayerProblem, pattern: Pattern, mask: Array | None = None) -> Pruned:
    r"""Prune the weights of least saliency :math:`\frac12 H_{pp} w_p^2`; survivors stay as they are.

    Parameters
    ----------
    problem : Quadratic or LayerProblem
        A Hessian given as its diagonal (d,) is enough. In a layer every row has the Hessian G.
    pattern : Unstructured, NM, Blocks or Groups
        Blocks and groups are ranked by the sum of saliencies; the scope is the layer unless it says
        ``"row"``.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first, counted, never revived. The weight must be 0 there.

    Returns
    -------
    Pruned
        `scores` are the saliencies, in units of the loss; `objective` is the whole problem's at the pruned
        weight.

    Raises
    ------
    TypeError
        `problem` is of another kind; `mask` is no boolean array of the weight's kind; Fractions.
    ValueError
        The pattern does not fit the weight, or asks for fewer zeros than `mask` holds; the weight is not 0
        where `mask` is False.

    Notes
    -----
    With a gradient the saliency is :math:`\frac12 H_{pp} w_p^2 - g_p w_p`.

    Source: LeCun, Denker, Solla 1990, Optimal Brain Damage, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> problem = rp.Quadratic(np.array([8.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    >>> answer = rp.obd(problem, rp.Unstructured(keep=2))
    >>> answer.weight, answer.scores, answer.objective
    (array([1., 0., 3.]), array([4., 2., 9.]), 2.0)
    """
    if isinstance(problem, LayerProblem):
        matrix, H, g, groups = problem.matrix, diagonal(problem.gram), None, problem.groups
    elif isinstance(problem, Quadratic):
        matrix, H, g, groups = problem.weight[None, :], problem.diagonal, problem.g, 1
    else:
        raise TypeError(f"need a Quadratic or a LayerProblem; got {type(problem).__name__}")
    arrays = (matrix, H) if g is None else (matrix, H, g)
    floating(*arrays)
    xp, dtype = namespace(*arrays), precision(*arrays)
    rows, columns = matrix.shape
    w = xp.reshape(astype(matrix, dtype), (groups, rows // groups, columns))
    H = xp.reshape(astype(H, dtype), (groups, 1, columns))
    a, b = exponent(w), exponent(H)
    w, H = w * 2.0**-a, H * 2.0**-b
    scores = H * w * w / 2
    if g is not None:
        scores = scores - astype(g, dtype) * 2.0**-a * 2.0**-b * w
    scores = xp.reshape(scores, tuple(problem.weight.shape))
    return pruned_by(scores, 2 * a + b, pattern, problem.weight, problem, mask)
