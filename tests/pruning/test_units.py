"""Links between layers: which rows of one layer are which columns of the next."""

import numpy as np
import pytest

import refprune as rp
from refprune.pruning.units import links, silence

RNG = np.random.default_rng(0)


def found(layers, shape=None):
    return [(link.producer, link.consumer, link.through) for link in links(rp.Network(layers), shape)]


def test_dense_layers_are_linked_one_to_one():
    (link,) = links(rp.Network([rp.Dense(3, 4), rp.Tanh(), rp.Dense(4, 2)]), (3,))
    assert (link.producer, link.consumer, link.through, link.units) == ("0", "2", (), 4)
    np.testing.assert_array_equal(link.columns, [0, 1, 2, 3])


def test_what_keeps_units_apart_lies_between():
    layers = [
        rp.Conv2d(1, 3, 3),
        rp.BatchNorm2d(3),
        rp.ReLU(),
        rp.Conv2d(3, 3, (1, 2), groups=3),
        rp.MaxPool2d(2),
        rp.Conv2d(3, 2, (2, 1)),
        rp.AvgPool2d(2),
        rp.Flatten(),
        rp.Dense(12, 5),
    ]
    assert found(layers, (1, 13, 16)) == [("0", "5", ("1", "3")), ("5", "8", ())]
    first, second = links(rp.Network(layers))
    np.testing.assert_array_equal(first.columns, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(second.columns, [0] * 6 + [1] * 6)


def test_residuals_are_linked_inside_and_not_across():
    inner = [rp.Conv2d(2, 3, 1), rp.ReLU(), rp.Residual([rp.ReLU()]), rp.Conv2d(3, 2, 1)]
    body = [rp.Conv2d(2, 4, 1), rp.ReLU(), rp.Conv2d(4, 2, 1), rp.Residual(inner)]
    layers = [
        rp.Conv2d(1, 2, 1),
        rp.Residual(body, [rp.Conv2d(2, 5, 1), rp.Conv2d(5, 2, 1)]),
        rp.Conv2d(2, 1, 1),
    ]
    assert found(layers) == [("1.body.0", "1.body.2", ()), ("1.shortcut.0", "1.shortcut.1", ())]


def test_convolutions_in_groups_have_no_links():
    layers = [rp.Conv2d(1, 4, 1), rp.Conv2d(4, 4, 1, groups=2), rp.Conv2d(4, 3, 1), rp.Conv2d(3, 2, 1)]
    assert found(layers) == [("2", "3", ())]
    # as many groups as channels, but two filters each: not depthwise
    assert found([rp.Conv2d(1, 2, 1), rp.Conv2d(2, 4, 1, groups=2), rp.Conv2d(4, 1, 1)]) == []


def test_one_channel_in_one_group_is_an_ordinary_convolution():
    layers = [rp.Conv2d(2, 1, 1), rp.Conv2d(1, 1, 3), rp.Conv2d(1, 2, 1)]
    assert found(layers) == [("0", "1", ()), ("1", "2", ())]


def test_depthwise_at_the_start_is_no_producer():
    assert found([rp.Conv2d(2, 2, 1, groups=2), rp.Conv2d(2, 3, 1), rp.Conv2d(3, 1, 1)]) == [("1", "2", ())]


def test_layers_that_do_not_fit_are_an_error():
    network = rp.Network([rp.Conv2d(1, 3, 1), rp.Flatten(), rp.Dense(10, 2)])
    with pytest.raises(ValueError, match="layer 2 in a multiple of the 3 units of 0; got 10"):
        links(network)
    with pytest.raises(ValueError, match="layer 2: need samples of shape"):
        links(network, (1, 2, 2))


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([rp.Conv2d(1, 3, 3), rp.Sigmoid(), rp.MaxPool2d(2), rp.Flatten(), rp.Dense(12, 4)], (1, 6, 6)),
        ([rp.Conv2d(2, 4, 1), rp.BatchNorm2d(4), rp.Tanh(), rp.Conv2d(4, 2, (2, 3), padding=1)], (2, 4, 4)),
        ([rp.Conv2d(1, 3, 2), rp.Conv2d(3, 3, 2, padding=1, groups=3), rp.Conv2d(3, 2, 2)], (1, 4, 5)),
        ([rp.Dense(5, 6), rp.Softplus(), rp.Dense(6, 2)], (5,)),
    ],
)
def test_the_columns_are_those_that_move_with_the_unit(layers, shape):
    # by experiment: change one row of the producer and see which columns of the consumer's inputs change
    network = rp.Network(layers)
    params = network.init(RNG)
    (link,) = links(network, shape)
    x = RNG.standard_normal((7, *shape))
    before = network.layer_inputs(params, x)[link.consumer]
    for unit in range(link.units):
        weight = params[f"{link.producer}.weight"].copy()
        weight[unit] += RNG.standard_normal(weight[unit].shape)
        after = network.layer_inputs(params | {f"{link.producer}.weight": weight}, x)[link.consumer]
        np.testing.assert_array_equal((before != after).any(axis=0), link.columns == unit)


