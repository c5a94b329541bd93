"""Wrong kernels that only rare cases of the step contracts tell from right ones: each is reached by the case named."""

import numpy as np
import pytest

from refprune import testing
from refprune.testing import reference
from refprune.testing.cases import make_case


def outcomes(name, flag, kernel, dtype="float64", seeds=30):
    """The outcomes of the answers of `kernel` to the cases of one flag that must be answered."""
    contract, found = testing.contracts[name], []
    number = next(n for n in range(99) if (*make_case(contract, n, 0, dtype, {}).flags, None)[0] == flag)
    for seed in range(seeds):
        problem = make_case(contract, number, seed, dtype, {}).problem
        if contract.view(problem, {}).expects == "answer":
            found.append(testing.verify(name, problem, kernel(**problem)).outcome)
    return found


def largest(values, count):
    """The indices of the `count` largest values."""
    return np.argsort(-values, kind="stable")[:count]


def cut(v, keep, scores=None):
    """`v` with its `keep` largest scores, else 0."""
    out = np.zeros_like(v)
    at = largest(abs(v) if scores is None else scores, keep)
    out[at] = v[at]
    return out


def iht(least=0.0, sizes=np.abs, or_one=False, old=0.0):
    """T_k(w - step g), with what goes wrong in others' hands."""

    def kernel(weight, gradient, step, keep):
        step = (step or 1.0) if or_one else step
        v = weight - step * gradient
        v = np.where(abs(v) > least * abs(v).max(initial=0.0), v, 0)
        return cut(v, keep, sizes(v) * np.where(weight != 0, 1 + old, 1))

    return kernel


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [
        ("ColumnScale", iht(least=1e-8)),
        ("ColumnScale", iht(sizes=lambda v: np.log(abs(v) + 1e-3))),
        ("NearTie", iht(old=1e-6)),
        ("K0", iht(or_one=True)),
        ("PlantedSupport", iht(or_one=True)),
    ],
)
def test_a_thresholding_step_that_is_wrong_for_few_inputs_fails(flag, wrong):
    assert "fail" in outcomes("iht-step", flag, wrong)
    assert set(outcomes("iht-step", flag, iht())) == {"pass"}


def newton(old=0.0, dead=-1.0, stops=False, project=True):
    """The step of I-OBS; new weights are held back by a share `old`, dead ones are ranked as `dead`."""

    def kernel(weight, gradient, hessian, keep):
        support = weight != 0
        if stops and support.sum() == keep and abs(gradient[support]).max(initial=0) < 1e-12:
            return weight.copy()
        at, v = np.flatnonzero(np.diagonal(hessian) > 0), weight.copy()
        v[at] -= np.linalg.solve(hessian[np.ix_(at, at)], gradient[at])
        scores = np.full(v.size, dead)
        scores[at] = abs(v[at]) * np.where(weight[at] != 0, 1 + old, 1)
        kept = np.isin(np.arange(v.size), largest(scores, keep))
        if not project:
            return np.where(kept, v, 0)
        out, at = np.where(kept, weight, 0), np.flatnonzero(kept & (np.diagonal(hessian) > 0))
        out[at] = np.linalg.solve(hessian[np.ix_(at, at)], hessian[at] @ weight - gradient[at])
        return out

    return kernel


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [("NearTie", newton(old=0.01)), ("DeadInput", newton(dead=0.0)), ("WrongStart", newton(stops=True))],
)
def test_a_newton_step_that_is_wrong_for_few_inputs_fails(flag, wrong):
    assert "fail" in outcomes("iobs-step", flag, wrong)
    assert set(outcomes("iobs-step", flag, newton())) == {"pass"}


def test_a_newton_point_that_is_cut_may_lose_dead_weights_and_keep_living_ones_that_are_zero():
    call = {
        "weight": np.array([5.0, 0.0, 2.0, 0.0]),
        "gradient": np.zeros(4),
        "hessian": np.diag([0.0, 1.0, 1.0, 1.0]),
        "keep": 3,
    }
    answer = newton(project=False)(**call)
    np.testing.assert_array_equal(answer, [0.0, 0.0, 2.0, 0.0])
    assert testing.verify("iobs-step", call, answer, claims={"project": "euclid"}).outcome == "pass"
    lost = testing.verify("iobs-step", call, np.zeros(4), claims={"project": "euclid"})
    assert lost.outcome == "fail"
    for keep, least in ((4, 2), (3, 1), (1, 1), (0, 0)):
        assert (
            testing.contracts["iobs-step"].view({**call, "keep": keep}, {"project": "euclid"}).least()
            == least
        )


def cosamp(at_least=False, least=0.0, most=1.0, rcond=None, multiple=1, near=0.0, small=0.0):
    """One iteration of CoSaMP, and what others make of it."""

    def kernel(design, target, keep, weight):
        residual = target - design @ weight
        if near and np.linalg.norm(residual) < near * np.linalg.norm(target):
            return weight.copy()
        size = abs(design.T @ residual)
        at = largest(size, 2 * keep)
        if at_least and at.size:
            at = np.flatnonzero(size >= size[at[-1]])
        at = np.union1d(at[size[at] >= least * size.max(initial=0.0)], np.flatnonzero(weight)).astype(int)
        at = at[: max(int(most * len(target)), 1)]
        rows = len(target) // multiple * multiple or len(target)
        b = np.zeros_like(weight)
        if at.size:
            b[at] = np.linalg.lstsq(design[:rows, at], target[:rows], rcond=rcond)[0]
        b[abs(b) < small * abs(b).max(initial=0.0)] = 0.0
        return cut(b, keep)

    return kernel


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [
        ("Tie", cosamp(at_least=True)),
        ("K0", cosamp(least=1e-8)),
        ("K0", cosamp(small=1e-5)),
        ("FewSamples", cosamp(most=0.5)),
        ("IllConditioned", cosamp(rcond=1e-2)),
        ("PlantedSupport", cosamp(near=1e-6)),
        ("Noise", cosamp(multiple=2)),
        ("Noise", cosamp(multiple=4)),
    ],
)
def test_an_iteration_of_cosamp_that_is_wrong_for_few_inputs_fails(flag, wrong):
    assert "fail" in outcomes("cosamp-step", flag, wrong)
    assert set(outcomes("cosamp-step", flag, cosamp())) == {"pass"}


@pytest.mark.parametrize("name", ["iht-step", "cosamp-step", "iobs-step"])
def test_an_answer_that_is_wrong_for_bad_input_alone_is_reported(name):
    """Its first argument is overwritten; bad inputs have no point that answers could be compared by."""
    contract = testing.contracts[name]

    def wrong(*call):
        first = call[0]
        if contract.view(dict(zip(contract.arguments, call, strict=True)), {}).expects != "error":
            return getattr(reference, name.replace("-", "_"))(*call)
        if first.flags.writeable:
            first[...] = 0
        return np.zeros(3)

    report = testing.run(wrong, name, examples=90, isolate=False, shrink=False)
    assert report.outcome == "fail"
    assert {record.check for record in report.failures} == {"unchanged"}
