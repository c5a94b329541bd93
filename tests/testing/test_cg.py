"""The contract `cg`: operators that travel, cases that are what they say, bounds, and solvers that others ship."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from refprune import testing
from refprune.curvature import conjugate_gradient
from refprune.testing import kinds, reference, wire
from refprune.testing.cases import make_case
from refprune.testing.isolation import Runner
from refprune.testing.operators import Operator
from refprune.testing.shrink import shrink

CONTRACT = testing.contracts["cg"]
A, B = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]]), np.array([1.0, -2.0, 0.5])


@pytest.fixture(autouse=True)
def _adapters(monkeypatch):
    """The adapters are importable here and in the worker."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def problem(**changes):
    return {"matvec": Operator(A), "b": B, "rtol": 1e-6, **changes}


def broken(verdict):
    return {check.name: check.explanation for check in verdict.checks if check.outcome == "fail"}


# ---------------------------------------------------------------- operators


def test_an_operator_is_its_product():
    product = Operator(A)
    assert product(B).tolist() == (A @ B).tolist()
    assert product(np.array([1, 0, 0])).tolist() == A[0].tolist()
    assert product(B.astype("f")).dtype == np.float64  # the wider of the two
    assert product.products == 3
    assert (product.shape, product.dtype) == ((3, 3), np.float64)
    assert "Operator(array([[" in repr(product)
    for wrong in (np.ones(2), np.ones((3, 1)), 1.0, [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"need v of shape \(3,\)"):
            product(wrong)
    assert product.products == 3


def test_an_operator_travels_as_its_matrix():
    sent = Operator(np.asfortranarray(A[:, :2].T @ A[:, :2]))
    got = wire.decode(wire.unpack(wire.pack(wire.encode({"a": [sent]}, strict=True))[wire.HEADER.size :]))[
        "a"
    ][0]
    assert isinstance(got, Operator)
    assert np.array_equal(got.matrix, sent.matrix)
    assert got.matrix.flags.f_contiguous
    assert not np.shares_memory(got.matrix, sent.matrix)
    assert got.products == 0


def test_an_operator_becomes_one_of_the_asked_kind():
    torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "refprune[torch]"')
    there = kinds.tree_to_kind([Operator(A), 2], "torch")[0]
    assert isinstance(there(torch.ones(3, dtype=torch.float64)), torch.Tensor)
    assert there(torch.ones(3)).dtype == torch.float64
    assert there(torch.ones(3)).tolist() == A.sum(axis=1).tolist()


@pytest.mark.parametrize("isolate", [True, False])
def test_products_are_counted_call_by_call(isolate):
    name = "refprune.testing.reference:cg"
    with Runner(name, isolate=isolate) as runner:
        outcome = runner.call(problem(), 2)
    assert outcome.products == (4, 4)  # three steps, and the true residual
    assert outcome.mutated == ()
    assert np.allclose(outcome.answers[0], np.linalg.solve(A, B))


def test_failures_shrink_to_a_small_matrix_that_can_be_pasted():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 6))
    start = {"matvec": Operator(matrix @ matrix.T + np.eye(6)), "b": rng.normal(size=6), "rtol": 0.001}
    small = shrink(start, CONTRACT.axes, lambda p: p["b"].size >= 2 and p["matvec"].matrix[0, 0] > 0)
    assert isinstance(small["matvec"], Operator)
    assert small["matvec"].matrix.tolist() == [[1, 0], [0, 0]]
    assert small["b"].shape == (2,)
    report = testing.run("solvers_by_others:returns_nothing_small", "cg", examples=40, isolate=False)
    assert report.outcome == "fail"
    assert "testing.Operator(np.array([[" in report.smallest_text()
    pasted = {"np": np, "testing": testing, "implementation": reference.cg}
    exec(report.smallest_text(), pasted)
    stored = json.loads(report.to_json())["smallest"]["matvec"]["operator"]
    assert stored["shape"] == list(pasted["problem"]["matvec"].shape)


# ---------------------------------------------------------------- verify


def test_verify_takes_operators_matrices_and_functions():
    x = np.linalg.solve(A, B)
    for matvec in (Operator(A), A, lambda v: A @ v):
        assert testing.verify("cg", problem(matvec=matvec), x).outcome == "pass"
        assert set(broken(testing.verify("cg", problem(matvec=matvec), x + 1e-3))) == {"residual"}


