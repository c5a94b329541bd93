"""`rp.ispasp`: its definition, its certificate by automatic differentiation, its bounds, its edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune import definitions
from tests.methods.units import certify, importance, matrix_of, norms, whole

GEOMETRIES = (
    {},
    {"padding": 1},
    {"stride": (2, 1)},
    {"dilation": (1, 2), "padding": ((1, 0), (0, 2))},
)


def units_problem(rng, units=12, samples=7, outputs=4):
    """(hidden, weight) of ReLU units of different size, shifted, with one dead and one silent for the next layer."""
    scale = 2.0 ** rng.integers(-2, 4, size=(units, 1))
    hidden = np.maximum(rng.normal(size=(units, samples)) + 0.25, 0) * scale
    weight = rng.normal(size=(outputs, units))
    hidden[1], weight[:, 2] = 0, 0
    return hidden, weight


def residual(hidden, weight, answer):
    return np.linalg.norm((weight - answer.weight) @ hidden)


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("absolute", [False, True])
@given(st.integers(0, 10**6), st.sampled_from(["float32", "float64"]))
def test_it_is_its_definition(rank, absolute, seed, dtype):
    """On whole numbers nothing is rounded: equal sets, ties included."""
    rng = np.random.default_rng(seed)
    units, samples, outputs = rng.integers(1, 9, size=3)
    hidden, weight = whole(rng, units, samples), whole(rng, outputs, units)
    given = hidden.astype(dtype), weight.astype(dtype)
    for keep in range(units + 1):
        answer = rp.ispasp(*given, keep, importance="absolute" if absolute else "signed", rank=rank)
        kept = definitions.ispasp(hidden, weight, keep, absolute=absolute, norms=rank == "norms")
        assert list(answer.trace[-1].kept) == kept
        assert_array_equal(answer.mask, np.broadcast_to(np.isin(np.arange(units), kept), weight.shape))
        assert_array_equal(answer.weight, np.where(answer.mask, weight, 0))
        assert answer.weight.dtype == dtype
        assert answer.order is answer.scores is None
        value = np.sum(((weight - answer.weight) @ hidden) ** 2) / 2 / samples
        assert_allclose(answer.objective, value, rtol=8 * np.finfo(dtype).eps)  # whole, then one division


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("absolute", [False, True])
def test_convolutions_are_the_definition_on_their_matrix(geometry, rank, absolute):
    """A channel is a unit; sums run over images and positions."""
    rng = np.random.default_rng(3)
    images, weight = whole(rng, 3, 6, 4, 5), whole(rng, 2, 6, 2, 3)
    layer = rp.Conv2d(6, 2, (2, 3), **geometry, bias=False)
    A = matrix_of([layer], {"0.weight": weight}, (6, 4, 5))
    labels = np.repeat(np.arange(6), 20)
    for keep in range(7):
        name, flat = "absolute" if absolute else "signed", images.reshape(3, -1).T
        answer = rp.ispasp(images, weight, keep, importance=name, rank=rank, **geometry)
        assert list(answer.trace[-1].kept) == definitions.ispasp(
            flat, A, keep, units=labels, absolute=absolute, norms=rank == "norms"
        )
        kept = np.isin(np.arange(6), answer.trace[-1].kept)
        assert_array_equal(answer.mask, np.broadcast_to(kept[:, None, None], weight.shape))
        problem = rp.LayerProblem.from_inputs(weight, images, **geometry)
        assert_allclose(answer.objective, problem.objective(answer.weight), rtol=1e-13)
        refit = rp.ispasp(images, weight, keep, refit=True, damp=1e-9, **geometry)
        assert refit.objective <= problem.objective(np.where(refit.mask, weight, 0)) * (1 + 1e-9)


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("name", ["signed", "absolute"])
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_every_iteration_holds_by_autodiff(rank, name, seed, keep):
    hidden, weight = units_problem(np.random.default_rng(seed))
    answer = rp.ispasp(hidden, weight, keep, importance=name, rank=rank)
    certify(lambda h: h @ weight.T, hidden.T, np.arange(12), keep, answer.trace, name == "absolute", rank)


def test_importance_by_autodiff_is_the_closed_form():
    hidden, weight = units_problem(np.random.default_rng(4))
    S = np.array([0, 3, 7])
    V = weight @ hidden - weight[:, S] @ hidden[S]
    y = importance(lambda h: h @ weight.T, hidden.T, S, np.arange(12))
    # sums of 28 products each way
    slack = 1e-13 * (abs(weight.T) @ abs(V)).sum(axis=1).max()
    assert_allclose(y, (weight.T @ V).sum(axis=1), rtol=0, atol=slack)
    # and V need not be known: the sum over samples goes through
    h = hidden.sum(axis=1) * ~np.isin(np.arange(12), S)
    assert_allclose(y, weight.T @ (weight @ h), rtol=0, atol=slack)


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_the_residual_is_bounded_by_what_was_pruned(seed, keep):
    hidden, weight = units_problem(np.random.default_rng(seed))
    answer = rp.ispasp(hidden, weight, keep)
    gone = np.linalg.norm(hidden[~answer.mask[0]])
    bound = np.linalg.norm(weight, 2) * gone
    assert residual(hidden, weight, answer) <= bound * (1 + 1e-12)
    value = residual(hidden, weight, answer) ** 2 / 2 / hidden.shape[1]
    assert_allclose(answer.objective, value, rtol=1e-12, atol=1e-30)


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_the_residual_is_bounded_by_the_norms_of_what_was_pruned(seed, keep):
    """The triangle inequality. From half of the units on no other choice has a smaller bound."""
    hidden, weight = units_problem(np.random.default_rng(seed))
    answer = rp.ispasp(hidden, weight, keep, rank="norms")
    size = np.linalg.norm(hidden, axis=1) * np.linalg.norm(weight, axis=0)
    bound = size[~answer.mask[0]].sum()
    assert residual(hidden, weight, answer) <= bound * (1 + 1e-12)
    assert_allclose(answer.trace[-1].size, size[answer.mask[0]].sum(), rtol=1e-12)
    if keep >= 6:
        assert bound <= np.sort(size)[: 12 - keep].sum() * (1 + 1e-12)


@given(st.integers(0, 10**6), st.integers(6, 12))
def test_norms_of_half_of_the_units_or_more_are_obd(seed, keep):
    """Half the square of a norm, by sample, is OBD's saliency of a column. Whole numbers, 8 samples: ties are ties."""
    rng = np.random.default_rng(seed)
    hidden, weight = whole(rng, 12, 8, most=3), whole(rng, 4, 12, most=3)
    columns = rp.obd(rp.LayerProblem.from_inputs(weight, hidden.T), rp.Groups(keep=keep, axis=1))
    answer = rp.ispasp(hidden, weight, keep, rank="norms")
    assert_array_equal(answer.mask, columns.mask)
    assert_allclose(answer.objective, columns.objective, rtol=1e-13, atol=1e-13)


