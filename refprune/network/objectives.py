r"""Objectives over a network: its loss as a function of the flat vector, and the reconstruction of a layer.

Both are objectives as those of `refprune.problems`: `value(w)`, `gradient(w)`, `hvp(w, v)`, `hessian(w)`, exact,
for any optimiser. Their arrays are kept, not copied: do not change them afterwards.
"""

from refprune.arrays import Array, concat, namespace, real

from . import losses
from .reconstruction import Reconstruction

__all__ = ["NetworkLoss", "Reconstruction"]


class NetworkLoss:
    r"""The mean loss of a network over given samples, as a function of the flat vector (d,).

    Parameters
    ----------
    network : Network
    inputs : array, shape (samples, ...)
    targets : array
        Integer labels (samples,), or arrays of the outputs' shape for ``loss="squared"``.
    loss : str
        ``"cross_entropy"`` or ``"squared"``.
    params : dict of arrays, optional
        Where the running statistics come from; needed when the network has a BatchNorm.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit; NaN or Inf; running statistics that are missing.

    Notes
    -----
    Cost: `value` is a forward pass, `gradient` about three, `hvp` at most 8/3 gradients.

    Examples
    --------
    SciPy's trust-region Newton method with conjugate gradients needs nothing but these methods:

    >>> import numpy as np
    >>> import scipy.optimize
    >>> import refprune as rp
    >>> rng = np.random.default_rng(0)
    >>> network, x = rp.mlp([3, 4, 1], activation="tanh"), rng.normal(size=(20, 3))
    >>> teacher = network.init(rng)
    >>> objective = rp.NetworkLoss(network, x, network.forward(teacher, x), loss="squared")
    >>> start = network.flatten(teacher) + 0.1 * rng.normal(size=network.size)
    >>> found = scipy.optimize.minimize(
    ...     objective.value, start, jac=objective.gradient, hessp=objective.hvp, method="trust-ncg",
    ...     options={"gtol": 1e-8},
    ... )
    >>> found.success, bool(objective.value(start) > 1e-2), bool(found.fun < 1e-12)
    (True, True, True)
    """

    def __init__(
        self, network, inputs: Array, targets: Array, loss: str = "cross_entropy", params: dict | None = None
    ):
        real("inputs", inputs)
        if inputs.ndim < 2 or inputs.shape[0] == 0:
            raise ValueError(f"need inputs of shape (samples, ...), one at least; got {tuple(inputs.shape)}")
        losses.check(loss, targets, inputs.shape[0], network.output_shape(inputs.shape[1:]))
        namespace(inputs, targets)
        missing = [name for name in network.constants if name not in (params or {})]
        if missing:
            raise ValueError(f"need params with the running statistics; got none for {', '.join(missing)}")
        self.network, self.inputs, self.targets, self.loss, self.params = (
            network,
            inputs,
            targets,
            loss,
            params,
        )

    def _at(self, w):
        """The arguments that a method of the network takes at `w`."""
        return self.network.unflatten(w, self.params), self.inputs, self.targets

    def value(self, w: Array) -> Array:
        """The mean loss at `w` (d,), a scalar."""
        return self.network.loss(*self._at(w), loss=self.loss)

    def gradient(self, w: Array) -> Array:
        """The gradient (d,)."""
        found = self.network.gradient(*self._at(w), loss=self.loss)
        return concat([namespace(g).reshape(g, (-1,)) for g in found.values()], axis=0)

    def hvp(self, w: Array, v: Array) -> Array:
        """The Hessian at `w` times `v`, (d,) or (directions, d)."""
        return self.network.hvp(*self._at(w), v, loss=self.loss)

    def gauss_newton_product(self, w: Array, v: Array) -> Array:
        """The Gauss-Newton matrix at `w` times `v`, (d,) or (directions, d)."""
        return self.network.gauss_newton_product(*self._at(w), v, loss=self.loss)

    def hessian(self, w: Array) -> Array:
        """The Hessian at `w`, (d, d)."""
        return self.network.hessian(*self._at(w), loss=self.loss)
