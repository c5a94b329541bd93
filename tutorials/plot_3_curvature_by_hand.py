r"""
Curvature by hand: a Hessian is two sums, and training shrinks one
==================================================================

Second-order pruning stands on the Hessian of the loss. For a network it is a sum of two parts. The first part looks
only at the *slopes* of the outputs: it is the Gauss-Newton matrix, and it never bends down. The second part holds
how the outputs themselves *bend*, times what is still wrong with them. As a network learns, the second part fades.

We work out two weights by hand, then one hidden layer in formulas and in code. Four other ways give the same matrix.
Then we look at it.
"""

# %%
# Two weights
# -----------
#
# One input, one hidden unit, one output: :math:`f = a \tanh(w x)`. The loss is :math:`\ell = \tfrac12 (f - y)^2`.
# Write :math:`r = f - y` for the residual. The chain rule, once and twice:
#
# .. math::
#
#    \frac{\partial \ell}{\partial p} = r \frac{\partial f}{\partial p}, \qquad
#    \frac{\partial^2 \ell}{\partial p\, \partial q}
#      = \underbrace{\frac{\partial f}{\partial p} \frac{\partial f}{\partial q}}_{\text{slopes}}
#      + \underbrace{r \frac{\partial^2 f}{\partial p\, \partial q}}_{\text{bends}} .
#
# Take :math:`x = 1`, :math:`a = 2` and :math:`w = \tfrac12 \log 3`, since there :math:`\tanh` is
# :math:`\tfrac12`, its slope :math:`1 - \tanh^2` is :math:`\tfrac34`, and its second derivative
# :math:`-2 \tanh\,(1 - \tanh^2)` is :math:`-\tfrac34`. So :math:`f = 1`. Let the target be :math:`y = 0`, then
# :math:`r = 1`. By hand, for the weights in the order :math:`(w, a)`:
#
# .. math::
#
#    \nabla f = \left( \tfrac32, \tfrac12 \right), \qquad
#    \nabla^2 f = \begin{pmatrix} -\tfrac32 & \tfrac34 \\ \tfrac34 & 0 \end{pmatrix}, \qquad
#    H = \begin{pmatrix} \tfrac94 & \tfrac34 \\ \tfrac34 & \tfrac14 \end{pmatrix}
#      + 1 \cdot \begin{pmatrix} -\tfrac32 & \tfrac34 \\ \tfrac34 & 0 \end{pmatrix}
#      = \begin{pmatrix} \tfrac34 & \tfrac32 \\ \tfrac32 & \tfrac14 \end{pmatrix} .

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import SymLogNorm

import refprune as rp
from refprune import definitions, testing
from refprune.demo import digits

weights = np.array([np.log(3) / 2, 2.0])
gradient = np.array([3 / 2, 1 / 2])  # r times the slopes, and r = 1
slopes = np.array([[9 / 4, 3 / 4], [3 / 4, 1 / 4]])
bends = np.array([[-3 / 2, 3 / 4], [3 / 4, 0.0]])
H = slopes + bends

two = rp.Network([rp.Dense(1, 1, bias=False), rp.Tanh(), rp.Dense(1, 1, bias=False)])
sample = np.array([[1.0]]), np.array([[0.0]])
print(two.hessian(two.unflatten(weights), *sample, "squared"))
assert np.allclose(two.hessian(two.unflatten(weights), *sample, "squared"), H, rtol=1e-14)
assert np.allclose(two.gauss_newton(two.unflatten(weights), *sample, "squared"), slopes, rtol=1e-14)

# %%
# The first part is a square: it has the eigenvalue 0 where nothing changes, and no negative one. But :math:`\det H =
# \tfrac{3}{16} - \tfrac94 < 0`, so the loss bends *down* in some direction. Walk along it: the Hessian follows the
# loss, Gauss-Newton says that it bends up.

values, vectors = np.linalg.eigh(H)
down = vectors[:, 0] * -np.sign(gradient @ vectors[:, 0])  # the sign that goes downhill
print("eigenvalues of H:", values, " of the slopes alone:", np.linalg.eigvalsh(slopes))
assert values[0] < -1
assert np.linalg.eigvalsh(slopes)[0] > -1e-15

