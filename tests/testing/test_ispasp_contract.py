"""The contract `ispasp`: what is said of a wrong answer, near ties, bounds, and cases that are what they say."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings

from refprune import definitions, testing
from refprune.testing import reference, unit_certificate
from refprune.testing.cases import make_case
from refprune.testing.contracts import ispasp_build as made
from refprune.testing.strategies import problems

CONTRACT = testing.contracts["ispasp"]
# One output: unit u is as important as its weight, as long as the residual is positive.
H = np.array([[3.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.0, 0.0]])
W = np.array([[1.0, 2.0, 4.0, 3.0]])


def problem(**changes):
    return {"hidden": H, "weight": W, "keep": 1, **changes}


def broken(verdict):
    return {check.name: check.explanation for check in verdict.checks if check.outcome == "fail"}


def said(answer, **changes):
    return broken(testing.verify("ispasp", problem(**changes), answer))


def passing(layer):
    """All answers of the right size that pass."""
    sets = combinations(range(layer["hidden"].shape[0]), layer["keep"])
    return [kept for kept in sets if testing.verify("ispasp", layer, list(kept)).outcome == "pass"]


def call(seed, units=9, samples=5, outputs=4, keep=3):
    """Hidden units after a ReLU, of different size."""
    rng = np.random.default_rng(seed)
    hidden = np.maximum(rng.normal(size=(units, samples)) + 0.3, 0) * np.exp(rng.normal(size=(units, 1)))
    return {"hidden": hidden, "weight": rng.normal(size=(outputs, units)) + 0.2, "keep": keep}


# ---------------------------------------------------------------- verify


def test_the_small_case_by_hand():
    """The sums are 4, 3, 2, 1. Units 2 and 3 are the most important ones at first, and when 2 is kept."""
    assert definitions.ispasp(H, W, 1) == [2]
    for right in (np.array([2]), np.array([2], np.uint8), [2]):
        assert testing.verify("ispasp", problem(), right).outcome == "pass"
    assert testing.verify("ispasp", problem(keep=0), np.zeros(0)).outcome == "pass"
    assert testing.verify("ispasp", problem(keep=0), []).outcome == "pass"
    assert testing.verify("ispasp", problem(keep=4), [0, 1, 2, 3]).outcome == "pass"


def test_the_messages():
    text = said(np.array([3]))["search"]
    assert text.startswith("unit 3 is kept and unit 2 is not: their row sums are 1 and 2; the gap is ")
    text = said(np.array([0]))["search"]
    # the residual of unit 2 is 1 * 4 + 2 * 3 + 3 * 1 = 13: importances 13, 26, 52, 39
    words = "unit 0 is kept and unit 2 is not: in the residual of the right units the importance of unit 0 is 13, and"
    assert text.startswith(f"{words} the last of the 2 largest is 39; the gap is ")
    assert said(np.array([2, 1]), keep=2) == {
        "ascending": "unit 1 comes after unit 2; ascending order is needed"
    }
    assert set(said(np.array([2, 1], np.uint8), keep=2)) == {"ascending"}
    assert said(np.array([1, 2]), keep=3) == {"count": "2 units are kept; 3 are asked for"}
    assert said(np.array([1, 4]), keep=2) == {"count": "index 4 is no unit; the units are 0 to 3"}
    assert said(np.array([-1, 2]), keep=2) == {"count": "index -1 is no unit; the units are 0 to 3"}
    assert said(np.array([2, 2]), keep=2) == {"count": "unit 2 is named twice"}
    assert said(np.array([2.0])) == {"form": "the indices have dtype float64; integers are needed"}
    mask = "the answer is a mask of shape (4,); the indices of kept units are needed"
    assert said(np.arange(4) == 2) == {"form": mask}
    assert said(np.array([[2]])) == {
        "form": "the answer has shape (1, 1); indices in one dimension are needed"
    }
    assert "got tuple of 2 parts" in said((np.array([2]), W))["form"].replace("a tuple", "tuple")


def test_sums_that_are_equal_to_rounding_are_no_reason():
    """0.3 and 0.1 + 0.2: the second is larger in the last place, but unit 0 is no candidate in the first place."""
    hidden, weight = np.array([[0.3, 0.0], [0.1, 0.2], [0.0, 0.1]]), np.array([[1.0, 3.0, 2.0]])
    assert hidden[1].sum() > hidden[0].sum()
    text = said(np.array([0]), hidden=hidden, weight=weight)["search"]
    assert "the importance of unit 0 is 0.5, and the last of the 2 largest is 1;" in text


def test_iterations_are_counted():
    """The search of this case goes from unit to unit, and is cut short."""
    hidden, weight = made._chain(np.random.default_rng(0), 30, 4, 31)
    ends = {t: definitions.ispasp(hidden, weight, 1, t) for t in (1, 19, 20, 21, 100)}
    assert len({tuple(end) for end in ends.values()}) == 5
    given_problem = {"hidden": hidden, "weight": weight, "keep": 1}
    assert testing.verify("ispasp", given_problem, ends[20]).outcome == "pass"
    for wrong in (1, 19, 21, 100):
        text = broken(testing.verify("ispasp", given_problem, ends[wrong]))["search"]
        if wrong == 21:
            assert text.endswith("no search ends so after 20 iterations, or where S comes back")


def test_ties_may_be_broken_in_any_way_and_in_no_other():
    """Whole numbers, so that equal is equal; every unit of a pair is as good as the other."""
    pairs = np.repeat(np.array([[4.0, 2.0], [2.0, 3.0], [1.0, 1.0]]), 2, axis=0)
    weight = np.repeat(np.array([[1.0, 2.0, 4.0]]), 2, axis=1)
    for keep, right in ((2, {(2, 3)}), (3, {(0, 1, 2), (0, 1, 3)})):  # for 3 all are candidates
        layer = {"hidden": pairs, "weight": weight, "keep": keep}
        assert set(passing(layer)) == right


def test_where_nothing_differs_all_is_right():
    for hidden, weight in ((0 * H, W), (np.ones((4, 2)), np.ones((1, 4)))):
        assert len(passing(problem(hidden=hidden, weight=weight))) == 4
    # nothing is important, so any two are candidates: every unit but that with the smallest sum may be the larger
    assert passing(problem(weight=0 * W)) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep": -1}, "keep is -1"),
        ({"keep": 5}, "keep is 5; 0 to 4 is needed"),
        ({"keep": True}, "keep is True"),
        ({"keep": 1.0}, "keep is 1.0"),
        ({"hidden": H[0]}, "hidden has shape (2,)"),
        ({"hidden": H[:3]}, "weight has shape (1, 4); (any, 3) is needed"),
        ({"weight": W.T}, "weight has shape (4, 1); (any, 4) is needed"),
        ({"weight": W * np.nan}, "weight holds NaN"),
        ({"hidden": (H + 1) * np.inf}, "hidden holds NaN"),
        ({"hidden": H[:, :0]}, "hidden is empty"),
        ({"hidden": H.astype(int)}, "real numbers are needed"),
    ],
)
def test_bad_calls_are_expected_to_be_refused(change, words):
    view = CONTRACT.view(problem(**change), {})
    assert view.expects == "error"
    assert words in view.reason
    with pytest.raises((ValueError, TypeError)):
        reference.ispasp(**problem(**change))


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sums_a_hundred_bounds_apart_are_told_apart(dtype):
    """All units are candidates, so that row sums decide: one is moved beside the last that stays."""
    tried = 0
    for seed in range(20):
        layer = call(seed, keep=5)
        layer = {**layer, "hidden": layer["hidden"].astype(dtype), "weight": layer["weight"].astype(dtype)}
        view = CONTRACT.view(layer, {})
        order = np.argsort(-view.sums)
        last, next_one = order[4], order[5]
        bound = 2 * np.ldexp(view.sums_off[last], view.loud)
        for bounds, outcome in ((100, "fail"), (0.25, "pass")):
            hidden = layer["hidden"].astype(float)
            hidden[next_one] *= (hidden[last].sum() - bounds * bound) / hidden[next_one].sum()
            moved = {**layer, "hidden": hidden.astype(dtype)}
            swapped = np.sort([*order[:4], next_one])
            assert testing.verify("ispasp", moved, np.sort(order[:5])).outcome == "pass"
            assert testing.verify("ispasp", moved, swapped).outcome == outcome
            tried += 1
    assert tried == 40


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_importances_a_hundred_bounds_apart_are_told_apart(dtype):
    """With one output, units are as important as their weights: that of unit 1 is moved beside that of unit 3."""
    for bounds, outcome in ((100, "fail"), (0.25, "pass")):
        weight = W.astype(dtype)
        view = CONTRACT.view(problem(hidden=H.astype(dtype), weight=weight), {})
        slack = (
            2 * np.ldexp(view.off[3], view.heard) / 13
        )  # the residual is 13 when unit 2 is kept, and more without it
        weight[0, 1] = weight[0, 3] - bounds * slack
        layer = problem(hidden=H.astype(dtype), weight=weight)
        assert definitions.ispasp(layer["hidden"].astype(float), weight.astype(float), 1) == [2]
        verdict = testing.verify("ispasp", layer, np.array([1]))
        assert verdict.outcome == outcome, (bounds, str(verdict))


def test_the_bounds_hold_what_singles_lose():
    """Importances and sums in float32, by three ways of adding, against the view's: inside the bounds."""
    worst = worst_sum = 0.0
    for seed in range(40):
        layer = call(seed, 20, 12, 8, 4)
        layer = {**layer, "hidden": layer["hidden"].astype("f"), "weight": layer["weight"].astype("f")}
        view = CONTRACT.view(layer, {})
        h, w = layer["hidden"], layer["weight"]
        kept = np.isin(np.arange(20), definitions.ispasp(h, w, 4))
        right, off = np.ldexp(view.importance(kept), view.heard), np.ldexp(view.off, view.heard)
        ways = (
            (w.T @ (w @ h - w[:, kept] @ h[kept])).sum(axis=1),
            np.cumsum(w.T @ (w[:, ~kept] @ h[~kept]), axis=1)[:, -1],
            (w.T @ w)[:, ~kept] @ h[~kept].sum(axis=1),
        )
        for y in ways:
            worst = max(worst, float((np.abs(y - right) / off).max()))
        sums = np.cumsum(h, axis=1)[:, -1]
        worst_sum = max(
            worst_sum, float((np.abs(np.ldexp(sums, -view.loud) - view.sums) / view.sums_off).max())
        )
    assert 1e-3 < worst < 0.25
    assert 1e-2 < worst_sum < 0.25


