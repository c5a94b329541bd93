"""The contracts of the Fisher matrix: what is said of a wrong answer, exact inverses, bounds, claims, and cases."""

from fractions import Fraction

import numpy as np
import pytest

import refprune as rp
from refprune import testing
from refprune.testing import reference
from refprune.testing.bounds import condition_limit
from refprune.testing.cases import make_case
from refprune.testing.contracts.fisher_parts import Fisher

NAMES = ("fisher-inverse", "woodfisher")


def broken(verdict):
    """(check, explanation) of the first failure, or None."""
    return next(((c.name, c.explanation) for c in verdict.checks if c.outcome == "fail"), None)


def run(implementation, name, **options):
    """A run in this process, of one case for each flag unless said otherwise."""
    return testing.run(implementation, name, **{"examples": 1, "isolate": False, "shrink": False, **options})


def cases(name, dtype="float64", numbers=60, flags=None):
    """(flag or None, problem, view) of cases that must be answered, of these `flags` only where they are given."""
    contract = testing.contracts[name]
    for number in range(numbers):
        case = make_case(contract, number, 0, dtype, {})
        view = contract.view(case.problem, {})
        if view.expects == "answer" and (flags is None or set(case.flags) & set(flags)):
            yield (case.flags or (None,))[0], case.problem, view


def wide(problem):
    """The problem with its arrays in float64."""
    return {
        name: value.astype(float) if isinstance(value, np.ndarray) else value
        for name, value in problem.items()
    }


# What is said, by hand


def inverse_problem(**changes):
    """F is diag(4.5, 0.5) with one gradient; its inverse has the entries 2 / 9 and 2."""
    return {"gradients": np.array([[2.0, 0.0]]), "damp": 0.5, **changes}


@pytest.mark.parametrize(
    ("answer", "check", "words"),
    [
        ([[4 / 9, 0.0], [0.0, 4.0]], "equal", "(2 times as large)"),
        ([[2 / 9, 0.0], [0.0, 1.0]], "equal", "entry (1, 1) is 1; F^-1 has 2 (0.5 times as large)"),
        ([[2 / 9, 1e-3], [0.0, 2.0]], "equal", "entry (0, 1) is 0.001; F^-1 has 0"),
        ([[2 / 9, np.nan], [0.0, 2.0]], "finite", "1 of 4 entries are NaN or Inf"),
        ([[2 / 9]], "form", "shape (1, 1); (2, 2) is needed"),
    ],
)
def test_a_wrong_inverse_is_told(answer, check, words):
    name, text = broken(testing.verify("fisher-inverse", inverse_problem(), np.array(answer)))
    assert name == check
    assert words in text
    assert testing.verify("fisher-inverse", inverse_problem(), np.diag([2 / 9, 2.0])).outcome == "pass"


def pruning_problem(**changes):
    """The first two weights do the same; C is [[0.75, -0.25], [-0.25, 0.75]] / 0.75 for them and 1 / 2.5."""
    gradients = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    return {
        "weight": np.array([1.0, 1.25, 1.0]),
        "gradients": gradients,
        "sparsity": 1 / 3,
        "damp": 0.5,
        **changes,
    }


@pytest.mark.parametrize(
    ("answer", "mask", "check", "words"),
    [
        ([0.0, 1.25, 1.0], [0, 1, 1], "stationary", "weight 1 is 1.25; on this support 1.75 is right"),
        (
            [1.625, 0.0, 1.0],
            [1, 0, 1],
            "ranked",
            "entry 1 with |w| / sqrt(C_pp) = 1.08253 is pruned, entry 0 with 0.866025 is kept",
        ),
        ([1.0, 1.25, 0.0], [1, 1, 0], "ranked", "entry 2 with |w| / sqrt(C_pp) = 1.58114 is pruned"),
        ([0.0, 1.75, 0.0], [0, 1, 0], "count", "1 weights are kept; keep is 2"),
        ([1e-9, 1.75, 1.0], [0, 1, 1], "zeros", "exactly 0.0 is needed"),
        ([0.0, 1.75, 1.0], [1, 1, 0], "zeros", "exactly 0.0 is needed"),
        ([np.nan, 1.75, 1.0], [0, 1, 1], "finite", "every pruned entry is NaN"),
    ],
)
def test_a_wrong_pruning_is_told(answer, mask, check, words):
    verdict = testing.verify("woodfisher", pruning_problem(), (np.array(answer), np.array(mask, bool)))
    name, text = broken(verdict)
    assert name == check
    assert words in text
    right = (np.array([0.0, 1.75, 1.0]), np.array([False, True, True]))
    assert testing.verify("woodfisher", pruning_problem(), right).outcome == "pass"
    assert testing.verify("woodfisher", pruning_problem(), right[0]).outcome == "pass"


