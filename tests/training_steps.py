"""Networks and batches for ProsPr, and the loss after the steps as a plain loop of SGD."""

import numpy as np

import refprune as rp

LR = 0.2
BODY = [rp.Conv2d(2, 3, 1, bias=False), rp.Tanh(), rp.Conv2d(3, 2, 1)]
NETWORKS = {
    "tanh": (rp.mlp([3, 4, 3, 2], activation="tanh"), (3,), "cross_entropy"),
    "relu, no biases": (rp.mlp([4, 5, 3], bias=False), (4,), "cross_entropy"),
    "convolutions": (
        rp.Network(
            [
                rp.Conv2d(1, 2, 2, padding=1), rp.BatchNorm2d(2), rp.SiLU(), rp.Conv2d(2, 2, 2, groups=2),
                rp.Softplus(), rp.Conv2d(2, 2, 1), rp.Residual(BODY), rp.AvgPool2d(2), rp.Flatten(), rp.Dense(2, 3),
            ]
        ),
        (1, 3, 3),
        "cross_entropy",
    ),
    "squared": (
        rp.Network([rp.Conv2d(1, 2, 2), rp.ReLU(), rp.MaxPool2d(2, 1), rp.Flatten(), rp.Dense(2, 2)]),
        (1, 3, 3),
        "squared",
    ),
}  # fmt: skip


def setting(name, M=2, seed=0):
    """(network, params, M + 1 batches of different size, loss), with numbers that are no neutral elements."""
    network, shape, loss = NETWORKS[name]
    rng = np.random.default_rng([91, seed])
    params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    for key, size in network.constants.items():
        params[key] = rng.normal(size=size) if key.endswith("mean") else rng.uniform(0.5, 2, size=size)
    outputs, batches = network.output_shape(shape)[0], []
    for n in range(3, 4 + M):
        x = rng.normal(size=(n, *shape)) + 0.3
        y = rng.integers(0, outputs, size=n) if loss == "cross_entropy" else rng.normal(size=(n, outputs))
        batches.append((x, y))
    return network, params, batches, loss


def vector(arrays):
    """The arrays of a dict as one vector."""
    return np.concatenate([array.ravel() for array in arrays.values()])


def prunable(network):
    """(d,), True for the weights that have a switch."""
    return vector({key: np.full(shape, key in network.prunable) for key, shape in network.shapes.items()})


def loss_after(name, M, seed, momentum=0.0, weight_decay=0.0):
    """(the loss after the steps as a function of theta_0, theta_0): a plain loop of SGD."""
    network, params, batches, loss = setting(name, M, seed)

    def after(theta):
        b = 0.0
        for x, y in batches[:-1]:
            g = vector(network.gradient(network.unflatten(theta, params), x, y, loss))
            b = momentum * b + g + weight_decay * theta
            theta = theta - LR * b
        return network.loss(network.unflatten(theta, params), *batches[-1], loss)

    return after, network.flatten(params)
