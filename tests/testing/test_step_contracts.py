"""The contracts of one step: what is said of a wrong answer, ties, bounds, the claim `project`, and cases."""

from itertools import combinations

import numpy as np
import pytest

import refprune as rp
from refprune import definitions, testing
from refprune.testing import reference
from refprune.testing.bounds import condition_limit
from refprune.testing.cases import make_case

NAMES = ("iht-step", "cosamp-step", "iobs-step", "iobs")
LAST = {"iht-step": "equal", "cosamp-step": "equal", "iobs-step": "stationary", "iobs": "stationary"}


def broken(verdict):
    """(check, explanation) of the first failure, or None."""
    return next(((c.name, c.explanation) for c in verdict.checks if c.outcome == "fail"), None)


def run(implementation, name, **options):
    """A run in this process, of one case for each flag unless said otherwise."""
    return testing.run(implementation, name, **{"examples": 1, "isolate": False, "shrink": False, **options})


def cases(name, dtype="float64", seeds=1, numbers=30, flags=None):
    """(flag or None, problem, view) of cases that must be answered, of these `flags` only where they are given."""
    contract = testing.contracts[name]
    for seed in range(seeds):
        for number in range(numbers):
            case = make_case(contract, number, seed, dtype, {})
            if flags is not None and not set(case.flags) & set(flags):
                continue
            view = contract.view(case.problem, {})
            if view.expects == "answer":
                yield (case.flags or (None,))[0], case.problem, view


def wide(problem):
    """The problem with its arrays in float64."""
    return {
        name: value.astype(float) if isinstance(value, np.ndarray) else value
        for name, value in problem.items()
    }


# What is said, by hand


def step_problem(**changes):
    """w - g / 2 is (2, -3, 1, 0.5): two stay."""
    given = {"weight": np.array([1.0, -3.0, 0.0, 1.0]), "gradient": np.array([-2.0, 0.0, -2.0, 1.0])}
    return {**given, "step": 0.5, "keep": 2, **changes}


@pytest.mark.parametrize(
    ("answer", "check", "words"),
    [
        ([2.0, -3.0, 1.0, 0.0], "count", "3 weights are not 0; keep is 2"),
        ([0.0, -3.0, 0.0, 0.0], "count", "1 weights are not 0; 2 can be kept"),
        ([2.0, -3.0, 1e-9, 0.0], "zeros", "pruned entry 2 is tiny, 1e-09; exactly 0.0 is needed"),
        ([2.0, -3.0, np.nan, np.nan], "finite", "every pruned entry is NaN"),
        ([2.0, -3.0, 0.0, np.inf], "finite", "1 of 4 entries are NaN or Inf"),
        ([0.0, -3.0, 1.0, 0.0], "ranked", "entry 0 with |w - step g| = 2 is pruned, entry 2 with 1 is kept"),
        ([1.0, -3.0, 0.0, 0.0], "equal", "weight 0 is 1; on this support 2 is right"),
        ([2.0, 3.0, 0.0, 0.0], "equal", "weight 1 is 3; on this support -3 is right"),
    ],
)
def test_a_wrong_step_is_told(answer, check, words):
    name, text = broken(testing.verify("iht-step", step_problem(), np.array(answer)))
    assert name == check
    assert words in text
    assert testing.verify("iht-step", step_problem(), np.array([2.0, -3.0, 0.0, 0.0])).outcome == "pass"


def newton_problem(**changes):
    """theta+ is (2, 1.5, 1), the projection moves the first weight by 7/8 of the second."""
    H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    w = np.array([1.0, 1.0, 1.0])
    return {"weight": w, "gradient": H @ (w - [2.0, 1.5, 1.0]), "hessian": H, "keep": 1, **changes}


@pytest.mark.parametrize(
    ("answer", "check", "words"),
    [
        ([2.0, 0.0, 0.0], "stationary", "weight 0 is 2; on this support 3.3125 is right"),
        ([0.0, 0.0, 1.0], "ranked", "entry 0 with |theta+| = 2 is pruned, entry 2 with 1 is kept"),
        ([0.0, 0.0, 0.0], "stationary", "weight 0 is 0; on this support 3.3125 is right"),
        ([2.0, 1.5, 0.0], "count", "2 weights are not 0; keep is 1"),
    ],
)
def test_a_wrong_projection_is_told(answer, check, words):
    name, text = broken(testing.verify("iobs-step", newton_problem(), np.array(answer)))
    assert name == check
    assert words in text
    assert testing.verify("iobs-step", newton_problem(), np.array([3.3125, 0.0, 0.0])).outcome == "pass"


