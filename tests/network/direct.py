"""Layers from their definitions, one output entry after the other: no code of `refprune.network` or `unfold`."""

from itertools import product

import numpy as np


def sides(value):
    """(height, width) of a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def margins(value):
    """((top, bottom), (left, right)) of a number, a pair, or a pair of pairs."""
    return tuple(sides(side) for side in sides(value))


def windows(size, kernel, stride, padding, dilation):
    """Yield (row, column, [(kernel row, kernel column, y, x), ...]) for every output position; y and x are places
    in the image, which may lie outside of it."""
    (kh, kw), (sh, sw), (dh, dw) = sides(kernel), sides(stride), sides(dilation)
    (top, bottom), (left, right) = margins(padding)
    y_start, rows = -top, 0
    while y_start + dh * (kh - 1) < size[0] + bottom:
        x_start, columns = -left, 0
        while x_start + dw * (kw - 1) < size[1] + right:
            entries = [(i, j, y_start + i * dh, x_start + j * dw) for i in range(kh) for j in range(kw)]
            yield rows, columns, entries
            x_start, columns = x_start + sw, columns + 1
        y_start, rows = y_start + sh, rows + 1


def inside(size, y, x):
    return 0 <= y < size[0] and 0 <= x < size[1]


def collected(entries):
    """{(sample, channel, row, column): value} as an array."""
    shape = tuple(max(place[axis] for place in entries) + 1 for axis in range(4))
    result = np.full(shape, np.nan)
    for place, value in entries.items():
        result[place] = value
    return result


def conv2d(images, weight, bias, stride=1, padding=0, dilation=1, groups=1):
    """One sum for each output entry; entries outside the image are 0."""
    size, (out, share, *kernel) = images.shape[2:], weight.shape
    entries = {}
    for n, o in product(range(images.shape[0]), range(out)):
        first = o // (out // groups) * share
        for r, c, seen in windows(size, kernel, stride, padding, dilation):
            total = 0.0 if bias is None else bias[o]
            for channel, (i, j, y, x) in product(range(share), seen):
                if inside(size, y, x):
                    total += weight[o, channel, i, j] * images[n, first + channel, y, x]
            entries[n, o, r, c] = total
    return collected(entries)


def maxpool2d(images, kernel, stride, padding, dilation):
    """The largest pixel in each window: padding is no pixel."""
    size, entries = images.shape[2:], {}
    for n, channel in np.ndindex(images.shape[:2]):
        for r, c, seen in windows(size, kernel, stride, padding, dilation):
            pixels = [images[n, channel, y, x] for _, _, y, x in seen if inside(size, y, x)]
            entries[n, channel, r, c] = max(pixels)
    return collected(entries)


def winners(images, kernel, stride, padding, dilation):
    """(samples, channels, rows, columns) -> the place of the first largest pixel in each window, in C order."""
    size, found = images.shape[2:], {}
    for n, channel in np.ndindex(images.shape[:2]):
        for r, c, seen in windows(size, kernel, stride, padding, dilation):
            places = [(n, channel, y, x) for _, _, y, x in seen if inside(size, y, x)]
            found[n, channel, r, c] = max(places, key=lambda place: images[place])  # the first among equals
    return found


def avgpool2d(images, kernel, stride, padding, dilation, count_padding):
    """The mean over each window, of its pixels alone unless the padding counts."""
    size, entries = images.shape[2:], {}
    for n, channel in np.ndindex(images.shape[:2]):
        for r, c, seen in windows(size, kernel, stride, padding, dilation):
            pixels = [images[n, channel, y, x] for _, _, y, x in seen if inside(size, y, x)]
            entries[n, channel, r, c] = sum(pixels) / (len(seen) if count_padding else len(pixels))
    return collected(entries)


def batchnorm2d(images, weight, bias, mean, variance, eps):
    """Each channel by its own numbers."""
    result = np.empty_like(images)
    for n, channel, y, x in np.ndindex(images.shape):
        centred = images[n, channel, y, x] - mean[channel]
        result[n, channel, y, x] = (
            weight[channel] * centred / (variance[channel] + eps) ** 0.5 + bias[channel]
        )
    return result
