"""The Hessian in blocks is the definition's, on every architecture of the palette."""

import numpy as np
import pytest

from refprune.definitions import derivatives
from refprune.testing.architectures import PALETTE
from refprune.testing.network_hessian import hessian
from refprune.testing.networks import problem


@pytest.mark.parametrize("name", PALETTE)
def test_blocks_are_those_of_the_definition(name):
    call = list(problem(np.random.default_rng(3), architecture=name).values())
    found, right = hessian(*call), derivatives.hessian(*call)
    # both sum the same terms in another order, some hundreds of them
    np.testing.assert_allclose(found, right, rtol=0, atol=1e3 * np.finfo(float).eps * abs(right).max())


def test_one_array_is_one_block():
    layers = [{"type": "dense", "inputs": 2, "outputs": 3, "bias": False}]
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    found = hessian(layers, {"0.weight": rng.normal(size=(3, 2))}, x, y, "squared")
    np.testing.assert_allclose(found, np.kron(np.eye(3), x.T @ x / 4), atol=1e-14)
