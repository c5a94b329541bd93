r"""Wanda: weight times the norm of its input, compared within each output row.

Solution: keep the largest :math:`|W_{ij}| \sqrt{G_{jj}}` that the pattern allows; no weight moves. With ``G
= X^T X / n`` the root is the norm of input j (over the root of n, which ranks the same).
Ties: the lowest flat index is pruned first.
Cost: a stable sort of each row.
Source: Sun, Liu, Bair, Kolter 2023, A Simple and Effective Pruning Approach for Large Language Models,
section 3.
"""

from dataclasses import replace

from refprune.arrays import Array, astype, diagonal, exponent, namespace, precision
from refprune.blocks import Blocks
from refprune.methods.saliency import pruned_by
from refprune.methods.system import floating
from refprune.patterns import Pattern, Unstructured
from refprune.problems import LayerProblem
from refprune.pruned import Pruned


def wanda(problem: LayerProblem, pattern: Pattern, mask: Array | None = None) -> Pruned:
    r"""Prune the weights of least :math:`|W_{ij}| \sqrt{G_{jj}}`.

    Parameters
    ----------
    problem : LayerProblem
    pattern : Unstructured, NM, Blocks or Groups
        The scope of `Unstructured` and `Blocks` is the row unless it says ``"layer"``: every output keeps
        equally many weights. Blocks and groups are ranked by the sum of scores.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first, counted, never revived. The weight must be 0 there.

    Returns
    -------
    Pruned
        `scores` are what was ranked, `objective` is the layer's at the pruned weight.

    Raises
    ------
    TypeError
        `problem` is no LayerProblem; `mask` is no boolean array of the weight's kind; Fractions.
    ValueError
        The pattern does not fit the weight, or asks for fewer zeros than `mask` holds; the weight is not 0
        where `mask` is False.

    Notes
    -----
    Source: Sun, Liu, Bair, Kolter 2023, A Simple and Effective Pruning Approach for Large Language Models, section 3.

    Examples
    --------
    The second input is ten times as large as the first, so its smaller weight matters more.

    >>> import numpy as np
    >>> import refprune as rp
    >>> layer = rp.LayerProblem(np.array([[2.0, 1.0], [-3.0, 0.125]]), np.diag([1.0, 100.0]))
    >>> rp.wanda(layer, rp.Unstructured(sparsity=0.5)).weight
    array([[ 0.,  1.],
           [-3.,  0.]])
    """
    if not isinstance(problem, LayerProblem):
        raise TypeError(f"need a LayerProblem; got {type(problem).__name__}")
    weight, gram = problem.weight, problem.gram
    floating(weight, gram)
    dtype = precision(weight, gram)
    xp, shape = namespace(weight, gram), (problem.groups, problem.rows // problem.groups, problem.columns)
    matrix, squares = xp.reshape(astype(weight, dtype), shape), diagonal(astype(gram, dtype))
    a, b = exponent(matrix), exponent(squares) // 2  # powers of two, so that nothing leaves the range
    norms = xp.sqrt(xp.reshape(squares * 2.0 ** (-2 * b), (problem.groups, 1, problem.columns)))
    scores = xp.reshape(abs(matrix) * 2.0**-a * norms, tuple(weight.shape))
    if isinstance(pattern, (Unstructured, Blocks)) and pattern.scope is None:
        pattern = replace(pattern, scope="row")
    return pruned_by(scores, a + b, pattern, weight, problem, mask)
