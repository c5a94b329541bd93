"""Training: every step by hand and by torch, masks that hold, the same result for the same seed, clear ends."""

import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from refprune.network import BatchNorm2d, Conv2d, Dense, Flatten, Network, ReLU, Tanh
from refprune.network.presets import mlp
from refprune.network.training import accuracy, sparsity, train
from refprune.progress import bar

TORCH = importlib.util.find_spec("torch") is not None
LINE = Network([Dense(1, 1, bias=False)])  # loss 1/2 (w x - y)^2


def problem(seed=0, samples=12, bias=True):
    """A small MLP, its parameters, inputs and labels."""
    rng = np.random.default_rng(seed)
    network = mlp([3, 5, 4], activation="tanh", bias=bias)
    params = {name: rng.normal(size=shape) for name, shape in network.shapes.items()}
    return network, params, rng.normal(size=(samples, 3)) + 0.5, rng.integers(0, 4, size=samples)


def images(seed=0, samples=6):
    """A CNN with BatchNorm whose statistics are no neutral elements."""
    rng = np.random.default_rng(seed)
    network = Network([Conv2d(2, 3, 3), BatchNorm2d(3), ReLU(), Flatten(), Dense(12, 3)])
    params = {name: rng.normal(size=shape) for name, shape in network.shapes.items()}
    params |= {"1.running_mean": rng.normal(size=3), "1.running_var": rng.uniform(0.5, 2, size=3)}
    return network, params, rng.normal(size=(samples, 2, 4, 4)), rng.integers(0, 3, size=samples)


def test_three_steps_on_paper():
    # x = 2, y = 6: g = 2 (2 w - 6); lr 1/8, momentum 1/2, decay 1/4; all numbers are dyadic
    # w = 1: g = -8, d = -8 + 1/4 = -7.75, b = -7.75, w = 1.96875
    # then g = -4.125, d = g + w/4 = -3.6328125, b = b/2 + d = -7.5078125, w = 2.9072265625
    # then g = -0.37109375, d = 0.355712890625, b = -3.398193359375, w = 3.332000732421875
    params, x, y = {"0.weight": np.array([[1.0]])}, np.array([[2.0]]), np.array([[6.0]])
    found = []
    for epochs in (0, 1, 2, 3):
        trained = train(
            LINE, params, x, y, epochs=epochs, lr=0.125, momentum=0.5, weight_decay=0.25, loss="squared"
        )
        found.append(trained["0.weight"].item())
    assert found == [1.0, 1.96875, 2.9072265625, 3.332000732421875]


