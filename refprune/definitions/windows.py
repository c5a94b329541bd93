"""Convolution and pooling, by the positions of the kernel.

Images have any leading axes and then (channels, height, width). Output (h, w) of a window reads the padded image at
`(h sh + i dh, w sw + j dw)` for each kernel position (i, j); the strides are (sh, sw), the dilations (dh, dw).
Padding is a number, one for each side (ph, pw), or ((top, bottom), (left, right)).
"""

from refprune.arrays import full, namespace


def pair(value):
    """(height, width) of a number or a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def padded(images, padding, fill=0):
    """The images in a frame of `fill`."""
    (top, bottom), (left, right) = map(pair, pair(padding))
    *lead, height, width = images.shape
    frame = full((*lead, top + height + bottom, left + width + right), fill, images)
    frame[..., top : top + height, left : left + width] = images
    return frame


def patches(images, kernel, stride, dilation):
    """What each window sees, (..., channels, kh, kw, oh, ow), of images that are padded already."""
    (kh, kw), (sh, sw), (dh, dw) = pair(kernel), pair(stride), pair(dilation)
    oh = (images.shape[-2] - dh * (kh - 1) - 1) // sh + 1
    ow = (images.shape[-1] - dw * (kw - 1) - 1) // sw + 1
    seen = full((*images.shape[:-2], kh, kw, oh, ow), 0, images)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i * dh, i * dh + sh * oh, sh), slice(j * dw, j * dw + sw * ow, sw)
            seen[..., i, j, :, :] = images[..., rows, columns][..., :oh, :ow]
    return seen


def convolution(weight, seen, groups):
    """The sum over channels and kernel positions of weight (..., out, channels / groups, kh, kw) times patches.

    The outputs of a group see its channels only. The leading axes broadcast; that of the samples is the last one.
    """
    *own, out, inside, kh, kw = weight.shape
    *lead, _, _, _, oh, ow = seen.shape
    seen = seen.reshape(*lead, groups, inside * kh * kw, oh * ow)
    total = weight.reshape(*own, 1, groups, out // groups, inside * kh * kw) @ seen
    return total.reshape(*total.shape[:-3], out, oh, ow)


def winners(seen, last=0):
    """Shares (..., kh, kw, oh, ow) that pick the largest entry of each window of patches.

    Of equal ones the first has the share 1 - last and the last one has `last`: every such choice is right.
    """
    xp, (kh, kw) = namespace(seen), seen.shape[-4:-2]
    flat = seen.reshape(*seen.shape[:-4], kh * kw, *seen.shape[-2:])
    first, final = xp.argmax(flat, axis=-3), kh * kw - 1 - xp.argmax(flat[..., ::-1, :, :], axis=-3)
    place = xp.arange(kh * kw)[:, None, None]
    shares = (place == first[..., None, :, :]) * (1 - last) + (place == final[..., None, :, :]) * last
    return shares.reshape(seen.shape)