def test_any_choice_among_equals_passes():
    call = pruning_problem(weight=np.ones(3))
    for answer in ([0.0, 1.5, 1.0], [1.5, 0.0, 1.0]):
        assert testing.verify("woodfisher", call, np.array(answer)).outcome == "pass"
    assert broken(testing.verify("woodfisher", call, np.array([1.0, 1.0, 0.0])))[0] == "ranked"


def test_a_reported_objective_is_that_of_the_model():
    """By hand: delta is (-1, 0.5, 0), F delta (-0.75, 0, 0), the model 3 / 8."""
    call = pruning_problem(weight=np.ones(3))
    answer = {"weight": np.array([0.0, 1.5, 1.0]), "objective": 0.375}
    assert testing.verify("woodfisher", call, answer).outcome == "pass"
    for wrong in (0.75, 0.375 - 0.3125, 0.3751):  # without the half, without damp, and nearly right
        assert broken(testing.verify("woodfisher", call, {**answer, "objective": wrong}))[0] == "objective"


def test_of_zeros_those_that_the_mask_says_are_pruned():
    call = pruning_problem(weight=np.array([0.0, 0.0, 1.0]))
    assert testing.verify("woodfisher", call, call["weight"].copy()).outcome == "pass"
    for mask in ([False, True, True], [True, False, True]):
        assert testing.verify("woodfisher", call, (call["weight"].copy(), np.array(mask))).outcome == "pass"
    found = broken(testing.verify("woodfisher", call, (call["weight"].copy(), call["weight"] != 0)))
    assert found == ("count", "1 weights are kept; keep is 2")


# The view's own inverse, exactly


def exact_inverse(gradients, damp):
    """F^-1 in rationals, by elimination."""
    d = gradients.shape[1]
    G = [[Fraction(float(x)) for x in row] for row in gradients]
    F = [
        [sum(g[i] * g[j] for g in G) / len(G) + (Fraction(damp) if i == j else 0) for j in range(d)]
        + [Fraction(int(i == j)) for j in range(d)]
        for i in range(d)
    ]
    for k in range(d):
        F[k] = [x / F[k][k] for x in F[k]]
        for i in range(d):
            if i != k:
                F[i] = [x - F[i][k] * y for x, y in zip(F[i], F[k], strict=True)]
    return np.array([[float(x) for x in row[d:]] for row in F])


@pytest.mark.parametrize("kappa", [3.0, 1e4, 5e7])
@pytest.mark.parametrize("shape", [(1, 4), (3, 6), (6, 6), (9, 4)])
def test_the_inverse_that_judges_is_near_the_exact_one(shape, kappa):
    """By less than a tenth of the sharpest bound, 10 eps kappa sqrt(C_ii C_jj)."""
    rng = np.random.default_rng([*shape, int(kappa)])
    G = rng.normal(size=shape) * 4.0 ** rng.integers(-2, 3, size=shape[1]) + 0.3
    fisher = Fisher(G, float(np.linalg.norm(G, 2) ** 2 / shape[0] / kappa))
    right = exact_inverse(G, fisher.damp)
    assert fisher.kappa == pytest.approx(kappa + 1, rel=1e-6)
    bound = np.finfo(float).eps * fisher.kappa * np.sqrt(np.outer(np.diagonal(right), np.diagonal(right)))
    assert (np.abs(fisher.inverse - right) <= bound + 4 * np.finfo(float).eps * np.abs(right)).all()
    np.testing.assert_allclose(
        fisher.roots**2, np.diagonal(right), rtol=np.finfo(float).eps * (fisher.kappa + 9)
    )


