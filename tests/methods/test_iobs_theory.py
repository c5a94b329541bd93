"""I-OBS: the facts and bounds of its theory, its identities with OBS and the joint update, the published experiment."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import refprune as rp
import refprune.definitions as definitions
from tests.methods.convex import planted
from tests.methods.problems import condition, spd

SELECTIONS = ("topk", "saliency", "obs", "exact", "random")
EPS = 2.0**-52


def cut(v, keep):
    """T_k: the `keep` largest entries of `v`."""
    return np.where(definitions.topk_mask(abs(v), keep), v, 0)


@cache
def cases(d=None):
    """(objective, minimiser, k*, k, start, Newton point) of 300 problems, from near and far starts."""
    out = []
    for seed in range(300):
        f, best, few, rng = planted(seed, d)
        start = best + rng.normal(size=len(best)) * 10.0 ** rng.uniform(-3, 0.5)
        keep = int(rng.integers(few, len(best) + 1))
        newton = start - np.linalg.solve(f.hessian(start), f.gradient(start))
        out.append((f, best, few, keep, start, newton))
    return out


def ratio(best, few, keep):
    """(d - k) / (d - k*)."""
    return (len(best) - keep) / (len(best) - few)


def rounding(f, best, start):
    """What rounding may add to a distance from the minimiser."""
    return 1e3 * EPS * len(best) * f.L / f.mu * (np.linalg.norm(best) + np.linalg.norm(start))


def test_a_newton_step_squares_the_distance():
    """||theta+ - theta*|| <= M / (2 mu) ||theta_t - theta*||^2."""
    closest = 0.0
    for f, best, _, _, start, newton in cases():
        bound = f.M / (2 * f.mu) * np.linalg.norm(start - best) ** 2
        distance = np.linalg.norm(newton - best)
        assert distance <= bound + rounding(f, best, start)
        assert_allclose(rp.iobs(f, len(best), start).weight, newton, rtol=0, atol=rounding(f, best, start))
        closest = max(closest, distance / bound)
    assert closest > 0.01  # the bound is no empty word


def test_keeping_the_largest_takes_one_no_further_than_the_bound():
    """||T_k(v) - theta*|| <= (1 + sqrt((d - k) / (d - k*))) ||v - theta*||, for any v and any k*-sparse theta*."""
    closest = 0.0
    for seed in range(2000):
        rng = np.random.default_rng([21, seed])
        d = int(rng.integers(2, 9))
        few = int(rng.integers(1, d))
        keep = int(rng.integers(few, d + 1))
        best = cut(rng.normal(size=d), few)
        v = best + rng.normal(size=d) * 10.0 ** rng.uniform(-2, 1)
        factor = np.linalg.norm(cut(v, keep) - best) / np.linalg.norm(v - best)
        bound = 1 + ratio(best, few, keep) ** 0.5
        assert factor <= bound * (1 + 1e-14)
        closest = max(closest, factor / bound)
    assert closest > 0.6


@pytest.mark.parametrize(
    ("project", "selections", "power"), [("euclid", ["topk"], 0), ("H", ["topk"], 1)], ids=["euclid", "H"]
)
def test_steps_contract_quadratically(project, selections, power):
    """e' <= (1 + sqrt(r (L / mu)^power)) M / (2 mu) e^2."""
    for f, best, few, keep, start, _ in cases():
        factor = 1 + (ratio(best, few, keep) * (f.L / f.mu) ** power) ** 0.5
        bound = factor * f.M / (2 * f.mu) * np.linalg.norm(start - best) ** 2
        for selection in selections:
            weight = rp.iobs(f, keep, start, selection, project).weight
            assert np.linalg.norm(weight - best) <= bound + rounding(f, best, start)


def test_the_best_support_contracts_too():
    """As above with "exact"; few weights, since it tries all sets."""
    for f, best, few, keep, start, _ in cases(5):
        factor = 1 + (ratio(best, few, keep) * f.L / f.mu) ** 0.5
        bound = factor * f.M / (2 * f.mu) * np.linalg.norm(start - best) ** 2
        weight = rp.iobs(f, keep, start, "exact").weight
        assert np.linalg.norm(weight - best) <= bound + rounding(f, best, start)


