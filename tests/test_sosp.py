"""`rp.sosp`: the definition, one product for all groups, invariances, whole units, `shrink`, arguments."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import dtype_name
from refprune.pruning.units import links
from tests.pruning.masked_networks import bound, images, parameters, vectors
from tests.unit_networks import EPS, NETWORKS, labels, make, problem

ALL = rp.Groups(sparsity=0)


def flat(scores):
    return np.concatenate([np.asarray(own) for own in scores.values()])


def close(found, right, factor=1e5):
    # a few hundred products of numbers of size 1, twice differentiated: 1e5 eps of the largest score
    assert_allclose(found, right, rtol=0, atol=factor * EPS * np.abs(right).max())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("against", ["groups", "all"])
@pytest.mark.parametrize("name", NETWORKS)
def test_is_the_definition(name, against, axis):
    for seed in range(3):
        network, params, x, y, loss = problem(name, seed)
        of = labels(name, axis)
        right = definitions.sosp_scores(network.to_dicts(), params, x, y, loss, of, against)
        answer = rp.sosp(network, params, x, y, rp.Groups(keep=3, axis=axis), loss=loss, against=against)
        close(flat(answer.scores), np.array(list(right.values())))
        assert [len(own) for own in answer.scores.values()] == [link.units for link in links(network)]
        gone = definitions.sosp(network.to_dicts(), params, x, y, loss, of, len(right) - 3, against)[1]
        kept = np.argsort(flat(answer.scores), kind="stable")[len(right) - 3 :]
        assert set(kept) == set(right) - set(gone)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_goes_is_the_unit_and_nothing_else(name, axis):
    """Rows, biases, BatchNorm, depthwise filters and the columns that read it, whichever side was scored."""
    network, params, x, y, loss = problem(name)
    before = {key: value.copy() for key, value in params.items()}
    answer = rp.sosp(network, params, x, y, rp.Groups(keep=2, axis=axis), loss=loss)
    order = np.argsort(flat(answer.scores), kind="stable")
    rows, columns = labels(name, 0), labels(name, 1)
    gone = np.isin(rows, order[:-2]) | np.isin(columns, order[:-2])
    assert_array_equal(network.flatten(answer.weight), np.where(gone, 0, network.flatten(params)))
    place = dict(
        zip(network.shapes, np.split(~gone, np.cumsum([a.size for a in split(network)])[:-1]), strict=True)
    )
    for key in network.prunable:
        assert_array_equal(answer.mask[key], place[key].reshape(network.shapes[key]))
    assert answer.mask.keys() == set(network.prunable)
    for key, value in params.items():
        assert_array_equal(value, before[key])  # nothing that was given has changed,
        assert not np.shares_memory(answer.weight[key], value)  # or is shared
    for key in network.constants:
        assert_array_equal(answer.weight[key], params[key])


def split(network):
    return [np.empty(shape) for shape in network.shapes.values()]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_gradient_and_one_product_for_all_groups(name):
    """Whatever the number of groups, and of layers that have them."""

    class Counting(rp.Network):
        def gradient(self, *args):
            calls["gradient"] += 1
            return super().gradient(*args)

        def hvp(self, params, x, y, v, loss):
            calls["hvp"] += 1
            assert v.ndim == 1, "one direction"
            return super().hvp(params, x, y, v, loss)

    calls, (network, params, x, y, loss) = Counter(), problem(name)
    rp.sosp(Counting(network.layers), params, x, y, rp.Groups(sparsity=0.5), loss=loss)
    assert calls == {"gradient": 1, "hvp": 1}


@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_masked_and_shrunk_networks_agree(seed):
    rng = np.random.default_rng(seed)
    layers, shape = (vectors if rng.integers(2) else images)(rng)
    network = rp.Network(layers)
    found = links(network)
    if not found:
        return
    params, x = parameters(network, rng), rng.normal(size=(5, *shape)) + 0.5
    y = rng.normal(size=network.forward(params, x).shape)
    pattern = rp.Groups(sparsity=rng.choice([0.25, 0.5, 0.75]), axis=int(rng.integers(2)))
    answer = rp.sosp(
        network, params, x, y, pattern, loss="squared", allocation=str(rng.choice(["global", "layer"]))
    )
    small, values = rp.shrink(network, answer.weight, answer.mask)
    outputs = network.forward(answer.weight, x)
    assert np.abs(small.forward(values, x) - outputs).max() <= bound(network, answer.weight, x)
    for link in found:  # what `silence` took is gone: a layer keeps one unit at least
        stays = [
            np.any(
                answer.mask[f"{link.consumer}.weight"].reshape(-1, len(link.columns))[:, link.columns == unit]
            )
            for unit in range(link.units)
        ]
        assert rows(small, link.producer) <= max(1, sum(stays))


def rows(network, key):
    return network.shapes[f"{key}.weight"][0]


def test_a_unit_that_nobody_needs_goes_first():
    """Weights out that are 0: its row scores 0. Weights in and bias that are 0: its row and its columns do."""
    network, params, x, y, _ = problem("perceptron, 1 layer")
    params["2.weight"][:, 2] = 0
    params["0.weight"][1], params["0.bias"][1] = 0, 0
    rows, columns = (rp.sosp(network, params, x, y, rp.Groups(keep=3, axis=axis)) for axis in (0, 1))
    assert rows.scores["0.weight"][2] == rows.scores["0.weight"][1] == columns.scores["0.weight"][1] == 0
    assert not rows.mask["0.weight"][1].any()  # the first of two
    assert not columns.mask["0.weight"][1].any()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["perceptron", "convolutions"])
def test_the_order_of_units_does_not_matter(name, axis):
    network, params, x, y, loss = problem(name)
    scores = rp.sosp(network, params, x, y, rp.Groups(sparsity=0, axis=axis), loss=loss).scores
    other, names = dict(params), NETWORKS[name][2]
    swapped = rp.sosp(
        network, _turned(network, other, names, name), x, y, rp.Groups(sparsity=0, axis=axis), loss=loss
    )
    first = next(iter(scores))
    close(swapped.scores[first][::-1], scores[first])
    for key in list(scores)[1:]:
        close(swapped.scores[key], scores[key])


def _turned(network, params, names, name):
    """The first layer's units backwards: their rows and the columns that read them."""
    for key, start in names.items():
        if start == 0:
            params[key] = params[key][::-1].copy()
    link = links(network)[0]
    for key in link.through:
        for own in ("running_mean", "running_var"):
            if f"{key}.{own}" in params:
                params[f"{key}.{own}"] = params[f"{key}.{own}"][::-1].copy()
    key = f"{link.consumer}.weight"
    params[key] = params[key][:, ::-1].copy()
    return params


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("against", ["groups", "all"])
def test_scaling_a_unit_up_and_its_readers_down_changes_nothing(axis, against):
    """With ReLU the network is the same; by a power of two not even rounding changes. Magnitudes do change."""
    network = rp.mlp([3, 5, 4, 2])
    rng = np.random.default_rng(8)
    params = {key: value + 0.1 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    x, y = rng.normal(size=(6, 3)), rng.integers(0, 2, size=6)
    scaled, c = dict(params), np.array([8.0, 1, 0.25, 1, 2])
    scaled |= {"0.weight": params["0.weight"] * c[:, None], "0.bias": params["0.bias"] * c}
    scaled |= {"2.weight": params["2.weight"] / c}
    pattern = rp.Groups(sparsity=0.5, axis=axis)
    one, other = (rp.sosp(network, p, x, y, pattern, against=against) for p in (params, scaled))
    for key, own in one.scores.items():
        assert_array_equal(other.scores[key], own)
    for key in one.mask:
        assert_array_equal(other.mask[key], one.mask[key])


@pytest.mark.parametrize("against", ["groups", "all"])
def test_with_relu_both_sides_of_a_unit_score_alike(against):
    """Twice the weights in and half of those out change nothing. Through pools and Flatten, inside a residual too;
    not with a BatchNorm between."""
    conv, inner = rp.Conv2d(1, 4, 2), [rp.Conv2d(3, 5, 1), rp.ReLU(), rp.Conv2d(5, 3, 1)]
    rest = [rp.Residual(inner), rp.Flatten(), rp.Dense(3, 6), rp.ReLU(), rp.Dense(6, 2)]
    between = [rp.ReLU(), rp.MaxPool2d(2, 1), rp.Conv2d(4, 3, 2, padding=1), rp.ReLU(), rp.AvgPool2d(2)]
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(6, 1, 4, 4)), rng.integers(0, 2, size=6)
    for norm in ([], [rp.BatchNorm2d(4)]):
        network = rp.Network([conv, *norm, *between, *rest])
        params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
        if norm:
            params |= {"1.running_mean": rng.normal(size=4), "1.running_var": np.ones(4)}
        rows, columns = (
            flat(rp.sosp(network, params, x, y, rp.Groups(sparsity=0, axis=axis), against=against).scores)
            for axis in (0, 1)
        )
        if norm:
            assert np.abs(rows - columns).max() > 1e-3 * rows.max()
        else:
            close(rows, columns)


