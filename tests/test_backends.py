"""Every public function on every kind of array: equal answers, the kind and dtype given back, nothing mixed.

NumPy in float64 is the yardstick. The stand-in behaves as CuPy does where NumPy is kinder; array-api-strict
(on its second device too) covers what it can: patterns, Grams, magnitude, Wanda, `Quadratic` and its kin.
OBS and the definitions write in place by index arrays, which array-api-strict refuses.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.curvature
import refprune.definitions as definitions
import refprune.network
from refprune.arrays import dtype_name
from tests.methods.problems import condition, spd, with_dead
from tests.stand_in import xp as stand_in

METHODS = (
    "alps",
    "cosamp",
    "force",
    "grasp",
    "htp",
    "iht",
    "iobs",
    "ispasp",
    "magnitude",
    "newton_cg",
    "obd",
    "obs",
    "optimal_weights",
    "snip",
    "sparsegpt",
    "synflow",
    "wanda",
    "woodfisher",
)
PROBLEMS = ("GramAccumulator", "LayerProblem", "LeastSquares", "MiniBatches", "Quadratic")
PATTERNS = {
    "Unstructured": rp.Unstructured(sparsity=0.5),
    "rows": rp.Unstructured(keep=3, scope="row"),
    "NM": rp.NM(1, 4),
    "Blocks": rp.Blocks(4, sparsity=0.5),
    "Groups": rp.Groups(sparsity=0.5),
    "columns": rp.Groups(sparsity=0.25, axis=1),
    "partition": rp.Groups(keep=3, labels=np.arange(24).reshape(3, 8) % 7),
}

rng = np.random.default_rng(100)
W = rng.normal(size=(3, 8)).astype("float32").astype(float) + 0.25
G = with_dead(spd(rng, 7), [2])
G = G.astype("float32").astype(float)  # the same problem in both precisions
PRIOR = rng.random((3, 8)) < 0.9
PRIOR[:, 0] = False


def test_this_file_knows_every_public_name():
    classes = {"NM", "Blocks", "Groups", "Unstructured", "Pruned", "__version__"}
    elsewhere = {
        *refprune.network.__all__,
        *refprune.curvature.__all__,
        "interop",
        "datasets",
        "PrunedNetwork",
        "ispasp_network",
        "iterative_magnitude",
        "prospr",
        "prune",
        "random_pruning",
        "shrink",
        "snows",
        "sosp",
        "woodfisher_network",
    }  # their tests have backends
    assert set(rp.__all__) - classes - elsewhere <= {*METHODS, *PROBLEMS}


def layer(backend, weight=W, gram=G):
    return rp.LayerProblem(backend.asarray(weight), backend.asarray(gram))


def same(backend, answer, weight, expected, gram=G):
    """`answer` on `backend` is `expected` (NumPy, float64): masks and orders equal, numbers up to rounding."""
    kind = type(backend.asarray(weight))
    assert type(answer.weight) is type(answer.mask) is kind
    assert dtype_name(answer.weight.dtype) == backend.dtype
    assert dtype_name(answer.mask.dtype) == "bool"
    assert_array_equal(backend.numpy(answer.mask), expected.mask)
    # a solve on the support: 10 d eps cond |w|, with a factor for sums in other orders
    slack = 1e3 * backend.eps * condition(gram) * np.abs(weight).max()
    assert_allclose(backend.numpy(answer.weight), expected.weight, rtol=0, atol=slack)
    assert np.all(backend.numpy(answer.weight)[~expected.mask] == 0)
    if expected.objective is not None:
        assert type(answer.objective) is float
        assert_allclose(answer.objective, expected.objective, rtol=1e3 * backend.eps * condition(gram))
    if expected.order is not None:
        assert type(answer.order) is kind
        assert_array_equal(backend.numpy(answer.order), expected.order)
        assert_allclose(answer.trace, expected.trace, rtol=1e3 * backend.eps * condition(gram), atol=1e-30)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_one_shot_methods(backend, name, pattern):
    """On array-api-strict too."""
    if name == "magnitude":
        answer, expected = rp.magnitude(backend.asarray(W), pattern), rp.magnitude(W, pattern)
    else:
        method = getattr(rp, name)
        answer, expected = method(layer(backend), pattern), method(rp.LayerProblem(W, G), pattern)
    same(backend, answer, W, expected)
    assert_allclose(backend.numpy(answer.scores), expected.scores, rtol=8 * backend.eps)


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_one_shot_methods_with_a_prior_mask(backend, name):
    weight, mask = np.where(PRIOR, W, 0), backend.asarray(PRIOR)
    for pattern in (rp.Unstructured(keep=2, scope="row"), rp.NM(1, 4), PATTERNS["columns"]):
        answer = getattr(rp, name)(layer(backend, weight), pattern, mask=mask)
        same(backend, answer, weight, getattr(rp, name)(rp.LayerProblem(weight, G), pattern, mask=PRIOR))


@pytest.mark.parametrize("d", [32, 64])
@pytest.mark.parametrize("name", ["iht", "htp", "cosamp"])
def test_sparse_recovery(backend, name, d):
    """A planted signal without noise, on array-api-strict too. Of 64 columns products read the support's alone."""
    rng = np.random.default_rng(104)
    A = rng.normal(size=(24, d)).astype("float32").astype(float)
    signal = np.where(np.isin(np.arange(d), [3, 14, 25]), 2.0 + np.arange(d) / 32, 0)
    method = functools.partial(getattr(rp, name), tol=0)  # as far as rounding lets it
    answer = method(rp.LeastSquares(backend.asarray(A), backend.asarray(A @ signal)), 3)
    same(backend, answer, signal, rp.Pruned(signal, signal != 0), A[:, signal != 0].T @ A[:, signal != 0])
    assert answer.trace[-1].reason == "converged"


