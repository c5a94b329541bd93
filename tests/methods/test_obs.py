"""Optimal Brain Surgeon on single weights: quadratics, layers, N:M, prior masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from refprune.arrays import inv
from refprune.definitions.obs import steps
from refprune.methods import refit, removal, walks, weight_paths
from tests.methods.checks import removed_exactly, replay, stationary, truthful
from tests.methods.problems import condition, exact_quadratics, fractions, layers, masks, spd, with_dead

EPS = 2.0**-52


def certify(W, G, answer, eps=EPS, **nm):
    """Each row of an answer, given its order: greedy, stationary; and the layer's numbers are true."""
    columns = W.shape[1]
    removed_exactly(answer.weight, answer.mask, len(answer.order))
    assert sorted(answer.order.tolist()) == np.flatnonzero(~answer.mask).tolist()
    for i in range(len(W)):
        replay(W[i], G, [p % columns for p in answer.order.tolist() if p // columns == i], eps, **nm)
        stationary(W[i], G, answer.weight[i], answer.mask[i], eps)
    D = answer.weight.astype(float) - W
    total = np.sum(W @ G * W) / 2
    truthful(np.sum(D @ G * D) / 2, answer.objective, answer.trace, W.size * total, eps, condition(G))


# (a) the definition: exactly, on small integers and on random layers


def exact_path(w, H):
    """(order, losses, relative gaps to the second cheapest) of the whole path in exact arithmetic."""
    order, losses, gaps = [], [], []
    for p, loss, _ in steps(fractions(w), fractions(H)):
        A = np.array([q for q in range(len(w)) if q not in order and H[q, q] > 0])
        if H[p, p] > 0:
            G = inv(fractions(H)[np.ix_(A, A)])
            v = G @ (fractions(H)[A] @ fractions(w))
            others = [v[i] ** 2 / (2 * G[i, i]) for i, q in enumerate(A) if q != p]
            gaps.append(float(min(others) - loss) if others else np.inf)
        else:
            gaps.append(np.inf)
        order.append(p)
        losses.append(float(loss))
    return order, losses, gaps


@given(exact_quadratics(), st.data())
def test_the_exact_run_agrees(problem, data):
    """The certificate always holds; where no two candidates tie in exact arithmetic the orders are equal."""
    w, H = problem
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.LayerProblem(w[None], H), rp.Unstructured(keep=len(w) - k))
    certify(w[None], H, answer)
    order, losses, gaps = exact_path(w, H)
    if min(gaps[:k], default=np.inf) > 1e-9:
        assert answer.order.tolist() == order[:k]
        assert_allclose(answer.trace, losses[:k], rtol=0, atol=1e-12 * (w @ H @ w) * condition(H))
        exact = definitions.obs(fractions(w), fractions(H), k)[0].astype(float)
        assert_allclose(answer.weight[0], exact, rtol=0, atol=1e-11 * condition(H))


@given(layers(), st.data())
def test_layers_with_each_rule_are_the_definition(layer, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size))
    rule = data.draw(st.sampled_from(["heap", "sorted", "cumulative"]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), allocation=rule)
    V, mask = definitions.exact_obs(W, G, count, rule)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    certify(W, G, answer)


@given(layers(), st.data())
def test_rows_with_their_own_budget(layer, data):
    W, G = layer.weight, layer.gram
    k = data.draw(st.integers(0, W.shape[1]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k, scope="row"))
    assert (~answer.mask).sum(axis=1).tolist() == [k] * len(W)
    order = answer.order.reshape(len(W), k)
    for i in range(len(W)):
        assert definitions.obs(W[i], G, k)[1] == (order[i] - i * W.shape[1]).tolist()
    certify(W, G, answer)


@given(
    layers(columns=(1, 3), width=4), st.sampled_from([(0, 1), (1, 1), (1, 2), (2, 4), (1, 4), (3, 4), (0, 4)])
)
def test_nm_is_the_definition(layer, pattern):
    W, G = layer.weight, layer.gram
    n, m = pattern
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(n, m))
    V, mask = definitions.exact_obs_nm(W, G, n, m)
    assert_array_equal(answer.mask, mask)
    assert (answer.mask.reshape(len(W), -1, m).sum(axis=2) == n).all()
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    certify(W, G, answer, groups=np.arange(W.shape[1]) // m, zeros=m - n)


@given(layers(rows=(1, 1), columns=(1, 6)), st.data())
def test_sandwich(layer, data):
    """Best support <= OBS <= the loss of its own mask without update; OBS equals re-solving every candidate."""
    w, H = layer.weight[0], layer.gram
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k))
    slack = 100 * EPS * len(w) * condition(H) * (w @ H @ w)
    d = np.where(answer.mask, 0, w)
    assert definitions.best_support(w, H, k)[2] - slack <= answer.objective <= d @ H @ d / 2 + slack
    assert definitions.obs_by_resolving(w, H, k)[1] == answer.order.tolist()


