"""The contracts of network derivatives: cases, bounds, certificates, kinks, invariances, diagnosis."""

import numpy as np
import pytest
from hypothesis import given, settings
from network_cases import answered

from refprune import testing
from refprune.definitions import derivatives, elementwise
from refprune.definitions.jet_network import RULES, rules
from refprune.testing import kinks, network_bounds, network_differences
from refprune.testing import network_transforms as moves
from refprune.testing.cases import flags_of, generate, make_case
from refprune.testing.contracts import network_mistakes, network_rules
from refprune.testing.judge import judge

NAMES = ("hvp", "hessian", "gauss-newton", "per-sample-gradients")
EPS = np.finfo(float).eps


def of(name):
    return testing.contracts[name]


def defined(name, problem, *more):
    """The definition's answer in float64."""
    wide = {key: a.astype(float) for key, a in problem["params"].items()}
    y = problem["y"].astype(float) if problem["y"].dtype.kind == "f" else problem["y"]
    v = [problem["v"].astype(float)] if name == "hvp" else []
    call = [problem["layers"], wide, problem["x"].astype(float), y, problem["loss"], *v]
    return getattr(derivatives, name.replace("-", "_"))(*call, *more)


def cases(name, examples=44, dtype="float64", seed=0):
    """Cases that must be answered, with their views."""
    for case in generate(of(name), examples, seed, dtype, {}):
        view = of(name).view(case.problem, {})
        if view.expects == "answer":
            yield case, view


def failing(name, problem, answer, claims=None):
    checks, _, _ = judge(of(name), problem, answer, claims or {})
    return [check.name for check in checks if check.outcome == "fail"]


def flagged(name, flag, dtype="float64", seed=0):
    """The cases of 200 that carry the flag."""
    flags = flags_of(of(name), {})
    return [make_case(of(name), n, seed, dtype, {}) for n in range(flags.index(flag), 200, len(flags))]


def dense_problem(name, **changes):
    """Two inputs, a tanh layer of two units, two outputs, three samples."""
    rng = np.random.default_rng(4)
    layers = [
        {"type": "dense", "inputs": 2, "outputs": 2},
        {"type": "tanh"},
        {"type": "dense", "inputs": 2, "outputs": 2},
    ]
    params = {"0.weight": rng.normal(size=(2, 2)), "0.bias": rng.normal(size=2), "2.weight": rng.normal(size=(2, 2)),
              "2.bias": rng.normal(size=2)}  # fmt: skip
    found = {
        "layers": layers,
        "params": params,
        "x": rng.normal(size=(3, 2)),
        "y": np.array([0, 1, 1]),
        "loss": "cross_entropy",
    }
    if name == "hvp":
        found["v"] = rng.normal(size=12)
    return {**found, **changes}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_flags_are_what_they_say(name, dtype):
    for case, view in answered(of(name), 44, dtype):
        assert view.solved.open is False
        assert len(view.solved.family) == (3 if "Kink" in case.flags and len(view.solved.family) > 1 else 1)


def test_a_kink_leaves_the_answer_open_most_of_the_time():
    views = [of("hvp").view(case.problem, {}) for case in flagged("hvp", "Kink")]
    assert sum(len(view.solved.family) == 3 for view in views) >= len(views) - 1


def test_directions_are_what_they_say():
    assert not any(case.problem["v"].any() for case in flagged("hvp", "ZeroDirection"))
    assert all(sorted(case.problem["v"])[-2:] == [0, 1] for case in flagged("hvp", "UnitDirection"))
    for case in flagged("hvp", "NegativeCurvature"):
        assert case.problem["v"] @ defined("hvp", case.problem) < 0


