"""The contracts `grasp` and `synflow-scores`: identities, bounds, what is said of a wrong answer, cases, bad calls."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from network_cases import answered
from right_flows import Flows

from refprune import testing
from refprune.definitions import derivatives
from refprune.definitions.snip import flattened
from refprune.testing import reference
from refprune.testing.architectures import FLATTEN, conv, dense, norm
from refprune.testing.cases import flags_of, generate, make_case
from refprune.testing.contracts import synflow_build
from refprune.testing.contracts.grasp_mistakes import grasp as defined_grasp
from refprune.testing.strategies import problems

NAMES = ("grasp", "synflow-scores")


def of(name):
    return testing.contracts[name]


def right(name, problem):
    """The definition's scores, in float64."""
    return of(name).reference(*problem.values())


def cases(name, examples=44, dtype="float64", seed=0):
    """Cases that must be answered, with their views."""
    for case in generate(of(name), examples, seed, dtype, {}):
        view = of(name).view(case.problem, {})
        if view.expects == "answer":
            yield case, view


def flagged(name, flag, dtype="float64", seed=0):
    flags = flags_of(of(name), {})
    return [make_case(of(name), n, seed, dtype, {}) for n in range(flags.index(flag), 200, len(flags))]


def broken(name, problem, answer, **settings):
    checks = testing.verify(name, problem, answer, **settings).checks
    return {check.name: check.explanation for check in checks if check.outcome == "fail"}


def quadratic(**changes):
    """One linear layer with a bias, x = (1, 2) and the squared loss: H = z z^T with z = (1, 2, 1)."""
    return {
        "layers": [dense(2, 1)],
        "params": {"0.weight": np.array([[3.0, 1.0]]), "0.bias": np.array([0.5])},
        "x": np.array([[1.0, 2.0]]),
        "y": np.array([[4.0]]),
        "loss": "squared",
        **changes,
    }


def paths(**changes):
    """f = 3 (-x1 + 2 x2) - x2 + biases: paths of 3, 6 and 1."""
    return {
        "layers": [dense(2, 2), {"type": "tanh"}, dense(2, 1)],
        "params": {
            "0.weight": np.array([[-1.0, 2.0], [0.0, 1.0]]),
            "0.bias": np.array([5.0, -7.0]),
            "2.weight": np.array([[3.0, -1.0]]),
            "2.bias": np.array([9.0]),
        },
        "input_shape": (2,),
        **changes,
    }


# ---------------------------------------------------------------- by hand


def test_grasp_of_a_quadratic_by_hand():
    """f - y = 1.5, g = 1.5 z, H g = 6 g = 9 z; the bias takes part, without them it is 7.5 z."""
    scores = {"0.weight": np.array([[-27.0, -18.0]])}
    assert broken("grasp", quadratic(), scores) == {}
    text = broken("grasp", quadratic(), {"0.weight": np.array([[27.0, 18.0]])})["flow"]
    assert text.startswith(
        "the scores sum to 45; as all weights shrink, half of g^T g changes at the rate -45; the "
    )
    assert text.endswith("the definition has -27 (every score is -1 times as large)")
    alone = {"0.weight": np.array([[-22.5, -15.0]])}
    verdict = testing.verify("grasp", quadratic(), alone)
    assert verdict.outcome == "fail"
    swapped = broken("grasp", quadratic(), {"0.weight": np.array([[-18.0, -27.0]])})
    assert swapped == {"equal": "the score of 0.weight[0, 1] is -27; the definition has -18"}


def test_flow_along_three_paths_by_hand():
    scores = {"0.weight": np.array([[3.0, 6.0], [0.0, 1.0]]), "2.weight": np.array([[9.0, 1.0]])}
    assert broken("synflow-scores", paths(), scores) == {}
    off = {**scores, "2.weight": np.array([[9.0, 2.0]])}
    text = broken("synflow-scores", paths(), off)["conserved"]
    assert text.startswith(
        "the scores of 2.weight sum to 11; the flow through the layer is 10; the score of 2.weight[0"
    )
    moved = {**scores, "2.weight": np.array([[8.0, 2.0]])}
    assert broken("synflow-scores", paths(), moved) == {
        "equal": "the score of 2.weight[0, 1] is 2; the definition has 1"
    }
    below = {**scores, "2.weight": np.array([[11.0, -1.0]])}
    assert set(broken("synflow-scores", paths(), below)) == {"nonnegative"}