def test_the_promises():
    x = np.linalg.solve(A, B)
    bound = 1e-6 * np.linalg.norm(B)
    step = np.linalg.solve(A, bound * np.array([0.6, 0.8, 0.0]))
    assert testing.verify("cg", problem(), x + 0.99 * step).outcome == "pass"
    assert broken(testing.verify("cg", problem(), x + 1.01 * step))["residual"].startswith(
        "|b - A x| is 1.01e-06"
    )
    assert broken(testing.verify("cg", problem(), x.astype("f")))["form"].endswith("that of b is float64")
    assert "shape (2,)" in broken(testing.verify("cg", problem(), x[:2]))["form"]
    assert "3 of 3 entries are NaN" in broken(testing.verify("cg", problem(), x * np.nan))["finite"]
    assert (
        "shares memory with the input b"
        in broken(testing.verify("cg", problem(b=x, matvec=np.eye(3)), x))["form"]
    )


def test_zero_is_zero():
    nothing = problem(b=np.zeros(3))
    assert testing.verify("cg", nothing, np.zeros(3)).outcome == "pass"
    assert testing.verify("cg", nothing, -np.zeros(3)).outcome == "pass"
    assert (
        broken(testing.verify("cg", nothing, np.full(3, 1e-300)))["residual"]
        == "b is 0 and the answer is not"
    )


def test_what_is_not_definite_leaves_two_right_answers():
    for matrix, b, x, words in (
        (
            np.diag([1.0, -1.0]),
            np.array([1.0, 2.0]),
            np.array([1.0, -2.0]),
            "A has a negative eigenvalue, -1",
        ),
        (np.ones((2, 2)), np.array([1.0, 1.0]), np.array([0.25, 0.75]), "A is singular to rounding"),
    ):
        given_problem = {"matvec": Operator(matrix), "b": b, "rtol": 1e-6}
        assert testing.verify("cg", given_problem, x).outcome == "pass"
        assert testing.verify("cg", given_problem, ValueError("not definite")).outcome == "pass"
        assert testing.verify("cg", given_problem, x * np.nan).outcome == "pass"
        assert testing.verify("cg", given_problem, x * np.nan, claims={"validates": True}).outcome == "fail"
        truncated = testing.verify("cg", given_problem, 0.9 * x)
        assert broken(truncated)["residual"].startswith(words)
    definite = testing.verify("cg", problem(), ValueError("gave up"))
    assert "answers" in broken(definite)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"rtol": float("nan")}, "rtol is nan"),
        ({"rtol": True}, "rtol is True"),
        ({"b": np.ones(2)}, "matvec takes vectors of 3"),
        ({"b": np.ones((3, 1))}, "b has shape (3, 1)"),
        ({"b": np.ones(3, int)}, "real numbers are needed"),
        ({"b": np.array([1.0, np.inf, 0.0])}, "b holds NaN or Inf"),
        ({"matvec": Operator(A * np.nan)}, "the products hold NaN or Inf"),
        ({"matvec": Operator(np.triu(A))}, "not symmetric"),
    ],
)
def test_bad_calls_are_expected_to_be_refused(change, words):
    view = CONTRACT.view(problem(**change), {})
    assert view.expects == "error"
    assert words in view.reason


# ---------------------------------------------------------------- cases and bounds


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_flags_are_what_they_say(dtype):
    for number in range(240):
        case = make_case(CONTRACT, number, 3, dtype, {})
        flag = (*case.flags, None)[0]
        view = CONTRACT.view(case.problem, {})
        b, matrix = case.problem["b"], case.problem["matvec"].matrix
        assert b.dtype == matrix.dtype == dtype
        if flag in ("NaN", "Inf", "Empty", "WrongShape"):
            assert view.expects == "error", (flag, view.reason)
            continue
        expected = {"Singular": "free", "NegativeCurvature": "free"}.get(flag, "answer")
        assert view.expects == expected, (flag, view.reason)
        norm = np.linalg.norm(b.astype(float))
        if flag == "ZeroResidual" and norm:
            exact = np.linalg.solve(matrix.astype(float), b.astype(float))
            assert np.array_equal(matrix @ exact, b)
            assert np.count_nonzero(b) == 1
        if flag == "Subnormal" and dtype != "float16":
            assert b.any()
            assert not (b * b).any()
        if flag == "LossScale" and dtype == "float64":
            assert norm < 1e-5 or norm > 1e3
        if flag == "IllConditioned":
            assert np.linalg.cond(matrix.astype(float)) < 2e8


