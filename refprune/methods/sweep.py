r"""The sweep of SparseGPT over the columns of rows that share a Hessian.

Model: each row minimises ``1/2 (v - w)^T H (v - w)``; the columns are passed once, in a given order, and what
is passed is final.

Solution: with ``H^-1 = L L^T`` and L lower triangular, ``L_jj^2`` is the first diagonal entry of the inverse
of ``H[j:, j:]`` and ``L[j:, j] L_jj`` its first column. So with the errors ``e_i = w_i / L_ii`` of the columns
pruned so far (0 where a weight is kept), the weights of column j, when the sweep comes to it, are

.. math:: w_j - \sum_{i < j} L_{ji} e_i,

and pruning one of them costs ``e_j^2 / 2``. A column gathers the errors before it when it needs them: those
of earlier batches by one matrix product for the whole batch, then those of earlier windows and strips, at
last those of its own strip. Each product of a column and an earlier one is taken once, so the batches change
nothing but the time.

Cost: about 5 d^3 for L (with the check of the condition), then rows * d^2. Weights and errors are stored as
(d, rows), so that a column is contiguous.

Source: Frantar and Alistarh 2023, algorithm 1; there the errors are pushed ahead, here they are gathered.
"""

import numpy as np

from refprune.arrays import diagonal, from_numpy, inverse_factor, namespace, swap

BATCH = 128  # columns that gather the errors of all batches before in one product
STRIP = 32  # columns that gather the errors of their window in one product


class Sweep:
    """The rows of a `Rows` of `refprune.methods.system` on their way: `look` at a window, then `prune` in it.

    Windows are ranges of the living columns, in the order of the sweep, and come one after another without
    gaps.

    Parameters
    ----------
    part : Rows
    sequence : NumPy int array, shape (columns,)
        The columns of the layer in the order of the sweep.

    Attributes
    ----------
    rows : slice
    places, columns : NumPy int arrays, shape (d,)
        Where in `sequence` the living columns stand, ascending; and which they are.
    weight, errors : arrays, shape (d, r)
        The weights, final where the sweep has passed; and ``e``, 0 where a weight is kept.
    """

    def __init__(self, part, sequence):
        xp = namespace(part.weight)
        place = np.argsort(sequence)[part.living]  # of each living column
        order = np.argsort(place)
        self.xp, self.places = xp, place[order]
        order = from_numpy(order, part.weight)
        self.factor = inverse_factor(part.hessian[order[:, None], order], part.name).copy()  # L (d, d)
        self.weight = swap(part.weight[:, order]).copy()
        self.rows = slice(part.first, part.first + part.count)
        self.columns = sequence[self.places]
        self.errors = xp.zeros(self.weight.shape, dtype=self.weight.dtype)
        self.base = self.ready = 0  # the weights before `ready` have gathered the errors before `base`

    def window(self, first, last):
        """The range (start, stop) of living columns that stand at the places from `first` to before `last`."""
        return tuple(np.searchsorted(self.places, (first, last)).tolist())

    def look(self, start, stop):
        """Bring the window up to date; returns the roots of the costs there, times the root of 2, (r, n)."""
        if stop > self.ready:
            end = max(stop, min(start + BATCH, len(self.places)))
            self._gather(start, self.ready, self.base, start)
            self._gather(self.ready, end, 0, start)
            self.base, self.ready = start, end
        else:
            self._gather(start, stop, self.base, start)
        return abs(swap(self.weight[start:stop] / diagonal(self.factor)[start:stop, None]))

    def prune(self, start, stop, kept):
        """Pass the window with the mask `kept` (r, n)."""
        xp, L, E, kept = self.xp, self.factor, self.errors, swap(kept)
        for first in range(start, stop, STRIP):
            last = min(first + STRIP, stop)
            self._gather(first, last, start, first)
            for j in range(first, last):
                if j > first:
                    self.weight[j] -= L[j, first:j] @ E[first:j]
                E[j] = xp.where(kept[j - start], 0, self.weight[j] / L[j, j])
        self.weight[start:stop] = xp.where(kept, self.weight[start:stop], 0)

    def _gather(self, start, stop, first, last):
        """The columns from `start` to before `stop` take in the errors of those from `first` to before `last`."""
        if start < stop and first < last:
            self.weight[start:stop] -= self.factor[start:stop, first:last] @ self.errors[first:last]
