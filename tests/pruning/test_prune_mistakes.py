"""Known mistakes of drivers that prune whole networks, each killed by the certificate with its own message.

The certificate works from the answer alone: it sends the samples from the start of the network through the
answer's own weights, and sees whether every layer is optimal on its support for the inputs that come.
"""

import numpy as np
import pytest

import refprune as rp

NETWORK = rp.Network(
    [
        rp.Dense(6, 5),
        rp.Tanh(),
        rp.Residual([rp.Dense(5, 4), rp.Tanh()], [rp.Dense(5, 4)]),
        rp.Dense(4, 3),
    ]
)
HALF = rp.Unstructured(sparsity=0.5)


def problem():
    rng = np.random.default_rng(0)
    params = {name: value + 0.3 for name, value in NETWORK.init(rng).items()}
    return params, rng.normal(size=(50, 6)) * rng.uniform(0.5, 2, 6) + 0.4


def certify(params, x, answer, masks, count):
    """Each layer of `answer`: exact zeros, optimal on its support for what reaches it; exact counts."""
    inputs = NETWORK.layer_inputs(answer, x)
    for name in NETWORK.prunable:
        key, W, V, mask = name.removesuffix(".weight"), params[name], answer[name], masks[name]
        G = inputs[key].T @ inputs[key] / len(x)
        assert np.all(V[~mask] == 0), f"layer {key}: a pruned weight is not zero"
        slope = (V - W) @ G * mask  # 0 at the optimum on the support
        # a solve errs by eps cond(G) of the weights, times G; a factor for sums in other orders
        slack = 1e3 * np.finfo(float).eps * np.linalg.cond(G) * np.abs(W).max() * np.abs(G).max()
        assert np.abs(slope).max() <= slack, f"layer {key}: not optimal for the inputs that reach it"
    pruned = sum(int(np.count_nonzero(~mask)) for mask in masks.values())
    assert pruned == count, f"the network loses {pruned} weights, not {count}"


def gram(rows):
    return rows.T @ rows / len(rows)


def driver(see, weights=lambda V, mask: V, counts=None):
    """A driver by hand; `see(so_far, params, x, key)` gives the Gram of a layer."""
    params, x = problem()
    so_far, masks = dict(params), {}
    for name in NETWORK.prunable:
        key = name.removesuffix(".weight")
        keep = counts(params[name].size) if counts else params[name].size // 2
        found = rp.obs(rp.LayerProblem(params[name], see(so_far, params, x, key)), rp.Unstructured(keep=keep))
        so_far[name], masks[name] = weights(found.weight, found.mask), found.mask
    return so_far, masks


def right(so_far, params, x, key):
    return gram(NETWORK.layer_inputs(so_far, x)[key])


def dense(so_far, params, x, key):
    return gram(NETWORK.layer_inputs(params, x)[key])


def last_batch(so_far, params, x, key):
    return gram(NETWORK.layer_inputs(so_far, x[40:])[key])


def mean_of_unequal_batches(so_far, params, x, key):
    return (right(so_far, params, x[:45], key) + right(so_far, params, x[45:], key)) / 2


def behind_the_body(so_far, params, x, key):
    if key != "2.shortcut.0":
        return right(so_far, params, x, key)
    hidden = NETWORK.activations(so_far, x)["2.body.1"]
    wider = np.concatenate([hidden, x[:, :1]], axis=1)  # in the shape that the shortcut takes
    return gram(wider)


def padded(so_far, params, x, key):
    return right(so_far, params, np.concatenate([x, np.zeros((20, 6))]), key)


def without_bias(so_far, params, x, key):
    bare = {name: value * 0 if name.endswith("bias") else value for name, value in so_far.items()}
    return right(bare, params, x, key)


SEEN = "not optimal for the inputs that reach it"
MISTAKES = {
    "all Grams before any pruning": (lambda: driver(dense), rf"layer 2.body.0: {SEEN}"),
    "the last batch alone": (lambda: driver(last_batch), rf"layer 0: {SEEN}"),
    "a mean over unequal batches": (lambda: driver(mean_of_unequal_batches), rf"layer 0: {SEEN}"),
    "the shortcut behind the body": (lambda: driver(behind_the_body), rf"layer 2.shortcut.0: {SEEN}"),
    "padding counted as samples": (lambda: driver(padded), rf"layer 2.body.0: {SEEN}"),
    "biases forgotten": (lambda: driver(without_bias), rf"layer 2.body.0: {SEEN}"),
    "masks that are not applied": (
        lambda: driver(right, weights=lambda V, mask: V + ~mask * 1e-9),
        "layer 0: a pruned weight is not zero",
    ),
    "every layer rounded up": (
        lambda: driver(right, counts=lambda n: n // 2 - 1),
        "loses 45 weights, not 41",
    ),
}


def test_prune_passes_the_certificate():
    params, x = problem()
    answer = rp.prune(NETWORK, params, x, "obs", HALF, batch_size=45)
    certify(params, x, answer.params, answer.masks, 41)


def test_the_driver_by_hand_passes_it_too():
    certify(*problem(), *driver(right), 41)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    wrong, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certify(*problem(), *wrong(), 41)
