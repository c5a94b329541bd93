"""Tolerances, derived: every bound is `c * eps * kappa * scale`.

`eps` is the unit roundoff spacing of the arithmetic, `kappa` the condition number that the mathematics
names, `scale` the size of the terms that are added. The constants:

- `GREEDY` = 10. A removal costs `r^2 = w_p^2 / (2 [H^-1]_pp)`. An inverse from Cholesky or LU of H at unit
  diagonal errs by about `d eps kappa` relative to its largest entry (Higham, Accuracy and Stability of
  Numerical Algorithms, 2nd ed., section 14.1), in practice by a few `eps kappa`; a running inverse that is
  downdated by rank one stays within the same order up to kappa = 1e8 (largest share seen: 3.6 eps kappa).
  The error of r is additive, `c eps kappa sqrt(w^T H w)`, because sum of r^2 is at most `w^T H w / 2`.
- `SOLVE` = 64. Weights at a fixed mask: the forward error of a restricted solve is `eps kappa` times the
  size of the weights (Higham, theorem 10.4 for Cholesky), through a running inverse some times that; LU of the
  matrix as it is, not at unit diagonal, was seen to err by 17 eps kappa.
- `BEYOND` = 1000. Past `condition_limit` a running inverse errs by 100 to 1000 eps kappa; answers are held only to
  "no worse than the mask without any update".
- `PRODUCT` = 4. A sum of n products errs by at most `n eps sum |a b|` (Higham, section 3.1); a score of three
  factors by a few eps of itself.
"""

import numpy as np

GREEDY = 10.0
SOLVE = 64.0
BEYOND = 1000.0
PRODUCT = 4.0

# half a unit in the last place times two: the spacing of numbers near 1
INPUT_EPS = {"tf32": 2.0**-10, "bfloat16": 2.0**-7, "float16": 2.0**-10}


def arithmetic_eps(dtype, claims) -> float:
    """eps of the arithmetic: the dtype's, at least float32's (halves are computed wider), or the claimed one."""
    eps = min(float(np.finfo(dtype).eps), float(np.finfo(np.float32).eps))
    return max(eps, INPUT_EPS.get(claims.get("input_precision"), 0.0))


def storage_eps(dtype) -> float:
    """eps of the numbers that are handed back."""
    return float(np.finfo(dtype).eps)


def smallest_normal(dtype) -> float:
    """The smallest normal number of the arithmetic; halves are computed in float32 at least."""
    return (
        float(np.finfo(dtype).tiny)
        if dtype.kind == "f" and dtype != np.float16
        else float(np.finfo(np.float32).tiny)
    )


def condition_limit(eps) -> float:
    """The condition up to which greedy choices can be judged: ``min(1e8, 1e-4 / eps)``.

    >>> condition_limit(2.0**-52)
    100000000.0
    """
    return min(1e8, 1e-4 / eps)


def unit_diagonal(hessian):
    """`H` scaled to unit diagonal, and the scale: ``H = s[:, None] * C * s[None, :]``."""
    scale = np.sqrt(np.diagonal(hessian))
    return hessian / np.outer(scale, scale), scale


def condition(hessian) -> float:
    """Condition number of a positive definite `hessian` at unit diagonal; inf when it is singular to rounding.

    >>> condition(np.diag([1.0, 1e-6]))
    1.0
    """
    if hessian.shape[0] == 0:
        return 1.0
    unit, _ = unit_diagonal(hessian)
    values = np.linalg.eigvalsh(unit)
    return float(values[-1] / values[0]) if values[0] > 0 else float("inf")


def dead_bound(view):
    """How far rounding may move a kept weight of a dead input (rows, 1): as much as any weight of its row.

    An inverse from eigenvectors has entries of about eps beside the dead diagonal.
    """
    return SOLVE * max(view.eps, view.store_eps) * np.abs(view.weight).max(axis=1, keepdims=True, initial=0.0)


def is_singular(hessian, eps) -> bool:
    """True when Cholesky would fail or the reciprocal condition at unit diagonal is below ``d * eps``."""
    return condition(hessian) * hessian.shape[0] * eps > 1
