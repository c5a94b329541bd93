"""Right SNIP and ProsPr that share nothing with `refprune`: switches on the weights, and the packages differentiate.

The steps of a training are unrolled. The forward passes are those of `right_networks`.
"""

import numpy as np
from right_networks import Autograd, Torch, trainable


class Scores:
    """The contracts `snip` and `prospr`; `package` and `last` are those of `right_kernels.Kernels`.

    With `last` SNIP has switches, too, and samples are taken backwards; else its slope is that in the weight.
    """

    def snip(self, layers, params, x, y, loss):
        """`|w dL/dw|`."""
        slope = self._slope(layers, params, [(x, y)], loss, 0.0, 0.0, switches=self.last)
        return _split(slope, params)

    def prospr(self, layers, params, batches, lr, momentum):
        """`|dL/dc|` through the steps."""
        if not batches or not (0 <= lr < np.inf and 0 <= momentum < 1):
            raise ValueError(f"need batches, lr >= 0 and momentum in [0, 1); got {lr} and {momentum}")
        return _split(self._slope(layers, params, batches, "cross_entropy", lr, momentum), params)

    def _slope(self, *arguments, switches=True):
        return (_by_torch if self.package == "torch" else _by_autograd)(self, *arguments, switches)


def _split(scores, params):
    """The sizes of the entries that belong to weights, by name."""
    found, at = {}, 0
    for name in trainable(params):
        size = int(np.prod(params[name].shape))
        if name.endswith("weight") and len(params[name].shape) > 1:
            found[name] = abs(scores[at : at + size]).reshape(params[name].shape)
        at += size
    return found


def _by_autograd(kernels, layers, params, batches, loss, lr, momentum, switches):
    engine = Autograd(kernels.last)
    w = engine._flat(params)
    losses = [engine._mean(layers, params, x, y, loss) for x, y in batches]
    slopes = [engine.autograd.grad(mean) for mean in losses]
    if not switches:
        return w * slopes[-1](w)

    def after(c):
        theta, b = c * w, 0.0
        for slope in slopes[:-1]:
            b = momentum * b + slope(theta)
            theta = theta - lr * b
        return losses[-1](theta)

    return engine.autograd.grad(after)(np.ones_like(w))


def _by_torch(kernels, layers, params, batches, loss, lr, momentum, switches):
    engine = Torch()
    w, grad = engine._flat(params), engine.torch.autograd.grad
    losses = [engine._losses(layers, params, x, y, loss) for x, y in batches]
    c = engine.torch.ones_like(w, requires_grad=True)
    theta, b = c * w, 0.0
    for each in losses[:-1]:
        (g,) = grad(each(theta).mean(), theta, create_graph=True)
        b = momentum * b + g
        theta = theta - lr * b
    (slope,) = grad(losses[-1](theta).mean(), c if switches else theta)
    return slope if switches else slope * w
