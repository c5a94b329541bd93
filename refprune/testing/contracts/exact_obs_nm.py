"""`exact-obs-nm`: ExactOBS with N:M, row by row."""

import numpy as np

from refprune import definitions

from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import greedy_mistakes as slip
from .exact_obs_parts import AXES, BEST, GREEDY, MOVES, layer_objective, shared_mistakes
from .obs import CHECKS, DEAD, TIES, TOLERANCE


def _reference(weight, gram, n, m):
    return definitions.exact_obs_nm(weight, gram, n, m)


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
        return _reference(weight, gram, n, m)
    saliency = weight**2 * gram.diagonal()
    return slip.refit(weight, gram, definitions.nm_mask(np.ascontiguousarray(saliency.T), n, m).T)


CONTRACT = Contract(
    name="exact-obs-nm",
    arguments=("weight", "gram", "n", "m"),
    returns=("weight", "mask"),
    promises=(
        "of every `m` consecutive inputs of a row exactly `n` stay",
        GREEDY + ", among the columns whose group still has zeros to give",
        BEST,
    ),
    readings=(
        "N counts what is kept (claim n_counts=zeros for the other reading)",
        "columns that do not fill a group are an error",
        "no damping",
        DEAD,
    ),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        *shared_mistakes(_nm),
        _nm("n-read-as-zeros", "N is read as the number of zeros", lambda n, m, d: (m - n, None)),
        _nm(
            "strided-groups",
            "a group takes every (columns / m)-th input",
            lambda n, m, d: (n, np.arange(d) % max(d // m, 1)),
        ),
        Mistake(
            "magnitude-mask",
            "the mask is by magnitude; only the update is second order",
            _nm_refit(lambda w, g, n, m: definitions.nm_mask(abs(w), n, m)),
        ),
        Mistake(
            "chosen-at-once",
            "the mask is chosen by the first saliencies, then updated jointly",
            _nm_refit(_nm_at_once),
        ),
        Mistake("groups-along-rows", "groups run along the outputs, not the inputs", _nm_over_rows),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective),
    ),
    view=build.GroupedLayerView,
    flags=(*build.LAYER, *build.GROUPS),
    shapes=(
        (1, 8),
        (1, 12),
        (3, 1),
        (2, 2),
        (4, 4),
        (33, 4),
        (3, 8),
        (2, 10),
        (4, 12),
        (2, 24),
        (3, 7),
        (1, 140),
    ),
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