def pursuit_problem(**changes):
    """Orthonormal columns, so the solution is `A^T y = (3, -2, 1, 0.5, 0.25)` on the merged set."""
    A = np.eye(6)[:, :5]
    y = np.array([3.0, -2.0, 1.0, 0.5, 0.25, 4.0])
    return {"design": A, "target": y, "keep": 1, "weight": np.array([3.0, 0.0, 0.0, 0.0, 0.0]), **changes}


@pytest.mark.parametrize(
    ("answer", "check", "words"),
    [
        # g is (0, -2, 1, 0.5, 0.25): columns 1 and 2 join 0
        ([0.0, 0.0, 0.0, 0.5, 0.0], "merged", "|g| is 0.5 there, below the 2 largest, which end at 1"),
        ([0.0, -2.0, 0.0, 0.0, 0.0], "ranked", "entry 0 with |b| = 3 is pruned, entry 1 with 2 is kept"),
        ([2.5, 0.0, 0.0, 0.0, 0.0], "equal", "weight 0 is 2.5; on this support 3 is right"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], "count", "0 weights are not 0; 1 can be kept"),
    ],
)  # fmt: skip
def test_a_wrong_iteration_is_told(answer, check, words):
    name, text = broken(testing.verify("cosamp-step", pursuit_problem(), np.array(answer)))
    assert name == check
    assert words in text
    assert testing.verify("cosamp-step", pursuit_problem(), np.array([3.0, 0, 0, 0, 0])).outcome == "pass"


def test_the_solution_of_iobs_does_not_know_its_start():
    rng = np.random.default_rng(0)
    A, y = rng.normal(size=(12, 6)) + 0.3, rng.normal(size=12)
    answers = [definitions.iobs(rp.LeastSquares(A, y), 3, 4 * rng.normal(size=6))[0] for _ in range(3)]
    for answer in answers:
        for _ in range(3):
            call = {"design": A, "target": y, "keep": 3, "start": rng.normal(size=6)}
            assert testing.verify("iobs", call, answer).outcome == "pass"
    call["start"] = 1e9 * call["start"]  # and what rounding makes of a far start is allowed
    assert testing.verify("iobs", call, reference.iobs(**call)).outcome == "pass"


# Forms of an answer


def test_a_mask_may_come_with_the_weight():
    right, mask = np.array([2.0, -3.0, 0.0, 0.0]), np.array([True, True, False, False])
    for answer in ({"weight": right, "mask": mask}, {"w": right}, rp.Pruned(right, mask, 0.0)):
        assert testing.verify("iht-step", step_problem(), answer).outcome == "pass"
    for wrong, words in (([True, False, False, False], "1 weights are kept; keep is 2"),
                         ([True, True, True, False], "3 weights are kept; keep is 2")):  # fmt: skip
        found = broken(testing.verify("iht-step", step_problem(), {"weight": right, "mask": np.array(wrong)}))
        assert found == ("count", words)
    other = {"weight": right, "mask": np.array([True, False, True, False])}
    assert broken(testing.verify("iht-step", step_problem(), other))[0] == "zeros"


def test_a_reported_objective_is_checked():
    call = pursuit_problem()
    w = np.array([3.0, 0.0, 0.0, 0.0, 0.0])
    for name, given in (("cosamp-step", call), ("iobs", {**call, "start": call["weight"]})):
        given = {key: given[key] for key in testing.contracts[name].arguments}
        loss = float(((call["design"] @ w - call["target"]) ** 2).sum()) / 2
        assert testing.verify(name, given, {"w": w, "objective": loss}).outcome == "pass"
        found = broken(testing.verify(name, given, {"w": w, "objective": 2 * loss}))
        assert found[0] == "objective"
        assert "(2 times as large)" in found[1]


def test_fewer_than_keep_where_the_point_has_fewer():
    call = step_problem(gradient=np.zeros(4), keep=4)
    assert testing.verify("iht-step", call, np.array([1.0, -3.0, 0.0, 1.0])).outcome == "pass"
    planted = newton_problem(
        gradient=newton_problem()["hessian"] @ [1.0, 1.0, -2.0], keep=2
    )  # theta+ = (0, 0, 3)
    assert testing.verify("iobs-step", planted, np.array([0.0, 0.0, 3.0])).outcome == "pass"


