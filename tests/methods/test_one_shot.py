"""Magnitude, Wanda and OBD: a score, the pattern's mask, no update."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.checks import (
    cheapest,
    untouched,
)
from tests.methods.problems import (
    exact_quadratics,
    fractions,
    layers,
    scores_of,
    spd,
)

PATTERNS = {
    "half": rp.Unstructured(sparsity=0.5),
    "rows": rp.Unstructured(keep=3, scope="row"),
    "1:4": rp.NM(1, 4),
    "blocks": rp.Blocks(2, sparsity=0.5),
    "columns": rp.Groups(keep=5, axis=1),
}


def call(name, W, G, pattern):
    return getattr(rp, name)(W if name == "magnitude" else rp.LayerProblem(W, G), pattern)


@pytest.fixture
def layer():
    rng = np.random.default_rng(5)
    return rng.normal(size=(3, 8)) + 0.25, spd(rng, 8)


@given(layers(dead=False), st.data())
def test_unstructured_is_the_definition(layer, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size))
    answer = rp.magnitude(W, rp.Unstructured(keep=W.size - count))
    for mine, theirs in zip((answer.weight, answer.mask), definitions.magnitude(W, count), strict=True):
        assert_array_equal(mine, theirs)
    k = data.draw(st.integers(0, W.shape[1]))
    answer = rp.wanda(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k))
    assert_array_equal(answer.mask, definitions.wanda(W, G, k)[1])
    answer = rp.obd(rp.Quadratic(G, W[0]), rp.Unstructured(keep=W.shape[1] - k))
    assert_array_equal(answer.mask, definitions.obd(W[0], np.diag(G), k)[1])


@given(exact_quadratics(), st.data())
def test_ties_fall_as_in_exact_arithmetic(problem, data):
    """Small integers: every score is exact, zeros and equal scores are common."""
    w, H = problem
    k = data.draw(st.integers(0, len(w)))
    pattern = rp.Unstructured(keep=len(w) - k)
    exact = definitions.obd(fractions(w), fractions(np.diag(H)), k)
    assert_array_equal(rp.obd(rp.Quadratic(H, w), pattern).mask, exact[1])
    assert_array_equal(rp.magnitude(w, pattern).mask, definitions.magnitude(fractions(w), k)[1])
    squares = np.diag(H) ** 2  # so that the roots in Wanda's scores are exact
    layer = rp.LayerProblem(w[None], np.diag(squares))
    exact = definitions.wanda(fractions(w[None]), fractions(np.diag(squares)), k)
    assert_array_equal(rp.wanda(layer, pattern).mask, exact[1])


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_scores_mask_and_objective(name, pattern, layer):
    W, G = layer
    answer = call(name, W, G, pattern)
    assert_allclose(answer.scores, scores_of(name, W, G), rtol=4 * 2.0**-52)  # a product and a root
    scope = pattern
    if name == "wanda" and type(pattern) in (rp.Unstructured, rp.Blocks):
        scope = replace(pattern, scope="row")  # Wanda's own
    assert_array_equal(answer.mask, scope.mask(answer.scores))
    assert scope.admits(answer.mask)
    untouched(W, answer.weight, answer.mask)
    assert np.all(answer.weight[~answer.mask] == 0)
    if name == "magnitude":
        assert answer.objective is None
        with_problem = rp.magnitude(rp.LayerProblem(W, G), pattern)
        assert_array_equal(with_problem.weight, answer.weight)
        assert isinstance(with_problem.objective, float)
    else:
        D = answer.weight - W
        # the sum of size^2 terms in two orders
        assert_allclose(answer.objective, np.sum(D @ G * D) / 2, rtol=W.size * 8 * 2.0**-52)
    assert answer.order is None
    assert answer.trace == ()


@pytest.fixture
def unequal():
    """Rows of very different scale and inputs of very different norm."""
    rng = np.random.default_rng(11)
    return rng.normal(size=(5, 8)) * 4.0 ** np.arange(5)[:, None], spd(rng, 8)


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_nothing_and_everything(name, layer):
    W, G = layer
    nothing, everything = (call(name, W, G, rp.Unstructured(sparsity=s)) for s in (0, 1))
    assert_array_equal(nothing.weight, W)
    assert nothing.mask.all()
    assert_array_equal(everything.weight, np.zeros_like(W))
    assert not everything.mask.any()
    if name != "magnitude":
        assert nothing.objective == 0
        assert_allclose(everything.objective, np.sum(W @ G * W) / 2, rtol=W.size * 8 * 2.0**-52)


def test_obd_with_a_gradient_and_a_full_hessian():
    """1/2 H_pp w_p^2 - g_p w_p is the model's increase when w_p alone becomes zero."""
    H, w, g = np.array([[2.0, 1.0], [1.0, 4.0]]), np.array([1.0, -2.0]), np.array([3.0, 0.5])
    problem = rp.Quadratic(H, w, g)
    answer = rp.obd(problem, rp.Unstructured(keep=1))
    assert answer.scores.tolist() == [
        problem.value(np.array([0.0, -2.0])),
        problem.value(np.array([1.0, 0.0])),
    ]
    assert answer.scores.tolist() == [-2.0, 9.0]
    assert answer.objective == -2.0


