"""Right steps of IHT, CoSaMP and I-OBS that share nothing with `refprune`: four solvers, four projections.

A mix-in of `right_kernels.Kernels`, whose package, switches and small helpers it uses.
"""


class Steps:
    """By default normal equations are solved anew for what is kept.

    `squares`: Cholesky factors, for least squares orthogonal ones; sizes are compared by squares. `last`: inverses from
    eigenvalues; the projection has the inverse of a block of the inverse. `running`: one inverse, downdated by rank one
    for each weight that goes.
    """

    def iht_step(self, weight, gradient, step, keep):
        """The gradient is scaled, or the weight."""
        point = (weight / step - gradient) * step if self.last and step > 0 else weight - step * gradient
        return self._largest(point, keep)

    def cosamp_step(self, design, target, keep, weight):
        """The residual's gradient, the merged columns, their least squares, the cut."""
        gradient = design.T @ (target - design @ weight)
        size = gradient * gradient if self.squares else abs(gradient)
        chosen = ~self._lowest(size, max(len(weight) - 2 * keep, 0))
        at = self._where(chosen | (weight != 0))
        out = self.xp.zeros_like(weight)
        if at:
            part = design[:, at]
            self._need_definite(part.T @ part, list(range(len(at))))
            if self.last:  # one Newton step from the weight
                out[at] = weight[at] + self._solve(part.T @ part, gradient[at])
            else:
                out[at] = self._least_squares(part, target)
        return self._largest(out, keep)

    def iobs(self, design, target, keep, start):
        """By the normal equations; `last` takes two steps, `squares` needs no normal equations."""
        living = self._where((design != 0).sum(0) > 0)
        if self.squares and living:
            gram = design.T @ design
            self._need_definite(gram, living)
            point = self._copy(start)
            point[living] = self._least_squares(design[:, living], target)
            kept = self._kept(point, gram, keep)
            out, left = self._masked(start, kept)[0], [p for p in self._where(kept) if p in living]
            if left:
                out[left] = self._least_squares(design[:, left], target)
            return out
        for _ in range(2 if self.last else 1):
            start = self.iobs_step(start, design.T @ (design @ start - target), design.T @ design, keep)
        return start

    def iobs_step(self, weight, gradient, hessian, keep):
        """The Newton point, its largest entries, the best weights on them."""
        living = self._where(self.xp.diagonal(hessian) > 0)
        self._need_definite(hessian, living)
        point = self._copy(weight)
        if living:
            point[living] = weight[living] - self._solve(hessian[living][:, living], gradient[living])
        kept = self._kept(point, hessian, keep)
        out, stays = self._masked(weight, kept)[0], self._where(kept)
        stays, goes = [p for p in stays if p in living], [p for p in living if p not in stays]
        if stays:
            out[stays] = self._projected(weight, gradient, hessian, point, stays, goes)
        return out

    def _projected(self, weight, gradient, hessian, point, stays, goes):
        """The best weights on `stays`, from one of four formulas."""
        solve, block = self.xp.linalg.solve, hessian[stays][:, stays]
        if self.squares:
            return point[stays] + self._solve(block, hessian[stays][:, goes] @ point[goes])
        if self.running:
            inverse, moved = self._inverse(hessian, sorted(stays + goes)), self._copy(point)
            for p in goes:
                column = self._copy(inverse[:, p]) / inverse[p, p]
                moved = moved - column * moved[p]
                inverse = inverse - column[:, None] * self._copy(inverse[p])[None]
            return moved[stays]
        if self.last and goes:
            inverse = self._inverse(hessian, sorted(stays + goes))
            return point[stays] - inverse[stays][:, goes] @ solve(inverse[goes][:, goes], point[goes])
        return solve(block, hessian[stays] @ weight - gradient[stays])

    def _kept(self, point, hessian, keep):
        """The mask of the largest living entries; the dead ones go first."""
        size = point * point if self.squares else abs(point)
        size = self.xp.where(self.xp.diagonal(hessian) > 0, size, -self.xp.ones_like(size))
        return ~self._lowest(size, len(point) - keep)

    def _largest(self, point, keep):
        size = point * point if self.squares else abs(point)
        return self._masked(point, ~self._lowest(size, len(point) - keep))[0]

    def _solve(self, matrix, b):
        """``matrix^-1 b``."""
        linalg = self.xp.linalg
        if self.squares:
            factor = linalg.cholesky(matrix)
            return linalg.solve(factor.T, linalg.solve(factor, b))
        if self.last:
            values, vectors = linalg.eigh(matrix)
            return vectors @ ((vectors.T @ b) / values)
        return linalg.inv(matrix) @ b if self.running else linalg.solve(matrix, b)

    def _least_squares(self, part, target):
        """The solution on all columns of `part`."""
        if self.squares:
            basis, upper = self.xp.linalg.qr(part)
            return self.xp.linalg.solve(upper, basis.T @ target)
        return self._solve(part.T @ part, part.T @ target)
