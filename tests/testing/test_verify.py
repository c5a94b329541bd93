"""`testing.verify`: one answer, in every form it may come, and every rung that it may break."""

import numpy as np
import pytest

import refprune as rp
from refprune import testing

GRAM = np.array(
    [[4.0, 1.0, 0.5, 0.25], [1.0, 3.0, -0.5, 0.75], [0.5, -0.5, 2.0, 0.125], [0.25, 0.75, 0.125, 1.0]]
)
WEIGHT = np.array([[3.0, -1.0, 2.0, 0.5], [0.25, 4.0, -2.5, 1.5], [1.0, 0.75, -3.0, 2.0]])


def layer(**changes):
    return {"weight": WEIGHT.copy(), "gram": GRAM.copy(), "sparsity": 0.5, **changes}


def pruned(problem):
    return rp.obs(rp.LayerProblem(problem["weight"], problem["gram"]), rp.Unstructured(problem["sparsity"]))


def broken(verdict):
    return [check.name for check in verdict.checks if check.outcome == "fail"]


def test_every_form_of_a_right_answer_passes():
    problem = layer()
    found = pruned(problem)
    for answer in (
        found,
        (found.weight, found.mask),
        [found.weight, found.mask],
        found.weight,
        {"weight": found.weight, "mask": found.mask},
        {"weight": found.weight, "mask": found.mask, "objective": float(found.objective)},
    ):
        verdict = testing.verify("exact-obs", problem, answer)
        assert verdict.outcome == "pass", str(verdict)
        assert testing.assert_pruned("exact-obs", problem, answer).looks_like == []


def test_float_lists_are_no_array():
    verdict = testing.verify("exact-obs", layer(), WEIGHT.tolist())
    assert broken(verdict) == ["form"]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda w, m: (w.T, m), "form"),
        (lambda w, m: (w.astype(np.float32), m), "form"),
        (lambda w, m: (w, m.astype(float)), "form"),
        (lambda w, m: (w, m[:2]), "form"),
        (lambda w, m: (w, m, w, m), "form"),
        (lambda w, m: {"weights": w}, "form"),
        (lambda w, m: "weight", "form"),
        (lambda w, m: None, "form"),
        (lambda w, m: (np.where(m, w, np.nan), m), "finite"),
        (lambda w, m: (w, ~m), "zeros"),
        (lambda w, m: (w, m | (np.arange(4) == 0)), "count"),
        (lambda w, m: (np.where(m, w, 1e-12), m), "zeros"),
        (lambda w, m: {"weight": w, "mask": m, "objective": 1e6}, "objective"),
        (lambda w, m: (np.where(m, WEIGHT, 0.0), m), "stationary"),
    ],
)
def test_each_rung_breaks_by_its_own_check(change, check):
    problem = layer()
    found = pruned(problem)
    verdict = testing.verify("exact-obs", problem, change(found.weight.copy(), found.mask.copy()))
    assert broken(verdict)[:1] == [check], str(verdict)
    assert verdict.outcome == "fail"
    reached = [c.name for c in verdict.checks if c.outcome == "not reached"]
    assert "greedy" in reached
    with pytest.raises(AssertionError, match=check):
        testing.assert_pruned("exact-obs", problem, change(found.weight.copy(), found.mask.copy()))


def test_an_answer_that_is_the_input_is_aliased():
    problem = layer(sparsity=0.0)
    assert testing.verify("exact-obs", problem, WEIGHT.copy()).outcome == "pass"
    verdict = testing.verify("exact-obs", problem, problem["weight"])
    assert broken(verdict) == ["form"]
    assert "shares memory" in str(verdict)
    assert testing.verify("exact-obs", problem, problem["weight"], claims={"inplace": True}).outcome == "pass"


def test_exceptions_are_right_for_bad_input_only():
    error = ValueError("no")
    assert testing.verify("exact-obs", layer(), error).outcome == "fail"
    for bad in (
        layer(sparsity=1.5),
        layer(gram=GRAM[:3, :3]),
        layer(gram=GRAM + np.triu(GRAM)),
        layer(weight=np.where(WEIGHT == 3.0, np.nan, WEIGHT)),
        layer(weight=WEIGHT.astype(int)),
        layer(weight=WEIGHT[:, :0], gram=GRAM[:0, :0]),
    ):
        assert testing.verify("exact-obs", bad, error).outcome == "pass"
        answer = (np.zeros_like(bad["weight"]), np.zeros(bad["weight"].shape, bool))
        lenient = testing.verify("exact-obs", bad, answer)
        assert lenient.outcome == "pass"
        strict = testing.verify("exact-obs", bad, answer, claims={"validates": True})
        assert strict.outcome == ("pass" if bad["weight"].size == 0 else "fail")


