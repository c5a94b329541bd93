"""The generated cases of a run: stratified over the contract's flags, the same for the same seed."""

import math
import zlib

import numpy as np

from .claims import serves
from .contract import Case
from .make import misrounded

PLAIN = "Plain"
WIDE = 64  # shapes with more columns come now and then only: their certificates are slow
NEEDS_TWO = ("DuplicateColumn", "CorrelatedPair", "NMRemainder", "NonSymmetric", "NMNotHalf", "BeyondArithmetic",
             "Singular", "IllConditioned", "WrongShape")  # fmt: skip


def palette(contract, claims) -> tuple:
    """At most 12 shapes of the contract inside the claimed sizes; made to measure when none of its own is."""
    served = tuple(shape for shape in contract.shapes if _serves(contract, claims, shape))
    if served or not contract.shapes:
        return served
    if contract.sizes is not None:
        raise ValueError(
            f"need claims on rows and columns that a shape of {contract.name} fits; got {claims}"
        )
    sizes = []
    for key, low, factors in (("rows", 1, (1, 2)), ("columns", 4, (1, 2, 3))):
        limits = claims.get(key, {})
        step = limits.get("multiple_of", 1)
        least = -(-max(limits.get("min", low), 1) // step) * step
        found = [least * f for f in factors if serves({key: limits}, least * f, least * f)]
        sizes.append(found)
    if not all(sizes):
        raise ValueError(f"need claims on rows and columns that some size fits; got {claims}")
    rows = [1] if len(contract.shapes[0]) == 1 else sizes[0]
    return tuple((r, c)[2 - len(contract.shapes[0]) :] for r in rows for c in sizes[1])


def _serves(contract, claims, shape):
    found = _rows_columns(contract, shape)
    return found is None or serves(claims, *found)


def _rows_columns(contract, shape):
    if contract.sizes is not None:
        return contract.sizes(shape)
    return (1, *shape) if len(shape) == 1 else shape


def flags_of(contract, claims) -> tuple:
    """The flags that apply under the claims, Plain first."""
    shapes = palette(contract, claims)
    half = ("Half",) if "float16" in claims.get("dtypes", ()) else ()
    named = [flag for flag in (*contract.flags, *half) if _eligible(contract, flag, shapes)]
    if "multiple_of" in claims.get("columns", {}):
        named = [flag for flag in named if flag != "NMRemainder"]
    if claims.get("inplace"):  # what may be overwritten can be
        named = [flag for flag in named if flag != "ReadOnly"]
    return (PLAIN, *named, PLAIN)


def _eligible(contract, flag, shapes):
    """The shapes on which a flag makes sense."""
    if contract.suits is not None:
        return [shape for shape in shapes if contract.suits(flag, shape)]
    rows_columns = {shape: _rows_columns(contract, shape) for shape in shapes}

    def counted(r, c):
        return c if contract.per_row else r * c

    wanted = {
        "OneRow": lambda r, c: r == 1,
        "OneColumn": lambda r, c: c == 1,
        "Square": lambda r, c: r == c and c > 1,
        "NMRemainder": lambda r, c: c > 4,
        "NMNotHalf": lambda r, c: c % 4 == 0 or c % 3 == 0,
        "EmptyBatch": lambda r, c: r > 1,
        "UnequalBatches": lambda r, c: r > 4,
        "Bias": lambda r, c: c > 1,
        "DeadInput": lambda r, c: c > 2,
        "K1": lambda r, c: r * c > 1,
        "WiderThanBlock": lambda r, c: c > 128,
        "ManyRows": lambda r, c: r > 32,
        "ShortLoader": lambda r, c: r > 256,
        "NearTie": lambda r, c: 2 < c <= WIDE and r * c < 80,
        "Singular": lambda r, c: 4 < c <= WIDE,
        "UnrepresentableSparsity": lambda r, c: (
            counted(r, c) in (10, 20, 100) or bool(misrounded(counted(r, c))[0])
        ),
    }.get(flag, (lambda r, c: c > 2) if flag in NEEDS_TWO else (lambda r, c: c > 1))
    return [shape for shape, (r, c) in rows_columns.items() if wanted(r, c)]


def make_case(contract, number, seed, dtype, claims) -> Case:
    """Case `number` of the run with this seed."""
    flags = flags_of(contract, claims)
    flag = flags[number % len(flags)]
    rng = np.random.default_rng([seed, zlib.crc32(contract.name.encode()), number])
    shapes = _eligible(contract, flag, palette(contract, claims))
    round_number = number // len(flags)
    narrow = [shape for shape in shapes if (_rows_columns(contract, shape) or (1, 1))[1] <= WIDE]
    if narrow and (flag != PLAIN or round_number % 3):
        shapes = narrow
    shape = shapes[(round_number + int(rng.integers(len(shapes)))) % len(shapes)]
    if flag == "UnrepresentableSparsity":  # the sizes that tell come first
        shape = sorted(
            shapes, key=lambda shape: -len(misrounded(shape[-1] if contract.per_row else math.prod(shape))[0])
        )[round_number % len(shapes)]
    kind = np.dtype("float16") if flag == "Half" else np.dtype(dtype)
    problem = contract.build("" if flag in (PLAIN, "Half") else flag, shape, rng, kind)
    return Case(number, () if flag == PLAIN else (flag,), problem)


def generate(contract, examples, seed, dtype, claims):
    """At least `examples` cases, at least one for each flag."""
    for number in range(max(examples, len(flags_of(contract, claims)))):
        yield make_case(contract, number, seed, dtype, claims)