def test_what_goes_past_a_layer_is_no_flow_through_it():
    """f = 2 (x + |-3| x) on an input of ones: 8 in all, 6 through the body."""
    layers = [{"type": "residual", "body": [dense(1, 1)]}, dense(1, 1)]
    params = {"0.body.0.weight": np.array([[-3.0]]), "0.body.0.bias": np.ones(1), "1.weight": np.array([[2.0]]),
              "1.bias": np.ones(1)}  # fmt: skip
    call = {"layers": layers, "params": params, "input_shape": (1,)}
    scores = {"0.body.0.weight": np.array([[6.0]]), "1.weight": np.array([[8.0]])}
    assert broken("synflow-scores", call, scores) == {}
    text = broken("synflow-scores", call, {**scores, "0.body.0.weight": np.array([[8.0]])})["conserved"]
    words = "the scores of 0.body.0.weight sum to 8; the flow through the layer is 6 of 8 in all; "
    assert text.startswith(words)


# ---------------------------------------------------------------- identities


def test_over_all_parameters_the_flows_sum_to_the_curvature_along_the_gradient():
    """`sum theta (H g) = g^T H theta`, H by the definition; without biases that is what the certificate sees."""
    tried = 0
    for case, view in cases("grasp"):
        p = {**case.problem, "params": {k: a.astype(float) for k, a in case.problem["params"].items()}}
        call = list(p.values())
        g, H = derivatives.gradient(*call), derivatives.hessian(*call)
        theta = flattened(p["params"])
        every = defined_grasp(score=lambda theta, Hg, g: -theta * Hg)(*call)
        assert abs(theta @ (H @ g) - g @ (H @ theta)) <= 1e-12 * (abs(theta) @ abs(H) @ abs(g) + 1e-300)
        u, number, unsure = view.witness
        total = sum(float(score.sum()) for score in every.values())
        # the certificate took two differences of gradients; no Hessian entered it
        assert abs(total - number) <= unsure + 1e-12 * (abs(theta) @ abs(H) @ abs(g)) + 1e-300, case.flags
        if "OppositeGradients" not in case.flags:  # g is 0 there
            assert unsure <= 1e-4 * (abs(theta) @ abs(H) @ abs(g)) + 1e-12
        assert u.shape == view.shape
        tried += 1
    assert tried > 20


def test_flow_is_conserved_layer_by_layer_and_unit_by_unit():
    tried = 0
    for case, _ in cases("synflow-scores", 60):
        layers, scores = case.problem["layers"], right("synflow-scores", case.problem)
        if {"residual"} & {layer["type"] for layer in layers}:
            continue
        sums = [float(score.sum()) for score in scores.values()]
        assert max(sums) - min(sums) <= 1e-12 * max(sums)
        for i in range(len(layers) - 2):
            if layers[i]["type"] == layers[i + 2]["type"] == "dense":
                into, out = scores[f"{i}.weight"].sum(1), scores[f"{i + 2}.weight"].sum(0)
                assert (abs(into - out) <= 1e-12 * into.max()).all()
                tried += 1
    assert tried > 20


def test_the_flows_of_the_certificate_are_sums_of_the_definition():
    """Values of R against derivatives of R, residual blocks too."""
    blocks = 0
    for case, view in cases("synflow-scores", 60):
        flows, R = view.witness
        scores = right("synflow-scores", case.problem)
        for name, flow in flows.items():
            assert abs(float(scores[name].sum()) - flow) <= 1e-12 * R
            blocks += flow < 0.999 * R
    assert blocks > 5


