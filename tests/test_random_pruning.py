"""`rp.random_pruning`: the definition, counts, chance, seeds, units, every kind of array."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import dtype_name
from tests.methods.problems import fractions
from tests.unit_networks import NETWORKS, labels, problem

FRACTIONS = {key: fractions(value) for key, value in problem("perceptron")[1].items()}


def flat(network, arrays):
    return np.concatenate([np.ravel(arrays[key]) for key in network.prunable])


@pytest.mark.parametrize("name", NETWORKS)
def test_is_the_definition(name):
    network, params, *_ = problem(name)
    weight = flat(network, params)
    for count in (0, 1, len(weight) // 3, len(weight)):
        answer = rp.random_pruning(network, params, rp.Unstructured(keep=len(weight) - count), rng=5)
        right, mask = definitions.random_pruning(weight, count, np.random.default_rng(5))
        assert_array_equal(flat(network, answer.mask), mask)
        assert_array_equal(flat(network, answer.weight), right)
        for key in params.keys() - set(network.prunable):
            assert_array_equal(answer.weight[key], params[key])
    assert_array_equal(flat(network, answer.scores), np.random.default_rng(5).random(len(weight)))


@pytest.mark.parametrize(
    "pattern",
    [
        rp.Unstructured(sparsity=0.4),
        rp.Unstructured(sparsity=0.4, scope="layer"),
        rp.Unstructured(keep=1, scope="row"),
        rp.NM(1, 2, remainder="dense"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_the_pattern(name, pattern):
    network, params, *_ = problem(name)
    answer = rp.random_pruning(network, params, pattern, rng=2)
    if getattr(pattern, "scope", None) is None and isinstance(pattern, rp.Unstructured):
        total = sum(mask.size for mask in answer.mask.values())
        assert np.count_nonzero(~flat(network, answer.mask)) == round(0.4 * total)
    else:
        assert all(pattern.admits(mask) for mask in answer.mask.values())
    assert all((answer.weight[key][~mask] == 0).all() for key, mask in answer.mask.items())


def test_every_set_has_the_same_chance():
    """Two of four weights: each of the six sets in about a sixth of 3,000 draws; 5 standard deviations."""
    network = rp.mlp([2, 2], bias=False)
    params, rng = {"0.weight": np.array([[100.0, 0.0], [-1e-3, 1.0]])}, np.random.default_rng(0)
    found = {}
    for _ in range(3000):
        kept = tuple(
            np.flatnonzero(rp.random_pruning(network, params, rp.Unstructured(keep=2), rng).mask["0.weight"])
        )
        found[kept] = found.get(kept, 0) + 1
    assert len(found) == 6
    assert max(abs(count - 500) for count in found.values()) < 5 * (3000 * 5 / 36) ** 0.5


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("axis", [0, 1])
def test_units_go_as_a_whole_and_a_side_is_none(name, axis):
    network, params, *_ = problem(name)
    answer = rp.random_pruning(network, params, rp.Groups(keep=2, axis=axis), rng=3)
    rows, columns = labels(name, 0), labels(name, 1)
    drawn = np.random.default_rng(3).random(rows.max() + 1)
    gone = np.argsort(drawn)[:-2]
    out = np.isin(rows, gone) | np.isin(columns, gone)
    assert_array_equal(network.flatten(answer.weight), np.where(out, 0, network.flatten(params)))
    small, values = rp.shrink(network, answer.weight, answer.mask)
    assert small.size < network.size
    x = problem(name)[2]
    right = network.forward(answer.weight, x)
    assert np.abs(small.forward(values, x) - right).max() <= 1e-12 * np.abs(right).max()


def test_each_layer_loses_its_share():
    network = rp.mlp([3, 10, 20, 2])
    params = network.init(np.random.default_rng(0))
    answer = rp.random_pruning(network, params, rp.Groups(sparsity=0.5), 4, allocation="layer")
    rows = [np.count_nonzero(answer.mask[key].any(axis=1)) for key in network.prunable]
    assert rows == [5, 10, 2]


def test_seeds():
    network, params, *_ = problem("perceptron")
    half = rp.Unstructured(sparsity=0.5)
    one, again, other = (
        flat(network, rp.random_pruning(network, params, half, seed).mask) for seed in (1, 1, 2)
    )
    assert_array_equal(one, again)
    assert (one != other).any()
    rng = np.random.default_rng(1)
    first, second = (flat(network, rp.random_pruning(network, params, half, rng).mask) for _ in range(2))
    assert_array_equal(first, one)
    assert (second != one).any()


@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(sparsity=0.5), rp.NM(1, 2, remainder="dense"), rp.Groups(keep=2)]
)
def test_every_kind_of_array_sees_the_same(backend, pattern):
    network, params, *_ = problem("convolutions")
    right = rp.random_pruning(network, params, pattern, 7)
    own = {key: backend.asarray(a) for key, a in params.items()}
    answer = rp.random_pruning(network, own, pattern, 7)
    for key, mask in answer.mask.items():
        assert type(mask) is type(answer.weight[key]) is type(own[key])
        assert dtype_name(answer.weight[key].dtype) == backend.dtype
        assert_array_equal(backend.numpy(mask), right.mask[key])
        assert_array_equal(backend.numpy(answer.weight[key]) == 0, right.weight[key] == 0)
    for key, scores in answer.scores.items():
        assert type(scores) is type(own[key])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": None}, TypeError, "need a Network; got NoneType"),
        ({"params": {}}, ValueError, "missing"),
        (
            {"pattern": rp.Blocks(2, sparsity=0.5)},
            TypeError,
            "need pattern to be Unstructured, NM or Groups; got Blocks",
        ),
        ({"pattern": rp.Groups(keep=2, labels=np.arange(4))}, ValueError, "need Groups without labels"),
        ({"pattern": rp.Unstructured(keep=99)}, ValueError, "need keep <= 41"),
        ({"rng": -1}, ValueError, "need rng"),
        ({"rng": "seed"}, TypeError, "need rng"),
        ({"allocation": "global"}, ValueError, "need allocation with Groups alone; got 'global'"),
        (
            {"pattern": rp.Groups(keep=2), "allocation": "all"},
            ValueError,
            "need allocation to be global or layer",
        ),
        ({"network": rp.Network([rp.ReLU()]), "params": {}}, ValueError, "at least one Dense or Conv2d"),
        ({"params": FRACTIONS}, TypeError, "need floating arrays in methods"),
        ({"params": FRACTIONS, "pattern": rp.Groups(keep=2)}, TypeError, "need floating arrays in methods"),
    ],
)
def test_arguments_that_do_not_fit(changes, error, message):
    network, params, *_ = problem("perceptron")
    given = {
        "network": network,
        "params": params,
        "pattern": rp.Unstructured(sparsity=0.5),
        "rng": 0,
    } | changes
    with pytest.raises(error, match=message):
        rp.random_pruning(**given)


def chance(keep, make):
    """AssertionError unless masks keep `keep` of 12 weights, each about as often as the others in 400 draws."""
    kept = np.array([make(seed) for seed in range(400)])
    assert (kept.sum(axis=1) == keep).all(), "the count is wrong"
    assert (kept != kept[0]).any(), "the seed does nothing"
    share, expected = kept.mean(axis=0), keep / 12
    far = np.abs(share - expected).max() / (expected * (1 - expected) / 400) ** 0.5
    assert far < 5, "some weights have another chance"
    both = (kept[:, :-1] & kept[:, 1:]).mean(axis=0)  # neighbours stay together as often as any two
    assert np.abs(both - expected * (keep - 1) / 11).max() < 5 * 0.5 / 20, "weights do not go independently"


WRONG = {
    "the count is wrong": lambda rng: rng.random(12) > 0.5,  # a coin for each
    "some weights have another chance": lambda rng: np.argsort(np.argsort(rng.random(12) * np.arange(12))) >= 6,
    "weights do not go independently": lambda rng: np.roll(np.arange(12) < 6, rng.integers(12)),  # a run of six
    "the seed does nothing": lambda rng: np.random.default_rng(0).permutation(12) < 6,
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_known_mistakes_are_named(message):
    with pytest.raises(AssertionError, match=message):
        chance(6, lambda seed: WRONG[message](np.random.default_rng(seed)))


def test_ours_makes_none_of_them():
    network = rp.mlp([3, 4], bias=False)
    params = {"0.weight": np.arange(12.0).reshape(4, 3)}
    chance(
        6,
        lambda seed: (
            rp.random_pruning(network, params, rp.Unstructured(keep=6), seed).mask["0.weight"].ravel()
        ),
    )
