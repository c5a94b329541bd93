"""`rp.prune` against the layers pruned by hand: which Gram each layer sees, counts, masks, and what is left alone."""

import copy
import functools
import io
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp

HALF = rp.Unstructured(sparsity=0.5)


def linear(rng):
    """Two dense layers without bias or activation, and shifted inputs."""
    network = rp.Network([rp.Dense(4, 3, bias=False), rp.Dense(3, 2, bias=False)])
    params = {"0.weight": rng.normal(size=(3, 4)) + 0.25, "1.weight": rng.normal(size=(2, 3))}
    return network, params, rng.normal(size=(9, 4)) + 1.5


def branched(rng):
    """Convolutions, a residual with a shortcut and one without, BatchNorm, a grouped convolution, Flatten."""
    body = [rp.Conv2d(4, 4, 3, padding=1), rp.BatchNorm2d(4), rp.Tanh(), rp.Conv2d(4, 4, 1)]
    network = rp.Network(
        [
            rp.Conv2d(2, 4, 3, stride=2),
            rp.ReLU(),
            rp.Residual(body),
            rp.Residual(
                [rp.Conv2d(4, 6, 3, padding=1, groups=2), rp.ReLU()], [rp.Conv2d(4, 6, 1), rp.ReLU()]
            ),
            rp.MaxPool2d(2),
            rp.Flatten(),
            rp.Dense(6, 3),
        ]
    )
    params = network.init(rng)
    params = {name: value + 0.1 * rng.normal(size=value.shape) ** 2 for name, value in params.items()}
    return network, params, rng.normal(size=(40, 2, 6, 6)) + 0.5


def test_the_second_gram_is_that_of_the_pruned_first_layer():
    network, params, x = linear(np.random.default_rng(0))
    seen = []

    def spy(problem, pattern):
        seen.append(problem.gram)
        return rp.obs(problem, pattern)

    answer = rp.prune(network, params, x, spy, HALF)
    hidden = x @ answer.params["0.weight"].T
    # sums of 9 products: 9 eps of their size, with a factor for the products before
    assert_allclose(seen[0], x.T @ x / 9, rtol=1e-14)
    assert_allclose(seen[1], hidden.T @ hidden / 9, rtol=1e-13)
    dense = x @ params["0.weight"].T
    assert np.abs(seen[1] - dense.T @ dense / 9).max() > 0.01  # the two calibrations can be told apart

    seen.clear()
    rp.prune(network, params, x, spy, HALF, calibration="dense")
    assert_allclose(seen[1], dense.T @ dense / 9, rtol=1e-13)


@pytest.mark.parametrize("calibration", ["pruned", "dense"])
def test_every_layer_is_the_method_on_the_inputs_that_reach_it(calibration):
    """By forward passes from the start, one for each layer: `network.layer_inputs` of what is pruned so far."""
    network, params, x = branched(np.random.default_rng(1))
    pattern = rp.Unstructured(sparsity=0.4)
    answer = rp.prune(network, params, x, "obs", pattern, calibration=calibration, batch_size=7)
    so_far = dict(params)
    for name in network.prunable:
        rows = network.layer_inputs(so_far if calibration == "pruned" else params, x)[
            name.removesuffix(".weight")
        ]
        gram = np.swapaxes(rows, -1, -2) @ rows / rows.shape[-2]
        expected = rp.obs(rp.LayerProblem(params[name], gram), pattern)
        assert_array_equal(answer.masks[name], expected.mask)
        # the optimal weights on a support: eps cond(gram) of their size, with a factor for sums in other orders
        slack = 1e3 * np.finfo(float).eps * np.linalg.cond(gram).max()
        assert_allclose(answer.params[name], expected.weight, rtol=0, atol=slack)
        so_far[name] = answer.params[name]
    assert set(answer.masks) == set(network.prunable)
    assert all(
        np.array_equal(answer.params[name], params[name]) for name in params.keys() - answer.masks.keys()
    )


@pytest.mark.parametrize("batch_size", [1, 6, 40, 1000, None])
def test_batches_change_nothing_but_rounding(batch_size):
    network, params, x = branched(np.random.default_rng(2))
    whole = rp.prune(network, params, x, "wanda", HALF, batch_size=40)
    other = rp.prune(network, params, x, "wanda", HALF, batch_size=batch_size)
    for name, mask in whole.masks.items():
        assert_array_equal(other.masks[name], mask)
    for a, b in zip(whole.report.layers, other.report.layers, strict=True):
        assert_allclose(a.objective, b.objective, rtol=1e-12)


