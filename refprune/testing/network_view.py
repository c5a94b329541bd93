"""A network problem as the checks read it: float64 numbers, the definition's answer, and what rounding explains."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..definitions import derivatives
from ..definitions.jet_network import rules
from . import kinks, network_bounds, network_differences, wire
from .bounds import INPUT_EPS, arithmetic_eps
from .layered_view import LayeredView

LOSSES = ("cross_entropy", "squared")


@dataclass(frozen=True)
class Solved:
    """The right answers to one problem, and the bound on each entry in units of eps.

    `family` holds the answers for the shares 0, 1/2 and 1 at a kink (see `definitions.jet_network`), or just one
    answer where there is no kink or none that matters. `open` is True where kinks are too many for one share.
    """

    family: tuple
    size: np.ndarray
    open: bool


class NetworkView(LayeredView):
    """Layers, parameters, samples, targets, loss, and a direction for products.

    Attributes
    ----------
    quantity : str
        ``"hvp"``, ``"hessian"``, ``"gauss_newton"`` or ``"per_sample_gradients"``, as in `definitions.derivatives`.
    call : list
        The arguments in float64.
    names : list of str
        The name of every entry of the flat vector, such as ``"0.weight[2, 1]"``.
    """

    def __init__(self, problem, claims, quantity):
        self.quantity = quantity
        super().__init__(problem, claims)
        x = problem["x"]
        if self.expects == "answer" and self._need_targets() and self._need_direction():
            y = np.array(problem["y"], float if problem["loss"] == "squared" else np.int64)
            self.call = [problem["layers"], self.params, x.astype(float), y, problem["loss"]]
            self.call += [np.array(problem["v"], float)] if quantity == "hvp" else []
        elif quantity == "per_sample_gradients" and isinstance(x, np.ndarray) and x.dtype.kind == "f":
            self.empty = x.ndim in (2, 4) and x.size == 0

    @cached_property
    def names(self):
        """Of the entries of the flat vector."""
        trainable = [name for name in self.problem["params"] if "running" not in name]
        return [f"{name}{list(at)}" for name in trainable for at in np.ndindex(self.shapes[name])]

    def _need_targets(self):
        y, loss, samples = self.problem["y"], self.problem["loss"], self.problem["x"].shape[0]
        if loss == "squared":
            return self.need("y", y, (samples, *self.outputs))
        if loss != "cross_entropy":
            self.expect("error", f"loss is {loss!r}; one of {', '.join(LOSSES)} is needed")
        elif len(self.outputs) != 1:
            self.expect("error", f"the outputs of a sample have the shape {self.outputs}; classes are needed")
        elif not isinstance(y, np.ndarray) or y.dtype.kind not in "iu" or y.shape != (samples,):
            self.expect("error", f"y is no array of {samples} integer labels")
        elif y.min() < 0 or y.max() >= self.outputs[0]:
            self.expect(
                "error", f"y holds labels from {y.min()} to {y.max()}; 0 to {self.outputs[0] - 1} are classes"
            )
        return self.expects == "answer"

    def _need_direction(self):
        return self.quantity != "hvp" or self.need("v", self.problem["v"], (len(self.names),))

    @property
    def shape(self):
        """Of the answer."""
        d = len(self.names)
        return {"hvp": (d,), "per_sample_gradients": (self.call[2].shape[0], d)}.get(self.quantity, (d, d))

    @cached_property
    def _packed(self):
        return wire.pack(wire.encode(self.call))

    @cached_property
    def solved(self):
        """The right answers; remembered for the next view of the same problem."""
        return _solved(self.quantity, self.factor * self.eps, self._packed)

    @cached_property
    def witness(self):
        """(direction u, a product with u by differences of forward passes, its uncertainty), see
        `network_differences`; None where a step crosses a kink."""
        return _witnessed(self.quantity, self._packed)

    @property
    def factor(self):
        """c of the bound."""
        return network_bounds.factor(self.call[1], self.call[2])

    @property
    def right(self):
        """The definition's answer."""
        return self.solved.family[0]

    @cached_property
    def allowed(self):
        """What rounding explains at each entry: of the arithmetic, of claimed inputs, of storing the answer."""
        eps_in = INPUT_EPS.get(self.claims.get("input_precision"), 0.0)
        eps = max(arithmetic_eps(d, {}) for d in (self.dtype, self.claims.get("dtype", self.dtype)))
        share = self.factor * eps + 8 * eps_in  # inputs are rounded on the way there and back
        return share * self.solved.size + self.store_eps * np.abs(self.right) + np.finfo(self.dtype).tiny

    def same(self, a, b, factor):
        """Whether two answers differ by at most `factor` bounds; of answers that are too large, by as much more."""
        most, size = (
            max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0)),
            self.solved.size.max(initial=0.0),
        )
        grown = max(1.0, most / size) if size else 1.0
        return bool((np.abs(a - b) <= factor * grown * self.allowed).all())


