"""Claims: what an implementation says of itself, so that it is judged by its own conventions.

| claim | values | meaning |
| --- | --- | --- |
| ``dtypes`` | list of dtype names | the dtypes it serves; float16 cases come only when it is listed |
| ``rows``, ``columns`` | mapping with ``min``, ``max``, ``multiple_of`` | the sizes it serves |
| ``n_counts`` | ``"kept"`` (default), ``"zeros"`` | what N of N:M counts |
| ``count_rule`` | ``"round"`` (default), ``"floor"``, ``"ceil"``, ``"strict"`` | how sparsity becomes a count |
| ``allocation`` | ``"heap"`` (default), ``"sorted"``, ``"cumulative"`` | how a layer's budget is spread over rows |
| ``damping`` | ``"mean"`` (default), ``"absolute"`` | what ``damp`` is relative to |
| ``update`` | ``"joint"`` (default), ``"sum"`` | WoodFisher's update |
| ``project`` | ``"H"`` (default), ``"euclid"`` | I-OBS's projection |
| ``detach_first`` | bool | ProsPr's first momentum buffer |
| ``input_precision`` | ``"tf32"``, ``"bfloat16"``, ``"float16"`` | products are formed from rounded inputs |
| ``validates`` | bool | bad input is refused with an error |
| ``inplace`` | bool | the inputs may be overwritten, and are writable |
| ``deterministic`` | bool | a second call gives the same bits |
"""

from numbers import Integral

CHOICES = {
    "n_counts": ("kept", "zeros"),
    "count_rule": ("round", "floor", "ceil", "strict"),
    "allocation": ("heap", "sorted", "cumulative"),
    "damping": ("mean", "absolute"),
    "update": ("joint", "sum"),
    "project": ("H", "euclid"),
    "detach_first": (False, True),
    "input_precision": ("tf32", "bfloat16", "float16"),
    "validates": (False, True),
    "inplace": (False, True),
    "deterministic": (False, True),
}
DTYPES = ("float16", "bfloat16", "float32", "float64")
SIZES = ("min", "max", "multiple_of")


def check_claims(claims) -> dict:
    """A validated copy of `claims` (None is no claim at all).

    Raises
    ------
    ValueError
        For an unknown key or value; the message lists what is known.

    Examples
    --------
    >>> check_claims({"n_counts": "zeros"})
    {'n_counts': 'zeros'}
    >>> check_claims({"n_count": "zeros"})
    Traceback (most recent call last):
    ...
    ValueError: need a known claim (allocation, columns, count_rule, damping, detach_first, deterministic, \
dtypes, inplace, input_precision, n_counts, project, rows, update, validates); got 'n_count'
    """
    claims = dict(claims or {})
    for key, value in claims.items():
        if key in ("rows", "columns"):
            _check_sizes(key, value)
        elif key == "dtypes":
            if isinstance(value, str) or not value or any(name not in DTYPES for name in value):
                raise ValueError(f"need claim dtypes to list some of {', '.join(DTYPES)}; got {value!r}")
        elif key not in CHOICES:
            known = ", ".join(sorted([*CHOICES, "rows", "columns", "dtypes"]))
            raise ValueError(f"need a known claim ({known}); got {key!r}")
        elif not any(
            value is choice or (value == choice and type(value) is type(choice)) for choice in CHOICES[key]
        ):
            known = ", ".join(map(repr, CHOICES[key]))
            raise ValueError(f"need claim {key} to be one of {known}; got {value!r}")
    return claims


def _check_sizes(key, value):
    if not isinstance(value, dict) or not value or any(name not in SIZES for name in value):
        raise ValueError(f"need claim {key} to be a mapping with some of {', '.join(SIZES)}; got {value!r}")
    for name, size in value.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"need claim {key}[{name!r}] to be an integer >= 1; got {size!r}")
    if value.get("min", 1) > value.get("max", float("inf")):
        raise ValueError(f"need claim {key} with min <= max; got {value!r}")


def serves(claims, rows, columns) -> bool:
    """True when the sizes lie inside the claimed ranges.

    >>> serves({"columns": {"multiple_of": 16}}, 4, 24)
    False
    """
    for key, size in (("rows", rows), ("columns", columns)):
        limits = claims.get(key, {})
        if not limits.get("min", 0) <= size <= limits.get("max", size) or size % limits.get("multiple_of", 1):
            return False
    return True
