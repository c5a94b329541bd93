"""`sparsegpt-nm`: the sweep of SparseGPT with N:M, masks chosen group by group."""

import numpy as np

from refprune import definitions

from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import sweep_build
from . import sweep_mistakes as slip
from .exact_obs_parts import AXES, layer_objective
from .sparsegpt import CHECKS, DAMPING, DEAD, FACTOR, INVERSE, MOVES, SINGULAR, SWEPT, TOLERANCE, costs


def _reference(weight, gram, n, m, block_size, damp):
    if weight.shape[1] % m:
        raise ValueError(f"need columns that fill groups of {m}; got {weight.shape[1]}")
    return definitions.sparsegpt_nm(weight, gram, n, m, damp)


def _slip(name, summary, change=None, **slips):
    """A sweep with one switch set; `change(n, m, columns, block_size)` gives n and the keywords of the groups."""

    def call(weight, gram, n, m, block_size, damp):
        if weight.shape[1] % m:
            raise ValueError(f"need columns that fill groups of {m}; got {weight.shape[1]}")
        n, groups = change(n, m, weight.shape[1], block_size) if change else (n, {})
        used = dict(slips)
        if used.pop("in_block", False):
            used["reach"] = block_size
        return slip.sweep(weight, gram, damp, slip.by_group(n, m, **groups), width=block_size, **used)

    return Mistake(name, summary, call)


def _whole_groups(m, columns, block_size):
    """Columns of whole groups that a block spans; at least one group."""
    return max(block_size // m, 1) * m


def _along_rows(weight, gram, n, m, block_size, damp):
    """Groups along the outputs where the rows fill them."""
    if weight.shape[0] % m:
        return _reference(weight, gram, n, m, block_size, damp)

    def choose(j, scores):
        pruned = np.zeros(weight.shape, bool)
        pruned[:, j] = ~definitions.nm_mask(np.ascontiguousarray(scores()[:, j])[None], n, m)[0]
        return pruned

    return slip.sweep(weight, gram, damp, choose)


def _refitted(weight, gram, n, m, block_size, damp):
    mask = _reference(weight, gram, n, m, block_size, damp)[1]
    h, dead = slip.damped(gram, damp)
    h[dead, dead] = 0.0
    return definitions.optimal_weights(weight, h, mask).astype(weight.dtype), mask


CONTRACT = Contract(
    name="sparsegpt-nm",
    arguments=("weight", "gram", "n", "m", "block_size", "damp"),
    returns=("weight", "mask"),
    promises=(
        "of every `m` consecutive inputs of a row exactly `n` stay; groups are aligned to the layer",
        "in every group no pruned weight had a larger `w_j^2 / C_jj` than a kept one when the sweep came to the "
        "group's first column; " + INVERSE,
        SWEPT,
        "the block size changes nothing",
    ),
    readings=(
        "N counts what is kept (claim n_counts=zeros for the other reading)",
        "columns that do not fill a group are an error",
        "`block_size` is that of the lazy updates only; it need not be a multiple of `m`",
        DAMPING,
        DEAD,
        FACTOR,
        SINGULAR,
        "there is no refit",
    ),
    tolerance=TOLERANCE,
    ties="any choice among near ties of a group: the weights are recomputed from the answer's own mask",
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        _slip("n-read-as-zeros", "N is read as the number of zeros", lambda n, m, d, b: (m - n, {})),
        _slip(
            "groups-restart-at-blocks",
            "groups are counted from the start of each block",
            lambda n, m, d, b: (n, {"block": b}),
        ),
        _slip(
            "strided-groups",
            "a group takes every (columns / m)-th input",
            lambda n, m, d, b: (n, {"group": np.arange(d) % max(d // m, 1)}),
        ),
        Mistake("groups-along-rows", "groups run along the outputs, not the inputs", _along_rows),
        _slip(
            "masks-at-block-start",
            "the masks of all groups of a block are chosen at its start",
            lambda n, m, d, b: (n, {"early": _whole_groups(m, d, b)}),
        ),
        _slip(
            "scores-of-original-weights", "masks are chosen by the weights from before the sweep", frozen=True
        ),
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
        _slip("diagonal-not-squared", "the score is w^2 / U_jj, without the square", score="not-squared"),
        _slip(
            "score-of-whole-inverse", "the score divides by the inverse of the whole G", score="whole-inverse"
        ),
        _slip("wanda-score", "the mask is by w^2 G_jj, Wanda's score", score="wanda"),
        _slip("magnitude-mask", "the mask is by magnitude", score="magnitude"),
        _slip("damping-ignored", "`damp` is not used", damping="none"),
        _slip("damping-absolute", "`damp` itself is added to the diagonal", damping="absolute"),
        _slip(
            "dead-as-one-before-damping",
            "dead inputs get a 1 on the diagonal before the mean is taken",
            damping="dead-as-one",
        ),
        _slip("dead-inputs-zeroed", "kept dead inputs lose their weight", dead_zeroed=True),
        _slip("identity-fallback", "the identity replaces an inverse that fails", fallback=True),
        Mistake("right-to-left", "the columns are swept from right to left", slip.mirrored(_reference)),
        Mistake("refitted", "the weights are the best on their mask, not those of the sweep", _refitted),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective, costs),
    ),
    view=sweep_build.GroupedSweepView,
    flags=(*build.LAYER, *build.GROUPS, "DampedSingular", "DampedDeadInput", "FaintInput"),
    shapes=(
        (1, 8),
        (1, 12),
        (3, 1),
        (4, 4),
        (3, 8),
        (5, 9),
        (2, 10),
        (4, 12),
        (2, 24),
        (3, 7),
        (70, 4),
        (2, 140),
    ),
    build=sweep_build.grouped_layer,
    axes=AXES,
    transforms=MOVES,
    example="""def sparsegpt_nm(weight, gram, n, m, block_size, damp):
    if weight.shape[1] % m:
        raise ValueError(f"need columns to be a multiple of {m}; got {weight.shape[1]}")
    w, mask, columns = weight.copy(), np.ones(weight.shape, bool), weight.shape[1]
    alive = np.flatnonzero(np.diag(gram) > 0)
    h = gram + np.diag(damp * gram[alive, alive].mean() * (np.diag(gram) > 0)) if len(alive) else gram
    if len(alive) and np.linalg.cond(h[np.ix_(alive, alive)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite gram after damping")
    upper = np.eye(columns)
    upper[np.ix_(alive, alive)] = np.linalg.cholesky(np.linalg.inv(h[np.ix_(alive, alive)])).T
    for j in range(columns):
        if j % m == 0:  # groups count from the first column of the layer, whatever the block size
            score = (w[:, j : j + m] / np.diag(upper)[j : j + m]) ** 2
            score[:, np.diag(gram)[j : j + m] == 0] = -1.0  # dead inputs go first
            gone = np.argsort(score, axis=1, kind="stable")[:, : m - n]
            np.put_along_axis(mask[:, j : j + m], gone, False, axis=1)
        error = np.where(mask[:, j], 0, w[:, j] / upper[j, j])
        w[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
        w[~mask[:, j], j] = 0.0
    return w, mask""",
)