def by_hand(network, params, x, y, orders, size, lr, momentum, decay, loss, masks, schedule):
    """The update rule once more, over the flat vector."""
    keep = {name: masks.get(name, np.ones(shape, bool)) for name, shape in network.shapes.items()}
    kept = np.concatenate([mask.ravel() for mask in keep.values()])
    w = network.flatten(params) * kept
    b, step = np.zeros_like(w), 0
    total = len(orders) * -(-len(x) // size)
    for order in orders:
        for start in range(0, len(x), size):
            chosen = order[start : start + size]
            at = network.unflatten(w, params)
            g = network.flatten(network.gradient(at, x[chosen], y[chosen], loss) | constants(network, params))
            b = momentum * b + g + decay * w
            w = kept * (w - lr * schedule(step / total) * b)
            step += 1
    return w


def constants(network, params):
    return {name: params[name] for name in network.constants}


@given(st.integers(0, 2**32 - 1), st.sampled_from(["cross_entropy", "squared"]), st.booleans())
def test_every_step_by_hand(seed, loss, with_images):
    rng = np.random.default_rng(seed)
    network, params, x, y = images(seed) if with_images else problem(seed)
    if loss == "squared":
        y = rng.normal(size=(len(x), 3 if with_images else 4))
    masks = {name: rng.random(network.shapes[name]) < 0.6 for name in network.prunable[:1]}
    momentum, decay = rng.choice([0.0, 0.5, 0.9]), rng.choice([0.0, 0.1])
    size = int(rng.integers(1, len(x) + 2))
    keywords = {"epochs": 2, "batch_size": size, "lr": 0.001, "momentum": momentum, "weight_decay": decay}
    trained = train(
        network, params, x, y, **keywords, loss=loss, masks=masks, rng=7, schedule=lambda t: 1 - t
    )
    draw = np.random.default_rng(7)
    orders = [draw.permutation(len(x)) for _ in range(2)]
    expected = by_hand(
        network, params, x, y, orders, size, 0.001, momentum, decay, loss, masks, lambda t: 1 - t
    )
    # the same sums in the same order but for the mask: a few eps of the largest weight, over at most 24 steps
    assert_allclose(network.flatten(trained), expected, rtol=0, atol=1e-12 * (1 + np.abs(expected).max()))
    for name, mask in masks.items():
        assert np.all(trained[name][~mask] == 0)
        assert not np.any(np.signbit(trained[name][~mask]))
    for name in network.constants:
        assert_array_equal(trained[name], params[name])


@pytest.mark.skipif(not TORCH, reason="torch is not installed")
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_optimiser_of_torch_takes_the_same_steps(momentum, decay):
    import torch

    network, params, x, y = problem(3)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)).double()
    model.load_state_dict({name: torch.tensor(value) for name, value in params.items()})
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum, weight_decay=decay)
    rng = np.random.default_rng(11)
    for _ in range(4):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 5):
            chosen = order[start : start + 5]
            optimiser.zero_grad()
            outputs = model(torch.tensor(x[chosen]))
            torch.nn.functional.cross_entropy(outputs, torch.tensor(y[chosen])).backward()
            optimiser.step()
    trained = train(
        network, params, x, y, epochs=4, batch_size=5, lr=0.05, momentum=momentum, weight_decay=decay, rng=11
    )
    for name, value in model.state_dict().items():
        # 12 steps, each with gradients to some 10 eps, which the momentum may sum up tenfold
        assert_allclose(trained[name], value.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "wrong",
    [{"momentum": 0.0}, {"weight_decay": 0.0}, {"lr": 0.02}, {"rng": 8}, {"batch_size": 5}, {"epochs": 3}],
)
def test_every_argument_takes_part(wrong):
    network, params, x, y = problem(5)
    right = {"epochs": 2, "batch_size": 4, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "rng": 7}
    one, two = train(network, params, x, y, **right), train(network, params, x, y, **right | wrong)
    assert np.abs(network.flatten(one) - network.flatten(two)).max() > 1e-6


def test_masks_hold_against_momentum_and_decay():
    network, params, x, y = problem(1)
    params["0.weight"][0, 0] = 100.0  # pruned at the start, not after the first step
    masks = {"0.weight": np.ones((5, 3), bool), "2.weight": np.zeros((4, 5), bool)}
    masks["0.weight"][0, 0] = masks["0.weight"][3, :] = False
    losses = []

    def watch(epoch, loss):
        losses.append(loss)

    trained = train(network, params, x, y, epochs=5, weight_decay=0.1, masks=masks, callback=watch)
    assert_array_equal(trained["0.weight"] != 0, masks["0.weight"])
    assert_array_equal(trained["2.weight"], np.zeros((4, 5)))
    start = params | {
        "0.weight": np.where(masks["0.weight"], params["0.weight"], 0),
        "2.weight": np.zeros((4, 5)),
    }
    # one batch holds all samples: the first loss is that of the masked start
    assert_allclose(losses[0], network.loss(start, x, y), rtol=1e-14)
    once = train(network, params, x, y, epochs=0, masks=masks)
    assert_array_equal(network.flatten(once), network.flatten(start))


def test_a_network_learns_its_problem():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 2))
    y = (x[:, 0] > x[:, 1]).astype(int)
    network = mlp([2, 8, 2])
    params = network.init(rng)
    seen = []
    trained = train(network, params, x, y, epochs=20, callback=lambda epoch, loss: seen.append((epoch, loss)))
    assert [epoch for epoch, _ in seen] == list(range(1, 21))
    assert seen[-1][1] < 0.2 * seen[0][1]
    assert accuracy(network, trained, x, y) > 0.97 > accuracy(network, params, x, y)


def test_the_loss_that_is_told_is_the_mean_over_the_samples():
    network, params, x, y = problem(4, samples=5)
    seen = []
    train(
        network, params, x, y, epochs=1, batch_size=3, lr=0.0, callback=lambda epoch, loss: seen.append(loss)
    )
    assert_allclose(seen, [network.loss(params, x, y)], rtol=1e-14)  # batches of 3 and 2, not a mean of means


def test_the_same_seed_is_the_same_training():
    network, params, x, y = problem(6)
    first, again, given_rng, other = (
        network.flatten(train(network, params, x, y, rng=rng, batch_size=3))
        for rng in (5, 5, np.random.default_rng(5), 6)
    )
    assert_array_equal(first, again)
    assert_array_equal(first, given_rng)
    assert np.any(first != other)


