"""The definition of ALPS: one step by hand, exact on Fractions, and its units."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from refprune import definitions
from tests.methods.admm import admm
from tests.methods.problems import fractions, spd

W = np.array([[3.0, -1.0, 2.0, 1.0], [1.0, 2.0, -2.0, -3.0]])
G = np.array([[2.0, 1.0, 0.0, 0.5], [1.0, 3.0, 1.0, 0.0], [0.0, 1.0, 2.0, 1.0], [0.5, 0.0, 1.0, 4.0]])


def test_one_step_by_hand():
    """W G = [2.75, 2.5], Z = [2, 0], rho = 1/2: Y = [2.1875, 0.9375], which keeps the first."""
    weight, mask = definitions.alps(
        np.array([[2.0, 1.5]]), np.array([[1.0, 0.5], [0.5, 1.0]]), 1, rho=0.5, max_iter=1
    )
    assert mask.tolist() == [[True, False]]
    assert weight.tolist() == [[2.75, 0.0]]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("damp", [Fraction(0), Fraction(1, 4)])
def test_exact_on_fractions(count, damp):
    exact, mask = definitions.alps(fractions(W), fractions(G), count, damp=damp, rho=Fraction(1, 10))
    rounded = definitions.alps(W, G, count, damp=float(damp))
    assert_array_equal(mask, rounded[1])
    assert all(isinstance(x, Fraction) for x in exact.ravel())
    assert_allclose(rounded[0], exact.astype(float), rtol=1e-13)
    damped = G + float(damp) * np.diag(G).mean() * np.eye(4)
    run = admm(W, damped, [range(8)], 8 - count)
    assert run.margin > 1e-9
    assert_array_equal(mask, run.mask)


def test_exact_n_of_m_with_prior_zeros_and_a_dead_input():
    dead = G.copy()
    dead[3] = dead[:, 3] = 0
    prior = np.array([[True, True, True, True], [False, False, True, True]])
    weight = np.where(prior, W, 0)
    exact, mask = definitions.alps_nm(
        fractions(weight), fractions(dead), 1, 2, prior=prior, rho=Fraction(1, 10)
    )
    assert mask[0, 2:].tolist() == [True, False]  # the dead input goes first
    assert mask[1].tolist() == [False, False, True, False]
    rounded = definitions.alps_nm(weight, dead, 1, 2, prior=prior)
    assert_array_equal(rounded[1], mask)
    assert_allclose(rounded[0], exact.astype(float), rtol=1e-13, atol=1e-13)


def test_the_units_of_the_inputs_do_not_matter():
    """Written with S = diag G the iteration has no root: scaled columns give the same, exactly."""
    units = np.array([Fraction(3), Fraction(1, 7), Fraction(5, 2), Fraction(1)], dtype=object)
    one = definitions.alps(fractions(W), fractions(G), 4, rho=Fraction(1, 10))
    other = definitions.alps(
        fractions(W) / units, fractions(G) * units[:, None] * units, 4, rho=Fraction(1, 10)
    )
    assert_array_equal(other[1], one[1])
    assert_array_equal(other[0] * units, one[0])


def test_where_nothing_is_lost_the_lowest_zeros_go():
    weight = np.array([[0.0, 3.0, 0.0, 1.0], [2.0, 0.0, 0.0, 5.0]])
    for given in (weight, fractions(weight)):
        rho = 0.1 if given is weight else Fraction(1, 10)
        answer, mask = definitions.alps(given, G if given is weight else fractions(G), 3, rho=rho)
        assert mask.ravel().tolist() == [False, True, False, True, True, False, True, True]
        assert_array_equal(answer.astype(float), weight)


def test_nothing_is_changed_in_place():
    weight, gram, prior = W.copy(), spd(np.random.default_rng(1), 4), np.ones(W.shape, dtype=bool)
    before = gram.copy()
    definitions.alps(weight, gram, 4, damp=0.5, prior=prior)
    assert_array_equal(weight, W)
    assert_array_equal(gram, before)
    assert prior.all()