def test_wanda_honours_an_explicit_scope(unequal):
    W, G = unequal
    layer = rp.LayerProblem(W, G)
    whole = rp.wanda(layer, rp.Unstructured(sparsity=0.5, scope="layer"))
    cheapest((abs(W) * np.sqrt(np.diag(G))).ravel(), whole.mask.ravel(), "layer")
    rows = rp.wanda(layer, rp.Unstructured(sparsity=0.5))
    assert (~rows.mask).sum(axis=1).tolist() == [4] * 5
    assert_array_equal(rows.mask, rp.wanda(layer, rp.Unstructured(sparsity=0.5, scope="row")).mask)
    assert (~rp.wanda(layer, rp.Blocks(2, keep=1)).mask).sum(axis=1).tolist() == [6] * 5


@pytest.mark.parametrize("name", ["wanda", "obd"])
def test_a_grouped_convolution_is_stacked_layers(name):
    rng = np.random.default_rng(2)
    W = rng.normal(size=(4, 2, 3, 1))
    grams = np.stack([spd(rng, 6), spd(rng, 6)])
    answer = getattr(rp, name)(rp.LayerProblem(W, grams), rp.Unstructured(sparsity=0.5, scope="row"))
    assert answer.weight.shape == W.shape == answer.mask.shape
    for i in range(2):
        half = W[2 * i : 2 * i + 2].reshape(2, 6)
        alone = getattr(rp, name)(rp.LayerProblem(half, grams[i]), rp.Unstructured(sparsity=0.5, scope="row"))
        assert_array_equal(answer.weight[2 * i : 2 * i + 2].reshape(2, 6), alone.weight)


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_invariances(name, layer):
    W, G = layer
    pattern = rp.Unstructured(sparsity=0.5)
    answer = call(name, W, G, pattern)
    signs = np.where(np.arange(8) % 3 == 0, -1.0, 1.0)
    for scale, square in ((2.0**-40, 2.0**60), (2.0**40, 0.25), (2.0**-600, 2.0**-900), (2.0**300, 2.0**500)):
        scaled = call(name, scale * W, square * G, pattern)
        assert_array_equal(scaled.mask, answer.mask)
        assert_array_equal(scaled.weight, scale * answer.weight)  # bit for bit
    flipped = call(name, W * signs, G * signs[:, None] * signs, pattern)
    assert_array_equal(flipped.weight, answer.weight * signs)
    rows, columns = np.array([2, 0, 1]), np.random.default_rng(0).permutation(8)
    moved = call(name, W[rows][:, columns], G[columns][:, columns], pattern)
    assert_array_equal(moved.weight, answer.weight[rows][:, columns])


