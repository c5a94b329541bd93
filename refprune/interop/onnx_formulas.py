r"""Formulas that exporters write for one activation: SiLU, GELU, Softplus, ReLU6.

A value is followed as :math:`c\, x^p f(r x)` with a number c, p = 0 or 1, a rate r and one of a few functions
f. Multiplications by constants and the operators below lead from one such formula to the next; those that are
a layer are recognised by `layer_of`, whatever the order in which a file computes them.
"""

from dataclasses import dataclass, replace
from math import sqrt

# Constants of a file are rounded to float32.
CLOSE = 1e-6
# From here on PyTorch takes x for softplus(x); they differ by exp(-20) = 2e-9.
THRESHOLD = 20.0

LAYERS = {
    # power, function: (factor, rate, layer)
    (0, "relu"): (1.0, 1.0, "relu"),
    (0, "relu6"): (1.0, 1.0, "relu6"),
    (0, "sigmoid"): (1.0, 1.0, "sigmoid"),
    (0, "softplus"): (1.0, 1.0, "softplus"),
    (1, "sigmoid"): (1.0, 1.0, "silu"),
    (1, "1 + erf"): (0.5, 1 / sqrt(2), "gelu"),
}
# A constant that is no single number.
MANY = "many numbers"
APPLIED = {"Erf": "erf", "Exp": "exp", "Relu": "relu", "Sigmoid": "sigmoid", "Softplus": "softplus"}


@dataclass(frozen=True)
class Formula:
    """`factor * x^power * function(rate * x)` of the value x named `base`; no function counts as 1."""

    base: str
    factor: float = 1.0
    power: int = 1
    function: str | None = None
    rate: float = 1.0


def layer_of(formula):
    """The name of the layer that a formula is, or None."""
    factor, rate, layer = LAYERS.get((formula.power, formula.function), (0.0, 0.0, None))
    right = _close(formula.factor, factor) and _close(formula.rate, rate)
    return layer if right else None


def _close(a, b):
    return abs(a - b) <= CLOSE * abs(b)


def formula_of(op, terms):
    """The formula of what `op` gives, or None when it has none.

    Parameters
    ----------
    op : Operator
    terms : list of Formula, float, MANY or None
        Its inputs; None for one that is not given.
    """
    rule = RULES.get(op.word, _applied if op.word in APPLIED else None)
    return None if rule is None else rule(op, terms)


def _applied(op, terms):
    """f(x) of a plain multiple of x."""
    op.take(consumed_inputs=None)
    (term,) = terms
    if term.power != 1 or term.function is not None:
        return None
    return Formula(term.base, 1.0, 0, APPLIED[op.word], term.factor)


def _times(op, terms):
    """Number times formula; or x times f(x)."""
    op.take(broadcast=0, axis=None, consumed_inputs=None)
    a, b = _number_last(terms)
    if isinstance(a, Formula) and isinstance(b, float):
        return replace(a, factor=a.factor * b)
    if not isinstance(a, Formula) or not isinstance(b, Formula):
        return None
    plain, other = (a, b) if a.function is None else (b, a)
    if a.base != b.base or plain.function is not None or (plain.power, other.power) != (1, 0):
        return None
    return replace(other, factor=plain.factor * other.factor, power=1)


def _over(op, terms):
    """Formula divided by a number."""
    op.take(broadcast=0, axis=None, consumed_inputs=None)
    a, b = terms
    return replace(a, factor=a.factor / b) if isinstance(a, Formula) and isinstance(b, float) and b else None


def _plus(op, terms):
    """`c + c erf(r x)`, and 1 + exp(x)."""
    op.take(broadcast=0, axis=None, consumed_inputs=None)
    if len(terms) != 2:
        return None
    a, b = _number_last(terms)
    if not isinstance(a, Formula) or not isinstance(b, float) or a.power or not _close(a.factor, b):
        return None
    found = {"erf": "1 + erf", "exp": "1 + exp"}.get(a.function)
    return replace(a, function=found) if found else None


def _log(op, terms):
    """`log(1 + exp(r x))`."""
    op.take()
    (a,) = terms
    right = (a.factor, a.power, a.function) == (1.0, 0, "1 + exp")
    return replace(a, function="softplus") if right else None


def _bounded(least, most):
    """The rule of an operator that bounds: x from below by 0, ReLU from above by 6."""

    def rule(op, terms):
        a, low, high = _bounds(op, terms, least, most)
        if not isinstance(a, Formula) or a.factor != 1.0 or MANY in (low, high):
            return None
        plain, relu = (a.power, a.function) == (1, None), (a.power, a.function) == (0, "relu")
        found = {
            (True, None): plain and "relu",
            (True, 6.0): plain and "relu6",
            (False, 6.0): relu and a.rate == 1.0 and "relu6",
        }.get((low == 0.0, high) if low in (None, 0.0) else None)
        return Formula(a.base, 1.0, 0, found) if found else None

    return rule


def _bounds(op, terms, least, most):
    """(formula, lower bound or None, upper bound or None) of Clip, Max or Min."""
    if op.word == "Clip":
        low, high, _ = op.take(min=None, max=None, consumed_inputs=None)
        a, *inputs = terms
        low, high = (low, high) if op.opset < 11 else (*inputs, None, None)[:2]
    else:
        op.take(consumed_inputs=None)
        a, bound = _number_last(terms) if len(terms) == 2 else (None, None)
        low, high = (bound if least else None), (bound if most else None)
    # old files say "no bound" by the largest float32
    low, high = (None if isinstance(n, float) and abs(n) > 3.4e38 else n for n in (low, high))
    return a, low, high


def _above(op, terms):
    """`x > threshold`, the condition of PyTorch's softplus."""
    op.take()
    a, b = terms
    plain = isinstance(a, Formula) and (a.factor, a.power, a.function) == (1.0, 1, None)
    return Formula(a.base, 1.0, 0, "above", b) if plain and isinstance(b, float) else None


def _where(op, terms):
    """`where(x > 20, x, softplus(x))`, PyTorch's softplus."""
    op.take()
    if not all(isinstance(term, Formula) for term in terms):
        return None
    condition, x, other = terms
    right = (
        (condition.function, x.function, other.function) == ("above", None, "softplus")
        and (condition.rate >= THRESHOLD and x == Formula(x.base) and layer_of(other) == "softplus")
        and condition.base == x.base == other.base
    )
    return other if right else None


def _number_last(terms):
    a, b = terms
    return (b, a) if isinstance(a, float) else (a, b)


RULES = {
    "Add": _plus,
    "Clip": _bounded(True, True),
    "Div": _over,
    "Greater": _above,
    "Log": _log,
    "Max": _bounded(True, False),
    "Min": _bounded(False, True),
    "Mul": _times,
    "Sum": _plus,
    "Where": _where,
}
