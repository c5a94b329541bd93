"""`woodfisher`: all weights at once by the inverse of the empirical Fisher matrix."""

import numpy as np

from refprune import definitions

from ...patterns import prune_count
from .. import checks, make, transforms
from ..bounds import GREEDY, SOLVE, arithmetic_eps
from ..contract import CheckSpec, Contract, failed, passed
from . import fisher_parts as fisher
from . import form_mistakes
from . import step_parts as parts
from .woodfisher_mistakes import mistakes

FLAGS = (
    "Tie", "NearTie", "OneSample", "ShortLoader", "OppositeGradients", "ZeroGradient", "ZeroResidual", "DeadInput",
    "DuplicateColumn", "CorrelatedPair", "Correlated", "Singular", "IllConditioned", "ZeroWeight", "LossScale",
    "Square", "OneColumn", "ManyRows", "WiderThanBlock", "K0", "K1", "KAll", "UnrepresentableSparsity", "NonContiguous",
    "ReadOnly", "Transposed", "NaN", "Inf", "Empty", "WrongShape", "WrongCount",
)  # fmt: skip
OWN_WEIGHTS = ("Tie", "CorrelatedPair", "ZeroWeight", "Singular")  # no near ties here
MANY_GO = ("Correlated", "IllConditioned", "WiderThanBlock")  # half of the time all but a few
RANKING = 2.0  # near ties of the cases: so many times what rounding explains, at least


class WoodfisherView(parts.StepView):
    """The statistic ``v = w / sqrt(C_pp)``, whose square is twice the cost of p alone, and the weights on a support."""

    word = "|w| / sqrt(C_pp)"
    fisher = weight = None

    def __init__(self, problem, claims):
        super().__init__(problem, claims, "weight")
        d = np.size(problem["weight"])
        if not (self.need_arrays(weight=(None,)) and self.need_arrays(gradients=(None, d))):
            return
        count = self.count_from_sparsity(d)
        self.fisher = fisher.need_fisher(self)
        if self.expects == "error":
            return
        self.weight = np.asarray(problem["weight"], dtype=float)
        if self.expects == "free":
            self.set_point(0 * self.weight, 0 * self.weight, d - count)
            return
        point = self.weight / self.fisher.roots
        self.set_point(point, _share(self.fisher, self.eps) * np.abs(point) + self.tiny, d - count)
        best = self.right(definitions.topk_mask(np.abs(point), d - count))[0]
        if self.expects == "answer" and np.abs(best).max(initial=0.0) > np.finfo(self.dtype).max:
            self.expect("free", f"the weights are beyond the range of {self.dtype}")

    @property
    def condition(self):
        """What the mathematics of a reported objective has for kappa."""
        return self.fisher.kappa

    @property
    def energy(self):
        """The size of an objective: ``w^T F w``."""
        return float(self.weight @ self.fisher.matrix @ self.weight)

    def objective(self, weight):
        """``1/2 delta^T F delta``."""
        delta = np.asarray(weight, dtype=float) - self.weight
        return float(delta @ self.fisher.matrix @ delta) / 2

    def right(self, kept):
        """The weights on `kept` and their slack, by the update that is claimed.

        The update is ``-C lambda``, which errs by the rounding of C times ``|lambda|``; a solve with F_KK errs by less,
        but for the products F w, which add ``c eps kappa sqrt(C_ii) sqrt(damp) |w|``.
        """
        F, C, roots, w = self.fisher.matrix, self.fisher.inverse, self.fisher.roots, self.weight
        out, P = np.where(kept, w, 0.0), ~kept
        if self.claims.get("update", "joint") == "sum":
            share = w[P] / roots[P] ** 2
            out[kept] -= (C[:, P] @ share)[kept]
        else:
            out[kept] += np.linalg.solve(F[np.ix_(kept, kept)], F[np.ix_(kept, P)] @ w[P])
            share = (F @ (w - out))[P]
        slack = self.fisher.rounding(self.eps, GREEDY)[:, P] @ np.abs(share)
        products = np.sqrt(self.fisher.damp) * np.linalg.norm(w)
        slack += GREEDY * self.eps * self.fisher.kappa * roots * products
        return out, np.where(kept, slack, 0.0)

    def least(self):
        """The best weight may be 0."""
        return 0

    def same(self, a, b, factor):
        """Whether two answers are equal to `factor` times the slack."""
        if self.expects != "answer" or not np.array_equal(a == 0, b == 0):
            return False
        right, slack = self.right(a != 0)
        return bool((np.abs(a - b) <= factor * self.allowed(right, slack)).all())


