"""The contract of ALPS, and how far an approximate method is from others: told, not judged."""

from fractions import Fraction

import numpy as np
import pytest

from refprune import definitions, testing
from refprune.testing import beside, make
from refprune.testing.bounds import SOLVE
from refprune.testing.cases import make_case


def failed(verdict):
    return [check.name for check in verdict.checks if check.outcome == "fail"]


def layer(seed, rows, columns):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) + 0.3, make.spd(rng, columns, 100.0)


def test_alps_is_judged_by_its_own_mask():
    weight, gram = layer(10, 2, 6)
    call = {"weight": weight, "gram": gram, "sparsity": 0.5}
    for seed in range(5):
        mask = np.ones(12, bool)
        mask[np.random.default_rng(seed).permutation(12)[:6]] = False
        mask = mask.reshape(2, 6)
        best = definitions.optimal_weights(weight, gram, mask)
        verdict = testing.verify("alps", call, (best, mask))
        assert verdict.outcome == "pass"
        assert "times that of ExactOBS" in str(verdict)
        assert "times that of the best support" in str(verdict)
        assert failed(testing.verify("alps", call, (weight * mask, mask))) == ["stationary"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_weights_off_by_a_hundred_bounds_are_flagged(dtype):
    contract, rng, tried = testing.contracts["alps"], np.random.default_rng(1), 0
    for number in range(120):
        call = make_case(contract, number, 0, dtype, {}).problem
        view = contract.view(call, {})
        if view.expects != "answer":
            continue
        count = view.budget
        mask = np.ones(view.weight.size, bool)
        mask[rng.permutation(view.weight.size)[:count]] = False
        mask = mask.reshape(view.weight.shape)
        weight = np.where(mask, view.optimal(~mask), 0.0)
        places = np.argwhere(mask & view.living)
        if not len(places):
            continue
        row, column = places[rng.integers(len(places))]
        scale = np.sqrt(np.diagonal(view.hessian))
        size = max(np.linalg.norm(view.weight[row] * scale), np.linalg.norm(weight[row] * scale))
        bound = SOLVE * max(view.eps * view.condition, view.store_eps) * size
        if not 0 < 100 * bound < size:
            continue
        weight[row, column] += 100 * bound / scale[column] * rng.choice([-1, 1])
        verdict = testing.verify("alps", call, (weight.astype(dtype), mask))
        assert failed(verdict) == ["stationary"]
        tried += 1
    assert tried >= 20


def test_the_best_support_beside_is_the_best():
    """Against all masks of the layer at once."""
    weight, gram = layer(11, 2, 4)
    block = np.kron(np.eye(2), gram)  # the rows as one vector
    for count in (1, 3, 5):
        direct = definitions.best_support(weight.ravel(), block, count)[2]
        assert abs(beside._best(weight, gram, count) / direct - 1) < 1e-10


def test_a_report_tells_the_distance_without_judging():
    report = testing.run(
        lambda *call: definitions.alps(*call[:2], round(Fraction(repr(call[2])) * call[0].size)),
        "alps",
        examples=40,
        isolate=False,
    )
    assert report.outcome == "pass"
    line = next(line for line in str(report).splitlines() if "ExactOBS" in line)
    assert "not judged" in line
    assert "in the median" in line


def test_nothing_is_told_where_there_is_nothing_to_compare():
    weight, gram = layer(12, 2, 6)
    for sparsity, matrix in ((0.0, gram), (1.0, gram), (0.5, np.ones((6, 6)))):
        call = {"weight": weight, "gram": matrix, "sparsity": sparsity}
        mask = np.full(weight.shape, sparsity == 0.0)
        verdict = testing.verify("alps", call, (weight * mask, mask))
        assert "times that of" not in str(verdict)
