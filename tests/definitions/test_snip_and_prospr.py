"""SNIP and ProsPr: by autograd through the unrolled steps, by differences of the loss, in closed form on fractions."""

from fractions import Fraction

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions import derivatives, finite_differences
from tests.methods.problems import fractions
from tests.testing.right_networks import Autograd, trainable, unflattened

EPS = 2.0**-52
AUTOGRAD = Autograd()
NETWORKS = {
    "tanh": (rp.mlp([3, 4, 2], activation="tanh"), (3,)),
    "relu, no biases": (rp.mlp([4, 5, 3], bias=False), (4,)),
    "convolutions": (
        rp.Network(
            [
                rp.Conv2d(1, 2, 2), rp.BatchNorm2d(2), rp.SiLU(),
                rp.Residual([rp.Conv2d(2, 2, 1, bias=False), rp.Tanh()]), rp.GlobalAvgPool(), rp.Flatten(),
                rp.Dense(2, 2),
            ]
        ),
        (1, 3, 3),
    ),
}  # fmt: skip
SETTINGS = [
    {},
    {"momentum": 0.7},
    {"momentum": 0.7, "detach_first": True},
    {"momentum": 0.7, "first_order": True},
    {"momentum": 0.7, "decay": 0.3},
    {"momentum": 0.7, "decay": 0.3, "detach_first": True},
]
LR = 0.1


def setting(name, M=2, seed=0):
    """(layers, params, M + 1 batches of different size, loss) with numbers that are no neutral elements."""
    network, shape = NETWORKS[name]
    rng = np.random.default_rng([31, seed])
    params = {key: value + 0.2 * rng.normal(size=value.shape) for key, value in network.init(rng).items()}
    for key, size in network.constants.items():
        params[key] = rng.normal(size=size) if key.endswith("mean") else rng.uniform(0.5, 2, size=size)
    loss = "squared" if name == "convolutions" else "cross_entropy"
    outputs = network.forward(params, np.zeros((1, *shape))).shape[1]
    batches = []
    for n in range(3, 4 + M):
        x = rng.normal(size=(n, *shape)) + 0.3
        y = rng.integers(0, outputs, size=n) if loss == "cross_entropy" else rng.normal(size=(n, outputs))
        batches.append((x, y))
    return network.to_dicts(), params, batches, loss


def vector(arrays):
    return np.concatenate([arrays[key].ravel() for key in trainable(arrays)])


def by_autograd(
    name,
    M=2,
    seed=0,
    momentum=0.0,
    detach_first=False,
    first_order=False,
    decay=0.0,
    units=False,
    mistake=None,
):
    """The scores as a vector: the derivative of the loss after M steps, through every step.

    With `units` a switch for each output, and not the sum over those of its weights.
    """
    layers, params, batches, loss = setting(name, M, seed)
    weights = [key for key in trainable(params) if key.endswith("weight") and params[key].ndim > 1]
    w, detached = vector(params), lambda a: np.array(getattr(a, "_value", a))
    is_weight = vector({key: np.full(params[key].shape, key in weights) for key in trainable(params)})

    def at(batch):
        x, y = batch
        return lambda u: anp.mean(
            AUTOGRAD.losses(AUTOGRAD.forward(layers, unflattened(params, u), x), y, loss)
        )

    place, switches = [], 0  # of every parameter the switch of its row, and 0 without one
    for key in trainable(params):
        row = np.arange(params[key].size) // params[key][0].size
        place.append(1 + switches + row if key in weights else 0 * row)
        switches += len(params[key]) * (key in weights)
    place = np.concatenate(place)

    def after(c):
        theta, b = (anp.concatenate([np.ones(1), c])[place] if units else c) * w, 0.0
        inner, outer = batches[:-1], batches[-1]
        if mistake == "the first batch is the last":
            inner, outer = batches[1:], batches[0]
        for t, batch in enumerate(inner):
            g = autograd.grad(at(batch))(c * theta if mistake == "switches in every step" else theta)
            g = g * is_weight if mistake == "biases are not trained" else g
            g = detached(g) + decay * detached(theta) if first_order else g + decay * theta
            b = momentum * b + (1 - momentum if mistake == "damped momentum" else 1) * g
            b = detached(b) if detach_first and t == 0 and momentum else b
            theta = theta - LR * b
        return at(outer)(theta)

    if units:
        return np.abs(autograd.grad(after)(np.ones(switches)))
    found = autograd.grad(after)(np.ones(len(w)))
    found = found / w if mistake == "the factor w is missing" else found
    return (found if mistake == "signed" else np.abs(found))[is_weight]


