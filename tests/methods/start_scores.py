"""Small networks for SNIP, GraSP, SynFlow and FORCE, right scores by autograd, and the certificate of an answer."""

import autograd
import autograd.numpy as anp
import numpy as np

import refprune as rp
from tests.testing.right_networks import Autograd, trainable, unflattened

EPS = 2.0**-52
AUTOGRAD = Autograd()
NETWORKS = {
    "tanh": (rp.mlp([3, 4, 2], activation="tanh"), (3,), "cross_entropy"),
    "relu": (rp.mlp([4, 5, 5, 3], bias=False), (4,), "cross_entropy"),
    "images": (
        rp.Network(
            [
                rp.Conv2d(2, 4, 2, padding=1, groups=2), rp.BatchNorm2d(4), rp.ReLU(), rp.AvgPool2d(2, 1, 1),
                rp.Conv2d(4, 3, 2, 2, bias=False), rp.SiLU(), rp.Flatten(), rp.Dense(12, 2),
            ]
        ),
        (2, 2, 2), "squared",
    ),
    "residual": (
        rp.Network(
            [
                rp.Conv2d(1, 2, 2), rp.ReLU6(), rp.Residual([rp.Conv2d(2, 2, 1, bias=False), rp.GELU()]),
                rp.Residual([rp.Conv2d(2, 3, 1), rp.Softplus()], [rp.Conv2d(2, 3, 1), rp.BatchNorm2d(3), rp.Tanh()]),
                rp.GlobalAvgPool(), rp.Flatten(), rp.Dense(3, 2),
            ]
        ),
        (1, 3, 3), "cross_entropy",
    ),
}  # fmt: skip
CHAINS = [name for name in NETWORKS if name != "residual"]


def drawn(name, seed=0):
    """(network, params, (x, y), loss) with biases, statistics and scales that are no neutral elements."""
    network, shape, loss = NETWORKS[name]
    rng = np.random.default_rng([71, seed])
    params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    for key, size in network.constants.items():
        params[key] = rng.normal(size=size) if key.endswith("mean") else rng.uniform(0.5, 2, size=size)
    n = int(rng.integers(1, 7))
    x, outputs = rng.normal(size=(n, *shape)) + 0.3, network.output_shape(shape)[0]
    y = rng.integers(0, outputs, size=n) if loss == "cross_entropy" else rng.normal(size=(n, outputs))
    return network, params, (x, y), loss


def vector(params):
    """All that is trained as one vector."""
    return np.concatenate([np.ravel(params[key]) for key in trainable(params)])


def of_weights(network, found, params):
    """A vector over all that is trained as a dict of the weights of dense layers and convolutions."""
    return {key: unflattened(params, found)[key] for key in network.prunable}


def loss_at(network, params, batch, loss):
    """The loss as a function of the vector of all that is trained."""
    (x, y), layers = batch, network.to_dicts()
    return lambda w: anp.mean(AUTOGRAD.losses(AUTOGRAD.forward(layers, unflattened(params, w), x), y, loss))


def snip_by_autograd(network, params, batch, loss):
    """`|dL / dc|` with a switch c = 1 on everything."""
    at, w = loss_at(network, params, batch, loss), vector(params)
    slope = autograd.grad(lambda c: at(c * w))(np.ones(len(w)))
    return of_weights(network, abs(slope), params)


def slope_by_autograd(network, params, batch, loss):
    """dL / dw of the weights."""
    slope = autograd.grad(loss_at(network, params, batch, loss))(vector(params))
    return of_weights(network, slope, params)


def grasp_by_autograd(network, params, batch, loss):
    """How fast half of `g . g` falls with the switches: `-w (H g)`, without a product with the Hessian."""
    slope, w = autograd.grad(loss_at(network, params, batch, loss)), vector(params)
    found = autograd.grad(lambda c: anp.sum(slope(c * w) ** 2) / 2)(np.ones(len(w)))
    return of_weights(network, -found, params)