def test_a_max_pool_inside_a_residual_block_has_no_flow_by_differences():
    """Twice the weight may change the winner: only the scores themselves are compared."""
    pool = {"type": "maxpool2d", "kernel": 2, "stride": 1, "padding": 1}
    body = [conv(1, 1, 3, 1, 1), pool, conv(1, 1, 2)]
    call = {
        "layers": [{"type": "residual", "body": body}, FLATTEN, dense(9, 1)],
        "params": {
            key: np.random.default_rng(1).normal(size=size)
            for key, size in {"0.body.0.weight": (1, 1, 3, 3), "0.body.0.bias": (1,), "0.body.2.weight": (1, 1, 2, 2),
                              "0.body.2.bias": (1,), "2.weight": (1, 9), "2.bias": (1,)}.items()
        },
        "input_shape": (1, 3, 3),
    }  # fmt: skip
    verdict = testing.verify("synflow-scores", call, right("synflow-scores", call))
    assert {c.name: c.outcome for c in verdict.checks}["conserved"] == "not run"
    wrong = {key: 1.001 * score for key, score in right("synflow-scores", call).items()}
    assert set(broken("synflow-scores", call, wrong)) == {"equal"}


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_one_score_off_by_a_hundred_bounds_is_flagged(name, dtype):
    rng, tried = np.random.default_rng(1), 0
    for case, view in list(cases(name, 44, dtype))[:: 2 if name == "grasp" else 1]:
        scores = right(name, case.problem)
        assert broken(name, case.problem, scores) == {}, case.flags
        key = str(rng.choice(view.keys))
        at = tuple(int(rng.integers(side)) for side in view.shapes[key])
        allowed = view.allowed[view.names.index(f"{key}{list(at)}")]
        off = scores[key].copy()
        off[at] += 100 * allowed
        if off[at] != scores[key][at]:  # else the bound is below the spacing of the numbers
            verdict = broken(name, case.problem, {**scores, key: off})
            assert len(verdict) == 1, case.flags
            assert set(verdict) <= {"flow", "conserved", "equal"}
            assert f"{key}{list(at)}" in next(iter(verdict.values()))
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_sharp(name):
    """In float64 a bound is below 1e-9 of the largest score, but where outputs are large or gradients cancel."""
    for case, view in cases(name):
        if view.right.any() and not {"LargeLogits", "LossScale", "OppositeGradients"} & set(case.flags):
            assert view.allowed.max() <= 1e-9 * np.abs(view.right).max(), case.flags


@pytest.mark.parametrize("name", NAMES)
def test_bounds_follow_what_moves_the_inputs(name):
    """Every number moved by an ulp: scores move by less than the bound, and by some of it."""
    rng, shares, eps = np.random.default_rng(6), [], np.finfo(float).eps

    def moved(array):
        return array * (1 + eps * rng.choice([-1, 0, 1], size=array.shape))

    for case, view in cases(name):
        problem = {**case.problem, "params": {k: moved(a) for k, a in case.problem["params"].items()}}
        if name == "grasp":
            problem["x"] = moved(problem["x"])
        found = np.concatenate([score.ravel() for _, score in sorted(right(name, problem).items())])
        shares.append((np.abs(found - view.right) / view.allowed).max())
    assert max(shares) < 1
    assert np.median(shares) > 1e-3


# ---------------------------------------------------------------- form and range


def test_scores_may_be_double_or_what_the_parameters_are():
    single = paths(params={name: array.astype("f") for name, array in paths()["params"].items()})
    scores = {"0.weight": np.array([[3.0, 6.0], [0.0, 1.0]]), "2.weight": np.array([[9.0, 1.0]])}
    narrow = {name: score.astype("f") for name, score in scores.items()}
    assert broken("synflow-scores", single, scores) == {}
    assert broken("synflow-scores", single, narrow) == {}
    assert "have dtype float32" in broken("synflow-scores", paths(), narrow)["form"]
    call = quadratic(params={name: array.astype("f") for name, array in quadratic()["params"].items()})
    call |= {"x": call["x"].astype("f"), "y": call["y"].astype("f")}
    answer = {"0.weight": np.array([[-27.0, -18.0]], "f")}
    assert broken("grasp", call, answer) == {}
    assert set(broken("grasp", call, {"0.weight": np.array([[-27.0, -18.0]])})) == {"form"}