def test_norms_of_units_with_several_columns():
    """What a channel gives is no product of two norms: two kernel entries that see equal numbers may cancel."""
    images, kernel = np.ones((1, 2, 1, 3)), np.array([[[[3.0, -3.0]], [[1.0, 0.5]]]])
    answer = rp.ispasp(images, kernel, 1, rank="norms")
    assert list(answer.trace[-1].kept) == [1]
    assert_allclose(answer.trace[-1].size, 1.5 * 2**0.5, rtol=1e-15)  # two positions
    labels = np.array([0, 1])
    convolved = norms(
        lambda x: x[..., :2] * kernel[0, :, :, :1] + x[..., 1:] * kernel[0, :, :, 1:], images, labels
    )
    assert_allclose(convolved, [0, answer.trace[-1].size], rtol=1e-15)


def decaying(rng, units, p, samples=64, outputs=20):
    """Row norms i^(-1/p) in any order; columns of the weight of squared norm about 0.2."""
    hidden = abs(rng.normal(size=(units, samples)))
    hidden *= (np.arange(1, units + 1) ** (-1 / p) / np.linalg.norm(hidden, axis=1))[:, None]
    return hidden[rng.permutation(units)], rng.normal(size=(outputs, units)) * (0.2 / outputs) ** 0.5


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.5]), st.integers(1, 40))
def test_the_residual_decays_polynomially_for_the_largest_units(seed, p, keep):
    """The tail sum of i^(-2/p) behind s is at most s^(1 - 2/p) / (2/p - 1), the integral from s on."""
    rng = np.random.default_rng(seed)
    hidden, weight = decaying(rng, 40, p)
    size = rng.uniform(0.5, 4)  # R
    largest = np.argsort(np.linalg.norm(hidden, axis=1))[::-1][:keep]
    V = weight @ (size * hidden) - weight[:, largest] @ (size * hidden[largest])
    bound = np.linalg.norm(weight, 2) * size * keep ** (0.5 - 1 / p) / (2 / p - 1) ** 0.5
    # V is a difference: eps of what it is taken from
    assert np.linalg.norm(V) <= bound * (1 + 1e-12) + 1e-14 * np.linalg.norm(weight @ hidden) * size


