"""`rp.woodfisher_network`: which gradients it takes, stages, what is between them, and the report."""

import sys
from fractions import Fraction
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.arrays import dtype_name
from refprune.pruning.stages import cubic_schedule
from tests.methods.fishers import EPS, fisher


def image_network():
    """Biases, a BatchNorm and a residual: parameters that are no weights lie between the weights."""
    body = [rp.Conv2d(2, 2, 3, padding=1, bias=False), rp.BatchNorm2d(2)]
    return rp.Network(
        [rp.Conv2d(1, 2, 2), rp.Tanh(), rp.Residual(body), rp.ReLU(), rp.Flatten(), rp.Dense(8, 3)]
    )


def perceptron():
    return rp.mlp([4, 6, 3], activation="tanh")


def problem(make=perceptron, samples=20, seed=0):
    """(network, params, x, y)."""
    rng = np.random.default_rng([81, seed])
    network = make()
    params = network.init(rng)
    for name, shape in network.constants.items():
        params[name] = rng.uniform(0.5, 1.5, size=shape)
    for name, value in params.items():
        if value.ndim == 1:
            params[name] = value + rng.uniform(0.1, 0.5, size=value.shape)
    shape = (1, 3, 3) if make is image_network else (4,)
    return network, params, rng.normal(size=(samples, *shape)) + 0.25, rng.integers(0, 3, size=samples)


def gradients(network, params, x, y, loss="cross_entropy"):
    """One sample at a time, by the gradient of its mean: no per-sample code."""
    rows = []
    for i in range(len(x)):
        g = network.gradient(params, x[i : i + 1], y[i : i + 1], loss)
        rows.append(np.concatenate([g[name].ravel() for name in network.prunable]))
    return np.array(rows)


def weights(network, params):
    return {name: params[name] for name in network.prunable}


def close(answer, expected, network, slack):
    for name in network.prunable:
        assert_array_equal(answer.masks[name], expected.mask[name])
        assert_allclose(answer.params[name], expected.weight[name], rtol=0, atol=slack)


@pytest.mark.parametrize("make", [perceptron, image_network])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"update": "sum"},
        {"first_order": True},
        {"block": "layer"},
        {"block": 7},
        {"block": 1},
        {"search": "swap"},
    ],
    ids=str,
)
def test_is_woodfisher_on_the_gradients_of_single_samples(make, options):
    network, params, x, y = problem(make)
    G = gradients(network, params, x, y)
    slack = 1e4 * EPS * np.linalg.cond(fisher(G, 0.01))
    for pattern in (
        rp.Unstructured(0.5),
        rp.Unstructured(0.3, scope="layer"),
        rp.Unstructured(keep=2, scope="row"),
        rp.NM(1, 2, remainder="dense"),
        rp.Unstructured(0.31, count_rule="strict"),
    ):
        answer = rp.woodfisher_network(network, params, x, y, pattern, 0.01, **options)
        expected = rp.woodfisher(weights(network, params), G, pattern, 0.01, **options)
        close(answer, expected, network, slack)
        for name in set(params) - set(network.prunable):
            assert_array_equal(answer.params[name], params[name])  # biases and BatchNorm stay
        assert list(answer.params) == list(params)


def test_squared_loss():
    network, params, x, _ = problem()
    y = np.random.default_rng(82).normal(size=(20, 3))
    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.01, loss="squared")
    G = gradients(network, params, x, y, "squared")
    expected = rp.woodfisher(weights(network, params), G, rp.Unstructured(0.5), 0.01)
    close(answer, expected, network, 1e4 * EPS * np.linalg.cond(fisher(G, 0.01)))
    assert answer.report.accuracy is None


