"""Scores of a network's weights as the checks read them: one vector, every entry with what rounding explains of it.

For contracts that return a dict of scores keyed and shaped like the weights of dense layers and convolutions. Entries
are in one vector, the keys in the order of text. What a method is, a `Method` says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from refprune.definitions.snip import switched

from .. import kinks, network_bounds, wire
from ..contract import Check, CheckSpec, failed, passed, undecided
from ..diagnosis import wide
from ..network_view import NetworkView, scales
from ..views import View


@dataclass(frozen=True)
class Method:
    """What a contract of scores tells its view; problems come with their arrays in float64 but to `batches`.

    `define`, `size`, `places` and `witness` are given what `prepare` makes of a problem.

    Attributes
    ----------
    batches : callable
        ``batches(problem)``: the (x, y, loss) that the network is called with.
    define : callable
        ``define(problem, **claims)``: the definition's dict of scores.
    size : callable
        ``size(problem, **claims)``: a dict like it, what one rounding at each step makes of a score, in units of eps.
    fault : callable
        ``fault(problem)``: why the call is bad input, where that is not of the network or a batch; or "".
    places : callable, optional
        ``places(problem)``: the (layers, params, x) that kinks are looked for at. None: `params`, with every x.
    witness : callable, optional
        ``witness(problem, **claims)``: (dict of weights u, a number, how uncertain it is), found in another way; the
        scores times u add up to the number. None where there is nothing to be said.
    reads : tuple of str
        The claims that `define`, `size` and `witness` take by name; False where they are not made.
    signed : bool
        Whether scores may be negative.
    prepare : callable
        ``prepare(problem)``: the problem with what several of the others need. As it is.
    """

    batches: Callable
    define: Callable
    size: Callable
    fault: Callable = lambda problem: ""
    places: Callable | None = None
    witness: Callable | None = None
    reads: tuple = ()
    signed: bool = False
    prepare: Callable = lambda problem: problem


@dataclass(frozen=True)
class Solved:
    """The right scores (entries,), the bound on each in units of eps, and whether kinks leave others open."""

    right: np.ndarray
    size: np.ndarray
    open: bool


class NetworkScoreView(NetworkView):
    """A call whose answer is a dict of scores.

    Attributes
    ----------
    keys : list of str
        Of the weights that have scores.
    shapes : dict
        Their shapes.
    names : list of str
        Of every entry of the vector, such as ``"0.weight[2, 1]"``.
    unique : bool
        There is one right answer, and one of each mistake: a diagnosis must fit every case.
    """

    unique = True

    def __init__(self, problem, claims, method):
        self.method, self.calls = method, []
        reason = method.fault(problem)
        if reason:
            View.__init__(self, {"x": np.zeros((0, 0))}, claims, "x")
            self.expect("error", reason)
        for x, y, loss in () if reason else method.batches(problem):
            network = {name: problem[name] for name in ("layers", "params")}
            super().__init__({**network, "x": x, "y": y, "loss": loss}, claims, "scores")
            if self.expects != "answer":
                break
            self.calls.append(self.call)
        self.problem = problem
        if self.expects == "answer":
            self.name_weights(problem["params"])

    def name_weights(self, params):
        """Set `keys`, `shapes` and `names`."""
        self.keys = sorted(switched(params))
        self.shapes = {key: params[key].shape for key in self.keys}
        self.names = [f"{key}{list(at)}" for key in self.keys for at in np.ndindex(self.shapes[key])]

    @property
    def shape(self):
        """Of the vector."""
        return (len(self.names),)

    @property
    def options(self):
        """The claims that the method reads."""
        return {name: self.claims.get(name, False) for name in self.method.reads}

    @cached_property
    def _packed(self):
        return wire.pack(wire.encode(wide(self.problem)))

    @cached_property
    def solved(self):
        """The right scores; remembered for the next view of the same problem."""
        return _solved(self.method, tuple(self.options.items()), 100 * self.factor * self.eps, self._packed)

    @property
    def right(self):
        """The definition's scores, in one vector."""
        return self.solved.right

    @cached_property
    def witness(self):
        """(u, a number, its uncertainty), see `Method`; None where there is none."""
        return _witnessed(self.method, tuple(self.options.items()), self._packed)

    @property
    def factor(self):
        """c of the bound."""
        return max(network_bounds.factor(params, x) for _, params, x, *_ in self.calls)

    def same(self, a, b, factor):
        """As for other networks, by the largest bound of each array: wrong scores may have no small ones."""
        grown = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        grown = max(1.0, grown / max(self.solved.size.max(initial=0.0), np.finfo(float).tiny))
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])[:-1]
        most = np.concatenate([np.full(part.size, part.max()) for part in np.split(self.allowed, ends)])
        return bool((np.abs(a - b) <= factor * grown * most).all())


