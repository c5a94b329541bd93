"""SynFlow: path by path, by autograd, against the definition; what it conserves, and so never empties."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.problems import fractions
from tests.methods.start_scores import (
    CHAINS,
    EPS,
    NETWORKS,
    certify,
    drawn,
    flat,
    flow_at,
    flow_by_autograd,
    in_steps,
)

SEEDS = st.integers(0, 2**16)
HALF = rp.Unstructured(sparsity=0.5)


def scores(network, params, shape):
    """Of the network as it is: one step."""
    return rp.synflow(network, params, shape, HALF, steps=1).scores


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_what_autograd_finds(name):
    for seed in range(4):
        network, params, (x, y), _ = drawn(name, seed)
        shape, total = x.shape[1:], sum(params[key].size for key in network.prunable)
        keep = int(np.random.default_rng([76, seed]).integers(0, total + 1))
        answer = rp.synflow(network, params, (x, y), rp.Unstructured(keep=keep), steps=1)
        certify(network, params, answer, flow_by_autograd(network, params, shape), keep)
        known = definitions.synflow_scores(network.to_dicts(), params, shape)
        assert_allclose(flat(network, answer.scores), flat(network, known), rtol=1e4 * EPS, atol=0)


def test_scores_are_sums_over_paths():
    """Every path from an input to an output, one after the other; whole numbers, so that all is exact."""
    rng, sizes = np.random.default_rng(77), [3, 4, 2, 3]
    network = rp.mlp(sizes, activation="tanh")
    params = {key: rng.integers(-4, 5, size=value).astype(float) for key, value in network.shapes.items()}
    expected = {key: np.zeros_like(params[key]) for key in network.prunable}
    for path in product(*map(range, sizes)):
        edges = [(key, path[i + 1], path[i]) for i, key in enumerate(network.prunable)]
        weight = np.prod([abs(params[key][a, b]) for key, a, b in edges])
        for key, a, b in edges:
            expected[key][a, b] += weight
    found, known = scores(network, params, (3,)), definitions.synflow_scores(
        network.to_dicts(), {key: fractions(value) for key, value in params.items()}, (3,)
    )  # fmt: skip
    for key in network.prunable:
        assert_array_equal(found[key], expected[key])
        assert_array_equal(known[key], fractions(expected[key]))


@given(seed=SEEDS, name=st.sampled_from(CHAINS))
def test_every_layer_of_a_chain_carries_all_of_R(seed, name):
    network, params, (x, _), _ = drawn(name, seed)
    R, w = flow_at(network, params, x.shape[1:])
    for score in scores(network, params, x.shape[1:]).values():
        # sums of a few hundred nonnegative numbers: no cancellation
        assert_allclose(score.sum(), R(w), rtol=1e3 * EPS)
        assert (score >= 0).all()


@given(seed=SEEDS)
def test_what_flows_into_a_unit_flows_out_of_it(seed):
    network, params, _, _ = drawn("relu", seed)
    found = list(scores(network, params, (4,)).values())
    for before, after in pairwise(found):
        assert_allclose(before.sum(axis=1), after.sum(axis=0), rtol=1e3 * EPS, atol=1e3 * EPS * after.sum())
    network, params, (x, _), _ = drawn("images", seed)  # a channel, through BatchNorm and a pool
    found = scores(network, params, x.shape[1:])
    assert_allclose(
        found["0.weight"].sum(axis=(1, 2, 3)), found["4.weight"].sum(axis=(0, 2, 3)), rtol=1e3 * EPS
    )


@given(seed=SEEDS)
def test_a_layer_in_a_residual_branch_carries_the_share_of_its_branch(seed):
    network, rng = rp.Network([
        rp.Dense(3, 4), rp.Residual([rp.Dense(4, 5), rp.Tanh(), rp.Dense(5, 4)]), rp.ReLU(),
        rp.Residual([rp.Dense(4, 3)], [rp.Dense(4, 3, bias=False)]), rp.Dense(3, 2),
    ]), np.random.default_rng([78, seed])  # fmt: skip
    params = {key: rng.normal(size=shape) for key, shape in network.shapes.items()}
    R, w = flow_at(network, params, (3,))
    found = {key: score.sum() for key, score in scores(network, params, (3,)).items()}
    near = {"rtol": 1e3 * EPS}
    assert_allclose([found["0.weight"], found["4.weight"]], R(w), **near)
    assert_allclose(found["3.body.0.weight"] + found["3.shortcut.0.weight"], R(w), **near)
    assert_allclose(found["1.body.0.weight"], found["1.body.2.weight"], **near)
    around, w = flow_at(network, params | {"1.body.0.weight": np.zeros((5, 4))}, (3,))  # the shortcut alone
    assert_allclose(found["1.body.0.weight"] + around(w), R(flow_at(network, params, (3,))[1]), **near)
    assert found["1.body.0.weight"] < found["0.weight"]


@given(seed=SEEDS)
def test_a_max_pool_conserves_too(seed):
    network, rng = (
        rp.Network(
            [rp.Conv2d(1, 3, 2, padding=1), rp.ReLU(), rp.MaxPool2d(2), rp.Flatten(), rp.Dense(12, 2)]
        ),
        np.random.default_rng([79, seed]),
    )
    params = {key: rng.normal(size=shape) for key, shape in network.shapes.items()}
    first, last = scores(network, params, (1, 3, 3)).values()
    assert_allclose(first.sum(), last.sum(), rtol=1e3 * EPS)


@given(seed=SEEDS)
def test_a_batchnorm_folded_into_the_layer_before_changes_no_score(seed):
    network, params, (x, _), _ = drawn("images", seed)
    scale = params["1.weight"] / np.sqrt(params["1.running_var"] + 1e-5)
    folded = params | {
        "0.weight": params["0.weight"] * scale[:, None, None, None],
        "1.weight": np.ones(4),
        "1.running_var": np.full(4, 1 - 1e-5),
    }
    before, after = (scores(network, p, x.shape[1:]) for p in (params, folded))
    for key in network.prunable:
        assert_allclose(after[key], before[key], rtol=1e3 * EPS)


@given(seed=SEEDS, name=st.sampled_from(sorted(NETWORKS)))
def test_signs_biases_and_activations_do_not_matter(seed, name):
    network, params, (x, _), _ = drawn(name, seed)
    rng = np.random.default_rng([80, seed])
    other = {
        key: rng.normal(size=value.shape) if key.endswith(("bias", "mean")) else
        value if key.endswith("var") else value * rng.choice([-1, 1], size=value.shape)
        for key, value in params.items()
    }  # fmt: skip
    here, there = (scores(network, p, x.shape[1:]) for p in (params, other))
    for key in network.prunable:
        assert_array_equal(here[key], there[key])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("steps", [3, 20])
def test_steps_are_the_loop_with_the_gradients_of_autograd(name, steps):
    for seed in range(2):
        network, params, (x, _), _ = drawn(name, seed)
        shape, total = x.shape[1:], sum(params[key].size for key in network.prunable)
        masks, last, _ = in_steps(
            network, params, lambda now, n=network, s=shape: flow_by_autograd(n, now, s), total // 5, steps
        )
        answer = rp.synflow(network, params, shape, rp.Unstructured(keep=total // 5), steps)
        certify(network, params, answer, last, total // 5)
        known = definitions.synflow(network.to_dicts(), params, shape, total - total // 5, steps)
        for key in network.prunable:
            assert_array_equal(answer.mask[key], masks[key])
            assert_array_equal(known[1][key], masks[key])
            assert_array_equal(answer.weight[key], known[0][key])


def collapsing(seed):
    """A wide layer between narrow ones, at He's initialisation."""
    network, rng = rp.mlp([8, 60, 8, 60, 4]), np.random.default_rng([81, seed])
    params = network.init(rng)
    return network, params, (rng.normal(size=(30, 8)), rng.integers(0, 4, size=30))


