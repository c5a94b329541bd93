"""The elementwise layers: the function and its first two derivatives, each in one line.

At a kink (ReLU at 0, ReLU6 at 0 and 6) the slope is 0, as PyTorch has it: any subgradient would be right.
"""

from math import pi, sqrt

from refprune.arrays import astype, erf, namespace

from .kinds import Elementwise


class ReLU(Elementwise):
    """`max(x, 0)`."""

    type = "relu"

    @staticmethod
    def value(x):
        return namespace(x).maximum(x, 0)

    @staticmethod
    def slope(x, y):
        return astype(x > 0, x.dtype)


class ReLU6(Elementwise):
    """`min(max(x, 0), 6)`."""

    type = "relu6"

    @staticmethod
    def value(x):
        return namespace(x).minimum(namespace(x).maximum(x, 0), 6)

    @staticmethod
    def slope(x, y):
        return astype((x > 0) & (x < 6), x.dtype)


class Tanh(Elementwise):
    """The hyperbolic tangent."""

    type = "tanh"

    @staticmethod
    def value(x):
        return namespace(x).tanh(x)

    @staticmethod
    def slope(x, y):
        return 1 - y * y

    @staticmethod
    def bend(x, y, slope):
        return -2 * y * slope


class Sigmoid(Elementwise):
    """`1 / (1 + exp(-x))`."""

    type = "sigmoid"

    @staticmethod
    def value(x):
        return sigmoid(x)

    @staticmethod
    def slope(x, y):
        return y * sigmoid(-x)

    @staticmethod
    def bend(x, y, slope):
        return slope * (1 - 2 * y)


class GELU(Elementwise):
    """`x Phi(x)` with the distribution function of the normal (erf, not its tanh approximation)."""

    type = "gelu"

    @staticmethod
    def value(x):
        return x * normal_cdf(x)

    @staticmethod
    def slope(x, y):
        return normal_cdf(x) + x * normal_density(x)

    @staticmethod
    def bend(x, y, slope):
        return (2 - x * x) * normal_density(x)


class SiLU(Elementwise):
    """`x sigmoid(x)`, also called swish."""

    type = "silu"

    @staticmethod
    def value(x):
        return x * sigmoid(x)

    @staticmethod
    def slope(x, y):
        return sigmoid(x) + y * sigmoid(-x)

    @staticmethod
    def bend(x, y, slope):
        return sigmoid(x) * sigmoid(-x) * (2 + x * (1 - 2 * sigmoid(x)))


class Softplus(Elementwise):
    """`log(1 + exp(x))`, computed as `max(x, 0) + log1p(exp(-|x|))`: no overflow."""

    type = "softplus"

    @staticmethod
    def value(x):
        xp = namespace(x)
        return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))

    @staticmethod
    def slope(x, y):
        return sigmoid(x)

    @staticmethod
    def bend(x, y, slope):
        return slope * sigmoid(-x)


def sigmoid(x):
    """`1 / (1 + exp(-x))` without overflow: with e = exp(-|x|), `1 / (1 + e)` or `e / (1 + e)`."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1 + 0 * e, e) / (1 + e)


def normal_cdf(x):
    """The distribution function of the standard normal."""
    return (1 + erf(x / sqrt(2))) / 2


def normal_density(x):
    """The density of the standard normal."""
    return namespace(x).exp(-x * x / 2) / sqrt(2 * pi)