@lru_cache(maxsize=512)
def _witnessed(quantity, packed):
    try:
        return network_differences.witness(quantity, *_unpacked(packed))
    except network_differences.Crossed:
        return None


def _unpacked(packed):
    return wire.decode(wire.unpack(packed[wire.HEADER.size :]))


@lru_cache(maxsize=512)
def _solved(quantity, share, packed):
    call, define = _unpacked(packed), getattr(derivatives, quantity)
    family, size = (define(*call),), sizes(quantity, *call)
    exact, near = kinks.close(kinks.watched(*call[:3])[1], share, scales(*call[:3]))
    if exact:
        others = tuple(define(*call, rules(s)) for s in (0.5, 1))
        if any((np.abs(other - family[0]) > share * size).any() for other in others):
            family += others
        elif near == exact:  # none of them matters
            near = 0
    return Solved(family, size, near > 1 or near > exact)


def scales(layers, params, x):
    """How large the terms are whose sums come into each layer with kinks."""
    terms = {
        name: -np.abs(a) if "mean" in name else np.abs(a) for name, a in params.items()
    }  # means are subtracted
    return [found.size for found in kinks.watched(layers, terms, np.abs(x))[1]]


def sizes(quantity, layers, params, x, y, loss, v=None):
    """What one rounding at each step makes of every entry (see `network_bounds`)."""
    d, samples = sum(array.size for name, array in params.items() if "running" not in name), len(x)
    every, none = np.eye(d), np.zeros((0, d))
    right = {"hvp": v[None] if v is not None else none, "hessian": every}.get(quantity, none)
    f, A, E = network_bounds.carried(layers, params, x, every, right)
    g, g_error = network_bounds.of_slope(f, E.value[0, 0], y, loss)
    if quantity == "per_sample_gradients":
        return (g_error * A.left[:, 0] + g * E.left[:, 0]).sum(-1).T
    S, S_error = network_bounds.of_curvature(f, E.value[0, 0], y, loss)
    if quantity == "gauss_newton":
        J, J_error = A.left[:, 0], E.left[:, 0]
        half = (S @ J_error[..., None])[..., 0].reshape(d, -1) @ J.reshape(d, -1).T
        whole = J.reshape(d, -1) @ (S_error @ J[..., None])[..., 0].reshape(d, -1).T
        return (
            half + half.T + whole + J.reshape(d, -1) @ (S @ J[..., None])[..., 0].reshape(d, -1).T
        ) / samples
    bent, bent_error = (S @ A.right[..., None])[..., 0], (S @ E.right[..., None])[..., 0]
    bent_error = bent_error + bent + (S_error @ A.right[..., None])[..., 0]
    size = E.left * bent + A.left * bent_error + g_error * A.both + g * E.both
    size = size.sum((-2, -1)) / samples
    return size[:, 0] if quantity == "hvp" else size
