"""The promise on the speed of i-SpaSP: within twice the time of the matrix products of its algorithm alone."""

import time

import numpy as np
import pytest

import refprune as rp


def seconds(call, repeat):
    """Processor time of the fastest of some calls, and the answer."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        found = call()
        times.append(time.process_time() - start)
    return min(times), found


def compare(units, samples, outputs, importance, repeat):
    """Time of rp.ispasp, and of as many products U = W H and W^T V as it has iterations, with U once more."""
    rng = np.random.default_rng(0)
    hidden = np.maximum(rng.normal(size=(units, samples)), 0)
    weight = rng.normal(size=(outputs, units))
    method, answer = seconds(lambda: rp.ispasp(hidden, weight, units // 4, importance), repeat)
    forward, V = seconds(lambda: weight @ hidden, repeat)
    back, _ = seconds(lambda: weight.T @ V, repeat)
    return method, len(answer.trace) * (forward + back) + forward


@pytest.mark.benchmark
@pytest.mark.parametrize(("importance", "outputs"), [("signed", 32), ("signed", 256), ("absolute", 256)])
def test_within_twice_its_products(importance, outputs):
    """1,024 units, 2,500 samples; the full case is below. With few outputs absolute values cost more than products."""
    method, products = compare(1024, 2500, outputs, importance, repeat=3)
    assert method < 2 * products, f"processor time: rp.ispasp {method:.3f} s, products {products:.3f} s"


@pytest.mark.deep
@pytest.mark.benchmark
@pytest.mark.parametrize("importance", ["signed", "absolute"])
def test_within_twice_its_products_at_4096_units(importance):
    """10,000 samples, 256 outputs."""
    method, products = compare(4096, 10000, 256, importance, repeat=1)
    assert method < 2 * products, f"processor time: rp.ispasp {method:.3f} s, products {products:.3f} s"
