"""One answer to one problem: `verify`, `assert_pruned`, and the ladder behind them."""

from collections.abc import Mapping

import numpy as np

from .answer import Unreadable, read
from .checks import ANSWERS, REFUSES, UNCHANGED
from .claims import check_claims
from .contracts import contracts
from .diagnosis import fitting, telling
from .kinds import leaves
from .verdict import Check, Verdict


def verify(
    contract: str, problem: Mapping, answer: object, dtype: str | None = None, claims: Mapping | None = None
) -> Verdict:
    """Judge one answer.

    Parameters
    ----------
    contract : str
        A name from ``testing.contracts``.
    problem : mapping
        The contract's call by the names of its arguments; arrays are NumPy arrays.
    answer : object
        What the implementation returned: an array, a tuple, a mapping or an ``rp.Pruned``; or the
        exception that it raised.
    dtype : str, optional
        Dtype in which the implementation works, when coarser than the problem's arrays.
    claims : mapping, optional
        Declared conventions, see ``refprune.testing.claims``.

    Returns
    -------
    Verdict
        Its ``looks_like`` names a known mistake only when exactly one fits.

    Raises
    ------
    ValueError
        For an unknown contract, claim or dtype, or a problem that lacks an argument.

    Examples
    --------
    >>> import numpy as np
    >>> problem = {"weight": np.array([[3.0, -1.0, 2.0, 0.5]]), "sparsity": 0.5}
    >>> print(verify("magnitude", problem, np.array([[3.0, -1.0, 0.0, 0.0]])))
    magnitude: fail
      pass       answers
      pass       form
      pass       finite
      pass       count
      pass       zeros
      pass       kept
      fail       ranked: in all: entry (0, 2) with score 2 is pruned, entry (0, 1) with score 1 is kept
    """
    contract = find(contract)
    claims = check_claims(claims)
    problem = named(contract, problem)
    if dtype is not None:
        claims["dtype"] = np.dtype(dtype)
    checks, view, read_answer = judge(contract, problem, answer, claims, aliased=_aliased(problem, answer))
    found = []
    if any(check.outcome == "fail" for check in checks) and read_answer is not None:
        found = fitting(contract, problem, view, read_answer) if telling(view, read_answer, checks) else []
    names = [mistake.name for mistake in found] if len(found) == 1 else []
    return Verdict(contract.name, checks, names, (view.expects,))


def assert_pruned(
    contract: str, problem: Mapping, answer: object, dtype: str | None = None, claims: Mapping | None = None
) -> Verdict:
    """`verify`, as an assertion: raises only when the outcome is ``"fail"``.

    Raises
    ------
    AssertionError
        Its message is the report of the verdict.

    Examples
    --------
    >>> import numpy as np
    >>> problem = {"scores": np.array([0.3, 0.1, 0.2]), "keep": 1}
    >>> assert_pruned("topk-mask", problem, np.array([True, False, False])).outcome
    'pass'
    """
    verdict = verify(contract, problem, answer, dtype, claims)
    if verdict.outcome == "fail":
        raise AssertionError(str(verdict))
    return verdict


def find(contract):
    """The contract of that name; one that is a `Contract` already is itself."""
    if not isinstance(contract, str):
        return contract
    if contract not in contracts:
        raise ValueError(f"need a contract ({', '.join(contracts)}); got {contract!r}")
    return contracts[contract]


def named(contract, problem) -> dict:
    """The call in positional order; a missing or an unknown argument is an error."""
    if set(problem) != set(contract.arguments):
        raise ValueError(
            f"need problem of {contract.name} to hold {', '.join(contract.arguments)}; "
            f"got {', '.join(map(str, problem))}"
        )
    return {name: problem[name] for name in contract.arguments}


def judge(contract, problem, raw, claims, aliased=(), mutated=(), wrong_kind=(), products=None):
    """(checks, view, the answer as read or None). `raw` may be an exception or a text that stands for one.

    `products` is how often the call asked the problem's operators for a product, where that was counted.
    """
    view = contract.view(problem, claims)
    if isinstance(raw, BaseException):
        checks = _refused(contract, view, raw)
        if mutated and not claims.get("inplace"):
            checks.append(_changed(mutated))
        return checks, view, None
    checks = [Check(ANSWERS.name, "pass")]
    inplace = claims.get("inplace", False)
    if mutated and not inplace:
        checks.append(_changed(mutated))
    if view.expects == "error":
        return [*checks, _answered_bad_input(view, raw, claims)], view, _readable(raw, contract)
    if view.expects in ("free", "beyond") and not claims.get("validates") and _has_nan(raw):
        return [*checks, Check(REFUSES.name, "pass", explanation=f"NaN where {view.reason}")], view, None
    try:
        answer = read(raw, contract.returns)
        answer.products = products
        if wrong_kind:
            raise Unreadable(f"{', '.join(map(str, wrong_kind))} is of another array kind than the inputs")
        if aliased and not inplace and np.asarray(problem[contract.arguments[0]], dtype=object).size:
            raise Unreadable(f"the answer shares memory with the input {', '.join(aliased)}")
    except Unreadable as error:
        checks.append(Check("form", "fail", explanation=str(error)))
        checks += [
            Check(spec.name, "not reached") for spec in contract.checks if spec.judge and spec.name != "form"
        ]
        return checks, view, None
    return [*checks, *contract.climb(view, answer)], view, answer


def _changed(mutated):
    return Check(UNCHANGED.name, "fail", explanation=f"{', '.join(mutated)} changed during the call")


def _readable(raw, contract):
    """What was answered to a bad input, for the diagnosis; None when it cannot be read."""
    try:
        return read(raw, contract.returns)
    except Unreadable:
        return None


def _refused(contract, view, error):
    said = f"{type(error).__name__}: {error}" if type(error) is not Refusal else str(error)
    if view.expects == "answer":
        reached = [Check(spec.name, "not reached") for spec in contract.checks if spec.judge]
        return [Check(ANSWERS.name, "fail", explanation=f"raised {said[:300]}"), *reached]
    return [Check(REFUSES.name, "pass", explanation=f"{view.reason}: raised {said[:300]}")]


def _answered_bad_input(view, raw, claims):
    text = f"{view.reason}; an error is expected and an answer came"
    if view.empty and isinstance(raw, np.ndarray | tuple | list | dict):
        return Check(REFUSES.name, "pass", explanation="nothing in, nothing out")
    judged = claims.get("validates") or (view.remainder and "multiple_of" not in claims.get("columns", {}))
    return Check(REFUSES.name, "fail" if judged else "not claimed", explanation=text)


def _has_nan(raw):
    """NaN or Inf is how a backend that cannot raise says that it failed."""
    parts = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, (tuple, list)) else [raw]
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            return not np.isfinite(part).all()
    return False


def _aliased(problem, answer):
    parts = (
        answer.values()
        if isinstance(answer, dict)
        else answer
        if isinstance(answer, (tuple, list))
        else [answer]
    )
    parts = [*parts, getattr(answer, "weight", None), getattr(answer, "mask", None)]
    outputs = [part for part in parts if isinstance(part, np.ndarray)]
    names = []
    for name, value in problem.items():
        inputs = [leaf for leaf in leaves(value) if isinstance(leaf, np.ndarray)]
        if any(np.shares_memory(i, o) for i in inputs for o in outputs):
            names.append(name)
    return tuple(names)


class Refusal(Exception):
    """Stands for an exception of the implementation that happened in another process; the text says all."""


__all__ = ["Refusal", "assert_pruned", "find", "judge", "named", "verify"]
