"""The registry: refprune passes, the examples pass, cases carry their flags; the mistakes are in test_kill_matrices."""

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
    "alps", "ispasp", "iht", "htp", "cosamp", "cg", "hvp", "hessian", "gauss-newton", "per-sample-gradients",
    "newton-cg", "iht-step", "cosamp-step", "iobs-step", "iobs", "fisher-inverse", "woodfisher",
    "snip", "prospr", "grasp", "synflow-scores",
}  # fmt: skip


def test_the_contracts_are_there():
    assert set(NAMES) == ISSUED
    for name in NAMES:
        least = 8 if name in ("exact-obs", "sparsegpt") else 3
        assert len(testing.contracts[name].mistakes) >= least


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_refprune_passes_its_own_oracle(name, dtype):
    implementation = getattr(reference, name.replace("-", "_"))
    slow = ("hvp", "hessian", "gauss-newton", "per-sample-gradients", "newton-cg", "snip", "prospr", "grasp")
    examples = 50 if name in slow else 120
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
        if name == "ispasp":  # the units
            columns = case.problem["weight"].shape[1]
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
