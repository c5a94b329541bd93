"""`rp.ispasp_network` against the definition, layer by layer, on networks of whole numbers: nothing is rounded."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune import definitions
from refprune.arrays import dtype_name
from refprune.pruning.units import links
from tests.methods.units import matrix_of, whole

EPS = 2.0**-10  # of BatchNorm: with a variance of 1/4 - EPS it divides by 1/2, exactly


def perceptron():
    """(layers, shape, what leads to each next layer and what is linear there, by key)."""
    layers = [rp.Dense(5, 8), rp.ReLU(), rp.Dense(8, 6), rp.ReLU(), rp.Dense(6, 3)]
    return layers, (5,), {"2": (["0", "1"], ["2"]), "4": (["0", "1", "2", "3"], ["4"])}


def images():
    """BatchNorm around a convolution, a depthwise one, a pool, two positions of each filter behind Flatten."""
    layers = [
        rp.Conv2d(2, 6, 3, padding=1), rp.BatchNorm2d(6, EPS), rp.ReLU(), rp.Conv2d(6, 5, (2, 1)),
        rp.BatchNorm2d(5, EPS), rp.ReLU(), rp.MaxPool2d(2), rp.Conv2d(5, 5, 2, groups=5), rp.ReLU(), rp.Flatten(),
        rp.Dense(10, 3),
    ]  # fmt: skip
    before = [str(n) for n in range(10)]
    return layers, (2, 5, 6), {"3": (before[:3], ["3", "4"]), "10": (before, ["10"])}


def residual():
    """Inner channels alone can go; the second residual has no shortcut layer, and what follows sees both sums."""
    first = [
        rp.Conv2d(3, 6, 3, padding=1),
        rp.BatchNorm2d(6, EPS),
        rp.ReLU(),
        rp.Conv2d(6, 3, 1),
        rp.BatchNorm2d(3, EPS),
    ]
    second = [rp.Conv2d(3, 4, (1, 2)), rp.ReLU(), rp.Conv2d(4, 3, 2, padding=((1, 0), (1, 1)))]
    layers = [
        rp.Conv2d(2, 3, 1),
        rp.Residual(first, [rp.Conv2d(3, 3, 1)]),
        rp.ReLU(),
        rp.Residual(second),
        rp.Conv2d(3, 4, 1),
        rp.ReLU(),
        rp.Flatten(),
        rp.Dense(64, 2),
    ]
    start, inner = ["0"], ["1.body.0", "1.body.1", "1.body.2"]
    return (
        layers,
        (2, 4, 4),
        {
            "1.body.3": (start + inner, ["1.body.3", "1.body.4"]),
            "3.body.2": ([*start, "1", "2", "3.body.0", "3.body.1"], ["3.body.2"]),
            "7": (list("0123456"), ["7"]),
        },
    )


def twice():
    """Two BatchNorm layers, one behind the other: both are linear, and their product counts."""
    layers = [
        rp.Conv2d(2, 6, 2),
        rp.ReLU(),
        rp.Conv2d(6, 3, 2),
        rp.BatchNorm2d(3, EPS),
        rp.BatchNorm2d(3, EPS),
    ]
    return layers, (2, 4, 3), {"2": (["0", "1"], ["2", "3", "4"])}


NETWORKS = {"perceptron": perceptron, "images": images, "residual": residual, "twice": twice}


def problem(draw, seed=0, samples=6):
    """(network, params, inputs, steps): small whole numbers; BatchNorm that multiplies by even numbers."""
    rng = np.random.default_rng(seed)
    layers, shape, steps = draw()
    network = rp.Network(layers)
    params = {name: whole(rng, *size, most=2) for name, size in network.shapes.items()}
    for name, size in network.constants.items():
        params[name] = whole(rng, *size, most=3) if name.endswith("mean") else np.full(size, 0.25 - EPS)
    return network, params, whole(rng, samples, *shape, most=3), steps


def layer_at(network, key):
    place = network.layers
    for part in key.split("."):
        place = place[int(part)] if part.isdigit() else getattr(place, part)
    return place


def run(network, params, keys, x):
    for key in keys:
        own = {name[len(key) + 1 :]: p for name, p in params.items() if name.startswith(f"{key}.")}
        x = layer_at(network, key).forward(own, x)
    return x


def by_definition(
    network,
    params,
    x,
    steps,
    shares,
    *,
    absolute=False,
    prefix="pruned",
    norms=True,
    iterations=20,
    rank="sums",
):
    """Consumer -> the units it keeps."""
    params, kept = dict(params), {}
    dense = params
    for link in links(network):
        if link.producer not in shares:
            continue
        keys, tail = steps[link.consumer]
        arrived = run(network, params if prefix == "pruned" else dense, keys, x)
        tail = tail if norms else tail[:1]
        own = {
            f"{n}.{name[len(key) + 1 :]}": p
            for n, key in enumerate(tail)
            for name, p in params.items()
            if name.startswith(f"{key}.")
        }
        A = matrix_of([layer_at(network, key) for key in tail], own, arrived.shape[1:])
        labels = np.repeat(np.arange(link.units), int(np.prod(arrived.shape[1:])) // link.units)
        keep = link.units - round(shares[link.producer] * link.units)
        flat = arrived.reshape(len(x), -1).T
        kept[link.consumer] = definitions.ispasp(flat, A, keep, iterations, labels, absolute, rank == "norms")
        name = f"{link.consumer}.weight"
        weight = params[name].reshape(len(params[name]), -1)
        on = np.isin(link.columns, kept[link.consumer])
        params = params | {name: np.where(on, weight, 0).reshape(params[name].shape)}
    return kept


def kept_units(network, answer, shares):
    """Consumer -> the units of which it keeps a column."""
    found = {}
    for link in links(network):
        if link.producer in shares:
            mask = answer.masks[f"{link.consumer}.weight"]
            on = mask.reshape(len(mask), -1).any(axis=0)
            found[link.consumer] = np.unique(link.columns[on]).tolist()
    return found


def uniform(network, share):
    return {link.producer: share for link in links(network)}


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("name", ["signed", "absolute"])
@pytest.mark.parametrize("draw", NETWORKS.values(), ids=NETWORKS)
def test_every_layer_is_the_definition(draw, name, rank):
    for seed in range(4):
        network, params, x, steps = problem(draw, seed)
        for share in (0.25, 0.5, 0.8):
            for iterations in (20, 1):
                options, shares = {"rank": rank, "iterations": iterations}, uniform(network, share)
                answer = rp.ispasp_network(network, params, x, share, importance=name, **options)
                expected = by_definition(
                    network, params, x, steps, shares, absolute=name == "absolute", **options
                )
                assert kept_units(network, answer, shares) == expected


@pytest.mark.parametrize(("draw", "wrong"), [
    (perceptron, {"prefix": "dense"}), (images, {"prefix": "dense"}), (images, {"norms": False}),
    (residual, {"prefix": "dense"}), (residual, {"norms": False}), (images, {"absolute": True}),
    (perceptron, {"iterations": 1}), (perceptron, {"rank": "norms"}), (images, {"rank": "norms"}),
])  # fmt: skip
def test_the_comparison_sees_a_mistake(draw, wrong):
    """Behind the dense layers, without the BatchNorm, absolute for signed: other units, on some of these networks."""
    seen = 0
    for seed in range(4):
        network, params, x, steps = problem(draw, seed)
        for share in (0.25, 0.5, 0.8):
            shares = uniform(network, share)
            answer = kept_units(network, rp.ispasp_network(network, params, x, share), shares)
            seen += answer != by_definition(network, params, x, steps, shares, **wrong)
    assert seen


@pytest.mark.parametrize("draw", [images, residual])
def test_norms_are_those_behind_the_batchnorm(draw):
    seen = 0
    for seed in range(4):
        network, params, x, steps = problem(draw, seed)
        for share in (0.25, 0.5, 0.8):
            shares = uniform(network, share)
            answer = kept_units(network, rp.ispasp_network(network, params, x, share, rank="norms"), shares)
            seen += answer != by_definition(network, params, x, steps, shares, rank="norms", norms=False)
    assert seen


def test_two_layers_are_the_method_itself():
    rng = np.random.default_rng(1)
    network = rp.mlp([6, 20, 4])
    params, x = network.init(rng), rng.normal(size=(50, 6))
    answer = rp.ispasp_network(network, params, x, 0.7)
    hidden = np.maximum(x @ params["0.weight"].T + params["0.bias"], 0).T
    single = rp.ispasp(hidden, params["2.weight"], 6)
    assert_array_equal(answer.masks["2.weight"], single.mask)
    assert_array_equal(answer.params["2.weight"], single.weight)
    row = answer.report.layers[1]
    assert_allclose(row.objective, single.objective, rtol=1e-12)
    for options in (
        {"importance": "absolute"},
        {"rank": "norms"},
        {"refit": True},
        {"refit": True, "damp": 0.5},
        {"iterations": 1},
    ):
        single = rp.ispasp(hidden, params["2.weight"], 6, **options)
        found = rp.ispasp_network(network, params, x, 0.7, **options).params["2.weight"]
        assert_allclose(found, single.weight, rtol=0, atol=1e-11)  # two solves with one Gram
    single = rp.ispasp(hidden, params["2.weight"], 6)
    whole = np.sum((params["2.weight"] @ hidden) ** 2) / 2 / 50
    assert_allclose(row.error, (single.objective / whole) ** 0.5, rtol=1e-12)


@pytest.mark.parametrize("draw", NETWORKS.values(), ids=NETWORKS)
def test_what_makes_a_unit_goes_with_it_and_shrink_takes_it_out(draw):
    network, params, x, _ = problem(draw, 5)
    answer = rp.ispasp_network(network, params, x, 0.5)
    small, values = rp.shrink(network, answer.params, answer.masks)
    assert_array_equal(small.forward(values, x), network.forward(answer.params, x))  # whole numbers
    assert set(answer.params) == set(params)
    assert set(answer.masks) == set(network.prunable)
    for link in links(network):
        rest = link.units - round(0.5 * link.units)
        assert len(values[f"{link.producer}.weight"]) == rest
        assert answer.masks[f"{link.producer}.weight"].reshape(link.units, -1).any(axis=1).sum() == rest
        mask = answer.masks[f"{link.consumer}.weight"].reshape(-1, len(link.columns))
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert_array_equal(mask, rows[:, None] & columns)  # whole rows and whole columns
        for key in link.through:
            assert np.count_nonzero(values[f"{key}.weight"]) == np.count_nonzero(
                answer.params[f"{key}.weight"]
            )
    for name in network.constants:  # statistics of removed channels go in shrink, not before
        assert_array_equal(answer.params[name], params[name])


def test_a_mapping_names_the_layers_that_lose_units():
    network, params, x, steps = problem(perceptron, 2)
    answer = rp.ispasp_network(network, params, x, {"2.weight": 0.5})
    shares = {"2": 0.5}
    assert kept_units(network, answer, shares) == by_definition(network, params, x, steps, shares)
    for name in ("0.weight", "0.bias"):
        assert_array_equal(answer.params[name], params[name])
    assert answer.masks["0.weight"].all()
    assert [row.pattern for row in answer.report.layers] == ["dense", "dense", "Groups(sparsity=0.5, axis=1)"]
    assert answer.report.layers[1].note == "lost 3 of 6 rows, the inputs that layer 4 lost"
    both = rp.ispasp_network(
        network, params, x, {"2": 0.5, "0": 0.25}
    )  # in the order of execution all the same
    shares = {"0": 0.25, "2": 0.5}
    assert kept_units(network, both, shares) == by_definition(network, params, x, steps, shares)
    nothing = rp.ispasp_network(network, params, x, {})
    assert all(mask.all() for mask in nothing.masks.values())


@pytest.mark.parametrize("draw", NETWORKS.values(), ids=NETWORKS)
def test_no_unit_and_every_unit(draw):
    network, params, x, _ = problem(draw, 3)
    same = rp.ispasp_network(network, params, x, 0)
    for name, value in params.items():
        assert_array_equal(same.params[name], value)
        assert not np.shares_memory(same.params[name], value)
    assert [row.objective for row in same.report.layers] == [0] * len(same.report.layers)
    none = rp.ispasp_network(network, params, x, 1)
    for link in links(network):
        assert not none.masks[f"{link.consumer}.weight"].any()
    small, values = rp.shrink(network, none.params, none.masks)
    assert_array_equal(small.forward(values, x), network.forward(none.params, x))


@pytest.mark.parametrize("options", [{}, {"importance": "absolute"}, {"rank": "norms"}], ids=str)
def test_batches_change_nothing(options):
    network, params, x, _ = problem(images, 4, samples=7)
    whole = rp.ispasp_network(network, params, x, 0.5, **options)
    for size in (1, 3, 7, 100):
        parts = rp.ispasp_network(network, params, x, 0.5, batch_size=size, **options)
        for name in params:
            assert_array_equal(parts.params[name], whole.params[name])


def test_a_refit_is_least_squares_behind_the_pruned_layers():
    rng = np.random.default_rng(6)
    network = rp.Network([rp.Dense(6, 9), rp.Softplus(), rp.Dense(9, 8), rp.Tanh(), rp.Dense(8, 3)])
    params, x = network.init(rng), rng.normal(size=(80, 6))
    answer = rp.ispasp_network(network, params, x, 0.5, refit=True)
    plain = rp.ispasp_network(network, params, x, {"0": 0.5})
    again = rp.ispasp_network(network, params, x, {"0": 0.5}, refit=True)
    assert again.report.layers[1].objective < plain.report.layers[1].objective
    arrived = np.tanh(
        np.logaddexp(0, x @ params["0.weight"].T + params["0.bias"]) @ again.params["2.weight"].T
        + params["2.bias"]
    )
    K = answer.masks["4.weight"][0]
    best = np.linalg.lstsq(arrived[:, K], arrived @ params["4.weight"].T, rcond=None)[0].T
    # normal equations: cond squared
    slack = 1e-12 * np.linalg.cond(arrived[:, K]) ** 2
    assert_allclose(answer.params["4.weight"][:, K], best, rtol=0, atol=slack)
    value = np.sum((arrived[:, K] @ best.T - arrived @ params["4.weight"].T) ** 2) / 2 / 80
    assert_allclose(answer.report.layers[2].objective, value, rtol=1e-9)


def test_labels_give_accuracies():
    network, params, x, _ = problem(perceptron, 7)
    y = network.forward(params, x).argmax(axis=1)
    report = rp.ispasp_network(network, params, x, 0.5, y).report
    small = rp.ispasp_network(network, params, x, 0.5)
    assert report.accuracy == (1.0, rp.accuracy(network, small.params, x, y))
    assert small.report.accuracy is None
    assert report.calibration == "pruned"


def test_inputs_stay_as_they_are():
    network, params, x, _ = problem(residual, 8)
    before = {name: value.copy() for name, value in params.items()}, x.copy()
    for array in (*params.values(), x):
        array.setflags(write=False)
    answer = rp.ispasp_network(network, params, x, 0.5, refit=True, damp=0.1)
    for array in (*answer.params.values(), *answer.masks.values()):
        array[...] = 1
    for name, value in before[0].items():
        assert_array_equal(params[name], value)
    assert_array_equal(x, before[1])


@pytest.mark.parametrize("draw", NETWORKS.values(), ids=NETWORKS)
def test_backends(backend, draw):
    """On array-api-strict too: whole numbers, so every kind and dtype gives the same bits."""
    network, params, x, _ = problem(draw, 9)
    for importance, rank in (("signed", "sums"), ("absolute", "sums"), ("signed", "norms")):
        options = {"importance": importance, "rank": rank}
        expected = rp.ispasp_network(network, params, x, 0.5, **options)
        own = {name: backend.asarray(value) for name, value in params.items()}
        answer = rp.ispasp_network(network, own, backend.asarray(x), 0.5, **options)
        for name, value in answer.params.items():
            assert type(value) is type(own[name])
            assert dtype_name(value.dtype) == backend.dtype
            assert_array_equal(backend.numpy(value), expected.params[name])
        for name, mask in answer.masks.items():
            assert type(mask) is type(own[name])
            assert_array_equal(backend.numpy(mask), expected.masks[name])


@pytest.mark.parametrize("draw", NETWORKS.values(), ids=NETWORKS)
def test_refits_on_backends(cupy_like, draw):
    network, params, x, _ = problem(draw, 9)
    expected = rp.ispasp_network(network, params, x, 0.5, refit=True, damp=0.5)
    own = {name: cupy_like.asarray(value) for name, value in params.items()}
    answer = rp.ispasp_network(network, own, cupy_like.asarray(x), 0.5, refit=True, damp=0.5)
    for name, value in answer.params.items():
        assert type(value) is type(own[name])
        # solves of a condition of about 100, one behind the other
        scale = np.abs(expected.params[name]).max()
        assert_allclose(
            cupy_like.numpy(value), expected.params[name], rtol=0, atol=1e4 * cupy_like.eps * scale
        )


def test_half_precision_keeps_its_dtype():
    network, params, x, _ = problem(perceptron, 10)
    half = {name: value.astype("float16") for name, value in params.items()}
    answer, expected = (rp.ispasp_network(network, p, x, 0.5) for p in (half, params))
    for name, value in answer.params.items():
        assert value.dtype == "float16"
        assert_array_equal(value, expected.params[name])


NET, PARAMS, X, _ = problem(perceptron)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rp.ispasp_network([], PARAMS, X, 0.5), TypeError, "need a Network; got list"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 1.5), ValueError, r"layer 0: need sparsity in \[0, 1\]; got 1.5"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, "0.5"), TypeError, "layer 0: need sparsity to be a real number"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, {"4": 0.5}), ValueError, "units can go, 0, 2; got '4'"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, {0: 0.5}), ValueError, "units can go, 0, 2; got 0"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, {"0": 0.5, "0.weight": 0}), ValueError, "got two for 0"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, importance="l1"), ValueError, "need importance to be signed"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, rank=2), ValueError, "need rank to be sums or norms; got 2"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, damp=0.1), ValueError, "need refit=True with damp > 0"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, batch_size=0), ValueError, "need batch_size >= 1; got 0"),
        (lambda: rp.ispasp_network(NET, PARAMS, X[:0], 0.5), ValueError, "need inputs of shape .* at least one sample"),
        (lambda: rp.ispasp_network(NET, PARAMS, X * np.nan, 0.5), ValueError, "need finite numbers in inputs"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, X[:, 0]), TypeError, "targets: need integer labels"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, np.zeros(2, int)), ValueError, "targets: need y of shape"),
        (lambda: rp.ispasp_network(NET, PARAMS, X, 0.5, progress=1), TypeError, "need progress to be True or False"),
        (lambda: rp.ispasp_network(NET, {}, X, 0.5), ValueError, "need params named"),
        (
            lambda: rp.ispasp_network(rp.Network(NET.layers[:2]), dict(list(PARAMS.items())[:2]), X, 0.5),
            ValueError,
            "need a network with units that can go; got none",
        ),
        (
            lambda: rp.ispasp_network(NET, PARAMS, X[:2], 0.5, refit=True),
            np.linalg.LinAlgError,
            "layer 2: need a positive definite gram restricted",
        ),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
