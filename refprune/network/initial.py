"""Seeded initial parameters."""

from math import prod, sqrt

import numpy as np

from refprune.arrays import Array, from_numpy

SCHEMES = ("he", "glorot", "lecun")


def init(
    network, rng: np.random.Generator, dtype: str = "float64", like: Array | None = None, scheme: str = "he"
) -> dict:
    r"""Initial parameters: random weights, biases 0, BatchNorm as the identity (weight and variance 1, mean 0).

    With fan-in :math:`n` (inputs of one output) and fan-out :math:`m`, weights are drawn from

    - ``"he"``: :math:`N(0, 2/n)` (He et al. 2015, *Delving deep into rectifiers*, eq. 10);
    - ``"glorot"``: uniform on :math:`\pm\sqrt{6/(n+m)}` (Glorot & Bengio 2010, eq. 16);
    - ``"lecun"``: :math:`N(0, 1/n)` (LeCun et al. 1998, *Efficient BackProp*, eq. 16).

    Parameters
    ----------
    rng : numpy.random.Generator
        Numbers are drawn with NumPy and moved, so that every kind of array gets the same ones.
    dtype : str
        Of the parameters.
    like : array, optional
        An array of the kind, and on the device, that the parameters shall have; NumPy without it.
    scheme : str

    Returns
    -------
    dict of arrays, in the order of `shapes`, then the running statistics

    Raises
    ------
    TypeError, ValueError
        `rng` is no Generator; an unknown scheme or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> params = rp.Network([rp.Dense(100, 50)]).init(np.random.default_rng(0))
    >>> params["0.weight"].shape, float(params["0.bias"].sum())
    ((50, 100), 0.0)
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"need rng to be a numpy.random.Generator; got {type(rng).__name__}")
    if scheme not in SCHEMES:
        raise ValueError(f"need scheme in {', '.join(SCHEMES)}; got {scheme!r}")
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"need dtype float16, float32 or float64; got {dtype!r}")
    params = {}
    for name, shape in (network.shapes | network.constants).items():
        if len(shape) > 1:
            value = _weights(rng, shape, scheme)
        else:
            ones = name.endswith(("weight", "running_var"))  # BatchNorm's: other weights are matrices
            value = np.ones(shape) if ones else np.zeros(shape)
        value = value.astype(dtype)
        params[name] = value if like is None else from_numpy(value, like)
    return params


def _weights(rng, shape, scheme):
    fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
    if scheme == "glorot":
        return rng.uniform(-1, 1, shape) * sqrt(6 / (fan_in + fan_out))
    return rng.normal(size=shape) * sqrt((2 if scheme == "he" else 1) / fan_in)
