r"""
Pruning before training: what will a weight be good for?
========================================================

All pages before this one prune what has been trained. But most of the weights that are trained go away in the end. Can
they go first? There is no trained weight to look at then. SNIP, GraSP and ProsPr look at the loss, SynFlow at nothing
but the paths through the network. With 80 % gone most choices will do, even a random one. With 98 % gone some leave a
network that learns, and others one that nothing gets through.

We rank two weights by hand, empty a layer by hand, and then let six methods choose for networks that read digits.
"""

# %%
# Two weights, two questions
# --------------------------
#
# Two weights stand alone, each with a bowl of its own: :math:`L = \sum_j \tfrac12 h_j (w_j - t_j)^2`. Both begin at 1.
# The first has :math:`h = 2` and shall come to :math:`\tfrac12`, the second has :math:`h = \tfrac12` and shall come to
# :math:`-\tfrac12`.
#
# SNIP asks: how fast does the loss change *now* with a switch c on the weight? That is
# :math:`|w\, dL / dw| = |w\, h\, (w - t)|`, and the first weight is worth more, 1 against :math:`\tfrac34`.
#
# ProsPr asks: and *after* M steps of training? A step with learning rate :math:`\eta` leaves
# :math:`(1 - \eta h)` of the distance, and so
#
# .. math:: \Big| \frac{\partial L(\theta_M)}{\partial c} \Big| = |w\, h\, (w - t)|\, (1 - \eta h)^{2M} .
#
# With :math:`\eta = \tfrac14` and one step that is :math:`\tfrac14` against
# :math:`\tfrac34 \cdot \tfrac{49}{64} = \tfrac{147}{256}`. The step takes care of half of the first distance by itself,
# but only of an eighth of the second. So the two methods keep different weights.

from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune import definitions
from refprune.demo import digits

exact = np.vectorize(Fraction)
layers = [{"type": "dense", "bias": False}]
w = {"0.weight": exact([[1, 1]])}
x = exact([[2, 0], [0, 1]])  # the loss is the mean of two samples, so h = 4 / 2 and 1 / 2
y = exact([[1], [Fraction(-1, 2)]])
now = definitions.snip_scores(layers, w, x, y, "squared")["0.weight"]
later = definitions.prospr_scores(layers, w, [(x, y)] * 2, "squared", Fraction(1, 4))["0.weight"]
print("now", *now[0], " one step later", *later[0])
assert now.tolist() == [[1, Fraction(3, 4)]]
assert later.tolist() == [[Fraction(1, 4), Fraction(147, 256)]]

single = rp.Network([rp.Dense(2, 1, bias=False)])
start, batch, one = {"0.weight": np.ones((1, 2))}, (x.astype(float), y.astype(float)), rp.Unstructured(keep=1)
snip = rp.snip(single, start, batch, one, loss="squared")
prospr = rp.prospr(single, start, [batch] * 2, one, 0.25, loss="squared")  # a step, and the loss
at_once = rp.prospr(single, start, [batch], one, 0.25, loss="squared")  # the loss alone
assert snip.weight["0.weight"].tolist() == [[1, 0]]
assert prospr.weight["0.weight"].tolist() == [[0, 1]]
assert at_once.weight["0.weight"].tolist() == [[1, 0]]

# %%
# One batch for each step, and one more for the loss. Without a step ProsPr is SNIP (:doc:`../identities`).
#
# An empty layer
# --------------
#
# Now two inputs, two hidden neurons and one output, all six weights 1. Two shall stay. SynFlow has no data: a weight
# is worth the sum over all paths through it of the products of :math:`|w|` along them.
#
# .. code-block:: text
#
#                         first layer        second layer
#    scores of all six     1   1   1   1        2   2
#    two stay, at once     0   0   0   0        1   1       nothing gets through
#    two stay, in steps    0   0   0   1        0   1       a path
#
# Each layer carries a flow of 4 in all, and the first one shares it among more weights. So all of them are worth less,
# and go at once. That is *layer collapse*, and no method that ranks once is safe from it. SynFlow takes a few weights
# at a time and counts again: as its neighbours go, the last weight of a layer has the whole flow, and is worth as much
# as any.

