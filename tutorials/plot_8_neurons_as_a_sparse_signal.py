r"""
Neurons as a sparse signal: loud is not heard
=============================================

A hidden layer is a vector that the next layer measures. If few of its neurons carry the message, then the search for
them is the search for a sparse signal, and CoSaMP knows how to do that. i-SpaSP (Wolfe and Kyrillidis, 2021) takes
its loop over to neurons. Which neurons stay is decided, in the end, by their *row sums*: how much each has emitted.

We build it by hand, draw the curves of the paper again, and prune networks that read digits. There the row sums
lose to plain magnitude. Another size, what a neuron *gives* to the next layer, closes most of the gap; it is as old as
Optimal Brain Damage. And a fit of the next layer matters more than any choice.
"""

# %%
# Four neurons
# ------------
#
# H has a row for each neuron and a column for each sample; W is the next layer, U = W H is what it hears. Neuron 1
# is the loudest, but its weight is 0.

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune import definitions
from refprune.demo import digits

H = np.array([[2.0, 2.0], [3.0, 4.0], [1.0, 0.0], [0.0, 1.0]])
W = np.array([[1.0, 0.0, 1.0, -1.0]])
print("U =", W @ H)

# %%
# One neuron shall stay. The loop starts with none, S = {}, so nothing of U is explained, V = U. Which neurons would
# V like to have more of? That is the gradient of :math:`\frac12\|V\|_F^2` in H, up to its sign :math:`W^T V`, summed
# over samples. The two neurons with the largest sums are candidates (twice as many as shall stay), and of the
# candidates that one stays which emits most.

importance = (W.T @ (W @ H)).sum(axis=1)
candidates = np.sort(np.argsort(importance)[-2:])
kept = candidates[np.argmax(H[candidates].sum(axis=1))]
print("importance", importance, "candidates", candidates, "kept", kept)
assert importance.tolist() == [4, 0, 4, -4]
assert kept == 0  # neuron 1 was no candidate

# %%
# Then again with :math:`V = U - W_{:S} H_{S:}`, until S comes back. The definition has the loop in a few lines,
# `rp.ispasp` is the fast form. The weights of the neurons that stay are not changed.

answer = rp.ispasp(H, W, keep=1)
print(answer.weight, [step.kept.tolist() for step in answer.trace])
assert definitions.ispasp(H, W, 1) == answer.trace[-1].kept.tolist() == [0]
assert answer.weight.tolist() == [[1, 0, 0, 0]]

# %%
# A signal that fades
# -------------------
#
# How much is lost depends on how fast the neurons fade. Let the i-th largest row of H have the norm
# :math:`i^{-1/p}`. The s largest rows leave a tail, and the tail is a sum that an integral bounds:
#
# .. math:: \|V\|_F^2 \le \|W\|_2^2 \sum_{i > s} i^{-2/p} \le \|W\|_2^2\, \frac{s^{1 - 2/p}}{2/p - 1}\,.
#
# The smaller p, the steeper. This is the synthetic experiment of the paper: 100 neurons, 64 samples, 20 outputs, rows
# in any order. Its four end points, read off for 99 of 100 neurons, are the squares at the right edge.

PUBLISHED = {0.3: 1e-14, 0.5: 2e-9, 0.7: 4e-7, 0.9: 3e-6}
SIZES = np.array([1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 37, 50, 65, 80, 90, 95, 97, 98, 99])


def fading(rng, p, neurons=100, samples=64, outputs=20):
    """(H, W): row norms i^(-1/p) in any order, columns of W of squared norm 0.2."""
    H, W = abs(rng.normal(size=(neurons, samples))), rng.normal(size=(outputs, neurons))
    H *= (np.arange(1, neurons + 1) ** (-1 / p) / np.linalg.norm(H, axis=1))[:, None]
    return H[rng.permutation(neurons)], W * (0.2**0.5 / np.linalg.norm(W, axis=0))


figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
for (p, published), color in zip(PUBLISHED.items(), plt.cm.viridis(np.linspace(0.05, 0.85, 4))):
    left, bound = [], []
    for seed in range(5):
        H, W = fading(np.random.default_rng(seed), p)
        left.append([2 * 64 * rp.ispasp(H, W, s).objective for s in SIZES])  # the objective is a mean, halved
        bound.append(np.linalg.norm(W, 2) ** 2 * SIZES ** (1 - 2 / p) / (2 / p - 1))
    assert (np.array(left) <= bound).all()
    typical = np.exp(np.log(left).mean(axis=0))
    slope = np.polyfit(np.log(SIZES[4:12]), np.log(typical[4:12]), 1)[0]  # from 6 to 50 neurons
    print(
        f"p = {p}: {typical[-1]:.1e} at 99, published {published:.0e}; slope {slope:.2f}, bound {1 - 2 / p:.2f}"
    )
    assert published / 5 < typical[-1] < published * 5
    assert slope < 0.9 * (1 - 2 / p)  # a tenth for the noise of five draws
    axes.loglog(SIZES, typical, color=color, label=f"p = {p}")
    axes.loglog(SIZES, np.mean(bound, axis=0), color=color, linestyle=":")
    axes.plot(99, published, "s", color=color, markersize=8, markerfacecolor="none", markeredgewidth=1.8)
axes.plot([], [], "k:", label="bound")
axes.plot([], [], "ks", markerfacecolor="none", label="published")
axes.set(xlabel="neurons kept", ylabel=r"$\|V\|_F^2$", title="The residual of a fading hidden layer")
axes.legend(loc="lower left")
plt.show()

# %%
# The slopes are those of the bound, up to noise, or steeper. Near the end the curves fall faster: a sum of 100 terms
# ends, the integral does not. (The bound is that of the largest rows. i-SpaSP does not promise to take these; here
# it stays below.)
#
# Here every row is about as even as the other, and every column of W has the same norm. The row sum tells a
# neuron's size as well as anything. Trained networks are not like that.
#
# Digits
# ------
#
# Networks with 128 hidden neurons (ReLU) read 8 x 8 digits. Eight of them, from eight seeds. We keep 4 to 64
# neurons, and choose them in seven ways:
#
# - *random*;
# - *magnitude*: the norm of the weights that read a neuron, a column of W;
# - *i-SpaSP*, as published;
# - *absolute*: with ``importance="absolute"``, where samples of different sign cannot cancel;
# - *norms of H*: the norm of the row of H, in the place of its sum;
# - *rank norms*: i-SpaSP with ``rank="norms"``. That takes for a neuron's size the norm of what it gives to the next
#   layer, :math:`\|W_{:u} H_{u:}\|_F = \|W_{:u}\| \cdot \|H_{u:}\|`. The sum of these norms over the neurons that go is
#   a bound of :math:`\|V\|_F`;
# - *OBD*: that size without the search, the largest stay. Half its square, by sample, is what Optimal Brain Damage
#   (1990) says a column of W is worth, :math:`\frac12 G_{uu} \|W_{:u}\|^2` with :math:`G = H H^T / n`.
#
# Nothing is trained after pruning.

data = digits.load()
KEEP = (4, 8, 16, 32, 64)
SEEDS = range(8)


def trained(seed, activation="relu"):
    """(network, parameters) after 15 epochs."""
    network = rp.mlp([64, 128, 10], activation)
    start = network.init(np.random.default_rng(seed))
    schedule = {"epochs": 15, "schedule": lambda done: 1 - done, "progress": False}
    return network, rp.train(network, start, data.train_x, data.train_y, rng=seed, **schedule)


def hidden(network, params, x):
    """What the hidden neurons emit, (neurons, samples)."""
    first = {name: value for name, value in params.items() if name.startswith("0.")}
    return rp.Network(network.layers[:2]).forward(first, x).T


def accuracy(params, W, H):
    """Of outputs W H + b on the test digits."""
    return np.mean((W @ H + params["2.bias"][:, None]).argmax(axis=0) == data.test_y)


def largest(sizes, k):
    """True for the k largest."""
    return np.isin(np.arange(len(sizes)), np.argsort(sizes)[-k:])


CHOICES = {  # (H, W, k, rng) -> True for the neurons that stay, (128,)
    "random": lambda H, W, k, rng: largest(rng.random(128), k),
    "magnitude": lambda H, W, k, rng: largest(np.linalg.norm(W, axis=0), k),
    "i-SpaSP": lambda H, W, k, rng: rp.ispasp(H, W, k).mask[0],
    "absolute": lambda H, W, k, rng: rp.ispasp(H, W, k, importance="absolute").mask[0],
    "norms of H": lambda H, W, k, rng: largest(np.linalg.norm(H, axis=1), k),
    "rank norms": lambda H, W, k, rng: rp.ispasp(H, W, k, rank="norms").mask[0],
    "OBD": lambda H, W, k, rng: rp.obd(rp.LayerProblem.from_inputs(W, H.T), rp.Groups(keep=k, axis=1)).mask[
        0
    ],
}


