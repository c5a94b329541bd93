"""The contracts of SparseGPT: the certificate is sharp and fair, and damping is read as claimed."""

import importlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from right_kernels import Kernels

from refprune import definitions, testing
from refprune.testing import make
from refprune.testing.bounds import SOLVE, condition
from refprune.testing.cases import make_case
from refprune.testing.contracts import sweep_mistakes as slip
from refprune.testing.judge import judge
from refprune.testing.sweep import Sweep, rounding, sweep_limit

SWEEPS = ("sparsegpt", "sparsegpt-nm")
EPS = np.finfo(float).eps


def failed(verdict):
    return [check.name for check in verdict.checks if check.outcome == "fail"]


def layer(seed, rows=3, columns=12, cond=100.0):
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-2, 3, size=columns)
    weight = rng.normal(size=(rows, columns)) + 0.3
    return weight, make.spd(rng, columns, cond) * np.outer(scale, scale)


def problem(seed=0, block_size=5, damp=0.01, sparsity=0.5, **sizes):
    weight, gram = layer(seed, **sizes)
    return {"weight": weight, "gram": gram, "sparsity": sparsity, "block_size": block_size, "damp": damp}


def answer_to(call, contract="sparsegpt"):
    return testing.contracts[contract].reference(*call.values())


def ordinary(contract, dtype, seeds=3):
    """Cases that must be answered, with some kept and some pruned, and their right answers."""
    contract = testing.contracts[contract]
    for seed in range(seeds):
        for number in range(60):
            case = make_case(contract, number, seed, dtype, {})
            view = contract.view(case.problem, {})
            if view.expects == "answer" and view.weight.size < 200:
                wide = {k: v.astype(float) if hasattr(v, "astype") else v for k, v in case.problem.items()}
                weight, mask = contract.reference(*wide.values())
                if mask.any() and not mask.all():
                    yield case.problem, view, weight, mask


def test_the_slips_start_from_the_definition():
    for seed, (columns, block, n, m) in enumerate(
        [(12, 5, 2, 4), (12, 12, 1, 3), (9, 2, 2, 3), (8, 20, 3, 4)]
    ):
        weight, gram = layer(seed, columns=columns)
        gram[2], gram[:, 2] = 0.0, 0.0
        right = testing.contracts["sparsegpt"].reference(weight, gram, 0.4, block, 0.01)
        found = slip.sweep(
            weight, gram, 0.01, slip.by_block(block, lambda size: round(Fraction("0.4") * size))
        )
        assert np.array_equal(found[1], right[1])
        np.testing.assert_allclose(
            found[0], right[0], rtol=1e-10, atol=1e-12
        )  # condition 100: eps cond is 2e-14
        right = definitions.sparsegpt_nm(weight, gram, n, m, 0.01)
        found = slip.sweep(weight, gram, 0.01, slip.by_group(n, m))
        assert np.array_equal(found[1], right[1])
        np.testing.assert_allclose(found[0], right[0], rtol=1e-10, atol=1e-12)