def test_nothing_is_changed_and_nothing_is_shared():
    network, params, x, y = images(7)
    masks = {"0.weight": np.ones((3, 2, 3, 3), bool)}
    for array in (*params.values(), *masks.values(), x, y):
        array.flags.writeable = False
    for epochs in (0, 2):
        trained = train(network, params, x, y, epochs=epochs, lr=0.01, masks=masks)
        assert list(trained) == list(params)
        assert not any(np.shares_memory(trained[name], params[name]) for name in params)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_weights_keep_their_dtype(dtype):
    network, params, x, y = problem(8)
    small = {name: value.astype(dtype) for name, value in params.items()}
    trained = train(network, small, x.astype(dtype), y, epochs=3, lr=0.05)
    assert {str(value.dtype) for value in trained.values()} == {dtype}
    wide = train(
        network,
        {name: value.astype(float) for name, value in small.items()},
        x.astype(dtype),
        y,
        epochs=3,
        lr=0.05,
    )
    # half precision is computed in float32 and rounded once at the end; 3 steps of gradients below 10
    slack = 10 * float(np.finfo(dtype).eps) + 1e-12
    for name, value in trained.items():
        assert_allclose(value.astype(float), wide[name], rtol=0, atol=slack * (1 + np.abs(wide[name]).max()))


def test_on_other_arrays(cupy_like):
    network, params, x, y = images(9)
    mask = np.random.default_rng(0).random((3, 2, 3, 3)) < 0.5
    there = {name: cupy_like.asarray(value) for name, value in params.items()}
    arrays = there, cupy_like.asarray(x), cupy_like.asarray(y)
    keywords = {"epochs": 3, "batch_size": 4, "lr": 0.02, "weight_decay": 0.01}
    trained = train(network, *arrays, masks={"0.weight": cupy_like.asarray(mask)}, **keywords)
    expected = train(network, params, x, y, masks={"0.weight": mask}, **keywords)
    for name, value in expected.items():
        assert type(trained[name]) is type(arrays[1])
        slack = (
            1000 * cupy_like.eps * (1 + np.abs(value).max())
        )  # 6 steps with inputs rounded to the precision
        assert_allclose(cupy_like.numpy(trained[name]), value, rtol=0, atol=slack)
    assert np.all(cupy_like.numpy(trained["0.weight"])[~mask] == 0)
    assert accuracy(network, trained, *arrays[1:]) == accuracy(network, expected, x, y)
    assert sparsity({"0.weight": cupy_like.asarray(mask)}) == sparsity({"0.weight": mask})


@pytest.mark.parametrize("lr", [10.0, 1e200])
def test_divergence_names_its_step(lr):
    params, x, y = {"0.weight": np.array([[1.0]])}, np.array([[2.0]]), np.array([[6.0]])
    with pytest.raises(FloatingPointError, match=r"got .* at step \d+: try a smaller lr than"):
        train(LINE, params, x, y, epochs=2000, lr=lr, loss="squared")


def test_divergence_in_the_last_step_is_found_too():
    """The loss before the step is 8; only the weight after it is infinite."""
    params, x, y = {"0.weight": np.array([[1.0]])}, np.array([[2.0]]), np.array([[6.0]])
    with pytest.raises(
        FloatingPointError, match=r"got 0.weight with NaN or Inf \(the loss was 8\) at step 1"
    ):
        train(LINE, params, x, y, epochs=1, lr=1e308, loss="squared")


def test_weights_beyond_half_precision_are_an_error():
    """They are trained in float32, where 1e5 is a number."""
    half = np.ones((1, 1), "float16")
    with pytest.raises(
        FloatingPointError, match=r"need weights in the range of float16; got larger ones in 0\.w"
    ):
        train(LINE, {"0.weight": half}, half, 0 * half, epochs=1, lr=1e5, loss="squared")


def test_accuracy_counts_labels():
    network = Network([Dense(2, 3, bias=False)])
    params = {"0.weight": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])}
    x = np.array([[1.0, -2.0], [-1.0, 2.0], [0.0, 0.0], [3.0, 3.0]])  # outputs 0, 1, all equal, 2
    assert accuracy(network, params, x, np.array([0, 1, 0, 2])) == 1.0
    assert accuracy(network, params, x, np.array([0, 0, 2, 2])) == 0.5
    assert accuracy(network, params, x, np.array([1, 2, 1, 0])) == 0.0