@pytest.mark.parametrize(
    "pattern",
    [
        HALF,
        rp.Unstructured(keep=3, scope="row"),
        rp.NM(1, 2, remainder="dense"),
        rp.Blocks(2, sparsity=0.3, scope="layer"),
        rp.Groups(keep=2),
    ],
    ids=lambda pattern: type(pattern).__name__,
)
@pytest.mark.parametrize("method", ["magnitude", "wanda", "obd", "obs"])
def test_patterns_and_counts_hold_in_every_layer(method, pattern):
    network, params, x = branched(np.random.default_rng(3))
    overrides = {"0": None} if method == "wanda" else {}
    answer = rp.prune(network, params, x, method, pattern, overrides=overrides)
    own = rp.Unstructured(sparsity=0.5, scope="row") if method == "wanda" and pattern is HALF else pattern
    for row in answer.report.layers:
        mask, weight = answer.masks[f"{row.layer}.weight"], answer.params[f"{row.layer}.weight"]
        if row.layer in overrides:
            assert mask.all()
            assert_array_equal(weight, params[f"{row.layer}.weight"])
            assert (row.pattern, row.objective, row.error) == ("dense", 0.0, 0.0)
        else:
            assert own.admits(mask)
            assert not mask.all()
        assert (row.weights, row.pruned) == (mask.size, np.count_nonzero(~mask))
        assert np.all(weight[~mask] == 0)
    total = sum(np.count_nonzero(~mask) for mask in answer.masks.values())
    assert answer.report.pruned == total
    assert answer.report.sparsity == rp.sparsity(answer.masks) == total / answer.report.weights


def test_overrides_name_layers_or_weights_methods_and_patterns():
    network, params, x = branched(np.random.default_rng(4))
    answer = rp.prune(
        network,
        params,
        x,
        "obs",
        HALF,
        overrides={
            "0": None,
            "2.body.0.weight": rp.NM(1, 4),
            "2.body.3": {"method": "magnitude"},
            "6": {"method": functools.partial(rp.obs, damp=0.5), "pattern": rp.Unstructured(keep=5)},
        },
    )
    rows = {row.layer: (row.method, row.pattern, row.pruned) for row in answer.report.layers}
    assert rows == {
        "0": ("", "dense", 0),
        "2.body.0": ("obs", "NM(1, 4)", 108),
        "2.body.3": ("magnitude", "Unstructured(sparsity=0.5)", 8),
        "3.body.0": ("obs", "Unstructured(sparsity=0.5)", 54),
        "3.shortcut.0": ("obs", "Unstructured(sparsity=0.5)", 12),
        "6": ("obs", "Unstructured(keep=5)", 13),
    }
    kept = answer.masks["2.body.3.weight"]
    assert_array_equal(answer.params["2.body.3.weight"][kept], params["2.body.3.weight"][kept])


def test_the_report_tells_objective_and_relative_output_error():
    network, params, x = linear(np.random.default_rng(5))
    labels = np.arange(9) % 2
    answer = rp.prune(network, params, x, "magnitude", HALF, labels)
    first, second = answer.report.layers
    hidden = x @ answer.params["0.weight"].T
    for row, name, inputs in ((first, "0.weight", x), (second, "1.weight", hidden)):
        change = inputs @ (answer.params[name] - params[name]).T
        assert_allclose(row.objective, (change**2).sum() / 2 / 9, rtol=1e-12)
        assert_allclose(
            row.error, np.linalg.norm(change) / np.linalg.norm(inputs @ params[name].T), rtol=1e-12
        )
        assert row.dead == 0
    accuracies = [rp.accuracy(network, p, x, labels) for p in (params, answer.params)]
    assert answer.report.accuracy == tuple(accuracies)
    data = answer.report.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["total"] == {"weights": 18, "pruned": 9, "sparsity": 0.5}
    assert data["accuracy"] == {"dense": accuracies[0], "pruned": accuracies[1]}
    text = str(answer.report).splitlines()
    assert text[0].split()[:6] == ["layer", "method", "pattern", "weights", "pruned", "sparsity"]
    assert text[1].split()[:6] == ["0", "magnitude", "Unstructured(sparsity=0.5)", "12", "6", "50.00%"]
    assert text[3].split()[:4] == ["total", "18", "9", "50.00%"]


