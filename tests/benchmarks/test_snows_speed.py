"""What Newton-CG saves: the Hessian that is never formed, and the passes that products share; SNOWS on ResNet-20."""

import time
import tracemalloc

import numpy as np
import pytest

import refprune as rp
from refprune import definitions
from tests.benchmarks.timing import seconds


@pytest.mark.benchmark
def test_a_step_without_the_matrix():
    """A layer of 2,048 weights, half of them kept, and all behind it: beside the definition with its exact solve."""
    rng = np.random.default_rng(0)
    network, x = rp.mlp([64, 32, 16, 10]), rng.normal(size=(256, 64))
    params = network.init(rng)
    f = rp.Reconstruction(network, params, x, 0, None)
    mask = rng.permutation(2048) < 1024
    fast, answer = seconds(lambda: rp.newton_cg(f, mask, f.weight, max_iter=1, damp=0.01, cg_rtol=1e-10), 3)
    slow, points = seconds(lambda: definitions.newton_cg(f, mask, f.weight, 1, damp=0.01))
    gap = np.abs(answer.weight - points[1]).max() / np.abs(points[1]).max()
    print(
        f"rp.newton_cg {fast:.3f} s, the definition {slow:.3f} s, a factor of {slow / fast:.1f}; apart {gap:.1e}"
    )
    assert gap <= 1e-8  # the solve to 1e-10 at a condition of some hundreds
    assert slow >= 10 * fast


@pytest.mark.benchmark
def test_products_at_one_point_share_passes():
    """A convolution in the middle of a network: `products` beside `hvp`."""
    rng = np.random.default_rng(1)
    network, x = rp.cnn((8, 16, 16), [16, 16, 16], 4, padding=1, pool=None), rng.normal(size=(32, 8, 16, 16))
    params = network.init(rng)
    f = rp.Reconstruction(network, params, x, 0, None)
    v, product = rng.normal(size=f.weight.shape), f.products(f.weight)
    shared, once = seconds(lambda: product(v), 10)
    alone, again = seconds(lambda: f.hvp(f.weight, v), 10)
    print(f"a product {shared:.4f} s of many, {alone:.4f} s alone, a factor of {alone / shared:.2f}")
    assert np.array_equal(once, again)
    assert alone >= 1.4 * shared


def readjusted(samples, names, **options):
    """SNOWS on a 1:4 mask of some weights of ResNet-20 at random parameters, float32; seconds, peak memory, rows."""
    network, rng = rp.resnet20(), np.random.default_rng(0)
    params = {name: value.astype("float32") for name, value in network.init(rng).items()}
    x = rng.normal(size=(samples, 3, 32, 32)).astype("float32")
    masks = {name: rp.NM(1, 4).mask(np.abs(params[name])) for name in names}
    tracemalloc.start()
    begin = time.process_time()
    answer = rp.snows(network, params, masks, x, 2, **options)
    spent, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = [row for row in answer.report.layers if row.trace]
    for row in rows:
        values = [step.value for step in row.trace]
        assert row.steps >= 1
        assert all(np.diff(values) < 0), "the objective falls at each step"
    for name, mask in masks.items():
        assert np.all(answer.params[name][~mask] == 0)
        assert rp.NM(1, 4).admits(answer.masks[name])
    gains = ", ".join(f"{row.layer}: {row.before:.4g} to {row.after:.4g}" for row in rows)
    print(f"{samples} images: {spent:.0f} s of processor time, {peak / 2**20:.0f} MiB; {gains}")
    return spent, peak


@pytest.mark.benchmark
def test_resnet20_on_few_images():
    """A block of the third stage."""
    _, peak = readjusted(4, ["19.body.0.weight", "19.body.3.weight"], max_iter=2, cg_max_iter=10)
    assert peak < 2**26


@pytest.mark.deep
@pytest.mark.benchmark
def test_resnet20_stage_three_on_256_images():
    """202,752 weights of 272,474 parameters."""
    names = [name for name in rp.resnet20().prunable if name.startswith(("15.body", "17.body", "19.body"))]
    spent, peak = readjusted(256, names, max_iter=3, cg_max_iter=15)
    assert spent < 300
    assert peak < 2**30