@pytest.mark.parametrize("flag", ["LargeFlow", "FaintFlow"])
def test_flows_beyond_the_range_of_singles_need_doubles(flag):
    beyond = 0
    for case in flagged("synflow-scores", flag, "float32"):
        scores = right("synflow-scores", case.problem)
        assert all(np.isfinite(score).all() for score in scores.values())
        assert broken("synflow-scores", case.problem, scores) == {}
        with np.errstate(over="ignore"):
            narrow = {name: score.astype("f") for name, score in scores.items()}
        lost = any(
            (np.isinf(narrow[name]) | ((narrow[name] == 0) & (scores[name] > 0))).any() for name in scores
        )
        wide_again = {name: score.astype(float) for name, score in narrow.items()}
        if lost:
            assert set(broken("synflow-scores", case.problem, wide_again)) & {"finite", "conserved", "equal"}
            assert "beyond the range of float32" in broken("synflow-scores", case.problem, narrow)["form"]
            beyond += 1
    assert beyond >= 3


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes(name):
    problem = quadratic() if name == "grasp" else paths()
    scores, first = right(name, problem), "0.weight"
    assert (
        "no scores for 0.weight"
        in broken(name, problem, {k: a for k, a in scores.items() if k != first})["form"]
    )
    assert "scores for 0.bias" in broken(name, problem, {**scores, "0.bias": np.zeros(2)})["form"]
    assert "0.weight have shape" in broken(name, problem, {**scores, first: scores[first][:, :1]})["form"]
    assert "need scores as a mapping" in broken(name, problem, scores[first])["form"]
    assert set(broken(name, problem, {**scores, first: np.nan * scores[first]})) == {"finite"}


# ---------------------------------------------------------------- max pools, kinks


def pooled(weights):
    """Two channels of equal flow, one window."""
    layers = [conv(1, 2, 1, bias=False), {"type": "maxpool2d", "kernel": (1, 2)}, FLATTEN, dense(2, 1, False)]
    params = {"0.weight": np.array(weights).reshape(2, 1, 1, 1), "3.weight": np.array([[1.0, 2.0]])}
    return {"layers": layers, "params": params, "input_shape": (1, 1, 2)}


def test_equal_entries_of_a_window_have_equal_flows():
    call = pooled([3.0, -1.0])
    assert broken("synflow-scores", call, right("synflow-scores", call)) == {}
    wrong = right("synflow-scores", call)
    wrong["3.weight"] = wrong["3.weight"][:, ::-1].copy()
    assert set(broken("synflow-scores", call, wrong)) == {"equal"}


def test_a_tie_of_different_paths_is_left_undecided():
    """The kernel sees one side or the other: sums of 1 and 1, of different weights."""
    layers = [conv(1, 1, (1, 2), 1, (0, 1), bias=False), {"type": "maxpool2d", "kernel": (1, 3)}, FLATTEN,
              dense(1, 1, False)]  # fmt: skip
    params = {"0.weight": np.array([[[[1.0, 1.0]]]]), "3.weight": np.array([[1.0]])}
    call = {"layers": layers, "params": params, "input_shape": (1, 1, 2)}
    # windows see (0, 1), (1, 1), (1, 0): the middle wins
    assert broken("synflow-scores", call, right("synflow-scores", call)) == {}
    assert not of("synflow-scores").view(call, {}).solved.open
    call["layers"] = [{**layers[0], "stride": 2}, {**layers[1], "kernel": (1, 2)}, *layers[2:]]
    # windows see (0, 1) and (1, 0): a tie
    assert of("synflow-scores").view(call, {}).solved.open
    for first, outcome in (([0.0, 1.0], "pass"), ([1.0, 0.0], "undecided"), ([0.5, 0.5], "undecided")):
        answer = {"0.weight": np.array(first).reshape(1, 1, 1, 2), "3.weight": np.array([[1.0]])}
        assert testing.verify("synflow-scores", call, answer).outcome == outcome


def test_on_a_kink_no_choice_of_a_slope_is_called_wrong():
    layers = [dense(1, 2, False), {"type": "relu"}, dense(2, 1, False)]
    params = {"0.weight": np.array([[0.0], [2.0]]), "2.weight": np.array([[1.0, 3.0]])}
    call = quadratic(layers=layers, params=params, x=np.ones((1, 1)))
    assert testing.verify("grasp", call, right("grasp", call)).outcome == "pass"
    other = right("grasp", call)
    other["2.weight"] = other["2.weight"] * 1.5
    assert testing.verify("grasp", call, other).outcome == "undecided"


