"""NumPy integers of few bits are integers as others: what is computed from them does not wrap around."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp


@pytest.fixture
def layer():
    rng = np.random.default_rng(3)
    return rp.LayerProblem.from_inputs(rng.normal(size=(4, 300)), rng.normal(size=(9, 300)))


@pytest.mark.parametrize("small", [np.uint8, np.int16])
@pytest.mark.parametrize(
    "pattern",
    [
        lambda to: rp.Unstructured(keep=to(150)),
        lambda to: rp.NM(to(1), to(50)),
        lambda to: rp.Blocks(to(50), keep=to(3)),
        lambda to: rp.Groups(keep=to(3)),
    ],
)
def test_patterns(layer, pattern, small):
    """1200 - 150 and 300 % 50 are computed from numbers beyond 8 bits."""
    mask = rp.magnitude(layer, pattern(small)).mask
    assert_array_equal(mask, rp.magnitude(layer, pattern(int)).mask)
    assert pattern(small) == pattern(int)
    assert repr(pattern(small)) == repr(pattern(int))


def test_the_samples_of_a_batch():
    """Samples 200 to 230 are a batch of their own: 200 + 200 is beyond 8 bits."""
    rng, network = np.random.default_rng(0), rp.mlp([6, 40, 3])
    params, x = network.init(rng), rng.normal(size=(230, 6))
    small, plain = (
        rp.prune(network, params, x, "wanda", rp.Unstructured(sparsity=0.5), batch_size=size, progress=False)
        for size in (np.uint8(200), 200)
    )
    for name, weight in plain.params.items():
        assert_array_equal(small.params[name], weight)
    assert [row.objective for row in small.report.layers] == [row.objective for row in plain.report.layers]


def test_epochs():
    """255 + 1 is beyond 8 bits, and 127 + 1 beyond a signed number of 8 bits."""
    rng, network, seen = np.random.default_rng(0), rp.mlp([2, 1]), []
    x = rng.normal(size=(3, 2))
    for epochs in (np.uint8(255), np.int8(127)):
        rp.train(
            network,
            network.init(rng),
            x,
            x[:, :1],
            loss="squared",
            epochs=epochs,
            callback=lambda n, loss: seen.append(n),
        )
        assert seen.pop() == epochs


def test_groups_of_a_gram():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 4))
    small, plain = (rp.GramAccumulator(3, groups=groups).update(x).gram for groups in (np.uint8(2), 2))
    assert_array_equal(small, plain)


def test_i_obs():
    rng = np.random.default_rng(0)
    problem = rp.LeastSquares(rng.normal(size=(400, 300)), rng.normal(size=400))
    small = rp.iobs(problem, np.uint8(200), steps=np.uint8(2))
    assert_array_equal(small.mask, rp.iobs(problem, 200, steps=2).mask)
    assert small.mask.sum() == 200


def test_units_of_i_spasp():
    """Twice 199 units and the samples behind 200 + 200 are beyond 8 bits."""
    rng = np.random.default_rng(1)
    hidden, weight = np.maximum(rng.normal(size=(250, 6)), 0), rng.normal(size=(3, 250))
    for small in (np.uint8(199), np.uint8(130), np.int8(90)):
        assert_array_equal(rp.ispasp(hidden, weight, small).mask, rp.ispasp(hidden, weight, int(small)).mask)
    limited = rp.ispasp(hidden, weight, 20, iterations=np.uint8(1))
    assert_array_equal(limited.mask, rp.ispasp(hidden, weight, 20, iterations=1).mask)


def test_the_batches_of_i_spasp():
    """Samples 200 to 230 are a batch of their own."""
    rng, network = np.random.default_rng(2), rp.mlp([6, 40, 3])
    params, x = network.init(rng), rng.normal(size=(230, 6))
    small, plain = (
        rp.ispasp_network(network, params, x, 0.5, batch_size=size, progress=False)
        for size in (np.uint8(200), 200)
    )
    for name, value in plain.params.items():
        assert_array_equal(small.params[name], value)
    assert [row.objective for row in small.report.layers] == [row.objective for row in plain.report.layers]
