"""The contract `newton-cg`: its objective against another one, bounds, kinks, what is said of a wrong answer."""

import numpy as np
import pytest

import refprune as rp
from refprune import testing
from refprune.definitions.snows import Ahead
from refprune.testing import networks, reference
from refprune.testing.architectures import PALETTE
from refprune.testing.cases import flags_of, generate, make_case
from refprune.testing.contracts import tail_view
from refprune.testing.tail import Tail, operations

CONTRACT = testing.contracts["newton-cg"]
BAD = ("NaN", "Inf", "Empty", "WrongShape", "WrongCount", "UnknownLayer")


def dense(inputs, outputs):
    return {"type": "dense", "inputs": inputs, "outputs": outputs, "bias": False}


def line(kind="softplus", **changes):
    """One weight that is kept, an activation, a factor of 2; two samples."""
    params = {"0.weight": np.array([[1.0, 2.0]]), "2.weight": np.array([[2.0]])}
    x = np.array([[1.0, 1.0], [1.0, -1.0]])
    layers = [dense(2, 1), {"type": kind}, dense(1, 1)]
    mask = np.array([[True, False]])
    return {"layers": layers, "params": params, "x": x, "layer": 0, "mask": mask, "horizon": 1, **changes}


def cases(examples=44, dtype="float64", seed=0):
    """Cases that must be answered, with their views."""
    for case in generate(CONTRACT, examples, seed, dtype, {}):
        view = CONTRACT.view(case.problem, {})
        if view.expects == "answer":
            yield case, view


def said(answer, **changes):
    checks = testing.verify("newton-cg", line(**changes), answer).checks
    return {check.name: check.explanation for check in checks if check.outcome == "fail"}


# ---------------------------------------------------------------- the objective


def test_the_objective_by_hand():
    """Outputs 3 and -1 for the dense weight, 1 and 1 for (1, 0); after ReLU 3 and 0."""
    view = CONTRACT.view(line("relu"), {})
    assert view.kinked
    assert view.tail.start.tolist() == [1.0, 0.0]
    assert view.first == (6.5, 1.0)  # (2^2 + 2^2 + 2^2 + 1^2) / 2, and -2 + 2 - 2 + 1


def test_the_objective_is_that_of_the_definition_of_snows():
    """`Ahead` differentiates all parameters, one part of the network after the other, and sums."""
    seen = 0
    for case, view in cases(60):
        tail, call = view.tail, case.problem
        if any(layer["type"] == "residual" for layer in tail.behind):  # a chain alone
            continue
        params = {name: array.astype(float) for name, array in call["params"].items()}
        f = Ahead(call["layers"], params, params, call["x"].astype(float), tail.name, call["horizon"])
        w = tail.start + 0.1 * tail.kept
        size = 1 + f.value(w)
        assert abs(tail.value(w) - f.value(w)) <= 1e-13 * size  # sums of some hundred terms
        gap = np.abs(tail.gradient(w) - np.where(tail.kept, f.gradient(w), 0)).max()
        assert gap <= 1e-12 * size
        seen += 1
    assert seen >= 30


def test_operations_inside_residual_blocks_count_one_by_one():
    """The published order: body before shortcut; what runs before the layer takes no part."""
    layers, shape = PALETTE["shortcut"].layers(lambda: {"type": "tanh"}), PALETTE["shortcut"].shape
    rng = np.random.default_rng(0)
    params, x = networks.parameters(rng, layers, shape, "float64"), rng.normal(size=(2, *shape))
    sizes = {
        0: 2 * 16,
        1: 2 * 16,
        2: 2 * 16,
        3: 2 * 16,
        4: 3 * 4,
    }  # conv; conv, tanh, conv of the block; conv
    kept = np.ones(params["0.weight"].size, bool)
    assert operations(layers) == 9
    for horizon in range(5):
        tail = Tail(layers, params, x, 0, kept, horizon)
        assert tail.outputs(tail.weight).shape == (2, sum(sizes[j] for j in range(horizon + 1)))
    assert Tail(layers, params, x, 6, kept[:0], 5).behind == layers[6:]


