"""What a run found: one record for each case and check, and the whole in words."""

import json
from dataclasses import asdict, dataclass

import numpy as np

from .beside import spoken
from .operators import Operator
from .verdict import worst

UNDECIDED_SHARE = 0.01


@dataclass(frozen=True)
class Record:
    """One check on one case of a run."""

    case: int
    flags: tuple
    check: str
    outcome: str
    measured: float | None = None
    bound: float | None = None
    explanation: str = ""


@dataclass(frozen=True)
class Report:
    """All that a run found.

    Attributes
    ----------
    contract, implementation : str
        What was judged by what.
    settings : dict
        Seed, examples, dtype, arrays, claims: the run can be repeated from them.
    records : list of Record
        One for each case and check.
    looks_like : list of str
        The known mistake that reproduces the failing answers, if exactly one does.
    smallest : dict or None
        The shrunk failing problem, ready for `testing.verify`.
    seconds : float
        Wall time.
    """

    contract: str
    implementation: str
    settings: dict
    records: list
    looks_like: list
    smallest: dict | None = None
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """``"fail"`` on any failure, ``"undecided"`` above 1 % undecided cases, else ``"pass"``."""
        if any(record.outcome == "fail" for record in self.records):
            return "fail"
        return "undecided" if self.share_undecided > UNDECIDED_SHARE else "pass"

    @property
    def cases(self) -> dict:
        """Outcome of every case that was run, by its number."""
        found = {}
        for record in self.records:
            found.setdefault(record.case, []).append(record.outcome)
        return {case: worst(outcomes) for case, outcomes in found.items() if set(outcomes) != {"not run"}}

    @property
    def share_undecided(self) -> float:
        """Undecided cases among those that were run."""
        outcomes = list(self.cases.values())
        return outcomes.count("undecided") / len(outcomes) if outcomes else 0.0

    @property
    def failures(self) -> list:
        """The records that failed."""
        return [record for record in self.records if record.outcome == "fail"]

    def summary(self) -> list:
        """(check, passed, failed, undecided, worst share of the bound or None) for each check."""
        rows = {}
        for record in self.records:
            row = rows.setdefault(record.check, {"pass": 0, "fail": 0, "undecided": 0, "share": None})
            if record.outcome in row:
                row[record.outcome] += 1
            if record.outcome == "pass" and record.measured is not None and record.bound:
                row["share"] = max(row["share"] or 0.0, record.measured / record.bound)
        return [(name, r["pass"], r["fail"], r["undecided"], r["share"]) for name, r in rows.items()]

    def smallest_text(self) -> str:
        """The smallest failing case as Python that can be pasted into a test; empty when there is none."""
        if self.smallest is None:
            return ""
        lines = ["problem = {"]
        lines += [f"    {name!r}: {_literal(value)}," for name, value in self.smallest.items()]
        lines.append("}")
        answer, arrays = "implementation(*problem.values())", self.settings["arrays"]
        if arrays != "numpy":
            lines.append("from refprune.testing.kinds import tree_to_kind")
            lines.append(f"given = tree_to_kind(list(problem.values()), {arrays!r})")
            answer = "implementation(*given)"
        lines.append(f"testing.assert_pruned({self.contract!r}, problem, {answer})")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Every record and setting as JSON text; `refprune check --replay` reads it."""
        return json.dumps(
            {
                "contract": self.contract,
                "implementation": self.implementation,
                "settings": self.settings,
                "outcome": self.outcome,
                "looks_like": self.looks_like,
                "seconds": round(self.seconds, 3),
                "smallest": {name: _plain(value) for name, value in (self.smallest or {}).items()} or None,
                "records": [{**asdict(record), **_numbers(record)} for record in self.records],
            },
            indent=1,
        )

    def __str__(self):
        cases = self.cases
        wrong = sum(outcome == "fail" for outcome in cases.values())
        share = f"{self.share_undecided:.1%} undecided"
        head = f"{self.contract}: {self.outcome} ({len(cases)} cases, {wrong} failed, {share})"
        lines = [
            head,
            f"  {'check':<12}{'passed':>8}{'failed':>8}{'undecided':>11}   worst share of its bound",
        ]
        for name, good, bad, open_, share in self.summary():
            lines.append(
                f"  {name:<12}{good:>8}{bad:>8}{open_:>11}   {'' if share is None else format(share, '.2g')}"
            )
        lines += [f"  {line}" for line in spoken(self.records)]
        for record in self.failures[:3]:
            flags = f" [{', '.join(record.flags)}]" if record.flags else ""
            lines.append(f"  case {record.case}{flags}, {record.check}: {record.explanation}")
        lines += [f"  looks like: {name}" for name in self.looks_like]
        if self.smallest is not None:
            lines += [
                "  smallest failing case:",
                *("    " + line for line in self.smallest_text().splitlines()),
            ]
        return "\n".join(lines)


def _literal(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(_literal(item) for item in value) + "," * (len(value) == 1) + ")"
    if isinstance(value, Operator):
        return f"testing.Operator({_literal(value.matrix)})"
    if isinstance(value, np.ndarray):
        numbers = np.array2string(
            value, separator=", ", threshold=10**6, max_line_width=10**6, floatmode="unique"
        ).replace("\n", "")
        numbers = " ".join(numbers.split()) if value.size else repr(value.tolist())
        shape = f".reshape({value.shape})" if value.size == 0 else ""
        for word in ("nan", "inf"):
            numbers = numbers.replace(word, f"np.{word}")
        text = f"np.array({numbers}, dtype={value.dtype.name!r}){shape}"
        if value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous:
            return f"np.asfortranarray({text})"
        return text
    return repr(value)


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Operator):
        return {"operator": _plain(value.matrix)}
    if isinstance(value, np.ndarray):
        data = [x if not isinstance(x, float) or np.isfinite(x) else str(x) for x in value.ravel().tolist()]
        return {"dtype": value.dtype.name, "shape": list(value.shape), "data": data}
    return value


def _numbers(record):
    """JSON has no NaN and no Infinity: they become texts."""
    pairs = {"measured": record.measured, "bound": record.bound}
    return {k: v if v is None or np.isfinite(v) else str(v) for k, v in pairs.items()}
