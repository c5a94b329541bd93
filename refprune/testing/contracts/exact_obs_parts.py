"""What the three ExactOBS contracts share: axes, transformations, words, and the row kernel's slips."""

from .. import transforms

AXES = {"weight": ("row", "column"), "gram": ("column", "column")}
MOVES = (
    transforms.scale,
    transforms.signs,
    transforms.rows,
    transforms.columns,
    transforms.dead_input,
    transforms.another_count,
    transforms.another_hessian,
)
GREEDY = "in every row each removal was the cheapest of its moment by `w_p^2 / (2 [G^-1]_pp)`"
BEST = "the survivors of every row are the best ones on their support"


def shared_mistakes(make):
    """The slips of the row kernel, for whichever pattern `make(name, summary, **slips)` builds."""
    return (
        make("stale-inverse", "the inverse Hessian is not downdated after a removal", stale=True),
        make("no-update", "the survivors are not updated", update=0.0),
        make("update-sign", "the update has the wrong sign", update=-1.0),
        make(
            "weight-not-squared",
            "the saliency is |w| / [G^-1]_pp (or w^2 / [G^-1]_pp^2)",
            score="weight-not-squared",
        ),
        make("times-the-inverse", "the saliency is w^2 [G^-1]_pp", score="times-the-inverse"),
        make("update-by-gram", "the update uses a column of G, not of its inverse", by_hessian=True),
        make(
            "scores-of-original-weights",
            "saliencies use the weights from before the updates",
            old_scores=True,
        ),
        make("damped", "G is damped by 1 % of its mean diagonal", damp=0.01),
        make("identity-added", "the identity is added to G", identity=1.0),
        make(
            "dead-input-kept",
            "a dead input gets a 1 on the diagonal and is ranked like the others",
            dead_first=False,
        ),
        make("pruned-weights-move", "later updates move pruned weights again", stale=True, revive=True),
    )


def layer_objective(pruned, weight, gram, *rest):
    """``1/2 tr((V - W) G (V - W)^T)``."""
    change = pruned - weight
    return float((change @ gram * change).sum()) / 2