@pytest.mark.parametrize("name", ["iht", "htp", "cosamp"])
def test_sparse_recovery_on_a_layer(cupy_like, name):
    """With dead inputs; a milder one for gradient steps."""
    method = functools.partial(getattr(rp, name), tol=0)
    gram = G if name != "iht" else G / 64 + np.where(G.any(axis=0), np.eye(8), 0) * 8
    same(cupy_like, method(layer(cupy_like, W, gram), 5), W, method(rp.LayerProblem(W, gram), 5), gram)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("rule", ["heap", "sorted", "cumulative"])
def test_obs_on_a_layer(cupy_like, pattern, rule):
    answer = rp.obs(layer(cupy_like), pattern, allocation=rule)
    same(cupy_like, answer, W, rp.obs(rp.LayerProblem(W, G), pattern, allocation=rule))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_obs_with_a_prior_mask_and_damping(cupy_like, pattern):
    weight = np.where(PRIOR, W, 0)
    if pattern is PATTERNS["rows"]:
        pattern = rp.Unstructured(keep=2, scope="row")
    answer = rp.obs(layer(cupy_like, weight), pattern, damp=0.25, mask=cupy_like.asarray(PRIOR))
    same(cupy_like, answer, weight, rp.obs(rp.LayerProblem(weight, G), pattern, damp=0.25, mask=PRIOR))


@pytest.mark.parametrize("pattern", [PATTERNS[name] for name in ("Unstructured", "rows", "NM")])
@pytest.mark.parametrize("refit", [False, True])
def test_sparsegpt(cupy_like, pattern, refit):
    weight = np.where(PRIOR, W, 0)
    expected = rp.sparsegpt(rp.LayerProblem(weight, G), pattern, 3, refit=refit, mask=PRIOR)
    answer = rp.sparsegpt(layer(cupy_like, weight), pattern, 3, refit=refit, mask=cupy_like.asarray(PRIOR))
    same(cupy_like, answer, weight, expected)


