"""The bounds are sharp: answers off by a hundred bounds are flagged, and a lone wrong step is never excused."""

import numpy as np
import pytest

from refprune import testing
from refprune.testing import sharpness
from refprune.testing.bounds import SOLVE, condition, condition_limit
from refprune.testing.cases import make_case
from refprune.testing.judge import judge

GREEDY = sharpness.GREEDY


def right_answer(contract, problem):
    contract = testing.contracts[contract]
    return contract.reference(*problem.values())


def ordinary(contract, dtype, seeds, flags=("IllConditioned", "RowScale", "LossScale")):
    """Cases that must be answered, with some kept and some pruned."""
    for seed in range(seeds):
        for number in range(40):
            case = make_case(testing.contracts[contract], number, seed, dtype, {})
            view = testing.contracts[contract].view(case.problem, {})
            if set(case.flags) & set(flags) and view.expects == "answer":
                yield case.problem, view


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "contract", ["optimal-weights", "obs", "exact-obs", "exact-obs-nm", "exact-obs-blocks"]
)
def test_weights_off_by_a_hundred_bounds_are_flagged(contract, dtype):
    rng = np.random.default_rng(1)
    tried = 0
    for problem, view in ordinary(contract, dtype, 4):
        answer = right_answer(
            contract,
            {
                k: v.astype(float) if hasattr(v, "astype") and v.dtype.kind == "f" else v
                for k, v in problem.items()
            },
        )
        weight = np.array(answer[0] if isinstance(answer, tuple) else answer)
        rows = weight.reshape(view.weight.shape)
        kept = np.argwhere((rows != 0) & view.living)
        if not len(kept):
            continue
        row, column = kept[rng.integers(len(kept))]
        scale = np.sqrt(np.diagonal(view.hessian))
        size = max(np.linalg.norm(view.weight[row] * scale), np.linalg.norm(rows[row] * scale))
        bound = SOLVE * max(view.eps * view.condition, view.store_eps) * size
        if 100 * bound > size:  # past the arithmetic: a hundred bounds are more than everything
            continue
        rows[row, column] += 100 * bound / scale[column] * rng.choice([-1, 1])
        answer = (
            (rows.reshape(weight.shape).astype(dtype), *answer[1:])
            if isinstance(answer, tuple)
            else rows.astype(dtype)
        )
        checks, _, _ = judge(testing.contracts[contract], problem, answer, {})
        assert [check.name for check in checks if check.outcome == "fail"] == ["stationary"]
        tried += 1
    assert tried >= 10


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gram_entries_off_by_a_hundred_bounds_are_flagged(dtype):
    rng = np.random.default_rng(2)
    for problem, view in ordinary("gram", dtype, 2, ("UnequalBatches", "Bias", "DeadInput", "Square")):
        x = view.samples
        gram = x.T @ x / len(x)
        allowed = (len(x) + 4) * np.finfo(dtype).eps * (np.abs(x).T @ np.abs(x)) / len(x)
        live = np.argwhere(allowed > 0)
        i, j = live[rng.integers(len(live))]
        gram[i, j] += 100 * allowed[i, j]
        verdict = testing.verify("gram", problem, gram)
        assert [check.name for check in verdict.checks if check.outcome == "fail"] == ["equal"]


def test_objectives_and_saliencies_off_by_a_hundred_bounds_are_flagged():
    rng = np.random.default_rng(3)
    for problem, view in ordinary("obs", "float64", 2):
        weight, order = right_answer("obs", problem)
        row, removed, found = view.rows[0], frozenset(), []
        for unit in order.tolist():
            found.append(row.costs(removed)[0][unit] ** 2)
            removed |= {unit}
        saliencies = np.array(found)
        objective = view.objective(weight)
        answer = {"weight": weight, "order": order, "saliencies": saliencies, "objective": objective}
        assert testing.verify("obs", problem, answer).outcome == "pass"
        slip = 100 * SOLVE * max(view.eps * view.condition, view.store_eps) * view.energy
        wrong = testing.verify("obs", problem, {**answer, "objective": objective + slip})
        assert [check.name for check in wrong.checks if check.outcome == "fail"] == ["objective"]
        at = rng.integers(len(order))
        off = saliencies.copy()
        off[at] = (np.sqrt(off[at]) + 100 * row.bound) ** 2
        wrong = testing.verify("obs", problem, {**answer, "saliencies": off})
        assert [check.name for check in wrong.checks if check.outcome == "fail"] == ["saliencies"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contract", GREEDY)
def test_a_lone_wrong_step_is_never_excused(contract, dtype):
    rows = sharpness.lone_mistakes(contract, dtype, examples=5, seed=7)
    assert sum(row.wrong for row in rows) >= 20
    assert all(row.passed == row.undecided == 0 for row in rows), rows


def test_the_generated_conditions_are_what_they_claim():
    rng = np.random.default_rng(4)
    from refprune.testing.make import spd

    for cond in (1.0, 30.0, 1e4, 1e8, 1e11):
        for d in (1, 2, 5, 24):
            h = spd(rng, d, cond)
            # eigenvalues of a symmetric matrix err by eps times the largest, so the condition by eps cond^2
            expected = cond if d > 1 else 1.0
            assert abs(np.linalg.cond(h) / expected - 1) < 50 * np.finfo(float).eps * expected + 1e-12
            assert np.array_equal(h, h.T)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contract", [*GREEDY, "optimal-weights"])
def test_flags_are_what_they_say(contract, dtype):
    contract = testing.contracts[contract]
    eps = np.finfo(dtype).eps
    for number in range(400):
        case = make_case(contract, number, 11, dtype, {})
        flag = case.flags[0] if case.flags else None
        view = contract.view(case.problem, {})
        if flag in ("NaN", "Inf", "Empty", "WrongShape", "WrongCount", "NMRemainder", "NonSymmetric"):
            assert view.expects == "error", (flag, view.reason)
            continue
        assert view.expects == {"Singular": "free", "BeyondArithmetic": "beyond"}.get(flag, "answer"), (
            flag,
            view.reason,
        )
        if view.expects == "answer" and contract.name != "optimal-weights":
            assert view.condition <= condition_limit(eps)
        matrix = np.asarray(case.problem.get("gram", case.problem.get("hessian")), dtype=float)
        if flag == "DeadInput":
            assert (np.diagonal(matrix) == 0).any()
        if flag == "IllConditioned" and number < 100:
            assert condition(matrix) >= 1
        if flag == "ZeroWeight":
            assert (case.problem["weight"] == 0).any()
        if flag == "RowScale" and case.problem["weight"].shape[0] > 2:
            norms = np.abs(case.problem["weight"]).max(axis=1)
            assert norms.max() / norms.min() > 100
        if flag == "Tie":
            assert np.isin(np.unique(np.abs(case.problem["weight"])), [0.5, 1, 2]).all()
