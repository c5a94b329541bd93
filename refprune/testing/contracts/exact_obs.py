"""`exact-obs`: ExactOBS on a layer, one budget for all rows."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import greedy_mistakes as slip
from .exact_obs_parts import AXES, BEST, GREEDY, MOVES, layer_objective, shared_mistakes
from .obs import CHECKS, DEAD, TIES, TOLERANCE


def _count(weight, sparsity):
    return prune_count(sparsity, weight.size)


def _reference(weight, gram, sparsity):
    return definitions.exact_obs(weight, gram, _count(weight, sparsity))


def _layer(name, summary, count=_count, **slips):
    return Mistake(
        name,
        summary,
        lambda weight, gram, sparsity: slip.layer(weight, gram, count(weight, sparsity), **slips),
    )


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


CONTRACT = Contract(
    name="exact-obs",
    arguments=("weight", "gram", "sparsity"),
    returns=("weight", "mask"),
    promises=(
        "round(sparsity * size) weights are pruned, half to even, from the decimal that was written",
        GREEDY,
        BEST,
        "the rows share one budget: always the row whose next removal is cheapest",
    ),
    readings=(
        "no damping",
        DEAD,
        "allocation is `heap` unless claimed otherwise (`sorted`: the smallest of all step losses; `cumulative`)",
    ),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        *shared_mistakes(_layer),
        _refitted("stale-order", "removals are ranked with a stale inverse, then refitted", stale=True),
        _refitted("obd-order", "removals are ranked by w^2 G_pp, as OBD does", score="obd-order"),
        _refitted("magnitude-order", "the rows' removals are ranked by |w|", score="magnitude-order"),
        _layer("same-count-in-every-row", "every row loses the same number of weights", spread="even"),
        _layer(
            "allocation-sorted",
            "row counts come from ranking all step losses (claim allocation=sorted)",
            allocation="sorted",
        ),
        _layer(
            "allocation-cumulative",
            "row counts come from cumulative losses (claim allocation=cumulative)",
            allocation="cumulative",
        ),
        Mistake(
            "magnitude-mask", "the mask is by magnitude; only the update is second order", _magnitude_mask
        ),
        Mistake("one-too-many", "everything up to the k-th loss is pruned, one too many", _threshold),
        Mistake("one-mask-for-all-rows", "the first row's order is used for every row", _one_mask),
        Mistake("transposed", "the weight is read as (inputs, outputs)", _transposed),
        Mistake(
            "chosen-at-once", "all are chosen by the first saliencies, then updated jointly", _chosen_at_once
        ),
        _layer(
            "count-by-float-product",
            "the count is round(s * N) of a product in floating point",
            count=lambda w, s: round(s * w.size),
        ),
        _layer(
            "count-cut-off",
            "the number kept is int((1 - s) N)",
            count=lambda w, s: w.size - max(int((1 - s) * w.size), 0),
        ),
        form.first_for_shape(_reference),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective),
    ),
    view=build.LayerView,
    flags=(*build.LAYER, *build.COUNTS),
    shapes=(
        (1, 7),
        (1, 8),
        (3, 1),
        (2, 2),
        (4, 4),
        (33, 3),
        (3, 7),
        (2, 10),
        (5, 12),
        (5, 18),
        (2, 33),
        (2, 140),
    ),
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
