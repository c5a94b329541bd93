"""The checks of answers that are derivatives of networks. Each takes `(view, answer)`."""

import numpy as np

from .contract import Check, CheckSpec, failed, passed, undecided


def form(view, answer):
    """Shape and dtype."""
    shape = answer.weight.shape
    if shape != view.shape:
        like = {view.shape[::-1]: " (transposed)", (*view.shape, 1): " (one axis too many)"}.get(shape, "")
        return failed(f"the answer has shape {shape}{like}; {view.shape} is needed")
    if answer.weight.dtype not in (view.dtype, *([np.float32] if view.dtype == np.float16 else [])):
        return failed(f"the answer has dtype {answer.weight.dtype}; that of x is {view.dtype}")
    return None


def symmetric(view, answer):
    """`A = A^T` to rounding."""
    matrix = answer.weight.astype(float)
    return _worst(view, np.abs(matrix - matrix.T), view.allowed + view.allowed.T, lambda at: (
        f"{_named(view, at)} is {matrix[at]:.6g} and {matrix[at[::-1]]:.6g} on the other side of the diagonal"
    ))  # fmt: skip


def semidefinite(view, answer):
    """No eigenvalue below 0 by more than rounding: the norm of the bound."""
    matrix = answer.weight.astype(float)
    lowest = float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])
    bound = float(view.allowed.sum(axis=1).max())
    if lowest < -bound:
        return failed(
            f"the smallest eigenvalue is {lowest:.6g}; a Gauss-Newton matrix has none below 0", -lowest, bound
        )
    return passed(max(-lowest, 0.0), bound)


def by_differences(view, answer):
    """Along a direction, the answer is what differences of forward passes give."""
    if view.witness is None:
        return Check("", "not run", None, None, "a step of the differences crosses a kink")
    u, right, unsure = view.witness
    if view.quantity in ("hessian", "gauss_newton"):
        what, said, slack = "u^T A u", u @ answer.weight @ u, np.abs(u) @ view.allowed @ np.abs(u)
    else:  # (d,) or (samples, d)
        what = "u^T H v" if view.quantity == "hvp" else "the slope of a sample's loss along u"
        said, slack = answer.weight @ u, view.allowed @ np.abs(u)
    said, right = np.atleast_1d(said), np.atleast_1d(right)
    error, bound = np.abs(said - right), np.atleast_1d(unsure + slack)
    at = int(np.argmax(error / bound))
    if error[at] > bound[at]:
        text = f"{what} is {said[at]:.6g}; differences of the network's values give {right[at]:.6g}"
        where = equal(view, answer).explanation  # empty if the definition were to side with the answer
        return failed("; ".join(filter(None, [text, where])), float(error[at]), float(bound[at]))
    return passed(float(error[at]), float(bound[at]))


def equal(view, answer):
    """Every entry is the definition's; at a kink, for one and the same choice there."""
    found, family = answer.weight.astype(float), view.solved.family
    right = family[0] if len(family) == 1 else _nearest(found, family, view.allowed)
    if len(family) > 1 and view.solved.open:
        right = min(family, key=lambda other: np.abs(found - other).max())
    verdict = _worst(view, np.abs(found - right), view.allowed, lambda at: (
        f"{_named(view, at)} is {found[at]:.6g}; the definition has {right[at]:.6g}{_ratio(view, found, right)}"
    ))  # fmt: skip
    if verdict.outcome == "fail" and view.solved.open:
        return undecided(
            f"the input is on several kinks; {verdict.explanation}", verdict.measured, verdict.bound
        )
    return verdict


def _nearest(found, family, allowed):
    """The member of the family `A + B s + C s^2`, s in [0, 1], that is nearest to what was found."""
    first, half, last = family
    C = 2 * (first + last - 2 * half)
    B, gap = last - first - C, found - first
    weigh = (allowed.max() / np.maximum(allowed, 1e-6 * allowed.max())) ** 2
    # half the derivative of sum(weigh (gap - B s - C s^2)^2) in s, with the other sign
    sums = [(weigh * part).sum() for part in (-2 * C * C, -3 * B * C, 2 * gap * C - B * B, gap * B)]
    inside = [root.real for root in np.roots(sums) if abs(root.imag) < 1e-6 and 0 < root.real < 1]
    rights = [first + B * s + C * s * s for s in (0.0, 1.0, *inside)]
    return min(rights, key=lambda right: (weigh * (found - right) ** 2).sum())


def _worst(view, error, allowed, explain):
    share = error / allowed
    at = tuple(int(i) for i in np.unravel_index(np.argmax(share), share.shape))
    if share[at] > 1:
        return failed(explain(at), float(error[at]), float(allowed[at]))
    return passed(float(error[at]), float(allowed[at]))


def _named(view, at):
    if view.quantity == "per_sample_gradients":
        return f"sample {at[0]}, {view.names[at[1]]}"
    return f"entry ({', '.join(view.names[i] for i in at)})"


def _ratio(view, found, right):
    """A common factor of all entries, in words."""
    factor = (found * right).sum() / max((right * right).sum(), np.finfo(float).tiny)
    if (np.abs(found - factor * right) <= 10 * (1 + abs(factor)) * view.allowed).all():
        return f" (every entry is {factor:.4g} times as large)"
    return ""


FORM = CheckSpec("form", "well-formed", "shape and dtype as promised; no input is aliased", form)
SYMMETRIC = CheckSpec("symmetric", "feasible", "the matrix equals its transpose", symmetric)
SEMIDEFINITE = CheckSpec("semidefinite", "feasible", "no eigenvalue is negative", semidefinite)
DIFFERENCES = CheckSpec(
    "differences", "truthful", "differences of forward passes agree along a direction", by_differences
)
EQUAL = CheckSpec("equal", "equal", "every entry equals the definition's", equal)