def test_parts_of_the_samples_give_the_same(monkeypatch):
    network, params, x, y = problem()
    whole = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.01)
    module = sys.modules["refprune.woodfisher_network"]  # the function has the same name
    for numbers in (1, 3 * network.size, 7 * network.size):
        monkeypatch.setattr(module, "NUMBERS", numbers)
        parts = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.01)
        for name in network.prunable:
            assert_array_equal(parts.masks[name], whole.masks[name])
            assert_allclose(parts.params[name], whole.params[name], rtol=0, atol=1e-11)


@pytest.mark.parametrize("batch", [3, 5, 20, 50])
def test_rows_of_mini_batches(batch):
    """20 samples: the last of the batches of 3 has two, and no row is 0."""
    network, params, x, y = problem()
    G = gradients(network, params, x, y)
    rows = np.array([G[i : i + batch].mean(axis=0) for i in range(0, 20, batch)])
    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.01, batch=batch)
    expected = rp.woodfisher(weights(network, params), rows, rp.Unstructured(0.5), 0.01)
    close(answer, expected, network, 1e4 * EPS * np.linalg.cond(fisher(rows, 0.01)))


def test_schedule():
    """Zhu and Gupta: half of the way is behind after a fifth of the stages."""
    assert cubic_schedule(0, 0.875, 2) == (Fraction(49, 64), Fraction(7, 8))
    shares = cubic_schedule(0.1, 0.9, 10)
    assert len(shares) == 10
    assert shares[-1] == Fraction(9, 10)
    assert all(a < b for a, b in pairwise(shares))
    gaps = np.diff([0.1, *map(float, shares)])
    assert_allclose(gaps, 0.8 * np.diff([1 - (1 - t / 10) ** 3 for t in range(11)]), atol=1e-15)
    assert cubic_schedule(0.5, 0.5, 3) == (Fraction(1, 2),) * 3


STAGED = {
    "network": rp.Unstructured(sparsity=0.8),
    "keep": rp.Unstructured(keep=9),
    "layer": rp.Unstructured(sparsity=0.75, scope="layer"),
    "row": rp.Unstructured(sparsity=0.75, scope="row"),
    "strict": rp.Unstructured(sparsity=0.8, count_rule="strict"),
    "N:M": rp.NM(1, 4, remainder="dense"),
}


@pytest.mark.parametrize("pattern", STAGED.values(), ids=STAGED)
def test_stages(pattern):
    """Each stage is `rp.woodfisher` behind the one before, with the gradients of that network."""
    network, params, x, y = problem()
    seen = []
    answer = rp.woodfisher_network(
        network, params, x, y, pattern, 0.05, steps=3, first_order=True,
        between=lambda values, masks, stage: seen.append((values, masks, stage)) or values,
    )  # fmt: skip
    assert [stage for *_, stage in seen] == [1, 2]
    masks = {name: np.ones(params[name].shape, dtype=bool) for name in network.prunable}
    now = params
    for t, (values, kept) in enumerate([*(s[:2] for s in seen), (answer.params, answer.masks)], 1):
        share = 1 - Fraction(3 - t, 3) ** 3
        if isinstance(pattern, rp.NM):
            stage = rp.NM(4 - round(share * 3), 4, remainder="dense")
        else:
            last = Fraction(33, 42) if pattern.keep else Fraction(str(pattern.sparsity))
            stage = rp.Unstructured(share * last, scope=pattern.scope, count_rule=pattern.count_rule)
        G = gradients(network, now, x, y)
        expected = rp.woodfisher(
            weights(network, now), G, stage, 0.05, first_order=True, mask=masks if t > 1 else None
        )
        for name in network.prunable:
            assert_array_equal(kept[name], expected.mask[name])
            assert not kept[name][~masks[name]].any(), "nested: what went does not come back"
            assert_allclose(values[name], expected.weight[name], rtol=0, atol=1e-9)
        masks, now = kept, values
    total = sum(prod(network.shapes[name]) for name in network.prunable)
    if pattern is STAGED["network"]:
        assert rp.sparsity(answer.masks) * total == round(0.8 * total)
    assert answer.report.calibration == "pruned"


