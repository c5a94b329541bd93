"""Convolutions and pools as ONNX places them: pads, auto_pad, ceil_mode, dilations; onnxruntime is the judge."""

from itertools import product

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX files are read here: pip install "refprune[onnx]"')
pytest.importorskip("onnxruntime", reason="onnxruntime is the judge here")

from refprune.interop import from_onnx  # noqa: E402
from tests.interop.onnx_graphs import agrees, model, node, weights  # noqa: E402


def layer_of(graph):
    (layer,) = from_onnx(graph)[0].to_dicts()
    return layer


def _gap(size, kernel, stride):
    """Whether ceil(size / stride) windows leave pixels over."""
    return (-(-size // stride) - 1) * stride + kernel < size


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("operator", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad(operator, strides, auto_pad):
    for size, kernel in product([(7, 8), (5, 9)], [(2, 3), (3, 4), (1, 2)]):
        if operator != "Conv" and any(_gap(*axis) for axis in zip(size, kernel, strides)):
            continue  # onnxruntime takes no negative padding of a pool
        attributes = {"auto_pad": auto_pad, "strides": strides}
        constants = {"w": weights(2, 3, *kernel)} if operator == "Conv" else {}
        attributes |= {} if constants else {"kernel_shape": kernel}
        graph = model(
            [node(operator, "x w" if constants else "x", "y", **attributes)], (2, 3, *size), constants
        )
        agrees(graph, weights(2, 3, *size, seed=1))


def test_auto_pad_without_strides_needs_no_size():
    graph = model(
        [node("Conv", "x w", "y", auto_pad="SAME_UPPER")], ("n", 3, "h", "w"), {"w": weights(2, 3, 2, 3)}
    )
    assert layer_of(graph)["padding"] == [[0, 1], [1, 1]]
    agrees(graph, weights(2, 3, 5, 4))


@pytest.mark.parametrize("operator", ["Conv", "MaxPool"])
def test_auto_pad_with_strides_needs_the_size(operator):
    constants = {"w": weights(2, 3, 2, 2)} if operator == "Conv" else {}
    inputs = "x w" if constants else "x"
    one = node(operator, inputs, "y", auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[2, 2])
    with pytest.raises(ValueError, match=rf"{operator} \(node 'node y'\): auto_pad=SAME_UPPER needs images"):
        from_onnx(model([one], ("n", 3, "h", "w"), constants))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(groups, bias):
    constants = {"w": weights(8, 4 // groups, 3, 2)} | ({"b": weights(8, seed=3)} if bias else {})
    attributes = {"group": groups, "pads": [1, 0, 2, 3], "strides": [2, 1], "dilations": [1, 2]}
    graph = model(
        [node("Conv", " ".join(["x", *constants]), "y", **attributes)], ("n", 4, "h", "w"), constants
    )
    network, params = agrees(graph, weights(3, 4, 7, 6, seed=2))
    assert params["0.weight"].tobytes() == constants["w"].tobytes()
    assert network.layers[0].padding == ((1, 2), (0, 3))
    assert network.layers[0].bias is bias


GRID = list(
    product([(5, 8), (6, 7)], [(2, 3), (3, 2)], [(1, 2), (2, 3), (3, 3)], [(0, 0, 0, 0), (1, 0, 0, 1)])
)


@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_max_pools(ceil_mode):
    for size, kernel, strides, pads in GRID:
        attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": ceil_mode}
        # far below zero: padding that counted as 0 would win
        agrees(model([node("MaxPool", "x", "y", **attributes)], (2, 3, *size)), weights(2, 3, *size) - 50)


def test_dilated_max_pools():
    for ceil_mode, pads in product([0, 1], [[0, 0, 0, 0], [1, 0, 1, 1]]):
        attributes = {"kernel_shape": [2, 3], "dilations": [2, 3], "strides": [2, 2], "pads": pads}
        agrees(
            model([node("MaxPool", "x", "y", ceil_mode=ceil_mode, **attributes)], (2, 3, 8, 9)),
            weights(2, 3, 8, 9),
        )


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_average_pools(ceil_mode, counted):
    refused = 0
    for size, kernel, strides, pads in GRID:
        attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": ceil_mode}
        graph = model(
            [node("AveragePool", "x", "y", count_include_pad=counted, **attributes)], (2, 3, *size), opset=19
        )
        try:
            agrees(graph, weights(2, 3, *size))
        except ValueError as error:
            if "ceil_mode=1 counts the declared pads, but not those that it adds" not in str(error):
                raise
            refused += 1
    assert refused < len(GRID) / 2
    assert bool(refused) == bool(ceil_mode and counted)


def test_dilated_average_pools():
    attributes = {"kernel_shape": [2, 3], "dilations": [2, 3], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    for counted in (0, 1):
        one = node("AveragePool", "x", "y", count_include_pad=counted, **attributes)
        graph, x = model([one], (2, 3, 8, 9), opset=19), weights(2, 3, 8, 9)
        agrees(graph, x)


def test_ceil_mode_needs_the_size_unless_the_stride_is_1():
    def graph(stride):
        one = node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[stride, stride], ceil_mode=1)
        return model([one], ("n", 3, "h", "w"))

    agrees(graph(1), weights(2, 3, 5, 6))
    with pytest.raises(ValueError, match="ceil_mode=1 needs images of a size that the file states"):
        from_onnx(graph(2))


def test_sizes_are_followed_through_the_layers():
    # the second pool sees 5 x 4 pixels, and only then is its last column a window of its own
    nodes = [
        node("Conv", "x w", "a", strides=[2, 2], pads=[1, 1, 0, 0]),
        node("Relu", "a", "b"),
        node("MaxPool", "b", "y", kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    ]
    graph = model(nodes, (2, 3, 10, 9), {"w": weights(2, 3, 2, 3)})
    network, _ = agrees(graph, weights(2, 3, 10, 9, seed=2))
    assert network.layers[2].padding == ((0, 0), (0, 1))


def test_global_pools():
    x = weights(2, 3, 4, 5)
    agrees(model([node("GlobalAveragePool", "x", "y")], ("n", 3, "h", "w")), x)
    agrees(model([node("GlobalMaxPool", "x", "y")], (2, 3, 4, 5)), x)
    with pytest.raises(ValueError, match=r"GlobalMaxPool \(node 'node y'\): need images of a size"):
        from_onnx(model([node("GlobalMaxPool", "x", "y")], ("n", 3, "h", "w")))


@pytest.mark.parametrize("opset", [10, 17, 18])
def test_zeros_around_an_image_go_into_the_next_layer(opset):
    zeros = {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 3])}
    inputs, attributes = ("x", {"pads": [0, 0, 1, 2, 0, 0, 0, 3]}) if opset == 10 else ("x pads", {})
    pad = node("Pad", inputs, "z", **attributes)
    conv = node("Conv", "z w", "y", pads=[0, 1, 2, 0])
    graph = model([pad, conv], ("n", 3, 6, 7), zeros | {"w": weights(2, 3, 2, 2)}, opset=opset)
    network, _ = agrees(graph, weights(2, 3, 6, 7, seed=1))
    assert network.layers[0].padding == ((1, 2), (3, 3))
    pool = node("AveragePool", "z", "y", kernel_shape=[2, 4], strides=[2, 2])
    network, _ = agrees(model([pad, pool], ("n", 3, 6, 7), zeros, opset=opset), weights(2, 3, 6, 7, seed=1))
    assert (network.layers[0].padding, network.layers[0].count_padding) == (((1, 0), (2, 3)), True)


def test_zeros_count_in_the_size_that_auto_pad_sees():
    zeros = {"pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]), "w": weights(2, 3, 3, 2)}
    nodes = [node("Pad", "x pads", "z"), node("Conv", "z w", "y", auto_pad="SAME_LOWER", strides=[2, 3])]
    agrees(model(nodes, (2, 3, 6, 7), zeros), weights(2, 3, 6, 7, seed=1))


def test_zeros_along_given_axes():
    zeros = {"pads": np.array([2, 1, 0, 3]), "none": np.float32(0), "axes": np.array([-1, 2])}
    nodes = [node("Pad", "x pads none axes", "z"), node("Conv", "z w", "y")]
    graph = model(nodes, (2, 3, 4, 4), zeros | {"w": weights(2, 3, 2, 2)}, opset=18)
    network, _ = agrees(graph, weights(2, 3, 4, 4))
    assert network.layers[0].padding == ((1, 3), (2, 0))


@pytest.mark.parametrize(
    ("attributes", "after", "match"),
    [
        (
            {"pads": [0, 0, 1, 1, 0, 0, 1, 1]},
            node("MaxPool", "z", "y", kernel_shape=[2, 2]),
            "zeros around an image",
        ),
        ({"pads": [0, 0, 1, 1, 0, 0, 1, 1]}, node("Relu", "z", "y"), "zeros around an image"),
        ({"pads": [0, 0, 1, 1, 0, 0, 1, 1]}, node("Identity", "z", "y"), "zeros around an image"),
        ({"pads": [0, 1, 0, 0, 0, 0, 0, 0]}, node("Conv", "z w", "y"), "need padding of height and width"),
        ({"pads": [0, 0, -1, 0, 0, 0, 0, 0]}, node("Conv", "z w", "y"), "none negative"),
        ({"pads": [0] * 8, "mode": "reflect"}, node("Conv", "z w", "y"), "got mode reflect"),
        ({"pads": [0] * 8, "value": 1.0}, node("Conv", "z w", "y"), "and value 1.0"),
        (
            {"pads": [0, 0, 1, 1, 0, 0, 1, 1]},
            node("AveragePool", "z", "y", kernel_shape=[2, 2], pads=[1, 0, 0, 0]),
            "a Pad before it counts, its own pads do not",
        ),
    ],
)
def test_other_padding_is_refused(attributes, after, match):
    graph = model(
        [node("Pad", "x", "z", **attributes), after], (2, 3, 6, 7), {"w": weights(2, 3, 2, 2)}, opset=10
    )
    with pytest.raises(ValueError, match=match):
        from_onnx(graph)


@pytest.mark.parametrize(
    ("operator", "attributes", "match"),
    [
        ("Conv", {"pads": [1, -1, 0, 0]}, "need pads of at least 0"),
        ("Conv", {"auto_pad": "SAME_UPPER", "pads": [1, 0, 0, 0]}, "need pads or auto_pad, not both"),
        ("Conv", {"auto_pad": "SAME"}, "its auto_pad SAME is not known"),
        ("Conv", {"kernel_shape": [3, 3]}, "its kernel_shape \\[3, 3\\] is not its weight's"),
    ],
)
def test_what_a_convolution_may_not_say(operator, attributes, match):
    graph = model([node(operator, "x w", "y", **attributes)], (2, 3, 6, 7), {"w": weights(2, 3, 2, 2)})
    with pytest.raises(ValueError, match=match):
        from_onnx(graph)
