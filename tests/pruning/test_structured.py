"""Structured pruning of networks: which units go, what the columns that stay make up for, and what goes with them."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.arrays import dtype_name
from refprune.pruning.units import links
from tests.pruning.masked_networks import bound

METHODS = ("magnitude", "wanda", "obd", "obs", "alps")


def perceptron(rng):
    return [rp.Dense(5, 6), rp.Tanh(), rp.Dense(6, 4), rp.Sigmoid(), rp.Dense(4, 3)], (5,)


def convolutions(rng):
    """Kernels, BatchNorm, depthwise, pools, and four positions for each filter behind Flatten."""
    layers = [
        rp.Conv2d(2, 4, 3, padding=1), rp.BatchNorm2d(4), rp.ReLU(), rp.Conv2d(4, 5, (2, 1)), rp.SiLU(),
        rp.MaxPool2d(2), rp.Conv2d(5, 5, 2, padding=1, groups=5), rp.Tanh(), rp.AvgPool2d(2), rp.Flatten(),
        rp.Dense(20, 3),
    ]  # fmt: skip
    return layers, (2, 7, 6)


def problem(draw, seed=0, samples=60):
    """(network, params, inputs): shifted inputs, columns of different scale."""
    rng = np.random.default_rng(seed)
    layers, shape = draw(rng)
    network = rp.Network(layers)
    params = {
        name: value + 0.1 * rng.normal(size=value.shape) ** 2 for name, value in network.init(rng).items()
    }
    return network, params, rng.normal(size=(samples, *shape)) * rng.uniform(0.5, 2, size=shape) + 0.5


def best_columns(W, X, kept):
    """The weights on the `kept` columns that come nearest to the outputs X W^T, by least squares."""
    V = np.zeros_like(W)
    V[:, kept] = np.linalg.lstsq(X[:, kept], X @ W.T, rcond=None)[0].T
    return V


def half_mean_square(D, X):
    return np.sum((X @ D.T) ** 2) / 2 / len(X)


def certify(W, X, columns, mask, V, count=1):
    """The last of `count` units that went was the cheapest to go, and the columns that stay are the best ones.

    `columns` names the unit of every column of W (rows, columns). The cost of a unit is what least squares on the
    activations leaves of it.
    """
    kept = mask.reshape(W.shape)
    V = V.reshape(W.shape)
    assert (kept == kept[:1]).all(), "a column is pruned in some rows only"
    gone = np.setdiff1d(columns, columns[kept[0]])
    assert len(gone) == count, f"{len(gone)} units went, not {count}"
    assert not np.isin(columns[kept[0]], gone).any()
    expected = best_columns(W, X, kept[0])
    # the normal equations err by eps cond(G) of the size of the weights; a factor 100 for sums in other orders
    slack = 100 * np.finfo(float).eps * np.linalg.cond(X.T @ X) * np.abs(W).max()
    assert np.abs(V - expected).max() <= slack, "the columns that stay are not the best ones"
    if count == 1:
        costs = {
            unit: half_mean_square(W - best_columns(W, X, columns != unit), X)
            for unit in set(columns.tolist())
        }
        own = costs[int(gone[0])]
        assert own <= min(costs.values()) * (1 + 1e-9), (
            f"unit {gone[0]} is not the cheapest: {own:.4g} of {costs}"
        )


@pytest.mark.parametrize("draw", [perceptron, convolutions])
@pytest.mark.parametrize("seed", range(4))
def test_the_cheapest_unit_goes_and_the_columns_that_stay_make_up_for_it(draw, seed):
    network, params, x = problem(draw, seed)
    every = links(network, x.shape[1:])
    assert len(every) == 2
    for link in every:
        dense = {
            key: None
            for key in ("0", "2", "3", "4", "10")
            if key != link.consumer and f"{key}.weight" in params
        }
        pattern = rp.Groups(keep=link.units - 1, axis=1)
        answer = rp.prune(network, params, x, "obs", pattern, overrides=dense)
        X, name = network.layer_inputs(params, x)[link.consumer], f"{link.consumer}.weight"
        W = params[name].reshape(len(params[name]), -1)
        certify(W, X, link.columns, answer.masks[name], answer.params[name])

        # the formula of the saliency: 1/2 tr W_B (G^-1_BB)^-1 W_B^T
        inverse = np.linalg.inv(X.T @ X / len(X))
        blocks = [np.flatnonzero(link.columns == unit) for unit in range(link.units)]
        cost = [np.trace(W[:, B] @ np.linalg.solve(inverse[np.ix_(B, B)], W[:, B].T)) / 2 for B in blocks]
        row = next(row for row in answer.report.layers if row.layer == link.consumer)
        assert not answer.masks[name].reshape(W.shape)[:, link.columns == np.argmin(cost)].any()
        tolerance = 100 * np.finfo(float).eps * np.linalg.cond(X.T @ X)
        assert_allclose(row.objective, min(cost), rtol=tolerance, atol=tolerance * half_mean_square(W, X))


@pytest.mark.parametrize("draw", [perceptron, convolutions])
def test_several_units_go_and_what_stays_is_optimal_behind_the_pruned_prefix(draw):
    network, params, x = problem(draw, 5)
    answer = rp.prune(network, params, x, "obs", rp.Groups(sparsity=0.5, axis=1))
    so_far, producers = dict(params), [link.producer for link in links(network)]
    for link in links(network):
        name = f"{link.consumer}.weight"
        X = network.layer_inputs(so_far, x)[link.consumer]
        W = params[name].reshape(len(params[name]), -1)
        V, mask = answer.params[name].reshape(W.shape), answer.masks[name].reshape(W.shape)
        rows = mask.any(axis=1)  # the rest went with units of the layer behind it
        assert rows.all() or link.consumer in producers
        certify(W[rows], X, link.columns, mask[rows], V[rows], round(link.units / 2))
        so_far[name] = np.where(rows[:, None], V, best_columns(W, X, mask.any(axis=0))).reshape(
            params[name].shape
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("draw", [perceptron, convolutions])
def test_counts_are_exact_and_the_network_shrinks_by_them(method, draw):
    network, params, x = problem(draw, 7)
    answer = rp.prune(network, params, x, method, rp.Groups(sparsity=0.4, axis=1))
    for link in links(network):
        read = answer.masks[f"{link.consumer}.weight"].reshape(-1, len(link.columns)).any(axis=0)
        gone = np.setdiff1d(link.columns, link.columns[read])
        assert len(gone) == round(0.4 * link.units)
        for key in (link.producer, *link.through):
            assert_array_equal(answer.params[f"{key}.bias"][gone], 0)
            assert_array_equal(answer.params[f"{key}.weight"][gone], 0)
        for key in (link.producer, *(key for key in link.through if f"{key}.weight" in answer.masks)):
            assert not answer.masks[f"{key}.weight"][gone].any()
    for name, mask in answer.masks.items():
        assert_array_equal(answer.params[name][~mask], 0)
    small, values = rp.shrink(network, answer.params, answer.masks)
    every = [link.units - round(0.4 * link.units) for link in links(network)]
    assert [link.units for link in links(small)] == every
    difference = np.abs(small.forward(values, x) - network.forward(answer.params, x)).max()
    assert difference <= bound(network, answer.params, x)


def test_rows_that_went_are_all_that_the_producer_loses():
    """Without its silenced rows a layer is what it was: its other rows and biases do not move."""
    network, params, x = problem(perceptron, 8)
    answer = rp.prune(network, params, x, "obs", rp.Groups(sparsity=0.5, axis=1))
    kept = answer.masks["0.weight"].all(axis=1)
    assert kept.sum() == 3
    assert_array_equal(answer.params["0.weight"][kept], params["0.weight"][kept])
    assert_array_equal(answer.params["0.bias"][kept], params["0.bias"][kept])


def test_layers_whose_inputs_are_no_units_stay_dense_and_the_report_says_why():
    body = [rp.Conv2d(4, 3, 1), rp.ReLU(), rp.Conv2d(3, 4, 1)]
    layers = [
        rp.Conv2d(2, 4, 1), rp.Residual(body), rp.Conv2d(4, 4, 1, groups=2), rp.Conv2d(4, 4, 1),
        rp.Conv2d(4, 4, 2, groups=4), rp.Conv2d(4, 2, 1),
    ]  # fmt: skip
    network, params, x = problem(lambda rng: (layers, (2, 3, 3)))
    report = rp.prune(network, params, x, "obs", rp.Groups(sparsity=0.5, axis=1)).report
    notes = {row.layer: (row.pattern, row.note) for row in report.layers}
    groups = "Groups(sparsity=0.5, axis=1)"
    assert notes == {
        "0": ("dense", "its inputs are those of the network"),
        "1.body.0": (
            "dense",
            "its inputs are shared by the branches of a residual; "
            "lost 2 of 3 rows, the inputs that layer 1.body.2 lost",
        ),
        "1.body.2": (groups, ""),
        "2": ("dense", "it is a convolution in groups"),
        "3": (
            "dense",
            "its inputs are those of a convolution in groups; lost 2 of 4 rows, the inputs that layer 5 lost",
        ),
        "4": ("dense", "its channels are the units of layer 3"),
        "5": (groups, ""),
    }
    assert "layer 4: its channels are the units of layer 3" in str(report)


@pytest.mark.parametrize("method", ["magnitude", "obd", "obs"])
def test_layers_share_a_budget_of_units(method):
    network, params, x = problem(convolutions, 14)
    pattern = rp.Groups(sparsity=0.4, axis=1)
    answer = rp.prune(network, params, x, method, pattern, allocation="global")
    columns = [(link.columns, answer.masks[f"{link.consumer}.weight"]) for link in links(network)]
    left = [len(set(unit[mask.reshape(len(mask), -1).any(axis=0)].tolist())) for unit, mask in columns]
    assert sum(left) == 4 + 5 - round(0.4 * 9)
    with ThreadPoolExecutor(2) as threads:
        together = rp.prune(
            network, params, x, method, pattern, allocation="global", executor=threads, batch_size=7
        )
    alone = rp.prune(network, params, x, method, pattern, allocation="global", batch_size=7)
    assert all(np.array_equal(together.params[name], alone.params[name]) for name in params)


def test_an_override_keeps_the_inputs_of_a_layer():
    network, params, x = problem(perceptron, 9)
    answer = rp.prune(network, params, x, "obs", rp.Groups(sparsity=0.5, axis=1), overrides={"2": None})
    assert answer.masks["0.weight"].all()
    assert answer.masks["2.weight"].any(axis=1).sum() == 2  # its own rows go with the columns of layer 4
    assert rp.shrink(network, answer.params, answer.masks)[0].layers[0] == rp.Dense(5, 6)


def test_labels_that_are_given_are_those_of_the_layer_alone():
    network, params, x = problem(perceptron, 9)
    pattern = rp.Groups(keep=1, axis=1, labels=np.array([0, 0, 0, 1, 1, 1]))
    answer = rp.prune(network, params, x, "obs", pattern, overrides={"0": None, "4": None})
    assert answer.masks["2.weight"].sum() == 12
    assert answer.masks["0.weight"].all()
    assert_array_equal(answer.params["0.bias"], params["0.bias"])


def test_units_that_a_prior_mask_prunes_are_counted():
    network, params, x = problem(perceptron, 10)
    mask = np.ones((4, 6), dtype=bool)
    mask[:, 4], mask[1, 2] = False, False
    params["2.weight"][:, 2] *= 10  # this one stays, with a zero in it
    params["2.weight"] = np.where(mask, params["2.weight"], 0)
    overrides = {"4": None}
    answer = rp.prune(
        network, params, x, "obs", rp.Groups(keep=4, axis=1), overrides=overrides, masks={"2.weight": mask}
    )
    gone = np.flatnonzero(~answer.masks["2.weight"].any(axis=0))
    assert len(gone) == 2
    assert 4 in gone
    assert 2 not in gone
    assert not answer.masks["2.weight"][1, 2]
    assert_array_equal(answer.masks["0.weight"].any(axis=1), ~np.isin(np.arange(6), gone))


def test_a_row_of_a_layer_by_itself_has_nobody_to_make_up_for_it():
    """`axis=0`: the cost is the row's own output, the rows that stay do not move, and the cheapest row goes."""
    network, params, x = problem(perceptron, 11)
    answer = rp.prune(network, params, x, "obs", rp.Groups(keep=5, axis=0), overrides={"2": None, "4": None})
    G, W = x.T @ x / len(x), params["0.weight"]
    costs = np.einsum("ri,ij,rj->r", W, G, W) / 2
    kept = answer.masks["0.weight"].all(axis=1)
    assert_array_equal(np.flatnonzero(~kept), [np.argmin(costs)])
    assert_array_equal(answer.params["0.weight"][kept], W[kept])
    assert_allclose(answer.report.layers[0].objective, costs.min(), rtol=1e-13)  # sums of 60 and 25 products
    assert_array_equal(answer.params["0.bias"], params["0.bias"])  # the row's output is now its bias


