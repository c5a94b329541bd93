"""What a pruning method returns: the weights, the mask, and what a caller needs to check them again."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Pruned:
    r"""The answer of a pruning method; those that report on the layers of a network return a `PrunedNetwork`.

    Two answers are equal only when they are the same object, since arrays have no single truth value.

    Parameters
    ----------
    weight : array, or dict of arrays
        The pruned weight, in the shape, dtype and array kind of the weight that was given.
        A pruned entry is exactly ``0.0``. Of several arrays, or of a network, a dict by their names.
    mask : boolean array, or dict of boolean arrays
        True where a weight is kept, in the shape of `weight`. It is never inferred from zeros:
        a kept weight may be ``0.0``.
    objective : float, optional
        The undamped problem's value at `weight`, in units of the loss; None when the method was given no
        problem.
    order : array of int, optional
        Flat C-order indices (labels for groups and blocks) in sequence of removal; None for one-shot masks.
    trace : tuple
        What each removal cost (OBS, SparseGPT), or one entry for each iteration, step or stage; else empty.
    scores : array or dict of arrays, optional
        What a method ranked by, in steps for the last time; None for the others.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> answer = rp.Pruned(weight=np.array([0.0, 2.0]), mask=np.array([False, True]))
    >>> answer.mask
    array([False,  True])
    >>> answer.objective is None
    True
    """

    weight: Any
    mask: Any
    objective: float | None = None
    order: Any = None
    trace: tuple = ()
    scores: Any = None
