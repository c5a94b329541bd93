"""Ready-made networks: multilayer perceptrons, small convolutional networks, ResNet-20."""

from itertools import pairwise

from refprune.arrays import integer
from refprune.unfold import Padding, Sides

from .activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from .bilinear import BatchNorm2d, Conv2d, Dense
from .chain import Residual
from .network import Network
from .pools import AvgPool2d, Flatten, GlobalAvgPool, MaxPool2d

ACTIVATIONS = {layer.type: layer for layer in (ReLU, ReLU6, Tanh, Sigmoid, GELU, SiLU, Softplus)}
POOLS = {"max": MaxPool2d, "average": AvgPool2d}


def mlp(sizes: list[int], activation: str = "relu", bias: bool = True) -> Network:
    """A multilayer perceptron: dense layers with an activation between them, none after the last.

    Parameters
    ----------
    sizes : list of int
        Inputs, hidden units of every layer, outputs.
    activation : str
        ``"relu"``, ``"relu6"``, ``"tanh"``, ``"sigmoid"``, ``"gelu"``, ``"silu"`` or ``"softplus"``.
    bias : bool

    Raises
    ------
    TypeError, ValueError
        Fewer than two sizes, a size that is no positive integer, an unknown activation.

    Examples
    --------
    >>> import refprune as rp
    >>> rp.mlp([784, 40, 20, 10], bias=False).size  # the MLPNet of the WoodFisher tables
    32360
    >>> rp.mlp([2, 3, 1], activation="tanh")
    Network([Dense(inputs=2, outputs=3, bias=True), Tanh(), Dense(inputs=3, outputs=1, bias=True)])
    """
    sizes = _sizes("sizes", sizes, least=2)
    return Network(_dense(sizes, _named("activation", activation, ACTIVATIONS), bias))


def cnn(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    channels: list[int] = (8, 16),
    classes: int = 10,
    kernel: Sides = 3,
    padding: Padding = 0,
    activation: str = "relu",
    pool: Sides | None = 2,
    pooling: str = "max",
    hidden: list[int] = (),
    bias: bool = True,
) -> Network:
    """A convolutional network: convolution, activation and pool for each of `channels`, then dense layers.

    Parameters
    ----------
    input_shape : (channels, height, width)
        Of one image.
    channels : list of int
        Output channels of every convolution.
    classes : int
        Outputs.
    kernel, padding
        Of every convolution, as for `rp.Conv2d`. ``padding=kernel // 2`` keeps the size for an odd kernel.
    activation : str
        As for `mlp`.
    pool : int or pair of int, optional
        Kernel and stride of every pool; None for no pools.
    pooling : str
        ``"max"`` or ``"average"``.
    hidden : list of int
        Units of dense layers before the last.
    bias : bool

    Raises
    ------
    TypeError, ValueError
        Sizes that are no positive integers, unknown names, images that become smaller than a kernel.

    Examples
    --------
    >>> import refprune as rp
    >>> rp.cnn(kernel=5).size  # 5x5 convolutions 1-8-16, two pools, one dense layer, on 28x28
    5994
    >>> rp.cnn((3, 8, 8), channels=[4], classes=2, padding=1, pooling="average").output_shape((3, 8, 8))
    (2,)
    """
    depth, *size = _sizes("input_shape", input_shape, least=3, most=3)
    widths = _sizes("channels", channels, least=1)
    act, pooled = _named("activation", activation, ACTIVATIONS), _named("pooling", pooling, POOLS)
    layers = []
    for inputs, outputs in pairwise((depth, *widths)):
        layers += [Conv2d(inputs, outputs, kernel, padding=padding, bias=bias), act()]
        layers += [] if pool is None else [pooled(pool)]
    layers.append(Flatten())
    (inputs,) = Network(layers).output_shape((depth, *size))
    sizes = (inputs, *_sizes("hidden", hidden, least=0), integer("classes", classes, least=1))
    return Network(layers + _dense(sizes, act, bias))


def resnet20(classes: int = 10) -> Network:
    """ResNet-20 for 32x32 images (He et al. 2015, section 4.2), with projections as shortcuts (option B).

    A 3x3 convolution to 16 channels, then three stages of three blocks with 16, 32 and 64 channels; a block is
    two 3x3 convolutions, and the first of stages two and three halves the image by a stride of 2. There a
    1x1 convolution of stride 2 with a BatchNorm is the shortcut, elsewhere the identity. Global average
    pooling and one dense layer end it. Every convolution is without a bias and followed by a BatchNorm, which
    is at inference: its running statistics are constants.

    Parameters
    ----------
    classes : int

    Notes
    -----
    With 10 classes there are 272,474 parameters: convolutions 432 + 13,824 + 50,688 + 202,752 and 2,560 in the
    shortcuts; BatchNorm 1,376 and 192 in the shortcuts; the dense layer 650. The paper's own choice for these
    images, shortcuts without parameters (option A), has 269,722.

    Examples
    --------
    >>> import refprune as rp
    >>> network = rp.resnet20()
    >>> network.size, len(network.prunable), network.output_shape((3, 32, 32))
    (272474, 22, (10,))
    """
    layers = [*_convolved(3, 16, 3, 1), ReLU()]
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        stride = 1 if inputs == outputs else 2
        layers += _block(inputs, outputs, stride) + _block(outputs, outputs, 1) + _block(outputs, outputs, 1)
    return Network([*layers, GlobalAvgPool(), Flatten(), Dense(64, integer("classes", classes, least=1))])


def _block(inputs, outputs, stride):
    """Two 3x3 convolutions and what goes past them, then ReLU."""
    body = [*_convolved(inputs, outputs, 3, stride), ReLU(), *_convolved(outputs, outputs, 3, 1)]
    return [Residual(body, None if inputs == outputs else _convolved(inputs, outputs, 1, stride)), ReLU()]


def _convolved(inputs, outputs, kernel, stride):
    """A convolution that keeps the size of the images (but for the stride), and its BatchNorm."""
    return [Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), BatchNorm2d(outputs)]


def _dense(sizes, act, bias):
    """Dense layers from size to size with activations between them."""
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [Dense(inputs, outputs, bias), act()]
    return layers[:-1]


def _sizes(name, sizes, least, most=None):
    """`sizes` as a tuple of positive integers."""
    if not isinstance(sizes, (list, tuple)):
        raise TypeError(f"need {name} to be a list of integers; got {type(sizes).__name__}")
    if len(sizes) < least or (most is not None and len(sizes) > most):
        count = f"{least}" if most == least else f"at least {least}"
        raise ValueError(f"need {count} integers in {name}; got {len(sizes)}")
    return tuple(integer(f"{name}[{i}]", size, least=1) for i, size in enumerate(sizes))


def _named(what, name, choices):
    """The layer called `name`."""
    if not isinstance(name, str) or name not in choices:
        raise ValueError(f"need {what} in {', '.join(choices)}; got {name!r}")
    return choices[name]