def test_obs_on_a_quadratic(cupy_like):
    H, w = spd(np.random.default_rng(101), 8).astype("float32").astype(float), W[0]
    g = np.array([0.5, -1, 0, 2, 1, 0.25, 0, -2])
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    for arrays in ((H, w), (H, w, g), (np.diag(H).copy(), w)):
        for pattern in (PATTERNS["Unstructured"], rp.NM(1, 2), rp.Groups(keep=2, labels=labels)):
            answer = rp.obs(rp.Quadratic(*map(cupy_like.asarray, arrays)), pattern)
            same(cupy_like, answer, w, rp.obs(rp.Quadratic(*arrays), pattern), H)


def test_optimal_weights(cupy_like):
    mask = cupy_like.asarray(PRIOR)
    answer = rp.optimal_weights(layer(cupy_like), mask)
    same(cupy_like, answer, W, rp.optimal_weights(rp.LayerProblem(W, G), PRIOR))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_alps(cupy_like, pattern):
    weight = np.where(PRIOR, W, 0)
    if pattern is PATTERNS["rows"]:
        pattern = rp.Unstructured(keep=2, scope="row")
    expected = rp.alps(rp.LayerProblem(weight, G), pattern, damp=0.25, mask=PRIOR)
    answer = rp.alps(layer(cupy_like, weight), pattern, damp=0.25, mask=cupy_like.asarray(PRIOR))
    same(cupy_like, answer, weight, expected)
    assert [step.changed for step in answer.trace] == [step.changed for step in expected.trace]


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("importance", ["signed", "absolute"])
def test_ispasp(backend, importance, rank):
    """On array-api-strict too, but for the refit. Whole numbers: the same units whatever the dtype."""
    draw = np.random.default_rng(104)
    hidden, weight = (draw.integers(-9, 10, size=shape).astype(float) for shape in ((8, 6), (3, 8)))
    images, kernels = (draw.integers(-9, 10, size=s).astype(float) for s in ((2, 8, 3, 4), (3, 8, 2, 2)))
    for given, w, window in ((hidden, weight, {}), (images, kernels, {"stride": 2, "padding": 1})):
        window |= {"rank": rank}
        expected = rp.ispasp(given, w, 3, importance, **window)
        answer = rp.ispasp(backend.asarray(given), backend.asarray(w), 3, importance, **window)
        same(backend, answer, w, expected)
        sizes = [[step.size for step in found.trace] for found in (answer, expected)]
        assert sizes[0] == sizes[1] if rank == "sums" else np.allclose(*sizes, rtol=4 * backend.eps, atol=0)


def test_ispasp_with_a_refit(cupy_like):
    hidden = np.maximum(np.random.default_rng(105).normal(size=(8, 40)), 0).astype("float32").astype(float)
    expected = rp.ispasp(hidden, W, 3, refit=True)
    answer = rp.ispasp(cupy_like.asarray(hidden), cupy_like.asarray(W), 3, refit=True)
    same(cupy_like, answer, W, expected, hidden @ hidden.T)