def linear(layers):
    """The plain data of a network without activations: ReLU, where nothing is negative."""
    kept = ("dense", "conv2d", "batchnorm2d", "maxpool2d", "avgpool2d", "globalavgpool", "flatten")
    found = []
    for layer in layers:
        if layer["type"] == "residual":
            own = {branch: linear(layer[branch]) for branch in ("body", "shortcut") if branch in layer}
            found.append({"type": "residual", **own})
        else:
            found.append(layer if layer["type"] in kept else {"type": "relu"})
    return found


def flow_at(network, params, shape):
    """R as a function of the vector of all that is trained, and that vector in size, without shifts."""
    positive = {key: abs(np.asarray(value, dtype=float)) for key, value in params.items()}
    for key, value in positive.items():
        if key.endswith(("bias", "running_mean")):
            positive[key] = 0 * value
    layers, one = linear(network.to_dicts()), np.ones((1, *shape))
    return lambda w: anp.sum(AUTOGRAD.forward(layers, unflattened(positive, w), one)), vector(positive)


def flow_by_autograd(network, params, shape):
    """`|w dR / dw|`."""
    R, w = flow_at(network, params, shape)
    return of_weights(network, w * autograd.grad(R)(w), params)


def flat(network, arrays):
    """The arrays of the weights as one vector."""
    return np.concatenate([np.ravel(arrays[key]) for key in network.prunable])


def cut(network, params, scores, keep, off=None):
    """(params, masks): the `keep` largest stay; what `off` marks goes first; then the lowest index of equal ones."""
    ranks = flat(network, scores)
    order = np.lexsort((np.arange(len(ranks)), ranks, np.ones(len(ranks)) if off is None else ~off))
    mask, at, masks = np.ones(len(ranks), dtype=bool), 0, {}
    mask[order[: len(ranks) - keep]] = False
    for key in network.prunable:
        masks[key] = mask[at : at + params[key].size].reshape(params[key].shape)
        at += params[key].size
    return params | {key: np.where(m, params[key], 0) for key, m in masks.items()}, masks


def counts(total, keep, steps):
    """How many of `total` are kept after each step."""
    found = [round(total ** (1 - t / steps) * keep ** (t / steps)) if keep else 0 for t in range(1, steps)]
    return [*found, keep]


def in_steps(network, params, scores_at, keep, steps, revive=False):
    """(masks, scores of the last step, whether something came back), by `scores_at(now)` anew in every step."""
    total = sum(params[key].size for key in network.prunable)
    now, off, back = params, None, False
    for k in counts(total, keep, steps):
        scores = scores_at(now)
        now, masks = cut(network, params, scores, k, None if revive else off)
        gone = ~flat(network, masks)
        back = back or (off is not None and bool(np.any(off & ~gone)))
        off = gone
    return masks, scores, back


def certify(network, params, answer, scores, keep, highest=False):
    """One count over all weights: raises AssertionError with what is wrong; `scores` are the right ones."""
    assert set(answer.weight) == set(answer.mask) == set(answer.scores) == set(network.prunable), (
        "other names"
    )
    right, found = flat(network, scores), flat(network, answer.scores)
    # sums of a few hundred products of numbers of size 1, through two passes up and down
    slack = 1e4 * EPS * abs(right).max(initial=0)
    mirrored = abs(found + right).max() <= slack < abs(found - right).max()
    assert not mirrored, "the scores have the other sign"
    assert abs(abs(found) - abs(right)).max() <= slack, "a score is another one"
    assert abs(found - right).max() <= slack, "the size of a signed score"
    mask, weight, before = (flat(network, arrays) for arrays in (answer.mask, answer.weight, params))
    assert mask.dtype == bool, "the mask is not boolean"
    assert np.count_nonzero(mask) == keep, "another number of weights is kept"
    assert not weight[~mask].any(), "a pruned weight is not 0"
    assert np.array_equal(weight[mask], before[mask]), "a kept weight has moved"
    ranks = -right if highest else right
    if 0 < keep < len(mask):
        assert ranks[mask].min() >= ranks[~mask].max() - slack, "a better weight went"
