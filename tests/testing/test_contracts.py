"""The registry: refprune passes, every known mistake dies and is named, every check earns its place."""

from fractions import Fraction

import numpy as np
import pytest

from refprune import testing
from refprune.testing import reference
from refprune.testing.cases import flags_of, generate, palette
from refprune.testing.contract import RUNGS

NAMES = tuple(testing.contracts)
ISSUED = {
    "topk-mask", "nm-mask", "gram", "gram-conv", "magnitude", "magnitude-nm", "wanda", "wanda-nm", "obd", "obs",
    "obs-groups", "exact-obs", "exact-obs-nm", "exact-obs-blocks", "optimal-weights", "sparsegpt", "sparsegpt-nm",
    "alps", "cg", "hvp", "hessian", "gauss-newton", "per-sample-gradients",
}  # fmt: skip


@pytest.fixture(scope="module")
def matrices():
    """Every known mistake against every check, once for this file."""
    slow = ("obs", "exact", "cg", "hvp", "hessian", "gauss-newton", "per-sample")
    few = dict.fromkeys(("sparsegpt", "sparsegpt-nm", "alps"), 60)
    few |= {name: 80 for name in NAMES if name.startswith(slow)}
    return {name: testing.kill_matrix(name, examples=few.get(name, 200)) for name in NAMES}


def test_the_contracts_are_there():
    assert set(NAMES) == ISSUED
    for name in NAMES:
        least = 8 if name in ("exact-obs", "sparsegpt") else 3
        assert len(testing.contracts[name].mistakes) >= least


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_refprune_passes_its_own_oracle(name, dtype):
    implementation = getattr(reference, name.replace("-", "_"))
    examples = 50 if name in ("hvp", "hessian", "gauss-newton", "per-sample-gradients") else 120
    report = testing.run(
        implementation,
        name,
        examples=examples,
        seed=3,
        dtype=dtype,
        isolate=False,
        claims=reference.CLAIMS[name],
    )
    assert report.outcome == "pass", str(report)
    assert report.share_undecided < 0.01
    # the first guard on every bound: refprune's own answers stay well inside
    assert all(share is None or share < 0.5 for *_, share in report.summary()), report.summary()


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_contract_passes(name):
    namespace = {"np": np, "Fraction": Fraction}
    exec(testing.contracts[name].example, namespace)
    report = testing.run(namespace[name.replace("-", "_")], name, examples=60, isolate=False)
    assert report.outcome == "pass", str(report)


def test_every_known_mistake_dies(matrices):
    assert {name: matrix.survivors for name, matrix in matrices.items() if matrix.survivors} == {}


def test_most_mistakes_are_named_and_none_wrongly(matrices):
    named = [found for matrix in matrices.values() for found in matrix.named.values()]
    wrong = {name: matrix.misnamed for name, matrix in matrices.items() if any(matrix.misnamed.values())}
    assert wrong == {}
    assert sum(named) >= 0.8 * len(named)


def test_every_check_kills_something(matrices):
    listed = {spec.name for contract in testing.contracts.values() for spec in contract.checks}
    killing = {
        check
        for matrix in matrices.values()
        for counts in matrix.counts.values()
        for check in counts
        if counts[check]
    }
    assert killing == listed


def test_the_matrix_prints(matrices):
    text = str(matrices["exact-obs"])
    assert "stale-inverse" in text
    assert "greedy" in text
    assert f"{len(testing.contracts['exact-obs'].mistakes)} of" in text


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_stratified_and_repeatable(name):
    contract = testing.contracts[name]
    assert len(contract.shapes) <= 12
    cases = list(generate(contract, 200, 0, "float64", {}))
    counts = {
        flag: sum(flag in case.flags for case in cases) for flag in flags_of(contract, {}) if flag != "Plain"
    }
    assert set(counts) == set(contract.flags)
    assert min(counts.values()) >= 5, counts
    few = list(generate(contract, 1, 0, "float64", {}))
    assert {flag for case in few for flag in case.flags} == set(contract.flags)
    again = list(generate(contract, 200, 0, "float64", {}))
    for case, other in zip(cases, again, strict=True):
        for value, twin in zip(case.problem.values(), other.problem.values(), strict=True):
            assert np.array_equal(value, twin, equal_nan=True) if isinstance(value, np.ndarray) else True


@pytest.mark.parametrize("name", NAMES)
def test_claimed_sizes_are_kept(name):
    contract = testing.contracts[name]
    claims = {"columns": {"multiple_of": 16, "min": 16, "max": 48}}
    assert 0 < len(palette(contract, claims)) <= 12
    if (
        contract.sizes is not None and contract.sizes(contract.shapes[0]) is None
    ):  # networks: nothing to choose by
        assert palette(contract, claims) == contract.shapes
        return
    for case in generate(contract, 60, 0, "float64", claims):
        if {"Empty", "WrongShape", "WrongCount", "KernelTooLarge", "GroupsRemainder"} & set(case.flags):
            continue
        first = case.problem[contract.arguments[0]]
        columns = (first[0] if isinstance(first, list) else first).shape[-1]
        if name == "gram-conv":  # the columns of the Gram
            channels, kernel = first[0].shape[1], case.problem["kernel"]
            columns = channels // case.problem["groups"] * kernel[0] * kernel[1]
        assert columns % 16 == 0
        assert 16 <= columns <= 48


@pytest.mark.parametrize("name", NAMES)
def test_ladders_only_climb(name):
    rungs = [RUNGS.index(spec.rung) for spec in testing.contracts[name].checks if spec.judge]
    assert rungs == sorted(rungs)


def test_mistakes_do_not_share_names():
    for contract in testing.contracts.values():
        names = [mistake.name for mistake in contract.mistakes]
        assert len(set(names)) == len(names)
