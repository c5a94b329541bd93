"""The contracts `snip` and `prospr`: by hand, what is said of a wrong answer, bounds, claims, and the cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from network_cases import answered

import refprune as rp
from refprune import definitions, testing
from refprune.definitions import derivatives
from refprune.testing import reference
from refprune.testing.cases import flags_of, generate, make_case
from refprune.testing.contracts import prospr_mistakes, prospr_parts
from refprune.testing.contracts.score_view import vector, wide
from refprune.testing.judge import judge
from refprune.testing.strategies import problems

NAMES = ("snip", "prospr")
LAYERS = [{"type": "dense", "inputs": 3, "outputs": 2, "bias": True}]


def of(name):
    return testing.contracts[name]


def broken(verdict):
    """Check -> explanation of those that failed."""
    return {check.name: check.explanation for check in verdict.checks if check.outcome == "fail"}


def call(momentum=0.5, lr=0.5, batches=3, dtype="float64"):
    """One dense layer with a bias; batches of two and three samples."""
    rng = np.random.default_rng(5)
    params = {"0.weight": rng.normal(size=(2, 3)), "0.bias": rng.normal(size=2)}
    pairs = [(rng.normal(size=(n, 3)) + 0.5, rng.integers(2, size=n)) for n in (3, 2, 3, 2)[:batches]]
    params = {key: a.astype(dtype) for key, a in params.items()}
    pairs = [(x.astype(dtype), y) for x, y in pairs]
    return {"layers": LAYERS, "params": params, "batches": pairs, "lr": lr, "momentum": momentum}


def by_hand(call, c):
    """The last loss with switches c on the weights: logistic regression, its gradient written out."""
    W, bias, b = c * call["params"]["0.weight"], call["params"]["0.bias"].copy(), (0.0, 0.0)
    for x, y in call["batches"][:-1]:
        p = 1 / (1 + np.exp(-(x @ W.T + bias) @ [-1, 1]))  # of the class 1
        wrong = np.stack([y - p, p - y], axis=1) / len(x)
        b = (call["momentum"] * b[0] + wrong.T @ x, call["momentum"] * b[1] + wrong.sum(0))
        W, bias = W - call["lr"] * b[0], bias - call["lr"] * b[1]
    x, y = call["batches"][-1]
    return np.log1p(np.exp((1 - 2 * y) * ((x @ W.T + bias) @ [-1, 1]))).mean()


def slopes_by_hand(call):
    """By central differences, extrapolated: right to about 1e-11."""
    found = np.zeros((2, 3))
    for at in np.ndindex(2, 3):
        for h, share in ((1e-3, 4 / 3), (2e-3, -1 / 3)):
            c = np.ones((2, 3))
            c[at] += h
            up = by_hand(call, c)
            c[at] -= 2 * h
            found[at] += share * (up - by_hand(call, c)) / (2 * h)
    return found


def snip_call(**changes):
    """The last batch alone, as a call of `snip`."""
    (x, y), found = call()["batches"][-1], call()
    return {"layers": LAYERS, "params": found["params"], "x": x, "y": y, "loss": "cross_entropy"} | changes


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_logistic_regression_by_hand(batches, momentum):
    given_call = call(momentum, batches=batches)
    slopes = slopes_by_hand(given_call)
    scores = prospr_mistakes.prospr(*given_call.values())["0.weight"]
    np.testing.assert_allclose(scores, abs(slopes), atol=1e-10)
    assert testing.verify("prospr", given_call, {"0.weight": scores}).outcome == "pass"
    off = {"0.weight": scores + np.where(slopes > 0, 1e-6, 0)}
    assert broken(testing.verify("prospr", given_call, off))


def test_one_batch_and_no_step_length_are_snip():
    right = definitions.snip_scores(*snip_call().values())
    assert testing.verify("snip", snip_call(), right).outcome == "pass"
    for found in ({**call(), "batches": call()["batches"][-1:]}, call(lr=0.0, momentum=0.9)):
        assert testing.verify("prospr", found, right).outcome == "pass"
    assert testing.verify("prospr", call(), right).outcome == "fail"


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_told_by_their_own_words(name):
    given_call = call() if name == "prospr" else snip_call()
    right = of(name).reference(*given_call.values())["0.weight"]

    def said(check, answer):
        return broken(testing.verify(name, given_call, answer))[check]

    assert "scores for 0.bias" in said("form", {"0.weight": right, "0.bias": np.zeros(2)})
    assert "no scores for 0.weight" in said("form", {})
    assert "(3, 2) (transposed)" in said("form", {"0.weight": right.T.copy()})
    assert "have dtype float32; that of the samples is float64" in said(
        "form", {"0.weight": right.astype("f")}
    )
    assert "need scores as a mapping" in said("form", right)
    assert "need the scores of 0.weight as an array; got str" in said("form", {"0.weight": "none"})
    assert "NaN or Inf" in said("finite", {"0.weight": right * np.nan})
    assert "the score of 0.weight[0, 1] is -" in said("nonnegative", {"0.weight": right * [[1, -1, 1]] * 1.0})
    assert "every score is 2 times as large" in said("differences", {"0.weight": 2 * right})
    shared = given_call["params"]["0.weight"]
    assert "shares memory with the input params" in said("form", {"0.weight": shared})


def test_the_other_labels_are_those_of_the_steps_alone():
    contract, found = of("prospr"), call()
    (move,) = [move for move in contract.transforms if move.__name__ == "other_labels"]
    moved = move(contract, found, np.random.default_rng(0))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(found["batches"], moved["batches"], strict=True))
    changed = [
        not np.array_equal(a[1], b[1]) for a, b in zip(found["batches"], moved["batches"], strict=True)
    ]
    assert changed == [True, True, False]
    assert move(contract, call(batches=1), np.random.default_rng(0)) is None


def test_answers_may_be_what_a_method_returns():
    found = snip_call()
    network, batch = rp.Network.from_dicts(LAYERS), (found["x"], found["y"])
    answer = rp.snip(network, found["params"], batch, rp.Unstructured(keep=2))
    assert testing.verify("snip", found, answer).outcome == "pass"
    assert testing.verify("snip", found, {"scores": answer.scores}).outcome == "pass"


def test_the_first_momentum_counts_unless_it_is_claimed_detached():
    found = call(momentum=0.9, batches=4)  # with three, it is the last step alone
    arguments = (found["layers"], found["params"], found["batches"], "cross_entropy", found["lr"], 0.9)
    whole, detached = (definitions.prospr_scores(*arguments, detach_first=flag) for flag in (False, True))
    assert testing.verify("prospr", found, whole).outcome == "pass"
    verdict = testing.verify("prospr", found, detached)
    assert verdict.outcome == "fail"
    assert verdict.looks_like == ["first-momentum-detached"]
    claims = {"detach_first": True}
    assert testing.verify("prospr", found, detached, claims=claims).outcome == "pass"
    assert testing.verify("prospr", found, whole, claims=claims).outcome == "fail"
    plain = call(momentum=0.0)  # nothing is detached there
    scores = prospr_mistakes.prospr(*plain.values())
    assert testing.verify("prospr", plain, scores, claims=claims).outcome == "pass"


def test_other_slopes_on_a_kink_are_left_undecided():
    layers = [{"type": "dense", "inputs": 1, "outputs": 2, "bias": False}, {"type": "relu"}]
    params = {"0.weight": np.array([[2.0], [0.5]])}
    x, y = np.array([[1.0]]), np.array([[1.0, -1.0]])
    away = {"layers": layers, "params": params, "x": x, "y": y, "loss": "squared"}
    on = {**away, "params": {"0.weight": np.array([[2.0], [0.0]])}, "x": x}
    right = definitions.snip_scores(*on.values())
    assert testing.verify("snip", on, right).outcome == "pass"
    off = {"0.weight": right["0.weight"] + [[0.0], [0.25]]}
    assert testing.verify("snip", on, off).outcome == "undecided"
    assert testing.verify("snip", away, off).outcome == "fail"
    idle = {**on, "params": away["params"], "x": np.array([[0.0], [1.0]]), "y": np.array([[1.0, -1.0]] * 2)}
    right = definitions.snip_scores(*idle.values())  # on the kink, whatever the weights are
    verdict = testing.verify("snip", idle, {"0.weight": 2 * right["0.weight"]})
    found = {check.name: check for check in verdict.checks}
    assert found["differences"].outcome == verdict.outcome == "undecided"
    assert "on a kink" in found["differences"].explanation


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": -0.1}, "lr is -0.1; at least 0"),
        ({"momentum": 1.0}, "momentum is 1.0; at least 0 and below 1"),
        ({"momentum": True}, "momentum is True"),
        ({"batches": []}, "no list of at least one pair"),
        ({"batches": [np.zeros((2, 3, 1))]}, "pairs"),
    ],
)
def test_bad_calls_are_seen(change, words):
    if "pairs" in words:
        change = {"batches": [(np.zeros((2, 3)),)]}
    found = {**call(), **change}
    view = of("prospr").view(found, {})
    assert view.expects == "error"
    assert words in view.reason
    with pytest.raises((ValueError, TypeError)):
        reference.prospr(*found.values())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_one_score_off_by_a_hundred_bounds_is_flagged(name, dtype):
    rng, tried = np.random.default_rng(1), 0
    for case in generate(of(name), 30, 0, dtype, {}):
        view = of(name).view(case.problem, {})
        if view.expects != "answer" or case.number % 2:  # every other one: it is slow
            continue
        right = of(name).reference(*wide(list(case.problem.values())))
        exact = {key: scores.astype(dtype) for key, scores in right.items()}
        assert testing.verify(name, case.problem, exact).outcome == "pass", case.flags
        key = str(rng.choice(view.keys))
        at = tuple(rng.integers(size) for size in right[key].shape)
        bounds = dict(zip(view.names, view.allowed, strict=True))
        off = {k: scores.copy() for k, scores in right.items()}
        off[key][at] += 100 * bounds[f"{key}{[int(i) for i in at]}"]
        off = {k: scores.astype(dtype) for k, scores in off.items()}
        if (off[key] == exact[key]).all():  # a bound below the spacing of the numbers
            continue
        checks, *_ = judge(of(name), case.problem, off, {})  # `verify` would try all known mistakes
        bad = {check.name for check in checks if check.outcome == "fail"}
        assert bad in ({"differences"}, {"equal"}), case.flags
        tried += 1
    assert tried > 10


@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_small_and_the_witness_is_sharp(name):
    seen = 0
    for case in generate(of(name), 36, 4, "float64", {}):
        view = of(name).view(case.problem, {})
        if view.expects != "answer" or {"LargeLogits", "LossScale"} & set(case.flags) or not view.right.any():
            continue
        assert (view.solved.size >= view.right * (1 - 1e-12)).all()
        assert view.allowed.max() < 1e-9 * max(view.right.max(), 0.1), case.flags
        if view.witness is not None:
            u, number, unsure = view.witness
            assert abs(u @ view.right - number) <= unsure
            seen += unsure < 1e-3 * np.abs(u) @ view.right
    assert seen > 12


def test_rounding_in_the_steps_stays_inside_the_bound():
    """The definition in single precision, where rounding shows."""
    shares = []
    for case in generate(of("prospr"), 36, 6, "float32", {}):
        view = of("prospr").view(case.problem, {})
        if view.expects == "answer" and "OneSample" not in case.flags:
            found = call_in_single(case.problem)
            shares.append((np.abs(found - view.right) / view.allowed).max())
    assert len(shares) > 15
    assert 0.001 < max(shares) < 0.5


def call_in_single(problem):
    """The definition's scores in the arithmetic of the call's arrays."""
    rest = {"lr": np.float32(problem["lr"]), "momentum": np.float32(problem["momentum"])}
    arguments = (problem[name] for name in ("layers", "params", "batches"))
    return vector(definitions.prospr_scores(*arguments, "cross_entropy", **rest))


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_what_they_say(name):
    assert not any(view.solved.open for _, view in answered(of(name), 40, "float64"))


def test_the_flags_of_prospr_are_what_they_say():
    flags = flags_of(of("prospr"), {})
    for flag, fits in {
        "Momentum": lambda found, sizes: found["momentum"] == 0.9 and len(sizes) > 2,
        "ShortLoader": lambda found, sizes: len(sizes) == 1,
        "ZeroStep": lambda found, sizes: found["lr"] == 0 and len(sizes) > 1,
        "SameBatch": lambda found, sizes: np.array_equal(found["batches"][0][0], found["batches"][-1][0]),
        "UnequalBatches": lambda found, sizes: len(set(sizes)) == len(sizes) > 1,
        "OneSample": lambda found, sizes: set(sizes) == {1},
        "LargeBatch": lambda found, sizes: sorted(sizes) == [9, 17],
        "ManySteps": lambda found, sizes: len(sizes) == 6 and found["momentum"] == 0.9,
        "LargeActivations": lambda found, sizes: first_bias(found).max() > 6,
        "OppositeGradients": lambda found, sizes: all(
            np.array_equal(x[0], x[1]) and y[0] != y[1] for x, y in found["batches"]
        ),
        "LossScale": lambda found, sizes: loss_of(found) < 0.01,
        "NonContiguous": lambda found, sizes: (
            not any(x.flags.c_contiguous for x, _ in found["batches"] if x.size > 1)
        ),
        "ReadOnly": lambda found, sizes: not any(x.flags.writeable for x, _ in found["batches"]),
    }.items():
        for number in range(flags.index(flag), 3 * len(flags), len(flags)):
            found = make_case(of("prospr"), number, 0, "float64", {}).problem
            assert fits(found, [len(x) for x, _ in found["batches"]]), flag


def first_bias(found):
    return next(array for key, array in found["params"].items() if key.endswith("bias"))


def test_large_activations_of_snip_go_beyond_bounds_of_relu():
    flags = flags_of(of("snip"), {})
    for number in range(flags.index("LargeActivations"), 3 * len(flags), len(flags)):
        found = make_case(of("snip"), number, 0, "float64", {}).problem
        assert first_bias(found).max() > 6
        assert "relu" in str(found["layers"])


def test_labels_that_are_sure_and_wrong():
    flags = flags_of(of("snip"), {})
    for number in range(flags.index("SureAndWrong"), 3 * len(flags), len(flags)):
        found = wide(make_case(of("snip"), number, 0, "float32", {}).problem)
        assert found["loss"] == "cross_entropy"
        assert 10 < float(derivatives.network_loss(*found.values())) < 41


def loss_of(found):
    """Of the last batch, before the steps."""
    return float(
        derivatives.network_loss(found["layers"], found["params"], *found["batches"][-1], "cross_entropy")
    )


def test_the_judge_and_the_mistakes_take_the_same_steps():
    """Two ways back, written apart: the judge's adjoint, and that which mistakes change."""
    found = call(momentum=0.9)
    way = prospr_mistakes.Way(*found.values())
    training = prospr_parts.Training(found)
    np.testing.assert_allclose(way.w * way.slope(), prospr_parts.slope(training), rtol=1e-12)
    right = prospr_mistakes.prospr(*found.values())
    np.testing.assert_allclose(vector(prospr_mistakes.given()(*found.values())), vector(right), rtol=1e-12)


@pytest.mark.parametrize("detach_first", [False, True])
def test_the_judge_is_the_definition(detach_first):
    for batches, momentum, lr in ((4, 0.9, 0.5), (3, 0.0, 0.5), (2, 0.5, 0.0), (1, 0.9, 0.5)):
        found = call(momentum, lr, batches)
        rest = {"lr": lr, "momentum": momentum, "detach_first": detach_first}
        arguments = (found["layers"], found["params"], found["batches"], "cross_entropy")
        right = vector(definitions.prospr_scores(*arguments, **rest))
        judged = vector(prospr_parts.define(prospr_parts.Training(found), detach_first))
        np.testing.assert_allclose(judged, right, rtol=0, atol=1e-14 * right.max())


@given(problems("prospr"))
@settings(max_examples=10, deadline=None)
def test_problems_for_own_suites(found):
    testing.assert_pruned("prospr", found, prospr_mistakes.prospr(*found.values()))


def test_it_runs_in_a_process_of_its_own():
    report = testing.run("refprune.testing.reference:prospr", "prospr", examples=1)
    assert report.outcome == "pass", str(report)