figure, (plane, walk) = plt.subplots(1, 2, figsize=(9.5, 4.0), layout="constrained")
grid_w, grid_a = np.meshgrid(np.linspace(-1.0, 2.2, 200), np.linspace(-0.6, 4.0, 200))
surface = (grid_a * np.tanh(grid_w)) ** 2 / 2
plane.contour(
    grid_w, grid_a, surface, levels=[0.01, 0.05, 0.2, 0.5, 1, 2, 3, 4, 5], colors="#9aa5b1", linewidths=0.9
)
step = np.linspace(-1.2, 1.6, 100)
plane.plot(weights[0] + step * down[0], weights[1] + step * down[1], color="#d55e00", linewidth=1.5)
plane.plot(*weights, "o", color="black")
plane.annotate("(w, a)", weights, (8, 3), textcoords="offset points")
plane.set(xlabel="w", ylabel="a", title="The loss from above", xlim=(-1, 2.2), ylim=(-0.6, 4))
path = weights + step[:, None] * down
walk.plot(step, (path[:, 1] * np.tanh(path[:, 0])) ** 2 / 2, color="black", label="the loss")
for matrix, colour, name in ((H, "#0072b2", "with the Hessian"), (slopes, "#e69f00", "with Gauss-Newton")):
    model = 0.5 + step * (gradient @ down) + step**2 / 2 * (down @ matrix @ down)
    walk.plot(step, model, "--", color=colour, label=name)
walk.plot(0, 0.5, "o", color="black")
walk.set(xlabel="step along the line", ylabel="loss", title="Along the line", ylim=(-0.8, 2.2))
walk.legend()
plt.show()

# %%
# One hidden layer
# ----------------
#
# Now a layer with inputs :math:`x_i`, hidden units :math:`j` and outputs :math:`k`:
#
# .. math::
#
#    z_j = \sum_i W_{ji} x_i + b_j, \qquad h_j = \varphi(z_j), \qquad f_k = \sum_j A_{kj} h_j + c_k .
#
# A bias is the weight of one more input that is always 1, so :math:`W` and :math:`A` stand for all parameters. The
# output has few derivatives. First and second, and every one that is not here is 0:
#
# .. math::
#
#    \frac{\partial f_k}{\partial W_{ji}} = A_{kj}\, \varphi'(z_j)\, x_i, \qquad
#    \frac{\partial f_k}{\partial A_{kj}} = h_j, \qquad
#    \frac{\partial^2 f_k}{\partial W_{ji}\, \partial W_{jl}} = A_{kj}\, \varphi''(z_j)\, x_i x_l, \qquad
#    \frac{\partial^2 f_k}{\partial W_{ji}\, \partial A_{kj}} = \varphi'(z_j)\, x_i .
#
# The loss of a sample sees the parameters only through the outputs. Let :math:`r_k` be its slope in output :math:`k`,
# and :math:`S_{kl}` its second derivative in outputs :math:`k` and :math:`l`. The chain rule, as before:
#
# .. math::
#
#    H_{pq} = \sum_{kl} \frac{\partial f_k}{\partial p} S_{kl} \frac{\partial f_l}{\partial q}
#           + \sum_k r_k \frac{\partial^2 f_k}{\partial p\, \partial q}, \qquad
#    \begin{array}{lll}
#      \text{squared loss:} & r = f - y, & S = I, \\
#      \text{cross-entropy:} & r = \pi - e_y, & S = \mathrm{diag}(\pi) - \pi \pi^\top,
#    \end{array}
#
# with the softmax :math:`\pi` of the outputs and the label :math:`y`. The Hessian of the mean loss is the mean over
# the samples. Bishop (1992, *Exact calculation of the Hessian matrix for the multilayer perceptron*) has all of this
# for any number of layers. The first sum is the Gauss-Newton matrix in the general form of Schraudolph (2002, *Fast
# curvature matrix-vector products for second-order gradient descent*).
#
# In code
# -------
#
# With one output and the squared loss, :math:`A` is a vector :math:`a`, and :math:`S = 1`. The function :math:`\varphi`
# comes with its two derivatives.

tanh = (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2))


