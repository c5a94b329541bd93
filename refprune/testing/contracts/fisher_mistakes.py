"""Wrong Fisher matrices: mistakes of `fisher-inverse` and of `woodfisher` alike.

Each takes (gradients, damp) and gives the matrix whose inverse is used.
"""

import numpy as np

from .step_parts import need_finite


def fisher(gradients, damp, samples=None):
    """The right one, or one that divides by another number of samples."""
    need_finite(gradients, np.asarray(damp))
    d = gradients.shape[1]
    return gradients.T @ gradients / (samples or len(gradients)) + damp * np.eye(d, dtype=gradients.dtype)


def inverse(matrix):
    """The inverse by LU, in the matrix's dtype."""
    need_finite(matrix)
    return np.linalg.inv(matrix)


def _mean(gradients, damp):
    return fisher(gradients.mean(axis=0, keepdims=True), damp)


def _centred(gradients, damp):
    return fisher(gradients - gradients.mean(axis=0), damp)


def _of_living(gradients, damp):
    living = gradients[(gradients != 0).any(axis=1)]
    return fisher(living if len(living) else gradients, damp)


def _relative(gradients, damp):
    return fisher(gradients, damp * (gradients**2).mean())


def _blocks(gradients, damp):
    """Two diagonal blocks."""
    whole, half = fisher(gradients, damp), -(-gradients.shape[1] // 2)
    first = np.arange(len(whole)) < half
    return np.where(first[:, None] == first, whole, 0)


def _batches_alike(gradients, damp, size=64):
    batches = [gradients[start : start + size] for start in range(0, len(gradients), size)]
    return sum(fisher(batch, damp) for batch in batches) / len(batches)


def _dead_as_one(gradients, damp):
    dead = ~gradients.any(axis=0)
    return fisher(gradients, damp) + np.diag(dead * (1 - damp)).astype(gradients.dtype)


def _low_rank(gradients, damp, rank=8):
    need_finite(gradients)
    basis, values, rows = np.linalg.svd(gradients, full_matrices=False)
    return fisher(((basis * values)[:, :rank] @ rows[:rank]).astype(gradients.dtype), damp)


WRONG = {
    "mean-gradient": ("the mean gradient's square, not the mean of squares", _mean),
    "sum-of-samples": ("the squares are added up and not divided by N", lambda G, damp: fisher(G, damp, 1)),
    "damp-times-samples": ("damp is multiplied by N", lambda G, damp: fisher(G, damp * len(G))),
    "damp-over-samples": ("damp is divided by N", lambda G, damp: fisher(G, damp / len(G))),
    "damp-relative": ("damp is read as relative to the mean of the squares", _relative),
    "damp-squared": ("the square of damp is added", lambda G, damp: fisher(G, damp**2)),
    "last-left-out": ("the last gradient is left out, and N counts it",
                      lambda G, damp: fisher(G[:-1], damp, len(G))),
    "first-half": ("only the first half of the gradients is read",
                   lambda G, damp: fisher(G[: -(-len(G) // 2)], damp)),
    "unbiased": ("divided by N - 1", lambda G, damp: fisher(G, damp, max(len(G) - 1, 1))),
    "centred": ("the mean gradient is subtracted: a covariance", _centred),
    "zero-gradients-not-counted": ("samples without a gradient do not count in N", _of_living),
    "batches-alike": ("each batch of 64 counts alike, the shorter last one too", _batches_alike),
    "dead-as-one": ("the diagonal of a weight without a gradient is 1, not damp", _dead_as_one),
    "low-rank": ("only the eight largest directions of F are kept", _low_rank),
    "diagonal": ("only the diagonal of F counts", lambda G, damp: np.diag(np.diagonal(fisher(G, damp)))),
    "two-blocks": ("F is cut into two diagonal blocks", _blocks),
    "identity-for-zero": ("where no sample has a gradient F is the identity",
                          lambda G, damp: fisher(G, damp if G.any() else 1.0)),
    "twice": ("the squares count twice", lambda G, damp: fisher(G, damp, len(G) / 2)),
}  # fmt: skip
