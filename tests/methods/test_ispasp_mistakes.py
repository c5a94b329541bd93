"""Known mistakes in i-SpaSP, each killed by its certificate with its own message."""

import numpy as np
import pytest

import refprune as rp
from refprune.methods.unit_selection import Selection
from tests.methods.units import by_unit, certify, top

UNITS, KEEP = 16, 4
LABELS = np.arange(UNITS)


def problem(seed):
    """ReLU units of different size: 30 samples; the weight has both signs."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.uniform(-2, 2, size=(UNITS, 1))
    return np.maximum(rng.normal(size=(UNITS, 30)) + 0.25, 0) * scale, rng.normal(size=(5, UNITS))


def sizes(H, W, rank):
    """The sums of H, or the norms of what the units give, or something in their place."""
    loud, heard = np.linalg.norm(H, axis=1), np.linalg.norm(W, axis=0)
    return {
        "norms": loud * heard,
        "norms of H": loud,
        "norms of W": heard,
        "sums times norms of W": H.sum(axis=1) * heard,
        "norms of what changes": np.linalg.norm(H - H.mean(axis=1, keepdims=True), axis=1) * heard,
        "norms of the sums": abs(W * H.sum(axis=1)).sum(axis=0),
        "norms, one after the other": loud + heard,
    }.get(rank, H.sum(axis=1))


def search(wrong="", rank="sums", told=None):
    """The algorithm on V itself, with one step done otherwise; the trace tells the sizes of `told`, or of `rank`."""

    def run(H, W):
        U, sums, S, trace = W @ H, sizes(H, W, rank), [], []
        V = U
        for _ in range(20):
            D = W.T @ V
            y = {
                "absolute for signed": abs(D).sum(axis=1),
                "gradient by the weight": (V @ H.T * W).sum(axis=0),
                "importance by the norm": np.linalg.norm(D, axis=1),
            }.get(wrong, D.sum(axis=1))
            if wrong == "batch-mean importance":  # 24 samples and 6: means of both weigh alike
                y = D[:, :24].mean(axis=1) + D[:, 24:].mean(axis=1)
            omega = top(y, KEEP if wrong == "s candidates" else 2 * KEEP)
            merged = omega if wrong == "no union with S" else sorted({*omega, *S})
            size = {"sums of squares": (H**2).sum(axis=1), "chosen by importance": y}.get(wrong, sums)
            found = [merged[i] for i in top(size[merged], KEEP)]
            if wrong == "the smallest":
                found = [merged[i] for i in top(-size[merged], KEEP)]
            if wrong == "arrival order":
                found = sorted(found, key=lambda u: -sums[u])
            if wrong == "one unit short":
                found = found[1:]
            size = sizes(H, W, told or rank)
            trace.append(Selection(np.array(found), float(size[found].sum())))
            V = U - W[:, found] @ H[found]
            if wrong == "V stays":
                V = U
            if found == S:
                break
            S = found
        return trace

    return run


def judge(run, rank="sums"):
    for seed in range(20):
        H, W = problem(seed)
        trace = run(H, W)
        certify(lambda h, W=W: h @ W.T, H.T, LABELS, KEEP, trace, rank=rank)


CANDIDATE, LEFT = "keeps a unit that was no candidate", "leaves out a candidate that is larger"
MISTAKES = {
    "absolute for signed": CANDIDATE,
    "gradient by the weight": CANDIDATE,
    "importance by the norm": CANDIDATE,
    "batch-mean importance": CANDIDATE,
    "s candidates": LEFT,
    "sums of squares": LEFT,
    "chosen by importance": LEFT,
    "the smallest": LEFT,
    "V stays": LEFT,
    "no union with S": LEFT,
    "arrival order": "the units are not ascending",
    "one unit short": "keeps 3 units, not 4",
}


@pytest.mark.parametrize("wrong", MISTAKES)
def test_a_mistake_is_killed(wrong):
    with pytest.raises(AssertionError, match=rf"iteration \d+: {MISTAKES[wrong]}"):
        judge(search(wrong))


@pytest.mark.parametrize("wrong", [
    "norms of H", "norms of W", "sums times norms of W", "norms of what changes", "norms of the sums",
    "norms, one after the other", "sums",
])  # fmt: skip
def test_a_wrong_size_is_killed(wrong):
    with pytest.raises(AssertionError, match=rf"iteration \d+: {LEFT}"):
        judge(search(rank=wrong, told="norms"), "norms")


def test_a_wrong_sum_is_killed():
    with pytest.raises(AssertionError, match="iteration 0: another sum"):
        judge(search(rank="norms", told="sums"), "norms")


def test_the_right_ones_pass():
    judge(search())
    judge(search(rank="norms"), "norms")
    judge(lambda H, W: rp.ispasp(H, W, KEEP).trace)
    judge(lambda H, W: rp.ispasp(H, W, KEEP, rank="norms").trace, "norms")


def test_units_of_channels_are_summed_over_positions():
    """Summed over the batch alone, positions would be units of their own."""
    rng = np.random.default_rng(1)
    images, weight = np.maximum(rng.normal(size=(5, 6, 3, 3)), 0), rng.normal(size=(2, 6, 2, 2))
    sums = by_unit(images, np.arange(6))
    assert sums.shape == (6,)
    assert list(rp.ispasp(images, weight, 3).trace[-1].kept) == top(sums, 3)