@pytest.mark.parametrize("selection", ["topk", "saliency", "obs", "exact", "random"])
@pytest.mark.parametrize("project", ["H", "euclid"])
def test_iobs(cupy_like, selection, project):
    """On a quadratic, with blocks from a sample, on least squares and on a layer."""
    draw = np.random.default_rng(106)
    H, A = spd(draw, 8).astype("float32").astype(float), draw.integers(-4, 5, size=(12, 8)).astype(float)
    blocks = (W[1], H[:5, :5].copy(), H[5:, 5:].copy())
    for make, arrays, hessian, start, drawn in (
        (rp.Quadratic, (H, W[0], W[1]), H, W[2], ()),
        (rp.Quadratic, (H, W[0], W[1]), H, W[2], blocks),
        (rp.LeastSquares, (A, A @ W[0] + 1), A.T @ A, W[2], ()),
        (rp.LayerProblem, (W[:2], G), G, W[1:], ()),
    ):
        answers = []
        for asarray in (cupy_like.asarray, np.asarray):
            gradient, *curvature = map(asarray, drawn) if drawn else (None,)
            sample = (lambda theta, rng, g=gradient, c=tuple(curvature): (g, c)) if drawn else None
            answers.append(rp.iobs(make(*map(asarray, arrays)), 4, asarray(start), selection, project, steps=2,
                                   damp=0.125, rng=np.random.default_rng(0), sample=sample))  # fmt: skip
        answer, expected = answers
        same(cupy_like, answer, start, replace(expected, objective=None, order=None), hessian)
        if selection == "obs":
            assert_array_equal(cupy_like.numpy(answer.order), expected.order)
        size = np.abs(np.array(expected.trace)).max()
        assert_allclose(
            answer.trace, expected.trace, rtol=0, atol=1e3 * cupy_like.eps * condition(hessian) * size
        )


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
def test_newton_cg(backend, curvature):
    """On array-api-strict too. The loss of a network, and a layer with a dead input."""
    rng = np.random.default_rng(109)
    network, x = (
        refprune.network.mlp([3, 4, 2], activation="tanh"),
        rng.normal(size=(20, 3)).astype("float32"),
    )
    start, mask = rng.normal(size=26).astype("float32"), rng.random(26) < 0.6
    labels = rng.integers(0, 2, size=20)
    options = {"curvature": curvature, "damp": 1.0, "max_iter": 2}
    answers = []
    for make in (backend.asarray, lambda array: array.astype(float) if array.dtype.kind == "f" else array):
        f = rp.NetworkLoss(network, make(x), make(labels))
        answers.append(rp.newton_cg(f, make(mask), make(start), **options))
    # two steps of solves to 1e-3, which end at the same iterate: a condition below 10
    same(backend, answers[0], start, replace(answers[1], objective=None), np.diag([1.0, 10.0]))
    assert_allclose(answers[0].objective, answers[1].objective, rtol=1e3 * backend.eps)
    assert [step[2:] for step in answers[0].trace] == [step[2:] for step in answers[1].trace]
    if curvature == "hessian":
        mask = W > 0
        answer = rp.newton_cg(layer(backend), backend.asarray(mask), cg_rtol=0.0)
        same(backend, answer, W, rp.optimal_weights(rp.LayerProblem(W, G), mask))


@pytest.mark.parametrize("samples", [5, 60])
@pytest.mark.parametrize(
    "options", [{}, {"update": "sum"}, {"first_order": True}, {"block": 5}, {"block": 1}], ids=str
)
def test_woodfisher(backend, samples, options):
    """On array-api-strict too. One array, and two of a network, with prior zeros."""
    draw = np.random.default_rng(108)
    grads = draw.integers(-4, 5, size=(samples, 24)) + 0.5
    F = grads.T @ grads / samples + 0.25 * np.eye(24)
    weight = np.where(PRIOR, W, 0)
    answer = rp.woodfisher(backend.asarray(W), backend.asarray(grads), rp.NM(1, 4), 0.25, **options)
    same(backend, answer, W, rp.woodfisher(W, grads, rp.NM(1, 4), 0.25, **options), F)
    there = [
        {name: make(x) for name, x in (("0.weight", weight[:2]), ("2.weight", weight[2:]))} for make in
        (backend.asarray, np.asarray)
    ]  # fmt: skip
    prior = [
        {"0.weight": make(PRIOR[:2]), "2.weight": make(PRIOR[2:])} for make in (backend.asarray, np.asarray)
    ]
    half = rp.Unstructured(sparsity=0.5)
    mine = rp.woodfisher(there[0], backend.asarray(grads), half, 0.25, mask=prior[0], **options)
    theirs = rp.woodfisher(there[1], grads, half, 0.25, mask=prior[1], **options)
    for name in there[0]:
        one = replace(mine, weight=mine.weight[name], mask=mine.mask[name], objective=None)
        same(
            backend,
            one,
            W,
            replace(theirs, weight=theirs.weight[name], mask=theirs.mask[name], objective=None),
            F,
        )
    assert_allclose(mine.objective, theirs.objective, rtol=1e3 * backend.eps * condition(F))