def test_the_hessian_is_that_of_the_definition():
    """Jets along the units of the kept entries, against jets along those of all parameters."""
    seen = 0
    for case in flagged("NegativeCurvature"):
        view, call = CONTRACT.view(case.problem, {}), case.problem
        tail = view.tail
        if any(layer["type"] == "residual" for layer in tail.behind):
            continue
        f = Ahead(call["layers"], tail.params, tail.params, tail.x, tail.name, call["horizon"])
        w, kept = tail.start, np.ix_(tail.kept, tail.kept)
        true = f.hessian(w)[kept]
        assert np.abs(tail.exact_hessian(w)[kept] - true).max() <= 1e-12 * np.abs(true).max()
        assert np.abs(tail.hessian(w)[kept] - true).max() > 1e-3 * np.abs(true).max()
        seen += 1
    assert seen >= 3


def test_the_gauss_newton_matrix_is_the_hessian_where_nothing_bends():
    view = CONTRACT.view(line("relu", mask=np.array([[True, True]]), horizon=2), {})
    tail, w, h = view.tail, np.array([1.0, 1.5]), 1e-4
    slopes = [(tail.gradient(w + h * u) - tail.gradient(w - h * u)) / (2 * h) for u in np.eye(2)]
    assert np.abs(tail.hessian(w) - slopes).max() <= 1e-9 * np.abs(slopes).max()  # eps / h


# ---------------------------------------------------------------- bounds


def test_what_singles_lose_is_inside_the_bounds():
    """F and its gradient in float32, by PyTorch, against float64."""
    torch = pytest.importorskip("torch")
    from right_networks import Torch
    from right_tails import ahead

    worst = [0.0, 0.0]
    for case, view in cases(60, "float32", 1):
        if set(case.flags) & {"NonContiguous", "ReadOnly", "Transposed", "KAll"} or view.kinked:
            continue
        call, tail = case.problem, view.tail
        w = torch.tensor(tail.start.reshape(view.shape).astype("f"), requires_grad=True)
        params = {name: torch.tensor(array) for name, array in call["params"].items()}
        x, place = torch.tensor(call["x"]), call["layer"]
        true, found = (
            torch.cat(ahead(Torch().step, call["layers"], given, x, place, call["horizon"]), 1)
            for given in (params, {**params, tail.name: w})
        )
        value = ((found - true) ** 2).sum() / len(x)
        value.backward()
        of_value, (of_slope, _) = view.rounding(tail.start), view.slope_rounding(tail.start)
        g = np.where(tail.kept, w.grad.numpy().reshape(-1).astype(float), 0)
        if of_slope:
            worst[0] = max(worst[0], abs(value.item() - view.first[0]) / of_value)
            worst[1] = max(worst[1], np.linalg.norm(g - tail.gradient(tail.start)) / of_slope)
    assert 1e-4 < worst[0] < 0.5
    assert 1e-4 < worst[1] < 0.5


def test_a_gradient_of_a_few_bounds_is_told_from_one_below():
    """K = 0: the best weight moved along a direction until its gradient has a share of the start's."""
    rng = np.random.default_rng(3)
    params = {"0.weight": rng.normal(size=(3, 5)) + 0.3}
    mask = np.abs(params["0.weight"]) > 0.6
    call = {"layers": [dense(5, 3)], "params": params, "x": rng.normal(size=(20, 5)) + 0.2, "layer": 0}
    call |= {"mask": mask, "horizon": 0}
    view = CONTRACT.view(call, {})
    best = CONTRACT.reference(*call.values())
    for w, row, kept in zip(best, params["0.weight"], mask, strict=True):  # least squares, row by row
        right = np.linalg.lstsq(call["x"][:, kept], call["x"] @ row, rcond=None)[0]
        assert (
            np.abs(w[kept] - right).max(initial=0) <= 1e-9
        )  # a gradient of 1e-9 of the first, condition below 10
    u = view.tail.spread(rng.normal(size=int(mask.sum())))
    u *= view.first[1] / np.linalg.norm(view.tail.hessian(u) @ u)
    for share, outcome in ((5e-5, "pass"), (2e-4, "fail")):
        moved = best + share * u.reshape(mask.shape)
        assert testing.verify("newton-cg", call, moved).outcome == outcome


def test_scales_change_no_verdict():
    """Powers of two in the weights and in the samples."""
    problem = line("softplus", mask=np.array([[True, True]]), horizon=0)
    for power in (-60, 0, 60):
        params = {**problem["params"], "0.weight": problem["params"]["0.weight"] * 2.0**power}
        call = {
            **problem,
            "params": params,
            "mask": np.array([[True, False]]),
            "x": problem["x"] + [[0, 0.5]],
        }
        best = CONTRACT.reference(*call.values())
        assert testing.verify("newton-cg", call, best).outcome == "pass"
        assert testing.verify("newton-cg", call, best * 1.01).outcome == "fail"


