"""How fast and how large ExactOBS is, measured: `python -m tests.benchmarks.exact_obs`.

The direct form holds a d x d inverse for every row and downdates all of them by rank one at every removal,
as published code does (in batches of 32 rows, as there).
Run with one BLAS thread (OPENBLAS_NUM_THREADS=1) to compare arithmetic with arithmetic.
"""

import argparse
import time
import tracemalloc

import numpy as np

import refprune as rp
from refprune.methods.removal import CACHE


def layer(rows, columns, seed=0):
    """A layer whose inputs are correlated, with twice as many samples as columns."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(columns) + rng.normal(size=(columns, columns)) / np.sqrt(columns)
    X = rng.normal(size=(2 * columns, columns)) @ mixing
    return rng.normal(size=(rows, columns)), X.T @ X / len(X)


def direct(W, H, depth, batch=32):
    """(order, losses), each (rows, depth), of the direct form: inverses (batch, d, d), rank-one downdates."""
    rows, columns = W.shape
    order, losses = np.empty((rows, depth), dtype=int), np.empty((rows, depth))
    inverse = np.linalg.inv(H)
    for start in range(0, rows, batch):
        w = W[start : start + batch].copy()
        G = np.broadcast_to(inverse, (len(w), columns, columns)).copy()
        alive, each = np.ones(w.shape, dtype=bool), np.arange(len(w))
        for step in range(depth):
            diagonal = np.where(alive, np.diagonal(G, axis1=1, axis2=2), 1)
            saliency = np.where(alive, w**2 / diagonal, np.inf)
            p = saliency.argmin(axis=1)
            row = G[each, p] / np.sqrt(diagonal[each, p])[:, None]
            order[start : start + batch, step] = p
            losses[start : start + batch, step] = saliency[each, p] / 2
            w -= row * (w[each, p] / np.sqrt(diagonal[each, p]))[:, None]
            G -= row[:, :, None] * row[:, None, :]
            alive[each, p] = False
            w[~alive] = 0
    return order, losses


def direct_answer(W, H, count):
    """(weight, mask) of ExactOBS with the heap by the direct form, refitted on each row's support."""
    rows, columns = W.shape
    order, losses = direct(W, H, columns)
    counts = np.zeros(rows, dtype=int)
    heads = losses[:, 0].copy()
    for _ in range(count):
        row = heads.argmin()
        counts[row] += 1
        heads[row] = losses[row, counts[row]] if counts[row] < columns else np.inf
    mask = np.ones(W.shape, dtype=bool)
    weight = np.zeros(W.shape)
    for row in range(rows):
        mask[row, order[row, : counts[row]]] = False
        K = np.flatnonzero(mask[row])
        weight[row, K] = np.linalg.solve(H[np.ix_(K, K)], H[K] @ W[row])
    return weight, mask


def timed(function, *arguments, repeat=1):
    """(answer, seconds on the clock, seconds of processor time), the least of `repeat` runs."""
    seconds = []
    for _ in range(repeat):
        clock, processor = time.perf_counter(), time.process_time()
        answer = function(*arguments)
        seconds.append((time.perf_counter() - clock, time.process_time() - processor))
    return answer, *map(min, zip(*seconds, strict=True))


def peak(function, *arguments):
    """The most bytes of arrays that were alive at once during the call."""
    tracemalloc.start()
    function(*arguments)
    bytes_ = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return bytes_


def memory_bound(rows, columns, itemsize=8):
    """The stated bound on `peak` of rp.obs: two caches of pivots, eight d x d matrices, 16 arrays like W."""
    return 2 * CACHE + itemsize * (8 * columns**2 + 16 * rows * columns)


def compare(rows, columns):
    """Both forms to 50 % in one run: (times direct, times of rp.obs, masks equal, weights' error).

    Times are (clock, processor). The short one is the least of three, the long one is taken as it comes.
    """
    W, H = layer(rows, columns)
    pattern, problem = rp.Unstructured(sparsity=0.5), rp.LayerProblem(W, H)
    answer, *fast = timed(rp.obs, problem, pattern, repeat=3)
    (weight, mask), *slow = timed(direct_answer, W, H, W.size // 2)
    return slow, fast, bool((mask == answer.mask).all()), np.abs(weight - answer.weight).max()


def scaling(widest=2048, rows=32):
    """Yield (columns, seconds by heap, by row, of 2:4, peak in MiB, its bound) for 128, 256, ... columns to 50 %."""
    width = 128
    while width <= widest:
        problem = rp.LayerProblem(*layer(rows, width))
        patterns = (rp.Unstructured(0.5), rp.Unstructured(0.5, scope="row"), rp.NM(2, 4))
        seconds = [timed(rp.obs, problem, pattern)[1] for pattern in patterns]
        yield width, *seconds, peak(rp.obs, problem, patterns[0]) / 2**20, memory_bound(rows, width) / 2**20
        width *= 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--widest", type=int, default=2048, help="the last line of the scaling table")
    options = parser.parse_args()
    rows, columns = options.rows, options.columns
    slow, fast, equal, error = compare(rows, columns)
    problem = rp.LayerProblem(*layer(rows, columns))
    used = peak(rp.obs, problem, rp.Unstructured(sparsity=0.5))
    print(f"ExactOBS, {rows} x {columns} to 50 %, allocation heap, float64")
    for name, a, b in zip(("clock", "processor"), slow, fast, strict=True):
        print(f"{name:10s} direct form {a:7.2f} s   rp.obs {b:6.2f} s   {a / b:.0f} times faster")
    print(f"masks equal: {equal}; weights differ by at most {error:.1e}")
    inverses = rows * columns**2 * 8 / 2**20
    print(f"memory: {used / 2**20:.0f} MiB, bound {memory_bound(rows, columns) / 2**20:.0f} MiB; ", end="")
    print(f"the inverses of all rows would take {inverses:.0f} MiB")
    print("\n32 rows to 50 %\ncolumns   heap (s)   scope row (s)   2:4 (s)   memory (MiB)   bound (MiB)")
    for width, heap, row, nm, used, bound in scaling(options.widest):
        print(f"{width:7d} {heap:10.2f} {row:15.2f} {nm:9.2f} {used:14.0f} {bound:13.0f}", flush=True)


if __name__ == "__main__":
    main()
