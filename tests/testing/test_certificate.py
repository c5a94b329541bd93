"""The greedy certificate and the allocation rules against exhaustive search and worked witnesses."""

import itertools
import time

import numpy as np
import pytest

from refprune import testing
from refprune.testing.allocation import heap_misfit
from refprune.testing.certificate import NODES, RowProblem, RowResult, _Search, replay_order, replay_set

EPS = np.finfo(float).eps


def row_problem(w, hessian, unit_of=None, group=None, quota=0):
    unit_of = np.arange(len(w)) if unit_of is None else unit_of
    size = np.sqrt(w @ hessian @ w)
    # the derivation of refprune.testing.bounds with kappa below 100 for the matrices of this file
    return RowProblem(
        np.asarray(w, float),
        np.asarray(hessian, float),
        unit_of,
        1e3 * EPS * size,
        4e2 * EPS * size,
        group,
        quota,
    )


def exhaustive(row, pruned):
    """True when some order of `pruned` is greedy: every order is tried, no shortcut is taken."""
    for order in itertools.permutations(pruned):
        gone = frozenset()
        for unit in order:
            r = row.costs(gone)[0]
            costs = {u: r[u] for u in row.candidates(gone)}
            if unit not in costs or costs[unit] > min(costs.values()) + row.bound:
                break
            gone |= {unit}
        else:
            return True
    return False


def quantised(rng, d):
    """Problems full of exact ties: small dyadic weights, a permuted block-diagonal Hessian with repeated blocks."""
    w = rng.choice([-1.0, 0.5, 1.0, 2.0, 0.0], size=d)
    h = np.eye(d) * 2.0
    for start in range(0, d - 1, 2):
        h[start, start + 1] = h[start + 1, start] = rng.choice([0.0, 1.0, -0.5])
    order = rng.permutation(d)
    return w, h[np.ix_(order, order)]


@pytest.mark.parametrize("seed", range(40))
def test_the_search_finds_exactly_the_sets_that_some_order_reaches(seed):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 7))
    w, h = quantised(rng, d)
    if seed % 2:
        basis = rng.normal(size=(3 * d, d)) + 0.2
        h = np.round(basis.T @ basis * 4) / 4
    if not (w @ h @ w) > 0:
        w = w + 1.0
    row = row_problem(w, h)
    count = int(rng.integers(1, d + 1))
    for pruned in itertools.combinations(range(d), count):
        assert (replay_set(row, pruned).outcome != "fail") == exhaustive(row, pruned), (w, h, pruned)


def test_the_cheapest_of_the_answers_set_is_not_enough():
    # 0 and 2 tie at first; {0, 2} is reached only by removing 2 first, though 0 and 2 do not interact
    h = np.array([[2, 1.2, 0], [1.2, 2, 0], [0, 0, 2]])
    w = np.array([1.25, -1.35, 1.0])
    for gone, expected in (((0, 2), "pass"), ((0, 1), "pass"), ((1, 2), "fail")):
        pruned = np.isin(np.arange(3), gone)
        kept = ~pruned
        v = np.zeros(3)
        v[kept] = np.linalg.solve(h[np.ix_(kept, kept)], h[kept] @ w)
        verdict = testing.verify("obs", {"weight": w, "hessian": h, "keep": 1}, v)
        assert verdict.outcome == expected, str(verdict)


def test_many_tied_units_are_decided_without_enumerating_their_subsets():
    d = 40
    row = row_problem(np.ones(d), 2 * np.eye(d))
    start = time.monotonic()
    search = _Search(row, frozenset(range(0, d, 2)))
    assert search.best(frozenset()) is not None
    assert search.nodes <= d  # 2^20 subsets otherwise
    assert time.monotonic() - start < 5
    rng = np.random.default_rng(5)
    basis = rng.normal(size=(60, 20))
    zeros = row_problem(np.concatenate([np.zeros(14), rng.normal(size=6)]), basis.T @ basis / 60)
    assert replay_set(zeros, range(0, 14, 2)).outcome == "pass"
    assert replay_set(zeros, [0, 19]).outcome == "fail"


def test_a_search_that_runs_out_of_nodes_is_undecided():
    # equal correlations: every pair interacts, and every order of the tied units is one to try
    d = 19
    h = np.full((d, d), 0.3) + np.eye(d) * 0.7
    w = np.ones(d)
    w[-1] = 1.0 - 1e-9
    row = row_problem(w, h)
    row.bound = 1e-6
    search = _Search(row, frozenset(range(15)))
    search.nodes = NODES - 3
    assert search.best(frozenset()) is None
    assert search.nodes > NODES


