"""The contracts of IHT, HTP and CoSaMP: their cases, their bounds, the path of CoSaMP, and answers made by hand."""

from itertools import combinations

import numpy as np
import pytest

import refprune as rp
from refprune import testing
from refprune.testing.cases import generate, make_case
from refprune.testing.contracts import recovery_build, recovery_path, recovery_rules
from refprune.testing.contracts.cosamp import DELTA, NOISE, CosampView

NAMES = ("iht", "htp", "cosamp")


def call(seed, samples=40, columns=16, keep=4, noise=0.1, start=None):
    """A problem without flags: correlated Gaussian columns of uneven scale, a signal, noise, a start."""
    rng = np.random.default_rng(seed)
    A = (rng.normal(size=(samples, columns)) + 0.15) * np.exp(rng.uniform(-0.3, 0.3, columns))
    signal = np.zeros(columns)
    signal[rng.permutation(columns)[:keep]] = rng.choice([-1, 1], keep) * rng.uniform(0.5, 2.0, keep)
    y = A @ signal + noise * rng.normal(size=samples)
    return {"design": A, "target": y, "keep": keep, "start": np.zeros(columns) if start is None else start}


def failed(verdict):
    return [check.name for check in verdict.checks if check.outcome == "fail"]


def top(scores, keep):
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(abs(scores), kind="stable")[len(scores) - keep :]] = True
    return mask


def refit(problem, support):
    """Least squares by the pseudo-inverse."""
    w = np.zeros(problem["start"].size)
    w[support] = np.linalg.pinv(problem["design"][:, support]) @ problem["target"]
    return w


def cases(name, flag, dtype="float64"):
    return [
        case.problem for case in generate(testing.contracts[name], 150, 5, dtype, {}) if flag in case.flags
    ]


# the cases are what their flags say


def test_orthonormal_designs_are_inside_the_theory():
    tried = 0
    for problem in cases("cosamp", "Orthonormal"):
        view = CosampView(problem, {})
        A, order = (
            problem["design"] / view.isometry[1] ** 0.5,
            min(4 * problem["keep"], len(problem["start"])),
        )
        gram = A.T @ A - np.eye(A.shape[1])
        rng = np.random.default_rng(0)
        sets = [rng.permutation(len(gram))[:order] for _ in range(50)]
        assert max(np.linalg.norm(gram[np.ix_(S, S)], 2) for S in sets) <= view.isometry[0] + 1e-12 <= DELTA
        tried += 1
    assert tried >= 4


def test_the_isometry_constant_is_that_of_an_enumeration():
    problem = call(3, samples=60, columns=8, keep=1)
    view = CosampView(problem, {})
    gram, delta = problem["design"].T @ problem["design"], np.inf
    for scale in np.linspace(0.5, 2.0, 400) * view.isometry[1]:
        unit = gram / scale - np.eye(8)
        delta = min(delta, max(np.linalg.norm(unit[np.ix_(S, S)], 2) for S in combinations(range(8), 4)))
    # the best scale is between two of the grid, 0.4 % apart
    assert view.isometry[0] <= delta + 1e-12 <= view.isometry[0] + 0.01


def test_starts_are_fixed_points_of_the_steps_they_say():
    """Above 4 L the start must be left, and standing there is told; below 1 / L only longer steps leave it."""
    left = stays = 0
    for name in ("iht", "htp"):
        for problem in cases(name, "StepLength"):
            view = testing.contracts[name].view(problem, {})
            w = view.cut_first()
            kept = w != 0
            gradient = np.abs(view.gradient(w))
            assert gradient[kept].max() <= 1e-9 * view.lipschitz**0.5 * view.length(w)
            times = gradient[~kept].max() / (view.lipschitz * np.abs(w[kept]).min())
            assert 4.19 < times < 20.1 or 0.09 < times < 0.96
            verdict = testing.verify(name, problem, w)
            assert verdict.outcome == ("fail" if times > 4 else "pass")
            assert times < 4 or failed(verdict)[0] == "settled"
            left, stays = left + (times > 4), stays + (times < 1)
    assert left >= 3
    assert stays >= 3


def test_coherent_columns_have_far_smaller_curvature_on_few_of_them():
    shares = []
    for problem in cases("iht", "Coherent"):
        part = problem["design"][:, : max(1, problem["keep"])]
        shares.append((np.linalg.norm(part, 2) / np.linalg.norm(problem["design"], 2)) ** 2)
    assert max(shares) < 0.75  # of that of all columns