def kernel(score, update=best_columns, order=None):
    """A method for one unit: `score(W, X, G, B)` ranks the columns B, `update(W, X, kept)` moves the others."""

    def method(W, X, columns):
        columns = columns if order is None else order(columns)
        G = X.T @ X / len(X)
        scores = [score(W, X, G, np.flatnonzero(columns == unit)) for unit in range(columns.max() + 1)]
        kept = columns != np.argmin(scores)
        return np.broadcast_to(kept, W.shape), update(W, X, kept)

    return method


def saliency(W, X, G, B):
    return np.trace(W[:, B] @ np.linalg.solve(np.linalg.inv(G)[np.ix_(B, B)], W[:, B].T))


def own_block(W, X, G, B):
    return np.trace(W[:, B] @ G[np.ix_(B, B)] @ W[:, B].T)


def single_columns(W, X, G, B):
    return np.sum(np.sum(W[:, B] ** 2, axis=0) / np.diag(np.linalg.inv(G))[B])


def first_row_only(W, X, kept):
    V = np.where(kept, W, 0)
    V[0] = best_columns(W[:1], X, kept)[0]
    return V


MISTAKES = {
    "no inverse": (kernel(own_block), "is not the cheapest"),
    "sum of single columns": (kernel(single_columns), "is not the cheapest"),
    "magnitude of the columns": (kernel(lambda W, X, G, B: np.sum(W[:, B] ** 2)), "is not the cheapest"),
    "columns that stay do not move": (kernel(saliency, lambda W, X, kept: np.where(kept, W, 0)), "not the best ones"),
    "one row moves": (kernel(saliency, first_row_only), "not the best ones"),
    "channels last behind Flatten": (
        kernel(saliency, order=lambda columns: columns.reshape(5, -1).T.reshape(-1)), "units went, not 1",
    ),
}  # fmt: skip