tiny = rp.mlp([2, 2, 1], bias=False)
ones = {"0.weight": np.ones((2, 2)), "2.weight": np.ones((1, 2))}
for steps in (1, 100):
    answer = rp.synflow(tiny, ones, (2,), rp.Unstructured(keep=2), steps)
    print(f"{steps:3d} steps:", *answer.weight["0.weight"].ravel(), " ", *answer.weight["2.weight"].ravel())
    assert answer.mask["0.weight"].any() == (steps > 1)
assert answer.weight["0.weight"].ravel().tolist() == [0, 0, 0, 1]
assert answer.weight["2.weight"].ravel().tolist() == [0, 1]

# %%
# Six methods choose
# ------------------
#
# Networks that read digits, with 128 and 64 hidden neurons. What goes:
#
# - *random*: what the dice say;
# - *magnitude*: the smallest :math:`|w|`, as they were drawn;
# - *SNIP*: the smallest :math:`|w\, dL / dw|`, with all training images in one batch;
# - *GraSP*: the highest :math:`-w\, (H g)` of the same batch, H the Hessian and g the gradient: a weight whose removal
#   makes the gradient shorter stays;
# - *ProsPr*: the smallest :math:`|\partial L(\theta_3) / \partial c|`, after three steps on 256 images each;
# - *SynFlow*: the smallest flow, in 30 steps, without an image.
#
# All layers share one count. The weights that are left are trained from where they are, in the same way for all. We do
# it with five networks, and print the mean and the standard deviation.

SHARES, SEEDS = (0.8, 0.9, 0.95, 0.98), range(5)
data = digits.load()
x, y, other = data.train_x.astype("float32"), data.train_y, data.test_x.astype("float32")
network = rp.mlp([64, 128, 64, 10])


def batches(count, rng):
    """`count` times 256 images."""
    return [(x[own], y[own]) for own in (rng.choice(len(x), 256, replace=False) for _ in range(count))]


CHOICES = {  # (parameters, pattern, rng) -> Pruned
    "random": lambda params, pattern, rng: rp.random_pruning(network, params, pattern, rng),
    "magnitude": lambda params, pattern, rng: rp.iterative_magnitude(
        network, params, pattern, steps=1, progress=False
    ),
    "GraSP": lambda params, pattern, rng: rp.grasp(network, params, (x, y), pattern),
    "SNIP": lambda params, pattern, rng: rp.snip(network, params, (x, y), pattern),
    "ProsPr": lambda params, pattern, rng: rp.prospr(network, params, batches(4, rng), pattern, 0.1, 0.9),
    "SynFlow": lambda params, pattern, rng: rp.synflow(network, params, (64,), pattern, steps=30),
}


def masked(params, masks):
    """The network without what the masks prune."""
    return params | {name: params[name] * mask for name, mask in masks.items()}


def learned(params, masks, seed, lr=0.25):
    """The accuracy on other images, after training what the masks leave."""
    schedule = {"epochs": 8, "batch_size": 128, "schedule": lambda done: 1 - done, "progress": False}
    trained = rp.train(network, masked(params, masks), x, y, masks=masks, lr=lr, rng=seed, **schedule)
    assert all((trained[name][~mask] == 0).all() for name, mask in masks.items())
    return rp.accuracy(network, trained, other, data.test_y)


starts = [network.init(np.random.default_rng(seed), dtype="float32") for seed in SEEDS]
found = {name: np.zeros((len(SEEDS), len(SHARES))) for name in CHOICES}
left = {}
for name, choose in CHOICES.items():
    for seed, params in zip(SEEDS, starts):
        for i, share in enumerate(SHARES):
            masks = choose(params, rp.Unstructured(share), np.random.default_rng(seed)).mask
            found[name][seed, i], left[name, seed, share] = learned(params, masks, seed), masks

whole = [learned(params, {}, seed) for seed, params in zip(SEEDS, starts)]
print(f"nothing pruned: {np.mean(whole):.1%} +- {np.std(whole):.1%}")
print(f"{'gone':>10}", *(f"{share:15.0%}" for share in SHARES), "   kept in the layers at 98 %")
for name, values in found.items():
    cells = (f"{m:7.1%} +- {s:4.1%}" for m, s in zip(values.mean(axis=0), values.std(axis=0)))
    kept = np.mean([[m.sum() for m in left[name, seed, 0.98].values()] for seed in SEEDS], axis=0)
    print(f"{name:>10}", *cells, "  ", *kept.round().astype(int))

