"""The Gram matrix of a layer's inputs, accumulated over batches."""

from math import prod

from refprune.arrays import Array, astype, blocks, integer, namespace, real, swap, widest
from refprune.unfold import Padding, Sides, Window, pair, unfold

CHUNK = 2**24  # entries of unfolded images held at once: 128 MiB in float64


class GramAccumulator:
    r"""Accumulates :math:`G = X^T X / n` over batches of inputs, in float64.

    Any split of the same samples into batches, in any order, gives the same Gram: to the last bit where every
    partial sum is a float64 (small integers, dyadic fractions, and always for Fractions), else within
    :math:`n \varepsilon \sum_s |x_{si} x_{sj}| / n` per entry, the bound of a sum in any order.

    Parameters
    ----------
    kernel : int or pair of int, optional
        The kernel (height, width) of a convolution, whose batches are images (samples, channels, height,
        width) and whose samples are images * output positions. None: batches are (samples, columns).
    stride, padding, dilation : int or pair of int
        As `refprune.unfold.unfold` takes them.
    groups : int
        Of the convolution. With several, the Gram is a stack (groups, columns, columns).

    Attributes
    ----------
    samples : int
        The number of rows of X so far.
    gram : array, shape (columns, columns)
        float64 whatever the batches' dtype (float32 only where a device has no float64), exactly symmetric.

    Raises
    ------
    ValueError
        From `gram` while there is no sample; from `update` for shapes that do not fit, NaN or Inf; for
        convolution options without a kernel.
    TypeError
        Batches that are no real arrays, or of another kind than before.

    Notes
    -----
    Cost: n columns^2 operations. Memory: columns^2, and the batch in float64; images are unfolded in pieces
    of at most 2^24 entries (or one image).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> accumulator = rp.GramAccumulator()
    >>> accumulator.update(np.array([[1.0, 2.0]])).update(np.array([[3.0, 0.0]])).gram
    array([[5., 1.],
           [1., 2.]])
    """

    def __init__(
        self,
        kernel: Sides | None = None,
        stride: Sides = 1,
        padding: Padding = 0,
        dilation: Sides = 1,
        groups: int = 1,
    ):
        groups = integer("groups", groups, least=1)
        self._options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if kernel is None and self._options != {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}:
            raise ValueError(f"need a kernel with stride, padding, dilation or groups; got {self._options}")
        self._kernel = None if kernel is None else pair("kernel", kernel, 1)
        Window.of(kernel or 1, stride, padding, dilation)
        self._sum = None
        self.samples = 0

    def update(self, batch: Array) -> "GramAccumulator":
        """Add a batch (a Dask array is streamed block by block) and return the accumulator itself.

        A batch that raises leaves the accumulator as it was.
        """
        total, samples = self._sum, 0
        for block in blocks(batch):
            for X in self._rows(block):
                X = astype(X, widest(X))
                total = _added(total, swap(X) @ X)
                samples += X.shape[-2]
        self._sum, self.samples = total, self.samples + samples
        return self

    def merge(self, other: "GramAccumulator") -> "GramAccumulator":
        """Add the samples of `other`, an accumulator with the same options, and return the accumulator itself.

        Parts of the samples can be accumulated apart, by several workers, and merged in any order.

        Examples
        --------
        >>> import numpy as np
        >>> import refprune as rp
        >>> first = rp.GramAccumulator().update(np.array([[1.0, 2.0]]))
        >>> first.merge(rp.GramAccumulator().update(np.array([[3.0, 0.0]]))).gram
        array([[5., 1.],
               [1., 2.]])
        """
        if not isinstance(other, GramAccumulator):
            raise TypeError(f"need a GramAccumulator; got {type(other).__name__}")
        mine, its = (self._kernel, self._options), (other._kernel, other._options)
        if mine != its:
            raise ValueError(f"need an accumulator of {mine}; got one of {its}")
        self._sum = _added(self._sum, other._sum)
        self.samples += other.samples
        return self

    def _rows(self, block):
        """Iterate over the rows of X in `block`: the block itself, or pieces of unfolded images."""
        if self._kernel is None:
            yield real("batch", block, ndim=2)
            return
        real("batch", block, ndim=4)
        options = {name: self._options[name] for name in ("stride", "padding", "dilation")}
        positions = Window.of(self._kernel, **options).output_size(block.shape[2:])
        step = max(1, CHUNK // max(1, block.shape[1] * prod(self._kernel) * prod(positions)))
        for start in range(0, max(block.shape[0], 1), step):
            piece = block[start : min(start + step, block.shape[0]), ...]
            yield unfold(piece, self._kernel, **self._options)

    @property
    def gram(self) -> Array:
        """The Gram of all samples so far, a new array."""
        if self.samples == 0:
            raise ValueError("need at least one sample for a Gram; got 0")
        return (self._sum + swap(self._sum)) / (2 * self.samples)


def _added(total, product):
    """The sum of two sums of outer products; None stands for none."""
    if total is None or product is None:
        return product if total is None else total
    if tuple(total.shape) != tuple(product.shape):
        raise ValueError(f"need batches of {total.shape[-1]} columns; got {product.shape[-1]}")
    namespace(total, product)
    return total + product
