"""How far an approximate method is from ExactOBS and from the best support: said on small cases, never judged.

No theorem orders these methods, so a number here is no fault: ExactOBS is greedy, and may be beaten. The text that
`beside` writes into the explanation of a check that passed is what `spoken` reads back from the records of a run.
"""

import re
from itertools import combinations

import numpy as np

from .. import definitions
from .bounds import condition, condition_limit
from .contract import Check

SIZE, COLUMNS = 16, 6  # weights of a layer for ExactOBS, columns of a row for the best support
WORDS = ("ExactOBS", "the best support")


def beside(view, answer, found):
    """The Check `found`, when it passed, with the objective of the answer beside that of others in its explanation."""
    if found is not None and found.outcome != "pass":
        return found
    text = _text(view, answer)
    measured, bound = (None, None) if found is None else (found.measured, found.bound)
    return Check("", "pass", measured, bound, text)


def _text(view, answer):
    living = view.hessian[np.ix_(view.living, view.living)]
    pruned = view.pruned(answer)
    count = int(pruned.sum())
    if view.expects != "answer" or view.weight.size > SIZE or not 0 < count < pruned.size:
        return ""
    if not condition(living) < condition_limit(np.finfo(float).eps):
        return ""
    mine = view.objective(answer.weight)
    if view.group is not None:
        m = int((view.group == 0).sum())
        others = [definitions.exact_obs_nm(view.weight, view.hessian, m - view.quota, m)[0]]
    else:
        others = [definitions.exact_obs(view.weight, view.hessian, count)[0]]
    objectives = [view.objective(other) for other in others]
    if view.weight.shape[1] <= COLUMNS and view.group is None:
        objectives.append(_best(view.weight, view.hessian, count))
    if min(objectives) <= 1e-12 * view.energy:
        return ""
    pairs = zip(WORDS, objectives, strict=False)
    told = [f"{mine / value:.4g} times that of {word}, {value:.4g}" for word, value in pairs]
    return f"objective {mine:.4g}: " + "; ".join(told)


def _best(weight, hessian, count):
    """The least objective with `count` zeros: the best support of every row for every number, then the best shares."""
    best = np.array([0.0])  # of the rows so far, by the number of zeros
    for row in weight:
        own = [_best_of_row(row, hessian, k) for k in range(len(row) + 1)]
        both = np.full(len(best) + len(row), np.inf)
        for k, loss in enumerate(own):
            both[k : k + len(best)] = np.minimum(both[k : k + len(best)], best + loss)
        best = both
    return float(best[count])


def _best_of_row(row, hessian, k):
    masks = (~np.isin(np.arange(len(row)), gone) for gone in combinations(range(len(row)), k))
    changes = (definitions.optimal_weights(row, hessian, mask) - row for mask in masks)
    return min(float(change @ hessian @ change) / 2 for change in changes)


def spoken(records) -> list:
    """Lines for a report: the median ratio to each of the others, over the cases that have one."""
    lines = []
    for word in WORDS:
        found = [re.search(rf"([\d.e+-]+) times that of {word},", record.explanation) for record in records]
        ratios = [float(match[1]) for match in found if match]
        if ratios:
            told = f"{np.median(ratios):.3g} times in the median, {max(ratios):.3g} at most"
            lines.append(f"beside {word} (not judged): objective {told}, over {len(ratios)} small cases")
    return lines
