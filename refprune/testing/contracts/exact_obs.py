"""`exact-obs`, `exact-obs-nm`, `exact-obs-blocks`: ExactOBS on a layer."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from .. import checks, transforms
from ..contract import Contract, Mistake
from . import greedy_build as build
from . import greedy_mistakes as slip
from .obs import CHECKS, DEAD, TIES, TOLERANCE

AXES = {"weight": ("row", "column"), "gram": ("column", "column")}
MOVES = (
    transforms.scale, transforms.signs, transforms.rows, transforms.columns, transforms.dead_input,
    transforms.another_count,
)  # fmt: skip
LAYER_CHECKS = tuple(spec for spec in CHECKS if spec not in (checks.ORDER, checks.SALIENCIES))
GREEDY = "in every row each removal was the cheapest of its moment by `w_p^2 / (2 [G^-1]_pp)`"
BEST = "the survivors of every row are the best ones on their support"


def _count(weight, sparsity):
    return prune_count(sparsity, weight.size)


def _reference(weight, gram, sparsity):
    return definitions.exact_obs(weight, gram, _count(weight, sparsity))


def _reference_nm(weight, gram, n, m):
    return definitions.exact_obs_nm(weight, gram, n, m)


def _reference_blocks(weight, gram, size, sparsity):
    return definitions.exact_obs_blocks(weight, gram, size, prune_count(sparsity, weight.size // size))


def _layer(name, summary, count=_count, **slips):
    return Mistake(name, summary, lambda weight, gram, sparsity: slip.layer(weight, gram, count(weight, sparsity), **slips))


def _refitted(name, summary, **slips):
    """The mask of another ranking, with the best weights on it."""

    def call(weight, gram, sparsity):
        return slip.refit(weight, gram, slip.layer(weight, gram, _count(weight, sparsity), **slips)[1])

    return Mistake(name, summary, call)


def _magnitude_mask(weight, gram, sparsity):
    return slip.refit(weight, gram, definitions.magnitude(weight, _count(weight, sparsity))[1])


def _threshold(weight, gram, sparsity):
    """Removals up to and including the loss at the position of the count: one too many."""
    return slip.layer(weight, gram, min(_count(weight, sparsity) + 1, weight.size))


def _one_mask(weight, gram, sparsity):
    """The first row's order for every row."""
    rows, columns = weight.shape
    order = [step[0] for step in slip.surgeon(weight[0], gram, columns)]
    mask = np.ones(weight.shape, bool)
    count = _count(weight, sparsity)
    for row in range(rows):
        mask[row, order[: count // rows + (row < count % rows)]] = False
    return slip.refit(weight, gram, mask)


def _transposed(weight, gram, sparsity):
    if weight.shape[0] != weight.shape[1]:
        return slip.layer(weight, gram, _count(weight, sparsity))
    out, mask = slip.layer(np.ascontiguousarray(weight.T), gram, _count(weight, sparsity))
    return np.ascontiguousarray(out.T), np.ascontiguousarray(mask.T)


def _chosen_at_once(weight, gram, sparsity):
    h = gram + np.diag((gram.diagonal() == 0).astype(gram.dtype))
    saliency = np.where(gram.diagonal() > 0, weight**2 / np.linalg.inv(h).diagonal(), -1.0)
    return slip.refit(weight, gram, definitions.topk_mask(saliency, weight.size - _count(weight, sparsity)))


def _shared_mistakes(make):
    """The slips of the row kernel, for whichever pattern `make(name, summary, **slips)` builds."""
    return (
        make("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        make("no-update", "the survivors are not updated", update=0.0),
        make("update-sign", "the update has the wrong sign", update=-1.0),
        make("weight-not-squared", "the saliency is |w| / [G^-1]_pp (or w^2 / [G^-1]_pp^2)", score="weight-not-squared"),
        make("times-the-inverse", "the saliency is w^2 [G^-1]_pp", score="times-the-inverse"),
        make("update-by-gram", "the update uses a column of G, not of its inverse", by_hessian=True),
        make("scores-of-original-weights", "saliencies use the weights from before the updates", old_scores=True),
        make("damped", "G is damped by 1 % of its mean diagonal", damp=0.01),
        make("identity-added", "the identity is added to G", identity=1.0),
        make("dead-input-kept", "a dead input gets a 1 on the diagonal and is ranked like the others", dead_first=False),
        make("pruned-weights-move", "later updates move pruned weights again", stale=True, revive=True),
    )


EXACT = Contract(
    name="exact-obs",
    arguments=("weight", "gram", "sparsity"),
    returns=("weight", "mask"),
    promises=(
        "round(sparsity * size) weights are pruned, half to even, from the decimal that was written",
        GREEDY, BEST, "the rows share one budget: always the row whose next removal is cheapest",
    ),  # fmt: skip
    readings=(
        "no damping", DEAD,
        "allocation is `heap` unless claimed otherwise (`sorted`: the smallest of all step losses; `cumulative`)",
    ),  # fmt: skip
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=LAYER_CHECKS,
    mistakes=(
        *_shared_mistakes(_layer),
        _refitted("obd-order", "removals are ranked by w^2 G_pp, as OBD does", score="obd-order"),
        _refitted("magnitude-order", "the rows' removals are ranked by |w|", score="magnitude-order"),
        _layer("same-count-in-every-row", "every row loses the same number of weights", spread="even"),
        _layer("allocation-sorted", "row counts come from ranking all step losses (claim allocation=sorted)", allocation="sorted"),
        _layer("allocation-cumulative", "row counts come from cumulative losses (claim allocation=cumulative)", allocation="cumulative"),
        Mistake("magnitude-mask", "the mask is by magnitude; only the update is second order", _magnitude_mask),
        Mistake("one-too-many", "everything up to the k-th loss is pruned, one too many", _threshold),
        Mistake("one-mask-for-all-rows", "the first row's order is used for every row", _one_mask),
        Mistake("transposed", "the weight is read as (inputs, outputs)", _transposed),
        Mistake("chosen-at-once", "all are chosen by the first saliencies, then updated jointly", _chosen_at_once),
        _layer("count-cut-off", "the number kept is int((1 - s) N)",
               count=lambda w, s: w.size - max(int((1 - s) * w.size), 0)),
    ),
    view=build.LayerView,
    flags=(*build.LAYER, *build.COUNTS),
    shapes=((1, 7), (1, 8), (3, 1), (2, 2), (4, 4), (3, 6), (3, 7), (2, 10), (5, 12), (4, 20), (2, 33), (1, 133)),
    build=build.layer,
    axes=AXES,
    transforms=MOVES,
    example="""def exact_obs(weight, gram, sparsity):
    w, mask = weight.copy(), np.ones(weight.shape, bool)
    inverse = [None] * len(w)
    for _ in range(round(Fraction(repr(sparsity)) * weight.size)):
        costs = np.full(w.shape, np.inf)
        for row in range(len(w)):
            costs[row, mask[row] & (np.diag(gram) == 0)] = 0.0  # dead inputs cost nothing
            live = np.flatnonzero(mask[row] & (np.diag(gram) > 0))
            inverse[row] = np.linalg.inv(gram[np.ix_(live, live)])
            costs[row, live] = w[row, live] ** 2 / np.diag(inverse[row])
        row, p = np.unravel_index(np.argmin(costs), costs.shape)
        if gram[p, p] > 0:
            live = np.flatnonzero(mask[row] & (np.diag(gram) > 0))
            j = np.flatnonzero(live == p)[0]
            w[row, live] -= w[row, p] / inverse[row][j, j] * inverse[row][:, j]
        w[row, p], mask[row, p] = 0.0, False
    return w, mask""",
)


def _nm(name, summary, change=None, **slips):
    def call(weight, gram, n, m):
        n, group = change(n, m, weight.shape[1]) if change else (n, None)
        return slip.layer_nm(weight, gram, n, m, group, **slips)

    return Mistake(name, summary, call)


def _nm_refit(rule):
    def call(weight, gram, n, m):
        return slip.refit(weight, gram, rule(weight, gram, n, m))

    return call


def _nm_at_once(weight, gram, n, m):
    h = gram + np.diag((gram.diagonal() == 0).astype(gram.dtype))
    saliency = np.where(gram.diagonal() > 0, weight**2 / np.linalg.inv(h).diagonal(), -1.0)
    return definitions.nm_mask(saliency, n, m)


def _nm_over_rows(weight, gram, n, m):
    """Groups along the outputs where the rows fill them."""
    if weight.shape[0] % m:
        return _reference_nm(weight, gram, n, m)
    saliency = weight**2 * gram.diagonal()
    return slip.refit(weight, gram, definitions.nm_mask(np.ascontiguousarray(saliency.T), n, m).T)


NM = Contract(
    name="exact-obs-nm",
    arguments=("weight", "gram", "n", "m"),
    returns=("weight", "mask"),
    promises=(
        "of every `m` consecutive inputs of a row exactly `n` stay",
        GREEDY + ", among the columns whose group still has zeros to give", BEST,
    ),  # fmt: skip
    readings=(
        "N counts what is kept (claim n_counts=zeros for the other reading)",
        "columns that do not fill a group are an error", "no damping", DEAD,
    ),  # fmt: skip
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference_nm,
    checks=LAYER_CHECKS,
    mistakes=(
        *_shared_mistakes(_nm),
        _nm("n-read-as-zeros", "N is read as the number of zeros", lambda n, m, d: (m - n, None)),
        _nm("strided-groups", "a group takes every (columns / m)-th input", lambda n, m, d: (n, np.arange(d) % max(d // m, 1))),
        Mistake("magnitude-mask", "the mask is by magnitude; only the update is second order",
                _nm_refit(lambda w, g, n, m: definitions.nm_mask(abs(w), n, m))),
        Mistake("chosen-at-once", "the mask is chosen by the first saliencies, then updated jointly", _nm_refit(_nm_at_once)),
        Mistake("groups-along-rows", "groups run along the outputs, not the inputs", _nm_over_rows),
    ),
    view=build.GroupedLayerView,
    flags=(*build.LAYER, *build.GROUPS),
    shapes=((1, 8), (1, 12), (3, 1), (2, 2), (4, 4), (3, 6), (3, 8), (2, 10), (4, 12), (2, 24), (3, 7), (1, 132)),
    build=build.grouped_layer,
    axes=AXES,
    transforms=MOVES,
    example="""def exact_obs_nm(weight, gram, n, m):
    if weight.shape[1] % m:
        raise ValueError(f"need columns to be a multiple of {m}; got {weight.shape[1]}")
    w, mask, group = weight.copy(), np.ones(weight.shape, bool), np.arange(weight.shape[1]) // m
    for row in range(len(w)):
        for _ in range(weight.shape[1] // m * (m - n)):
            open_ = mask[row] & (np.bincount(group[~mask[row]], minlength=len(group))[group] < m - n)
            live = np.flatnonzero(mask[row] & (np.diag(gram) > 0))
            inverse = np.linalg.inv(gram[np.ix_(live, live)])
            costs = np.zeros(len(group))  # dead inputs cost nothing
            costs[live] = w[row, live] ** 2 / np.diag(inverse)
            p = min(np.flatnonzero(open_), key=lambda column: costs[column])
            if gram[p, p] > 0:
                j = np.flatnonzero(live == p)[0]
                w[row, live] -= w[row, p] / inverse[j, j] * inverse[:, j]
            w[row, p], mask[row, p] = 0.0, False
    return w, mask""",
)


def _blocks(name, summary, **slips):
    def call(weight, gram, size, sparsity):
        return slip.blocks(weight, gram, size, prune_count(sparsity, weight.size // size), **slips)

    return Mistake(name, summary, call)


def _single_weights(weight, gram, size, sparsity):
    return slip.layer(weight, gram, size * prune_count(sparsity, weight.size // size))


def _block_magnitude(weight, gram, size, sparsity):
    norms = (weight.reshape(weight.shape[0], -1, size) ** 2).sum(axis=2)
    keep = definitions.topk_mask(norms, norms.size - prune_count(sparsity, norms.size))
    return slip.refit(weight, gram, np.repeat(keep, size, axis=1))


BLOCKS = Contract(
    name="exact-obs-blocks",
    arguments=("weight", "gram", "size", "sparsity"),
    returns=("weight", "mask"),
    promises=(
        "round(sparsity * rows * blocks per row) blocks of `size` consecutive inputs are pruned whole",
        "in every row each removal was the cheapest of its moment by `1/2 w_B^T ([G^-1]_BB)^-1 w_B`", BEST,
        "the rows share one budget: always the row whose next removal is cheapest",
    ),  # fmt: skip
    readings=("columns that do not fill a block are an error", "no damping", DEAD),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference_blocks,
    checks=LAYER_CHECKS,
    mistakes=(
        _blocks("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        _blocks("no-update", "the survivors are not updated", update=False),
        _blocks("sum-of-singles", "a block costs the sum of its members' single saliencies", score="sum-of-singles"),
        _blocks("obd-order", "blocks are ranked by w_B^T G_BB w_B", score="diagonal-block"),
        _blocks("magnitude-order", "the rows' blocks are ranked by their norm", score="magnitude"),
        _blocks("same-count-in-every-row", "every row loses the same number of blocks", spread="even"),
        Mistake("single-weights", "single weights are pruned, not blocks", _single_weights),
        Mistake("magnitude-mask", "the mask is by block norm; only the update is second order", _block_magnitude),
    ),
    view=build.BlockLayerView,
    flags=(*build.LAYER, *build.COUNTS, "NMRemainder"),
    shapes=((1, 8), (1, 10), (3, 1), (2, 2), (4, 4), (3, 6), (3, 8), (2, 10), (4, 12), (2, 24), (3, 7), (1, 132)),
    build=build.block_layer,
    axes=AXES,
    transforms=MOVES,
    example="""def exact_obs_blocks(weight, gram, size, sparsity):
    if weight.shape[1] % size:
        raise ValueError(f"need columns to be a multiple of {size}; got {weight.shape[1]}")
    rows, blocks = len(weight), weight.shape[1] // size
    w, mask, block = weight.copy(), np.ones(weight.shape, bool), np.arange(weight.shape[1]) // size
    for _ in range(round(Fraction(repr(sparsity)) * rows * blocks)):
        best = (np.inf,)
        for row in range(rows):
            live = np.flatnonzero(mask[row] & (np.diag(gram) > 0))
            inverse = np.linalg.inv(gram[np.ix_(live, live)])
            for b in np.unique(block[mask[row]]):
                j = np.flatnonzero(block[live] == b)
                x = np.linalg.solve(inverse[np.ix_(j, j)], w[row, live[j]])
                cost = x @ w[row, live[j]] if len(j) else -1.0  # dead blocks go first
                if cost < best[0]:
                    best = (cost, row, b, live, inverse[:, j] @ x)
        _, row, b, live, step = best
        w[row, live] -= step
        w[row, block == b], mask[row, block == b] = 0.0, False
    return w, mask""",
)
