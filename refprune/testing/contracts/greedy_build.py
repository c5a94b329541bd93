"""Problems and views of the greedy contracts: OBS on a vector, ExactOBS on a layer."""

import numpy as np

from .. import make
from ..greedy_view import GreedyView

EDGES = (
    "Tie", "DeadInput", "DuplicateColumn", "CorrelatedPair", "Singular", "IllConditioned", "BeyondArithmetic",
    "ZeroWeight", "LossScale", "OneColumn", "Subnormal", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf",
    "Empty", "WrongShape", "WrongCount", "NonSymmetric", "WiderThanBlock", "NearTie",
)  # fmt: skip
VECTOR = (*EDGES, "K0", "K1", "KAll")
LAYER = (*EDGES, "ManyRows", "K0", "KAll", "ZeroRow", "RowScale", "OneRow", "Square")
COUNTS = ("K1", "UnrepresentableSparsity")
GROUPS = ("NMNotHalf", "NMRemainder")


class VectorView(GreedyView):
    """`obs` and `obs-groups`: a vector, its Hessian, how many units stay."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        size = np.shape(problem["weight"])[0] if np.ndim(problem["weight"]) else None
        if not self.need_arrays(weight=(None,)) or not self.need_arrays(hessian=(size, size)):
            return
        self.need_symmetric("hessian")
        labels = np.arange(size)
        if "groups" in problem:
            self.unit_word = "group"
            labels = np.asarray(problem["groups"])
            if labels.shape != (size,) or labels.dtype.kind not in "iu":
                self.expect(
                    "error",
                    f"groups has shape {labels.shape} and dtype {labels.dtype}; ({size},) integers are needed",
                )
                return
        self.set_problem(problem["weight"], problem["hessian"])
        self.set_units(labels)
        keep = self.need_count("keep", 0, len(self.unit_names))
        if keep is not None:
            self.budget = len(self.unit_names) - keep
            self.judge_condition()


class LayerView(GreedyView):
    """`exact-obs` and its N:M and block forms, and `optimal-weights`: a layer and its Gram."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        columns = np.shape(problem["weight"])[-1] if np.ndim(problem["weight"]) else None
        if not self.need_arrays(weight=(None, None)) or not self.need_arrays(gram=(columns, columns)):
            return
        self.need_symmetric("gram")
        self.set_problem(problem["weight"], problem["gram"])
        self.set_units(np.arange(columns))
        self.allocation = claims.get("allocation", "heap")
        if self.expects != "error" and self.set_budget(columns):
            self.judge_condition()

    def set_budget(self, columns):
        """Units and budget; False when the numbers are bad."""
        self.budget = self.count_from_sparsity(self.weight.size)
        return self.budget is not None


class GroupedLayerView(LayerView):
    """N:M: every group of every row gives m - n."""

    def set_budget(self, columns):
        """The quota of every group."""
        pattern = self.need_nm(columns)
        if pattern is None:
            return False
        n, m = pattern
        self.group, self.quota = np.arange(columns) // m, m - n
        return True