def test_the_published_figure():
    """Squared residuals at 99 of 100 units within a factor of 5 of the paper's, and steeper slopes for smaller p."""
    published = {0.3: 1e-14, 0.5: 2e-9, 0.7: 4e-7, 0.9: 3e-6}
    sizes, slopes = np.array([10, 20, 40, 80]), []
    for p, expected in published.items():
        found = []
        for seed in range(5):
            hidden, weight = decaying(np.random.default_rng(seed), 100, p)
            weight *= 0.2**0.5 / np.linalg.norm(weight, axis=0)
            found.append([rp.ispasp(hidden, weight, s).objective * 2 * 64 for s in (99, *sizes)])
        found = np.exp(np.log(found).mean(axis=0))
        assert expected / 5 <= found[0] <= expected * 5, p
        slopes.append(np.polyfit(np.log(sizes), np.log(found[1:]), 1)[0])
        # |V|^2 of the largest units falls as s^(1 - 2/p) or faster; a tenth for the noise of five draws
        assert slopes[-1] <= 0.9 * (1 - 2 / p)
    assert slopes == sorted(slopes)


@given(st.integers(0, 10**6), st.integers(0, 12))
def test_sums_never_fall_and_stopping_changes_nothing(seed, keep):
    hidden, weight = units_problem(np.random.default_rng(seed))
    answer, whole = rp.ispasp(hidden, weight, keep), rp.ispasp(hidden, weight, keep, stop=False)
    sizes = [step.size for step in whole.trace]
    assert len(sizes) == 20
    assert sizes == sorted(sizes)  # exactly: the same numbers are summed, and a set only ever improves
    steps = len(answer.trace)
    assert steps < 20
    assert all(list(a.kept) == list(b.kept) for a, b in zip(answer.trace, whole.trace, strict=False))
    assert all(list(step.kept) == list(answer.trace[-1].kept) for step in whole.trace[steps - 1 :])
    assert_array_equal(answer.weight, whole.weight)
    assert len(rp.ispasp(hidden, weight, keep, iterations=1).trace) == 1


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("name", ["signed", "absolute"])
def test_permuted_and_scaled(name, rank):
    """Whole numbers far apart: no rounding and no ties. Powers of two whose squares are out of range change nothing."""
    rng = np.random.default_rng(5)
    hidden, weight = whole(rng, 12, 7, most=5000), whole(rng, 4, 12, most=5000)
    for keep in range(13):
        mask = rp.ispasp(hidden, weight, keep, importance=name, rank=rank).mask
        order = rng.permutation(12)
        moved = rp.ispasp(hidden[order][:, ::-1], weight[::-1, order], keep, importance=name, rank=rank)
        assert_array_equal(moved.mask, mask[:, order])
        powers = ((600, 0), (-600, 0), (0, 300), (0, 600), (0, -600), (-600, 600), (600, 600), (-600, -600))
        for a, b in powers:
            scaled = rp.ispasp(hidden * 2.0**b, weight * 2.0**a, keep, name, rank=rank)
            assert_array_equal(scaled.mask, mask)
    answer = rp.ispasp(hidden, weight, 6)
    for a, b in ((-600, 600), (600, -600)):
        assert rp.ispasp(hidden * 2.0**b, weight * 2.0**a, 6).objective == answer.objective


