"""`rp.prune` on random networks of every kind of layer: the report is what the outputs of the layers lose."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.testing.random_networks import random_layers

METHODS = {
    "magnitude": "magnitude",
    "wanda": "wanda",
    "obd": "obd",
    "obs": partial(rp.obs, damp=0.05),
    "sparsegpt": partial(rp.sparsegpt, damp=0.05, block_size=5),
    "alps": partial(rp.alps, damp=0.05),
}
PATTERNS = {
    "layer": rp.Unstructured(sparsity=0.35, scope="layer"),
    "row": rp.Unstructured(sparsity=0.6, scope="row"),
    "network": rp.Unstructured(sparsity=0.45, scope="network"),
    "1:3": rp.NM(1, 3, remainder="dense"),
}


def outputs_lost(x, W, V):
    """Half the mean square of the change of the outputs (without bias), and of the outputs themselves."""
    x, groups = (x, len(x)) if x.ndim == 3 else (x[None], 1)
    W, V = (A.reshape(groups, -1, x.shape[2]) for A in (W, V))
    return [np.sum((x @ np.swapaxes(A, 1, 2)) ** 2) / 2 / x.shape[1] for A in (V - W, W)]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(METHODS)),
    st.sampled_from(sorted(PATTERNS)),
    st.sampled_from(["pruned", "dense"]),
    st.integers(1, 12),
)
def test_counts_and_losses_of_random_networks(seed, method, pattern, calibration, batch_size):
    rng = np.random.default_rng(seed)
    layers, shape = random_layers(rng)
    network = rp.Network.from_dicts(layers)
    params = {name: value + 0.1 for name, value in network.init(rng).items()}
    x = rng.normal(size=(11, *shape)) + 0.5
    options = {"calibration": calibration, "batch_size": batch_size}
    answer = rp.prune(network, params, x, METHODS[method], PATTERNS[pattern], **options)
    inputs = network.layer_inputs(answer.params if calibration == "pruned" else params, x)
    for row in answer.report.layers:
        name = f"{row.layer}.weight"
        V, mask = answer.params[name], answer.masks[name]
        assert np.all(V[~mask] == 0)
        assert (row.weights, row.pruned) == (mask.size, np.count_nonzero(~mask))
        if pattern != "network":
            assert PATTERNS[pattern].admits(mask)
        lost, all_of_it = outputs_lost(inputs[row.layer], params[name], V)
        # sums of squares of some hundred products: their eps relative to the outputs
        assert_allclose(row.objective, lost, rtol=1e-9, atol=1e-12 * all_of_it)
        assert_allclose(row.error, (lost / all_of_it) ** 0.5 if all_of_it else 0.0, rtol=1e-9, atol=1e-6)
    if pattern == "network":
        assert answer.report.pruned == round(0.45 * sum(params[name].size for name in network.prunable))


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(METHODS)), st.sampled_from(["pruned", "dense"]))
def test_threads_change_no_bit_of_random_networks(seed, method, calibration):
    rng = np.random.default_rng(seed)
    layers, shape = random_layers(rng)
    network = rp.Network.from_dicts(layers)
    params, x = network.init(rng), rng.normal(size=(9, *shape))
    options = {"calibration": calibration, "batch_size": 2}
    alone = rp.prune(network, params, x, METHODS[method], PATTERNS["network"], **options)
    with ThreadPoolExecutor(2) as executor:
        both = rp.prune(
            network, params, x, METHODS[method], PATTERNS["network"], **options, executor=executor
        )
    for name, value in alone.params.items():
        assert_array_equal(value, both.params[name])