# %%
# With four fifths gone there is little between them, but for GraSP, to which we come. Then they part. SNIP, ProsPr and
# SynFlow are far ahead of magnitude. A weight before training is a number that was drawn, and its size tells how many
# inputs its layer has: the second has 128 and the others 64, and so its weights are the smaller ones. Of its 8,192
# weights magnitude leaves two dozen at 98 %, and then the network reads no better than chance.

mean = {name: dict(zip(SHARES, values.mean(axis=0))) for name, values in found.items()}
for name in ("SNIP", "ProsPr", "SynFlow"):
    assert mean[name][0.8] > np.mean(whole) - 0.025
    assert mean[name][0.9] > mean["magnitude"][0.9] + 0.03
    assert mean[name][0.95] > mean["magnitude"][0.95] + 0.25 > mean["random"][0.95] + 0.25
    assert mean[name][0.98] > 0.35
assert max(mean["magnitude"][0.98], mean["random"][0.98]) < 0.2
assert min(mean["ProsPr"][0.98], mean["SynFlow"][0.98]) > mean["SNIP"][0.98] + 0.05

# %%
# Does anything get through?
# --------------------------
#
# A weight that lies on no path from the inputs to the outputs is lost, and so is a network without paths. To count
# them, multiply the masks. Here is one network, down to 16 weights of 17,024, with SynFlow in one step too, and with
# FORCE, which is SNIP in ten steps, the gradient taken anew in each.


def paths(masks):
    """How many there are from the inputs to the outputs."""
    reached = np.ones(64)
    for mask in masks.values():
        reached = mask @ reached
    return int(reached.sum())


KEPT, counted, fewest = (1702, 851, 340, 120, 40, 16), {}, {}
MORE = {
    "SynFlow, 1 step": lambda params, pattern, rng: rp.synflow(network, params, (64,), pattern, steps=1),
    "FORCE": lambda params, pattern, rng: rp.force(network, params, (x, y), pattern, steps=10),
}
for name, choose in (CHOICES | MORE).items():
    masks = [choose(starts[0], rp.Unstructured(keep=k), np.random.default_rng(0)).mask for k in KEPT]
    counted[name] = [paths(own) for own in masks]
    fewest[name] = [min(int(mask.sum()) for mask in own.values()) for own in masks]
print(f"{'weights left':>15}", *(f"{k:7}" for k in KEPT))
for name in counted:
    print(f"{name:>15}", *(f"{count:7}" for count in counted[name]), "  fewest in a layer:", *fewest[name])
assert counted["SynFlow"][-1] > 0
assert counted["FORCE"][2] > 2 * counted["SNIP"][2]
assert counted["magnitude"][-3] == 0
assert fewest["magnitude"][-1] == fewest["random"][-1] == 0
assert fewest["SynFlow, 1 step"][2:] == [0, 0, 0, 0]
assert all(counted["SynFlow"][2] > 2 * counted[name][2] for name in counted if name != "SynFlow")
assert all(counted["GraSP"][2] > counted[name][2] for name in ("SNIP", "ProsPr", "magnitude", "random"))

# %%
# SynFlow keeps paths to the last, and more of them than any other. In one step it is the first to empty a layer: the
# steps are all that prevents it. Steps help SNIP as well. But paths are not all. ProsPr learns as well at 98 % with a
# tenth of SynFlow's, and GraSP, which has more of them than ProsPr, learns nothing.
#
# What GraSP was asked
# --------------------
#
# A step of training, :math:`-\eta g` with a small :math:`\eta`, lowers the loss by :math:`\eta\, g^\top g`. This
# :math:`g^\top g` is the *gradient flow*, and taking out a weight changes it by about twice :math:`-w\, (H g)`. GraSP
# removes the highest of these, to keep the flow or let it grow. It does grow:


def flow(params):
    """The square of the gradient's length."""
    return np.sum(network.flatten(network.gradient(params, x, y)) ** 2)


