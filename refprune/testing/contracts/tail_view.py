"""Newton-CG on one layer, as the checks read it: the mask holds, F is below the start's, nothing is left to gain."""

from functools import cached_property
from numbers import Integral

import numpy as np

from .. import checks
from ..contract import CheckSpec, failed, not_claimed, passed
from ..layered_view import LayeredView
from ..network_bounds import factor
from ..tail import Tail

SHARE = 1e-4  # of the start's gradient: what is left at the answer
GAIN = 1e-6  # of F: what a search may still find where there are kinks
ARMIJO, SHORTER, TRIALS = 1e-5, 0.9, 50  # the definition's search
SEEN = 4.0  # a decrease of F below so many times its rounding is lost
KINKED = ("relu", "relu6", "maxpool2d")
ALIKE = 1e-5  # of the largest weight: answers that are so near to each other are the same


class TailView(LayeredView):
    """The problem in float64.

    Attributes
    ----------
    tail : Tail
        F, over the flat weight.
    kinked : bool
        Whether F has kinks: a ReLU or a max pool between the weight and the last output.
    """

    def __init__(self, problem, claims):
        super().__init__(problem, claims)
        if self.expects == "answer" and self._need_layer():
            kept = np.array(problem["mask"]).reshape(-1)
            call = (problem["layers"], self.params, problem["x"].astype(float), int(problem["layer"]), kept)
            self.tail = Tail(*call, int(problem["horizon"]))
            self.kinked = _holds(self.tail.behind, KINKED)

    def _need_layer(self):
        layers, place, horizon, mask = (self.problem[key] for key in ("layers", "layer", "horizon", "mask"))
        for name, value in (("layer", place), ("horizon", horizon)):
            if isinstance(value, bool) or not isinstance(value, Integral):
                self.expect("error", f"{name} is {value!r}; an integer is needed")
                return False
        if not 0 <= place < len(layers) or layers[place]["type"] not in ("dense", "conv2d"):
            self.expect("error", f"layer is {place}; the index of a dense layer or a convolution is needed")
            return False
        if horizon < 0:
            self.expect("error", f"horizon is {horizon}; 0 or more is needed")
        self.shape = self.problem["params"][f"{place}.weight"].shape
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != self.shape:
            self.expect("error", f"mask is no boolean array of shape {self.shape}")
        return self.expects == "answer"

    def pruned(self, answer):
        """What the problem prunes."""
        return ~self.tail.kept.reshape(self.shape)

    @cached_property
    def first(self):
        """(F, norm of its gradient) at the start."""
        start = self.tail.start
        return self.tail.value(start), float(np.linalg.norm(self.tail.gradient(start)))

    @property
    def share(self):
        """c eps of the arithmetic, and of storing the weight."""
        return factor(self.tail.params, self.tail.x) * self.eps + self.store_eps

    @cached_property
    def of_targets(self):
        """E of the dense network's outputs."""
        return self.tail.sizes(self.tail.weight, self.tail.units[:0])[0]

    def rounding(self, w):
        """What rounding makes of F at `w`.

        The outputs err by ``e = c eps E`` (`network_bounds`), those of the dense network too: F by ``2 |r| e + e^2``.
        """
        e = self.share * (self.tail.sizes(w, self.tail.units[:0])[0] + self.of_targets)
        r = np.abs(self.tail.outputs(w) - self.tail.targets)
        return float((2 * r * e + e * e).sum()) / len(self.tail.x)

    def slope_rounding(self, w):
        """(What rounding makes of the norm of F's gradient, the largest curvature) at `w`.

        With e as in `rounding` the gradient errs by ``2 sum |J| e + e_J |r|``.
        """
        tail, samples = self.tail, len(self.tail.x)
        y, J = tail.slopes(w)
        E, A_slope, E_slope = tail.sizes(w, tail.units)
        e, r = self.share * (E + self.of_targets), np.abs(y - tail.targets)
        of_slope = 2 * (A_slope * e + self.share * E_slope * (r + e)).sum((1, 2)) / samples
        steep = np.linalg.norm(J.reshape(len(J), y.size), 2) ** 2 * 2 / samples if len(J) else 0.0
        return float(np.linalg.norm(of_slope)), float(steep)

    def allowed(self, w):
        """The norm of a gradient that counts as 0, and what counts as no decrease of F.

        Newton's step promises `g . H^-1 g / 2`, at least `|g|^2 / (2 L)` with L the largest curvature: where that is
        lost in the rounding of F, a search finds nothing.
        """
        lost, (slope, steep) = SEEN * self.rounding(w), self.slope_rounding(w)
        return SHARE * self.first[1] + slope + (2 * steep * lost) ** 0.5, lost

    def gain(self, w):
        """The smaller of two decreases of F that the definition's search finds from `w`: along the negative gradient
        to its minimum, and along the Gauss-Newton step."""
        tail, value, g = self.tail, self.tail.value(w), self.tail.gradient(w)
        y, J = tail.slopes(w)
        J, r = J.reshape(len(J), -1), (y - tail.targets).reshape(-1)
        bent = float(((g[tail.kept] @ J) ** 2).sum()) * 2 / len(tail.x)
        along = (
            -(g @ g) / bent * g if bent > 0 else -g,
            tail.spread(np.linalg.lstsq(J.T, -r, rcond=None)[0]),
        )
        return min(value - _searched(tail, w, s, value, float(g @ s)) for s in along)

    def same(self, a, b, factor):
        """Whether two answers are near to each other, measured by the largest weight."""
        most = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        return bool((np.abs(a - b) <= factor * max(ALIKE, self.eps**0.5) * most).all())