@lru_cache(maxsize=2)
def _prepared(method, packed):
    return method.prepare(wire.decode(wire.unpack(packed[wire.HEADER.size :])))


@lru_cache(maxsize=512)
def _solved(method, options, share, packed):
    problem, options = _prepared(method, packed), dict(options)
    if method.places is None:
        places = [(problem["layers"], problem["params"], x) for x, *_ in method.batches(problem)]
    else:
        places = method.places(problem)
    near = 0
    for call in places:
        near += kinks.close(kinks.watched(*call)[1], share, scales(*call))[1]
    return Solved(
        vector(method.define(problem, **options)), vector(method.size(problem, **options)), near > 0
    )


@lru_cache(maxsize=512)
def _witnessed(method, options, packed):
    found = method.witness(_prepared(method, packed), **dict(options))
    return None if found is None else (vector(found[0]), *found[1:])


def vector(scores):
    """The entries of a dict of arrays in one vector, keys in the order of text."""
    return np.concatenate([np.zeros(0), *(np.ravel(scores[key]) for key in sorted(scores))])


def form(view, answer):
    """The weights' keys, their shapes, and the dtype."""
    scores = answer.scores
    for words, keys in (
        ("no scores for", set(view.keys) - set(scores)),
        ("scores for", set(scores) - set(view.keys)),
    ):
        if keys:
            named = ", ".join(sorted(keys))
            return failed(f"the answer has {words} {named}; {', '.join(view.keys)} are needed, and no others")
    for key, shape in view.shapes.items():
        array = scores[key]
        if array.shape != shape:
            like = " (transposed)" if array.shape == shape[::-1] else ""
            return failed(f"the scores of {key} have shape {array.shape}{like}; {shape} is needed")
        if array.dtype not in (view.dtype, *([np.float32] if view.dtype == np.float16 else [])):
            return failed(
                f"the scores of {key} have dtype {array.dtype}; that of the samples is {view.dtype}"
            )
    return None


def nonnegative(view, answer):
    """A score is an absolute value."""
    at = int(np.argmin(answer.weight))
    if answer.weight[at] < 0:
        return failed(f"the score of {view.names[at]} is {answer.weight[at]:.6g}; it is an absolute value")
    return None


def by_witness(view, answer):
    """A weighted sum of the scores is what was found in another way."""
    if view.witness is None:
        return Check("", "not run", None, None, "a step of the differences crosses a kink")
    u, right, unsure = view.witness
    said, bound = float(answer.weight @ u), float(unsure + view.allowed @ np.abs(u))
    if not abs(said - right) <= bound:
        if view.solved.open:
            text = "the input is on a kink; other slopes may be right there"
            return undecided(text, abs(said - right), bound)
        text = f"with these scores the loss has the slope {said:.6g} along a direction of the switches"
        where = equal(view, answer).explanation
        text = f"{text}; its differences give {right:.6g}"
        return failed("; ".join(filter(None, [text, where])), abs(said - right), bound)
    return passed(abs(said - right), bound)


def equal(view, answer):
    """Every score is the definition's."""
    found, right = answer.weight.astype(float), view.right
    error, allowed = np.abs(found - right), view.allowed
    at = int(np.argmax(error / allowed))
    if error[at] <= allowed[at]:
        return passed(float(error[at]), float(allowed[at]))
    text = f"the score of {view.names[at]} is {found[at]:.6g}; the definition has {right[at]:.6g}"
    if view.solved.open:
        return undecided(f"the input is on a kink; {text}", float(error[at]), float(allowed[at]))
    return failed(text + _ratio(view, found), float(error[at]), float(allowed[at]))


def _ratio(view, found):
    """A common factor of all scores, in words."""
    right = view.right
    factor = float((found * right).sum() / max((right * right).sum(), np.finfo(float).tiny))
    if (np.abs(found - factor * right) <= 10 * (1 + abs(factor)) * view.allowed).all():
        return f" (every score is {factor:.4g} times as large)"
    return ""


FORM = CheckSpec(
    "form", "well-formed", "the weights' keys and shapes, and the dtype; no input is aliased", form
)
NONNEGATIVE = CheckSpec("nonnegative", "feasible", "no score is below 0", nonnegative)
DIFFERENCES = CheckSpec(
    "differences", "truthful", "differences of the loss agree along a direction of the switches", by_witness
)
EQUAL = CheckSpec("equal", "equal", "every score equals the definition's", equal)
