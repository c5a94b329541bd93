"""Where a method on an objective starts, and the factor that published experiments put on the gradient."""

from numbers import Real

import numpy as np

from refprune.arrays import cast, full, namespace, real
from refprune.methods.system import floating
from refprune.problems import LayerProblem, LeastSquares, Quadratic


def starting_point(objective, start):
    """The first point as a flat vector (d,) in the precision of the computation, with the shape and dtype of answers.

    Without `start` it is the weight of a Quadratic or a LayerProblem, and 0 for LeastSquares.

    Raises
    ------
    TypeError
        `objective` lacks a function of an objective; Fractions.
    ValueError
        `start` does not fit, is not finite, or is None for another objective than those three.
    """
    missing = [
        name
        for name in ("value", "gradient", "hvp", "hessian")
        if not callable(getattr(objective, name, None))
    ]
    if missing:
        raise TypeError(f"need an objective with {', '.join(missing)}; got {type(objective).__name__}")
    own = _weight(objective)
    if start is None and own is None:
        raise ValueError("need start where the objective is no problem of refprune; got None")
    start = own if start is None else start
    layer = isinstance(objective, LayerProblem)
    real("start", start, ndim=None if layer else 1)
    size = start.shape[0] if own is None else own.size
    if tuple(start.shape) not in {(size,), tuple(own.shape) if layer else (size,)}:
        raise ValueError(f"need start of shape ({size},); got {tuple(start.shape)}")
    arrays = (start,) if own is None else (start, own)
    floating(*arrays)
    flat = namespace(*arrays).reshape(cast(*arrays)[0], (size,))
    return flat, tuple(own.shape) if layer else (size,), start.dtype


def _weight(objective):
    """The point that a problem holds itself, or None."""
    if isinstance(objective, (Quadratic, LayerProblem)):
        return objective.weight
    if isinstance(objective, LeastSquares):
        return full((objective.design.shape[1],), 0, objective.design)
    return None


def gradient_factor(loss_scale, objective):
    """The number that multiplies the gradient: 1 for None, 2 / samples for "mse-mean", else the number itself.

    Raises
    ------
    TypeError, ValueError
        Not None, "mse-mean" or a positive finite number; "mse-mean" for anything but LeastSquares.
    """
    if loss_scale is None:
        return 1.0
    if isinstance(loss_scale, str):
        if loss_scale != "mse-mean":
            raise ValueError(f"need loss_scale to be 'mse-mean' or a number; got {loss_scale!r}")
        if not isinstance(objective, LeastSquares):
            raise TypeError(f"need LeastSquares for loss_scale 'mse-mean'; got {type(objective).__name__}")
        return 2 / max(objective.design.shape[0], 1)
    if isinstance(loss_scale, (bool, np.bool_)) or not isinstance(loss_scale, Real):
        raise TypeError(f"need loss_scale to be 'mse-mean' or a number; got {loss_scale!r}")
    if not 0 < loss_scale < float("inf"):
        raise ValueError(f"need loss_scale > 0 and finite; got {loss_scale}")
    return float(loss_scale)
