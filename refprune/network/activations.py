"""The elementwise layers: the function and its first two derivatives, each in one line.

At a kink (ReLU at 0, ReLU6 at 0 and 6) the slope is 0, as PyTorch has it: any subgradient would be right.
"""

from math import pi, sqrt

from refprune.arrays import astype, erf, namespace

from .kinds import Elementwise


class ReLU(Elementwise):
    r"""The rectifier, :math:`\max(x, 0)`. Its slope at 0 is taken as 0.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.ReLU().forward({}, np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """

    type = "relu"

    @staticmethod
    def value(x):
        return namespace(x).maximum(x, 0)

    @staticmethod
    def slope(x, y):
        return astype(x > 0, x.dtype)


class ReLU6(Elementwise):
    r"""The rectifier that is clipped at 6, :math:`\min(\max(x, 0), 6)`. Its slope at 0 and 6 is taken as 0.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.ReLU6().forward({}, np.array([-2.0, 4.0, 9.0]))
    array([0., 4., 6.])
    """

    type = "relu6"

    @staticmethod
    def value(x):
        return namespace(x).minimum(namespace(x).maximum(x, 0), 6)

    @staticmethod
    def slope(x, y):
        return astype((x > 0) & (x < 6), x.dtype)


class Tanh(Elementwise):
    r"""The hyperbolic tangent: slope :math:`1 - y^2`, second derivative :math:`-2 y (1 - y^2)`.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Tanh().forward({}, np.array([0.0]))
    array([0.])
    """

    type = "tanh"

    @staticmethod
    def value(x):
        return namespace(x).tanh(x)

    @staticmethod
    def slope(x, y):
        return 1 - y * y

    @staticmethod
    def bend(x, y, slope):
        """The second derivative."""
        return -2 * y * slope


class Sigmoid(Elementwise):
    r"""The logistic function :math:`\sigma(x) = 1 / (1 + e^{-x})`: slope :math:`y (1 - y)`.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Sigmoid().forward({}, np.array([0.0]))
    array([0.5])
    """

    type = "sigmoid"

    @staticmethod
    def value(x):
        return sigmoid(x)

    @staticmethod
    def slope(x, y):
        return y * sigmoid(-x)

    @staticmethod
    def bend(x, y, slope):
        """The second derivative."""
        return slope * (1 - 2 * y)


class GELU(Elementwise):
    r"""The Gaussian error linear unit :math:`x \Phi(x)`, exact by erf, not its tanh approximation.

    Slope :math:`\Phi + x \phi`, second derivative :math:`(2 - x^2) \phi`, with the normal's distribution
    function and density (Hendrycks & Gimpel 2016, *Gaussian error linear units*).

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.GELU().forward({}, np.array([0.0]))
    array([0.])
    """

    type = "gelu"

    @staticmethod
    def value(x):
        return x * normal_cdf(x)

    @staticmethod
    def slope(x, y):
        return normal_cdf(x) + x * normal_density(x)

    @staticmethod
    def bend(x, y, slope):
        """The second derivative."""
        x = near(x)
        return (2 - x * x) * normal_density(x)


class SiLU(Elementwise):
    r"""The sigmoid linear unit :math:`x \sigma(x)`, also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.SiLU().forward({}, np.array([0.0]))
    array([0.])
    """

    type = "silu"

    @staticmethod
    def value(x):
        return x * sigmoid(x)

    @staticmethod
    def slope(x, y):
        return sigmoid(x) + y * sigmoid(-x)

    @staticmethod
    def bend(x, y, slope):
        """The second derivative."""
        return sigmoid(x) * sigmoid(-x) * (2 + x * (1 - 2 * sigmoid(x)))


class Softplus(Elementwise):
    r"""The smooth rectifier :math:`\log(1 + e^x)`, computed as :math:`\max(x, 0) + \log(1 + e^{-|x|})`: no overflow.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> rp.Softplus().forward({}, np.array([0.0]))
    array([0.69314718])
    """

    type = "softplus"

    @staticmethod
    def value(x):
        xp = namespace(x)
        return xp.where(x >= 0, x, 0 * x) + xp.log1p(xp.exp(below_zero(x)))

    @staticmethod
    def slope(x, y):
        return sigmoid(x)

    @staticmethod
    def bend(x, y, slope):
        """The second derivative."""
        return slope * sigmoid(-x)


def sigmoid(x):
    """`1 / (1 + exp(-x))` without overflow: with e = exp(-|x|), `1 / (1 + e)` or `e / (1 + e)`."""
    xp = namespace(x)
    e = xp.exp(below_zero(x))
    return xp.where(x >= 0, 1 + 0 * e, e) / (1 + e)


def below_zero(x):
    """`-|x|`, so that autograd finds no kink at 0 in what is smooth there: it takes the branch of x >= 0."""
    return namespace(x).where(x >= 0, -x, x)


def near(x):
    """`x` within [-40, 40]: beyond, the normal density is below all floating numbers; squares do not overflow."""
    return namespace(x).minimum(namespace(x).maximum(x, -40), 40)


def normal_cdf(x):
    """The distribution function of the standard normal."""
    return (1 + erf(x / sqrt(2))) / 2


def normal_density(x):
    """The density of the standard normal."""
    x = near(x)
    return namespace(x).exp(-x * x / 2) / sqrt(2 * pi)