def test_iterative_hard_thresholding_contracts_linearly():
    """k-IHT with step 1/L, written out: e' <= (1 + sqrt((d - k) / (d - k*))) (1 - mu / L) e."""
    for f, best, few, keep, start, _ in cases():
        after = cut(start - f.gradient(start) / f.L, keep)
        bound = (1 + ratio(best, few, keep) ** 0.5) * (1 - f.mu / f.L) * np.linalg.norm(start - best)
        assert np.linalg.norm(after - best) <= bound + rounding(f, best, start)


def test_steps_from_near_end_at_the_minimiser():
    """Where the bound is below the distance itself it holds at every step, and squares the distance to nothing."""
    followed = 0
    for f, best, few, keep, start, _ in cases():
        factor = (1 + ratio(best, few, keep) ** 0.5) * f.M / (2 * f.mu)
        if factor * np.linalg.norm(start - best) > 0.5:
            continue
        followed += 1
        answer = rp.iobs(f, keep, start, project="euclid", steps=8)  # 2^-(2^8) is below rounding
        assert np.linalg.norm(answer.weight - best) <= rounding(f, best, start)
    assert followed > 30


def test_a_quadratic_needs_one_step():
    for seed in range(40):
        rng = np.random.default_rng([22, seed])
        d = int(rng.integers(2, 12))
        H, few = spd(rng, d), int(rng.integers(1, d))
        best = cut(rng.normal(size=d), few)
        keep, start = int(rng.integers(few, d + 1)), rng.normal(size=d)
        for selection in ("topk", "saliency", "obs"):
            for project in ("H", "euclid"):
                answer = rp.iobs(rp.Quadratic(H, best), keep, start, selection, project)
                slack = 1e3 * EPS * np.linalg.cond(H) * (np.abs(best).max() + np.abs(start).max())
                assert_allclose(answer.weight, best, rtol=0, atol=slack)
                assert np.all(answer.mask[best != 0])


def model_value(H, theta, g, v):
    return g @ (v - theta) + (v - theta) @ H @ (v - theta) / 2


def steps_of_one(seed):
    """The model values of one step with every selection and projection, and the parts of the problem."""
    rng = np.random.default_rng([23, seed])
    d = int(rng.integers(2, 7))
    H, theta = spd(rng, d, rng.choice([3.0, 300.0])), rng.normal(size=d)
    g, keep = H @ rng.normal(size=d), int(rng.integers(0, d + 1))
    values, answers = {}, {}
    for selection in SELECTIONS:
        for project in ("H", "euclid"):
            rng = np.random.default_rng(seed)
            answer = rp.iobs(rp.Quadratic(H, theta, g), keep, None, selection, project, rng=rng)
            values[selection, project] = model_value(H, theta, g, answer.weight)
            answers[selection, project] = answer
    floor = model_value(H, theta, g, theta - np.linalg.solve(H, g))
    slack = 1e3 * EPS * condition(H) * (abs(floor) + max(map(abs, values.values())))
    return values, answers, floor, slack


def test_no_rule_ends_below_the_best_and_no_projection_below_the_one_in_h():
    for seed in range(60):
        values, answers, floor, slack = steps_of_one(seed)
        for selection in SELECTIONS:
            assert_array_equal(answers[selection, "H"].mask, answers[selection, "euclid"].mask)
            assert values["exact", "H"] <= values[selection, "H"] + slack
            assert values[selection, "H"] <= values[selection, "euclid"] + slack
        for key, answer in answers.items():
            assert floor + answer.trace[0].loss == pytest.approx(values[key], abs=slack)


