r"""
2:4 and friends: where a zero may stand decides what it is worth
================================================================

Hardware can skip zeros, if they stand where it looks for them. The best known rule is 2:4: of every four
consecutive inputs, two are kept. Two networks with the same number of zeros can still differ: one can be packed into
half as many values, the other comes back as another network; one reads digits as before, the other misses one in six.

We say by hand what the 2 means, along what the groups of four run (in a convolution that is easy to get
wrong), and what a rule costs. Then we prune a small convolutional network by five rules and look at the masks.
"""

# %%
# What the 2 means
# ----------------
#
# A row of eight weights. Half of them shall go.

from fractions import Fraction
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune import definitions
from refprune.demo import digits

w = np.array([4.0, -3.0, 2.0, 1.0, 0.5, 0.25, -0.125, 0.375])
anywhere = rp.magnitude(w, rp.Unstructured(sparsity=0.5))
two_of_four = rp.magnitude(w, rp.NM(2, 4))
print(anywhere.weight)
print(two_of_four.weight)
assert anywhere.weight.tolist() == [4, -3, 2, 1, 0, 0, 0, 0]
assert two_of_four.weight.tolist() == [4, -3, 0, 0, 0.5, 0, 0, 0.375]

# %%
# Free zeros all go to the second group, where the weights are small. 2:4 must take two from each: it loses
# 2 and 1, and keeps 0.5 and 0.375. If the inputs have nothing in common (the Gram is the identity), the price
# is plain: half the sum of the squares that are lost.

apart = rp.Quadratic(np.ones(8), w)
print(apart.value(anywhere.weight), apart.value(two_of_four.weight))
assert apart.value(anywhere.weight) == (0.25 + 0.0625 + 0.015625 + 0.140625) / 2
assert apart.value(two_of_four.weight) == (4 + 1 + 0.0625 + 0.015625) / 2

# %%
# In `rp.NM(n, m)` the first number counts what is **kept**. Some papers count the zeros. At 2:4 both say the
# same, so nobody notices; at 1:4 one reads 75 % zeros, the other 25 %. It is *at most* n: a group may keep fewer.

for n in range(5):
    print(f"{n}:4", rp.magnitude(w, rp.NM(n, 4)).weight)
assert np.count_nonzero(rp.magnitude(w, rp.NM(1, 4)).weight) == 2
assert rp.NM(2, 4).admits(np.array([True, False, False, False, False, False, False, False]))

# %%
# What a rule costs
# -----------------
#
# Four of eight weights can be kept in 70 ways, two of each four in :math:`6 \cdot 6 = 36`. Fewer ways, so the
# best of them cannot be better. Now the inputs have something in common, and the weights that stay can make up
# for those that go. Eight is small enough to try everything.

rng = np.random.default_rng(3)
X = rng.normal(size=(60, 8)) @ (np.eye(8) + 0.5)  # the inputs share a part
layer = rp.LayerProblem.from_inputs(w[None], X)


def best(pattern):
    """The least objective of all masks with four kept weights that the pattern admits, and their number."""
    masks = [np.isin(np.arange(8), kept)[None] for kept in combinations(range(8), 4)]
    masks = [mask for mask in masks if pattern.admits(mask)]
    return min(rp.optimal_weights(layer, mask).objective for mask in masks), len(masks)


free, ways = best(rp.Unstructured(keep=4))
bound, fewer_ways = best(rp.NM(2, 4))
print(f"best of {ways}: {free:.4f}; best of {fewer_ways} (2:4): {bound:.4f}")
assert (ways, fewer_ways) == (70, 36)
assert free <= bound

# %%
# OBS walks through the 2:4 masks greedily: always the cheapest weight whose group still has a zero to give. Its
# definition is short and runs on fractions, so the order below is exact. `rp.obs` is the fast form. No mask beats
# the best one; magnitude chooses without looking at the inputs, and lets nobody make up for anything.

