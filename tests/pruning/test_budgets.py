"""One budget for all layers: exact totals, and the shares against rankings of the whole network written out."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import refprune as rp
from refprune.definitions.obs import steps
from refprune.pruning.budgets import _in_proportion


def relus(rng, sizes=(5, 4, 6, 3)):
    """A network of ReLUs, its parameters, and shifted inputs of unequal scales."""
    network = rp.mlp(list(sizes))
    params = {name: value + 0.2 for name, value in network.init(rng).items()}
    return network, params, (rng.normal(size=(60, sizes[0])) + 0.5) * rng.uniform(0.3, 3, sizes[0])


def grams(network, params, x):
    inputs = network.layer_inputs(params, x)
    return {f"{key}.weight": rows.T @ rows / len(rows) for key, rows in inputs.items()}


def network_scope(sparsity):
    return rp.Unstructured(sparsity=sparsity, scope="network")


def pruned_of(answer):
    return {name: int(np.count_nonzero(~mask)) for name, mask in answer.masks.items()}


def counts_by_ranking(scores, count):
    """The counts of the layers among the `count` smallest of all scores."""
    flat = sorted((float(s), i) for i, own in enumerate(scores.values()) for s in np.ravel(own))
    owners = [i for _, i in flat[:count]]
    return {name: owners.count(i) for i, name in enumerate(scores)}


def energy(weight, gram):
    return np.trace(weight @ gram @ weight.T) / 2


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.55, 0.9, 1])
def test_global_magnitude_is_one_ranking_of_all_weights(sparsity):
    network, params, x = relus(np.random.default_rng(0))
    answer = rp.prune(network, params, x, "magnitude", network_scope(sparsity))
    weights = np.concatenate([params[name].ravel() for name in network.prunable])
    cut = np.sort(np.abs(weights))[: round(sparsity * 62)]
    masks = np.concatenate([answer.masks[name].ravel() for name in network.prunable])
    assert_array_equal(masks, ~np.isin(np.abs(weights), cut))


@pytest.mark.parametrize("method", ["wanda", "obd", "sparsegpt", "alps", lambda p, q: rp.wanda(p, q)])
def test_other_methods_rank_the_loss_of_each_weight_by_itself(method):
    network, params, x = relus(np.random.default_rng(1))
    found = grams(network, params, x)
    scores = {name: diagonal_losses(params[name], found[name]) for name in network.prunable}
    answer = rp.prune(network, params, x, method, network_scope(0.4))
    assert pruned_of(answer) == counts_by_ranking(scores, 25)


def diagonal_losses(weight, gram):
    return weight**2 * np.diag(gram) / 2 / energy(weight, gram)


def paths_of_obs(name, weight, gram, damp=0.0):
    """(name, the losses of its steps) for each row, straight from the definition."""
    assert np.all(np.diag(gram) > 0)
    H = gram + damp * np.diag(gram).mean() * np.eye(len(gram))
    return [(name, [loss / energy(weight, gram) for _, loss, _ in steps(row, H)]) for row in weight]


def cheapest_next(paths, count):
    """The counts of the layers when the path whose next step is the cheapest gives one, `count` times."""
    paths = [(name, list(losses)) for name, losses in paths]
    found = {name: 0 for name, _ in paths}
    for _ in range(count):
        name, losses = min((path for path in paths if path[1]), key=lambda path: path[1][0])
        losses.pop(0)
        found[name] += 1
    return found


def opposite(rng):
    """Inputs of the first layer in pairs that nearly cancel: the second of a pair goes for much less than the first."""
    network, params, x = relus(rng, (6, 4, 6, 3))
    x[:, 1::2] = -x[:, ::2] + 0.1 * x[:, 1::2]
    params["0.weight"][:, 1::2] = params["0.weight"][:, ::2]
    return network, params, x


@pytest.mark.parametrize("damp", [0.0, 0.1])
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("draw", [relus, opposite])
def test_obs_takes_the_cheapest_next_step_of_all_rows_of_all_layers(draw, prior, damp):
    rng = np.random.default_rng(2)
    network, params, x = draw(rng)
    masks = {}
    if prior:  # zero weights cost nothing, so the definition takes them first without knowing of a mask
        masks = {
            name: rng.random(params[name].shape) > p for name, p in zip(network.prunable, (0.1, 0.3, 0.1))
        }
        params |= {name: params[name] * mask for name, mask in masks.items()}
    found = grams(network, params, x)
    paths = [
        path for name in network.prunable for path in paths_of_obs(name, params[name], found[name], damp)
    ]
    expected = cheapest_next(paths, 31)
    # behind pruned layers some units are constants, and the Gram is singular
    options = {"calibration": "dense", "masks": masks}
    for rule in ("heap", "sorted"):  # how a layer shares its own count is another question
        method = functools.partial(rp.obs, damp=damp, allocation=rule)
        pattern = rp.Unstructured(
            keep=sum(params[name].size for name in network.prunable) - 31, scope="network"
        )
        assert pruned_of(rp.prune(network, params, x, method, pattern, **options)) == expected
    by_rank = counts_by_ranking({name: [] for name in network.prunable}, 0)
    for name, _ in sorted(((n, v) for n, own in paths for v in own), key=lambda pair: pair[1])[:31]:
        by_rank[name] += 1
    if draw is opposite and not prior:
        assert by_rank != expected  # the smallest losses are not the cheapest next steps
    assert [*expected.values()] != [10, 12, 9]  # shares by size would be seen


def test_obs_and_another_method_share_a_budget_in_the_same_units():
    network, params, x = relus(np.random.default_rng(15))
    found = grams(network, params, x)
    paths = []
    for name in network.prunable:
        if name == "2.weight":
            paths.append((name, sorted(diagonal_losses(params[name], found[name]).ravel())))
        else:
            paths += paths_of_obs(name, params[name], found[name])
    answer = rp.prune(
        network,
        params,
        x,
        "obs",
        network_scope(0.5),
        calibration="dense",
        overrides={"2": {"method": "wanda"}},
    )
    expected = cheapest_next(paths, 31)
    assert pruned_of(answer) == expected
    doubled = [(name, [2 * v for v in own]) if name == "2.weight" else (name, own) for name, own in paths]
    assert cheapest_next(doubled, 31) != expected


@pytest.mark.parametrize("method", ["obs", "wanda", "sparsegpt"])
def test_scaling_a_layer_up_and_the_next_down_changes_no_share(method):
    """The same function of a network of ReLUs; powers of two, so no number is rounded anew."""
    network, params, x = relus(np.random.default_rng(3))
    scaled = dict(params)
    scaled["0.weight"], scaled["0.bias"] = params["0.weight"] * 2.0**9, params["0.bias"] * 2.0**9
    scaled["2.weight"] = params["2.weight"] * 2.0**-9
    for pattern in (network_scope(0.5), rp.Blocks(1, sparsity=0.5)):
        if method == "sparsegpt" and isinstance(pattern, rp.Blocks):
            continue
        first, second = (
            rp.prune(network, p, x, method, pattern, allocation="global") for p in (params, scaled)
        )
        for name in network.prunable:
            assert_array_equal(first.masks[name], second.masks[name])


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["magnitude", "wanda", "obs", "sparsegpt"]),
    st.sampled_from([None, "layer", "global"]),
    st.integers(0, 20),
    st.booleans(),
)
def test_the_count_of_the_network_is_exact(seed, method, allocation, twentieths, by_keep):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=rng.integers(2, 5))
    network, params, x = relus(rng, sizes)
    masks = {}
    if allocation != "layer":
        masks = {name: rng.random(params[name].shape) > 0.2 for name in network.prunable[1:]}
        params |= {name: params[name] * mask for name, mask in masks.items()}
    total = sum(params[name].size for name in network.prunable)
    held = sum(np.count_nonzero(~mask) for mask in masks.values())
    count = round(twentieths * total / 20)
    if by_keep:
        pattern = rp.Unstructured(keep=total - count, scope="network")
    else:
        pattern = rp.Unstructured(sparsity=twentieths / 20, scope="network")
    method = functools.partial(getattr(rp, method), damp=0.1) if method in ("obs", "sparsegpt") else method

    def run():
        return rp.prune(network, params, x, method, pattern, allocation=allocation, masks=masks)

    if held > count:
        with pytest.raises(ValueError, match=f"need at least {held} pruned in the network"):
            run()
        return
    answer = run()
    assert sum(pruned_of(answer).values()) == answer.report.pruned == count
    for name, mask in masks.items():
        assert not np.any(answer.masks[name] & ~mask)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 400))
def test_proportional_shares_are_whole_exact_and_next_to_the_quota(sizes, count):
    sizes = np.array(sizes)
    count = min(count, int(sizes.sum()))
    shares = _in_proportion(count, sizes)
    quota = [count * int(n) / int(sizes.sum()) for n in sizes]
    assert shares.sum() == count
    assert all(q - 1 < n < q + 1 for n, q in zip(shares, quota, strict=True))
    up = [q - n for n, q in zip(shares, quota, strict=True) if n > q]
    down = [q - n for n, q in zip(shares, quota, strict=True) if n < q]
    # who was rounded up had a remainder at least as large as who was rounded down
    assert not up or not down or 1 + min(up) >= max(down) - 1e-9


def test_by_layer_equal_sparsity_up_to_one_weight():
    network, params, x = relus(np.random.default_rng(4))
    answer = rp.prune(network, params, x, "obs", network_scope(0.3), allocation="layer")
    # quotas of 19 = round(18.6): 20, 24, 18 of 62 weights are 6.13, 7.35, 5.52
    assert list(pruned_of(answer).values()) == [6, 7, 6]


@pytest.mark.parametrize("method", ["magnitude", "wanda", "obs"])
def test_blocks_of_all_layers_are_ranked_together(method):
    network, params, x = relus(np.random.default_rng(5), (6, 4, 6, 3))
    pattern = rp.Blocks(2, sparsity=0.5)
    answer = rp.prune(network, params, x, method, pattern, allocation="global", calibration="dense")
    # 12, 12 and 9 blocks
    assert sum(pruned_of(answer).values()) == 2 * round(0.5 * 33)
    if method == "magnitude":
        scores = {name: np.abs(params[name]).reshape(-1, 2).sum(axis=1) for name in network.prunable}
        assert pruned_of(answer) == {k: 2 * n for k, n in counts_by_ranking(scores, 16).items()}


def test_rows_of_all_layers_are_ranked_together():
    network, params, x = relus(np.random.default_rng(6))
    answer = rp.prune(network, params, x, "obs", rp.Groups(sparsity=0.5), allocation="global")
    found = grams(network, params, x)
    scores = {  # a row by itself costs w G w^T / 2, whatever the others do
        name: np.einsum("ij,jk,ik->i", params[name], found[name], params[name]) / 2
        / energy(params[name], found[name])
        for name in network.prunable
    }  # fmt: skip
    rows = {name: int(np.count_nonzero(~mask.any(axis=1))) for name, mask in answer.masks.items()}
    assert rows == counts_by_ranking(scores, round(0.5 * 13))


def test_layers_under_other_patterns_have_budgets_of_their_own():
    network, params, x = relus(np.random.default_rng(7))
    overrides = {"0": rp.Unstructured(keep=7), "4": rp.NM(1, 3)}
    answer = rp.prune(network, params, x, "wanda", network_scope(0.25), overrides=overrides | {"0": None})
    assert pruned_of(answer) == {"0.weight": 0, "2.weight": 6, "4.weight": 12}
    answer = rp.prune(network, params, x, "obs", network_scope(0.25), overrides=overrides)
    assert pruned_of(answer) == {"0.weight": 13, "2.weight": 6, "4.weight": 12}
    answer = rp.prune(network, params, x, "wanda", network_scope(0.25), overrides={"2": network_scope(0.75)})
    found = pruned_of(answer)
    assert (found["2.weight"], found["0.weight"] + found["4.weight"]) == (18, round(0.25 * 38))


@pytest.mark.parametrize(("rule", "count"), [("floor", 18), ("ceil", 19), ("strict", 19), ("round", 19)])
def test_the_rule_of_rounding_is_that_of_the_pattern_on_the_whole_network(rule, count):
    network, params, x = relus(np.random.default_rng(11))
    pattern = rp.Unstructured(sparsity=0.3, scope="network", count_rule=rule)  # 18.6 of 62
    for allocation in ("layer", "global"):
        answer = rp.prune(network, params, x, "wanda", pattern, allocation=allocation)
        assert sum(pruned_of(answer).values()) == count


def test_magnitudes_and_losses_may_share_by_size():
    network, params, x = relus(np.random.default_rng(13))
    options = {"allocation": "layer", "overrides": {"2": {"method": "magnitude"}}}
    answer = rp.prune(network, params, x, "obs", network_scope(0.3), **options)
    assert list(pruned_of(answer).values()) == [6, 7, 6]


@pytest.mark.parametrize(
    ("pattern", "allocation", "overrides", "message"),
    [
        (rp.NM(0, 1), "global", {}, "layer 0: need a budget that layers can share; got NM"),
        (
            rp.Unstructured(sparsity=0.5, scope="row"),
            "global",
            {},
            "got Unstructured with scope 'row'",
        ),
        (rp.Blocks(1, keep=3, scope="layer"), "global", {}, "got Blocks with scope 'layer'"),
        (network_scope(0.5), "heap", {}, "need allocation to be layer, global or None; got 'heap'"),
        (network_scope(0.5), None, {"2": {"method": "magnitude"}}, "need magnitude for all or none"),
        (
            rp.Unstructured(keep=63, scope="network"),
            None,
            {},
            "need keep <= 62, the number of units per network",
        ),
    ],
)
def test_budgets_that_cannot_be_shared_are_refused_before_any_work(pattern, allocation, overrides, message):
    network, params, x = relus(np.random.default_rng(8))

    def never(problem, pattern):
        raise AssertionError("a layer was pruned")

    with pytest.raises(ValueError, match=message):
        rp.prune(network, params, x, never, pattern, allocation=allocation, overrides=overrides)


def test_a_share_below_the_prior_zeros_of_its_layer_is_refused_before_any_work():
    network, params, x = relus(np.random.default_rng(10))
    params["2.weight"] = params["2.weight"] * 0
    masks = {"2.weight": np.zeros((6, 4), dtype=bool)}

    def never(problem, pattern, mask=None):
        raise AssertionError("a layer was pruned")

    pattern = network_scope(0.5)
    with pytest.raises(ValueError, match=r"^layer 2: need at least 24 .* got 12"):
        rp.prune(network, params, x, never, pattern, masks=masks, allocation="layer")
    assert pruned_of(rp.prune(network, params, x, "wanda", pattern, masks=masks))["2.weight"] == 24


def test_dead_layers_cost_nothing_and_go_first():
    network, params, x = relus(np.random.default_rng(9))
    params["2.weight"] = params["2.weight"] * 0
    for method in ("obs", "wanda", "magnitude"):
        answer = rp.prune(
            network,
            params,
            x,
            functools.partial(rp.obs, damp=0.1) if method == "obs" else method,
            network_scope(0.5),
        )
        assert not answer.masks["2.weight"].any()
        assert answer.report.pruned == 31
