"""ExactOBS and its definition on more than 500 generated problems of eight kinds.

The definition inverts anew at every step; on matrices of condition 1e12, and where ties are common, it runs on
Fractions, where it is exact. Masks are equal but where candidates tie. There the answer has to show that rounding
decided: the certificate says whether every removal was the cheapest of its moment within the bound of
`tests.methods.checks`, in each row and in the layer.
"""

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pytest

import refprune as rp
import refprune.definitions as definitions
from refprune.definitions.obs import steps
from tests.methods.checks import EPS, removed_exactly, replay, replay_units, stationary
from tests.methods.problems import condition, fractions, spd, with_dead


@dataclass
class Case:
    """`H` is the Gram with its damping; a definition that is `exact` runs on Fractions."""

    W: np.ndarray
    G: np.ndarray
    H: np.ndarray
    prior: np.ndarray
    damp: float
    rng: np.random.Generator
    exact: bool = False


def case(rng, G, damp=0.0, rows=None, prior=1.0, exact=False):
    """A weight with rows of different scale on the Gram `G`, and the share `prior` of it free."""
    shape = (rows or int(rng.integers(1, 5)), len(G))
    free = rng.random(shape) < prior
    W = np.where(free, (rng.normal(size=shape) + 0.25) * 2.0 ** rng.integers(-2, 3, size=(shape[0], 1)), 0)
    living = np.diag(G) > 0
    mean = np.diag(G)[living].mean() if living.any() else 0.0
    return Case(W, G, G + np.diag(living * damp * mean), free, damp, rng, exact)


def width(rng):
    """The number of columns: mostly no multiple of 4."""
    return int(rng.integers(1, 12))