def derivatives(params, x, phi=tanh):
    """The output of every sample (s,), its slopes (s, d) and its second derivatives (s, d, d)."""
    W, b, a, c = params["0.weight"], params["0.bias"], params["2.weight"][0], params["2.bias"]
    (m, n), s = W.shape, len(x)
    # where the parameters stand in the flat vector: W row by row, b, a, c
    first = np.column_stack([np.arange(m * n).reshape(m, n), m * n + np.arange(m)])  # (m, n + 1)
    second = m * n + m + np.arange(m + 1)
    X = np.column_stack([x, np.ones(s)])
    z = x @ W.T + b
    h, d1, d2 = (function(z) for function in phi)  # (s, m) each
    J, D = np.zeros((s, second[-1] + 1)), np.zeros((s, second[-1] + 1, second[-1] + 1))
    J[:, second] = np.column_stack([h, np.ones(s)])
    for j in range(m):
        J[:, first[j]] = a[j] * d1[:, [j]] * X
        D[:, first[j][:, None], first[j]] = a[j] * d2[:, j, None, None] * X[:, :, None] * X[:, None, :]
        D[:, first[j], second[j]] = D[:, second[j], first[j]] = d1[:, [j]] * X
    return h @ a + c, J, D


def two_sums(params, x, y, phi=tanh):
    """The slopes' part and the bends' part of the Hessian, (d, d) each."""
    f, J, D = derivatives(params, x, phi)
    return J.T @ J / len(x), np.tensordot(f - y, D, axes=1) / len(x)


# %%
# Four ways to the same matrix
# ----------------------------
#
# Three inputs, four hidden units, one output: 21 parameters. The targets come from another network of the same form,
# so they can be learned. The same matrix comes from
#
# - the definition, `refprune.definitions.one_hidden_layer`: the formulas above with plain loops, for any loss,
# - the library, `network.hessian`: any number of layers, without second derivatives of the outputs (the next page,
#   :doc:`plot_4_products_without_matrices`, tells how),
# - the package autograd, which sees the forward pass only,
# - finite differences of the gradient, where no rule of calculus is used at all.

rng = np.random.default_rng(0)
network = rp.mlp([3, 4, 1], activation="tanh")
names = list(network.shapes)
x = rng.normal(size=(60, 3))
y = network.forward(network.unflatten(rng.normal(size=network.size)), x)  # (60, 1)
start = network.init(np.random.default_rng(1))
w = network.flatten(start)


def slope(vector):
    """The gradient as a function of the flat vector."""
    return network.flatten(network.gradient(network.unflatten(vector), x, y, "squared"))


slopes, bends = two_sums(start, x, y[:, 0])
H = slopes + bends
plain = [start[name] for name in names]
ways = {
    "definition": definitions.one_hidden_layer.hessian(plain, tanh, x, y, "squared"),
    "library": network.hessian(start, x, y, "squared"),
    "autograd": definitions.by_autograd.hessian(
        definitions.by_autograd.loss(network, start, x, y, "squared"), w
    ),
    "differences": definitions.finite_differences.hessian(slope, w),
}
for name, matrix in ways.items():
    error = np.abs(matrix - H).max() / np.abs(H).max()
    print(f"{name:>12}: differs by {error:.1e} of the largest entry")
    assert error < (1e-8 if name == "differences" else 1e-14)

# %%
# Differences cost digits: eps to the power 2/3 is 4e-11. The others agree to rounding. And the first sum alone is what
# the library calls the Gauss-Newton matrix.

assert np.allclose(network.gauss_newton(start, x, y, "squared"), slopes, rtol=0, atol=1e-14)

# %%
# Look at it
# ----------
#
# Red is positive, blue is negative, and the scale is logarithmic on both sides of a small middle. Thin lines part the
# layers. The slopes fill their matrix: every weight moves the one output. The bends are sparse, and the formulas say
# where: :math:`\varphi''` couples only weights *of the same hidden unit*, and :math:`\varphi'` couples each of them
# with that unit's outgoing weight. So :math:`W` has four 3 x 3 squares, and stripes run to :math:`b` and :math:`a`.


def show(axes, matrix, title, largest):
    """Draw a matrix with lines between the parameters."""
    norm = SymLogNorm(1e-3 * largest, vmin=-largest, vmax=largest)
    drawn = axes.imshow(matrix, cmap="RdBu_r", norm=norm)
    edges = np.cumsum([0, *(np.prod(network.shapes[name]) for name in names)])
    for edge in edges[1:-1]:
        axes.axhline(edge - 0.5, color="black", linewidth=0.6)
        axes.axvline(edge - 0.5, color="black", linewidth=0.6)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    axes.set_xticks(middles, "Wbac")
    axes.set_yticks(middles, "Wbac")
    axes.tick_params(length=0)
    axes.set_title(title)
    return drawn


