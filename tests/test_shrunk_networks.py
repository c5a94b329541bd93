"""Units removed from a network: the outputs are those of the masked network, and what can go is gone."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refprune as rp
from refprune.arrays import dtype_name
from refprune.pruning.units import links, silence
from tests.pruning.masked_networks import bound, images, masked, masks, parameters, vectors


def sizes(network):
    """The units of every Dense and Conv2d but the last."""
    return [network.shapes[name][0] for name in network.prunable][:-1]


def same_outputs(network, params, small, values, x):
    expected, got = network.forward(params, x), small.forward(values, x)
    assert got.shape == expected.shape
    wrong = np.abs(got - expected).max()
    assert wrong <= bound(network, params, x), f"outputs differ by {wrong:.3g}"


def check(layers, shape, rng):
    network = rp.Network(layers)
    found = masks(network, rng)
    params = masked(parameters(network, rng), found)
    small, values = rp.shrink(network, params, found)
    x = 3 * rng.normal(size=(5, *shape)) + 0.5
    same_outputs(network, params, small, values, x)
    if not any(isinstance(layer, rp.Flatten) for layer in layers) and len(shape) == 3:
        larger = (shape[0], shape[1] + 3, shape[2] + 1)
        same_outputs(network, params, small, values, rng.normal(size=(2, *larger)))
    assert all(a <= b for a, b in zip(sizes(small), sizes(network), strict=True))
    left = {name: values[name] != 0 for name in found}  # no kept weight is 0
    assert rp.shrink(small, values, left)[0].layers == small.layers, "there was more to remove"
    return sum(sizes(network)) - sum(sizes(small))


@given(st.integers(0, 2**32))
def test_masked_and_shrunk_perceptrons_agree(seed):
    rng = np.random.default_rng(seed)
    check(*vectors(rng), rng)


@given(st.integers(0, 2**32))
def test_masked_and_shrunk_convolutional_networks_agree(seed):
    rng = np.random.default_rng(seed)
    check(*images(rng), rng)


def test_the_generated_networks_lose_units():
    rng = np.random.default_rng(5)
    lost = [check(*draw(rng), rng) for draw in [vectors, images] * 25]
    assert np.count_nonzero(lost) >= 25


def network_of(layers, seed=0):
    """A network with parameters that are all positive: no activation is 0 by chance."""
    network, rng = rp.Network(layers), np.random.default_rng(seed)
    return network, {
        name: rng.uniform(0.2, 1.0, size=shape)
        for name, shape in (network.shapes | network.constants).items()
    }


def shrunk(network, params, found, x=None):
    """`rp.shrink` of the masked parameters; on `x` its outputs are compared."""
    params = masked(params, found)
    small, values = rp.shrink(network, params, found)
    if x is not None:
        same_outputs(network, params, small, values, x)
    return small, values


def rows_pruned(network, name, rows):
    mask = np.ones(network.shapes[name], dtype=bool)
    mask[rows] = False
    return {name: mask}


def columns_pruned(network, name, columns):
    mask = np.ones(network.shapes[name], dtype=bool)
    mask[:, columns] = False
    return {name: mask}


X = np.random.default_rng(9).normal(size=(4, 3))
IMAGES = np.random.default_rng(9).normal(size=(4, 2, 6, 7))


def test_a_unit_that_nobody_reads_goes_with_all_that_is_its_own():
    layers = [
        rp.Conv2d(2, 3, 2), rp.BatchNorm2d(3), rp.Conv2d(3, 3, 2, padding=1, groups=3), rp.Sigmoid(),
        rp.Conv2d(3, 2, 1),
    ]  # fmt: skip
    network, params = network_of(layers)
    small, values = shrunk(network, params, columns_pruned(network, "4.weight", [1]), IMAGES)
    assert small.layers[:3] == [
        rp.Conv2d(2, 2, 2), rp.BatchNorm2d(2), rp.Conv2d(2, 2, 2, padding=1, groups=2),
    ]  # fmt: skip
    for name in params:
        if name[0] in "012":
            np.testing.assert_array_equal(values[name], params[name][[0, 2]])
    np.testing.assert_array_equal(values["4.weight"], params["4.weight"][:, [0, 2]])
    np.testing.assert_array_equal(values["4.bias"], params["4.bias"])


def test_a_dead_row_leaves_its_constant_in_the_next_bias():
    network, params = network_of([rp.Dense(3, 4), rp.Sigmoid(), rp.Dense(4, 2)])
    small, values = shrunk(network, params, rows_pruned(network, "0.weight", [1, 2]), X)
    assert small.layers == [rp.Dense(3, 2), rp.Sigmoid(), rp.Dense(2, 2)]
    constants = 1 / (1 + np.exp(-params["0.bias"][[1, 2]]))
    expected = params["2.bias"] + params["2.weight"][:, 1:3] @ constants
    np.testing.assert_allclose(values["2.bias"], expected, rtol=8e-16)  # four products and sums of one sign


def test_without_biases_a_dead_row_emits_what_its_activation_makes_of_zero():
    for activation, bias in ((rp.ReLU(), False), (rp.Sigmoid(), True)):
        layers = [rp.Dense(3, 4, bias=False), activation, rp.Dense(4, 2, bias=False)]
        network, params = network_of(layers)
        small, _ = shrunk(network, params, rows_pruned(network, "0.weight", [0]), X)
        assert small.layers[2] == rp.Dense(3, 2, bias=bias)


def test_what_nobody_reads_adds_no_bias():
    network, params = network_of([rp.Dense(3, 4), rp.Sigmoid(), rp.Dense(4, 2, bias=False)])
    for found in ({}, rows_pruned(network, "0.weight", [1])):
        small, _ = shrunk(network, params, found | columns_pruned(network, "2.weight", [1]), X)
        assert small.layers == [rp.Dense(3, 3), rp.Sigmoid(), rp.Dense(3, 2, bias=False)]


def test_every_position_behind_flatten_is_folded():
    layers = [rp.Conv2d(2, 3, 2), rp.MaxPool2d(2), rp.Flatten(), rp.Dense(18, 3)]
    network, params = network_of(layers)
    small, values = shrunk(network, params, rows_pruned(network, "0.weight", [1]), IMAGES)
    assert small.layers[3] == rp.Dense(12, 3)
    expected = params["3.bias"] + params["3.weight"][:, 6:12].sum(axis=1) * params["0.bias"][1]
    np.testing.assert_allclose(values["3.bias"], expected, rtol=2e-15)  # eight products and sums of one sign


PADDED = [
    [rp.Conv2d(3, 2, 3, padding=1)],
    [rp.Conv2d(3, 2, 2, padding=((0, 0), (0, 1)))],
    [rp.AvgPool2d(2, 1, 1), rp.Conv2d(3, 2, 1)],
    [rp.Conv2d(3, 3, 2, padding=1, groups=3), rp.Conv2d(3, 2, 1)],
]
UNPADDED = [
    [rp.Conv2d(3, 2, 3)],
    [rp.AvgPool2d(2, 1, 1, count_padding=False), rp.Conv2d(3, 2, 1)],
    [rp.MaxPool2d(2, 1, 1), rp.Conv2d(3, 2, 1)],
    [rp.GlobalAvgPool(), rp.Conv2d(3, 2, 1)],
    [rp.Conv2d(3, 3, 2, groups=3), rp.BatchNorm2d(3), rp.Conv2d(3, 2, 1)],
]


@pytest.mark.parametrize("after", PADDED + UNPADDED)
@pytest.mark.parametrize("zero", [False, True])
def test_only_zero_is_folded_into_padding(after, zero):
    """With a negative bias the rectifier emits 0, which is what padding is."""
    network, params = network_of([rp.Conv2d(2, 3, 1), rp.ReLU(), *after])
    if zero:
        params["0.bias"] = -params["0.bias"]
    small, _ = shrunk(network, params, rows_pruned(network, "0.weight", [2]), IMAGES)
    assert sizes(small)[0] == (2 if zero or after in UNPADDED else 3)


def test_batch_normalisation_makes_a_constant_of_zero():
    """The mistake of masks that cover weights alone: the channel still emits the shift."""
    layers = [rp.Conv2d(2, 3, 1, bias=False), rp.BatchNorm2d(3), rp.ReLU(), rp.Conv2d(3, 2, 1)]
    network, params = network_of(layers)
    small, values = shrunk(network, params, rows_pruned(network, "0.weight", [0]), IMAGES)
    mean, var = params["1.running_mean"][0], params["1.running_var"][0]
    shift = params["1.bias"][0] - params["1.weight"][0] * mean / np.sqrt(var + 1e-5)
    assert shift > 0
    np.testing.assert_allclose(
        values["3.bias"], params["3.bias"] + params["3.weight"][:, 0, 0, 0] * shift, rtol=1e-14
    )
    assert small.layers[1] == rp.BatchNorm2d(2)


def test_a_pruned_depthwise_filter_takes_the_filter_before_it_along():
    layers = [rp.Conv2d(2, 3, 1), rp.Conv2d(3, 3, 3, padding=1, groups=3), rp.Tanh(), rp.Conv2d(3, 2, 2)]
    network, params = network_of(layers)
    small, _ = shrunk(network, params, rows_pruned(network, "1.weight", [0, 2]), IMAGES)
    # one channel in one group: an ordinary convolution by now
    assert small.layers[:2] == [rp.Conv2d(2, 1, 1), rp.Conv2d(1, 1, 3, padding=1)]


def test_what_is_removed_makes_more_superfluous():
    network, params = network_of([rp.Dense(3, 3), rp.Tanh(), rp.Dense(3, 3), rp.Tanh(), rp.Dense(3, 2)])
    # backwards: only the second unit of layer 2 reads the first of layer 0, and nobody reads that one
    found = columns_pruned(network, "4.weight", [1]) | columns_pruned(network, "2.weight", [0])
    found["2.weight"][1, 0] = True
    assert sizes(shrunk(network, params, found, X)[0]) == [2, 2]
    # forwards: the second unit of layer 2 reads only a unit of layer 0 that is a constant
    found = rows_pruned(network, "0.weight", [0]) | rows_pruned(network, "2.weight", [1])
    found["2.weight"][1, 0] = True
    assert sizes(shrunk(network, params, found, X)[0]) == [2, 2]


@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_a_layer_keeps_one_unit(name):
    network, params = network_of([rp.Dense(3, 4), rp.Sigmoid(), rp.Dense(4, 2)])
    small, values = shrunk(network, params, {name: np.zeros(network.shapes[name], dtype=bool)}, X)
    assert sizes(small) == [1]
    np.testing.assert_array_equal(values["0.bias"], params["0.bias"][:1])


def test_residuals_shrink_inside_and_keep_what_they_sum():
    body = [rp.Conv2d(2, 4, 1), rp.ReLU(), rp.Conv2d(4, 2, 1)]
    layers = [rp.Conv2d(2, 2, 1), rp.Residual([rp.Tanh(), *body], [rp.Conv2d(2, 3, 1), rp.Conv2d(3, 2, 1)])]
    network, params = network_of([*layers, rp.Conv2d(2, 2, 1)])
    found = {}
    for name, row in (
        ("0.weight", 0),
        ("1.body.1.weight", 3),
        ("1.body.3.weight", 1),
        ("1.shortcut.0.weight", 2),
    ):
        found |= rows_pruned(network, name, [row])
    small, _ = shrunk(network, params, found, IMAGES)
    assert sizes(small) == [2, 3, 2, 2, 2]
    assert small.layers[1].body[1] == rp.Conv2d(2, 3, 1)


def test_convolutions_in_groups_keep_their_units():
    layers = [rp.Conv2d(2, 4, 1), rp.Conv2d(4, 4, 1, groups=2), rp.Conv2d(4, 2, 1)]
    network, params = network_of(layers)
    found = rows_pruned(network, "0.weight", [0]) | rows_pruned(network, "1.weight", [0])
    assert shrunk(network, params, found, IMAGES)[0].layers == layers


def test_zeros_that_no_mask_prunes_stay():
    network, params = network_of([rp.Dense(3, 4), rp.ReLU(), rp.Dense(4, 2)])
    params["0.weight"][1], params["2.weight"][:, 2] = 0, 0
    for found in ({}, {"0.weight": np.ones((4, 3), dtype=bool)}):
        assert rp.shrink(network, params, found)[0].layers == network.layers


def test_inputs_and_outputs_keep_their_shape():
    network, params = network_of([rp.Dense(3, 4), rp.ReLU(), rp.Dense(4, 2)])
    found = columns_pruned(network, "0.weight", [1]) | rows_pruned(network, "2.weight", [0])
    assert shrunk(network, params, found, X)[0].layers == network.layers


def test_units_that_were_silenced_are_removed():
    layers = [
        rp.Conv2d(2, 4, 2), rp.BatchNorm2d(4), rp.Sigmoid(), rp.Conv2d(4, 4, 2, padding=1, groups=4), rp.Flatten(),
        rp.Dense(4 * 6 * 7, 3),
    ]  # fmt: skip
    network, params = network_of(layers)
    (link,) = links(network, (2, 6, 7))
    found = columns_pruned(network, "5.weight", np.isin(link.columns, [0, 3]))
    params, found = silence(masked(params, found), found, link, [0, 3])
    assert sizes(shrunk(network, params, found, IMAGES)[0]) == [2, 2]


def test_networks_without_units_stay():
    layers = [rp.BatchNorm2d(2), rp.ReLU()]
    network, params = network_of(layers)
    assert rp.shrink(network, params, {})[0].layers == layers
    assert rp.shrink(rp.Network([rp.ReLU()]), {}, {})[1] == {}


def test_arguments_stay_and_answers_are_new():
    network, params = network_of([rp.Dense(3, 4), rp.Tanh(), rp.Dense(4, 2)])
    found = rows_pruned(network, "0.weight", [1])
    params = masked(params, found)
    for array in (*params.values(), *found.values()):
        array.flags.writeable = False
    copies = {name: value.copy() for name, value in params.items()}
    for pruned in (found, {}):
        _, values = rp.shrink(network, params, pruned)
        assert not any(np.shares_memory(a, b) for a in values.values() for b in params.values())
    assert all(np.array_equal(params[name], copies[name]) for name in params)
    assert network.layers == [rp.Dense(3, 4), rp.Tanh(), rp.Dense(4, 2)]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes_are_kept(dtype):
    layers = [rp.Conv2d(2, 3, 2), rp.BatchNorm2d(3), rp.Tanh(), rp.Flatten(), rp.Dense(90, 2, bias=False)]
    network, params = network_of(layers)
    params = {name: value.astype(dtype) for name, value in params.items()}
    params["4.weight"] /= 16
    found = rows_pruned(network, "0.weight", [1])
    params = masked(params, found)
    small, values = rp.shrink(network, params, found)
    assert {array.dtype.name for array in values.values()} == {dtype}
    got, expected = small.forward(values, IMAGES), network.forward(params, IMAGES)
    # 30 terms of at most 1/16 in a bias that is rounded to the dtype, and sums of 90 such terms in float64
    assert np.abs(got - expected).max() <= 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_bias_keeps_its_own_dtype(bias):
    network, params = network_of([rp.Dense(3, 4), rp.Sigmoid(), rp.Dense(4, 2, bias)])
    params["2.weight"] = params["2.weight"].astype("float32")
    found = rows_pruned(network, "0.weight", [1])
    _, values = rp.shrink(network, masked(params, found), found)
    assert values["2.bias"].dtype == ("float64" if bias else "float32")  # a new one is like its weight


def test_other_arrays(backend):
    layers = [
        rp.Conv2d(2, 3, 2), rp.BatchNorm2d(3), rp.ReLU(), rp.Conv2d(3, 3, 1, groups=3), rp.AvgPool2d(2), rp.Flatten(),
        rp.Dense(18, 2, bias=False),
    ]  # fmt: skip
    network, params = network_of(layers)
    found = rows_pruned(network, "0.weight", [1]) | rows_pruned(network, "3.weight", [2])
    params = masked({name: value.astype("float32").astype(float) for name, value in params.items()}, found)
    expected, wanted = rp.shrink(network, params, found)
    moved = {name: backend.asarray(value) for name, value in params.items()}
    small, values = rp.shrink(network, moved, {name: backend.asarray(mask) for name, mask in found.items()})
    assert small.layers == expected.layers
    assert list(values) == list(wanted)
    for name, array in values.items():
        assert type(array) is type(moved["0.weight"])
        assert dtype_name(array.dtype) == backend.dtype
        # at most 18 products and sums of numbers of one size
        np.testing.assert_allclose(backend.numpy(array), wanted[name], rtol=64 * backend.eps)


def without_statistics(own):
    """Batch normalisation with mean 0 and variance 1."""

    def found(state, key):
        fixed = {"running_mean": 0.0, "running_var": 1.0}
        return {
            n: np.full_like(value, fixed[n]) if n in fixed else value for n, value in own(state, key).items()
        }

    return found


def first_position_only(fold):
    """A constant that is folded through one column of each unit."""

    def found(state, link, units, value):
        first = np.diff(link.columns, prepend=-1) > 0
        name = f"{link.consumer}.weight"
        weight = state.params[name]
        state.params[name] = np.where(first.reshape(weight.shape[1:]), weight, 0)
        fold(state, link, units, value)
        state.params[name] = weight

    return found


MISTAKES = {
    "the constant is dropped": ("_fold", lambda fold: lambda *_: None),
    "the constant is the bias, not what the activation makes of it": ("Elementwise", lambda kind: ()),
    "running statistics are forgotten": ("_State.own", without_statistics),
    "zeros around the image are forgotten": ("_padded", lambda padded: lambda layer: False),
    "one position of a filter is folded": ("_fold", first_position_only),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes_change_outputs(mistake, monkeypatch):
    """Masks that cover weights alone leave constants behind: what is forgotten of them shows in the outputs."""
    padding = int(mistake == "zeros around the image are forgotten")
    second, third = rp.Conv2d(3, 2, 3, padding=padding), rp.Dense(84 if padding else 40, 2)
    layers = [rp.Conv2d(2, 3, 1), rp.BatchNorm2d(3), rp.Sigmoid(), second, rp.Sigmoid(), rp.Flatten(), third]
    network, params = network_of(layers)
    found = rows_pruned(network, "0.weight", [1]) | rows_pruned(network, "3.weight", [0])
    shrunk(network, params, found, IMAGES)
    name, change = MISTAKES[mistake]
    module = importlib.import_module("refprune.shrink")
    owner = module._State if "." in name else module
    name = name.rpartition(".")[2]
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    with pytest.raises(AssertionError, match="outputs differ"):
        shrunk(network, params, found, IMAGES)


def test_errors():
    network, params = network_of([rp.Dense(3, 4), rp.ReLU(), rp.Dense(4, 2)])
    mask = np.ones((4, 3), dtype=bool)
    with pytest.raises(TypeError, match="need a Network; got list"):
        rp.shrink([], params, {})
    with pytest.raises(ValueError, match="need params named"):
        rp.shrink(network, {}, {})
    with pytest.raises(TypeError, match="need masks to be a dict"):
        rp.shrink(network, params, None)
    with pytest.raises(ValueError, match=r"need masks for 0.weight, 2.weight; got '1.weight'"):
        rp.shrink(network, params, {"1.weight": mask})
    with pytest.raises(TypeError, match="boolean"):
        rp.shrink(network, params, {"0.weight": mask + 1.0})
    with pytest.raises(ValueError, match="of shape"):
        rp.shrink(network, params, {"0.weight": mask.T})
    with pytest.raises(
        ValueError, match=r"need params\['0.weight'\] to be 0 where masks\['0.weight'\] prunes"
    ):
        rp.shrink(network, params, {"0.weight": ~mask})
    network, params = network_of([rp.Conv2d(1, 3, 1), rp.Flatten(), rp.Dense(10, 2)])
    with pytest.raises(ValueError, match="layer 2 in a multiple of the 3 units of 0; got 10"):
        rp.shrink(network, params, {})