def dead(rng):
    d = width(rng) + 1
    return with_dead(spd(rng, d - 1 - d // 4, 100.0), rng.choice(d, size=1 + d // 4, replace=False))


def duplicates(rng):
    """Inputs that are there two or three times."""
    X = rng.normal(size=(40, max(2, width(rng) // 2))) + 0.5
    X = X[:, rng.integers(0, X.shape[1], size=2 * X.shape[1])]
    return X.T @ X / 40


def quantised(rng):
    """Small whole numbers, on which candidates tie."""
    d = int(rng.integers(2, 6))
    A = rng.integers(-1, 2, size=(d, d))
    given = case(rng, 1.0 * (A.T @ A + np.eye(d)), rows=2, exact=True)
    given.W = rng.integers(-2, 3, size=given.W.shape) * 1.0
    return given


def few_samples(rng):
    X = rng.normal(size=(4, 4 + width(rng)))
    return X.T @ X / 4


KINDS = {
    "plain": lambda rng: case(rng, spd(rng, width(rng), 300.0)),
    "dead inputs": lambda rng: case(rng, dead(rng), damp=float(rng.choice([0.0, 0.125]))),
    "duplicates": lambda rng: case(rng, duplicates(rng), damp=0.01),
    "fewer samples than columns": lambda rng: case(rng, few_samples(rng), damp=0.01),
    "condition 1e12": lambda rng: case(rng, spd(rng, int(rng.integers(3, 6)), 1e12), rows=2, exact=True),
    "ties": quantised,
    "prior zeros": lambda rng: case(rng, spd(rng, width(rng), 100.0), prior=0.7),
    "all at once": lambda rng: case(
        rng, with_dead(duplicates(rng), [1, 3]), damp=0.05, prior=float(rng.choice([0.8, 1.0]))
    ),
}


def removals(given, row, may_go):
    """[(column, loss, weights after it)]: prior zeros cost -2, dead inputs -1, so that they go first."""
    W, H = (fractions(given.W), fractions(given.H)) if given.exact else (given.W, given.H)
    K, start = np.flatnonzero(given.prior[row]), W[row].copy()
    path = [(int(p), -2, start) for p in np.flatnonzero(~given.prior[row])]
    for p, loss, w in steps(W[row, K], H[np.ix_(K, K)], lambda p, gone: may_go(K[p], K[gone])):
        after = start.copy()
        after[K] = w
        path.append((int(K[p]), -1 if given.H[K[p], K[p]] == 0 else loss, after))
    return path


def assembled(given, paths):
    """(weights, mask) after the removals of each row."""
    V, mask = given.W.copy(), np.ones(given.W.shape, dtype=bool)
    for row, path in enumerate(paths):
        for column, _, after in path:
            mask[row, column] = False
            V[row] = after.astype(float)
    return V, mask


def unstructured(given):
    """(answer, (weights, mask) of the definition, groups of `replay`) at a random count."""
    rules = ["heap", "sorted", "cumulative"] if given.prior.all() else ["heap", "sorted"]
    rule = str(given.rng.choice(rules[:1] if np.array_equal(given.W, np.round(given.W)) else rules))
    count = int(given.rng.integers(np.count_nonzero(~given.prior), given.W.size + 1))
    paths = [removals(given, row, lambda p, gone: True) for row in range(len(given.W))]
    losses = [[loss for _, loss, _ in path] for path in paths]
    free = 0 if rule != "cumulative" else int(np.sum(np.diag(given.G) == 0))
    counts = definitions.row_counts(losses, free, count, rule)
    answer = rp.obs(
        rp.LayerProblem(given.W, given.G), rp.Unstructured(keep=given.W.size - count), given.damp, rule,
        None if given.prior.all() else given.prior,
    )  # fmt: skip
    return answer, assembled(given, [path[:k] for path, k in zip(paths, counts, strict=True)]), None, rule


def nm(given):
    """The same for n of 4; columns that fill no group stay dense."""
    n, columns = int(given.rng.integers(0, 5)), given.W.shape[1]
    paths = []
    for row, own in enumerate(given.prior):
        held = [np.count_nonzero(~own[start : start + 4]) for start in range(0, columns, 4)]

        def may_go(p, gone, held=held):
            return p < columns // 4 * 4 and held[p // 4] + np.count_nonzero(gone // 4 == p // 4) < 4 - n

        paths.append(removals(given, row, may_go))
    answer = rp.obs(
        rp.LayerProblem(given.W, given.G), rp.NM(n, 4, remainder="dense"), given.damp,
        mask=None if given.prior.all() else given.prior,
    )  # fmt: skip
    zeros = np.full((len(given.W), -(-columns // 4)), 4 - n)
    zeros[:, columns // 4 :] = 0
    return answer, assembled(given, paths), zeros, "rows"


def compare(given, answer, expected, zeros, rule):
    """Whether the masks are equal. The certificate holds in any case, and so do the weights on equal masks."""
    (V, mask), W, H = expected, given.W, given.H
    removed_exactly(answer.weight, answer.mask, np.count_nonzero(~mask))
    assert not answer.mask[~given.prior].any(), "a prior zero was revived"
    for row in range(len(W)):
        stationary(W[row], H, answer.weight[row], answer.mask[row], EPS)
        if not np.array_equal(answer.mask[row], mask[row]):
            K = np.flatnonzero(given.prior[row])
            own = [p % W.shape[1] for p in answer.order.tolist() if p // W.shape[1] == row]
            own = [int(np.flatnonzero(p == K)[0]) for p in own if p in K]
            held = None if zeros is None else zeros[row] - np.bincount(
                np.flatnonzero(~given.prior[row]) // 4, minlength=zeros.shape[1]
            )  # fmt: skip
            groups = None if zeros is None else K // 4
            replay(W[row, K], H[np.ix_(K, K)], own, EPS, groups=groups, zeros=held)
    if not np.array_equal(answer.mask, mask):
        assert rule in ("rows", "heap"), f"the counts of the rows are not those of the rule {rule}"
        if rule == "heap":
            K = np.flatnonzero(given.prior)
            place = {int(p): i for i, p in enumerate(K)}
            order = [place[p] for p in answer.order.tolist() if p in place]
            hessian = np.kron(np.eye(len(W)), H)[np.ix_(K, K)]
            replay_units(W.ravel()[K], hessian, np.arange(len(K)), order, EPS)
        return False
    unit = np.sqrt(np.where(np.diag(H) > 0, np.diag(H), 1))
    for row in range(len(W)):
        K = np.flatnonzero(mask[row]) if given.exact else np.arange(W.shape[1])
        error = (np.abs(answer.weight[row] - V[row]) * unit).max(initial=0)
        # at unit diagonal: the refit errs by eps cond of the kept block, each update of the definition by eps cond
        size = (np.maximum(np.abs(W[row]), np.abs(V[row])) * unit).max(initial=0)
        bound = 10 * W.shape[1] * EPS * condition(H[np.ix_(K, K)]) * size
        assert error <= bound, f"the weights of row {row} are {error:.3g} from those of the definition"
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_are_those_of_the_definition(kind):
    """72 problems of each kind, half of them N:M: 576. Masks differ at ties, and nowhere else."""
    differ = []
    for seed in range(72):
        given = KINDS[kind](np.random.default_rng([70, seed]))
        if not compare(given, *(unstructured if seed % 2 else nm)(given)):
            differ.append(seed)
    assert bool(differ) == (kind == "ties"), differ


def test_a_singular_gram_is_an_error_of_both():
    """Duplicates, all dependent, or of fewer samples than columns: whole numbers, so the definition is exact."""
    for seed in range(40):
        rng = np.random.default_rng([71, seed])
        d = int(rng.integers(2, 6))
        X = rng.integers(-3, 4, size=(12 if seed % 2 else d - 1, d)).astype(float)
        if seed % 2:
            X[:, rng.integers(1, d)] = X[:, 0]
        X += X == 0  # no dead input
        W = rng.normal(size=(2, d))
        layer, G = rp.LayerProblem.from_inputs(W, X), fractions(X).T @ fractions(X)
        with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite gram; got .* damp="):
            rp.obs(layer, rp.Unstructured(keep=d))
        with pytest.raises(np.linalg.LinAlgError, match="need an invertible matrix"):
            list(islice(steps(fractions(W[0]), G), 1))


@pytest.fixture
def given():
    """Two rows on eight columns of unequal worth, with two prior zeros."""
    rng = np.random.default_rng(72)
    given = case(rng, spd(rng, 8, 100.0), rows=2)
    given.prior[0, 2] = given.prior[1, 5] = False
    given.W = np.where(given.prior, given.W, 0)
    return given


def judged(given, order, counts, rule="heap"):
    """Compare the best weights without the flat indices in `order` to the definition's at `counts` of each row."""
    mask = np.ones(given.W.shape, dtype=bool)
    mask.reshape(-1)[order] = False
    best = rp.optimal_weights(rp.LayerProblem(given.W, given.G), mask)
    return compare(given, replace(best, order=np.array(order)), greedy(given, counts)[0], None, rule)


def greedy(given, counts):
    """(weights and mask, flat indices in the order of the rows) of the definition."""
    paths = [removals(given, row, lambda p, gone: True)[:k] for row, k in enumerate(counts)]
    order = [8 * row + column for row, path in enumerate(paths) for column, _, _ in path]
    return assembled(given, paths), order


def test_right_answers_pass(given):
    counts = row_counts_of(given, 8)
    assert judged(given, greedy(given, counts)[1], counts)


def row_counts_of(given, count):
    losses = [[loss for _, loss, _ in removals(given, row, lambda p, gone: True)] for row in range(2)]
    return definitions.row_counts(losses, 0, count)


def test_other_answers_are_seen(given):
    counts = row_counts_of(given, 8)
    order = greedy(given, counts)[1]
    scores = np.where(given.prior, abs(given.W), -1).ravel()
    with pytest.raises(AssertionError, match="removed column"):
        judged(given, np.argsort(scores)[:8].tolist(), counts)
    other = [counts[0] - 1, counts[1] + 1]
    with pytest.raises(AssertionError, match="removed unit"):
        judged(given, greedy(given, other)[1], counts)
    with pytest.raises(AssertionError, match="not those of the rule sorted"):
        judged(given, greedy(given, other)[1], counts, "sorted")
    with pytest.raises(AssertionError, match="a prior zero was revived"):
        judged(given, [*order[1:], next(p for p in range(8) if p not in order)], counts)
    with pytest.raises(AssertionError, match="weights are pruned"):
        judged(given, order[:-1], counts)
