"""One score, one mask, no update: magnitude (Han 2015), Wanda (Sun 2023), OBD (LeCun 1990)."""

from refprune.arrays import namespace
from refprune.definitions.masks import topk_mask


def magnitude(weight, count):
    """Prune the `count` smallest `|w|` of the whole array; returns (weight, mask)."""
    mask = topk_mask(abs(weight), weight.size - count)
    return masked(weight, mask), mask


def wanda(weight, gram, count):
    """Prune, in each row of `weight` (rows, columns), the `count` smallest `|W_ij| sqrt(G_jj)`.

    The squares `W_ij^2 G_jj` rank the same and need no root, so that fractions stay exact.
    """
    xp = namespace(weight, gram)
    rows, columns = weight.shape
    mask = xp.ones((rows, columns), dtype=bool)
    for row in range(rows):
        score = weight[row] ** 2 * xp.diagonal(gram)  # (columns,) compared within the row
        mask[row] = topk_mask(score, columns - count)
    return masked(weight, mask), mask


def obd(weight, diagonal, count):
    """Prune the `count` smallest saliencies `1/2 H_pp w_p^2` of `weight` (d,); survivors stay as they are."""
    mask = topk_mask(diagonal * weight**2 / 2, weight.size - count)  # in units of the loss
    return masked(weight, mask), mask


def masked(weight, mask):
    """A copy of `weight` with exact zeros where `mask` is False."""
    xp = namespace(weight, mask)
    return xp.where(mask, weight, weight - weight)