class BlockLayerView(LayerView):
    """Blocks of consecutive inputs of a row."""

    unit_word = "block"

    def set_budget(self, columns):
        """The number of blocks over all rows."""
        size = self.need_count("size", 1, columns)
        if size is None:
            return False
        if columns % size:
            self.remainder = self.expects == "answer"
            self.expect("error", f"{columns} columns are no multiple of size = {size}")
            return False
        self.set_units(np.arange(columns) // size)
        self.budget = self.count_from_sparsity(self.weight.shape[0] * columns // size)
        return self.budget is not None


def arrays(flag, shape, rng, dtype, greedy=True):
    """(weight, matrix) of a layer problem with the named property, in `dtype`."""
    rows, columns = shape
    w = make.weights(rng, rows, columns, flag)
    h = make.hessian(rng, columns, flag, dtype, greedy)
    if flag == "CorrelatedPair" and columns > 1:
        w = make.opposite(rng, w, h)
    if flag == "DuplicateColumn" and columns > 1 and rng.random() < 0.5:
        w = abs(make.opposite(rng, w, h))  # equal weights on equal inputs
    if flag == "NearTie":
        w = make.near_tie(rng, w, 1 / np.diagonal(np.linalg.inv(h)), dtype)
    if flag == "FaintInput":
        w, h = make.faint(rng, w, h, dtype)
    w, h = w.astype(dtype), h.astype(dtype)
    if flag in ("NaN", "Inf", "Empty", "WrongShape"):
        spoil_weight = flag == "Empty" or rng.random() < 0.5
        w, h = (make.spoil(rng, w, flag), h) if spoil_weight else (w, make.spoil(rng, h, flag))
        if flag == "Empty":
            h = h[:0, :0]
    if not flag and columns > 1:  # as a Gram from a device may be: symmetric up to the last bit
        h[0, 1] = np.nextafter(h[0, 1], h.dtype.type(np.inf))
    if flag == "NonSymmetric" and columns > 1:
        h[0, 1] += 1 + abs(h).max()
    return make.layout(rng, w, flag), make.layout(rng, h, flag)


def _fewer_than_dead(rng, matrix, rows):
    """A number of removals that leaves some dead inputs alive."""
    return int(rng.integers(0, rows * int((np.diagonal(matrix) == 0).sum())))


def vector(flag, shape, rng, dtype):
    """weight (d,), hessian (d, d) and keep."""
    w, h = arrays(flag, (1, shape[0]), rng, dtype)
    w = make.layout(rng, w[0].copy(), flag) if flag in make.LAYOUTS else w[0]
    keep = make.keep_count(rng, shape[0], flag)
    if flag == "DeadInput" and rng.random() < 0.5:
        keep = shape[0] - _fewer_than_dead(rng, h, 1)
    if flag == "WrongCount":
        keep = int(rng.choice([-1, shape[0] + 1]))
    return {"weight": w, "hessian": h, "keep": keep}


def grouped_vector(flag, shape, rng, dtype):
    """A vector whose weights are labelled with uneven, unsorted, gappy integer labels."""
    problem = vector(flag, shape, rng, dtype)
    d = shape[0]
    names = rng.permutation(np.arange(-d, 2 * d) * int(rng.choice([1, 1, 1000])))[: max(1, (d + 1) // 2)]
    labels = names[rng.integers(0, len(names), size=d)]
    if flag == "NearTie":
        labels = rng.permutation(np.arange(-d, d))[:d]  # groups of one
    elif rng.random() < 0.3:
        labels[rng.permutation(d)[: max(1, d // 3)]] = names[0]  # one large group
    if flag == "DeadInput" and d > 2:  # one group all dead
        dead = np.flatnonzero(np.diagonal(problem["hessian"]) == 0)
        labels[dead] = 1
    units = len(np.unique(labels))
    keep = make.keep_count(rng, units, flag)
    if flag == "WrongCount":
        keep = int(rng.choice([-1, units + 1]))
    return {
        "weight": problem["weight"],
        "hessian": problem["hessian"],
        "groups": labels.astype(np.int64),
        "keep": keep,
    }


def layer(flag, shape, rng, dtype):
    """weight, gram, sparsity."""
    w, g = arrays(flag, shape, rng, dtype)
    total = shape[0] * shape[1]
    s = make.sparsity(rng, total, flag)
    if flag == "DeadInput" and rng.random() < 0.5:
        s = _fewer_than_dead(rng, g, shape[0]) / total
    return {
        "weight": w,
        "gram": g,
        "sparsity": float(rng.choice([-0.25, 1.5])) if flag == "WrongCount" else s,
    }


def grouped_layer(flag, shape, rng, dtype):
    """weight, gram, n, m."""
    w, g = arrays(flag, shape, rng, dtype)
    n, m = make.nm(rng, shape[1], flag)
    return {"weight": w, "gram": g, "n": m + 1 if flag == "WrongCount" else n, "m": m}


def block_layer(flag, shape, rng, dtype):
    """weight, gram, size, sparsity."""
    w, g = arrays(flag, shape, rng, dtype)
    sizes = [size for size in range(1, min(shape[1], 12) + 1) if shape[1] % size == 0]
    size = int(rng.choice(sizes[1:] or sizes)) if rng.random() < 0.85 and flag != "NearTie" else 1
    if flag == "NMRemainder":
        size = next((k for k in (2, 3, 4, 5) if shape[1] % k), 2)
    s = make.sparsity(rng, shape[0] * (shape[1] // size), flag)
    return {"weight": w, "gram": g, "size": size, "sparsity": -0.25 if flag == "WrongCount" else s}
