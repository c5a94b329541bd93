r"""Optimal Brain Surgeon: the cheapest weight goes, the others make up for it, and again.

Model: ``q(v) = g.(v - w) + 1/2 (v - w)^T H (v - w)``; in a layer every row has the Hessian G, and g = 0.
Problem: the pattern's number of zeros at the least increase of q, greedily.
Solution: with ``C`` the inverse of H over the living set, remove ``p = argmin w_p^2 / (2 C_pp)``, move the
others by ``- C e_p w_p / C_pp``, repeat; at the end solve the normal equations on the kept set. What makes
it fast is the left-looking form in `refprune.methods.removal`.
Ties: the lowest flat index (or label) goes first; dead inputs and prior zeros go before all others, at no
cost.
Cost: d^3 for the inverse, then at most k d operations for the k-th removal of a row.
Source: Hassibi and Stork 1993, equation 5; on layers Frantar and Alistarh 2022 (ExactOBS).
"""

import numpy as np

from refprune.arrays import Array
from refprune.blocks import Blocks, Groups
from refprune.methods import unit_walks, walks
from refprune.methods.allocation import RULES
from refprune.methods.answer import prior_zeros, refitted
from refprune.methods.system import system
from refprune.patterns import NM, Pattern, Unstructured
from refprune.problems import LayerProblem, Quadratic
from refprune.pruned import Pruned


def obs(
    problem: Quadratic | LayerProblem,
    pattern: Pattern,
    damp: float = 0.0,
    allocation: str = "heap",
    mask: Array | None = None,
) -> Pruned:
    r"""Prune by Optimal Brain Surgeon, one unit at a time; on a layer this is ExactOBS.

    Removing p costs :math:`w_p^2 / (2 [H^{-1}]_{pp})`, the exact increase of the quadratic model, with the
    inverse taken over the weights that are left; a block or group B costs
    :math:`\frac12 w_B^T ([H^{-1}]_{BB})^{-1} w_B`. The kept weights are the best ones on their support.

    Parameters
    ----------
    problem : Quadratic or LayerProblem
    pattern : Unstructured, NM, Blocks or Groups
        On a layer `Unstructured` and `Blocks` share one budget, or have one for each row with
        ``scope="row"``; N:M is met in every row. `Groups` share one budget; ``axis=1`` removes input
        columns in all rows at once (of a grouped convolution: in all rows of one group).
    damp : float
        ``damp * mean(diag H)`` over the living inputs is added to the diagonal that chooses and refits.
    allocation : {"heap", "sorted", "cumulative"}
        How rows share the budget of a layer: the row whose next removal is cheapest; the smallest of all step
        losses; the smallest of the losses summed along each row.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first, at no cost, counted, never revived. The weight must be 0 there.

    Returns
    -------
    Pruned
        `objective` is the undamped problem at `weight`. `order` lists flat C-order indices, or labels of
        blocks and groups, in the sequence of removal; where rows do not compete step by step
        (``scope="row"``, N:M, the allocations "sorted" and "cumulative") it goes row after row. `trace`
        holds the loss of each removal.

    Raises
    ------
    TypeError
        `problem`, `pattern`, `damp` or `mask` is of another kind; the arrays are Fractions.
    ValueError
        The pattern does not fit, asks for fewer zeros than `mask` holds, or has the scope "network"; `damp`
        is negative; `allocation` is unknown.
    numpy.linalg.LinAlgError
        The (damped) Hessian of the living inputs is not positive definite (groups of whole rows do not ask);
        a dead input has a nonzero gradient; the answer is beyond the range of the weight's dtype.

    See Also
    --------
    optimal_weights : the last step alone, for a mask from anywhere.
    refprune.definitions.obs : the definition, which inverts anew at every step.

    Notes
    -----
    With ``g = 0`` the trace sums to the objective (of the damped model, where `damp` is not 0). With a
    gradient the losses are those of ``w - H^-1 g``, where pruning nothing leads, and the objective is their
    sum minus ``1/2 g^T H^-1 g``; for ``g = 0`` pruning nothing returns the weights bit for bit.

    A dead input (``H_jj = 0``) is pruned before any living one and a kept one keeps its weight. A group
    that holds some prior zeros stays a group; one that holds nothing else counts as pruned.

    Memory: at most 32 MiB, eight arrays like H and sixteen like the weight (`tests/benchmarks` measures it);
    never rows x d x d. Time: a row that loses k of d weights costs about ``k^2 d / 2`` operations, less where
    removed columns are dropped on the way. Groups that cut across rows without being whole columns cost a
    fresh inverse for every row and step that they touch, and so do columns whose rows have different prior
    zeros (rows that hold nothing else do not count); groups of whole rows need none at all.

    Source: Hassibi and Stork 1993, Optimal Brain Surgeon, equation 5; on layers Frantar and Alistarh 2022, Optimal
    Brain Compression (ExactOBS).

    Examples
    --------
    The smallest weight, 1.0, is not the cheapest: the first input can stand in for the second.

    >>> import numpy as np
    >>> import refprune as rp
    >>> H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> answer = rp.obs(rp.Quadratic(H, np.array([2.0, 1.5, 1.0])), rp.Unstructured(keep=2))
    >>> answer.weight
    array([3.3125, 0.    , 1.    ])
    >>> answer.objective  # 1.5^2 / 2 * (1 - 0.875^2); removing 1.0 would cost 0.5
    0.263671875

    A layer, two of every four inputs kept:

    >>> X = np.random.default_rng(0).standard_normal((64, 8))
    >>> layer = rp.LayerProblem.from_inputs(np.arange(1.0, 17.0).reshape(2, 8), X)
    >>> answer = rp.obs(layer, rp.NM(2, 4))
    >>> answer.mask.sum(axis=1)
    array([4, 4])
    """
    view = system(problem, damp)
    walk = {
        Unstructured: walks.unstructured, NM: walks.nm, Blocks: unit_walks.blocks, Groups: unit_walks.groups
    }.get(type(pattern))  # fmt: skip
    if walk is None:
        raise TypeError(f"need an Unstructured, NM, Blocks or Groups pattern; got {type(pattern).__name__}")
    if allocation not in RULES:
        raise ValueError(f"need allocation to be one of {', '.join(RULES)}; got {allocation!r}")
    pattern, prior = pattern.on(problem), prior_zeros(mask, view)
    order, losses = walk(view, pattern, prior, allocation)
    if isinstance(pattern, (Blocks, Groups)):
        labels = pattern.labels(problem.weight.shape).reshape(view.shape)
        kept = prior & ~np.isin(labels, order)
    else:
        kept = prior.copy()
        kept.reshape(-1)[order] = False
    return refitted(view, kept, checked=True, order=order, trace=tuple(view.losses(losses).tolist()))