def test_the_conditions_reach_what_is_promised():
    conditions = [
        np.linalg.cond(make_case(CONTRACT, number, seed, "float64", {}).problem["matvec"].matrix)
        for seed in range(10)
        for number in range(200)
        if make_case(CONTRACT, number, seed, "float64", {}).flags == ("IllConditioned",)
    ]
    assert max(conditions) > 1e7
    assert min(conditions) < 100


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_answers_off_by_a_hundred_bounds_are_flagged(dtype):
    """In the direction of the largest eigenvalue, where a residual is found first."""
    for number in range(120):
        case = make_case(CONTRACT, number, 4, dtype, {})
        view = CONTRACT.view(case.problem, {})
        if view.expects != "answer" or not view.b.any() or "Subnormal" in case.flags:
            continue
        x = np.linalg.solve(view.matrix, view.b)
        size, rtol = np.linalg.norm(view.b), case.problem["rtol"]
        assert testing.verify("cg", case.problem, x.astype(dtype)).outcome == "pass"
        allowed = rtol * size + 64 * np.finfo(dtype).eps * view.largest * np.linalg.norm(x)
        top = np.linalg.eigh(view.matrix)[1][:, -1]
        wrong = x + (100 if rtol < 1e-3 else 2) * allowed / view.largest * top
        assert set(broken(testing.verify("cg", case.problem, wrong.astype(dtype)))) == {"residual"}


def test_too_many_products_are_told():
    def patient(matvec, b, rtol):
        for _ in range(51 * b.size + 500):
            matvec(b)
        return reference.cg(matvec, b, rtol)

    report = testing.run(patient, "cg", examples=40, isolate=False)
    assert {record.check for record in report.failures} == {"products"}
    assert any("50 d + 500 = 650 are enough" in record.explanation for record in report.failures)


@given(testing.strategies.problems("cg"))
def test_strategies_give_problems_that_can_be_called(call):
    x = conjugate_gradient(call["matvec"], call["b"], rtol=call["rtol"]).solution
    testing.assert_pruned("cg", call, x)


# ---------------------------------------------------------------- solvers that others ship


def failures(report):
    return {(record.check, record.flags) for record in report.failures}


def test_scipy_hands_back_b_where_its_norm_is_zero():
    """`cg` returns its argument b when ``norm(b) == 0``, and the norm of a tiny b underflows to 0."""
    report = testing.run("solvers_by_others:scipy_cg", "cg")
    assert failures(report) == {("form", ("ZeroResidual",)), ("form", ("Subnormal",))}
    assert all("the answer shares memory with the input b" in r.explanation for r in report.failures)
    from solvers_by_others import scipy_cg

    tiny = problem(b=B * 1e-300)
    assert np.shares_memory(scipy_cg(*tiny.values()), tiny["b"])
    copied = testing.verify("cg", tiny, scipy_cg(*tiny.values()).copy())
    assert "residual" in broken(copied)


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason='JAX is judged here: pip install "refprune[jax]"'
)
def test_jax_compares_squares_which_underflow():
    """`cg` stops at ``r^T r <= tol^2 b^T b``; for a tiny b both are 0, and the start, 0, is returned."""
    wanted = ((), ("ZeroResidual",), ("IllConditioned",), ("LossScale",), ("Subnormal",))
    cases = [make_case(CONTRACT, number, 0, "float64", {}) for number in range(60)]
    few = [case.number for case in cases if case.flags in wanted]  # JAX compiles every call anew
    report = testing.run("solvers_by_others:jax_cg", "cg", examples=60, arrays="jax", only=few)
    assert failures(report) == {("residual", ("Subnormal",))}
    assert report.looks_like == ["squares-underflow"]


def test_refprune_passes_in_a_process_of_its_own():
    report = testing.run("refprune.testing.reference:cg", "cg", examples=60, claims=reference.CLAIMS["cg"])
    assert report.outcome == "pass", str(report)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_works_on_its_own_arrays(dtype):
    pytest.importorskip("torch", reason='needs PyTorch: pip install "refprune[torch]"')
    report = testing.run("right_kernels:TORCH.cg", "cg", examples=40, dtype=dtype, arrays="torch")
    assert report.outcome == "pass", str(report)
