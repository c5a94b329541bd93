"""Right implementations of every contract that share nothing with `refprune`, in versions that differ lawfully.

One set of kernels with switches: the package (NumPy or PyTorch), which of equals goes first, whether the inverse
is fresh at every step or one that is downdated, how a product of scores is formed. None of it may be flagged.
They refuse what is singular and columns that fill no group; other bad input is not looked for.
"""

import importlib
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import prod

from right_fishers import Fishers
from right_flows import Flows
from right_networks import Networks
from right_recovery import Recovery
from right_scores import Scores
from right_steps import Steps
from right_sweeps import Sweeps
from right_tails import Tails
from right_units import Units


def count_of(sparsity, total):
    """round(sparsity * total), half to even, of the decimal that was written."""
    return round(Fraction(repr(sparsity)) * total)


@dataclass(frozen=True)
class Kernels(Networks, Sweeps, Steps, Units, Recovery, Fishers, Tails, Scores, Flows):
    """One version; every public method is a contract with `_` for `-`.

    `last`: among equals the highest index, the highest label and the last row go first; batches are summed
    backwards. `running`: one inverse, downdated at every removal, which moves the weights too; without it the
    inverse and the weights are solved for afresh at every step. `squares`: scores are compared by squares.
    """

    package: str = "numpy"
    last: bool = False
    running: bool = False
    squares: bool = False

    @property
    def xp(self):
        """The package, imported when it is needed."""
        return importlib.import_module(self.package)

    # masks and scores

    def topk_mask(self, scores, keep):
        """The `keep` largest of all stay."""
        flat = scores.reshape(-1)
        return ~self._lowest(flat, flat.shape[0] - keep).reshape(scores.shape)

    def nm_mask(self, scores, n, m):
        """The `n` largest of every `m` neighbours in a row stay."""
        if scores.shape[1] % m:
            raise ValueError(f"need columns that fill groups of {m}; got {scores.shape[1]}")
        groups = scores.reshape(scores.shape[0], -1, m)
        return ~self._lowest(groups, m - n).reshape(scores.shape)

    def magnitude(self, weight, sparsity):
        """One budget for the layer."""
        size = prod(weight.shape)
        return self._masked(weight, self.topk_mask(abs(weight), size - count_of(sparsity, size)))

    def magnitude_nm(self, weight, n, m):
        """N:M by magnitude."""
        return self._masked(weight, self.nm_mask(abs(weight), n, m))

    def wanda(self, weight, gram, sparsity):
        """The same budget in every row."""
        scores = self._scores(weight, self.xp.diagonal(gram))
        return self._masked(weight, ~self._lowest(scores, count_of(sparsity, weight.shape[1])))

    def wanda_nm(self, weight, gram, n, m):
        """N:M by Wanda's score."""
        return self._masked(weight, self.nm_mask(self._scores(weight, self.xp.diagonal(gram)), n, m))

    def obd(self, weight, diagonal, keep):
        """The `keep` largest saliencies stay."""
        return self._masked(weight, self.topk_mask(self._scores(weight, diagonal / 2), keep))

    def _scores(self, weight, factor):
        return weight * weight * factor if self.squares else abs(weight) * self.xp.sqrt(factor)

    def _lowest(self, scores, count):
        """True at the `count` lowest scores along the last axis."""
        xp, axis = self.xp, (scores.ndim - 1,)
        scores = xp.flip(scores, axis) if self.last else scores
        found = xp.argsort(xp.argsort(scores, stable=True), stable=True) < count
        return xp.flip(found, axis) if self.last else found

    def _masked(self, weight, mask):
        return self.xp.where(mask, weight, self.xp.zeros_like(weight)), mask

    # quadratic problems

    def gram(self, batches):
        """The sum over the batches in their own precision, divided by the samples."""
        total = sum(batch.T @ batch for batch in (batches[::-1] if self.last else batches))
        return total / sum(len(batch) for batch in batches)

    def gram_conv(self, batches, kernel, stride, padding, dilation, groups):
        """One output position after the other; the patches of all images there are one batch of each group."""
        grams, count = [0] * groups, 0
        for batch in batches[::-1] if self.last else batches:
            images, channels, *size = batch.shape
            (top, left), (height, width) = padding, size
            padded = self.xp.zeros((images, channels, height + 2 * top, width + 2 * left), dtype=batch.dtype)
            padded[:, :, top : top + height, left : left + width] = batch
            extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
            for i in range(0, height + 2 * top - extent[0] + 1, stride[0]):
                for j in range(0, width + 2 * left - extent[1] + 1, stride[1]):
                    seen = padded[:, :, i : i + extent[0] : dilation[0], j : j + extent[1] : dilation[1]]
                    rows = seen.reshape(images, groups, channels // groups * prod(kernel))
                    grams = [gram + rows[:, g].T @ rows[:, g] for g, gram in enumerate(grams)]
                    count += images
        grams = [gram / count for gram in grams]
        return grams[0] if groups == 1 else self.xp.stack(grams)

    def cg(self, matvec, b, rtol):
        """Conjugate gradients on b of size 1; `last` asks for the whole matrix and solves."""
        xp, d = self.xp, len(b)
        size = float(abs(b).max()) if d else 0.0
        if not size > 0:
            return xp.zeros_like(b) if size == 0 else self._refuse("finite numbers")
        b = b / size
        if self.last:
            matrix = xp.stack([matvec(unit) for unit in xp.eye(d, dtype=b.dtype)])
            self._need_definite(matrix, list(range(d)))
            return xp.linalg.solve(matrix, b) * size
        x, r, p, rho, start = 0 * b, b, b, b @ b, b @ b
        while (rho > rtol**2 * start) if self.squares else (xp.sqrt(rho) > rtol * xp.sqrt(start)):
            q = matvec(p)
            if not p @ q > 0:
                self._refuse("a positive definite matrix")
            a = rho / (p @ q)
            x, r, before = x + a * p, r - a * q, rho
            rho = r @ r
            p = r + rho / before * p
        return x * size

    def _refuse(self, wanted):
        raise ValueError(f"need {wanted}")

    def optimal_weights(self, weight, gram, mask):
        """Row by row, the normal equations of the kept living weights."""
        out, _ = self._masked(weight, mask)
        living = self.xp.diagonal(gram) > 0
        for row in range(weight.shape[0]):
            at = self._where(mask[row] & living)
            self._resolve(out[row], weight[row], gram, at)
        return out

    def obs(self, weight, hessian, keep):
        """One weight after the other."""
        return self._vector(weight, hessian, list(range(weight.shape[0])), keep)

    def obs_groups(self, weight, hessian, groups, keep):
        """One group after the other."""
        return self._vector(weight, hessian, groups.tolist(), keep)

    def exact_obs(self, weight, gram, sparsity):
        """One budget; the next removal is the cheapest of all rows."""
        count = count_of(sparsity, prod(weight.shape))
        return self._layer(weight, gram, list(range(weight.shape[1])), count)

    def exact_obs_blocks(self, weight, gram, size, sparsity):
        """As `exact_obs`, with blocks of inputs for single weights."""
        rows, columns = weight.shape
        if columns % size:
            raise ValueError(f"need columns that fill blocks of {size}; got {columns}")
        labels = [p // size for p in range(columns)]
        return self._layer(weight, gram, labels, count_of(sparsity, rows * (columns // size)))

    def exact_obs_nm(self, weight, gram, n, m):
        """Row by row, until every group has given m - n."""
        rows, columns = weight.shape
        if columns % m:
            raise ValueError(f"need columns that fill groups of {m}; got {columns}")
        out, mask = self._copy(weight), [[True] * columns for _ in range(rows)]
        for row in range(rows):
            for _, p, w in self._steps(weight[row], gram, list(range(columns)), m, m - n):
                out[row], mask[row][p] = w, False
        return out, self.xp.asarray(mask)

    def _vector(self, weight, hessian, labels, keep):
        steps = list(islice(self._steps(weight, hessian, labels), len(set(labels)) - keep))
        order = self.xp.asarray([label for _, label, _ in steps], dtype=self.xp.int64)
        return (steps[-1][2] if steps else self._copy(weight)), order

    def _layer(self, weight, gram, labels, count):
        rows = range(weight.shape[0])
        paths = [self._steps(weight[row], gram, labels) for row in rows]
        heads = [next(path) for path in paths]
        out, mask = self._copy(weight), [[True] * len(labels) for _ in rows]
        for _ in range(count):
            row = self._cheapest(rows, [cost for cost, _, _ in heads].__getitem__)
            _, gone, out[row] = heads[row]
            mask[row] = [stays and label != gone for stays, label in zip(mask[row], labels, strict=True)]
            heads[row] = next(paths[row], (float("inf"), None, None))
        return out, self.xp.asarray(mask)

    def _steps(self, weight, matrix, labels, m=None, quota=0):
        """Yield (cost, label, weights after it) of each removal in one row, until nothing more may go.

        With `m` the columns k m .. k m + m - 1 give `quota` in all. Dead columns go first, at cost -1.
        """
        diagonal = self.xp.diagonal(matrix).tolist()
        columns = range(len(labels))
        left = {x: [p for p in columns if labels[p] == x and diagonal[p] > 0] for x in sorted(set(labels))}
        living = [p for p in columns if diagonal[p] > 0]
        self._need_definite(matrix, living)
        w, inverse, given = self._copy(weight), self._inverse(matrix, living), {}
        while options := [x for x in left if m is None or given.get(x // m, 0) < quota]:
            costs = self._costs(w, inverse, [left[x] for x in options])
            cost, label = costs[i := self._cheapest(range(len(options)), costs.__getitem__)], options[i]
            gone, w = left.pop(label), self._copy(w)
            living = [p for p in living if p not in gone]
            if gone and self.running:
                pivot = inverse[gone][:, gone]
                w -= inverse[:, gone] @ self.xp.linalg.solve(pivot, w[gone])
                inverse = inverse - inverse[:, gone] @ self.xp.linalg.solve(pivot, inverse[gone])
                inverse[gone], inverse[:, gone] = 0.0, 0.0
            elif gone:
                self._resolve(w, weight, matrix, living)
                inverse = self._inverse(matrix, living)
            w[[p for p in columns if labels[p] == label]] = 0.0
            if m is not None:
                given[label // m] = given.get(label // m, 0) + 1
            yield cost, label, w

    def _costs(self, w, inverse, units):
        """Half w_B^T ([H^-1]_BB)^-1 w_B of every unit; -1 for one without a living member."""
        if all(len(unit) == 1 for unit in units):
            at = [unit[0] for unit in units]
            return (w[at] ** 2 / (2 * self.xp.diagonal(inverse)[at])).tolist()
        solve = self.xp.linalg.solve
        return [float(w[b] @ solve(inverse[b][:, b], w[b])) / 2 if b else -1.0 for b in units]

    def _cheapest(self, options, cost):
        return min(reversed(list(options)) if self.last else options, key=cost)

    def _inverse(self, matrix, living):
        """The inverse of the living part, with zeros around it."""
        full = self.xp.zeros(tuple(matrix.shape), dtype=matrix.dtype)
        if living:
            at = self.xp.asarray(living)
            full[at[:, None], at] = self.xp.linalg.inv(matrix[at][:, at])
        return full

    def _resolve(self, out, weight, matrix, kept):
        """Write the best weights on the columns `kept` (a list) into `out`."""
        if kept:
            self._need_definite(matrix, kept)
            out[kept] = self.xp.linalg.solve(matrix[kept][:, kept], matrix[kept] @ weight)

    def _need_definite(self, matrix, at):
        """Refuse a part that is singular to rounding at unit diagonal."""
        if at:
            scale = self.xp.sqrt(self.xp.diagonal(matrix)[at])
            values = self.xp.linalg.eigvalsh(matrix[at][:, at] / scale / scale[:, None])
            if not values[0] > len(at) * self.xp.finfo(matrix.dtype).eps * values[-1]:
                raise ValueError("need a positive definite matrix")

    def _where(self, mask):
        return [p for p, true in enumerate(mask.tolist()) if true]

    def _copy(self, array):
        return self.xp.asarray(array, copy=True)


PATHS = ("obs", "obs-groups", "exact-obs", "exact-obs-nm", "exact-obs-blocks", "sparsegpt", "sparsegpt-nm",
         "iobs-step", "iobs", "fisher-inverse", "woodfisher")  # fmt: skip


@dataclass(frozen=True)
class Version:
    """Kernels, what they are run on, and the contracts for which the version means something.

    None: all, but for those `without` which it would take too long.
    """

    kernels: Kernels
    dtype: str = "float64"
    arrays: str = "numpy"
    contracts: tuple | None = None
    without: tuple = ()

    def serves(self, contract):
        """Whether the version means something for this contract."""
        return contract not in self.without and (self.contracts is None or contract in self.contracts)

    def implementation(self, contract):
        """The method for this contract."""
        return getattr(self.kernels, contract.replace("-", "_"))


SLOW = ("hessian",)  # autograd goes row by row
LAST, TORCH = Kernels(last=True), Kernels("torch")  # by name for runs in another process
VERSIONS = {
    "float32": Version(Kernels(squares=True), "float32", without=SLOW),
    "last of equals": Version(LAST, without=SLOW),
    "downdate": Version(Kernels(running=True), contracts=PATHS),
    "downdate float32": Version(Kernels(running=True), "float32", contracts=PATHS),
    "torch": Version(TORCH, arrays="torch"),
    "torch float32": Version(TORCH, "float32", arrays="torch"),
}
