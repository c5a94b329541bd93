"""`rp.prospr`: the slope of the loss after the steps, by differences, by autograd, in closed form; units; memory."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune import definitions
from refprune.arrays import dtype_name
from refprune.definitions import finite_differences, unrolled
from refprune.pruning.units import links
from tests.training_steps import LR, NETWORKS, loss_after, prunable, setting, vector

EPS = 2.0**-52
HALF, UNITS = rp.Unstructured(sparsity=0.5), rp.Groups(keep=1)


def scores(name, M=2, seed=0, pattern=HALF, **options):
    network, params, batches, loss = setting(name, M, seed)
    return vector(rp.prospr(network, params, batches, pattern, LR, loss=loss, **options).scores)


def close(found, right, tolerance):
    gap, size = np.abs(found - right).max(), np.abs(right).max()
    assert size > 1e-3
    assert gap <= tolerance * size, f"scores are off by {gap / size:.2g} of the largest"


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_scores_are_the_slopes_of_the_loss_after_the_steps(name, momentum):
    """By central differences in every switch."""
    for M in range(5):
        after, theta = loss_after(name, M, M, momentum)
        slopes = finite_differences.gradient(lambda c: after(c * theta), np.ones(len(theta)))  # noqa: B023
        right = np.abs(slopes)[prunable(NETWORKS[name][0])]
        # a central difference errs by eps^(2/3) = 4e-11 of the loss and its third derivative
        close(scores(name, M, M, momentum=momentum), right, 1e-6)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.3}], ids=str)
@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_the_steps_are_those_of_train(name, options):
    """By differences of the loss after `rp.train`, that keeps every parameter an array of its own."""
    network, params, ((x, y), other), loss = setting(name, 1)
    theta = network.flatten(params)

    def after(c):
        start = params | network.unflatten(c * theta, params)
        trained = rp.train(
            network, start, x, y, epochs=3, batch_size=None, lr=LR, loss=loss, **{"momentum": 0.0} | options
        )
        return network.loss(trained, *other, loss)

    slopes = finite_differences.gradient(after, np.ones(len(theta)))
    answer = rp.prospr(network, params, [(x, y)] * 3 + [other], HALF, LR, loss=loss, **options)
    close(vector(answer.scores), np.abs(slopes)[prunable(network)], 1e-6)


def through_autograd(name, M=2, seed=0, weight_decay=0.0, **options):
    """Autograd through the unrolled steps, with autograd's own gradients inside; of refprune the forward pass alone."""
    network, params, batches, loss = setting(name, M, seed)
    return vector(unrolled.prospr_scores(network, params, batches, loss, LR, decay=weight_decay, **options))


