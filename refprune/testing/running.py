"""A whole run: an implementation against one contract, on generated cases, in a process of its own."""

import json
import time
from collections.abc import Callable, Collection, Mapping

from .cases import generate
from .claims import check_claims
from .diagnosis import agree, shown
from .isolation import Runner
from .judge import find
from .report import Report
from .session import Session, size

LARGE = 5000  # numbers in a problem; larger ones are not diagnosed


def run(
    implementation: str | Callable,
    contract: str,
    examples: int = 200,
    seed: int = 0,
    dtype: str = "float64",
    arrays: str = "numpy",
    timeout: float = 10.0,
    isolate: bool = True,
    claims: Mapping | None = None,
    progress: Callable | None = None,
    only: Collection | None = None,
    shrink: bool = True,
) -> Report:
    """Judge an implementation on generated cases.

    Parameters
    ----------
    implementation : str or callable
        ``"module:function"``, or a callable; with `isolate` one that can be imported by its name.
    contract : str
        A name from ``testing.contracts``.
    examples : int
        Number of cases; every flag of the contract is on at least one, so a small number may grow.
    seed : int
        The cases are a function of seed, contract, dtype and claims alone.
    dtype : str
        ``"float64"``, ``"float32"`` or ``"float16"``.
    arrays : str
        ``"numpy"``, ``"torch"``, ``"jax"`` or ``"cupy"``: the kind of array the implementation is given.
    timeout : float
        Seconds for one call.
    isolate : bool
        Run the implementation in a process of its own. False: in this one, without a timeout.
    claims : mapping, optional
        Declared conventions, see ``refprune.testing.claims``.
    progress : callable, optional
        ``progress(done, total)`` after every case.
    only : collection of int, optional
        Numbers of the cases to run; all when None.
    shrink : bool
        Look for the smallest failing case.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        For an unknown contract, dtype, kind of array or claim, or a callable that cannot be imported.
    refprune.testing.loading.LoadError
        When the implementation cannot be loaded.

    Examples
    --------
    >>> import numpy as np
    >>> def topk_mask(scores, keep):
    ...     order = np.argsort(abs(scores), axis=None)
    ...     mask = np.zeros(scores.size, bool)
    ...     mask[order[scores.size - keep :]] = True
    ...     return mask.reshape(scores.shape)
    >>> report = run(topk_mask, "topk-mask", examples=40, isolate=False)
    >>> report.outcome, report.looks_like
    ('fail', ['absolute-scores'])
    """
    contract, claims = find(contract), check_claims(claims)
    settings = settings_of(examples, seed, dtype, arrays, claims)
    cases = [
        case
        for case in generate(contract, examples, seed, dtype, claims)
        if only is None or case.number in only
    ]
    return judged(cases, implementation, contract, settings, timeout, isolate, progress, shrink)


def judged(
    cases, implementation, contract, settings, timeout=10.0, isolate=True, progress=None, shrink=True
) -> Report:
    """What `run` reports of an implementation, on `cases` that are there already."""
    start, claims = time.monotonic(), settings["claims"]
    with Runner(implementation, arrays=settings["arrays"], isolate=isolate, timeout=timeout) as runner:
        session = Session(contract, runner, claims)
        for done, case in enumerate(cases):
            session.take(case)
            if progress is not None:
                progress(done + 1, len(cases))
        smallest = session.shrunk() if shrink else None
    failing, passing = (
        [x for x in items if 4 < size(x[0]) < LARGE] for items in (session.failing, session.passing)
    )
    looks_like = agree(contract, failing, passing) or shown(contract, _first_failures(session.records))
    return Report(
        contract.name,
        implementation
        if isinstance(implementation, str)
        else getattr(implementation, "__name__", repr(implementation)),
        settings,
        session.records,
        looks_like,
        smallest,
        time.monotonic() - start,
    )


def settings_of(examples, seed, dtype, arrays, claims) -> dict:
    """What a run is made of, as its report says it; ValueError for what it cannot be."""
    if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
        raise ValueError(f"need examples to be an integer >= 1; got {examples!r}")
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"need dtype to be float16, float32 or float64; got {dtype!r}")
    if "dtypes" in claims and dtype not in claims["dtypes"]:
        raise ValueError(
            f"need dtype to be one that is claimed ({', '.join(claims['dtypes'])}); got {dtype!r}"
        )
    return {"examples": examples, "seed": seed, "dtype": dtype, "arrays": arrays, "claims": claims}


def _first_failures(records):
    """The first failing record of every case."""
    first = {}
    for record in records:
        if record.outcome == "fail":
            first.setdefault(record.case, record)
    return list(first.values())


def replay_cases(text: str) -> tuple:
    """(contract, settings, numbers of the failing cases) of a saved report, for `run(..., only=numbers)`.

    Raises
    ------
    ValueError
        When the text is not a report.
    """
    try:
        saved = json.loads(text)
        numbers = sorted({record["case"] for record in saved["records"] if record["outcome"] == "fail"})
        return saved["contract"], saved["settings"], numbers
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"need a report written by `refprune check --json`; got {error}") from None
