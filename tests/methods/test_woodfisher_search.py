"""The searches of `rp.woodfisher` for a better support: certificates of their ends, and known mistakes."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
from refprune.methods import fisher_swaps
from tests.methods.fishers import EPS, drawn, fisher

SEARCHES = ("iht", "swap")


def least(w, G, damp, mask, first_order=False, edges=None):
    """(weights, model) on `mask`: ridge regression by QR, with no F, or with the blocks of F the normal equations."""
    N, v = len(G), np.zeros(len(w))
    F, g = fisher(G, damp, edges), G.mean(axis=0) * first_order
    if edges is None:
        root = (damp * N) ** 0.5
        design = np.concatenate([G[:, mask], root * np.eye(len(w))[:, mask]])
        target = np.concatenate([G @ w - first_order, root * w])
        v[mask] = np.linalg.lstsq(design, target, rcond=None)[0]
    else:
        v[mask] = np.linalg.solve(F[np.ix_(mask, mask)], F[mask] @ w - g[mask])
    return v, (v - w) @ F @ (v - w) / 2 + g @ (v - w)


def certify(w, G, damp, answer, *, first_order=False, edges=None, scopes=None, prior=None, swaps=False):
    """The answer's weights are the best on its mask, no worse than without a search; no swap betters it."""
    start = rp.woodfisher(w, G, rp.Unstructured(keep=int(answer.mask.sum())), damp, first_order=first_order,
                          mask=prior, block=None if edges is None else "layer") if scopes is None else None  # fmt: skip
    right, value = least(w, G, damp, answer.mask, first_order, edges)
    F = fisher(G, damp, edges)
    error = 1e3 * EPS * np.linalg.cond(F)
    assert not answer.weight[~answer.mask].any(), "a pruned weight is not 0"
    assert np.all(abs(answer.weight - right) <= error * (abs(right).max() + abs(w).max())), (
        "not the best weights"
    )
    size = error * (w @ F @ w + abs(value) + 1 * first_order)
    assert abs(answer.objective - value) <= size, "another objective"
    assert answer.trace[-1] == pytest.approx(answer.objective, rel=1e-6, abs=size), "the trace ends elsewhere"
    if prior is not None:
        assert not answer.mask[~prior].any(), "a prior zero came back"
    if start is not None:
        assert answer.objective <= start.objective + size, "worse than without a search"
    if swaps:
        scopes = np.zeros(len(w), dtype=int) if scopes is None else scopes
        living = np.ones(len(w), dtype=bool) if prior is None else prior
        for i in np.flatnonzero(~answer.mask & living):
            for j in np.flatnonzero(answer.mask & (scopes == scopes[i])):
                other = answer.mask.copy()
                other[[i, j]] = True, False
                gain = value - least(w, G, damp, other, first_order, edges)[1]
                assert gain <= size + 1e-9 * abs(value), "a swap lowers the model"


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("seed", range(12))
def test_certificate(seed, search, first_order):
    w, G, _ = drawn(seed)
    damp = 2.0 ** -(4 + seed % 5) * float(np.mean(G**2))
    for keep in {0, len(w) // 3, len(w) // 2, len(w)}:
        pattern = rp.Unstructured(keep=keep)
        answer = rp.woodfisher(w, G, pattern, damp, first_order=first_order, search=search, max_iter=50)
        certify(w, G, damp, answer, first_order=first_order, swaps=search == "swap")
        assert int(answer.mask.sum()) == keep


PATTERNS = {
    "network": rp.Unstructured(sparsity=0.5),
    "layer": rp.Unstructured(sparsity=0.5, scope="layer"),
    "row": rp.Unstructured(keep=2, scope="row"),
    "NM": rp.NM(2, 4),
}


def flat(arrays):
    return np.concatenate([np.ravel(x) for x in arrays.values()])


@pytest.mark.parametrize("samples", [4, 40])
@pytest.mark.parametrize("block", [None, "layer"])
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_blocks_and_prior_zeros(name, search, block, samples):
    rng = np.random.default_rng([91, samples])
    prior = {"0.weight": rng.random((2, 4)) < 0.8, "2.weight": rng.random((3, 4)) < 0.8}
    weights = {key: np.where(prior[key], rng.normal(size=m.shape), 0) for key, m in prior.items()}
    G, pattern = rng.normal(size=(samples, 20)) + 0.5, PATTERNS[name]
    answer = rp.woodfisher(weights, G, pattern, 0.05, block, search=search, mask=prior)
    one = rp.woodfisher(weights, G, pattern, 0.05, block, mask=prior)
    assert answer.objective <= one.objective * (1 + 1e-12)
    for mask in answer.mask.values():
        if name == "network":
            assert np.count_nonzero(~flat(answer.mask)) == 10
        else:
            assert pattern.admits(mask)
    scopes = {
        "network": np.zeros(20, dtype=int),
        "layer": np.repeat([0, 1], [8, 12]),
        "row": np.arange(20) // 4,
        "NM": np.arange(20) // 4,
    }[name]
    vector = rp.Pruned(flat(answer.weight), flat(answer.mask), answer.objective, trace=answer.trace)
    certify(flat(weights), np.where(flat(prior), G, 0), 0.05, vector, scopes=scopes, prior=flat(prior),
            edges=np.array([8]) if block else None, swaps=search == "swap")  # fmt: skip


def test_by_hand():
    """Each of the first two is cheap, the other takes over; both together are dear. So one of them must stay."""
    w, G = np.array([1.0, 1.0, 1.0]), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) * 2**0.5
    pattern = rp.Unstructured(keep=1)
    one = rp.woodfisher(w, G, pattern, 0.25)
    assert_array_equal(one.mask, [False, False, True])
    assert one.objective == pytest.approx(0.5 * 4 + 0.25)  # (1 + 1)^2 / 2, and damp on two
    for search in SEARCHES:
        better = rp.woodfisher(w, G, pattern, 0.25, search=search)
        assert better.mask[2] == (search == "iht") or better.objective < one.objective
    swapped = rp.woodfisher(w, G, pattern, 0.25, search="swap")
    assert_array_equal(swapped.mask, [True, False, False])
    assert_allclose(swapped.weight, [1.8, 0, 0], rtol=1e-14)  # (1 + 1 + 1/4) / (1 + 1/4)
    assert swapped.objective == pytest.approx(least(w, G, 0.25, swapped.mask)[1], rel=1e-13)
    assert len(swapped.trace) == 2
    assert swapped.trace[0] == pytest.approx(one.objective, rel=1e-13)


