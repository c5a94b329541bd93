"""Problems and the view of the sparse-recovery contracts: a design, a target, how many weights stay, a start."""

from itertools import combinations
from math import comb

import numpy as np

from .. import make
from ..bounds import SOLVE
from ..views import View

FLAGS = (
    "PlantedSupport", "EqualMagnitudes", "Orthonormal", "Correlated", "Coherent", "Noise", "Optimal", "StepLength",
    "WrongStart", "ZeroTarget", "Tie", "DeadInput", "DuplicateColumn", "ColumnScale", "LossScale", "OneSample",
    "OneColumn", "Square", "FewSamples", "K0", "K1", "KAll", "NonContiguous", "ReadOnly", "Transposed", "NaN", "Inf",
    "Empty", "WrongShape", "WrongCount",
)  # fmt: skip
SHAPES = (
    (24, 12), (1, 5), (8, 1), (12, 6), (21, 9), (40, 16), (16, 16), (16, 32), (25, 41), (32, 48), (40, 80), (24, 24),
)  # fmt: skip
AXES = {"design": ("row", "column"), "target": ("row",), "start": ("column",)}
NOISES = (0.0, 0.03, 0.3)  # share of the size of a target


def tall(shape):
    """True where all columns together are well-conditioned, so that any number of them may stay."""
    return shape[0] >= 2 * shape[1]


def suits(flag, shape):
    """Whether a flag makes sense on (samples, columns)."""
    samples, columns = shape
    wanted = {
        "OneSample": samples == 1,
        "OneColumn": columns == 1,
        "Square": samples == columns,
        "FewSamples": 1 < samples < columns,
        "K0": tall(shape),
        "K1": tall(shape) and columns > 1,
        "Orthonormal": tall(shape) and columns > 4,
        "Tie": tall(shape) and 4 < columns < 16,  # CoSaMP has few enough choices
        "Optimal": 1 < samples <= columns,
        "StepLength": samples > 4 and columns > 4,
        "Coherent": 4 < columns <= 32 and samples > 4,
        "EqualMagnitudes": 1 < samples <= columns,
        "DeadInput": samples > 4 and columns > 4,
    }
    return wanted.get(flag, True if flag in ("KAll", "Empty", "WrongCount") else min(shape) > 1)


