r"""
Hard thresholding and the surgeon: is it the Hessian, or the scale?
===================================================================

Two methods look for a vector with few nonzeros. Iterative hard thresholding (IHT) takes a step down the gradient and
keeps the k largest weights. The iterative Optimal Brain Surgeon (I-OBS) takes a *Newton* step and keeps the k largest
weights. A published experiment lets them race for 750 steps, and the surgeon wins by a factor of twenty.

We run that race again and find the published figures. Then we look at the gradient: it is too short beside its
Hessian, for both runners. With the right scale the surgeon needs one step, and IHT arrives too, after a few hundred.
Which of them to take is then another question, and the last two sections are about it.
"""

# %%
# Two weights, one to keep
# ------------------------
#
# A bowl with its minimum at :math:`\theta^* = (0, 1)`. One weight may stay, so a perfect answer exists.
#
# .. math::
#
#    f(v) = \tfrac12 (v - \theta^*)^\top H (v - \theta^*), \qquad H = \begin{pmatrix} 9 & 3 \\ 3 & 2 \end{pmatrix}
#
# From zero, the gradient is :math:`-H \theta^* = -(3, 2)`. The first weight shouts louder. It is the wrong one: its
# column is long, and it leans on the second.

from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune import definitions, testing

exact = np.vectorize(Fraction)
bowl = rp.Quadratic(exact([[9, 3], [3, 2]]), exact([0, 1]))
nothing = exact([0, 0])
gradient = bowl.gradient(nothing)
print("gradient at 0:", [str(x) for x in gradient])
assert gradient.tolist() == [-3, -2]

# %%
# The surgeon asks the Hessian, and :math:`\theta^+ = 0 - H^{-1} g = \theta^*` at once. IHT keeps the first weight
# and walks along its axis to the lowest point there, :math:`(\tfrac13, 0)`. Can it leave? The gradient there is
# :math:`(0, -1)`. A step of length t proposes :math:`(\tfrac13, t)`, and the second weight gets in only if
# :math:`t > \tfrac13`. The safe step is :math:`1/L`, L the largest eigenvalue, which is about a tenth. IHT stays.

surgeon, kept = definitions.iobs(bowl, 1, nothing)
print("I-OBS, one step:", [str(x) for x in surgeon])
assert surgeon.tolist() == [0, 1]

stop = exact([Fraction(1, 3), 0])
assert bowl.gradient(stop).tolist() == [0, -1]
assert definitions.iht_step(stop, bowl.gradient(stop), Fraction(1, 10), 1).tolist() == stop.tolist()
assert definitions.iht_step(stop, bowl.gradient(stop), Fraction(2, 5), 1).tolist() == [0, Fraction(2, 5)]

# %%
# A point that a step of :math:`1 / L` cannot leave is called *L-stationary*. `rp.iht` says so in its last record:
# `level` is the least L for which this holds, here :math:`1 / \tfrac13 = 3`. Its default, the *normalised* step,
# is not :math:`1/L` but the exact line search on the support, and where the gradient on the support is zero, along the
# largest gradients. It is longer: :math:`\tfrac12`. It leaves, and arrives.

H = np.array([[9.0, 3.0], [3.0, 2.0]])
plane, L = rp.Quadratic(H, np.array([0.0, 1.0])), np.linalg.eigvalsh(H)[-1]
paths = {}
for rule in ("lipschitz", "normalized"):
    answer = rp.iht(plane, 1, np.zeros(2), rule)
    paths[rule] = [rp.iht(plane, 1, np.zeros(2), rule, max_iter=t).weight for t in range(len(answer.trace))]
    last = answer.trace[-1]
    print(
        f"{rule:>10}: {answer.weight.round(6)} after {len(answer.trace) - 1} steps, level {last.level:.3f}, L {L:.3f}"
    )
assert np.allclose(paths["lipschitz"][-1], [1 / 3, 0])
assert np.allclose(paths["normalized"][-1], [0, 1])
assert np.isclose(rp.iht(plane, 1, np.zeros(2), "lipschitz").trace[-1].level, 3)

figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
x, y = np.meshgrid(np.linspace(-0.35, 0.75, 241), np.linspace(-0.3, 1.35, 241))
values = 0.5 * (9 * x**2 + 6 * x * (y - 1) + 2 * (y - 1) ** 2)
axes.contour(x, y, values, levels=[0.02, 0.1, 0.25, 0.5, 1, 2, 4], colors="#999999", linewidths=0.8)
axes.axhline(0, color="#333333", linewidth=2.5, zorder=2)
axes.axvline(0, color="#333333", linewidth=2.5, zorder=2)
for rule, colour, shift in (("lipschitz", "#e69f00", -0.03), ("normalized", "#0072b2", 0.03)):
    path = np.array(paths[rule])
    label = {
        "lipschitz": r"IHT, step $1/L$: stays at $(\frac{1}{3}, 0)$",
        "normalized": "IHT, normalised step",
    }[rule]
    axes.plot(
        path[:, 0] + shift * (rule == "normalized"),
        path[:, 1] + shift,
        "o-",
        color=colour,
        ms=5,
        label=label,
        zorder=4,
    )
