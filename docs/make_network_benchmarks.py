"""Writes `network_products.csv` and `network_hessians.csv` beside itself: how fast the derivatives of networks are.

Run it by hand when they change, on a machine with PyTorch that does nothing else:
`python docs/make_network_benchmarks.py`. It takes about three minutes. The figures are those of
`python -m tests.benchmarks.networks`.
"""

import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # arithmetic against arithmetic
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from csv_tables import store

from tests.benchmarks.networks import NETWORKS, explicit, image_hessian, products, resnet


def product_lines():
    """Gradient and Hessian-vector product of three networks in two precisions, beside PyTorch's."""
    yield (
        "network",
        "dtype",
        "gradient (ms)",
        "product (ms)",
        "product / gradient",
        "product / PyTorch's",
        "difference",
    )
    for name in NETWORKS:
        for dtype in ("float64", "float32"):
            gradient, hvp, _, double, error = products(name, dtype, repeat=25)
            ratios = f"{hvp / gradient:.2f}", f"{hvp / double:.2f}"
            yield name, dtype, f"{gradient * 1e3:.1f}", f"{hvp * 1e3:.1f}", *ratios, f"{error:.0e}"


def hessian_lines():
    """The explicit Hessian of 520 parameters by three packages."""
    yield "form", "time (ms)", "time, refprune = 1", "difference"
    seconds, errors = explicit(repeat=15)
    names = {
        "refprune": "``network.hessian``",
        "torch.func": "``torch.func.hessian``",
        "autograd": "``autograd.hessian``",
    }
    for name, taken in seconds.items():
        yield names[name], f"{taken * 1e3:.1f}", f"{taken / seconds['refprune']:.1f}", f"{errors[name]:.0e}"


def main() -> None:
    """Measure, print and store both tables; print what stands in the text of the page."""
    store("network_products.csv", product_lines())
    store("network_hessians.csv", hessian_lines())
    taken, used, bound = image_hessian()
    print(
        f"Hessian of 5,994 parameters, 256 images: {taken:.0f} s, {used / 2**20:.0f} of {bound / 2**20:.0f} MiB"
    )
    forward, gradient, hvp = resnet()
    print(f"ResNet20: 10,000 images forward {forward:.0f} s; 128 images: {gradient:.1f} and {hvp:.1f} s")


if __name__ == "__main__":
    main()
