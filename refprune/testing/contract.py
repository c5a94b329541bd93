"""The parts that a contract is made of, and how an answer climbs its ladder."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .verdict import Check

RUNGS = ("well-formed", "feasible", "truthful", "stationary", "greedy", "equal", "invariant")


@dataclass(frozen=True)
class CheckSpec:
    """One check of a contract: what it promises to find, and the function that looks.

    ``judge(view, answer)`` returns None (pass, nothing to measure) or a `Check` without a name;
    it is None for the checks that only a run can make (a second call, a transformed call).
    """

    name: str
    rung: str
    summary: str
    judge: Callable | None = None


@dataclass(frozen=True)
class Mistake:
    """A small wrong version of the reference.

    Attributes
    ----------
    name, summary : str
        As the diagnosis says it.
    call : callable
        It has the call of its contract.
    shows : tuple of str
        For mistakes whose numbers are right: (check that breaks, words of its explanation), and the flags of the
        cases where it breaks, if it does in some alone.
    """

    name: str
    summary: str
    call: Callable
    shows: tuple = ()

    def __call__(self, *arguments, **named):
        """The wrong answer; arguments by name are in the contract's order."""
        return self.call(*arguments, *named.values())

    def fresh(self):
        """The call, without anything that earlier calls left behind."""
        return copy.deepcopy(self.call)


@dataclass(frozen=True)
class Case:
    """One generated problem: its number in the run, the flags it carries, and the call."""

    number: int
    flags: tuple
    problem: dict


@dataclass(frozen=True)
class Contract:
    """One method under test: its call, what is promised, and how an answer is judged.

    Attributes
    ----------
    name : str
        As in ``refprune check NAME``.
    arguments : tuple of str
        Names of the call's arguments in positional order.
    returns : tuple of str
        What an answer holds, in order.
    promises, readings : tuple of str
        What a right answer satisfies; how the call is to be understood.
    tolerance, ties : str
        How the bounds are derived; which answers are equally right.
    reference : callable
        The definition, called like an implementation under test.
    checks : tuple of CheckSpec
        The ladder.
    mistakes : tuple of Mistake
        Known mistakes, for diagnosis and as the contract's own mutation test.
    view : callable
        ``view(problem, claims)``: the problem as the checks read it.
    flags : tuple of str
        The named edge cases that apply.
    shapes : tuple
        The palette of shapes of a run, at most 12.
    build : callable
        ``build(flag, shape, rng, dtype)``: one problem.
    per_row : bool
        True when a sparsity counts the columns of each row, not the whole weight.
    axes : dict
        Axis names of each array argument, for shrinking and for transformations.
    transforms : tuple of callables
        The invariances that apply.
    example : str
        A short implementation that is right on friendly data.
    suits : callable, optional
        ``suits(flag, shape)``: whether a flag makes sense on a shape; without it a shape is (rows, columns) or
        (columns,), and the rules of `cases` hold.
    sizes : callable, optional
        ``sizes(shape)``: the (rows, columns) that a claim on sizes means, for shapes of other kinds; None where
        there are none.
    call_shapes : str
        The shapes of the arguments in words, where `axes` does not say them.
    """

    name: str
    arguments: tuple
    returns: tuple
    promises: tuple
    readings: tuple
    tolerance: str
    ties: str
    reference: Callable
    checks: tuple
    mistakes: tuple
    view: Callable
    flags: tuple
    shapes: tuple
    build: Callable
    axes: dict = field(default_factory=dict)
    transforms: tuple = ()
    example: str = ""
    per_row: bool = False
    suits: Callable | None = None
    sizes: Callable | None = None
    call_shapes: str = ""

    @property
    def signature(self) -> str:
        """The call and what it returns, as text.

        >>> from refprune import testing
        >>> testing.contracts["magnitude"].signature
        'magnitude(weight, sparsity) -> weight, mask'
        """
        return f"{self.name.replace('-', '_')}({', '.join(self.arguments)}) -> {', '.join(self.returns)}"

    def climb(self, view, answer) -> Iterator[Check]:
        """Judge `answer` rung by rung; what lies above a broken rung is not reached."""
        broken = None
        for spec in self.checks:
            if spec.judge is None:
                continue
            if broken is not None and RUNGS.index(spec.rung) > RUNGS.index(broken):
                yield Check(spec.name, "not reached")
                continue
            found = spec.judge(view, answer) or Check(spec.name, "pass")
            if found.outcome == "fail" and broken is None:
                broken = spec.rung
            yield Check(spec.name, found.outcome, found.measured, found.bound, found.explanation)


def passed(measured=None, bound=None) -> Check:
    """A check that passed, with what was measured."""
    return Check("", "pass", measured, bound)


def failed(explanation, measured=None, bound=None) -> Check:
    """A check that failed, with its reason."""
    return Check("", "fail", measured, bound, explanation)


def undecided(explanation, measured=None, bound=None) -> Check:
    """A check that the arithmetic cannot decide."""
    return Check("", "undecided", measured, bound, explanation)


def not_claimed(explanation) -> Check:
    """A check on something that the implementation does not claim."""
    return Check("", "not claimed", None, None, explanation)
