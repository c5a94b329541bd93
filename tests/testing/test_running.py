"""`testing.run`: records, claims, purity, replay, and the strategies for other people's suites."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from refprune import testing
from refprune.testing import cases, reference
from refprune.testing.strategies import problems


def magnitude(weight, sparsity):
    return reference.magnitude(weight, sparsity)


def run(function, contract="magnitude", examples=60, **options):
    return testing.run(function, contract, examples=examples, isolate=False, **options)


def checks_failed(report):
    return {record.check for record in report.failures}


def test_a_report_holds_every_case_and_check():
    report = run(magnitude, seed=4)
    assert report.outcome == "pass"
    assert set(report.cases.values()) == {"pass"}
    assert len(report.cases) == 60
    record = report.records[0]
    assert {*vars(record)} == {"case", "flags", "check", "outcome", "measured", "bound", "explanation"}
    saved = json.loads(report.to_json())
    assert saved["settings"]["seed"] == 4
    assert len(saved["records"]) == len(report.records)
    assert "magnitude: pass (60 cases, 0 failed" in str(report)
    assert report.smallest is None


def test_the_same_seed_gives_the_same_records_and_another_seed_others():
    assert run(magnitude, seed=1).records == run(magnitude, seed=1).records
    first = run(lambda w, s: w * 0, seed=1)
    assert [r.explanation for r in first.records] != [
        r.explanation for r in run(lambda w, s: w * 0, seed=2).records
    ]


def test_failures_are_shrunk_named_and_replayed():
    mistake = next(m for m in testing.contracts["magnitude"].mistakes if m.name == "signed-weights")
    report = run(mistake.call)
    assert report.outcome == "fail"
    assert report.looks_like == ["signed-weights"]
    assert report.smallest["weight"].size <= 6
    verdict = testing.verify("magnitude", report.smallest, mistake.call(*report.smallest.values()))
    assert verdict.outcome == "fail"
    assert "testing.assert_pruned('magnitude', problem" in report.smallest_text()
    scope = {"np": np, "testing": testing, "implementation": mistake.call}
    with pytest.raises(AssertionError, match="ranked"):
        exec(report.smallest_text(), scope)
    contract, options, numbers = testing.replay_cases(report.to_json())
    again = run(mistake.call, contract, only=numbers)
    assert set(again.cases) == set(numbers)
    assert set(again.cases.values()) == {"fail"}
    assert options["examples"] == 60


def test_a_case_of_pairs_is_printed_as_python_and_stored():
    def prospr(*call):
        return {name: 2 * score for name, score in reference.prospr(*call).items()}

    problem = cases.make_case(testing.contracts["prospr"], 0, 0, "float64", {}).problem
    report = replace(run(magnitude, examples=5), contract="prospr", smallest=problem)
    scope = {"np": np, "testing": testing, "implementation": prospr}
    with pytest.raises(AssertionError, match="2 times as large"):
        exec(report.smallest_text(), scope)
    stored = json.loads(report.to_json())["smallest"]["batches"][0]
    assert [part["dtype"] for part in stored] == ["float64", "int64"]
    assert testing.replay_cases(report.to_json())[0] == "prospr"


def test_changed_inputs_and_shared_memory_are_failures():
    def overwrites(weight, sparsity):
        answer = magnitude(weight.copy(), sparsity)
        weight *= 0.5
        return answer

    report = run(overwrites)
    assert "unchanged" in checks_failed(report)
    claimed = run(overwrites, claims={"inplace": True})
    assert claimed.outcome == "pass"
    assert "ReadOnly" not in {flag for record in claimed.records for flag in record.flags}
    assert "ReadOnly" in {flag for record in report.records for flag in record.flags}
    assert "unchanged" not in checks_failed(run(overwrites, claims={"inplace": True}))

    def aliases(weight, sparsity):
        found = magnitude(weight, sparsity)
        return weight if found.mask.all() else (found.weight, found.mask)

    assert checks_failed(run(aliases)) <= {"form", "invariant"}
    assert run(aliases).outcome == "fail"


def test_a_second_call_must_be_right_too():
    calls = []

    def forgets(weight, sparsity):
        calls.append(1)
        return magnitude(weight, sparsity if len(calls) % 2 else 0.0)

    assert "repeatable" in checks_failed(run(forgets))
    generator = np.random.default_rng(0)

    def shuffled(weight, sparsity):  # breaks ties at random: right, and not deterministic
        order = generator.permutation(weight.size)
        found = magnitude(weight.ravel()[order][None], sparsity)
        out, mask = np.empty(weight.size, weight.dtype), np.empty(weight.size, bool)
        out[order], mask[order] = found.weight.ravel(), found.mask.ravel()
        return out.reshape(weight.shape), mask.reshape(weight.shape)

    loose = run(shuffled)
    assert loose.outcome == "pass", str(loose)
    assert any("not deterministic" in record.explanation for record in loose.records)
    assert run(shuffled, claims={"deterministic": True}).outcome == "fail"


def test_an_absolute_threshold_shows_under_a_change_of_scale():
    def clipped(weight, sparsity):
        found = magnitude(np.where(abs(weight) < 1e-3, 0, weight), sparsity)
        return found.weight, found.mask

    assert "invariant" in checks_failed(run(clipped, examples=200)) or run(clipped).outcome == "fail"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"examples": 0}, "examples"),
        ({"dtype": "int8"}, "dtype"),
        ({"arrays": "lists"}, "arrays"),
        ({"claims": {"dtypes": ["float32"]}}, "claimed"),
    ],
)
def test_wrong_options_name_the_rule(options, words):
    with pytest.raises(ValueError, match=words):
        testing.run(magnitude, "magnitude", isolate=False, **options)


def test_isolation_needs_a_name():
    with pytest.raises(ValueError, match="isolate=False"):
        testing.run(lambda weight, sparsity: weight, "magnitude")


def test_half_precision_cases_come_when_they_are_claimed():
    plain = {flag for record in run(magnitude).records for flag in record.flags}
    claimed = run(magnitude, claims={"dtypes": ["float16", "float64"]})
    assert "Half" not in plain
    assert "Half" in {flag for record in claimed.records for flag in record.flags}


@settings(max_examples=30)
@given(problems("exact-obs-nm"))
def test_strategies_give_problems_that_must_be_answered(problem):
    verdict = testing.assert_pruned("exact-obs-nm", problem, reference.exact_obs_nm(*problem.values()))
    assert verdict.flags == ("answer",)


@settings(max_examples=10)
@given(problems("wanda", dtype="float32", flags=["NaN"]))
def test_strategies_give_the_flags_that_are_asked_for(problem):
    assert problem["weight"].dtype == np.float32
    assert any(np.isnan(value).any() for value in problem.values() if isinstance(value, np.ndarray))


def test_strategies_refuse_flags_that_the_contract_has_not():
    with pytest.raises(ValueError, match="ConvPadding"):
        problems("wanda", flags=["ConvPadding"])
