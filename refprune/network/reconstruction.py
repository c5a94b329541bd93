r"""The reconstruction of a layer: how far another weight moves its output and what comes after it.

Model: :math:`F(V) = \sum_{j=0}^{K} \| y_j(V) - t_j \|^2`, the sum over entries and the mean over samples, where
:math:`y_0` is the layer's output and the others are those of later operations.
Solution: one chain of layers for all terms: where an output is compared, what it adds to F joins the delta of the
backward pass (`refprune.network.captured`); products with the Hessian by the R-operator through the same chain.
Source: Lucas & Mazumder 2024 (SNOWS), equation of the K-step reconstruction.
"""

from collections.abc import Callable
from copy import copy
from functools import partial
from math import prod

import numpy as np

from refprune.arrays import (
    Array,
    astype,
    cast,
    concat,
    eye,
    flag,
    from_numpy,
    integer,
    namespace,
    real,
    swap,
)

from . import captured, chain
from .activations import GELU, ReLU, ReLU6, Sigmoid, SiLU, Softplus, Tanh
from .bilinear import Conv2d, Dense
from .dicts import TYPES
from .network import Network
from .point import NUMBERS

OPERATIONS = tuple(layer.type for layer in (Dense, Conv2d, ReLU, ReLU6, Tanh, Sigmoid, GELU, SiLU, Softplus))
REDUCTIONS = ("samples", "sum", "entries")
DIRECTIONS = 64  # that `hessian` sends through the layers at once
KEPT = 2**27  # numbers that `products` keeps at most


