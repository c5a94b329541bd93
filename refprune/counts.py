"""How many to prune: counts computed exactly from the decimal that the user wrote."""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from numbers import Rational, Real

import numpy as np

from refprune.arrays import integer

RULES = ("round", "floor", "ceil", "strict")


def exact_share(name, value):
    """Return `value` in [0, 1] as a Fraction; a float is read as the decimal that Python prints for it.

    Raises
    ------
    TypeError
        Not a real number; a boolean or an array is none.
    ValueError
        Not in [0, 1], or not finite.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (Rational, Decimal, float, np.integer, np.floating)
    ):
        raise TypeError(f"need {name} to be a real number; got {value!r}")
    try:
        share = Fraction(value) if isinstance(value, (int, Fraction)) else Fraction(str(value))
    except ValueError:
        raise ValueError(f"need {name} in [0, 1]; got {value}") from None
    if not 0 <= share <= 1:
        raise ValueError(f"need {name} in [0, 1]; got {value}")
    return share


def prune_count(sparsity: Real | Decimal, total: int, rule: str = "round") -> int:
    r"""How many of `total` units to prune at `sparsity`, computed without rounding.

    The sparsity is taken as the decimal that the user wrote (the one that ``repr`` shows), not as the binary
    number nearest to it, and not through ``1 - sparsity``: 0.7 of 10 prunes 7.

    Parameters
    ----------
    sparsity : float, int, Fraction, Decimal or NumPy scalar
        The share to prune, in [0, 1].
    total : int
        The number N of units.
    rule : {"round", "floor", "ceil", "strict"}
        What happens to a count that is not whole: round half to even, down, up; "strict" prunes floor(s N) +
        1, at most N, which is what a comparison ``score <= threshold`` does in published code.

    Returns
    -------
    int
        The pruned count, from 0 to `total`.

    Raises
    ------
    TypeError, ValueError
        Not a number, not in [0, 1], a negative total, an unknown rule.

    Examples
    --------
    >>> from refprune.counts import prune_count
    >>> [prune_count(s, 10) for s in (0.1, 0.55, 0.7)]  # 5.5 rounds to the even 6
    [1, 6, 7]
    >>> [prune_count(0.55, 10, rule) for rule in ("floor", "ceil", "strict")]
    [5, 6, 6]
    """
    exact = exact_share("sparsity", sparsity) * integer("total", total, least=0)
    if rule not in RULES:
        raise ValueError(f"need count_rule to be one of {', '.join(RULES)}; got {rule!r}")
    if rule == "strict":
        return min(int(total), floor(exact) + 1)
    return {"round": round, "floor": floor, "ceil": ceil}[rule](exact)


def units_to_prune(pattern, total, per="layer"):
    """The number of `total` units that a pattern with `sparsity` or `keep` prunes in one scope.

    Raises
    ------
    ValueError
        `keep` is more than `total`.
    """
    if pattern.keep is None:
        return prune_count(pattern.sparsity, total, getattr(pattern, "count_rule", "round"))
    if pattern.keep > total:
        raise ValueError(f"need keep <= {total}, the number of units per {per}; got {pattern.keep}")
    return total - pattern.keep


def check_amount(pattern):
    """Raise unless exactly one of `sparsity` and `keep` is given, and is a share or a count; that one as an int."""
    if (pattern.sparsity is None) == (pattern.keep is None):
        raise ValueError(
            f"need exactly one of sparsity and keep; got sparsity={pattern.sparsity!r}, keep={pattern.keep!r}"
        )
    if pattern.keep is None:
        exact_share("sparsity", pattern.sparsity)
    else:
        object.__setattr__(pattern, "keep", integer("keep", pattern.keep, least=0))
