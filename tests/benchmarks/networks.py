"""How fast the derivatives of networks are, as ratios in one run: `python -m tests.benchmarks.networks`.

Two forms are timed in turns, and the least of each counts. Run with one BLAS thread (OPENBLAS_NUM_THREADS=1):
torch is then given one thread too. PyTorch and autograd are compared where they are installed.
"""

import argparse
import importlib.util
import time
import tracemalloc

import numpy as np

import refprune as rp
from refprune.network.matrices import MEMORY, PART

NETWORKS = {
    "MLP 784-300-100-10": (
        [rp.Dense(784, 300), rp.ReLU(), rp.Dense(300, 100), rp.ReLU(), rp.Dense(100, 10)],
        (512, 784),
    ),
    "CNN 1-8-16": (
        [rp.Conv2d(1, 8, 3), rp.ReLU(), rp.Conv2d(8, 16, 3), rp.ReLU(), rp.Flatten(), rp.Dense(9216, 10)],
        (64, 1, 28, 28),
    ),
    "CNN 1-8-16, pools": (
        [
            *(rp.Conv2d(1, 8, 3, padding=1), rp.ReLU(), rp.MaxPool2d(2)),
            *(rp.Conv2d(8, 16, 3, padding=1), rp.ReLU(), rp.MaxPool2d(2)),
            *(rp.Flatten(), rp.Dense(784, 10)),
        ],
        (64, 1, 28, 28),
    ),
}
SMALL = [rp.Dense(20, 18), rp.Tanh(), rp.Dense(18, 6), rp.Tanh(), rp.Dense(6, 4)]  # 520 parameters
IMAGES = [
    *(rp.Conv2d(1, 8, 5), rp.ReLU(), rp.MaxPool2d(2)),
    *(rp.Conv2d(8, 16, 5), rp.ReLU(), rp.MaxPool2d(2)),
    *(rp.Flatten(), rp.Dense(256, 10)),
]  # 5,994 parameters


def installed(package):
    """Whether `package` can be imported here."""
    return importlib.util.find_spec(package) is not None


def problem(layers, shape, dtype="float64", classes=10, seed=0):
    """(network, params, x, y, v): everything drawn, nothing trained."""
    rng = np.random.default_rng(seed)
    network = rp.Network(layers)
    x = rng.normal(size=shape).astype(dtype)
    v = rng.normal(size=network.size).astype(dtype)
    return network, network.init(rng, dtype), x, rng.integers(0, classes, shape[0]), v


def least(*functions, repeat=9):
    """The least processor time of each function, run in turns; the first turn does not count."""
    seconds = [[] for _ in functions]
    for turn in range(repeat + 1):
        for taken, function in zip(seconds, functions, strict=True):
            start = time.process_time()
            function()
            if turn:
                taken.append(time.process_time() - start)
    return [min(taken) for taken in seconds]


def torch_products(network, params, x, y, v):
    """Functions for the gradient and the Hessian-vector product (double backward) by PyTorch."""
    import torch

    torch.set_num_threads(1)
    module = rp.interop.torch_module(network, params)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    weights = list(module.parameters())
    directions = [torch.from_numpy(part) for part in network.unflatten(v).values()]

    def loss():
        return torch.nn.functional.cross_entropy(module(inputs), labels)

    def gradient():
        return torch.autograd.grad(loss(), weights)

    def hvp():
        gradients = torch.autograd.grad(loss(), weights, create_graph=True)
        products = torch.autograd.grad(gradients, weights, grad_outputs=directions)
        return np.concatenate([part.numpy().ravel() for part in products])

    return gradient, hvp


def products(name, dtype="float64", repeat=9):
    """Seconds of (gradient, hvp, torch's gradient, torch's hvp) and the relative difference of the hvps.

    Torch's are None where it is not installed.
    """
    network, params, x, y, v = problem(*NETWORKS[name], dtype)
    mine = lambda: network.gradient(params, x, y), lambda: network.hvp(params, x, y, v)
    if not installed("torch"):
        return *least(*mine, repeat=repeat), None, None, None
    theirs = torch_products(network, params, x, y, v)
    wanted = theirs[1]()
    error = np.abs(mine[1]() - wanted).max() / np.abs(wanted).max()
    return *least(*mine, *theirs, repeat=repeat), float(error)


