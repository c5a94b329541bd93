"""Derivatives by differences of forward passes: a witness into which no rule of differentiation enters.

Central differences with steps h and h / 2 and one step of Richardson's extrapolation. What they are uncertain by is
read from the numbers: how far the two steps are apart, and eps of the values over the step. Where a step crosses a kink
there is no answer.
"""

import numpy as np

from ..definitions.jet_losses import curvature, value
from . import kinks

STEP = 2.0**-9  # of parameters of size 1, in a direction whose largest entry is 1
TRUNCATION = 3  # times what the two steps differ by, of which a quarter is left where the steps are small
ROUNDING = 64  # times eps of the largest number in the forward pass


class Crossed(Exception):
    """A step crosses a kink."""


def witness(quantity, layers, params, x, y, loss, v=None):
    """(direction u, what the quantity gives along it, how uncertain that is).

    `G u` (samples,) for the samples' gradients, `u^T H v` for a product, `u^T A u` for a matrix.
    """
    along = Along(layers, params, x, y, loss)
    u = np.random.default_rng(0).normal(size=along.size)
    if quantity == "per_sample_gradients":
        return u, *once(along, along.losses, u)
    if quantity == "gauss_newton":
        return u, *_gauss_newton(along, u)
    return u, *_twice(along, u, u if v is None else v)


class Along:
    """Losses and outputs of a network at parameters moved along directions."""

    def __init__(self, layers, params, x, y, loss):
        self.layers, self.params, self.x, self.y, self.loss = layers, params, x, y, loss
        self.size = sum(array.size for name, array in params.items() if "running" not in name)
        f, found = kinks.watched(self.layers, self.params, self.x)
        self.f = f.reshape(len(f), -1)
        self.sides = [kink.side for kink in found]

    def outputs(self, direction):
        """(samples, outputs) at the parameters plus `direction` (d,)."""
        params, at = dict(self.params), 0
        for name, array in params.items():
            if "running" not in name:
                params[name] = array + direction[at : at + array.size].reshape(array.shape)
                at += array.size
        f, found = kinks.watched(self.layers, params, self.x)
        if any((kink.side != side).any() for kink, side in zip(found, self.sides, strict=True)):
            raise Crossed
        return f.reshape(len(f), -1)

    def losses(self, direction):
        """(samples,)."""
        return value(self.outputs(direction), self.y, self.loss)

    def uncertain(self, function):
        """What rounding moves a value of `function` by."""
        f = np.abs(self.f).max() + 1.0
        size = (
            f if function == self.outputs or self.loss == "cross_entropy" else f * (f + np.abs(self.y).max())
        )
        return ROUNDING * np.finfo(float).eps * size


def once(along, function, u):
    """(`D_u function`, its uncertainty)."""
    scale = np.abs(u).max()
    if scale == 0:
        return 0 * function(u), 0.0
    wide, near = ((function(h * u) - function(-h * u)) / (2 * h) for h in (STEP / scale, STEP / scale / 2))
    return (4 * near - wide) / 3, TRUNCATION * np.abs(near - wide) + along.uncertain(function) / (
        STEP / scale
    )


def _twice(along, u, v):
    """(`D_u D_v` of the mean loss, its uncertainty)."""
    if not u.any() or not v.any():
        return 0.0, 0.0
    found = []
    for h in (STEP, STEP / 2):
        s, t = h / np.abs(u).max() * u, h / np.abs(v).max() * v
        losses = [along.losses(a * s + b * t).mean() * a * b for a in (1, -1) for b in (1, -1)]
        found.append(sum(losses) / (4 * h * h))
    size = np.abs(u).max() * np.abs(v).max()
    wide, near = (size * number for number in found)
    return (4 * near - wide) / 3, TRUNCATION * abs(near - wide) + 4 * size * along.uncertain(
        along.losses
    ) / STEP**2


def _gauss_newton(along, u):
    """(`u^T G u`, its uncertainty), from the outputs' slope along u and the loss's curvature in the outputs."""
    slope, error = once(along, along.outputs, u)
    S = curvature(along.f, along.y, along.loss)
    bent = (S @ slope[..., None])[..., 0]
    return (slope * bent).sum() / len(along.f), 3 * (np.abs(bent) * error).sum() / len(along.f) + (
        error**2
    ).sum()
