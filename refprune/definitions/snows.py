"""SNOWS (Lucas and Mazumder 2024): the kept weights of a network, readjusted for what the layers behind compute.

Masks are given. For one layer after the other, with the layers before it as readjusted and those behind as pruned,
`y_0 .. y_K` are the outputs of the layer and of the K operations that follow (dense layers, convolutions, activations),
`t_0 .. t_K` those of the dense network, and Newton-CG looks for the kept entries of the weight V with the least

    F(V) = sum_j  1/samples sum_s |y_j(x_s; V) - t_j(x_s)|^2.

With K = 0 that is least squares. The network is a chain of plain data, as in `refprune.definitions.derivatives`.
"""

from refprune.definitions import derivatives
from refprune.definitions.newton_cg import newton_cg
from refprune.definitions.one_shot import masked

OPERATIONS = ("dense", "conv2d", "relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")


class Ahead:
    """F, over the flat V (d,) of the weight called `name`; the other weights are those of `params`."""

    def __init__(self, layers, params, dense, x, name, horizon):
        place = int(name.split(".")[0])
        ends = [n for n in range(place, len(layers)) if layers[n]["type"] in OPERATIONS][: horizon + 1]
        self.parts = [layers[: n + 1] for n in ends]
        self.targets = [derivatives.forward(part, dense, x).reshape(x.shape[0], -1) for part in self.parts]
        self.params, self.x, self.name = params, x, name
        sizes = {key: array.size for key, array in params.items() if "running" not in key}
        before = sum(size for key, size in sizes.items() if int(key.split(".")[0]) < place)
        self.own = slice(
            before, before + sizes[name]
        )  # where V is among all parameters, weights before biases

    def _sum(self, derivative, w):
        """2 times the sum of a derivative of `1/2 |y_j - t_j|^2`."""
        params = self.params | {self.name: w.reshape(self.params[self.name].shape)}
        pairs = zip(self.parts, self.targets, strict=True)
        return 2 * sum(derivative(part, params, self.x, target, "squared") for part, target in pairs)

    def value(self, w):
        return self._sum(derivatives.network_loss, w)

    def gradient(self, w):
        return self._sum(derivatives.gradient, w)[self.own]

    def hessian(self, w):
        return self._sum(derivatives.hessian, w)[self.own, self.own]


def snows(layers, params, masks, x, horizon, steps, damp=0):
    """At most `steps` Newton steps for each weight in `masks` (a dict, in the order of the layers); new params."""
    found = {name: masked(array, masks.get(name, array == array)) for name, array in params.items()}
    for name, mask in masks.items():
        f = Ahead(layers, found, params, x, name, horizon)
        points = newton_cg(f, mask.reshape(-1), found[name].reshape(-1), steps, damp)
        found[name] = points[-1].reshape(mask.shape)
    return found