# Bounds


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_entry_off_by_a_hundred_bounds_is_flagged(dtype):
    rng, tried = np.random.default_rng(1), 0
    for _, problem, view in cases("fisher-inverse", dtype):
        answer, bound = view.fisher.inverse.copy(), view.allowed(np.dtype(dtype))
        assert broken(testing.verify("fisher-inverse", problem, answer.astype(dtype))) is None
        at = tuple(rng.integers(len(answer), size=2))
        answer[at] += 100 * bound[at] * rng.choice([-1, 1])
        assert broken(testing.verify("fisher-inverse", problem, answer.astype(dtype)))[0] == "equal"
        tried += 1
    assert tried >= 30


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_weight_off_by_a_hundred_bounds_is_flagged(dtype):
    rng, contract, tried = np.random.default_rng(1), testing.contracts["woodfisher"], 0
    for _, problem, view in cases("woodfisher", dtype):
        answer, mask = contract.reference(*wide(problem).values())
        right, slack = view.right(mask)
        bounds = view.allowed(right, slack)
        at = np.flatnonzero(mask & (100 * bounds < np.abs(right)))
        if at.size:
            at = rng.choice(at)
            answer[at] += 100 * bounds[at] * np.sign(right[at])
            found = broken(testing.verify("woodfisher", problem, (answer.astype(dtype), mask)))
            assert found[0] == "stationary"
            tried += 1
    assert tried >= 25


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_swap_of_two_weights_further_apart_than_the_bound_is_flagged(dtype):
    """The dearest pruned weight for the cheapest kept one, with the right values on that support."""
    contract, tried = testing.contracts["woodfisher"], 0
    for _, problem, view in cases("woodfisher", dtype):
        _, mask = contract.reference(*wide(problem).values())
        if mask.all() or not mask.any():
            continue
        goes = np.flatnonzero(mask)[np.argmax(view.scores[mask])]
        comes = np.flatnonzero(~mask)[np.argmin(view.scores[~mask])]
        if view.scores[goes] - view.scores[comes] > 2 * (view.slack[goes] + view.slack[comes] + view.floor):
            mask[goes], mask[comes] = False, True
            answer = view.right(mask)[0].astype(dtype)
            assert broken(testing.verify("woodfisher", problem, (answer, mask)))[0] == "ranked"
            tried += 1
    assert tried >= 20


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_near_ties_of_the_cases_are_wider_than_the_bound(dtype):
    found = 0
    for _, _, view in cases("woodfisher", dtype, 240, ["NearTie"]):
        low, high = np.argsort(view.scores)[:2]
        gap = view.scores[high] - view.scores[low]
        assert view.slack[low] + view.slack[high] + view.floor < gap < 0.1 * view.scores[high]
        found += 1
    assert found >= 6


# Claims


def test_the_claim_update_is_read():
    def by_sum(weight, gradients, sparsity, damp):
        return rp.woodfisher(weight, gradients, rp.Unstructured(sparsity), damp, update="sum")

    for dtype in ("float64", "float32"):
        claims = {"update": "sum", "validates": True}
        assert run(by_sum, "woodfisher", dtype=dtype, claims=claims).outcome == "pass"
    report = run(by_sum, "woodfisher")
    assert (report.outcome, report.looks_like) == ("fail", ["sum-update"])
    joint = run(reference.woodfisher, "woodfisher", claims={"update": "sum"})
    assert joint.outcome == "fail"
    assert {record.check for record in joint.failures} <= {"stationary", "invariant"}


@pytest.mark.parametrize("rule", ["strict", "ceil", "floor"])
def test_the_claim_count_rule_is_read(rule):
    def counted(weight, gradients, sparsity, damp):
        return rp.woodfisher(weight, gradients, rp.Unstructured(sparsity, count_rule=rule), damp)

    assert run(counted, "woodfisher", claims={"count_rule": rule}).outcome == "pass"
    assert {record.check for record in run(counted, "woodfisher").failures} >= {"count"}


