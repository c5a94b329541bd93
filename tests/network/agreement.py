"""What the tests against other frameworks share: our answers, and how far two answers are apart."""

import numpy as np

from refprune.network import Network

RTOL = 1e-12
LOSSES = ("cross_entropy", "squared")


def ours(found, v):
    """Everything that is compared, by the name of the network's method; `v` is (2, d)."""
    network = Network.from_dicts(found["layers"])
    x, y, loss, params = found["x"], found["y"], found["loss"], found["params"]
    gradient = network.gradient(params, x, y, loss)
    return {
        "forward": network.forward(params, x),
        "loss": network.loss(params, x, y, loss),
        "gradient": np.concatenate([gradient[name].ravel() for name in network.shapes]),
        "hvp": network.hvp(params, x, y, v, loss),
        "hessian": network.hessian(params, x, y, loss),
        "hessian_diagonal": network.hessian_diagonal(params, x, y, loss),
        "jacobian": network.jacobian(params, x),
        "per_sample_gradients": network.per_sample_gradients(params, x, y, loss),
        "gauss_newton": network.gauss_newton(params, x, y, loss),
        "gauss_newton_product": network.gauss_newton_product(params, x, y, v, loss),
        "model_fisher": network.model_fisher(params, x, loss),
        "empirical_fisher": network.empirical_fisher(params, x, y, loss),
    }


def difference(found, expected):
    """The largest difference, relative to the largest entry; infinite where 0 is missed or shapes differ."""
    if found.shape != expected.shape:
        return np.inf
    gap, size = abs(found - expected).max(), abs(expected).max()
    return 0.0 if gap == 0 else gap / size if size else np.inf


def types(layers):
    """The types of all layers, those inside residuals too."""
    for layer in layers:
        yield layer["type"]
        yield from types([*layer.get("body", []), *(layer.get("shortcut") or [])])
