"""i-SpaSP (Wolfe, Kyrillidis 2021, algorithm 1): a small set of hidden units that gives nearly the outputs of all.

With `H` (inputs, samples) what the hidden units emit and `W` (outputs, inputs) the next layer, `U = W H` is to be
kept by the inputs of `s` units, weights unchanged. From `S = {}` on, again and again:

    V = U - W_:S H_S:
    y = the sum of W^T V over the samples, of each unit
    Omega = the 2s units of largest y
    S = of Omega and S together the s units of largest sum of H over the samples

Every new S has sums at least as large as the old one, so it changes no more once it has come back: that ends it.
Among equals the lowest index goes. A unit has one input, or those that `units` (inputs,) labels with its number:
the positions of a channel. `absolute` sums |W^T V|, where nothing cancels. `norms` chooses S by the largest norm of
what a unit gives to the outputs, W_:u H_u:, instead of the sum of H.
"""

from refprune.arrays import namespace


def ispasp(hidden, weight, keep, iterations=20, units=None, absolute=False, norms=False):
    """The `keep` units that are kept, a list of ascending numbers."""
    xp = namespace(hidden, weight)
    units = list(range(hidden.shape[0])) if units is None else list(units)
    every = range(max(units) + 1)
    size = _energies(hidden, weight, units) if norms else _by_unit(hidden, units)  # (units,)
    S = []
    for _ in range(iterations):
        rest = xp.asarray([j for j, unit in enumerate(units) if unit not in S], dtype=int)
        V = weight[:, rest] @ hidden[rest]  # (outputs, samples): U - W_:S H_S:
        D = weight.T @ V  # (inputs, samples): the gradient of 1/2 |V|^2 in H
        y = _by_unit(abs(D) if absolute else D, units)
        omega = _largest(every, y, 2 * keep)
        found = _largest(sorted({*omega, *S}), size, keep)
        if found == S:
            break
        S = found
    return S


def _by_unit(array, units):
    """The sums over the samples, and over the inputs of each unit."""
    sums = array.sum(axis=1)
    return [sum(sums[j] for j, label in enumerate(units) if label == unit) for unit in range(max(units) + 1)]


def _energies(hidden, weight, units):
    """The squared norms of W_:u H_u:, which have the order of the norms."""
    sets = [[j for j, label in enumerate(units) if label == unit] for unit in range(max(units) + 1)]
    return [((weight[:, J] @ hidden[J]) ** 2).sum() for J in sets]


def _largest(candidates, scores, count):
    """The `count` candidates of largest score (all, where there are fewer), ascending."""
    order = sorted(candidates, key=lambda unit: scores[unit])  # stable: among equals the lowest index first
    return sorted(order[max(len(order) - count, 0) :])