figure, panels = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
largest = np.abs(H).max()
for axes, matrix, title in zip(panels, (slopes, bends, H), ("slopes", "bends", "their sum: the Hessian")):
    drawn = show(axes, matrix, title, largest)
figure.colorbar(drawn, ax=panels, shrink=0.85)
plt.show()

first = network.shapes["0.weight"]
same_unit = np.kron(np.eye(first[0]), np.ones((first[1], first[1])))
assert np.all(bends[:12, :12][same_unit == 0] == 0)
assert np.all(bends[:12, :12][same_unit == 1] != 0)
assert np.all(bends[16:, 16:] == 0)  # the outputs are linear in the last layer

# %%
# Training shrinks the bends
# --------------------------
#
# The second sum has a factor :math:`r` in every term. So by Cauchy and Schwarz
#
# .. math::
#
#    \Big\lVert \frac1n \sum_s r_s \nabla^2 f_s \Big\rVert
#    \le \sqrt{\tfrac1n \sum_s r_s^2}\ \sqrt{\tfrac1n \sum_s \lVert \nabla^2 f_s \rVert^2} .
#
# Train, and watch it go down with the residual. What remains is Gauss-Newton. This is why pruning methods dare to put
# Gauss-Newton or Fisher matrices in the place of the Hessian of a *trained* network.

params, history = start, []
for epochs in (0, 10, 20, 40, 80, 160, 320, 640, 1280, 2560):
    params = rp.train(
        network, params, x, y, epochs=epochs, batch_size=None, lr=0.1, loss="squared", progress=False
    )
    f, J, D = derivatives(params, x)
    residual = np.sqrt(np.mean((f - y[:, 0]) ** 2))
    slopes, bends = two_sums(params, x, y[:, 0])
    bound = residual * np.sqrt(np.mean(np.sum(D**2, axis=(1, 2))))
    history.append((epochs, residual, np.linalg.norm(bends), np.linalg.norm(slopes)))
    assert np.linalg.norm(bends) <= bound * (1 + 1e-12)
steps, residual, bent, sloped = np.array(history).T
trained = params
print("share of the bends: {:.0%} before, {:.2%} after".format(*(bent / sloped)[[0, -1]]))
assert bent[0] > 0.3 * sloped[0]
assert bent[-1] < 0.01 * sloped[-1]

figure, axes = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
done = np.cumsum(steps)
axes.loglog(done + 1, sloped, "s-", color="#e69f00", label="slopes (Gauss-Newton), norm")
axes.loglog(done + 1, bent, "^-", color="#0072b2", label="bends, norm")
axes.loglog(done + 1, residual, "o:", color="#7f7f7f", label="residual, root mean square")
axes.set(xlabel="steps of training + 1", title="The bends go down with the residual")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# The eigenvalues
# ---------------
#
# A network that reads digits, with 8 hidden units: 610 parameters and the cross-entropy. Here are all eigenvalues of
# its Hessian, before and after training.

data = digits.load()
reader = rp.mlp([64, 8, 10], activation="tanh")
before = reader.init(np.random.default_rng(0))
after = rp.train(reader, before, data.train_x, data.train_y, epochs=10, progress=False)
spectra = {
    name: np.linalg.eigvalsh(reader.hessian(params, data.train_x, data.train_y))[::-1]
    for name, params in (("before", before), ("after", after))
}
for name, values in spectra.items():
    zeros = np.abs(values) < 1e-14 * values[0]  # 45 times the rounding of float64
    print(
        f"{name:>6}: largest {values[0]:.2f}, lowest {values[-1]:.4f}, {np.sum(zeros)} zeros;",
        f"the 20 largest are {np.sum(values[:20] ** 2) / np.sum(values**2):.1%} of the sum of squares",
    )
    assert np.sum(zeros) == 3 * 8 + 8 + 1

figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for (name, values), colour in zip(spectra.items(), ("#7f7f7f", "#0072b2")):
    axes.plot(np.arange(1, 611), values, ".", color=colour, markersize=4, label=f"{name} training")