@pytest.mark.parametrize("step", [np.nan, np.inf, -0.5, "1"])
def test_a_bad_step_is_bad_input(step):
    verdict = testing.verify("iht-step", step_problem(step=step), np.zeros(4), claims={"validates": True})
    assert broken(verdict)[0] == "refuses"
    with pytest.raises((ValueError, TypeError)):
        reference.iht_step(**step_problem(step=step))


# Ties


def test_any_choice_among_equals_passes():
    call = step_problem(weight=np.array([1.0, -1.0, 1.0, 1.0, 2.0]), gradient=np.zeros(5), keep=3)
    for kept in combinations(range(5), 3):
        answer = np.zeros(5)
        answer[list(kept)] = call["weight"][list(kept)]
        found = broken(testing.verify("iht-step", call, answer))
        assert (found is None) == (4 in kept)
        assert found is None or found[0] == "ranked"


def test_equal_gradients_may_merge_either_column():
    """g is (0, 1, 1, 1) and two columns join: the solve differs with them, and so does the answer."""
    A = np.eye(5)[:, :4]
    A[4, 1:] = [0.5, 0.5, -0.5]
    y = np.array([2.0, 1.0, 1.0, 1.0, 0.0])
    call = {"design": A, "target": y, "keep": 1, "weight": np.array([2.0, 0.0, 0.0, 0.0])}
    assert abs(A.T @ (y - A @ call["weight"])).tolist() == [0.0, 1.0, 1.0, 1.0]
    call["weight"] = 0 * call["weight"]
    call["target"] = np.array([0.25, 1.0, 1.0, 1.0, 0.0])  # what joined decides what is largest now
    passed = set()
    for pair in combinations(range(1, 4), 2):
        b = np.zeros(4)
        b[list(pair)] = np.linalg.lstsq(A[:, pair], call["target"], rcond=None)[0]
        for j in pair:
            answer = np.where(np.arange(4) == j, b, 0)
            if testing.verify("cosamp-step", call, answer).outcome == "pass":
                passed.add((pair, j))
    # (1, 2) couple with one sign and give 0.8 and 0.8; (1, 3) and (2, 3) with the other and give 4/3 twice
    assert passed == {(pair, j) for pair in combinations(range(1, 4), 2) for j in pair}
    mixed = np.array([0.0, 0.8, 0.0, 0.0]) * 1.01
    assert broken(testing.verify("cosamp-step", call, mixed))[0] == "equal"


def test_too_many_equal_gradients_decide_nothing_against_an_answer():
    d = 30
    call = {"design": np.eye(d + 1)[:, :d], "target": np.ones(d + 1), "keep": 4, "weight": np.zeros(d)}
    right = np.zeros(d)
    right[[29, 3, 17, 8]] = 1.0
    assert testing.verify("cosamp-step", call, right).outcome == "pass"
    assert testing.verify("cosamp-step", call, 0.5 * right).outcome == "undecided"


# Bounds


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_a_weight_off_by_a_hundred_bounds_is_flagged(name, dtype):
    rng, contract, tried = np.random.default_rng(1), testing.contracts[name], 0
    for _, problem, view in cases(name, dtype, seeds=2):
        answer = np.asarray(contract.reference(*wide(problem).values()), dtype=float)
        if hasattr(view, "solved"):
            view = view.solved(testing.answer.Answer(weight=answer))[0]
        right, slack = view.right(answer != 0)
        bounds = view.allowed(right, slack)
        at = np.flatnonzero((answer != 0) & (100 * bounds < np.abs(right)))
        if not at.size:
            continue
        at = rng.choice(at)
        answer[at] += 100 * bounds[at] * np.sign(right[at])  # away from 0: the ranks stay
        found = broken(testing.verify(name, problem, answer.astype(dtype)))
        assert found is not None
        assert found[0] in (LAST[name], "ranked")
        tried += 1
    assert tried >= 20


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_a_swap_of_two_entries_further_apart_than_the_bound_is_flagged(name, dtype):
    """The largest pruned entry for the least kept one, with the right values on that support."""
    contract, tried = testing.contracts[name], 0
    for _, problem, view in cases(name, dtype, seeds=3):
        answer = np.asarray(contract.reference(*wide(problem).values()), dtype=float)
        if hasattr(view, "solved"):
            if len(view.candidates) != 1:
                continue
            view = view.solved(testing.answer.Answer(weight=answer))[0]
        kept = answer != 0
        goes = np.flatnonzero(kept & ~view.dead)
        comes = np.flatnonzero(~kept & ~view.dead & (np.abs(view.point) > 100 * view.slack))
        if kept.sum() != view.keep or not goes.size or not comes.size:
            continue
        p, j = goes[np.argmax(view.scores[goes])], comes[np.argmax(view.scores[comes])]
        if view.scores[p] - view.scores[j] <= 2 * (view.slack[p] + view.slack[j] + view.floor):
            continue
        kept[p], kept[j] = False, True
        right, _ = view.right(kept)
        if (right[kept] == 0).any():
            continue
        assert broken(testing.verify(name, problem, right.astype(dtype)))[0] in ("ranked", "merged")
        tried += 1
    assert tried >= 20