G = np.array([[Fraction(x) for x in row] for row in layer.gram], dtype=object)
exact, order = definitions.obs_nm(np.array([Fraction(x) for x in w], dtype=object), G, 2, 4)
answer = rp.obs(layer, rp.NM(2, 4))
by_magnitude = rp.magnitude(layer, rp.NM(2, 4))
print("order", order, "by the definition,", answer.order, "by the library")
print(f"2:4: OBS {answer.objective:.4f}, magnitude {by_magnitude.objective:.4f}")
assert answer.order.tolist() == order
assert np.allclose(answer.weight[0], exact.astype(float), rtol=1e-10, atol=0)
assert bound <= answer.objective * (1 + 1e-12)
assert answer.objective < by_magnitude.objective

# %%
# Along what
# ----------
#
# Along the **inputs**. Each output is a sum over inputs, and that sum is what gets shorter when half of its terms
# are known to be zero. In a dense weight (outputs, inputs) a group is four neighbours in a row. Transpose the weight
# and the groups run along the outputs: as many zeros, but not 2:4.

W = np.random.default_rng(4).normal(size=(8, 8))
along_outputs = rp.NM(2, 4).mask(abs(W).T).T
assert along_outputs.mean() == 0.5
assert not rp.NM(2, 4).admits(along_outputs)

# %%
# A convolution has a weight (filters, channels, kernel rows, kernel columns). Its inputs are the channels, and it
# looks at them from several kernel positions. A group is four channels **at one kernel position**. These are not
# neighbours in memory: there, after one weight comes the next kernel position of the same channel. Left, the groups
# of one filter with 8 channels and a 2 x 2 kernel; right, what comes out if one takes four neighbours in memory.

labels = rp.NM(2, 4).labels((1, 8, 2, 2))[0].reshape(8, 4)  # (channel, kernel position)
in_memory = np.arange(32).reshape(8, 4) // 4
figure, panels = plt.subplots(1, 2, figsize=(7.5, 4.2), layout="constrained")
for axes, groups, title in zip(
    panels, (labels, in_memory), ("four channels at one position", "four in memory")
):
    axes.imshow(groups, cmap="tab10", vmin=0, vmax=9)
    for channel in range(8):
        for position in range(4):
            axes.text(
                position, channel, str(groups[channel, position]), ha="center", va="center", color="white"
            )
    axes.set(title=title, xlabel="kernel position", ylabel="channel")
    axes.set_xticks(range(4), ["0,0", "0,1", "1,0", "1,1"])
plt.show()
assert labels[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
assert labels[0].tolist() == [0, 2, 4, 6]

# %%
# Groups of a convolution
# -----------------------
#
# A grouped convolution is several layers side by side: each group of filters reads its own channels. So channel 1
# of the first group and channel 1 of the second are different inputs, although both stand in ``weight[:, 1]``. The
# weight alone cannot say so; the layer problem can, by its stack of Grams. `rp.Groups(axis=1)` asks it.

images = np.random.default_rng(5).normal(size=(20, 4, 5, 5))
kernel = np.random.default_rng(6).normal(size=(4, 2, 2, 2))  # four filters, two groups of two channels each
grouped = rp.LayerProblem.from_inputs(kernel, images, groups=2)
channels = rp.Groups(keep=3, axis=1)
answer = rp.obs(grouped, channels)
print("the channels of each filter:", channels.on(grouped).labels(kernel.shape)[:, :, 0, 0].tolist())
print("channel", answer.order, "goes")
assert grouped.gram.shape == (2, 8, 8)
assert channels.on(grouped).labels(kernel.shape)[:, :, 0, 0].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]
(gone,) = answer.order
others = channels.on(grouped).labels(kernel.shape) // 2 != gone // 2
assert np.array_equal(answer.weight[others], kernel[others])  # the other group reads nothing that is gone

# %%
# A network, five rules
# ---------------------
#
# A small network that reads 8 x 8 digits: two convolutions and a dense layer. The first convolution has one input
# channel, so there are no four to make a group of, and `rp.prune` says so. It has 72 of 1864 weights; it stays
# dense.

