"""How fast and how large SparseGPT is, measured: `python -m tests.benchmarks.sparsegpt`.

The direct form is algorithm 1 of the paper, written down in PyTorch line by line: the factor by two Cholesky
factorisations and an inverse between them, a loop over the columns of a block that pushes every error to the
rest of the block, and one product that pushes the errors of the block to the columns behind it. It runs on the
CPU with one thread. Run with one BLAS thread (OPENBLAS_NUM_THREADS=1) to compare arithmetic with arithmetic.
"""

import argparse

import numpy as np

import refprune as rp
from tests.benchmarks.exact_obs import layer, peak, timed
from tests.benchmarks.networks import least

PATTERNS = {"50 %": rp.Unstructured(sparsity=0.5), "2:4": rp.NM(2, 4)}


def direct(W, G, pattern, block_size=128, damp=0.01):
    """(weight, mask) of the direct form on tensors; `W` stays as it is."""
    import torch

    W, columns = W.clone(), W.shape[1]
    H = G + damp * G.diagonal().mean() * torch.eye(columns, dtype=G.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    U = torch.linalg.cholesky(inverse, upper=True)
    mask = torch.ones_like(W, dtype=torch.bool)
    for first in range(0, columns, block_size):
        last = min(first + block_size, columns)
        w, kept, u = W[:, first:last], mask[:, first:last], U[first:last, first:last]
        errors = torch.zeros_like(w)
        if isinstance(pattern, rp.Unstructured):
            scores = w**2 / u.diagonal() ** 2
            count = pattern.removals(tuple(w.shape))
            threshold = torch.sort(scores.flatten())[0][count - 1]
            kept[:] = scores > threshold
        for j in range(last - first):
            if isinstance(pattern, rp.NM) and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                scores = w[:, group] ** 2 / u.diagonal()[group] ** 2
                zeros = torch.topk(scores, pattern.m - pattern.n, dim=1, largest=False)[1]
                kept.scatter_(1, j + zeros, False)
            pruned = torch.where(kept[:, j], w[:, j], 0)
            error = (w[:, j] - pruned) / u[j, j]
            w[:, j:] -= error[:, None] * u[j, j:]
            w[:, j] = pruned
            errors[:, j] = error
        W[:, last:] -= errors @ U[first:last, last:]
    return W, mask


def compare(pattern, rows=512, columns=512, dtype="float64", repeat=9):
    """Both forms in turns: (seconds of rp.sparsegpt, of the direct form, share of the mask that differs, error).

    Seconds are the least of processor time. The error is the largest one of a weight in the rows of equal masks.
    """
    import torch

    torch.set_num_threads(1)
    W, G = (array.astype(dtype) for array in layer(rows, columns))
    problem, tensors = rp.LayerProblem(W, G), (torch.from_numpy(W), torch.from_numpy(G))
    answer, (weight, mask) = rp.sparsegpt(problem, pattern), (x.numpy() for x in direct(*tensors, pattern))
    seconds = least(lambda: rp.sparsegpt(problem, pattern), lambda: direct(*tensors, pattern), repeat=repeat)
    same = (mask == answer.mask).all(axis=1)
    error = np.abs(weight - answer.weight)[same].max(initial=0) / np.abs(W).max()
    return *seconds, float(np.mean(mask != answer.mask)), float(error)


def memory_bound(rows, columns, itemsize=8):
    """The stated bound on `peak` of rp.sparsegpt: 1 MiB, eight arrays like G and fifteen like the weight."""
    return 2**20 + itemsize * (8 * columns**2 + 15 * rows * columns)


def scaling(widest=2048, rows=512):
    """Yield (columns, seconds to 50 %, seconds of 2:4, peak in MiB, its bound) for 256, 512, ... columns."""
    width = 256
    while width <= widest:
        problem = rp.LayerProblem(*layer(rows, width))
        seconds = [timed(rp.sparsegpt, problem, pattern, repeat=3)[1] for pattern in PATTERNS.values()]
        used = peak(rp.sparsegpt, problem, PATTERNS["50 %"])
        yield width, *seconds, used / 2**20, memory_bound(rows, width) / 2**20
        width *= 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--widest", type=int, default=2048, help="the last line of the scaling table")
    options = parser.parse_args()
    print(f"SparseGPT, {options.rows} x {options.columns}, blocks of 128")
    for name, pattern in PATTERNS.items():
        for dtype in ("float64", "float32"):
            fast, slow, others, error = compare(pattern, options.rows, options.columns, dtype)
            print(f"{name:5s} {dtype} rp.sparsegpt {fast:6.3f} s   direct form {slow:6.3f} s   ", end="")
            print(f"ratio {fast / slow:.2f}   masks differ in {others:.1e}, weights by {error:.0e}")
    print("\n512 rows\ncolumns   50 % (s)   2:4 (s)   memory (MiB)   bound (MiB)")
    for width, half, nm, used, bound in scaling(options.widest):
        print(f"{width:7d} {half:10.2f} {nm:9.2f} {used:14.0f} {bound:13.0f}", flush=True)


if __name__ == "__main__":
    main()
