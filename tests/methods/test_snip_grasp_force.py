"""SNIP, GraSP and FORCE: by autograd, by differences, against the definitions, by what must hold for every network."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions import finite_differences
from refprune.methods.weight_scores import product
from tests.methods.problems import fractions
from tests.methods.start_scores import (
    EPS,
    NETWORKS,
    certify,
    drawn,
    flat,
    grasp_by_autograd,
    in_steps,
    slope_by_autograd,
    snip_by_autograd,
)

SEEDS = st.integers(0, 2**16)
METHODS = {"snip": snip_by_autograd, "grasp": grasp_by_autograd}


def total(network, params):
    return sum(params[key].size for key in network.prunable)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_what_autograd_finds(method, name):
    for seed in range(4):
        network, params, batch, loss = drawn(name, seed)
        keep = int(np.random.default_rng([72, seed]).integers(0, total(network, params) + 1))
        answer = getattr(rp, method)(network, params, batch, rp.Unstructured(keep=keep), loss=loss)
        certify(
            network, params, answer, METHODS[method](network, params, batch, loss), keep, method == "grasp"
        )
        assert answer.objective is answer.order is None
        assert answer.trace == ()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_answers_are_those_of_the_definition(method, name):
    network, params, batch, loss = drawn(name, 5)
    d = total(network, params)
    answer = getattr(rp, method)(network, params, batch, rp.Unstructured(sparsity=0.5), loss=loss)
    scores = getattr(definitions, f"{method}_scores")(network.to_dicts(), params, *batch, loss)
    assert_allclose(
        flat(network, answer.scores), flat(network, scores), rtol=0, atol=1e4 * EPS * biggest(scores)
    )
    pruned, masks = getattr(definitions, method)(network.to_dicts(), params, *batch, loss, round(d / 2))
    for key in network.prunable:
        assert_array_equal(answer.mask[key], masks[key])
        assert_array_equal(answer.weight[key], pruned[key])


def biggest(scores):
    return max(abs(score).max() for score in scores.values())


@pytest.mark.parametrize("name", ["tanh", "images"])
def test_snip_is_the_slope_of_the_loss_in_the_mask(name):
    """Differences of the loss of the masked network: the mask is the argument, not the weight."""
    network, params, batch, loss = drawn(name, 1)
    w = flat(network, params)

    def masked(c):
        at, own = 0, {}
        for key in network.prunable:
            own[key] = (c * w)[at : at + params[key].size].reshape(params[key].shape)
            at += params[key].size
        return network.loss(params | own, *batch, loss)

    slope = finite_differences.gradient(masked, np.ones(len(w)))
    answer = rp.snip(network, params, batch, rp.Unstructured(sparsity=0.5), loss=loss)
    # a central difference errs by about eps^(2/3) = 4e-11 of the loss and its third derivative
    assert_allclose(flat(network, answer.scores), abs(slope), rtol=0, atol=1e-7)


@given(seed=SEEDS, name=st.sampled_from(sorted(NETWORKS)))
def test_snip_is_unchanged_when_weights_and_what_they_see_trade_a_factor(seed, name):
    """|w dL/dw| has no unit of w: inputs 4 times as large, first weights a quarter."""
    network, params, (x, y), loss = drawn(name, seed)
    first = network.prunable[0]
    half = rp.Unstructured(sparsity=0.5)
    here = rp.snip(network, params, (x, y), half, loss=loss)
    there = rp.snip(network, params | {first: params[first] / 4}, (4 * x, y), half, loss=loss)
    for key in network.prunable:
        assert_array_equal(here.scores[key], there.scores[key])  # powers of two: bit for bit
        assert_array_equal(here.mask[key], there.mask[key])


@given(seed=SEEDS, name=st.sampled_from(sorted(NETWORKS)))
def test_the_scores_of_grasp_sum_to_g_H_theta(seed, name):
    """sum theta (H g) = g^T (H theta), by two products with the Hessian that share no direction."""
    network, params, batch, loss = drawn(name, seed)
    answer = rp.grasp(network, params, batch, rp.Unstructured(sparsity=0.5), loss=loss)
    theta = network.flatten(params)
    g = network.flatten(network.gradient(params, *batch, loss) | {k: params[k] for k in network.constants})
    H = network.hessian(params, *batch, loss)
    others = np.ones(network.size, dtype=bool)  # biases and BatchNorm's: in the sum, without a score
    at = 0
    for key, shape in network.shapes.items():
        others[at : at + int(np.prod(shape))] = key not in network.prunable
        at += int(np.prod(shape))
    total = -sum(score.sum() for score in answer.scores.values()) + (theta * (H @ g))[others].sum()
    # every entry of H is a sum of at most a few hundred products, up to cancellation of numbers of size 1
    bound = (
        1e4 * EPS * np.abs(theta).sum() * np.linalg.norm(H, 2) * np.linalg.norm(g)
        + 1e4 * EPS * np.abs(g).max() ** 2
    )
    assert abs(total - g @ network.hvp(params, *batch, theta, loss)) <= bound


def test_grasp_tells_what_a_removal_does_to_the_gradient_flow():
    """Where the loss is quadratic, g . g changes by twice the score and w_i^2 (H^2)_ii, exactly: whole numbers."""
    rng = np.random.default_rng(73)
    network, x = rp.Network([rp.Dense(5, 1, bias=False)]), rng.integers(-4, 5, size=(8, 5)).astype(float)
    params, batch = (
        {"0.weight": rng.integers(1, 6, size=(1, 5)) / 2.0},
        (x, rng.integers(-4, 5, size=(8, 1)) / 1.0),
    )

    def flow(params):
        return float((network.gradient(params, *batch, "squared")["0.weight"] ** 2).sum())

    answer = rp.grasp(network, params, batch, rp.Unstructured(keep=4), loss="squared")
    H, w = x.T @ x / 8, params["0.weight"][0]
    for i in range(5):
        without = w.copy()
        without[i] = 0
        change = flow({"0.weight": without[None]}) - flow(params)
        assert change == 2 * answer.scores["0.weight"][0, i] + w[i] ** 2 * (H @ H)[i, i]
    gone = int(np.flatnonzero(answer.weight["0.weight"][0] == 0)[0])
    assert gone == int(np.argmax(answer.scores["0.weight"][0]))  # the highest: the others are not


def test_grasp_and_snip_by_hand_on_fractions():
    """x = (1, 2), w = (3, 1), target 4: r = 1, g = (1, 2), H g = (5, 10)."""
    layers = [{"type": "dense", "inputs": 2, "outputs": 1, "bias": False}]
    params, x, y = {"0.weight": fractions([[3, 1]])}, fractions([[1, 2]]), fractions([[4]])
    assert definitions.grasp_scores(layers, params, x, y, "squared")["0.weight"].tolist() == [[-15, -10]]
    assert definitions.snip_scores(layers, params, x, y, "squared")["0.weight"].tolist() == [[3, 2]]
    pruned, masks = definitions.grasp(layers, params, x, y, "squared", 1)
    assert masks["0.weight"].tolist() == [[True, False]]
    assert pruned["0.weight"].tolist() == [[Fraction(3), Fraction(0)]]


@given(seed=SEEDS, name=st.sampled_from(sorted(NETWORKS)), sparsity=st.sampled_from([0, 0.3, 0.75, 1]))
def test_force_in_one_step_is_snip(seed, name, sparsity):
    network, params, batch, loss = drawn(name, seed)
    pattern = rp.Unstructured(sparsity=sparsity)
    snip = rp.snip(network, params, batch, pattern, loss=loss)
    for revive in (True, False):
        answer = rp.force(network, params, batch, pattern, 1, revive, loss=loss)
        for key in network.prunable:
            assert_array_equal(answer.scores[key], snip.scores[key])
            assert_array_equal(answer.mask[key], snip.mask[key])
            assert_array_equal(answer.weight[key], snip.weight[key])
    by_definition = definitions.force(
        network.to_dicts(), params, *batch, loss, round(total(network, params) / 2), 1
    )
    by_snip = definitions.snip(network.to_dicts(), params, *batch, loss, round(total(network, params) / 2))
    for key in network.prunable:
        assert_array_equal(by_definition[1][key], by_snip[1][key])


@pytest.mark.parametrize("name", ["tanh", "images", "residual"])
@pytest.mark.parametrize("revive", [True, False])
def test_force_is_the_loop_with_the_gradients_of_autograd(name, revive):
    came_back = 0
    for seed in range(4):
        network, params, batch, loss = drawn(name, seed)
        keep, steps = total(network, params) // 4, 5

        def scores(now, network=network, params=params, batch=batch, loss=loss):
            from_now = slope_by_autograd(network, now, batch, loss)
            own = params if revive else now
            return {key: abs(own[key] * from_now[key]) for key in network.prunable}

        masks, last, back = in_steps(network, params, scores, keep, steps, revive)
        came_back += back
        answer = rp.force(network, params, batch, rp.Unstructured(keep=keep), steps, revive, loss=loss)
        for key in network.prunable:
            assert_array_equal(answer.mask[key], masks[key])
        assert_allclose(
            flat(network, answer.scores), flat(network, last), rtol=0, atol=1e4 * EPS * biggest(last)
        )
        assert len(answer.trace) == steps
        assert answer.trace[-1] == keep
        known = definitions.force(
            network.to_dicts(), params, *batch, loss, total(network, params) - keep, steps, revive
        )
        for key in network.prunable:
            assert_array_equal(answer.mask[key], known[1][key])
            assert_array_equal(answer.weight[key], known[0][key])
    assert (came_back > 0) == revive  # else the option would do nothing here


def test_what_is_off_stays_off_where_all_scores_are_zero():
    """3 + 2 + 1 - 5 = 1: the last weight goes, the error is 0, and so are all scores. Then the first one goes."""
    network, batch = rp.Network([rp.Dense(3, 1, bias=False)]), (np.ones((1, 3)), np.full((1, 1), 5.0))
    params, one = {"0.weight": np.array([[3.0, 2.0, 1.0]])}, rp.Unstructured(keep=1)
    answer = rp.force(network, params, batch, one, 2, revive=False, loss="squared")
    assert answer.trace == (2, 1)
    assert_array_equal(answer.mask["0.weight"], [[False, True, False]])
    known = definitions.force(network.to_dicts(), params, *batch, "squared", 2, 2, revive=False)
    assert_array_equal(known[1]["0.weight"], answer.mask["0.weight"])
    answer = rp.force(network, params, batch, one, 2, loss="squared")  # FORCE takes the first two
    assert_array_equal(answer.mask["0.weight"], [[False, False, True]])


def test_steps_that_fall_exponentially():
    network, params, batch, loss = drawn("relu", 2)  # 60 weights
    for pattern, steps, expected in (
        (rp.Unstructured(keep=15), 2, (30, 15)),
        (rp.Unstructured(sparsity=0.75), 4, (42, 30, 21, 15)),  # 42.4, 21.2
        (rp.Unstructured(sparsity=1.0), 3, (0, 0, 0)),
        (rp.Unstructured(sparsity=0), 3, (60, 60, 60)),
        (rp.Unstructured(sparsity=0.99, count_rule="strict"), 2, (0, 0)),
        (rp.Unstructured(sparsity=0.84, scope="layer"), 2, (24, 9)),  # 0.6 and 0.84 of 20, 25 and 15 go
        (rp.Unstructured(sparsity=Decimal("0." + 20 * "9"), scope="layer"), 3, (0, 0, 0)),
        (rp.NM(1, 4, remainder="dense"), 2, (34, 21)),  # 2 and 1 of 4, in 13 groups, and 8 beside them
        (rp.NM(1, 4, remainder="dense"), 3, (47, 34, 21)),  # 3 (2.5) and 2 (1.6) of 4 before
        (rp.Unstructured(keep=1, scope="row"), 1, ()),
    ):
        assert rp.force(network, params, batch, pattern, steps, loss=loss).trace == expected
        assert rp.synflow(network, params, (4,), pattern, steps).trace == expected


@pytest.mark.parametrize("scope", ["network", "layer", "row", None, "nm"])
def test_every_pattern(scope):
    pattern = rp.NM(1, 5) if scope == "nm" else rp.Unstructured(sparsity=0.4, scope=scope)
    network, rng = rp.mlp([5, 5, 5, 3], bias=False), np.random.default_rng(74)
    params, batch = network.init(rng), (rng.normal(size=(4, 5)), rng.integers(0, 3, size=4))
    for method in (rp.snip, rp.grasp, rp.force, rp.synflow):
        answer = method(network, params, batch, pattern)
        if scope in ("network", None):
            assert rp.sparsity(answer.mask) == 0.4
            assert len({rp.sparsity({key: mask}) for key, mask in answer.mask.items()}) > 1
        else:
            assert all(pattern.admits(mask) for mask in answer.mask.values())


@pytest.mark.parametrize("method", ["snip", "grasp", "force"])
@pytest.mark.parametrize("power", [-45, 45])
def test_weights_of_another_scale_rank_the_same(method, power):
    """In float32 H g is 2^135 times another: out of range. Ranks and scores are exact all the same."""
    network, rng = rp.Network([rp.Dense(9, 2, bias=False)]), np.random.default_rng(75)
    w, x, y = (rng.normal(size=size).astype("float32") for size in ((2, 9), (5, 9), (5, 2)))
    factor, half = np.float32(2.0**power), rp.Unstructured(sparsity=0.5)
    here = getattr(rp, method)(network, {"0.weight": w}, (x, y), half, loss="squared")
    there = getattr(rp, method)(network, {"0.weight": w * factor}, (x / factor, y), half, loss="squared")
    assert there.scores["0.weight"].dtype == np.float32
    assert_array_equal(there.mask["0.weight"], here.mask["0.weight"])
    expected = here.scores["0.weight"] * (2.0 ** (-2 * power) if method == "grasp" else 1.0)
    assert_array_equal(there.scores["0.weight"], expected.astype("float32"))


@pytest.mark.parametrize("method", ["snip", "grasp", "force"])
@pytest.mark.parametrize("power", [-75, 75])
def test_scores_beyond_the_range_rank_all_the_same(method, power):
    """w and what it is multiplied by are both 2^75 times another, or a 2^75th: in float32 the product is no number."""
    network, rng = rp.Network([rp.Dense(9, 2, bias=False)]), np.random.default_rng(83)
    w, x, y = (rng.normal(size=size).astype("float32") for size in ((2, 9), (5, 9), (5, 2)))
    factor, half = np.float32(2.0**power), rp.Unstructured(sparsity=0.5)
    here = getattr(rp, method)(network, {"0.weight": w}, (x, y), half, loss="squared")
    there = getattr(rp, method)(network, {"0.weight": w * factor}, (x, y * factor), half, loss="squared")
    assert_array_equal(there.mask["0.weight"], here.mask["0.weight"])
    told = there.scores["0.weight"][there.mask["0.weight"]]
    assert np.all(np.isinf(told) if power > 0 else abs(told) < 2.0**-125)


@pytest.mark.parametrize("method", ["snip", "force"])
@pytest.mark.parametrize("power", [-100, 100])
def test_layers_that_trade_a_factor_beyond_the_range_have_the_same_scores(method, power):
    """Weights and slopes of one layer are 2^200 times those of the other, beyond float32; their products are not."""
    network, rng = rp.mlp([4, 5, 3], bias=False), np.random.default_rng(84)
    a, b, x, y = (rng.normal(size=size).astype("float32") for size in ((5, 4), (3, 5), (6, 4), (6, 3)))
    factor, half = np.float32(2.0**power), rp.Unstructured(sparsity=0.5)
    here, there = (
        getattr(rp, method)(network, {"0.weight": u, "2.weight": v}, (x, y), half, loss="squared")
        for u, v in ((a, b), (a * factor, b / factor))
    )
    for key in network.prunable:
        assert_array_equal(there.scores[key], here.scores[key])
        assert_array_equal(there.mask[key], here.mask[key])


@pytest.mark.parametrize("method", ["snip", "force"])
def test_units_that_trade_a_factor_have_the_same_scores(method):
    """Weights and slopes of one unit are 2^50 times those of the next, which are a 2^50th: products are near 1."""
    network, rng = rp.mlp([4, 5, 3, 2], bias=False), np.random.default_rng(86)
    params = {key: rng.normal(size=shape).astype("float32") for key, shape in network.shapes.items()}
    batch, half = (
        tuple(rng.normal(size=(6, n)).astype("float32") for n in (4, 2)),
        rp.Unstructured(sparsity=0.5),
    )
    factors = np.float32([2.0**50, 2.0**-50, 1, 2.0**-50, 2.0**50])
    traded = {"0.weight": params["0.weight"] * factors[:, None], "2.weight": params["2.weight"] / factors}
    here, there = (
        getattr(rp, method)(network, own, batch, half, loss="squared") for own in (params, params | traded)
    )
    for key in network.prunable:
        assert_array_equal(there.scores[key], here.scores[key])
        assert_array_equal(there.mask[key], here.mask[key])


def test_products_have_the_power_of_what_is_left():
    """The largest factors of a are 2^60, its products 1; those of b are at 2^-20, and keep all their digits."""
    large, odd = np.float32([2.0**60, 2.0**-60]), np.float32([1.2345678, -3.0])
    found, power = product(
        {"a": large, "b": odd * np.float32(2.0**-20)}, {"a": 1 / large, "b": np.ones(2, dtype="float32")}
    )
    assert_array_equal(np.ldexp(found["a"], power), [1, 1])
    assert_array_equal(np.ldexp(found["b"], power + 20), odd)


def test_a_branch_that_is_off_takes_no_digits_from_the_others():
    """Its slopes are 2^120 times theirs, on weights of 0: scores of 0, whatever the power of two."""
    network = rp.Network(
        [rp.Residual([rp.Dense(4, 4, bias=False), rp.Dense(4, 4, bias=False)]), rp.Dense(4, 3)]
    )
    rng = np.random.default_rng(87)
    params = {key: rng.normal(size=shape).astype("float32") for key, shape in network.shapes.items()}
    params["0.body.1.weight"] *= 0
    batch = rng.normal(size=(6, 4)).astype("float32"), rng.integers(0, 3, size=6)
    traded = params | {"0.body.0.weight": params["0.body.0.weight"] * np.float32(2.0**120)}
    here, there = (rp.snip(network, own, batch, rp.Unstructured(keep=5)) for own in (params, traded))
    assert not any(there.scores[f"0.body.{n}.weight"].any() for n in range(2))
    assert here.scores["1.weight"].all()
    assert_array_equal(there.scores["1.weight"], here.scores["1.weight"])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("method", ["snip", "grasp", "force", "synflow"])
def test_the_weights_keep_their_dtype_and_the_inputs_their_values(method, dtype):
    network, params, (x, y), loss = drawn("images", 4)
    params = {key: value.astype(dtype) for key, value in params.items()}
    before = {key: value.copy() for key, value in params.items()}
    for value in (*params.values(), x, y):
        value.flags.writeable = False
    options = {} if method == "synflow" else {"loss": loss}
    answer = getattr(rp, method)(network, params, (x, y), rp.Unstructured(sparsity=0.5), **options)
    for key, weight in answer.weight.items():
        assert weight.dtype == dtype
        assert answer.scores[key].dtype == (
            "float64" if method == "synflow" else np.result_type(x, "float32")
        )
        assert_array_equal(weight, np.where(answer.mask[key], before[key], 0))
        assert not np.shares_memory(weight, params[key])
        assert answer.scores[key].shape == answer.mask[key].shape == weight.shape