def test_one_stage_ignores_the_start():
    network, params, x, y = problem()
    answers = [
        rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), start_sparsity=s) for s in (0, 0.5)
    ]
    assert_array_equal(answers[0].params["0.weight"], answers[1].params["0.weight"])


def test_training_between_stages_holds_the_masks():
    network, params, x, y = problem(samples=60)
    kept = []

    def train(values, masks, stage):
        kept.append(masks)
        return rp.train(network, values, x, y, epochs=3, masks=masks, rng=stage, progress=False)

    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.7), 1e-2, steps=4, between=train)
    assert len(kept) == 3
    for earlier, later in zip(kept, [*kept[1:], answer.masks], strict=True):
        for name in network.prunable:
            assert not later[name][~earlier[name]].any()
    assert not answer.params["0.weight"][~answer.masks["0.weight"]].any()
    assert not np.array_equal(answer.params["0.bias"], params["0.bias"])  # trained
    still = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.7), 1e-2, steps=4)
    assert network.loss(answer.params, x, y) < network.loss(still.params, x, y)


def test_stages_are_better_than_one():
    """On the way the gradients are those of the network that is there: lower loss in the mean over seeds."""
    gaps = []
    for seed in range(6):
        rng = np.random.default_rng([83, seed])
        x = rng.normal(size=(150, 6))
        y = (x[:, 0] * x[:, 1] > 0) + 2 * (x[:, 2] + 0.5 * x[:, 3] > 0)
        network = rp.mlp([6, 16, 4], activation="tanh")
        params = rp.train(network, network.init(rng), x, y, epochs=15, rng=seed, progress=False)
        losses = [
            network.loss(
                rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.7), 1e-2, steps=s).params, x, y
            )
            for s in (1, 8)
        ]
        gaps.append(losses[0] - losses[1])
    assert np.mean(gaps) > 0
    assert np.median(gaps) > 0


def test_report():
    network, params, x, y = problem()
    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.01, update="sum")
    report, G = answer.report, gradients(network, params, x, y)
    assert [row.layer for row in report.layers] == ["0", "2"]
    assert report.pruned == 21
    assert report.calibration == "dense"
    assert report.accuracy == (
        rp.accuracy(network, params, x, y),
        rp.accuracy(network, answer.params, x, y),
    )
    F, first = fisher(G, 0.01), 0
    for row, name in zip(report.layers, network.prunable, strict=True):
        w = params[name].ravel()
        own = F[first : first + len(w), first : first + len(w)]
        first += len(w)
        delta = answer.params[name].ravel() - w
        assert row.objective == pytest.approx(delta @ own @ delta / 2, rel=1e-9)
        assert row.error == pytest.approx(((delta @ own @ delta) / (w @ own @ w)) ** 0.5, rel=1e-9)
        assert (row.method, row.pattern) == ("woodfisher", "Unstructured(sparsity=0.5, scope=network)")
        assert row.pruned == np.count_nonzero(~answer.masks[name])
    assert "accuracy: dense" in str(report)


def test_backends(cupy_like):
    """NumPy in both precisions, and the stand-in."""
    network, params, x, y = problem(image_network)
    params = {name: value.astype("float32").astype(float) for name, value in params.items()}
    x = x.astype("float32").astype(float)
    there = {name: cupy_like.asarray(value) for name, value in params.items()}
    for options in ({}, {"steps": 2, "first_order": True}, {"batch": 4}):
        right = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.5), 0.1, **options)
        answer = rp.woodfisher_network(
            network, there, cupy_like.asarray(x), cupy_like.asarray(y), rp.Unstructured(0.5), 0.1, **options
        )
        for name, value in right.params.items():
            assert dtype_name(answer.params[name].dtype) == cupy_like.dtype
            assert_allclose(cupy_like.numpy(answer.params[name]), value, rtol=0, atol=1e4 * cupy_like.eps)
        for name, mask in right.masks.items():
            assert_array_equal(cupy_like.numpy(answer.masks[name]), mask)