def _share(known, eps):
    """How far rounding may move ``1 / sqrt(C_pp)``, (d,), as a share of itself: half the share of C_pp."""
    return np.diagonal(known.rounding(eps, GREEDY)) / np.diagonal(known.inverse) / 2


def stationary(view, answer):
    """The kept weights are the right ones for their support; where F is singular, their gradient is 0."""
    if view.expects != "free" or view.claims.get("update", "joint") != "joint":
        return parts.values(view, answer)
    F, value, kept = view.fisher.matrix, answer.weight.astype(float), ~view.pruned(answer)
    error = float(np.abs((F @ (value - view.weight))[kept]).max(initial=0.0))
    size = np.abs(value).max(initial=0.0) + np.abs(view.weight).max(initial=0.0)
    bound = SOLVE * max(view.eps, view.store_eps) * value.size * float(np.abs(F).max(initial=0.0)) * size
    if error > bound:
        text = f"{view.reason}; an error or stationary weights are right"
        return failed(f"{text}, and the gradient on the kept entries is {error:.3g}", error, bound)
    return passed(error, bound)


def _near(rng, w, known, eps, count):
    """`w` with the last statistic that goes and the first that stays nearly equal, further apart than by rounding."""
    pair = rng.permutation(np.argsort(np.abs(w) / known.roots)[count - 1 : count + 1])
    share = RANKING * _share(known, eps)[pair].sum() * make.log_uniform(rng, 1.0, 8.0)
    p, j = pair
    w = w.copy()
    w[j] = np.copysign(np.abs(w[p]) / known.roots[p] * known.roots[j] * (1 + share), w[j])
    return w


def _weights(flag, rng, G, damp, d):
    """(d,) weights with the named property."""
    w, wide = make.weights(rng, 1, d, flag)[0], G.astype(float)
    if flag == "CorrelatedPair":
        F = wide.T @ wide
        return make.opposite(rng, w[None], F + np.diag(F.diagonal() == 0))[0]
    if (
        flag == "Correlated"
    ):  # all do the same but the largest, which takes over what went and may change its sign
        alike = np.where(wide.T @ wide[:, 0] < 0, -1.0, 1.0)
        alike[np.argmax(np.abs(w))] *= -1.0
        return np.abs(w) * alike
    if flag == "DeadInput":  # they cost little; here as much as the others
        known = fisher.Fisher(G, damp)
        dead = ~wide.any(axis=0)
        others = np.median((np.abs(w) / known.roots)[~dead])
        w[dead] = np.sign(w[dead]) * others * 2.0 ** rng.uniform(-1, 1, size=dead.sum()) / np.sqrt(damp)
    return w


