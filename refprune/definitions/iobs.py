"""I-OBS (Wu et al. 2024): a Newton step, a kept set of size k, the projection onto it; and again.

From theta with gradient g and Hessian H to `theta+ = theta - H^-1 g`. The kept set holds the largest `|theta+|`
("topk") or `theta+_p^2 / [H^-1]_pp` ("saliency"), what OBS leaves ("obs"), or is the best of all ("exact"). Then,
with S the pruned set, `theta+ - H^-1_:S ([H^-1]_SS)^-1 theta+_S` (project "H"), or theta+ with zeros at S ("euclid").
Among equals the lowest index is pruned first; dead inputs (`H_pp = 0`) go first of all, and keep their weight.
"""

from refprune.arrays import inv, namespace
from refprune.definitions.best_support import best_support
from refprune.definitions.masks import topk_mask
from refprune.definitions.obs import obs
from refprune.definitions.one_shot import masked


def iobs(objective, keep, start, selection="topk", project="H", steps=1):
    """`steps` steps from `start` (d,) on an objective with a gradient and a Hessian. Returns (weight, mask)."""
    theta = start
    for _ in range(steps):
        theta, mask = iobs_step(
            theta, objective.gradient(theta), objective.hessian(theta), keep, selection, project
        )
    return theta, mask


def iobs_step(weight, gradient, hessian, keep, selection="topk", project="H"):
    """One step from `weight` (d,); `hessian` is (d, d). Returns (weight, mask)."""
    xp, d = namespace(weight, gradient, hessian), weight.shape[0]
    dead = [p for p in range(d) if hessian[p, p] == 0][: d - keep]
    A = xp.asarray([p for p in range(d) if hessian[p, p] != 0], dtype=int)  # (m,) the living, ascending
    H = hessian[A[:, None], A]
    newton = weight.copy()
    newton[A] = weight[A] - inv(H) @ gradient[A]
    gone = [int(A[j]) for j in _removed(newton[A], H, d - keep - len(dead), selection)]
    mask = xp.asarray([p not in dead + gone for p in range(d)], dtype=bool)
    if project == "H" and gone:
        C, S = inv(H), xp.asarray([j for j in range(A.shape[0]) if int(A[j]) in gone])
        newton[A] = newton[A] - C[:, S] @ (inv(C[S[:, None], S]) @ newton[A[S]])
    return masked(newton, mask), mask


def _removed(newton, hessian, count, selection):
    """Which `count` of the Newton point's living weights (m,) go."""
    if selection == "obs":
        return obs(newton, hessian, count)[1]
    if selection == "exact":
        mask = best_support(newton, hessian, count)[1]
    else:
        C = namespace(newton).diagonal(inv(hessian))
        scores = abs(newton) if selection == "topk" else newton**2 / C
        mask = topk_mask(scores, newton.shape[0] - count)
    return [j for j in range(newton.shape[0]) if not mask[j]]
