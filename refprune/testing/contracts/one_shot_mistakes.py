"""Known mistakes of the one-shot methods, each a small wrong version. All return (weight, mask)."""

from fractions import Fraction

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from ..contract import Mistake
from . import group_rules


def _with(weight, mask):
    return np.where(mask, weight, weight * 0), mask


def _topk(scores, keep):
    return definitions.topk_mask(scores, keep)


def _rows(scores, keep):
    return np.stack([definitions.topk_mask(row, keep) for row in scores])


def _keep(weight, sparsity):
    return weight.size - prune_count(sparsity, weight.size)


def _row_keep(weight, sparsity):
    return weight.shape[1] - prune_count(sparsity, weight.shape[1])


def _threshold(scores, sparsity):
    """Prunes all up to and including the score at the position of the count."""
    count = min(prune_count(sparsity, scores.size), scores.size - 1)
    return scores > np.sort(scores, axis=None)[count]


def _int_count(weight, sparsity):
    """The number kept is cut off: int((1 - s) N) instead of N - round(s N)."""
    return max(int((1 - sparsity) * weight.size), 0)


def _rows_threshold(scores, sparsity):
    count = min(prune_count(sparsity, scores.shape[1]), scores.shape[1] - 1)
    return scores > np.sort(scores, axis=1)[:, count : count + 1]


def _half_up(weight, sparsity):
    count = int(Fraction(str(float(sparsity))) * weight.size + Fraction(1, 2))
    return weight.size - count


def _zeros_added(weight, sparsity):
    """Weights that are zero already do not count towards the budget."""
    count = min(prune_count(sparsity, weight.size), int((weight != 0).sum()))
    living = np.flatnonzero(weight)
    gone = living[np.argsort(abs(weight.ravel()[living]), kind="stable")[:count]]
    mask = np.ones(weight.size, bool)
    mask[gone] = False
    return mask.reshape(weight.shape)


def _mask_from_zeros(weight, mask):
    pruned = _with(weight, mask)[0]
    return pruned, pruned != 0


def _norms(weight, gram):
    return abs(weight) * np.sqrt(np.diagonal(gram))


def _rescaled(weight, sparsity, mask):
    return _with((weight / max(1 - sparsity, 0.05)).astype(weight.dtype), mask)


def _per_column(scores, sparsity):
    keep = scores.shape[0] - prune_count(sparsity, scores.shape[0])
    return np.stack([_topk(column, keep) for column in scores.T], axis=1)


MAGNITUDE = (
    Mistake("signed-weights", "weights are compared with their sign",
            lambda w, s: _with(w, _topk(w, _keep(w, s)))),
    Mistake("mask-inverted", "the largest are pruned",
            lambda w, s: _with(w, _topk(-abs(w), _keep(w, s)))),
    Mistake("threshold", "everything up to the k-th smallest is pruned, one or more too many",
            lambda w, s: _with(w, _threshold(abs(w), s))),
    Mistake("count-cut-off", "the number kept is int((1 - s) N)",
            lambda w, s: _with(w, _topk(abs(w), _int_count(w, s)))),
    Mistake("count-by-float-product", "the count is round(s * N) of a product in floating point",
            lambda w, s: _with(w, _topk(abs(w), w.size - round(s * w.size)))),
    Mistake("count-half-up", "exact halves are rounded up, not to even",
            lambda w, s: _with(w, _topk(abs(w), _half_up(w, s)))),
    Mistake("budget-per-row", "every row loses the same share",
            lambda w, s: _with(w, _rows(abs(w), _row_keep(w, s)))),
    Mistake("old-zeros-not-counted", "weights that are zero already do not count towards the budget",
            lambda w, s: _with(w, _zeros_added(w, s))),
    Mistake("mask-read-from-zeros", "the mask is weight != 0, so a kept zero counts as pruned",
            lambda w, s: _mask_from_zeros(w, _topk(abs(w), _keep(w, s)))),
    Mistake("kept-rescaled", "kept weights are divided by the density",
            lambda w, s: _rescaled(w, s, _topk(abs(w), _keep(w, s)))),
)  # fmt: skip