def test_what_rounding_hides_is_undecided():
    """In singles the importances are noise: what the units give cancels, to one part in 10^9.

    Where all units are candidates, or none, they do not matter.
    """
    hidden = np.array([[1.0], [1.0], [1.0], [1.0], [2.0**-31]], "f")
    weight = np.array([[1.0, -1.0, 2.0, -2.0, 1.5]], "f")
    layer = {"hidden": hidden, "weight": weight, "keep": 1}
    verdict = testing.verify("ispasp", layer, np.array([2]))
    assert verdict.outcome == "undecided"
    assert "rounding hides all differences of the importances" in str(verdict)
    assert testing.verify("ispasp", {**layer, "keep": 3}, np.array([0, 1, 2])).outcome == "pass"
    assert testing.verify("ispasp", {**layer, "keep": 3}, np.array([0, 1, 4])).outcome == "fail"
    assert testing.verify("ispasp", {**layer, "keep": 0}, np.array([], int)).outcome == "pass"
    exact = {**layer, "hidden": hidden.astype(float), "weight": weight.astype(float)}
    assert testing.verify("ispasp", exact, np.array(definitions.ispasp(*exact.values()))).outcome == "pass"


def test_a_search_that_is_given_up_is_undecided(monkeypatch):
    monkeypatch.setattr(unit_certificate, "NODES", 0)
    rng = np.random.default_rng(0)
    layer = {"hidden": rng.integers(0, 2, size=(12, 2)) * 1.0, "weight": np.ones((2, 12)), "keep": 3}
    worst = np.sort(np.argsort(layer["hidden"].sum(axis=1), kind="stable")[:3])
    assert "near ties leave more ways than were searched" in str(testing.verify("ispasp", layer, worst))