for name in ("SNIP", "GraSP"):
    for share in SHARES:
        nets = [masked(params, left[name, seed, share]) for seed, params in zip(SEEDS, starts)]
        growth = np.mean([flow(net) / flow(params) for net, params in zip(nets, starts)])
        loss = np.mean([network.loss(net, x, y) for net in nets])
        print(f"{name:>6} {share:.0%}: flow times {growth:6.1f}, loss {loss:5.2f}")
        if name == "GraSP":
            assert growth > 3
            assert share > 0.9 or loss > 8

# %%
# The loss of a network that knows nothing is :math:`\log 10 = 2.3`. A network that is sure, and wrong, has a longer
# gradient than that, and most of what GraSP does here is to make it so. The network never recovers, with a small
# learning rate neither. The published code divides the outputs by 200 before it takes g and H; the formulas of the
# paper do not. So divided, no choice of weights makes the network sure. A last layer that multiplies by 1/200, and is
# no parameter itself, does it:


def tempered(params, temperature):
    """The scores of GraSP with the outputs divided by `temperature`."""
    divided = rp.Network([*network.layers, rp.Dense(10, 10, bias=False)])
    given = params | {"5.weight": np.eye(10, dtype="float32") / temperature}
    g = divided.flatten(divided.gradient(given, x, y))
    g[network.size :] = 0
    Hg = network.unflatten(divided.hvp(given, x, y, g)[: network.size])
    return {name: -params[name] * Hg[name] for name in network.prunable}


def without_highest(scores, share):
    """The masks that prune this share of all weights."""
    ranked = np.sort(np.concatenate([score.ravel() for score in scores.values()]))
    last = ranked[len(ranked) - 1 - round(share * len(ranked))]
    return {name: score <= last for name, score in scores.items()}


masks, plain = without_highest(tempered(starts[0], 1), 0.9), left["GraSP", 0, 0.9]
assert all((masks[name] == plain[name]).mean() > 0.999 for name in masks)  # undivided it is GraSP

cold = "GraSP, outputs / 200"
found[cold], slow = np.zeros((len(SEEDS), len(SHARES))), []
for seed, params in zip(SEEDS, starts):
    slow.append(learned(params, left["GraSP", seed, 0.9], seed, lr=0.025))
    scores = tempered(params, 200)
    found[cold][seed] = [learned(params, without_highest(scores, share), seed) for share in SHARES]
mean[cold] = dict(zip(SHARES, found[cold].mean(axis=0)))
print(f"a tenth of the learning rate, 90% gone: {np.mean(slow):.1%}")
cells = (f"{m:7.1%} +- {s:4.1%}" for m, s in zip(found[cold].mean(axis=0), found[cold].std(axis=0)))
print(cold, *cells)
assert max(np.mean(slow), *mean["GraSP"].values()) < 0.3
assert min(mean[cold][share] - mean["magnitude"][share] for share in (0.95, 0.98)) > 0.25
assert mean[cold][0.8] < mean["SNIP"][0.8] - 0.03

# %%
# With 98 % gone it is then among the best. With 80 % gone it is not: there are more weights to be wrong with.

