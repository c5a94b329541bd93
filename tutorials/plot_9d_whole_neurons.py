r"""
Whole neurons: at equal multiply-adds, mending beats choosing
=============================================================

Zeros in a matrix are multiplied like other numbers. A neuron or a filter that is gone is not multiplied at all. Several
methods of refprune choose whole units: SOSP-H by the loss, ProsPr by the loss after a few steps of training, i-SpaSP as
a sparse signal, OBD and OBS by what the next layer loses. Given the same number of multiply-adds, which of them leaves
the best network? To mend the next layer counts for more than to choose well.

We take one and two of three neurons by hand, then a good part of a convolutional network, and measure what it is worth
in time.
"""

# %%
# Units have company
# ------------------
#
# Three hidden neurons, A, B and C, two samples, and a network that makes no error:
#
# .. code-block:: text
#
#               A    B    C    output   target
#    (1, 0)     4   -4    0      0        0
#    (0, 1)     0    0    2      2        2
#
# These are the neurons' shares of the output. A and B cancel. The loss is the mean of half the squared errors. Without
# C it is 1, without A it is 4, without B the same. Without A *and* B it is 0.
#
# SOSP-H scores a unit by :math:`|\theta_s^T g| + \tfrac12 |\theta_s^T H \theta_{all}|`, with the gradient g and the
# Hessian H of the loss, the parameters :math:`\theta_s` of the unit with zeros elsewhere, and :math:`\theta_{all}`, the
# sum of these over all units. Here g is 0. The product with :math:`\theta_{all}` knows that A and B cancel.

import time
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import refprune as rp
from refprune.demo import digits

tiny = rp.Network([rp.Dense(2, 3, bias=False), rp.ReLU(), rp.Dense(3, 1, bias=False)])
weights = {"0.weight": np.array([[4.0, 0], [4, 0], [0, 2]]), "2.weight": np.array([[1.0, -1, 1]])}
samples, targets = np.eye(2), np.array([[0.0], [2.0]])


def loss(params):
    """The mean of half the squared errors."""
    return np.mean((tiny.forward(params, samples) - targets) ** 2) / 2


def kept(mask):
    """The letters of the neurons that the last layer still reads."""
    return "".join(letter for letter, stays in zip("ABC", mask["2.weight"][0]) if stays)


by_hand = {}
for count in (1, 2):
    sosp = rp.sosp(tiny, weights, samples, targets, rp.Groups(keep=count), loss="squared")
    obd = rp.prune(tiny, weights, samples, "obd", rp.Groups(keep=count, axis=1), progress=False)
    for name, values, mask in (("SOSP-H", sosp.weight, sosp.mask), ("OBD", obd.params, obd.masks)):
        by_hand[name, count] = loss(values)
        print(f"{count} stays, {name:>6}: {kept(mask):>2}, loss {loss(values)}")
print("scores of SOSP-H:", sosp.scores["0.weight"])
assert sosp.scores["0.weight"].tolist() == [0, 0, 1]
assert by_hand == {("SOSP-H", 1): 0, ("OBD", 1): 5, ("SOSP-H", 2): 4, ("OBD", 2): 1}

# %%
# Where two go, SOSP-H finds the pair that costs nothing. OBD, which looks at one unit at a time, keeps one of the pair.
# Where only one goes it is the other way round: SOSP-H takes A as though B went with it. All units stand for those that
# go, and that is right when most of them do.
#
# A network of filters and neurons
# --------------------------------
#
# Two convolutions, 12 and 24 filters, and 48 neurons, trained on digits, from three seeds. A weight of a convolution is
# multiplied once for each pixel, so filters and neurons have not the same price.

SEEDS, SHARE = range(3), 2 / 3
data = digits.load()
x, other = (part.astype("float32").reshape(-1, 1, 8, 8) for part in (data.train_x, data.test_x))
y, calibration = data.train_y, (x[:500], data.train_y[:500])
network = rp.Network(
    [
        rp.Conv2d(1, 12, 3, padding=1), rp.ReLU(), rp.MaxPool2d(2),
        rp.Conv2d(12, 24, 3, padding=1), rp.ReLU(), rp.MaxPool2d(2),
        rp.Flatten(), rp.Dense(96, 48), rp.ReLU(), rp.Dense(48, 10),
    ]
)  # fmt: skip
PIXELS = {0: 64, 3: 16, 7: 1, 9: 1}  # how often each weight of a layer is multiplied


