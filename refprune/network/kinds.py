"""The three kinds of layer. A kind supplies the first- and second-order rules once; a layer supplies its maps.

A layer is run in four ways (`refprune.network.chain` calls them, layer by layer):

- ``record(params, x) -> (y, tape)``: the output, and what derivatives need later;
- ``push(tape, params, dparams, dx) -> (dy, held)``: the tangent of the output (forward, R-operator);
- ``pull(tape, params, delta, want, inner) -> (gradients, delta of x)``: the adjoint (backward);
- ``pull_tangent(tape, params, delta, held, dparams, ddelta, want, inner) -> (gradients, delta of x)``: its tangent.

Tangents (names that begin with d) may carry one leading axis: many directions at once. A tangent that is zero
is None. `gradients` maps the layer's own parameter names to arrays: summed over samples (`want` "sum"), one for
each sample ("samples"), or none at all (None; False in `pull_tangent`). With `inner` False nobody asks for the
delta of x, and it may be None.
"""

from dataclasses import dataclass, fields

from refprune.arrays import full, namespace


def add(*terms):
    """The sum of the terms that are not None; None when all are."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def add_to(*terms):
    """The same sum, written into the first term that is not None: nobody else may hold that array."""
    total = None
    for term in terms:
        if term is not None:
            if total is None:
                total = term
            else:
                total += term
    return total


def spread(vector, like_ndim, axes):
    """A bias or scale (..., channels) with `axes` trailing axes and an axis for samples: it multiplies outputs."""
    xp, (*lead, channels) = namespace(vector), vector.shape
    return xp.reshape(vector, (*lead, *(1 for _ in range(like_ndim)), channels, *(1 for _ in range(axes))))


@dataclass(frozen=True)
class Layer:
    """What all layers share: plain data, and no parameters unless a layer says so."""

    def parameters(self) -> dict:
        """Name -> shape of the trainable parameters, in flat order."""
        return {}

    def constants(self) -> dict:
        """Name -> shape of the parameters that are not trained."""
        return {}

    def output_shape(self, shape: tuple) -> tuple:
        """The shape of one sample's output for samples of `shape`; ValueError when they do not fit."""
        return shape

    def held(self, shape: tuple) -> int:
        """About how many numbers per sample the derivatives of this layer hold on to."""
        return 2 * _count(self.output_shape(shape))

    def forward(self, params: dict, x):
        """The output alone."""
        return self.record(params, x)[0]

    def record(self, params: dict, x):
        """The output and the tape."""
        raise NotImplementedError

    def push(self, tape, params: dict, dparams: dict, dx):
        """The tangent of the output, and what `pull_tangent` needs of the tangents."""
        raise NotImplementedError

    def pull(self, tape, params: dict, delta, want="sum", inner=True):
        """The gradients of the parameters and the delta of the input."""
        raise NotImplementedError

    def pull_tangent(self, tape, params: dict, delta, held, dparams: dict, ddelta, want=True, inner=True):
        """The tangents of what `pull` gives."""
        raise NotImplementedError

    def to_dict(self) -> dict:
        """The layer as plain data: its type and its arguments."""
        return {"type": self.type} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _count(shape):
    total = 1
    for n in shape:
        total *= n
    return total


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class Elementwise(Layer):
    r"""`y = phi(x)`, entry by entry.

    A subclass gives three static functions: `value(x)`, `slope(x, y)` and `bend(x, y, slope)`, the function
    and its first two derivatives. `bend` is None where the second derivative is zero (but for kinks).

    With tangents :math:`\dot x, \dot\delta`: :math:`\dot y = \phi' \dot x`, and backwards
    :math:`\phi' \delta`, whose tangent is :math:`\phi'' \dot x \delta + \phi' \dot\delta`.
    """

    bend = None

    @staticmethod
    def value(x):
        """The function."""
        raise NotImplementedError

    @staticmethod
    def slope(x, y):
        """Its first derivative at `x`, where its value is `y`."""
        raise NotImplementedError

    def forward(self, params, x):
        return self.value(x)

    def record(self, params, x):
        y = self.value(x)
        slope = self.slope(x, y)
        return y, (slope, None if self.bend is None else self.bend(x, y, slope))

    def push(self, tape, params, dparams, dx):
        return (None, None) if dx is None else (tape[0] * dx, dx)

    def pull(self, tape, params, delta, want="sum", inner=True):
        return {}, tape[0] * delta

    def pull_tangent(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        slope, bend = tape
        by_slope = None if ddelta is None else slope * ddelta
        by_bend = None if held is None or bend is None else (bend * delta) * held
        return {}, add_to(by_slope, by_bend)


@dataclass(frozen=True)
class Linear(Layer):
    """A linear map without parameters, or one that selects entries of its input.

    A subclass gives `record(params, x) -> (y, tape)`, `apply(tape, t)`, the map on any number of leading
    axes, and `adjoint(tape, t)`, its transpose. Tangents go through the same two maps.
    """

    def apply(self, tape, t):
        """The map, as it was selected when `tape` was recorded."""
        raise NotImplementedError

    def adjoint(self, tape, t):
        """Its transpose."""
        raise NotImplementedError

    def push(self, tape, params, dparams, dx):
        return (None if dx is None else self.apply(tape, dx)), None

    def pull(self, tape, params, delta, want="sum", inner=True):
        return {}, self.adjoint(tape, delta)

    def pull_tangent(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        return {}, (None if ddelta is None else self.adjoint(tape, ddelta))


@dataclass(frozen=True)
class Bilinear(Layer):
    r"""`y = W * lift(x) + b`, linear in the weight and (up to a constant) in the input.

    A subclass gives three maps of the product `*`: `product(W, u)`, `input_adjoint(W, delta)` and
    `weight_adjoint(delta, u, per_sample)`; of the two arguments of a map at most one has a leading axis. Where the
    weight does not multiply the input itself, it also gives `lift(params, x, tangent=False)` and its adjoint
    `lower(params, u, shape)`. `spatial` is the number of axes of an output after its channels.

    With :math:`u` = lift(x) and tangents under dots: :math:`\dot y = \dot W u + W \dot u + \dot b`, backwards
    the gradient of W is :math:`\delta u^T`, with tangent :math:`\dot\delta u^T + \delta \dot u^T`, and that of
    the input :math:`W^T \delta`, with tangent :math:`\dot W^T \delta + W^T \dot\delta`.
    """

    spatial = 0

    def lift(self, params: dict, x, tangent=False):
        """What the weight multiplies; without its constant for tangents."""
        return x

    def lower(self, params: dict, u, shape: tuple):
        """The adjoint of `lift`, for inputs whose samples have `shape`."""
        return u

    def product(self, W, u):
        """The product of a weight and what it multiplies."""
        raise NotImplementedError

    def input_adjoint(self, W, delta):
        """The adjoint of the product in `u`."""
        raise NotImplementedError

    def weight_adjoint(self, delta, u, per_sample=False):
        """The adjoint of the product in `W`, summed over samples or one for each."""
        raise NotImplementedError

    def record(self, params, x):
        u = self.lift(params, x)
        y = self.product(params["weight"], u)
        if "bias" in params:
            y = y + spread(params["bias"], 1, self.spatial)
        return y, (u, tuple(x.shape[1:]))

    def push(self, tape, params, dparams, dx):
        du = None if dx is None else self.lift(params, dx, tangent=True)
        dy = add_to(
            self.product(dparams["weight"], tape[0]) if "weight" in dparams else None,
            None if du is None else self.product(params["weight"], du),
        )
        if "bias" in dparams:
            dy += spread(dparams["bias"], 1, self.spatial)
        return dy, du

    def pull(self, tape, params, delta, want="sum", inner=True):
        u, shape = tape
        gradients = {} if want is None else {"weight": self.weight_adjoint(delta, u, want == "samples")}
        if gradients and "bias" in params:
            gradients["bias"] = self._bias_adjoint(delta, want == "samples")
        below = self.lower(params, self.input_adjoint(params["weight"], delta), shape) if inner else None
        return gradients, below

    def pull_tangent(self, tape, params, delta, held, dparams, ddelta, want=True, inner=True):
        u, shape = tape
        gradients = {}
        if want and (ddelta is not None or held is not None):
            gradients["weight"] = add_to(
                None if ddelta is None else self.weight_adjoint(ddelta, u),
                None if held is None else self.weight_adjoint(delta, held),
            )
        if want and ddelta is not None and "bias" in params:
            gradients["bias"] = self._bias_adjoint(ddelta)
        if not inner:
            return gradients, None
        columns = add_to(
            self.input_adjoint(dparams["weight"], delta) if "weight" in dparams else None,
            None if ddelta is None else self.input_adjoint(params["weight"], ddelta),
        )
        return gradients, None if columns is None else self.lower(params, columns, shape)

    def _bias_adjoint(self, delta, per_sample=False):
        """Sum over positions, and over samples unless per sample; products with ones are faster than `sum`."""
        xp = namespace(delta)
        if self.spatial:
            *lead, height, width = delta.shape
            delta = xp.reshape(delta, (*lead, height * width)) @ full((height * width,), 1, delta)
        return delta if per_sample else full((delta.shape[-2],), 1, delta) @ delta
