"""What a `refprune check` is asked to judge: contracts, implementations, settings, from words to `Job`s."""

import difflib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from refprune import testing
from refprune.testing.cases import palette
from refprune.testing.claims import check_claims
from refprune.testing.isolation import describe
from refprune.testing.loading import LoadError

DEFAULTS = {"arrays": "numpy", "dtype": "float64", "examples": 200, "seed": 0}


class CannotRun(Exception):
    """Nothing was judged; the message is one line for a person."""


@dataclass(frozen=True)
class Job:
    """One contract to check: by what, under which settings; `only` lists the cases of a replay."""

    contract: str
    implementation: str
    settings: dict
    only: tuple | None = None


def jobs_of(options):
    """The jobs of a command, and the names of contracts that an adapter does not claim.

    Raises
    ------
    CannotRun
        An unknown contract or claim, an adapter that claims nothing, a file that is no report.
    """
    if options.replay:
        return _replayed(options), []
    claims = dict(options.claim or [])
    settings = {name: _given(options, name) for name in DEFAULTS}
    if options.adapter:
        return _adapted(options, settings, claims)
    if len(options.targets) != 2:
        raise CannotRun(f"need CONTRACT module:function, or --adapter MODULE; got {_words(options.targets)}")
    contract, implementation = options.targets
    known(contract)
    _legal(contract, claims, settings["dtype"])
    return [Job(contract, implementation, {**settings, "claims": claims})], []


def _adapted(options, settings, extra):
    for name in options.targets:
        known(name)
    try:
        adapter = describe(options.adapter)
    except LoadError as error:
        raise CannotRun(str(error)) from None
    for name in adapter.claims:
        known(name, f"{options.adapter} claims ")
    missing = [name for name in options.targets if name not in adapter.claims]
    if missing or not adapter.claims:
        wanted = ", ".join(missing) or "some contract"
        raise CannotRun(f"need a claim on {wanted} in {options.adapter}; got none")
    jobs, unclaimed = [], [name for name in testing.contracts if name not in adapter.claims]
    for name in options.targets or [name for name in testing.contracts if name in adapter.claims]:
        claims = {**adapter.claims[name], **extra}
        if options.dtype is None and "dtypes" in claims and DEFAULTS["dtype"] not in claims["dtypes"]:
            mine = {**settings, "dtype": claims["dtypes"][0]}
        else:
            mine = settings
        _legal(name, claims, mine["dtype"])
        jobs.append(Job(name, adapter.implementation(name), {**mine, "claims": claims}))
    return jobs, [] if options.targets else unclaimed


def _replayed(options):
    """The failing cases of a saved report."""
    fixed = [f"--{name}" for name in DEFAULTS if getattr(options, name) is not None]
    fixed += ["--claim"] if options.claim else []
    if fixed:
        raise CannotRun(f"need no {', '.join(fixed)} with --replay; the file says how its cases were run")
    if options.adapter or len(options.targets) not in (0, 2):
        raise CannotRun("need --replay FILE alone, or with CONTRACT module:function")
    try:
        saved = json.loads(Path(options.replay).read_text())
        saved = saved if isinstance(saved, list) else [saved]
        jobs = []
        for one in saved:
            contract, settings, numbers = testing.replay_cases(json.dumps(one))
            jobs.append(Job(contract, one["implementation"], settings, tuple(numbers)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"need a file written by --json for --replay {options.replay}; got {error}") from None
    if options.targets:
        contract, implementation = options.targets
        jobs = [replace(job, implementation=implementation) for job in jobs if job.contract == contract]
    jobs = [job for job in jobs if job.only]
    if not jobs:
        raise CannotRun(f"need a failing case to replay; {options.replay} has none")
    return jobs


def _legal(contract, claims, dtype):
    """Refuse claims that mean nothing before anything is run."""
    try:
        palette(testing.contracts[contract], check_claims(claims))
    except ValueError as error:
        raise CannotRun(f"{contract}: {error}") from None
    if dtype not in claims.get("dtypes", [dtype]):
        raise CannotRun(f"{contract}: need --dtype in {', '.join(claims['dtypes'])}, as claimed; got {dtype}")


def known(name, whose=""):
    """Raise CannotRun, with the nearest name, when no contract is called `name`."""
    if name not in testing.contracts:
        close = difflib.get_close_matches(name.replace("_", "-"), testing.contracts, n=1)
        hint = f"did you mean {close[0]}?" if close else "`refprune list` shows all"
        raise CannotRun(f"{whose}{name!r}: no contract of this name; {hint}")


def _given(options, name):
    value = getattr(options, name)
    return DEFAULTS[name] if value is None else value


def _words(words):
    return " ".join(words) or "nothing"
