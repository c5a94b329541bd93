r"""
Why the smallest weight is not the cheapest one
===============================================

Magnitude pruning removes the smallest weight. That is often not the weight that costs least. Two things are
missing: how much the loss *bends* in that weight, and what the *other weights can do* to make up for it.
Optimal Brain Damage (OBD) adds the first, Optimal Brain Surgeon (OBS) adds the second.

We work out three weights by hand, then do the same to a network that reads digits.
"""

# %%
# Three weights
# -------------
#
# A neuron computes :math:`y = X w`. It has three inputs and has seen four samples. Its output should stay
# what it is.

from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune import definitions
from refprune.demo import digits, mlp

# (4 samples, 3 inputs)
X = np.array([[4.0, 2.0, 1.0], [4.0, 2.0, -1.0], [4.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
w = np.array([1.0, 2.0, 2.0])

# %%
# How far off is the neuron with other weights :math:`v`? Half the mean squared error is
#
# .. math::
#
#    f(v) = \tfrac{1}{2n} \lVert X v - X w \rVert^2
#         = \tfrac12 (v - w)^\top H (v - w), \qquad H = X^\top X / n .
#
# It is a bowl with its bottom at :math:`w`. The Hessian :math:`H` says how steep the bowl is in each
# direction. The first two inputs often go together, so :math:`H_{01}` is not zero. The third input goes
# with none of them.

H = X.T @ X / len(X)
print(H)
assert np.array_equal(H, [[12, 4, 0], [4, 2, 0], [0, 0, 1.5]])

# %%
# Magnitude, then OBD
# -------------------
#
# Magnitude takes weight 0, the smallest. What does that cost? Set :math:`v_p = 0`, leave the others alone,
# and the bowl says
#
# .. math:: \text{cost}_p = \tfrac12 H_{pp} w_p^2 .
#
# That is the saliency of OBD. By hand: :math:`\tfrac12 \cdot 12 \cdot 1 = 6`, then :math:`\tfrac12 \cdot 2
# \cdot 4 = 4`, then :math:`\tfrac12 \cdot 1.5 \cdot 4 = 3`. The smallest weight is the dearest one. OBD
# takes weight 2.

left_alone = np.diag(H) * w**2 / 2
print("left alone:", left_alone)
assert np.array_equal(left_alone, [6, 4, 3])
assert np.argmin(np.abs(w)) == 0
assert np.argmin(left_alone) == 2

# %%
# OBS: the others make up for it
# ------------------------------
#
# Now let the other weights move. We look for the lowest point of the bowl among all :math:`v` with
# :math:`v_p = 0`. Write :math:`\delta = v - w` and minimise :math:`\tfrac12 \delta^\top H \delta` under
# :math:`\delta_p = -w_p`. The Lagrangian gives :math:`H \delta = \lambda e_p`, so
# :math:`\delta = \lambda H^{-1} e_p`, and the constraint fixes :math:`\lambda`:
#
# .. math::
#
#    \delta = - \frac{w_p}{[H^{-1}]_{pp}} H^{-1} e_p, \qquad \text{cost}_p = \frac{w_p^2}{2 [H^{-1}]_{pp}} .
#
# By hand: the block of the first two weights has determinant :math:`12 \cdot 2 - 4 \cdot 4 = 8`, so the
# diagonal of :math:`H^{-1}` is :math:`2/8,\ 12/8,\ 2/3`. The costs are :math:`2,\ 4/3,\ 3`. OBS takes
# weight 1. Each rule takes another weight.

inverse = np.linalg.inv(H)
made_up = w**2 / (2 * np.diag(inverse))
print("made up for:", made_up)
assert np.allclose(made_up, [2, 4 / 3, 3], rtol=1e-12, atol=0)
assert np.argmin(made_up) == 1

# %%
# Weight 0 grows from 1 to 5/3 and carries most of what weight 1 did.

v = w - w[1] / inverse[1, 1] * inverse[:, 1]
print("after:", v)
assert np.allclose(v, [5 / 3, 0, 2], rtol=1e-12, atol=1e-15)

# %%
# Look at the bowl from above, in the plane of the first two weights. To prune weight 1 is to reach the
# dashed line. OBD falls straight down. OBS slides to the lowest point of the line.

figure, (plane, bars) = plt.subplots(1, 2, figsize=(9.5, 4.0), layout="constrained")
a, b = np.meshgrid(np.linspace(0.2, 2.2, 200), np.linspace(-0.5, 2.8, 200))
bowl = (12 * (a - 1) ** 2 + 8 * (a - 1) * (b - 2) + 2 * (b - 2) ** 2) / 2
plane.contour(a, b, bowl, levels=[0.1, 0.5, 4 / 3, 2.5, 4, 6, 9], colors="#9aa5b1", linewidths=0.9)
plane.axhline(0, color="black", linestyle="--", linewidth=1)
for end, colour, name in (((1, 0), "#e69f00", "left alone: 4"), ((5 / 3, 0), "#0072b2", "made up for: 4/3")):
    plane.annotate("", end, (1, 2), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.8})
    plane.annotate(name, end, (0, -14), textcoords="offset points", color=colour, ha="center")
plane.plot(1, 2, "o", color="black")
plane.annotate("w", (1, 2), (5, 5), textcoords="offset points")
plane.set(xlabel="weight 0", ylabel="weight 1", title="Two ways to remove weight 1")
place = np.arange(3)
bars.bar(place - 0.2, left_alone, 0.4, color="#e69f00", label="left alone (OBD)")
bars.bar(place + 0.2, made_up, 0.4, color="#0072b2", label="made up for (OBS)")
bars.set_xticks(place, [f"weight {p}\n|w| = {abs(w[p]):.0f}" for p in place])
bars.set(ylabel="cost in units of the loss", title="What each removal costs")
bars.legend()
plt.show()

# %%
# The definition, exactly
# -----------------------
#
# `refprune.definitions.obs` is the method as it stands in the paper: re-invert, take the cheapest, let the
# survivors make up for it, repeat. It has only plus, minus, times and divide in it, so it also runs on
# fractions. No rounding is left to argue about.

exact_w = np.array([Fraction(int(x)) for x in w], dtype=object)
exact_H = np.array([[Fraction(x) for x in row] for row in H], dtype=object)
exact_v, order = definitions.obs(exact_w, exact_H, 1)
print(exact_v, order)
assert list(exact_v) == [Fraction(5, 3), 0, 2]
assert list(order) == [1]

# %%
# The library call
# ----------------
#
# `rp.obs` is the fast form of the same thing. It returns the weight, the mask, the cost and the order.

problem = rp.Quadratic(H, w)
one = rp.obs(problem, rp.Unstructured(keep=2))
print(one)
assert np.allclose(one.weight, [5 / 3, 0, 2], rtol=1e-12, atol=0)
assert abs(one.objective - 4 / 3) < 1e-12

by_magnitude = rp.magnitude(w, rp.Unstructured(keep=2))
by_obd = rp.obd(rp.Quadratic(H, w), rp.Unstructured(keep=2))
assert list(by_magnitude.mask) == [False, True, True]
assert list(by_obd.mask) == [True, True, False]
assert problem.value(by_magnitude.weight) == 6
assert problem.value(by_obd.weight) == 3

# %%
# Break it
# --------
#
# Remove two weights. A tempting shortcut ranks all weights once and takes the two cheapest: weights 1 and
# 0, for :math:`4/3 + 2`. But they were cheap because *each could stand in for the other*. When both go,
# nobody is left to do it. The inverse has to be that of the living weights, after every removal. This
# mistake has a name here: a stale inverse.

cheapest = np.argsort(made_up)[:2]
promised = made_up[cheapest].sum()
paid = rp.optimal_weights(problem, ~np.isin(np.arange(3), cheapest)).objective
two = rp.obs(problem, rp.Unstructured(keep=1))
print(
    f"ranked once: promised {promised:.2f}, paid {paid:.2f}; "
    f"OBS: {two.objective:.2f}, order {[int(p) for p in two.order]}"
)
assert abs(promised - 10 / 3) < 1e-12
assert abs(paid - 18) < 1e-12
assert abs(two.objective - 13 / 3) < 1e-12
assert [int(p) for p in two.order] == [1, 2]

# %%
# A network that reads digits
# ---------------------------
#
# The same on something real: a small network trained on 8 x 8 digits. Every neuron of a layer is a bowl
# with the same Hessian, the Gram of the layer's inputs. First the order. In the first layer, take the half
# of the weights that magnitude finds smallest, and the half that is cheapest to remove when the others make
# up for it. Are they the same weights?

data = digits.load()
network, params = mlp.train(data.train_x, data.train_y)
weight = params["0.weight"]  # (48 neurons, 64 pixels)
layer = rp.LayerProblem.from_inputs(weight, data.train_x)
alive = np.diag(layer.gram) > 0  # some pixels are never inked: their weights cost nothing at all
cost = weight[:, alive] ** 2 / (2 * np.diag(np.linalg.inv(layer.gram[np.ix_(alive, alive)])))
size = np.abs(weight[:, alive])
both = (size < np.median(size)) & (cost < np.median(cost))
shared = both.sum() / (size < np.median(size)).sum()
print(f"{(~alive).sum()} pixels are never inked; {shared:.0%} of the smaller half are in the cheaper half")
assert (~alive).sum() == 3
assert shared < 0.9

# %%
# Now prune all layers, from the first to the last, and look at the digits that the network was never trained on.
# Each layer gets the inputs that the pruned layers below produce. OBS damps a little (0.1 % of the mean diagonal):
# with some seeds of the training, pruning makes the neurons of a layer linearly dependent, and then the Gram has no
# inverse.


def prune(method, sparsity):
    """Prune every layer; return the accuracy of what is left."""
    pruned = dict(params)
    for key in ("0", "2", "4"):
        inputs = network.layer_inputs(pruned, data.train_x)[key]
        problem = rp.LayerProblem.from_inputs(params[f"{key}.weight"], inputs)
        pruned[f"{key}.weight"] = method(problem, rp.Unstructured(sparsity, scope="layer")).weight
    return rp.accuracy(network, pruned, data.test_x, data.test_y)


def obs(problem, pattern):
    """OBS with a little damping."""
    return rp.obs(problem, pattern, damp=0.001)


shares = [0.5, 0.6, 0.7, 0.8, 0.9]
curves = {
    name: [prune(method, s) for s in shares]
    for name, method in (("magnitude", rp.magnitude), ("OBD", rp.obd), ("OBS", obs))
}
for name, values in curves.items():
    print(f"{name:>10}", *(f"{value:7.1%}" for value in values))

figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
dense = rp.accuracy(network, params, data.test_x, data.test_y)
axes.axhline(100 * dense, color="black", linestyle=":", label="not pruned")
for (name, values), colour, marker in zip(curves.items(), ("#7f7f7f", "#e69f00", "#0072b2"), "sD^"):
    axes.plot(100 * np.array(shares), 100 * np.array(values), color=colour, marker=marker, label=name)
axes.set(
    xlabel="zeros in every layer [%]",
    ylabel="test accuracy [%]",
    title="Which weights go decides what is left",
)
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# Half of the weights can go by any rule. At 90 % the rules differ by far more than chance: 500 test digits
# give a standard error of 2.2 points at most. OBD alone does not help there. It keeps each layer's outputs
# better than magnitude does, but what a layer loses and what the network loses are not the same thing.
# Letting the survivors make up for it is what counts.

assert curves["OBS"][-1] > curves["magnitude"][-1] + 0.1
assert all(good >= bad - 0.02 for good, bad in zip(curves["OBS"], curves["magnitude"]))
pattern = rp.Unstructured(0.9)
for key, inputs in network.layer_inputs(params, data.train_x).items():
    layer = rp.LayerProblem.from_inputs(params[f"{key}.weight"], inputs)
    assert rp.obd(layer, pattern).objective < rp.magnitude(layer, pattern).objective

# %%
# What was not shown
# ------------------
#
# This is one small network, and nothing was retrained after pruning. Greedy removal is not the best
# possible removal either: `refprune.definitions.best_support` tries every support on small problems, and
# sometimes finds a cheaper one. A layer has many rows at once: :doc:`plot_5_one_layer_at_a_time`.
#
# Exercise
# --------
#
# Turn the sign of weight 1: `w = [1, -2, 2]`. The three costs stay the same (why?). Which two weights does
# OBS remove now, and what does the pair cost? Work it out by hand, then ask `rp.obs`.

turned = rp.obs(rp.Quadratic(H, np.array([1.0, -2.0, 2.0])), rp.Unstructured(keep=1))
assert [int(p) for p in turned.order] == [1, 0]
assert abs(turned.objective - 2) < 1e-12
