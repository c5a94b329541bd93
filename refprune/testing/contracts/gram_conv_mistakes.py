"""Known mistakes in the Gram of a convolution: small wrong versions of one correct form.

The correct form slides windows over the padded images. It shares nothing with `refprune.unfold`, and the definition
goes by positions.
"""

import numpy as np

from ..contract import Mistake
from . import form_mistakes as form


def windows(images, kernel, stride, padding, dilation, mode="constant"):
    """The patches (images, output rows, output columns, channels, kernel rows, kernel columns)."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    padded = np.pad(images, ((0, 0), (0, 0), *((p, p) for p in padding)), mode=mode)
    found = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))
    found = found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return found.transpose(0, 2, 3, 1, 4, 5)


def rows_of(batches, kernel, stride, padding, dilation, groups, mode="constant"):
    """The patches of all batches as rows: (groups, images * positions, columns)."""
    found = [_rows(windows(batch, kernel, stride, padding, dilation, mode), groups) for batch in batches]
    return np.concatenate(found, axis=1)


def _rows(patches, groups):
    """(groups, images * positions, columns) of the patches of one batch."""
    count, channels = int(np.prod(patches.shape[:3])), patches.shape[3]
    columns = channels // groups * patches.shape[4] * patches.shape[5]
    return patches.reshape(count, groups, columns).transpose(1, 0, 2)


def _mean(rows, count=None):
    """``X^T X / count`` for each group; without the axis of groups when there is one."""
    gram = rows.swapaxes(1, 2) @ rows / (rows.shape[1] if count is None else count)
    return gram[0] if len(gram) == 1 else gram


def right(batches, *geometry, mode="constant"):
    """The correct Gram."""
    return _mean(rows_of([batch.astype(float) for batch in batches], *geometry, mode))


def _positions(batches, geometry):
    """Output positions of one image."""
    return int(np.prod(windows(batches[0], *geometry[:4]).shape[1:3]))


def _images(batches):
    return sum(len(batch) for batch in batches)


def _changed(**new):
    """The correct Gram with some arguments replaced."""

    def call(batches, kernel, stride, padding, dilation, groups):
        given = {
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        return right(batches, *{**given, **new}.values())

    return call


def _swapped(batches, kernel, stride, padding, dilation, groups):
    return right(batches, kernel[::-1], stride[::-1], padding[::-1], dilation[::-1], groups)


def _reordered(order):
    """The columns in another order; `order` acts on (channel, kernel row, kernel column)."""

    def call(batches, *geometry):
        gram, (kh, kw) = right(batches, *geometry), geometry[0]
        index = order(np.arange(gram.shape[-1]).reshape(-1, kh, kw)).ravel()
        return gram[..., index[:, None], index]

    return call


def _interleaved(batches, *geometry):
    channels = np.arange(batches[0].shape[1]).reshape(-1, geometry[-1]).T.ravel()
    return right([batch[:, channels] for batch in batches], *geometry)


def _averaged(batches, *geometry):
    gram = right(batches, *geometry)
    return gram.mean(axis=0) if gram.ndim == 3 else gram


def _scaled(factor):
    """The correct Gram times ``factor(batches, geometry)``."""
    return lambda batches, *geometry: right(batches, *geometry) * factor(batches, geometry)


def _unpadded_count(batches, geometry):
    """Positions over those that an image without padding has (one at least)."""
    kernel, stride, _, dilation = geometry[:4]
    room = [n - d * (k - 1) - 1 for n, k, d in zip(batches[0].shape[2:], kernel, dilation)]
    return _positions(batches, geometry) / np.prod([max(r // s, 0) + 1 for r, s in zip(room, stride)])


def _padded_by(sides):
    """Zeros elsewhere: `sides(room)` gives (before, after) of one axis for its (padding, left over)."""

    def call(batches, kernel, stride, padding, dilation, groups):
        widths = []
        for n, k, s, p, d in zip(batches[0].shape[2:], kernel, stride, padding, dilation):
            widths.append(sides(p, -(n + 2 * p - d * (k - 1) - 1) % s))
        grown = [np.pad(batch, ((0, 0), (0, 0), *widths)) for batch in batches]
        return right(grown, kernel, stride, (0, 0), dilation, groups)

    return call


def _last_dropped(batches, *geometry):
    found = []
    for batch in batches:
        seen = windows(batch.astype(float), *geometry[:4])
        found.append(_rows(seen[:, : max(seen.shape[1] - 1, 1), : max(seen.shape[2] - 1, 1)], geometry[-1]))
    return _mean(np.concatenate(found, axis=1))


def _positions_first(batches, *geometry):
    """The patches of an image are averaged, then multiplied."""
    means = [windows(b.astype(float), *geometry[:4]).mean(axis=(1, 2), keepdims=True) for b in batches]
    return _mean(np.concatenate([_rows(mean, geometry[-1]) for mean in means], axis=1))


def _centred(batches, *geometry):
    rows = rows_of([batch.astype(float) for batch in batches], *geometry)
    return _mean(rows - rows.mean(axis=1, keepdims=True))


def _mean_of_means(batches, *geometry):
    return np.mean([right([batch], *geometry) for batch in batches if len(batch)], axis=0)


MISTAKES = (
    Mistake("padding-left-out", "the images are not padded", _changed(padding=(0, 0))),
    Mistake("edge-padding", "the padding repeats the edge instead of zeros",
            lambda batches, *geometry: right(batches, *geometry, mode="edge")),
    Mistake("padding-at-the-end", "all zeros stand below and to the right",
            _padded_by(lambda p, left: (0, 2 * p))),
    Mistake("padding-on-one-side", "zeros stand above and to the left only", _padded_by(lambda p, left: (p, 0))),
    Mistake("partial-windows", "a window that hangs over the edge is counted",
            _padded_by(lambda p, left: (p, p + left))),
    Mistake("last-window-dropped", "the last output row and column are missing", _last_dropped),
    Mistake("stride-ignored", "the kernel moves by one pixel", _changed(stride=(1, 1))),
    Mistake("dilation-ignored", "the kernel has no gaps", _changed(dilation=(1, 1))),
    Mistake("groups-ignored", "one Gram of all channels", _changed(groups=1)),
    Mistake("groups-averaged", "the Grams of the groups are averaged", _averaged),
    Mistake("groups-interleaved", "a group takes every groups-th channel, not neighbours", _interleaved),
    Mistake("channels-last", "columns in the order (kernel row, kernel column, channel)",
            _reordered(lambda index: index.transpose(1, 2, 0))),
    Mistake("kernel-transposed", "columns in the order (channel, kernel column, kernel row)",
            _reordered(lambda index: index.transpose(0, 2, 1))),
    Mistake("kernel-flipped", "columns with the kernel turned by 180 degrees",
            _reordered(lambda index: index[:, ::-1, ::-1])),
    Mistake("height-for-width", "height and width are exchanged in kernel, stride, padding and dilation", _swapped),
    Mistake("divided-by-images", "divided by the images, not by images times positions",
            _scaled(lambda batches, geometry: _positions(batches, geometry))),
    Mistake("padding-not-counted", "divided by the positions of the image without padding",
            _scaled(_unpadded_count)),
    Mistake("not-divided", "the sum is not divided",
            _scaled(lambda batches, geometry: _positions(batches, geometry) * _images(batches))),
    Mistake("divided-by-batches", "divided by the number of batches, not of images",
            _scaled(lambda batches, geometry: _images(batches) / len(batches))),
    Mistake("twice", "the factor 2 of the squared error is kept", _scaled(lambda batches, geometry: 2.0)),
    Mistake("positions-averaged-first", "the patches of an image are averaged before the product", _positions_first),
    Mistake("centred", "the mean patch is subtracted: a covariance", _centred),
    Mistake("mean-of-batch-means", "batches are averaged with equal weight", _mean_of_means),
    Mistake("last-batch-only", "only the last batch counts",
            lambda batches, *geometry: right([b for b in batches if len(b)][-1:], *geometry)),
    Mistake("sum-not-reset", "the sum of an earlier call is added",
            form.Kept(right, lambda old, new: old + new if old.shape == new.shape else new)),
    *form.of(right, ("gram",), lambda batches, *geometry: any(len(batch) == 0 for batch in batches),
             first="batches", zero="an empty batch"),
)  # fmt: skip
