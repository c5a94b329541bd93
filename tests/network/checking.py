"""What the tests of networks share: cases, bounds of rounding, and checks that say what is wrong.

A layer is held to autograd on its own forward code, and every linear map to its adjoint by a dot test; a network
to `refprune.definitions.derivatives`, which shares no code with it. `test_network_mistakes.py` shows that each check
can fail.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import autograd
import numpy as np

from refprune.definitions import derivatives
from refprune.definitions.jet_outputs import flat_outputs
from refprune.network import Network, matrices
from refprune.network.point import Point
from refprune.testing.networks import problem

SIZE = 100  # numbers in params
EPS = {"float16": 2.0**-23, "float32": 2.0**-23, "float64": 2.0**-52}  # computed in float32 at least


def frozen(array):
    """A copy that nobody may write to."""
    array = np.array(array)
    array.flags.writeable = False
    return array


def close(what, got, wanted, bound):
    """Raise AssertionError, which begins with `what`, unless shapes are equal and no entry is off by `bound`."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: of shape {got.shape}, not {wanted.shape}"
    off = np.abs(got - wanted)
    worst = np.unravel_index(np.argmax(off), off.shape) if off.size else ()
    assert (off <= bound).all(), f"{what}: off by {off[worst]:.3g} > {np.max(bound):.3g} at {worst}"


@dataclass(frozen=True)
class Case:
    """One network at one point: arguments that cannot be written to."""

    layers: list
    params: dict
    x: np.ndarray
    y: np.ndarray
    loss: str

    @cached_property
    def network(self):
        return Network.from_dicts(self.layers)

    @property
    def data(self):
        """(params, x, y), the arguments of most methods."""
        return self.params, self.x, self.y

    @property
    def plain(self):
        """The arguments of the definitions, in float64."""
        params = {name: array.astype(float) for name, array in self.params.items()}
        y = self.y if self.loss == "cross_entropy" else self.y.astype(float)
        return self.layers, params, self.x.astype(float), y, self.loss

    def bound(self, wanted):
        """What rounding may do to one of at most 8 products in each layer.

        A sum of n terms, one after the other, has an error below `n eps` times the sum of their sizes. What
        enters one number passes the sums over the fan-in (or the outputs) of every layer, an elementary function
        of at most 8 roundings, and the sum over samples and positions; errors add up. Numbers are of the size of
        `wanted` or the outputs, or 1 while weights are below 4; a weight enters second derivatives twice.
        """
        network, shape = self.network, self.x.shape[1:]
        sums = [shape_[0] + prod(shape_[1:]) + 8 for shape_ in network.shapes.values()]
        terms = 8 * len(network.layers) + sum(sums) + self.x.shape[0] * prod(shape[1:])
        weights = max(np.abs(array).max() for array in self.params.values())
        largest = max(1.0, np.abs(wanted).max(initial=0), self.largest_output, (weights / 4) ** 2)
        return 8 * terms * EPS[self.x.dtype.name] * float(largest)

    @cached_property
    def largest_output(self):
        return np.abs(derivatives.forward(*self.plain[:3])).max()


def case(seed, flag=None, dtype="float64", loss=None, **options):
    """A generated `Case` of at most `SIZE` parameters: the definitions are slow."""
    rng, found = np.random.default_rng(seed), None
    while found is None or sum(array.size for array in found["params"].values()) > SIZE:
        found = problem(rng, flag, dtype, loss, **options)
    params = {name: frozen(array) for name, array in found["params"].items()}
    return Case(found["layers"], params, frozen(found["x"]), frozen(found["y"]), found["loss"])


def single(case, s):
    """The case with sample `s` alone."""
    return replace(case, x=frozen(case.x[s : s + 1]), y=frozen(case.y[s : s + 1]))