def explicit(samples=64, repeat=5):
    """Seconds of the explicit Hessian of the small MLP by refprune, torch.func and autograd, and their errors."""
    network, params, x, y, _ = problem(SMALL, (samples, 20), classes=4)
    forms = {"refprune": lambda: network.hessian(params, x, y)}
    if installed("torch"):
        forms["torch.func"] = torch_hessian(network, params, x, y)
    if installed("autograd"):
        forms["autograd"] = autograd_hessian(network, params, x, y)
    right = forms["refprune"]()
    errors = {name: float(np.abs(form() - right).max() / np.abs(right).max()) for name, form in forms.items()}
    return dict(zip(forms, least(*forms.values(), repeat=repeat))), errors


def torch_hessian(network, params, x, y):
    """The Hessian by torch.func.hessian (forward over reverse) of a plain function of the flat vector."""
    import torch

    torch.set_num_threads(1)
    inputs, labels, start = (
        torch.from_numpy(x),
        torch.from_numpy(y),
        torch.from_numpy(network.flatten(params)),
    )

    def loss(w):
        return torch.nn.functional.cross_entropy(small(w, inputs, network, torch.tanh), labels)

    return lambda: torch.func.hessian(loss)(start).numpy()


def autograd_hessian(network, params, x, y):
    """The Hessian by autograd.hessian of a plain function of the flat vector."""
    import autograd
    import autograd.numpy as anp

    def loss(w):
        f = small(w, x, network, anp.tanh)
        f = f - anp.max(f, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(f), axis=1)) - f[np.arange(len(y)), y])

    return lambda: autograd.hessian(loss)(network.flatten(params))


def small(w, f, network, tanh):
    """The outputs of the small MLP with the flat parameters `w`."""
    start = 0
    for number, (outputs, inputs) in enumerate(s for s in network.shapes.values() if len(s) == 2):
        size = outputs * inputs
        f = f @ w[start : start + size].reshape(outputs, inputs).T + w[start + size : start + size + outputs]
        start += size + outputs
        f = tanh(f) if number < 2 else f
    return f


def image_hessian(samples=256, rows=None, memory=MEMORY):
    """(seconds on the clock, peak bytes, stated bound) of the Hessian of the CNN with 5,994 parameters."""
    network, params, x, y, _ = problem(IMAGES, (samples, 1, 28, 28))
    tracemalloc.start()
    start = time.perf_counter()
    found = network.hessian(params, x, y, rows=rows, memory=memory)
    seconds = time.perf_counter() - start
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, used, found.nbytes + memory_bound(memory)


def memory_bound(memory):
    """The stated bound on what `hessian` holds beside its result: its budget, and one part of the samples."""
    return memory + 4 * 8 * PART


def resnet(samples=10_000, batch=128):
    """Seconds on the clock of ResNet20 in float32: forward of `samples`, gradient and hvp of `batch` images."""
    network = rp.resnet20()
    network, params, x, y, v = problem(network.layers, (samples, 3, 32, 32), "float32")
    found = []
    for function in (
        lambda: network.forward(params, x),
        lambda: network.gradient(params, x[:batch], y[:batch]),
        lambda: network.hvp(params, x[:batch], y[:batch], v),
    ):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256, help="for the Hessian of the CNN")
    parser.add_argument("--forward", type=int, default=10_000, help="images for ResNet20")
    options = parser.parse_args()
    for name in NETWORKS:
        for dtype in ("float64", "float32"):
            mine, hvp, theirs, double, error = products(name, dtype)
            line = f"gradient {mine * 1e3:.1f} ms, hvp {hvp * 1e3:.1f} ms, {hvp / mine:.2f} gradients"
            print(f"{name}, {dtype}: {line}")
            if double:
                line = f"{theirs * 1e3:.1f} and {double * 1e3:.1f} ms, hvp / torch's {hvp / double:.2f}"
                print(f"  torch: {line}, difference {error:.0e}")
    seconds, errors = explicit()
    for name, taken in seconds.items():
        line = f"{taken * 1e3:.1f} ms, {taken / seconds['refprune']:.1f} times, difference {errors[name]:.0e}"
        print(f"Hessian of 520 parameters, {name}: {line}")
    taken, used, bound = image_hessian(options.images)
    line = f"{taken:.0f} s, peak {used / 2**20:.0f} MiB, bound {bound / 2**20:.0f} MiB"
    print(f"Hessian of 5,994 parameters, {options.images} images: {line}")
    taken = resnet(options.forward)
    print("ResNet20, float32: forward {:.1f} s, gradient {:.2f} s, hvp {:.2f} s".format(*taken))


if __name__ == "__main__":
    main()
