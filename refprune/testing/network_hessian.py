"""The Hessian of a network's loss in blocks, for judges that need many.

The jets are those of `definitions.derivatives`, but each run carries the directions of two groups of arrays only. All
that does not depend on them is a constant, whose derivatives are never formed, and a block stands for its transpose,
too: two to four times as fast where `definitions.derivatives.hessian` is slow.
"""

from itertools import pairwise
from math import prod

import numpy as np

from ..definitions.jet_losses import curvature, slope
from ..definitions.jet_network import RULES, run
from ..definitions.jets import Jet, constant, linear

GROUPS = 3  # of arrays, of about equal size


def hessian(layers, params, x, y, loss):
    """(d, d), equal to `definitions.derivatives.hessian` up to rounding.

    >>> layers = [{"type": "dense", "inputs": 1, "outputs": 1, "bias": False}]
    >>> hessian(layers, {"0.weight": np.array([[3.0]])}, np.array([[2.0]]), np.array([[1.0]]), "squared")
    array([[4.]])
    """
    starts, groups = _grouped(params)
    d = groups[-1].stop
    H = np.zeros((d, d))
    for i, right in enumerate(groups):
        for left in groups[i:]:
            own = {key: _jet(array, starts.get(key), left, right) for key, array in params.items()}
            f = run(layers, own.__getitem__, constant(x), RULES)
            f = linear(lambda part: part.reshape(*part.shape[:3], prod(part.shape[3:])), f)
            g, S = slope(f.value[0, 0], y, loss), curvature(f.value[0, 0], y, loss)
            block = (f.left * (S @ f.right[..., None])[..., 0] + g * f.both).sum((-2, -1)) / len(x)
            H[left, right], H[right, left] = block, block.T
    return H


def _grouped(params):
    """(name -> where its entries start in the flat vector, the groups as slices of it)."""
    trainable = [name for name in params if "running" not in name]
    ends = np.cumsum([params[name].size for name in trainable])
    cuts = [int(ends[abs(ends - ends[-1] * k / GROUPS).argmin()]) for k in range(1, GROUPS)]
    borders = sorted({0, *cuts, int(ends[-1])})
    starts = {name: int(end) - params[name].size for name, end in zip(trainable, ends, strict=True)}
    return starts, [slice(*pair) for pair in pairwise(borders)]


def _jet(array, start, left, right):
    """The jet of an array along the unit vectors of two groups."""
    still = constant(array)
    return Jet(
        still.value,
        _units(array, start, left, still.left[0])[:, None],
        _units(array, start, right, still.right[0])[None],
        still.both,
    )


def _units(array, start, group, none):
    """(p, *shape): what an array holds of the unit vectors of a group; `none` where it is not in the group."""
    if start is None or not group.start <= start < group.stop:
        return none
    p, at = group.stop - group.start, start - group.start
    return np.eye(p)[:, at : at + array.size].reshape(p, *array.shape)