SETTINGS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "first_order": True},
    {"momentum": 0.9, "detach_first": True},
    {"detach_first": True},
    {"momentum": 0.9, "weight_decay": 0.3},
    {"momentum": 0.5, "weight_decay": 0.3, "detach_first": True},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_what_autograd_finds_through_the_steps(name, options):
    for M in (0, 1, 3):
        close(scores(name, M, M, **options), through_autograd(name, M, M, **options), 1e-10)


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["tanh", "squared"])
def test_scores_are_those_of_the_definition(name, options):
    network, params, batches, loss = setting(name, 4, 3)
    given = dict(options)
    decay = given.pop("weight_decay", 0.0)
    right = definitions.prospr_scores(network.to_dicts(), params, batches, loss, LR, decay=decay, **given)
    answer = rp.prospr(network, params, batches, HALF, LR, loss=loss, **options)
    assert list(answer.scores) == list(answer.mask) == list(answer.weight) == list(network.prunable)
    # five steps of sums of a few dozen numbers near 1: 1e4 eps of the largest score
    close(vector(answer.scores), vector(right), 1e4 * EPS)
    pruned, masks = definitions.prospr(
        network.to_dicts(), params, batches, loss, len(vector(right)) // 2, LR, decay=decay, **given
    )
    for key, mask in masks.items():
        assert_array_equal(answer.mask[key], mask)
        assert_array_equal(answer.weight[key], pruned[key])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_linear_network_in_closed_form(momentum):
    """(theta - theta*, b) moves by a matrix power, and so do its derivatives."""
    rng = np.random.default_rng(92)
    x, star, w = rng.normal(size=(9, 4)), rng.normal(size=4), rng.normal(size=4)
    network, batch = rp.Network([rp.Dense(4, 1, bias=False)]), (x, (x @ star)[:, None])
    H, one, lr = x.T @ x / 9, np.eye(4), 0.15
    move = np.block([[one - lr * H, -lr * momentum * one], [H, momentum * one]])
    for M in (0, 1, 4, 11):
        J = np.linalg.matrix_power(move, M)[:4, :4]
        answer = rp.prospr(
            network, {"0.weight": w[None]}, [batch] * (M + 1), HALF, lr, momentum, loss="squared"
        )
        close(answer.scores["0.weight"][0], np.abs(w * (J.T @ H @ J @ (w - star))), 1e4 * EPS)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_training_it_is_snip(name):
    """Equal bit for bit: without steps, and with steps of length 0."""
    for seed in range(3):
        network, params, batches, loss = setting(name, 2, seed)
        snip = rp.snip(network, params, batches[-1], HALF, loss=loss)
        for few, lr in ((batches[-1:], 0.5), (batches, 0.0)):
            for options in SETTINGS:
                answer = rp.prospr(network, params, few, HALF, lr, loss=loss, **options)
                for key, score in snip.scores.items():
                    assert_array_equal(answer.scores[key], score)
                    assert_array_equal(answer.mask[key], snip.mask[key])
                    assert_array_equal(answer.weight[key], snip.weight[key])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("M", [1, 5, 6])
def test_points_that_are_computed_again_change_no_bit(M, momentum):
    network, params, batches, loss = setting("convolutions", M)
    whole = rp.prospr(network, params, batches, HALF, LR, momentum, loss=loss, weight_decay=0.1)
    for every in (2, 3, M, M + 1, 100):
        answer = rp.prospr(
            network, params, batches, HALF, LR, momentum, loss=loss, weight_decay=0.1, store_every=every
        )
        for key, score in whole.scores.items():
            assert_array_equal(answer.scores[key], score)


def counted(monkeypatch, network, M, **options):
    """How often a gradient and a product are taken, and the peak memory in vectors (d,)."""
    calls = {"gradient": 0, "hvp": 0}
    for name in calls:
        plain = getattr(rp.Network, name)

        def call(*arguments, name=name, plain=plain):
            calls[name] += 1
            return plain(*arguments)

        monkeypatch.setattr(rp.Network, name, call)
    rng = np.random.default_rng(93)
    params, batches = network.init(rng), [(rng.normal(size=(2, 200)), np.array([0, 1]))] * (M + 1)
    tracemalloc.start()
    rp.prospr(network, params, batches, HALF, 0.01, 0.5, **options)
    peak = tracemalloc.get_traced_memory()[1] / (8 * network.size)
    tracemalloc.stop()
    monkeypatch.undo()
    return calls["gradient"], calls["hvp"], peak


def test_what_is_stored_and_what_is_computed_again(monkeypatch):
    """M = 48 steps: gradients, products, and peaks of memory, for 0, 48, 2 * 5 + 10 and 2 + 48 stored vectors."""
    network = rp.mlp([200, 200, 2])
    once = counted(monkeypatch, network, 48, first_order=True)
    whole, some, late = (counted(monkeypatch, network, 48, store_every=k) for k in (1, 10, 100))
    assert once[:2] == (49, 0)
    assert whole[:2] == late[:2] == (49, 48)
    assert some[:2] == (49 + 4 * 9, 48)  # all stretches of 10 but the last, which is still there
    # beside what is stored, the vectors at hand: theta, b, v, a, gradients, products, scores
    assert once[2] < 14
    assert 48 < whole[2] < 48 + 14
    assert some[2] < 20 + 14
    assert late[2] < 50 + 14


