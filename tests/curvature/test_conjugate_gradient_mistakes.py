"""Known mistakes in conjugate gradients, each killed by the certificate with its own message."""

import numpy as np
import pytest

from refprune.curvature import conjugate_gradient
from refprune.testing.make import spd

EPS = 2.0**-52


def certificate(method):
    """Hold ``method(A, b, rtol, max_iter, start) -> (x, steps, residual)`` to what conjugate gradients promise."""
    zero, steps, _ = method(np.eye(2), np.zeros(2), 1e-6, 9, None)
    assert np.all(zero == 0) and steps == 0, "b = 0 does not give 0"  # noqa: PT018
    rng = np.random.default_rng(1)
    A, b = spd(rng, 6, 50.0), rng.normal(size=6) + 1
    for k in (1, 2, 3):
        x, steps, _ = method(A, b, 0.0, k, None)
        assert steps == k, "another number of steps than asked for"
        basis = np.linalg.qr(np.stack([b, A @ b, A @ A @ b][:k], axis=1))[0]
        outside = np.linalg.norm(x - basis @ (basis.T @ x)) / np.linalg.norm(x)
        left = np.linalg.norm(basis.T @ (b - A @ x)) / np.linalg.norm(b)
        # k <= 3 steps at condition 50: 100 eps cond
        assert max(outside, left) <= 5000 * EPS, "not the best of its Krylov space"
    for scale, rtol in ((1.0, 1e-2), (1.0, 1e-8), (2.0**-50, 1e-8), (2.0**-1000, 1e-8)):
        x, steps, told = method(A, b * scale, rtol, 60, None)
        error = np.linalg.norm(b - A @ (x / scale))
        assert error <= 1.001 * rtol * np.linalg.norm(b), (
            f"the residual misses the tolerance at scale {scale:g}"
        )
        assert told / scale == pytest.approx(error, rel=1e-6), (
            "the reported residual is not that of the solution"
        )
    few, many = (method(A, b, rtol, 60, None)[1] for rtol in (1e-1, 1e-8))
    assert few < many, "more steps than the tolerance asks for"
    x, steps, _ = method(A, b, 1e-8, 60, np.linalg.solve(A, b) + 1e-3)
    assert np.linalg.norm(b - A @ x) <= 1.001e-8 * np.linalg.norm(b), "wrong from a start"
    x, steps, _ = method(-A, b, 1e-8, 60, None)
    assert steps == 0 and np.all(x == 0), "negative curvature is walked along"  # noqa: PT018
    _, steps, _ = method(A * 2.0**-80, b, 1e-8, 60, None)
    assert steps == many, "curvature is compared with a fixed number"


def plain(
    A,
    b,
    rtol,
    most,
    start,
    *,
    alpha=None,
    beta=None,
    carry=True,
    stop=None,
    zero=True,
    curved=True,
    told=None,
):
    """Conjugate gradients with places where mistakes go in."""
    if zero and not b.any():
        return 0 * b, 0, 0.0
    x = 0 * b if start is None else start
    r = b - A @ x if start is None or told != "start forgotten" else b
    p, steps = r, 0
    size = np.abs(b).max() if zero else 1.0
    stop = stop or (lambda r: np.linalg.norm(r / size) <= rtol * np.linalg.norm(b / size))
    while steps < most and not stop(r):
        Ap = A @ p
        curvature = (p / size) @ (Ap / size)
        if curved and not curvature > (1e-20 if curved == "absolute" else 0):
            break
        rho = (r / size) @ (r / size)
        a = alpha(r, p, A) if alpha else rho / curvature
        x = x + a * p
        after = r - a * Ap if carry else r
        with np.errstate(all="ignore"):
            p = after + (beta(after, r) if beta else ((after / size) @ (after / size)) / rho) * p
        r, steps = after, steps + 1
    return (
        x,
        steps,
        np.linalg.norm(r / size) * size if told == "carried" else np.linalg.norm((b - A @ x) / size) * size,
    )


def wrong(**changes):
    return lambda A, b, rtol, most, start: plain(A, b, rtol, most, start, **changes)


def unguarded(A, b, rtol, most, start):
    """Without a guard for b = 0: the first step is 0 / 0."""
    x, r = 0 * b, b
    p, steps = r, 0
    with np.errstate(all="ignore"):
        while True:
            a = (r @ r) / (p @ A @ p)
            x, after = x + a * p, r - a * (A @ p)
            p = after + (after @ after) / (r @ r) * p
            r, steps = after, steps + 1
            if steps >= most or np.linalg.norm(r) <= rtol * np.linalg.norm(b):
                return x, steps, np.linalg.norm(b - A @ x)


def by_squares(A, b, rtol, most, start):
    """The squared norm is compared with the tolerance."""
    size = np.abs(b).max()
    return plain(A, b, rtol, most, start, stop=lambda r: (r / size) @ (r / size) <= rtol)


def underflowing(A, b, rtol, most, start):
    """r^T r <= rtol^2 b^T b: both are 0 for tiny b."""
    return plain(A, b, rtol, most, start, stop=lambda r: r @ r <= rtol**2 * (b @ b))


def drifting(A, b, rtol, most, start):
    """The residual is that of the step before."""
    x, steps, _ = plain(A, b, rtol, most, start)
    return x, steps, plain(A, b, rtol, max(steps - 1, 0), start)[2]


MISTAKES = {
    "0 / 0 at b = 0": (unguarded, "b = 0 does not give 0"),
    "a from r instead of p": (
        wrong(alpha=lambda r, p, A: (r @ r) / (r @ A @ r)),
        "not the best of its Krylov space",
    ),
    "Fletcher-Reeves upside down": (
        wrong(beta=lambda after, r: (r @ r) / (after @ after)),
        "not the best of its Krylov space",
    ),
    "beta from old times new residual": (
        wrong(beta=lambda after, r: (after @ r) / (r @ r)),
        "not the best of its Krylov space",
    ),
    "steepest descent": (wrong(beta=lambda after, r: 0.0), "not the best of its Krylov space"),
    "residual not updated": (wrong(carry=False), "not the best of its Krylov space"),
    "one step fewer": (
        lambda A, b, rtol, most, start: plain(A, b, rtol, most - 1, start),
        "another number of steps",
    ),
    "squared norm against rtol": (by_squares, "the residual misses the tolerance at scale 1"),
    "absolute tolerance": (
        wrong(stop=lambda r: np.linalg.norm(r) <= 1e-12),
        r"the residual misses the tolerance at scale 8\.88",
    ),
    "squares underflow": (underflowing, "the residual misses the tolerance at scale 9"),
    "a residual that is not its own": (drifting, "the reported residual is not that of the solution"),
    "runs to the end": (wrong(stop=lambda r: not r.any()), "more steps than the tolerance asks for"),
    "start left out of the residual": (wrong(told="start forgotten"), "wrong from a start"),
    "negative curvature ignored": (wrong(curved=False), "negative curvature is walked along"),
    "curvature against 1e-20": (wrong(curved="absolute"), "curvature is compared with a fixed number"),
}


def test_the_method_passes_the_certificate():
    def method(A, b, rtol, most, start):
        answer = conjugate_gradient(A, b, rtol=rtol, max_iter=most, start=start)
        return answer.solution, answer.iterations, answer.residual

    certificate(method)


def test_the_plain_version_passes_the_certificate():
    """So that a mistake dies of itself."""
    certificate(plain)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_die(name):
    method, message = MISTAKES[name]
    with pytest.raises(AssertionError, match=message):
        certificate(method)