@pytest.mark.parametrize("name", ["snip", "grasp", "force", "synflow"])
def test_scores_of_the_weights_of_a_network(backend, name):
    """On array-api-strict too."""
    draw = np.random.default_rng(110)
    network = rp.Network(
        [rp.Conv2d(1, 2, 2), rp.BatchNorm2d(2), rp.Tanh(), rp.Residual([rp.Conv2d(2, 2, 1), rp.SiLU()]),
         rp.MaxPool2d(2), rp.Flatten(), rp.Dense(2, 3)]
    )  # fmt: skip
    params = {key: draw.normal(size=shape) for key, shape in network.shapes.items()}
    params |= {key: draw.uniform(0.5, 2, size=shape) for key, shape in network.constants.items()}
    params = {key: value.astype("float32").astype(float) for key, value in params.items()}
    x, y = draw.integers(-4, 5, size=(5, 1, 3, 3)) + 0.5, draw.integers(0, 3, size=5)
    options = {"steps": 3} if name in ("force", "synflow") else {}
    expected = getattr(rp, name)(network, params, (x, y), rp.Unstructured(keep=7), **options)
    there = {key: backend.asarray(value) for key, value in params.items()}
    batch = backend.asarray(x), backend.asarray(y)
    answer = getattr(rp, name)(network, there, batch, rp.Unstructured(keep=7), **options)
    assert answer.trace == expected.trace
    most = max(abs(score).max() for score in expected.scores.values())
    for key in network.prunable:
        one = replace(answer, weight=answer.weight[key], mask=answer.mask[key])
        right = replace(expected, weight=expected.weight[key], mask=expected.mask[key])
        same(backend, one, params[key], right)
        # five layers up and down twice, with sums of at most 20 terms
        error = abs(backend.numpy(answer.scores[key]) - expected.scores[key]).max()
        assert error <= 1e3 * backend.eps * most
        wide = name == "synflow" and backend.name != "strict-no-float64"
        assert dtype_name(answer.scores[key].dtype) == ("float64" if wide else backend.dtype)


@pytest.mark.parametrize("search", ["iht", "swap"])
def test_searches_of_woodfisher(backend, search):
    """On array-api-strict too; all layers together, and N:M."""
    draw = np.random.default_rng(109)
    grads = (draw.integers(-2, 3, size=(12, 3)) @ draw.integers(-2, 3, size=(3, 24))) + 0.5 * np.eye(12, 24)
    F = grads.T @ grads / 12 + np.eye(24)
    for pattern in (rp.Unstructured(sparsity=0.75), rp.NM(1, 4)):
        expected = rp.woodfisher(W, grads, pattern, 1.0, search=search, max_iter=20)
        there = (backend.asarray(W), backend.asarray(grads))
        answer = rp.woodfisher(*there, pattern, 1.0, search=search, max_iter=20)
        same(backend, answer, W, expected, F)
        assert len(answer.trace) == len(expected.trace)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton", "fisher"])