def test_dead_units_go_first_in_any_order_and_must_go():
    h = np.diag([2.0, 0.0, 3.0, 0.0])
    row = row_problem(np.array([0.1, 5.0, 1.0, 7.0]), h)
    assert replay_set(row, [1, 3]).outcome == "pass"
    assert replay_set(row, [3]).outcome == "pass"
    assert replay_set(row, [0]).outcome == "fail"
    assert replay_order(row, [3, 1, 0]).outcome == "pass"
    broken = replay_order(row, [3, 0, 1]).broken
    assert broken[:2] == (1, 0)
    assert broken[3] == 1


def test_nm_lets_only_open_groups_give():
    h = np.diag([1.0, 1.0, 1.0, 1.0]) * 2
    w = np.array([0.1, 0.2, 3.0, 4.0])
    row = row_problem(w, h, group=np.array([0, 0, 1, 1]), quota=1)
    assert replay_set(row, [0, 2]).outcome == "pass"
    assert replay_set(row, [1, 2]).outcome == "fail"
    assert replay_order(row, [0, 1]).outcome == "fail"  # the first group has given its zero


def heap_counts(paths, total):
    """All count vectors that a heap reaches when ties go any way."""
    reached, states = set(), {tuple([0] * len(paths))}
    for _ in range(total):
        grown = set()
        for state in states:
            heads = {i: paths[i][k] for i, k in enumerate(state) if k < len(paths[i])}
            for i, cost in heads.items():
                if cost == min(heads.values()):
                    grown.add(tuple(k + (j == i) for j, k in enumerate(state)))
        states = grown
    reached |= states
    return reached


@pytest.mark.parametrize("seed", range(60))
def test_the_heap_rule_accepts_exactly_the_counts_that_a_heap_reaches(seed):
    rng = np.random.default_rng(seed)
    rows, d = int(rng.integers(2, 4)), 4
    # step costs rise and fall; integers, so that ties across rows are common
    paths = [rng.integers(1, 6, size=d).astype(float) for _ in range(rows)]
    dummy = [row_problem(np.ones(d), np.eye(d)) for _ in range(rows)]
    for row in dummy:
        row.bound = 1e-9
    for total in range(1, rows * d + 1):
        right = heap_counts(paths, total)
        for counts in itertools.product(range(d + 1), repeat=rows):
            if sum(counts) != total:
                continue
            results = [
                RowResult("pass", max(p[:k], default=0.0), max(p[:k], default=0.0), p[k] if k < d else None)
                for p, k in zip(paths, counts, strict=True)
            ]
            assert (heap_misfit(dummy, results) is None) == (counts in right), (paths, counts)


W = np.array([[2.0, -3, -5], [-9, -1, 4]])
X = np.array([[0.0, 1, 2], [-2, 5, -2], [1, 5, 0], [0, -1, 1], [-4, -1, 3]])


def answer_with_counts(counts):
    """Greedy rows with the given counts, by re-solving every candidate."""
    gram = X.T @ X / len(X)
    weight, mask = W.copy(), np.ones(W.shape, bool)
    for row, count in enumerate(counts):
        for _ in range(count):
            costs = {}
            for p in np.flatnonzero(mask[row]):
                trial = mask[row].copy()
                trial[p] = False
                costs[p] = solved(gram, W[row], trial)
            best = min(costs, key=lambda p: costs[p][0])
            mask[row, best] = False
            weight[row] = costs[best][1]
    return weight, mask


def solved(gram, w, kept):
    v = np.zeros(len(w))
    if kept.any():
        v[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ w)
    return (v - w) @ gram @ (v - w) / 2, v


@pytest.mark.parametrize(("rule", "counts"), [("heap", [1, 2]), ("sorted", [2, 1])])
def test_the_integer_witness_tells_the_allocation_rules_apart(rule, counts):
    problem = {"weight": W, "gram": X.T @ X / len(X), "sparsity": 0.5}
    answer = answer_with_counts(counts)
    assert testing.verify("exact-obs", problem, answer, claims={"allocation": rule}).outcome == "pass"
    other = "sorted" if rule == "heap" else "heap"
    verdict = testing.verify("exact-obs", problem, answer, claims={"allocation": other})
    assert verdict.outcome == "fail"
    assert f"the {other} allocation is broken" in str(verdict)
