"""The promise on the speed of IHT: an iteration on least squares within 1.3 times its two products, A w and A^T r.

The figures come from `python -m tests.benchmarks.recovery`.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
from tests.benchmarks.recovery import iteration, planted


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("rule", "dtype"), [("normalized", "float64"), ("normalized", "float32"), ("1 / L", "float32")]
)
def test_an_iteration_is_within_its_two_products(rule, dtype):
    """2,000 x 4,000, 100 weights. Here 1 / L is a number; the rule that finds L is below."""
    mine, products = iteration(rule, dtype=dtype, repeat=5)
    assert mine < 1.3 * products, f"iteration {mine * 1e3:.2f} ms, products {products * 1e3:.2f} ms"


@pytest.mark.deep
@pytest.mark.benchmark
def test_an_iteration_with_the_rule_lipschitz_is_within_its_two_products():
    """With L in the time of both calls, so the difference is one of many iterations."""
    mine, products = iteration("lipschitz", count=250, repeat=3)
    assert mine < 1.3 * products, f"iteration {mine * 1e3:.2f} ms, products {products * 1e3:.2f} ms"


class Design(np.ndarray):
    """A design that counts the numbers which its products read."""

    read = 0

    def __matmul__(self, other):
        Design.read += self.size
        return np.asarray(self) @ other


@pytest.mark.benchmark
@pytest.mark.parametrize(("rule", "most"), [("normalized", 1.2), (0.05, 1.1)])
def test_what_an_iteration_reads_of_the_design(rule, most):
    """On every machine: of a wide design hardly more than the product A^T r, halvings and changes included."""
    problem = planted(120, 1600, 20)
    counting = rp.LeastSquares(problem.design.view(Design), problem.target)

    def read(iterations):
        Design.read = 0
        answer = rp.iht(counting, 20, step=rule, max_iter=iterations, tol=0)
        assert_array_equal(answer.weight, rp.iht(problem, 20, step=rule, max_iter=iterations, tol=0).weight)
        assert len(answer.trace) == iterations + 1
        return Design.read

    share = (read(45) - read(5)) / (40 * problem.design.size)
    assert 0.9 < share < most


@pytest.mark.benchmark
@pytest.mark.parametrize(("rule", "most"), [("normalized", 2.3), (0.05, 2.0)])
def test_what_an_iteration_reads_where_half_of_the_weights_are_kept(rule, most):
    """The residual of the normalised step is updated by the product of its line search, and computed now and then."""
    problem = planted(300, 200, 100)
    counting = rp.LeastSquares(problem.design.view(Design), problem.target)
    read = []
    for iterations in (20, 60):
        Design.read = 0
        answer = rp.iht(counting, 100, step=rule, max_iter=iterations, tol=0)
        assert len(answer.trace) == iterations + 1
        read.append(Design.read)
    assert read[1] - read[0] <= most * problem.design.size * 40