def test_a_coarser_claim_widens_the_bounds():
    layer = call(0)
    off = [CONTRACT.view(layer, claims).off.max() for claims in ({}, {"input_precision": "tf32"})]
    assert off[1] > 1e6 * off[0]
    assert CONTRACT.view(layer, {"dtype": np.dtype("f")}).off.max() > 1e6 * off[0]


def test_sizes_do_not_matter():
    """The same layer, tiny and huge: the same verdicts."""
    layer = call(3)
    right = np.array(definitions.ispasp(*layer.values()))
    wrong = np.setdiff1d(np.arange(9), right)[:3]
    for h, w in ((1e-150, 1e150), (1e100, 1e90), (1e-60, 1e-60), (1e-290, 1.0)):
        scaled = {**layer, "hidden": layer["hidden"] * h, "weight": layer["weight"] * w}
        assert testing.verify("ispasp", scaled, right).outcome == "pass"
        assert testing.verify("ispasp", scaled, wrong).outcome == "fail"
        assert np.array_equal(reference.ispasp(**scaled), right)


def test_a_list_of_indices_is_an_answer_from_another_process_too():
    report = testing.run("refprune.definitions:ispasp", "ispasp", examples=30)
    assert report.outcome == "pass", str(report)


def test_what_leaves_the_range_is_not_held_against_anybody():
    """Squares of the weights are beyond all numbers, or below: the judge goes on, and calls nothing right wrong."""
    layer = call(3)
    right = np.array(definitions.ispasp(*layer.values()))
    wrong = np.setdiff1d(np.arange(9), right)[:3]
    for h, w, outcome in (
        (1e200, 1e200, "fail"),
        (1e-300, 1e-300, "undecided"),
        (1e-100, 1e-170, "undecided"),
    ):
        scaled = {**layer, "hidden": layer["hidden"] * h, "weight": layer["weight"] * w}
        assert testing.verify("ispasp", scaled, right).outcome in ("pass", "undecided")
        assert testing.verify("ispasp", scaled, wrong).outcome == outcome
        assert np.array_equal(reference.ispasp(**scaled), right)


