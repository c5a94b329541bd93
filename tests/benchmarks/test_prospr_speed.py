"""What ProsPr costs: its scores through M steps beside M + 1 gradients, and the matrix that it does without."""

import time

import numpy as np
import pytest

import refprune as rp
from refprune import definitions


def seconds(call):
    """Processor time of a call, and the answer."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def problem(name, M, dtype="float64"):
    """(network, params, M + 1 batches)."""
    network, shape, samples = {
        "perceptron": (rp.mlp([784, 300, 100, 10]), (784,), 128),
        "convolutions": (rp.cnn((1, 28, 28), [8, 16], 10), (1, 28, 28), 32),
    }[name]
    rng = np.random.default_rng(0)
    params = {key: value.astype(dtype) for key, value in network.init(rng).items()}
    batches = [
        (rng.normal(size=(samples, *shape)).astype(dtype), rng.integers(0, 10, size=samples))
        for _ in range(M + 1)
    ]
    return network, params, batches


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["perceptron", "convolutions"])
def test_scores_through_the_steps_take_less_than_four_and_a_half_gradients_for_each(name):
    """M = 3 steps with momentum; by the counts of products it is 3 and less. Both in turn, the best of each."""
    network, params, batches = problem(name, 3)
    pattern, mine, gradients = rp.Unstructured(sparsity=0.9), [], []
    for _ in range(7):
        mine.append(seconds(lambda: rp.prospr(network, params, batches, pattern, 0.1, 0.9))[0])
        gradients.append(seconds(lambda: [network.gradient(params, *batch) for batch in batches])[0])
    ratio = min(mine) / min(gradients)
    print(f"{name}: {ratio:.2f} times the {len(batches)} gradients")
    assert ratio < 4.5, f"ProsPr takes {ratio:.2f} times its gradients"


@pytest.mark.benchmark
def test_the_adjoint_is_20_times_faster_than_the_definition():
    """130 parameters: the definition carries the derivative of all of them by all switches."""
    network, rng = rp.mlp([8, 10, 4], activation="tanh"), np.random.default_rng(1)
    params = network.init(rng)
    batches = [(rng.normal(size=(16, 8)), rng.integers(0, 4, size=16)) for _ in range(4)]
    layers = network.to_dicts()
    fast = min(
        seconds(lambda: rp.prospr(network, params, batches, rp.Unstructured(0.5), 0.1, 0.9))[0] for _ in "abc"
    )
    slow, right = seconds(
        lambda: definitions.prospr_scores(layers, params, batches, "cross_entropy", 0.1, 0.9)
    )
    found = rp.prospr(network, params, batches, rp.Unstructured(0.5), 0.1, 0.9).scores
    assert all(np.abs(found[key] - right[key]).max() <= 1e-11 * right[key].max() for key in right)
    print(f"rp.prospr {fast:.4f} s, the definition {slow:.3f} s, a factor of {slow / fast:.0f}")
    assert slow >= 20 * fast
