r"""The way of SGD from the first point of a training to its last, and back again over the same points.

Step: ``b_t = m b_(t-1) + g_t(theta_t) + decay theta_t`` with ``b_(-1) = 0``, then
``theta_(t+1) = theta_t - lr b_t``, all over the flat vector of a network.
Way back: every k-th point is stored with its momentum. The points between two of them are computed again when they are
asked for: the same arithmetic on the same numbers, so the same bits. The last stretch is still there and needs no
second time.
Memory: M vectors for M steps with k = 1, at most ``2 ceil(M / k) + k`` otherwise; least near ``k = sqrt(2 M)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from refprune.arrays import concat, namespace
from refprune.network import Network
from refprune.network.derivatives import split


@dataclass(frozen=True)
class TrainingPath:
    """M steps of SGD, one on each batch but the last, which only `gradient` and `hvp` take.

    Attributes
    ----------
    params : dict of arrays
        Where running statistics come from.
    batches : list of (x, y)
    every : int
        Every so many-th point is stored.
    """

    network: Network
    params: dict
    batches: list
    loss: str
    lr: float
    momentum: float
    decay: float
    every: int

    def at(self, theta):
        """The parameters (dict) of a point (d,)."""
        return {name: self.params[name] for name in self.network.constants} | split(self.network, theta)

    def gradient(self, t, theta):
        """The gradient (d,) of the loss on batch t."""
        found = self.network.gradient(self.at(theta), *self.batches[t], self.loss)
        return concat([namespace(g).reshape(g, (-1,)) for g in found.values()], axis=0)

    def hvp(self, t, theta, v):
        """The Hessian of the loss on batch t, with the decay on its diagonal, times v (d,)."""
        product = self.network.hvp(self.at(theta), *self.batches[t], v, self.loss)
        return product + self.decay * v if self.decay else product

    def step(self, t, theta, b):
        """The next point and the momentum that led there; `b` is None before the first step."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            slope = self.gradient(t, theta)
            slope = slope + self.decay * theta if self.decay else slope
            b = self.momentum * b + slope if self.momentum and b is not None else slope
            theta = theta - self.lr * b
        return finite(theta, f"weights after step {t + 1}: try a smaller lr than {self.lr:g}"), b

    def there(self, keep: bool = True) -> tuple[Any, Iterator]:
        """The last point, and an iterator over (t, theta_t) for t = M - 1, ..., 0; it empties the store as it goes.

        Without `keep` nothing is stored, and the iterator is empty.
        """
        theta, b = self.network.flatten(self.params), None
        store, stretch = [], []
        for t in range(len(self.batches) - 1):
            if keep and t % self.every == 0:
                store.append((t, theta, b if self.momentum and self.every > 1 else None))
                stretch = []
            if keep:
                stretch.append(theta)
            theta, b = self.step(t, theta, b)
        return theta, self._back(store, stretch)

    def _back(self, store, stretch):
        """See `there`; `stretch` holds the points from the last stored one on."""
        while store:
            first, theta, b = store.pop()
            points = stretch or self._stretch(first, theta, b)
            for t in range(first + len(points) - 1, first - 1, -1):
                yield t, points.pop()

    def _stretch(self, first, theta, b):
        """The points from a stored one up to the next, computed again."""
        points = [theta]
        for t in range(first, first + self.every - 1):
            theta, b = self.step(t, theta, b)
            points.append(theta)
        return points


def finite(vector, what):
    """The vector; FloatingPointError where it is not finite."""
    xp = namespace(vector)
    if not bool(xp.all(xp.isfinite(vector))):
        raise FloatingPointError(f"need finite numbers; got NaN or Inf in the {what}")
    return vector