@pytest.mark.parametrize(("search", "block"), [("iht", None), ("iht", 3), ("swap", None)])
def test_where_no_support_is_lower_the_least_costs_stay(search, block):
    """Equal weights and gradients: all supports are as good, to rounding, whatever blocks do to the costs."""
    w, G = np.ones((2, 4)), np.ones((9, 8))
    for count, damp in product(range(9), (1.0, 2.0**-17)):
        pattern = rp.Unstructured(keep=8 - count)
        plain = rp.woodfisher(w, G, pattern, damp, block)
        found = rp.woodfisher(w, G, pattern, damp, block, search=search)
        if found.objective >= plain.objective * (1 - 1e-9):
            assert_array_equal(found.mask, plain.mask)
            assert_array_equal(found.weight, plain.weight)


def test_swaps_at_the_end_of_the_digits():
    """1 - Q_jj is rounding there: no warning, and no worse than the least costs."""
    seen = 0
    for seed in range(60):
        rng = np.random.default_rng([93, seed])
        N, d = rng.integers(2, 30, size=2)
        G, w = (
            rng.normal(size=(N, d)) * (rng.random(d) < 0.7) * 10.0 ** rng.uniform(-3, 0, d),
            rng.normal(size=d),
        )
        pattern, damp = rp.Unstructured(0.6), float(10.0 ** rng.integers(-15, -9))
        try:
            found = rp.woodfisher(w, G, pattern, damp, search="swap")
        except np.linalg.LinAlgError:
            continue
        seen += 1
        plain = rp.woodfisher(w, G, pattern, damp)
        assert found.objective <= plain.objective * (1 + 1e-9)
    assert seen >= 20
    square = np.eye(3) + 1
    with pytest.raises(
        np.linalg.LinAlgError, match=r"need a larger damp for swaps, at least .* of F; got 1e-17"
    ):
        rp.woodfisher(
            np.ones(3), np.concatenate([square, square]), rp.Unstructured(0.5), 1e-17, search="swap"
        )