def most(shape, share=4):
    """The largest number of weights that is drawn where not all columns are well-conditioned together."""
    return shape[1] if tall(shape) else max(1, min(shape[1], shape[0] // share))


def problem(flag, shape, rng, dtype, share=4):
    """design (samples, columns), target (samples,), keep and start (columns,) with the named property.

    At most every `share`-th sample is a weight that stays, but in tall designs.
    """
    samples, columns = shape
    keep = _keep(rng, flag, columns, most(shape, share))
    A = _tied(rng, shape) if flag == "Tie" else design(rng, flag, shape)
    signal = _signal(rng, flag, columns, max(keep, 1), np.flatnonzero(A.any(axis=0)))
    y = A @ signal
    noise = 0.0 if flag in ("Tie", "PlantedSupport", "EqualMagnitudes") else rng.choice(NOISES)
    if flag == "Noise" or flag == "Optimal":
        noise = 1.0 if flag == "Noise" else 0.1
    y = y + noise * np.linalg.norm(y) / samples**0.5 * (rng.normal(size=samples) + 0.1)
    if flag == "ZeroTarget":
        y = np.zeros(samples)
    start = _start(rng, flag, A, y, signal, keep)
    if flag == "StepLength":
        y = start_of_some_steps(rng, A, start)
        if rng.random() < 0.5:  # T_k(start) is the same
            least = np.abs(start[start != 0]).min()
            start = np.where(start != 0, start, rng.uniform(-0.9, 0.9, columns) * least * A.any(axis=0))
    scale = 2.0 ** rng.integers(-4, 5)
    if flag == "LossScale":
        scale = rng.choice([1e-3, 1e3]) if dtype != np.float16 else rng.choice([0.02, 20.0])
    A, start = A * scale, start / scale
    arrays = {"design": A.astype(dtype), "target": y.astype(dtype), "start": start.astype(dtype)}
    _spoil(rng, flag, arrays)
    if flag == "WrongCount":
        keep = int(rng.choice([-1, columns + 1]))
    arrays = {name: make.layout(rng, array, flag) for name, array in arrays.items()}
    return {"design": arrays["design"], "target": arrays["target"], "keep": keep, "start": arrays["start"]}


def start_of_some_steps(rng, A, start):
    """A target (samples,) for which `start` is stationary on its support, and a fixed point of shorter steps only.

    What the support leaves of the target is as long as makes the largest gradient off it some times ``L min |start|``.
    Above 4, steps of 1 / (4 L) or more let another weight in; below 1, only longer steps do, mostly for a worse one.
    """
    kept = start != 0
    basis = np.linalg.qr(A[:, kept])[0]
    rest = rng.normal(size=len(A))
    rest -= basis @ (basis.T @ rest)
    times = make.log_uniform(rng, *((4.2, 20.0) if rng.random() < 0.6 else (0.1, 0.95)))
    size = np.linalg.norm(A, 2) ** 2 * np.abs(start[kept]).min() / np.abs(A[:, ~kept].T @ rest).max()
    return A @ start + rest * times * size


def _keep(rng, flag, columns, top):
    """How many weights stay; the flags K0, K1 and KAll name how many go."""
    if flag in ("K0", "K1", "KAll"):
        return make.keep_count(rng, columns, flag)
    if flag == "Optimal":
        return top
    if flag == "Coherent":
        top = min(top, max(1, columns // 4))
    if flag in ("StepLength", "WrongStart"):  # many weights take long to change
        return min(top, columns // 2) or 1
    if flag == "Tie":
        return int(rng.integers(2, columns // 2 + 1))
    if flag == "DeadInput":  # 3 k columns that are not 0 are left for CoSaMP
        top = min(top, (columns - max(1, columns // 5)) // 3)
    return int(rng.integers(1, max(top, 1) + 1))


def design(rng, flag, shape):
    """(samples, columns) float64; columns of norm about 1, never centred, uneven."""
    samples, columns = shape
    A = (rng.normal(size=shape) + rng.uniform(-0.2, 0.2)) / samples**0.5
    if samples == 1:  # no column so small that steps of 1 / L do not arrive
        A = np.sign(A) * rng.uniform(0.5, 1.5, size=shape)
    if flag == "Orthonormal":  # every restricted isometry constant is at most 0.08
        basis = np.linalg.qr(A)[0]
        move = rng.normal(size=(columns, columns))
        move = (move + move.T) / 2
        return basis @ (np.eye(columns) + rng.choice([0.0, 0.02, 0.038]) * move / np.linalg.norm(move, 2))
    if flag in ("Correlated", "Optimal"):
        share = rng.uniform(0.2, 0.5)
        for j in rng.permutation(columns)[: columns // 2]:
            A[:, j] = (1 - share) * A[:, j] + share * A[:, rng.integers(columns)]
    if flag == "Coherent":  # far from centred: L of a few columns is far below that of all
        A = A + rng.uniform(0.5, 1.0) * rng.choice([-1.0, 1.0]) / samples**0.5
    A = A * np.exp(rng.uniform(-0.2, 0.2, size=columns))
    if flag == "ColumnScale":
        A = A * np.exp(rng.uniform(-0.7, 0.7, size=columns))
    if flag == "DeadInput":
        A[:, rng.permutation(columns)[: max(1, columns // 5)]] = 0.0
    if flag == "DuplicateColumn":
        j, k = rng.permutation(columns)[:2]
        A[:, j] = A[:, k] * rng.choice([1.0, -1.0, 2.0])
    return A


def _tied(rng, shape):
    """Columns with one power of two each, in rows of their own: all inner products are exact."""
    samples, columns = shape
    A = np.zeros(shape)
    A[rng.permutation(samples)[:columns], np.arange(columns)] = rng.choice([-1.0, 1.0], size=columns)
    return A


def _signal(rng, flag, columns, keep, living):
    """(columns,) with `keep` entries that are not 0, on living columns; more of equal size for Tie."""
    signal = np.zeros(columns)
    if flag == "Tie":
        signal[:] = rng.choice([-1.0, 1.0], size=columns) * rng.choice(
            [1.0, 1.0, 1.0, 2.0, 0.5], size=columns
        )
        return signal * 2.0 ** rng.integers(-2, 3)
    at = rng.permutation(living)[: min(keep, len(living))]
    sizes = np.exp(rng.uniform(np.log(0.3), np.log(3.0), size=at.size))
    if flag in ("EqualMagnitudes", "Optimal"):
        sizes[:] = 1.0
    signal[at] = sizes * rng.choice([-1.0, -1.0, 1.0], size=at.size)
    return signal * 2.0 ** rng.integers(-2, 3)


def _start(rng, flag, A, y, signal, keep):
    """(columns,): nothing, on another support, near the signal, or dense; the best one on the planted support."""
    columns = signal.size
    living, size = A.any(axis=0), np.abs(signal).max() or 1.0
    kind = rng.choice(["zero", "other", "near", "dense"], p=[0.35, 0.25, 0.15, 0.25])
    kind = {"WrongStart": "other", "Tie": "tied", "Optimal": "optimal", "StepLength": "signal"}.get(
        flag, kind
    )
    start = np.zeros(columns)
    if kind == "other":
        at = rng.permutation(np.flatnonzero(living & (signal == 0)))[:keep]
        start[at] = size * rng.choice([0.5, 3.0]) * rng.normal(size=at.size)
    elif kind == "near":
        start = signal + 0.2 * size * rng.normal(size=columns) * (signal != 0)
    elif kind == "dense":
        start = size * rng.choice([0.3, 1.0]) * (rng.normal(size=columns) + 0.1) * living
    elif kind == "tied" and rng.random() < 0.5:
        start[rng.permutation(columns)[: keep + 1]] = 2.0 ** rng.integers(-2, 3)
    elif kind == "signal":
        start = signal
    elif kind == "optimal":
        at = np.flatnonzero(signal)
        start[at] = np.linalg.lstsq(A[:, at], y, rcond=None)[0]
    return start


def _spoil(rng, flag, arrays):
    """Bad numbers in one of the arrays, a shape that does not fit, or nothing at all."""
    if flag in ("NaN", "Inf", "WrongShape"):
        name = str(rng.choice(list(arrays)))
        arrays[name] = make.spoil(rng, arrays[name], flag)
    elif flag == "Empty":
        arrays.update(design=arrays["design"][:0, :0], target=arrays["target"][:0], start=arrays["start"][:0])


class LeastSquaresView(View):
    """The arrays in float64, and what the size of rounding follows from; `point` names the array with the first point.

    Attributes
    ----------
    design, target, start : float64 arrays (samples, columns), (samples,), (columns,).
    keep : int, at most so many weights are not 0.
    lipschitz : the largest eigenvalue of ``A^T A``.
    """

    design = target = start = keep = None

    def __init__(self, problem, claims, point="start"):
        super().__init__(problem, claims, point)
        if not self.need_arrays(design=(None, None)):
            return
        samples, columns = np.shape(problem["design"])
        if not self.need_arrays(target=(samples,)) or not self.need_arrays(**{point: (columns,)}):
            return
        self.keep = self.need_count("keep", 0, columns)
        if self.keep is None:
            return
        self.design, self.target, self.start = (
            np.asarray(problem[name], dtype=float) for name in ("design", "target", point)
        )
        self.living = self.design.any(axis=0)
        self.lipschitz = float(np.linalg.norm(self.design, 2)) ** 2

    @property
    def rounding(self):
        """`c eps`: of the arithmetic, or of what is stored where that is coarser."""
        return SOLVE * max(self.eps, self.store_eps)

    def gradient(self, w):
        """``A^T (A w - y)``."""
        return self.design.T @ (self.design @ w - self.target)

    def objective(self, w):
        """``|A w - y|^2 / 2``."""
        residual = self.design @ w - self.target
        return float(residual @ residual) / 2

    def length(self, w):
        """The size of the terms that are added in ``A w - y``."""
        return self.lipschitz**0.5 * float(np.linalg.norm(w)) + float(np.linalg.norm(self.target))

    def gradient_error(self, w):
        """How far rounding moves the norm of the gradient at `w`.

        The residual errs by `c eps (|A| |w| + |y|)` (Higham, section 3.5), the product with A^T by that times |A|;
        a stored w by eps |w|, which |A|^2 carries to the gradient.
        """
        return self.rounding * self.lipschitz**0.5 * self.length(w)

    def pruned(self, answer):
        """The entries that are 0; with a mask, those that it prunes."""
        return answer.weight == 0 if answer.mask is None else ~answer.mask

    def cut(self, w, dead_first=False):
        """The vectors that T_k may make of `w`: one for each choice among equals at the border; [] when too many."""
        size = np.abs(w) if not dead_first else np.where(self.living, np.abs(w), 0.0)
        if np.count_nonzero(size) <= self.keep:
            return [np.where(size > 0, w, 0.0)]
        return [np.where(kept, w, 0.0) for kept in choices(size, self.keep, 0.0)]


def choices(scores, keep, slack, limit=64):
    """The masks of the `keep` largest `scores`, one for each choice among those within `slack` of the border.

    None of them where there are more than `limit`.

    >>> [mask.tolist() for mask in choices(np.array([2.0, 1.0, 1.0]), 2, 0.0)]
    [[True, True, False], [True, False, True]]
    """
    if keep in (0, scores.size):
        return [np.full(scores.size, keep > 0)]
    ordered = np.sort(scores)[::-1]
    last, first = (
        ordered[keep - 1],
        ordered[keep],
    )  # the least of those that stay, the largest of those that go
    sure = (scores > first + slack) & (scores >= last)
    near = np.flatnonzero(~sure & (scores >= last - slack))
    missing = keep - int(sure.sum())
    if comb(len(near), missing) > limit:
        return []
    return [sure | np.isin(np.arange(scores.size), chosen) for chosen in combinations(near, missing)]
