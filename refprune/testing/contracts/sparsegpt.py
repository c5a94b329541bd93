"""`sparsegpt`: one sweep over the columns of a layer, masks chosen block by block."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from .. import checks, sweep_checks, transforms
from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import sweep_build
from . import sweep_mistakes as slip
from .exact_obs_parts import AXES, layer_objective

CHECKS = (
    *checks.BEFORE,
    checks.FORM,
    checks.FINITE,
    checks.COUNT,
    checks.ZEROS,
    checks.ORDER,
    checks.OBJECTIVE,
    sweep_checks.SALIENCIES,
    sweep_checks.SWEPT,
    sweep_checks.RANKED,
    *checks.AFTER,
)
TOLERANCE = (
    "weights are held to `64 eps kappa (1 + kappa / 1000)` of the largest norm that their row takes on in the sweep, "
    "scores `|w_j| / sqrt(C_jj)` to `16 eps kappa (1 + kappa / 1000)` of that norm over `sqrt(C_jj)`; kappa is the "
    "condition of the damped G at unit diagonal; its square is there for the Cholesky factor of an inverse "
    "from LU, which may lose that much; where kappa is above `min(1e7, 1e-4 / eps)`, a check that these bounds "
    "leave open counts as not run; where the damped G is singular, the gradient on the kept entries is held to "
    "`128 sqrt(d eps |G|) |w|`"
)
TIES = "any choice among near ties of a block: the weights are recomputed from the answer's own mask"
SWEPT = "kept weights are those of the sweep: a pruned `w_j` moves the later ones by `-w_j / C_jj C_j:`, and no earlier"
DEAD = (
    "dead inputs (a zero on the diagonal of G) are found before damping and cost nothing; "
    "one that stays keeps its weight"
)
DAMPING = "`damp * mean(diag G)` over living inputs is added to their diagonal (claim damping=absolute: `damp` itself)"
INVERSE = "`C` is the inverse of the damped G over the living columns from j on"
FACTOR = (
    "all these inverses come from one factor: with `U` upper triangular and `U^T U` the inverse of the whole damped G, "
    "`C_jj` is `U_jj^2` and `C_j:` is `U_jj U_j,j:`"
)
SINGULAR = (
    "where the damped G is singular to rounding, an error is right, and so is an answer with the right counts whose "
    "kept weights are stationary once all later ones are at their best"
)
MOVES = (
    transforms.scale,
    transforms.signs,
    transforms.rows,
    transforms.dead_input,
    transforms.another_count,
    transforms.another_hessian,
    transforms.another_block_size,
    transforms.another_damping,
)


def _reference(weight, gram, sparsity, block_size, damp):
    rows, columns = weight.shape
    widths = [min(block_size, columns - start) for start in range(0, columns, block_size)]
    counts = [prune_count(sparsity, rows * width) for width in widths]
    return definitions.sparsegpt(weight, gram, counts, block_size, damp)


def _slip(name, summary, pick=slip.lowest, count=prune_count, whole_only=False, block=None, **slips):
    """A sweep with one switch set; `block(block_size, columns)` is the size that it works with."""

    def call(weight, gram, sparsity, block_size, damp):
        width = block(block_size, weight.shape[1]) if block else block_size
        choose = slip.by_block(width, lambda size: count(sparsity, size), pick, whole_only)
        used = dict(slips)
        if used.pop("in_block", False):
            used["reach"] = width
        return slip.sweep(weight, gram, damp, choose, width=width, **used)

    return Mistake(name, summary, call)


def _layer_budget(weight, gram, sparsity, block_size, damp):
    count = prune_count(sparsity, weight.size)
    return slip.sweep(weight, gram, damp, slip.at_start(lambda scores: slip.lowest(scores, count)))


def _refitted(weight, gram, sparsity, block_size, damp):
    mask = _reference(weight, gram, sparsity, block_size, damp)[1]
    h, dead = slip.damped(gram, damp)
    h[dead, dead] = 0.0
    return definitions.optimal_weights(weight, h, mask).astype(weight.dtype), mask


def _masked_only(weight, gram, sparsity, block_size, damp):
    mask = _reference(weight, gram, sparsity, block_size, damp)[1]
    return np.where(mask, weight, 0).astype(weight.dtype), mask


def _transposed(weight, gram, *rest):
    if weight.shape[0] != weight.shape[1]:
        return _reference(weight, gram, *rest)
    out, mask = _reference(np.ascontiguousarray(weight.T), gram, *rest)
    return np.ascontiguousarray(out.T), np.ascontiguousarray(mask.T)


def costs(mask, weight, gram, *rest):
    """What every pruned weight cost when the sweep came to it."""
    paid, now = np.zeros(weight.shape), weight.copy()
    h, dead = slip.damped(gram, rest[-1])
    for j in np.flatnonzero(~dead):
        ahead = j + np.flatnonzero(~dead[j:])
        row = np.linalg.inv(h[np.ix_(ahead, ahead)])[0]
        gone = np.where(mask[:, j], 0.0, now[:, j])
        paid[:, j] = gone**2 / (2 * row[0])
        now[:, ahead] -= np.outer(gone, row / row[0])
    return paid[~mask]


CONTRACT = Contract(
    name="sparsegpt",
    arguments=("weight", "gram", "sparsity", "block_size", "damp"),
    returns=("weight", "mask"),
    promises=(
        "in every block of `block_size` columns round(sparsity * rows * width) weights are pruned, half to even",
        "in every block no pruned weight had a larger `w_j^2 / C_jj` than a kept one when the sweep came to the "
        "block's first column; " + INVERSE,
        SWEPT,
    ),
    readings=(
        DAMPING,
        DEAD,
        FACTOR,
        SINGULAR,
        "the last block is narrower where the columns do not fill it",
        "there is no refit",
    ),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        _slip(
            "stale-inverse",
            "scores and updates use the inverse of the whole G at every column",
            factor="stale",
        ),
        _slip(
            "stale-in-block",
            "the inverse is renewed at the start of a block, not at every column",
            factor="stale-in-block",
        ),
        _slip("update-by-gram", "the update uses a row of G, not of the inverse", factor="gram"),
        _slip(
            "wrong-end-of-factor", "the Cholesky factor is that of a sweep from the right", factor="wrong-end"
        ),
        _slip("no-update", "the later weights are not updated", update=0.0),
        _slip("update-sign", "the update has the wrong sign", update=-1.0),
        _slip("update-not-divided", "the error is not divided by the factor's diagonal", divided=False),
        _slip("no-lazy-update", "updates do not reach the later blocks", in_block=True),
        _slip("earlier-columns-move", "updates move earlier columns too", factor="stale", everywhere=True),
        _slip("diagonal-not-squared", "the score is w^2 / U_jj, without the square", score="not-squared"),
        _slip(
            "diagonal-squared-twice",
            "the score is w^2 / C_jj^2 (or |w| / C_jj, the same order)",
            score="squared-twice",
        ),
        _slip(
            "score-of-whole-inverse", "the score divides by the inverse of the whole G", score="whole-inverse"
        ),
        _slip("wanda-score", "the mask is by w^2 G_jj, Wanda's score", score="wanda"),
        _slip("magnitude-mask", "the mask is by magnitude", score="magnitude"),
        _slip("scores-of-original-weights", "scores use the weights from before the sweep", frozen=True),
        Mistake("layer-budget", "one mask for the layer is chosen before the sweep", _layer_budget),
        _slip("same-count-in-every-row", "every row of a block loses the same number", pick=slip.in_rows),
        _slip("mask-at-every-column", "every column is a block of its own", block=lambda size, d: 1),
        _slip(
            "threshold",
            "everything up to the score at the place int(s * N) is pruned, one or more too many",
            pick=slip.up_to,
            count=lambda s, size: int(s * size),
        ),
        _slip(
            "count-by-float-product",
            "the count is round(s * N) of a product in floating point",
            count=lambda s, size: round(s * size),
        ),
        _slip("count-cut-off", "the count is int(s N)", count=lambda s, size: int(s * size)),
        _slip("short-block-dense", "a last block that is not full stays dense", whole_only=True),
        _slip("damping-ignored", "`damp` is not used", damping="none"),
        _slip("damping-absolute", "`damp` itself is added to the diagonal", damping="absolute"),
        _slip(
            "damping-over-all-inputs", "dead inputs count in the mean of the diagonal", damping="mean-of-all"
        ),
        _slip(
            "dead-as-one-before-damping",
            "dead inputs get a 1 on the diagonal before the mean is taken",
            damping="dead-as-one",
        ),
        _slip(
            "dead-undetected",
            "damping comes before the search for dead inputs, which finds none",
            damping="dead-undetected",
        ),
        _slip("dead-inputs-zeroed", "kept dead inputs lose their weight", dead_zeroed=True),
        _slip("identity-fallback", "the identity replaces an inverse that fails", fallback=True),
        Mistake("right-to-left", "the columns are swept from right to left", slip.mirrored(_reference)),
        Mistake("refitted", "the weights are the best on their mask, not those of the sweep", _refitted),
        Mistake("weights-not-returned", "the mask is right, on the original weights", _masked_only),
        Mistake("transposed", "the weight is read as (inputs, outputs)", _transposed),
        form.first_for_shape(_reference),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective, costs),
    ),
    view=sweep_build.SweepView,
    flags=(*build.LAYER, *build.COUNTS, "DampedSingular", "DampedDeadInput", "FaintInput"),
    shapes=(
        (1, 6),
        (1, 9),
        (3, 1),
        (4, 4),
        (3, 8),
        (3, 9),
        (5, 9),
        (2, 24),
        (4, 12),
        (2, 45),
        (70, 5),
        (2, 140),
    ),
    build=sweep_build.layer,
    axes=AXES,
    transforms=MOVES,
    example="""def sparsegpt(weight, gram, sparsity, block_size, damp):
    w, mask, columns = weight.copy(), np.ones(weight.shape, bool), weight.shape[1]
    alive = np.flatnonzero(np.diag(gram) > 0)
    h = gram + np.diag(damp * gram[alive, alive].mean() * (np.diag(gram) > 0)) if len(alive) else gram
    if len(alive) and np.linalg.cond(h[np.ix_(alive, alive)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite gram after damping")
    upper = np.eye(columns)
    upper[np.ix_(alive, alive)] = np.linalg.cholesky(np.linalg.inv(h[np.ix_(alive, alive)])).T
    for j in range(columns):
        if j % block_size == 0:
            block = slice(j, min(j + block_size, columns))
            score = (w[:, block] / np.diag(upper)[block]) ** 2
            score[:, np.diag(gram)[block] == 0] = -1.0  # dead inputs go first
            gone = np.argsort(score, axis=None, kind="stable")[: round(Fraction(repr(sparsity)) * score.size)]
            chosen = np.ones(score.size, bool)
            chosen[gone] = False
            mask[:, block] = chosen.reshape(score.shape)
        error = np.where(mask[:, j], 0, w[:, j] / upper[j, j])
        w[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
        w[~mask[:, j], j] = 0.0
    return w, mask""",
)
