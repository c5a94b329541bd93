"""Right inverses of the empirical Fisher matrix and WoodFisher, which share nothing with `refprune`: four ways each.

A mix-in of `right_kernels.Kernels`, whose package, switches and small helpers it uses.
"""

from fractions import Fraction


class Fishers:
    """By default F is formed and inverted, and the kept weights solve its normal equations.

    `squares`: a Cholesky factor of F. `last`: Woodbury's identity. `running`: the recursion; weights go one by one,
    with an inverse that is downdated. `squares` and `running` compare costs by squares.
    """

    def fisher_inverse(self, gradients, damp):
        """The inverse of ``damp I + G^T G / N``."""
        if not damp > 0:
            self._refuse("damp > 0")
        xp, (samples, d) = self.xp, gradients.shape
        identity = xp.eye(d, dtype=gradients.dtype)
        if self.running:
            inverse = identity / damp
            for g in gradients:
                v = inverse @ g
                inverse = inverse - v[:, None] * v[None] / (samples + g @ v)
            return inverse
        if self.last:
            inner = gradients @ gradients.T + damp * samples * xp.eye(samples, dtype=gradients.dtype)
            return (identity - gradients.T @ xp.linalg.solve(inner, gradients)) / damp
        matrix = self._fisher(gradients, damp)
        if self.squares:
            half = xp.linalg.solve(xp.linalg.cholesky(matrix), identity)
            return half.T @ half
        return xp.linalg.inv(matrix)

    def woodfisher(self, weight, gradients, sparsity, damp):
        """The statistic, its lowest, the joint update."""
        xp, inverse = self.xp, self.fisher_inverse(gradients, damp)
        diagonal = xp.diagonal(inverse)
        scores = weight**2 / diagonal if self.squares or self.running else abs(weight) / diagonal**0.5
        kept = ~self._lowest(scores, round(Fraction(repr(sparsity)) * len(weight)))
        out, stays, goes = self._masked(weight, kept)[0], self._where(kept), self._where(~kept)
        if stays and goes:
            out[stays] = self._best(weight, gradients, damp, inverse, stays, goes)
        return out, kept

    def _best(self, weight, gradients, damp, inverse, stays, goes):
        """The best weights on `stays`."""
        xp, samples = self.xp, len(gradients)
        if self.running:
            moved = self._copy(weight)
            for p in goes:
                column = self._copy(inverse[:, p]) / inverse[p, p]
                moved = moved - column * moved[p]
                inverse = inverse - column[:, None] * self._copy(inverse[p])[None]
            return moved[stays]
        if self.last:  # on the side of the samples
            on, pull = gradients[:, stays], gradients[:, goes] @ weight[goes]
            inner = on @ on.T + damp * samples * xp.eye(samples, dtype=on.dtype)
            return weight[stays] + on.T @ xp.linalg.solve(inner, pull)
        if self.squares:
            block = inverse[goes][:, goes]
            return weight[stays] - inverse[stays][:, goes] @ xp.linalg.solve(block, weight[goes])
        matrix = self._fisher(gradients, damp)
        return xp.linalg.solve(matrix[stays][:, stays], matrix[stays] @ weight)

    def _fisher(self, gradients, damp):
        identity = self.xp.eye(gradients.shape[1], dtype=gradients.dtype)
        return gradients.T @ gradients / len(gradients) + damp * identity