def behind_flatten(seed):
    network, params, x = problem(convolutions, seed)
    link = links(network)[1]
    return params["10.weight"], network.layer_inputs(params, x)["10"], link.columns


@pytest.mark.parametrize("mistake", MISTAKES)
def test_known_mistakes(mistake):
    method, message = MISTAKES[mistake]

    def killed(seed):
        W, X, columns = behind_flatten(seed)
        try:
            certify(W, X, columns, *method(W, X, columns))
        except AssertionError as error:
            return str(error)
        return None

    found = next(filter(None, map(killed, range(40))), "not found in 40 problems")
    assert message in found


def test_the_right_kernel_is_never_blamed():
    for seed in range(40):
        W, X, columns = behind_flatten(seed)
        certify(W, X, columns, *kernel(saliency)(W, X, columns))


def test_a_method_with_options_in_single_precision():
    network, params, x = problem(convolutions, 12)
    params = {name: value.astype("float32") for name, value in params.items()}
    method = partial(rp.obs, damp=0.01)
    answer = rp.prune(network, params, x.astype("float32"), method, rp.Groups(sparsity=0.4, axis=1))
    assert {value.dtype.name for value in answer.params.values()} == {"float32"}
    assert [link.units for link in links(rp.shrink(network, answer.params, answer.masks)[0])] == [2, 3]


def test_other_arrays(cupy_like):
    network, params, x = problem(convolutions, 13)
    params, x = ({n: single(v) for n, v in params.items()}, single(x))
    pattern = rp.Groups(sparsity=0.4, axis=1)
    expected = rp.prune(network, params, x, "obs", pattern)
    moved = {name: cupy_like.asarray(value) for name, value in params.items()}
    answer = rp.prune(network, moved, cupy_like.asarray(x), "obs", pattern)
    kind = type(moved["0.weight"])
    assert all(type(array) is kind for found in (answer.params, answer.masks) for array in found.values())
    for name, mask in answer.masks.items():
        assert_array_equal(cupy_like.numpy(mask), expected.masks[name])
    small, values = rp.shrink(network, answer.params, answer.masks)
    assert [link.units for link in links(small)] == [2, 3]
    assert {dtype_name(value.dtype) for value in values.values()} == {cupy_like.dtype}


def single(array):
    """The same number in both precisions."""
    return array.astype("float32").astype(float)