# ---------------------------------------------------------------- kinks


def corner():
    """One sample, 1; two units, of which the second one is pruned: V = (v, 0) for the dense (1/2, 1).

    The last layer gives relu(v) for 1/2 - 10, so that F has the slope -1 on the left of v = 0 and 17 on its right.
    """
    params = {"0.weight": np.array([[0.5], [1.0]]), "2.weight": np.array([[1.0, -10.0]])}
    return {
        "layers": [dense(1, 2), {"type": "relu"}, dense(2, 1)], "params": params, "x": np.array([[1.0]]), "layer": 0,
        "mask": np.array([[True], [False]]), "horizon": 2,
    }  # fmt: skip


def test_an_answer_at_a_kink_is_measured_by_what_a_search_gains():
    call = corner()
    view = CONTRACT.view(call, {})
    assert view.first == (102.0, 20.0)
    assert view.tail.value(np.zeros(2)) == 92.75
    for v, outcome in (
        (0.0, "pass"),
        (-1e-9, "pass"),
        (-0.1, "fail"),
        (0.1, "fail"),
        (0.5, "fail"),
        (-3.0, "fail"),
    ):
        assert testing.verify("newton-cg", call, np.array([[v], [0.0]])).outcome == outcome, v
    text = testing.verify("newton-cg", call, np.array([[-0.1], [0.0]])).checks[-1].explanation
    assert text.startswith(
        "the gradient on the kept entries has norm 1.2; at the start 20, and a search lowers F by "
    )


def test_where_nothing_bends_no_kink_is_an_excuse():
    """With a horizon of 0 the same weight has the best value 1/2."""
    call = {**corner(), "horizon": 0}
    for v, outcome in ((0.5, "pass"), (0.0, "fail")):
        assert testing.verify("newton-cg", call, np.array([[v], [0.0]])).outcome == outcome


# ---------------------------------------------------------------- what is said


def test_the_messages():
    start, best = np.array([[1.0, 0.0]]), CONTRACT.reference(*line().values())
    assert said(best) == {}
    text = said(start)["stationary"]
    assert text.startswith("the gradient on the kept entries has norm ")
    assert text.endswith(" (the weight is that of the start)")
    assert said(np.array([[1.0, 2.0]])) == {"zeros": "pruned entry (0, 1) is 2; exactly 0.0 is needed"}
    text = said(np.array([[5.0, 0.0]]))["no-worse"]
    assert text.startswith("F is ")
    assert "at the start, the dense weight times the mask, it is" in text
    assert said(np.array([1.0, 0.0])) == {"form": "the answer has shape (2,); (1, 2) is needed"}
    assert set(said(best.astype("f"))) == {"form"}
    value = CONTRACT.view(line(), {}).tail.value(best.reshape(-1))
    assert said({"weight": best, "objective": value}) == {}
    assert "(2 times as large)" in said({"weight": best, "objective": 2 * value})["objective"]


def test_an_answer_at_a_dense_start_stays():
    """Where nothing is pruned the start is the answer, with a gradient of 0."""
    call = line(mask=np.array([[True, True]]))
    assert testing.verify("newton-cg", call, call["params"]["0.weight"].copy()).outcome == "pass"
    assert testing.verify("newton-cg", call, np.array([[1.0, 2.01]])).outcome == "fail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": 1}, "layer is 1; the index of a dense layer or a convolution is needed"),
        ({"layer": 3}, "layer is 3"),
        ({"layer": True}, "layer is True; an integer is needed"),
        ({"horizon": -1}, "horizon is -1; 0 or more is needed"),
        ({"horizon": 1.0}, "horizon is 1.0; an integer is needed"),
        ({"mask": np.array([True, False])}, "mask is no boolean array of shape (1, 2)"),
        ({"mask": np.array([[1.0, 0.0]])}, "mask is no boolean array"),
        ({"x": np.ones((2, 2), int)}, "x is no array of real floating numbers"),
        ({"x": np.ones((0, 2))}, "x has shape (0, 2)"),
        ({"x": np.full((2, 2), np.inf)}, "x holds NaN or Inf"),
        ({"x": np.ones((2, 3))}, "a sample has the shape (3,); (2,) is needed"),
        ({"params": {"0.weight": np.ones((1, 2))}}, "params are not 0.weight, 2.weight"),
        (
            {"params": {"0.weight": np.ones((2, 1)), "2.weight": np.ones((1, 1))}},
            "params['0.weight'] has shape (2, 1); (1, 2) is needed",
        ),
        ({"params": {"0.weight": np.ones((1, 2)), "2.weight": np.full((1, 1), np.nan)}}, "holds NaN or Inf"),
    ],
)
def test_bad_calls_are_expected_to_be_refused(change, words):
    view = CONTRACT.view(line(**change), {})
    assert view.expects == "error"
    assert words in view.reason
    with pytest.raises((ValueError, TypeError)):
        reference.newton_cg(**line(**change))