@pytest.mark.parametrize("name", NAMES)
def test_layouts_are_what_they_say(name):
    for flag, wrong in (("NonContiguous", "c_contiguous"), ("ReadOnly", "writeable")):
        for case in flagged(name, flag):
            arrays = [*case.problem["params"].values(), case.problem["x"]]
            assert not any(getattr(array.flags, wrong) for array in arrays if array.size > 1)


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_the_same_for_the_same_seed(name):
    for case, again in zip(
        generate(of(name), 50, 3, "float32", {}), generate(of(name), 50, 3, "float32", {}), strict=True
    ):
        assert case.problem["layers"] == again.problem["layers"]
        for key, array in case.problem["params"].items():
            assert array.dtype == np.float32
            assert np.array_equal(array, again.problem["params"][key], equal_nan=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_one_entry_off_by_a_hundred_bounds_is_flagged(name, dtype):
    rng, tried = np.random.default_rng(1), 0
    for case, view in cases(name, 44, dtype):
        answer = defined(name, case.problem)
        assert failing(name, case.problem, answer.astype(dtype)) == []
        at = tuple(rng.integers(size) for size in answer.shape)
        off = answer.copy()
        off[at] += 100 * view.allowed[at]
        if name in ("hessian", "gauss-newton") and len(set(at)) > 1:
            off[at[::-1]] = off[at]
        off = off.astype(dtype)
        if (off == answer.astype(dtype)).all():  # a bound below the spacing of the numbers
            continue
        assert failing(name, case.problem, off) in (["equal"], ["differences"], ["semidefinite"]), case.flags
        tried += 1
    assert tried > 25


@pytest.mark.parametrize("name", NAMES)
def test_the_sums_of_absolute_values_are_above_the_answers(name):
    for case, view in cases(name):
        assert (view.solved.size >= np.abs(view.right) * (1 - 1e-12)).all()
        # and not far above: in float64 the bound is 1e-9 of the largest entry at most
        if view.right.any() and not {"LargeLogits", "LossScale"} & set(case.flags):
            assert view.allowed.max() <= 1e-9 * np.abs(view.right).max(), case.flags


def test_the_steepest_slopes_are_the_largest_ones():
    z = np.linspace(-12, 12, 240001)
    for name, claimed in network_bounds.STEEPEST.items():
        _, p1, p2 = getattr(elementwise, name)(z)
        found = [np.abs(p).max() for p in (p1, p2, np.gradient(p2, z))]
        for most, said in zip(found, claimed, strict=True):
            assert most <= said * (1 + 1e-6)
            assert most >= 0.97 * said


@pytest.mark.parametrize("name", NAMES)
def test_bounds_follow_what_moves_the_inputs(name):
    """Parameters and samples moved by an ulp each: the answer moves by less than the bound, and by some of it."""
    rng, shares = np.random.default_rng(6), []
    for case, view in cases(name):
        problem = dict(case.problem)
        problem["params"] = {
            key: a * (1 + EPS * rng.choice([-1, 0, 1], size=a.shape)) for key, a in problem["params"].items()
        }
        problem["x"] = problem["x"] * (1 + EPS * rng.choice([-1, 0, 1], size=problem["x"].shape))
        if "Kink" not in case.flags:
            moved = np.abs(defined(name, problem) - view.right)
            shares.append((moved / view.allowed).max())
    assert max(shares) < 1
    assert np.median(shares) > 1e-4


@pytest.mark.parametrize("claim", ["tf32", "bfloat16"])
def test_claimed_inputs_widen_the_bound(claim):
    bits = {"tf32": 2.0**-11, "bfloat16": 2.0**-8}[claim]
    rng = np.random.default_rng(7)
    for case, _ in list(cases("hvp", 44, "float32")):
        if {"Kink", "LargeLogits"} & set(case.flags):
            continue
        params = {
            key: a * (1 + bits * rng.uniform(-1, 1, size=a.shape))
            for key, a in case.problem["params"].items()
        }
        try:
            moved = defined("hvp", {**case.problem, "params": params}).astype("float32")
        except FloatingPointError:
            continue
        checks, _, _ = judge(of("hvp"), case.problem, moved, {"input_precision": claim})
        assert [check.name for check in checks if check.outcome == "fail"] == [], case.flags


@pytest.mark.parametrize("name", NAMES)
def test_differences_and_the_definition_agree(name):
    judged, matrix = 0, name in ("hessian", "gauss-newton")
    for case, view in cases(name):
        if view.witness is None:
            continue
        u, right, unsure = view.witness
        said, most = view.right @ u, np.abs(view.right) @ np.abs(u)
        if matrix:
            said, most = u @ said, np.abs(u) @ most
        assert (np.abs(said - right) <= unsure + 1e-300).all(), case.flags
        judged += bool(np.all(unsure <= 1e-3 * np.max(most) + 1e-12))
    assert judged > 25


def test_differences_do_not_step_over_a_kink():
    layers = [{"type": "dense", "inputs": 1, "outputs": 1, "bias": False}, {"type": "relu"}]
    call = [layers, {"0.weight": np.array([[1e-4]])}, np.array([[1.0]]), np.array([[1.0]]), "squared"]
    with pytest.raises(network_differences.Crossed):
        network_differences.witness("hessian", *call)


def test_what_fails_is_placed():
    problem = dense_problem("hessian")
    H = defined("hessian", problem)
    unsymmetric = H.copy()
    unsymmetric[1, 7] += 1e-6
    verdict = testing.verify("hessian", problem, unsymmetric)
    assert "symmetric: entry (0.weight[0, 1], 2.weight[0, 1]) is" in str(verdict)
    off = H.copy()
    off[1, 1] += 1e-9
    verdict = testing.verify("hessian", problem, off)
    assert "equal: entry (0.weight[0, 1], 0.weight[0, 1]) is" in str(verdict)
    verdict = testing.verify("hessian", problem, 3 * H)
    assert "every entry is 3 times as large" in str(verdict)
    own = defined("per-sample-gradients", problem)
    own[2, 11] += 1e-9
    assert "equal: sample 2, 2.bias[1] is" in str(testing.verify("per-sample-gradients", problem, own))
    G = defined("gauss-newton", problem)
    verdict = testing.verify("gauss-newton", problem, G - 0.1 * np.eye(12))
    assert "semidefinite: the smallest eigenvalue is -0.1" in str(verdict)


@pytest.mark.parametrize("name", NAMES)
def test_at_a_kink_one_choice_is_right_and_a_mixture_is_not(name):
    rng, told = np.random.default_rng(8), 0
    for case in flagged(name, "Kink"):
        for share in (0, 0.3, 0.5, 1):
            assert failing(name, case.problem, defined(name, case.problem, rules(share))) == []
        family = of(name).view(case.problem, {}).solved.family
        if len(family) == 3:
            mixed = np.where(rng.random(family[0].shape) < 0.5, family[0], family[2])
            if name in ("hessian", "gauss-newton"):
                mixed = np.triu(mixed) + np.triu(mixed, 1).T
            outside = family[0] + 1.2 * (family[2] - family[0])
            told += ("equal" in failing(name, case.problem, outside)) + bool(
                failing(name, case.problem, mixed)
            )
    assert told >= 4


def on_two_kinks(name):
    one = {"type": "dense", "inputs": 1, "outputs": 2, "bias": False}
    problem = dense_problem(
        name, layers=[one, {"type": "relu"}, {"type": "dense", "inputs": 2, "outputs": 1, "bias": False}]
    )
    params = {"0.weight": np.zeros((2, 1)), "2.weight": np.array([[1.0, 2.0]])}
    return {**problem, "params": params, "x": np.array([[1.0]]), "y": np.array([[3.0]]), "loss": "squared"}


def test_on_several_kinks_no_choice_is_called_wrong():
    problem = on_two_kinks("per-sample-gradients")
    for slopes in ((0, 0), (1, 1), (0.5, 0.5)):
        answer = np.array([[-3.0 * slopes[0], -6.0 * slopes[1], 0.0, 0.0]])
        assert testing.verify("per-sample-gradients", problem, answer).outcome == "pass"
    verdict = testing.verify("per-sample-gradients", problem, np.array([[-3.0, 0.0, 0.0, 0.0]]))
    assert verdict.outcome == "undecided"
    assert "several kinks" in str(verdict)


def test_next_to_a_kink_rounding_may_choose_the_side():
    layers = [{"type": "dense", "inputs": 3, "outputs": 1, "bias": False}, {"type": "relu"}]
    problem = dense_problem("", layers=layers, x=np.ones((1, 3)), y=np.ones((1, 1)), loss="squared")
    problem["params"] = {"0.weight": np.array([[0.1, 0.2, -0.3]])}
    verdicts = [
        testing.verify("per-sample-gradients", problem, -slope * np.ones((1, 3))) for slope in (0.0, 1.0)
    ]
    assert sorted(verdict.outcome for verdict in verdicts) == ["pass", "undecided"]
    problem["params"] = {"0.weight": np.array([[0.0, 0.0, 1e-20]])}  # nothing rounds: it is above 0
    assert testing.verify("per-sample-gradients", problem, np.zeros((1, 3))).outcome == "fail"


def test_a_kink_before_a_tie_leaves_open_who_wins():
    """A ReLU at 0 among dead ones, all in one window: of its slope any share may come through."""
    layers = [{"type": "conv2d", "in_channels": 1, "out_channels": 1, "kernel": 1}, {"type": "relu"},
              {"type": "maxpool2d", "kernel": (1, 3)}, {"type": "flatten"}]  # fmt: skip
    problem = dense_problem(
        "", layers=layers, x=np.array([[[[-1.0, 2.0, -3.0]]]]), y=np.ones((1, 1)), loss="squared"
    )
    problem["params"] = {"0.weight": np.array([[[[1.0]]]]), "0.bias": np.array([-2.0])}
    verdicts = [
        testing.verify("per-sample-gradients", problem, -share * np.array([[2.0, 1.0]]))
        for share in (0.0, 1 / 3, 1)
    ]
    assert [verdict.outcome for verdict in verdicts] == ["pass", "undecided", "undecided"]


def test_a_tie_of_dead_entries_is_no_kink():
    layers = [{"type": "conv2d", "in_channels": 1, "out_channels": 1, "kernel": 1, "bias": False}, {"type": "relu"},
              {"type": "maxpool2d", "kernel": 2}, {"type": "flatten"}]  # fmt: skip
    call = [layers, {"0.weight": np.array([[[[-1.0]]]])}, np.ones((1, 1, 2, 2)), np.array([[1.0]]), "squared"]
    problem = dict(zip(("layers", "params", "x", "y", "loss"), call, strict=True))
    assert kinks.distances(*call[:3]).min() == 1.0
    assert testing.verify("per-sample-gradients", problem, np.zeros((1, 1))).outcome == "pass"
    assert testing.verify("per-sample-gradients", problem, np.ones((1, 1))).outcome == "fail"


def test_a_tie_of_entries_with_the_same_derivative_is_no_kink():
    layers = [{"type": "conv2d", "in_channels": 1, "out_channels": 1, "kernel": 1, "bias": False},
              {"type": "maxpool2d", "kernel": 2}, {"type": "flatten"}]  # fmt: skip
    call = [layers, {"0.weight": np.array([[[[2.0]]]])}, np.ones((1, 1, 2, 2)), np.array([[1.0]]), "squared"]
    problem = dict(zip(("layers", "params", "x", "y", "loss"), call, strict=True))
    view = of("hessian").view(problem, {})
    assert len(view.solved.family) == 1
    assert testing.verify("hessian", problem, np.ones((1, 1))).outcome == "pass"
    assert testing.verify("hessian", problem, np.zeros((1, 1))).outcome == "fail"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x": [[1.0, 2.0]]}, "x is no array"),
        ({"x": np.ones((3, 2), int)}, "x is no array of real"),
        ({"x": np.ones(3)}, "samples of at least one number"),
        ({"x": np.ones((3, 4))}, r"layer 0 (dense): a sample has the shape (4,); (2,) is needed"),
        ({"params": {}}, "params are not 0.weight, 0.bias, 2.weight, 2.bias"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"y": np.array([0, 1])}, "y is no array of 3 integer labels"),
        ({"y": np.array([0, 1, 2])}, "y holds labels from 0 to 2; 0 to 1 are classes"),
        ({"y": np.array([0.0, 1.0, 1.0])}, "y is no array of 3 integer labels"),
        ({"loss": "squared"}, "y is no array of real floating numbers"),
        ({"loss": "squared", "y": np.ones((3, 1))}, "y has shape (3, 1); (3, 2) is needed"),
        ({"layers": [{"type": "lstm"}]}, "layer 0 is of the type 'lstm'"),
        ({"v": np.ones(11)}, "v has shape (11,); (12,) is needed"),
        ({"v": np.full(12, np.nan)}, "v holds NaN or Inf"),
    ],
)
def test_bad_input_is_seen(changes, reason):
    view = of("hvp").view(dense_problem("hvp", **changes), {})
    assert view.expects == "error"
    assert reason in view.reason