@pytest.mark.parametrize("block", [None, 3])
def test_mini_batches(cupy_like, curvature, block):
    """Small whole numbers: least squares is exact. A network's is as the network's own derivatives are."""
    draw = np.random.default_rng(107)
    A, y, w = (draw.integers(-4, 5, size=s).astype(float) for s in ((12, 8), 12, 8))
    network = rp.Network([rp.Dense(3, 2)])
    x, labels = A[:, :3], draw.integers(0, 2, size=12)
    for make in (
        lambda asarray: rp.LeastSquares(asarray(A), asarray(y)),
        lambda asarray: rp.NetworkLoss(network, asarray(x), asarray(labels)),
    ):
        pairs = []
        for asarray in (cupy_like.asarray, np.asarray):
            sample = rp.MiniBatches(make(asarray), 5, curvature, 6, block)
            gradient, found = sample(asarray(w), np.random.default_rng(0))
            pairs.append([gradient, *(found if block else (found,))])
        for given, expected in zip(*pairs, strict=True):
            assert type(given) is type(cupy_like.asarray(w))
            assert dtype_name(given.dtype) == cupy_like.dtype
            size = max(1, np.abs(expected).max())
            assert_allclose(cupy_like.numpy(given), expected, rtol=0, atol=30 * cupy_like.eps * size)


def convolution():
    """(weight, stack of two Grams, patterns) of a convolution with two groups."""
    rng = np.random.default_rng(102)
    weight = rng.normal(size=(4, 2, 1, 3)).astype("float32").astype(float)
    grams = np.stack([spd(rng, 6), spd(rng, 6)]).astype("float32").astype(float)
    both = np.tile(np.arange(2).reshape(1, 2, 1, 1), (4, 1, 1, 3))  # a channel of both groups at once
    patterns = (
        rp.Unstructured(sparsity=0.5), rp.NM(1, 2), rp.Blocks(2, keep=3), rp.Groups(keep=3),
        rp.Groups(keep=3, axis=1), rp.Groups(keep=1, labels=both),
    )  # fmt: skip
    return weight, grams, patterns


@pytest.mark.parametrize("name", ["obs", "alps", "sparsegpt"])
def test_convolutions(cupy_like, name):
    weight, grams, patterns = convolution()
    for pattern in patterns[:2] if name == "sparsegpt" else patterns:
        answer = getattr(rp, name)(layer(cupy_like, weight, grams), pattern)
        expected = getattr(rp, name)(rp.LayerProblem(weight, grams), pattern)
        same(cupy_like, answer, weight, expected, grams[0])


@pytest.mark.parametrize("name", ["magnitude", "wanda", "obd"])
def test_one_shot_methods_on_convolutions(backend, name):
    """On array-api-strict too."""
    weight, grams, patterns = convolution()
    for pattern in patterns:
        answer = getattr(rp, name)(layer(backend, weight, grams), pattern)
        same(backend, answer, weight, getattr(rp, name)(rp.LayerProblem(weight, grams), pattern), grams[0])


def test_objectives(backend):
    """The four functions of every problem, on array-api-strict too."""
    H, g, w, v = G, W[1], W[0], W[2]
    problems = {
        "Quadratic": (rp.Quadratic, (H, w, g)),
        "diagonal": (rp.Quadratic, (np.diag(H).copy(), w)),
        "LeastSquares": (rp.LeastSquares, (H[:5], w[:5])),
        "LayerProblem": (rp.LayerProblem, (W[:1], H)),
    }
    for make, arrays in problems.values():
        mine, theirs = make(*map(backend.asarray, arrays)), make(*arrays)
        for name, points in (("value", (v,)), ("gradient", (v,)), ("hvp", (v, g)), ("hessian", (v,))):
            given = getattr(mine, name)(*map(backend.asarray, points))
            expected = np.asarray(getattr(theirs, name)(*points))
            assert given.ndim == expected.ndim
            given = float(given) if given.ndim == 0 else backend.numpy(given)
            scale = np.abs(expected).max() + np.abs(H).max() * np.abs(W).max()
            assert_allclose(given, expected, rtol=0, atol=1e3 * backend.eps * scale)


