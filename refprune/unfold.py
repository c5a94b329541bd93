"""Images to columns: the one `unfold`, for the Grams, the forward pass and the gradients of convolutions."""

from dataclasses import dataclass
from math import prod

from refprune.arrays import Array, concat, full, integer, namespace, real, transpose

Sides = int | tuple[int, int]  # for (height, width)
Padding = Sides | tuple[tuple[int, int], tuple[int, int]]  # also ((top, bottom), (left, right))


def pair(name: str, value: Sides, least: int) -> tuple[int, int]:
    """Return `value`, an integer or a pair (height, width), as two ints of at least `least`."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"need {name} to be an integer or a pair; got {value!r}")
    return tuple(integer(name, side, least=least) for side in value)


def margins(name: str, value: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return `value`, an integer, a pair or a pair of pairs, as ((top, bottom), (left, right))."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"need {name} to be an integer or a pair, or a pair of pairs; got {value!r}")
    return tuple(pair(name, side, 0) for side in value)


@dataclass(frozen=True)
class Window:
    """A kernel that slides over images: where it stands, and which pixels lie under each of its entries.

    Attributes
    ----------
    kernel, stride, dilation : pair of int
    padding : pair of pairs, ((top, bottom), (left, right))
    """

    kernel: tuple
    stride: tuple = (1, 1)
    padding: tuple = ((0, 0), (0, 0))
    dilation: tuple = (1, 1)

    @classmethod
    def of(cls, kernel: Sides, stride: Sides = 1, padding: Padding = 0, dilation: Sides = 1) -> "Window":
        """The window of the arguments of a convolution or a pool, validated."""
        return cls(
            pair("kernel", kernel, 1),
            pair("stride", stride, 1),
            margins("padding", padding),
            pair("dilation", dilation, 1),
        )

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of positions on images of `size`; ValueError when the kernel does not fit."""
        room = tuple(n + sum(p) for n, p in zip(size, self.padding, strict=True))
        extent = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        if any(e > r for e, r in zip(extent, room, strict=True)):
            raise ValueError(
                f"need a kernel that fits the padded images; got extent {extent} for images {room}"
            )
        return tuple((r - e) // s + 1 for r, e, s in zip(room, extent, self.stride, strict=True))

    def places(self, size: tuple[int, int]) -> list[tuple]:
        """For every kernel entry in C order: the index of the padded pixels under it, one per position."""
        (height, width), (sh, sw), (dh, dw) = self.output_size(size), self.stride, self.dilation
        return [
            (
                ...,
                slice(i * dh, i * dh + (height - 1) * sh + 1, sh),
                slice(j * dw, j * dw + (width - 1) * sw + 1, sw),
            )
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]

    def pad(self, images: Array, value: float = 0) -> Array:
        """The images (..., height, width) with `value` around the last two axes."""
        for axis, (before, after) in zip((images.ndim - 2, images.ndim - 1), self.padding, strict=True):
            shapes = [(*images.shape[:axis], n, *images.shape[axis + 1 :]) for n in (before, after)]
            strips = [full(shape, value, images) for shape in shapes]
            if before or after:
                images = concat([strips[0], images, strips[1]], axis=axis)
        return images

    def inside(self, size: tuple[int, int]) -> tuple:
        """The index of the images of `size` inside their padded form."""
        (top, _), (left, _) = self.padding
        return (..., slice(top, top + size[0]), slice(left, left + size[1]))

    def spread(self, parts: list, size: tuple[int, int]) -> Array:
        """The adjoint of taking the pixels of every place: add each part (..., positions) where it came from."""
        padded = tuple(n + sum(p) for n, p in zip(size, self.padding, strict=True))
        out = full((*parts[0].shape[:-2], *padded), 0, parts[0])
        for place, part in zip(self.places(size), parts, strict=True):
            out[place] += part
        return out[self.inside(size)]


def patches(images: Array, window: Window, groups: int = 1) -> Array:
    """What a window sees, image by image: (samples, groups, channels / groups * kh * kw, height, width).

    No argument is checked: `unfold` and the layers do that.
    """
    samples, channels, *size = images.shape
    padded = window.pad(images)
    seen = [padded[place] for place in window.places(size)]  # each (samples, channels, height, width)
    stacked = namespace(images).stack(seen, axis=2)  # (samples, channels, kh * kw, height, width)
    entries = channels // groups * len(seen)
    return namespace(images).reshape(stacked, (samples, groups, entries, *stacked.shape[3:]))


def fold(columns: Array, window: Window, channels: int, size: tuple[int, int]) -> Array:
    """The adjoint of `patches`: (..., groups, entries, height, width) to images (..., channels, *size)."""
    xp, count = namespace(columns), prod(window.kernel)
    columns = xp.reshape(columns, (*columns.shape[:-4], channels, count, *columns.shape[-2:]))
    return window.spread([columns[..., k, :, :] for k in range(count)], size)


def unfold(
    images: Array,
    kernel: Sides,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
) -> Array:
    r"""The patches that a convolution multiplies with its weight, one per row.

    With the weight's matrix form `W` (out, channels * kh * kw), the convolution is ``unfold(x) @ W.T``.
    (Networks and SciPy call this a correlation: the kernel is not flipped.)

    Parameters
    ----------
    images : array, shape (samples, channels, height, width)
    kernel, stride, padding, dilation : int or pair of int
        For (height, width). Padding adds zeros on both sides; ((top, bottom), (left, right)) names each side.
    groups : int
        A divisor of the channels.

    Returns
    -------
    array, shape (samples * positions, channels * kh * kw)
        Rows in C order of (sample, output row, output column), columns in C order of (channel, kernel row,
        kernel column). With several groups a stack (groups, samples * positions, channels / groups * kh *
        kw).

    Raises
    ------
    ValueError, TypeError
        Images that are not 4-D real arrays, a kernel that does not fit, groups that do not divide the
        channels.

    Notes
    -----
    Memory: the result repeats every pixel up to kh * kw times.

    Examples
    --------
    >>> import numpy as np
    >>> from refprune.unfold import unfold
    >>> unfold(np.arange(6.0).reshape(1, 1, 2, 3), (2, 2))
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    real("images", images, ndim=4)
    channels = images.shape[1]
    if channels % integer("groups", groups, least=1):
        raise ValueError(f"need groups that divide the {channels} channels; got {groups}")
    return rows(patches(images, Window.of(kernel, stride, padding, dilation), groups))


def rows(columns: Array) -> Array:
    """The columns of `patches` as rows: (samples * positions, entries), a stack of them for several groups."""
    samples, groups, entries, height, width = columns.shape
    stack = transpose(columns, (1, 0, 3, 4, 2))
    stack = namespace(columns).reshape(stack, (groups, samples * height * width, entries))
    return stack[0, ...] if groups == 1 else stack