# Singular, and too ill-conditioned


def test_without_an_inverse_an_error_is_right():
    call = inverse_problem(damp=0.0)
    assert "singular to rounding" in testing.contracts["fisher-inverse"].view(call, {}).reason
    for answer in (np.linalg.LinAlgError("singular"), np.full((2, 2), np.nan)):
        assert testing.verify("fisher-inverse", call, answer).outcome == "pass"
    pseudo = np.diag([0.25, 0.0])
    name, text = broken(testing.verify("fisher-inverse", call, pseudo))
    assert (name, "an error is right" in text) == ("equal", True)


def test_without_damp_many_gradients_have_an_inverse():
    rng = np.random.default_rng(5)
    G = rng.normal(size=(30, 4)) + 0.4
    call = {"gradients": G, "damp": 0.0}
    assert testing.verify("fisher-inverse", call, np.linalg.inv(G.T @ G / 30)).outcome == "pass"
    assert broken(testing.verify("fisher-inverse", call, np.linalg.inv(G.T @ G / 29)))[0] == "equal"
    call |= {"weight": rng.normal(size=4), "sparsity": 0.5}
    call = {name: call[name] for name in testing.contracts["woodfisher"].arguments}
    assert testing.verify("woodfisher", call, reference.woodfisher(**call)).outcome == "pass"


def test_a_singular_matrix_may_be_answered_with_stationary_weights():
    call = pruning_problem(damp=0.0)
    for answer in (np.linalg.LinAlgError("singular"), np.full(3, np.nan), np.array([0.0, 2.25, 1.0])):
        assert testing.verify("woodfisher", call, answer).outcome == "pass"
    name, text = broken(testing.verify("woodfisher", call, np.array([0.0, 2.0, 1.0])))
    assert (name, "singular to rounding" in text) == ("stationary", True)
    assert broken(testing.verify("woodfisher", call, np.ones(3)))[0] == "count"


def test_past_the_limit_of_conditions_nothing_is_decided():
    G = np.array([[3.0, 1.0], [1.0, 2.0]])
    call = {"gradients": G, "damp": 1e-9}
    view = testing.contracts["fisher-inverse"].view(call, {})
    assert view.fisher.kappa > condition_limit(view.eps)
    assert testing.verify("fisher-inverse", call, np.linalg.inv(view.fisher.matrix)).outcome == "undecided"
    call = {"weight": np.array([1.0, 3.0]), "gradients": G, "sparsity": 0.5, "damp": 1e-9}
    assert testing.verify("woodfisher", call, np.array([0.0, 3.5])).outcome == "undecided"
    assert testing.verify("woodfisher", call, np.ones(2)).outcome == "fail"


@pytest.mark.parametrize("damp", [np.nan, np.inf, -0.5, "1", True])
def test_a_bad_damp_is_bad_input(damp):
    for name, call in zip(NAMES, (inverse_problem(damp=damp), pruning_problem(damp=damp)), strict=True):
        answer = np.eye(2) if name == "fisher-inverse" else np.zeros(3)
        verdict = testing.verify(name, call, answer, claims={"validates": True})
        assert broken(verdict)[0] == "refuses"
        with pytest.raises((ValueError, TypeError)):
            getattr(reference, name.replace("-", "_"))(**call)


