"""What the recovery contracts hold an answer to: sparse, stationary, a fixed point for 4 L, no worse than its start."""

import numpy as np

from .. import checks, transforms
from ..bounds import SOLVE
from ..contract import Check, CheckSpec, failed, not_claimed, passed
from .recovery_build import AXES, LeastSquaresView
from .step_parts import top

SHARE = 1e-6  # of |A^T y|: what the gradient on the support may be
LEVEL = 4.0  # backtracking by halves stops at steps of at least 0.495 / L; two more halvings are let pass
ALIKE = 1e-10  # columns whose cosine is so near to 1 are the same


class RecoveryView(LeastSquaresView):
    """`iht`: every design has a right answer."""

    def __init__(self, problem, claims):
        super().__init__(problem, claims)
        if self.start is not None:
            self.judge_design()

    def judge_design(self):
        """What a method without solves needs: nothing."""

    def need_independent(self, size):
        """Leave the answer open where some `size` columns are dependent: a solve on them has many answers."""
        samples, living = self.design.shape[0], self.design[:, self.living]
        size, width = min(size, self.start.size), living.shape[1]
        if width < size:
            self.expect("free", f"{width} columns are not 0; a solve on {size} is singular")
        elif self.start[~self.living].any():
            self.expect("free", "start is not 0 on a column of zeros")
        elif size > samples:
            self.expect("free", f"{samples} samples are too few for a solve on {size} columns")
        elif size > 1:
            unit = living / np.linalg.norm(living, axis=0)
            if np.abs(np.triu(unit.T @ unit, 1)).max() >= 1 - ALIKE:
                self.expect("free", "two columns of design are the same up to a factor")
            elif width <= samples and np.linalg.cond(unit) * samples * self.eps >= 1:
                self.expect("free", "the columns of design are dependent to rounding")

    def allowed(self, w):
        """The largest norm of the gradient on the support that counts as 0.

        Where the target is 0 the weights go to 0, and their rounding with them: a method stops at a share of the first
        gradient, which is at least its arithmetic's rounding.
        """
        if self.target.any():
            size, share = self.design.T @ self.target, SHARE
        else:
            size, share = self.gradient(self.cut_first()), max(SHARE, SOLVE * self.eps)
        return share * float(np.linalg.norm(size)) + self.gradient_error(w)

    def cut_first(self):
        """T_k(start), the lowest index first among equals."""
        return np.where(top(np.abs(self.start), self.keep), self.start, 0.0)


class PursuitView(RecoveryView):
    """`htp`: solves on `keep` columns."""

    def judge_design(self):
        """Any `keep` columns must be independent."""
        self.need_independent(self.keep)


def count(view, answer):
    """At most `keep` weights are not 0."""
    found = int((answer.weight != 0).sum())
    if answer.mask is not None and int(answer.mask.sum()) > view.keep:
        found = int(answer.mask.sum())
        return failed(f"the mask keeps {found} weights; keep is {view.keep}", found, view.keep)
    if found > view.keep:
        sizes = np.sort(np.abs(answer.weight))[::-1]
        tiny = ", some tiny" if sizes[view.keep] <= 1e-6 * sizes[0] else ""
        return failed(f"{found} weights are not 0{tiny}; keep is {view.keep}", found, view.keep)
    return None


def objective(view, answer):
    """The reported objective is that of the reported weights."""
    if answer.objective is None:
        return not_claimed("no objective was given")
    w = answer.weight.astype(float)
    true, bound = view.objective(w), view.rounding * view.length(w) ** 2
    if not abs(answer.objective - true) <= bound:
        text = f"objective {answer.objective:.6g} is reported; the reported weights have {true:.6g}"
        text += f" ({answer.objective / true:.4g} times as large)" if true else ""
        return failed(text, abs(answer.objective - true), bound)
    return passed(abs(answer.objective - true), bound)


def stationary(view, answer):
    """The gradient is 0 on the support."""
    w = answer.weight.astype(float)
    g, kept = view.gradient(w), w != 0
    found, allowed = float(np.linalg.norm(g[kept])), view.allowed(w)
    if not found <= allowed:
        size = float(np.linalg.norm(view.design.T @ view.target))
        of = f", {found / size:.2g} of |A^T y|" if size else ""
        return failed(f"the gradient on the support has norm {found:.3g}{of}", found, allowed)
    return passed(found, allowed)


