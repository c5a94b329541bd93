r"""SparseGPT: one sweep over the columns of a layer, masks chosen block by block, the rest made up for.

Model: the layer's ``f(V) = 1/2 tr((V - W) G (V - W)^T)`` with ``G + D`` for G, ``D = damp mean(diag G)``.
Problem: the pattern's zeros at a small f, at the cost of about one inverse for the whole layer.
Solution: columns from left to right. With C the inverse of ``G + D`` over the columns from j on, the loss of
pruning ``w_j`` is ``w_j^2 / (2 C_jj)``, and the later weights of its row move by ``-w_j / C_jj C_j:``. C does
not depend on the row, which is what makes it fast; all of them come from one triangular factor
(`refprune.methods.sweep`). What it gives up against ExactOBS: the columns passed can make up for nothing, and
a mask is final before the columns behind it are seen.
Ties: the lowest flat index goes first; prior zeros, then dead inputs, go before all others of their block.
Cost: 5 d^3 + rows d^2.
Source: Frantar and Alistarh 2023, SparseGPT, algorithm 1.
"""

from itertools import pairwise

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    concat,
    flag,
    from_numpy,
    full,
    integer,
    namespace,
    smallest,
    swap,
    to_numpy,
)
from refprune.counts import prune_count
from refprune.layout import dims
from refprune.methods.allocation import check_budget
from refprune.methods.answer import prior_zeros, refitted
from refprune.methods.sweep import Sweep
from refprune.methods.system import system
from refprune.patterns import NM, Unstructured
from refprune.problems import LayerProblem
from refprune.pruned import Pruned