def test_the_judge_sweeps_as_exact_fractions_do():
    rng = np.random.default_rng(5)
    x = rng.integers(-4, 5, size=(9, 5))
    gram, weight = x.T @ x, rng.integers(-8, 9, size=(2, 5))
    mask = np.array([[True, False, True, False, True], [False, True, False, True, True]])
    fractions = (np.vectorize(Fraction, otypes=[object])(a) for a in (weight, gram))
    exact = definitions.sparsegpt_weights(*fractions, mask, Fraction(1, 100)).astype(float)
    damped = gram + np.eye(5) * gram.diagonal().mean() / 100
    sweep = Sweep(weight.astype(float), damped, np.ones(5, bool))
    # the judge's own error: a few eps times the condition of the damped Gram
    np.testing.assert_allclose(
        sweep.run(~mask, 2).weight, exact, rtol=0, atol=8 * EPS * condition(damped) * 8
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contract", SWEEPS)
def test_weights_off_by_a_hundred_bounds_are_flagged(contract, dtype):
    rng, tried = np.random.default_rng(1), 0
    for call, view, weight, mask in ordinary(contract, dtype):
        run = view.run(~mask)
        places = np.argwhere(mask & view.living)
        if not len(places):
            continue
        row, column = places[rng.integers(len(places))]
        bound = SOLVE * max(rounding(view.eps, view.condition), view.store_eps) * run.size[row]
        if not 0 < 100 * bound < run.size[row]:
            continue
        off = weight.copy()
        off[row, column] += 100 * bound / view.sweep.scale[column] * rng.choice([-1, 1])
        checks, _, _ = judge(testing.contracts[contract], call, (off.astype(dtype), mask), {})
        assert [check.name for check in checks if check.outcome == "fail"] == ["swept"]
        tried += 1
    assert tried >= 20


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contract", SWEEPS)
def test_a_lone_wrong_choice_is_never_excused(contract, dtype):
    """One pruned and one kept weight of a block change places; all weights are then those of the sweep."""
    rng, tried = np.random.default_rng(2), 0
    for call, view, _, mask in ordinary(contract, dtype):
        scores = np.abs(view.run(~mask).seen) * view.sweep.root
        bounds = view.sweep.score_bounds(view.run(~mask), view.eps)
        scopes = [scope for scope, count in view.unit_scopes() if 0 < count < scope.sum()]
        if not scopes:
            continue
        scope = scopes[rng.integers(len(scopes))]
        gone, stays = (np.argwhere(scope & part) for part in (~mask, mask))
        low, high = (tuple(places[rng.integers(len(places))]) for places in (gone, stays))
        if scores[high] - scores[low] <= 2 * (bounds[high] + bounds[low]):
            continue
        wrong = mask.copy()
        wrong[low], wrong[high] = True, False
        weight = np.where(wrong, view.run(~wrong).weight, 0.0).astype(dtype)
        checks, _, _ = judge(testing.contracts[contract], call, (weight, wrong), {})
        assert [check.name for check in checks if check.outcome == "fail"] == ["ranked"]
        tried += 1
    assert tried >= 20


def _by_parts(part):
    """The published way: the inverse from one Cholesky factor, and the factor of it."""
    torch = importlib.import_module("torch")
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(part))
    return torch.linalg.cholesky(inverse, upper=True)


def _by_eigenvalues(part):
    values, vectors = np.linalg.eigh(part)
    return np.linalg.cholesky((vectors / values) @ vectors.T).T


def _by_lu(part):
    """An inverse that is not symmetric; the factorisation reads its lower triangle only."""
    return np.linalg.cholesky(np.linalg.inv(part)).T


@pytest.mark.parametrize(
    ("package", "factor"), [("numpy", _by_lu), ("numpy", _by_eigenvalues), ("torch", _by_parts)]
)
@pytest.mark.parametrize("contract", SWEEPS)
def test_factors_by_other_ways_pass(package, factor, contract):
    """The table on the page of fairness has four more."""
    pytest.importorskip(package, reason="the published way needs PyTorch")

    @dataclass(frozen=True)
    class Other(Kernels):
        def _factor(self, h, at):
            upper = self.xp.eye(h.shape[0], dtype=h.dtype)
            if at:
                place = self.xp.asarray(at)
                upper[place[:, None], place] = factor(h[at][:, at])
            return upper

    call = getattr(Other(package), contract.replace("-", "_"))
    dtype = "float64" if package == "numpy" else "float32"
    report = testing.run(call, contract, examples=80, seed=2, dtype=dtype, arrays=package, isolate=False)
    assert report.outcome == "pass", str(report)
    assert all(share is None or share < 0.5 for *_, share in report.summary())