@pytest.mark.parametrize("search", SEARCHES)
def test_boundaries(search):
    w, G = np.array([3.0, 0.0, -1.0]), np.array([[1.0, 2.0, 1.0]])
    for keep in (0, 3):  # nothing to choose
        answer = rp.woodfisher(w, G, rp.Unstructured(keep=keep), 0.5, search=search)
        assert_array_equal(answer.weight, w * (keep == 3))
        assert_array_equal(answer.mask, [keep == 3] * 3)
        assert answer.trace[-1] == answer.objective
    empty = {"0.weight": np.zeros((0, 2)), "1.weight": np.zeros((2, 0))}
    for block in (None, "layer"):
        answer = rp.woodfisher(empty, np.ones((2, 0)), rp.Unstructured(0.5), 0.5, block, search=search)
        assert answer.weight["1.weight"].shape == (2, 0)
        mixed = empty | {"2.weight": np.array([[1.0, 2.0, 3.0]])}
        answer = rp.woodfisher(mixed, np.ones((1, 3)), rp.Unstructured(keep=1), 0.5, block, search=search)
        assert_array_equal(answer.mask["2.weight"], [[False, False, True]])
    # the last input stays dense, and stands for nobody
    dense = rp.woodfisher(w[None, :], G, rp.NM(1, 2, remainder="dense"), 0.5, search=search)
    assert_array_equal(dense.mask, [[True, False, True]])


@pytest.mark.parametrize("seed", range(10))
def test_swaps_come_near_the_best_support(seed):
    """The best of all supports is a lower bound."""
    rng = np.random.default_rng([92, seed])
    w, G = rng.normal(size=8), rng.normal(size=(5, 8)) + 0.5
    models = [least(w, G, 0.02, np.isin(np.arange(8), K))[1] for K in combinations(range(8), 4)]
    found = rp.woodfisher(w, G, rp.Unstructured(keep=4), 0.02, search="swap").objective
    one = rp.woodfisher(w, G, rp.Unstructured(keep=4), 0.02).objective
    assert min(models) * (1 - 1e-9) <= found <= one * (1 + 1e-9)
    assert np.mean(np.array(models) < found * (1 - 1e-9)) <= 0.05  # among the best twentieth of them


def test_the_support_by_magnitude_with_the_back_solve():
    """CHITA without a step: with the joint update it is joint OBS on F, to 3e-13."""
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng([93, seed])
        w, G = rng.normal(size=10), rng.normal(size=(6, 2)) @ rng.normal(size=(2, 10))
        F = fisher(G, 0.5)
        answer = rp.woodfisher(w, G, rp.Unstructured(keep=3), 0.5, search="iht", max_iter=0)
        size = rp.magnitude(w, rp.Unstructured(keep=3)).mask
        one = rp.woodfisher(w, G, rp.Unstructured(keep=3), 0.5)
        P = np.flatnonzero(~size)
        C = np.linalg.inv(F)
        joint = np.where(size, w - C[:, P] @ np.linalg.solve(C[np.ix_(P, P)], w[P]), 0)
        value = (joint - w) @ F @ (joint - w) / 2
        if value <= one.objective * (1 + 1e-12):
            seen += 1
            assert_array_equal(answer.mask, size)
            assert_allclose(answer.weight, joint, rtol=0, atol=3e-13 * abs(joint).max())
            group = rp.obs(rp.Quadratic(F, w), rp.Groups(keep=1, labels=size.astype(int)))
            if np.array_equal(group.mask, size):
                assert_allclose(answer.weight, group.weight, rtol=0, atol=3e-13 * abs(joint).max())
        else:
            assert answer.objective == pytest.approx(one.objective, rel=1e-12)
    assert seen >= 20