# Cases and transforms


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_flags_are_what_they_say(name, dtype):
    contract = testing.contracts[name]
    for number in range(90):
        case = make_case(contract, number, 5, dtype, {})
        flag, view = (case.flags or (None,))[0], contract.view(case.problem, {})
        if flag in ("NaN", "Inf", "Empty", "WrongShape", "WrongCount"):
            assert view.expects == "error", (flag, view.reason)
            continue
        assert view.expects == ("free" if flag == "Singular" else "answer"), (flag, view.reason)
        G = case.problem["gradients"].astype(float)
        samples, d = G.shape
        assert view.fisher.kappa <= condition_limit(view.eps) or flag == "Singular"
        if flag == "OneSample":
            assert samples == 1
        elif flag == "OppositeGradients":
            assert np.linalg.norm(G.mean(axis=0)) <= np.linalg.norm(G) / samples
        elif flag == "ZeroGradient":
            assert (G == 0).all(axis=1).any()
        elif flag == "ZeroResidual":
            assert not G.any()
        elif flag == "ShortLoader":
            assert all(samples % size and samples > size for size in (2, 8, 32, 50, 64, 100, 128, 256, 1000))
        elif flag == "Correlated":
            assert np.linalg.svd(G, compute_uv=False)[0] ** 2 > 0.6 * (G**2).sum()
        elif flag == "DeadInput":
            assert (G == 0).all(axis=0).any()
        elif flag in ("DuplicateColumn", "CorrelatedPair"):
            assert len(np.unique(G, axis=1).T) < d
        elif flag == "Square":
            assert samples == d
        if flag == "Tie" and d > 4:
            assert len(np.unique(np.round(view.scores / view.scores.max(), 9))) < d


def test_ill_conditioned_cases_reach_high_conditions():
    for dtype, least in (("float64", 1e5), ("float32", 100.0)):
        kappas = [view.fisher.kappa for _, _, view in cases("fisher-inverse", dtype, 400, ["IllConditioned"])]
        assert max(kappas) > least


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conditions_come_of_the_gradients_too(dtype):
    """Half of the time: their squares, where damp is above rounding, span most of what F does."""
    found = []
    for _, problem, view in cases("fisher-inverse", dtype, 400, ["IllConditioned"]):
        squares = np.linalg.svd(problem["gradients"].astype(float), compute_uv=False) ** 2
        found.append(squares.size > 3 and squares.max() > condition_limit(view.eps) ** 0.5 * squares.min())
    assert 3 <= sum(found) < len(found)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_cut_is_nearly_a_tie_whatever_the_flag(dtype):
    """So a statistic that is slightly wrong takes another weight, and still nothing is left to rounding."""
    near = set()
    for flag, _, view in cases("woodfisher", dtype, 200):
        order = np.sort(view.scores)
        if flag is not None and 0 < view.keep < order.size and order[-view.keep - 1] > 0:
            share = order[-view.keep] / order[-view.keep - 1] - 1
            low, high = np.argsort(view.scores)[-view.keep - 1 :][:2]
            rounding = view.slack[low] + view.slack[high] + view.floor
            if order[-view.keep] - order[-view.keep - 1] > rounding and share < 0.01:
                near.add(flag)
    assert near >= {"OneSample", "ZeroGradient", "OppositeGradients", "DeadInput", "Correlated", "LossScale"}


def test_what_stays_of_many_that_do_the_same_may_change_its_sign():
    contract, flipped, dead = testing.contracts["woodfisher"], 0, 0
    for flag, problem, _ in cases("woodfisher", numbers=400, flags=["Correlated", "DeadInput"]):
        answer, mask = contract.reference(*problem.values())
        flipped += flag == "Correlated" and bool((answer * problem["weight"] < 0).any())
        without = ~problem["gradients"].any(axis=0)  # these cost as much as others: some stay, some go
        dead += flag == "DeadInput" and bool(mask[without].any() and not mask[without].all())
    assert flipped >= 2
    assert dead >= 2


@pytest.mark.parametrize("name", NAMES)
def test_scaling_scales_the_answer(name):
    contract = testing.contracts[name]
    scale = next(t for t in contract.transforms if t.__name__ == "scale")
    for _, problem, view in cases(name, numbers=20):
        moved = scale(contract, problem, np.random.default_rng(0))
        before, after = (contract.reference(*p.values()) for p in (problem, moved))
        if name == "fisher-inverse":
            factor = problem["damp"] / moved["damp"]
            assert (np.abs(after / factor - before) <= 2 * view.allowed(before.dtype)).all()
        else:
            at = np.argmax(np.abs(problem["weight"]))
            factor = moved["weight"][at] / problem["weight"][at]
            np.testing.assert_array_equal(before[1], after[1])
            right, slack = view.right(before[1])
            assert (np.abs(after[0] / factor - before[0]) <= 2 * view.allowed(right, slack)).all()


