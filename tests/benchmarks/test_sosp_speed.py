"""What SOSP-H costs: a gradient and one product with the Hessian, whatever the number of groups."""

import time

import numpy as np
import pytest

import refprune as rp

# 100,224 to 109,168 parameters, in 112 to 6,432 units.
SHAPES = {112: [1024, 96, 16, 16], 1056: [64, 1024, 32, 160], 6432: [8, 6400, 8, 8, 8, 8, 16]}


def problem(units):
    """(network, params, x, y)."""
    rng, network = np.random.default_rng(0), rp.mlp(SHAPES[units])
    x = rng.normal(size=(256, SHAPES[units][0]))
    return network, network.init(rng), x, rng.integers(0, SHAPES[units][-1], size=256)


def seconds(call):
    """Processor time of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.benchmark
@pytest.mark.parametrize("units", SHAPES)
def test_the_cost_does_not_know_the_number_of_groups(units):
    """By the counts of products 1 + 8/3 gradients at most. Both in turn, the best of each."""
    given, mine, gradients = problem(units), [], []
    for _ in range(9):
        mine.append(seconds(lambda: rp.sosp(*given, rp.Groups(sparsity=0.5))))
        gradients.append(seconds(lambda: given[0].gradient(*given[1:])))
    ratio = min(mine) / min(gradients)
    print(f"{units} units: {ratio:.2f} gradients")
    assert ratio < 5, f"SOSP-H takes {ratio:.2f} gradients with {units} units"


@pytest.mark.benchmark
def test_one_product_for_all_groups_is_far_from_one_for_each():
    """1,056 groups: the product of every group by itself, four at a time, which is the fastest way here."""
    network, params, x, y = problem(1056)
    four = np.tile(network.flatten(params), (4, 1))
    each = min(seconds(lambda: network.hvp(params, x, y, four)) for _ in range(3)) * 1056 / 4
    mine = min(seconds(lambda: rp.sosp(network, params, x, y, rp.Groups(sparsity=0.5))) for _ in range(3))
    print(f"{each / mine:.0f} times faster than a product for each of 1,056 groups")
    assert each > 200 * mine, f"only {each / mine:.0f} times faster than a product for each group"
