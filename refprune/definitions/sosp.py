"""SOSP-H (Nonnenmacher et al. 2022): what the loss does when groups of parameters go, by one product.

theta_s is theta (d,) with zeros outside of group s. When the groups of a set M go, theta moves by `-sum_M theta_s`, and
the quadratic model of the loss by

    -sum_(s in M) theta_s . g  +  1/2 sum_(s in M) sum_(s' in M) theta_s . H theta_s'.

The pairs (s, s') are what a score of single groups cannot see. SOSP-H lets s' run over all groups, those that stay
included, and takes absolute values, since the signs of what others do are not known:

    score(s) = |theta_s . g| + 1/2 |theta_s . H theta_all|,        theta_all = sum_s theta_s.

So one product `H theta_all` serves every group. The smallest scores go; no parameter that stays moves. The network is
plain data, as in `refprune.definitions.derivatives`; which groups there are is said by a label for every parameter.
"""

from refprune.arrays import namespace
from refprune.definitions.derivatives import gradient, hessian
from refprune.definitions.snip import flattened, unflattened


def sosp_scores(layers, params, x, y, loss, labels, against="groups"):
    """The score of every group, a dict by ascending label; `labels` (d,) are integers, -1 where there is no group.

    With `against` "all", theta_all is all of theta, what belongs to no group included.
    """
    theta = flattened(params)
    g, H = gradient(layers, params, x, y, loss), hessian(layers, params, x, y, loss)
    together = theta if against == "all" else _only(theta, labels >= 0)
    scores = {}
    for s in sorted({int(label) for label in labels if label >= 0}):
        own = _only(theta, labels == s)
        scores[s] = abs(own @ g) + abs(own @ (H @ together)) / 2  # in units of the loss
    return scores


def sosp(layers, params, x, y, loss, labels, count, against="groups"):
    """Remove the `count` groups of the smallest scores, among equals the lowest labels; returns (params, labels)."""
    scores = sosp_scores(layers, params, x, y, loss, labels, against)
    gone = sorted(scores, key=lambda s: scores[s])[:count]
    theta = flattened(params)
    for s in gone:
        theta = _only(theta, labels != s)
    return unflattened(theta, params), gone


def _only(theta, where):
    """theta with exact zeros elsewhere."""
    return namespace(theta).where(where, theta, theta - theta)