def multiply_adds(given):
    """For one image."""
    return sum(times * int(np.prod(given.shapes[f"{layer}.weight"])) for layer, times in PIXELS.items())


def learned(given, params, epochs, seed, lr=0.1):
    """The parameters after some epochs, the steps growing shorter."""
    schedule = {"batch_size": 64, "schedule": lambda done: 1 - done, "progress": False}
    return rp.train(given, params, x, y, epochs=epochs, lr=lr, rng=seed, **schedule)


def accuracy(given, params):
    """On images that no training has seen."""
    return rp.accuracy(given, params, other, data.test_y)


starts = [network.init(np.random.default_rng(seed), dtype="float32") for seed in SEEDS]
trained = [learned(network, params, 7, seed) for seed, params in zip(SEEDS, starts)]
dense = [accuracy(network, params) for params in trained]
print(f"{multiply_adds(network)} multiply-adds, accuracy {np.mean(dense):.1%} +- {np.std(dense):.1%}")
assert min(dense) > 0.95

# %%
# Every layer loses two thirds of its units: 4 and 8 filters and 16 neurons are left, whoever chooses. So all the shrunk
# networks have the same number of multiply-adds, a seventh. The choices:
#
# - *random*, and *magnitude*, the sum of :math:`|w|` of what makes a unit;
# - *SOSP-H*;
# - *i-SpaSP* as published, and *refit*: by norms, with the next layer fitted to what is left
#   (:doc:`plot_8_neurons_as_a_sparse_signal`);
# - *OBD* and *OBS*, with the units as groups of columns of the next layer. OBS makes up for each unit that goes;
# - *SOSP-H, one count*: the units of all layers compete, and as many go as bring the network within the same number of
#   multiply-adds;
# - *random, early* and *ProsPr, early*: chosen before training, ProsPr by three steps of it.
#
# Those that prune a trained network are measured at once and after one more epoch. The early ones train as long in all.
# The table has the mean and the standard deviation over the three networks.


def batches(seed):
    """Four times 128 images."""
    rng = np.random.default_rng(seed)
    return [(x[own], y[own]) for own in (rng.choice(len(x), 128, replace=False) for _ in range(4))]


def layerwise(method, params):
    """The units as groups of columns."""
    pattern = rp.Groups(sparsity=SHARE, axis=1)
    return rp.prune(network, params, calibration[0], method, pattern, progress=False)


def signal(params, **options):
    """i-SpaSP."""
    return rp.ispasp_network(network, params, calibration[0], SHARE, progress=False, **options)


def by_loss(params, share, allocation):
    """SOSP-H."""
    return rp.sosp(network, params, *calibration, rp.Groups(share), allocation=allocation)


def within(params, budget):
    """SOSP-H with one count: the smallest share that keeps to the budget, to a part in 84 (the units)."""
    least, most = 0, 83  # at 83 one unit is left
    while most - least > 1:
        middle = (least + most) // 2
        answer = by_loss(params, middle / 84, "global")
        small, _ = rp.shrink(network, answer.weight, answer.mask)
        least, most = (least, middle) if multiply_adds(small) <= budget else (middle, most)
    return by_loss(params, most / 84, "global")


units, each = rp.Groups(SHARE), {"allocation": "layer"}
BUDGET = 64 * 4 * 9 + 16 * 8 * 4 * 9 + 16 * 32 + 10 * 16
LATE = {
    "random": lambda params, seed: rp.random_pruning(network, params, units, seed, **each),
    "magnitude": lambda params, seed: rp.iterative_magnitude(
        network, params, units, steps=1, progress=False, **each
    ),
    "SOSP-H": lambda params, seed: by_loss(params, SHARE, "layer"),
    "OBD": lambda params, seed: layerwise("obd", params),
    "i-SpaSP": lambda params, seed: signal(params),
    "i-SpaSP, refit": lambda params, seed: signal(params, rank="norms", refit=True, damp=1e-4),
    "OBS": lambda params, seed: layerwise(partial(rp.obs, damp=1e-3), params),
    "SOSP-H, one count": lambda params, seed: within(params, BUDGET),
}
EARLY = {
    "random, early": LATE["random"],
    "ProsPr, early": lambda params, seed: rp.prospr(network, params, batches(seed), units, 0.1, 0.9, **each),
}