def test_samples_may_be_repeated():
    """Sums against means: with every sample three times nothing changes."""
    hidden, weight = units_problem(np.random.default_rng(6))
    for keep in range(13):
        for rank in ("sums", "norms"):
            answer = rp.ispasp(hidden, weight, keep, rank=rank)
            thrice = rp.ispasp(np.tile(hidden, 3), weight, keep, rank=rank)
            assert_array_equal(thrice.mask, answer.mask)
            assert_allclose(thrice.objective, answer.objective, rtol=1e-13, atol=1e-30)


@pytest.mark.parametrize("rank", ["sums", "norms"])
@pytest.mark.parametrize("name", ["signed", "absolute"])
def test_parts_of_the_samples_change_nothing(name, rank, monkeypatch):
    """Whole numbers, in parts of 1, of 4 and of 50 samples; the last part is a smaller one."""
    rng = np.random.default_rng(12)
    hidden, weight = whole(rng, 9, 50), whole(rng, 3, 9)
    images, kernels = whole(rng, 7, 4, 3, 3), whole(rng, 2, 4, 2, 2)

    def answer():
        return [rp.ispasp(hidden, weight, 3, name, rank=rank), rp.ispasp(images, kernels, 2, name, rank=rank)]

    answers = answer()
    for most in (1, 4 * 36):
        monkeypatch.setattr("refprune.methods.unit_selection.NUMBERS", most)
        for a, b in zip(answers, answer(), strict=True):
            assert_array_equal(a.mask, b.mask)
            assert a.objective == b.objective


def test_all_and_none():
    hidden, weight = units_problem(np.random.default_rng(7))
    for refit in (False, True):
        every = rp.ispasp(hidden, weight, 12, refit=refit, damp=0.25 if refit else 0.0)
        assert_array_equal(every.weight, weight)
        assert every.objective == 0
        assert every.mask.all()
        none = rp.ispasp(hidden, weight, 0, refit=refit)
        assert not none.weight.any()
        assert not none.mask.any()
        assert_allclose(none.objective, np.sum((weight @ hidden) ** 2) / 2 / 7, rtol=1e-12)


def test_half_of_the_units_or_more_are_chosen_by_their_sizes_alone():
    hidden, weight = units_problem(np.random.default_rng(8))
    for keep in range(6, 13):
        answer = rp.ispasp(hidden, weight, keep)
        assert_array_equal(
            answer.trace[0].kept, np.sort(np.argsort(hidden.sum(axis=1), kind="stable")[-keep:])
        )
        size = np.linalg.norm(hidden, axis=1) * np.linalg.norm(weight, axis=0)
        answer = rp.ispasp(hidden, weight, keep, rank="norms")
        assert_array_equal(answer.trace[0].kept, np.sort(np.argsort(size, kind="stable")[-keep:]))


@given(st.integers(0, 10**6), st.integers(0, 8))
def test_a_refit_is_least_squares_on_the_kept_units(seed, keep):
    rng = np.random.default_rng(seed)
    hidden, weight = units_problem(rng, 8, 30)
    plain, refit = rp.ispasp(hidden, weight, keep), rp.ispasp(hidden, weight, keep, refit=True)
    assert_array_equal(plain.mask, refit.mask)
    K = np.flatnonzero(refit.mask[0] & hidden.any(axis=1))
    best = np.linalg.lstsq(hidden[K].T, (weight @ hidden).T, rcond=None)[0].T
    scale = np.linalg.cond(hidden[K].T) ** 2 * np.abs(weight).max() if len(K) else 1
    assert_allclose(refit.weight[:, K], best, rtol=0, atol=1e-13 * scale)  # normal equations: cond squared
    assert not refit.weight[~refit.mask].any()
    assert refit.objective <= plain.objective * (1 + 1e-12)