COLORS = dict(zip(CHOICES, ("#9aa5b1", "#1f2933", "#d64545", "#2680c2", "#0f8a5f", "#e69f00")))
LOOKS = {name: {"color": color, "marker": "o", "markersize": 4} for name, color in COLORS.items()}
LOOKS[cold] = LOOKS["GraSP"] | {"linestyle": "--"}
LOOKS["SynFlow, 1 step"] = LOOKS["SynFlow"] | {"linestyle": "--"}
LOOKS["FORCE"] = LOOKS["SNIP"] | {"linestyle": "--"}
figure, (axes, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
places = np.arange(len(SHARES))
for name, values in found.items():
    m, s = values.mean(axis=0), values.std(axis=0)
    axes.plot(places, m, label=name, **LOOKS[name])
    axes.fill_between(places, m - s, m + s, color=LOOKS[name]["color"], alpha=0.12, linewidth=0)
axes.axhline(np.mean(whole), color="#1f2933", linestyle=":", linewidth=1)
axes.annotate("nothing pruned", (3, 1), ha="right", fontsize=9)
axes.set_xticks(places, [f"{share:.0%}" for share in SHARES])
axes.set(
    xlabel="pruned before training",
    ylabel="accuracy on other images",
    title="After training: mean and spread of five networks",
    ylim=(0, 1.07),
)
for name, counts in counted.items():
    alive = [count for count in counts if count > 0]
    right.plot(KEPT[: len(alive)], alive, label=name if name in MORE else None, **LOOKS[name])
    if len(alive) < len(KEPT):
        right.plot(KEPT[len(alive) - 1], alive[-1], "x", color=LOOKS[name]["color"], markersize=10)
right.set(
    xscale="log",
    yscale="log",
    xlabel="weights left",
    ylabel="paths",
    title="Paths through one network (x: the last)",
)
right.invert_xaxis()
right.grid(alpha=0.3)
figure.legend(loc="outside lower center", ncols=5)
plt.show()

# %%
# Break it
# --------
#
# All layers share one count, so scores become one long vector, and its mask has to become matrices again. Say that
# somebody fills them column by column.

broken = {}
for share in (0.8, 0.95):
    values = []
    for seed, params in zip(SEEDS, starts):
        right_ones = left["SNIP", seed, share]
        wrong = {name: mask.ravel().reshape(mask.shape, order="F") for name, mask in right_ones.items()}
        assert all(wrong[name].sum() == mask.sum() for name, mask in right_ones.items())
        values.append(learned(params, wrong, seed))
    broken[share] = np.mean(values)
    print(f"{share:.0%} gone: {mean['SNIP'][share]:.1%}, filled by columns {broken[share]:.1%}")
assert broken[0.8] > 0.88
assert broken[0.95] < mean["SNIP"][0.95] - 0.2

# %%
# Every layer has the right count, and with 80 % gone the network still learns, so nobody looks. With 95 % gone it is
# not much better than random pruning. Frankle and others (2021) found that large networks do not mind it when the masks
# of SNIP, GraSP and SynFlow are shuffled within each layer: what counted were the counts. These small ones do mind.
#
# What does not come out as published
# -----------------------------------
#
# - GraSP, as its formulas stand, leaves nothing that learns, at any share. With the outputs divided by 200 it does, and
#   with 98 % gone it is among the best. It does too where the scores are those of smaller weights, such as PyTorch's.
#   These here are He's, with which a network is sure of itself before it has learned anything (:ref:`scored-at`).
# - ProsPr was published as clearly better than SNIP. On MNIST, in independent runs, it was not: 95.4, 93.7 and 88.2 %
#   with 90, 95 and 98 % gone, against 95.3, 93.5 and 88.1. Here it is, the more so the fewer weights are left.
# - In those runs magnitude had 95, 93 and 11 %, and random pruning 85, 46 and 21. The fall of magnitude comes earlier
#   here; there are fewer weights to begin with.
#
# More networks and more methods, and what each of them needs and costs: :doc:`../before_training`. Neurons and filters
# in the place of weights: :doc:`plot_9d_whole_neurons`.
#
# Exercise
# --------
#
# Take the two weights of the beginning, and one step. From which learning rate on does ProsPr prefer the second?

turn = (1 - np.sqrt(0.75)) / (2 - np.sqrt(0.75) / 2)  # 1 - 2 eta = sqrt(3/4) (1 - eta / 2)
print(f"from {turn:.4f} on")
for lr, kept in ((turn * 0.99, [[1, 0]]), (turn * 1.01, [[0, 1]])):
    assert rp.prospr(single, start, [batch] * 2, one, lr, loss="squared").weight["0.weight"].tolist() == kept

# %%
# References
# ----------
#
# - N. Lee, T. Ajanthan, P. Torr (2019). *SNIP: Single-shot Network Pruning based on Connection Sensitivity.*
# - C. Wang, G. Zhang, R. Grosse (2020). *Picking Winning Tickets Before Training by Preserving Gradient Flow.*
# - H. Tanaka, D. Kunin, D. Yamins, S. Ganguli (2020). *Pruning neural networks without any data by iteratively
#   conserving synaptic flow.*
# - P. de Jorge and others (2021). *Progressive Skeletonization: Trimming more fat from a network at initialization.*
# - M. Alizadeh and others (2022). *Prospect Pruning: Finding Trainable Weights at Initialization using Meta-Gradients.*
# - J. Frankle, G. Dziugaite, D. Roy, M. Carbin (2021). *Pruning Neural Networks at Initialization: Why Are We Missing
#   the Mark?*