# (b) the objective grows along the path, and every prefix of a path is the shorter path


@given(layers(rows=(1, 1)))
def test_shorter_paths_are_prefixes(layer):
    w, H = layer.weight[0], layer.gram
    answers = [rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k)) for k in range(len(w) + 1)]
    whole = answers[-1].order.tolist()
    slack = 100 * EPS * len(w) * condition(H) * (w @ H @ w)
    for k, answer in enumerate(answers):
        assert answer.order.tolist() == whole[:k]
        assert k == 0 or answer.objective >= answers[k - 1].objective - slack
    assert_array_equal(answers[0].weight, w)
    assert_array_equal(answers[-1].weight, 0 * w)
    assert_allclose(answers[-1].objective, w @ H @ w / 2, rtol=1e-12)


def test_the_inverse_stays_the_inverse_of_the_living_block():
    """After each removal U, the diagonal and the weights are those of a fresh inverse, through compactions."""
    rng = np.random.default_rng(13)
    W, H = rng.normal(size=(3, 1, 40)), spd(rng, 40, 1e3)
    state = removal.Removal(W, np.linalg.inv(H), 1 / np.diag(H), depth=40)
    for _ in range(40):
        state.make_room()
        p = np.argmax(np.where(state.alive, np.abs(state.weight[:, 0]), -1), axis=1)  # any choice will do
        state.remove(p)
        for r in range(3):
            A = np.sort(state.column[r][state.alive[r]])
            G = np.linalg.inv(H[np.ix_(A, A)])
            # 10 d eps cond at the scale of the columns
            size = 10 * 40 * EPS * condition(H)
            unit = np.sqrt(np.diag(H)[A])
            diagonal = state.diagonal[r][state.alive[r]]
            assert_allclose(diagonal * unit**2, np.diag(G) * unit**2, rtol=size)
            weight = state.weight[r, 0][state.alive[r]]
            expected = W[r, 0, A] + G @ (
                H[A][:, np.setdiff1d(np.arange(40), A)] @ W[r, 0, np.setdiff1d(range(40), A)]
            )
            scale = np.sqrt(W[r, 0] @ H @ W[r, 0])
            assert_allclose(weight * unit, expected * unit, rtol=0, atol=size * scale)
    assert state.pivots.shape[2] < 20  # it did compact


def test_rounding_cannot_make_a_diagonal_negative():
    """Near the limit of the arithmetic a downdated diagonal loses its digits; it stays at 1 / H_pp or above."""
    rng = np.random.default_rng(14)
    for cond, dtype in ((2e13, "float64"), (1e4, "float32")):
        matrix = spd(rng, 30, cond).astype(dtype).astype(float)
        W = rng.normal(size=(2, 30)).astype(dtype)
        answer = rp.obs(rp.LayerProblem(W, matrix.astype(dtype)), rp.Unstructured(sparsity=0.9))
        removed_exactly(answer.weight, answer.mask, 54)
        assert all(loss >= 0 for loss in answer.trace)
        kept_only = np.where(answer.mask, W, 0) - W
        assert answer.objective <= np.sum(kept_only @ matrix * kept_only) / 2 * (1 + 1e-3)


# (c) exact facts


def test_boundaries_by_hand():
    """H = [[1, 7/8], [7/8, 1]] + 1: removing 1.5 costs 1.5^2 / 2 * (1 - 49/64), and 2.0 takes over 7/8 of it."""
    H = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    answer = rp.obs(rp.Quadratic(H, np.array([2.0, 1.5, 1.0])), rp.Unstructured(keep=2))
    assert answer.weight.tolist() == [3.3125, 0, 1]
    assert answer.order.tolist() == [1]
    assert answer.objective == 0.263671875
    assert answer.trace[0] == pytest.approx(0.263671875, rel=1e-14)
    assert isinstance(answer.objective, float)
    assert all(type(loss) is float for loss in answer.trace)


def test_a_diagonal_hessian_is_obd():
    rng = np.random.default_rng(15)
    h, w = rng.uniform(0.1, 9, size=10), rng.normal(size=10)
    h[[2, 7]] = 0
    for k in range(11):
        pattern = rp.Unstructured(keep=10 - k)
        answer = rp.obs(rp.Quadratic(h, w), pattern)
        obd = rp.obd(rp.Quadratic(h, w), pattern)
        assert_array_equal(answer.mask, obd.mask)
        assert_array_equal(answer.weight, obd.weight)
        assert_array_equal(rp.obs(rp.Quadratic(np.diag(h), w), pattern).weight, answer.weight)


