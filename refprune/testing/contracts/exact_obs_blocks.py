"""`exact-obs-blocks`: ExactOBS with blocks of consecutive inputs, one budget for all rows."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import greedy_mistakes as slip
from .exact_obs_parts import AXES, BEST, MOVES, layer_objective
from .obs import CHECKS, DEAD, TIES, TOLERANCE


def _reference(weight, gram, size, sparsity):
    return definitions.exact_obs_blocks(weight, gram, size, prune_count(sparsity, weight.size // size))


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


CONTRACT = Contract(
    name="exact-obs-blocks",
    arguments=("weight", "gram", "size", "sparsity"),
    returns=("weight", "mask"),
    promises=(
        "round(sparsity * rows * blocks per row) blocks of `size` consecutive inputs are pruned whole",
        "in every row each removal was the cheapest of its moment by `1/2 w_B^T ([G^-1]_BB)^-1 w_B`",
        BEST,
        "the rows share one budget: always the row whose next removal is cheapest",
    ),
    readings=("columns that do not fill a block are an error", "no damping", DEAD),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        _blocks("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        _blocks("no-update", "the survivors are not updated", update=False),
        _blocks(
            "sum-of-singles",
            "a block costs the sum of its members' single saliencies",
            score="sum-of-singles",
        ),
        _blocks("obd-order", "blocks are ranked by w_B^T G_BB w_B", score="diagonal-block"),
        _blocks("magnitude-order", "the rows' blocks are ranked by their norm", score="magnitude"),
        _blocks("same-count-in-every-row", "every row loses the same number of blocks", spread="even"),
        Mistake("single-weights", "single weights are pruned, not blocks", _single_weights),
        Mistake(
            "magnitude-mask", "the mask is by block norm; only the update is second order", _block_magnitude
        ),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective),
    ),
    view=build.BlockLayerView,
    flags=(*build.LAYER, *build.COUNTS, "NMRemainder"),
    shapes=(
        (1, 8),
        (1, 10),
        (3, 1),
        (2, 2),
        (4, 4),
        (33, 4),
        (3, 8),
        (2, 10),
        (5, 18),
        (2, 24),
        (3, 7),
        (1, 140),
    ),
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
