"""Newton's method on a support (Lucas and Mazumder 2024, SNOWS): conjugate gradients, then a search along the line.

From w, zero off the kept set Z, with the gradient g and the Hessian H there:

    s      with (H_ZZ + damp I) s = -g_Z,     by conjugate gradients, or exactly
    w_Z <- w_Z + t s,                         t the first of 1, 0.9, 0.81, ... with f(new) <= f(w) + 1e-5 t g_Z.s

Conjugate gradients end before a direction p with `p^T A p <= 0`; what they have by then is s. Where s = 0, or none of
50 values of t will do, w stays. All values, gradients and Hessians of a step are those of one objective.
"""

from refprune.arrays import eye, namespace, solve
from refprune.definitions.one_shot import masked

TRIALS = 50


def newton_cg(objective, mask, start, steps, damp=0, cg_steps=None):
    """The points after 0, 1, ... `steps` steps from `start` (d,); fewer where a point stays.

    `cg_steps` are the most steps of conjugate gradients; None solves exactly.
    """
    points = [masked(start, mask)]
    for _ in range(steps):
        w = points[-1]
        new = newton_step(objective, mask, w, damp, cg_steps)
        if not any(new != w):
            break
        points.append(new)
    return points


def newton_step(objective, mask, w, damp=0, cg_steps=None):
    """One step from `w` (d,); `w` itself where there is none."""
    Z = namespace(w).asarray([p for p in range(w.shape[0]) if mask[p]], dtype=int)
    g, A = objective.gradient(w)[Z], objective.hessian(w)[Z[:, None], Z]
    A = A + damp * eye(Z.shape[0], A)
    s = w - w
    s[Z] = solve(A, -g) if cg_steps is None else truncated(A, -g, cg_steps)
    slope = g @ s[Z]
    for _ in range(TRIALS):
        if slope < 0 and objective.value(w + s) <= objective.value(w) + slope / 100000:
            return w + s
        s, slope = s * 9 / 10, slope * 9 / 10
    return w


def truncated(A, b, steps):
    """`steps` of conjugate gradients for `A x = b` from 0; fewer where b is reached or a curvature is not positive."""
    x, r = b - b, b
    p = r
    for _ in range(steps):
        curvature = p @ A @ p
        if not r @ r or curvature <= 0:
            break
        a = (r @ r) / curvature
        x, after = x + a * p, r - a * (A @ p)
        p = after + (after @ after) / (r @ r) * p
        r = after
    return x