def test_ties_go_to_the_lowest_flat_index():
    W = np.array([[1.0, -1.0, 2.0, 1.0], [1.0, 1.0, 2.0, -1.0]])
    layer = rp.LayerProblem(W, np.eye(4))
    assert rp.obs(layer, rp.Unstructured(keep=3)).order.tolist() == [0, 1, 3, 4, 5]
    assert rp.obs(layer, rp.NM(1, 2)).order.tolist() == [0, 3, 4, 7]
    for rule in ("sorted", "cumulative"):
        assert (~rp.obs(layer, rp.Unstructured(keep=4), allocation=rule).mask).sum(axis=1).tolist() in (
            [3, 1],
            [2, 2],
        )
    zero = rp.obs(rp.LayerProblem(np.zeros((2, 4)), np.eye(4)), rp.Unstructured(keep=3))
    assert zero.order.tolist() == [0, 1, 2, 3, 4]


def test_the_three_rules_differ_on_the_integer_witness():
    """In units of 1/2 tr D G D^T with G = X^T X / 5; twice that in units of H = 2/n X^T X."""
    W = np.array([[2.0, -3.0, -5.0], [-9.0, -1.0, 4.0]])
    X = np.array([[0.0, 1, 2], [-2, 5, -2], [1, 5, 0], [0, -1, 1], [-4, -1, 3]])
    layer = rp.LayerProblem.from_inputs(W, X)
    paths = [rp.obs(layer.row(i), rp.Unstructured(keep=0)).trace for i in range(2)]
    assert [[round(loss, 2) for loss in path] for path in paths] == [
        [6.62, 48.46, 27.22],
        [4.27, 34.85, 230.48],
    ]
    for rule, counts, objective in (
        ("heap", [1, 2], 45.745), ("sorted", [2, 1], 59.348), ("cumulative", [1, 2], 45.745)
    ):  # fmt: skip
        answer = rp.obs(layer, rp.Unstructured(keep=3), allocation=rule)
        assert (~answer.mask).sum(axis=1).tolist() == counts
        assert round(answer.objective, 3) == objective


def test_either_of_two_tied_sets_is_certified():
    """H and w of the oracle's witness: {2, 0} is right, though 1 is cheapest of the others at the end."""
    H, w = np.array([[2, 1.2, 0], [1.2, 2, 0], [0, 0, 2]]), np.array([1.25, -1.35, 1])
    answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=1))
    replay(w, H, answer.order.tolist(), EPS)
    stationary(w, H, answer.weight, answer.mask, EPS)


@pytest.mark.parametrize("count_rule", ["round", "floor", "ceil", "strict"])
@pytest.mark.parametrize("sparsity", [0.1, 0.55, 0.7])
def test_counts_are_exact(sparsity, count_rule):
    rng = np.random.default_rng(16)
    layer = rp.LayerProblem(rng.normal(size=(4, 5)), spd(rng, 5))
    pattern = rp.Unstructured(sparsity=sparsity, count_rule=count_rule)
    answer = rp.obs(layer, pattern)
    assert np.count_nonzero(~answer.mask) == len(answer.order) == pattern.removals((4, 5))
    assert pattern.admits(answer.mask)


def test_nm_edges():
    rng = np.random.default_rng(17)
    W, G = rng.normal(size=(3, 10)), spd(rng, 10)
    layer = rp.LayerProblem(W, G)
    assert_array_equal(rp.obs(layer, rp.NM(5, 5)).weight, W)
    assert_array_equal(rp.obs(layer, rp.NM(0, 5)).weight, 0 * W)
    dense = rp.obs(layer, rp.NM(1, 4, remainder="dense"))
    assert dense.mask[:, 8:].all()
    assert (dense.mask[:, :8].reshape(3, 2, 4).sum(axis=2) == 1).all()
    one = rp.obs(layer, rp.NM(3, 10))  # one group is unstructured in every row
    assert_array_equal(one.mask, rp.obs(layer, rp.Unstructured(keep=3, scope="row")).mask)
    with pytest.raises(ValueError, match="need columns in a multiple of m = 4"):
        rp.obs(layer, rp.NM(1, 4))


def test_nm_of_a_convolution_runs_along_input_channels():
    rng = np.random.default_rng(18)
    W, G = rng.normal(size=(3, 4, 1, 2)), spd(rng, 8)
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4))
    assert answer.weight.shape == W.shape
    assert (answer.mask.sum(axis=1) == 2).all()
    order = np.array([c * 2 + k for k in range(2) for c in range(4)])  # columns as (kernel, channel)
    flat = rp.obs(rp.LayerProblem(W.reshape(3, 8)[:, order], G[order][:, order]), rp.NM(2, 4))
    assert_array_equal(answer.mask.reshape(3, 8)[:, order], flat.mask)