def test_parameters_of_a_wrong_shape_or_with_nan_are_seen():
    for bad, reason in (
        (np.ones((2, 3)), "(2, 3); (2, 2) is needed"),
        (np.full((2, 2), np.inf), "NaN or Inf"),
    ):
        problem = dense_problem("hessian")
        view = of("hessian").view({**problem, "params": {**problem["params"], "2.weight": bad}}, {})
        assert view.reason.startswith("params['2.weight']")
        assert reason in view.reason


def test_images_cannot_be_classes():
    layers = [{"type": "conv2d", "in_channels": 1, "out_channels": 2, "kernel": 1, "bias": False}]
    problem = {"layers": layers, "params": {"0.weight": np.ones((2, 1, 1, 1))}, "x": np.ones((1, 1, 2, 2))}
    problem |= {"y": np.array([0]), "loss": "cross_entropy"}
    assert "classes are needed" in of("hessian").view(problem, {}).reason
    problem |= {"loss": "squared", "y": np.ones((1, 2, 2, 2))}  # as targets they are fine
    assert testing.verify("gauss-newton", problem, 4 * np.eye(2)).outcome == "pass"


def test_nothing_in_and_nothing_out_is_fine_for_samples_only():
    problem = dense_problem("per-sample-gradients", x=np.ones((0, 2)), y=np.zeros(0, int))
    assert (
        testing.verify("per-sample-gradients", problem, np.zeros((0, 12)), claims={"validates": True}).outcome
        == "pass"
    )
    problem = dense_problem("hessian", x=np.ones((0, 2)), y=np.zeros(0, int))
    assert (
        testing.verify("hessian", problem, np.zeros((12, 12)), claims={"validates": True}).outcome == "fail"
    )