def test_grams(backend):
    X = np.random.default_rng(103).normal(size=(10, 4)) + 1
    accumulator = rp.GramAccumulator()
    for part in (X[:3], X[3:3], X[3:]):
        accumulator.update(backend.asarray(part))
    # float64 sums of float32 products where the device has float64
    assert_allclose(backend.numpy(accumulator.gram), X.T @ X / 10, rtol=0, atol=40 * backend.eps * 10)
    problem = rp.LayerProblem.from_inputs(backend.asarray(W[:, :4]), backend.asarray(X))
    assert_allclose(backend.numpy(problem.gram), X.T @ X / 10, rtol=0, atol=40 * backend.eps * 10)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_patterns(backend, pattern):
    scores = np.abs(W)
    mask = pattern.mask(backend.asarray(scores))
    assert_array_equal(backend.numpy(mask), pattern.mask(scores))
    assert pattern.admits(mask) is True


def test_definitions(cupy_like):
    given = [cupy_like.asarray(x) for x in (W, G)]
    for name, rest in (
        ("magnitude", None), ("wanda", (2,)), ("exact_obs", (9,)), ("exact_obs_nm", (1, 4)),
        ("exact_obs_blocks", (2, 5, "sorted")), ("optimal_weights", None),
    ):  # fmt: skip
        definition = getattr(definitions, name)
        if name == "magnitude":
            mine, theirs = definition(given[0], 7), definition(W, 7)
        elif name == "optimal_weights":
            mine, theirs = (definition(*given, cupy_like.asarray(PRIOR)),), (definition(W, G, PRIOR),)
        else:
            mine, theirs = definition(*given, *rest), definition(W, G, *rest)
        slack = 1e3 * cupy_like.eps * condition(G) * np.abs(W).max()
        assert_allclose(cupy_like.numpy(mine[0]), theirs[0], rtol=0, atol=slack)
        for m, t in zip(mine[1:], theirs[1:], strict=True):
            assert_array_equal(cupy_like.numpy(m), t)


def test_definitions_of_networks(cupy_like):
    rng = np.random.default_rng(5)
    network = rp.Network([rp.Conv2d(1, 2, 2), rp.Tanh(), rp.Flatten(), rp.Dense(8, 2)])
    params, x, y = network.init(rng), rng.normal(size=(6, 1, 3, 3)), rng.integers(0, 2, size=6)
    there = {name: cupy_like.asarray(value) for name, value in params.items()}
    batch, layers = (cupy_like.asarray(x), cupy_like.asarray(y)), network.to_dicts()
    for mine, theirs in (
        (
            definitions.snip(layers, there, *batch, "cross_entropy", 7),
            definitions.snip(layers, params, x, y, "cross_entropy", 7),
        ),
        (
            definitions.grasp(layers, there, *batch, "cross_entropy", 7),
            definitions.grasp(layers, params, x, y, "cross_entropy", 7),
        ),
        (
            definitions.force(layers, there, *batch, "cross_entropy", 7, 3, revive=False),
            definitions.force(layers, params, x, y, "cross_entropy", 7, 3, revive=False),
        ),
        (
            definitions.synflow(layers, there, (1, 3, 3), 7, steps=3),
            definitions.synflow(layers, params, (1, 3, 3), 7, steps=3),
        ),
        (
            definitions.prospr(layers, there, [batch] * 3, "cross_entropy", 7, 0.25, 0.5),
            definitions.prospr(layers, params, [(x, y)] * 3, "cross_entropy", 7, 0.25, 0.5),
        ),
    ):
        for name, value in theirs[0].items():
            assert_array_equal(cupy_like.numpy(mine[0][name]), value.astype(mine[0][name].dtype))
        for name, mask in theirs[1].items():
            assert_array_equal(cupy_like.numpy(mine[1][name]), mask)