def settled(view, answer):
    """No weight off the support wants in: `|g_i| <= 4 L min |w|`; with fewer than `keep` weights the gradient is 0."""
    w = answer.weight.astype(float)
    g, kept = np.abs(view.gradient(w)), w != 0
    if kept.all() or view.keep == 0:
        return None
    least = float(np.abs(w[kept]).min()) if int(kept.sum()) == view.keep else 0.0
    limit, slack = LEVEL * view.lipschitz * least, view.allowed(w)
    index = int(np.argmax(np.where(kept, -1.0, g)))
    if not g[index] <= limit + slack:
        text = f"weight {index} is 0 with gradient {g[index]:.3g}; "
        if least:
            text += f"4 L times the least weight on the support, {least:.3g}, is {limit:.3g}"
        else:
            text += f"only {int(kept.sum())} of {view.keep} weights are used, so it should be 0"
        return failed(text, float(g[index]), limit + slack)
    return None


def no_worse(view, answer):
    """The objective is not above that of T_k(start); among equals, and with dead columns, the worst choice counts."""
    w = answer.weight.astype(float)
    firsts = [*view.cut(view.start), *view.cut(view.start, dead_first=True)]
    if not firsts:
        return Check("", "not run", None, None, "too many equal weights at the border of T_k(start)")
    first = max(firsts, key=view.objective)
    # lengths of residuals: w may miss the best point on its support by the gradient that is allowed over |A_S|'s least
    # singular value, and its residual by rounding
    values = np.linalg.svd(view.design[:, w != 0], compute_uv=False)
    values = values[values > w.size * view.eps * view.lipschitz**0.5]
    slack = view.rounding * (view.length(w) + view.length(first))
    slack += view.allowed(w) / float(values.min()) if values.size else 0.0
    excess = (2 * view.objective(w)) ** 0.5 - (2 * view.objective(first)) ** 0.5
    if not excess <= slack:
        text = f"objective {view.objective(w):.6g} is above that of T_k(start), {view.objective(first):.6g}"
        return failed(text, excess, slack)
    return passed(max(excess, 0.0), slack)


def scaled(contract, problem, rng):
    """The design and the target each times a power of two; the start follows."""
    powers = [-40, -20, 3, 20, 40] if problem["design"].dtype == np.float64 else [-12, -6, 3, 6, 12]
    p, q = int(rng.choice(powers)), int(rng.choice(powers))
    factors = {"design": 2.0**p, "target": 2.0**q, "start": 2.0 ** (q - p)}
    arrays = {name: (problem[name] * factor).astype(problem[name].dtype) for name, factor in factors.items()}
    return {**problem, **arrays}


def embedded(contract, problem, rng):
    """In the next larger shape, with samples and columns of zeros at random places."""
    samples, columns = problem["design"].shape
    living = int(problem["design"].any(axis=0).sum())
    if 3 * problem["keep"] > living or not problem["target"].any():  # a solve might need the columns of zeros
        return None
    larger = [
        (n, d) for n, d in contract.shapes if n >= samples and d >= columns and (n, d) != (samples, columns)
    ]
    if not larger:
        return None
    n, d = min(larger, key=lambda shape: shape[0] * shape[1])
    at = np.sort(rng.permutation(n)[:samples]), np.sort(rng.permutation(d)[:columns])
    out = dict(problem)
    for name, axes in AXES.items():
        places = [at[axis == "column"] for axis in axes]
        grown = np.zeros([(n, d)[axis == "column"] for axis in axes], dtype=problem[name].dtype)
        grown[np.ix_(*places)] = problem[name]
        out[name] = grown
    return out


def another_keep(contract, problem, rng):
    """The same arrays with fewer weights."""
    keep = problem["keep"]
    return {**problem, "keep": int(rng.integers(0, keep))} if keep > 1 else None


def another_design(contract, problem, rng):
    """The same target and start with the columns in another order; no start on columns of zeros."""
    columns = problem["design"].shape[1]
    design = np.array(problem["design"])[:, np.roll(rng.permutation(columns), 1)]
    start = np.where(design.any(axis=0), problem["start"], 0).astype(problem["start"].dtype)
    return {**problem, "design": design, "start": start} if columns > 1 else None


TRANSFORMS = (
    scaled,
    transforms.signs,
    transforms.rows,
    transforms.columns,
    embedded,
    another_keep,
    another_design,
)
COUNT = CheckSpec("count", "feasible", "at most `keep` weights are not 0", count)
OBJECTIVE = CheckSpec("objective", "truthful", checks.OBJECTIVE.summary, objective)
STATIONARY = CheckSpec("stationary", "stationary", "the gradient on the support is 0", stationary)
SETTLED = CheckSpec(
    "settled", "stationary", "no weight off the support wants in, for steps of 1 / (4 L)", settled
)
NO_WORSE = CheckSpec("no-worse", "greedy", "the objective is not above that of T_k(start)", no_worse)
BEFORE = (*checks.BEFORE, checks.FORM, checks.FINITE, COUNT, checks.ZEROS, OBJECTIVE)
