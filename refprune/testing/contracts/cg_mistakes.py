"""Known mistakes in conjugate gradients: one correct loop with places where they go in."""

import numpy as np

from ..contract import Mistake
from . import form_mistakes as form


def _cap(d):
    """Steps after which a wrong loop gives up: more than the contract allows products."""
    return 50 * d + 520


def _loop(matvec, b, rtol, *, stop=None, alpha=None, beta=None, carry=True, curved=None, most=None, late=False,
          silent=False):  # fmt: skip
    """Conjugate gradients on b of size 1; `stop(r, b, x, step)` and the others replace a part.

    `late` leaves the last step out of x; `silent` returns what is there at a curvature that is not positive.
    """
    size = np.abs(b).max(initial=0.0)
    if size == 0:
        return np.zeros_like(b)
    b = (b / size).astype(float)
    x, r = np.zeros_like(b), b
    p, last = r, np.zeros_like(b)
    for _ in range(_cap(b.size) if most is None else most):
        if (stop or _stop)(r * size, b * size, last * size, rtol, size):
            break
        q = matvec(p)
        curvature = p @ q
        if not curvature > 0 and not silent:
            raise ValueError("need a positive definite matrix")
        if not curvature > 0 or (curved is not None and curvature * size * size <= curved):
            break
        a = alpha(r, p, matvec) if alpha else (r @ r) / curvature
        before, last = x, a * p
        x, after = x + last, r - a * q if carry else r
        with np.errstate(all="ignore"):
            p = after + (beta(after, r) if beta else (after @ after) / (r @ r)) * p
        r = after
        if not np.isfinite(r).all():
            break
        if late and np.linalg.norm(r) <= rtol * np.linalg.norm(b):
            x = before
    return x * size


def _stop(r, b, step, rtol, size):
    return np.linalg.norm(r / size) <= rtol * np.linalg.norm(b / size)


def _with(**changes):
    """A wrong version, in the dtype of b."""
    return lambda matvec, b, rtol: _loop(matvec, b, rtol, **changes).astype(b.dtype)


def _unguarded(matvec, b, rtol):
    """No guard at all: the loop tests after a step."""
    x, r = np.zeros_like(b), b
    p, size = r, max(float(np.abs(b).max(initial=0.0)), 1e-320)
    for _ in range(_cap(b.size)):
        q = matvec(p)
        a = ((r / size) @ (r / size)) / ((p / size) @ (q / size))
        x, after = x + a * p, r - a * q
        p = after + ((after / size) @ (after / size)) / ((r / size) @ (r / size)) * p
        r = after
        if not np.linalg.norm(r / size) > rtol * np.linalg.norm(b / size):
            break
    return x.astype(b.dtype)


def _fixed_steps(matvec, b, rtol):
    """d steps without a look at the residual."""
    x, r = np.zeros_like(b), b
    p = r
    for _ in range(b.size):
        q = matvec(p)
        a = (r @ r) / (p @ q)
        x, after = x + a * p, r - a * q
        p = after + (after @ after) / (r @ r) * p
        r = after
    return x.astype(b.dtype)


def _in_place(matvec, b, rtol):
    """The residual is updated in the memory of b."""
    x = _loop(matvec, b.copy(), rtol).astype(b.dtype)
    if b.size and b.any():
        b -= (np.asarray(matvec(x), dtype=float)).astype(b.dtype)
    return x


def _raising(matvec, b, rtol):
    if b.size and not b.any():
        raise ZeroDivisionError("float division by zero")
    return _loop(matvec, b, rtol).astype(b.dtype)


def _far(values):
    """Stops by squares, in the arithmetic of b: they may be 0."""
    return lambda r, b, step, rtol, size: r @ r <= values(rtol, b)


def mistakes(reference):
    """All of them; `reference` is the contract's definition."""

    def norm(vector, size):
        return size * np.linalg.norm(vector / size)

    return (
        Mistake("absolute-tolerance", "stops at |r| <= rtol, whatever the size of b",
                _with(stop=lambda r, b, step, rtol, size: norm(r, size) <= rtol)),
        Mistake("squared-norm", "the squared residual is compared with rtol |b|^2",
                _with(stop=lambda r, b, step, rtol, size: norm(r, size) <= rtol**0.5 * norm(b, size))),
        Mistake("squares-underflow", "r^T r is compared with rtol^2 b^T b: both are 0 for a small b",
                _with(stop=_far(lambda rtol, b: rtol**2 * (b @ b)))),
        Mistake("small-b-as-zero", "a b below 1e-10 is taken as 0",
                _with(stop=lambda r, b, step, rtol, size: size < 1e-10 or _stop(r, b, step, rtol, size))),
        Mistake("step-size", "stops when a step is small, not when the residual is",
                _with(stop=lambda r, b, step, rtol, size: 0 < norm(step, size) <= rtol * norm(b, size))),
        Mistake("no-guard-at-zero", "0 / 0 at b = 0", _unguarded),
        Mistake("raises-at-zero", "b = 0 raises", _raising, shows=("answers", "division by zero")),
        Mistake("d-steps", "makes d steps without a look at the residual", _fixed_steps),
        Mistake("ten-steps", "gives up after ten steps without a word", _with(most=10)),
        Mistake("alpha-from-residual", "the step length has r^T A r for p^T A p",
                _with(alpha=lambda r, p, matvec: (r @ r) / (r @ matvec(r)))),
        Mistake("alpha-along-p", "the step length has p^T p for r^T r",
                _with(alpha=lambda r, p, matvec: (p @ p) / (p @ matvec(p)))),
        Mistake("beta-upside-down", "beta is old over new", _with(beta=lambda new, old: (old @ old) / (new @ new))),
        Mistake("steepest-descent", "beta is 0", _with(beta=lambda new, old: 0.0)),
        Mistake("residual-not-updated", "the residual stays b", _with(carry=False)),
        Mistake("last-step-lost", "x of the step before is returned", _with(late=True)),
        Mistake("truncated-silently", "at p^T A p <= 0 what is there is returned without a word", _with(silent=True)),
        Mistake("curvature-against-1e-10", "p^T A p <= 1e-10 is taken as negative curvature", _with(curved=1e-10)),
        Mistake("minus-sign", "solves A x = -b", lambda matvec, b, rtol: -reference(matvec, b, rtol)),
        Mistake("answer-in-single", "the answer is float32 whatever b is",
                lambda matvec, b, rtol: reference(matvec, b, rtol).astype(np.float32),
                shows=("form", "has dtype float32")),
        Mistake("input-overwritten", "the residual is kept in the memory of b", _in_place,
                shows=("unchanged", "b changed during the call")),
        form.first_for_shape(reference),
    )  # fmt: skip