data = digits.load()
x, test_x = data.train_x.reshape(-1, 1, 8, 8), data.test_x.reshape(-1, 1, 8, 8)
network = rp.cnn((1, 8, 8), channels=[8, 16], padding=1)
start = network.init(np.random.default_rng(0))
params = rp.train(
    network, start, x, data.train_y, epochs=8, lr=0.05, schedule=lambda t: 1 - t, progress=False
)
dense = rp.accuracy(network, params, test_x, data.test_y)
print(f"not pruned: {dense:.1%}")
assert dense > 0.93

refused = ""
try:
    rp.prune(network, params, x, "obs", rp.NM(2, 4), progress=False)
except ValueError as error:
    refused = str(error)
print(refused)
assert refused.startswith("layer 0: need columns in a multiple of m = 4")

# %%
# Five rules for the rest. Any weight; 4 of 8; 2 of 4; whole blocks of four channels at one kernel position: each
# makes half of the weights zero. The last takes half of the channels that a layer reads, and with them the filters
# that make them, those of the first convolution too: nothing reads them any more. That is structured pruning, and
# the network can be built smaller (:doc:`../structured`). SparseGPT takes the rules for single weights, the others
# all five.

RULES = {
    "any weight": rp.Unstructured(sparsity=0.5, scope="layer"),
    "4:8": rp.NM(4, 8),
    "2:4": rp.NM(2, 4),
    "blocks of 4": rp.Blocks(4, sparsity=0.5, scope="layer"),
    "channels": rp.Groups(sparsity=0.5, axis=1),
}
METHODS = ("magnitude", "wanda", "sparsegpt", "alps", "obs")
pruned, accuracy = {}, {}
for rule, pattern in RULES.items():
    for method in METHODS:
        if method == "sparsegpt" and rule in ("blocks of 4", "channels"):
            continue
        found = rp.prune(network, params, x, method, pattern, overrides={"0": None}, progress=False)
        pruned[rule, method] = found
        accuracy[rule, method] = rp.accuracy(network, found.params, test_x, data.test_y)

print(f"{'test accuracy':>14}", *(f"{method:>10}" for method in METHODS))
for rule in RULES:
    row = [accuracy.get((rule, method)) for method in METHODS]
    print(f"{rule:>14}", *(f"{'-':>10}" if value is None else f"{value:10.1%}" for value in row))

# %%
# The report tells what each layer's outputs lost. Read it for 2:4: the error of a layer is relative to the size of
# its outputs, on the inputs that come through the layers pruned before it.

print(pruned["2:4", "obs"].report)

for (rule, method), found in pruned.items():
    for name in ("3.weight", "7.weight"):
        share = found.masks[name].mean()
        assert share == 0.5 or (rule, name) == ("channels", "3.weight")  # there the filters go too
    if method == "obs":
        assert accuracy[rule, "obs"] > accuracy[rule, "magnitude"] - 0.02
assert accuracy["2:4", "obs"] > accuracy["2:4", "wanda"]
assert accuracy["any weight", "obs"] > dense - 0.02  # as before
assert accuracy["2:4", "magnitude"] < 0.9

# %%
# How the masks look: the second convolution, 16 filters in rows; in columns the 8 channels at the first kernel
# position, then at the second, and so on. Blue is kept. Thin lines part the groups of four.

figure, panels = plt.subplots(5, 1, figsize=(9, 9.5), layout="constrained")
for axes, rule in zip(panels, RULES):
    mask = pruned[rule, "obs"].masks["3.weight"]
    picture = mask.transpose(0, 2, 3, 1).reshape(16, 72)  # (filter; kernel position, channel)
    axes.imshow(picture, cmap="Blues", vmin=0, vmax=1.3, aspect="auto", interpolation="nearest")
    for edge in range(4, 72, 4):
        axes.axvline(
            edge - 0.5, color="black" if edge % 8 == 0 else "#9aa5b1", linewidth=0.8 if edge % 8 == 0 else 0.5
        )
    axes.set(title=f"{rule}: {mask.mean():.0%} kept", ylabel="filter", yticks=[0, 15])
    axes.set_xticks(np.arange(9) * 8 + 3.5, [f"{i},{j}" for i in range(3) for j in range(3)])
