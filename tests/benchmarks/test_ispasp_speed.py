"""The promise on the speed of i-SpaSP: within twice the time of the matrix products of its algorithm alone.

These are U = W H, and in each iteration W_S H_S of the kept units S, for the residual, and W^T V. Signed importance
needs none of them, since one image stands for all samples. Absolute values need them all. Of those the residual is
taken from the pruned units, three quarters of all here, so it is nearer to the products of all units with H.
The figures come from `python -m tests.benchmarks.recovery`.
"""

import pytest

from tests.benchmarks.recovery import search


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("importance", "outputs", "most"), [("signed", 10, 2), ("signed", 256, 1), ("absolute", 256, 3)]
)
def test_within_its_products(importance, outputs, most):
    """1,024 units, 2,500 samples; the full case is below."""
    _, mine, products = search(1024, 2500, outputs, importance, repeat=3)
    assert mine < most * products, f"processor time: rp.ispasp {mine:.3f} s, products {products:.3f} s"


@pytest.mark.deep
@pytest.mark.benchmark
@pytest.mark.parametrize(("importance", "most"), [("signed", 1), ("absolute", 3)])
def test_within_its_products_at_4096_units(importance, most):
    """10,000 samples, 256 outputs."""
    _, mine, products = search(importance=importance)
    assert mine < most * products, f"processor time: rp.ispasp {mine:.3f} s, products {products:.3f} s"
