"""One weight, or those of all layers of a network in a dict, as one flat vector; patterns over them."""

from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from refprune.arrays import astype, concat, namespace, real
from refprune.counts import units_to_prune
from refprune.curvature.gauss_newton import narrowed
from refprune.methods.answer import check_prior
from refprune.methods.system import floating
from refprune.patterns import NM, Unstructured


@dataclass(frozen=True)
class ManyWeights:
    """Arrays by name in flat order; `single` where one array was given without a name."""

    arrays: dict
    single: bool

    @property
    def shapes(self):
        """Name -> shape."""
        return {name: tuple(array.shape) for name, array in self.arrays.items()}

    @property
    def edges(self):
        """Where the arrays begin and end in the flat vector: one number more than arrays."""
        return [0, *accumulate(prod(shape) for shape in self.shapes.values())]

    def flat(self, arrays, dtype=None):
        """A dict of arrays, or the one array, as a new vector (d,)."""
        arrays = [arrays] if self.single else [arrays[name] for name in self.arrays]
        pieces = [namespace(a).reshape(astype(a, dtype or a.dtype), (-1,)) for a in arrays]
        return concat(pieces, axis=0)

    def restore(self, vector, dtypes=False):
        """A vector (d,) in the shapes of the arrays, and with `dtypes` in their dtypes; a dict, or one array.

        Raises
        ------
        ValueError
            An entry is beyond the range of its array's dtype.
        """
        xp, edges, found = namespace(vector), self.edges, {}
        for i, (name, like) in enumerate(self.arrays.items()):
            piece = xp.reshape(vector[edges[i] : edges[i + 1]], tuple(like.shape))
            piece = astype(piece, piece.dtype)  # no view of the vector
            found[name] = narrowed(piece, like) if dtypes else piece
        return next(iter(found.values())) if self.single else found

    def mask(self, pattern, scores, prior):
        """The mask (d,) of the largest `scores` (d,) that `pattern` allows; `prior` (d,) or None as everywhere."""
        if isinstance(pattern, Unstructured) and pattern.scope == "network":
            return replace(pattern, scope="layer").mask(scores, prior)
        edges, found = self.edges, []
        for i, shape in enumerate(self.shapes.values()):
            own = [
                None if x is None else namespace(x).reshape(x[edges[i] : edges[i + 1]], shape)
                for x in (scores, prior)
            ]
            found.append(namespace(scores).reshape(pattern.mask(*own), (-1,)))
        return concat(found, axis=0)

    def scopes(self, pattern):
        """The number of the set that each weight shares its count with, (d,) (NumPy); -1 where it stays anyway."""
        if isinstance(pattern, Unstructured) and pattern.scope == "network":
            return np.zeros(self.edges[-1], dtype=int)
        found, first = [], 0
        for shape in self.shapes.values():
            if isinstance(pattern, NM):
                own = pattern.labels(shape).reshape(-1)
            else:
                rows = shape[0] if pattern.scope == "row" and len(shape) > 1 else 1
                own = np.repeat(np.arange(rows), prod(shape) // max(rows, 1))
            found.append(np.where(own < 0, -1, own + first))
            first += int(own.max(initial=-1)) + 1
        return np.concatenate(found)


def many_weights(weight, pattern, mask) -> tuple[ManyWeights, Any, Any]:
    """(weights, pattern with a scope, prior mask or None), checked.

    Raises
    ------
    TypeError, ValueError
        No array or dict of arrays of real floating numbers; a pattern that is no Unstructured or NM, or does not fit;
        a prior mask that does not fit.
    """
    single = not isinstance(weight, dict)
    given = ManyWeights({"weight": weight} if single else weight, single)
    if not given.arrays:
        raise ValueError("need at least one array in weight; got none")
    for name, array in given.arrays.items():
        real("weight" if single else f"weight[{name!r}]", array, ndim=(1, 2, 4))
        floating(array)
    namespace(*given.arrays.values())
    if not isinstance(pattern, (Unstructured, NM)):
        raise TypeError(f"need an Unstructured or NM pattern; got {type(pattern).__name__}")
    if isinstance(pattern, Unstructured) and pattern.scope is None:
        pattern = replace(pattern, scope="layer" if single else "network")
    if isinstance(pattern, Unstructured) and pattern.scope == "network":
        units_to_prune(pattern, given.edges[-1], "network")
        if single:
            raise ValueError("need scope 'layer' or 'row' for one array; got 'network'")
    else:
        for shape in given.shapes.values():
            pattern.removals(shape)
    if mask is not None:
        _check_masks(given, mask)
    return given, pattern, mask


def _check_masks(given, mask):
    """Raise unless the prior mask has the form of the weight."""
    if given.single:
        check_prior(mask, given.arrays["weight"])
        return
    if not isinstance(mask, dict) or mask.keys() != given.arrays.keys():
        got = sorted(map(str, mask)) if isinstance(mask, dict) else type(mask).__name__
        raise ValueError(f"need mask to be a dict named like weight, {list(given.arrays)}; got {got}")
    for name, array in given.arrays.items():
        check_prior(mask[name], array, f"[{name!r}]")
