"""What SNIP, GraSP, SynFlow and FORCE share: the weights of a network, stages of a pattern, products, the answer."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from refprune.arrays import astype, exponent, integer, namespace, times_power
from refprune.counts import exact_share, units_to_prune
from refprune.methods.many_weights import many_weights
from refprune.methods.system import in_range
from refprune.network import Network
from refprune.patterns import NM
from refprune.pruned import Pruned


def network_weights(network, params, pattern):
    """(the weights of all Dense and Conv2d layers as `ManyWeights`, the pattern with a scope), checked.

    Raises
    ------
    TypeError, ValueError
        No network, or one without such layers; `params` or `pattern` that do not fit.
    """
    if not isinstance(network, Network):
        raise TypeError(f"need a Network; got {type(network).__name__}")
    if not network.prunable:
        raise ValueError("need a network with at least one Dense or Conv2d; got none")
    network.check(params)
    weights, pattern, _ = many_weights({name: params[name] for name in network.prunable}, pattern, None)
    return weights, pattern


def pair(batch):
    """`batch` as (x, y).

    Raises
    ------
    TypeError
        It is no pair.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
        raise TypeError(f"need batch to be a pair (x, y); got {got}")
    return batch


def product(a, b, powers=None):
    """(c, e) with ``a b 2**powers = c 2**e``, entry by entry, for dicts of arrays; `powers` of a name is 0 without.

    The factors of every array are brought below 1 by powers of their own, so that layers of far apart scales lose no
    digit to the range where their products have one scale.
    """
    found, at = {}, {}
    for name, y in b.items():
        x = astype(a[name], y.dtype)
        i, j = exponent(x), exponent(y)
        c = (x * 2.0**-i) * (y * 2.0**-j)
        k = exponent(c)
        found[name], at[name] = c * 2.0**-k, i + j + k + (powers or {}).get(name, 0)
    most = max((at[name] for name, c in found.items() if bool(namespace(c).any(c != 0))), default=0)
    return {name: times_power(c, min(at[name] - most, 0)) for name, c in found.items()}, most


def stages(pattern, steps, weights):
    """The patterns of `steps` stages: the share of what is kept falls as ``share**(t / steps)``, t = 1, ..., steps.

    Counts are rounded, and the last pattern is the given one.

    Raises
    ------
    TypeError, ValueError
        `steps` is no integer >= 1; `keep` in layers or rows, where every one would have a schedule of its own.
    """
    steps = integer("steps", steps, least=1)
    times = [t / steps for t in range(1, steps)]
    if isinstance(pattern, NM):
        n, m = pattern.n, pattern.m
        return [*(replace(pattern, n=max(n, round(m * (n / m) ** t))) for t in times), pattern]
    if pattern.scope == "network":
        total = weights.edges[-1]
        keep = total - units_to_prune(pattern, total, "network")
        counts = [max(keep, round(total * (keep / total) ** t)) for t in times]
        return [*(replace(pattern, sparsity=None, keep=k, count_rule="round") for k in counts), pattern]
    if pattern.keep is not None:
        if steps > 1:
            raise ValueError(f"need sparsity, not keep, in {steps} steps with scope {pattern.scope!r}")
        return [pattern]
    last = exact_share("sparsity", pattern.sparsity)
    gone = [min(last, 1 - Fraction(float(1 - last) ** t)) for t in times]
    return [*(replace(pattern, sparsity=share) for share in gone), pattern]


def sensitivity(network, params, batch, loss, weights, switched):
    """(scores (d,), e): ``|w dL / dw|`` is ``scores 2**e``, for w of `switched` (a dict) and the slope at `params`."""
    x, y = pair(batch)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found
        gradient = network.gradient(params, x, y, loss)
    slope = {name: in_range("a gradient", gradient[name]) for name in weights.arrays}
    scores, power = product(switched, slope)
    return abs(weights.flat(scores)), power


def kept(weights, mask):
    """The weights (a dict) that `mask` (d,) keeps, exact zeros elsewhere."""
    masks, found = weights.restore(mask), {}
    for name, w in weights.arrays.items():
        xp = namespace(w, masks[name])
        found[name] = xp.where(masks[name], w, xp.zeros_like(w))
    return found


def pruned(weights, mask, scores, power=0, trace=()):
    """The answer: the weights that `mask` (d,) keeps, as they were; `scores` (d,) are reported times ``2**power``."""
    scores = weights.restore(times_power(scores, power))
    return Pruned(kept(weights, mask), weights.restore(mask), trace=tuple(trace), scores=scores)
