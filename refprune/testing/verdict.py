"""What the oracle says: one `Check` per rung of the ladder that was tried, one `Verdict` per answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The result of one check on one answer.

    Attributes
    ----------
    name : str
        The check, as listed by ``testing.contracts[name].checks``.
    outcome : str
        ``"pass"``, ``"fail"``, ``"undecided"``, ``"not reached"``, ``"not run"`` or ``"not claimed"``.
    measured, bound : float or None
        The error that was found and the largest that rounding explains, in the same unit; None where
        the check is a yes or no.
    explanation : str
        One sentence for a person: where, by how much, and what was expected.

    Examples
    --------
    >>> print(Check("count", "fail", 5, 4, "5 weights are pruned; sparsity 0.5 of 8 asks for 4"))
    fail       count: 5 weights are pruned; sparsity 0.5 of 8 asks for 4
    """

    name: str
    outcome: str
    measured: float | None = None
    bound: float | None = None
    explanation: str = ""

    def __str__(self):
        text = f"{self.outcome:<10} {self.name}"
        if self.explanation:
            return f"{text}: {self.explanation}"
        if self.measured is not None and self.bound:
            return f"{text}: {self.measured:.2g} of {self.bound:.2g} allowed"
        return text


@dataclass(frozen=True)
class Verdict:
    """The judgement of one answer to one problem.

    Attributes
    ----------
    contract : str
        Name of the contract.
    checks : list of Check
        In the order of the ladder.
    looks_like : list of str
        Names of the known mistakes whose answer equals this one; empty unless the match is certain.
    flags : tuple of str
        What kind of problem it was (``"answer"`` is the ordinary one).

    Examples
    --------
    >>> Verdict("magnitude", [Check("form", "pass"), Check("count", "fail")]).outcome
    'fail'
    """

    contract: str
    checks: list
    looks_like: tuple = ()
    flags: tuple = ()

    @property
    def outcome(self):
        """``"fail"`` when a check failed, else ``"undecided"`` when one could not decide, else ``"pass"``."""
        return worst(check.outcome for check in self.checks)

    def __str__(self):
        lines = [f"{self.contract}: {self.outcome}"]
        lines += [f"  {check}" for check in self.checks]
        lines += [f"  looks like: {name} (on this one case)" for name in self.looks_like]
        return "\n".join(lines)


def worst(outcomes):
    """The outcome of many: fail beats undecided beats pass; the other four do not count.

    >>> worst(["pass", "undecided", "not reached"])
    'undecided'
    """
    found = set(outcomes)
    return "fail" if "fail" in found else "undecided" if "undecided" in found else "pass"
