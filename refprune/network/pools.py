"""Layers without parameters that are linear in their input or select entries of it: pools and Flatten."""

from dataclasses import dataclass
from functools import cached_property
from math import inf, prod

import numpy as np

from refprune.arrays import astype, dtype_name, flag, from_numpy, namespace
from refprune.unfold import Padding, Sides, Window

from .bilinear import freeze, images
from .kinds import Linear


@dataclass(frozen=True)
class _Pool(Linear):
    """What both pools share.

    Parameters
    ----------
    kernel, stride, dilation : int or pair of int
        For (height, width); the stride is the kernel when None.
    padding : int, pair of int, or ((top, bottom), (left, right))
        At most half the kernel's extent, so that every window holds a pixel.
    """

    kernel: Sides
    stride: Sides | None = None
    padding: Padding = 0
    dilation: Sides = 1

    def __post_init__(self):
        for name in ("kernel", "stride", "padding", "dilation"):
            freeze(self, name)
        _ = self.window  # raises for what does not fit

    @cached_property
    def window(self) -> Window:
        """The kernel that slides over the images."""
        stride = self.kernel if self.stride is None else self.stride
        return Window.of(self.kernel, stride, self.padding, self.dilation)

    def output_shape(self, shape):
        images(type(self).__name__, shape, None)
        size = self.window.output_size(shape[1:])
        if self._pixels(shape[1:]).min(initial=1) == 0:
            raise ValueError(f"need a pixel in every window of {self}; got images {tuple(shape[1:])}")
        return (shape[0], *size)

    def held(self, shape):
        return prod(self.window.kernel) * prod(self.output_shape(shape))

    def _real(self, size):
        """For every kernel entry, which positions see a pixel and not padding: boolean (entries, h, w)."""
        padded = self.window.pad(np.ones(size, bool), False)
        return np.stack([padded[place] for place in self.window.places(size)])

    def _pixels(self, size):
        """How many pixels lie under each position."""
        return self._real(size).sum(axis=0)


@dataclass(frozen=True)
class MaxPool2d(_Pool):
    """The maximum of every window; padding never wins. Among equals the first in C order is selected.

    Parameters
    ----------
    kernel, stride, dilation : int or pair of int
        For (height, width); the stride is the kernel when None.
    padding : int, pair of int, or ((top, bottom), (left, right))
        Every window must still hold a pixel.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.MaxPool2d(2).forward({}, np.array([[[[1.0, 2.0], [3.0, -4.0]]]]))
    array([[[[3.]]]])
    """

    type = "maxpool2d"

    def _seen(self, x):
        """The pixels under each kernel entry; padding is below every pixel, so that it never ties with one."""
        padded = self.window.pad(x, -inf)
        return [padded[place] for place in self.window.places(x.shape[-2:])]

    def forward(self, params, x):
        seen = self._seen(x)
        y = seen[0]
        for part in seen[1:]:
            y = namespace(x).maximum(y, part)
        return y

    def record(self, params, x):
        y, free, tape = self.forward(params, x), None, []
        real = self._real(x.shape[-2:])
        for part, visible in zip(self._seen(x), real, strict=True):
            chosen = part == y
            if not visible.all():
                chosen = chosen & from_numpy(visible, x)
            if free is not None:
                chosen = chosen & free
            free = ~chosen if free is None else free & ~chosen
            tape.append(astype(chosen, x.dtype))
        return y, (tape, tuple(x.shape[-2:]))

    def apply(self, tape, t):
        selected, size = tape
        padded = self.window.pad(t)
        total = 0
        for place, chosen in zip(self.window.places(size), selected, strict=True):
            total = total + padded[place] * chosen
        return total

    def adjoint(self, tape, t):
        selected, size = tape
        return self.window.spread([t * chosen for chosen in selected], size)


@dataclass(frozen=True)
class AvgPool2d(_Pool):
    """The mean of every window.

    Parameters
    ----------
    kernel, stride, dilation : int or pair of int
        For (height, width); the stride is the kernel when None.
    padding : int, pair of int, or ((top, bottom), (left, right))
        Every window must still hold a pixel.
    count_padding : bool
        Whether padded zeros count in the mean.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.AvgPool2d(2).forward({}, np.array([[[[1.0, 2.0], [3.0, -4.0]]]]))
    array([[[[0.5]]]])
    """

    count_padding: bool = True
    type = "avgpool2d"

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "count_padding", flag("count_padding", self.count_padding))

    def _weights(self, size, like):
        """One over the number of entries that count, for every position; a float where all are equal."""
        if self.count_padding or not any(map(any, self.window.padding)):
            return 1 / prod(self.window.kernel)
        return from_numpy((1 / self._pixels(size)).astype(dtype_name(like.dtype)), like)

    def record(self, params, x):
        tape = (self._weights(x.shape[-2:], x), tuple(x.shape[-2:]))
        return self.apply(tape, x), tape

    def apply(self, tape, t):
        weights, size = tape
        padded = self.window.pad(t)
        total = 0
        for place in self.window.places(size):
            total = total + padded[place]
        return total * weights

    def adjoint(self, tape, t):
        weights, size = tape
        return self.window.spread([t * weights] * prod(self.window.kernel), size)


class GlobalAvgPool(Linear):
    """The mean over all positions of a channel: (samples, channels, 1, 1).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.GlobalAvgPool().forward({}, np.ones((2, 3, 4, 4))).shape
    (2, 3, 1, 1)
    """

    type = "globalavgpool"

    def output_shape(self, shape):
        images("GlobalAvgPool", shape, None)
        return (shape[0], 1, 1)

    def record(self, params, x):
        size = tuple(x.shape[-2:])
        return self.apply(size, x), size

    def apply(self, tape, t):
        return namespace(t).mean(t, axis=(-2, -1))[..., None, None]

    def adjoint(self, tape, t):
        return namespace(t).broadcast_to(t / prod(tape), (*t.shape[:-2], *tape))


class Flatten(Linear):
    """One axis for all of a sample's entries, in C order.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Flatten().forward({}, np.ones((2, 3, 4, 4))).shape
    (2, 48)
    """

    type = "flatten"

    def output_shape(self, shape):
        return (prod(shape),)

    def record(self, params, x):
        shape = tuple(x.shape[1:])
        return self.apply(shape, x), shape

    def apply(self, tape, t):
        return namespace(t).reshape(t, (*t.shape[: t.ndim - len(tape)], prod(tape)))

    def adjoint(self, tape, t):
        return namespace(t).reshape(t, (*t.shape[:-1], *tape))