def test_flags_hold_what_they_say():
    for problem in cases("iht", "Tie"):
        gram = problem["design"].T @ problem["design"]
        assert np.array_equal(gram, gram[0, 0] * np.eye(len(gram)))
        size = np.sort(abs(problem["design"].T @ problem["target"]))[::-1]
        assert len(set(size)) < len(size)
    for problem in cases("iht", "DeadInput"):
        living = int(problem["design"].any(axis=0).sum())
        assert 3 * problem["keep"] <= living < problem["design"].shape[1]
        assert not problem["start"][~problem["design"].any(axis=0)].any()
    for problem in cases("iht", "Optimal"):
        support = problem["start"] != 0
        g = problem["design"].T @ (problem["design"] @ problem["start"] - problem["target"])
        # the start is rounded once and scaled by a power of two: a few eps of |A| |y|
        size = np.linalg.norm(problem["design"], 2) * np.linalg.norm(problem["target"])
        assert np.linalg.norm(g[support]) <= 1e-13 * size
        assert int(support.sum()) == problem["keep"]
    for problem in cases("iht", "OneSample"):
        assert problem["design"].shape[0] == 1
        assert abs(problem["design"]).max() <= 4.5 * abs(problem["design"]).min() > 0  # 3 e^0.4
    for problem in cases("iht", "DuplicateColumn"):
        unit = problem["design"] / np.linalg.norm(problem["design"], axis=0)
        assert np.triu(abs(unit.T @ unit), 1).max() > 1 - 1e-14
    for problem in cases("iht", "PlantedSupport"):
        A, y, keep = problem["design"], problem["target"], problem["keep"]
        if A.shape[0] >= 2 * A.shape[1]:
            signal = np.linalg.pinv(A) @ y
            assert np.sum(abs(signal) > 1e-10 * abs(signal).max()) == keep
    for flag, kept in (("K0", lambda d: d), ("K1", lambda d: d - 1), ("KAll", lambda d: 0)):
        for problem in cases("htp", flag):
            assert problem["keep"] == kept(len(problem["start"]))


@pytest.mark.parametrize("name", NAMES)
def test_conditions_let_plain_steps_arrive(name):
    """1 / L must do: at most 1,500 of them to a gradient of 1e-8."""
    for number in range(40):
        problem = make_case(testing.contracts[name], number, 2, "float64", {}).problem
        if testing.contracts[name].view(problem, {}).expects != "answer":
            continue
        answer = rp.iht(
            rp.LeastSquares(problem["design"], problem["target"]),
            problem["keep"],
            problem["start"],
            "lipschitz",
            1500,
            1e-8,
        )
        assert answer.trace[-1].reason == "converged"


# parts