def test_a_singular_refit_says_what_damping_would_do():
    hidden, weight = units_problem(np.random.default_rng(9), 12, 7)
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram restricted.*damp="):
        rp.ispasp(hidden, weight, 10, refit=True)
    assert rp.ispasp(hidden, weight, 10, refit=True, damp=1e-3).objective >= 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_aliases_and_inputs(dtype):
    hidden, weight = (x.astype(dtype) for x in units_problem(np.random.default_rng(10)))
    before = hidden.copy(), weight.copy()
    for array in (hidden, weight):
        array.setflags(write=False)
    for keep in (4, 12):
        for refit in (False, True):
            rank = "norms" if refit else "sums"
            answer = rp.ispasp(hidden, weight, keep, refit=refit, rank=rank, damp=0.5 if refit else 0.0)
            assert answer.weight.dtype == dtype
            assert answer.mask.dtype == bool
            assert type(answer.objective) is float
            answer.weight[0, 0] = answer.mask[0, 0] = True
    assert_array_equal(hidden, before[0])
    assert_array_equal(weight, before[1])


def test_many_float32_samples_are_summed_in_float64():
    """Two units whose sums differ by one part in 2^26: float32 cannot tell them apart, float64 can."""
    hidden = np.ones((2, 2**12), dtype="float32") * 2**14
    hidden[0, -1] += 1
    for rank in ("sums", "norms"):
        assert list(rp.ispasp(hidden, np.ones((1, 2), dtype="float32"), 1, rank=rank).trace[-1].kept) == [0]


H, W = units_problem(np.random.default_rng(11))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rp.ispasp(H, W, 13), ValueError, r"need keep in \[0, 12\]; got 13"),
        (lambda: rp.ispasp(H, W, -1), ValueError, r"need keep in \[0, 12\]; got -1"),
        (lambda: rp.ispasp(H, W, 0.5), TypeError, "need keep to be an integer; got 0.5"),
        (lambda: rp.ispasp(H.T, W, 3), ValueError, "need hidden with the 12 units of weight; got 7"),
        (lambda: rp.ispasp(H[:, :0], W, 3), ValueError, "need at least one sample, unit and output"),
        (lambda: rp.ispasp(H, W[:0], 3), ValueError, "need at least one sample, unit and output"),
        (lambda: rp.ispasp(H[None, None], W, 3), ValueError, "need weight with 4 dimensions"),
        (lambda: rp.ispasp(H[0], W, 3), ValueError, "need hidden with 2 or 4 dimensions"),
        (lambda: rp.ispasp(H * np.nan, W, 3), ValueError, "need finite numbers in hidden"),
        (lambda: rp.ispasp(H, W.astype(int), 3), TypeError, "need real floating numbers in weight"),
        (lambda: rp.ispasp(H, W, 3, importance="norm"), ValueError, "need importance to be signed or absolute"),
        (lambda: rp.ispasp(H, W, 3, rank="l2"), ValueError, "need rank to be sums or norms; got 'l2'"),
        (lambda: rp.ispasp(H, W, 3, refit=1), TypeError, "need refit to be True or False; got 1"),
        (lambda: rp.ispasp(H, W, 3, stop=None), TypeError, "need stop to be True or False; got None"),
        (lambda: rp.ispasp(H, W, 3, iterations=0), ValueError, "need iterations >= 1; got 0"),
        (lambda: rp.ispasp(H, W, 3, damp=0.1), ValueError, "need refit=True with damp > 0; got damp=0.1"),
        (lambda: rp.ispasp(H, W, 3, refit=True, damp=-1.0), ValueError, "need damp >= 0"),
        (lambda: rp.ispasp(H, W, 3, padding=1), ValueError, "need images for stride, padding and dilation"),
        (
            lambda: rp.ispasp(H.reshape(7, 12, 1, 1), W.reshape(4, 12, 1, 1) * np.ones((3, 3)), 3),
            ValueError,
            "need a kernel that fits the padded images",
        ),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