def unit_switches(network, axis):
    """(how the switches of all units act on theta_0, how many): on their rows, or on the columns that read them."""
    found = links(network)
    place, count = {key: np.zeros(shape, dtype=int) for key, shape in network.shapes.items()}, 0
    for link in found:
        unit = np.arange(link.units)[:, None] if axis == 0 else link.columns[None]
        key = f"{(link.producer, link.consumer)[axis]}.weight"
        place[key] = place[key] + (1 + count + unit + 0 * place[key].reshape(len(place[key]), -1)).reshape(
            place[key].shape
        )
        count += link.units
    place = vector(place)
    return lambda c: np.concatenate([[1.0], c])[place], count


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["tanh", "convolutions"])
def test_the_weights_of_a_unit_share_a_switch(name, axis):
    network, params, batches, loss = setting(name)
    found = links(network)
    answer = rp.prospr(network, params, batches, rp.Groups(keep=3, axis=axis), LR, 0.9, loss=loss)
    assert list(answer.scores) == [f"{link.producer}.weight" for link in found]
    spread, count = unit_switches(network, axis)
    after, theta = loss_after(name, 2, 0, 0.9)
    slopes = finite_differences.gradient(lambda c: after(spread(c) * theta), np.ones(count))
    close(vector(answer.scores), np.abs(slopes), 1e-6)
    # and the cut: three of all units stay, those of the largest scores
    kept = np.zeros(count, dtype=bool)
    kept[np.argsort(np.abs(slopes))[-3:]] = True
    expected = {key: np.ones(params[key].shape, dtype=bool) for key in network.prunable}
    for link in found:
        own, kept = kept[: link.units], kept[link.units :]
        for key in (link.producer, *link.through):
            if f"{key}.weight" in expected:  # BatchNorm2d has no mask
                expected[f"{key}.weight"][~own] = False
            assert_array_equal(answer.weight.get(f"{key}.bias", own) != 0, own)
        columns = expected[f"{link.consumer}.weight"].reshape(-1, len(link.columns))
        columns[:, ~own[link.columns]] = False
    for key, mask in answer.mask.items():
        assert_array_equal(mask, expected[key])
        assert_array_equal(answer.weight[key], np.where(mask, params[key], 0))


def test_units_of_the_definition():
    network, params, batches, _ = setting("tanh")
    right = definitions.prospr_scores(
        network.to_dicts(), params, batches, "cross_entropy", LR, 0.9, units=True
    )
    answer = rp.prospr(network, params, batches, rp.Groups(sparsity=0), LR, 0.9)
    assert list(answer.scores) == list(network.prunable[:-1])  # rows of the last layer are no units
    close(vector(answer.scores), vector({key: right[key] for key in answer.scores}), 1e4 * EPS)


def test_units_of_some_layers_and_of_each_layer_by_itself():
    network, params, batches, _ = setting("tanh")
    every = rp.prospr(network, params, batches, rp.Groups(keep=1), LR)
    assert sum(np.count_nonzero(every.weight[key]) for key in ("0.bias", "2.bias")) == 1
    each = rp.prospr(network, params, batches, rp.Groups(keep=1), LR, allocation="layer")
    for key, own in each.scores.items():
        assert_array_equal(own, every.scores[key])
        assert_array_equal(np.flatnonzero(each.weight[key.replace("weight", "bias")]), [np.argmax(own)])
    for layer in ("2", 2, "2.weight"):
        one = rp.prospr(network, params, batches, rp.Groups(keep=1), LR, layers=[layer])
        assert list(one.scores) == ["2.weight"]
        assert_array_equal(one.scores["2.weight"], every.scores["2.weight"])
        assert one.mask["0.weight"].all()
        assert_array_equal(one.mask["4.weight"][0], each.mask["4.weight"][0])


