"""Random networks over all layers, spelled as ONNX files are read, and how two of them are compared."""

import numpy as np
import pytest

from refprune.network import Network

ACTIVATIONS = ["relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus"]


def random_network(seed):
    """A network, its parameters in float32 and a batch of inputs that it takes.

    Every third network has vectors as inputs, the others images of different height and width.
    """
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 7)),) if seed % 3 == 0 else (int(rng.integers(1, 4)) * 2, 11, 9)
    network = Network.from_dicts(_layers(rng, shape))
    params = network.init(rng, dtype="float32")
    for name, array in params.items():  # nothing is 0 or 1, or equal to another
        if not name.endswith("weight") or array.ndim == 1:
            params[name] = (1.5 + 0.5 * rng.uniform(-1, 1, array.shape)).astype("float32")
    return network, params, rng.normal(size=(3, *shape)).astype("float32")


def _layers(rng, shape):
    layers = []
    while len(shape) == 3 and min(shape[1:]) > 2 and len(layers) < 5:
        layers.append(_image_layer(rng, shape))
        shape = _after(layers[-1:], shape)
    if len(shape) == 3:
        end = [{"type": "globalavgpool"}][: rng.integers(2)] + [{"type": "flatten"}]
        layers, shape = layers + end, _after(end, shape)
    for _ in range(3):
        layers.append(_vector_layer(rng, shape))
        shape = _after(layers[-1:], shape)
    return [*layers, _dense(rng, shape[0], 3)]


def _after(layers, shape):
    for layer in Network.from_dicts(layers).layers:
        shape = layer.output_shape(shape)
    return shape


def _vector_layer(rng, shape):
    kind = rng.choice(["dense", "activation", "residual"])
    if kind == "dense":
        return _dense(rng, shape[0], int(rng.integers(2, 6)))
    if kind == "activation":
        return {"type": str(rng.choice(ACTIVATIONS))}
    wide, out = int(rng.integers(2, 6)), shape[0]
    body = [_dense(rng, shape[0], wide), {"type": "tanh"}, _dense(rng, wide, out)]
    shortcut = [[], [_dense(rng, shape[0], out)], [{"type": "silu"}]][rng.integers(3)]
    return _residual(body, shortcut)


def _image_layer(rng, shape):
    kinds = ["conv2d", "conv2d", "maxpool2d", "avgpool2d", "batchnorm2d", "activation", "residual"]
    kind = str(rng.choice(kinds))
    channels = shape[0]
    if kind == "conv2d":
        groups = [1, 2, channels][rng.integers(3)]
        return _conv(rng, channels, 2 * groups, groups)  # even, so that two groups always fit
    if kind == "batchnorm2d":
        return {"type": kind, "channels": channels, "eps": [1e-5, 1e-3, 0.02][rng.integers(3)]}
    if kind == "activation":
        return {"type": str(rng.choice(ACTIVATIONS))}
    if kind == "residual":
        same = {
            "type": "conv2d",
            "in_channels": channels,
            "out_channels": channels,
            "kernel": 3,
            "padding": 1,
        }
        inner = _residual([{"type": "batchnorm2d", "channels": channels}], [])
        shortcut = [[], [{**same, "kernel": 1, "padding": 0, "bias": False}]][rng.integers(2)]
        return _residual([same, [inner, {"type": "gelu"}][rng.integers(2)]], shortcut)
    pool = {"type": kind, "kernel": 2, "stride": [1, 2, (2, 1)][rng.integers(3)], "dilation": 1}
    pool["padding"] = [0, (0, 1), ((1, 0), (0, 1))][rng.integers(3)]
    return pool | ({"count_padding": bool(rng.integers(2))} if kind == "avgpool2d" else {})


def _conv(rng, inputs, outputs, groups):
    return {
        "type": "conv2d",
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel": [1, 2, 3, (3, 2), (1, 3)][rng.integers(5)],
        "stride": [1, 2, (1, 2)][rng.integers(3)],
        "padding": [1, (2, 1), ((1, 0), (2, 1))][rng.integers(3)],
        "dilation": [1, 2, (1, 2)][rng.integers(3)],
        "groups": groups,
        "bias": bool(rng.integers(2)),
    }


def _dense(rng, inputs, outputs):
    return {"type": "dense", "inputs": inputs, "outputs": outputs, "bias": bool(rng.integers(2))}


def _residual(body, shortcut):
    return {"type": "residual", "body": body} | ({"shortcut": shortcut} if shortcut else {})


def equal(found, expected):
    """Both are (network, params): the same plain data, and the same numbers bit for bit, in the same order."""
    assert found[0].to_dicts() == expected[0].to_dicts()
    assert list(found[1]) == list(expected[1])
    for name, array in expected[1].items():
        assert found[1][name].dtype == array.dtype
        assert found[1][name].tobytes() == np.ascontiguousarray(array).tobytes()


def runtime(model, x):
    """The output of onnxruntime, on one thread and without its rewritings of the graph."""
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    return output
