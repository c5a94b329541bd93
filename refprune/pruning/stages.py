"""Pruning in stages: how the sparsity rises, and what comes back from between two of them."""

from dataclasses import replace
from fractions import Fraction
from numbers import Real

import numpy as np

from refprune.arrays import astype, dtype_name, namespace, real
from refprune.counts import exact_share
from refprune.network import Network
from refprune.network.training import checked_masks
from refprune.patterns import NM, Groups, Pattern


def cubic_schedule(first: Real, last: Real, steps: int) -> tuple:
    """The sparsities of `steps` stages as Fractions: ``s_1 + (s_0 - s_1) (1 - t / T)^3`` for t = 1, ..., T.

    Examples
    --------
    >>> from refprune.pruning.stages import cubic_schedule
    >>> [float(s) for s in cubic_schedule(0, 0.8, 4)]
    [0.4625, 0.7, 0.7875, 0.8]
    """
    first, last = _ends(first, last)
    return tuple(last + (first - last) * (1 - Fraction(t, steps)) ** 3 for t in range(1, steps + 1))


def exponential_schedule(first: Real, last: Real, steps: int) -> tuple:
    """The same share of what is left goes in every stage: ``1 - (1 - s_0)^(1 - t / T) (1 - s_1)^(t / T)``.

    Examples
    --------
    >>> from refprune.pruning.stages import exponential_schedule
    >>> [round(float(s), 6) for s in exponential_schedule(0, 0.875, 3)]
    [0.5, 0.75, 0.875]
    """
    first, last = _ends(first, last)
    kept = [float(1 - first) ** (1 - t / steps) * float(1 - last) ** (t / steps) for t in range(1, steps)]
    return (*(min(last, max(first, 1 - Fraction(share))) for share in kept), last)


def _ends(first, last):
    """The first and the last sparsity, exact and in order."""
    first, last = exact_share("start_sparsity", first), exact_share("sparsity", last)
    if first > last:
        raise ValueError(f"need start_sparsity <= {float(last):g}, the pattern's; got {float(first):g}")
    return first, last


SCHEDULES = {"cubic": cubic_schedule, "exponential": exponential_schedule}


def stages(
    pattern: Pattern, steps: int, first: Real, total: int, shared: bool, schedule: str = "cubic"
) -> list:
    """The pattern of every stage; the last one is the pattern itself.

    Parameters
    ----------
    pattern : Unstructured, NM or Groups
    steps : int
    first : number
        The sparsity where the schedule begins.
    total : int
        How many weights (groups) there are in all.
    shared : bool
        Whether they share one count, so that `keep` is a share of the total.
    schedule : str
        A name in `SCHEDULES`.

    Raises
    ------
    TypeError, ValueError
        `first` is no share up to the last sparsity; `keep` in stages where the counts are not shared; an unknown
        schedule.
    """
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise ValueError(f"need schedule to be one of {', '.join(SCHEDULES)}; got {schedule!r}")
    if isinstance(pattern, NM):
        shares = SCHEDULES[schedule](first, Fraction(pattern.m - pattern.n, pattern.m), steps)
        return [replace(pattern, n=pattern.m - round(share * pattern.m)) for share in shares]
    if pattern.keep is None:
        last = pattern.sparsity
    else:
        if steps > 1 and not shared:
            where = f"scope {pattern.scope!r}" if hasattr(pattern, "scope") else "allocation 'layer'"
            raise ValueError(f"need sparsity, not keep, in stages with {where}")
        last = Fraction(total - pattern.keep, total) if shared else 1
    shares = SCHEDULES[schedule](first, last, steps)[:-1]
    if isinstance(pattern, Groups):
        return [*(Groups(share, None, pattern.axis, pattern.partition) for share in shares), pattern]
    return [*(replace(pattern, keep=None, sparsity=share) for share in shares), pattern]


def settled(network: Network, params: dict, masks: dict, like: dict, name: str = "between") -> dict:
    """What came back from `name`: new arrays in the dtypes of `like`.

    Raises
    ------
    TypeError, ValueError
        No parameters of the network, or of another kind than `like`; a pruned weight that is not 0.
    """
    try:
        network.check(params)
        namespace(*params.values(), *like.values())
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    for key, mask in checked_masks(network, masks).items():
        xp = namespace(mask, params[key])
        if bool(xp.any(xp.where(mask, 0, params[key]) != 0)):
            raise ValueError(f"need pruned weights of {key} to be 0 after {name}; got another value")
    with np.errstate(over="ignore"):
        new = {key: astype(params[key], value.dtype) for key, value in like.items()}
    for key, value in new.items():
        real(f"params[{key!r}] after {name} in {dtype_name(value.dtype)}", value)
    return new


def copies(arrays: dict) -> dict:
    """A dict of new arrays."""
    return {name: astype(array, array.dtype) for name, array in arrays.items()}
