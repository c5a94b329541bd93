"""Known mistakes in Newton-CG, each killed with its own message; a naive right one and refprune's own pass."""

import numpy as np
import pytest

import refprune as rp
from tests.methods.newton_checks import judge


def naive(
    f, mask, start, steps, damp=0.0, batches=None, *, tolerance=1e-12, relative=True, guard=True, armijo=True,
    keep=True, restrict=True, product=None, lift=None, mixed=False, uphill="stop", cut=True,
):  # fmt: skip
    """Newton-CG in a few lines, with a switch for each mistake."""
    w = np.where(mask, start, 0) if cut else start.copy()
    inside = mask.astype(float) if restrict else np.ones(len(w))
    for number in range(steps):
        own = f if batches is None else batches[number]
        value = (batches[0] if mixed and batches else own).value
        g = inside * own.gradient(w)
        size = np.linalg.norm(g)
        if guard and size == 0:
            continue
        s, r = np.zeros(len(w)), -g
        p = r
        for _ in range(50):
            q = (
                inside * (product or type(own).hvp)(own, w, p)
                + (damp if lift is None else lift(own, w, damp)) * p
            )
            if p @ q <= 0 and uphill == "stop":
                break
            if p @ q <= 0 and uphill == "zero":
                s = 0 * s
                break
            a = (r @ r) / (p @ q)
            s, after = s + a * p, r - a * q
            if np.linalg.norm(after) <= tolerance * (size if relative else 1):
                break
            p = after + (after @ after) / (r @ r) * p
            r = after
        s = np.where(mask, s, 0)
        t, found = 1.0, False
        for _ in range(50):
            if not armijo or value(w + t * s) <= value(w) + 1e-5 * t * (g @ s):
                found = True
                break
            t *= 0.9
        w = w + t * s if found or not keep else w
    return w  # fmt: skip


def refprunes(f, mask, start, steps, damp=0.0, batches=None):
    """`rp.newton_cg` in the form that `judge` calls."""
    options = {}
    if batches is not None:
        left = iter(batches)
        options = {"sample": lambda rng: next(left), "rng": np.random.default_rng(0)}
    return rp.newton_cg(f, mask, start, max_iter=steps, damp=damp, cg_rtol=1e-12, tol=0.0, **options).weight


def gauss_newton(f, w, v):
    return f.gauss_newton_product(w, v) if hasattr(f, "gauss_newton_product") else f.hvp(w, v)


def halves(f, w, v):
    """Products in two chunks, each with its own weights only."""
    first = np.arange(len(v)) < len(v) // 2
    return np.where(first, f.hvp(w, np.where(first, v, 0)), f.hvp(w, np.where(first, 0, v)))


MISTAKES = {
    "lost what couples the weights": {"product": halves},
    "not 0 off the mask": {"cut": False},
    "not the minimum on the support after one step": {"restrict": False},
    "the damping is not absolute": {
        "lift": lambda f, w, damp: damp * np.mean(np.diag(f.hessian(w))),
    },
    "depends on the unit of the loss": {"relative": False},
    "moved, or lost, a weight without a gradient": {"guard": False, "uphill": "on", "armijo": False},
    "walked along negative curvature": {"uphill": "on", "armijo": False},
    "lost the steps before negative curvature": {"uphill": "zero"},
    "moved although the search failed": {"keep": False},
    "not the step of the Hessian": {"product": gauss_newton},
    "slope and values are not of one batch": {"mixed": True},
}


@pytest.mark.parametrize("method", [naive, refprunes])
def test_the_right_ones_pass(method):
    judge(method)


@pytest.mark.parametrize(
    ("message", "mistake"), MISTAKES.items(), ids=[m.replace(" ", "-") for m in MISTAKES]
)
def test_every_mistake_has_its_message(message, mistake):
    def wrong(*args, **options):
        return naive(*args, **options, **mistake)

    with pytest.raises(AssertionError, match=message):
        judge(wrong)