def test_a_grouped_convolution_is_stacked_layers_with_one_budget():
    rng = np.random.default_rng(19)
    W = rng.normal(size=(4, 2, 3, 1)) * np.array([1.0, 4, 1, 4])[:, None, None, None]
    grams = np.stack([spd(rng, 6), 2.0**-7 * spd(rng, 6)])
    answer = rp.obs(rp.LayerProblem(W, grams), rp.Unstructured(sparsity=0.5))
    hessian = np.zeros((24, 24))
    for i in range(4):
        hessian[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] = grams[i // 2]
    v, order = definitions.obs_groups(W.ravel(), hessian, np.arange(24), 12)
    assert answer.order.tolist() == order
    assert_allclose(answer.weight.ravel(), v, rtol=0, atol=1e-10)
    rows = rp.obs(rp.LayerProblem(W, grams), rp.Unstructured(keep=2, scope="row"))
    for i in range(2):
        half = rp.LayerProblem(W[2 * i : 2 * i + 2].reshape(2, 6), grams[i])
        alone = rp.obs(half, rp.Unstructured(keep=2, scope="row"))
        assert_array_equal(rows.mask[2 * i : 2 * i + 2].reshape(2, 6), alone.mask)


# dead inputs, prior zeros, damping, gradient


def test_dead_inputs_go_first_and_lowest_first():
    rng = np.random.default_rng(20)
    G = with_dead(spd(rng, 4), [1, 4])
    W = rng.normal(size=(2, 6))
    W[0, 0] = 0  # free as well, and of a lower index, but not dead
    for rule in ("heap", "sorted", "cumulative"):
        answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=9), allocation=rule)
        assert answer.order.tolist() == [1, 4, 7]
        assert_array_equal(answer.weight[answer.mask], W[answer.mask])  # nothing moves
        assert answer.weight[1, 4] == W[1, 4] != 0
        assert answer.trace == (0.0, 0.0, 0.0)
        assert answer.objective == 0
    beyond = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=6))
    assert beyond.order.tolist()[:5] == [1, 4, 7, 10, 0]
    nm = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 3))
    assert nm.order.tolist() == [1, 4, 7, 10]


def test_everything_dead():
    layer = rp.LayerProblem(np.ones((2, 4)), np.zeros((4, 4)))
    for pattern in (rp.Unstructured(keep=3), rp.NM(1, 2), rp.Blocks(2, keep=2), rp.Groups(keep=2, axis=1)):
        answer = rp.obs(layer, pattern)
        assert pattern.admits(answer.mask)
        assert answer.objective == 0
        assert_array_equal(answer.weight, answer.mask * 1.0)
    assert rp.obs(layer, rp.Unstructured(keep=3)).order.tolist() == [0, 1, 2, 3, 4]


