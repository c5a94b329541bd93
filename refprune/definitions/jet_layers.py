"""The layers with parameters, and pools: each a step from jet to jet.

A layer is plain data (`{"type": "dense", ...}`), `own(name)` is the jet of its array of that name. Dense layers,
convolutions and batch normalisation at inference are products of a parameter and the input; pools are linear maps, a
max pool once it has picked its winners. Running statistics are constants.
"""

from refprune.arrays import full, namespace
from refprune.definitions.jets import add, linear, product
from refprune.definitions.windows import convolution, padded, patches, winners


def dense(layer, own, a):
    """`a W^T + b`; the weight is (outputs, inputs)."""
    z = product(lambda w, x: x @ w.swapaxes(-1, -2), own("weight"), a)
    return add(z, linear(lambda b: b[..., None, :], own("bias"))) if layer.get("bias", True) else z


def conv2d(layer, own, a):
    """What each window sees times the weight (out, channels / groups, kh, kw), and a bias for each output channel."""
    seen, groups = linear(lambda part: look(layer, part), a), layer.get("groups", 1)
    z = product(lambda w, part: convolution(w, part, groups), own("weight"), seen)
    return add(z, linear(per_channel, own("bias"))) if layer.get("bias", True) else z


def batchnorm2d(layer, own, a):
    """`w (a - mean) / sqrt(var + eps) + b` for each channel, with the running mean and variance."""
    var = per_channel(own("running_var").value) + layer.get("eps", 1e-5)
    centred = add(a, linear(lambda mean: -per_channel(mean), own("running_mean")))
    unit = linear(lambda part: part / namespace(var).sqrt(var), centred)
    return add(
        product(lambda w, z: per_channel(w) * z, own("weight"), unit), linear(per_channel, own("bias"))
    )


def maxpool2d(layer, a, last=0):
    """The largest entry of each window; padding never wins. Of equal ones the last has the share `last`."""
    shares = winners(look(layer, a.value, -float("inf")), last)
    return linear(lambda part: (shares * look(layer, part)).sum((-4, -3)), a)


def avgpool2d(layer, a):
    """The mean of each window; padded zeros count, unless `count_padding` is False."""
    one = full(a.value.shape[-3:], 1, a.value)
    count = look(layer, one, int(layer.get("count_padding", True))).sum((-4, -3))
    return linear(lambda part: look(layer, part).sum((-4, -3)) / count, a)


def look(layer, part, fill=0):
    """What each window sees of one part of a jet. The stride of a pool is its kernel where none is given."""
    stride = layer.get("stride") or (1 if layer["type"] == "conv2d" else layer["kernel"])
    padding = layer.get("padding", 0)
    seen = padded(part, padding, fill) if padding else part
    return patches(seen, layer["kernel"], stride, layer.get("dilation", 1))


def per_channel(part):
    """A vector (..., channels) beside images (..., samples, channels, height, width)."""
    return part[..., None, :, None, None]
