r"""WoodFisher: OBS on all weights at once, with the empirical Fisher matrix for the Hessian.

Model: ``1/2 delta^T F delta`` with ``F = damp I + G^T G / N``, G (N, d) the gradients of single samples; with
`first_order` also ``mean g . delta``.
Problem: which weights go, and where the others move.
Solution: with ``C = F^-1`` and t the minimiser of the model (w without first order), the removal of p costs
``t_p^2 / (2 C_pp)``. The smallest go, all at once; the rest moves to the minimiser with zeros at all of them.
What makes it fast: Woodbury's identity, see `refprune.methods.fisher_model`; the definition has the recursion.
Ties: the lowest flat index is pruned first.
Cost: 2 N^2 d + 2 N^3; in blocks of m < N weights N m d; a search N d for each step or swap.
Source: Singh and Alistarh 2020, WoodFisher: Efficient Second-Order Approximation for Neural Network Compression.
"""

from functools import partial
from itertools import pairwise
from math import frexp

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    exponent,
    flag,
    full,
    integer,
    namespace,
    nonnegative,
    real,
    times_power,
    widest,
)
from refprune.methods.fisher_model import DiagonalModel, FisherModel
from refprune.methods.fisher_swaps import swapping
from refprune.methods.fisher_thresholding import thresholding
from refprune.methods.many_weights import many_weights
from refprune.methods.system import floating
from refprune.patterns import NM, Unstructured
from refprune.pruned import Pruned

UPDATES, SEARCHES = ("joint", "sum"), (None, "iht", "swap")


def woodfisher(
    weight: Array | dict,
    gradients: Array,
    pattern: Unstructured | NM,
    damp: float = 1e-5,
    block: int | str | None = None,
    update: str = "joint",
    first_order: bool = False,
    *,
    search: str | None = None,
    max_iter: int = 200,
    mask: Array | dict | None = None,
) -> Pruned:
    r"""Prune by the empirical Fisher matrix :math:`F = \text{damp}\, I + \frac1N \sum_s g_s g_s^T`.

    With :math:`C = F^{-1}` the weights of least :math:`w_p^2 / (2 C_{pp})` go; then
    :math:`\delta = - C_{:P} (C_{PP})^{-1} w_P` for the set P of them.

    Parameters
    ----------
    weight : array, shape (d,), (rows, columns) or (out, in, kh, kw); or dict of such arrays
        A dict holds the layers of a network.
    gradients : array, shape (N, d)
        The gradient of the loss of every sample with respect to the weights, in flat order: the arrays of the dict
        one after the other, each in C order. A row may be the mean over a mini-batch; F is another matrix then.
    pattern : Unstructured or NM
        The scope is "network", "layer" or "row"; None is "network" for a dict, where all arrays share one count, and
        "layer" for one array. `count_rule` is "strict" in the paper's code.
    damp : float
        Absolute, in units of the loss per weight squared; not relative as elsewhere. Compare it with
        ``mean(gradients**2)``, the mean diagonal of the rest of F; see the notes.
    block : int, "layer" or None
        Only blocks on the diagonal of F count: of so many consecutive weights, starting anew in each array (the last
        one may be smaller; 1 is the diagonal), or each array's. None is the whole F.
    update : {"joint", "sum"}
        How the kept weights move: to the minimiser with zeros at P; or by the sum of what each p of P alone would
        ask for, as the paper's code does. The sum is no minimiser.
    first_order : bool
        Whether the model has the mean gradient too ("WoodTaylor"). Then t, the minimiser of the model, stands for w
        in the costs and in the update. Without it the weights count as a minimum of the loss.
    search : {None, "iht", "swap"}
        Whether a support is looked for whose model is lower than that of the least costs, with the weights at their
        best on each: by iterative hard thresholding on the regression form, from the largest weights on (as CHITA);
        or by swaps of a pruned weight for a kept one, from the least costs on (as CBS). Where none is found the
        answer is that without a search. It needs the joint update; swaps need ``damp > 0`` and `block` None or
        "layer".
    max_iter : int
        At most so many steps or swaps of the search.
    mask : boolean array or dict, form of the weight, optional
        What it marks False is pruned first, counted, and takes no part in F. The weight must be 0 there.

    Returns
    -------
    Pruned
        `weight` and `mask` in the form of `weight`; `scores` are the costs, in units of the loss (0 at prior zeros);
        `objective` is the model at `weight`, ``1/2 delta^T F delta`` with damp in F, and with ``first_order`` the
        mean gradient's part. `trace` holds the model at each point of the search, before rounding to the dtype.

    Raises
    ------
    TypeError, ValueError
        Not arrays of one kind with real numbers; gradients of another number of weights, or no sample; a pattern of
        another kind, or that does not fit; another argument out of range; an answer beyond the range of the dtype of
        `weight`.
    numpy.linalg.LinAlgError
        F is singular to rounding: with `damp` 0 and fewer gradients than weights it always is. Swaps need
        ``G_K G_K^T + damp N I`` to be regular too.

    See Also
    --------
    fisher_inverse : the inverse itself.
    iobs : ``selection="saliency"`` takes the same step with any Hessian.
    obs : one weight at a time.

    Notes
    -----
    A direction that no gradient has seen costs `damp` alone, and with few gradients most are not seen. With too small a
    `damp` the joint update goes far there, and the network can end below one pruned by magnitude. With a large one F is
    damping and little else, and the answer near that of magnitude. On small networks that read digits, 1 % to 50 % of
    the mean square of the gradients did best; the summed update minds less.

    N is what is given: fewer gradients give a poorer F, and cost less. No matrix of d by d is formed where
    ``N < d``; blocks of fewer weights than N have the matrix of their weights instead.

    F is computed in float64 (float32 where a device has no other), since ``G G^T`` squares the condition. The
    kept weights satisfy the normal equations of F to rounding; the diagonal of C errs by about ``eps cond(F) / damp``,
    since it is a difference there. Memory: three times the gradients, and arrays (N, N).

    The costs are those of single weights, and many go at once: a search often finds a much lower model at high
    sparsity. Swaps are tried among the 64 most promising weights of either side: where there are no more, the end is
    a support that no swap betters.

    Source: Singh and Alistarh 2020, (4) to (10), appendix A for the first order; Benbaki et al. 2023, Fast as CHITA;
    Yu et al. 2022, The Combinatorial Brain Surgeon. The joint update is CHITA's back-solve.

    Examples
    --------
    The first two weights do the same for the loss, so the second takes over when the first goes:

    >>> import numpy as np
    >>> import refprune as rp
    >>> G = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    >>> answer = rp.woodfisher(np.array([1.0, 1.0, 1.0]), G, rp.Unstructured(keep=2), damp=0.5)
    >>> answer.scores, answer.weight, answer.objective
    (array([0.375, 0.375, 1.25 ]), array([0. , 1.5, 1. ]), 0.375)
    """
    given, pattern, prior = many_weights(weight, pattern, mask)
    options(damp, block, update, first_order, search, max_iter)
    model, a, c = _model(given, weight, gradients, float(damp), block, first_order, prior)
    xp = namespace(model.weight)
    choose = partial(given.mask, pattern, prior=None if prior is None else model.living)
    largest = choose(abs(model.weight))  # an error here, before any work, where prior zeros are too many
    curvature, point = model.inverse_diagonal(), model.newton()
    scores = xp.where(model.living, point * point / (2 * curvature), 0)
    kept, trace = choose(scores), ()
    if search == "iht":
        kept, trace = thresholding(model, choose, (largest, kept), max_iter)
    elif search == "swap":
        kept, trace = swapping(model, kept, given.scopes(pattern), max_iter)
    found = model.best(kept) if update == "joint" else model.summed(kept, curvature)
    return _answer(given, model, kept, found, scores, trace, 2 * (a + c), c)


