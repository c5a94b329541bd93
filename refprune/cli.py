"""The command line: `refprune check`, `list` and `demo`.

Exit status: 0 all pass, 1 any fail, 2 could not run (usage, import, nothing claimed), 3 no failure but more
than 1 % of the cases undecided, 130 interrupted.
"""

import argparse
import ast
import contextlib
import importlib
import json
import os
import sys
import warnings
from pathlib import Path

from refprune import __version__, testing
from refprune.jobs import CannotRun, jobs_of, known
from refprune.testing.loading import LoadError

OPTIONAL = {"rich": "rich", "hypothesis": "hypothesis", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
PASS, FAIL, CANNOT, UNDECIDED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The words after `refprune`; those of the process when None.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> main(["list", "nm-mask"])  # doctest: +ELLIPSIS
    nm_mask(scores, n, m) -> mask
    ...
    0
    """
    try:
        options = _parse(argv)
    except SystemExit as usage:  # argparse has said what is wrong, or has printed what was asked
        return usage.code or PASS
    try:
        status = options.run(options)
        sys.stdout.flush()  # here, where a closed pipe is no error yet
        return status
    except CannotRun as reason:
        print(reason, file=sys.stderr)
        return CANNOT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PASS


# ---------------------------------------------------------------- check


def _check(options):
    with _needs("check", "check"):
        console = importlib.import_module("refprune.console")
    if options.json:
        _writable(options.json)
    with _current_directory():
        jobs, unclaimed = jobs_of(options)
        reports = [_judge(console, job, options.timeout) for job in jobs]
    console.show(reports, unclaimed)
    if options.json:
        texts = [report.to_json() for report in reports]
        Path(options.json).write_text(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    outcomes = {report.outcome for report in reports}
    return FAIL if "fail" in outcomes else UNDECIDED if "undecided" in outcomes else PASS


def _judge(console, job, timeout):
    with console.bar(job.contract) as moved:
        try:
            return testing.run(
                job.implementation,
                job.contract,
                **job.settings,
                timeout=timeout,
                progress=moved,
                only=job.only,
            )
        except LoadError as error:
            raise CannotRun(str(error)) from None


def _writable(path):
    try:
        with open(path, "a"):
            pass
    except OSError as error:
        raise CannotRun(f"need a file that can be written for --json; {error}") from None


@contextlib.contextmanager
def _current_directory():
    """Modules of the current directory can be named, as with `python -m`."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextlib.contextmanager
def _needs(command, extra):
    """Say in one line which package of an extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        raise CannotRun(
            f'refprune {command} needs {OPTIONAL[package]}: pip install "refprune[{extra}]"'
        ) from None


# ---------------------------------------------------------------- list, demo


def _list(options):
    if options.contract:
        known(options.contract)
    names = [options.contract] if options.contract else list(testing.contracts)
    if options.mistakes:
        _kill_matrices(names, options.examples)
    elif options.contract:
        print(_page(testing.contracts[options.contract]))
    else:
        width = max(map(len, names)) + 2
        for name in names:
            print(f"{name:<{width}}{testing.contracts[name].signature}")
        print(
            "\nrefprune list CONTRACT shows what is promised and checked; --mistakes what each check kills."
        )
    return PASS


def _kill_matrices(names, examples):
    with _needs("list --mistakes", "check"):
        console = importlib.import_module("refprune.console")
    with console.bar("known mistakes") as moved, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong code divides by zero and takes means of nothing
        for done, name in enumerate(names):
            moved(done, len(names))
            print(testing.kill_matrix(name, examples), end="\n\n", flush=True)


def _page(contract):
    """Everything that an implementer needs to know about a contract."""
    parts = {
        "promises": contract.promises,
        "readings": contract.readings,
        "ties": (contract.ties,),
        "tolerance": (contract.tolerance,),
        "checks": [f"{check.name:<12}{check.rung:<13}{check.summary}" for check in contract.checks],
        "known mistakes": [f"{mistake.name}: {mistake.summary}" for mistake in contract.mistakes],
    }
    text = contract.signature
    for title, lines in parts.items():
        text += f"\n\n{title}\n" + "\n".join(f"  {line}" for line in lines)
    example = contract.example.strip("\n")
    return f"{text}\n\nan implementation\n" + "\n".join(
        f"    {line}".rstrip() for line in example.splitlines()
    )


def _demo(options):
    with _needs("demo", "demo"):
        return importlib.import_module("refprune.demo").main(options.out, options.quick)


# ---------------------------------------------------------------- words


def _parse(argv):
    """Options and operands may be mixed, which argparse allows no command with a free number of operands."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and (options.command != "check" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.targets += rest
    return options


def _parser():
    parser = argparse.ArgumentParser(
        prog="refprune", description="The reference for pruning, and its oracle."
    )
    parser.add_argument("--version", action="version", version=f"refprune {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _check_parser(commands)
    listing = commands.add_parser("list", help="contracts: what is called, promised and checked")
    listing.add_argument("contract", nargs="?", metavar="CONTRACT")
    listing.add_argument(
        "--mistakes", action="store_true", help="run every known mistake; print what kills it"
    )
    listing.add_argument("--examples", type=_count, default=100, help="cases a mistake (%(default)s)")
    listing.set_defaults(run=_list)
    demo = commands.add_parser("demo", help="prune a trained network several ways, judge three kernels")
    demo.add_argument("--out", default="refprune-demo", help="folder for the pictures (%(default)s)")
    demo.add_argument("--quick", action="store_true", help="fewer cases for each kernel")
    demo.set_defaults(run=_demo)
    return parser


def _check_parser(commands):
    usage = (
        "refprune check CONTRACT module:function [options]\n"
        "       refprune check --adapter MODULE [CONTRACT ...] [options]\n"
        "       refprune check --replay FILE [CONTRACT module:function]"
    )
    check = commands.add_parser("check", help="judge an implementation", usage=usage)
    check.add_argument(
        "targets", nargs="*", metavar="CONTRACT module:function", help="a contract and what to judge"
    )
    check.add_argument("--adapter", metavar="MODULE", help="judge every contract that this module claims")
    check.add_argument(
        "--arrays", choices=("numpy", "torch", "jax", "cupy"), help="kind of arrays given (numpy)"
    )
    check.add_argument("--dtype", choices=("float64", "float32", "float16"), help="their dtype (float64)")
    check.add_argument("--examples", type=_count, help="number of cases (200)")
    check.add_argument("--seed", type=int, help="of the cases (0)")
    check.add_argument("--timeout", type=_seconds, default=10.0, help="seconds for one call (%(default)s)")
    check.add_argument(
        "--claim",
        type=_claim,
        action="append",
        metavar="KEY=VALUE",
        help="a declared convention, e.g. n_counts=zeros",
    )
    check.add_argument("--json", metavar="FILE", help="write every record")
    check.add_argument("--replay", metavar="FILE", help="run the failing cases of such a file again")
    check.set_defaults(run=_check)


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"need an integer >= 1; got {text}")
    return int(text)


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"need seconds > 0; got {text}")
    return seconds


def _claim(text):
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise argparse.ArgumentTypeError(f"need KEY=VALUE such as count_rule=floor; got {text}")
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return key, read(value)
    return key, value
