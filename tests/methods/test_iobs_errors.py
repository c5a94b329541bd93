"""The errors of I-OBS: before any work, with argument, rule and value."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import refprune as rp
from tests.methods.convex import planted
from tests.methods.problems import fractions


@dataclass
class Lacking:
    def value(self, w):
        return 0.0


def test_errors_come_before_any_work():
    problem, ones = rp.Quadratic(np.eye(3), np.ones(3)), np.ones(3)
    exact, scale = (
        rp.Quadratic(fractions(np.eye(3)), fractions(ones)),
        "need loss_scale to be 'mse-mean' or a number",
    )
    for error, message, call in (
        (TypeError, "need an objective with gradient, hvp, hessian; got Lacking", lambda: rp.iobs(Lacking(), 1, ones)),
        (ValueError, "need start where the objective is no problem", lambda: rp.iobs(planted(0)[0], 1)),
        (ValueError, r"need start of shape \(3,\); got \(2,\)", lambda: rp.iobs(problem, 1, ones[:2])),
        (ValueError, "need finite numbers in start", lambda: rp.iobs(problem, 1, ones * np.nan)),
        (TypeError, "need floating arrays in methods", lambda: rp.iobs(exact, 1)),
        (ValueError, r"need keep in \[0, 3\]; got 4", lambda: rp.iobs(problem, 4)),
        (TypeError, "need keep to be an integer; got 1.0", lambda: rp.iobs(problem, 1.0)),
        (ValueError, "need steps >= 1; got 0", lambda: rp.iobs(problem, 1, steps=0)),
        (ValueError, "need damp >= 0 and finite; got -1", lambda: rp.iobs(problem, 1, damp=-1)),
        (ValueError, "need selection to be one of topk, .*; got 'best'", lambda: rp.iobs(problem, 1, selection="best")),
        (ValueError, "need project to be one of H, euclid; got 'G'", lambda: rp.iobs(problem, 1, project="G")),
        (TypeError, "need rng, a numpy.random.Generator", lambda: rp.iobs(problem, 1, selection="random")),
        (TypeError, "need rng to be a numpy.random.Generator; got int", lambda: rp.iobs(problem, 1, rng=0)),
        (TypeError, "need sample to be a callable; got tuple", lambda: rp.iobs(problem, 1, sample=())),
        (TypeError, "need LeastSquares for loss_scale", lambda: rp.iobs(problem, 1, loss_scale="mse-mean")),
        (ValueError, f"{scale}; got 'sum'", lambda: rp.iobs(problem, 1, loss_scale="sum")),
        (TypeError, f"{scale}; got True", lambda: rp.iobs(problem, 1, loss_scale=True)),
        (ValueError, "need loss_scale > 0 and finite; got 0", lambda: rp.iobs(problem, 1, loss_scale=0)),
        (ValueError, "need at most 20 weights for selection 'exact'", lambda: rp.iobs(
            rp.Quadratic(np.eye(21), np.ones(21)), 1, selection="exact")),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()


def test_hessians_without_a_minimum_are_errors():
    wide = rp.LeastSquares(np.ones((2, 3)), np.ones(2))
    with pytest.raises(np.linalg.LinAlgError, match=r"need a positive definite hessian.*damp="):
        rp.iobs(wide, 1)
    assert rp.iobs(wide, 1, damp=0.1).mask.sum() == 1
    with pytest.raises(np.linalg.LinAlgError, match="need gradient 0 where the hessian has a zero diagonal"):
        rp.iobs(rp.Quadratic(np.diag([1.0, 0.0]), np.ones(2), np.ones(2)), 1)
    with pytest.raises(np.linalg.LinAlgError, match="got a negative diagonal entry"):
        rp.iobs(rp.Quadratic(np.diag([1.0, -1.0]), np.ones(2)), 1, damp=10.0)


def test_points_beyond_the_range_are_errors():
    narrow = np.diag([1e-3, 1.0]).astype(np.float16)
    ones = np.ones(2, dtype=np.float16)
    wide = np.diag([1e-45, 1.0])
    far = rp.Quadratic(
        np.diag([1e-30, 1.0]).astype(np.float32), np.ones(2, np.float32), np.array([1e20, 0], np.float32)
    )
    for message, call in (
        ("need an answer in the range of float16; got larger", lambda: rp.iobs(
            rp.Quadratic(narrow, ones, np.array([-100, 0], np.float16)), 1)),
        ("need an answer in the range of float32; got larger", lambda: rp.iobs(
            rp.Quadratic(wide, np.ones(2), np.array([-1.0, 0.0])), 1, np.ones(2, np.float32))),
        ("need a Newton point in the range of float32; got larger", lambda: rp.iobs(far, 1)),
    ):  # fmt: skip
        with pytest.raises(np.linalg.LinAlgError, match=message):
            call()


def own(value):
    """A quadratic of the user's own, whose value is `value`."""
    problem = rp.Quadratic(np.eye(2), np.ones(2))
    return SimpleNamespace(
        value=lambda w: value, gradient=problem.gradient, hvp=problem.hvp, hessian=problem.hessian
    )


@pytest.mark.parametrize("value", [None, "one", 1j, np.ones(2)])
def test_a_value_that_is_no_number_is_an_error(value):
    with pytest.raises(TypeError, match=rf"need value\(w\) to be a number; got {type(value).__name__}"):
        rp.iobs(own(value), 1, np.ones(2))


def test_a_value_that_is_nan_is_an_error():
    with pytest.raises(np.linalg.LinAlgError, match="need an objective with a value at a point; got nan"):
        rp.iobs(own(np.nan), 1, np.ones(2))
    assert rp.iobs(own(np.float32(2.5)), 1, np.ones(2)).objective == 2.5


@pytest.mark.parametrize(
    ("error", "message", "returned"),
    [
        (TypeError, r"need sample\(w, rng\) to return a tuple \(gradient, curvature\); got NoneType", None),
        (TypeError, r"a tuple \(gradient, curvature\); got 1 of them", (np.ones(3),)),
        (TypeError, r"a tuple \(gradient, curvature\); got ndarray", np.ones((2, 3))),
        (TypeError, "need curvature to be an array of .*; got builtins.list", (np.ones(3), [np.eye(3)])),
        (TypeError, "need curvature to be an array .*LayerProblem", (
            np.zeros(3), rp.LayerProblem(np.ones((1, 2)), np.eye(2)))),
        (TypeError, "need real floating numbers in curvature; got int64", (np.ones(3), np.eye(3, dtype=np.int64))),
        (ValueError, "need curvature with 1 or 2 dimensions", (np.ones(3), np.eye(3)[None])),
        (ValueError, "need finite numbers in curvature; got nan", (np.ones(3), np.full(3, np.nan))),
        (ValueError, "need finite numbers in gradient; got inf", (np.full(3, np.inf), np.ones(3))),
    ],
)  # fmt: skip
def test_a_sample_that_returns_something_else(error, message, returned):
    with pytest.raises(error, match=message):
        rp.iobs(rp.Quadratic(np.eye(3), np.ones(3)), 1, sample=lambda w, rng: returned)


def test_a_name_in_an_array_is_no_name():
    with pytest.raises(ValueError, match="need selection to be one of topk"):
        rp.iobs(rp.Quadratic(np.eye(3), np.ones(3)), 1, selection=np.array(["topk", "obs"]))
