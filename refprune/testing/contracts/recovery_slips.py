"""Small parts that the known mistakes of IHT, HTP and CoSaMP are made of, right ones and wrong ones.

A version is a function of the bytes of its arguments, and its answers are remembered: the diagnosis tries all of them
on the same cases.
"""

from functools import lru_cache

import numpy as np

from ..contract import Mistake
from . import form_mistakes as form
from .step_parts import chosen, need_finite, top


@lru_cache(maxsize=2048)
def _answer(loop, slips, arrays, dtype, keep):
    design, target, start = (np.frombuffer(data, dtype).reshape(shape) for data, shape in arrays)
    need_finite(design, target, start)
    return loop(design, target, keep, start, **dict(slips)).astype(dtype)


def remembered(loop, **slips):
    """The call of a contract that runs ``loop(design, target, keep, start, **slips)``, once for the same arguments."""

    def call(design, target, keep, start):
        arrays = tuple((a.astype(design.dtype).tobytes(), a.shape) for a in (design, target, start))
        return _answer(loop, tuple(slips.items()), arrays, design.dtype, keep).copy()

    return call


def right_gradient(A, y, w):
    """``A^T (A w - y)``."""
    return A.T @ (A @ w - y)


def without_target(A, y, w):
    """``A^T A w``."""
    return A.T @ (A @ w)


def transposed(A, y, w):
    """A for its transpose, where nobody notices."""
    return A @ (A @ w - y) if A.shape[0] == A.shape[1] else right_gradient(A, y, w)


def mean_gradient(A, y, w):
    """That of a mean of squares: 2 / samples of it."""
    return 2 / A.shape[0] * right_gradient(A, y, w)


def over(factor, power=2):
    """The step ``factor / |A|^power``, of ``size = |A|``."""

    def step(A, g, kept, size):
        return factor / max(size**power, 1e-300)

    return step


SAFE, TOO_LONG, ROOT = over(1.0), over(3.0), over(1.0, 1)


def unit(A, g, kept, size):
    """1, whatever the design."""
    return 1.0


def solve(A, y, w, kept):
    """The least squares weights on `kept`."""
    out = np.zeros_like(w)
    out[kept] = np.linalg.lstsq(A[:, kept], y, rcond=None)[0]
    return out


def all_columns(A, y, w, kept):
    """The least squares weights on all columns."""
    return np.linalg.lstsq(A, y, rcond=None)[0]


def half(A, y, w):
    """``|A w - y|^2 / 2``."""
    return float(np.sum((A @ w - y) ** 2)) / 2


def matched(A, y, w, kept):
    """``A^T y`` over the squared norms."""
    return np.where(kept, A.T @ y / np.maximum(np.sum(A * A, axis=0), 1e-300), 0)


def ridge(A, y, w, kept):
    """A solve with 1 % of the mean diagonal added."""
    B, out = A[:, kept], np.zeros_like(w)
    damp = 0.01 * np.sum(B * B) / max(B.shape[1], 1) + 1e-300
    out[kept] = np.linalg.solve(B.T @ B + damp * np.eye(B.shape[1]), B.T @ y)
    return out


def three_steps(A, y, w, kept):
    """Three gradient steps for the solve."""
    for _ in range(3):
        g = np.where(kept, right_gradient(A, y, w), 0)
        below = np.sum((A @ g) ** 2)
        w = w - (g @ g / below if below > 0 else 0) * g
    return w


def mean_scale(A, y, w, kept):
    """``2 / samples`` on one side of the normal equations."""
    return 2 / A.shape[0] * solve(A, y, w, kept)


def support(w, g, keep):
    """The weights that are not 0, filled up by the largest gradients."""
    return top(np.where(w != 0, np.inf, np.abs(g)), keep)


def cut(A, y, w, before, keep):
    """T_k."""
    return np.where(chosen(w, keep), w, 0)


def tiny(A, y, w, before, keep):
    """What goes is not 0."""
    return np.where(w != 0, w, 1e-9 * np.abs(w).max(initial=1e-3))


def on_unit_columns(loop):
    """`loop` on columns of norm 1; the weights stay in those units."""

    def call(A, y, keep, start, **slips):
        norm = np.linalg.norm(A, axis=0)
        norm = np.where(norm > 0, norm, 1)
        return loop(A / norm, y, keep, start * norm, **slips)

    return call


def of_form(reference, objective):
    """Those that every contract has, and the state that is kept between calls."""

    def single(*arguments):
        return reference(*arguments).astype(np.float32)

    return (
        Mistake(
            "answer-in-single",
            "the answer is float32 whatever the input is",
            single,
            shows=("form", "has dtype float32"),
        ),
        form.first_for_shape(reference),
        *form.of(
            reference, ("w",), lambda A, y, keep, w: keep == 0, objective, first="design", zero="keep = 0"
        ),
    )


def of_loop(loop):
    """``slip(name, summary, **slips)``: a known mistake that is `loop` with `slips`."""

    def slip(name, summary, **slips):
        return Mistake(name, summary, remembered(loop, **slips))

    return slip
