"""Generated calls of contracts on networks: bad ones expect an error, all others an answer, and every flag is there."""

from refprune.testing.cases import generate

BAD = {"NaN", "Inf", "Empty", "WrongShape", "BadLabel", "UnknownLayer", "BadStep"}


def answered(contract, count, dtype):
    """The (case, view) of the calls that have an answer."""
    cases = [(case, contract.view(case.problem, {})) for case in generate(contract, count, 2, dtype, {})]
    for case, view in cases:
        expected = "error" if set(case.flags) & BAD else "answer"
        assert view.expects == expected, (case.flags, view.reason)
    assert {flag for case, _ in cases for flag in case.flags} == set(contract.flags)
    return [(case, view) for case, view in cases if view.expects == "answer"]
