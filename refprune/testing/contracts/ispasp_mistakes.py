"""Known mistakes in i-SpaSP: one correct search with places where they go in."""

import numpy as np

from ..contract import Mistake
from ..unit_certificate import ITERATIONS
from . import form_mistakes as form


def _search(hidden, weight, keep, *, size=None, gradient=None, score=None, first=2, union=None, choose=None,
            residual=None, start=None, most=ITERATIONS, worse=None):  # fmt: skip
    """The search on V itself; the others replace a part.

    `size(H, W)` ranks S, `score(D, H)` the most important ones, from ``D = gradient(W, V)``; `first` times `keep` of
    them are taken. `union(omega, S)` are the candidates, `choose(candidates, size, y)` the order of their choice,
    `residual(U, W, H, S, candidates)` is V, `start` the first V, and `worse(V, found)` ends the search.
    """
    H, W = hidden.astype(float), weight.astype(float)
    sizes = (size or _sums)(H, W)
    U = W @ H
    V, S = U if start is None else start(U), []
    for _ in range(most):
        y = (score or _sums)((gradient or _pulled)(W, V), H)
        omega = _largest(range(len(H)), y, first * keep)
        candidates = (union or _union)(omega, S)
        ranks = sizes if choose is None else choose(sizes, y)
        found = _largest(candidates, ranks, keep)
        after = (residual or _residual)(U, W, H, found, candidates)
        if found == S or (worse is not None and S and worse(V, after)):
            break
        V, S = after, found
    return np.array(S, dtype=np.int64)


def _sums(array, _):
    return array.sum(axis=1)


def _pulled(W, V):
    return W.T @ V


def _union(omega, S):
    return sorted({*omega, *S})


def _residual(U, W, H, S, candidates):
    rest = np.ones(len(H), bool)
    rest[S] = False
    return W[:, rest] @ H[rest]


def _largest(candidates, scores, count):
    """The `count` candidates of largest score, ascending; among equals the lowest index goes."""
    order = sorted(candidates, key=lambda unit: scores[unit])
    return sorted(order[max(len(order) - count, 0) :])


def _with(**changes):
    """A wrong version."""
    return lambda hidden, weight, keep: _search(hidden, weight, keep, **changes)


def _ranked(scores):
    """No search: the units of largest ``scores(H, W)``."""

    def call(hidden, weight, keep):
        H, W = hidden.astype(float), weight.astype(float)
        return np.array(_largest(range(len(H)), scores(H, W), keep), dtype=np.int64)

    return call


def _firing(array, _):
    return array.sum(axis=1) / np.maximum((array != 0).sum(axis=1), 1)


def _centred(H, _):
    return np.linalg.norm(H - H.mean(axis=1, keepdims=True), axis=1)


def _other_axis(array, _):
    return array.sum(axis=0 if array.shape[0] == array.shape[1] else 1)


def _not_transposed(W, V):
    return W @ V if W.shape[0] == W.shape[1] else W.T @ V


def _refitted(U, W, H, S, candidates):
    """The residual of the best weights on S, as CoSaMP has it."""
    return U - U @ np.linalg.pinv(H[S]) @ H[S] if S else U


def _grows(V, after):
    return np.linalg.norm(after) >= np.linalg.norm(V)


def _best(hidden, weight, keep):
    found, H, W = [], hidden.astype(float), weight.astype(float)

    def residual(U, W, H, S, candidates):
        found.append(S)
        return _residual(U, W, H, S, candidates)

    _search(hidden, weight, keep, residual=residual)
    sizes = [np.linalg.norm(_residual(None, W, H, S, None)) for S in found]
    return np.array(found[int(np.argmin(sizes))], dtype=np.int64)


def _at_least(hidden, weight, keep):
    """Everything that ties with the last unit kept is kept."""
    kept, sums = _search(hidden, weight, keep), hidden.astype(float).sum(axis=1)
    return np.flatnonzero(np.isin(np.arange(len(sums)), kept) | (sums == sums[kept].min(initial=np.inf)))


def _living_only(hidden, weight, keep):
    living = np.flatnonzero(hidden.any(axis=1))
    return living[_search(hidden[living], weight[:, living], min(keep, len(living)))]


def _changed(change):
    """The right units, wrongly handed over."""
    return lambda hidden, weight, keep: change(_search(hidden, weight, keep), hidden)


def _mask(kept, hidden):
    return np.isin(np.arange(len(hidden)), kept)


def _arrival(kept, hidden):
    sums = hidden.astype(float).sum(axis=1)
    return kept[np.argsort(-sums[kept], kind="stable")]


def _in_place(hidden, weight, keep):
    kept = _search(hidden, weight, keep)
    hidden[np.setdiff1d(np.arange(len(hidden)), kept)] = 0.0
    return kept


def _raising(hidden, weight, keep):
    if keep == 0:
        np.zeros(0).max()
    return _search(hidden, weight, keep)


