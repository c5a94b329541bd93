"""Networks with units, for the tests of SOSP-H and its kin: which parameters belong to which unit is spelled out."""

import numpy as np

import refprune as rp

EPS = 2.0**-52

# Names of parameters -> the number of the first unit in them; along the rows, or along the columns in so many parts.
NETWORKS = {
    "perceptron, 1 layer": (
        [rp.Dense(3, 4), rp.ReLU(), rp.Dense(4, 2)],
        (3,),
        {"0.weight": 0, "0.bias": 0},
        {"2.weight": (0, 4)},
    ),
    "perceptron": (
        [rp.Dense(4, 5, bias=False), rp.Tanh(), rp.Dense(5, 3), rp.Softplus(), rp.Dense(3, 2)],
        (4,),
        {"0.weight": 0, "2.weight": 5, "2.bias": 5},
        {"2.weight": (0, 5), "4.weight": (5, 3)},
    ),
    # a BatchNorm and a depthwise convolution belong to the filters before them; Flatten makes four columns of each
    "convolutions": (
        [
            rp.Conv2d(1, 3, 2), rp.BatchNorm2d(3), rp.SiLU(), rp.Conv2d(3, 3, 2, groups=3), rp.Tanh(),
            rp.Conv2d(3, 2, 1), rp.Tanh(), rp.Flatten(), rp.Dense(8, 3),
        ],
        (1, 4, 4),
        {
            "0.weight": 0, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0, "3.bias": 0,
            "5.weight": 3, "5.bias": 3,
        },
        {"5.weight": (0, 3), "8.weight": (3, 2)},
    ),
    # the inner channels alone: what the residual sums stays
    "residual": (
        [
            rp.Conv2d(1, 2, 1), rp.Residual([rp.Conv2d(2, 3, 1), rp.BatchNorm2d(3), rp.Tanh(), rp.Conv2d(3, 2, 1)]),
            rp.GlobalAvgPool(), rp.Flatten(), rp.Dense(2, 2),
        ],
        (1, 2, 2),
        {"1.body.0.weight": 0, "1.body.0.bias": 0, "1.body.1.weight": 0, "1.body.1.bias": 0},
        {"1.body.3.weight": (0, 3)},
    ),
}  # fmt: skip


def make(name):
    return rp.Network(NETWORKS[name][0])


def problem(name, seed=0, samples=7):
    """(network, params, x, y, loss): shifted numbers, no bias is 0; squared loss for the convolutions."""
    rng, network = np.random.default_rng([91, seed]), make(name)
    params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    for key, size in network.constants.items():
        params[key] = rng.normal(size=size) if key.endswith("mean") else rng.uniform(0.5, 2, size=size)
    loss = "squared" if name == "convolutions" else "cross_entropy"
    x = rng.normal(size=(samples, *NETWORKS[name][1])) + 0.3
    outputs = network.forward(params, x).shape[1]
    y = (
        rng.integers(0, outputs, size=samples)
        if loss == "cross_entropy"
        else rng.normal(size=(samples, outputs))
    )
    return network, params, x, y, loss


def labels(name, axis):
    """The unit of every parameter in the flat vector, -1 for none."""
    found = []
    rows, columns = NETWORKS[name][2:]
    for key, shape in make(name).shapes.items():
        own = np.full(shape, -1)
        if axis == 0 and key in rows:
            own = rows[key] + np.arange(shape[0]).reshape(-1, *(1 for _ in shape[1:]))
            own = np.broadcast_to(own, shape)
        if axis == 1 and key in columns:
            first, units = columns[key]
            own = np.broadcast_to(
                first + np.arange(units).repeat(np.prod(shape[1:]) // units).reshape(1, *shape[1:]), shape
            )
        found.append(own.reshape(-1))
    return np.concatenate(found)