def _build(flag, shape, rng, dtype):
    kind, d = "" if flag in fisher.SPOILED else flag, shape[1]
    G, damp = fisher.gradients(kind, shape, rng, dtype)
    w = _weights(kind, rng, G, damp, d)
    sparsity = 1 / d if flag == "NearTie" else make.sparsity(rng, d, flag)
    if flag in MANY_GO and rng.random() < 0.5:
        sparsity = (d - max(1, d // 20)) / d
    count = prune_count(sparsity, d)
    if 0 < count < d and flag not in OWN_WEIGHTS and (flag or rng.random() < 0.5):
        w = _near(rng, w, fisher.Fisher(G, damp), arithmetic_eps(np.dtype(dtype), {}), count)
    problem = {"weight": w.astype(dtype), "gradients": G, "sparsity": sparsity, "damp": damp}
    problem = {
        name: make.layout(rng, a, flag) if isinstance(a, np.ndarray) else a for name, a in problem.items()
    }
    return fisher.bad(rng, flag, problem)


def _reference(weight, gradients, sparsity, damp):
    if not damp > 0:
        raise np.linalg.LinAlgError("need damp > 0")
    found, mask = definitions.woodfisher(weight, gradients, prune_count(sparsity, weight.size), damp)
    return found.astype(weight.dtype), mask


def _nothing(weight, gradients, sparsity, damp):
    return prune_count(sparsity, weight.size) == 0


def _objective(found, weight, gradients, sparsity, damp):
    return float(definitions.woodfisher_model(weight, gradients, found - weight, damp))


CONTRACT = Contract(
    name="woodfisher",
    arguments=("weight", "gradients", "sparsity", "damp"),
    returns=("weight", "mask"),
    promises=(
        "with `F = damp I + G^T G / N` and `C = F^-1`, the round(sparsity d) weights of least `w_p^2 / (2 C_pp)` go, "
        "all at once",
        "with P the pruned ones, the kept weights are those of `w - C_:P (C_PP)^-1 w_P`, which minimises "
        "`1/2 (v - w)^T F (v - w)` with zeros at P; pruned ones are exactly 0.0",
    ),
    readings=(
        "weight (d,) and the gradients of single samples (N, d); one budget over the vector; no gradient term",
        "`damp` is absolute; with 0 and fewer gradients than weights F is singular, and an error is right",
        "with the claim `update=sum` the kept weights are those of `w - sum over P of C_:p w_p / C_pp`",
        "a weight without a gradient is no dead input: its cost is `damp w^2 / 2`",
    ),
    tolerance="entry (i, j) of C may err by `R_ij = eps kappa (10 a_i a_j + 4 (a_i b_j + b_i a_j))`, with "
    "kappa = |F| / damp, a_i = sqrt(C_ii), b_i = sqrt(F_ii) / damp: so w / sqrt(C_pp) by `R_pp / (2 C_pp)` of itself, "
    "and kept weights by `R |lambda| + 10 eps kappa a_i sqrt(damp) |w|`, with `C lambda` the update; kappa goes up to "
    "`min(1e8, 1e-4 / eps)`",
    ties="any choice among statistics that rounding cannot tell apart; weights are judged on the answer's own mask",
    reference=_reference,
    checks=(
        *parts.BEFORE,
        checks.OBJECTIVE,
        CheckSpec("stationary", "stationary", "kept weights are the best on their support", stationary),
        parts.RANKED,
        *checks.AFTER,
    ),
    mistakes=(
        *mistakes(),
        *form_mistakes.of(_reference, ("weight", "mask"), _nothing, _objective),
        form_mistakes.first_for_shape(_reference),
    ),
    view=WoodfisherView,
    flags=FLAGS,
    shapes=((5, 8), (8, 8), (12, 6), (2, 3), (9, 1), (40, 5), (6, 20), (9, 16), (1031, 4), (50, 36), (7, 45), (6, 140)),
    build=_build,
    axes={"weight": ("column",), "gradients": ("sample", "column")},
    transforms=(
        parts.scale(weight=(0, 1), gradients=(1, 0), damp=(2, 0)),
        transforms.signs,
        transforms.columns,
        fisher.other_samples,
        transforms.another_count,
        transforms.another_damping,
        parts.another_order("gradients"),
    ),
    per_row=True,
    example="""def woodfisher(weight, gradients, sparsity, damp):
    if damp == 0:
        raise np.linalg.LinAlgError("need damp > 0")
    F = gradients.T @ gradients / len(gradients) + damp * np.eye(len(weight))
    count = round(Fraction(repr(sparsity)) * len(weight))
    order = np.argsort(weight**2 / np.diag(np.linalg.inv(F)), kind="stable")
    mask = np.ones(len(weight), bool)
    mask[order[:count]] = False
    out = np.where(mask, weight, 0)
    out[mask] = np.linalg.solve(F[np.ix_(mask, mask)], F[mask] @ weight)
    return out, mask""",
)  # fmt: skip
