"""One run's state: every case is called, judged, called again, transformed, recorded; failures are shrunk."""

from dataclasses import dataclass, field

import numpy as np

from .checks import ANSWERS, INVARIANT, REPEATABLE
from .isolation import Runner
from .judge import Refusal, judge
from .kinds import leaves
from .make import LAYOUTS
from .report import Record
from .shrink import shrink
from .verdict import Check, worst

TIMEOUTS, CRASHES = 3, 10  # after so many the rest of a contract is not run
SHRINKING = 30.0  # seconds
FIXED = (*LAYOUTS, "Subnormal", "BeyondArithmetic", "Kink")  # cases that are not transformed


@dataclass
class Session:
    """The state of one run."""

    contract: object
    runner: Runner
    claims: dict
    records: list = field(default_factory=list)
    failing: list = field(default_factory=list)  # (problem, view, answer) of answers that could be read
    passing: list = field(default_factory=list)
    broken: tuple | None = None  # the smallest failing case: problem, failing check, size, kind
    timeouts: int = 0
    crashes: int = 0

    def take(self, case):
        """Run one case and record its checks."""
        if self.timeouts >= TIMEOUTS or self.crashes >= CRASHES:
            self._record(
                case, [Check(ANSWERS.name, "not run", explanation="too many timeouts or crashes before")]
            )
            return
        calls = 1 if self.claims.get("inplace") else 2
        outcome = self.runner.call(case.problem, calls)
        checks, view, answer = self._judged(case.problem, outcome)
        if worst(check.outcome for check in checks) == "fail" and outcome.kind not in (
            "timeout",
            "crash",
            "flood",
        ):
            self._note(case.problem, view, answer, checks)
        if worst(check.outcome for check in checks) == "pass" and view.expects == "answer":
            self.passing.append((case.problem, view, answer))
            if calls == 2:
                checks.append(self._second(case.problem, outcome))
            moved = self._transformed(case)
            if moved is not None:
                checks.append(moved)
        self._record(case, checks)

    def _judged(self, problem, outcome):
        """(checks, view, answer) of the first call."""
        if outcome.kind == "timeout":
            self.timeouts += 1
        elif outcome.kind in ("crash", "flood"):
            self.crashes += 1
        raw = outcome.answers[0] if outcome.answers else Refusal(_said(outcome))
        checks, view, answer = judge(
            self.contract,
            problem,
            raw,
            self.claims,
            outcome.aliased,
            outcome.mutated,
            outcome.wrong_kind,
            outcome.products[0] if outcome.products else None,
        )
        if outcome.kind in ("timeout", "crash", "flood"):  # never the right answer, not even to bad input
            checks = [Check(ANSWERS.name, "fail", explanation=_said(outcome))]
            checks += [Check(spec.name, "not reached") for spec in self.contract.checks if spec.judge]
        return checks, view, answer

    def _second(self, problem, outcome):
        """The second call on the same buffers."""
        if len(outcome.answers) < 2:
            return Check(
                REPEATABLE.name, "fail", explanation=f"the second call on the same input: {_said(outcome)}"
            )
        first, second = outcome.answers
        if _equal_bits(first, second):
            return Check(REPEATABLE.name, "pass")
        if self.claims.get("deterministic"):
            return Check(
                REPEATABLE.name, "fail", explanation="deterministic is claimed; a second call gave other bits"
            )
        checks, _, _ = judge(self.contract, problem, second, self.claims, products=outcome.products[1])
        bad = [check for check in checks if check.outcome == "fail"]
        if bad:
            text = f"the second call on the same input breaks {bad[0].name}: {bad[0].explanation}"
            return Check(REPEATABLE.name, "fail", explanation=text)
        return Check(
            REPEATABLE.name,
            "pass",
            explanation="not deterministic: a second call gave other bits, and passes",
        )

    def _transformed(self, case):
        """One invariance, in rotation over the cases."""
        half = any(array.dtype == np.float16 for value in case.problem.values() for array in _arrays(value))
        if not self.contract.transforms or half or any(flag in FIXED for flag in case.flags):
            return None
        rng = np.random.default_rng(case.number)
        turn = case.number % len(self.contract.transforms)
        for transform in (*self.contract.transforms[turn:], *self.contract.transforms[:turn]):
            problem = transform(self.contract, case.problem, rng)
            if problem is not None:
                break
        else:
            return None
        outcome = self.runner.call(problem, 1)
        checks, view, answer = self._judged(problem, outcome)
        bad = [check for check in checks if check.outcome == "fail"]
        name = transform.__name__.replace("_", " ")
        if bad:
            self._note(problem, view, answer, checks)
            text = f"right before, wrong under '{name}': {bad[0].name}: {bad[0].explanation}"
            return Check(INVARIANT.name, "fail", bad[0].measured, bad[0].bound, text)
        return Check(INVARIANT.name, worst(check.outcome for check in checks), explanation=name)

    def _note(self, problem, view, answer, checks):
        if answer is not None:
            self.failing.append((problem, view, answer))
        name = next(check.name for check in checks if check.outcome == "fail")
        if self.broken is None or size(problem) < self.broken[2]:
            self.broken = (problem, name, size(problem), view.expects, view.reason)

    def _record(self, case, checks):
        for check in checks:
            self.records.append(
                Record(
                    case.number,
                    case.flags,
                    check.name,
                    check.outcome,
                    check.measured,
                    check.bound,
                    check.explanation,
                )
            )

    def shrunk(self):
        """The smallest problem that still breaks the same check."""
        if self.broken is None:
            return None
        problem, name, _, expects, reason = self.broken

        def fails(candidate):
            if not all(np.size(item) for value in candidate.values() for item in _arrays(value)):
                return False
            view = self.contract.view(candidate, self.claims)
            if view.expects != expects or _kind(view.reason) != _kind(reason):
                return False
            outcome = self.runner.call(candidate, 1)
            if outcome.kind in ("timeout", "crash", "flood"):
                return False
            checks, _, _ = self._judged(candidate, outcome)
            bad = [check.name for check in checks if check.outcome == "fail"]
            return bool(bad) and bad[0] == name

        if not fails(problem):  # it failed once and does not again, or only when transformed
            return problem
        return shrink(problem, self.contract.axes, fails, seconds=SHRINKING)


def _arrays(value):
    return [item for item in leaves(value) if isinstance(item, np.ndarray)]


def _kind(reason):
    """A reason without its numbers."""
    return "".join(letter for letter in reason if not letter.isdigit())[:40]


def size(problem):
    """How many numbers the arrays of a problem hold."""
    return sum(array.size for value in problem.values() for array in _arrays(value))


def _said(outcome):
    error = outcome.error
    if error is None:
        return outcome.kind
    return str(error) if outcome.kind == "error" else error.message


def _equal_bits(first, second):
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal_bits(first[key], second[key]) for key in first)
    if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        return len(first) == len(second) and all(map(_equal_bits, first, second))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    return first is second or bool(np.all(first == second))
