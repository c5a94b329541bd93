"""The contract `gram-conv`: what its cases hold, how its call is read, and that its bound is sharp."""

import json

import numpy as np
import pytest

from refprune import definitions, testing
from refprune.testing.cases import make_case
from refprune.testing.contracts.gram_conv_mistakes import right

CONTRACT = testing.contracts["gram-conv"]


def cases(count=200, dtype="float64"):
    return [make_case(CONTRACT, number, 5, dtype, {}) for number in range(count)]


def test_flags_are_what_they_say():
    for case in cases():
        problem, flag = case.problem, (*case.flags, None)[0]
        view = CONTRACT.view(problem, {})
        bad = ("NaN", "Inf", "Empty", "WrongShape", "KernelTooLarge", "GroupsRemainder")
        assert view.expects == ("error" if flag in bad else "answer"), (flag, view.reason)
        groups, channels = problem["groups"], problem["batches"][0].shape[1]
        sizes = [len(batch) for batch in problem["batches"]]
        holds = {
            "ConvPadding": max(problem["padding"]) > 0,
            "ConvStride": max(problem["stride"]) > 1,
            "ConvDilation": max(problem["dilation"]) > 1,
            "ConvGroups": 1 < groups < channels,
            "Depthwise": groups == channels > 1,
            "UnequalBatches": len(set(sizes)) > 1,
            "OneSample": set(sizes) == {1},
            "EmptyBatch": 0 in sizes,
            "DeadInput": any(all((b[:, c] == 0).all() for b in problem["batches"]) for c in range(channels)),
        }
        assert holds.get(flag, True), (flag, problem)


def test_the_cases_tell_height_from_width_and_channels_from_positions():
    shapes = [
        (case.problem["batches"][0].shape, case.problem["kernel"]) for case in cases() if not case.flags
    ]
    assert any(kernel[0] != kernel[1] for _, kernel in shapes)
    assert any(shape[2] != shape[3] for shape, _ in shapes)


def test_three_ways_to_see_patches_agree():
    """The judge slides windows, the definition goes by positions."""
    for case in cases(60):
        view = CONTRACT.view(case.problem, {})
        if view.expects == "answer":
            batches, *geometry = case.problem.values()
            by_windows = right(batches, *geometry)
            by_positions = definitions.gram_conv(np.concatenate(batches), *geometry)
            scale = np.abs(by_positions).max()
            assert np.abs(by_windows - by_positions).max() <= 1e-13 * scale


def test_integers_stand_for_pairs_and_images_may_differ_in_size():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2, 5, 4))
    problem = {"batches": [x], "kernel": 3, "stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    answer = definitions.gram_conv(x, 3, 2, 1, 1, 2)
    assert testing.verify("gram-conv", problem, answer).outcome == "pass"
    assert testing.verify("gram-conv", problem, answer[::-1]).outcome == "fail"
    larger = rng.normal(size=(1, 2, 6, 7))
    both = {**problem, "batches": [x, larger], "groups": 1}
    counts = 2 * 3 * 2, 3 * 4
    sums = [definitions.gram_conv(b, 3, 2, 1) * n for b, n in zip((x, larger), counts, strict=True)]
    assert testing.verify("gram-conv", both, sum(sums) / sum(counts)).outcome == "pass"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": (6, 1)}, "does not fit"),
        ({"kernel": (0, 1)}, "at least 1"),
        ({"kernel": (1, 1, 1)}, "two integers"),
        ({"stride": (0, 1)}, "at least 1"),
        ({"padding": (-1, 0)}, "at least 0"),
        ({"dilation": 1.5}, "two integers"),
        ({"dilation": (1, 5)}, "does not fit"),
        ({"groups": 3}, "a divisor of 4 channels"),
        ({"groups": 0}, "a divisor of 4 channels"),
        ({"batches": []}, "at least one array"),
        ({"batches": np.zeros((1, 4, 5, 5))}, "not a list"),
        ({"batches": [np.zeros((4, 5, 5))]}, "(images, channels, height, width) is needed"),
        ({"batches": [np.zeros((1, 4, 5, 5), int)]}, "no real floating numbers"),
        ({"batches": [np.zeros((0, 4, 5, 5))]}, "no image"),
        ({"batches": [np.zeros((1, 0, 5, 5))]}, "does not fit"),
    ],
)
def test_bad_calls_are_expected_to_be_refused(change, words):
    problem = {"batches": [np.ones((1, 4, 5, 5))], "kernel": (2, 2), "stride": 1, "padding": 0, "dilation": 1}
    view = CONTRACT.view({**problem, "groups": 2, **change}, {})
    assert view.expects == "error"
    assert words in view.reason


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_entries_off_by_a_hundred_bounds_are_flagged(dtype):
    rng = np.random.default_rng(2)
    for case in cases(80, dtype):
        view = CONTRACT.view(case.problem, {})
        if view.expects != "answer":
            continue
        gram = right(*case.problem.values())
        n = view.samples.shape[-2]
        size = right([np.abs(batch) for batch in case.problem["batches"]], *list(case.problem.values())[1:])
        allowed = (n + 4) * np.finfo(dtype).eps * size
        at = tuple(rng.choice(np.argwhere(allowed > 0)))
        gram[at] += 100 * allowed[at]
        verdict = testing.verify("gram-conv", case.problem, gram)
        assert [check.name for check in verdict.checks if check.outcome == "fail"] == ["equal"]


def test_a_failure_shrinks_to_a_small_geometry():
    def no_padding(batches, kernel, stride, padding, dilation, groups):
        return right(batches, kernel, stride, (0, 0), dilation, groups)

    report = testing.run(no_padding, "gram-conv", examples=40, isolate=False)
    assert report.looks_like == ["padding-left-out"]
    small = report.smallest
    assert sum(batch.size for batch in small["batches"]) <= 8
    assert max(small["padding"]) == 1
    namespace = {"np": np, "testing": testing, "implementation": right}
    exec(report.smallest_text(), namespace)  # the right answer to the case that was printed
    assert json.loads(report.to_json())["smallest"]["padding"] == list(small["padding"])