def test_nothing_is_changed():
    network, params, x, y = problem()
    before = {name: value.copy() for name, value in params.items()}
    for value in (*params.values(), x, y):
        value.setflags(write=False)

    def spoil(values, masks, stage):
        for array in (*values.values(), *masks.values()):
            array[...] = 1
        values.clear()
        masks.clear()
        return {name: value * 1.0 for name, value in answer.params.items()}

    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.9), steps=2)
    answer = rp.woodfisher_network(network, params, x, y, rp.Unstructured(0.9), steps=2, between=spoil)
    for name, value in answer.params.items():
        value[:] = 7
        assert_array_equal(params[name], before[name])


def test_masks_that_between_overwrites_stay():
    """With the first order a weight that is 0 would come back."""
    network, params, x, y = problem()
    seen = []

    def overwrite(values, masks, stage):
        seen.append({name: mask.copy() for name, mask in masks.items()})
        for mask in masks.values():
            mask[...] = True
        return values

    options = {"steps": 3, "first_order": True}
    answer = rp.woodfisher_network(
        network, params, x, y, rp.Unstructured(0.3), 0.001, between=overwrite, **options
    )
    for masks in seen:
        for name, mask in masks.items():
            assert not np.any(answer.masks[name] & ~mask)


def test_errors():
    network, params, x, y = problem()
    half = rp.Unstructured(0.5)

    def call(pattern=half, net=network, values=params, inputs=x, labels=y, **options):
        return rp.woodfisher_network(net, values, inputs, labels, pattern, **options)

    revived = {name: value + 1 for name, value in params.items()}
    half_precision = {name: value.astype("float16") for name, value in params.items()}
    for kind, words, run in (
        (TypeError, "need a Network; got list", lambda: call(net=[])),
        (ValueError, "need a network with at least one Dense or Conv2d", lambda: call(net=rp.Network([rp.ReLU()]))),
        (ValueError, "need x of shape", lambda: call(inputs=x[:0])),
        (ValueError, "need params named", lambda: call(values={"0.weight": params["0.weight"]})),
        (TypeError, "need an Unstructured or NM pattern; got Blocks", lambda: call(rp.Blocks(2, 0.5))),
        (ValueError, "need columns in a multiple of m = 3", lambda: call(rp.NM(1, 3))),
        (ValueError, "need keep <= 42", lambda: call(rp.Unstructured(keep=43))),
        (ValueError, "need damp >= 0", lambda: call(damp=-1)),
        (ValueError, "need update to be one of", lambda: call(update="all")),
        (ValueError, "need block to be an integer, 'layer' or None", lambda: call(block="row")),
        (ValueError, "need batch >= 1; got 0", lambda: call(batch=0)),
        (ValueError, "need steps >= 1; got 0", lambda: call(steps=0)),
        (TypeError, "need between to be a callable; got int", lambda: call(between=3)),
        (ValueError, r"need start_sparsity <= 0.5, the pattern's; got 0.6", lambda: call(start_sparsity=0.6)),
        (ValueError, r"need start_sparsity in \[0, 1\]", lambda: call(start_sparsity=2)),
        (ValueError, "need sparsity, not keep, in stages with scope 'row'",
         lambda: call(rp.Unstructured(keep=1, scope="row"), steps=2)),
        (ValueError, "need pruned weights of 0.weight to be 0 after between",
         lambda: call(steps=2, between=lambda values, masks, stage: revived)),
        (ValueError, r"need finite numbers in params\['0.weight'\] after between in float16; got inf",
         lambda: call(values=half_precision, steps=2, between=lambda values, masks, stage:
                      {name: value * 1e6 * masks.get(name, 1) for name, value in params.items()})),
        (TypeError, "need params to be a dict", lambda: call(steps=2, between=lambda values, masks, stage: None)),
        (np.linalg.LinAlgError, "need a Fisher matrix that is positive definite", lambda: call(damp=0.0)),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            run()