axes.annotate("", (0, 1), (0, 0), zorder=5, arrowprops={"arrowstyle": "-|>", "color": "#d55e00", "lw": 2.5})
axes.plot([], [], color="#d55e00", lw=2.5, label="I-OBS: one Newton step")
axes.plot(0, 1, "*", color="black", ms=14, zorder=6)
axes.annotate(r"$\theta^*$", (0, 1), (-12, 4), textcoords="offset points", ha="right")
axes.set(
    xlabel="first weight", ylabel="second weight", title="One weight may stay: the two axes are all there is"
)
axes.legend(loc="upper right")
plt.show()

# %%
# The published race
# ------------------
#
# Now 128 weights, 16 of them not zero, and 256 samples without noise: :math:`X_{ij} \sim N(0, 1/n)`, :math:`y = X w^*`.
# Both methods may keep 64 weights, and both start anywhere in :math:`\pm 1/\sqrt d`. Here are the two loops. `scale`
# multiplies the gradient and nothing else.

n, d, nonzeros, keep, repeats, steps = 256, 128, 16, 64, 20, 750


def draw(seed):
    """One problem: (design, signal, start)."""
    rng = np.random.default_rng(seed)
    X, signal = rng.normal(size=(n, d)) / np.sqrt(n), np.zeros(d)
    signal[rng.choice(d, nonzeros, replace=False)] = rng.normal(size=nonzeros)
    return X, signal, rng.uniform(-1, 1, size=d) / np.sqrt(d)


def threshold(v, keep):
    """T_k: zeros for all but the largest."""
    return np.where(np.isin(np.arange(len(v)), np.argsort(abs(v), kind="stable")[len(v) - keep :]), v, 0)


def race(seed, scale):
    """The distances from the signal at every step: (steps, 2), the surgeon first."""
    X, signal, start = draw(seed)
    H, target = X.T @ X, X.T @ X @ signal
    inverse, step = np.linalg.inv(H), 1 / np.linalg.eigvalsh(H)[-1]
    surgeon, walker, found = start, start, []
    for _ in range(steps):
        found.append([np.linalg.norm(surgeon - signal), np.linalg.norm(walker - signal)])
        surgeon = threshold(surgeon - inverse @ (scale * (H @ surgeon - target)), keep)
        walker = threshold(walker - step * (scale * (H @ walker - target)), keep)
    return np.array(found)


published = np.array([race(seed, 2 / n) for seed in range(repeats)])  # (repeats, steps, 2)
for name, runs in (("topk-I-OBS", published[:, -1, 0]), ("k-IHT", published[:, -1, 1])):
    print(f"{name:>10} after {steps - 1} steps: {runs.mean():.4f} +- {runs.std():.4f}")
assert abs(published[:, -1, 0].mean() - 0.0502) < 0.02  # published: 0.0502
assert abs(published[:, -1, 1].mean() - 1.14) < 0.5  # published: 1.14

# %%
# These are the published figures, within their spread. `scale` is :math:`2/n`, as in the code of the paper: the
# gradient is that of the *mean* squared error, :math:`\frac2n X^\top (X w - y)`, and the Hessian beside it is
# :math:`X^\top X`, that of *half the sum*. So every Newton step goes :math:`2/n`, one part in 128, of its way. Nothing
# in the answer shows it. The methods have it as `loss_scale`, and None, the default, is right.

X, signal, start = draw(0)
problem = rp.LeastSquares(X, X @ signal)
short = rp.iobs(problem, d, start, loss_scale="mse-mean").weight  # nothing is cut: d weights may stay
assert np.allclose(short - signal, (1 - 2 / n) * (start - signal), rtol=1e-9, atol=1e-12)

same = rp.iobs(problem, keep, start, project="euclid", steps=steps - 1, loss_scale="mse-mean")
assert np.isclose(np.linalg.norm(same.weight - signal), published[0, -1, 0], rtol=1e-6)

# %%
# The right scale
# ---------------

right = np.array([race(seed, 1) for seed in range(repeats)])
arrived = 1 + np.argmax(right[:, :, 1] < 1e-6, axis=1)
print(f"the surgeon after one step: {right[:, 1, 0].max():.0e} at most")
print(
    f"IHT comes below 1e-6 after {arrived.min()} to {arrived.max()} steps, the median is {np.median(arrived):.0f}"
)
assert right[:, 1, 0].max() < 1e-11
assert right[:, -1, 1].max() < 1e-6
assert 100 < np.median(arrived) < 500