def test_near_ties_of_the_cases_are_wider_than_the_bound():
    """So a kernel that rounds more than it may is found by them."""
    for name in ("iht-step", "iobs-step", "iobs"):
        for dtype in ("float64", "float32"):
            found = 0
            for _, problem, view in cases(name, dtype, seeds=6, flags=["NearTie"]):
                ordered = np.argsort(-view.scores)
                p, j = ordered[[problem["keep"] - 1, problem["keep"]]]
                gap = view.scores[p] - view.scores[j]
                assert view.slack[p] + view.slack[j] + view.floor < gap < 0.1 * view.scores[p]
                found += 1
            assert found >= 4


# The claim `project`


def euclid(step):
    """The Newton point cut to its largest entries."""
    return lambda *call: step(*call, project="euclid")[0]


def iobs_euclid(design, target, keep, start, project):
    return definitions.iobs(rp.LeastSquares(design, target), keep, start, project=project)


@pytest.mark.parametrize(
    ("name", "call"), [("iobs-step", euclid(definitions.iobs_step)), ("iobs", euclid(iobs_euclid))]
)
def test_the_claim_project_is_read(name, call):
    def checked(*given):  # definitions do not look for singular matrices
        reference.__dict__[name.replace("-", "_")](*given)
        return call(*given)

    claims = {"project": "euclid"}
    assert run(checked, name, claims=claims).outcome == "pass"
    report = run(checked, name)
    assert (report.outcome, report.looks_like) == ("fail", ["no-projection"])
    projected = run(getattr(reference, name.replace("-", "_")), name, claims=claims)
    assert projected.outcome == "fail"
    assert {record.check for record in projected.failures} <= {"stationary", "invariant"}


def test_projection_of_refprune_by_both_rules():
    def iobs(design, target, keep, start):
        return rp.iobs(rp.LeastSquares(design, target), keep, start, project="euclid")

    for dtype in ("float64", "float32"):
        report = run(iobs, "iobs", dtype=dtype, claims={"project": "euclid", "validates": True})
        assert report.outcome == "pass", str(report)


# Singular and too ill-conditioned


def test_a_singular_hessian_may_be_refused_or_answered_with_stationary_weights():
    a = np.array([1.0, 2.0, 0.5])
    H, w = np.outer(a, a) * 4, np.array([1.0, -1.0, 2.0])
    call = {"weight": w, "gradient": H @ [0.5, 0.25, 1.0], "hessian": H, "keep": 1}
    for answer in (np.linalg.LinAlgError("singular"), np.full(3, np.nan)):
        assert testing.verify("iobs-step", call, answer).outcome == "pass"
    best = (H[1] @ w - call["gradient"][1]) / H[1, 1]
    assert testing.verify("iobs-step", call, np.array([0.0, best, 0.0])).outcome == "pass"
    name, text = broken(testing.verify("iobs-step", call, np.array([0.0, 1.0 + best, 0.0])))
    assert name == "stationary"
    assert "singular to rounding" in text
    assert broken(testing.verify("iobs-step", call, np.ones(3)))[0] == "count"


def test_a_dead_input_with_a_gradient_has_no_minimum():
    call = newton_problem(hessian=np.diag([1.0, 0.0, 1.0]), gradient=np.array([0.0, 1.0, 0.0]))
    assert testing.contracts["iobs-step"].view(call, {}).expects == "free"
    call["gradient"] = np.zeros(3)
    assert testing.verify("iobs-step", call, np.array([1.0, 0.0, 0.0])).outcome == "pass"
    assert "is dead and kept" in broken(testing.verify("iobs-step", call, np.array([0.0, 1.0, 0.0])))[1]