def test_silence_removes_rows_biases_and_what_lies_between():
    layers = [rp.Conv2d(1, 3, 2), rp.BatchNorm2d(3), rp.Conv2d(3, 3, 1, groups=3), rp.Conv2d(3, 2, 1)]
    network = rp.Network(layers)
    params = {name: value + 0.5 for name, value in network.init(RNG).items()}
    masks = {"0.weight": np.ones((3, 1, 2, 2), bool)}
    masks["0.weight"][2, 0, 1, 1] = False
    params["0.weight"][2, 0, 1, 1] = 0.0
    (link,) = links(network)
    copies = ({n: v.copy() for n, v in params.items()}, {n: v.copy() for n, v in masks.items()})
    silent, left = silence(params, masks, link, np.array([0]))
    for given, copy in zip((params, masks), copies, strict=True):
        assert given.keys() == copy.keys()
        assert all(np.array_equal(given[name], copy[name]) for name in given)
    cleared = [f"0.{n}" for n in ("weight", "bias")] + [f"{k}.{n}" for k in "12" for n in ("weight", "bias")]
    for name in params:
        if name in cleared:
            assert (silent[name][0] == 0).all()
            np.testing.assert_array_equal(silent[name][1:], params[name][1:])
        else:  # running statistics and the consumer
            assert silent[name] is params[name]
    assert set(left) == {"0.weight", "2.weight"}
    assert not left["0.weight"][0].any()
    np.testing.assert_array_equal(left["0.weight"][1:], masks["0.weight"][1:])
    np.testing.assert_array_equal(left["2.weight"][:, 0, 0, 0], [False, True, True])


def test_a_silent_unit_emits_zero_before_its_activation():
    network = rp.Network([rp.Conv2d(1, 2, 2), rp.BatchNorm2d(2), rp.Conv2d(2, 1, 1, bias=False)])
    params = {name: value + 0.5 for name, value in network.init(RNG).items()}
    (link,) = links(network)
    silent, _ = silence(params, {}, link, [0, 1])
    np.testing.assert_array_equal(network.forward(silent, RNG.standard_normal((3, 1, 3, 3))), 0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_silence_keeps_dtypes(dtype):
    network = rp.Network([rp.Dense(2, 3), rp.Dense(3, 1)])
    params = {name: value.astype(dtype) for name, value in network.init(RNG).items()}
    silent, masks = silence(params, {}, links(network)[0], [1])
    assert {value.dtype.name for value in silent.values()} == {dtype}
    assert masks["0.weight"].dtype == bool


def test_silence_on_other_arrays(backend):
    network = rp.Network([rp.Conv2d(2, 3, 1), rp.BatchNorm2d(3), rp.Conv2d(3, 1, 1)])
    params = network.init(RNG)
    (link,) = links(network)
    expected, wanted = silence(params, {}, link, [0, 2])
    silent, masks = silence(
        {name: backend.asarray(value) for name, value in params.items()}, {}, link, [0, 2]
    )
    for got, plain in ((silent, expected), (masks, wanted)):
        assert got.keys() == plain.keys()
        for name, array in got.items():
            assert type(array) is type(backend.asarray(params["0.weight"]))
            np.testing.assert_array_equal(
                backend.numpy(array), plain[name].astype(backend.numpy(array).dtype)
            )
