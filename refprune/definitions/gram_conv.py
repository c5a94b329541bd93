"""The Gram matrix of the patches that a convolution multiplies with its weight: every position by hand.

A position (i, j) of the output sees, in channel c and at place (a, b) of the kernel, the pixel
`(i stride - padding + a dilation, j stride - padding + b dilation)`; a pixel outside of the image is 0.
"""

from refprune.arrays import library


def gram_conv(images, kernel, stride=1, padding=0, dilation=1, groups=1):
    """The mean of `patch patch^T` over images and output positions: (columns, columns), several groups a stack.

    `images` (samples, channels, height, width); kernel, stride, padding, dilation an integer or (height, width).
    Columns are in C order of (channel of the group, kernel row, kernel column).
    """
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = map(_pair, (kernel, stride, padding, dilation))
    xp, (_, channels, height, width) = library(images), images.shape
    rows = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    columns = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    each, grams = channels // groups, []
    for group in range(groups):
        patches = []
        for image in images:
            for i in range(rows):
                for j in range(columns):
                    patch = [
                        _pixel(image[c, ...], i * sh - ph + a * dh, j * sw - pw + b * dw)
                        for c in range(group * each, (group + 1) * each)
                        for a in range(kh)
                        for b in range(kw)
                    ]
                    patches.append(xp.stack(patch))
        grams.append(sum(patch[:, None] * patch[None, :] for patch in patches) / len(patches))
    return grams[0] if groups == 1 else xp.stack(grams)


def _pair(value):
    """`value` for height and width."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _pixel(channel, i, j):
    """The pixel (i, j), zero in the padding."""
    inside = 0 <= i < channel.shape[0] and 0 <= j < channel.shape[1]
    return channel[i, j] if inside else 0 * channel[0, 0]
