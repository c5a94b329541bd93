"""`obs` and `obs-groups`: Optimal Brain Surgeon on one vector."""

import numpy as np

from refprune import definitions

from .. import checks, transforms
from ..contract import Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from . import greedy_mistakes as slip

CHECKS = (
    *checks.BEFORE,
    checks.FORM,
    checks.FINITE,
    checks.COUNT,
    checks.ZEROS,
    checks.ORDER,
    checks.OBJECTIVE,
    checks.SALIENCIES,
    checks.STATIONARY,
    checks.GREEDY_CHECK,
    *checks.AFTER,
)
TOLERANCE = (
    "costs are compared as square roots `r = |w| / sqrt(2 [H^-1]_pp)` with the additive bound "
    "`10 eps kappa sqrt(w^T H w)`, weights with `64 eps kappa` of their scaled norm; kappa is the condition of the "
    "living part of H at unit diagonal; conditions go up to `min(1e8, 1e-4 / eps)`"
)
TIES = "any order and any choice among near ties: the answer passes when some greedy order of its pruned set exists"
DEAD = "dead inputs (a zero on the diagonal) are removed first, at no cost; one that stays keeps its weight"


def _reference(weight, hessian, keep):
    weight, order = definitions.obs(weight, hessian, weight.size - keep)
    return weight, np.array(order, dtype=np.int64)


def _reference_groups(weight, hessian, groups, keep):
    count = len(np.unique(groups)) - keep
    weight, order = definitions.obs_groups(weight, hessian, groups, count)
    return weight, np.array(order, dtype=np.int64)


def _objective(pruned, weight, hessian, *rest):
    return float((pruned - weight) @ hessian @ (pruned - weight)) / 2


def _saliencies(order, weight, hessian, keep):
    return _increases(weight, hessian, np.arange(weight.size), order)


def _group_saliencies(order, weight, hessian, groups, keep):
    return _increases(weight, hessian, groups, order)


def _increases(weight, hessian, groups, order):
    """What each removal of `order` adds to the objective."""
    masks = [~np.isin(groups, order[:k]) for k in range(len(order) + 1)]
    sums = [_objective(definitions.optimal_weights(weight, hessian, mask), weight, hessian) for mask in masks]
    return np.diff(np.array(sums))


def _single(name, summary, change=None, **slips):
    def call(weight, hessian, keep):
        count = (change or (lambda count, size: count))(weight.size - keep, weight.size)
        return slip.removed(weight, slip.surgeon(weight, hessian, count, **slips))

    return Mistake(name, summary, call)


def _refitted(name, summary, score="saliency", stale=False):
    """The order of another method, with the best weights on its support."""

    def call(weight, hessian, keep):
        order = slip.removed(
            weight, slip.surgeon(weight, hessian, weight.size - keep, score=score, stale=stale)
        )[1]
        return definitions.optimal_weights(weight, hessian, ~np.isin(np.arange(weight.size), order)), order

    return Mistake(name, summary, call)


def _chosen_at_once(weight, hessian, keep):
    return slip.one_shot(weight, hessian, weight.size - keep)


def _sum_of_updates(weight, hessian, keep):
    return slip.one_shot(weight, hessian, weight.size - keep, joint=False)


def _reversed_order(weight, hessian, keep):
    weight, order = slip.removed(weight, slip.surgeon(weight, hessian, weight.size - keep))
    return weight, order[::-1].copy()


def _kept_reported(weight, hessian, keep):
    weight, order = slip.removed(weight, slip.surgeon(weight, hessian, weight.size - keep))
    return weight, np.setdiff1d(np.arange(weight.size), order)


OBS = Contract(
    name="obs",
    arguments=("weight", "hessian", "keep"),
    returns=("weight", "order"),
    promises=(
        "weight.size - keep weights are removed, each exactly 0.0",
        "each removal was the cheapest of its moment by `w_p^2 / (2 [H^-1]_pp)`, H^-1 of the living weights",
        "the survivors are the best ones on their support",
        "`order` lists the removed indices in sequence",
    ),
    readings=("no damping and no gradient term", DEAD),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        _single("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        _single("no-update", "the survivors are not updated", update=0.0),
        _single("update-sign", "the update has the wrong sign", update=-1.0),
        _single("half-update", "a factor 1/2 has slipped into the update", update=0.5),
        _refitted("stale-order", "removals are ranked with a stale inverse, then refitted", stale=True),
        _refitted("obd-order", "removals are ranked by w^2 H_pp, as OBD does", "obd-order"),
        _refitted("magnitude-order", "removals are ranked by |w|", "magnitude-order"),
        _single(
            "weight-not-squared",
            "the saliency is |w| / [H^-1]_pp (or w^2 / [H^-1]_pp^2, the same order)",
            score="weight-not-squared",
        ),
        _single("times-the-inverse", "the saliency is w^2 [H^-1]_pp", score="times-the-inverse"),
        _single(
            "scores-of-original-weights",
            "saliencies use the weights from before the updates",
            old_scores=True,
        ),
        _single("update-by-hessian", "the update uses a column of H, not of its inverse", by_hessian=True),
        _single("damped", "H is damped by 1 % of its mean diagonal", damp=0.01),
        _single("identity-added", "the identity is added to H", identity=1.0),
        _single(
            "dead-input-kept",
            "a dead input gets a 1 on the diagonal and is ranked like the others",
            dead_first=False,
        ),
        _single("pruned-weights-move", "later updates move pruned weights again", stale=True, revive=True),
        _single(
            "one-too-many", "one weight too many is removed", change=lambda count, size: min(count + 1, size)
        ),
        _single("keep-read-as-prune", "`keep` weights are removed", change=lambda count, size: size - count),
        Mistake(
            "chosen-at-once", "all are chosen by the first saliencies, then updated jointly", _chosen_at_once
        ),
        Mistake(
            "sum-of-updates", "all are chosen at once and their single updates are added up", _sum_of_updates
        ),
        Mistake("order-reversed", "the order is reported backwards", _reversed_order),
        Mistake("order-of-kept", "the order lists what stays", _kept_reported),
        form.first_for_shape(_reference),
        *form.of(_reference, ("weight", "order"), lambda w, h, keep: keep == w.size, _objective, _saliencies),
    ),
    view=build.VectorView,
    flags=build.VECTOR,
    shapes=((6,), (1,), (2,), (7,), (12,), (16,), (24,), (40,), (140,)),
    build=build.vector,
    axes={"weight": ("column",), "hessian": ("column", "column")},
    transforms=(
        transforms.scale,
        transforms.signs,
        transforms.columns,
        transforms.dead_input,
        transforms.another_count,
        transforms.another_hessian,
    ),
    example="""def obs(weight, hessian, keep):
    w, living, order = weight.copy(), list(range(weight.size)), []
    alive = np.diag(hessian) > 0
    if alive.any() and np.linalg.cond(hessian[np.ix_(alive, alive)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite hessian")
    for p in np.flatnonzero(np.diag(hessian) == 0)[: weight.size - keep]:  # dead inputs
        w[p] = 0.0
        living.remove(p)
        order.append(p)
    while len(living) > keep:
        inverse = np.linalg.inv(hessian[np.ix_(living, living)])
        j = np.argmin(w[living] ** 2 / np.diag(inverse))
        w[living] -= w[living[j]] / inverse[j, j] * inverse[:, j]
        w[living[j]] = 0.0
        order.append(living.pop(j))
    return w, np.array(order, dtype=int)""",
)