# ---------------------------------------------------------------- diagnosis


def backwards(search):
    """The same search with the units in reversed order: another one of equals goes."""

    def call(hidden, weight, keep):
        kept = search(np.ascontiguousarray(hidden[::-1]), np.ascontiguousarray(weight[:, ::-1]), keep)
        return np.sort(len(hidden) - 1 - np.asarray(kept, int))

    return call


@pytest.mark.parametrize("name", ["absolute-importance", "top-s", "no-union", "residual-kept", "row-norms"])
def test_a_mistake_is_named_whatever_ties_do(name):
    mistake = next(mistake for mistake in CONTRACT.mistakes if mistake.name == name)
    report = testing.run(backwards(mistake), "ispasp", examples=60, isolate=False, shrink=False)
    assert report.outcome == "fail"
    assert report.looks_like == [name]


def test_another_tie_break_is_no_mistake():
    report = testing.run(backwards(definitions.ispasp), "ispasp", examples=90, isolate=False)
    assert report.outcome == "pass", str(report)
    differ = 0
    for number in range(90):
        case = make_case(CONTRACT, number, 0, "float64", {})
        if CONTRACT.view(case.problem, {}).expects == "answer":
            first, last = (
                definitions.ispasp(*case.problem.values()),
                backwards(definitions.ispasp)(*case.problem.values()),
            )
            differ += first != last.tolist()
    assert differ >= 5


# ---------------------------------------------------------------- cases


