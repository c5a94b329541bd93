"""The kill matrices: every known mistake dies and none is named for another; what the documents show of all of them."""

import json
from functools import cache
from pathlib import Path

import pytest

from refprune import testing

NAMES = tuple(testing.contracts)
RECORDED = json.loads((Path(__file__).parents[2] / "docs" / "contracts" / "kill_matrix.json").read_text())
# Fewer cases where an answer takes long.
SLOW = ("obs", "exact", "fisher", "cg", "hvp", "hessian", "gauss-newton", "per-sample")
HEAVY = (
    "sparsegpt",
    "sparsegpt-nm",
    "alps",
    "ispasp",
    "iht",
    "cosamp-step",
    "iobs-step",
    "iobs",
    "woodfisher",
    "newton-cg",
)
FEW = (
    {name: 80 for name in NAMES if name.startswith(SLOW)}
    | dict.fromkeys(HEAVY, 60)
    | {"htp": 100, "cosamp": 100, "snip": 60, "prospr": 40, "grasp": 60, "synflow-scores": 60}
)


@cache
def matrix(name):
    return testing.kill_matrix(name, examples=FEW.get(name, 200))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(f"mistakes of {name}")) for name in NAMES]
)
def test_every_known_mistake_dies_and_is_named_by_no_other_name(name):
    found = matrix(name)
    assert found.survivors == []
    assert not any(found.misnamed.values()), found.misnamed
    least = 0.6 if name == "cg" else 0.8  # an answer of cg is one vector: many mistakes look alike
    assert sum(found.named.values()) >= least * len(found.named)
    assert _killing(RECORDED[name]["counts"]) <= _killing(found.counts)


def _killing(counts):
    """The checks that kill some mistake."""
    return {check for row in counts.values() for check in row if row[check]}


def test_the_matrix_prints():
    text = str(testing.kill_matrix("topk-mask", examples=30))
    for mistake in testing.contracts["topk-mask"].mistakes:
        assert mistake.name in text
    assert f"{len(testing.contracts['topk-mask'].mistakes)} of" in text


def test_the_recorded_matrices_name_most_mistakes():
    assert set(RECORDED) == set(NAMES)
    named = [found for matrix in RECORDED.values() for found in matrix["named"].values()]
    assert sum(named) >= 0.8 * len(named)


def test_every_check_kills_something():
    """In the recorded matrices; the test of each contract holds that the same checks kill now."""
    listed = {spec.name for contract in testing.contracts.values() for spec in contract.checks}
    assert set().union(*(_killing(matrix["counts"]) for matrix in RECORDED.values())) == listed
