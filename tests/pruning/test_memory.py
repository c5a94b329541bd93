"""The memory of `rp.prune` is that of one place in the network, however deep the network is."""

import tracemalloc

import numpy as np
import pytest

import refprune as rp

HALF = rp.Unstructured(sparsity=0.5)


def peak(*arguments, **options):
    """The largest number of bytes that NumPy held at once, above what the answer itself takes."""
    tracemalloc.start()
    try:
        answer = rp.prune(*arguments, **options)
        return tracemalloc.get_traced_memory()[1] - size(answer.params) - size(answer.masks)
    finally:
        tracemalloc.stop()


def size(arrays):
    return sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("calibration", ["pruned", "dense"])
def test_many_samples_hold_the_activations_of_one_place(calibration):
    rng = np.random.default_rng(0)
    network = rp.mlp([32] * 9)
    x = rng.normal(size=(4000, 32))
    used = peak(network, network.init(rng), x, "wanda", HALF, calibration=calibration, batch_size=50)
    assert used < 1.5 * x.nbytes  # eight places would be 8 x.nbytes


@pytest.mark.parametrize("calibration", ["pruned", "dense"])
def test_wide_layers_hold_the_gram_of_one_layer(calibration):
    rng = np.random.default_rng(1)
    used = []
    for layers in (2, 8):
        network = rp.mlp([160] * (layers + 1))
        x = rng.normal(size=(20, 160))
        used.append(peak(network, network.init(rng), x, "wanda", HALF, calibration=calibration))
    gram = 160 * 160 * 8
    assert used[1] - used[0] < gram / 2  # six more Grams would be 6 gram


def test_a_residual_holds_three_places():
    rng = np.random.default_rng(2)
    branch = [rp.Dense(32, 32), rp.Tanh()]
    network = rp.Network([rp.Dense(32, 32), *[rp.Residual(branch * 3, branch * 2) for _ in range(4)]])
    x = rng.normal(size=(4000, 32))
    used = peak(network, network.init(rng), x, "magnitude", HALF, batch_size=50)
    assert used < 3.5 * x.nbytes