@pytest.mark.parametrize("name", ["tanh", "convolutions", "squared"])
def test_units_leave_the_network_whole(name):
    """Biases too: nothing is left that emits."""
    network, params, batches, loss = setting(name)
    for axis in (0, 1):
        answer = rp.prospr(network, params, batches, rp.Groups(sparsity=0.4, axis=axis), LR, loss=loss)
        small, values = rp.shrink(network, params | answer.weight, answer.mask)
        left = sum(mask.any(axis=tuple(range(1, mask.ndim))).sum() for mask in answer.mask.values())
        rows = sum(len(values[key]) for key in small.prunable)
        assert rows == left < sum(len(params[key]) for key in network.prunable)
        x = batches[0][0]
        expected = network.forward(params | answer.weight, x)
        assert_allclose(small.forward(values, x), expected, rtol=0, atol=1e3 * EPS)


@pytest.mark.parametrize(
    "pattern",
    [
        rp.Unstructured(sparsity=0.3),
        rp.Unstructured(keep=0),
        rp.Unstructured(sparsity=0),
        rp.Unstructured(keep=5, scope="layer"),
        rp.Unstructured(sparsity=0.7, scope="row"),
        rp.Unstructured(sparsity=0.31, count_rule="strict"),
        rp.NM(1, 2, remainder="dense"),
    ],
    ids=str,
)
def test_patterns(pattern):
    network, params, batches, _ = setting("relu, no biases")
    answer = rp.prospr(network, params, batches, pattern, LR, 0.5)
    if pattern == rp.Unstructured(sparsity=0.31, count_rule="strict"):
        assert sum((~mask).sum() for mask in answer.mask.values()) == 11  # floor(0.31 * 35) + 1
    elif getattr(pattern, "scope", "layer") is None:
        gone = np.argsort(vector(answer.scores), kind="stable")[: {0.3: 10, 0: 0}.get(pattern.sparsity, 35)]
        assert_array_equal(np.flatnonzero(~vector(answer.mask)), np.sort(gone))
    else:
        for key, mask in answer.mask.items():
            assert_array_equal(mask, pattern.mask(answer.scores[key]))
            assert pattern.admits(mask)
    for key, mask in answer.mask.items():
        assert_array_equal(answer.weight[key], np.where(mask, params[key], 0))


def test_permuted_units_and_samples_and_another_order_of_batches():
    network, params, batches, _ = setting("relu, no biases", 3)
    first = rp.prospr(network, params, batches, HALF, LR, 0.9)
    order = np.array([3, 0, 4, 1, 2])
    moved = {"0.weight": params["0.weight"][order], "2.weight": params["2.weight"][:, order]}
    shuffled = [(x[::-1], y[::-1]) for x, y in batches]
    again = rp.prospr(network, moved, shuffled, HALF, LR, 0.9)
    right = {"0": first.scores["0.weight"][order], "2": first.scores["2.weight"][:, order]}
    close(vector(again.scores), vector(right), 1e-13)
    other = rp.prospr(network, params, [batches[1], batches[0], *batches[2:]], HALF, LR, 0.9)
    assert np.abs(vector(other.scores) - vector(first.scores)).max() > 1e-3


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_other_precisions(kind):
    network, params, batches, _ = setting("convolutions", 3)
    rough = {key: value.astype(kind) for key, value in params.items()}
    short = [(x.astype(kind), y) for x, y in batches]
    right = rp.prospr(
        network,
        {key: value.astype(float) for key, value in rough.items()},
        [(x.astype(float), y) for x, y in short],
        HALF,
        LR,
        0.9,
    )
    answer = rp.prospr(network, rough, short, HALF, LR, 0.9)
    for key in network.prunable:
        assert dtype_name(answer.weight[key].dtype) == kind
        assert dtype_name(answer.scores[key].dtype) == "float32"
    # four steps in float32: 1e3 of its eps of the largest
    close(vector(answer.scores), vector(right.scores), 1e3 * 2.0**-23)
    mixed = rp.prospr(network, rough, batches, HALF, LR, 0.9)  # of the batches' precision
    assert mixed.scores["0.weight"].dtype == np.float64


