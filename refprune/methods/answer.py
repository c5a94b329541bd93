"""Prior masks in; refitted weights and the record of the removals out."""

import numpy as np

from refprune.arrays import astype, boolean, from_numpy, namespace, to_numpy
from refprune.methods.refit import changes
from refprune.methods.system import in_range
from refprune.pruned import Pruned


def check_prior(mask, weight, key=""):
    """Return the prior `mask`, True = may be kept; `key` follows the names in messages.

    Raises
    ------
    TypeError, ValueError
        `mask` is no boolean array of the weight's kind and shape, or a weight that it prunes is not 0.
    """
    boolean(f"mask{key}", mask, shape=tuple(weight.shape))
    xp = namespace(mask, weight)
    if not bool(xp.all(xp.where(mask, xp.zeros_like(weight), weight) == 0)):
        raise ValueError(f"need weight{key} to be 0 where mask marks a prior zero; got another value there")
    return mask


def prior_zeros(mask, view):
    """The prior mask as a NumPy boolean array (rows, columns), True = may be kept; errors as `check_prior`."""
    if mask is None:
        return np.ones(view.shape, dtype=bool)
    return to_numpy(check_prior(mask, view.problem.weight)).reshape(view.shape)


def definite(view):
    """Whether all Hessians are positive definite: then so is every block, and none needs a check."""
    try:
        for part in view.parts:
            part.inverse()
    except np.linalg.LinAlgError:
        return False
    return True


def refitted(view, kept, checked, order=None, trace=()):
    """The `Pruned` answer with the best weights on `kept` (NumPy boolean array (rows, columns)).

    `checked` says that the Hessians are known to be positive definite; otherwise every support is checked. Weights
    beyond the range of their dtype are a LinAlgError.
    """
    xp = namespace(view.weight)
    change = xp.zeros(view.shape, dtype=view.weight.dtype)
    for part in view.parts:
        rows = slice(part.first, part.first + part.count)
        own = kept[rows][:, part.living]
        name = None if checked else part.name
        columns = from_numpy(part.living, view.weight)
        change[rows, columns] = changes(part.weight, part.hessian, part.gradient, own, name)
    mask = from_numpy(kept, view.weight)
    with np.errstate(over="ignore"):
        weight = xp.where(mask, view.weight + change * 2.0**view.weight_exponent, 0)
        weight = in_range("an answer", view.restore(astype(weight, view.problem.weight.dtype)))
    if order is not None:
        order = from_numpy(order, weight)
    return Pruned(weight, view.restore(mask), view.objective(weight), order, trace)
