"""`alps`: whatever support the ADMM finds, the weights on it are the best ones."""

from functools import lru_cache

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from .. import checks, make, transforms
from ..beside import beside
from ..contract import CheckSpec, Contract, Mistake
from . import form_mistakes as form
from . import greedy_build as build
from .exact_obs_parts import AXES, layer_objective


def _stationary(view, answer):
    """The best weights on the answer's own mask; the objective beside others'."""
    return beside(view, answer, checks.stationary(view, answer))


CHECKS = (
    *checks.BEFORE,
    checks.FORM,
    checks.FINITE,
    checks.COUNT,
    checks.ZEROS,
    checks.OBJECTIVE,
    CheckSpec("stationary", "stationary", checks.STATIONARY.summary, _stationary),
    *checks.AFTER,
)


class SupportView(build.LayerView):
    """One budget for the layer; any condition up to the singular is judged, as the weights alone are."""

    def judge_condition(self):
        """Only a Gram that is singular leaves the answer open."""
        super().judge_condition()
        if self.expects == "beyond":
            self.expects, self.reason = "answer", ""


def _build(flag, shape, rng, dtype):
    w, g = build.arrays(flag, shape, rng, dtype, greedy=False)
    wrong = flag == "WrongCount"
    share = float(rng.choice([-0.25, 1.5])) if wrong else make.sparsity(rng, shape[0] * shape[1], flag)
    if flag == "DeadInput" and rng.random() < 0.6:  # some dead inputs stay
        share = round(float(rng.uniform(0, (np.diagonal(g) == 0).mean())), 3)
    return {"weight": w, "gram": g, "sparsity": share}


def _count(weight, sparsity):
    return prune_count(sparsity, weight.size)


def _reference(weight, gram, sparsity):
    return definitions.alps(weight, gram, _count(weight, sparsity))


@lru_cache(maxsize=64)  # most mistakes share the mask, and the diagnosis tries all of them on a case
def _mask(weight, gram, shape, dtype, count):
    """The mask of ALPS, from the bytes of weight and Gram; the caller copies it."""
    weight, gram = (np.frombuffer(data, dtype) for data in (weight, gram))
    return definitions.alps(weight.reshape(shape).copy(), gram.reshape(shape[1], -1).copy(), count)[1]


def _on_mask(weights, count=_count):
    """A wrong version: the mask of ALPS, then ``weights(weight, gram, mask)``."""

    def call(weight, gram, sparsity):
        given = (weight.tobytes(), gram.astype(weight.dtype).tobytes(), weight.shape, weight.dtype.str)
        mask = _mask(*given, count(weight, sparsity)).copy()
        return np.where(mask, weights(weight, gram, mask), 0).astype(weight.dtype), mask

    return call


def _by_gradients(steps):
    """`steps` conjugate gradient steps on the support from the original weights, as the published code does."""

    def weights(weight, gram, mask):
        v = np.where(mask, weight, 0)
        residual = np.where(mask, (weight - v) @ gram, 0)
        direction = residual
        for _ in range(steps):
            ahead = np.where(mask, direction @ gram, 0)
            below = (direction * ahead).sum()
            if not below > 0:
                break
            step = (residual * residual).sum() / below
            v, after = v + step * direction, residual - step * ahead
            direction = after + (after * after).sum() / (residual * residual).sum() * direction
            residual = after
        return v

    return weights


def _admm_copy(weight, gram, mask):
    """What a copy of the ADMM is like on the support: the normal equations with a ridge towards zero."""
    norm = gram.diagonal()
    ridge = np.diag(np.where(norm > 0, 0.01 * norm, 1)).astype(gram.dtype)
    out = np.zeros_like(weight)
    for row, kept in enumerate(mask):
        at = np.flatnonzero(kept)
        out[row, at] = (
            np.linalg.solve((gram + ridge)[np.ix_(at, at)], (gram @ weight[row])[at]) if at.size else 0
        )
    return out


def _still_normalised(weight, gram, mask):
    norm = np.sqrt(np.where(gram.diagonal() > 0, gram.diagonal(), 1))
    return definitions.optimal_weights(weight, gram, mask) * norm


def _wrong_sign(weight, gram, mask):
    return 2 * weight - definitions.optimal_weights(weight, gram, mask)


def _damped(weight, gram, mask):
    living = gram.diagonal() > 0
    mean = gram.diagonal()[living].mean() if living.any() else 0.0
    return definitions.optimal_weights(weight, gram + np.diag(living * 0.01 * mean).astype(gram.dtype), mask)


def _first_mask(weight, gram, mask):
    return definitions.optimal_weights(weight, gram, np.broadcast_to(mask[:1], mask.shape))


def _dead_zeroed(weight, gram, mask):
    return np.where(gram.diagonal() > 0, definitions.optimal_weights(weight, gram, mask), 0)


def _diagonal_solve(weight, gram, mask):
    diagonal = np.where(gram.diagonal() > 0, gram.diagonal(), 1)
    return weight + np.where(mask, np.where(mask, 0, weight) @ gram / diagonal, 0)


def _per_row(weight, gram, sparsity):
    """Every row loses as many: the budget of the row, not of the layer."""
    rows = [definitions.alps(row[None], gram, prune_count(sparsity, row.size)) for row in weight]
    return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))


