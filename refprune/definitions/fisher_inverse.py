"""The inverse of the damped empirical Fisher matrix, one gradient at a time (Singh and Alistarh 2020, (4))."""

from refprune.arrays import eye


def fisher_inverse(gradients, damp):
    """The inverse of `damp I + mean of g g^T` for `gradients` (N, d): N rank-one updates (Sherman and Morrison)."""
    samples, d = gradients.shape
    inverse = eye(d, gradients) / damp
    for g in gradients:
        v = inverse @ g
        inverse = inverse - v[:, None] * v[None, :] / (samples + g @ v)
    return inverse