def check_network(case, only=()):
    """Every method against the definitions; `only` names some methods."""
    network, arguments = case.network, (*case.data, case.loss)
    v = np.random.default_rng(1).normal(size=(3, network.size)).astype(case.x.dtype)
    V = v.astype(float)
    hessian, gauss_newton = derivatives.hessian(*case.plain), derivatives.gauss_newton(*case.plain)
    own = derivatives.per_sample_gradients(*case.plain)
    layers, params, x, _, _ = case.plain
    J = flat_outputs(layers, params, x, np.eye(network.size)).left[:, 0].transpose(1, 2, 0)
    pairs = {
        "forward": lambda: (network.forward(case.params, case.x), derivatives.forward(layers, params, x)),
        "loss": lambda: (network.loss(*arguments), derivatives.network_loss(*case.plain)),
        "gradient": lambda: (network.flatten(network.gradient(*arguments)), own.mean(0)),
        "per_sample_gradients": lambda: (network.per_sample_gradients(*arguments), own),
        "jacobian": lambda: (network.jacobian(case.params, case.x), J),
        "gauss_newton_product": lambda: (
            network.gauss_newton_product(*case.data, v, case.loss),
            V @ gauss_newton,
        ),
        "gauss_newton": lambda: (network.gauss_newton(*arguments), gauss_newton),
        "model_fisher": lambda: (network.model_fisher(case.params, case.x, case.loss), gauss_newton),
        "empirical_fisher": lambda: (network.empirical_fisher(*arguments), own.T @ own / len(own)),
        "hvp": lambda: (network.hvp(*case.data, v, case.loss), V @ hessian),
        "hessian": lambda: (network.hessian(*arguments), hessian),
        "hessian in chunks": lambda: (network.hessian(*arguments, memory=20000), hessian),
        "hessian_diagonal": lambda: (network.hessian_diagonal(*arguments), np.diagonal(hessian)),
    }
    for name in only or pairs:
        got, wanted = pairs[name]()
        if name.startswith("hessian") and np.ndim(got) == 2:
            assert np.array_equal(got, got.T), f"{name}: not symmetric bit for bit"
        close(name, got, wanted, case.bound(wanted))


def check_chunks(case, memory):
    """The chunks of directions: each parameter's unit vector once, and nothing else in it."""
    network = case.network
    point = Point(network, *case.data, case.loss, len(case.x))
    for key, (start, end) in matrices.layer_spans(network).items():
        indices, found = np.arange(end - start), []
        for a, b, directions in matrices._directions(point, key, indices, memory):
            flat = [
                np.reshape(directions[name], (b - a, -1)) for name in network.shapes if name in directions
            ]
            assert np.array_equal(np.concatenate(flat, axis=1), np.eye(end - start)[a:b]), "not a unit vector"
            found += range(a, b)
        assert set(found) == set(indices.tolist()), f"a direction of layer {key} is in no chunk"
        assert len(found) == len(indices), f"a direction of layer {key} is in two chunks"


class Alone:
    """One layer at one point: its output, sum(delta * output) and their derivatives by autograd.

    The flat vector holds its trainable parameters, then the inputs.
    """

    def __init__(self, layer, shape, seed=0, samples=2):
        rng = np.random.default_rng(seed)
        self.layer, self.names = layer, [*layer.parameters(), "x"]
        self.sizes = layer.parameters() | {"x": (samples, *shape)}
        self.constants = {name: frozen(rng.uniform(0.3, 2, size)) for name, size in layer.constants().items()}
        self.at = {name: frozen(rng.normal(size=size) + 0.1) for name, size in self.sizes.items()}
        self.params = {name: self.at[name] for name in layer.parameters()} | self.constants
        self.x, self.rng = self.at["x"], rng
        out = (samples, *layer.output_shape(shape))
        self.delta = frozen(rng.normal(size=out))
        point = np.concatenate([array.ravel() for array in self.at.values()])
        self.J = autograd.jacobian(lambda t: self.output(t).ravel())(point)
        # autograd warns of what does not depend on its argument: the gradient of a linear map
        self.H = autograd.hessian(lambda t: (self.delta * self.output(t)).sum() + 0 * (t**2).sum())(point)
        # as in Case.bound: the fan-in and the positions of one layer, numbers of size 1 to 5
        self.bound = 8 * (prod(shape) + prod(out) + 8) * EPS["float64"] * 5

    def output(self, t):
        pieces = self.split(t)
        return self.layer.forward(pieces | self.constants, pieces["x"])

    def split(self, t):
        """Name -> piece of `t` (..., entries), in the shape of what it stands for."""
        found, start = {}, 0
        for name, size in self.sizes.items():
            found[name] = t[..., start : start + prod(size)].reshape(*t.shape[:-1], *size)
            start += prod(size)
        return found

    def join(self, gradients, below, lead):
        """The flat vector of what `pull` or `pull_tangent` gave: what is missing is zero."""
        found = gradients | {"x": below}
        zeros = {name: np.zeros((*lead, *size)) for name, size in self.sizes.items()}
        pieces = [zeros[name] if found.get(name) is None else found[name] for name in self.names]
        return np.concatenate([np.reshape(piece, (*lead, -1)) for piece in pieces], axis=-1)


