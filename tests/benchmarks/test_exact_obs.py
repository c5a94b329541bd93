"""The promises on speed and memory of ExactOBS; the figures come from `python -m tests.benchmarks.exact_obs`."""

import numpy as np
import pytest

import refprune as rp
from tests.benchmarks.exact_obs import compare, direct, layer, memory_bound, peak


@pytest.mark.benchmark
def test_direct_form_is_the_same_algorithm():
    """The yardstick itself is right: its paths are those of rp.obs, row by row."""
    W, H = layer(6, 40)
    order, losses = direct(W, H, 40, batch=4)
    for i in range(6):
        answer = rp.obs(rp.Quadratic(H, W[i]), rp.Unstructured(keep=0))
        assert answer.order.tolist() == order[i].tolist()
        np.testing.assert_allclose(answer.trace, losses[i], rtol=1e-9)


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "pattern",
    [rp.Unstructured(sparsity=0.5), rp.NM(2, 4), rp.Blocks(4, keep=3000), rp.Groups(keep=128, axis=1)],
    ids=repr,
)
def test_memory_stays_within_the_stated_bound(pattern):
    rows, columns = 96, 256
    problem = rp.LayerProblem(*layer(rows, columns))
    used = peak(rp.obs, problem, pattern)
    assert used < memory_bound(rows, columns)
    assert memory_bound(512, 2048) < 512 * 2048**2 * 8 / 25  # what an inverse for every row would take


@pytest.mark.benchmark
def test_faster_than_the_direct_form_with_the_same_answer():
    """8 rows of 384 columns, where the margin is smaller; the full case is below."""
    slow, fast, equal, error = compare(8, 384)
    assert equal
    assert error < 1e-9  # eps cond of this layer is 1e-12
    assert slow[1] > 4 * fast[1], f"processor time: direct {slow[1]:.2f} s, rp.obs {fast[1]:.2f} s"


@pytest.mark.deep
@pytest.mark.benchmark
def test_twenty_times_faster_at_128_by_512():
    slow, fast, equal, error = compare(128, 512)
    assert equal
    assert error < 1e-9
    assert slow[0] > 20 * fast[0], f"direct {slow[0]:.1f} s, rp.obs {fast[0]:.1f} s"