def test_repeated_samples_change_nothing():
    network, params, x, y, loss = problem("convolutions", samples=6)
    scores = flat(rp.sosp(network, params, x, y, ALL, loss=loss).scores)
    twice = rp.sosp(network, params, np.concatenate([x, x]), np.concatenate([y, y]), ALL, loss=loss)
    close(flat(twice.scores), scores)


def test_layers_and_allocation():
    """A share of each layer, or of all; layers that are not named keep their units and do not count."""
    network = rp.mlp([6, 10, 20, 3])
    rng = np.random.default_rng(10)
    params, x, y = network.init(rng), rng.normal(size=(9, 6)), rng.integers(0, 3, size=9)

    def kept(pattern, **options):
        small, _ = rp.shrink(
            network, *(lambda a: (a.weight, a.mask))(rp.sosp(network, params, x, y, pattern, **options))
        )
        return [layer.outputs for layer in small.layers if isinstance(layer, rp.Dense)][:-1]

    assert kept(rp.Groups(sparsity=0.5), allocation="layer") == [5, 10]
    assert sum(kept(rp.Groups(sparsity=0.5))) == 15 != kept(rp.Groups(sparsity=0.5))[0] * 3
    assert kept(rp.Groups(keep=7), allocation="layer") == [7, 7]
    assert kept(rp.Groups(keep=7), layers=[2]) == kept(rp.Groups(keep=7), layers=["2.weight"]) == [10, 7]
    assert sum(kept(rp.Groups(keep=7))) == 7
    alone = rp.sosp(network, params, x, y, rp.Groups(keep=7), layers=["2"])
    of = np.concatenate([np.full(70, -1), np.repeat(np.arange(20), 10), np.arange(20), np.full(63, -1)])
    right = definitions.sosp_scores(network.to_dicts(), params, x, y, "cross_entropy", of)
    close(alone.scores["2.weight"], np.array(list(right.values())))  # the others are no part of theta_all
    assert list(alone.scores) == ["2.weight"]