# ---------------------------------------------------------------- cases, transforms, bad calls


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_flags_are_what_they_say(name, dtype):
    for case, view in answered(of(name), 40, dtype):
        assert view.solved.open is False
        assert all(array.dtype == dtype for array in case.problem["params"].values())


def test_small_losses_leave_scores_that_rounding_does_not_explain():
    """In singles those of a squared loss."""
    losses = set()
    for dtype, most in (("float64", 1e-3), ("float32", 0.1)):
        for case in flagged("grasp", "LossScale", dtype):
            view = of("grasp").view(case.problem, {})
            assert 0 < derivatives.network_loss(*view.call) < 2e-3
            losses.add((dtype, case.problem["loss"]))
            if (dtype, case.problem["loss"]) != ("float32", "cross_entropy"):
                assert view.allowed.max() < most * np.abs(view.right).max()
    assert losses == {("float64", "cross_entropy"), ("float32", "cross_entropy"), ("float32", "squared")}


def test_flows_may_be_sums_of_logarithms():
    """The weights in shares of their layer's mean, the means' logarithms added: `e^139` is off by 139 ulps or so."""
    for flag in ("LargeFlow", "FaintFlow"):
        for case in flagged("synflow-scores", flag):
            params, total = dict(case.problem["params"]), 0.0
            for name in of("synflow-scores").view(case.problem, {}).keys:
                mean = np.log(np.abs(params[name][params[name] != 0])).mean()
                params[name], total = params[name] / np.exp(mean), total + mean
            if "residual" not in {layer["type"] for layer in case.problem["layers"]}:
                scores = right("synflow-scores", {**case.problem, "params": params})
                scores = {name: score * np.exp(total) for name, score in scores.items()}
                assert broken("synflow-scores", case.problem, scores) == {}


def test_flags_of_flows_are_what_they_say():
    for case in flagged("synflow-scores", "DeadUnit"):
        first = min(key for key, a in case.problem["params"].items() if key.endswith("weight") and a.ndim > 1)
        rows = case.problem["params"][first].reshape(len(case.problem["params"][first]), -1)
        assert (rows == 0).all(1).sum() == 1
        assert (
            right("synflow-scores", case.problem)[first].reshape(rows.shape)[(rows == 0).all(1)] == 0
        ).all()
    for case in flagged("synflow-scores", "LargeBias"):
        shifts = [a for key, a in case.problem["params"].items() if key.endswith(("bias", "running_mean"))]
        assert max((abs(a).max() for a in shifts), default=100) > 10


def test_many_samples_fill_no_batch_and_one_of_them_is_there_twice():
    for case in flagged("grasp", "ManySamples"):
        x, y = case.problem["x"], case.problem["y"]
        assert all(len(x) % size for size in (2, 4, 8, 16, 32, 64))
        assert np.array_equal(x[0], x[-1])
        assert np.array_equal(y[0], y[-1])
        assert len(np.unique(x, axis=0)) == len(x) - 1
        for keep in (64, len(x) - 1):
            assert broken(
                "grasp", case.problem, right("grasp", {**case.problem, "x": x[:keep], "y": y[:keep]})
            )


def test_saturated_units_are_far_from_zero_in_every_activation():
    for case in flagged("grasp", "Saturated"):
        layers, params = case.problem["layers"], case.problem["params"]
        kinds = {layer["body"][1]["type"] for layer in layers[:-1]}
        assert kinds == {"tanh", "sigmoid", "gelu", "silu", "softplus"}
        for k in range(len(layers) - 1):
            x = derivatives.forward(layers[:k], params, case.problem["x"]) if k else case.problem["x"]
            z = x @ params[f"{k}.body.0.weight"].T + params[f"{k}.body.0.bias"]
            assert (np.abs(z).min(0) > 5).sum() == 4
            assert (z.min(0) > 38).sum() == 1
            assert not ((z > 19) & (z < 38)).any()  # where PyTorch takes softplus for a line, and it is none


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_are_not_contiguous_are_of_every_kind(name):
    for case in flagged(name, "NonContiguous"):
        params = case.problem["params"]
        assert {len(array.shape) for array in params.values()} == {1, 2, 4}
        assert any("running" in key for key in params)
        arrays = [*params.values(), *([case.problem["x"], case.problem["y"]] if name == "grasp" else [])]
        assert not any(array.flags.c_contiguous for array in arrays if array.size > 1)