def test_a_remainder_is_judged_unless_the_sizes_are_claimed():
    problem = {"weight": WEIGHT, "n": 1, "m": 3}
    answer = np.where(WEIGHT > 1, WEIGHT, 0.0)
    assert testing.verify("magnitude-nm", problem, ValueError("no")).outcome == "pass"
    assert testing.verify("magnitude-nm", problem, answer).outcome == "fail"
    claims = {"columns": {"multiple_of": 3}}
    assert testing.verify("magnitude-nm", problem, answer, claims=claims).outcome == "pass"


def test_singular_grams_leave_three_right_answers():
    gram = np.outer([1.0, 2.0, 1.0, 0.5], [1.0, 2.0, 1.0, 0.5])
    problem = layer(gram=gram, sparsity=0.5)
    assert testing.verify("exact-obs", problem, np.linalg.LinAlgError("singular")).outcome == "pass"
    assert testing.verify("exact-obs", problem, np.full(WEIGHT.shape, np.nan)).outcome == "pass"
    mask = np.array([[True, False, False, True]] * 3)
    x = np.array([1.0, 2.0, 1.0, 0.5])
    fit = np.zeros_like(WEIGHT)
    fit[:, 0] = WEIGHT @ x  # one kept input carries the whole response
    stationary = testing.verify("exact-obs", problem, (fit, mask))
    assert stationary.outcome == "pass", str(stationary)
    garbage = testing.verify("exact-obs", problem, (np.where(mask, WEIGHT, 0.0), mask))
    assert broken(garbage) == ["stationary"]


def test_a_dead_input_must_be_answered():
    gram = GRAM.copy()
    gram[1, :] = gram[:, 1] = 0.0
    problem = layer(gram=gram, sparsity=0.25)
    verdict = testing.verify("exact-obs", problem, np.linalg.LinAlgError("singular"))
    assert broken(verdict) == ["answers"]
    right = np.where(np.arange(4) == 1, 0.0, WEIGHT)
    assert testing.verify("exact-obs", problem, right).outcome == "pass"
    assert testing.verify("exact-obs", layer(gram=gram, sparsity=0.0), WEIGHT * 1.0).outcome == "pass"
    moved = WEIGHT.copy()
    moved[0, 1] = 0.5
    assert broken(testing.verify("exact-obs", layer(gram=gram, sparsity=0.0), moved)) == ["stationary"]


def test_zeros_among_the_kept_are_no_fault():
    weight = np.array([5.0, 0.0, 3.0, 0.0])
    problem = {"weight": weight, "hessian": np.diag([1.0, 2.0, 1.0, 2.0]), "keep": 3}
    assert testing.verify("obs", problem, weight.copy()).outcome == "pass"  # one of the zeros is pruned
    few = testing.verify("magnitude", {"weight": weight[None], "sparsity": 0.75}, weight[None].copy())
    assert broken(few) == ["count"]


def test_claims_change_the_reading():
    weight = np.array([[3.0, -1.0, 2.0, 0.5]])
    one_kept = np.array([[3.0, 0, 0, 0]])
    problem = {"weight": weight, "n": 3, "m": 4}
    assert testing.verify("magnitude-nm", problem, one_kept).outcome == "fail"
    assert testing.verify("magnitude-nm", problem, one_kept, claims={"n_counts": "zeros"}).outcome == "pass"
    floor = {"weight": weight, "sparsity": 0.7}  # 2.8 of 4
    assert testing.verify("magnitude", floor, np.array([[3.0, 0, 2.0, 0]])).outcome == "fail"
    claimed = testing.verify("magnitude", floor, np.array([[3.0, 0, 2.0, 0]]), claims={"count_rule": "floor"})
    assert claimed.outcome == "pass"