def shrunk(answer):
    """(the small network, its parameters)."""
    values, masks = (
        (answer.weight, answer.mask) if isinstance(answer, rp.Pruned) else (answer.params, answer.masks)
    )
    return rp.shrink(network, values, masks)


found, sizes = {}, {}
for name, choose in (LATE | EARLY).items():
    for seed in SEEDS:
        small, values = shrunk(choose((starts if name in EARLY else trained)[seed], seed))
        epochs, lr = (8, 0.1) if name in EARLY else (1, 0.05)
        after = learned(small, values, epochs, seed, lr)
        found.setdefault(name, []).append((accuracy(small, values), accuracy(small, after)))
        widths = [small.shapes[f"{layer}.weight"][0] for layer in (0, 3, 7)]
        sizes.setdefault(name, []).append((multiply_adds(small), widths))

mean = {name: np.mean(values, axis=0) for name, values in found.items()}
spread = {name: np.std(values, axis=0) for name, values in found.items()}
print(f"{'':>18}  multiply-adds   at once             trained       units of the first network")
for name, (now, then) in mean.items():
    cells = f"{now:6.1%} +- {spread[name][0]:5.1%}   {then:6.1%} +- {spread[name][1]:5.1%}"
    print(f"{name:>18} {np.mean([own[0] for own in sizes[name]]):10.0f}    {cells}   {sizes[name][0][1]}")

# %%
# Mending wins. OBS, and i-SpaSP with a refit, give the next layer new weights and still read about nine of ten
# digits; all that only choose are far behind, and hard to tell from each other with three networks. One epoch of
# training closes most of the gap, and not all of it.

menders, choosers = ("OBS", "i-SpaSP, refit"), list(LATE)[1:5]  # from magnitude to i-SpaSP
assert all(own == (BUDGET, [4, 8, 16]) for name in sizes if "count" not in name for own in sizes[name])
for mender in menders:
    assert all(mean[mender][0] > mean[name][0] + 0.1 for name in choosers)
    assert all(mean[mender][1] > mean[name][1] for name in choosers)
for name in choosers:
    assert mean[name][1] > mean["random"][1] + 0.1
    assert mean[name][1] > mean[name][0] + 0.1

# %%
# Two things do not come out as one might hope.
#
# One count for all layers is no good for SOSP-H here, even when multiply-adds are what counts. It takes nearly all
# neurons, which cost little, and spares the first filters. In the third network the last neuron goes before the budget
# is met. Then nothing gets through, and `rp.shrink` leaves one unit in each layer (so the mean is below the budget).
#
# Before training, ProsPr chooses no better than chance: the difference is within the spread. Equal shares leave only
# the choice within a layer, and before training one random filter is about as good as another. But a small network
# that was trained from the start is about as good as a large one that was pruned with care. What pruning must beat, at
# equal multiply-adds, is that. The large one has its time behind it, though: to choose and mend took no training.

assert mean["SOSP-H, one count"][1] < mean["SOSP-H"][1] - 0.1
assert all(cost <= BUDGET for cost, _ in sizes["SOSP-H, one count"])
assert mean["ProsPr, early"][1] < mean["random, early"][1] + 0.03
assert mean["random, early"][1] > mean["OBS"][1] - 0.05

# %%
# Time
# ----
#
# The masked network and the shrunk one say the same. Only one of them is faster. The least of 40 passes each:

answer = LATE["OBS"](trained[0], 0)
small, values = rp.shrink(network, answer.params, answer.masks)
assert np.allclose(small.forward(values, other), network.forward(answer.params, other), rtol=0, atol=1e-3)

images = np.concatenate([other, other])[:512]
contest = {"whole": (network, trained[0]), "masked": (network, answer.params), "shrunk": (small, values)}
passes = {name: [] for name in contest}
for _ in range(40):  # in turns, and processor time, as other work on the machine comes and goes
    for name, (given, params) in contest.items():
        begin = time.process_time()
        given.forward(params, images)
        passes[name].append(time.process_time() - begin)
