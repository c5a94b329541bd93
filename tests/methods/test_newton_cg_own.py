"""Newton-CG on objectives of the user's own, beyond the range of numbers, and in narrow answers."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp

D = 5
KEPT = np.array([True, True, False, True, True])


class Own:
    """``sum (w - 3)^4``; `change` names functions and what happens to their results."""

    def __init__(self, **change):
        self.change = change

    def result(self, name, value):
        return self.change.get(name, lambda x: x)(value)

    def value(self, w):
        return self.result("value", ((w - 3) ** 4).sum())

    def gradient(self, w):
        return self.result("gradient", 4 * (w - 3) ** 3)

    def hvp(self, w, v):
        return self.result("hvp", 12 * (w - 3) ** 2 * v)

    def hessian(self, w):
        raise AssertionError("the Hessian is formed")


START = np.array([1.0, 2.25, 0.5, 4.5, -1.0])


def test_one_buffer_for_gradients_and_products_changes_no_bit():
    array = np.zeros(D)

    def buffer(result):
        array[:] = result
        return array

    mine = rp.newton_cg(Own(gradient=buffer, hvp=buffer), KEPT, START)
    theirs = rp.newton_cg(Own(), KEPT, START)
    assert_array_equal(mine.weight, theirs.weight)
    assert mine.trace == theirs.trace


def put(value, at):
    """Another entry `at`."""

    def change(array):
        array[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, r"need gradient\(w\) to be an array of .*; got .*list", {"gradient": list}),
        (ValueError, r"need gradient\(w\) of shape \(5,\); got \(5, 1\)", {"gradient": lambda g: g[:, None]}),
        (TypeError, r"need real floating numbers in gradient\(w\); got int64", {"gradient": np.int64}),
        (TypeError, r"need real floating numbers in hvp\(w, v\); got complex128", {"hvp": np.complex128}),
        (ValueError, r"need hvp\(w, v\) of shape \(5,\); got \(4,\)", {"hvp": lambda p: p[:4]}),
        (TypeError, r"need value\(w\) to be a number; got NoneType", {"value": lambda value: None}),
        (TypeError, r"need value\(w\) to be a number; got str", {"value": lambda value: "three"}),
        (np.linalg.LinAlgError, r"need a finite gradient\(w\) at every point", {"gradient": put(np.nan, 1)}),
        (np.linalg.LinAlgError, r"need hvp\(w, v\) \+ 0.5 v to be finite; got others", {"hvp": put(np.inf, 0)}),
        (np.linalg.LinAlgError, r"need a finite objective at every point; got -inf", {"value": lambda f: -np.inf}),
    ],
)  # fmt: skip
def test_what_they_return_is_checked(error, message, change):
    with pytest.raises(error, match=message):
        rp.newton_cg(Own(**change), KEPT, START, damp=0.5)


def test_what_is_off_the_mask_does_not_matter():
    wild = rp.newton_cg(Own(gradient=put(np.nan, 2), hvp=put(np.inf, 2)), KEPT, START)
    assert_array_equal(wild.weight, rp.newton_cg(Own(), KEPT, START).weight)


def test_functions_are_functions():
    own = Own()
    own.gauss_newton_product = np.eye(D)
    with pytest.raises(TypeError, match="need objective with gauss_newton_product; got Own"):
        rp.newton_cg(own, KEPT, START, curvature="gauss-newton")


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
def test_products_at_one_point_are_of_the_curvature_that_was_asked_for(curvature):
    rng = np.random.default_rng(318)
    network = rp.mlp([3, 3, 2], activation="tanh")
    params, x = network.init(rng), rng.normal(size=(20, 3)) + 0.25
    f = rp.Reconstruction(network, params, x, 0, None)
    mask, start = rng.random(9) < 0.7, 3 * rng.normal(size=9)
    w = np.where(mask, start, 0)
    product = f.hvp if curvature == "hessian" else f.gauss_newton_product
    A = product(w, np.eye(9))[np.ix_(mask, mask)] + 4 * np.eye(mask.sum())
    assert np.linalg.eigvalsh(A)[0] > 0.5
    assert np.abs(f.hvp(w, w) - f.gauss_newton_product(w, w)).max() > 0.1
    answer = rp.newton_cg(f, mask, start, curvature=curvature, damp=4.0, max_iter=1, cg_rtol=1e-13)
    s = np.linalg.solve(A, -f.gradient(w)[mask])
    # a condition below 100
    assert_allclose((answer.weight - w)[mask], answer.trace[0].step * s, rtol=0, atol=1e-11)


def test_what_else_an_objective_has_is_its_own():
    own = Own()
    own.products = ["bread", "milk"]
    assert_array_equal(rp.newton_cg(own, KEPT, START).weight, rp.newton_cg(Own(), KEPT, START).weight)


def test_no_value_and_no_gradient_is_asked_for_twice():
    asked = {"value": [], "gradient": []}

    class Counted(Own):
        def value(self, w):
            asked["value"].append(tuple(w))
            return super().value(w)

        def gradient(self, w):
            asked["gradient"].append(tuple(w))
            return super().gradient(w)

    answer = rp.newton_cg(Counted(), KEPT, START)
    assert len(answer.trace) > 5
    for points in asked.values():
        assert len(points) == len(set(points)) == len(answer.trace)  # every step has t = 1


def test_a_value_that_is_nan_behind_a_wall_is_no_step():
    """NaN where a weight is above 2: the points before the wall count, and the value falls."""
    calls = []

    class Wall(Own):
        def value(self, w):
            calls.append(w.copy())
            return np.nan if np.any(w > 2) else super().value(w)

    answer = rp.newton_cg(Wall(), KEPT, np.minimum(START, 1.5))
    values = [step.value for step in answer.trace]
    assert np.all(np.diff(values) < 0)
    assert np.any([w > 2 for w in calls])
    assert np.all(answer.weight <= 2)
    assert answer.trace[-1].reason == "line_search"


def test_a_step_out_of_range_is_shortened_and_never_asked_for():
    """From 1.7e308 by 2^1020 = 1.12e307: only 0.81 of it stays below the largest number, 1.797e308."""

    class Slide(Own):
        def value(self, w):
            assert np.isfinite(w).all(), "asked for a value at a point out of range"
            return -w[0]

        def gradient(self, w):
            return np.array([-1.0])

        def hvp(self, w, v):
            return 2.0**-1020 * v

    answer = rp.newton_cg(Slide(), KEPT[:1], np.array([1.7e308]), max_iter=1)
    assert answer.trace[0].step == pytest.approx(0.81, rel=1e-14)
    assert answer.weight[0] == pytest.approx(1.7e308 + 0.81 * 2.0**1020, rel=1e-14)


class Line:
    """Over one weight, from 0: slope -1 and curvature 1, so s = 1; the values are those of `value`."""

    def __init__(self, value):
        self.value = lambda w: value(w[0])

    def gradient(self, w):
        return np.array([-1.0])

    def hvp(self, w, v):
        return v

    def hessian(self, w):
        raise AssertionError("the Hessian is formed")


def test_the_decrease_that_is_asked_for_shrinks_with_t():
    """5e-6 everywhere: enough for the first t below 1/2."""
    answer = rp.newton_cg(Line(lambda w: -5e-6 if w else 0.0), KEPT[:1], np.zeros(1), max_iter=1)
    assert answer.trace[0].step == pytest.approx(0.9**7, rel=1e-14)


def test_there_are_fifty_values_of_t():
    asked = []

    def below(edge):
        def value(w):
            asked.append(w)
            return 0.0 if w == 0 else -w if w < edge else 1.0

        return rp.newton_cg(Line(value), KEPT[:1], np.zeros(1), max_iter=1)

    assert below(0.9**48.5).trace[0].step == pytest.approx(0.9**49, rel=1e-13)
    asked.clear()
    assert below(0.9**49.5).trace[0].reason == "line_search"
    assert_array_equal(asked[0], 0)
    assert_array_equal(np.round(np.log(asked[1:]) / np.log(0.9)), np.arange(50))


@pytest.mark.parametrize(("units", "reason"), [(24, "stagnated"), (40, "line_search")])
def test_a_decrease_below_32_units_of_rounding_is_lost(units, reason):
    """A decrease by 1 is promised, and 1 is so many units of rounding of the value."""
    high = 2.0**52 / units
    answer = rp.newton_cg(Line(lambda w: high + (w > 0)), KEPT[:1], np.zeros(1))
    assert [step.reason for step in answer.trace] == [reason]
    assert_array_equal(answer.weight, 0)


def test_products_that_are_not_symmetric_are_not_called_converged():
    """Conjugate gradients find an s, and it points uphill."""
    A, b = np.array([[1.0, -1.0, 0.0], [2.0, 7.0, 1.0], [-1.0, 0.0, 0.0]]), np.array([5.0, 2.0, -2.0])

    class Skew(Own):
        def value(self, w):
            return -b @ w

        def gradient(self, w):
            return -b

        def hvp(self, w, v):
            return A @ v

    answer = rp.newton_cg(Skew(), np.ones(3, dtype=bool), np.zeros(3), cg_rtol=0.9)
    assert answer.trace[0].iterations > 0
    assert answer.trace[0].solve == "converged"
    assert answer.trace[0].reason == "line_search"
    assert_array_equal(answer.weight, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cg_rtol": 1.0}, r"need cg_rtol < 1 \(at 1 no step is asked for\); got 1.0"),
        ({"cg_rtol": 4}, "need cg_rtol < 1 .*; got 4"),
        ({"curvature": ["hessian"]}, r"need curvature to be one of hessian, gauss-newton; got \['hessian'\]"),
    ],
)
def test_options_that_ask_for_nothing(wrong, message):
    with pytest.raises(ValueError, match=message):
        rp.newton_cg(Own(), KEPT, START, **wrong)


def test_damping_beyond_the_range_is_an_error():
    with pytest.raises(np.linalg.LinAlgError, match=r"need hvp\(w, v\) \+ 1e\+300 v to be finite"):
        rp.newton_cg(Own(), KEPT, START.astype("float32"), damp=1e300)


def test_an_answer_out_of_range_is_an_error():
    far = rp.Quadratic(np.eye(2), np.array([1.0, 1e6]))
    with pytest.raises(np.linalg.LinAlgError, match="need an answer in the range of float16"):
        rp.newton_cg(far, KEPT[:2], np.ones(2, dtype="float16"))
    assert rp.newton_cg(far, KEPT[:2], np.ones(2, dtype="float32")).weight[1] == 1e6


def test_rounding_to_a_narrower_dtype_never_raises_the_objective():
    """Starts are the best of the 27 points of float16 around a minimum; rounding it is often worse."""
    stayed, mask = 0, np.ones(3, dtype=bool)
    for seed in range(40):
        rng = np.random.default_rng([317, seed])
        A = rng.normal(size=(6, 3)) @ np.diag([1, 0.1, 0.01]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        f = rp.Quadratic(A.T @ A, rng.normal(size=3) + 0.5)
        near = f.weight.astype("float16")
        moves = np.array(list(product((-1, 0, 1), repeat=3)), dtype="float16")
        around = np.where(moves == 0, near, np.nextafter(near, np.float16(60000) * moves))
        start = around[np.argmin([f.value(w.astype(float)) for w in around])]
        answer = rp.newton_cg(f, mask, start)
        assert answer.weight.dtype == "float16"
        assert answer.objective == f.value(answer.weight) <= f.value(start)
        if answer.trace[-1].reason == "stagnated":
            stayed += 1
            assert_array_equal(answer.weight, start)
            assert (len(answer.trace), answer.trace[0].step) == (1, 0.0)
            assert answer.trace[0].value == answer.objective
    assert stayed > 5


def test_answers_never_alias_what_was_given():
    mask, start = KEPT.copy(), START.copy()
    answer = rp.newton_cg(Own(), mask, start, max_iter=0)
    assert not np.shares_memory(answer.mask, mask)
    assert not np.shares_memory(answer.weight, start)