def test_greedy_is_usually_below_the_largest_but_not_always():
    above, below = [], 0
    for seed in range(100):
        rng = np.random.default_rng([28, seed])
        A, w = rng.normal(size=(10, 8)), rng.normal(size=8)
        problem = rp.Quadratic(A.T @ A / 10, w)
        greedy, top = (rp.iobs(problem, 4, selection=selection).objective for selection in ("obs", "topk"))
        above += [seed] if greedy > top * (1 + 1e-9) else []
        below += greedy < top * (1 - 1e-9)
    assert above == [8, 80]  # one is enough: nothing orders the two
    assert below > 40


def test_obs_is_one_step_without_a_gradient():
    """OBC = one I-OBS step with zero gradient and selection="obs"."""
    for seed in range(50):
        rng = np.random.default_rng([24, seed])
        d = int(rng.integers(1, 10))
        H, w, keep = spd(rng, d), rng.normal(size=d), int(rng.integers(0, d + 1))
        answer = rp.iobs(rp.Quadratic(H, w), keep, selection="obs")
        weight, order = definitions.obs(w, H, d - keep)
        assert answer.order.tolist() == order
        assert_allclose(
            answer.weight, weight, rtol=0, atol=1e3 * EPS * np.linalg.cond(H) * np.abs(weight).max(initial=1)
        )


def test_the_joint_update_is_one_step_by_saliency():
    """All at once: scores w^2 / [H^-1]_pp, then w - H^-1_:S (H^-1_SS)^-1 w_S, with H a damped Fisher matrix."""
    for seed in range(50):
        rng = np.random.default_rng([25, seed])
        G, w, keep = rng.normal(size=(20, 8)) + 0.25, rng.normal(size=8), int(rng.integers(0, 8))
        C = rp.fisher_inverse(G, damp=0.01)
        S = np.argsort(w**2 / np.diag(C))[: 8 - keep]
        joint = w - C[:, S] @ np.linalg.solve(C[np.ix_(S, S)], w[S])
        F = rp.empirical_fisher(G) + 0.01 * np.eye(8)
        answer = rp.iobs(rp.Quadratic(F, w), keep, selection="saliency")
        assert_array_equal(np.flatnonzero(~answer.mask), np.sort(S))
        assert_allclose(
            answer.weight, joint, rtol=0, atol=1e3 * EPS * np.linalg.cond(F) * np.abs(joint).max(initial=1)
        )


def curves(seed, scale, steps):
    """Distances of topk-I-OBS and k-IHT from the planted signal, in the published experiment."""
    rng = np.random.default_rng([27, seed])
    n, d, few, keep = 256, 128, 16, 64
    A = rng.normal(size=(n, d)) / n**0.5
    best = np.zeros(d)
    best[rng.permutation(d)[:few]] = rng.normal(size=few)
    start = rng.uniform(-1, 1, size=d) / d**0.5
    problem = rp.LeastSquares(A, A @ best)
    answer = rp.iobs(problem, keep, start, project="euclid", steps=steps, loss_scale=scale)
    factor, w = 1.0 if scale is None else 2 / n, start
    step = factor / np.linalg.eigvalsh(A.T @ A)[-1]
    for _ in range(steps):
        w = cut(w - step * (A.T @ (A @ w - A @ best)), keep)
    return np.linalg.norm(answer.weight - best), np.linalg.norm(w - best)


def test_the_published_experiment_and_what_the_right_scale_does():
    """749 steps of 2/n of Newton's length: 0.0502 +- 0.02 and 1.14 +- 0.5; with the right scale one step is enough.

    Of 20 seeds: 0.0486 (standard deviation 0.0060) and 1.19 (0.27). Three are taken here.
    """
    far, slow = np.mean([curves(seed, "mse-mean", 749) for seed in range(3)], axis=0)
    assert abs(far - 0.0502) <= 0.02
    assert abs(slow - 1.14) <= 0.5
    one, _ = curves(0, None, 1)
    assert one < 1e-13
    many, steady = curves(0, None, 600)
    assert many < 1e-13
    assert steady < 1e-6  # IHT recovers too, in hundreds of steps