def heaviest(hidden, weight):
    """The share of the unit that gives most to the outputs; 0 where none gives anything."""
    given = np.linalg.norm(hidden, axis=1) * np.linalg.norm(weight, axis=0)
    return given.max() / max(given.sum(), 1e-300)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_flags_are_what_they_say(dtype):
    seen = set()
    for number in range(240):
        case = make_case(CONTRACT, number, 3, dtype, {})
        flag, (hidden, weight, keep) = (*case.flags, None)[0], case.problem.values()
        view = CONTRACT.view(case.problem, {})
        assert hidden.dtype == weight.dtype == dtype
        if flag in ("NaN", "Inf", "Empty", "WrongShape", "WrongCount"):
            assert view.expects == "error", (flag, view.reason)
            continue
        assert view.expects == "answer", (flag, view.reason)
        units, sums = hidden.shape[0], hidden.astype(float).sum(axis=1)
        wide = hidden.astype(float), weight.astype(float)
        same = (hidden[:, None] == hidden[None]).all(axis=2)
        told = {
            "Tie": np.isin(hidden, [0, 0.5, 1]).all() and np.isin(np.abs(weight), [0.5, 1]).all(),
            "DuplicateColumn": (same & (weight.T[:, None] == weight.T[None]).all(axis=2)).sum() > units,
            "DuplicateSample": len(np.unique(hidden, axis=1).T) < hidden.shape[1],
            "OppositeUnits": (same & (weight.T[:, None] == -weight.T[None]).all(axis=2)).any(),
            "BothSigns": (hidden < 0).any() and (hidden > 0).any(),
            "DeadInput": (~hidden.any(axis=1)).any(),
            "LoudUnit": (~weight.any(axis=0) & hidden.any(axis=1)).any(),
            "HeavyUnit": heaviest(*wide) > 0.9,
            "ZeroResidual": not (weight.astype(float) @ hidden.astype(float)).any(),
            "RowScale": np.abs(sums).max() > 10 * np.abs(sums).min(),
            "LossScale": not 1 / 20 < np.abs(hidden).max() < 50,
            "KeepHalf": units / 2 <= keep < units,
            "K0": keep == units,
            "K1": keep == units - 1,
            "KAll": keep == 0,
            "OneSample": hidden.shape[1] == 1,
            "OneOutput": weight.shape[0] == 1,
            "OneColumn": units == 1,
            "Square": weight.shape[0] == units,
            "WiderThanBlock": units > 128,
            "ManyIterations": len({tuple(definitions.ispasp(*wide, keep, t)) for t in (19, 20, 21)}) == 3,
        }.get(flag, True)  # fmt: skip
        assert told, (flag, number)
        seen.add(flag)
    assert len(seen) == len(CONTRACT.flags) - 5 + 1


def test_near_ties_are_near_and_are_told_apart():
    sums, importances = 0, 0
    for number in range(480):
        case = make_case(CONTRACT, number, 5, "float64", {})
        if case.flags != ("NearTie",) or case.problem["hidden"].shape[0] > 16:
            continue
        view = CONTRACT.view(case.problem, {})
        gaps = np.abs(view.sums[:, None] - view.sums) + np.eye(view.units)
        sums += 2 * view.sums_off.max() < gaps.min() < 1e-6 * view.sums.max()
        for iterations in (1, 2, 3, 20):
            kept = np.isin(np.arange(view.units), definitions.ispasp(*case.problem.values(), iterations))
            y = view.importance(kept)
            last, beaten = np.sort(y)[::-1][2 * view.keep - 1 : 2 * view.keep + 1]
            importances += 2 * view.off.max() < last - beaten < 1e-6 * y.max()
        others = (np.sort([*np.flatnonzero(kept & (np.arange(view.units) != out)), come])
                  for out in np.flatnonzero(kept) for come in np.flatnonzero(~kept))  # fmt: skip
        assert all(testing.verify("ispasp", case.problem, other).outcome == "fail" for other in others)
    assert sums >= 4
    assert importances >= 3


