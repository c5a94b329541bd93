r"""The best weights on a given mask.

Model: ``q(v) = g.(v - w) + 1/2 (v - w)^T H (v - w)``; in a layer every row has the Hessian G.
Problem: least q under ``v_P = 0``.
Solution: the normal equations ``H_KK v_K = H_K: w - g_K`` of the kept set, for each row.
Cost: d^3 for each row; rows that keep equally many weights are solved in stacks.
Source: least squares; the second form of it, ``v = w - H^-1_:P (H^-1_PP)^-1 w_P``, is the joint step of OBS
(Hassibi and Stork 1993; Kurtic et al. 2022), and loses accuracy with the condition of the whole H.
"""

import numpy as np

from refprune.arrays import Array, boolean, namespace, to_numpy
from refprune.methods.answer import definite, refitted
from refprune.methods.system import system
from refprune.problems import LayerProblem, Quadratic
from refprune.pruned import Pruned


def optimal_weights(problem: Quadratic | LayerProblem, mask: Array, damp: float = 0.0) -> Pruned:
    r"""The minimiser of the problem among the weights that are zero where `mask` is False.

    Solves :math:`(H + D)_{KK} v_K = (H + D)_{K:} w - g_K` on the kept set K of every row.

    Parameters
    ----------
    problem : Quadratic or LayerProblem
    mask : boolean array, shape of the weight
        True = kept.
    damp : float
        ``D = damp * mean(diag H)`` over the living inputs, added to their diagonal.

    Returns
    -------
    Pruned
        `weight`, `mask` (a copy) and `objective`, the undamped problem at `weight`, in units of the loss.

    Raises
    ------
    TypeError
        `problem` or `damp` is of another kind; `mask` is no boolean array of the weight's kind; Fractions.
    ValueError
        `mask` has another shape than the weight; `damp` is negative.
    numpy.linalg.LinAlgError
        The (damped) Hessian restricted to a row's kept living inputs is not positive definite, and the row
        has to move; a dead input has a nonzero gradient; the answer is beyond the range of the weight's dtype.

    Notes
    -----
    A kept dead input (``H_jj = 0``) keeps its weight. A row that loses only zeros comes back bit for bit
    (with ``g = 0``). The residual of the normal equations is at rounding level whatever the condition; the
    weights err by about eps cond(H_KK).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> problem = rp.Quadratic(np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1.0, 1.0]))
    >>> rp.optimal_weights(problem, np.array([True, False])).weight
    array([1.5, 0. ])
    """
    view = system(problem, damp)
    boolean("mask", mask, shape=tuple(problem.weight.shape))
    namespace(mask, problem.weight)
    kept = np.array(to_numpy(mask).reshape(view.shape))
    return refitted(view, kept, checked=definite(view))