def scores(name, M=2, seed=0, **options):
    layers, params, batches, loss = setting(name, M, seed)
    found = definitions.prospr_scores(layers, params, batches, loss, LR, **options)
    return np.concatenate([found[key].ravel() for key in found])


def close(found, right):
    # sums of a few hundred products of numbers of size 1, three steps deep: 1e4 eps of the largest score
    gap, size = np.abs(found - right).max(), np.abs(right).max()
    assert gap <= 1e4 * EPS * size, f"scores are off by {gap / size:.2g} of the largest"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_prospr_is_what_autograd_finds_through_the_steps(name, options):
    for M in (0, 1, 3):
        close(scores(name, M, seed=M, **options), by_autograd(name, M, seed=M, **options))


@pytest.mark.parametrize("name", NETWORKS)
def test_units_have_one_switch(name):
    for options in ({}, {"momentum": 0.7, "decay": 0.3}):
        close(scores(name, 2, units=True, **options), by_autograd(name, 2, units=True, **options))


@pytest.mark.parametrize("name", NETWORKS)
def test_snip_is_what_autograd_finds(name):
    layers, params, [(x, y)], loss = setting(name, 0)
    close(vector(definitions.snip_scores(layers, params, x, y, loss)), by_autograd(name, 0))


@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_the_score_is_the_slope_of_the_loss_after_the_steps(name):
    """Differences in c of a loop of plain SGD."""
    layers, params, batches, loss = setting(name)
    w, momentum = vector(params), 0.7

    def after(c):
        theta, b = c * w, 0.0
        for x, y in batches[:-1]:
            b = momentum * b + derivatives.gradient(layers, unflattened(params, theta), x, y, loss)
            theta = theta - LR * b
        return derivatives.network_loss(layers, unflattened(params, theta), *batches[-1], loss)

    slopes = unflattened(params, np.abs(finite_differences.gradient(after, np.ones(len(w)))))
    found = definitions.prospr_scores(layers, params, batches, loss, LR, momentum)
    assert list(found) == [key for key in params if key.endswith("weight") and params[key].ndim > 1]
    for key, score in found.items():
        # a central difference errs by about eps^(2/3) = 4e-11 of the loss and its third derivative
        np.testing.assert_allclose(score, slopes[key], rtol=0, atol=1e-7)
    assert max(score.max() for score in found.values()) > 0.01


@pytest.mark.parametrize("momentum", [Fraction(0), Fraction(2, 3)])
def test_a_linear_network_in_closed_form_on_fractions(momentum):
    """(theta, b) moves by one matrix power: theta_M - theta* and d theta_M / d theta_0 are exact."""
    rng = np.random.default_rng(3)
    x, planted, w = (fractions(rng.integers(-3, 4, size=shape)) for shape in ((5, 3), 3, (1, 3)))
    x, w, lr = x / 2, w + Fraction(1, 3), Fraction(1, 4)
    layers = [{"type": "dense", "inputs": 3, "outputs": 1, "bias": False}]
    given, y = {"0.weight": w}, (x @ planted)[:, None]  # the minimum is at `planted`
    H, one = x.T @ x / 5, fractions(np.eye(3))
    move = np.block([[one - lr * H, -lr * momentum * one], [H, momentum * one]])  # of (theta - planted, b)
    power = fractions(np.eye(6))
    for M in range(4):
        jacobian = power[:3, :3]
        expected = abs(w[0] * (jacobian.T @ H @ (jacobian @ (w[0] - planted))))
        found = definitions.prospr_scores(layers, given, [(x, y)] * (M + 1), "squared", lr, momentum)
        assert_array_equal(found["0.weight"][0], expected)
        power = move @ power
    assert any(expected != abs(w[0] * (H @ (w[0] - planted))))  # three steps matter