def compare(networks):
    """Choice -> (accuracies, accuracies with a fit of the next layer, relative residuals), (networks, KEEP) each."""
    found = {name: np.zeros((3, len(networks), len(KEEP))) for name in CHOICES}
    for n, (network, params) in enumerate(networks):
        H, test = (hidden(network, params, x) for x in (data.train_x, data.test_x))
        W, rng = params["2.weight"], np.random.default_rng(n)
        layer = rp.LayerProblem.from_inputs(W, H.T)
        for name, choose in CHOICES.items():
            for i, k in enumerate(KEEP):
                draws = 10 if name == "random" else 1
                for _ in range(draws):
                    stay = choose(H, W, k, rng)
                    fit = rp.optimal_weights(layer, np.tile(stay, (10, 1)), damp=1e-6).weight
                    lost = np.linalg.norm((W * ~stay) @ H) / np.linalg.norm(W @ H)
                    values = accuracy(params, W * stay, test), accuracy(params, fit, test), lost
                    found[name][:, n, i] += np.array(values) / draws
    return found


networks = [trained(seed) for seed in SEEDS]
dense = [rp.accuracy(*network, data.test_x, data.test_y) for network in networks]
found = compare(networks)
print(f"not pruned: {np.mean(dense):.1%}\n\n{'kept of 128':>12}", *(f"{k:>12}" for k in KEEP))
for name, (plain, _, _) in found.items():
    print(f"{name:>12}", *(f"{m:6.1%} ±{s:4.0%}" for m, s in zip(plain.mean(axis=0), plain.std(axis=0))))

# %%
# The spread is the standard deviation over the eight networks. The published rule is behind magnitude; with 16
# neurons it is no better than chance. Absolute values help a little. The norms of H close half of the gap, the norms
# of what a neuron gives close most of it. They do so without the search, too: candidates by importance add nothing
# here, and with half of the neurons or more all are candidates anyway, so i-SpaSP by norms *is* OBD.

mean = {name: values[0].mean(axis=0) for name, values in found.items()}
at = {k: i for i, k in enumerate(KEEP)}
for k in (16, 32):
    gap = {name: mean["magnitude"][at[k]] - values[at[k]] for name, values in mean.items()}
    assert gap["i-SpaSP"] > 0.08
    assert gap["rank norms"] < gap["norms of H"] < gap["i-SpaSP"]
    assert gap["rank norms"] < gap["i-SpaSP"] / 2
    assert gap["OBD"] < gap["i-SpaSP"] / 2
assert mean["i-SpaSP"][at[16]] < mean["random"][at[16]] + 0.05
assert (found["OBD"][0][:, at[64]] == found["rank norms"][0][:, at[64]]).all()
assert min(dense) > 0.95

# %%
# Why? Look at one network, neuron by neuron. Across, the mean of what a neuron emits; upwards, the norm of what it
# gives. The lines are the bars for 32 of 128: to the right of the dashed one are the largest sums, above the dotted
# one the largest norms. (The search may still pass over a neuron that was never a candidate.)

H, W = hidden(*networks[0], data.train_x), networks[0][1]["2.weight"]
gives = np.linalg.norm(W, axis=0) * np.linalg.norm(H, axis=1)
by_sums = np.isin(np.arange(128), rp.ispasp(H, W, 32).trace[-1].kept)
by_norms = np.isin(np.arange(128), rp.ispasp(H, W, 32, rank="norms").trace[-1].kept)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
STYLES = {
    "random": ("#9aa5b1", "o"),
    "magnitude": ("#1f2933", "s"),
    "i-SpaSP": ("#d64545", "v"),
    "rank norms": ("#2680c2", "o"),
}
for name, (color, marker) in STYLES.items():
    m, s = found[name][0].mean(axis=0), found[name][0].std(axis=0)
    left.plot(KEEP, m, color=color, marker=marker, label=name)
    left.fill_between(KEEP, m - s, m + s, color=color, alpha=0.15, linewidth=0)
