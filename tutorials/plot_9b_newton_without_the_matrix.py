r"""
Newton without the matrix: look further than the next layer
===========================================================

A pruned layer is told to keep its own outputs. But nobody reads these. A ReLU cuts a half of them off, the next layer
weighs the rest, and in the end ten numbers matter. SNOWS (Lucas and Mazumder, 2024) keeps the mask and fits the weights
that are left to what the next K operations make of them. With K = 0 that is least squares. With more it is not, and the
Hessian is too large to write down; Newton's method does without.

We work three weights out by hand, solve for four hundred with products alone, and then watch the error pass through
a network, for K from 0 to the end.
"""

# %%
# Three numbers
# -------------
#
# One neuron with two weights (1, 2), a ReLU, and a last layer that multiplies by 4. Two samples, (1, 1) and (1, -1):
#
# .. code-block:: text
#
#                    dense neuron    behind the ReLU    output
#    (1,  1)               3                3              12
#    (1, -1)              -1                0               0
#
# The second weight goes. With the first one at v, the neuron says v both times. Keep its own output (K = 0), and
# :math:`(v - 3)^2 + (v + 1)^2` wants v = 1. But that the second sample shall be -1 is of no use to anybody, the ReLU
# makes 0 of it. With K = 1 what is behind the ReLU counts as well: :math:`(v - 3)^2 + v^2` on top, as long as v > 0.
# Then v = 5/4. With K = 2 the output joins, 16 times that.

from fractions import Fraction
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune.demo import digits

tiny = rp.Network([rp.Dense(2, 1, bias=False), rp.ReLU(), rp.Dense(1, 1, bias=False)])
dense = {"0.weight": np.array([[1.0, 2.0]]), "2.weight": np.array([[4.0]])}
x = np.array([[1.0, 1.0], [1.0, -1.0]])
masks, fitted = {"0.weight": np.array([[True, False]])}, []
for K in range(3):
    answer = rp.snows(tiny, dense, masks, x, horizon=K)
    fitted.append(answer.params["0.weight"][0, 0])
    print(f"K = {K}: v = {Fraction(fitted[-1]).limit_denominator(1000)}")
assert np.allclose(fitted, [1, 5 / 4, 53 / 36], rtol=1e-12)

# %%
# As long as no sample crosses a kink, each of these is a bowl, and one step of Newton's method goes to its bottom.
#
# A product is enough
# -------------------
#
# Now a network that reads digits, five dense layers deep, and its first layer: 2048 weights, of which magnitude keeps a
# fifth. The Hessian of F on these has 168,100 entries, and for a large layer it could not be stored. But a *product*
# with a vector u is the change of the gradient in the direction of u: one pass through the layers behind, and one back.
# Two gradients, a little apart, show it. The library takes no such difference, and has no error of that kind
# (:doc:`plot_4_products_without_matrices`).

SIZES, NETWORKS, SHARE = (64, 32, 32, 32, 32, 10), 3, 0.8
data = digits.load()
network = rp.mlp(SIZES)
x, other = data.train_x[:250], data.test_x


def trained(seed):
    """The parameters after 20 epochs."""
    schedule = {"epochs": 20, "schedule": lambda done: 1 - done, "progress": False}
    start = network.init(np.random.default_rng(seed))
    return rp.train(network, start, data.train_x, data.train_y, rng=seed, **schedule)


METHODS = {"magnitude": "magnitude", "ExactOBS": partial(rp.obs, damp=1e-3)}
params = trained(0)
pruned = rp.prune(network, params, x, "magnitude", rp.Unstructured(SHARE), progress=False)
f = rp.Reconstruction(network, pruned.params, x, layer=0, horizon=None, dense=params)
mask, rng = pruned.masks["0.weight"].ravel(), np.random.default_rng(0)
u = rng.normal(size=mask.size) * mask
difference = (f.gradient(f.weight + 1e-7 * u) - f.gradient(f.weight - 1e-7 * u)) / 2e-7
product = f.hvp(f.weight, u)
print(
    f"{mask.sum()} weights kept; relative difference {abs(product - difference).max() / abs(product).max():.0e}"
)
assert mask.sum() == 410
assert np.allclose(product, difference, rtol=0, atol=1e-5 * abs(product).max())

# %%
# Conjugate gradients solve :math:`H_{ZZ}\, s = -g_Z` on the kept weights Z from such products. Here they may take 50
# for 410 unknowns: what they have by then is no solution yet, and a good direction. A search along s takes the first t
# of 1, 0.9, 0.81, ... that lowers F enough.