@pytest.mark.parametrize("name", ["convolutions", "squared"])
def test_backends(backend, name):
    """On array-api-strict too."""
    network, params, batches, loss = setting(name, 2)
    there = {key: backend.asarray(value) for key, value in params.items()}
    given = [(backend.asarray(x), backend.asarray(y)) for x, y in batches]
    for pattern in (HALF, rp.NM(1, 2, remainder="dense"), rp.Groups(sparsity=0.5)):
        options = {"momentum": 0.9, "loss": loss, "weight_decay": 0.1, "store_every": 2}
        answer = rp.prospr(network, there, given, pattern, LR, **options)
        expected = rp.prospr(network, params, batches, pattern, LR, **options)
        assert list(answer.weight) == list(expected.weight)
        for found, right in ((answer.weight, expected.weight), (answer.mask, expected.mask)):
            for key, value in right.items():
                assert type(found[key]) is type(there[key])
                assert_array_equal(backend.numpy(found[key]), backend.numpy(backend.asarray(value)))
        scores = {key: backend.numpy(score) for key, score in answer.scores.items()}
        wide = isinstance(pattern, rp.Groups) and backend.name != "strict-no-float64"  # sums of many
        assert {dtype_name(score.dtype) for score in answer.scores.values()} == {
            "float64" if wide else backend.dtype
        }
        # three steps: 1e3 eps of the largest, and what the given numbers were rounded by
        close(vector(scores), vector(expected.scores), 1e3 * backend.eps)


def test_nothing_is_changed_and_nothing_is_shared():
    network, params, batches, _ = setting("convolutions", 3)
    before = {key: value.copy() for key, value in params.items()}
    for array in [*params.values(), *(a for batch in batches for a in batch)]:
        array.flags.writeable = False
    for pattern in (rp.Unstructured(sparsity=0), HALF, rp.Groups(sparsity=0.5)):
        answer = rp.prospr(network, params, iter(batches), pattern, LR, 0.9, store_every=2)
        assert (answer.objective, answer.order, answer.trace) == (None, None, ())
        for found in (answer.weight, answer.mask, answer.scores):
            for key, value in found.items():
                assert not np.shares_memory(value, params[key])
                value += value  # it may be written to
        for key, value in params.items():
            assert_array_equal(value, before[key])


def test_a_tiny_loss_ranks_as_before():
    """Scores near 1e-320, of two small factors: what is ranked keeps its digits."""
    network, w = (
        rp.Network([rp.Flatten(), rp.Dense(9, 1, bias=False)]),
        {"1.weight": np.arange(1.0, 10)[None] / 8},
    )
    still = [(x, np.zeros((len(x), 1))) for x, _ in setting("squared", 1)[2]]
    right = rp.prospr(network, w, still, HALF, LR, loss="squared")
    tiny = {"1.weight": w["1.weight"] * 2.0**-530}
    answer = rp.prospr(network, tiny, still, HALF, LR, loss="squared")
    assert_array_equal(answer.mask["1.weight"], right.mask["1.weight"])
    assert_array_equal(answer.scores["1.weight"], np.ldexp(right.scores["1.weight"], -1060))