left.plot(KEEP, found["i-SpaSP"][1].mean(axis=0), color="#d64545", linestyle="--", label="i-SpaSP, refit")
left.set_xscale("log", base=2)
left.set_xticks(KEEP, KEEP)
left.set(xlabel="neurons kept of 128", ylabel="test accuracy", title="Eight networks, mean and spread")
left.legend(loc="lower right")
for chosen, color, label in (
    (~by_sums & ~by_norms, "#cbd2d9", "neither"),
    (by_sums & by_norms, "#1f2933", "both"),
    (by_sums & ~by_norms, "#d64545", "row sums only"),
    (by_norms & ~by_sums, "#2680c2", "norms only"),
):
    right.scatter(H.mean(axis=1)[chosen], gives[chosen], s=26, color=color, label=label)
right.axvline(np.sort(H.mean(axis=1))[-32], color="#d64545", linestyle="--", linewidth=1)
right.axhline(np.sort(gives)[-32], color="#2680c2", linestyle=":", linewidth=1)
right.set(xlabel="mean of what it emits", ylabel="norm of what it gives", title="Which 32 of 128 stay")
right.legend(loc="lower right")
plt.show()

# %%
# The neurons that only the row sums keep fire for most digits, whichever digit it is, and the next layer reads them
# with small weights. Those that only the norms keep are silent more often, vary more, and are read with large
# weights. A neuron that tells one digit from the others is of this kind.

groups = {"row sums only": by_sums & ~by_norms, "norms only": by_norms & ~by_sums}
for name, group in groups.items():
    fires, heard = (H[group] > 0).mean(), np.linalg.norm(W[:, group], axis=0).mean()
    print(
        f"{name:>14}: {group.sum()} neurons, fire for {fires:.0%} of the digits, norm of their weights {heard:.2f}"
    )
row, norm = groups.values()
assert (H[row] > 0).mean() > (H[norm] > 0).mean() + 0.1
assert np.linalg.norm(W[:, row], axis=0).mean() < np.linalg.norm(W[:, norm], axis=0).mean() - 0.2

# %%
# What the residual says, and what it does not
# --------------------------------------------
#
# i-SpaSP wants a small residual. Here is the residual, relative to U, and the accuracy after a least-squares fit of
# the next layer to the neurons that stay (``refit=True``): the step that CoSaMP has and i-SpaSP leaves out.

print(f"{'':>12}  relative residual{'':>17}  accuracy with a fit")
for name, (_, fit, lost) in found.items():
    print(
        f"{name:>12}",
        *(f"{v:6.2f}" for v in lost.mean(axis=0)),
        "  ",
        *(f"{v:6.1%}" for v in fit.mean(axis=0)),
    )

# %%
# The norms of what a neuron gives leave the smallest residuals. Magnitude, which never saw H, leaves hardly larger
# ones, and reads digits as well or better: a small residual is not the same thing as a right answer.
#
# And the fit is worth more than any choice. With 16 of 128 neurons, every rule that looks at the network reads more
# than nine of ten digits then.

for k in (16, 32):
    lost = {name: values[2].mean(axis=0)[at[k]] for name, values in found.items()}
    assert lost["rank norms"] < min(lost["magnitude"] + 0.01, lost["i-SpaSP"] - 0.03)
    fits = {name: values[1].mean(axis=0)[at[k]] for name, values in found.items() if name != "random"}
    assert min(fits.values()) > 0.9
    assert min(fits.values()) > max(mean[name][at[k]] for name in mean)

# %%
# Whole networks
# --------------
#
# `rp.ispasp_network` takes the layers one after the other, each behind what is pruned already, and `rp.shrink`
# takes the neurons out. What is left is a smaller network that does the same as the pruned one.

network = rp.mlp([64, 96, 64, 10])
start = network.init(np.random.default_rng(0))
params = rp.train(
    network, start, data.train_x, data.train_y, epochs=15, schedule=lambda t: 1 - t, progress=False
)
half = rp.ispasp_network(
    network, params, data.train_x, 0.5, data.train_y, rank="norms", refit=True, progress=False
)
small, values = rp.shrink(network, half.params, half.masks)
print(half.report)
print(
    f"test accuracy {rp.accuracy(network, params, data.test_x, data.test_y):.1%}, then "
    f"{rp.accuracy(small, values, data.test_x, data.test_y):.1%}"
)
assert small.layers[0] == rp.Dense(64, 48)
assert np.allclose(
    small.forward(values, data.test_x), network.forward(half.params, data.test_x), rtol=0, atol=1e-10
)
assert rp.accuracy(small, values, data.test_x, data.test_y) > 0.9