def layers_left(answer):
    return [int(mask.sum()) for mask in answer.mask.values()]


@pytest.mark.parametrize("seed", range(3))
def test_layers_collapse_under_snip_and_magnitude_and_one_step_but_not_under_synflow(seed):
    """As many weights as layers: a single path is left, the most that can go."""
    network, params, batch = collapsing(seed)
    for keep in (4, 8):
        pattern = rp.Unstructured(keep=keep)
        every = np.concatenate([abs(params[key]).ravel() for key in network.prunable])
        cut = np.sort(every)[-keep]
        assert min(int((abs(params[key]) >= cut).sum()) for key in network.prunable) == 0  # magnitude
        assert min(layers_left(rp.snip(network, params, batch, pattern))) == 0
        assert min(layers_left(rp.synflow(network, params, (8,), pattern, steps=1))) == 0
        answer = rp.synflow(network, params, (8,), pattern)
        assert min(layers_left(answer)) > 0
        left = params | answer.weight
        R, w = flow_at(network, left, (8,))
        assert R(w) > 0  # some path goes through
        if keep == 4:
            assert layers_left(answer) == [1, 1, 1, 1]


@pytest.mark.parametrize("name", CHAINS)
def test_a_step_that_takes_less_than_R_empties_no_layer(name):
    """The last step, whose scores are told."""
    small = 0
    for seed in range(12):
        network, params, (x, _), _ = drawn(name, seed)
        pattern = rp.Unstructured(sparsity=0.9)
        answer = rp.synflow(network, params, x.shape[1:], pattern, steps=1 + seed)
        kept = np.array([answer.scores[key][answer.mask[key]].sum() for key in network.prunable])
        R = np.array([answer.scores[key].sum() for key in network.prunable])
        if (R - kept).sum() < R.min():
            small += 1
            assert (kept > 0).all()
    assert 0 < small < 12  # it happens, and is no matter of course