def test_sparsity_counts_zeros_of_the_masks():
    masks = {"0.weight": np.array([[True, False, False]]), "2.weight": np.ones((1, 5), bool)}
    assert sparsity(masks) == 2 / 8  # of all weights together, not a mean of shares
    assert sparsity({"0.weight": np.zeros(3, bool)}) == 1.0
    with pytest.raises(ValueError, match="need masks with at least one weight; got none"):
        sparsity({})
    with pytest.raises(TypeError, match="need masks to be a dict"):
        sparsity([np.ones(3, bool)])
    with pytest.raises(TypeError, match=r"need a boolean array masks\['a'\]"):
        sparsity({"a": np.ones(3)})


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "need epochs >= 0; got -1"),
        ({"epochs": 1.5}, TypeError, "need epochs to be an integer; got 1.5"),
        ({"batch_size": 0}, ValueError, "need batch_size >= 1; got 0"),
        ({"lr": -0.1}, ValueError, "need lr >= 0 and finite; got -0.1"),
        ({"lr": "fast"}, TypeError, "need lr to be a real number; got 'fast'"),
        ({"momentum": 1.0}, ValueError, r"need momentum in \[0, 1\); got 1.0"),
        ({"weight_decay": float("nan")}, ValueError, "need weight_decay >= 0 and finite; got nan"),
        ({"loss": "hinge"}, ValueError, "need loss in cross_entropy, squared; got 'hinge'"),
        ({"rng": None}, TypeError, "need rng to be an integer; got None"),
        ({"rng": -1}, ValueError, "need rng >= 0; got -1"),
        ({"masks": [1]}, TypeError, "need masks to be a dict of boolean arrays; got list"),
        (
            {"masks": {"0.bias": np.ones(5, bool)}},
            ValueError,
            "need masks for 0.weight, 2.weight; got '0.bias'",
        ),
        ({"masks": {"0.weight": np.ones((5, 3))}}, TypeError, r"need a boolean array masks\['0.weight'\]"),
        (
            {"masks": {"0.weight": np.ones((3, 5), bool)}},
            ValueError,
            r"need masks\['0.weight'\] of shape \(5, 3\)",
        ),
    ],
)
def test_errors_before_any_work(wrong, error, message):
    network, params, x, y = problem()
    called = []
    with pytest.raises(error, match=message):
        train(network, params, x, y, **{"callback": lambda *a: called.append(a)} | wrong)
    assert not called


def test_errors_of_arrays():
    network, params, x, y = problem()
    for function in (train, accuracy):
        with pytest.raises(ValueError, match="need labels in"):
            function(network, params, x, y + 4)
        with pytest.raises(TypeError, match="need integer labels"):
            function(network, params, x, y.astype(float))
        with pytest.raises(ValueError, match="need finite numbers in x"):
            function(network, params, x * np.nan, y)
        with pytest.raises(ValueError, match=r"missing \['2.bias'\]"):
            function(network, {name: params[name] for name in list(params)[:-1]}, x, y)


class Terminal:
    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_bar_is_drawn_on_terminals_alone(monkeypatch):
    network, params, x, y = problem()
    for terminal, wanted, drawn in ((True, True, True), (True, False, False), (False, True, False)):
        stream = Terminal(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        train(network, params, x, y, epochs=2, progress=wanted)
        assert bool(stream.text) is drawn
        if drawn:
            assert "train" in stream.text
            assert "2/2 epoch 2/2 loss" in stream.text
            assert stream.text.endswith("\r\x1b[K")  # nothing stays


def test_a_bar_ends_with_its_block(monkeypatch):
    stream = Terminal(True)
    monkeypatch.setattr(sys, "stderr", stream)

    def work():
        with bar("work", 3) as move:
            move(1)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert "work ##########.................... 1/3" in stream.text
    assert stream.text.endswith("\r\x1b[K")
    with bar("nothing", 0) as move:
        move(0)


def test_activations_between_are_those_of_the_network():
    # a network that is not the preset: the layers, not a rule of thumb, decide
    network = Network([Dense(2, 2), Tanh(), Tanh(), Dense(2, 2)])
    rng = np.random.default_rng(0)
    params, x, y = network.init(rng), rng.normal(size=(4, 2)), np.array([0, 1, 1, 0])
    trained = train(network, params, x, y, epochs=1, batch_size=None, lr=0.5, momentum=0.0)
    g = network.gradient(params, x, y)
    for name, value in trained.items():
        assert_allclose(value, params[name] - 0.5 * g[name], rtol=0, atol=1e-15)