# %%
# Break it
# --------
#
# Row sums need neurons that emit nothing below 0. Leave out the ReLU. A tanh neuron emits -1 as loudly as 1, its sum
# may be 0, and its sign means nothing: turn it around, with the weights that make it and those that read it, and the
# network is the same.

tanh, own = trained(0, "tanh")
turned = dict(own)
sign = np.random.default_rng(1).choice([-1.0, 1.0], size=128)
turned["0.weight"], turned["0.bias"] = own["0.weight"] * sign[:, None], own["0.bias"] * sign
turned["2.weight"] = own["2.weight"] * sign
assert np.allclose(tanh.forward(turned, data.test_x), tanh.forward(own, data.test_x), rtol=0, atol=1e-12)

# %%
# Two names for one network. Do they lose the same neurons?


def choice(params, **options):
    """The 32 neurons that stay."""
    return set(
        rp.ispasp(hidden(tanh, params, data.train_x), params["2.weight"], 32, **options).trace[-1].kept
    )


for options in ({}, {"importance": "absolute"}, {"importance": "absolute", "rank": "norms"}):
    same = len(choice(own, **options) & choice(turned, **options))
    print(f"{same} of 32 neurons are the same", options)
assert len(choice(own) & choice(turned)) < 24
assert choice(own, importance="absolute", rank="norms") == choice(turned, importance="absolute", rank="norms")

# %%
# Only where neither the candidates nor the choice adds numbers of two signs it is one choice. The loss is real:

wrong = compare([trained(seed, "tanh") for seed in range(4)])
for name in ("random", "i-SpaSP", "rank norms", "magnitude"):
    print(f"{name:>12}", *(f"{v:6.1%}" for v in wrong[name][0].mean(axis=0)))
assert (wrong["i-SpaSP"][0].mean(axis=0) < wrong["random"][0].mean(axis=0))[1:4].all()  # worse than chance
assert (wrong["rank norms"][0].mean(axis=0) > wrong["i-SpaSP"][0].mean(axis=0) + 0.05)[1:4].all()

# %%
# What was not shown
# ------------------
#
# These are small networks, not trained again after pruning, and a test set of 500 digits. With more than half of the
# neurons all choices are good; with few, all are bad, and spread widely. The paper prunes large networks and trains
# them again. Filters, residual blocks, other rules for neurons, and Fashion-MNIST, where the row sums do better than
# here: :doc:`../structured`.
#
# Exercise
# --------
#
# To remove a neuron that does not vary costs nothing, if its constant goes into the next layer's bias. The row sums
# keep such neurons first and lose the others. Give each pruned network the bias :math:`b + W_{:P} \bar h_P`, P the
# pruned neurons and :math:`\bar h` the mean of H over samples. What becomes of the gap between row sums and norms?

gained = {}
for rank in ("sums", "norms"):
    before, after = [], []
    for network, params in networks:
        H, test = (hidden(network, params, x) for x in (data.train_x, data.test_x))
        mask = rp.ispasp(H, params["2.weight"], 16, rank=rank).mask
        constant = (params["2.weight"] * ~mask) @ H.mean(axis=1)
        before.append(accuracy(params, params["2.weight"] * mask, test))
        after.append(accuracy({"2.bias": params["2.bias"] + constant}, params["2.weight"] * mask, test))
    gained[rank] = np.mean(after) - np.mean(before)
assert gained["sums"] > gained["norms"] > 0

# %%
# References
# ----------
#
# - C. Wolfe, A. Kyrillidis (2021). *i-SpaSP: Structured Neural Pruning via Sparse Signal Recovery.*
# - D. Needell, J. Tropp (2009). *CoSaMP: Iterative signal recovery from incomplete and inaccurate samples.* Applied and
#   Computational Harmonic Analysis 26, 301-321.
# - Y. LeCun, J. Denker, S. Solla (1990). *Optimal Brain Damage.* Advances in Neural Information Processing Systems 2.
