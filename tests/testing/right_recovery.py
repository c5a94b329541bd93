"""Right versions of IHT, HTP and CoSaMP that share nothing with `refprune`: other steps, solvers and ends.

A mix-in of `right_kernels.Kernels`, whose package, switches and small helpers it uses.
"""


class Recovery:
    """By default steps are 1 / L, and CoSaMP ends where its set returns.

    `squares`: steps are 1 / (2 L), CoSaMP makes 40 iterations and gives the best point. `last`: steps are exact line
    searches, halved while they are too long (IHT), or followed by steps of 1 / L (HTP); CoSaMP ends before the first
    residual that is not smaller.
    """

    def iht(self, design, target, keep, start):
        """Until the gradient on the support is small and the support stays."""
        self._need_finite(design, target, start)
        curvature, w = self._curvature(design), self._largest(start, keep)
        share = max(1e-7, 8 * float(self.xp.finfo(start.dtype).eps))
        first = self._norm(design.T @ target) or self._norm(design.T @ (design @ w))
        for _ in range(20_000 if curvature > 0 else 0):
            g = design.T @ (design @ w - target)
            new, kept = self._step(design, w, g, keep, curvature), w != 0
            if self._norm(g[kept]) <= share * first and bool((kept == (new != 0)).all()):
                break
            w = new
        return w

    def htp(self, design, target, keep, start):
        """Until a support returns."""
        self._need_finite(design, target, start)
        curvature, w = self._curvature(design), self._largest(start, keep)
        if self.last:
            points = [w]
            for _ in range(20 if curvature > 0 else 0):
                g = self._largest(design.T @ (design @ w - target), keep)
                image = design @ g
                if not image @ image > 0:
                    break
                w = self._solved(
                    design, target, w - (g @ g) / (image @ image) * design.T @ (design @ w - target), keep
                )
                points.append(w)
            w = min(points, key=lambda point: self._norm(design @ point - target))
        kept = None
        for _ in range(500 if curvature > 0 else 0):
            factor = 2 if self.squares else 1
            moved = w - design.T @ (design @ w - target) / (factor * curvature)
            before, kept = kept, ~self._lowest(abs(moved), len(w) - keep)
            if before is not None and bool((kept == before).all()):
                break
            w = self._solved(design, target, moved, keep)
        return w

    def cosamp(self, design, target, keep, start):
        """`cosamp_step` from T_k(start); nothing is left to do where the gradient is 0."""
        self._need_finite(design, target, start)
        w = self._largest(start, keep)
        points, past = [w], []
        for _ in range(40 if self.squares else 1000):
            g = abs(design.T @ (design @ w - target))
            if not bool((g > 0).any()) or keep == 0:
                break
            merged = (~self._lowest(g, max(len(w) - 2 * keep, 0)) | (w != 0)).tolist()
            if not self.squares and not self.last and merged in past:
                break
            past.append(merged)
            w = self.cosamp_step(design, target, keep, w)
            if self.last and not self._norm(design @ w - target) < self._norm(design @ points[-1] - target):
                return points[-1]
            points.append(w)
        return min(points, key=lambda point: self._norm(design @ point - target)) if self.squares else w

    def _step(self, design, w, g, keep, curvature):
        """The next point of IHT."""
        if not self.last:
            return self._largest(w - g / ((2 if self.squares else 1) * curvature), keep)
        kept = w != 0
        along = g * kept if bool((g * kept != 0).any()) else self._largest(g, keep)
        image = design @ along
        step = (along @ along) / (image @ image) if image @ image > 0 else 1 / curvature
        for _ in range(60):
            new = self._largest(w - step * g, keep)
            change = new - w
            image = design @ change
            if bool((kept == (new != 0)).all()) or step * (image @ image) <= 0.98 * (change @ change):
                break
            step = step / 2
        return new

    def _solved(self, design, target, moved, keep):
        """The least squares weights on the `keep` largest of `moved`."""
        at = self._where(~self._lowest(abs(moved), len(moved) - keep))
        out = self.xp.zeros_like(moved)
        if at:
            part = design[:, at]
            self._need_definite(part.T @ part, list(range(len(at))))
            out[at] = self._least_squares(part, target)
        return out

    def _curvature(self, design):
        """The largest eigenvalue of A^T A, from the smaller of two matrices."""
        few = design.T @ design if design.shape[0] >= design.shape[1] else design @ design.T
        return float(self.xp.linalg.eigvalsh(few)[-1])

    def _norm(self, vector):
        """The Euclidean norm, of numbers of any size."""
        size = float(abs(vector).max()) if len(vector) else 0.0
        return size * float(((vector / size) ** 2).sum()) ** 0.5 if size > 0 else 0.0

    def _need_finite(self, *arrays):
        if not all(bool(self.xp.isfinite(array).all()) for array in arrays):
            self._refuse("finite numbers")
