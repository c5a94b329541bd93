r"""Removing weights one after another from rows that share one inverse Hessian: the left-looking form.

Model: each row minimises ``1/2 (v - w)^T H (v - w)`` under ``v_p = 0`` for all p removed so far.

Solution: with ``G`` the inverse of H over the living set and ``c = G e_p / sqrt(G_pp)``, removing p moves
the row by ``- c w_p / sqrt(G_pp)``, costs ``w_p^2 / (2 G_pp)`` and leaves ``G - c c^T``. So after k
removals, with the scaled pivot columns ``U`` (k, d) as rows,

.. math:: G = H^{-1} - U^T U, \qquad G e_p = H^{-1} e_p - U^T U_{:p},

as in pivoted Cholesky. H^-1 is shared by all rows and never copied; a row keeps its weights, the diagonal
of G and U. A removal costs k d operations, where the rank-one downdate of a whole inverse costs d^2 and
memory traffic with it. Rows walk in step, so that the Python loop is over removals, not over rows times
removals.

Memory: U is sized for the removals until the next compaction to the living columns (see `Removal`), and
callers take so many rows at a time that it stays below `CACHE` bytes, or take one row. It is never rows x d
x d.

Source: Hassibi and Stork 1993, equation 5; Frantar and Alistarh 2022, section 4 (row-wise, by rank-one
downdates).
"""

from refprune.arrays import astype, diagonal, namespace

CACHE = 2**24  # bytes that the pivot columns of one chunk of rows may take: about a last-level cache
SHRINK = 0.75  # compact when so many columns are left since the last time


def chunks(rows, columns, depth, itemsize):
    """Cut `rows` rows into ranges whose pivot columns for `depth` removals stay below `CACHE` bytes."""
    one = max(1, itemsize * min(depth, (columns + 1) // 2) * columns)
    size = max(1, CACHE // one)
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


class Removal:
    """Rows that lose weights in step: call `make_room`, choose positions, `remove` them.

    Parameters
    ----------
    weight : array, shape (r, q, d)
        The `q` weight vectors of each of the `r` rows that share the row's living set (q = 1 but for groups
        of input columns). It is copied.
    inverse : array, shape (d, d)
        The inverse Hessian of all rows.
    floor : array, shape (d,)
        ``1 / H_pp``: no diagonal of an inverse over a living set is smaller, so rounding may not make it so.
    depth : int
        The number of removals.
    compacts : bool
        Whether `make_room` drops the removed columns now and then. Positions then change: `column` tells
        which column is at a position.
    """

    def __init__(self, weight, inverse, floor, depth, compacts=True):
        xp = namespace(weight, inverse, floor)
        r, _, d = weight.shape
        self.xp, self.inverse, self.depth, self.compacts = xp, inverse, depth, compacts
        self.rows = xp.arange(r)
        self.weight = weight.copy()
        self.column = xp.broadcast_to(xp.arange(d), (r, d)).copy()  # (r, m) the column at each position
        self.alive = xp.ones((r, d), dtype=bool)
        self.floor = xp.broadcast_to(floor, (r, d)).copy()
        self.diagonal = xp.broadcast_to(diagonal(inverse), (r, d)).copy()  # of G
        self.pivots = xp.empty((r, 0, d), dtype=inverse.dtype)  # U
        self.done = 0

    def make_room(self):
        """Grow the store of pivot columns where it is full, first dropping the columns that are gone."""
        if self.done < self.pivots.shape[1]:
            return
        if self.compacts and self.done:
            self._compact()
        r, _, m = self.pivots.shape
        more = min(m - int(SHRINK * m), self.depth - self.done)
        pivots = self.xp.empty((r, self.done + more, m), dtype=self.inverse.dtype)
        pivots[:, : self.done] = self.pivots
        self.pivots = pivots

    def remove(self, p, active=None):
        """Remove the weights at positions `p` (r,) of the rows; returns (losses (r,), pivot columns (r, m)).

        Rows where `active` is False stay as they are; their losses mean nothing and their columns are zero.
        """
        xp, rows = self.xp, self.rows
        if active is None:
            active = xp.ones(p.shape, dtype=bool)
        U = self.pivots[:, : self.done]  # (r, k, m)
        column = xp.take_along_axis(self.inverse[self.column[rows, p]], self.column, axis=1)
        column = column - xp.matmul(U[rows, :, p][:, None, :], U)[:, 0]  # (r, m)  G e_p
        root = xp.sqrt(xp.maximum(column[rows, p], self.floor[rows, p]))
        ratio = self.weight[rows, :, p] / root[:, None]  # (r, q)
        column = xp.where(self.alive & active[:, None], column / root[:, None], 0)
        self.pivots[:, self.done] = column
        self.done += 1
        self.weight -= ratio[:, :, None] * column[:, None, :]
        self.diagonal = xp.maximum(self.diagonal - column * column, self.floor)
        self.alive[rows, p] &= ~active
        self.weight[rows, :, p] *= astype(~active, self.weight.dtype)[:, None]  # exactly zero
        return xp.sum(ratio * ratio, axis=1) / 2, column

    def _compact(self):
        """Keep the living columns only, in their order; all rows have lost equally many."""
        xp, r = self.xp, self.rows.shape[0]
        kept = xp.nonzero(self.alive)[1].reshape(r, -1)  # (r, m) ascending, so ties stay as they were
        self.weight = xp.take_along_axis(self.weight, kept[:, None, :], axis=2)
        self.column, self.floor, self.diagonal, self.alive = (
            xp.take_along_axis(x, kept, axis=1) for x in (self.column, self.floor, self.diagonal, self.alive)
        )
        self.pivots = xp.take_along_axis(self.pivots, kept[:, None, :], axis=2)
