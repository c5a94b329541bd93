"""The 8x8 digits of scikit-learn: real handwriting that comes inside a wheel, no download."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Digits(NamedTuple):
    """Images scaled to [0, 1] and their labels; the test part is never trained or calibrated on."""

    train_x: np.ndarray  # (1297, 64)
    train_y: np.ndarray  # (1297,)
    test_x: np.ndarray  # (500, 64)
    test_y: np.ndarray  # (500,)


def load(seed: int = 0, test: int = 500) -> Digits:
    """Return the 1797 digits, shuffled with `seed`, the last `test` of them held out.

    >>> [part.shape for part in load()]
    [(1297, 64), (1297,), (500, 64), (500,)]
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order] / 16.0, data.target[order]
    return Digits(x[:-test], y[:-test], x[-test:], y[-test:])