@pytest.mark.parametrize("name", NAMES)
def test_some_block_adds_images_as_they_are(name):
    for case in flagged(name, "ConvGroups"):
        blocks = [layer for layer in case.problem["layers"] if layer["type"] == "residual"]
        assert [block["body"][0]["type"] for block in blocks if not block.get("shortcut")] == ["conv2d"]


def test_a_larger_image_has_another_flow_through_the_same_weights():
    moved = 0
    for case, _ in cases("synflow-scores", 60):
        problem = synflow_build.larger_image(of("synflow-scores"), case.problem, None)
        if problem is not None:
            old, new = (right("synflow-scores", p) for p in (case.problem, problem))
            assert old.keys() == new.keys()
            moved += any(abs(new[key] - old[key]).max() > 1e-3 * abs(old[key]).max() for key in old)
    assert moved > 3


@pytest.mark.parametrize("name", NAMES)
def test_transformed_calls_have_answers_that_pass(name):
    done = dict.fromkeys((move.__name__ for move in of(name).transforms), 0)
    for case, _ in list(cases(name))[:: 5 if name == "grasp" else 1]:
        for move in of(name).transforms:
            before = {key: array.copy() for key, array in case.problem["params"].items()}
            problem = move(of(name), case.problem, np.random.default_rng(case.number))
            assert all(np.array_equal(before[key], a) for key, a in case.problem["params"].items())
            if problem is not None:
                assert broken(name, problem, right(name, problem)) == {}, (move.__name__, case.flags)
                done[move.__name__] += 1
    assert min(done.values()) >= 1, done


def test_signs_shifts_and_activations_change_no_flow():
    for case, _ in cases("synflow-scores", 40):
        scores = right("synflow-scores", case.problem)
        for move in (synflow_build.signs, synflow_build.shifts, synflow_build.activations):
            problem = move(of("synflow-scores"), case.problem, np.random.default_rng(3))
            assert all(np.array_equal(scores[key], a) for key, a in right("synflow-scores", problem).items())


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("grasp", {"loss": "hinge"}, "loss is 'hinge'"),
        ("grasp", {"x": np.ones((0, 2)), "y": np.ones((0, 1))}, "x has shape (0, 2)"),
        ("grasp", {"x": np.array([[np.nan, 1.0]])}, "x holds NaN or Inf"),
        ("grasp", {"y": np.array([4.0])}, "y has shape (1,)"),
        ("grasp", {"layers": [dense(3, 1)]}, "layer 0 (dense)"),
        ("synflow-scores", {"input_shape": (3,)}, "layer 0 (dense)"),
        ("synflow-scores", {"input_shape": (0,)}, "input_shape is (0,)"),
        ("synflow-scores", {"input_shape": 2}, "input_shape is 2"),
        ("synflow-scores", {"input_shape": (2.0,)}, "input_shape is (2.0,)"),
        ("synflow-scores", {"input_shape": (True,)}, "input_shape is (True,)"),
        ("synflow-scores", {"params": {}}, "params are no mapping"),
        ("synflow-scores", {"params": {"0.weight": np.ones((2, 2))}}, "params are not 0.weight, 0.bias"),
    ],
)
def test_bad_calls_are_expected_to_be_refused(name, change, words):
    call = (quadratic if name == "grasp" else paths)(**change)
    view = of(name).view(call, {})
    assert view.expects == "error"
    assert words in view.reason
    with pytest.raises((ValueError, TypeError, AttributeError)):
        getattr(reference, name.replace("-", "_"))(**call)
    verdict = testing.verify(name, call, {"0.weight": np.ones((1, 2))}, claims={"validates": True})
    assert verdict.outcome == "fail"
    assert "an error is expected" in str(verdict)


# ---------------------------------------------------------------- diagnosis