ERRORS = [
    ({"network": 3}, TypeError, "need a Network; got int"),
    ({"network": rp.Network([rp.ReLU()]), "params": {}}, ValueError, "at least one Dense or Conv2d"),
    ({"params": {}}, ValueError, "need params named"),
    ({"batches": 3}, TypeError, "need batches to be a list of .x, y.; got int"),
    ({"batches": []}, ValueError, "at least one pair .x, y. in batches"),
    ({"batches": [(np.ones((2, 3)), np.zeros(2, int), 1)]}, TypeError, "got tuple of 3 at 0"),
    ({"batches": [np.ones(3)]}, TypeError, "need pairs .x, y. in batches; got ndarray at 0"),
    ({"second": (np.ones((2, 4)), np.zeros(2, int))}, ValueError, r"batches\[1\]: .*Dense"),
    ({"second": (np.ones((2, 3)), np.zeros(3, int))}, ValueError, r"batches\[1\]: need y of shape \(2,\)"),
    ({"second": (np.ones((2, 3)), np.array([0, 9]))}, ValueError, r"batches\[1\]: need labels in"),
    ({"second": (np.full((2, 3), np.nan), np.zeros(2, int))}, ValueError, r"batches\[1\]: need finite"),
    ({"second": (np.ones((0, 3)), np.zeros(0, int))}, ValueError, r"batches\[1\]: .*at least one sample"),
    (
        {"pattern": rp.Blocks(2, keep=1)},
        TypeError,
        "need pattern to be Unstructured, NM or Groups; got Blocks",
    ),
    ({"pattern": rp.Unstructured(keep=99)}, ValueError, "need keep <= 30"),
    ({"pattern": rp.Groups(keep=8)}, ValueError, "need keep <= 7"),
    ({"pattern": rp.Groups(keep=1, labels=np.zeros(4, int))}, ValueError, "need Groups without labels"),
    ({"lr": -1}, ValueError, "need lr >= 0"),
    ({"lr": "1"}, TypeError, "need lr to be a real number"),
    ({"momentum": 1}, ValueError, r"need momentum in \[0, 1\)"),
    ({"weight_decay": -0.1}, ValueError, "need weight_decay >= 0"),
    ({"first_order": 1}, TypeError, "need first_order to be True or False"),
    ({"detach_first": None}, TypeError, "need detach_first to be True or False"),
    ({"store_every": 0}, ValueError, "need store_every >= 1"),
    ({"loss": "hinge"}, ValueError, "need loss in"),
    ({"layers": ["0"]}, ValueError, "need layers with Groups alone"),
    ({"layers": "0", "pattern": UNITS}, TypeError, "need layers to be a list"),
    ({"layers": ["4"], "pattern": UNITS}, ValueError, "need layers whose units can go, 0, 2,"),
    ({"allocation": "layer"}, ValueError, "need allocation with Groups alone"),
    ({"allocation": "all", "pattern": UNITS}, ValueError, "need allocation to be global or layer"),
]


@pytest.mark.parametrize(("changed", "kind", "message"), ERRORS, ids=[str(row[0])[:40] for row in ERRORS])
def test_errors_before_any_work(changed, kind, message, monkeypatch):
    monkeypatch.setattr(rp.Network, "gradient", None)
    network, params, batches, _ = setting("tanh")
    given = {"network": network, "params": params, "batches": batches, "pattern": HALF, "lr": LR, **changed}
    if "second" in given:
        given["batches"] = [batches[0], given.pop("second"), batches[1]]
    with pytest.raises(kind, match=message):
        rp.prospr(**given)


@pytest.mark.parametrize(
    "wrong", [{"lr": -1}, {"momentum": 1}, {"store_every": 0}, {"detach_first": 1}], ids=str
)
def test_numbers_that_do_not_fit_leave_an_iterator_as_it_was(wrong):
    network, params, batches, _ = setting("tanh")
    given = iter(batches)
    with pytest.raises((TypeError, ValueError), match=f"need {next(iter(wrong))}"):
        rp.prospr(network, params, given, HALF, **{"lr": LR} | wrong)
    assert next(given) is batches[0]


@pytest.mark.parametrize(("lr", "M"), [(1e200, 6), (1e40, 6), (1e200, 1), (1e120, 1)])
def test_steps_that_diverge(lr, M):
    """With no warning before. With one step the weights are finite, and what is not is a gradient or a product."""
    network, params, batches, loss = setting("squared", M)
    with pytest.raises(FloatingPointError, match="need finite numbers; got NaN or Inf in the"):
        rp.prospr(network, params, batches, HALF, lr, loss=loss)


def test_scores_beyond_the_range():
    network, w = (
        rp.Network([rp.Dense(2, 1, bias=False)]),
        {"0.weight": np.array([[1e30, 2e30]], dtype="float32")},
    )
    batch = np.ones((1, 2), dtype="float32"), np.zeros((1, 1), dtype="float32")
    with pytest.raises(np.linalg.LinAlgError, match="need the scores in the range of float32"):
        rp.prospr(network, w, [batch], HALF, LR, loss="squared")