def test_every_unit_may_go_and_none():
    network, params, x, y, _ = problem("perceptron")
    none, every = (rp.sosp(network, params, x, y, rp.Groups(sparsity=s)) for s in (0, 1))
    for key, value in params.items():
        assert_array_equal(none.weight[key], value)
    assert all(mask.all() for mask in none.mask.values())
    assert not any(mask.any() for mask in every.mask.values())
    assert [layer.outputs for layer in rp.shrink(network, every.weight, every.mask)[0].layers[::2]] == [
        1,
        1,
        2,
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_on_every_kind_of_array(backend, name):
    network, params, x, y, loss = problem(name)
    params, x = (
        {key: a.astype("float32").astype(float) for key, a in params.items()},
        x.astype("float32").astype(float),
    )
    y = y.astype("float32").astype(float) if loss == "squared" else y
    pattern = rp.Groups(keep=2)
    right = rp.sosp(network, params, x, y, pattern, loss=loss)
    own = {key: backend.asarray(a) for key, a in params.items()}
    answer = rp.sosp(network, own, backend.asarray(x), backend.asarray(y), pattern, loss=loss)
    for key, array in answer.weight.items():
        assert type(array) is type(own[key])
        assert dtype_name(array.dtype) == backend.dtype
        assert_array_equal(backend.numpy(array), right.weight[key])
    for key in network.prunable:
        assert type(answer.mask[key]) is type(own[key])
        assert_array_equal(backend.numpy(answer.mask[key]), right.mask[key])
    for key, scores in answer.scores.items():
        assert type(scores) is type(own[key])
        size = right.scores[key].max()
        assert_allclose(backend.numpy(scores), right.scores[key], rtol=0, atol=1e5 * backend.eps * size)


def test_half_precision_is_computed_in_single():
    network, params, x, y, _ = problem("perceptron")
    half = {key: a.astype("float16") for key, a in params.items()}
    answer = rp.sosp(network, half, x.astype("float16"), y, rp.Groups(keep=3))
    right = rp.sosp(
        network, {key: a.astype("float32") for key, a in half.items()}, x.astype("float16").astype("float32"), y,
        rp.Groups(keep=3),
    )  # fmt: skip
    for key, own in answer.scores.items():
        assert_array_equal(own, right.scores[key])
    assert {a.dtype.name for a in answer.weight.values()} == {"float16"}


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**300])
def test_the_scale_of_the_loss_is_no_matter(scale):
    """Squared loss, last layer and targets scaled by c: scores times c^2, exactly; masks stay."""
    network, params, x, y, loss = problem("convolutions")
    pattern = rp.Groups(keep=2)
    right = rp.sosp(network, params, x, y, pattern, loss=loss)
    scaled = params | {key: params[key] * scale for key in ("8.weight", "8.bias")}
    answer = rp.sosp(network, scaled, x, y * scale, pattern, loss=loss)
    for key, own in right.scores.items():
        assert_array_equal(answer.scores[key], own * scale**2)
    assert_array_equal(answer.mask["8.weight"], right.mask["8.weight"])