def test_halves_may_be_answered_in_single():
    rng = np.random.default_rng(0)
    case = make_case(of("hvp"), 0, 0, "float16", {})
    right = defined("hvp", case.problem)
    for dtype, outcome in (("float16", "pass"), ("float32", "pass"), ("float64", "fail")):
        assert testing.verify("hvp", case.problem, right.astype(dtype)).outcome == outcome
    wrong = right + 0.05 * np.abs(right).max() * rng.normal(size=right.shape)
    assert testing.verify("hvp", case.problem, wrong.astype("float32")).outcome == "fail"


@pytest.mark.parametrize("name", NAMES)
def test_transformed_calls_have_answers_that_correspond(name):
    done = dict.fromkeys((move.__name__ for move in of(name).transforms), 0)
    for case, view in cases(name):
        if set(case.flags) & {"Kink", "NonContiguous", "ReadOnly", "Transposed"}:
            continue
        before = {key: array.copy() for key, array in case.problem["params"].items()}
        for move in of(name).transforms:
            rng = np.random.default_rng(case.number)
            problem = move(of(name), case.problem, rng)
            if problem is None:
                continue
            assert of(name).view(problem, {}).expects == "answer"
            found = defined(name, problem)
            assert failing(name, problem, found) == [], (move.__name__, case.flags)
            assert corresponds(name, move, case, problem, found, view.right), move.__name__
            done[move.__name__] += 1
        assert all(np.array_equal(before[key], array) for key, array in case.problem["params"].items())
    assert min(done.values()) >= 3, done