@settings(max_examples=30)
@given(problems("ispasp"))
def test_the_definition_passes(layer):
    testing.assert_pruned("ispasp", layer, definitions.ispasp(*layer.values()))


# ---------------------------------------------------------------- transformed calls


def test_transformed_calls_are_what_they_say():
    rng, layer = np.random.default_rng(1), call(5)
    hidden, weight, keep = layer.values()
    right = definitions.ispasp(*layer.values())
    shuffled = made.samples(CONTRACT, layer, rng)
    assert not np.array_equal(shuffled["hidden"], hidden)
    assert np.array_equal(np.sort(shuffled["hidden"], axis=1), np.sort(hidden, axis=1))
    assert definitions.ispasp(*shuffled.values()) == right
    turned = made.rotated(CONTRACT, layer, rng)["weight"]
    np.testing.assert_allclose(turned.T @ turned, weight.T @ weight, rtol=0, atol=1e-12)
    assert not np.allclose(turned, weight)
    assert definitions.ispasp(hidden, turned, keep) == right
    dead = made.dead_unit(CONTRACT, layer, rng)
    assert (~dead["hidden"].any(axis=1)).sum() == 1
    assert (dead["weight"] != weight).any(axis=0).sum() == 1
    assert {made.another_keep(CONTRACT, layer, rng)["keep"] for _ in range(200)} == set(range(10))
    assert made.samples(CONTRACT, call(5, samples=1), rng) is None
    assert np.array_equal(hidden, call(5)["hidden"])  # nothing was written to


def ends_early(hidden, weight, keep):
    """A search that ends when the residual is 1 % of U."""
    for iterations in range(1, 21):
        kept = definitions.ispasp(hidden, weight, keep, iterations)
        rest = np.setdiff1d(np.arange(len(hidden)), kept)
        if np.linalg.norm(weight[:, rest] @ hidden[rest]) < 1e-2 * np.linalg.norm(weight @ hidden):
            break
    return kept


def in_singles(hidden, weight, keep):
    """A search that compares importances of float32."""
    sums, S = hidden.sum(axis=1), np.zeros(0, int)
    for _ in range(20):
        rest = np.setdiff1d(np.arange(len(hidden)), S)
        V = weight[:, rest] @ hidden[rest]
        y = (weight.astype(np.float32).T @ V.astype(np.float32)).sum(axis=1)
        union = np.union1d(np.argsort(-y, kind="stable")[: 2 * keep], S).astype(int)
        S = np.sort(union[np.argsort(-sums[union], kind="stable")[:keep]])
    return S


@pytest.mark.parametrize(("flag", "wrong"), [("HeavyUnit", ends_early), ("NearTie", in_singles)])
def test_a_search_that_is_wrong_for_few_layers_fails(flag, wrong):
    number = next(n for n in range(99) if make_case(CONTRACT, n, 0, "float64", {}).flags == (flag,))
    layers = [make_case(CONTRACT, number, seed, "float64", {}).problem for seed in range(30)]
    found = [testing.verify("ispasp", layer, wrong(**layer)).outcome for layer in layers]
    assert "fail" in found
    right = [testing.verify("ispasp", layer, definitions.ispasp(**layer)).outcome for layer in layers]
    assert set(right) == {"pass"}


def test_names_do_not_say_more_than_was_seen():
    """Of indices that fall only their order is known; the best set of the search is not its end."""
    report = testing.run(
        lambda *layer: definitions.ispasp(*layer)[::-1], "ispasp", examples=40, isolate=False, shrink=False
    )
    assert report.looks_like == ["not-sorted"]

    def best(hidden, weight, keep):
        sets = [definitions.ispasp(hidden, weight, keep, iterations) for iterations in range(1, 21)]
        rest = [np.setdiff1d(np.arange(len(hidden)), kept) for kept in sets]
        return sets[int(np.argmin([np.linalg.norm(weight[:, out] @ hidden[out]) for out in rest]))]

    report = testing.run(best, "ispasp", examples=60, isolate=False, shrink=False)
    assert report.looks_like == ["smallest-residual"]
