"""SNOWS: its certificate from the answer alone, least squares at K = 0, where it starts and what it leaves, errors."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.arrays import dtype_name
from refprune.demo import digits
from refprune.pruning.readjusted import Readjusted
from tests.snows_by_hand import NETWORK, OPERATIONS, F, cut, problem

pytest.importorskip("autograd", reason="autograd is a test dependency that may be missing")

EXACT = {"max_iter": 30, "tol": 1e-10, "cg_rtol": 1e-12}
CNN = rp.Network(
    [
        rp.Conv2d(2, 4, 3, padding=1),
        rp.BatchNorm2d(4),
        rp.Softplus(),
        rp.Residual([rp.Conv2d(4, 4, 3, padding=1, groups=2), rp.Tanh()], [rp.Conv2d(4, 4, 1)]),
        rp.AvgPool2d(2),
        rp.Flatten(),
        rp.Dense(16, 3),
    ]
)


def small_cnn():
    return problem(1, CNN, (2, 4, 4), 20)


def rows(answer):
    return {row.layer: row for row in answer.report.layers if row.trace}


def test_every_layer_of_a_convolutional_network_is_stationary():
    """Each F by its definition, from the answer alone: the prefix as readjusted, the tail as at the start."""
    params, masks, x = small_cnn()
    params |= {name: np.full(4, 1.5) for name in CNN.constants}
    start = cut(params, masks)
    answer = rp.snows(CNN, params, masks, x, 1, logits=True, curvature="gauss-newton", **EXACT)
    given = dict(start)
    for name in CNN.prunable:
        key = name.removesuffix(".weight")
        row = rows(answer)[key]
        assert row.compared[-1] == "6"
        f = F(CNN, given, params, x, name, row.compared)
        before, after = start[name].ravel(), answer.params[name].ravel()
        assert_allclose([f.value(before), f.value(after)], [row.before, row.after], rtol=1e-10)
        assert row.after < row.before
        slopes = [np.linalg.norm(f.gradient(w)[masks[name].ravel()]) for w in (after, before)]
        assert slopes[0] <= 1e-4 * slopes[1]
        given[name] = answer.params[name]
    assert [row.compared for row in rows(answer).values()] == [
        ("0", "2", "6"), ("3.body.0", "3.body.1", "6"), ("3.shortcut.0", "6"), ("6",)
    ]  # fmt: skip


@pytest.mark.parametrize("tail", ["pruned", "dense"])
@pytest.mark.parametrize("target_inputs", ["pruned", "dense"])
@pytest.mark.parametrize("calibration", ["pruned", "dense"])
def test_what_stands_before_behind_and_beside_a_layer(calibration, target_inputs, tail):
    """In a network with a residual, whose body comes before its shortcut; every F from the answer alone."""
    params, masks, x = small_cnn()
    params |= {name: np.full(4, 0.75) for name in CNN.constants}
    start = cut(params, masks)
    start |= {name: start[name] + 0.5 for name in ("1.bias", "3.shortcut.0.bias")}
    sides = {"calibration": calibration, "target_inputs": target_inputs, "tail": tail}
    answer = rp.snows(CNN, params, masks, x, None, start=start, max_iter=2, **sides)
    order, now = ["0", "1", "3.body.0", "3.shortcut.0", "6"], dict(start)

    def joined(before, at, behind, place):
        sources = {key: before if n < place else at if n == place else behind for n, key in enumerate(order)}
        return {name: sources[name.rpartition(".")[0]][name] for name in params}

    for place, key in enumerate(order):
        name = f"{key}.weight"
        if name in masks:
            first = now if calibration == "pruned" else params
            here = joined(first, now, start if tail == "pruned" else params, place)
            dense = joined(first if target_inputs == "pruned" else params, params, params, place)
            row = rows(answer)[key]
            f = F(CNN, here, dense, x, name, row.compared)
            before, after = start[name].ravel(), answer.params[name].ravel()
            assert_allclose([row.before, row.after], [f.value(before), f.value(after)], rtol=1e-10)
            assert row.after < row.before
            now[name] = answer.params[name]


def layer_problems(network, params, at, x):
    """Key -> (layer problem of the dense weight, for the inputs in the network `at`; output positions)."""
    inputs = network.layer_inputs(at, x)
    for name in network.prunable:
        X = inputs[name.removesuffix(".weight")]
        G = X.swapaxes(-1, -2) @ X / X.shape[-2]
        yield name, rp.LayerProblem(params[name], G)


@pytest.mark.parametrize("network", [NETWORK, CNN], ids=["dense", "convolutions"])
def test_horizon_zero_with_inputs_that_stay_is_the_best_weights(network):
    params, masks, x = problem(2, network, (4,) if network is NETWORK else (2, 4, 4), 60)
    params |= {name: np.full(4, 1.5) for name in network.constants}
    answer = rp.snows(network, params, masks, x, 0, calibration="dense", **EXACT)
    for name, layer in layer_problems(network, params, params, x):
        best = rp.optimal_weights(layer, masks[name]).weight
        # the Grams have conditions up to 1e4; one solve by conjugate gradients to 1e-12
        assert_allclose(answer.params[name], best, rtol=0, atol=1e-7 * np.abs(best).max())


@pytest.mark.parametrize("network", [NETWORK, CNN], ids=["dense", "convolutions"])
def test_horizon_zero_behind_a_pruned_prefix(network):
    """The targets through that prefix: its best weights. Dense ones: least squares, in `snows_by_hand` for MLPs."""
    params, masks, x = problem(3, network, (4,) if network is NETWORK else (2, 4, 4), 60)
    params |= {name: np.full(4, 1.5) for name in network.constants}
    answer = rp.snows(network, params, masks, x, 0, target_inputs="pruned", **EXACT)
    for name, layer in layer_problems(network, params, answer.params, x):
        best = rp.optimal_weights(layer, masks[name]).weight
        assert_allclose(answer.params[name], best, rtol=0, atol=1e-7 * np.abs(best).max())


def test_relu_tails_have_one_curvature():
    """The Hessian is the Gauss-Newton matrix: every record is equal up to rounding."""
    network = rp.Network([rp.Conv2d(1, 3, 2), rp.ReLU(), rp.MaxPool2d(2, 1), rp.Flatten(), rp.Dense(12, 3)])
    params, masks, x = problem(4, network, (1, 4, 4), 30)
    answers = [
        rp.snows(network, params, masks, x, None, curvature=name, cg_rtol=1e-12, max_iter=3)
        for name in ("hessian", "gauss-newton")
    ]
    for name in network.prunable:
        a, b = (answer.params[name] for answer in answers)
        assert_allclose(a, b, rtol=0, atol=1e-9 * np.abs(b).max())
    assert {step.solve for row in rows(answers[0]).values() for step in row.trace[:-1]} == {"converged"}


@pytest.mark.parametrize("horizon", [0, 2, None])
def test_no_objective_rises(horizon):
    params, masks, x = small_cnn()
    params |= {name: np.full(4, 0.5) for name in CNN.constants}
    for row in rows(rp.snows(CNN, params, masks, x, horizon, max_iter=4)).values():
        values = [step.value for step in row.trace]
        assert all(np.diff(values) < 0)
        assert (values[0], values[-1]) == (row.before, row.after)
        assert row.steps == len(values) - 1
        assert row.products == sum(step.iterations for step in row.trace)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tol": 0.25},
        {"cg_rtol": 0.5},
        {"cg_atol": 0.5},
        {"cg_max_iter": 1},
        {"damp": 2.0},
        {"max_iter": 1},
        {"curvature": "gauss-newton"},
    ],
    ids=str,
)
def test_options_reach_the_solver(options):
    """A layer alone is Newton-CG on its reconstruction, bit for bit; and every option changes its trace."""
    params, masks, x = problem(16)
    start = cut(params, masks)
    answer = rp.snows(NETWORK, params, masks, x, 2, layers=["0"], **options)
    f = rp.Reconstruction(NETWORK, start, x, "0", 2, dense=params)
    usual = {"max_iter": 10, "tol": 1e-4, "cg_rtol": 1e-3, "cg_max_iter": 100}
    expected = rp.newton_cg(f, masks["0.weight"].ravel(), start["0.weight"].ravel(), **(usual | options))
    assert_array_equal(answer.params["0.weight"].ravel(), expected.weight)
    assert rows(answer)["0"].trace == expected.trace
    plain = rp.snows(NETWORK, params, masks, x, 2, layers=["0"])
    assert (rows(plain)["0"].trace == expected.trace) == (options == {})


def test_without_zeros_nothing_moves():
    params, masks, x = problem(5)
    answer = rp.snows(NETWORK, params, {name: mask | True for name, mask in masks.items()}, x, None)
    for name, value in params.items():
        assert_array_equal(answer.params[name], value)
    assert {row.trace[0].reason for row in rows(answer).values()} <= {"converged", "stagnated", "line_search"}
    assert all(row.after <= 1e-28 for row in rows(answer).values())


def test_reductions_are_units():
    """A sum over samples is N means; the mean over entries divides by what an output has, with K = 0."""
    params, masks, x = problem(6)
    given = (NETWORK, params, masks, x)
    plain = rp.snows(*given, 1, damp=0.5)
    total = rp.snows(*given, 1, damp=0.5 * 30, reduction="sum")
    for name in NETWORK.prunable:
        assert_allclose(total.params[name], plain.params[name], rtol=0, atol=1e-7)
    for key, outputs in (("0", 4), ("2", 3), ("4", 2)):
        one = rp.snows(*given, 0, damp=0.5, layers=[key])
        entries = rp.snows(*given, 0, damp=0.5 / outputs, reduction="entries", layers=[key])
        assert_allclose(entries.params[f"{key}.weight"], one.params[f"{key}.weight"], rtol=0, atol=1e-8)
        assert rows(entries)[key].after == pytest.approx(rows(one)[key].after / outputs)


def test_some_layers_only():
    params, masks, x = problem(7)
    start = cut(params, masks)
    answer = rp.snows(NETWORK, params, masks, x, 1, layers=[4, "0.weight"])
    assert_array_equal(answer.params["2.weight"], start["2.weight"])
    assert list(rows(answer)) == ["0", "4"]
    assert [row.layer for row in answer.report.layers] == ["0", "2", "4"]
    dense = rp.snows(NETWORK, params, {"0.weight": masks["0.weight"]}, x, 1, layers=["2"])
    assert dense.masks["2.weight"].all()  # a layer without a mask keeps all, and makes up for the others
    assert_array_equal(dense.params["0.weight"], start["0.weight"])
    assert rows(dense)["2"].after < rows(dense)["2"].before


def test_it_starts_where_it_is_told_to():
    params, masks, x = problem(8)
    start = cut(params, masks) | {
        "0.weight": cut(params, masks)["0.weight"] * 1.25,
        "2.bias": params["2.bias"] + 0.125,
    }
    here = rp.snows(NETWORK, params, masks, x, 2, start=start, max_iter=0)
    for name in params:
        assert_array_equal(here.params[name], start[name])
        assert not np.shares_memory(here.params[name], start[name])
    f = F(NETWORK, start, params, x, "0.weight", OPERATIONS[:3])
    assert rows(here)["0"].before == pytest.approx(f.value(start["0.weight"].ravel()), rel=1e-12)
    moved = rp.snows(NETWORK, params, masks, x, 2, start=start)
    assert_array_equal(moved.params["2.bias"], start["2.bias"])
    assert all(row.after < row.before for row in rows(moved).values())


@pytest.mark.parametrize(
    "pattern", [rp.NM(2, 4), rp.Unstructured(sparsity=0.6), rp.Groups(sparsity=0.5)], ids=str
)
@pytest.mark.parametrize("method", ["magnitude", "obs"])
def test_masks_of_every_kind_from_any_method(method, pattern):
    network = rp.mlp([8, 8, 4], activation="tanh")
    rng = np.random.default_rng(9)
    params, x = network.init(rng), rng.normal(size=(60, 8))
    pruned = rp.prune(network, params, x, method, pattern)
    answer = rp.snows(network, params, pruned.masks, x, None, start=pruned.params)
    for name in network.prunable:
        assert_array_equal(answer.masks[name], pruned.masks[name])
        assert_array_equal(answer.params[name][~pruned.masks[name]], 0)
    dense = network.forward(params, x)
    before, after = (((network.forward(p, x) - dense) ** 2).sum() for p in (pruned.params, answer.params))
    assert after < before
    assert answer.report.sparsity == pruned.report.sparsity


def test_digits_are_read_better_again():
    """80 % of the weights of a network gone by ExactOBS: at least 30 % less error of the network, fresh images too."""
    data = digits.load(0)
    network, rng = rp.mlp([64, 24, 16, 10]), np.random.default_rng(0)
    params = rp.train(network, network.init(rng), data.train_x, data.train_y, epochs=10, rng=rng)
    x = data.train_x[:300]
    pruned = rp.prune(
        network, params, x, lambda layer, p: rp.obs(layer, p, damp=1e-3), rp.Unstructured(sparsity=0.8)
    )
    answer = rp.snows(
        network, params, pruned.masks, x, None, data.train_y[:300], start=pruned.params, damp=1e-3, max_iter=5,
        cg_max_iter=25,
    )  # fmt: skip
    for images, share in ((x, 0.7), (data.test_x, 0.85)):
        dense = network.forward(params, images)
        before, after = (
            ((network.forward(p, images) - dense) ** 2).mean() for p in (pruned.params, answer.params)
        )
        assert after <= share * before
    scores = [rp.accuracy(network, p, data.test_x, data.test_y) for p in (pruned.params, answer.params)]
    assert scores[1] >= scores[0] - 2 * (scores[0] * (1 - scores[0]) / 500) ** 0.5
    assert answer.report.accuracy == tuple(
        rp.accuracy(network, p, x, data.train_y[:300]) for p in (params, answer.params)
    )


def test_mini_batches():
    params, masks, x = problem(10, samples=200)
    options = {"batch_size": 50, "max_iter": 3, "damp": 0.1}
    first, second, other = (
        rp.snows(NETWORK, params, masks, x, 2, rng=np.random.default_rng(seed), **options)
        for seed in (1, 1, 2)
    )
    for name in NETWORK.prunable:
        assert_array_equal(first.params[name], second.params[name])
        assert_array_equal(first.params[name][~masks[name]], 0)
    assert np.any(first.params["0.weight"] != other.params["0.weight"])
    found = rows(first).values()
    assert sum(row.after for row in found) < 0.8 * sum(
        row.before for row in found
    )  # one may rise: another sample
    for row in found:
        assert len(row.trace) == 4
        assert row.trace[-1].value == row.after
        assert row.trace[0].value != row.before  # of 50 samples
    whole = rp.snows(
        NETWORK, params, masks, x, 2, rng=np.random.default_rng(1), **(options | {"batch_size": 200})
    )
    full = rp.snows(NETWORK, params, masks, x, 2, max_iter=3, damp=0.1)
    for name in NETWORK.prunable:  # the same samples in another order
        assert_allclose(whole.params[name], full.params[name], rtol=0, atol=1e-9)


def test_the_report():
    params, masks, x = problem(11)
    report = rp.snows(NETWORK, params, masks, x, 1, layers=[0, 2]).report
    lines = str(report).splitlines()
    assert lines[0].split() == [word for column in Readjusted.head for word in column.split()]
    assert f"{report.layers[0].steps} steps, {report.layers[0].products} CG" in lines[1]
    assert lines[3].split()[:4] == ["4", "6", "3", "50.00%"]
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["layers"][0]["after"] == report.layers[0].after
    assert plain["layers"][2]["after"] is None
    assert plain["total"] == {"weights": 34, "pruned": 17, "sparsity": 0.5}


def test_on_other_arrays(backend):
    """On array-api-strict too."""
    params, masks, x = problem(12)
    params, x = (
        {name: value.astype("float32").astype(float) for name, value in params.items()},
        x.astype("float32"),
    )
    there = [{name: backend.asarray(value) for name, value in given.items()} for given in (params, masks)]
    options = {"damp": 1.0, "max_iter": 2}
    answer = rp.snows(NETWORK, *there, backend.asarray(x), 2, **options)
    expected = rp.snows(NETWORK, params, masks, x.astype(float), 2, **options)
    for name in NETWORK.prunable:
        assert type(answer.params[name]) is type(answer.masks[name]) is type(there[0][name])
        assert dtype_name(answer.params[name].dtype) == backend.dtype
        # damped: a condition of about 10, sums of some hundred terms
        gap = np.abs(backend.numpy(answer.params[name]) - expected.params[name]).max()
        assert gap <= 1e4 * backend.eps * np.abs(expected.params[name]).max()
        assert_array_equal(backend.numpy(answer.masks[name]), masks[name])
    batches = rp.snows(
        NETWORK, *there, backend.asarray(x), 1, batch_size=9, rng=np.random.default_rng(0), **options
    )
    assert type(batches.params["0.weight"]) is type(there[0]["0.weight"])


@pytest.mark.parametrize("own", [False, True], ids=["params", "start"])
def test_answers_never_alias_what_was_given(own):
    """Layers that are not readjusted and biases too."""
    params, masks, x = problem(17)
    start = cut(params, masks) if own else None
    answer = rp.snows(NETWORK, params, masks, x, 1, start=start, layers=["2"], max_iter=1)
    for name, value in answer.params.items():
        assert not any(np.shares_memory(value, given[name]) for given in (params, start or params))
    for name, mask in masks.items():
        assert_array_equal(answer.masks[name], mask)
        assert not np.shares_memory(answer.masks[name], mask)


def test_half_precision_and_arguments_that_stay():
    params, masks, x = problem(13)
    params = {name: value.astype("float16") for name, value in params.items()}
    for array in (*params.values(), *masks.values(), x):
        array.flags.writeable = False
    answer = rp.snows(NETWORK, params, masks, x.astype("float16"), 1)
    for name in params:
        assert answer.params[name].dtype == "float16"
    assert all(row.after < row.before for row in rows(answer).values())


def test_a_layer_whose_outputs_have_no_squares_is_named():
    params, masks, x = problem(15)
    with pytest.raises(np.linalg.LinAlgError, match="need outputs of layer 2 in the range of their dtype"):
        rp.snows(NETWORK, params | {"2.weight": params["2.weight"] * 1e308}, masks, x, 1, layers=["2"])
    params |= {"4.weight": params["4.weight"] * 1e200}
    with pytest.raises(
        np.linalg.LinAlgError, match="layer 4: need a finite objective at every point; got inf"
    ):
        rp.snows(NETWORK, params, masks, x, 0)


NARROW = {"0.weight": np.ones((4, 4), dtype=bool)}


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"network": 3}, TypeError, "need a Network; got int"),
        ({"params": {}}, ValueError, "missing"),
        ({"inputs": np.full((2, 4), np.nan)}, ValueError, "need finite numbers in inputs"),
        ({"masks": {"0.bias": np.ones(4, dtype=bool)}}, ValueError, "need masks for .*; got '0.bias'"),
        ({"masks": {}}, ValueError, "need masks, or layers, of one layer at least; got none"),
        ({"layers": [1]}, ValueError, "need layers among 0, 2, 4; got 1"),
        ({"layers": "2"}, TypeError, "need layers to be a list of layers; got '2'"),
        ({"horizon": -1}, ValueError, "need horizon >= 0; got -1"),
        ({"operations": ("conv",)}, ValueError, "need operations among"),
        ({"reduction": "mean"}, ValueError, "need reduction in samples, sum, entries; got 'mean'"),
        ({"logits": 1}, TypeError, "need logits to be True or False"),
        ({"calibration": "both"}, ValueError, "need calibration to be pruned or dense; got 'both'"),
        ({"target_inputs": 1}, ValueError, "need target_inputs to be pruned or dense; got 1"),
        ({"tail": None}, ValueError, "need tail to be pruned or dense; got None"),
        ({"curvature": "fisher"}, ValueError, "need curvature to be one of hessian, gauss-newton"),
        ({"damp": -1}, ValueError, "need damp >= 0"),
        ({"max_iter": -1}, ValueError, "need max_iter >= 0"),
        ({"tol": np.inf}, ValueError, "need tol >= 0 and finite"),
        ({"batch_size": 0, "rng": np.random.default_rng(0)}, ValueError, r"need batch_size in \[1, 30\]; got 0"),
        ({"batch_size": 5}, TypeError, r"need rng to be a numpy.random.Generator \(with batch_size\); got NoneType"),
        ({"progress": 1}, TypeError, "need progress to be True or False"),
        ({"targets": np.zeros(3, dtype=int)}, ValueError, r"targets: need y of shape \(30,\); got \(3,\)"),
        ({"cg_rtol": 1.0}, ValueError, "need cg_rtol < 1"),
        ({"tail": np.array(["dense"])}, ValueError, "need tail to be pruned or dense; got array"),
        ({"start": {}}, ValueError, "start: need params named"),
        ({"masks": NARROW | {"2.weight": np.zeros((3, 4), dtype=bool)}, "start": problem(14)[0]}, ValueError,
         r"need start\['2.weight'\] to be 0 where masks\['2.weight'\] prunes; got another value there"),
    ],
)  # fmt: skip
def test_errors(wrong, kind, message):
    params, masks, x = problem(14)
    given = {"network": NETWORK, "params": params, "masks": masks, "inputs": x, "horizon": 1} | wrong
    with pytest.raises(kind, match=message):
        rp.snows(**given)