def _grouped(name, summary, **slips):
    def call(weight, hessian, groups, keep):
        return slip.groups(weight, hessian, groups, len(np.unique(groups)) - keep, **slips)

    return Mistake(name, summary, call)


def _labels_as_positions(weight, hessian, groups, keep):
    names, position = np.unique(groups, return_inverse=True)
    return slip.groups(weight, hessian, position, len(names) - keep)


def _counted_weights(weight, hessian, groups, keep):
    count = len(np.unique(groups)) - keep
    w, order = slip.removed(weight, slip.surgeon(weight, hessian, count))
    return w, groups[order]


OBS_GROUPS = Contract(
    name="obs-groups",
    arguments=("weight", "hessian", "groups", "keep"),
    returns=("weight", "order"),
    promises=(
        "all but `keep` groups are removed whole, their weights exactly 0.0",
        "each removal was the cheapest of its moment by `1/2 w_B^T ([H^-1]_BB)^-1 w_B`",
        "the survivors are the best ones on their support",
        "`order` lists the labels of the removed groups in sequence",
    ),
    readings=(
        "`groups` holds an integer label for every weight, of any values; `keep` counts groups",
        "no damping",
        DEAD,
    ),
    tolerance=TOLERANCE,
    ties=TIES,
    reference=_reference_groups,
    checks=CHECKS,
    mistakes=(
        _grouped("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        _grouped("no-update", "the survivors are not updated", update=False),
        _grouped(
            "sum-of-singles",
            "a group costs the sum of its members' single saliencies",
            score="sum-of-singles",
        ),
        _grouped("mean-saliency", "the saliency is divided by the size of the group", score="mean"),
        _grouped("obd-order", "groups are ranked by w_B^T H_BB w_B", score="diagonal-block"),
        _grouped("magnitude-order", "groups are ranked by their norm", score="magnitude"),
        Mistake("positions-for-labels", "the order lists positions, not labels", _labels_as_positions),
        Mistake("weights-for-groups", "single weights are removed, not groups", _counted_weights),
        *form.of(
            _reference_groups,
            ("weight", "order"),
            lambda w, h, groups, keep: keep == len(np.unique(groups)),
            _objective,
            _group_saliencies,
        ),
    ),
    view=build.VectorView,
    flags=build.VECTOR,
    shapes=((6,), (1,), (2,), (7,), (12,), (16,), (24,), (40,), (140,)),
    build=build.grouped_vector,
    axes={"weight": ("column",), "hessian": ("column", "column"), "groups": ("column",)},
    transforms=(
        transforms.scale,
        transforms.signs,
        transforms.columns,
        transforms.dead_input,
        transforms.another_count,
        transforms.another_hessian,
    ),
    example="""def obs_groups(weight, hessian, groups, keep):
    w, left, order = weight.copy(), sorted(set(groups.tolist())), []
    living = np.diag(hessian) > 0
    if living.any() and np.linalg.cond(hessian[np.ix_(living, living)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite hessian")
    while len(left) > keep:
        at = np.flatnonzero(living & np.isin(groups, left))
        inverse = np.linalg.inv(hessian[np.ix_(at, at)])
        costs = [w[at][b] @ np.linalg.solve(inverse[np.ix_(b, b)], w[at][b]) if len(b) else -1.0
                 for b in (np.flatnonzero(groups[at] == label) for label in left)]
        label = left.pop(int(np.argmin(costs)))
        b = np.flatnonzero(groups[at] == label)
        w[at] -= inverse[:, b] @ np.linalg.solve(inverse[np.ix_(b, b)], w[at][b])
        w[groups == label] = 0.0
        order.append(label)
    return w, np.array(order, dtype=int)""",
)