@given(layers(), st.data())
def test_prior_zeros_are_columns_that_are_not_there(layer, data):
    """Each row with a prior mask is the row with those columns deleted from weight and Hessian."""
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    k = data.draw(st.integers(int((~prior).sum(axis=1).max()), W.shape[1]))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.shape[1] - k, scope="row"), mask=prior)
    assert not answer.mask[~prior].any()
    for i in range(len(W)):
        K = np.flatnonzero(prior[i])
        v, order = definitions.obs(W[i, K], G[np.ix_(K, K)], k - (W.shape[1] - len(K)))
        assert_allclose(answer.weight[i, K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
        own = (answer.order.reshape(len(W), k)[i] - i * W.shape[1]).tolist()
        assert own == [*np.flatnonzero(~prior[i]), *K[order]]
    D = answer.weight - W
    total = np.sum(W @ G * W) / 2
    truthful(np.sum(D @ G * D) / 2, answer.objective, answer.trace, W.size * total, EPS, condition(G))


@given(layers(), st.data())
def test_prior_zeros_in_a_shared_budget(layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    count = data.draw(st.integers(int((~prior).sum()), W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), mask=prior)
    K = np.flatnonzero(prior)
    hessian = np.kron(np.eye(len(W)), G)[np.ix_(K, K)]
    v, order = definitions.obs_groups(
        W.ravel()[K], hessian, np.arange(len(K)), count - np.count_nonzero(~prior)
    )
    assert answer.order.tolist() == [*np.flatnonzero(~prior), *K[order]]
    assert_allclose(
        answer.weight.ravel()[K], v, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100
    )


@given(layers(columns=(1, 2), width=4, dead=False), st.data())
def test_prior_zeros_in_nm_are_counted_and_never_revived(layer, data):
    W, G = layer.weight, layer.gram
    prior = data.draw(masks(W.size)).reshape(W.shape)
    W = np.where(prior, W, 0)
    answer = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4), mask=prior)
    assert not answer.mask[~prior].any()
    held = (~prior).reshape(len(W), -1, 4).sum(axis=2)
    assert_array_equal((~answer.mask).reshape(len(W), -1, 4).sum(axis=2), np.maximum(held, 2))
    for i in range(len(W)):
        stationary(W[i], G, answer.weight[i], answer.mask[i], EPS)
        K = np.flatnonzero(prior[i])
        own = [p % W.shape[1] for p in answer.order.tolist() if p // W.shape[1] == i]
        assert own[: len(prior[i]) - len(K)] == np.flatnonzero(~prior[i]).tolist()
        left = [int(np.flatnonzero(p == K)[0]) for p in own[len(prior[i]) - len(K) :]]
        replay(W[i, K], G[np.ix_(K, K)], left, EPS, groups=K // 4, zeros=2 - held[i])


def test_a_zero_weight_without_a_prior_mask_is_ordinary():
    H = np.array([[2.0, 1.0], [1.0, 1.0]])
    answer = rp.obs(rp.Quadratic(H, np.array([0.0, 3.0])), rp.Unstructured(keep=1))
    assert answer.order.tolist() == [0]  # it is the cheapest
    H = np.eye(3)
    H[0, 1] = H[1, 0] = 0.5
    answer = rp.obs(
        rp.Quadratic(H, np.array([0.0, 3.0, 0.0])),
        rp.Unstructured(keep=2),
        mask=np.array([True, True, False]),
    )
    assert answer.order.tolist() == [2]  # the prior zero goes before the free one of a lower index


@given(layers(), st.data())
def test_damping_chooses_and_refits_with_the_damped_matrix(layer, data):
    W, G = layer.weight, layer.gram
    count = data.draw(st.integers(0, W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count), damp=0.5)
    living = np.diag(G) > 0
    damped = G.copy()
    if living.any():
        damped += np.diag(living * (0.5 * np.diag(G)[living].mean()))
    V, mask = definitions.exact_obs(W, damped, count)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(damped) * np.abs(W).max() * 100)
    D = answer.weight - W
    assert_allclose(answer.objective, np.sum(D @ G * D) / 2, rtol=1e-11, atol=1e-300)  # undamped
    assert_allclose(sum(answer.trace), np.sum(D @ damped * D) / 2, rtol=1e-9, atol=1e-12 * np.sum(W @ G * W))


@given(layers(rows=(1, 1)), st.data())
def test_a_gradient_moves_the_start(layer, data):
    w, H = layer.weight[0], layer.gram
    g = H @ layer.rng.normal(size=len(w))  # in the range of H: zero on dead inputs
    k = data.draw(st.integers(0, len(w)))
    answer = rp.obs(rp.Quadratic(H, w, g), rp.Unstructured(keep=len(w) - k))
    living = np.diag(H) > 0
    start = w.copy()
    start[living] -= np.linalg.solve(H[np.ix_(living, living)], g[living])
    v, order = definitions.obs(start, H, k)
    assert answer.order.tolist() == order
    scale = np.abs(w).max() + np.abs(start).max()
    assert_allclose(answer.weight, v, rtol=0, atol=1e3 * EPS * condition(H) * scale * 100)
    drop = g @ (start - w) / 2  # -1/2 g^T H^-1 g
    size = start @ H @ start + w @ H @ w
    assert_allclose(answer.objective, sum(answer.trace) + drop, rtol=0, atol=1e3 * EPS * condition(H) * size)
    stationary(w, H, answer.weight, answer.mask, EPS, gradient=g)


# (d) invariances


def test_powers_of_two_change_no_bit():
    rng = np.random.default_rng(21)
    W, G = rng.normal(size=(3, 9)), with_dead(spd(rng, 8), [5])
    patterns = (
        rp.Unstructured(sparsity=0.5),
        rp.NM(1, 3),
        rp.Blocks(3, sparsity=0.5),
        rp.Groups(keep=4, axis=1),
    )
    units = 4.0 ** rng.integers(-3, 4, size=9)
    for pattern in patterns:
        base = rp.obs(rp.LayerProblem(W, G), pattern, damp=0.125)
        for a, b in ((2.0**-30, 1.0), (0.5, 4.0**9), (2.0**200, 4.0**-100), (2.0**-300, 4.0**150)):
            scaled = rp.obs(rp.LayerProblem(a * W, b * G), pattern, damp=0.125)
            assert_array_equal(scaled.weight, a * base.weight)
            assert_array_equal(scaled.order, base.order)
            assert scaled.objective == a * a * b * base.objective
            assert scaled.trace == tuple(a * a * b * loss for loss in base.trace)
        free = rp.obs(rp.LayerProblem(W, G), pattern)
        other = rp.obs(rp.LayerProblem(W / units, G * units[:, None] * units), pattern)
        assert_array_equal(other.order, free.order)
        assert_array_equal(other.weight * units, free.weight)


@pytest.mark.parametrize("tiny", [1e-310, 1e-200, 1e200])
def test_squares_beyond_the_range(tiny):
    H, w = np.array([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]]), np.array([3.0, -1, 2])
    base = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=1))
    for a, b in ((tiny, 1.0), (1.0, tiny)):
        answer = rp.obs(rp.Quadratic(b * H, a * w), rp.Unstructured(keep=1))
        assert_array_equal(answer.order, base.order)
        assert_allclose(answer.weight / a, base.weight, rtol=1e-9)


