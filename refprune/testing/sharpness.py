"""How sharp the greedy certificate is: answers with one wrong step, by condition number and dtype.

A lone wrong step is the hardest case for a judge with tolerances: everything else of the answer is right, and the
weights are the best ones on the wrong support. For each greedy contract, problems are drawn at a given condition; one
step of the greedy path is decided by a wrong criterion, the rest by the right one; what the judge says is counted.
A step that costs within two bounds of the cheapest is no mistake and is left out, and so is a set that another order
reaches through near ties (all orders are tried): those answers are right.
"""

from dataclasses import dataclass

import numpy as np

from .answer import Answer
from .bounds import condition_limit
from .contracts import contracts
from .make import log_uniform, spd
from .verdict import worst

GREEDY = ("obs", "obs-groups", "exact-obs", "exact-obs-nm", "exact-obs-blocks")
MISTAKES = ("stale inverse", "OBD order", "magnitude order", "missing square")
ATTEMPTS = 20  # draws for each answer that is wanted
DECADES = (1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class LoneMistakes:
    """Counts for one contract, dtype, decade of condition and mistake."""

    contract: str
    dtype: str
    low: float
    high: float
    mistake: str
    near_ties: int
    wrong: int
    passed: int
    undecided: int


def lone_mistakes(contract, dtype="float64", examples=40, seed=0) -> list:
    """Judge answers with one wrong step.

    Parameters
    ----------
    contract : str
        One of ``GREEDY``.
    dtype : str
        ``"float64"`` or ``"float32"``.
    examples : int
        Wrong answers for each decade of the condition and each mistake (fewer where they are rare).
    seed : int
        Of the problems.

    Returns
    -------
    list of LoneMistakes
        Of the answers whose wrong step cost more than two bounds too much: ``near_ties``, whose set another order
        reaches through near ties, and ``wrong``, whose set none reaches; how many of these passed or were undecided.

    Examples
    --------
    >>> sum(row.passed for row in lone_mistakes("obs", examples=3))
    0
    """
    contract, rows = contracts[contract], []
    limit = condition_limit(float(np.finfo(dtype).eps))
    for power in DECADES:
        low, high = 10.0**power, min(10.0 ** (power + 1), 0.5 * limit)
        if low >= high:
            break
        for number, mistake in enumerate(MISTAKES):
            rng = np.random.default_rng([seed, power, number])
            found = []
            for _ in range(ATTEMPTS * examples):
                found += _judged(contract, dtype, log_uniform(rng, low, high), mistake, rng)
                if len(found) >= examples:
                    break
            near, passed, undecided = (found.count(word) for word in ("near tie", "pass", "undecided"))
            wrong = len(found) - near
            rows.append(
                LoneMistakes(contract.name, dtype, low, high, mistake, near, wrong, passed, undecided)
            )
    return rows


def _judged(contract, dtype, cond, mistake, rng):
    """[outcome] of one answer with one wrong step; nothing where the step changes no mask."""
    d = 12
    w = rng.normal(size=(1, d)) + 0.3
    h = spd(rng, d, cond) * np.outer(*[2.0 ** rng.integers(-1, 2, size=d)] * 2)
    problem = _problem(contract.name, w.astype(dtype), h.astype(dtype), rng)
    view = contract.view(problem, {})
    if view.expects != "answer":
        return []
    row = view.rows[0]
    steps = (view.budget if view.group is None else None) or int(row.candidates(frozenset()) != []) * 6
    wrong_at, removed, slipped = int(rng.integers(steps)), frozenset(), False
    for step in range(steps):
        r = row.costs(removed)[0]
        costs = {u: r[u] for u in row.candidates(removed)}
        if not costs:
            break
        chosen = min(costs, key=costs.get)
        if step == wrong_at:
            other = min(costs, key=lambda u: _wrong_cost(row, removed, u, mistake))
            slipped = costs[other] > costs[chosen] + 2 * row.bound
            chosen = other
        removed |= {chosen}
    if not slipped or _reachable(row, removed, 0.0):
        return []  # no mistake, or another order of the same set
    if _reachable(row, removed, row.bound):
        return ["near tie"]
    pruned = np.isin(view.unit_of, list(removed))[None, :]
    weight = view.optimal(pruned).astype(dtype)
    answer = weight if len(contract.axes["weight"]) == 2 else weight[0]
    checks = contract.climb(view, Answer(answer, ~pruned.reshape(answer.shape)))
    return [worst(check.outcome for check in checks)]


def _reachable(row, removed, bound, gone=frozenset()):
    """True when some order of the set has a cheapest candidate, to the bound, at every step: all are tried."""
    if gone == removed:
        return True
    r = row.costs(gone)[0]
    costs = {u: r[u] for u in row.candidates(gone)}
    most = min(costs.values()) + bound
    near = [u for u in removed - gone if costs.get(u, np.inf) <= most]
    return any(_reachable(row, removed, bound, gone | {u}) for u in near)


def _problem(name, w, h, rng):
    d = w.shape[1]
    if name == "obs":
        return {"weight": w[0], "hessian": h, "keep": d - 6}
    if name == "obs-groups":
        return {"weight": w[0], "hessian": h, "groups": rng.permutation(np.arange(d) // 2), "keep": 2}
    if name == "exact-obs":
        return {"weight": w, "gram": h, "sparsity": 0.5}
    if name == "exact-obs-nm":
        return {"weight": w, "gram": h, "n": 2, "m": 4}
    return {"weight": w, "gram": h, "size": 2, "sparsity": 0.5}


def _wrong_cost(row, removed, unit, mistake):
    """What a wrong criterion gives for removing `unit` now."""
    at = row.unit_of == unit
    gone = np.isin(row.unit_of, list(removed))
    living = np.flatnonzero(~gone)
    lost = np.flatnonzero(gone)
    inverse = np.linalg.inv(row.hessian[np.ix_(living, living)])
    v = row.w[living] + inverse @ (row.hessian[np.ix_(living, lost)] @ row.w[lost])
    b = np.flatnonzero(at[living])
    if mistake == "stale inverse":
        whole = np.linalg.inv(row.hessian)[np.ix_(at, at)]
        return float(v[b] @ np.linalg.solve(whole, v[b]))
    if mistake == "OBD order":
        return float(v[b] @ row.hessian[np.ix_(at, at)] @ v[b])
    if mistake == "magnitude order":
        return float(v[b] @ v[b])
    return float(np.abs(v[b]).sum() / np.trace(inverse[np.ix_(b, b)]))