clock = {name: min(times) for name, times in passes.items()}
for name, passed in clock.items():
    print(f"{name:>7}: {1e3 * passed:6.2f} ms")
assert clock["shrunk"] < 0.8 * clock["masked"]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.6), layout="constrained", gridspec_kw={"width_ratios": [2.2, 1]}
)
order = sorted(mean, key=lambda name: mean[name][1])
for place, name in enumerate(order):
    (now, then), (low, high) = mean[name], spread[name]
    left.plot([now, then], [place, place], color="#cbd2d9", linewidth=2, zorder=1)
    left.errorbar(now, place, xerr=low, fmt="o", color="#e69f00", capsize=3)
    left.errorbar(then, place, xerr=high, fmt="s", color="#0072b2", capsize=3)
left.errorbar([], [], fmt="o", color="#e69f00", label="at once")
left.errorbar([], [], fmt="s", color="#0072b2", label="after training")
left.axvline(np.mean(dense), color="#1f2933", linestyle=":", label="nothing removed")
left.set_yticks(range(len(order)), order)
left.set(
    xlabel="accuracy on other images",
    xlim=(0, 1.02),
    ylim=(-1.4, 9.6),
    title="Two thirds of the units gone",
)
left.legend(loc="lower right")
right.bar(list(clock), [1e3 * passed for passed in clock.values()], color=["#9aa5b1", "#e69f00", "#0072b2"])
right.set(ylabel="ms of the processor for 512 images", title="A zero takes its time")
plt.show()

# %%
# A seventh of the multiply-adds takes more than a seventh of the time: ReLUs, pools and copies of the images become
# fewer only as the units do. The masked network gains nothing.
#
# Break it
# --------
#
# Taking units out by hand looks easy: set the rows to 0, then drop these rows, and the columns that read them. But a
# row of zeros is not silent. It still emits its bias, through the ReLU.

gone = np.arange(48) % 2 == 0
halved = trained[0] | {"7.weight": np.where(gone[:, None], 0, trained[0]["7.weight"])}
halved["7.bias"] = halved["7.bias"] + 1  # louder than usual, to be seen
masks = {"7.weight": np.repeat(~gone[:, None], 96, axis=1)}
right_net, right_values = rp.shrink(network, halved, masks)
by_hand = right_values | {"9.bias": halved["9.bias"]}  # what the constants add is forgotten
outputs = network.forward(halved, other)
for name, own in (("rp.shrink", right_values), ("by hand", by_hand)):
    print(f"{name:>9}: the outputs change by {abs(right_net.forward(own, other) - outputs).max():.0e}")
assert np.allclose(right_net.forward(right_values, other), outputs, rtol=0, atol=1e-3)
assert abs(right_net.forward(by_hand, other) - outputs).max() > 0.1

# %%
# `rp.shrink` puts the constants into the next bias. All the methods on this page set the bias to 0 with the row.
#
# What was not shown
# ------------------
#
# Three small networks and one share. OBS with one count, units inside residuals, SOSP-H with columns in the place of
# rows, more images: :doc:`../structured`.
#
# Exercise
# --------
#
# In the first network, let the last layer read B with :math:`-\tfrac12`, and let the target of the first sample be 2,
# so that it makes no error again. What are the scores of SOSP-H, and what does the loss become if one unit goes?

tamed = weights | {"2.weight": np.array([[1.0, -0.5, 1.0]])}
targets = np.array([[2.0], [2.0]])
sosp = rp.sosp(tiny, tamed, samples, targets, rp.Groups(keep=2), loss="squared")
assert sosp.scores["0.weight"].tolist() == [2, 1, 1]
assert loss(sosp.weight) == 1  # B, the first of the two that are worth 1

# %%
# References
# ----------
#
# - M. Nonnenmacher, T. Pfeil, I. Steinwart, D. Reeb, *SOSP: Efficiently capturing global correlations by second-order
#   structured pruning*, 2022.
# - M. Alizadeh et al., *Prospect pruning: Finding trainable weights at initialization using meta-gradients*, 2022.
# - C. Wolfe, A. Kyrillidis, *i-SpaSP: Structured neural pruning via sparse signal recovery*, 2021.
# - B. Hassibi, D. Stork, *Second order derivatives for network pruning: Optimal Brain Surgeon*, 1993.