_NM = (
    ("n-read-as-zeros", "N is read as the number of zeros", lambda s, n, m: definitions.nm_mask(s, m - n, m)),
    ("groups-along-rows", "groups run along the outputs, not the inputs", group_rules.along_rows),
    ("groups-over-flat-array", "groups straddle rows when columns do not fill them", group_rules.over_flat_array),
    ("threshold-in-group", "everything that ties with the n-th largest is kept", group_rules.threshold),
    ("mask-inverted", "the smallest of each group are kept", lambda s, n, m: definitions.nm_mask(-s, n, m)),
)  # fmt: skip

MAGNITUDE_NM = (
    *(Mistake(name, text, lambda w, n, m, rule=rule: _with(w, rule(abs(w), n, m))) for name, text, rule in _NM),
    Mistake("signed-weights", "weights are compared with their sign",
            lambda w, n, m: _with(w, definitions.nm_mask(w, n, m))),
    Mistake("unstructured", "the share is right but no group is respected",
            lambda w, n, m: _with(w, _topk(abs(w), n * w.size // m))),
)  # fmt: skip

WANDA = (
    Mistake("norm-squared", "the score has the squared norm of the input",
            lambda w, g, s: _with(w, _rows(abs(w) * np.diagonal(g), _row_keep(w, s)))),
    Mistake("budget-per-layer", "one budget for the layer, not one for each row",
            lambda w, g, s: _with(w, _topk(_norms(w, g), _keep(w, s)))),
    Mistake("magnitude", "the inputs are ignored",
            lambda w, g, s: _with(w, _rows(abs(w), _row_keep(w, s)))),
    Mistake("signed-weights", "weights are compared with their sign",
            lambda w, g, s: _with(w, _rows(w * np.sqrt(np.diagonal(g)), _row_keep(w, s)))),
    Mistake("row-sums", "the input's size is the sum of its Gram row, not the diagonal",
            lambda w, g, s: _with(w, _rows(abs(w) * np.sqrt(abs(g.sum(axis=0))), _row_keep(w, s)))),
    Mistake("count-by-float-product", "the count is round(s * columns) of a product in floating point",
            lambda w, g, s: _with(w, _rows(_norms(w, g), w.shape[1] - round(s * w.shape[1])))),
    Mistake("threshold", "everything up to the k-th smallest is pruned, one or more too many",
            lambda w, g, s: _with(w, _rows_threshold(_norms(w, g), s))),
    Mistake("budget-per-column", "every input loses the same share, compared over outputs",
            lambda w, g, s: _with(w, _per_column(_norms(w, g), s))),
    Mistake("survivors-updated", "kept weights are changed to make up for the pruned ones",
            lambda w, g, s: _updated(w, g, _rows(_norms(w, g), _row_keep(w, s)))),
)  # fmt: skip


def _updated(weight, gram, mask):
    damped = gram + np.eye(len(gram), dtype=gram.dtype) * gram.diagonal().mean() * gram.dtype.type(0.01)
    return definitions.optimal_weights(weight, damped, mask).astype(weight.dtype), mask


WANDA_NM = (
    *(Mistake(name, text, lambda w, g, n, m, rule=rule: _with(w, rule(_norms(w, g), n, m)))
      for name, text, rule in _NM),
    Mistake("magnitude", "the inputs are ignored",
            lambda w, g, n, m: _with(w, definitions.nm_mask(abs(w), n, m))),
    Mistake("norm-squared", "the score has the squared norm of the input",
            lambda w, g, n, m: _with(w, definitions.nm_mask(abs(w) * np.diagonal(g), n, m))),
)  # fmt: skip

OBD = (
    Mistake("magnitude", "the Hessian is ignored", lambda w, h, k: _with(w, _topk(abs(w), k))),
    Mistake("weight-not-squared", "the saliency is h |w| (or h^2 w^2)", lambda w, h, k: _with(w, _topk(h * abs(w), k))),
    Mistake("divided-by-h", "the saliency is w^2 / h",
            lambda w, h, k: _with(w, _topk(w**2 / np.where(h > 0, h, 1), k))),
    Mistake("keep-read-as-prune", "`keep` weights are pruned", lambda w, h, k: _with(w, _topk(h * w**2, w.size - k))),
    Mistake("mask-inverted", "the most salient go", lambda w, h, k: _with(w, _topk(-h * w**2, k))),
)  # fmt: skip
