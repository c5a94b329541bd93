"""The contract's own mutation test: every known mistake against every check."""

import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .cases import generate
from .judge import find
from .running import judged, settings_of


@dataclass(frozen=True)
class KillMatrix:
    """Which check kills which mistake.

    Attributes
    ----------
    contract : str
    mistakes, checks : tuple of str
    counts : dict
        ``counts[mistake][check]``: the number of cases in which that check failed first.
    named : dict
        ``named[mistake]``: True when the diagnosis named it, and nothing else.
    misnamed : dict
        ``misnamed[mistake]``: wrong names that the diagnosis gave.
    """

    contract: str
    mistakes: tuple
    checks: tuple
    counts: dict
    named: dict
    misnamed: dict

    @property
    def survivors(self):
        """Mistakes that no check killed."""
        return [name for name in self.mistakes if not sum(self.counts[name].values())]

    def __str__(self):
        width = max(map(len, self.mistakes), default=7) + 2
        checks = [check for check in self.checks if any(self.counts[name][check] for name in self.mistakes)]
        lines = [f"{self.contract}: cases in which each check was the first to fail"]
        lines.append(" " * width + "".join(f"{check:>12}" for check in checks) + "   named")
        for name in self.mistakes:
            row = "".join(f"{self.counts[name][check] or '.':>12}" for check in checks)
            lines.append(f"{name:<{width}}{row}   {'yes' if self.named[name] else 'no'}")
        killed = len(self.mistakes) - len(self.survivors)
        named = sum(self.named.values())
        wrong = sum(map(bool, self.misnamed.values()))
        lines.append(f"{killed} of {len(self.mistakes)} killed, {named} named, {wrong} named wrongly")
        return "\n".join(lines)


def kill_matrix(contract: str, examples: int = 200, seed: int = 0, dtype: str = "float64") -> KillMatrix:
    """Run every known mistake of `contract` through the whole ladder.

    Examples
    --------
    >>> kill_matrix("topk-mask", examples=30).survivors
    []
    """
    contract = find(contract)
    settings, counts, named, misnamed = settings_of(examples, seed, dtype, "numpy", {}), {}, {}, {}
    cases = list(generate(contract, examples, seed, dtype, {}))
    for mistake in contract.mistakes:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mistake may divide by zero or average nothing
            report = judged(cases, mistake.fresh(), contract, settings, isolate=False, shrink=False)
        first = {}
        for record in report.failures:
            first.setdefault(record.case, record.check)
        counts[mistake.name] = Counter(first.values())
        named[mistake.name] = list(report.looks_like) == [mistake.name]
        misnamed[mistake.name] = [name for name in report.looks_like if name != mistake.name]
    names = tuple(mistake.name for mistake in contract.mistakes)
    return KillMatrix(
        contract.name, names, tuple(spec.name for spec in contract.checks), counts, named, misnamed
    )