def check_layer(layer, shape, seed=0, samples=2):
    """`record`, `push`, `pull` and `pull_tangent`, from each source alone, with and without a leading axis."""
    alone, name = Alone(layer, shape, seed, samples), type(layer).__name__
    y, tape = layer.record(alone.params, alone.x)
    assert np.array_equal(y, layer.forward(alone.params, alone.x)), f"{name}: record is not forward"
    gradients, below = layer.pull(tape, alone.params, alone.delta)
    _compare(alone, f"{name}: pull", gradients, below, alone.delta.ravel() @ alone.J)
    _per_sample(alone, tape)
    for lead in ((), (3,)):
        for source in alone.names:
            _from(alone, tape, source, lead)
        ddelta = alone.rng.normal(size=(*lead, *alone.delta.shape))
        gradients, below = layer.pull_tangent(tape, alone.params, alone.delta, None, {}, ddelta)
        wanted = ddelta.reshape(*lead, -1) @ alone.J
        _compare(alone, f"{name}: pull_tangent of ddelta", gradients, below, wanted)
        found = layer.pull_tangent(tape, alone.params, alone.delta, None, {}, ddelta, want=False)
        assert found[0] == {}, f"{name}: gradients that nobody wants"


def _from(alone, tape, source, lead):
    """Tangents that start at one source: what the output and the adjoints get of them."""
    layer, name = alone.layer, f"{type(alone.layer).__name__}"
    t = np.zeros((*lead, alone.J.shape[1]))
    alone.split(t)[source][...] = alone.rng.normal(size=(*lead, *alone.sizes[source]))
    assert t.any()
    dparams = {} if source == "x" else {key: value for key, value in alone.split(t).items() if key != "x"}
    dy, held = layer.push(tape, alone.params, dparams, alone.split(t)["x"] if source == "x" else None)
    close(f"{name}: push of {source}", dy, (t @ alone.J.T).reshape(*lead, *alone.delta.shape), alone.bound)
    gradients, below = layer.pull_tangent(tape, alone.params, alone.delta, held, dparams, None)
    _compare(alone, f"{name}: pull_tangent of {source}", gradients, below, t @ alone.H)


def _compare(alone, what, gradients, below, wanted):
    lead = wanted.shape[:-1]
    got = alone.split(alone.join(gradients, below, lead))
    for target, piece in alone.split(wanted).items():
        close(f"{what} gives a wrong {target}", got[target], piece, alone.bound)


def _per_sample(alone, tape):
    """The gradients of every sample's own output."""
    gradients, _ = alone.layer.pull(tape, alone.params, alone.delta, want="samples", inner=False)
    for s in range(len(alone.x)):
        delta = np.zeros_like(alone.delta)
        delta[s] = alone.delta[s]
        wanted = alone.split(delta.ravel() @ alone.J)
        for target, piece in wanted.items():
            if target != "x":
                what = f"{type(alone.layer).__name__}: pull per sample gives a wrong {target}"
                close(what, gradients[target][s], piece, alone.bound)
    assert alone.layer.pull(tape, alone.params, alone.delta, want=None)[0] == {}


def check_adjoint(what, left, right, terms):
    """<A t, d> = <t, A^T d>, both given as pairs of arrays; `terms` numbers of size 1 to 5 were summed up.

    An array may have one axis more, for many directions: then there are as many products.
    """
    products = []
    for a, b in (left, right):
        own = min(a.ndim, b.ndim)
        assert a.shape[a.ndim - own :] == b.shape[b.ndim - own :], f"{what}: {a.shape} beside {b.shape}"
        products.append((a * b).sum(axis=tuple(range(-own, 0))))
    close(what, *products, 50 * terms * EPS["float64"])