def test_a_dead_network_is_pruned_at_no_cost_and_says_so():
    network, params, _ = linear(np.random.default_rng(6))
    answer = rp.prune(network, params, np.zeros((3, 4)), "obs", HALF)
    assert [(row.objective, row.error, row.dead) for row in answer.report.layers] == [
        (0.0, 0.0, 4),
        (0.0, 0.0, 3),
    ]
    assert answer.report.pruned == 9


def test_nothing_that_was_given_changes_or_comes_back():
    network, params, x = branched(np.random.default_rng(7))
    masks = {"6.weight": np.ones((3, 6), dtype=bool)}
    masks["6.weight"][1, 2] = False
    params["6.weight"][1, 2] = 0
    before = copy.deepcopy((params, x, masks))
    for value in (*params.values(), x, *masks.values()):
        value.flags.writeable = False
    for method, overrides in (("magnitude", {}), ("obs", {"6": None})):
        answer = rp.prune(network, params, x, method, HALF, masks=masks, overrides=overrides)
        for name, value in answer.params.items():
            assert not np.shares_memory(value, params[name])
            value[...] = 7.0
        for name, mask in answer.masks.items():
            assert not np.shares_memory(mask, masks.get(name, x))
            mask[...] = False
    assert list(answer.params) == list(params)
    for old, new in zip(before, (params, x, masks), strict=True):
        for a, b in zip(old.values(), new.values(), strict=True) if isinstance(old, dict) else [(old, new)]:
            assert_array_equal(a, b)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_for_layers_on_a_terminal_alone(monkeypatch):
    network, params, x = linear(np.random.default_rng(8))
    budget = rp.Unstructured(sparsity=0.5, scope="network")
    for stream, wanted in ((Terminal(), True), (Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        rp.prune(network, params, x, "wanda", budget, progress=wanted)
        text = stream.getvalue()
        if wanted and stream.isatty():
            assert "share the budget" in text
            assert "2/2 layer 1" in text
            assert text.endswith("\r\x1b[K")  # nothing stays
        else:
            assert text == ""


def test_a_prior_mask_goes_on_to_a_sparser_one():
    network, params, x = branched(np.random.default_rng(9))
    first = rp.prune(network, params, x, "wanda", rp.Unstructured(sparsity=0.25, scope="layer"))
    for method in ("magnitude", "wanda", "obd", functools.partial(rp.obs, damp=0.01), "sparsegpt", "alps"):
        pattern = rp.Unstructured(sparsity=0.5, scope="layer")
        second = rp.prune(network, first.params, x, method, pattern, masks=first.masks)
        for name, mask in first.masks.items():
            assert np.all(second.masks[name] <= mask)
            assert np.count_nonzero(~second.masks[name]) == round(0.5 * mask.size)


@pytest.mark.parametrize("pattern", [rp.Blocks(2, sparsity=0.5), rp.Groups(sparsity=0.5), rp.NM(1, 2)])
def test_prior_zeros_inside_a_kept_unit_stay(pattern):
    rng = np.random.default_rng(10)
    network = rp.mlp([6, 4, 4])
    params, x = network.init(rng), rng.normal(size=(30, 6)) + 0.5
    masks = {name: rng.random(params[name].shape) > 0.2 for name in network.prunable}
    params |= {name: params[name] * mask for name, mask in masks.items()}
    answer = rp.prune(network, params, x, functools.partial(rp.obs, damp=0.1), pattern, masks=masks)
    for name, mask in masks.items():
        assert not np.any(answer.masks[name] & ~mask)
        width = 2 if isinstance(pattern, (rp.Blocks, rp.NM)) else mask.shape[1]
        units = answer.masks[name].reshape(-1, width)
        if isinstance(pattern, rp.NM):
            assert np.all(units.sum(axis=1) <= 1)
        else:
            assert np.count_nonzero(~units.any(axis=1)) == len(units) // 2


def test_labels_name_every_input_channel_of_a_grouped_convolution():
    network, params, x = branched(np.random.default_rng(11))
    pattern = rp.Groups(keep=2, axis=1, labels=np.array([5, 5, 6, 7]))
    overrides = dict.fromkeys(("0", "2.body.0", "2.body.3", "3.shortcut.0", "6"))
    answer = rp.prune(network, params, x, "obs", pattern, overrides=overrides)
    mask = answer.masks["3.body.0.weight"]  # filters 0 to 2 read channels 0 and 1, the others 2 and 3
    gone = [not mask[:3].any(), not mask[3:, 0].any(), not mask[3:, 1].any()]
    assert sum(gone) == 1
    assert np.count_nonzero(~mask) == (54 if gone[0] else 27)