def test_one_input_scaled_up_and_its_weights_down_leaves_wanda_alone(unequal):
    W, G = unequal
    units = 2.0 ** np.arange(-4, 4)
    pattern = rp.Unstructured(sparsity=0.5)
    answer = rp.wanda(rp.LayerProblem(W, G), pattern)
    scaled = rp.wanda(rp.LayerProblem(W / units, G * units[:, None] * units), pattern)
    assert_array_equal(scaled.mask, answer.mask)


@pytest.mark.parametrize("tiny", [1e-310, 1e-200, 1e200])
def test_scores_beyond_the_range_still_rank(tiny):
    """Squares of such weights are 0 or infinite in float64; the ranking is not made from those."""
    w, h = np.array([3.0, 1.0, 2.0]) * tiny, np.array([1.0, 2.0, 1.0])
    assert rp.obd(rp.Quadratic(h, w), rp.Unstructured(keep=2)).mask.tolist() == [True, False, True]
    layer = rp.LayerProblem(w[None], np.diag(h * 1e-300))
    assert rp.wanda(layer, rp.Unstructured(keep=2)).mask.tolist() == [[True, False, True]]


def test_scores_beyond_the_range_are_infinite():
    answer = rp.obd(rp.Quadratic(np.full(2, 1e300), np.array([1e300, 2e300])), rp.Unstructured(keep=1))
    assert answer.mask.tolist() == [False, True]
    assert answer.scores.tolist() == [np.inf, np.inf]
    assert answer.objective == np.inf


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_dtypes(name, dtype, layer):
    W, G = layer[0].astype(dtype), layer[1].astype(dtype)
    G = ((G + G.T) / 2).astype(dtype)
    answer = call(name, W, G, rp.NM(2, 4))
    assert answer.weight.dtype == dtype
    assert answer.scores.dtype == "float32"
    assert_array_equal(
        answer.mask, rp.NM(2, 4).mask(scores_of(name, W.astype("float64"), G.astype("float64")))
    )


def test_errors():
    W, G = np.ones((2, 4)), np.eye(4)
    layer, quadratic = rp.LayerProblem(W, G), rp.Quadratic(G, W[0])
    half = rp.Unstructured(sparsity=0.5)
    with pytest.raises(TypeError, match="need a LayerProblem; got Quadratic"):
        rp.wanda(quadratic, half)
    with pytest.raises(TypeError, match="need a Quadratic or a LayerProblem; got ndarray"):
        rp.obd(W, half)
    with pytest.raises(TypeError, match="need weight to be an array"):
        rp.magnitude([1.0, 2.0], half)
    with pytest.raises(TypeError, match="need real floating numbers in weight; got int64"):
        rp.magnitude(np.arange(4), half)
    with pytest.raises(ValueError, match="need finite numbers in weight; got nan"):
        rp.magnitude(np.array([1.0, np.nan]), half)
    with pytest.raises(ValueError, match="need columns in a multiple of m = 3"):
        rp.wanda(layer, rp.NM(1, 3))
    with pytest.raises(ValueError, match="got 'network'"):
        rp.obd(quadratic, rp.Unstructured(sparsity=0.5, scope="network"))
    with pytest.raises(ValueError, match="need keep <= 4"):
        rp.wanda(layer, rp.Unstructured(keep=5))
    for method, argument in (
        (rp.magnitude, fractions(W)),
        (rp.obd, rp.Quadratic(fractions(G), fractions(W[0]))),
    ):
        with pytest.raises(TypeError, match="Fractions are for definitions"):
            method(argument, half)
    for method in (rp.magnitude, rp.wanda, rp.obd):
        with pytest.raises(TypeError, match="need an Unstructured, NM, Blocks or Groups pattern; got float"):
            method(layer, 0.5)


def test_inputs_are_read_only_and_answers_are_new(layer):
    W, G = (np.asfortranarray(x) for x in layer)
    for array in (W, G):
        array.flags.writeable = False
    for name in ("magnitude", "wanda", "obd"):
        answer = call(name, W, G, rp.Unstructured(sparsity=0))
        for made in (answer.weight, answer.mask, answer.scores):
            assert not np.shares_memory(made, W)
            assert not np.shares_memory(made, G)
        assert_array_equal(answer.weight, W)