def test_signs_permutations_and_rows():
    rng = np.random.default_rng(22)
    W, G = rng.normal(size=(4, 8)), spd(rng, 8)
    pattern = rp.Unstructured(sparsity=0.5)
    base = rp.obs(rp.LayerProblem(W, G), pattern)
    signs = np.where(rng.random(8) < 0.5, -1.0, 1.0)
    flipped = rp.obs(rp.LayerProblem(W * signs, G * signs[:, None] * signs), pattern)
    assert_array_equal(flipped.weight, base.weight * signs)
    rows, columns = np.array([3, 1, 0, 2]), rng.permutation(8)
    moved = rp.obs(rp.LayerProblem(W[rows][:, columns], G[columns][:, columns]), pattern)
    assert_array_equal(moved.mask, base.mask[rows][:, columns])
    assert_allclose(moved.weight, base.weight[rows][:, columns], rtol=0, atol=1e3 * EPS * condition(G) * 100)
    groups = np.array([4, 5, 6, 7, 0, 1, 2, 3])  # whole groups of N:M may move
    nm = rp.obs(rp.LayerProblem(W, G), rp.NM(2, 4))
    shifted = rp.obs(rp.LayerProblem(W[:, groups], G[groups][:, groups]), rp.NM(2, 4))
    assert_array_equal(shifted.mask, nm.mask[:, groups])


def test_a_dead_input_more_and_its_weights_pruned_more_changes_nothing():
    rng = np.random.default_rng(23)
    W, G = rng.normal(size=(3, 6)), spd(rng, 6)
    base = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=9), damp=0.25)
    grown = np.insert(W, [0, 4], 7.0, axis=1)
    answer = rp.obs(rp.LayerProblem(grown, with_dead(G, [0, 5])), rp.Unstructured(keep=9), damp=0.25)
    living = [1, 2, 3, 4, 6, 7]
    assert_array_equal(answer.weight[:, living], base.weight)  # bit for bit
    assert not answer.mask[:, [0, 5]].any()
    assert answer.objective == pytest.approx(base.objective, rel=1e-14)  # its sum has more zeros


@pytest.mark.parametrize("rule", ["heap", "cumulative"])
@pytest.mark.parametrize("count", [1, 30, 100, 150])
def test_rows_that_stop_early_change_nothing(count, rule, monkeypatch):
    """Rows of very different scale: some give all their weights, some none, far from an equal share."""
    rng = np.random.default_rng(28)
    W, G = rng.normal(size=(4, 40)) * np.array([1.0, 64.0, 0.25, 1.0])[:, None], spd(rng, 40)
    walked, original = [], weight_paths.weight_paths

    def spy(weight, inverse, floor, depth, *rest):
        walked.append((len(weight), depth))
        return original(weight, inverse, floor, depth, *rest)

    monkeypatch.setattr(walks, "weight_paths", spy)
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=160 - count), allocation=rule)
    V, mask = definitions.exact_obs(W, G, count, rule)
    assert_array_equal(answer.mask, mask)
    assert_allclose(answer.weight, V, rtol=0, atol=1e3 * EPS * condition(G) * np.abs(W).max() * 100)
    if count == 30:
        assert walked == [(4, 17), (1, 30)]  # 5/4 of an equal share and 8, then the one row that gives more
        assert sorted((~mask).sum(axis=1).tolist())[-1] > 17


def test_chunks_change_no_bit(monkeypatch):
    rng = np.random.default_rng(24)
    layer = rp.LayerProblem(rng.normal(size=(9, 24)), spd(rng, 24))
    prior = rng.random((9, 24)) < 0.9
    masked = rp.LayerProblem(np.where(prior, layer.weight, 0), layer.gram)
    calls = [
        (layer, rp.Unstructured(sparsity=0.5), {}),
        (layer, rp.Blocks(4, sparsity=0.5), {}),
        (masked, rp.NM(2, 4), {"mask": prior}),
        (masked, rp.Unstructured(sparsity=0.75), {"mask": prior}),
    ]
    wide = [rp.obs(problem, pattern, **more) for problem, pattern, more in calls]
    monkeypatch.setattr(removal, "CACHE", 1)
    monkeypatch.setattr(refit, "CACHE", 1)
    assert [len(part) for part in removal.chunks(9, 24, 12, 8)] == [1] * 9
    for (problem, pattern, more), before in zip(calls, wide, strict=True):
        after = rp.obs(problem, pattern, **more)
        assert_array_equal(after.order, before.order)
        assert_array_equal(after.weight, before.weight)


# (e) known mistakes, each killed by its message


def greedy(w, H, k, score, follow=True, update=1.0):
    """A kernel with holes: `score(w, G, H, A)` ranks the living A; the inverse and the weights may go stale."""
    w, A, order = w.astype(float), list(range(len(w))), []
    G = np.linalg.inv(H)
    for _ in range(k):
        i = np.ix_(A, A)
        fresh = np.linalg.inv(H[i]) if follow else G[i]
        j = int(np.argmin(score(w[A], fresh, H[i])))
        w[A] -= update * w[A][j] / fresh[j, j] * fresh[:, j]
        w[A[j]] = 0
        order.append(A.pop(j))
    return w, order


