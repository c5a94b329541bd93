"""The definition of I-OBS: exact on fractions, by hand, and the contract of its step."""

import numpy as np
from numpy.testing import assert_array_equal

import refprune.definitions as definitions
from tests.methods.newton_steps import SELECTIONS
from tests.methods.problems import fractions


def test_fractions_are_exact():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A = rng.integers(-2, 3, size=(5, 4)).astype(float)
        H, theta, g = (
            A.T @ A + np.eye(4),
            rng.integers(-3, 4, size=4).astype(float),
            rng.integers(-2, 3, size=4) + 0.5,
        )
        exact = [fractions(x) for x in (theta, g, H)]
        newton = exact[0] - definitions.iobs_step(*exact, 4)[0]
        assert all(exact[2] @ newton == exact[1])  # H (theta - theta+) = g, without a rounding error
        for selection in SELECTIONS:
            weight, mask = definitions.iobs_step(*exact, 2, selection)
            slope = exact[2] @ (weight - exact[0]) + exact[1]
            assert all(slope[mask] == 0)
            cut = definitions.iobs_step(*exact, 2, selection, "euclid")
            assert_array_equal(cut[1], mask)


def test_dead_inputs_go_first_and_a_kept_one_keeps_its_weight():
    H, theta, g = (
        np.diag([0.0, 2.0, 0.0, 4.0]),
        np.array([5.0, 1.0, 6.0, 2.0]),
        np.array([0.0, 2.0, 0.0, 4.0]),
    )
    for selection in SELECTIONS:
        weight, mask = definitions.iobs_step(theta, g, H, 3, selection)
        assert_array_equal(weight, [0.0, 0.0, 6.0, 1.0])  # the Newton point is (5, 0, 6, 1)
        assert_array_equal(mask, [False, True, True, True])