def sparsegpt(
    problem: LayerProblem,
    pattern: Unstructured | NM,
    block_size: int = 128,
    damp: float = 0.01,
    refit: bool = False,
    mask: Array | None = None,
) -> Pruned:
    r"""Prune a layer by SparseGPT: one sweep over its columns.

    At column j the weights of all rows cost :math:`w_j^2 / (2 C_{jj})` with :math:`C = ((G + D)_{j:,j:})^{-1}`;
    a pruned one moves the later weights of its row by :math:`-w_j C_{j:} / C_{jj}`. The mask of a block of
    columns is chosen when the sweep comes to it, from the weights as they are then.

    Parameters
    ----------
    problem : LayerProblem
    pattern : Unstructured or NM
        With ``Unstructured(sparsity=s)`` every block of columns loses ``round(s * rows * width)`` weights.
        With ``scope="layer"``, or `keep`, the layer's count is exact: what it has beyond the prior zeros is
        shared by the blocks in proportion to their other weights, rounded so that the sum stays. With
        ``scope="row"`` the same holds in every row. The mask of N:M is chosen group by group.
    block_size : int
        The number of columns of a block; the last one may be narrower. It sets where unstructured masks are
        chosen: another block size is another mask. It means nothing for N:M.
    damp : float
        ``damp * mean(diag G)`` over the living inputs is added to the diagonal.
    refit : bool
        End with the best weights on the mask (from ``G + D``). The sweep's are not: at column j it cannot
        move the columns before.
    mask : boolean array, shape of the weight, optional
        False marks prior zeros: pruned first in their block or group, counted, never revived. The weight must
        be 0 there.

    Returns
    -------
    Pruned
        `objective` is undamped. `order` lists the flat C-order indices of what was pruned, columns in the
        order of the sweep, rows ascending; `trace` what each of them cost at its moment. Without `refit`
        the trace sums to the objective with ``G + D`` for G.

    Raises
    ------
    TypeError
        `problem` is no LayerProblem; the pattern is neither Unstructured nor NM; `damp`, `block_size` or
        `mask` is of another kind; the arrays are Fractions.
    ValueError
        The pattern does not fit, has the scope "network", or asks for fewer zeros than `mask` holds in some
        block, row or layer; `damp` is negative; `block_size` is below 1.
    numpy.linalg.LinAlgError
        ``G + D`` of the living inputs is not positive definite.

    See Also
    --------
    obs : ExactOBS, which may remove any weight next.
    optimal_weights : the refit alone.
    refprune.definitions.sparsegpt : the definition, which inverts anew at every column.

    Notes
    -----
    The weight of a convolution is swept in C order (channel, kernel row, kernel column) for unstructured
    masks, and with the channel last for N:M, whose groups are input channels at one kernel position. The
    groups of a grouped convolution have inverses and dampings of their own, and their rows share the budget
    of a block.

    Pruning nothing returns the weights bit for bit.

    Dead inputs (``G_jj = 0``) are found before damping, pruned first, at no cost, and count for no mean; a
    kept one keeps its weight. Columns that fill no group (``NM(..., remainder="dense")``) stay dense, but make
    up for others.

    Memory: at most 1 MiB, eight arrays like G and fifteen like the weight (`tests/benchmarks` measures it);
    a refit takes 32 MiB more. Time: about ``5 d^3 + rows d^2`` operations.

    Source: Frantar and Alistarh 2023, SparseGPT, algorithm 1.

    Examples
    --------
    The first input could stand in for the second, which is what OBS prunes. But it is passed by then: here
    the second has to stand in for the first.

    >>> import numpy as np
    >>> import refprune as rp
    >>> G = np.array([[1.0, 0.875, 0.0], [0.875, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> layer = rp.LayerProblem(np.array([[2.0, 1.5, 1.0]]), G)
    >>> answer = rp.sparsegpt(layer, rp.Unstructured(keep=2), damp=0)
    >>> answer.weight
    array([[0.  , 3.25, 1.  ]])
    >>> rp.obs(layer, rp.Unstructured(keep=2)).objective < answer.objective
    True

    Two of every four inputs kept, and the refit:

    >>> X = np.random.default_rng(0).standard_normal((64, 8))
    >>> layer = rp.LayerProblem.from_inputs(np.arange(1.0, 17.0).reshape(2, 8), X)
    >>> answer = rp.sparsegpt(layer, rp.NM(2, 4))
    >>> answer.mask.sum(axis=1)
    array([4, 4])
    >>> rp.sparsegpt(layer, rp.NM(2, 4), refit=True).objective < answer.objective
    True
    """
    if not isinstance(problem, LayerProblem):
        raise TypeError(f"need a LayerProblem; got {type(problem).__name__}")
    if not isinstance(pattern, (Unstructured, NM)):
        raise TypeError(f"need an Unstructured or NM pattern; got {type(pattern).__name__}")
    view = system(problem, damp)
    block_size, refit = integer("block_size", block_size, least=1), flag("refit", refit)
    prior = prior_zeros(mask, view)
    plan = _groups(problem, pattern) if isinstance(pattern, NM) else _blocks(view, pattern, prior, block_size)
    sequence, edges, counts = plan
    sweeps = [Sweep(part, sequence) for part in view.parts]
    kept = _swept(view, sweeps, prior[:, sequence], edges, counts)
    order, losses = _record(view, sweeps, kept, sequence)
    mask = np.empty_like(kept)
    mask[:, sequence] = kept
    if refit:
        return refitted(view, mask, checked=True, order=order, trace=losses)
    return _answer(view, sweeps, mask, order, losses)


def _blocks(view, pattern, prior, block_size):
    """The plan of unstructured masks: (sequence of columns, edges of the windows, counts of each window).

    A window's counts are one for every line of weights that compete: one line of all rows, or one for each
    row, (lines, 1).
    """
    rows, columns = view.shape
    total = pattern.removals(view.problem.weight.shape)
    edges = np.array([*range(0, columns, block_size), columns])
    free = [prior[:, first:last].sum(axis=1) for first, last in pairwise(edges)]
    free = np.array(free, dtype=int).reshape(len(edges) - 1, rows)
    size = rows * np.diff(edges)[:, None]  # (blocks, 1)
    if pattern.scope == "row":
        size = size // max(rows, 1)
    else:
        free = free.sum(axis=1, keepdims=True)  # (blocks, lines)
    held = size - free
    if pattern.scope is None and pattern.keep is None:
        counts = [prune_count(pattern.sparsity, int(n), pattern.count_rule) for n in size[:, 0]]
        counts = np.array(counts, dtype=int)[:, None]
        for count, taken in zip(counts[:, 0], held[:, 0], strict=True):
            check_budget(count, taken, "block of columns")
    else:
        check_budget(total, held.sum(axis=0).max(initial=0), pattern.scope or "layer")
        counts = held + _shares(total - held.sum(axis=0), free)
    return np.arange(columns), edges, counts[:, :, None]


