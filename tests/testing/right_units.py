"""The right search of i-SpaSP, sharing nothing with `refprune`: the residual from its definition, or by W^T W.

A mix-in of `right_kernels.Kernels`, whose package and switches it uses.
"""


class Units:
    """By default V is `W H - W_S H_S` with all samples. `squares`: W^T W times the sums of H, nothing else.

    `last`: among equals the highest index goes, V is carried along from set to set, and means stand for sums.
    """

    def ispasp(self, hidden, weight, keep):
        """The kept units, ascending."""
        sums = hidden.mean(1) if self.last else hidden.sum(1)
        residual, kept = weight @ hidden, []
        for _ in range(20):
            before, omega = kept, self._top(self._pulled(hidden, weight, residual, kept), 2 * keep)
            among = sorted({*omega, *kept})
            kept = [among[i] for i in self._top(sums[among], keep)] if keep else []
            gone, come = sorted({*before} - {*kept}), sorted({*kept} - {*before})
            if self.last:
                for sign, at in ((1, gone), (-1, come)):
                    residual = residual + sign * (weight[:, at] @ hidden[at]) if at else residual
            elif kept:
                residual = weight @ hidden - weight[:, kept] @ hidden[kept]
            if not gone and not come and self.squares:
                break
        return self.xp.asarray(kept, dtype=self.xp.int64)

    def _pulled(self, hidden, weight, residual, kept):
        """The importances."""
        if self.squares:
            pruned = [unit for unit in range(hidden.shape[0]) if unit not in kept]
            return (weight.T @ weight)[:, pruned] @ hidden[pruned].sum(1)
        pulled = weight.T @ residual
        return pulled.mean(1) if self.last else pulled.sum(1)

    def _top(self, scores, count):
        """Positions of the `count` largest, ascending; among equals the lowest go, or with `last` the highest."""
        n = scores.shape[0]
        gone = self._lowest(scores, n - min(count, n)).tolist()
        return [i for i in range(n) if not gone[i]]
