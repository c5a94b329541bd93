r"""ALPS: ADMM looks for the support of a whole layer at once, the normal equations set its weights.

Model: a layer, ``1/2 tr((V - W) G (V - W)^T)``, its inputs scaled to unit norm: G has a diagonal of ones.
Problem: the least objective among the supports that the pattern allows.
Solution: two copies of the weights, ``Y`` without zeros and ``Z`` with them, multipliers ``M``, a penalty rho:

    Y = Z + ((W - Z) G - M) (G + rho I)^-1
    Z = P(Y + M / rho), the nearest weights with zeros that the pattern allows
    M = M + rho (Y - Z)

from Z = P(W) and M = 0. Every third iteration counts the weights that entered or left the support since the last
count: rho rises by 1.3 where they are a tenth of the kept ones or more, by 1.2 from one in 200, by 1.1 from one
weight on, and none ends it. Then the exact refit on the support.
What makes it fast: ``G = Q L Q^T`` once; then ``(G + rho I)^-1 = Q (L + rho)^-1 Q^T`` for every rho. The paper's
``Y = (W G - M + rho Z) (G + rho I)^-1`` is the same; written as above, where nothing is lost nothing is rounded.
Ties: the lowest flat index (or label) goes first; prior zeros, then dead inputs go before all others, at no cost.
Cost: about 10 d^3 for Q, and 6 rows d^2 operations and a sort for each iteration.
Source: Meng, Behdin, Wang, Mazumder 2024, ALPS, sections 3.1 to 3.3 and algorithm 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from refprune.arrays import Array, diagonal, eigh, from_numpy, integer, namespace, nonnegative, swap, to_numpy
from refprune.blocks import Blocks, Groups
from refprune.methods.answer import definite, prior_zeros, refitted
from refprune.methods.system import system
from refprune.patterns import NM, Pattern, Unstructured
from refprune.problems import LayerProblem
from refprune.pruned import Pruned

EVERY = 3  # iterations between two looks at the support


class Iteration(NamedTuple):
    """One iteration of the ADMM.

    Parameters
    ----------
    rho : float
        The penalty that it used.
    changed : int
        The weights that differ in the support from the last count (at first, from the start).
    gap : float
        ``|Y - Z| / |W|`` for inputs of unit norm (Frobenius norms): how far the two copies are from each other.

    Examples
    --------
    >>> from refprune.methods.alps import Iteration
    >>> Iteration(rho=0.1, changed=2, gap=0.25).changed
    2
    """

    rho: float
    changed: int
    gap: float


def alps(
    problem: LayerProblem,
    pattern: Pattern,
    damp: float = 0.0,
    mask: Array | None = None,
    rho: float = 0.1,
    max_iter: int = 300,
) -> Pruned:
    r"""Prune a layer by ALPS: the support by ADMM with a rising penalty, then the best weights on it.

    The weights come in two copies, Y without zeros and Z with them, held together by multipliers M and a penalty
    rho. With the inputs scaled to unit norm, and P the nearest weights with zeros that the pattern allows,

    .. math:: Y = (W G - M + \rho Z)(G + \rho I)^{-1}, \qquad Z = P(Y + M / \rho), \qquad M \leftarrow M + \rho (Y - Z).

    Every third iteration rho rises by a factor of 1.1 to 1.3, the more the support has changed. The search ends
    when it has not changed; then the weights on the support are solved for.

    Parameters
    ----------
    problem : LayerProblem
    pattern : Unstructured, NM, Blocks or Groups
        The scope of `Unstructured` and `Blocks` is the layer unless it says ``"row"``. Blocks and groups are
        kept by the sum of squares ``W_ij^2 G_jj``, which is what the projection asks for.
    damp : float
        ``damp * mean(diag G)`` over the living inputs, added to their diagonal for the ADMM and the refit.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first, at no cost, counted, never revived. The weight must be 0 there.
    rho : float
        The first penalty, beside a Gram that is scaled to ones on its diagonal. A smaller one searches longer.
    max_iter : int
        At most so many iterations.

    Returns
    -------
    Pruned
        `objective` is the undamped layer's at `weight`; `order` is None, since all weights go at once; `trace`
        holds a named tuple ``(rho, changed, gap)`` for every iteration: the penalty, the weights that differ in the
        support from the last count, and ``|Y - Z| / |W|``. Where the ADMM has settled the last one has
        ``changed == 0``.

    Raises
    ------
    TypeError
        `problem` is no LayerProblem; `pattern`, `damp`, `mask`, `rho` or `max_iter` is of another kind; Fractions.
    ValueError
        The pattern does not fit, asks for fewer zeros than `mask` holds, or has the scope "network"; `damp` is
        negative; `rho` is not positive; `max_iter` is below 1.
    numpy.linalg.LinAlgError
        The (damped) Gram has a negative eigenvalue, or is not positive definite on the kept columns of a row
        that has to move. A singular Gram is fine elsewhere: the ADMM never inverts it.

    See Also
    --------
    obs : one weight at a time, for layers where that is not too slow.
    optimal_weights : the refit alone.

    Notes
    -----
    The kept weights are the best ones on their support, so the answer is never worse than its own mask without
    an update. The support is a heuristic's: no theorem orders ALPS and ExactOBS.

    **Where the ADMM does not settle** within `max_iter`, the support is that of the last ``Z``. It is an answer
    like any other: every ``Z`` obeys the pattern, and the exact refit comes after the search. So nothing that is
    promised depends on it, and no error is raised; the trace tells. It needs an unusual `max_iter`, since rho
    rises by a tenth or more with every count that sees a change, and the copies agree up to a constant over rho.
    On a small layer the support may be the same at the first count, which ends the search where it started, with
    the largest ``W_ij^2 G_jj``.

    The published code ends with ten steps of conjugate gradients, which stop short of the optimum and amplify
    rounding; it also lowers rho where the support is the same at the first count. Neither is done here.

    Memory: about sixteen arrays like the weight, eight like G and 8 MiB; never rows x d x d. Time: 30 iterations
    are usual, each as long as three products of the weight with G, and a sort.

    The answer does not depend on the units of the inputs (with ``damp = 0``), nor on the scale of the weights.

    Source: Meng, Behdin, Wang, Mazumder 2024, ALPS, sections 3.1 to 3.3 and algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> X = np.random.default_rng(0).standard_normal((64, 8)) @ np.tri(8)
    >>> layer = rp.LayerProblem.from_inputs(np.arange(1.0, 17.0).reshape(2, 8), X)
    >>> answer = rp.alps(layer, rp.NM(2, 4))
    >>> answer.mask.sum(axis=1)
    array([4, 4])
    >>> answer.trace[-1].changed  # it has settled
    0
    """
    if not isinstance(problem, LayerProblem):
        raise TypeError(f"need a LayerProblem; got {type(problem).__name__}")
    if not isinstance(pattern, (Unstructured, NM, Blocks, Groups)):
        raise TypeError(f"need an Unstructured, NM, Blocks or Groups pattern; got {type(pattern).__name__}")
    rho, max_iter = nonnegative("rho", rho), integer("max_iter", max_iter, least=1)
    if rho == 0:
        raise ValueError("need rho > 0; got 0")
    view = system(problem, damp)
    project = _projection(view, pattern.on(problem), prior_zeros(mask, view))
    kept, trace = _admm(view, project, rho, max_iter)
    return refitted(view, kept, checked=definite(view), trace=tuple(trace))


def _admm(view, project, rho, max_iter):
    """The support (NumPy boolean array (rows, columns)) and the iterations."""
    norms = [namespace(part.hessian).sqrt(diagonal(part.hessian)) for part in view.parts]  # (m,)
    W = [part.weight * n for part, n in zip(view.parts, norms, strict=True)]
    kept, Z = project(W)
    grams = [part.hessian / n[:, None] / n for part, n in zip(view.parts, norms, strict=True)]
    bases = [eigh(G, part.name) for G, part in zip(grams, view.parts, strict=True)]
    M = [0 * w for w in W]
    size, before, trace = _norm(W), kept, []
    for t in range(1, max_iter + 1):
        Y = [
            z + (((w - z) @ G - m) @ Q / (L + rho)) @ swap(Q)
            for w, z, m, G, (L, Q) in zip(W, Z, M, grams, bases, strict=True)
        ]
        kept, Z = project([y + m / rho for y, m in zip(Y, M, strict=True)])
        gaps = [y - z for y, z in zip(Y, Z, strict=True)]
        M = [m + rho * gap for m, gap in zip(M, gaps, strict=True)]
        changed = int(np.count_nonzero(kept != before))
        trace.append(Iteration(rho, changed, _norm(gaps) / size if size else 0.0))
        if t % EVERY == 0:
            if changed == 0:
                break
            rho, before = raised(rho, changed, int(np.count_nonzero(kept))), kept
    return kept, trace


def raised(rho, changed, kept):
    """The next penalty, when `changed` weights (at least 1) have entered or left a support of `kept`."""
    return rho * (13 if 10 * changed >= kept else 12 if 200 * changed >= kept else 11) / 10


def _norm(arrays):
    """The Frobenius norm of all `arrays` together, a float."""
    return float(sum(float(namespace(x).sum(x * x)) for x in arrays)) ** 0.5


def _projection(view, pattern, prior) -> Callable:
    """P: arrays (r, m), one for each of `view.parts`, to (support, the same arrays with zeros off it).

    The support is a NumPy boolean array (rows, columns). Sizes rank where a unit is one weight, sums of squares
    where it is more. A unit without a living weight has the score -1, which goes before all others.
    """
    xp, like = namespace(view.weight), view.weight
    units = isinstance(pattern, (Blocks, Groups))
    free, may = from_numpy(_free(view, pattern, prior), like), from_numpy(prior, like)
    given = None if prior.all() else view.restore(may)
    places = [
        (slice(part.first, part.first + part.count), from_numpy(part.living, like)) for part in view.parts
    ]

    def project(arrays):
        scores = xp.zeros(view.shape, dtype=like.dtype)
        for (rows, columns), x in zip(places, arrays, strict=True):
            scores[rows, columns] = x * x if units else abs(x)
        scores = xp.where(free, -1, xp.where(may, scores, 0))
        kept = xp.reshape(pattern.mask(view.restore(scores), given), view.shape)
        cut = [xp.where(kept[rows, columns], x, 0) for (rows, columns), x in zip(places, arrays, strict=True)]
        return to_numpy(kept), cut

    return project


def _free(view, pattern, prior):
    """One weight of every unit whose weights are all dead or prior zeros: a NumPy boolean array (rows, columns)."""
    gone = ~prior
    for part in view.parts:
        gone[part.first : part.first + part.count, part.dead] = True
    if not isinstance(pattern, (Blocks, Groups)):
        return gone
    labels = pattern.labels(view.problem.weight.shape).reshape(view.shape)
    names, first = np.unique(labels, return_index=True)
    free = np.zeros(view.shape, dtype=bool)
    free.reshape(-1)[first[np.isin(names, np.setdiff1d(labels[gone], labels[~gone]))]] = True
    return free
