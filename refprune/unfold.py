"""Images to columns: the one `unfold`, for the Grams, the forward pass and the gradients of convolutions."""

from refprune.arrays import Array, concat, full, integer, namespace, real, transpose

Sides = int | tuple[int, int]  # for (height, width)


def pair(name: str, value: Sides, least: int) -> tuple[int, int]:
    """Return `value`, an integer or a pair (height, width), as two ints of at least `least`."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"need {name} to be an integer or a pair; got {value!r}")
    return tuple(integer(name, side, least=least) for side in value)


def output_size(
    size: tuple[int, int], kernel: Sides, stride: Sides = 1, padding: Sides = 0, dilation: Sides = 1
) -> tuple[int, int]:
    """The (height, width) of a convolution's output for images of `size` (height, width).

    Raises
    ------
    ValueError
        The dilated kernel does not fit into the padded images.
    """
    kernel, stride = pair("kernel", kernel, 1), pair("stride", stride, 1)
    padding, dilation = pair("padding", padding, 0), pair("dilation", dilation, 1)
    room = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    if any(e > r for e, r in zip(extent, room, strict=True)):
        raise ValueError(f"need a kernel that fits the padded images; got extent {extent} for images {room}")
    return tuple((r - e) // s + 1 for r, e, s in zip(room, extent, stride, strict=True))


def unfold(
    images: Array,
    kernel: Sides,
    stride: Sides = 1,
    padding: Sides = 0,
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
        For (height, width). Padding adds zeros on both sides.
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
    xp, (samples, channels, *size) = namespace(images), images.shape
    if channels % integer("groups", groups, least=1):
        raise ValueError(f"need groups that divide the {channels} channels; got {groups}")
    height, width = output_size(size, kernel, stride, padding, dilation)
    (kh, kw), (sh, sw) = pair("kernel", kernel, 1), pair("stride", stride, 1)
    dh, dw = pair("dilation", dilation, 1)
    padded = _pad(images, pair("padding", padding, 0))
    patches = [
        padded[
            :, :, i * dh : i * dh + (height - 1) * sh + 1 : sh, j * dw : j * dw + (width - 1) * sw + 1 : sw
        ]
        for i in range(kh)
        for j in range(kw)
    ]
    columns = xp.stack(patches, axis=2)  # (samples, channels, kh * kw, height, width)
    entries, positions = channels // groups * kh * kw, height * width
    columns = transpose(xp.reshape(columns, (samples, groups, entries, positions)), (1, 0, 3, 2))
    columns = xp.reshape(columns, (groups, samples * positions, entries))
    return columns[0] if groups == 1 else columns


def _pad(images, padding):
    """Add zeros around the last two axes."""
    for axis, width in zip((2, 3), padding, strict=True):
        if width:
            shape = (*images.shape[:axis], width, *images.shape[axis + 1 :])
            zeros = full(shape, 0, images)
            images = concat([zeros, images, zeros], axis=axis)
    return images
