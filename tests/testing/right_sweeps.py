"""Right versions of SparseGPT and ALPS that share nothing with `refprune`: four factors, eager and lazy updates.

A mix-in of `right_kernels.Kernels`, whose package, switches and small helpers it uses.
"""

from fractions import Fraction


class Sweeps:
    """By default the factor is the Cholesky factor of an inverse, and updates beyond a block are lazy.

    `last`: a Cholesky factorisation from the last column on is inverted; updates are eager. `running`: one inverse,
    downdated when the sweep leaves a column. `squares`: an inverse at every column; scores are compared by squares.
    """

    def sparsegpt(self, weight, gram, sparsity, block_size, damp):
        """Masks block by block, one budget for all rows of a block."""

        def choose(scores):
            count = round(Fraction(repr(sparsity)) * scores.shape[0] * scores.shape[1])
            return self._lowest(scores.reshape(-1), count).reshape(scores.shape)

        return self._sweep(weight, gram, damp, block_size, choose, block_size)

    def sparsegpt_nm(self, weight, gram, n, m, block_size, damp):
        """Masks group by group, in every row; lazy updates reach whole groups."""
        if weight.shape[1] % m:
            raise ValueError(f"need columns that fill groups of {m}; got {weight.shape[1]}")
        lazy = max(block_size // m, 1) * m
        return self._sweep(weight, gram, damp, m, lambda scores: self._lowest(scores, m - n), lazy)

    def alps(self, weight, gram, sparsity):
        """Whatever mask, here Wanda's score over the layer, and the best weights on it."""
        count = round(Fraction(repr(sparsity)) * weight.shape[0] * weight.shape[1])
        scores = self._scores(weight, self.xp.diagonal(gram)).reshape(-1)
        living = self._where(self.xp.diagonal(gram) > 0)
        self._need_definite(gram, living)
        return self._refit(weight, gram, ~self._lowest(scores, count).reshape(weight.shape))

    def _refit(self, weight, gram, mask):
        return self.optimal_weights(weight, gram, mask), mask

    def _sweep(self, weight, gram, damp, width, choose, lazy):
        """`choose(scores)` gives what a block of `width` columns loses; updates wait at most `lazy` columns."""
        xp, w, columns = self.xp, self._copy(weight), weight.shape[1]
        living = xp.diagonal(gram) > 0
        at = self._where(living)
        rows = self._factor(self._damped(gram, damp, at), at)
        leads, eager = xp.diagonal(rows), self.last or self.running
        pruned, errors = xp.zeros_like(w) > 0, xp.zeros_like(w)
        for j in range(columns):
            start = j // lazy * lazy
            stop = columns if eager else min(start + lazy, columns)
            if j % width == 0:
                block = w[:, j : j + width] / leads[j : j + width]
                scores = block * block if self.squares else abs(block)
                scores = xp.where(living[None, j : j + width], scores, -xp.ones_like(scores))
                pruned[:, j : j + width] = choose(scores)
            gone, zero = pruned[:, j], xp.zeros_like(w[:, j])
            errors[:, j] = xp.where(gone & living[j], w[:, j] / leads[j], zero)
            w[:, j + 1 : stop] -= errors[:, j, None] * rows[None, j, j + 1 : stop]
            w[:, j] = xp.where(gone, zero, w[:, j])
            if j == stop - 1:
                w[:, stop:] -= errors[:, start:stop] @ rows[start:stop, stop:]
        return w, ~pruned

    def _damped(self, gram, damp, at):
        """The Gram with its damping on the living inputs."""
        h = self._copy(gram)
        if at:
            diagonal = self.xp.diagonal(gram)[at]
            for j in at:
                h[j, j] = h[j, j] + damp * (diagonal.sum() / len(at))
        self._need_definite(h, at)
        return h

    def _factor(self, h, at):
        """U, upper triangular, with `U^T U` the inverse of the living part; 1 on the diagonal elsewhere."""
        xp, upper = self.xp, self.xp.eye(h.shape[0], dtype=h.dtype)
        if not at:
            return upper
        part, place = h[at][:, at], xp.asarray(at)
        eye = xp.eye(len(at), dtype=h.dtype)
        if self.running:
            found, inverse = xp.zeros_like(part), xp.linalg.inv(part)
            for j in range(len(at)):
                found[j, j:] = inverse[j, j:] / xp.sqrt(inverse[j, j])
                inverse = inverse - found[j, :, None] * found[None, j]
        elif self.squares:
            found = xp.zeros_like(part)
            for j in range(len(at)):
                row = xp.linalg.inv(part[j:, j:])[0]
                found[j, j:] = row / xp.sqrt(row[0])
        elif self.last:
            flipped = xp.linalg.cholesky(xp.flip(part, (0, 1)))
            found = xp.linalg.solve(xp.flip(flipped, (0, 1)), eye)
        else:
            inverse = xp.linalg.inv(part)
            found = xp.linalg.cholesky((inverse + inverse.T) / 2).T
        upper[place[:, None], place] = found
        return upper