class Reconstruction:
    r"""How far a layer's new weight V moves what the network computes: its own output and those after it.

    .. math:: F(V) = \sum_{j=0}^{K} \frac1N \sum_{s=1}^{N} \| y_j(x_s; V) - t_j(x_s) \|^2

    over the flat V (d,) of one weight. :math:`y_0` is the layer's own output and :math:`y_1, \dots, y_K` are the
    outputs of the next K operations (dense layers, convolutions, activations) that it reaches; :math:`t_j` are
    the same outputs with the weight that is in `params`. Everything else stays (Lucas & Mazumder 2024, SNOWS).

    Parameters
    ----------
    network : Network
    params : dict of arrays
    inputs : array, shape (samples, ...)
        Of the network.
    layer : int or str
        The index in ``network.layers``, or a key such as ``"3.body.0"``, of a Dense or Conv2d.
    horizon : int, optional
        K; the network may end before. None goes to its end.
    dense : dict of arrays, optional
        Parameters of the network that gives the targets, when its layers before this one are not those of
        `params`, for example not yet pruned. Without it: `params`.
    operations : tuple of str, optional
        The types of layers that count, by their names in the plain-data form.
    reduction : str
        ``"samples"``: as above; ``"sum"`` without 1/N; ``"entries"``: the mean over all entries of each output.
    logits : bool
        The network's output is compared too, however far it is.

    Attributes
    ----------
    weight : array, shape (d,)
        The flat weight in `params`.
    captured : tuple of str
        The keys of the layers whose outputs are compared, the layer's own first.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit; NaN or Inf; a layer that is no Dense or Conv2d of the network.
    numpy.linalg.LinAlgError
        Outputs that are compared, of the network that gives the targets, beyond the range of the dtype.

    Notes
    -----
    The arrays of `params` are kept, not copied: do not change them afterwards.

    The derivatives are those of one chain: where an output is compared, :math:`2 (y_j - t_j) / N` joins the delta
    of the backward pass, see `refprune.network.captured`. The part of the network before the layer is run once.
    With K = 0, F is twice the objective of the layer's `LayerProblem` (times the output
    positions of a convolution, which its Gram divides by). When only ReLU and layers linear in their input come
    after, every :math:`y_j` is piecewise linear in V: away from kinks the Hessian is the Gauss-Newton matrix.
    Cost, with the layers from this one to the last that is compared: as for `NetworkLoss`. Memory: the inputs
    and the targets of these layers for all samples. `newton_cg` lowers F on a mask, `snows` layer by layer.

    Examples
    --------
    >>> import numpy as np
    >>> import refprune as rp
    >>> network = rp.Network([rp.Dense(2, 1, bias=False), rp.ReLU()])
    >>> params, x = {"0.weight": np.array([[1.0, 2.0]])}, np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> objective = rp.Reconstruction(network, params, x, layer=0, horizon=1)
    >>> objective.captured
    ('0', '1')
    >>> float(objective.value(np.array([1.0, 0.0])))  # outputs 1, 1 for 3, -1; after ReLU 1, 1 for 3, 0
    6.5
    >>> objective.gradient(objective.weight)
    array([0., 0.])
    """

    def __init__(
        self,
        network,
        params: dict,
        inputs: Array,
        layer: int | str,
        horizon: int | None = 0,
        dense: dict | None = None,
        operations: tuple[str, ...] | None = None,
        reduction: str = "samples",
        logits: bool = False,
    ):
        if not isinstance(network, Network):
            raise TypeError(f"need a Network; got {type(network).__name__}")
        params, x = network.ready(params, inputs, "inputs")
        self._key = key = _key(network, layer)
        types = OPERATIONS if operations is None else _types(operations)
        found = captured.reached(network.layers, key.split("."), types)
        found = found if horizon is None else found[: 1 + integer("horizon", horizon, least=0)]
        last = str(len(network.layers) - 1)
        self.captured = (*found, last) if flag("logits", logits) and last not in found else tuple(found)
        if not isinstance(reduction, str) or reduction not in REDUCTIONS:
            raise ValueError(f"need reduction in {', '.join(REDUCTIONS)}; got {reduction!r}")
        first, last = captured.top(key), max(map(captured.top, self.captured))
        self._tail = network.layers[first : last + 1]
        self._params = {
            captured.moved(name, -first): value
            for name, value in params.items()
            if first <= captured.top(name) <= last
        }
        self._name, self._shape = captured.moved(f"{key}.weight", -first), network.shapes[f"{key}.weight"]
        self.weight = namespace(x).reshape(self._params[self._name], (prod(self._shape),)) + 0
        self._inputs, targets = captured.traced(network, params, x, first, self.captured)
        if dense is not None:
            _, targets = captured.traced(network, *_ready(network, dense, inputs), first, self.captured)
        namespace(x, *targets.values())
        captured.in_range(targets)
        self._targets = {captured.moved(name, -first): value for name, value in targets.items()}
        self._reduction, self._scales = reduction, _scales(self._targets, reduction)
        self._held = sum(chain.held(self._tail, tuple(self._inputs.shape[1:])))

    @property
    def samples(self) -> int:
        """How many samples there are, N."""
        return self._inputs.shape[0]

    def part(self, rows: np.ndarray) -> "Reconstruction":
        """F over the samples at `rows`, a NumPy array of indices, as from a Generator; its means are over them."""
        if not (isinstance(rows, np.ndarray) and rows.dtype.kind in "iu"):
            raise TypeError(f"need rows to be a NumPy array of integers; got {rows!r}")
        if rows.ndim != 1 or rows.size == 0 or not 0 <= rows.min() <= rows.max() < self.samples:
            raise ValueError(f"need rows (n,), indices below {self.samples}, one at least; got {rows!r}")
        part, xp, at = copy(self), namespace(self._inputs), from_numpy(rows, self._inputs)
        part._inputs = xp.take(self._inputs, at, axis=0)
        part._targets = {name: xp.take(target, at, axis=0) for name, target in self._targets.items()}
        part._scales = _scales(part._targets, self._reduction)
        return part

    def _parts(self, w, lead=1):
        """Yield (params, inputs, targets) at `w` for some samples after the others."""
        real("w", w, shape=(self.weight.shape[0],))
        arrays = (self._inputs, *self._params.values(), *self._targets.values())
        w, x, *rest = cast(w, *arrays)
        params = dict(zip(self._params, rest)) | {self._name: namespace(w).reshape(w, self._shape)}
        targets = dict(zip(self._targets, rest[len(self._params) :]))
        step = max(1, NUMBERS // max(1, lead * self._held))
        for start in range(0, x.shape[0], step):
            part = slice(start, min(start + step, x.shape[0]))
            yield params, x[part, ...], {name: target[part, ...] for name, target in targets.items()}

    def value(self, w: Array) -> Array:
        """F at `w` (d,), a scalar."""
        total = 0
        for params, x, targets in self._parts(w):
            for key, _, _, y in chain.trace(self._tail, params, x):
                if key in targets:
                    total = total + self._scales[key] * namespace(y).sum((y - targets[key]) ** 2)
        return total

    def gradient(self, w: Array) -> Array:
        """The gradient (d,)."""
        total = 0
        for params, x, targets in self._parts(w):
            f, records = chain.record(captured.wrapped(self._tail, targets, self._scales), params, x)
            _, delta = chain.pull(records[1:], 0 * f, None)  # no weight but the first layer's is asked for
            found, _ = chain.pull(records[:1], delta, inner=False)
            total = total + found[self._name]
        return namespace(total).reshape(total, (self.weight.shape[0],))

    def hvp(self, w: Array, v: Array) -> Array:
        """The Hessian at `w` times `v`, (d,) or (directions, d), by the R-operator."""
        return self._product(w, v, False)

    def gauss_newton_product(self, w: Array, v: Array) -> Array:
        r"""The Gauss-Newton matrix :math:`2 \sum_j J_j^T J_j / N` at `w` times `v`, (d,) or (directions, d)."""
        return self._product(w, v, True)

    def products(self, w: Array, gauss_newton: bool = False) -> Callable[[Array], Array]:
        """``v -> hvp(w, v)``, or the Gauss-Newton product, for many v (d,) at one `w`.

        The passes that do not depend on v are made once, and kept where they take at most 2^27 numbers (1 GiB in
        float64): a product costs about half then.
        """
        real("w", w, shape=(self.weight.shape[0],))
        recorded = partial(self._recorded, w, flag("gauss_newton", gauss_newton))
        if self._held * self.samples <= KEPT:
            points = list(recorded())
            recorded = partial(iter, points)

        def product(v):
            return self._pulled(recorded(), real("v", v, shape=(self.weight.shape[0],)))

        return product

    def _product(self, w, v, gauss_newton):
        real("v", v, ndim=(1, 2))
        d = self.weight.shape[0]
        if v.shape[-1] != d:
            raise ValueError(f"need v of shape ({d},) or (directions, {d}); got {tuple(v.shape)}")
        return self._pulled(self._recorded(w, gauss_newton, prod(v.shape[:-1])), v)

    def _recorded(self, w, gauss_newton, lead=1):
        """Yield the records of the layers at `w`, deltas too, for some samples after the others."""
        for params, x, targets in self._parts(w, lead):
            # the Gauss-Newton matrix is the Hessian of an F whose targets are reached
            targets = dict.fromkeys(targets) if gauss_newton else targets
            f, records = chain.record(captured.wrapped(self._tail, targets, self._scales), params, x)
            chain.pull(records, 0 * f, None, inner=False, keep=True)
            yield f, records

    def _pulled(self, recorded, v):
        """The products with `v`, (d,) or (directions, d), the sum over the parts that were recorded."""
        lead, total, key = tuple(v.shape[:-1]), 0, self._name.removesuffix(".weight")
        for f, records in recorded:
            directions = {self._name: namespace(f, v).reshape(astype(v, f.dtype), (*lead, *self._shape))}
            _, held = chain.push(records, directions, None)
            found, _ = chain.pull_tangent(records, held, directions, None, want=key, inner=False)
            total = total + found[self._name]
        return namespace(total).reshape(total, tuple(v.shape))

    def hessian(self, w: Array) -> Array:
        """The Hessian at `w`, (d, d): a product with every unit vector."""
        real("w", w, shape=(self.weight.shape[0],))
        d, units, pieces = w.shape[0], eye(w.shape[0], w), []
        for start in range(0, d, DIRECTIONS):
            pieces.append(self.hvp(w, units[start : min(start + DIRECTIONS, d), :]))
        H = concat(pieces, axis=0)
        return (H + swap(H)) / 2


def _key(network, layer):
    """The key of a Dense or Conv2d, from its key or its index in the list of layers."""
    key = (
        layer
        if isinstance(layer, str)
        else str(integer("layer", layer, least=0, most=len(network.layers) - 1))
    )
    if f"{key}.weight" not in network.prunable:
        keys = ", ".join(name.removesuffix(".weight") for name in network.prunable)
        raise ValueError(f"need layer to be a Dense or Conv2d, one of {keys}; got {layer!r}")
    return key


def _ready(network, dense, inputs):
    """What `network.ready` gives for `dense`; its errors name the argument."""
    try:
        return network.ready(dense, inputs, "inputs")
    except (TypeError, ValueError) as error:
        raise type(error)(f"dense: {error}") from error


def _types(operations):
    """`operations` when they are types of layers."""
    if not isinstance(operations, (tuple, list)):
        raise TypeError(f"need operations to be a tuple of types; got {operations!r}")
    for name in operations:
        if not isinstance(name, str) or name not in TYPES:
            raise ValueError(f"need operations among {', '.join(TYPES)}; got {name!r}")
    return tuple(operations)


def _scales(targets, reduction):
    """The factor of the squared distance to every target (samples, ...)."""
    of = {"samples": lambda t: 1 / t.shape[0], "sum": lambda t: 1.0, "entries": lambda t: 1 / prod(t.shape)}
    return {name: of[reduction](target) for name, target in targets.items()}