@pytest.mark.parametrize(
    ("name", "mistake"),
    [("grasp", "weights-only"), ("grasp", "sample-by-sample"),
     ("synflow-scores", "biases-kept"), ("synflow-scores", "signs-kept"), ("synflow-scores", "activations-kept")],
)  # fmt: skip
def test_a_run_names_the_mistake(name, mistake):
    (found,) = (m for m in of(name).mistakes if m.name == mistake)
    few = replace(of(name), mistakes=tuple(m for m in of(name).mistakes if not m.shows))
    report = testing.run(found.call, few, examples=20, isolate=False)
    assert report.outcome == "fail"
    assert report.looks_like == [mistake]


def _nan_where_inputs_are_dead(layers, params, x, y, loss):
    """NaN that no large logits make."""
    found = right("grasp", {"layers": layers, "params": params, "x": x, "y": y, "loss": loss})
    return {name: score / (score != 0) for name, score in found.items()}


def _kernels_have_no_scores(*call):
    return {name: score for name, score in of("synflow-scores").reference(*call).items() if score.ndim == 2}


def _norms_have_scores(layers, params, input_shape):
    found = of("synflow-scores").reference(layers, params, input_shape)
    return found | {name: 0 * a for name, a in params.items() if name.endswith("weight") and a.ndim == 1}


def _biases_are_zeroed(layers, params, input_shape):
    found = of("synflow-scores").reference(layers, params, input_shape)
    for name, array in params.items():
        array *= not name.endswith("bias")
    return found


@pytest.mark.parametrize(
    ("name", "call", "names"),
    [
        ("grasp", _nan_where_inputs_are_dead, []),
        ("synflow-scores", _kernels_have_no_scores, ["weights-left-out"]),
        ("synflow-scores", _norms_have_scores, ["others-scored"]),
        ("synflow-scores", _biases_are_zeroed, ["parameters-overwritten"]),
    ],
)
def test_what_is_named_is_true_of_other_versions_of_it(name, call, names):
    with np.errstate(all="ignore"):
        report = testing.run(call, name, examples=41, isolate=False, shrink=False)
    assert report.outcome == "fail"
    assert report.looks_like == names


@pytest.mark.parametrize(
    ("name", "mistake"),
    [("synflow-scores", "normalisation-left-out"), ("synflow-scores", "running-mean-kept"),
     ("grasp", "normalisation-constant"), ("grasp", "batch-statistics")],
)  # fmt: skip
def test_what_concerns_batch_normalisation_changes_nothing_without_one(name, mistake):
    (found,) = (m for m in of(name).mistakes if m.name == mistake)
    for case, _ in cases(name):
        types = {layer["type"] for layer in case.problem["layers"]}
        if not {"batchnorm2d", "residual"} & types:
            assert broken(name, case.problem, found.fresh()(*case.problem.values())) == {}


def test_one_answer_names_its_mistake():
    call = {
        "layers": [conv(1, 2, 2, bias=False), norm(2), FLATTEN, dense(8, 2)],
        "params": {
            "0.weight": np.array([1.0, -2.0, 0.5, 1.5, 2.0, 1.0, -0.5, 3.0]).reshape(2, 1, 2, 2),
            "1.weight": np.array([2.0, -0.5]),
            "1.bias": np.ones(2),
            "1.running_mean": np.array([1.0, -2.0]),
            "1.running_var": np.array([0.25, 4.0]),
            "3.weight": np.arange(16.0).reshape(2, 8) - 5,
            "3.bias": np.ones(2),
        },
        "input_shape": (1, 3, 3),
    }
    for name in ("running-mean-kept", "normalisation-left-out", "first-output", "weight-squared"):
        (mistake,) = (m for m in of("synflow-scores").mistakes if m.name == name)
        assert testing.verify("synflow-scores", call, mistake.fresh()(*call.values())).looks_like == [name]


@given(problems("synflow-scores"))
@settings(max_examples=15)
def test_problems_come_from_hypothesis(problem):
    answer = _Autograd().synflow_scores(**problem)
    testing.assert_pruned("synflow-scores", problem, answer)


class _Autograd(Flows):
    package, last = "numpy", False