def backward(name, momentum=0.0, detach_first=False, first_order=False, decay=0.0):
    """The same steps differentiated from the end: products with H alone, and no matrix."""
    layers, params, batches, loss = setting(name, 3)
    theta, b, points = vector(params), 0.0, []
    for x, y in batches[:-1]:
        points.append(unflattened(params, theta))
        b = momentum * b + derivatives.gradient(layers, points[-1], x, y, loss) + decay * theta
        theta = theta - LR * b
    v, a = (
        derivatives.gradient(layers, unflattened(params, theta), *batches[-1], loss),
        0.0,
    )  # dL/dtheta, dL/db
    for t in reversed(range(3 if first_order else 0, 3)):
        a = momentum * a - LR * v
        if t > 0 or not (detach_first and momentum):
            v = v + derivatives.hvp(layers, points[t], *batches[t], loss, a) + decay * a
    scores = unflattened(params, np.abs(vector(params) * v))
    return np.concatenate(
        [scores[key].ravel() for key in params if key.endswith("weight") and params[key].ndim > 1]
    )


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_the_steps_backward_give_the_same(name, options):
    close(scores(name, 3, **options), backward(name, **options))


def test_one_hidden_unit_by_hand():
    """f = v max(u x, 0) at u = 2, v = 3, x = 1/2, y = 1: the gradient is (3, 2), so both switches weigh 6."""
    one = {"type": "dense", "inputs": 1, "outputs": 1, "bias": False}
    layers, x, y = [one, {"type": "relu"}, one], fractions([[0.5]]), fractions([[1]])
    params = {"0.weight": fractions([[2]]), "2.weight": fractions([[3]])}
    found = definitions.snip_scores(layers, params, x, y, "squared")
    assert {key: score.tolist() for key, score in found.items()} == {"0.weight": [[6]], "2.weight": [[6]]}
    pruned, masks = definitions.snip(layers, params, x, y, "squared", 1)  # a tie: the lowest index goes
    assert [mask.tolist() for mask in masks.values()] == [[[False]], [[True]]]
    assert [weight.tolist() for weight in pruned.values()] == [[[0]], [[3]]]


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_weights_and_what_has_no_switch(name):
    layers, params, batches, loss = setting(name)
    before = {key: value.copy() for key, value in params.items()}
    for value in params.values():
        value.flags.writeable = False
    found = vector(definitions.prospr_scores(layers, params, batches, loss, LR, 0.5))
    for count in (0, 1, len(found) // 2, len(found)):
        pruned, masks = definitions.prospr(layers, params, batches, loss, count, LR, 0.5)
        gone = ~vector(masks)
        assert gone.sum() == count
        assert_array_equal(np.sort(np.argsort(found)[:count]), np.flatnonzero(gone))
        for key, value in params.items():
            assert_array_equal(value, before[key])
            assert_array_equal(pruned[key], value * masks.get(key, 1.0))
            assert not np.shares_memory(pruned[key], value)


def test_snip_does_not_see_how_a_relu_network_shares_its_scale():
    layers, params, [(x, y)], loss = setting("relu, no biases", 0)
    found = definitions.snip_scores(layers, params, x, y, loss)
    units = 2.0 ** np.arange(-2, 3)  # powers of two: nothing is rounded
    moved = {"0.weight": params["0.weight"] * units[:, None], "2.weight": params["2.weight"] / units}
    again = definitions.snip_scores(layers, moved, x, y, loss)
    for key in found:
        assert_array_equal(again[key], found[key])
    twice = definitions.snip_scores(layers, params, np.concatenate([x, x]), np.concatenate([y, y]), loss)
    close(vector(twice), vector(found))


MISTAKES = {
    "the factor w is missing": {},
    "signed": {},
    "the first batch is the last": {},
    "switches in every step": {},
    "biases are not trained": {},
    "damped momentum": {"momentum": 0.7},
    "the first step is detached": {"momentum": 0.7, "detach_first": True},
    "first order": {"first_order": True},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_seen(mistake):
    right = scores("tanh", momentum=MISTAKES[mistake].get("momentum", 0.0))
    with pytest.raises(AssertionError, match="scores are off by"):
        close(by_autograd("tanh", mistake=mistake, **MISTAKES[mistake]), right)


def test_where_the_published_code_and_the_paper_agree():
    """Without momentum, or without a step, a detached first step is no other."""
    for options in ({"M": 0, "momentum": 0.7}, {"M": 3}):
        assert_array_equal(scores("tanh", detach_first=True, **options), scores("tanh", **options))