panels[-1].set_xlabel("kernel position; eight channels in each")
plt.show()

# %%
# Some channels say more than others, so with *any weight* there are groups of four that keep all, and groups that keep
# nothing. 2:4 keeps two wherever it looks; 4:8 is between them. That is the difference in the table. Count it:

kept = {}
for rule in RULES:
    along = pruned[rule, "obs"].masks["3.weight"].transpose(0, 2, 3, 1).reshape(-1, 4)  # (groups, 4 channels)
    kept[rule] = np.bincount(along.sum(axis=1), minlength=5).tolist()
    print(f"{rule:>12}: groups of four that keep 0, 1, 2, 3, 4: {kept[rule]}")
assert min(kept["any weight"]) > 0
assert kept["2:4"] == [0, 0, 288, 0, 0]
assert kept["blocks of 4"] == [144, 0, 0, 0, 144]
assert pruned["channels", "obs"].masks["3.weight"].any(axis=(0, 2, 3)).sum() == 4

# %%
# Break it
# --------
#
# Now the mistake: prune four neighbours in memory, `weight.reshape(filters, -1)`. Half of the weights are zero, each
# row has as many, and the objective is fine. Nothing here looks wrong. What hardware stores, for each group of
# four *channels*, is two values and their two places. We pack and unpack like that.


def packed(weight):
    """The two values of each group of four channels, and where they stand: (groups, 2) each."""
    groups = weight.transpose(0, 2, 3, 1).reshape(-1, 4)
    places = np.argsort(groups == 0, axis=1, kind="stable")[:, :2]  # nonzeros first, in their order
    return np.take_along_axis(groups, places, axis=1), places


def unpacked(values, places, shape):
    """The weight again."""
    groups = np.zeros((len(values), 4))
    np.put_along_axis(groups, places, values, axis=1)
    filters, channels, height, width = shape
    return groups.reshape(filters, height, width, channels).transpose(0, 3, 1, 2)


# what the kernel sees: (images * positions, 8 channels * 3 * 3)
patches = network.layer_inputs(params, x)["3"]
second = rp.LayerProblem(params["3.weight"], patches.T @ patches / len(patches))
flat = rp.obs(rp.LayerProblem(second.matrix, second.gram), rp.NM(2, 4))  # as if it were a dense layer
wrong = flat.weight.reshape(second.weight.shape)
right = rp.obs(second, rp.NM(2, 4))
for name, weight, objective in (
    ("channels", right.weight, right.objective),
    ("memory", wrong, flat.objective),
):
    lost = np.count_nonzero(weight) - np.count_nonzero(unpacked(*packed(weight), weight.shape))
    print(
        f"groups along {name}: objective {objective:.4f}, {lost} of {np.count_nonzero(weight)} weights lost"
    )
assert np.array_equal(unpacked(*packed(right.weight), right.weight.shape), right.weight)
assert np.count_nonzero(wrong) == np.count_nonzero(right.weight)
assert not np.array_equal(unpacked(*packed(wrong), wrong.shape), wrong)

# %%
# The count could not tell, the objective could not, the pattern can. So ask it, before anything is packed.

assert rp.NM(2, 4).admits(right.mask)
assert not rp.NM(2, 4).admits(wrong != 0)
back = unpacked(*packed(wrong), wrong.shape)
print(f"objective of what comes back: {float(second.objective(back)):.4f}")
assert second.objective(back) > 2 * flat.objective

# %%
# What was not shown
# ------------------
#
# Nothing runs faster on this page: a mask is not a kernel. Nothing was trained again after pruning. The test digits
# are 500, so differences of two points between two accuracies may be chance. 2:4 and single weights on 10,000 test
# images: :doc:`../fashion_mnist`. Where every pattern runs in a convolution: :doc:`../convolutions`.
#
# Exercise
# --------
#
# Every 2:4 mask is a 4:8 mask. How many masks does 4:8 allow in a row of eight, and which rule from above is that?
# What does that say about the best 4:8 mask, and does it say the same about the greedy one?

assert best(rp.NM(4, 8)) == best(rp.Unstructured(keep=4))
