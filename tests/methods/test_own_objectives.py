"""IHT, HTP and CoSaMP on what users hand in: objectives of their own, whole numbers of any kind."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp

METHODS = {"iht": rp.iht, "htp": rp.htp, "cosamp": rp.cosamp}
D = 9


class Own:
    """A quadratic with the minimum `best`; `change` names functions and what happens to their results."""

    def __init__(self, seed, **change):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(3 * D, D)) + 0.25
        self.H, self.best, self.change = X.T @ X / len(X), rng.normal(size=D), change

    def result(self, name, value):
        return self.change.get(name, lambda x: x)(value)

    def value(self, w):
        return self.result("value", (w - self.best) @ self.H @ (w - self.best) / 2)

    def gradient(self, w):
        return self.result("gradient", self.H @ (w - self.best))

    def hvp(self, w, v):
        return self.result("hvp", self.H @ v)

    def hessian(self, w):
        return self.H


class Buffer:
    """Hands out one array again and again."""

    def __init__(self):
        self.array = np.zeros(D)

    def __call__(self, result):
        self.array[:] = result
        return self.array


@pytest.mark.parametrize("name", METHODS)
def test_one_buffer_for_all_gradients_changes_no_bit(name):
    for seed in range(40):
        keep, start = 1 + seed % 4, np.random.default_rng(seed).normal(size=D)
        buffer = Buffer()
        mine = METHODS[name](Own(seed, gradient=buffer, hvp=buffer), keep, start)
        theirs = METHODS[name](Own(seed), keep, start)
        assert_array_equal(mine.weight, theirs.weight)
        assert mine.trace == theirs.trace


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, r"need gradient\(w\) to be an array of .*; got .*list", {"gradient": list}),
        (ValueError, r"need gradient\(w\) of shape \(9,\); got \(9, 1\)", {"gradient": lambda g: g[:, None]}),
        (ValueError, r"need gradient\(w\) of shape \(9,\); got \(8,\)", {"gradient": lambda g: g[1:]}),
        (TypeError, r"need real floating numbers in gradient\(w\); got int64", {"gradient": np.int64}),
        (ValueError, r"need hvp\(w, v\) of shape \(9,\); got \(4,\)", {"hvp": lambda p: p[:4]}),
        (TypeError, r"need value\(w\) to be a number; got NoneType", {"value": lambda value: None}),
    ],
)
def test_what_they_return_is_checked(name, error, message, change):
    with pytest.raises(error, match=message):
        METHODS[name](Own(0, **change), 4, np.ones(D))


@pytest.mark.parametrize("name", METHODS)
def test_whole_numbers_of_any_kind(name):
    """One more than a small one is 0."""
    start = np.random.default_rng(1).normal(size=D)
    mine = METHODS[name](Own(1), np.uint8(3), start, max_iter=np.uint8(255))
    theirs = METHODS[name](Own(1), 3, start, max_iter=255)
    assert_array_equal(mine.weight, theirs.weight)
    assert mine.trace == theirs.trace


@pytest.mark.parametrize("name", ["htp", "cosamp"])
def test_a_saddle_that_is_the_weight_itself_is_no_minimum(name):
    """Whether the solve has to move or not; a diagonal is a Hessian too. Where it is definite nothing is raised."""
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    weight, start = np.array([1.0, -2.0, 3.0, 4.0]), np.array([1.0, 0.5, 3.5, 4.0])
    for values in ([2.0, 1.0, -0.5, 3.0], [2.0, 1.0, 0.5, 3.0]):
        for H in (turn * values @ turn.T, np.array(values)):
            H = (H + H.T) / 2
            if min(values) > 0:
                assert_allclose(METHODS[name](rp.Quadratic(H, weight), 4, start).weight, weight, rtol=1e-12)
                continue
            for gradient in (None, np.full(4, 0.125)):
                with pytest.raises(np.linalg.LinAlgError, match=r"need a positive (semi)?definite hessian"):
                    METHODS[name](rp.Quadratic(H, weight, gradient), 4, start)


@pytest.mark.parametrize("name", METHODS)
def test_an_answer_that_the_dtype_of_the_start_cannot_hold_is_an_error(name):
    """The minimum is near 10^5, beyond float16; float32 holds it."""
    H, w, g = np.diag([1e-3, 1.0]), np.ones(2), np.array([-100.0, 0.0])
    narrow = rp.Quadratic(*(x.astype(np.float16) for x in (H, w, g)))
    with pytest.raises(np.linalg.LinAlgError, match="need an answer in the range of float16"):
        METHODS[name](narrow, 1)
    wide = METHODS[name](narrow, 1, np.ones(2, np.float32))
    assert wide.weight.dtype == np.float32
    assert abs(wide.weight[0] - 1e5) < 200  # 1e-3 in float16 is off by 5e-4 of itself at most
