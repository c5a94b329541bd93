"""Schedules of the sparsity: the cubic one and the exponential one, and the patterns of the stages."""

from fractions import Fraction
from itertools import pairwise

import pytest

import refprune as rp
from refprune.definitions import zhu_gupta
from refprune.pruning.stages import SCHEDULES, cubic_schedule, exponential_schedule, stages


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_from_the_first_to_the_last(name):
    for first, last in ((0, 0.9), (0.3, 0.8), (0.5, 0.5), (0, 1), (0, 0)):
        shares = SCHEDULES[name](first, last, 7)
        assert len(shares) == 7
        assert all(a <= b for a, b in pairwise([Fraction(str(first)), *shares]))
        assert shares[-1] == Fraction(str(last))


def test_the_cubic_one_is_zhu_and_guptas():
    for mine, theirs in zip(cubic_schedule(0.2, 0.9, 9), zhu_gupta(0.2, 0.9, 9), strict=True):
        assert abs(float(mine) - theirs) <= 1e-15


def test_the_exponential_one_takes_the_same_share_of_what_is_left():
    shares = exponential_schedule(0.1, 0.95, 8)
    left = [0.9, *(1 - float(s) for s in shares)]
    rates = [b / a for a, b in pairwise(left)]
    assert max(rates) - min(rates) < 1e-14
    assert [float(s) for s in exponential_schedule(0, Fraction(15, 16), 4)] == [0.5, 0.75, 0.875, 0.9375]


def test_patterns_of_the_stages():
    pattern = rp.Groups(keep=3, axis=1)
    (a, b) = stages(pattern, 2, 0, 10, shared=True)
    assert b is pattern
    assert (a.sparsity, a.keep, a.axis) == (Fraction(7, 10) * Fraction(7, 8), None, 1)
    assert [p.n for p in stages(rp.NM(1, 4), 3, 0, 8, shared=False)] == [2, 1, 1]
    half = rp.Unstructured(sparsity=0.5, count_rule="floor")
    assert [p.count_rule for p in stages(half, 3, 0, 8, shared=True, schedule="exponential")] == ["floor"] * 3
    with pytest.raises(ValueError, match="need sparsity, not keep, in stages with allocation 'layer'"):
        stages(pattern, 2, 0, 10, shared=False)
    with pytest.raises(ValueError, match="need schedule to be one of cubic, exponential; got 'linear'"):
        stages(half, 2, 0, 10, shared=True, schedule="linear")
    with pytest.raises(ValueError, match=r"need start_sparsity <= 0.5, the pattern's; got 0.6"):
        stages(half, 2, 0.6, 10, shared=True)