def test_past_the_limit_of_conditions_nothing_is_decided():
    for call in (
        {"weight": np.ones(2), "gradient": np.ones(2), "hessian": np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]]),
         "keep": 1},
    ):  # fmt: skip
        view = testing.contracts["iobs-step"].view(call, {})
        assert view.condition > condition_limit(view.eps)
        assert testing.verify("iobs-step", call, np.array([1.0, 0.0])).outcome == "undecided"
        assert testing.verify("iobs-step", call, np.ones(2)).outcome == "fail"


# Cases and transforms


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_flags_are_what_they_say(name, dtype):
    contract, eps = testing.contracts[name], np.finfo(dtype).eps
    bad = {"NaN", "Inf", "Empty", "WrongShape", "WrongCount", "NonSymmetric"}
    for number in range(60):
        case = make_case(contract, number, 5, dtype, {})
        flag, view = (case.flags or (None,))[0], contract.view(case.problem, {})
        if flag in bad:
            assert view.expects == "error", (flag, view.reason)
            continue
        free = flag in ("Singular", "DuplicateColumn", "DeadInput", "OneSample", None)
        assert view.expects == "answer" or (free and view.expects == "free"), (flag, view.reason)
        if flag == "Singular":
            assert view.expects == "free"
        if view.expects != "answer":
            continue
        keep, right = case.problem["keep"], np.asarray(contract.reference(*wide(case.problem).values()))
        if flag in ("K0", "KAll"):
            assert keep == {"K0": right.size, "KAll": 0}[flag]
        if flag == "Optimal" and name in ("iht-step", "iobs-step"):
            np.testing.assert_allclose(right, case.problem["weight"], rtol=8 * eps)
        if flag == "PlantedSupport" and name in ("iobs-step", "iobs"):
            small = np.sort(view.scores)[: right.size - keep]
            assert (small <= view.slack.max()).all()
        if flag == "DeadInput":
            assert view.dead.any() if name != "cosamp-step" else True
        if name in ("iobs-step", "iobs"):
            assert view.condition <= condition_limit(view.eps)


@pytest.mark.parametrize("name", NAMES)
def test_scaling_scales_the_answer(name):
    """By powers of two, to the bit where nothing is solved."""
    contract = testing.contracts[name]
    scale = next(t for t in contract.transforms if t.__name__ == "scale")
    for _, problem, view in cases(name, numbers=20):
        moved = scale(contract, problem, np.random.default_rng(0))
        first = "weight" if "weight" in problem else "start"
        before, after = (np.asarray(contract.reference(*p.values())) for p in (problem, moved))
        factor = 1.0
        if problem[first].any():
            at = np.argmax(np.abs(problem[first]))
            factor = moved[first][at] / problem[first][at]
        elif name in ("iobs", "cosamp-step"):
            continue
        slack = view.slack.max(initial=0.0) if name != "iht-step" else 0.0
        assert np.abs(after / factor - before).max() <= 2 * slack


@pytest.mark.parametrize("name", NAMES)
def test_other_calls_differ_from_the_first(name):
    """A transform that changes nothing would see no state."""
    contract = testing.contracts[name]
    others = [t for t in contract.transforms if t.__name__.startswith("another")]
    assert others
    for _, problem, _ in cases(name, numbers=3):
        for transform in others:
            moved = transform(contract, problem, np.random.default_rng(1))
            view = contract.view(moved, {}) if moved is not None else None
            assert view is None or view.expects in ("answer", "free")
            assert set(moved or problem) == set(problem)


# Wrong implementations that are on no list


def _late_square(weight, gradient, step, keep):
    v = weight - step * gradient
    kept = np.argsort(v**4)[len(v) - keep :]
    out = np.zeros_like(v)
    out[kept] = v[kept] * (1 - 1e-6)
    return out


def _relative_threshold(weight, gradient, step, keep):
    v = weight - step * gradient
    return np.where(abs(v) >= np.quantile(abs(v), 1 - keep / len(v)), v, 0) if keep else 0 * v