def options(damp, block, update, first_order, search, max_iter):
    """Raise TypeError or ValueError unless these arguments are as `woodfisher` documents them."""
    nonnegative("damp", damp)
    flag("first_order", first_order)
    if update not in UPDATES:
        raise ValueError(f"need update to be one of {', '.join(UPDATES)}; got {update!r}")
    if isinstance(block, str) and block != "layer":
        raise ValueError(f"need block to be an integer, 'layer' or None; got {block!r}")
    if block is not None and block != "layer":
        integer("block", block, least=1)
    if search not in SEARCHES:
        raise ValueError(f"need search to be one of None, iht, swap; got {search!r}")
    integer("max_iter", max_iter, least=0)
    if search is not None and update != "joint":
        raise ValueError(f"need update 'joint' for a search; got {update!r}")
    if search == "swap" and (damp == 0 or block not in (None, "layer")):
        raise ValueError(f"need damp > 0 and block None or 'layer' for swaps; got {damp} and {block!r}")


def _model(given, weight, gradients, damp, block, first_order, prior):
    """The `FisherModel` in scaled units: (model, a, c), gradients over 2^a and weights over 2^c."""
    real("gradients", gradients, ndim=2)
    arrays = [*given.arrays.values(), gradients]
    floating(*arrays)
    namespace(*arrays)
    d = given.edges[-1]
    if gradients.shape[0] == 0:
        raise ValueError("need at least one sample in gradients; got none")
    if gradients.shape[1] != d:
        raise ValueError(f"need gradients of {d} weights; got shape {tuple(gradients.shape)}")
    blocks = _blocks(given.edges, block)
    dtype = widest(gradients)
    w, G = given.flat(weight, dtype), astype(gradients, dtype)
    living = full((d,), True, w, dtype="bool") if prior is None else given.flat(prior)
    sizes = [exponent(G)] if not damp else [exponent(G), -(-frexp(damp)[1] // 2)]
    a = max(sizes)
    c = max(exponent(w), -a) if first_order else exponent(w)
    G = G * 2.0**-a
    if prior is not None:
        G = namespace(G).where(living[None, :], G, 0)
    kind = DiagonalModel if block == 1 else FisherModel
    linear = 2.0 ** -(a + c) if first_order else 0.0
    model = kind(w * 2.0**-c, G, float(np.ldexp(damp, -2 * a)), blocks, linear, living, damp)
    return model, a, c


def _blocks(edges, block):
    """The diagonal blocks of F as slices of the flat vector."""
    if block is None:
        return (slice(0, edges[-1]),)
    size = None if block == "layer" else block
    return tuple(
        slice(first, min(first + (size or end - start), end))
        for start, end in pairwise(edges)
        for first in range(start, end, size or end - start or 1)
    )


def _answer(given, model, kept, found, scores, trace, loss, c):
    """The `Pruned` answer in the form of what was given; 2^loss and 2^c are the units of losses and weights."""
    weight = given.restore(times_power(found, c), dtypes=True)
    wide = given.flat(weight, found.dtype)
    with np.errstate(over="ignore"):
        objective = float(np.ldexp(model.value(times_power(wide, -c)), loss))
        trace = tuple(float(np.ldexp(value, loss)) for value in trace)
        scores = times_power(scores, loss)
    return Pruned(weight, given.restore(kept), objective, trace=trace, scores=given.restore(scores))
