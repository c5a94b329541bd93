"""Right scores of the flow of gradients and of synaptic flow, by autograd on NumPy arrays and by PyTorch."""

import importlib

from right_networks import Autograd, Torch, trainable

SHAPELESS = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "softplus")


class Flows:
    """The contracts `grasp` and `synflow-scores`; `package` and `last` are those of `right_kernels.Kernels`.

    With `last` the gradient of `g^T g / 2` is taken in one piece, and the flow by switches on the weights.
    """

    def grasp(self, layers, params, x, y, loss):
        """`-w (H g)`."""
        torch = self.package == "torch"
        package = Torch() if torch else Autograd(self.last)
        if self.last:
            slope = package.autograd.grad(package._mean(layers, params, x, y, loss))
            half = package.autograd.grad(lambda w: package.np.sum(slope(w) ** 2) / 2)
            product = half(package._flat(params))
        else:
            g = package.per_sample_gradients(layers, params, x, y, loss).mean(0)
            product = package.hvp(layers, params, x, y, loss, g)
        return {name: -params[name] * Hg for name, Hg in split(params, product).items()}

    def synflow_scores(self, layers, params, input_shape):
        """`|w dR/dw|`, in double precision."""
        if self.package == "torch":
            return by_torch(layers, params, input_shape)
        package = Identities()
        given = {name: sized(name, array.astype("float64")) for name, array in params.items()}
        ones = package.np.ones((1, *input_shape))

        names = weights_of(params)

        def R(weights):
            return package.np.sum(
                package.forward(layers, given | {name: weights[name] for name in names}, ones)
            )

        def R_of_switches(switches):
            return R({name: given[name] * switches[name] for name in names})

        slope = package.autograd.grad(R_of_switches if self.last else R)
        if self.last:
            return slope({name: package.np.ones(given[name].shape) for name in names})
        slopes = slope({name: given[name] for name in names})
        return {name: given[name] * slopes[name] for name in names}


class Identities(Autograd):
    """Networks whose activations change nothing."""


for _name in SHAPELESS:
    setattr(Identities, _name, lambda self, layer, z: z)


def by_torch(layers, params, input_shape):
    """Backward through PyTorch's own layers, without activations."""
    torch = importlib.import_module("torch")

    class Linear(Torch):
        def step(self, layer, x, own):
            return x if layer["type"] in SHAPELESS else super().step(layer, x, own)

    given = {name: sized(name, array.double()) for name, array in params.items()}
    weights = [given[name].requires_grad_() for name in weights_of(params)]
    R = Linear().forward(layers, given, torch.ones((1, *input_shape), dtype=torch.float64)).sum()
    slopes = torch.autograd.grad(R, weights)
    found = zip(weights_of(params), weights, slopes, strict=True)
    return {name: (w * slope).detach() for name, w, slope in found}


def sized(name, array):
    """What takes part of an array: its size, or nothing."""
    return 0 * array if name.endswith((".bias", ".running_mean")) else abs(array)


def weights_of(params):
    """The names of dense and convolution weights."""
    return [name for name in params if name.endswith(".weight") and params[name].ndim > 1]


def split(params, vector):
    """The parts of a flat vector that belong to weights."""
    found, at = {}, 0
    for name in trainable(params):
        size = len(params[name].reshape(-1))
        if name in weights_of(params):
            found[name] = vector[at : at + size].reshape(params[name].shape)
        at += size
    return found