DAMP = 1e-4
found = rp.newton_cg(f, mask, f.weight, damp=DAMP, max_iter=4, cg_max_iter=50)
print("        F   |gradient|  products   step")
for step in found.trace:
    print(f"{step.value:9.4f} {step.gradient:12.1e} {step.iterations:9} {step.step:6.2f}  {step.reason}")
values = [step.value for step in found.trace]
assert (np.diff(values) < 0).all()
assert values[-1] < 0.9 * values[0]
assert not found.weight[~mask].any()

# %%
# F falls with every step, most of all with the first. The gradient does not go to 0, and it would not with longer
# solves: the steps run into kinks, where a ReLU that turns on or off makes another bowl of F.

# %%
# From K = 0 to K = all
# ---------------------
#
# `rp.snows` does this for one layer after the other. Each sees its inputs as they come through the layers before, and
# tries to bring its next K operations back to what the *dense* network has there: a layer makes up for those before it.
#
# Three networks, two masks of 80 %. Both methods prune each layer by itself; magnitude leaves the kept weights alone,
# ExactOBS has already moved them to the best place for the layer's own output.

HORIZONS = (0, 1, 2, 4, 8)
DEPTH = 2 * len(SIZES) - 3  # dense layers and the ReLUs between them


def errors(given, params, images):
    """The relative squared change behind every operation, (DEPTH,)."""
    now, then = (network.activations(p, images) for p in (given, params))
    return np.array([np.sum((now[k] - then[k]) ** 2) / np.sum(then[k] ** 2) for k in then])


along = {(name, K): [] for name in METHODS for K in ("before", *HORIZONS)}  # on the images of the calibration
fresh = {key: [] for key in along}  # the last error, on other images
right = {key: [] for key in along}  # the accuracy, on other images
for seed in range(NETWORKS):
    params = trained(seed)
    for name, method in METHODS.items():
        pruned = rp.prune(network, params, x, method, rp.Unstructured(SHARE), progress=False)
        answers = {"before": pruned}
        for K in HORIZONS:
            solver = {"damp": DAMP, "max_iter": 4, "cg_max_iter": 40, "progress": False}
            answers[K] = rp.snows(network, params, pruned.masks, x, K, start=pruned.params, **solver)
        for K, answer in answers.items():
            along[name, K].append(errors(answer.params, params, x))
            fresh[name, K].append(errors(answer.params, params, other)[-1])
            right[name, K].append(rp.accuracy(network, answer.params, other, data.test_y))

print(f"{'':>17}  error of the outputs  on other images  accuracy there")
for name, K in along:
    print(
        f"{name:>9} {K!s:>7} {np.mean(along[name, K], axis=0)[-1]:21.1%} "
        f"{np.mean(fresh[name, K]):16.1%} {np.mean(right[name, K]):15.1%}"
    )

# %%
# One operation ahead, which is a ReLU, is hardly better than least squares. The dense layer behind it is what matters,
# and every further one brings a little. Behind ExactOBS least squares finds little to do; to look to the end takes off
# a third to a half of what it leaves. On other images the gain is smaller, and the last operations bring next to
# nothing to the masks by magnitude: the fit has seen no more than 250 images.

last = {key: np.mean(values, axis=0)[-1] for key, values in along.items()}
for name in METHODS:
    assert last[name, 8] < 0.95 * last[name, 0] < 0.95 * last[name, "before"]
    assert last[name, 2] < last[name, 1]
    assert np.mean(fresh[name, 8]) < np.mean(fresh[name, 0])
    assert np.mean(right[name, 8]) > np.mean(right[name, 0]) - 0.02
assert last["magnitude", 0] < 0.5 * last["magnitude", "before"]
assert last["ExactOBS", 8] < 0.8 * last["ExactOBS", 0]

# %%
# How does it come about? Here is the error on its way through the network, after every operation.

figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
shades = dict(zip(HORIZONS, plt.cm.viridis(np.linspace(0, 0.85, len(HORIZONS)))))
for axes, name in zip(panels, METHODS):
    for K in ("before", *HORIZONS):
        look = {"color": "#9aa5b1", "linestyle": ":"} if K == "before" else {"color": shades[K]}
        label = K if K == "before" else "K = 8, the end" if K == 8 else f"K = {K}"
        axes.plot(
            range(DEPTH), np.mean(along[name, K], axis=0), marker="o", markersize=4, label=label, **look
        )
    places = ["dense" if place % 2 == 0 else "ReLU" for place in range(DEPTH)]
    axes.set_xticks(range(DEPTH), places, rotation=45)
    axes.set(xlabel="behind which operation", yscale="log", title=f"Masks by {name}")
    axes.grid(alpha=0.3, which="both")
panels[0].set_ylabel("relative squared change")
panels[1].legend(loc="lower right", ncols=2, fontsize=9)
plt.show()

# %%
# The lines cross. With K = 0 each layer does its best for itself, the early ones are closest to the dense network, and
# the error grows on the way. With K = 8 the early layers are *worse*, behind the first ReLU even worse than before the
# fit, and the end is better. They give up what nobody reads for what is read. A layer's own error is no measure of a
# pruned network.

for name in METHODS:
    before, near, far = (np.mean(along[name, K], axis=0) for K in ("before", 0, 8))
    assert (near[:2] < 0.8 * far[:2]).all()
    assert far[1] > before[1]
    assert far[-1] < 0.95 * near[-1]

# %%
# Break it
# --------
#
# When is a solve done? Code often says: when the residual is below 1e-3. The residual is a gradient, and has the unit
# of the loss. Write the same loss in another unit, for example as a mean over entries where it was a sum over samples.
# Nothing about the problem has changed.


class InAnotherUnit:
    """The objective `f`, multiplied by a number."""

    def __init__(self, f, unit):
        self.f, self.unit = f, unit

    def value(self, w):
        return self.f.value(w) * self.unit

    def gradient(self, w):
        return self.f.gradient(w) * self.unit

    def hvp(self, w, v):
        return self.f.hvp(w, v) * self.unit

    def hessian(self, w):  # never asked for
        return self.f.hessian(w) * self.unit


UNIT = 2.0**-20
small = InAnotherUnit(f, UNIT)
limits = {"max_iter": 4, "cg_max_iter": 50}
same = rp.newton_cg(small, mask, f.weight, damp=DAMP * UNIT, **limits)
print("a relative tolerance:", [step.iterations for step in same.trace], "products")
assert np.array_equal(same.weight, found.weight)  # bit for bit, as the unit is a power of two

absolute = rp.newton_cg(small, mask, f.weight, damp=DAMP * UNIT, cg_rtol=0, cg_atol=1e-3, **limits)
print(
    "an absolute one:", [step.iterations for step in absolute.trace], "products,", absolute.trace[-1].reason
)
assert absolute.trace[-1].reason == "converged"
assert np.array_equal(absolute.weight, f.weight)

# %%
# It says "converged", the mask is right, and the weights are those of before. Only the value of F could tell. The
# published code has such a tolerance, and :doc:`../snows` lists what else goes wrong easily.
#
# What was not shown
# ------------------
#
# These are small networks. Convolutions, residual blocks, mini-batches, N:M masks, more seeds, and what the other
# choices of SNOWS do: :doc:`../snows`. Where only ReLUs follow a layer, the Hessian is the Gauss-Newton matrix and
# never negative. With tanh it may be, and `newton_cg` says so when it meets that.
#
# Exercise
# --------
#
# Give the last layer of the first example the weight a in the place of 4. What is v for K = 2? What is it where a is
# large, and why does K = 0 never come near?

for a in (0.5, 3.0, 100.0):
    other = dense | {"2.weight": np.array([[a]])}
    v = rp.snows(tiny, other, masks, np.array([[1.0, 1.0], [1.0, -1.0]]), horizon=2).params["0.weight"][0, 0]
    assert np.isclose(v, (5 + 3 * a**2) / (4 + 2 * a**2), rtol=1e-9)  # towards 3/2, the mean of 3 and 0

# %%
# References
# ----------
#
# - R. Lucas, R. Mazumder (2024). *Preserving Deep Representations in One-Shot Pruning: A Hessian-Free Second-Order
#   Optimization Framework.* arXiv 2411.18376.
# - B. Pearlmutter (1994). *Fast exact multiplication by the Hessian.* Neural Computation 6, 147-160.
# - J. Nocedal, S. Wright (2006). *Numerical Optimization*, algorithm 7.1. Springer.
# - E. Frantar, D. Alistarh (2022). *Optimal Brain Compression.* Advances in Neural Information Processing Systems 35.
