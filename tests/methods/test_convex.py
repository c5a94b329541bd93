"""The generated objectives are what they say: derivatives, constants, minimiser."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.methods.convex import SHAPES, planted


@pytest.mark.parametrize("seed", range(12))
def test_derivatives_are_those_of_the_value(seed):
    f, _, _, rng = planted(seed)
    w, v = rng.normal(size=(2, len(f.D)))
    h = 1e-5  # central differences: errors h^2 and eps / h, both below 1e-8 here
    slope = (f.value(w + h * v) - f.value(w - h * v)) / (2 * h)
    scale = abs(f.value(w)) + f.L * (v @ v + w @ w)
    assert f.gradient(w) @ v == pytest.approx(slope, abs=1e-8 * scale)
    change = (f.gradient(w + h * v) - f.gradient(w - h * v)) / (2 * h)
    assert_allclose(f.hvp(w, v), change, atol=1e-8 * scale * f.L)


@pytest.mark.parametrize("seed", range(60))
def test_the_constants_bound_what_they_name_and_the_minimiser_is_one(seed):
    f, best, few, rng = planted(seed)
    assert np.count_nonzero(best) == few
    assert_allclose(f.gradient(best), 0, atol=1e-15 * (1 + np.abs(f.b).max()))
    for spread in (0.1, 1.0, 10.0):
        x, y = best + spread * rng.normal(size=(2, len(best)))
        values = np.linalg.eigvalsh(f.hessian(x))
        assert f.mu * (1 - 1e-12) <= values[0]
        assert values[-1] <= f.L * (1 + 1e-12)
        change = np.linalg.norm(f.hessian(x) - f.hessian(y), 2)
        assert change <= f.M * np.linalg.norm(x - y)


@pytest.mark.parametrize("name", SHAPES)
def test_the_largest_derivatives_are_reached(name):
    """On a fine grid, so that no constant is larger than it needs to be."""
    *_, second, top, third = SHAPES[name]
    z = np.linspace(-4, 4, 80001)
    assert second(z).max() == pytest.approx(top, rel=1e-8)
    assert np.abs(np.diff(second(z)) / np.diff(z)).max() == pytest.approx(third, rel=1e-6)
