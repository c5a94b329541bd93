"""Counts are exact: every one is compared with decimal arithmetic or with Fractions."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refprune.patterns import prune_count

ROUNDING = {"round": ROUND_HALF_EVEN, "floor": ROUND_FLOOR, "ceil": ROUND_CEILING}


def by_decimals(text, total, rule):
    """The count in decimal arithmetic, from the digits that the user typed."""
    exact = Decimal(text) * total
    if rule == "strict":
        return min(total, int(exact.to_integral_value(ROUND_FLOOR)) + 1)
    return int(exact.to_integral_value(ROUNDING[rule]))


@pytest.mark.parametrize("rule", ["round", "floor", "ceil", "strict"])
def test_the_full_grid_of_two_decimals(rule):
    for hundredths in range(101):
        text = f"{hundredths // 100}.{hundredths % 100:02d}"
        for total in (*range(41), 100, 128, 1000):
            wanted = by_decimals(text, total, rule)
            for sparsity in (float(text), np.float64(text), np.float32(text), Decimal(text), Fraction(text)):
                assert prune_count(sparsity, total, rule) == wanted, (sparsity, total)


def test_the_counts_that_floats_get_wrong():
    assert [prune_count(s, n) for s in (0.1, 0.55, 0.7) for n in (10, 20, 100)] == [
        1,
        2,
        10,
        6,
        11,
        55,
        7,
        14,
        70,
    ]
    assert int((1 - 0.9) * 10) == 0  # what a chain of floats makes of keeping one of ten
    assert 10 - prune_count(0.9, 10) == 1
    assert round(0.35 * 10) == 4 == prune_count(0.35, 10)  # 3.5, half to even
    assert round(0.145 * 100) == 14 == prune_count(0.145, 100)  # 14.5
    assert round(0.565 * 200) == 113
    assert round(0.285 * 100) == 28 == prune_count(0.285, 100)
    assert [round(s * 100) for s in (0.575, 0.145)] == [57, 14]  # 57.49999999999999 in floats
    assert [prune_count(s, 100) for s in (0.575, 0.145)] == [58, 14]  # 57.5, half to even


@given(
    st.decimals(0, 1, places=5), st.integers(0, 10**9), st.sampled_from(["round", "floor", "ceil", "strict"])
)
def test_any_decimal(sparsity, total, rule):
    wanted = by_decimals(str(sparsity), total, rule)
    assert prune_count(sparsity, total, rule) == wanted
    assert prune_count(float(sparsity), total, rule) == wanted
    assert 0 <= wanted <= total


@given(st.fractions(0, 1, max_denominator=50), st.integers(0, 200))
def test_any_fraction(sparsity, total):
    exact = sparsity * total
    assert prune_count(sparsity, total, "floor") == exact.numerator // exact.denominator
    assert abs(prune_count(sparsity, total) - exact) <= Fraction(1, 2)
    if abs(prune_count(sparsity, total) - exact) == Fraction(1, 2):
        assert prune_count(sparsity, total) % 2 == 0


def test_small_shares_are_read_in_exponent_form():
    assert prune_count(1e-05, 10**5) == 1
    assert prune_count(2.5e-7, 10**7, "ceil") == 3


def test_none_and_all():
    for total in (0, 1, 7):
        for rule in ("round", "floor", "ceil"):
            assert prune_count(0, total, rule) == prune_count(0.0, total, rule) == 0
            assert prune_count(1, total, rule) == prune_count(np.int64(1), total, rule) == total
        assert prune_count(0.0, total, "strict") == min(1, total)
        assert prune_count(1.0, total, "strict") == total


@pytest.mark.parametrize("bad", [True, np.True_, "0.5", None, [0.5], np.array(0.5), 0.5j, np.complex128(0.5)])
def test_what_is_no_number_is_a_type_error(bad):
    with pytest.raises(TypeError, match="need sparsity to be a real number; got "):
        prune_count(bad, 10)


@pytest.mark.parametrize(
    "bad", [-0.1, 1.2, 2, -1, float("nan"), float("inf"), Decimal("NaN"), np.float32("inf")]
)
def test_shares_outside_0_to_1_are_value_errors(bad):
    with pytest.raises(ValueError, match=r"need sparsity in \[0, 1\]; got "):
        prune_count(bad, 10)


def test_bad_totals_and_rules():
    with pytest.raises(ValueError, match="need total >= 0; got -1"):
        prune_count(0.5, -1)
    with pytest.raises(TypeError, match=r"need total to be an integer; got 10\.0"):
        prune_count(0.5, 10.0)
    with pytest.raises(ValueError, match="need count_rule to be one of round, floor, ceil, strict; got 'up'"):
        prune_count(0.5, 10, "up")
