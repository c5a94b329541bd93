"""The promises on speed and memory of SparseGPT; the figures come from `python -m tests.benchmarks.sparsegpt`."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
from tests.benchmarks.exact_obs import layer, peak
from tests.benchmarks.sparsegpt import PATTERNS, compare, direct, memory_bound


@pytest.mark.benchmark
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_direct_form_is_the_same_algorithm(pattern):
    """The yardstick itself is right: its answer is that of rp.sparsegpt, in blocks that do not fill the layer."""
    torch = pytest.importorskip("torch")
    W, G = layer(16, 40)
    for block in (8, 12, 40):
        answer = rp.sparsegpt(rp.LayerProblem(W, G), pattern, block)
        weight, mask = direct(torch.from_numpy(W), torch.from_numpy(G), pattern, block)
        assert_array_equal(mask.numpy(), answer.mask)
        np.testing.assert_allclose(weight.numpy(), answer.weight, rtol=0, atol=1e-11)  # eps cond is 1e-13


@pytest.mark.benchmark
@pytest.mark.parametrize("shape", [(4, 384), (96, 256), (256, 64)])
def test_memory_stays_within_the_stated_bound(shape):
    problem = rp.LayerProblem(*layer(*shape))
    for pattern in PATTERNS.values():
        for refit in (False, True):
            used = peak(lambda pattern=pattern, refit=refit: rp.sparsegpt(problem, pattern, refit=refit))
            allowed = memory_bound(*shape) + (2 * 2**24 if refit else 0)  # the refit solves rows in batches
            assert used < allowed, (shape, refit, used / 2**20, allowed / 2**20)


@pytest.mark.benchmark
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_no_slower_than_a_direct_form_in_torch(pattern):
    """256 x 256; the full case is below."""
    pytest.importorskip("torch")
    fast, slow, others, error = compare(pattern, 256, 256, repeat=5)
    assert others == 0
    assert error < 1e-11  # eps cond of this layer is 1e-12
    assert fast < slow, f"processor time: rp.sparsegpt {fast:.3f} s, direct {slow:.3f} s"


@pytest.mark.deep
@pytest.mark.benchmark
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_no_slower_than_a_direct_form_in_torch_at_512_by_512(pattern, dtype):
    pytest.importorskip("torch")
    fast, slow, *_ = compare(pattern, dtype=dtype)
    assert fast < slow, f"processor time: rp.sparsegpt {fast:.3f} s, direct {slow:.3f} s"
