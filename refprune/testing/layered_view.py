"""A network as plain data, its parameters and samples, as the checks read them: what is wrong with them."""

import numpy as np

from .network_shapes import parameter_shapes
from .views import View


class LayeredView(View):
    """`layers`, `params` and `x` of a call; what does not fit is bad input.

    Attributes
    ----------
    shapes : dict
        Name -> the shape that a parameter must have.
    outputs : tuple
        The shape of the outputs of one sample.
    """

    shapes, outputs = None, ()

    def __init__(self, problem, claims):
        x = problem["x"]
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
            super().__init__({"x": np.zeros((0, 0))}, claims, "x")
            self.expect("error", "x is no array of real floating numbers")
            return
        super().__init__(problem, claims, "x")
        if x.ndim not in (2, 4) or x.size == 0:
            self.expect("error", f"x has shape {x.shape}; samples of at least one number are needed")
        elif not np.isfinite(x).all():
            self.expect("error", "x holds NaN or Inf")
        else:
            self.need_parameters()

    def need_parameters(self):
        """Set `shapes` and `outputs`; bad input unless `params` fit. Whether an answer is expected still."""
        try:
            self.shapes, self.outputs = parameter_shapes(self.problem["layers"], self.problem["x"].shape[1:])
        except ValueError as error:
            self.expect("error", str(error))
            return False
        params = self.problem["params"]
        if not isinstance(params, dict) or set(params) != set(self.shapes):
            self.expect("error", f"params are not {', '.join(self.shapes)}")
            return False
        return all(self.need(f"params[{name!r}]", params[name], shape) for name, shape in self.shapes.items())

    def need(self, name, array, shape):
        """Bad input unless `array` is real, finite and of that shape; whether an answer is expected still."""
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            self.expect("error", f"{name} is no array of real floating numbers")
        elif array.shape != tuple(shape):
            self.expect("error", f"{name} has shape {array.shape}; {tuple(shape)} is needed")
        elif not np.isfinite(array).all():
            self.expect("error", f"{name} holds NaN or Inf")
        return self.expects == "answer"

    @property
    def params(self):
        """The parameters in float64, as new arrays."""
        return {name: np.array(array, float) for name, array in self.problem["params"].items()}