def large(seed=0, samples=60, d=240):
    """Correlated gradients, where many that go at once are dear."""
    rng = np.random.default_rng([94, seed])
    G = rng.normal(size=(samples, 12)) @ rng.normal(size=(12, d)) + 0.3 * rng.normal(size=(samples, d))
    return rng.normal(size=d), G


@pytest.mark.parametrize("search", SEARCHES)
def test_large_problems(search):
    """The model falls at every step; the running inverse ends where a fresh one does."""
    w, G = large()
    one = rp.woodfisher(w, G, rp.Unstructured(sparsity=0.9), 0.01)
    answer = rp.woodfisher(w, G, rp.Unstructured(sparsity=0.9), 0.01, search=search, max_iter=1000)
    assert answer.objective < 0.8 * one.objective
    assert np.all(np.diff(answer.trace[:-1]) < 0)
    certify(w, G, 0.01, answer)
    short = rp.woodfisher(w, G, rp.Unstructured(sparsity=0.9), 0.01, search=search, max_iter=2)
    assert len(short.trace) <= 4 < len(answer.trace)
    assert answer.objective < short.objective
    none = rp.woodfisher(w, G, rp.Unstructured(sparsity=0.9), 0.01, search="swap", max_iter=0)
    assert_array_equal(none.weight, one.weight)


def test_swaps_do_not_depend_on_how_often_the_inverse_is_fresh(monkeypatch):
    w, G = large(1)
    answers = []
    for fresh in (1, 3, 10**6):
        monkeypatch.setattr(fisher_swaps, "FRESH", fresh)
        answers.append(rp.woodfisher(w, G, rp.Unstructured(sparsity=0.8), 0.01, search="swap"))
    for answer in answers[1:]:
        assert_array_equal(answer.mask, answers[0].mask)
        assert_allclose(answer.trace, answers[0].trace, rtol=1e-9)
    assert len(answers[0].trace) > 10


def test_few_candidates_are_worse_and_still_right(monkeypatch):
    w, G = large(2)
    objectives = []
    for candidates in (1, 8, 240):
        monkeypatch.setattr(fisher_swaps, "CANDIDATES", candidates)
        answer = rp.woodfisher(w, G, rp.Unstructured(sparsity=0.8), 0.01, search="swap")
        certify(w, G, 0.01, answer)
        objectives.append(answer.objective)
    assert objectives[2] <= objectives[0]


@pytest.mark.parametrize("search", SEARCHES)
def test_invariances(search):
    w, G = large(3, samples=20, d=60)
    rng = np.random.default_rng(95)
    base = rp.woodfisher(w, G, rp.Unstructured(0.7), 0.05, search=search)
    order = rng.permutation(60)
    other = rp.woodfisher(w[order], G[:, order], rp.Unstructured(0.7), 0.05, search=search)
    assert_array_equal(other.mask, base.mask[order])
    signs = rng.choice([-1.0, 1.0], size=60)
    other = rp.woodfisher(w * signs, G * signs, rp.Unstructured(0.7), 0.05, search=search)
    assert_allclose(other.weight, base.weight * signs, rtol=0, atol=1e-11)
    other = rp.woodfisher(w * 2.0**9, G * 2.0**-40, rp.Unstructured(0.7), 0.05 * 2.0**-80, search=search)
    assert_array_equal(other.weight, base.weight * 2.0**9)
    narrow = rp.woodfisher(w.astype("f"), G.astype("f"), rp.Unstructured(0.7), 0.05, search=search)
    assert narrow.weight.dtype == "float32"
    wide = rp.woodfisher(
        *(x.astype("f").astype(float) for x in (w, G)), rp.Unstructured(0.7), 0.05, search=search
    )
    assert_array_equal(narrow.weight, wide.weight.astype("f"))


