"""How ONNX says where a kernel stands: `pads`, `auto_pad`, `ceil_mode`; as one padding of refprune."""


def plainest(sides):
    """((top, bottom), (left, right)) as one number or as (height, width) where that says the same."""
    if any(before != after for before, after in sides):
        return sides
    return plain_pair([before for before, _ in sides])


def plain_pair(pair):
    """A pair of equal numbers as one number."""
    height, width = pair
    return height if height == width else (height, width)


def window(op, kernel, strides, dilations, pads, auto_pad, ceil_mode=0):
    """The strides, dilations and ((top, bottom), (left, right)) of a convolution or a pool.

    Parameters
    ----------
    op : Operator
    kernel : sequence of int
    strides, dilations, pads : sequence of int, or None for the default
    auto_pad : str
    ceil_mode : int
        With 1, a window that begins before the padding at the end, but does not fit, counts too.

    Returns
    -------
    strides, dilations : tuple of int
    declared : ((int, int), (int, int))
        What the file pads.
    sides : ((int, int), (int, int))
        The same, grown at the end so that the last window of `ceil_mode` fits.
    """
    op.need(len(kernel) == 2, f"need a kernel with a height and a width; got {list(kernel)}")
    strides, dilations = tuple(strides or (1, 1)), tuple(dilations or (1, 1))
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel))
    declared = _padding(op, extents, strides, pads, auto_pad)
    op.need(all(p >= 0 for side in declared for p in side), f"need pads of at least 0; got {declared}")
    if not ceil_mode or strides == (1, 1):
        return strides, dilations, declared, declared
    sizes = op.images()
    op.need(None not in sizes, "ceil_mode=1 needs images of a size that the file states")
    grown = zip(sizes, extents, strides, declared)
    return strides, dilations, declared, tuple(_grown(*axis) for axis in grown)


def _padding(op, extents, strides, pads, auto_pad):
    """((top, bottom), (left, right)) as the file pads."""
    pads = list(pads or (0, 0, 0, 0))
    if auto_pad == "NOTSET":
        op.need(len(pads) == 4, f"need four pads; got {pads}")
        return (pads[0], pads[2]), (pads[1], pads[3])
    op.need(not any(pads), f"need pads or auto_pad, not both; got {pads} and {auto_pad}")
    if auto_pad == "VALID":
        return (0, 0), (0, 0)
    op.need(auto_pad in ("SAME_UPPER", "SAME_LOWER"), f"its auto_pad {auto_pad} is not known")
    return tuple(_same(op, *axis, auto_pad) for axis in zip(op.images(), extents, strides))


def _same(op, size, extent, stride, auto_pad):
    """The padding with which ceil(size / stride) windows fit; the odd one goes where `auto_pad` says."""
    op.need(
        size is not None or stride == 1, f"auto_pad={auto_pad} needs images of a size that the file states"
    )
    total = extent - 1 if stride == 1 else max((-(-size // stride) - 1) * stride + extent - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)


def _grown(size, extent, stride, side):
    """The padding of one axis, with as much more at the end as the last window of ceil_mode needs."""
    before, after = side
    more = -(-(size + before + after - extent) // stride)  # windows after the first
    if more * stride >= size + before:  # the last one would see padding only: it does not count
        more -= 1
    return before, max(after, more * stride + extent - size - before)