def homogeneous(c):
    """(network, params, x, y): the weights of two layers times c, what follows them by c too: scores times c^4."""
    network, params, x, _, _ = problem("perceptron, 1 layer")
    y = np.random.default_rng(11).normal(size=(len(x), 2))
    power = {"2.bias": 2}
    return network, {key: value * c ** power.get(key, 1) for key, value in params.items()}, x, y * c**2


@pytest.mark.parametrize("axis", [0, 1])
def test_a_tiny_loss_ranks_as_before(axis):
    """Scores below the smallest number, of derivatives that are not: what is ranked keeps its digits."""
    pattern = rp.Groups(keep=2, axis=axis)
    right = rp.sosp(*homogeneous(1.0), pattern, loss="squared")
    for power in (-200, -268, -300):
        answer = rp.sosp(*homogeneous(2.0**power), pattern, loss="squared")
        assert_array_equal(answer.mask["0.weight"], right.mask["0.weight"])
        assert_array_equal(answer.mask["2.weight"], right.mask["2.weight"])
        assert_array_equal(answer.scores["0.weight"], np.ldexp(right.scores["0.weight"], 4 * power))


@pytest.mark.parametrize(("power", "what"), [(300, "a score"), (360, "a derivative")])
def test_what_is_beyond_the_range_is_an_error(power, what):
    """With no warning before."""
    with pytest.raises(np.linalg.LinAlgError, match=f"need {what} in the range of float64"):
        rp.sosp(*homogeneous(2.0**power), rp.Groups(keep=2), loss="squared")


def arguments(**changes):
    network, params, x, y, _ = problem("perceptron")
    given = {"network": network, "params": params, "x": x, "y": y, "pattern": rp.Groups(keep=2)} | changes
    return [given.pop(key) for key in ("network", "params", "x", "y", "pattern")], given


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"network": "mlp"}, TypeError, "need a Network; got str"),
        ({"pattern": rp.Unstructured(sparsity=0.5)}, TypeError, "need a Groups pattern; got Unstructured"),
        ({"pattern": rp.Groups(keep=2, labels=np.arange(5))}, ValueError, "need Groups without labels"),
        ({"pattern": rp.Groups(keep=9)}, ValueError, "need keep <= 8, the number of units per network; got 9"),
        ({"pattern": rp.Groups(keep=4), "allocation": "layer"}, ValueError, "need keep <= 3"),
        ({"allocation": "row"}, ValueError, "need allocation to be global or layer; got 'row'"),
        ({"allocation": None}, ValueError, "need allocation to be global or layer; got None"),
        ({"against": "others"}, ValueError, "need against to be groups or all; got 'others'"),
        ({"layers": "0"}, TypeError, "need layers to be a list of layers; got '0'"),
        ({"layers": ["4"]}, ValueError, r"need layers whose units can go, 0, 2, .*; got \['4'\]"),
        ({"layers": [0, "0.weight"]}, ValueError, "each once"),
        ({"layers": []}, ValueError, "at least one"),
        ({"loss": "hinge"}, ValueError, "hinge"),
        ({"y": np.zeros(7)}, TypeError, "need"),
        ({"x": np.zeros((7, 5))}, ValueError, "need"),
        ({"x": np.full((7, 4), np.nan)}, ValueError, "need finite numbers in x"),
        ({"params": {}}, ValueError, "missing"),
        ({"network": rp.mlp([4, 2]), "params": rp.mlp([4, 2]).init(np.random.default_rng(0))}, ValueError,
         "need a network with units that can go; got none"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(changes, error, message):
    positional, options = arguments(**changes)
    with pytest.raises(error, match=message):
        rp.sosp(*positional, **options)


def test_networks_here_have_the_units_that_they_say():
    for name in NETWORKS:
        assert (
            sum(link.units for link in links(make(name)))
            == labels(name, 0).max() + 1
            == labels(name, 1).max() + 1
        )