figure, panels = plt.subplots(1, 2, figsize=(9.0, 4.0), layout="constrained", sharey=True)
for axes, runs, title in (
    (panels[0], published, "the published scale, 2 / n"),
    (panels[1], right, "the right scale"),
):
    for which, colour, name in ((0, "#d55e00", "topk-I-OBS"), (1, "#0072b2", r"k-IHT, step $1/L$")):
        curves = np.maximum(runs[:, :, which], 1e-15)
        low, middle, high = np.quantile(curves, [0.1, 0.5, 0.9], axis=0)
        axes.fill_between(np.arange(steps), low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(np.arange(steps), middle, color=colour, label=name)
    axes.set(title=title, xlabel="step", yscale="log", ylim=(3e-16, 20))
    axes.grid(alpha=0.3)
panels[0].plot(steps - 1, 0.0502, "k*", ms=11, label="published")
panels[0].plot(steps - 1, 1.14, "k*", ms=11)
panels[0].set(ylabel=r"distance from $w^*$")
panels[0].legend(loc="lower left")
panels[1].annotate(
    "one step", (1, 2e-15), (90, 1e-12), arrowprops={"arrowstyle": "->", "color": "#d55e00"}, color="#d55e00"
)
plt.show()

# %%
# A quadratic is its own model, so a Newton step from anywhere ends at the minimum, and the minimum has 16 nonzeros of
# the 64 that may stay. There is nothing to iterate. IHT pays for not knowing the Hessian with two or three hundred
# steps, not with failure. `rp.iht` starts from the k largest of `start`, which hardly matters, and its
# normalised step is quicker.

for rule in ("lipschitz", "normalized"):
    answer = rp.iht(problem, keep, start, rule)
    print(
        f"rp.iht, {rule}: {len(answer.trace) - 1} steps, distance {np.linalg.norm(answer.weight - signal):.0e}"
    )
    assert answer.trace[-1].reason == "converged"
    assert np.linalg.norm(answer.weight - signal) < 1e-6

# %%
# What the Hessian buys
# ---------------------
#
# A Newton step does not care how stretched the bowl is. A gradient step does. We turn the singular values of a design
# until the Hessian has the condition we want.

print("condition   1/L   normalised   surgeon")
counts = {}
for condition in (1, 10, 100, 1000):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        left, right_side = (
            np.linalg.qr(rng.normal(size=(120, 60)))[0],
            np.linalg.qr(rng.normal(size=(60, 60)))[0],
        )
        design, planted = left * np.geomspace(1, condition**0.5, 60) @ right_side.T, np.zeros(60)
        planted[rng.choice(60, 6, replace=False)] = rng.normal(size=6)
        stretched = rp.LeastSquares(design, design @ planted)
        assert np.allclose(rp.iobs(stretched, 12).weight, planted, rtol=0, atol=1e-9)  # one step
        for rule in ("lipschitz", "normalized"):
            answer = rp.iht(stretched, 12, step=rule, max_iter=5000)
            assert np.allclose(answer.weight, planted, rtol=0, atol=1e-5)
            counts.setdefault((condition, rule), []).append(len(answer.trace) - 1)
    medians = [int(np.median(counts[condition, rule])) for rule in ("lipschitz", "normalized")]
    print(f"{condition:9d} {medians[0]:5d} {medians[1]:12d} {1:9d}")
assert max(counts[1, "lipschitz"]) <= 2
assert np.median(counts[1000, "lipschitz"]) > 5 * np.median(counts[10, "lipschitz"])
assert np.median(counts[1000, "normalized"]) < np.median(counts[1000, "lipschitz"])

# %%
# One surgeon's step costs :math:`d^3` operations, and the Hessian has to be stored. A step of IHT costs two products
# with the design. At 60 weights nobody would notice; at :math:`10^5` there is no inverse to be had.
#
# What the Hessian needs
# ----------------------
#
# It needs more samples than weights. In the classical problem of sparse recovery there are fewer: 128 samples, 256
# weights, 10 of them planted. There is no unique minimum to jump to, and the surgeon says so. IHT never asked for one.
# HTP and CoSaMP stand between the two: a gradient chooses the weights, and a solve sets them, for ten weights (CoSaMP:
# up to thirty) and not for 256.

SEARCHES = {
    "IHT, normalised": rp.iht,
    "IHT, 1/L": lambda few, keep: rp.iht(few, keep, step="lipschitz"),
    "HTP": rp.htp,
    "CoSaMP": rp.cosamp,
}
found, taken = dict.fromkeys(SEARCHES, 0), {name: [] for name in SEARCHES}
for seed in range(12):
    rng = np.random.default_rng(seed)
    design, planted = rng.normal(size=(128, 256)) / np.sqrt(128), np.zeros(256)
    planted[rng.choice(256, 10, replace=False)] = rng.normal(size=10)
    few = rp.LeastSquares(design, design @ planted)
    for name, search in SEARCHES.items():
        answer = search(few, 10)
        found[name] += int(np.linalg.norm(answer.weight - planted) < 1e-6 * np.linalg.norm(planted))
        taken[name].append(len(answer.trace) - 1)
for name in SEARCHES:
    print(f"{name:>15}: {found[name]} of 12 recovered, {np.median(taken[name]):.0f} steps")
assert found["IHT, normalised"] == found["HTP"] == found["CoSaMP"] == 12
assert 6 <= found["IHT, 1/L"] < 12
assert np.median(taken["IHT, 1/L"]) > 3 * np.median(taken["IHT, normalised"])
assert max(taken["HTP"] + taken["CoSaMP"]) < min(taken["IHT, normalised"])

try:
    rp.iobs(few, 10)
except np.linalg.LinAlgError as error:
    print("I-OBS:", error)
else:
    raise AssertionError("a singular Hessian has no Newton step")

# %%
# The step :math:`1/L` is safe in all 256 directions at once, and too short in the ten that matter. That is the plane of
# the first section again: it stops where a longer step would go on. Of 100 such signals it finds 78, the normalised
# step all (:doc:`../sparse_recovery`).
#
# Break it
# --------
#
# A scale that is too small only wastes time. What does one that is too large do? Losses differ by a factor of two
# all the time: half the sum of squares, or the sum. Take the gradient of the one and the Hessian of the other.

wrong = np.array([race(seed, 2) for seed in range(3)])
print("the surgeon's distance:", *(f"{wrong[0, t, 0]:.3f}" for t in (0, 1, 2, 3, 10, 100, 749)))
assert np.all(wrong[:, -1, 0] > 0.98 * wrong[:, 0, 0])
assert np.all(wrong[:, -1, 1] < 1e-6)

# %%
# Each step lands as far behind the minimum as it started before it: :math:`\theta^+ = 2 \theta^* - \theta`. It
# never comes nearer. And IHT, with :math:`2/L`, the longest step that does not diverge, is even *faster* than before.
# A fault that helps one method and stops the other is hard to see in a comparison. The oracle for a single step knows
# it by name.

H, g = X.T @ X, problem.gradient(start)
call = {"weight": start, "gradient": g, "hessian": H, "keep": keep}
good = rp.iobs(rp.Quadratic(H, start, g), keep, start).weight
bad = rp.iobs(rp.Quadratic(H, start, 2 * g), keep, start).weight
verdict = testing.verify("iobs-step", call, bad)
print(verdict.outcome, "looks like:", *verdict.looks_like)
assert testing.verify("iobs-step", call, good).outcome == "pass"
assert verdict.outcome == "fail"
assert "double-gradient" in verdict.looks_like

# %%
# What was not shown
# ------------------
#
# All signals here were planted without noise, so a best answer was known. Networks have no quadratic loss: there a
# Newton step is one of many, its Hessian is a Fisher or Gauss-Newton matrix with damping, in blocks, and both methods
# run on `rp.NetworkLoss` (:doc:`../sparse_recovery`). How these methods hang together with OBS is on
# :doc:`../identities`.
#
# Exercise
# --------
#
# Stand at :math:`(\tfrac13, 0)` in the plane of the first section. Its `level` is 3. Which fixed steps of IHT stay
# there, and which go to :math:`\theta^*`? Why does the longest of these, started from zero, fail all the same?

stay = rp.iht(plane, 1, np.array([1 / 3, 0.0]), step=0.99 / 3).weight
leave = rp.iht(plane, 1, np.array([1 / 3, 0.0]), step=1.05 / 3).weight
assert np.allclose(stay, [1 / 3, 0])
assert np.allclose(leave, [0, 1])
try:
    rp.iht(plane, 1, np.zeros(2), step=1.05 / 3)  # above 2 / 9, the limit on the axis of the first weight
except np.linalg.LinAlgError as error:
    print(error)

# %%
# References
# ----------
#
# - T. Blumensath, M. E. Davies, *Iterative hard thresholding for compressed sensing*, 2009; *Normalized iterative hard
#   thresholding*, 2010.
# - S. Foucart, *Hard thresholding pursuit: an algorithm for compressive sensing*, 2011.
# - D. Needell, J. Tropp, *CoSaMP: Iterative signal recovery from incomplete and inaccurate samples*, 2009.
# - A. Beck, Y. C. Eldar, *Sparsity constrained nonlinear optimization*, 2013 (L-stationarity).
# - D. Wu, I.-V. Modoranu, M. Safaryan, D. Kuznedelev, D. Alistarh, *The Iterative Optimal Brain Surgeon*, 2024
#   (arXiv 2408.17163).