def test_another_choice_among_ties_passes():
    weight, gram = np.array([[1.0, -1.0, 2.0, 1.0]]), np.eye(4)
    call = {"weight": weight, "gram": gram, "sparsity": 0.5, "block_size": 4, "damp": 0.0}
    for gone in ((0, 1), (0, 3), (1, 3)):
        mask = ~np.isin(np.arange(4), gone)[None]
        assert testing.verify("sparsegpt", call, (weight * mask, mask)).outcome == "pass"
    mask = np.array([[False, True, False, True]])
    verdict = testing.verify("sparsegpt", call, (weight * mask, mask))
    assert failed(verdict) == ["ranked"]
    assert "(0, 2) is pruned at a cost of 2, (0, 1) is kept and would cost 0.5" in str(verdict)


def test_zeros_stand_for_a_mask():
    call = problem(1)
    weight, mask = answer_to(call)
    assert testing.verify("sparsegpt", call, weight).outcome == "pass"
    fewer = weight.copy()
    fewer[tuple(np.argwhere(~mask)[0])] = 0.5
    assert failed(testing.verify("sparsegpt", call, fewer)) == ["count"]


def test_damping_is_read_as_claimed():
    call = problem(2, damp=0.3)
    relative = answer_to(call)
    mean = call["gram"].diagonal().mean()
    assert mean != 1
    absolute = answer_to({**call, "damp": 0.3 / mean})
    claim = {"damping": "absolute"}
    assert testing.verify("sparsegpt", call, relative).outcome == "pass"
    assert testing.verify("sparsegpt", call, absolute, claims=claim).outcome == "pass"
    assert failed(testing.verify("sparsegpt", call, relative, claims=claim)) == ["swept"]
    verdict = testing.verify("sparsegpt", call, absolute)
    assert failed(verdict) == ["swept"]
    assert verdict.looks_like == ["damping-absolute"]


@pytest.mark.parametrize("contract", SWEEPS)
def test_an_absolute_kernel_passes_by_its_own_claim(contract):
    mistake = next(m for m in testing.contracts[contract].mistakes if m.name == "damping-absolute")
    options = {"examples": 80, "isolate": False, "shrink": False}
    assert testing.run(mistake.call, contract, **options).outcome == "fail"
    report = testing.run(mistake.call, contract, claims={"damping": "absolute"}, **options)
    assert report.outcome == "pass", str(report)


def test_singular_grams_are_answered_where_they_are_damped():
    x = np.random.default_rng(3).normal(size=(4, 8)) + 0.3
    call = {**problem(0, columns=8), "gram": x.T @ x / 4}
    assert testing.verify("sparsegpt", call, answer_to(call)).outcome == "pass"
    error = np.linalg.LinAlgError("need a positive definite gram")
    assert failed(testing.verify("sparsegpt", call, error)) == ["answers"]
    undamped = {**call, "damp": 0.0}
    assert testing.verify("sparsegpt", undamped, error).outcome == "pass"
    nothing = np.full(call["weight"].shape, np.nan)
    assert testing.verify("sparsegpt", undamped, nothing).outcome == "pass"
    mask = answer_to(call)[1]
    assert failed(testing.verify("sparsegpt", undamped, (call["weight"] * mask, mask))) == ["swept"]


def test_stationary_weights_pass_where_the_gram_is_singular():
    """Every kept weight is at its best when the sweep leaves it, by the pseudo-inverse."""
    x = np.random.default_rng(4).normal(size=(4, 8)) + 0.3
    call = {**problem(0, columns=8), "gram": x.T @ x / 4, "damp": 0.0}
    mask = answer_to({**call, "damp": 0.01})[1]
    weight, gram = call["weight"].copy(), call["gram"]
    for j in range(8):
        later = np.linalg.pinv(gram[j + 1 :, j + 1 :], rcond=1e-10) @ gram[j + 1 :, j]
        gone = ~mask[:, j]
        weight[gone, j + 1 :] += np.outer(weight[gone, j], later)
        weight[gone, j] = 0.0
    assert testing.verify("sparsegpt", call, (weight, mask)).outcome == "pass"