def test_one_answer_is_named_only_when_one_mistake_fits():
    problem = {"weight": np.array([[3.0, -1.0, 2.0, 0.5, -4.0, 0.25]]), "sparsity": 0.5}
    signed = np.array([[3.0, 0, 2.0, 0.5, 0, 0]])
    verdict = testing.verify("magnitude", problem, signed)
    assert verdict.looks_like == ["signed-weights"]
    assert "on this one case" in str(verdict)
    strange = testing.verify("magnitude", problem, np.array([[0, -1.0, 0, 0.5, -4.0, 0]]))
    assert strange.outcome == "fail"
    assert strange.looks_like == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: testing.verify("obs-layer", {}, None), "need a contract"),
        (
            lambda: testing.verify("magnitude", {"weight": WEIGHT}, None),
            "need problem of magnitude to hold weight, sparsity",
        ),
        (lambda: testing.verify("magnitude", layer(), WEIGHT), "need problem of magnitude"),
        (lambda: testing.verify("exact-obs", layer(), WEIGHT, claims={"n": 2}), "need a known claim"),
        (lambda: testing.verify("exact-obs", layer(), WEIGHT, claims={"allocation": "best"}), "allocation"),
        (lambda: testing.verify("exact-obs", layer(), WEIGHT, claims={"rows": {"min": 0}}), "integer >= 1"),
    ],
)
def test_wrong_calls_name_the_rule(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_coarser_dtype_can_be_declared():
    problem = layer()
    found = pruned(problem)
    rounded = found.weight.astype(np.float32).astype(float)
    assert testing.verify("exact-obs", problem, (rounded, found.mask)).outcome == "fail"
    assert testing.verify("exact-obs", problem, (rounded, found.mask), dtype="float32").outcome == "pass"


def test_an_order_over_rows_is_judged_step_by_step():
    problem = layer()
    found = pruned(problem)
    answer = {"weight": found.weight, "mask": found.mask, "order": np.asarray(found.order)}
    assert testing.verify("exact-obs", problem, answer).outcome == "pass"
    backwards = testing.verify("exact-obs", problem, {**answer, "order": answer["order"][::-1].copy()})
    assert broken(backwards) == ["greedy"]
    assert broken(testing.verify("exact-obs", problem, {**answer, "order": answer["order"][:-1]})) == [
        "order"
    ]
    # every row's own sequence is kept, but the rows take turns in another way than the heap does
    rows = np.argsort(answer["order"] // 4, kind="stable")
    assert not np.array_equal(rows, np.arange(len(rows)))
    by_row = testing.verify("exact-obs", problem, {**answer, "order": answer["order"][rows]})
    assert broken(by_row) == ["greedy"]
    assert "allocation is broken" in str(by_row)


def test_saliencies_are_checked_with_and_without_their_order():
    problem = layer()
    found = pruned(problem)
    answer = {"weight": found.weight, "mask": found.mask, "saliencies": np.asarray(found.trace, dtype=float)}
    assert testing.verify("exact-obs", problem, answer).outcome == "pass"
    twice = {**answer, "saliencies": 2 * answer["saliencies"]}
    assert broken(testing.verify("exact-obs", problem, twice)) == ["saliencies"]
    ordered = {**answer, "order": np.asarray(found.order)}
    assert testing.verify("exact-obs", problem, ordered).outcome == "pass"
    assert "2 times as large" in str(
        testing.verify("exact-obs", problem, {**ordered, **twice, "order": ordered["order"]})
    )


def test_inputs_that_changed_before_an_exception_are_told():
    def spoils(weight, sparsity):
        weight[...] = 0.0
        raise ValueError("too late")

    report = testing.run(spoils, "magnitude", examples=40, isolate=False)
    assert {"answers", "unchanged"} <= {record.check for record in report.failures}


def test_every_mistake_can_be_called_like_an_implementation():
    for contract in testing.contracts.values():
        for mistake in contract.mistakes:
            assert callable(mistake)
    problem = {"weight": np.array([[3.0, -4.0, 2.0, 0.5]]), "sparsity": 0.5}
    signed = next(m for m in testing.contracts["magnitude"].mistakes if m.name == "signed-weights")
    for answer in (signed(*problem.values()), signed(**problem)):
        assert testing.verify("magnitude", problem, answer).outcome == "fail"