@pytest.mark.parametrize("slack", [0.0, 0.3])
def test_choices_are_all_that_a_slack_leaves(slack):
    """Against all masks: one is admitted when no entry outside exceeds one inside by more than the slack."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scores, keep = rng.choice([0.0, 1.0, 1.2, 2.0, 3.0], size=7), int(rng.integers(1, 7))
        admitted = set()
        for S in combinations(range(7), keep):
            outside = [i for i in range(7) if i not in S]
            if max(scores[outside], default=0) <= min(scores[list(S)]) + slack:
                admitted.add(S)
        found = {
            tuple(np.flatnonzero(mask)) for mask in recovery_build.choices(scores, keep, slack, limit=1000)
        }
        assert admitted <= found
        if slack == 0:
            assert admitted == found
    assert recovery_build.choices(np.ones(20), 10, 0.0) == []
    assert (
        len(recovery_build.choices(np.ones(4), 0, 0.0))
        == len(recovery_build.choices(np.ones(4), 4, 0.0))
        == 1
    )


def test_embedding_only_adds_zeros():
    problem = call(0, samples=20, columns=8, keep=2)
    grown = recovery_rules.embedded(testing.contracts["iht"], problem, np.random.default_rng(0))
    A = grown["design"]
    rows, columns = A.any(axis=1), A.any(axis=0)
    assert np.array_equal(A[np.ix_(rows, columns)], problem["design"])
    assert np.array_equal(grown["target"][rows], problem["target"])
    assert not grown["target"][~rows].any()
    assert A.shape in recovery_build.SHAPES


@pytest.mark.parametrize("transform", recovery_rules.TRANSFORMS, ids=lambda transform: transform.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_transforms_keep_a_case_answerable(name, transform):
    contract, made = testing.contracts[name], 0
    for number in range(60):
        problem = make_case(contract, number, 1, "float32", {}).problem
        if contract.view(problem, {}).expects != "answer":
            continue
        moved = transform(contract, problem, np.random.default_rng(number))
        if moved is not None:
            assert contract.view(moved, {}).expects == "answer"
            assert {k: np.asarray(v).dtype for k, v in moved.items()} == {
                k: np.asarray(v).dtype for k, v in problem.items()
            }
            made += 1
    assert made >= 10


# answers made by hand


@pytest.mark.parametrize("name", ["iht", "htp"])
def test_a_wrong_support_and_a_gradient(name):
    problem = call(1, noise=0.0)
    signal = np.linalg.pinv(problem["design"]) @ problem["target"]
    problem["design"] = 3.0 * np.linalg.qr(problem["design"])[0] + 0.02  # L is about that of every column
    problem["target"] = problem["design"] @ signal
    planted = np.sort(np.argsort(abs(signal))[-4:])
    best = refit(problem, planted)
    assert failed(testing.verify(name, problem, best)) == []
    lost, other = planted[0], np.setdiff1d(np.arange(16), planted)[0]
    verdict = testing.verify(name, problem, refit(problem, [*planted[1:], other]))
    assert failed(verdict) == ["settled"]
    assert f"weight {lost} is 0 with gradient" in str(verdict)
    verdict = testing.verify(name, problem, refit(problem, planted[1:]))
    assert failed(verdict) == ["settled"]
    assert "only 3 of 4 weights are used" in str(verdict)
    verdict = testing.verify(name, problem, 1.01 * best)
    assert failed(verdict) == ["stationary"]
    assert "of |A^T y|" in str(verdict)


@pytest.mark.parametrize("name", ["iht", "htp"])
def test_a_point_above_its_start_is_flagged(name):
    """Unit columns with inner products of 0.6: each single column is stationary for 4 L."""
    gram = np.array([[1.0, 0.6], [0.6, 1.0]])
    A = np.linalg.cholesky(gram).T
    problem = {"design": A, "target": A @ np.array([1.0, 0.9]), "keep": 1, "start": np.array([1.54, 0.0])}
    for index, verdict in ((0, []), (1, ["no-worse"])):
        w = np.zeros(2)
        w[index] = (gram @ np.array([1.0, 0.9]))[index]
        assert failed(testing.verify(name, problem, w)) == verdict
        if index:
            assert failed(testing.verify(name, {**problem, "start": np.zeros(2)}, w)) == []


@pytest.mark.parametrize("name", ["iht", "htp"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_of_a_hundred_bounds_is_flagged(name, dtype):
    contract, rng, tried = testing.contracts[name], np.random.default_rng(0), 0
    for number in range(70):
        problem = make_case(contract, number, 0, dtype, {}).problem
        view = contract.view(problem, {})
        if view.expects != "answer" or not 0 < view.keep < view.start.size or not view.target.any():
            continue
        found = getattr(rp, name)(
            rp.LeastSquares(problem["design"], problem["target"]), view.keep, problem["start"]
        )
        w = found.weight.astype(float)
        at = np.flatnonzero((w != 0) & view.living)
        if len(at) == 0:
            continue
        move = rng.normal(size=len(at))
        moved = w.copy()
        gram = view.design[:, at].T @ view.design[:, at]
        moved[at] += 150 * view.allowed(w) * move / np.linalg.norm(gram @ move)
        assert "stationary" in failed(testing.verify(name, problem, moved.astype(dtype)))
        tried += 1
    assert tried >= 25


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_cosamp_answer_off_by_a_hundred_bounds_is_flagged(dtype):
    contract, rng, tried = testing.contracts["cosamp"], np.random.default_rng(0), 0
    for number in range(100):
        problem = make_case(contract, number, 0, dtype, {}).problem
        view = contract.view(problem, {})
        if view.expects != "answer" or view.keep == 0 or not view.target.any() or not view.path.whole:
            continue
        points = [point for point in view.path.points.values() if point.right]
        point = points[rng.integers(len(points))]
        bound = point.error + view.rounding * np.linalg.norm(point.w)
        move = np.where(point.w != 0, rng.normal(size=point.w.size), 0)
        if not move.any() or not 100 * bound < 0.1 * np.linalg.norm(point.w):
            continue
        w = (point.w + 150 * bound * move / np.linalg.norm(move)).astype(dtype)
        near = min(np.linalg.norm(w - other.w) for other in points)
        if near < 100 * bound:  # it came near another right point
            continue
        verdict = testing.verify("cosamp", problem, w)
        assert "follows" in failed(verdict)
        assert failed(testing.verify("cosamp", problem, point.w.astype(dtype))) == []
        tried += 1
    assert tried >= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_pruned_answer_and_what_it_reports(name):
    problem = call(4)
    answer = getattr(rp, name)(rp.LeastSquares(problem["design"], problem["target"]), 4)
    assert failed(testing.verify(name, problem, answer)) == []
    verdict = testing.verify(name, problem, {"w": answer.weight, "objective": 2 * answer.objective})
    assert failed(verdict) == ["objective"]
    assert "(2 times as large)" in str(verdict)
    wide = answer.mask | (np.arange(16) == np.flatnonzero(~answer.mask)[0])
    assert "count" in failed(testing.verify(name, problem, {"w": answer.weight, "mask": wide}))
    narrow = answer.mask & (np.arange(16) != np.flatnonzero(answer.mask)[0])
    assert "zeros" in failed(testing.verify(name, problem, {"w": answer.weight, "mask": narrow}))
    dense = np.where(answer.mask, answer.weight, 1e-9)
    verdict = testing.verify(name, problem, dense)
    assert failed(verdict) == ["count"]
    assert "16 weights are not 0, some tiny; keep is 4" in str(verdict)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_kept_and_nothing_to_find(name):
    problem = {**call(5), "keep": 0}
    assert failed(testing.verify(name, problem, np.zeros(16))) == []
    assert failed(testing.verify(name, problem, np.eye(16)[3])) == ["count"]
    problem = {**call(5), "target": np.zeros(40)}
    assert failed(testing.verify(name, problem, np.zeros(16))) == []
    assert failed(testing.verify(name, problem, np.eye(16)[3])) != []


@pytest.mark.parametrize(
    ("name", "free"), [("iht", "answer"), ("htp", "free"), ("cosamp", "free")], ids=["iht", "htp", "cosamp"]
)
def test_solves_that_have_no_one_answer_leave_it_open(name, free):
    doubled = call(6)
    doubled["design"][:, 3] = -2 * doubled["design"][:, 11]
    few = call(6, samples=3)
    dead = call(6, columns=12)
    dead["design"][:, :6] = 0.0
    dead["start"][2] = 1.0
    view = testing.contracts[name].view
    for problem in (doubled, few, dead):
        assert view(problem, {}).expects == free
        verdict = testing.verify(name, problem, np.linalg.LinAlgError("dependent columns"))
        assert verdict.outcome == ("pass" if free == "free" else "fail")
    assert view(call(6), {}).expects == "answer"


# the path of CoSaMP


def walk(problem, iterations=60):
    """CoSaMP from its text; points, and the merged sets."""
    A, y, keep, w = (problem[key] for key in ("design", "target", "keep", "start"))
    w = np.where(top(w, keep), w, 0)
    points, sets = [w], []
    for _ in range(iterations):
        merged = top(A.T @ (A @ w - y), min(2 * keep, w.size)) | (w != 0)
        b = refit(problem, merged)
        w = np.where(top(b, keep), b, 0)
        points.append(w)
        sets.append(merged.tobytes())
    return points, sets


def test_the_path_passes_where_cosamp_passes():
    cycles = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        problem = call(seed, 24, 36, 4, noise=1.5, start=rng.normal(size=36))
        view = CosampView(problem, {})
        points, sets = walk(problem)
        assert view.path.whole
        assert len(view.path.points) == len(set(sets)) + 1
        for point in points:
            found = min(view.path.points.values(), key=lambda other: np.linalg.norm(other.w - point))
            assert np.linalg.norm(found.w - point) <= found.error
        cycles += sets[-1] != sets[-2]
        for last in (points[-1], min(points, key=view.objective)):
            assert testing.verify("cosamp", problem, last).outcome == "pass"
        best = min(map(view.objective, points))
        wrong = [w for w in points[:3] if view.objective(w) > 1.5 * best]
        if len(set(sets)) > 6 and wrong:
            value = [view.objective(w) for w in points]
            early = [i for i, w in enumerate(points[:3]) if value[i + 1] < value[i] > 1.5 * best]
            supports = [w != 0 for w in points]
            early = [i for i in early if i == 0 or not np.array_equal(supports[i], supports[i - 1])]
            for i in early:
                verdict = testing.verify("cosamp", problem, points[i])
                assert failed(verdict) == ["follows"]
                assert "goes on to a better point" in str(verdict)
    assert cycles >= 1


def test_every_choice_among_equals_is_followed():
    """Six equal entries of an orthonormal design, two to keep: any two are right, one and a half are not."""
    A = np.eye(8)[[3, 1, 7, 0, 2, 6, 5, 4]]
    y = A @ np.array([1.0, -1.0, 1.0, 0.0, 1.0, -1.0, 1.0, 0.0])
    problem = {"design": A, "target": y, "keep": 2, "start": np.zeros(8)}
    signal = A.T @ y
    for pair in combinations([0, 1, 2, 4, 5, 6], 2):
        w = np.zeros(8)
        w[list(pair)] = signal[list(pair)]
        assert testing.verify("cosamp", problem, w).outcome == "pass"
    w = np.zeros(8)
    w[[0, 1]] = signal[[0, 1]] / [1, 2]
    assert testing.verify("cosamp", problem, w).outcome != "pass"
    w[[0, 1]] = 1.0, 0.0
    w[3] = 1.0
    assert testing.verify("cosamp", problem, w).outcome != "pass"


def test_too_many_equals_are_undecided_and_a_point_that_stands_passes():
    """Twenty equal entries, five to keep: more sets than are followed."""
    d = 24
    A, y = np.eye(d), np.append(np.ones(20), np.zeros(4))
    problem = {"design": A + 0.3 * np.ones((d, d)) / d, "target": y, "keep": 5, "start": np.zeros(d)}
    view = CosampView(problem, {})
    assert not view.path.whole
    points, _ = walk(problem)
    assert testing.verify("cosamp", problem, points[-1]).outcome == "pass"
    w = np.where(np.arange(d) < 5, 0.7, 0.0)
    assert testing.verify("cosamp", problem, w).outcome == "undecided"


def test_inside_the_theory_the_signal_is_asked_for():
    rng = np.random.default_rng(8)
    A = np.linalg.qr(rng.normal(size=(30, 12)))[0] * 4.0
    signal = np.zeros(12)
    signal[[2, 5, 9]] = [1.0, -0.5, 2.0]
    for noise in (0.0, 0.02):
        problem = {
            "design": A,
            "target": A @ signal + noise * rng.normal(size=30),
            "keep": 3,
            "start": np.arange(12.0),
        }
        right = refit(problem, [2, 5, 9])
        left = np.linalg.norm(A @ right - problem["target"]) / 4.0
        far = right + (NOISE * left + 0.01) * np.eye(12)[2]
        verdict = testing.verify("cosamp", problem, far)
        assert failed(verdict) == ["recovers", "follows"]
        assert "the signal has" in str(verdict)
        points, _ = walk(problem)
        assert testing.verify("cosamp", problem, points[-1]).outcome == "pass"


def test_vague_zeros_end_the_path_where_the_gradient_is_zero():
    """Two planted weights where four may stay: rounding fills the rest, and any filling is right."""
    problem = call(9, keep=2, noise=0.0)
    problem["keep"] = 4
    view = CosampView(problem, {})
    ends = [point for point in view.path.points.values() if not point.after]
    assert len(ends) == 1
    assert ends[0].vague
    planted = refit(problem, top(np.linalg.pinv(problem["design"]) @ problem["target"], 2))
    assert testing.verify("cosamp", problem, planted).outcome == "pass"
    filled = planted + 1e-15 * (np.arange(16) == np.flatnonzero(planted == 0)[0])
    assert testing.verify("cosamp", problem, filled).outcome == "pass"


def test_points_return_in_a_cycle_only():
    view = CosampView(call(2), {})
    points = {name: recovery_path.Point(np.zeros(16), 0.0, 0.0) for name in "abcd"}
    for name, after in (("a", "b"), ("b", "c"), ("c", "b"), ("d", "d")):
        points[name].after.append(after)
    assert [recovery_path._returns(points, name) for name in "abcd"] == [False, True, True, True]
    assert view.path.whole
