"""Helpers for i-SpaSP: data that add up without rounding, the algorithm by automatic differentiation, certificates."""

import autograd.numpy as anp
import numpy as np
from autograd import grad

import refprune as rp


def whole(rng, *shape, most=9):
    """Integers as floats: all sums here are exact, so ties are ties, and answers are equal bit for bit."""
    return rng.integers(-most, most + 1, size=shape).astype(float)


def matrix_of(layers, params, shape):
    """The matrix (outputs, inputs) of the linear part of `layers`, inputs in C order, one column for each."""
    network = rp.Network(layers)
    size = int(np.prod(shape))
    images = np.eye(size).reshape(size, *shape)
    columns = network.forward(params, images) - network.forward(params, 0 * images)
    return columns.reshape(size, -1).T


def top(scores, count):
    """The `count` largest, ascending; among equals the highest index stays."""
    return sorted(sorted(range(len(scores)), key=lambda u: scores[u])[max(len(scores) - count, 0) :])


def importance(linear, hidden, kept, units, absolute=False):
    """By autograd: the gradient of half the squared residual in what the units emit, summed by unit.

    `linear` maps hidden (samples, ...) to outputs, the units along axis 1; the pruned network's outputs are constants.
    """
    inside = np.isin(units, kept).reshape(1, -1, *(1 for _ in hidden.shape[2:]))
    pruned = linear(np.where(inside, hidden, 0))
    D = grad(lambda h: anp.sum((linear(h) - pruned) ** 2) / 2)(hidden)
    return by_unit(abs(D) if absolute else D, units)


def by_unit(x, units):
    """The sums of x (samples, entries, ...) over samples and the entries of each unit."""
    sums = x.sum(axis=(0, *range(2, x.ndim)))
    return np.array([sums[units == unit].sum() for unit in range(units[-1] + 1)])


def norms(linear, hidden, units):
    """The norm of what each unit gives to the outputs, the others silent."""
    shape, found = (1, -1, *(1 for _ in hidden.shape[2:])), []
    for unit in range(units[-1] + 1):
        found.append(np.linalg.norm(linear(np.where((units == unit).reshape(shape), hidden, 0))))
    return np.array(found)


def certify(linear, hidden, units, keep, trace, absolute=False, rank="sums"):
    """Every iteration follows from the one before, up to rounding: candidates by importance, the choice by size."""
    sizes = by_unit(hidden, units) if rank == "sums" else norms(linear, hidden, units)
    count, S = int(units[-1]) + 1, np.array([], dtype=int)
    # n eps of sums of at most 1000 numbers, and a factor; of squares half of it is left under the root
    slack = 1e-12 * (by_unit(abs(hidden), units) if rank == "sums" else sizes).max()
    for t, step in enumerate(trace):
        assert list(step.kept) == sorted(set(step.kept)), f"iteration {t}: the units are not ascending"
        assert len(step.kept) == keep, f"iteration {t}: keeps {len(step.kept)} units, not {keep}"
        y = importance(linear, hidden, S, units, absolute)
        near = 1e-12 * importance(lambda h: abs(linear(h)), hidden, S, units, True).max() + 1e-300
        bar = np.sort(y)[max(count - 2 * keep, 0)] if keep else np.inf
        maybe = np.union1d(np.flatnonzero(y >= bar - near), S)
        surely = np.union1d(np.flatnonzero(y > bar + near), S)  # the old units are candidates, too
        assert np.isin(step.kept, maybe).all(), f"iteration {t}: keeps a unit that was no candidate"
        left = np.setdiff1d(surely, step.kept).astype(int)
        if keep and len(left):
            worst = f"iteration {t}: leaves out a candidate that is larger than one it keeps"
            assert sizes[left].max() <= sizes[step.kept].min() + slack, worst
        assert abs(step.size - sizes[step.kept].sum()) <= keep * slack, f"iteration {t}: another sum"
        S = np.asarray(step.kept)