def _holds(layers, types):
    inner = [layer.get(part) or [] for layer in layers for part in ("body", "shortcut")]
    return any(layer["type"] in types for layer in layers) or any(_holds(part, types) for part in inner)


def _searched(tail, w, step, value, slope):
    """F at the first point that will do; `value` where there is none."""
    t = 1.0
    for _ in range(TRIALS):
        found = tail.value(w + t * step)
        if slope < 0 and found <= value + ARMIJO * t * slope:
            return found
        t *= SHORTER
    return value


def _flat(answer):
    return answer.weight.astype(float).reshape(-1)


def form(view, answer):
    """Shape and dtype."""
    if answer.weight.shape != view.shape:
        return failed(f"the answer has shape {answer.weight.shape}; {view.shape} is needed")
    if answer.weight.dtype != view.dtype:
        return failed(f"the answer has dtype {answer.weight.dtype}; that of x is {view.dtype}")
    return None


def objective(view, answer):
    """The reported objective is F of the reported weight."""
    if answer.objective is None:
        return not_claimed("no objective was given")
    true, bound = view.tail.value(_flat(answer)), SEEN * view.rounding(_flat(answer))
    bound += view.store_eps * true + np.finfo(view.dtype).tiny
    error = abs(answer.objective - true)
    if not error <= bound:
        ratio = f" ({answer.objective / true:.4g} times as large)" if true else ""
        text = f"objective {answer.objective:.6g} is reported; the reported weight has {true:.6g}{ratio}"
        return failed(text, error, bound)
    return passed(error, bound)


def no_worse(view, answer):
    """F is not above the start's."""
    w = _flat(answer)
    excess = view.tail.value(w) - view.first[0]
    bound = SEEN * (view.rounding(w) + view.rounding(view.tail.start))
    if not excess <= bound:
        text = f"F is {view.tail.value(w):.6g}; at the start, the dense weight times the mask, it is"
        return failed(f"{text} {view.first[0]:.6g}", excess, bound)
    return passed(max(excess, 0.0), bound)


def stationary(view, answer):
    """The gradient on the kept entries is 0; at a kink no search finds a lower F."""
    w = _flat(answer)
    left, (allowed, lost) = float(np.linalg.norm(view.tail.gradient(w))), view.allowed(w)
    if left <= allowed:
        return None if view.kinked else passed(left, allowed)
    text = f"the gradient on the kept entries has norm {left:.3g}; at the start {view.first[1]:.3g}"
    if not view.kinked:
        return failed(f"{text}{_still(view, w)}", left, allowed)
    gain, bound = view.gain(w), GAIN * view.tail.value(w) + lost
    if gain > bound:
        return failed(f"{text}, and a search lowers F by {gain:.3g} yet{_still(view, w)}", gain, bound)
    return None


def _still(view, w):
    return " (the weight is that of the start)" if np.array_equal(w, view.tail.start) else ""


FORM = CheckSpec("form", "well-formed", checks.FORM.summary, form)
OBJECTIVE = CheckSpec("objective", "truthful", checks.OBJECTIVE.summary, objective)
NO_WORSE = CheckSpec("no-worse", "stationary", "the objective is not above the start's", no_worse)
STATIONARY = CheckSpec("stationary", "stationary", "nothing is left to gain on the kept entries", stationary)