def test_definitions_of_units_stages_and_chance(cupy_like):
    rng = np.random.default_rng(6)
    network, of = rp.mlp([3, 4, 2], activation="tanh"), np.repeat([0, 1, 2, 3, -1], [3, 3, 3, 3, 14])
    params, x, y = network.init(rng), rng.normal(size=(6, 3)), rng.integers(0, 2, size=6)
    there = {name: cupy_like.asarray(value) for name, value in params.items()}
    given = cupy_like.asarray(x), cupy_like.asarray(y), "cross_entropy", cupy_like.asarray(of), 2
    mine = definitions.sosp(network.to_dicts(), there, *given)
    theirs = definitions.sosp(network.to_dicts(), params, x, y, "cross_entropy", of, 2)
    assert mine[1] == theirs[1]
    for name, value in theirs[0].items():
        assert_array_equal(cupy_like.numpy(mine[0][name]), value.astype(mine[0][name].dtype))
    w, back = W.reshape(-1), W[::-1].reshape(-1)
    for options in ({}, {"rewind": back}):
        there = {key: cupy_like.asarray(value) for key, value in options.items()}
        one = definitions.iterative_magnitude(
            cupy_like.asarray(w), [5, 9], lambda w, m, stage: 2 * w, **there
        )
        two = definitions.iterative_magnitude(w, [5, 9], lambda w, m, stage: 2 * w, **options)
        for m, t in zip(one, two, strict=True):
            assert_array_equal(cupy_like.numpy(m), t.astype(m.dtype))
    one = definitions.random_pruning(cupy_like.asarray(W), 7, np.random.default_rng(3))
    two = definitions.random_pruning(W, 7, np.random.default_rng(3))
    for m, t in zip(one, two, strict=True):
        assert_array_equal(cupy_like.numpy(m), t.astype(m.dtype))


def test_mixtures_are_refused():
    device = stand_in.asarray
    half = rp.Unstructured(sparsity=0.5)
    for call in (
        lambda: rp.LayerProblem(W, device(G)),
        lambda: rp.Quadratic(device(G), W[0]),
        lambda: rp.obs(rp.LayerProblem(device(W), device(G)), half, mask=PRIOR),
        lambda: rp.optimal_weights(rp.LayerProblem(device(W), device(G)), PRIOR),
        lambda: rp.optimal_weights(rp.LayerProblem(W, G), device(PRIOR)),
        lambda: rp.wanda(rp.LayerProblem(W, G), half, mask=device(PRIOR)),
        lambda: rp.alps(rp.LayerProblem(W, G), half, mask=device(PRIOR)),
    ):
        with pytest.raises(TypeError, match="need arrays of one kind"):
            call()


def test_a_singular_matrix_raises_on_every_backend(cupy_like):
    """CuPy's Cholesky answers NaN instead of raising; the methods raise all the same."""
    ones = layer(cupy_like, W, np.ones((8, 8)))
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram.*damp="):
        rp.obs(ones, rp.Unstructured(sparsity=0.5))
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram restricted.*damp="):
        rp.optimal_weights(ones, cupy_like.asarray(PRIOR))
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram restricted.*damp="):
        rp.alps(ones, rp.Unstructured(sparsity=0.5))


def test_answers_do_not_alias_and_inputs_stay(cupy_like):
    weight, gram, prior = cupy_like.asarray(W), cupy_like.asarray(G), cupy_like.asarray(PRIOR | True)
    before = [cupy_like.numpy(x).copy() for x in (weight, gram, prior)]
    for sparsity in (0, 0.5):
        pattern = rp.Unstructured(sparsity=sparsity)
        problem = rp.LayerProblem(weight, gram)
        answers = [rp.magnitude(weight, pattern), rp.wanda(problem, pattern), rp.obd(problem, pattern),
                   rp.obs(problem, pattern, mask=prior), rp.optimal_weights(problem, prior),
                   rp.alps(problem, pattern, mask=prior)]  # fmt: skip
        for answer in answers:
            answer.weight[0, 0] = 99.0
            answer.mask[0, 0] = False
    for array, old in zip((weight, gram, prior), before, strict=True):
        assert_array_equal(cupy_like.numpy(array), old)