axes.set_yscale("symlog", linthresh=1e-4)
axes.axhline(0, color="black", linewidth=0.6)
axes.set(xlabel="rank", ylabel="eigenvalue", title="A few large ones, a flat bulk, negative ones")
axes.legend()
plt.show()

# %%
# A few eigenvalues are large. Most directions hardly matter: that is what pruning lives on. Sagun and others (2017,
# *Empirical analysis of the Hessian of over-parametrized neural networks*) saw the same bulk near zero, and a few far
# from it, on larger networks. Some are negative, also after training, but these have become small: none can be
# further below zero than the bends reach, since the slopes alone have no negative ones.
#
# 33 are zero, and not by chance. Three pixels are never inked, so their 3 x 8 weights do nothing. And the same number
# added to all ten outputs changes no softmax: that is one direction for each hidden unit, and one for the biases.

bends = reader.hessian(after, data.train_x, data.train_y) - reader.gauss_newton(
    after, data.train_x, data.train_y
)
assert 0 < -spectra["after"][-1] <= np.linalg.norm(bends, 2)
assert -spectra["after"][-1] < -spectra["before"][-1] / 10
assert np.sum(spectra["after"][:20] ** 2) > 0.95 * np.sum(spectra["after"] ** 2)

# %%
# Break it
# --------
#
# Forget :math:`\varphi''`. That is easily done: with ReLU it is zero, and nobody notices. Is the broken matrix still
# symmetric? Yes. Are the gradient and the slopes right? Yes. Differences of the gradient see it, and they say where: in
# the block of the first layer.

forgetful = (tanh[0], tanh[1], lambda z: 0 * z)
wrong = sum(two_sums(start, x, y[:, 0], forgetful))
differences = definitions.finite_differences.hessian(slope, w)
layers = {"layer 0": slice(0, 16), "layer 2": slice(16, 21)}
for row, rows in layers.items():
    for column, columns in layers.items():
        error = np.abs(wrong - differences)[rows, columns].max() / np.abs(H).max()
        print(f"{row} x {column}: off by {error:.1e} of the largest entry")
assert np.array_equal(wrong, wrong.T)
assert np.abs(wrong - differences)[:16, :16].max() > 0.1 * np.abs(H).max()
assert np.abs(wrong - differences)[:, 16:].max() < 1e-8 * np.abs(H).max()

# %%
# The oracle knows this fault by name. (It also tells when a kernel is right: see :doc:`plot_2_is_my_kernel_right`.)

call = {"layers": network.to_dicts(), "params": start, "x": x, "y": y, "loss": "squared"}
verdict = testing.verify("hessian", call, wrong)
print(verdict)
assert verdict.outcome == "fail"
assert list(verdict.looks_like) == ["activations-not-curved"]
assert testing.verify("hessian", call, H).outcome == "pass"

# %%
# And where do you test? At the start the fault is large. After training it hides behind the small residual, as every
# fault of the second sum does. Test derivatives at *random* weights, with a *smooth* activation, far from the answer.


def share_of_fault(params):
    """The size of what is missing, relative to the Hessian."""
    right, wrong = (sum(two_sums(params, x, y[:, 0], phi)) for phi in (tanh, forgetful))
    return np.linalg.norm(right - wrong) / np.linalg.norm(right)


print(f"fault at random weights: {share_of_fault(start):.1%}, after training: {share_of_fault(trained):.3%}")
assert share_of_fault(start) > 100 * share_of_fault(trained)

# %%
# What was not shown
# ------------------
#
# The targets could be learned perfectly. Real ones have noise: then the residual stays, and so does a part of the
# bends. The picture of the eigenvalues is that of one small network. A Hessian with 610 rows is easy to store; the
# next page does without.
#
# Exercise
# --------
#
# Back to the two weights. Let the target be 2, so that :math:`r = -1`. What is :math:`H` now? Does the loss still bend
# down anywhere? And which target makes :math:`H` equal to the slopes alone?

raised = two.hessian(two.unflatten(weights), sample[0], np.array([[2.0]]), "squared")
assert np.allclose(raised, [[15 / 4, 0], [0, 1 / 4]], rtol=1e-14, atol=1e-15)
