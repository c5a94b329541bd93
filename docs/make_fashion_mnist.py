"""Writes `fashion_mnist.csv` and `fashion_mnist_memory.csv` beside itself: a network for real images, pruned.

Run it by hand when `rp.prune` or a layer-wise method changes: `python docs/make_fashion_mnist.py`. It needs the
files of Fashion-MNIST (see `tutorials/fashion_mnist.py`, which makes the first table) and takes a few minutes.
"""

import os
import sys
import tracemalloc
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # seconds of one core
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tutorials")]

import fashion_mnist  # noqa: E402
import numpy as np  # noqa: E402
from csv_tables import store  # noqa: E402

import refprune as rp  # noqa: E402

PATTERN, METHOD = "50 %", "ExactOBS"


def peak(work) -> tuple[object, float]:
    """Return what `work()` gives and the most that it held at a time, in MiB."""
    tracemalloc.start()
    answer = work()
    held = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return answer, held


def mebibytes(arrays) -> list[float]:
    """The sizes of arrays."""
    return [array.nbytes / 2**20 for array in arrays]


def memory_lines(network: rp.Network, params: dict, x: np.ndarray):
    """Yield how much memory `rp.prune` holds, beside what there is to hold, for more and more images."""
    yield (
        "images",
        "peak of `rp.prune` (MiB)",
        "inputs of the largest layer (MiB)",
        "largest Gram (MiB)",
        "activations of all layers (MiB)",
        "columns of all layers (MiB)",
    )
    for images in (1250, 2500, 5000):
        inputs = x[:images]
        _, held = peak(lambda inputs=inputs: fashion_mnist.prune(network, params, inputs, PATTERN, METHOD))
        activations = [inputs, *network.activations(params, inputs).values()]  # the k-th layer reads the k-th
        read = [activations[int(name.removesuffix(".weight"))] for name in network.prunable]
        columns = network.layer_inputs(params, inputs).values()
        grams = [matrix.shape[-1] ** 2 * 8 / 2**20 for matrix in columns]
        sizes = held, max(mebibytes(read)), max(grams), sum(mebibytes(activations)), sum(mebibytes(columns))
        yield images, *(f"{size:.1f}" for size in sizes)


def main() -> None:
    """Run the tutorial, which stores its table; then measure memory, and store that."""
    network = HERE.parent / fashion_mnist.NETWORK
    fashion_mnist.main(["--network", str(network), "--csv", str(HERE / "fashion_mnist.csv")])
    data = rp.datasets.fashion_mnist()
    store("fashion_mnist_memory.csv", memory_lines(*fashion_mnist.trained(data, network), data.train_x))


if __name__ == "__main__":
    main()
