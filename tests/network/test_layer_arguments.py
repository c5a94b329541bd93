"""Arguments of layers: errors by message, what does not fit and where, equality, words and plain data."""

import copy
import json
import pickle
from functools import partial

import numpy as np
import pytest

from refprune.network import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    Network,
    ReLU,
    ReLU6,
    Residual,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from refprune.network.dicts import TYPES

LAYERS = [
    Dense(2, 3), Dense(2, 3, bias=False), Conv2d(2, 4, 3),
    Conv2d(2, 4, (1, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), 2, False),
    ReLU(), ReLU6(), Tanh(), Sigmoid(), GELU(), SiLU(), Softplus(), MaxPool2d(2), MaxPool2d((2, 3), 1, (1, 0), 2),
    AvgPool2d(2), AvgPool2d(3, 2, ((0, 1), (1, 1)), count_padding=False), GlobalAvgPool(), Flatten(), BatchNorm2d(4),
    BatchNorm2d(4, eps=0.01), Residual([Tanh()]), Residual([Dense(2, 2), Tanh()], [Dense(2, 2)]),
    Residual([ReLU()], []),
]  # fmt: skip
CONV = partial(Conv2d, in_channels=2, out_channels=4, kernel=3)
POOL, AVERAGE = partial(MaxPool2d, kernel=2), partial(AvgPool2d, kernel=2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dense(0, 3), ValueError, "need inputs >= 1; got 0"),
        (lambda: Dense(2, -1), ValueError, "need outputs >= 1; got -1"),
        (lambda: Dense(2.0, 3), TypeError, "need inputs to be an integer; got 2.0"),
        (lambda: Dense(True, 3), TypeError, "need inputs to be an integer; got True"),
        (lambda: Dense(2, 3, bias=1), TypeError, "need bias to be True or False; got 1"),
        (lambda: Dense(2, 3, bias=None), TypeError, "need bias to be True or False; got None"),
        (lambda: CONV(in_channels=0), ValueError, "need in_channels >= 1; got 0"),
        (lambda: CONV(out_channels="4"), TypeError, "need out_channels to be an integer; got '4'"),
        (lambda: CONV(groups=0), ValueError, "need groups >= 1; got 0"),
        (lambda: CONV(groups=3), ValueError, "need groups that divide the channels 2 and 4; got 3"),
        (lambda: CONV(groups=4), ValueError, "need groups that divide the channels 2 and 4; got 4"),
        (lambda: CONV(kernel=0), ValueError, "need kernel >= 1; got 0"),
        (lambda: CONV(kernel=(3, 0)), ValueError, "need kernel >= 1; got 0"),
        (lambda: CONV(kernel=(3, 3, 3)), ValueError, r"need kernel to be an integer or a pair; got \(3, 3, 3\)"),
        (lambda: CONV(kernel=2.5), TypeError, "need kernel to be an integer; got 2.5"),
        (lambda: CONV(stride=0), ValueError, "need stride >= 1; got 0"),
        (lambda: CONV(stride=None), TypeError, "need stride to be an integer; got None"),
        (lambda: CONV(dilation=(1, 0)), ValueError, "need dilation >= 1; got 0"),
        (lambda: CONV(padding=-1), ValueError, "need padding >= 0; got -1"),
        (lambda: CONV(padding=((0, -1), (0, 0))), ValueError, "need padding >= 0; got -1"),
        (lambda: CONV(padding=(1, 1, 1, 1)), ValueError, "need padding .* or a pair of pairs; got"),
        (lambda: CONV(padding="same"), TypeError, "need padding to be an integer; got 'same'"),
        (lambda: CONV(bias="yes"), TypeError, "need bias to be True or False; got 'yes'"),
        (lambda: POOL(kernel=0), ValueError, "need kernel >= 1; got 0"),
        (lambda: POOL(stride=(1, 0)), ValueError, "need stride >= 1; got 0"),
        (lambda: POOL(padding=-1), ValueError, "need padding >= 0; got -1"),
        (lambda: POOL(dilation=0), ValueError, "need dilation >= 1; got 0"),
        (lambda: AVERAGE(kernel=None), TypeError, "need kernel to be an integer; got None"),
        (lambda: AVERAGE(count_padding=0), TypeError, "need count_padding to be True or False; got 0"),
        (lambda: BatchNorm2d(0), ValueError, "need channels >= 1; got 0"),
        (lambda: BatchNorm2d(2, 0.0), ValueError, r"need eps in \(0, 1\); got 0.0"),
        (lambda: BatchNorm2d(2, -1e-5), ValueError, r"need eps in \(0, 1\); got -1e-05"),
        (lambda: BatchNorm2d(2, np.nan), ValueError, r"need eps in \(0, 1\); got nan"),
        (lambda: BatchNorm2d(2, True), ValueError, r"need eps in \(0, 1\); got True"),
        (lambda: BatchNorm2d(2, "1e-5"), ValueError, r"need eps in \(0, 1\); got '1e-5'"),
        (lambda: Residual([]), ValueError, "need at least one layer in body; got none"),
        (lambda: Residual(ReLU()), TypeError, "need body to be a list of layers; got ReLU"),
        (lambda: Residual([ReLU], None), TypeError, "need layers in body; got <class .*ReLU'> at 0"),
        (lambda: Residual([ReLU()], [np.tanh]), TypeError, "need layers in shortcut; got <ufunc 'tanh'> at 0"),
        (lambda: Residual([ReLU()], ReLU()), TypeError, "need shortcut to be a list of layers; got ReLU"),
        (lambda: Network(ReLU()), TypeError, "need layers to be a list of layers; got ReLU"),
        (lambda: Network([ReLU(), "relu"]), TypeError, "need layers in layers; got 'relu' at 1"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Dense(3, 2)], (4,), r"layer 0: need samples of shape \(3,\) for Dense\(.*\); got \(4,\)"),
        ([Dense(3, 2)], (3, 1, 1), r"layer 0: need samples of shape \(3,\) .*; got \(3, 1, 1\)"),
        ([Dense(3, 2), ReLU(), Dense(3, 1)], (3,), r"layer 2: need samples of shape \(3,\).*; got \(2,\)"),
        ([Conv2d(2, 3, 2)], (3, 4, 4), r"layer 0: need images of shape \(2, height, width\) .*got \(3, 4, 4\)"),
        ([Conv2d(2, 3, 2)], (2,), r"layer 0: need images of shape \(2, height, width\) for Conv2d; got \(2,\)"),
        ([Conv2d(1, 3, 3)], (1, 2, 5), r"layer 0: need a kernel that fits .*extent \(3, 3\) for images \(2, 5\)"),
        ([Conv2d(1, 3, 2, dilation=4)], (1, 4, 9), r"layer 0: .*extent \(5, 5\) for images \(4, 9\)"),
        ([ReLU(), MaxPool2d(3)], (1, 2, 5), r"layer 1: need a kernel that fits the padded images"),
        ([MaxPool2d(2)], (4,), r"layer 0: need images of shape \(channels, height, width\) for MaxPool2d; got \(4,\)"),
        ([AvgPool2d(2)], (4,), r"layer 0: need images of shape \(channels, height, width\) for AvgPool2d"),
        ([AvgPool2d(1, padding=1)], (1, 2, 2), r"need a pixel in every window of AvgPool2d.*got images \(2, 2\)"),
        ([GlobalAvgPool(), Flatten(), GlobalAvgPool()], (2, 3, 3), "layer 2: need images .* for GlobalAvgPool"),
        ([BatchNorm2d(2)], (3, 4, 4), r"layer 0: need images of shape \(2, height, width\) for BatchNorm2d"),
        ([ReLU(), Residual([Dense(2, 3)])], (2,), r"layer 1: need a body and a shortcut of one shape; got \(3,\)"),
        ([Residual([Tanh(), Dense(4, 2)])], (2,), r"layer 0.body.1: need samples of shape \(4,\)"),
        ([Residual([Dense(2, 3)], [Dense(3, 3)])], (2,), r"layer 0.shortcut.0: need samples of shape \(3,\)"),
        ([Residual([Dense(2, 3)], [Dense(2, 4)])], (2,), r"one shape; got \(3,\) and \(4,\)"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_named(layers, shape, message):
    network = Network(layers)
    with pytest.raises(ValueError, match=message):
        network.output_shape(shape)
    with pytest.raises(ValueError, match=message):  # before any work, also of a call
        network.forward(network.init(np.random.default_rng(0)), np.zeros((1, *shape)))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_words_equality_and_plain_data(layer):
    assert eval(repr(layer)) == layer  # the words are the call
    assert copy.deepcopy(layer) == layer
    assert pickle.loads(pickle.dumps(layer)) == layer
    data = layer.to_dict()
    assert TYPES[data["type"]] is type(layer)
    through = json.loads(json.dumps(data))
    assert through == data
    (again,) = Network.from_dicts([through]).layers
    assert again == layer
    assert type(again) is type(layer)
    assert sum(layer == other for other in LAYERS) == 1
    assert layer != data


def test_layers_are_hashable_and_frozen():
    assert len({*LAYERS[:19], *LAYERS[:19]}) == 19
    with pytest.raises(AttributeError):
        Dense(2, 3).inputs = 4
    with pytest.raises(AttributeError):
        MaxPool2d(2).kernel = 3


def test_numbers_and_lists_of_any_kind_become_plain():
    two, three = np.int64(2), np.uint8(3)
    layers = [
        Dense(two, three),
        Conv2d(two, np.int32(4), [three, 1], (two, 1), [[1, 0], (np.int16(0), 2)], two, two),
        MaxPool2d([two, two], three),
        AvgPool2d(two, padding=np.int8(1)),
        BatchNorm2d(two),
    ]
    plain = [
        Dense(2, 3),
        Conv2d(2, 4, (3, 1), (2, 1), ((1, 0), (0, 2)), 2, 2),
        MaxPool2d((2, 2), 3),
        AvgPool2d(2, padding=1),
        BatchNorm2d(2),
    ]
    assert layers == plain
    assert repr(layers) == repr(plain)
    assert json.dumps([layer.to_dict() for layer in layers]) == json.dumps(
        [layer.to_dict() for layer in plain]
    )


def test_lists_of_layers_are_copied():
    body = [Tanh()]
    layer, network = Residual(body), Network(body)
    body.append(ReLU())
    assert layer == Residual([Tanh()])
    assert network.layers == [Tanh()]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"type": "dense"}, TypeError, "need a list of layers; got dict"),
        (["relu"], TypeError, "need a mapping for layer 0; got str"),
        ([{"type": "relu"}, {"inputs": 3}], ValueError, "need a type of dense, conv2d, .* for layer 1; got None"),
        ([{"type": "maxout"}], ValueError, "for layer 0; got 'maxout'"),
        ([{"type": "relu", "slope": 1}], ValueError, "need arguments of relu for layer 0: none; got 'slope'"),
        ([{"type": "dense", "inputs": 2, "units": 3}], ValueError, "layer 0: inputs, outputs, bias; got 'units'"),
        ([{"type": "dense", "inputs": 2}], TypeError, "layer 0: .*missing 1 required positional argument: 'outputs'"),
        ([{"type": "dense", "inputs": 2, "outputs": 0}], ValueError, "layer 0: need outputs >= 1; got 0"),
        ([{"type": "maxpool2d", "kernel": 1.5}], TypeError, "layer 0: need kernel to be an integer; got 1.5"),
        ([{"type": "residual", "body": []}], ValueError, "layer 0: need at least one layer in body; got none"),
        ([{"type": "residual", "body": [{"type": "x"}]}], ValueError, "for layer 0.body.0; got 'x'"),
        ([{"type": "residual", "body": {"type": "relu"}}], TypeError, "need a list of layers for 0.body; got dict"),
        (
            [
                {"type": "relu"},
                {"type": "residual", "body": [{"type": "tanh"}], "shortcut": [{"type": "avgpool2d", "kernel": 0}]},
            ],
            ValueError,
            "layer 1.shortcut.0: need kernel >= 1; got 0",
        ),
    ],
)  # fmt: skip
def test_plain_data_that_does_not_fit(data, error, message):
    with pytest.raises(error, match=message):
        Network.from_dicts(data)


def test_plain_data_stays_as_it_is():
    data = [{"type": "residual", "body": [{"type": "relu"}], "shortcut": None}]
    before = copy.deepcopy(data)
    assert Network.from_dicts(data).layers == [Residual([ReLU()])]
    assert data == before
