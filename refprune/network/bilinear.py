"""The bilinear layers: Dense, Conv2d, and BatchNorm2d at inference."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from operator import index

from refprune.arrays import flag, integer, namespace, swap, transpose
from refprune.unfold import Padding, Sides, Window, fold, patches

from .kinds import Bilinear, spread


@dataclass(frozen=True)
class Dense(Bilinear):
    """A fully connected layer, `y = x W^T + b`.

    Parameters
    ----------
    inputs, outputs : int
    bias : bool

    Notes
    -----
    Parameters: `weight` (outputs, inputs), `bias` (outputs,). Inputs are (samples, inputs).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Dense(2, 1, bias=False).forward({"weight": np.array([[3.0, 4.0]])}, np.array([[1.0, 2.0]]))
    array([[11.]])
    """

    inputs: int
    outputs: int
    bias: bool = True
    type = "dense"

    def __post_init__(self):
        whole(self, "inputs", "outputs")
        object.__setattr__(self, "bias", flag("bias", self.bias))

    def parameters(self):
        return {"weight": (self.outputs, self.inputs)} | ({"bias": (self.outputs,)} if self.bias else {})

    def output_shape(self, shape):
        if shape != (self.inputs,):
            raise ValueError(f"need samples of shape ({self.inputs},) for {self}; got {shape}")
        return (self.outputs,)

    def product(self, W, u):
        if W.ndim == 2 and u.ndim == 3:  # one large product instead of one for each direction
            xp, (lead, samples, inputs) = namespace(W, u), u.shape
            return xp.reshape(xp.reshape(u, (lead * samples, inputs)) @ swap(W), (lead, samples, W.shape[0]))
        return u @ swap(W)

    def input_adjoint(self, W, delta):
        return self.product(swap(W), delta)

    def weight_adjoint(self, delta, u, per_sample=False):
        if per_sample:
            return delta[..., :, None] * u[..., None, :]
        return swap(delta) @ u


@dataclass(frozen=True)
class Conv2d(Bilinear):
    """A convolution of images (a correlation: the kernel is not flipped).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel, stride, dilation : int or pair of int
        For (height, width).
    padding : int, pair of int, or ((top, bottom), (left, right))
        Zeros around the images.
    groups : int
        A divisor of both channel counts; as many as input channels make a depthwise convolution.
    bias : bool

    Notes
    -----
    Parameters: `weight` (out_channels, in_channels / groups, kh, kw), `bias` (out_channels,). Inputs are
    (samples, in_channels, height, width). `lift` is `refprune.unfold.patches`.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> layer = rp.Conv2d(1, 1, kernel=(1, 2), padding=((0, 0), (1, 0)), bias=False)
    >>> layer.forward({"weight": np.array([[[[1.0, 10.0]]]])}, np.array([[[[1.0, 2.0, 3.0]]]]))
    array([[[[10., 21., 32.]]]])
    """

    in_channels: int
    out_channels: int
    kernel: Sides
    stride: Sides = 1
    padding: Padding = 0
    dilation: Sides = 1
    groups: int = 1
    bias: bool = True
    type = "conv2d"
    spatial = 2

    def __post_init__(self):
        whole(self, "in_channels", "out_channels", "groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            channels = f"{self.in_channels} and {self.out_channels}"
            raise ValueError(f"need groups that divide the channels {channels}; got {self.groups}")
        object.__setattr__(self, "bias", flag("bias", self.bias))
        for name in ("kernel", "stride", "padding", "dilation"):
            freeze(self, name)
        _ = self.window  # raises for what does not fit

    @cached_property
    def window(self) -> Window:
        """The kernel that slides over the images."""
        return Window.of(self.kernel, self.stride, self.padding, self.dilation)

    def parameters(self):
        shape = (self.out_channels, self.in_channels // self.groups, *self.window.kernel)
        return {"weight": shape} | ({"bias": (self.out_channels,)} if self.bias else {})

    def output_shape(self, shape):
        images("Conv2d", shape, self.in_channels)
        return (self.out_channels, *self.window.output_size(shape[1:]))

    def held(self, shape):
        _, *size = self.output_shape(shape)
        return prod(size) * (self.in_channels * prod(self.window.kernel) + self.out_channels)

    def lift(self, params, x, tangent=False):
        """(..., samples, groups, entries, height, width)."""
        flat = namespace(x).reshape(x, (prod(x.shape[:-3]), *x.shape[-3:]))
        u = patches(flat, self.window, self.groups)
        return u if x.ndim == 4 else namespace(x).reshape(u, (*x.shape[:-3], *u.shape[1:]))

    def lower(self, params, u, shape):
        return fold(u, self.window, self.in_channels, shape[1:])

    def _matrix(self, W):
        """The weight as (..., groups, out_channels / groups, entries)."""
        lead, entries = W.shape[:-4], prod(W.shape[-3:])
        return namespace(W).reshape(W, (*lead, self.groups, self.out_channels // self.groups, entries))

    def product(self, W, u):
        y = _times(self._matrix(W), _flat(u))  # (..., groups, out / groups, positions)
        return namespace(y).reshape(y, (*y.shape[:-3], self.out_channels, *u.shape[-2:]))

    def _split(self, delta):
        """(..., out_channels, height, width) as (..., groups, out_channels / groups, positions)."""
        *lead, out, height, width = delta.shape
        return namespace(delta).reshape(delta, (*lead, self.groups, out // self.groups, height * width))

    def input_adjoint(self, W, delta):
        u = _times(swap(self._matrix(W)), self._split(delta))
        return namespace(u).reshape(u, (*u.shape[:-1], *delta.shape[-2:]))

    def weight_adjoint(self, delta, u, per_sample=False):
        xp, delta, u = namespace(delta, u), self._split(delta), _flat(u)
        if per_sample:
            total = delta @ swap(u)
        elif delta.ndim > u.ndim:  # many directions: one large product per group
            lead, samples, groups, out, positions = delta.shape
            left = xp.reshape(transpose(delta, (2, 0, 3, 1, 4)), (groups, lead * out, samples * positions))
            right = xp.reshape(transpose(u, (1, 0, 3, 2)), (groups, samples * positions, u.shape[2]))
            total = transpose(xp.reshape(left @ right, (groups, lead, out, u.shape[2])), (1, 0, 2, 3))
        else:
            total = xp.sum(delta @ swap(u), axis=-4)
        lead = total.shape[:-3]
        return xp.reshape(total, (*lead, *self.parameters()["weight"]))


def _flat(u):
    """The last two axes as one: height and width as positions."""
    return namespace(u).reshape(u, (*u.shape[:-2], u.shape[-2] * u.shape[-1]))


def _times(W, u):
    """`W @ u` with W (groups, a, b) or (lead, groups, a, b) and u (..., samples, groups, b, positions)."""
    if W.ndim == 3:
        return W @ u
    xp, (lead, groups, a, b) = namespace(W, u), W.shape
    samples, positions = u.shape[0], u.shape[-1]
    stacked = xp.reshape(transpose(W, (1, 0, 2, 3)), (groups, lead * a, b))
    y = xp.reshape(stacked @ u, (samples, groups, lead, a, positions))
    return transpose(y, (2, 0, 1, 3, 4))


@dataclass(frozen=True)
class BatchNorm2d(Bilinear):
    """Batch normalisation at inference: `y = weight (x - mean) / sqrt(var + eps) + bias` in every channel.

    Parameters
    ----------
    channels : int
    eps : float

    Notes
    -----
    Parameters: `weight`, `bias` (channels,). The running statistics `running_mean` and `running_var` are
    constants in `params`: they are given, not estimated, and take no part in the flat vector.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.BatchNorm2d(1)])
    >>> params = network.init(np.random.default_rng(0)) | {"0.running_mean": np.array([5.0])}
    >>> network.forward(params, np.full((1, 1, 1, 1), 7.0)).round(3)
    array([[[[2.]]]])
    """

    channels: int
    eps: float = 1e-5
    type = "batchnorm2d"
    spatial = 2

    def __post_init__(self):
        whole(self, "channels")
        if isinstance(self.eps, bool) or not isinstance(self.eps, (int, float)) or not 0 < self.eps < 1:
            raise ValueError(f"need eps in (0, 1); got {self.eps!r}")

    def parameters(self):
        return {"weight": (self.channels,), "bias": (self.channels,)}

    def constants(self):
        return {"running_mean": (self.channels,), "running_var": (self.channels,)}

    def output_shape(self, shape):
        images("BatchNorm2d", shape, self.channels)
        return shape

    def _scale(self, params):
        return spread(1 / namespace(params["running_var"]).sqrt(params["running_var"] + self.eps), 0, 2)

    def lift(self, params, x, tangent=False):
        centred = x if tangent else x - spread(params["running_mean"], 0, 2)
        return centred * self._scale(params)

    def lower(self, params, u, shape):
        return u * self._scale(params)

    def product(self, W, u):
        return spread(W, 1, 2) * u

    def input_adjoint(self, W, delta):
        return spread(W, 1, 2) * delta

    def weight_adjoint(self, delta, u, per_sample=False):
        return self._bias_adjoint(delta * u, per_sample)


def images(what, shape, channels):
    """Raise ValueError unless `shape` is that of an image of `channels` channels (None: any)."""
    if len(shape) != 3 or channels not in (None, shape[0]):
        wanted = "channels" if channels is None else channels
        raise ValueError(f"need images of shape ({wanted}, height, width) for {what}; got {tuple(shape)}")


def whole(layer, *names):
    """Keep arguments of a frozen layer as Python's integers; errors for what is none of at least 1."""
    for name in names:
        object.__setattr__(layer, name, integer(name, getattr(layer, name), least=1))


def freeze(layer, name):
    """Keep an argument of a frozen layer as (nested) tuples of Python's integers, where it holds integers."""

    def tuples(value):
        if isinstance(value, (list, tuple)):
            return tuple(map(tuples, value))
        return index(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value

    object.__setattr__(layer, name, tuples(getattr(layer, name)))