def corresponds(name, move, case, problem, found, right):
    """What is known of the transformed answer without the definition."""
    near = 1e-9 * max(np.abs(right).max(), 1e-6)
    if move is moves.samples_reordered:
        order = [
            next(i for i, x in enumerate(case.problem["x"]) if np.array_equal(x, row)) for row in problem["x"]
        ]
        if name == "per-sample-gradients":
            return len(set(order)) < len(order) or np.abs(found - right[order]).max() < near
        return np.abs(found - right).max() < near
    if move is moves.samples_twice:
        twice = np.concatenate([right, right]) if name == "per-sample-gradients" else right
        return np.abs(found - twice).max() < near
    if move is moves.direction:
        v, w = case.problem["v"], problem["v"]
        factor = w[v != 0][0] / v[v != 0][0] if v.any() else 1.0
        return np.abs(found / factor - right).max() < near
    if move is moves.hidden_units and right.ndim == 2 and name != "per-sample-gradients":
        return np.abs(np.linalg.eigvalsh(found) - np.linalg.eigvalsh(right)).max() < 1e3 * near
    if move is moves.outputs_scaled:
        return problem["loss"] == "squared"
    return True


@pytest.mark.parametrize("quantity", ["hvp", "hessian", "gauss_newton", "per_sample_gradients"])
def test_a_mistake_is_the_definition_where_its_subject_is_missing(quantity):
    """On two dense layers with a tanh, one sample: what concerns other layers changes nothing at all."""
    problem = dense_problem("hvp" if quantity == "hvp" else "")
    problem |= {"x": problem["x"][:1], "y": problem["y"][:1]}
    right = defined(quantity.replace("_", "-"), problem)
    quiet = {
        "gelu-by-tanh", "padding-at-end", "columns-without-padding", "dilation-ignored", "stride-ignored",
        "groups-interleaved", "kernel-flipped", "shortcut-constant", "average-without-padding", "padding-wins",
        "max-pool-spread", "batch-statistics", "eps-outside-the-root", "normalisation-constant", "shortcut-first",
        "zero-weights-frozen", "last-chunk-left-out", "chunks-overlap", "squared-without-half", "sum-over-samples",
    }  # fmt: skip
    for mistake in network_mistakes.of(quantity):
        if mistake.name in quiet:
            assert np.abs(mistake.fresh()(*problem.values()) - right).max() <= 1e-14 * np.abs(right).max()