@pytest.mark.parametrize("power", [40, -40])
def test_depth_takes_nothing_out_of_range(power):
    """60 layers of weights near 2^40, or 2^-40: R is 2^2400 or 2^-2400. The ranks are those of weights near 1."""
    network, rng = rp.mlp([3] * 61, bias=False), np.random.default_rng(82)
    params = {key: rng.normal(size=shape) for key, shape in network.shapes.items()}
    here = rp.synflow(network, params, (3,), HALF, steps=4)
    there = rp.synflow(network, {k: v * 2.0**power for k, v in params.items()}, (3,), HALF, steps=4)
    for key in network.prunable:
        assert_array_equal(there.mask[key], here.mask[key])
    told = np.concatenate([score[there.mask[key]] for key, score in there.scores.items()])
    assert np.all(told == (np.inf if power > 0 else 0.0))  # beyond float64, as it is


@pytest.mark.parametrize("power", [900, -900])
def test_layers_that_trade_a_factor_have_the_same_scores(power):
    """One layer is 2^1800 times the other, beyond float64; the scores are those of equal layers, bit for bit."""
    network, rng = rp.mlp([4, 5, 5, 3], bias=False), np.random.default_rng(84)
    params = {key: rng.normal(size=shape) for key, shape in network.shapes.items()}
    traded = params | {
        "0.weight": params["0.weight"] * 2.0**power, "4.weight": params["4.weight"] * 2.0**-power
    }  # fmt: skip
    here, there = (rp.synflow(network, own, (4,), HALF, steps=3) for own in (params, traded))
    for key in network.prunable:
        assert_array_equal(there.scores[key], here.scores[key])
        assert_array_equal(there.mask[key], here.mask[key])


def test_the_shape_of_a_sample_is_all_that_is_read():
    network, params, (x, y), _ = drawn("images", 6)
    found = [
        rp.synflow(network, params, batch, HALF, steps=2)
        for batch in ((2, 2, 2), [2, 2, 2], (x, y), (x, None), (5 * x[:1], None))
    ]
    for answer in found[1:]:
        for key in network.prunable:
            assert_array_equal(answer.mask[key], found[0].mask[key])