def _shares(count, free):
    """`count` (lines,) shared in proportion to `free` (blocks, lines), rounded cumulatively: the sums are exact."""
    done, all_of_it = np.cumsum(free, axis=0), np.maximum(free.sum(axis=0), 1)
    upto = (2 * count * done + all_of_it) // (2 * all_of_it)  # floor(count * done / all + 1/2)
    return np.diff(upto, axis=0, prepend=0)


def _groups(problem, pattern):
    """The plan of N:M masks: every row is a line, and a window is a group or a remainder that stays dense."""
    zeros = pattern.removals(problem.weight.shape)
    rows, inputs, positions = dims(problem.weight.shape)
    sequence = np.arange(inputs * positions).reshape(inputs, positions).T.ravel()  # the inputs run fastest
    starts = np.arange(0, inputs, pattern.m)[None, :] + inputs * np.arange(positions)[:, None]
    edges = np.append(starts.ravel(), inputs * positions)
    counts = np.where(np.diff(edges) == pattern.m, zeros, 0)
    return sequence, edges, np.broadcast_to(counts[:, None, None], (len(counts), rows, 1))


def _swept(view, sweeps, prior, edges, counts):
    """Sweep, and choose the masks on the way; NumPy boolean array (rows, columns) in the order of the sweep."""
    xp, rows = namespace(view.weight), view.shape[0]
    prior, kept = from_numpy(prior, view.weight), []
    for (first, last), count in zip(pairwise(edges.tolist()), counts, strict=True):
        own = prior[:, first:last]
        scores = full(own.shape, -1, view.weight)  # dead inputs: before all others
        spans = [sweep.window(first, last) for sweep in sweeps]
        places = [
            from_numpy(sweep.places[slice(*span)] - first, scores)
            for sweep, span in zip(sweeps, spans, strict=True)
        ]
        for sweep, span, at in zip(sweeps, spans, places, strict=True):
            scores[sweep.rows, at] = sweep.look(*span)
        scores = xp.reshape(xp.where(own, scores, -2), (len(count), -1 if rows else 0))
        pruned = xp.reshape(smallest(scores, from_numpy(count, scores)), own.shape)
        kept.append(xp.logical_and(own, xp.logical_not(pruned)))
        for sweep, span, at in zip(sweeps, spans, places, strict=True):
            sweep.prune(*span, kept[-1][sweep.rows, at])
    return to_numpy(concat([prior[:, :0], *kept], axis=1))


def _record(view, sweeps, kept, sequence):
    """What was pruned, in the order of the sweep: flat indices (NumPy), losses (a tuple)."""
    losses = np.zeros(kept.shape)
    for sweep in sweeps:
        losses[sweep.rows, sweep.places] = to_numpy(swap(sweep.errors))
    place, row = np.nonzero(~kept.T)
    losses = view.losses(losses[row, place] ** 2 / 2)
    return row * kept.shape[1] + sequence[place], tuple(losses.tolist())


def _answer(view, sweeps, mask, order, losses):
    """The `Pruned` answer with the weights of the sweep."""
    xp, weight = namespace(view.weight), view.weight.copy()
    for sweep in sweeps:
        weight[sweep.rows, from_numpy(sweep.columns, weight)] = swap(sweep.weight) * 2.0**view.weight_exponent
    mask = from_numpy(mask, weight)
    weight = view.restore(astype(xp.where(mask, weight, 0), view.problem.weight.dtype))
    return Pruned(weight, view.restore(mask), view.objective(weight), from_numpy(order, weight), losses)
