"""I-OBS problems as the checks read them: the Newton point, its rounding, and the best weights on a support."""

from functools import cached_property

import numpy as np

from ..bounds import SOLVE, condition, condition_limit, is_singular, unit_diagonal
from ..contract import failed, passed
from . import step_parts as parts


class NewtonView(parts.StepView):
    """The Newton point ``theta+ = w - H^-1 g``, and what is kept of it.

    With s the square roots of the diagonal of H, solving and inverting err by ``eps kappa`` of the norm of what is
    added, s w and s H^-1 g (Higham, theorem 10.4 and section 14.1; at most 0.9 of it was seen), in units of 1 / s.
    """

    word = "|theta+|"
    hessian = weight = slope = None

    @property
    def projects(self):
        """Whether kept weights are the best ones on their support."""
        return self.claims.get("project", "H") == "H"

    def set_model(self, weight, gradient, hessian, keep, size=0.0):
        """Store the model in float64; `size` is what else is added on the way."""
        self.weight, self.slope, self.keep = weight, gradient, keep
        self.hessian = (hessian + hessian.T) / 2
        self.living = np.diagonal(self.hessian) > 0
        if not self._definite() or keep is None:
            self.set_point(0 * weight, 0 * weight, keep)
            return
        scale = np.sqrt(np.diagonal(self.hessian)[self.living])
        move = self.move()[self.living]
        size = size + np.linalg.norm(scale * weight[self.living]) + np.linalg.norm(scale * move)
        point, slack = weight.copy(), np.full(weight.size, SOLVE * self.eps * np.abs(weight).max(initial=0.0))
        point[self.living] -= move
        slack[self.living] = SOLVE * self.eps * self.condition * size / scale
        self.set_point(point, slack + self.tiny, keep, ~self.living)

    def _definite(self):
        """Singular and very ill-conditioned problems are judged by gentler rules."""
        part = self.hessian[np.ix_(self.living, self.living)]
        dead = self.hessian[~self.living]
        if np.abs(dead).max(initial=0.0) > 0 or np.abs(self.slope[~self.living]).max(initial=0.0) > 0:
            self.expect(
                "free", "a weight with a zero on the diagonal of H has other entries: there is no minimum"
            )
        elif part.size and np.linalg.eigvalsh(unit_diagonal(part)[0])[0] < -len(part) * self.eps:
            self.expect("free", "the living part of H is indefinite")
        elif is_singular(part, self.eps):
            self.expect("free", "the living part of H is singular to rounding")
        elif self.condition > condition_limit(self.eps):
            limit = condition_limit(self.eps)
            self.expect("beyond", f"the condition {self.condition:.1e} is past {limit:.1e}")
        return self.expects in ("answer", "beyond")

    @cached_property
    def condition(self):
        """Condition of the living part of H at unit diagonal."""
        return condition(self.hessian[np.ix_(self.living, self.living)])

    def move(self):
        """``H^-1 g``, (d,); 0 at dead inputs."""
        at, out = np.flatnonzero(self.living), np.zeros(self.weight.size)
        out[at] = np.linalg.solve(self.hessian[np.ix_(at, at)], self.slope[at])
        return out

    def best(self, kept):
        """The minimiser of the model on `kept`; dead weights are those that were given."""
        at, out = np.flatnonzero(kept & self.living), np.where(kept & ~self.living, self.weight, 0.0)
        pull = self.hessian[at] @ self.weight - self.slope[at]
        out[at] = np.linalg.solve(self.hessian[np.ix_(at, at)], pull)
        return out

    def right(self, kept):
        """The best weights on `kept`, or the Newton point's where ``project="euclid"`` is claimed."""
        if not self.projects:
            return super().right(kept)
        return self.best(kept), np.where(kept, self.slack, 0.0)

    def least(self):
        """A best weight may be 0; entries of the Newton point are what they are."""
        return 0 if self.projects else super().least()


def stationary(view, answer):
    """The kept weights are the best ones on their support; where H is singular, their gradient is 0."""
    if view.expects != "free" or not view.projects:
        return parts.values(view, answer)
    value = answer.weight.astype(float)
    kept = ~view.pruned(answer)
    gradient = view.hessian @ (value - view.weight) + view.slope
    size = np.abs(value).max(initial=0.0) + np.abs(view.weight).max(initial=0.0)
    largest = np.abs(view.hessian).max(initial=0.0) * size * value.size + np.abs(view.slope).max(initial=0.0)
    bound = SOLVE * max(view.eps, view.store_eps) * largest
    error = float(np.abs(gradient[kept]).max(initial=0.0))
    if error > bound:
        text = f"{view.reason}; an error or stationary weights are right"
        return failed(f"{text}, and the gradient on the kept entries is {error:.3g}", error, float(bound))
    return passed(error, float(bound))
