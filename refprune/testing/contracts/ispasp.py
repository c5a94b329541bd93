"""`ispasp`: which units of a hidden layer are kept, by the search of Wolfe and Kyrillidis 2021."""

import numpy as np

from refprune import definitions

from .. import checks, transforms
from ..contract import CheckSpec, Contract, failed, passed, undecided
from ..unit_certificate import ITERATIONS
from . import ispasp_build as made
from .ispasp_mistakes import mistakes
from .ispasp_view import UnitView

SHARES = (1 / 64, 1 / 16, 1 / 4, 1.0)  # of the bounds: what is measured is the smallest that the answer needs


def _form(view, answer):
    """One index for each kept unit, in a list."""
    kept = answer.weight
    if kept.dtype == bool:
        return failed(f"the answer is a mask of shape {kept.shape}; the indices of kept units are needed")
    if kept.ndim != 1:
        return failed(f"the answer has shape {kept.shape}; indices in one dimension are needed")
    if kept.size and kept.dtype.kind not in "iu":
        return failed(f"the indices have dtype {kept.dtype}; integers are needed")
    return None


def _count(view, answer):
    """`keep` units that there are, each once."""
    kept = answer.weight
    if kept.size != view.keep:
        return failed(f"{kept.size} units are kept; {view.keep} are asked for", kept.size, view.keep)
    wrong = kept[(kept < 0) | (kept >= view.units)]
    if wrong.size:
        return failed(f"index {int(wrong[0])} is no unit; the units are 0 to {view.units - 1}")
    named, times = np.unique(kept, return_counts=True)
    if (times > 1).any():
        return failed(f"unit {int(named[times > 1][0])} is named twice")
    return None


def _ascending(view, answer):
    """From the lowest index to the highest."""
    falls = np.flatnonzero(np.diff(answer.weight.astype(int)) < 0)
    if falls.size:
        before, after = (int(unit) for unit in answer.weight[falls[0] : falls[0] + 2])
        return failed(f"unit {after} comes after unit {before}; ascending order is needed")
    return None


def _search(view, answer):
    """The search can end with these units, near ties decided in any way."""
    chosen = view.chosen(answer)
    if view.hides(chosen):
        return undecided("rounding hides all differences of the importances")
    ends = view.search(1.0).ends_with(chosen)
    if ends is None:
        return undecided("near ties leave more ways than were searched")
    if not ends:
        return _lost(view, chosen)
    return passed(next(share for share in SHARES if share == 1 or view.search(share).ends_with(chosen)), 1.0)


def _lost(view, chosen):
    """The unit that tells most plainly why the search does not end with `chosen`."""
    right = np.isin(np.arange(view.units), definitions.ispasp(view.hidden, view.weight, view.keep))
    extra, missing = (np.flatnonzero(at) for at in (chosen & ~right, right & ~chosen))
    unit, other = extra[np.argmax(view.sums[extra])], missing[np.argmax(view.sums[missing])]
    text = f"unit {unit} is kept and unit {other} is not: "
    gap, bound = view.sums[other] - view.sums[unit], view.sums_off[[unit, other]].sum()
    if gap > bound:
        sums = np.ldexp(view.sums, view.loud)
        return _apart(f"{text}their row sums are {sums[unit]:.6g} and {sums[other]:.6g}", gap, bound)
    found = view.importance(right)
    last = np.argsort(-found, kind="stable")[: 2 * view.keep][-1]
    gap, bound = found[last] - found[unit], view.off[[unit, last]].sum()
    if not gap > bound:
        return failed(f"{text}no search ends so after {ITERATIONS} iterations, or where S comes back")
    with np.errstate(over="ignore", under="ignore"):
        y = np.ldexp(found, view.heard)
    text += f"in the residual of the right units the importance of unit {unit} is {y[unit]:.6g}"
    return _apart(f"{text}, and the last of the {2 * view.keep} largest is {y[last]:.6g}", gap, bound)


def _apart(text, gap, bound):
    times = gap / max(bound, np.finfo(float).tiny)
    return failed(f"{text}; the gap is {times:.3g} times what rounding explains", float(gap), float(bound))


def _reference(hidden, weight, keep):
    return np.array(definitions.ispasp(hidden, weight, keep), dtype=np.int64)


CONTRACT = Contract(
    name="ispasp",
    arguments=("hidden", "weight", "keep"),
    returns=("kept",),
    promises=(
        "`keep` indices of units, each once, ascending",
        "they are what the search of i-SpaSP ends with",
    ),
    readings=(
        "`hidden` H (units, samples) is what the units emit, `weight` W (outputs, units) the layer behind them",
        "from S = {} on: `V = W H - W_:S H_S:`; the `2 keep` units with the largest row sums of `W^T V` and those of S "
        "are the candidates; S becomes the `keep` candidates with the largest row sums of H",
        f"sums are signed; S is that of iteration {ITERATIONS}, or the first one that comes back",
        "weights are not changed; H may have both signs",
        "indices may have any dtype of integers, and be a list",
    ),
    tolerance="row sums and importances may each be off by `n eps` of the sum of the absolute values of their terms, n "
    "the number of terms (Higham, section 3.1): `|W|^T |W| |H| 1` for an importance; where "
    "that hides all differences of the importances, nothing is decided",
    ties="any choice among near ties, in every iteration: the answer passes when some search ends with it",
    reference=_reference,
    checks=(
        *checks.BEFORE,
        CheckSpec("form", "well-formed", "indices: integers in one dimension", _form),
        CheckSpec("count", "feasible", "`keep` units, each once", _count),
        CheckSpec("ascending", "feasible", "the indices ascend", _ascending),
        CheckSpec("search", "greedy", "the search can end with these units", _search),
        *checks.AFTER,
    ),
    mistakes=mistakes(_reference),
    view=UnitView,
    flags=made.FLAGS,
    shapes=made.SHAPES,
    build=made.build,
    axes={"hidden": ("column", "sample"), "weight": ("row", "column")},
    call_shapes="`hidden` (units, samples), `weight` (outputs, units)",
    transforms=(
        transforms.scale,
        transforms.rows,
        transforms.columns,
        made.samples,
        made.rotated,
        made.dead_unit,
        made.another_keep,
    ),
    suits=made.suits,
    sizes=lambda shape: (shape[2], shape[0]),
    example="""def ispasp(hidden, weight, keep):
    units, sums = np.arange(len(hidden)), hidden.sum(axis=1)
    kept = units[:0]
    for _ in range(20):
        pruned = np.setdiff1d(units, kept)
        y = (weight.T @ (weight[:, pruned] @ hidden[pruned])).sum(axis=1)
        omega = np.argsort(-y)[: 2 * keep]
        union = np.union1d(omega, kept).astype(int)
        last, kept = kept, np.sort(union[np.argsort(-sums[union])[:keep]])
        if np.array_equal(kept, last):
            break
    return kept""",
)
