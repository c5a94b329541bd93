"""What a step of Newton-CG asks of an objective: the direction by conjugate gradients, and values beside it."""

from functools import partial
from typing import NamedTuple

import numpy as np

from refprune.arrays import astype, integer, namespace, nonnegative
from refprune.curvature import conjugate_gradient
from refprune.methods.checked import Checked, like
from refprune.methods.vectors import cut

CURVATURES = {"hessian": "hvp", "gauss-newton": "gauss_newton_product"}


class Solver(NamedTuple):
    """The function that multiplies with H, and the options of the solve."""

    product: str
    damp: float
    rtol: float
    atol: float
    max_iter: int

    @classmethod
    def checked(cls, curvature, damp, rtol, atol, max_iter):
        """From the arguments of `newton_cg`; TypeError or ValueError for others."""
        if not isinstance(curvature, str) or curvature not in CURVATURES:
            raise ValueError(f"need curvature to be one of {', '.join(CURVATURES)}; got {curvature!r}")
        tolerances = nonnegative("cg_rtol", rtol), nonnegative("cg_atol", atol)
        if rtol >= 1:
            raise ValueError(f"need cg_rtol < 1 (at 1 no step is asked for); got {rtol}")
        steps = integer("cg_max_iter", max_iter, least=1)
        return cls(CURVATURES[curvature], nonnegative("damp", damp), *tolerances, steps)

    def fits(self, objective, name):
        """`objective` itself; TypeError when it has not what a step calls."""
        calls = ("value", "gradient", self.product)
        missing = [call for call in calls if not callable(getattr(objective, call, None))]
        if missing:
            raise TypeError(f"need {name} with {', '.join(missing)}; got {type(objective).__name__}")
        return objective

    def solve(self, objective, w, mask, g):
        """The direction s (d,), 0 off `mask`, as `conjugate_gradient` found it."""
        if callable(getattr(objective, "products", None)):  # one point, many directions
            multiply = objective.products(w, self.product == CURVATURES["gauss-newton"])
        else:
            multiply = partial(getattr(objective, self.product), w)

        def product(v):
            with np.errstate(over="ignore", invalid="ignore"):
                found = like(f"{self.product}(w, v)", multiply(v), v)
                found = cut(astype(found, v.dtype), mask) + self.damp * v
            if not finite(found):
                raise np.linalg.LinAlgError(
                    f"need {self.product}(w, v) + {self.damp:g} v to be finite; got others"
                )
            return found

        return conjugate_gradient(product, -g, self.rtol, self.atol, self.max_iter)


def value_of(objective, w):
    """The value at `w`, a float, finite or not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return Checked(objective).value(w)


def finite(vector):
    """Whether all entries are finite."""
    return bool(namespace(vector).all(namespace(vector).isfinite(vector)))