OF_IMPORTANCE = (
    Mistake("absolute-importance", "absolute values of W^T V are summed: nothing cancels",
            _with(score=lambda D, H: abs(D).sum(axis=1))),
    Mistake("absolute-of-the-sum", "importances are compared by absolute value",
            _with(score=lambda D, H: abs(D.sum(axis=1)))),
    Mistake("norm-of-importance", "the importance is the norm of a row of W^T V",
            _with(score=lambda D, H: (D**2).sum(axis=1))),
    Mistake("importance-times-activation", "W^T V is multiplied with H before it is summed",
            _with(score=lambda D, H: (D * H).sum(axis=1))),
    Mistake("minus-gradient", "the least important units are taken", _with(score=lambda D, H: -D.sum(axis=1))),
    Mistake("last-sample", "the importance is that of the last sample", _with(score=lambda D, H: D[:, -1])),
    Mistake("importance-over-wrong-axis", "W^T V is summed over units, where there are as many samples",
            _with(score=_other_axis)),
    Mistake("weight-not-transposed", "the importance is that of W V, where W is square",
            _with(gradient=_not_transposed)),
)  # fmt: skip
OF_SIZE = (
    Mistake("row-norms", "S is chosen by the norms of the rows of H", _with(size=lambda H, W: (H**2).sum(axis=1))),
    Mistake("absolute-row-sums", "S is chosen by the sums of |H|", _with(size=lambda H, W: abs(H).sum(axis=1))),
    Mistake("mean-while-firing", "the sums of H are divided by how many entries are not 0", _with(size=_firing)),
    Mistake("centred", "S is chosen by the spread of H about its means", _with(size=_centred)),
    Mistake("rows-over-wrong-axis", "H is summed over units, where there are as many samples",
            _with(size=_other_axis)),
    Mistake("output-norms", "S is chosen by the norms of what the units give to the outputs",
            _with(size=lambda H, W: (H**2).sum(axis=1) * (W**2).sum(axis=0))),
)  # fmt: skip
OF_SEARCH = (
    Mistake("weights-alone", "the units with the largest columns of W are kept",
            _ranked(lambda H, W: (W**2).sum(axis=0))),
    Mistake("sums-alone", "the units with the largest sums of H are kept", _ranked(lambda H, W: H.sum(axis=1))),
    Mistake("importance-alone", "the most important units are kept, whatever they emit",
            _ranked(lambda H, W: (W.T @ W @ H).sum(axis=1))),
    Mistake("union-by-importance", "of the union the most important ones are kept",
            _with(choose=lambda sums, y: y)),
    Mistake("smallest-kept", "of the union those with the smallest sums are kept",
            _with(choose=lambda sums, y: -sums)),
    Mistake("top-s", "`keep` important units are taken, not twice as many", _with(first=1)),
    Mistake("top-3s", "three times `keep` important units are taken", _with(first=3)),
    Mistake("no-union", "the units kept before are no candidates", _with(union=lambda omega, S: omega)),
    Mistake("residual-kept", "V stays U: there is one iteration", _with(most=1)),
    Mistake("five-iterations", "there are five iterations", _with(most=5)),
    Mistake("no-end", "the search goes on until S comes back, past 20 iterations", _with(most=10**3)),
    Mistake("residual-of-the-union", "V is what the candidates leave, not S",
            _with(residual=lambda U, W, H, S, candidates: _residual(U, W, H, candidates, S))),
    Mistake("residual-added", "V is U + W_S H_S", _with(residual=lambda U, W, H, S, _: U + W[:, S] @ H[S])),
    Mistake("residual-of-the-pruned", "V is what S gives, not what it leaves",
            _with(residual=lambda U, W, H, S, _: W[:, S] @ H[S])),
    Mistake("starts-at-zero", "the first V is 0", _with(start=np.zeros_like)),
    Mistake("least-squares", "V is what the best weights on S leave", _with(residual=_refitted)),
    Mistake("ends-when-residual-grows", "the search ends when V does not get smaller", _with(worse=_grows)),
    Mistake("smallest-residual", "of all sets that were kept the one with the smallest V is returned", _best),
)  # fmt: skip
OF_FORM = (
    Mistake("everything-that-ties", "all units that tie with the last one are kept", _at_least),
    Mistake("dead-units-left-out", "dead units are never kept: there may be fewer than `keep`", _living_only),
    Mistake("pruned-for-kept", "the pruned units are returned",
            _changed(lambda kept, H: np.setdiff1d(np.arange(len(H)), kept))),
    Mistake("counts-from-one", "the first unit is number 1", _changed(lambda kept, H: kept + 1)),
    Mistake("not-sorted", "the units do not ascend, as in the order of their sums", _changed(_arrival),
            shows=("ascending", "ascending order is needed")),
    Mistake("mask-for-indices", "a mask is returned", _changed(_mask), shows=("form", "is a mask")),
    Mistake("indices-as-floats", "the indices are floats", _changed(lambda kept, H: kept + 0.0),
            shows=("form", "have dtype float")),
    Mistake("input-overwritten", "`hidden` is written to, as by zeros for pruned units", _in_place,
            shows=("unchanged", "hidden changed during the call")),
    Mistake("raises-at-zero", "keep = 0 raises", _raising, shows=("answers", "zero-size array")),
)  # fmt: skip


def mistakes(reference):
    """All of them; `reference` is the contract's definition."""
    return (*OF_IMPORTANCE, *OF_SIZE, *OF_SEARCH, *OF_FORM, form.first_for_shape(reference))