@pytest.mark.parametrize("name", NAMES)
def test_other_calls_differ_from_the_first(name):
    """A transform that changes nothing would see no state; what it makes must be a call that is answered."""
    contract = testing.contracts[name]
    for _, problem, _ in cases(name, numbers=8):
        for transform in contract.transforms:
            moved = transform(contract, problem, np.random.default_rng(1))
            if moved is not None:
                assert set(moved) == set(problem)
                assert contract.view(moved, {}).expects == "answer"


# Wrong implementations that are on no list


def _inverse(change):
    def call(gradients, damp):
        reference.fisher_inverse(gradients, damp)
        return change(gradients, damp).astype(gradients.dtype)

    return call


def _f(G, damp, N=None):
    return np.linalg.inv(G.T @ G / (N or len(G)) + damp * np.eye(G.shape[1]))


def _pruner(statistic=None, damp_of_update=1.0, drop=0, exponent=0.5):
    def call(weight, gradients, sparsity, damp):
        reference.woodfisher(weight, gradients, sparsity, damp)
        C = (
            _f(gradients[drop:], damp, len(gradients) - drop)
            if len(gradients) > drop
            else _f(gradients, damp)
        )
        scores = abs(weight) / (C.diagonal() ** exponent if statistic is None else statistic(C))
        gone = np.argsort(scores, kind="stable")[: round(Fraction(repr(sparsity)) * len(weight))]
        C = _f(gradients, damp * damp_of_update)
        out = weight - C[:, gone] @ np.linalg.solve(C[np.ix_(gone, gone)], weight[gone])
        out[gone] = 0
        return out.astype(weight.dtype), ~np.isin(np.arange(len(weight)), gone)

    return call


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("fisher-inverse", _inverse(lambda G, damp: _f(G, 1.001 * damp))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(G[: len(G) - len(G) % 128 or None], damp))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(G, damp) if G.any() else np.eye(G.shape[1]))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(G[:1000], damp))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(abs(G), damp))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(G[1:] if len(G) > 1 else 2 * G, damp))),
        ("fisher-inverse", _inverse(lambda G, damp: np.tril(_f(G, damp)))),
        ("fisher-inverse", _inverse(lambda G, damp: _f(G - G[:1] / 64, damp))),
        ("woodfisher", _pruner(statistic=lambda C: np.linalg.norm(C, axis=0) ** 0.5)),
        ("woodfisher", _pruner(damp_of_update=1.01)),
        ("woodfisher", _pruner(drop=1)),
        ("woodfisher", _pruner(statistic=lambda C: C.diagonal() ** 0.5 + 1e-4)),
        ("woodfisher", _pruner(exponent=0.3)),
    ],
)  # fmt: skip
def test_wrong_implementations_that_are_on_no_list_fail(name, wrong):
    report = run(wrong, name, only=range(28))
    assert {record.check for record in report.failures} - {"answers", "refuses"}
    assert report.looks_like == []


def test_a_failing_case_is_shrunk_to_a_few_numbers():
    report = run(
        lambda gradients, damp: 1.5 * reference.fisher_inverse(gradients, damp), "fisher-inverse", shrink=True
    )
    assert report.smallest["gradients"].size <= 4


def test_woodbury_by_an_explicit_inverse_passes_up_to_the_limit_of_conditions():
    """It errs by more than 64 eps kappa sqrt(C_ii C_jj), and is a common way."""
    tried, beyond = 0, 0.0
    for _, problem, view in cases("fisher-inverse", numbers=630, flags=["IllConditioned"]):
        G, damp = problem["gradients"] / np.sqrt(len(problem["gradients"])), problem["damp"]
        small = np.linalg.inv(G @ G.T + damp * np.eye(len(G)))
        answer = (np.eye(G.shape[1]) - G.T @ small @ G) / damp
        assert testing.verify("fisher-inverse", problem, answer).outcome == "pass"
        narrow = 64 * view.eps * view.fisher.kappa * np.outer(view.fisher.roots, view.fisher.roots)
        beyond = max(beyond, (np.abs(answer - view.fisher.inverse) / narrow).max())
        tried += 1
    assert tried >= 20
    assert beyond > 1
