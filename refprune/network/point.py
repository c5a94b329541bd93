"""A network, its loss and some samples at one point: recorded once, differentiated as often as asked."""

from refprune.arrays import namespace

from . import chain, losses

NUMBERS = 2**20  # held by the derivatives of one part of the samples: 8 MiB in float64, about a cache


def parts(network, x, most=NUMBERS, keep=True):
    """Slices of the samples of `x`, each small enough that at most `most` numbers are held (or one sample).

    All layers hold their numbers at once when they are kept for derivatives, else one after the other.
    """
    numbers = chain.held(network.layers, tuple(x.shape[1:]))
    step = max(1, most // max(1, sum(numbers) if keep else max(numbers, default=1)))
    return [slice(start, min(start + step, x.shape[0])) for start in range(0, x.shape[0], step)]


class Point:
    """The mean loss over `count` samples at `params`, for those of them that are in `x`.

    Attributes
    ----------
    outputs : array, shape (samples, ...)
    records : list of `chain.Record`
    """

    def __init__(self, network, params, x, y, loss, count):
        self.network, self.y, self.loss, self.count, self.shape = network, y, loss, count, tuple(x.shape[1:])
        self.outputs, self.records = chain.record(network.layers, params, x)

    def value(self):
        """The share of these samples in the mean loss."""
        return namespace(self.outputs).sum(losses.values(self.loss, self.outputs, self.y)) / self.count

    def pull(self, want="sum"):
        """The gradients (dict) of the loss; every record remembers its delta."""
        delta = losses.gradient(self.loss, self.outputs, self.y)
        delta = delta if want == "samples" else delta / self.count
        return chain.pull(self.records, delta, want, inner=False, keep=True)[0]

    def tangent(self, dparams, start=0, stop=0, want=True, gauss_newton=False):
        """The tangents of the gradients, in the directions `dparams`, of the layers from `stop` on.

        The directions must be zero below layer `start`. `pull` must have passed, but for Gauss-Newton, which
        leaves out everything that multiplies a delta.
        """
        df, held = chain.push(self.records[start:], dparams, None)
        ddelta = losses.hessian_product(self.loss, self.outputs, df) / self.count
        if gauss_newton:
            return chain.pull_tangent(self.records[stop:], None, {}, ddelta, want, inner=False)[0]
        held = [None] * (start - stop) + held[max(stop - start, 0) :]
        return chain.pull_tangent(self.records[stop:], held, dparams, ddelta, want, inner=False)[0]
