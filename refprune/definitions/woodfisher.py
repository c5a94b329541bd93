"""WoodFisher (Singh and Alistarh 2020): all weights at once by OBS, the empirical Fisher matrix for the Hessian.

`F = damp I + mean of g g^T` over the gradients g of single samples, `C = F^-1`. Moving the weights w by delta changes
the loss by about `1/2 delta^T F delta`; with `first_order` ("WoodTaylor") by that and `mean g . delta`. The model is
least at the Newton point t: w itself, or `w - C mean g`. To have `w_p = 0` costs `t_p^2 / (2 C_pp)`, with the others
at their best. The smallest of these go, all at once. Then the rest moves: "joint", the minimiser with zeros at the
whole set P, `t - C_:P (C_PP)^-1 t_P`; or "sum", the paper's code, the sum of the best moves for each p alone.
"""

from refprune.arrays import inv, namespace
from refprune.definitions.fisher_inverse import fisher_inverse
from refprune.definitions.masks import topk_mask
from refprune.definitions.one_shot import masked


def woodfisher(weight, gradients, count, damp, update="joint", first_order=False):
    """Remove `count` of the weights (d,) at once; `gradients` is (N, d). Returns (weight, mask)."""
    scores = woodfisher_scores(weight, gradients, damp, first_order)
    mask = topk_mask(scores, weight.shape[0] - count)
    return woodfisher_weights(weight, gradients, mask, damp, update, first_order), mask


def woodfisher_scores(weight, gradients, damp, first_order=False):
    """What the removal of each weight alone costs, (d,), in units of the loss."""
    C, point = _minimum(weight, gradients, damp, first_order)
    return point**2 / (2 * namespace(C).diagonal(C))


def woodfisher_weights(weight, gradients, mask, damp, update="joint", first_order=False):
    """The weights (d,) after the removal of all that `mask` (d,) marks False."""
    C, point = _minimum(weight, gradients, damp, first_order)
    P = namespace(weight).asarray([p for p in range(weight.shape[0]) if not mask[p]], dtype=int)
    if P.shape[0] == 0:
        return masked(point, mask)
    if update == "joint":
        share = inv(C[P[:, None], P]) @ point[P]
    else:
        share = point[P] / namespace(C).diagonal(C)[P]
    return masked(point - C[:, P] @ share, mask)


def woodfisher_model(weight, gradients, delta, damp, first_order=False):
    """The model of the change of the loss when `weight` moves by `delta` (d,)."""
    along = gradients @ delta  # (N,)
    samples = gradients.shape[0]
    value = (along @ along / samples + damp * (delta @ delta)) / 2
    return value + sum(along) / samples if first_order else value


def _minimum(weight, gradients, damp, first_order):
    """F^-1 and the Newton point."""
    C = fisher_inverse(gradients, damp)
    if not first_order:
        return C, weight
    return C, weight - C @ (gradients.sum(axis=0) / gradients.shape[0])