def _pairs(weight, gradient, step, keep):
    v = weight - step * gradient
    order = np.argsort(-abs(v[: len(v) // 2 * 2].reshape(-1, 2)).max(axis=1)).repeat(2)
    out = np.zeros_like(v)
    out[order[:keep]] = v[order[:keep]]
    return out


def _solve(identity=0.0, ridge=0.0, old=0.0):
    def call(weight, gradient, hessian, keep):
        H = hessian + ridge * np.diag(np.diagonal(hessian)) + identity * np.eye(len(weight))
        v = weight - np.linalg.solve(H, gradient)
        kept = np.argsort(-abs(v) - old * abs(weight), kind="stable")[:keep]
        out = np.zeros_like(v)
        out[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], hessian[kept] @ weight - gradient[kept])
        return out

    return call


def _twice_projected(weight, gradient, hessian, keep):
    first = reference.iobs_step(weight, gradient, hessian, keep)
    kept = np.flatnonzero(first)
    first[kept] -= np.linalg.solve(hessian[np.ix_(kept, kept)], gradient[kept])
    return first


def _one_column_more(design, target, keep, weight):
    size = abs(design.T @ (target - design @ weight))
    at = np.union1d(np.argsort(-size)[: 2 * keep + 1], np.flatnonzero(weight)).astype(int)
    b = np.zeros(len(weight))
    b[at] = np.linalg.lstsq(design[:, at], target, rcond=None)[0]
    b[np.argsort(-abs(b))[keep:]] = 0
    return b.astype(weight.dtype)


def _lasso_like(design, target, keep, start):
    b = np.linalg.lstsq(design, target, rcond=None)[0]
    cut = np.sort(abs(b))[::-1][keep] if keep < len(b) else 0.0
    return (np.sign(b) * np.maximum(abs(b) - cut, 0)).astype(start.dtype)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("iht-step", _late_square), ("iht-step", _relative_threshold), ("iht-step", _pairs),
        ("iobs-step", _solve(ridge=1e-3)), ("iobs-step", _solve(identity=1e-4)), ("iobs-step", _solve(old=1.0)),
        ("iobs-step", _twice_projected), ("cosamp-step", _one_column_more), ("iobs", _lasso_like),
    ],
)  # fmt: skip
def test_wrong_implementations_that_are_on_no_list_fail(name, wrong):
    report = run(wrong, name, only=range(20))
    assert {record.check for record in report.failures} - {"answers", "refuses"}
    assert report.looks_like == []


def test_a_failing_case_is_shrunk_to_a_few_numbers():
    report = run(
        lambda design, target, keep, start: reference.iobs(design, target, keep, start) * 1.5,
        "iobs",
        shrink=True,
    )
    assert report.smallest["design"].size <= 4


@pytest.mark.parametrize("name", NAMES)
def test_layouts_reach_every_array(name):
    seen = set()
    for flag, problem, _ in cases(name, seeds=2, flags=["NonContiguous", "ReadOnly"]):
        arrays = [value for value in problem.values() if isinstance(value, np.ndarray) and value.size > 1]
        for array in arrays:
            assert not (array.flags.c_contiguous if flag == "NonContiguous" else array.flags.writeable)
        seen.add(flag)
    assert seen == {"NonContiguous", "ReadOnly"}


# Cases that tell


def test_of_dead_weights_that_are_zero_the_kept_one_is_found():
    design = np.zeros((4, 3))
    design[:, 1] = [1.0, 2.0, 0.0, 1.0]
    problem = {"design": design, "target": design[:, 1] * 3, "keep": 2, "start": np.array([5.0, 0.0, 0.0])}
    for answer in (
        [5.0, 3.0, 0.0],
        [0.0, 3.0, 0.0],
    ):  # dead weights are equal: either may stay, as it was given
        assert testing.verify("iobs", problem, np.array(answer)).outcome == "pass"
    assert testing.verify("iobs", problem, np.array([4.0, 3.0, 0.0])).outcome == "fail"


def test_the_start_of_iobs_may_be_a_fixed_point_of_the_wrong_support_and_hold_dead_weights():
    wrong = 0
    for _, problem, view in cases("iobs", seeds=4, flags=("Optimal",)):
        kept = view.start != 0
        gradient = problem["design"].T @ (problem["design"] @ view.start - view.target)
        assert np.abs(gradient[kept]).max(initial=0) <= 1e-9 * view.lipschitz**0.5 * view.length(view.start)
        same = testing.verify("iobs", problem, view.start.copy()).outcome == "pass"
        wrong += kept.sum() == view.keep and not same
    assert wrong >= 3
    dead = [(view, ~view.living) for _, _, view in cases("iobs", seeds=4, flags=("DeadInput",))]
    assert any(view.start[at].any() and view.keep > view.living.sum() for view, at in dead)


def test_nothing_is_kept_where_something_could_be():
    for name in ("iobs", "cosamp-step"):
        assert all(problem["target"].any() for _, problem, _ in cases(name, seeds=2, flags=("KAll",)))