# ---------------------------------------------------------------- cases


def flagged(flag, seed=0, dtype="float64"):
    flags = flags_of(CONTRACT, {})
    return [make_case(CONTRACT, n, seed, dtype, {}) for n in range(flags.index(flag), 400, len(flags))]


def test_cases_are_what_their_flags_say():
    for flag in BAD:
        assert {CONTRACT.view(case.problem, {}).expects for case in flagged(flag)} == {"error"}
    for case in flagged("ZeroResidual"):
        assert CONTRACT.view(case.problem, {}).first == (0, 0)
    for case in flagged("K1"):
        assert (~case.problem["mask"]).sum() == 1
    for case in flagged("KAll"):
        assert not case.problem["mask"].any()
    for case in flagged("HorizonBeyond"):
        assert case.problem["horizon"] > operations(case.problem["layers"][case.problem["layer"] :]) - 1
    for case in flagged("MaxPool"):
        assert case.problem["layer"] == 0
    for case in flagged("LossScale"):
        assert 0 < CONTRACT.view(case.problem, {}).first[0] < 1e-1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cases_of_negative_curvature_have_it_and_leave_a_way(dtype):
    """The Hessian's smallest eigenvalue; the exact step leads uphill; both forms of `rp.newton_cg` arrive."""
    for case in flagged("NegativeCurvature", dtype=dtype):
        view = CONTRACT.view(case.problem, {})
        tail, kept = view.tail, np.ix_(view.tail.kept, view.tail.kept)
        assert not view.kinked
        values = np.linalg.eigvalsh(tail.exact_hessian(tail.start)[kept])
        assert values[0] < -0.02 * values[-1] < 0
        g, H = tail.gradient(tail.start)[tail.kept], tail.exact_hessian(tail.start)[kept]
        assert g @ H @ g > 0
        step = -np.linalg.solve(H, g)
        assert g @ step > 0
        for matrix in ("hessian", "gauss-newton"):
            network = rp.Network.from_dicts(case.problem["layers"])
            goal = rp.Reconstruction(
                network, *(case.problem[name] for name in ("params", "x", "layer", "horizon"))
            )
            mask = case.problem["mask"]
            found = rp.newton_cg(goal, mask.reshape(-1), goal.weight, curvature=matrix, max_iter=100)
            answer = found.weight.reshape(mask.shape)
            assert testing.verify("newton-cg", case.problem, answer).outcome == "pass", matrix


def test_smooth_and_kinked_tails_come_both():
    found = [view.kinked for _, view in cases(80)]
    assert 5 <= sum(found) <= len(found) - 20


def test_every_transform_gives_another_legal_call():
    seen = set()
    for case, _ in cases(40):
        for transform in CONTRACT.transforms:
            moved = transform(CONTRACT, case.problem, np.random.default_rng(0))
            if moved is not None:
                assert CONTRACT.view(moved, {}).expects == "answer"
                seen.add(transform.__name__)
    assert len(seen) == len(CONTRACT.transforms)


def test_permuted_units_leave_the_objective_alone():
    from refprune.testing.contracts.tail_build import hidden_units

    for case, view in cases(40):
        moved = hidden_units(CONTRACT, case.problem, np.random.default_rng(1))
        if moved is not None:
            other = CONTRACT.view(moved, {})
            assert abs(other.first[0] - view.first[0]) <= 1e-13 * (1 + view.first[0])


def test_a_loose_search_finds_no_gain_from_the_wrong_side():
    """`_searched` never returns more than the value it started from."""
    view = CONTRACT.view(line(), {})
    w, g = view.tail.start, view.tail.gradient(view.tail.start)
    value = view.tail.value(w)
    assert tail_view._searched(view.tail, w, g, value, float(g @ g)) == value
    assert tail_view._searched(view.tail, w, -g, value, -float(g @ g)) < value