def test_the_block_size_changes_no_groups():
    weight, gram = layer(6, columns=24)
    call = {"weight": weight, "gram": gram, "n": 2, "m": 4, "block_size": 6, "damp": 0.01}
    right = answer_to(call, "sparsegpt-nm")
    for block_size in (1, 3, 7, 128):
        assert testing.verify("sparsegpt-nm", {**call, "block_size": block_size}, right).outcome == "pass"
    restarted = next(
        m for m in testing.contracts["sparsegpt-nm"].mistakes if m.name == "groups-restart-at-blocks"
    )
    verdict = testing.verify("sparsegpt-nm", call, restarted(*call.values()))
    assert failed(verdict) == ["count"]
    assert "weights are pruned in row 0, columns 4 to 7; 2 is asked for" in str(verdict)


def test_the_sweep_is_one_at_a_fixed_mask_whatever_the_block_size():
    """A mask of other blocks passes the certificate of the weights and fails that of the ranks."""
    call = problem(7, block_size=12, rows=2)  # 3 of 6 four times, or 12 of 24
    weight, mask = answer_to({**call, "block_size": 3})
    assert failed(testing.verify("sparsegpt", call, (weight, mask))) == ["ranked"]


def test_reported_costs_are_those_of_the_sweep():
    call = problem(8)
    weight, mask = answer_to(call)
    view = testing.contracts["sparsegpt"].view(call, {})
    run = view.run(~mask)
    costs = (np.abs(run.reached) * view.sweep.root) ** 2 / 2
    order = np.flatnonzero(~mask)
    answer = {"weight": weight, "mask": mask, "order": order, "saliencies": costs.ravel()[order]}
    damped = view.damped
    change = weight - call["weight"]
    total = (
        float(np.einsum("ri,ij,rj->", change, damped, change)) / 2
    )  # the costs add up to the damped objective
    assert abs(costs[~mask].sum() - total) < 64 * EPS * view.condition * total
    assert testing.verify("sparsegpt", call, answer).outcome == "pass"
    unordered = {key: answer[key] for key in ("weight", "mask", "saliencies")}
    assert testing.verify("sparsegpt", call, unordered).outcome == "pass"
    off = answer["saliencies"].copy()
    off[3] *= 1.01
    assert failed(testing.verify("sparsegpt", call, {**answer, "saliencies": off})) == ["saliencies"]
    assert failed(testing.verify("sparsegpt", call, {**unordered, "saliencies": off})) == ["saliencies"]
    assert failed(testing.verify("sparsegpt", call, {**answer, "saliencies": off[1:]})) == ["saliencies"]


def test_bad_numbers_expect_an_error():
    call = problem(9)
    for change in ({"damp": -0.1}, {"damp": np.nan}, {"damp": True}, {"block_size": 0}, {"block_size": 2.0}):
        view = testing.contracts["sparsegpt"].view({**call, **change}, {})
        assert view.expects == "error"
        assert next(iter(change)) in view.reason


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("contract", SWEEPS)
def test_flags_are_what_they_say(contract, dtype):
    contract, errors = testing.contracts[contract], ("NaN", "Inf", "Empty", "WrongShape", "WrongCount")
    for number in range(200):
        case = make_case(contract, number, 11, dtype, {})
        flag = case.flags[0] if case.flags else None
        view = contract.view(case.problem, {})
        if flag in (*errors, "NMRemainder", "NonSymmetric"):
            assert view.expects == "error", (flag, view.reason)
            continue
        assert view.expects == {"Singular": "free", "BeyondArithmetic": "beyond"}.get(flag, "answer"), flag
        if view.expects == "answer":
            assert view.condition <= sweep_limit(np.finfo(dtype).eps)
        if flag in ("DampedSingular", "DampedDeadInput"):
            assert case.problem["damp"] > 0
        if flag == "DampedSingular":
            living = view.hessian[np.ix_(view.living, view.living)]
            assert np.linalg.matrix_rank(living, tol=1e-5 * np.abs(living).max()) < len(living)
        if flag == "DampedDeadInput":
            assert 0 < view.living.sum() < view.living.size
