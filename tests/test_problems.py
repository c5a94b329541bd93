"""Problems: exact on rationals, then every backend against the rational truth."""

from fractions import Fraction

import autograd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate2d

import refprune as rp
from refprune.arrays import dtype_name
from tests.stand_in import xp as stand_in

HALF = Fraction(1, 2)


def drawn(data, *shape):
    """Rationals in eighths from -3 to 3, from a drawn seed."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    eighths = rng.integers(-24, 25, size=shape)
    return np.array([Fraction(int(n), 8) for n in eighths.ravel()], dtype=object).reshape(shape)


def floats(array):
    return None if array is None else array.astype(float)


def problem_of(kind, data):
    """A problem on rationals, its flat size, and a function that makes the same problem from other arrays."""
    if kind == "least squares":
        A, y = drawn(data, 4, 3), drawn(data, 4)
        return rp.LeastSquares(A, y), 3, lambda make: rp.LeastSquares(make(A), make(y))
    if kind.startswith("layer"):
        shape = {"layer": (2, 3), "layer conv": (2, 3, 1, 1), "layer grouped": (4, 1, 1, 3)}[kind]
        X = drawn(data, 2, 5, 3) if kind == "layer grouped" else drawn(data, 5, 3)
        gram, W = X.swapaxes(-1, -2) @ X, drawn(data, *shape)
        return rp.LayerProblem(W, gram), W.size, lambda make: rp.LayerProblem(make(W), make(gram))
    H, w, g = drawn(data, 3), drawn(data, 3), drawn(data, 3)
    if "diagonal" not in kind:
        H = drawn(data, 3, 3)
        H = H + H.T
    if "gradient" not in kind:
        g = None
    return (
        rp.Quadratic(H, w, g),
        3,
        lambda make: rp.Quadratic(make(H), make(w), None if g is None else make(g)),
    )


KINDS = [
    "quadratic", "quadratic gradient", "quadratic diagonal", "quadratic diagonal gradient", "least squares",
    "layer", "layer conv", "layer grouped",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_derivatives_are_exact_differences(kind, data):
    # a quadratic's central differences are its derivatives, without any limit
    problem, d, _ = problem_of(kind, data)
    w, v = drawn(data, d), drawn(data, d)
    gradient, product, hessian = problem.gradient(w), problem.hvp(w, v), problem.hessian(w)
    assert gradient.shape == product.shape == (d,)
    assert hessian.shape == (d, d)
    assert (problem.value(w + v) - problem.value(w - v)) / 2 == gradient @ v
    assert problem.value(w + v) - problem.value(w) - gradient @ v == HALF * (v @ product)
    assert_array_equal(hessian @ v, product)
    assert_array_equal(hessian, hessian.T)
    assert_array_equal(problem.gradient(w + v) - gradient, product)
    assert {type(x) for x in (*gradient, *product, *hessian.ravel(), problem.value(w))} == {Fraction}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_floats_agree_with_rationals(kind, data):
    exact, d, make = problem_of(kind, data)
    w, v = drawn(data, d), drawn(data, d)
    # Numbers are in eighths up to 3. In units of the last place every sum below is under 2^24, so float32 is
    # exact: quadratics 3 * 3 * 48 * 24 * 48 (in 1/256), least squares 4 * 1920^2 (in 1/64^2), products with a
    # Gram 3 * 48 * 2880 (in 1/512). Only a layer's value is larger: a sum of at most 12 products.
    slack = Fraction(0)
    if isinstance(exact, rp.LayerProblem):
        step = w - exact.matrix.reshape(-1)
        slack = 14 * Fraction(2.0**-23) * sum(abs(step * exact.gradient(w))) / 2
    for dtype, bound in (("float64", 0), ("float32", slack)):
        problem = make(lambda a, dtype=dtype: a.astype(dtype))
        x, y = w.astype(dtype), v.astype(dtype)
        assert abs(Fraction(float(problem.value(x))) - exact.value(w)) <= bound
        assert_array_equal(problem.gradient(x), exact.gradient(w).astype(float))
        assert_array_equal(problem.hvp(x, y), exact.hvp(w, v).astype(float))
        assert_array_equal(problem.hessian(x), exact.hessian(w).astype(float))
        assert problem.value(x).dtype == problem.gradient(x).dtype == problem.hessian(x).dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_half_precision_is_computed_in_float32(kind, data):
    _, d, make = problem_of(kind, data)
    w, v = drawn(data, d).astype(np.float16), drawn(data, d).astype(np.float16)
    half = make(lambda a: a.astype(np.float16))
    single = make(lambda a: a.astype(np.float16).astype(np.float32))
    x, y = w.astype(np.float32), v.astype(np.float32)
    for got, wanted in (
        (half.value(w), single.value(x)),
        (half.gradient(w), single.gradient(x)),
        (half.hvp(w, v), single.hvp(x, y)),
        (half.hessian(w), single.hessian(x)),
    ):
        assert got.dtype == np.float32
        assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_stand_in_agrees_with_numpy(kind, data):
    _, d, make = problem_of(kind, data)
    w, v = floats(drawn(data, d)), floats(drawn(data, d))
    here, there = make(floats), make(lambda a: stand_in.asarray(floats(a)))
    x, y = stand_in.asarray(w), stand_in.asarray(v)
    for got, wanted in (
        (there.value(x), here.value(w)),
        (there.gradient(x), here.gradient(w)),
        (there.hvp(x, y), here.hvp(w, v)),
        (there.hessian(x), here.hessian(w)),
    ):
        assert type(got) is type(x)
        assert_array_equal(got.get(), wanted)


def test_every_backend_runs_every_problem(backend):
    rng = np.random.default_rng(0)
    A, w, v = (rng.integers(-4, 5, size=shape) / 4 for shape in ((5, 3), 3, 3))
    H = A.T @ A  # dyadic: float32 is exact
    images, W = rng.integers(-2, 3, size=(2, 4, 3, 3)) / 2, rng.integers(-2, 3, size=(4, 2, 2, 2)) / 2
    W2 = W.reshape(-1)[::-1].copy()
    layer = rp.LayerProblem.from_inputs(W, images, padding=1, groups=2)
    there = rp.LayerProblem.from_inputs(backend.asarray(W), backend.asarray(images), padding=1, groups=2)
    pairs = [
        (rp.Quadratic(H, w, v), rp.Quadratic(*map(backend.asarray, (H, w, v))), w + v, v),
        (rp.Quadratic(H[0] ** 2, w), rp.Quadratic(backend.asarray(H[0] ** 2), backend.asarray(w)), v, w),
        (rp.LeastSquares(A, A[:, 0]), rp.LeastSquares(backend.asarray(A), backend.asarray(A[:, 0])), w, v),
        (layer.row(3), there.row(3), W2[:8], W2[8:16]),
        (layer, there, W2, W2[::-1].copy()),
    ]
    for here, there, x, y in pairs:
        a, b = backend.asarray(x), backend.asarray(y)
        for got, wanted in (
            (there.value(a), here.value(x)),
            (there.gradient(a), here.gradient(x)),
            (there.hvp(a, b), here.hvp(x, y)),
            (there.hessian(a), here.hessian(x)),
        ):
            assert isinstance(got, (type(a), np.floating))  # NumPy has scalars of its own
            # the Gram divides by 32 positions, an exact division; all other numbers are small dyadics
            assert_allclose(
                backend.numpy(got[None, ...])[0], wanted, rtol=64 * backend.eps, atol=64 * backend.eps
            )


def test_autograd_goes_through_every_problem():
    rng = np.random.default_rng(1)
    A, w, v = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=3)
    X, W = rng.normal(size=(6, 3)), rng.normal(size=(2, 3))
    for problem, x in (
        (rp.Quadratic(A.T @ A, w, v), w + v),
        (rp.Quadratic(w**2, w), v),
        (rp.LeastSquares(A, A @ w + 1), v),
        (rp.LayerProblem.from_inputs(W, X), rng.normal(size=6)),
    ):
        assert_allclose(autograd.grad(problem.value)(x), problem.gradient(x), rtol=1e-12, atol=1e-13)
        assert_allclose(autograd.jacobian(problem.gradient)(x), problem.hessian(x), rtol=1e-12, atol=1e-13)
    # through the arrays of the problem, too: d/dw of 1/2 (v - w)^T H (v - w) is H (w - v)
    H = A.T @ A
    gradient = autograd.grad(lambda centre: rp.Quadratic(H, centre).value(v))(w)
    assert_allclose(gradient, H @ (w - v), rtol=1e-12)


class TestQuadratic:
    def test_a_diagonal_is_the_matrix_with_that_diagonal(self):
        rng = np.random.default_rng(2)
        h, w, v = rng.uniform(0.5, 2, size=4), rng.normal(size=4), rng.normal(size=4)
        thin, full = rp.Quadratic(h, w, v), rp.Quadratic(np.diag(h), w, v)
        assert_allclose(thin.value(v), full.value(v), rtol=1e-14)
        assert_allclose(thin.gradient(v), full.gradient(v), rtol=1e-14)
        assert_array_equal(thin.hessian(w), np.diag(h))
        assert_array_equal(thin.diagonal, full.diagonal)

    def test_no_gradient_is_a_gradient_of_zeros(self):
        H, w, v = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -1.0]), np.array([0.5, 4.0])
        without, zeros = rp.Quadratic(H, w), rp.Quadratic(H, w, np.zeros(2))
        assert without.g is None
        assert without.value(v) == zeros.value(v)
        assert_array_equal(without.gradient(v), zeros.gradient(v))

    def test_the_value_at_the_weight_is_zero_and_its_slope_the_gradient(self):
        H, w, g = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.1, -1.3]), np.array([0.7, 0.1])
        problem = rp.Quadratic(H, w, g)
        assert problem.value(w) == 0
        assert_array_equal(problem.gradient(w), g)

    def test_a_slight_asymmetry_is_averaged_out(self):
        H = np.array([[2.0, 1.0 + 2.0**-40], [1.0, 3.0]])
        problem = rp.Quadratic(H, np.ones(2))
        assert_array_equal(problem.H, problem.H.T)
        assert problem.H[0, 1] == 1 + 2.0**-41
        with pytest.raises(ValueError, match="need hessian to be symmetric"):
            rp.Quadratic(np.array([[2.0, 1.1], [1.0, 3.0]]), np.ones(2))

    def test_it_need_not_be_definite(self):
        assert rp.Quadratic(np.diag([1.0, -1.0]), np.zeros(2)).value(np.array([0.0, 2.0])) == -2
        assert rp.Quadratic(np.array([-1.0]), np.zeros(1)).diagonal == -1

    def test_empty(self):
        problem = rp.Quadratic(np.zeros((0, 0)), np.zeros(0))
        assert problem.value(np.zeros(0)) == 0
        assert problem.hessian(np.zeros(0)).shape == (0, 0)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((np.eye(2), np.ones(3)), ValueError, r"need hessian of shape \(3, 3\) or \(3,\); got \(2, 2\)"),
            ((np.ones(2), np.ones(3)), ValueError, "need hessian of shape"),
            ((np.ones((3, 2)), np.ones(3)), ValueError, "need hessian to be a square matrix"),
            ((np.ones((2, 2, 2)), np.ones(2)), ValueError, "need hessian with 1 or 2 dimensions"),
            ((np.eye(2), np.ones((2, 1))), ValueError, "need weight with 1 dimensions"),
            ((np.eye(2), np.ones(2), np.ones(3)), ValueError, r"need gradient of shape \(2\); got \(3,\)"),
            ((np.eye(2), np.array([1.0, np.nan])), ValueError, "need finite numbers in weight"),
            ((np.diag([np.inf, 1.0]), np.ones(2)), ValueError, "need finite numbers in hessian"),
            ((np.eye(2), np.ones(2), np.array([np.nan, 0.0])), ValueError, "need finite numbers in gradient"),
            (
                (np.eye(2, dtype=int), np.ones(2)),
                TypeError,
                "need real floating numbers in hessian; got int64",
            ),
            (
                (np.eye(2), np.ones(2, dtype=bool)),
                TypeError,
                "need real floating numbers in weight; got bool",
            ),
            (([[1.0]], np.ones(1)), TypeError, "need hessian to be an array"),
            ((stand_in.eye(2), np.ones(2)), TypeError, "need arrays of one kind"),
            ((np.eye(2), np.array([Fraction(1), Fraction(2)])), TypeError, "Fractions alone"),
        ],
    )
    def test_arguments_are_checked(self, arguments, error, message):
        with pytest.raises(error, match=message):
            rp.Quadratic(*arguments)


class TestLeastSquares:
    def test_it_is_the_quadratic_of_its_hessian(self):
        rng = np.random.default_rng(3)
        A, y, w = (
            rng.integers(-4, 5, size=(6, 3)) / 2,
            rng.integers(-4, 5, size=6) / 2,
            np.array([1.0, 0.5, -2.0]),
        )
        problem = rp.LeastSquares(A, y)
        model = rp.Quadratic(problem.hessian(w), np.zeros(3), problem.gradient(np.zeros(3)))
        assert problem.value(w) == model.value(w) + problem.value(np.zeros(3))
        assert_array_equal(problem.gradient(w), model.gradient(w))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((np.ones((2, 3)), np.ones(3)), ValueError, r"need target of shape \(2\); got \(3,\)"),
            ((np.ones(3), np.ones(3)), ValueError, "need design with 2 dimensions"),
            ((np.full((1, 1), np.nan), np.ones(1)), ValueError, "need finite numbers in design"),
            ((np.ones((1, 1)), np.array([np.inf])), ValueError, "need finite numbers in target"),
            ((np.ones((1, 1), dtype=int), np.ones(1)), TypeError, "need real floating numbers in design"),
            ((np.ones((1, 1)), stand_in.ones(1)), TypeError, "need arrays of one kind"),
        ],
    )
    def test_arguments_are_checked(self, arguments, error, message):
        with pytest.raises(error, match=message):
            rp.LeastSquares(*arguments)


class TestLayerProblem:
    def test_the_objective_is_half_the_mean_squared_change_of_the_outputs(self):
        rng = np.random.default_rng(4)
        X, W, V = rng.normal(size=(50, 4)) + 1, rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
        problem = rp.LayerProblem.from_inputs(W, X)
        assert_allclose(problem.objective(V), ((X @ (V - W).T) ** 2).sum() / 50 / 2, rtol=1e-13)
        assert problem.objective(W) == 0
        assert_array_equal(problem.gram, rp.GramAccumulator().update(X).gram)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_the_same_for_a_convolution_by_scipy(self, groups):
        rng = np.random.default_rng(5)
        images = rng.normal(size=(3, 2 * groups, 5, 4))
        W, V = (rng.normal(size=(2 * groups, 2, 3, 2)) for _ in range(2))
        total = 0.0
        for image in images:
            for o in range(2 * groups):
                channels = image[o // 2 * 2 : o // 2 * 2 + 2]
                change = sum(correlate2d(x, k, "valid") for x, k in zip(channels, V[o] - W[o]))
                total += (change**2).sum()
        problem = rp.LayerProblem.from_inputs(W, images, groups=groups)
        assert_allclose(problem.objective(V), total / (3 * 9) / 2, rtol=1e-12)
        assert_allclose(problem.objective(V.reshape(2 * groups, -1)), problem.objective(V), rtol=0)

    def test_it_is_the_sum_of_its_rows(self):
        rng = np.random.default_rng(6)
        X, W, V = rng.normal(size=(2, 9, 6)), rng.normal(size=(4, 2, 1, 3)), rng.normal(size=(4, 2, 1, 3))
        grams = X.transpose(0, 2, 1) @ X
        grams = (grams + grams.transpose(0, 2, 1)) / 2
        problem = rp.LayerProblem(W, grams)
        assert (problem.rows, problem.columns, problem.groups) == (4, 6, 2)
        rows = [problem.row(i) for i in range(4)]
        assert_allclose(
            problem.objective(V), sum(r.value(v) for r, v in zip(rows, V.reshape(4, 6))), rtol=1e-13
        )
        for i, row in enumerate(rows):
            assert_array_equal(row.H, grams[i // 2])
            assert_array_equal(problem.gram_of(i), grams[i // 2])
            assert_array_equal(row.weight, W[i].ravel())
        # groups are independent layers
        halves = [rp.LayerProblem(W[2 * g : 2 * g + 2], grams[g]) for g in range(2)]
        parts = sum(half.objective(V[2 * g : 2 * g + 2]) for g, half in enumerate(halves))
        assert_allclose(problem.objective(V), parts, rtol=1e-13)
        hessian = problem.hessian(V.ravel())
        for i in range(4):
            for j in range(4):
                block = hessian[6 * i : 6 * i + 6, 6 * j : 6 * j + 6]
                assert_array_equal(block, grams[i // 2] if i == j else np.zeros((6, 6)))

    def test_matrix_and_restore(self):
        W = np.arange(24.0).reshape(2, 3, 2, 2)
        problem = rp.LayerProblem(W, np.eye(12))
        assert_array_equal(problem.matrix, W.reshape(2, 12))
        assert_array_equal(problem.restore(problem.matrix), W)

    def test_scaling_by_powers_of_two(self):
        rng = np.random.default_rng(7)
        X, W, V = rng.normal(size=(9, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
        once = rp.LayerProblem.from_inputs(W, X).objective(V)
        assert rp.LayerProblem.from_inputs(W, 4 * X).objective(V) == 16 * once
        assert rp.LayerProblem.from_inputs(8 * W, X).objective(8 * V) == 64 * once

    def test_a_stack_of_one_gram_is_that_gram(self):
        W, G = np.arange(6.0).reshape(2, 3), np.diag([1.0, 2.0, 4.0])
        V = np.zeros((2, 3))
        assert rp.LayerProblem(W, G[None]).objective(V) == rp.LayerProblem(W, G).objective(V)
        assert_array_equal(rp.LayerProblem(W, G[None]).gram_of(1), G)

    def test_mixed_precision_is_computed_in_the_wider_one(self):
        W = np.array([[1.0, 2.0]], dtype=np.float16)
        assert rp.LayerProblem(W, np.eye(2)).objective(np.zeros((1, 2), np.float32)).dtype == np.float64
        assert rp.LayerProblem(W, np.eye(2, dtype=np.float16)).objective(W).dtype == np.float32
        assert rp.LayerProblem.from_inputs(W, np.ones((2, 2), np.float16)).gram.dtype == np.float64

    def test_empty(self):
        for shape in ((0, 3), (2, 0), (0, 0)):
            problem = rp.LayerProblem(np.zeros(shape), np.zeros((shape[1], shape[1])))
            assert problem.objective(np.zeros(shape)) == 0
            assert problem.hessian(np.zeros(0)).shape == (0, 0)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((np.ones((2, 3)), np.eye(2)), ValueError, r"need gram for 3 columns; got shape \(2, 2\)"),
            ((np.ones((2, 3, 2, 2)), np.eye(3)), ValueError, "need gram for 12 columns"),
            ((np.ones(3), np.eye(3)), ValueError, "need weight with 2 or 4 dimensions"),
            ((np.ones((2, 3)), np.ones(3)), ValueError, "need gram with 2 or 3 dimensions"),
            (
                (np.ones((3, 2)), np.stack([np.eye(2)] * 2)),
                ValueError,
                "need rows in a multiple of the Grams; got 3",
            ),
            (
                (np.ones((3, 2)), np.zeros((0, 2, 2))),
                ValueError,
                "need rows in a multiple of the Grams; got 3 for 0",
            ),
            ((np.ones((2, 2)), np.array([[1.0, 0.5], [0.0, 1.0]])), ValueError, "need gram to be symmetric"),
            ((np.ones((2, 2)), np.diag([1.0, -1.0])), ValueError, "need gram with a diagonal >= 0"),
            ((np.ones((2, 2)), np.ones((2, 3))), ValueError, "need gram to be a square matrix"),
            ((np.full((1, 1), np.nan), np.eye(1)), ValueError, "need finite numbers in weight"),
            ((np.ones((1, 1)), np.array([[np.inf]])), ValueError, "need finite numbers in gram"),
            (
                (np.ones((1, 1), dtype=int), np.eye(1)),
                TypeError,
                "need real floating numbers in weight; got int64",
            ),
            (
                (np.ones((1, 1)), np.eye(1, dtype=bool)),
                TypeError,
                "need real floating numbers in gram; got bool",
            ),
            ((np.ones((1, 1)), stand_in.eye(1)), TypeError, "need arrays of one kind"),
        ],
    )
    def test_arguments_are_checked(self, arguments, error, message):
        with pytest.raises(error, match=message):
            rp.LayerProblem(*arguments)

    def test_inputs_are_checked(self):
        W, K = np.ones((4, 3)), np.ones((4, 3, 2, 2))
        with pytest.raises(ValueError, match="need gram for 3 columns"):
            rp.LayerProblem.from_inputs(W, np.ones((5, 4)))
        with pytest.raises(ValueError, match="need batch with 2 dimensions"):
            rp.LayerProblem.from_inputs(W, np.ones((5, 3, 2, 2)))
        with pytest.raises(ValueError, match="need a kernel with stride, padding, dilation or groups"):
            rp.LayerProblem.from_inputs(W, np.ones((5, 3)), stride=2)
        with pytest.raises(ValueError, match="need gram for 12 columns"):
            rp.LayerProblem.from_inputs(K, np.ones((1, 4, 3, 3)))
        with pytest.raises(ValueError, match="need rows in a multiple of the Grams"):
            rp.LayerProblem.from_inputs(K[:3], np.ones((1, 6, 3, 3)), groups=2)

    def test_rows_are_checked(self):
        problem = rp.LayerProblem(np.ones((2, 3)), np.eye(3))
        for bad in (-1, 2):
            with pytest.raises(ValueError, match=r"need row in \[0, 1\]; got "):
                problem.row(bad)
        with pytest.raises(TypeError, match="need row to be an integer"):
            problem.gram_of(0.0)


POINTS = [
    (rp.Quadratic(np.eye(2), np.ones(2)), 2),
    (rp.Quadratic(np.ones(2), np.ones(2), np.ones(2)), 2),
    (rp.LeastSquares(np.ones((3, 2)), np.ones(3)), 2),
    (rp.LayerProblem(np.ones((2, 3)), np.eye(3)), 6),
]


@pytest.mark.parametrize(("problem", "d"), POINTS, ids=lambda value: type(value).__name__)
def test_points_are_checked(problem, d):
    good = np.ones(d)
    for call in (problem.value, problem.gradient, lambda v: problem.hvp(good, v)):
        with pytest.raises(ValueError, match=rf"of shape \({d}\); got \({d + 1},\)"):
            call(np.ones(d + 1))
        with pytest.raises(ValueError, match="need finite numbers in"):
            call(np.full(d, np.nan))
        with pytest.raises(TypeError, match="need real floating numbers in"):
            call(np.ones(d, dtype=int))
        with pytest.raises(TypeError, match="need arrays of one kind"):
            call(stand_in.ones(d))
    if isinstance(problem, rp.LayerProblem):
        with pytest.raises(ValueError, match=r"need v of shape \(2, 3\); got \(3, 2\)"):
            problem.objective(np.ones((3, 2)))


@pytest.mark.parametrize(("problem", "d"), POINTS, ids=lambda value: type(value).__name__)
def test_nothing_is_changed_and_nothing_is_shared(problem, d):
    given = [v for v in vars(problem).values() if isinstance(v, np.ndarray)]
    before = [array.copy() for array in given]
    w, v = np.arange(1.0, d + 1), np.ones(d)
    results = [problem.gradient(w), problem.hvp(w, v), problem.hessian(w)]
    for result in results:
        for array in (*given, w, v):
            assert not np.shares_memory(result, array)
        result[...] = 99.0
    assert_array_equal(problem.hessian(w), problem.hessian(v))
    for array, old in zip(given, before):
        assert_array_equal(array, old)
    assert_array_equal(w, np.arange(1.0, d + 1))
    assert dtype_name(problem.value(w).dtype) == "float64"


def test_read_only_and_strange_memory_orders():
    rng = np.random.default_rng(8)
    H, w, v = np.cov(rng.normal(size=(3, 9))), rng.normal(size=3), rng.normal(size=3)
    wanted = rp.Quadratic(H, w).value(v)
    for same in (np.asfortranarray(H), np.repeat(H, 2, axis=0)[::2], H[::-1, ::-1][::-1, ::-1]):
        same.flags.writeable = False
        assert_allclose(rp.Quadratic(same, w[::-1][::-1]).value(v), wanted, rtol=1e-14)