def saliency(w, G, H):
    return w**2 / np.diag(G)


def refitted(order, w, H):
    mask = ~np.isin(np.arange(len(w)), order)
    return definitions.optimal_weights(w, H, mask), order


MISTAKES = {
    "stale inverse": (lambda *call: greedy(*call, saliency, follow=False), "step .* removed column"),
    "stale inverse, refitted": (
        lambda w, H, k: refitted(greedy(w, H, k, saliency, follow=False)[1], w, H),
        "step .* removed column",
    ),
    "OBD order": (lambda *call: greedy(*call, lambda w, G, H: w**2 * np.diag(H)), "step .* removed"),
    "magnitude order": (lambda *call: greedy(*call, lambda w, G, H: abs(w)), "step .* removed column"),
    "missing square": (lambda *call: greedy(*call, lambda w, G, H: abs(w) / np.diag(G)), "step .* removed"),
    "times the inverse": (lambda *call: greedy(*call, lambda w, G, H: w**2 * np.diag(G)), "step .* removed"),
    "no update": (lambda *call: refitted_by_zero(*call), "not stationary"),
    "half an update": (lambda *call: greedy(*call, saliency, update=0.5), "removed column|not stationary"),
    "rounded zeros": (lambda *call: rounded(*call), "not exactly zero"),
    "one too few": (lambda w, H, k: definitions.obs(w, H, k - 1), "were asked for"),
}


def refitted_by_zero(w, H, k):
    order = definitions.obs(w, H, k)[1]
    return np.where(np.isin(np.arange(len(w)), order), 0, w), order


def rounded(w, H, k):
    v, order = definitions.obs(w, H, k)
    return np.where(v == 0, 1e-17, v), order


def certificate(method):
    for seed in range(25, 28):
        rng = np.random.default_rng(seed)
        H, w = spd(rng, 9, 100.0), rng.normal(size=9) + 0.3
        v, order = method(w, H, 4)
        mask = ~np.isin(np.arange(9), order)
        removed_exactly(v, mask, 4)
        replay(w, H, order, EPS)
        stationary(w, H, v, mask, EPS)


def test_the_method_passes_the_certificate():
    def method(w, H, k):
        answer = rp.obs(rp.Quadratic(H, w), rp.Unstructured(keep=len(w) - k))
        return answer.weight, answer.order.tolist()

    certificate(method)
    certificate(definitions.obs)
    certificate(definitions.obs_by_resolving)
    certificate(lambda w, H, k: greedy(w, H, k, saliency))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(method)


# (f) precision


@given(layers(), st.data())
def test_float32_keeps_its_certificate(layer, data):
    W, G = layer.weight.astype("float32"), layer.gram.astype("float32")
    G = (G + G.T) / 2
    count = data.draw(st.integers(0, W.size))
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(keep=W.size - count))
    assert answer.weight.dtype == "float32"
    certify(W.astype(float), G.astype(float), answer, eps=2.0**-23)


def test_half_precision_is_computed_wider():
    rng = np.random.default_rng(26)
    W, G = rng.normal(size=(3, 8)).astype("float16"), spd(rng, 8)
    answer = rp.obs(rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5))
    wide = rp.obs(rp.LayerProblem(W.astype(float), G), rp.Unstructured(sparsity=0.5))
    assert answer.weight.dtype == "float16"
    assert_array_equal(answer.mask, wide.mask)
    assert_array_equal(answer.weight, wide.weight.astype("float16"))
    small = rp.obs(rp.LayerProblem(W, G.astype("float16").astype("float32")), rp.Unstructured(sparsity=0.5))
    assert small.weight.dtype == "float16"


# errors


