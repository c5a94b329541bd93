"""How long an iteration of IHT and a search by i-SpaSP take, beside the matrix products that they stand for.

`python -m tests.benchmarks.recovery`. Processor time, the least of some turns. Run with one BLAS thread
(OPENBLAS_NUM_THREADS=1).
"""

import numpy as np

import refprune as rp
from refprune.methods.lipschitz import lipschitz
from tests.benchmarks.networks import least

RULES = ("normalized", "1 / L")
ONCE = 4  # the iterations of a call that is taken off a longer one, with all that is done once


def planted(samples, columns, keep, dtype="float64"):
    """Least squares of a planted signal with noise."""
    rng = np.random.default_rng(0)
    A = (rng.normal(size=(samples, columns)) / samples**0.5).astype(dtype)
    signal = np.zeros(columns, dtype)
    signal[rng.choice(columns, keep, replace=False)] = rng.normal(size=keep)
    return rp.LeastSquares(A, A @ signal + (0.3 * rng.normal(size=samples) / samples**0.5).astype(dtype))


def iteration(rule, samples=2000, columns=4000, keep=100, dtype="float64", count=12, repeat=7):
    """(seconds of an iteration of rp.iht, of the products A w and A^T r), the mean of `count` iterations.

    The rule "1 / L" hands this step in as a number: L is found once, and takes longer than hundreds of iterations.
    """
    problem = planted(samples, columns, keep, dtype)
    A, r = problem.design, problem.target
    step = 1 / lipschitz(problem, r) if rule == "1 / L" else rule
    w = A.T @ r

    def run(iterations):
        return rp.iht(problem, keep, step=step, max_iter=iterations, tol=0)

    made = len(run(ONCE + count).trace) - len(run(ONCE).trace)
    assert made == count, f"it ended after {made} iterations"
    short, long, forth, back = least(
        lambda: run(ONCE), lambda: run(ONCE + count), lambda: A @ w, lambda: A.T @ r, repeat=repeat
    )
    return (long - short) / count, forth + back


def search(units=4096, samples=10_000, outputs=256, importance="signed", repeat=1):
    """(iterations, seconds of rp.ispasp with a quarter of the units, of the products of its algorithm).

    These are U = W H once, and in every iteration W_S H_S of the kept units S and W^T V, into arrays that are there.
    """
    rng = np.random.default_rng(0)
    hidden = np.maximum(rng.normal(size=(units, samples)), 0)
    weight, keep = rng.normal(size=(outputs, units)), units // 4
    iterations = len(rp.ispasp(hidden, weight, keep, importance).trace)
    few, some, V, back_to = weight[:, :keep].copy(), hidden[:keep], weight @ hidden, np.zeros_like(hidden)
    seconds, once, forth, back = least(
        lambda: rp.ispasp(hidden, weight, keep, importance),
        lambda: np.matmul(weight, hidden, out=V),
        lambda: np.matmul(few, some, out=V),
        lambda: np.matmul(weight.T, V, out=back_to),
        repeat=repeat,
    )
    return iterations, seconds, once + iterations * (forth + back)


def main():
    print("IHT, 2000 x 4000, 100 weights: an iteration and its two products")
    for rule in RULES:
        mine, products = iteration(rule)
        print(
            f"{rule:10s} {mine * 1e3:6.2f} ms {products * 1e3:6.2f} ms   ratio {mine / products:.2f}",
            flush=True,
        )
    print("i-SpaSP, 4096 units, 10,000 samples, 256 outputs: iterations, the search and its products")
    for importance in ("signed", "absolute"):
        count, mine, products = search(importance=importance)
        print(
            f"{importance:8s} {count:2d} {mine:6.2f} s {products:6.2f} s   ratio {mine / products:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