def right(search="swap", **options):
    w, G = large(4, d=40)
    return rp.woodfisher(w, G, rp.Unstructured(keep=8), 0.05, search=search, **options)


def on(mask, weight=None):
    """The right weights on another mask, or wrong ones."""
    w, G = large(4, d=40)
    v, value = least(w, G, 0.05, mask)
    if weight is not None:
        v = np.where(mask, weight, 0)
        value = (v - w) @ fisher(G, 0.05) @ (v - w) / 2
    return rp.Pruned(v, mask, value, trace=(value,))


def before_the_others_move():
    """Swaps by what they are worth before the kept weights move, as in the paper."""
    w, G = large(4, d=40)
    F, gone = fisher(G, 0.05), right(search=None).mask == 0
    for _ in range(200):
        pairs = [(i, j) for i in np.flatnonzero(gone) for j in np.flatnonzero(~gone)]
        cost = []
        for i, j in pairs:
            other = gone.copy()
            other[[i, j]] = False, True
            cost.append(w[other] @ F[np.ix_(other, other)] @ w[other])
        if min(cost) >= w[gone] @ F[np.ix_(gone, gone)] @ w[gone]:
            break
        i, j = pairs[int(np.argmin(cost))]
        gone[[i, j]] = False, True
    return on(~gone)


def without_the_cross_term():
    """A swap taken for a return and a removal that do not see each other."""
    w, G = large(4, d=40)
    mask = right(search=None).mask.copy()
    for _ in range(200):
        value = least(w, G, 0.05, mask)[1]
        add = {i: value - least(w, G, 0.05, mask | (np.arange(40) == i))[1] for i in np.flatnonzero(~mask)}
        cut = {j: least(w, G, 0.05, mask & (np.arange(40) != j))[1] - value for j in np.flatnonzero(mask)}
        i, j = max(add, key=add.get), min(cut, key=cut.get)
        other = mask.copy()
        other[[i, j]] = True, False
        if add[i] <= cut[j] or least(w, G, 0.05, other)[1] >= value:
            break
        mask = other
    return on(mask)


SWAP = "a swap lowers the model"
MISTAKES = {
    "no search": (lambda: on(right(search=None).mask), SWAP),
    "swaps before the others move": (before_the_others_move, "a swap lowers the model|worse than without"),
    "no cross term": (without_the_cross_term, SWAP),
    "one swap alone": (lambda: on(right(max_iter=1).mask), SWAP),
    "no back-solve": (lambda: on(right().mask, large(4, d=40)[0]), "not the best weights"),
    "the model before the search": (
        lambda: rp.Pruned(right().weight, right().mask, right(search=None).objective, trace=right().trace),
        "another objective",
    ),
    "by magnitude": (
        lambda: on(rp.magnitude(large(4, d=40)[0], rp.Unstructured(keep=8)).mask),
        "worse than without a search|a swap lowers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_seen(name):
    wrong, message = MISTAKES[name]
    certify(*large(4, d=40), 0.05, right(), swaps=True)
    with pytest.raises(AssertionError, match=message):
        certify(*large(4, d=40), 0.05, wrong(), swaps=True)


def test_errors():
    w, G = large(5, d=12)
    for words, options in (
        ("need search to be one of None, iht, swap; got 'best'", {"search": "best"}),
        ("need max_iter >= 0; got -1", {"max_iter": -1}),
        ("need update 'joint' for a search; got 'sum'", {"search": "iht", "update": "sum"}),
        ("need damp > 0 and block None or 'layer' for swaps; got 0.1 and 3", {"search": "swap", "block": 3}),
        ("need damp > 0 and block None or 'layer' for swaps; got 0.0", {"search": "swap", "damp": 0.0}),
    ):
        with pytest.raises(ValueError, match=words):
            rp.woodfisher(w, G, rp.Unstructured(0.5), **({"damp": 0.1} | options))