def test_errors_come_first_and_name_rule_and_value():
    W, G = np.ones((2, 4)), np.eye(4)
    layer, half = rp.LayerProblem(W, G), rp.Unstructured(sparsity=0.5)
    singular = rp.LayerProblem(W, np.ones((4, 4)))
    with pytest.raises(
        np.linalg.LinAlgError, match=r"need a positive definite gram; .*deficient by 3.*damp="
    ):
        rp.obs(singular, half)
    assert rp.obs(singular, half, damp=0.01).mask.sum() == 4
    with pytest.raises(np.linalg.LinAlgError, match="need a positive definite hessian"):
        rp.obs(rp.Quadratic(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2)), half)
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram\[1\]"):
        rp.obs(rp.LayerProblem(np.ones((2, 2, 1, 1)), np.stack([np.eye(2), np.ones((2, 2))])), half)
    with pytest.raises(np.linalg.LinAlgError, match="negative diagonal"):
        rp.obs(rp.Quadratic(np.array([-1.0, 1.0]), np.ones(2)), half)
    with pytest.raises(np.linalg.LinAlgError, match="need gradient 0 where hessian has a zero diagonal"):
        rp.obs(rp.Quadratic(np.array([0.0, 1.0]), np.ones(2), np.ones(2)), half)
    for bad, error, message in (
        ({"pattern": 0.5}, TypeError, "need an Unstructured, NM, Blocks or Groups pattern; got float"),
        ({"pattern": rp.Unstructured(keep=9)}, ValueError, "need keep <= 8"),
        ({"pattern": rp.Unstructured(keep=5, scope="row")}, ValueError, "need keep <= 4"),
        ({"pattern": rp.Unstructured(sparsity=0.5, scope="network")}, ValueError, "got 'network'"),
        ({"pattern": rp.NM(1, 3)}, ValueError, "multiple of m = 3"),
        ({"pattern": rp.Blocks(3, keep=0)}, ValueError, "multiple of the block size 3"),
        ({"pattern": rp.Groups(keep=0, labels=np.zeros(3, dtype=int))}, ValueError, "need labels of shape"),
        ({"damp": -0.5}, ValueError, "need damp >= 0 and finite; got -0.5"),
        ({"damp": float("inf")}, ValueError, "need damp >= 0 and finite; got inf"),
        ({"damp": "1"}, TypeError, "need damp to be a real number; got '1'"),
        (
            {"allocation": "greedy"},
            ValueError,
            "need allocation to be one of heap, sorted, cumulative; got 'greedy'",
        ),
        ({"mask": np.ones((2, 4))}, TypeError, "need a boolean array mask"),
        ({"mask": np.ones((4, 2), dtype=bool)}, ValueError, "need mask of shape"),
        ({"mask": np.zeros((2, 4), dtype=bool)}, ValueError, "need weight to be 0 where mask marks"),
        ({"problem": W}, TypeError, "need a Quadratic or a LayerProblem; got ndarray"),
        (
            {"problem": rp.LayerProblem(fractions(W), fractions(G))},
            TypeError,
            "Fractions are for definitions",
        ),
    ):
        with pytest.raises(error, match=message):
            rp.obs(**{"problem": layer, "pattern": half, **bad})


def test_a_mask_may_not_hold_more_zeros_than_the_pattern_asks_for():
    prior = np.array([[True, False, False, False], [True, True, True, True]])
    layer = rp.LayerProblem(np.where(prior, 1.0, 0.0), np.eye(4))
    for pattern, message in (
        (rp.Unstructured(keep=6), "need at least 3 pruned per layer, as many as mask prunes; got 2"),
        (
            rp.Unstructured(keep=2, scope="row"),
            "need at least 3 pruned per row, as many as mask prunes; got 2",
        ),
        (rp.Blocks(2, keep=4), "need at least 1 pruned per layer, as many as mask prunes; got 0"),
        (rp.Blocks(2, keep=2, scope="row"), "need at least 1 pruned per row, as many as mask prunes; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            rp.obs(layer, pattern, mask=prior)
    assert (~rp.obs(layer, rp.NM(3, 4), mask=prior).mask).sum(axis=1).tolist() == [3, 1]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (2, 0, 1, 1), (0, 4, 1, 1)])
@pytest.mark.parametrize(
    "pattern", [rp.Unstructured(sparsity=0.5), rp.Unstructured(sparsity=0.5, scope="row"), rp.NM(1, 2),
                rp.Blocks(2, sparsity=0.5), rp.Groups(sparsity=0.5), rp.Groups(sparsity=0.5, axis=1)], ids=repr,
)  # fmt: skip
def test_empty(shape, pattern):
    columns = int(np.prod(shape[1:]))
    answer = rp.obs(rp.LayerProblem(np.zeros(shape), np.eye(columns)), pattern)
    assert answer.weight.shape == answer.mask.shape == shape
    assert answer.objective == 0


def test_inputs_are_read_only_strided_and_answers_are_new():
    rng = np.random.default_rng(27)
    wide = rng.normal(size=(6, 16))
    W, G = wide[::2, ::2], np.asfortranarray(spd(rng, 8))
    prior = np.asfortranarray(np.ones((3, 8), dtype=bool))
    for array in (W, G, prior):
        array.flags.writeable = False
    for pattern in (
        rp.Unstructured(sparsity=0),
        rp.Unstructured(sparsity=0.5),
        rp.NM(2, 4),
        rp.Blocks(2, keep=5),
    ):
        answer = rp.obs(rp.LayerProblem(W, G), pattern, mask=prior)
        again = rp.obs(rp.LayerProblem(W.copy(), np.ascontiguousarray(G)), pattern)
        assert_array_equal(answer.weight, again.weight)
        assert_array_equal(answer.order, again.order)
        for made in (answer.weight, answer.mask):
            assert not np.shares_memory(made, wide)
            assert not np.shares_memory(made, prior)
