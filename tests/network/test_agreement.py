"""The measure of agreement is tested too."""

import numpy as np
import pytest
from agreement import RTOL, difference, types


@pytest.mark.parametrize(
    ("found", "expected", "gap"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([0.0], [0.0], 0.0),
        ([1e-300], [0.0], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([np.nan], [1.0], np.nan),
    ],
)
def test_the_measure(found, expected, gap):
    assert difference(np.array(found), np.array(expected)) == pytest.approx(gap, nan_ok=True)
    assert not np.nan <= RTOL


def test_types_are_those_inside_residuals_too():
    inner = {"type": "residual", "body": [{"type": "relu"}], "shortcut": None}
    layers = [{"type": "dense"}, {"type": "residual", "body": [inner], "shortcut": [{"type": "tanh"}]}]
    assert list(types(layers)) == ["dense", "residual", "residual", "relu", "tanh"]