@pytest.mark.parametrize("name", sorted(RULES))
def test_wrong_layers_differ_from_right_ones(name):
    """Every wrong step changes an answer on some case with a layer of its type."""
    tables = {
        "gelu": [network_rules.gelu_by_tanh()],
        "maxpool2d": [network_rules.padding_wins(), network_rules.spread_over_window()],
        "avgpool2d": [network_rules.padding_not_counted()],
        "batchnorm2d": [network_rules.batch_statistics(), network_rules.eps_outside()],
        "residual": [network_rules.shortcut_constant()],
        "conv2d": [
            network_rules.border_left_out(), network_rules.conv2d(network_rules.padding_at_end),
            network_rules.conv2d(network_rules.interleaved), network_rules.conv2d(kernel=lambda w: w[..., ::-1, ::-1]),
            *(network_rules.conv2d(network_rules.step_ignored(word)) for word in ("stride", "dilation")),
        ],
    }.get(name, [])  # fmt: skip
    found = [case.problem for case, _ in cases("per-sample-gradients", 80)]
    for table in tables:
        changed = [
            not np.allclose(
                defined("per-sample-gradients", p, {**RULES, **table}), defined("per-sample-gradients", p)
            )
            for p in found
        ]
        assert sum(changed) >= 3


def test_one_answer_names_its_mistake():
    case = next(case for case, _ in cases("hessian") if "Shortcut" in case.flags)
    wrong = defined("hessian", case.problem, {**RULES, **network_rules.shortcut_constant()})
    assert testing.verify("hessian", case.problem, wrong).looks_like == ["shortcut-constant"]


def test_torch_is_given_tensors_and_labels_in_a_process_of_its_own(monkeypatch):
    pytest.importorskip("torch", reason='needs PyTorch: pip install "refprune[torch]"')
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    report = testing.run("right_kernels:TORCH.hvp", "hvp", examples=40, dtype="float32", arrays="torch")
    assert report.outcome == "pass", str(report)


def test_a_failing_case_is_shrunk_and_printed_as_python():
    def hessian(layers, params, x, y, loss):
        return 2 * derivatives.hessian(layers, params, x, y, loss)

    report = testing.run(hessian, "hessian", examples=40, isolate=False)
    assert report.outcome == "fail"
    assert report.smallest["x"].shape[0] == 1
    namespace = {"np": np, "testing": testing, "implementation": hessian}
    with pytest.raises(AssertionError, match="hessian: fail"):
        exec(report.smallest_text(), namespace)
    assert '"0.weight"' in report.to_json()


@given(testing.strategies.problems("hvp"))
@settings(max_examples=20)
def test_problems_come_from_hypothesis(problem):
    testing.assert_pruned("hvp", problem, defined("hvp", problem))