def _threshold(weight, sparsity):
    return min(_count(weight, sparsity) + 1, weight.size)


CONTRACT = Contract(
    name="alps",
    arguments=("weight", "gram", "sparsity"),
    returns=("weight", "mask"),
    promises=(
        "round(sparsity * size) weights are pruned, half to even, from the decimal that was written",
        "the survivors of every row are the best ones on their support: `G_KK v_K = G_K: w`, from the undamped G, so "
        "the objective is no larger than that of the mask without any update",
    ),
    readings=(
        "one budget for the layer",
        "no damping",
        "which support is found is not judged: the objective is told beside those of ExactOBS and of the best "
        "support on small cases",
        "a kept dead input keeps its weight",
    ),
    tolerance="`64 eps kappa` of the scaled norm of a row's weights, kappa the condition of the living G at unit "
    "diagonal; where G is singular the gradient on the kept entries is held to `64 eps d |G| |w|`",
    ties="any mask with the right count",
    reference=_reference,
    checks=CHECKS,
    mistakes=(
        Mistake("no-refit", "kept weights are the original ones", _on_mask(lambda w, g, mask: w)),
        Mistake("admm-weights", "kept weights are the copy that the ADMM ends with", _on_mask(_admm_copy)),
        Mistake(
            "two-gradient-steps",
            "the refit stops after two conjugate gradient steps",
            _on_mask(_by_gradients(2)),
        ),
        Mistake(
            "still-normalised", "the weights are not divided by the norms again", _on_mask(_still_normalised)
        ),
        Mistake("update-sign", "the update has the wrong sign", _on_mask(_wrong_sign)),
        Mistake("damped-refit", "the refit has a damping of 1 % of the mean diagonal", _on_mask(_damped)),
        Mistake(
            "diagonal-solve", "the refit solves with the diagonal of G_KK only", _on_mask(_diagonal_solve)
        ),
        Mistake(
            "first-mask-for-all-rows",
            "the first row's support is refitted in every row",
            _on_mask(_first_mask),
        ),
        Mistake("dead-inputs-zeroed", "kept dead inputs lose their weight", _on_mask(_dead_zeroed)),
        Mistake(
            "one-too-many",
            "everything up to the k-th score is pruned, one too many",
            _on_mask(definitions.optimal_weights, _threshold),
        ),
        Mistake(
            "count-by-float-product",
            "the count is round(s * N) of a product in floating point",
            _on_mask(definitions.optimal_weights, lambda w, s: round(s * w.size)),
        ),
        Mistake(
            "count-cut-off",
            "the number kept is int((1 - s) N)",
            _on_mask(definitions.optimal_weights, lambda w, s: w.size - max(int((1 - s) * w.size), 0)),
        ),
        Mistake("budget-per-row", "every row loses the same number of weights", _per_row),
        form.first_for_shape(_reference),
        *form.of(_reference, ("weight", "mask"), lambda *a: _reference(*a)[1].all(), layer_objective),
    ),
    view=SupportView,
    flags=tuple(
        flag
        for flag in (*build.LAYER, *build.COUNTS)
        if flag not in ("BeyondArithmetic", "NearTie", "WiderThanBlock")
    ),
    shapes=(
        (1, 6),
        (1, 9),
        (3, 1),
        (4, 4),
        (3, 8),
        (5, 9),
        (2, 10),
        (2, 24),
        (3, 16),
        (70, 5),
        (2, 33),
    ),
    build=_build,
    axes=AXES,
    transforms=(
        transforms.scale,
        transforms.signs,
        transforms.rows,
        transforms.columns,
        transforms.dead_input,
        transforms.another_count,
        transforms.another_hessian,
    ),
    example="""def alps(weight, gram, sparsity):
    alive = np.diag(gram) > 0
    if alive.any() and np.linalg.cond(gram[np.ix_(alive, alive)]) > 1e14:
        raise np.linalg.LinAlgError("need a positive definite gram")
    norm = np.sqrt(np.where(alive, np.diag(gram), 1))
    unit, w = gram / np.outer(norm, norm), weight * norm * alive  # inputs of unit norm
    keep = weight.size - round(Fraction(repr(sparsity)) * weight.size)

    def nearest(z):
        mask = np.zeros(z.size, bool)
        mask[np.argsort(-np.where(alive, abs(z), -1), axis=None, kind="stable")[:keep]] = True
        return mask.reshape(z.shape)

    sparse, multipliers, rho = w * nearest(w), 0 * w, 0.1
    for _ in range(100):
        pull = w @ unit - multipliers + rho * sparse
        dense = np.linalg.solve(unit + rho * np.eye(len(unit)), pull.T).T
        mask = nearest(dense + multipliers / rho)
        sparse = (dense + multipliers / rho) * mask
        multipliers, rho = multipliers + rho * (dense - sparse), 1.1 * rho
    out = weight * mask
    for row, kept, v in zip(weight, mask, out):  # the best weights on the support
        k = kept & alive
        v[k] = np.linalg.solve(gram[np.ix_(k, k)], gram[k] @ row)
    return out, mask""",
)
