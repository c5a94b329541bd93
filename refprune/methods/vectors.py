"""What methods on a flat vector measure it by: sums of squares and products in scaled units, counts, cuts."""

import numpy as np

from refprune.arrays import exponent, namespace, to_numpy


def cut(w, kept):
    """`w` with zeros off the mask `kept`."""
    return namespace(w, kept).where(kept, w, 0)


def count(mask):
    """How many entries of `mask` are True."""
    return int(np.count_nonzero(to_numpy(mask)))


def dot(a, b):
    """The inner product, a float. Powers of two are taken out first, so no product of entries leaves the range."""
    i = exponent(a)
    j = i if a is b else exponent(b)
    return float(namespace(a, b).sum((a * 2.0**-i) * (b * 2.0**-j))) * 2.0**i * 2.0**j


def norm(a):
    """The Euclidean norm, a float."""
    i = exponent(a)
    a = a * 2.0**-i
    return float(namespace(a).sum(a * a)) ** 0.5 * 2.0**i
