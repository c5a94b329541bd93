"""An objective of the user's own, with a look at what it returns; the value of any objective."""

from math import isnan

import numpy as np

from refprune.arrays import astype, cast, dtype_name, library, namespace
from refprune.methods.system import objective as quadratic_value
from refprune.methods.vectors import dot
from refprune.problems import LayerProblem, LeastSquares, Quadratic


class Checked:
    """`objective` with a float for its value, and its arrays checked and copied, so that it may use them again.

    Raises
    ------
    TypeError
        The value is no number; the gradient or the product is no array like `w`, or not one of floating numbers.
    ValueError
        Their shape is another one.
    """

    def __init__(self, objective):
        self.objective = objective

    def value(self, w):
        """The value at `w`, a float."""
        value = self.objective.value(w)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(f"need value(w) to be a number; got {type(value).__name__}") from None

    def gradient(self, w):
        """The gradient at `w`, (d,)."""
        return like("gradient(w)", self.objective.gradient(w), w)

    def hvp(self, w, v):
        """The product of the Hessian at `w` and `v`, (d,)."""
        return like("hvp(w, v)", self.objective.hvp(w, v), w)


def like(name, array, w):
    """`array` anew; an error unless it is like `w`."""
    library(array, name)
    namespace(array, w)
    kind = dtype_name(array.dtype)
    if kind not in ("float16", "float32", "float64"):
        raise TypeError(f"need real floating numbers in {name}; got {kind}")
    if tuple(array.shape) != tuple(w.shape):
        raise ValueError(f"need {name} of shape {tuple(w.shape)}; got {tuple(array.shape)}")
    return astype(array, array.dtype)


def value_at(objective, w):
    """Any objective at `w` (d,), a float; inf where refprune's own are beyond float64.

    Raises
    ------
    TypeError
        The value is no number.
    numpy.linalg.LinAlgError
        The value is NaN.
    """
    if isinstance(objective, (Quadratic, LayerProblem)):
        value = quadratic_value(objective, namespace(w).reshape(w, objective.weight.shape))
    elif isinstance(objective, LeastSquares):
        A, y, w = cast(objective.design, objective.target, w)
        with np.errstate(over="ignore", invalid="ignore"):
            residual = A @ w - y
        value = dot(residual, residual) / 2
    else:
        value = Checked(objective).value(w)
    if isnan(value):
        raise np.linalg.LinAlgError("need an objective with a value at a point; got nan")
    return value
