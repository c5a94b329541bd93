"""How the command line shows reports: tables by rich, plain where the output is no terminal."""

import contextlib
import sys
import textwrap

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from refprune import testing

FIRST = 4  # failing checks that are explained
WIDTH = 110  # where there is no terminal to ask
STYLES = {"pass": "bold green", "fail": "bold red", "undecided": "bold yellow"}


@contextlib.contextmanager
def bar(title):
    """A progress bar on standard error for the block; gives the callable (done, total) that moves it.

    Nothing is written where standard error is no terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def show(reports, unclaimed=()):
    """Print reports on standard output: tables first, then why what failed has failed.

    Parameters
    ----------
    reports : list of Report
    unclaimed : list of str
        Contracts that an adapter does not claim.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    if len(reports) == 1 and not unclaimed:
        console.print(_header(reports[0]))
        console.print(_checks(reports[0]))
    else:
        console.print(_contracts(reports, unclaimed))
    for report in reports:
        if report.outcome != "pass":
            _explain(console, report, len(reports) > 1)
    console.print(_sentence(reports[0]) if len(reports) == 1 else _total(reports))


def _header(report):
    settings = report.settings
    about = f"{settings['arrays']} {settings['dtype']}, seed {settings['seed']}, {report.seconds:.1f} s"
    claims = ", ".join(f"{key}={value}" for key, value in settings["claims"].items())
    return Text.assemble(
        (report.contract, "bold"),
        f"  {report.implementation}  ",
        (about, "dim"),
        f"  {claims}" if claims else "",
    )


def _checks(report):
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("check")
    for title in ("passed", "failed", "undecided"):
        table.add_column(title, justify="right")
    table.add_column("worst share of its bound")
    rows = {row[0]: row for row in report.summary()}
    for name, passed, failed, undecided, share in (rows[n] for n in _ladder(report.contract, rows)):
        if not (passed or failed or undecided):
            why = {record.outcome for record in report.records if record.check == name}
            table.add_row(name, "", "", "", ", ".join(sorted(why)), style="dim")
            continue
        style = STYLES["fail"] if failed else STYLES["undecided"] if undecided else ""
        numbers = (_number(passed), Text(_number(failed), style=style), Text(_number(undecided), style=style))
        table.add_row(Text(name, style=style), *numbers, _share(share))
    return table


def _ladder(contract, names):
    """The names of checks in the order of the contract's ladder."""
    order = [check.name for check in testing.contracts[contract].checks]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _contracts(reports, unclaimed):
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, justify in (
        ("contract", "left"),
        ("outcome", "left"),
        ("cases", "right"),
        ("failed", "right"),
        ("undecided", "right"),
        ("worst share of a bound", "left"),
        ("seconds", "right"),
    ):
        table.add_column(title, justify=justify)
    for report in reports:
        outcomes = list(report.cases.values())
        shares = [row[4] for row in report.summary() if row[4] is not None]
        table.add_row(
            report.contract,
            Text(report.outcome, style=STYLES[report.outcome]),
            str(len(outcomes)),
            _number(outcomes.count("fail")),
            _number(outcomes.count("undecided")),
            _share(max(shares, default=None)),
            f"{report.seconds:.1f}",
        )
    for name in unclaimed:
        table.add_row(name, "not claimed", style="dim")
    return table


def _number(count):
    return str(count) if count else "."


def _share(share):
    """The share as a number and a bar of ten marks."""
    if share is None:
        return Text("")
    return Text.assemble(f"{share:<8.2g}", ("#" * min(10, round(10 * share)), "cyan"))


def _explain(console, report, titled):
    """The first failures, the known mistake that they look like, the smallest failing case."""
    if titled:
        console.print(Text.assemble("\n", (report.contract, "bold"), f"  {report.implementation}"))
    failed = {}
    for record in report.records:
        if record.outcome == ("fail" if report.outcome == "fail" else "undecided"):
            failed.setdefault(record.check, []).append(record)
    for check in _ladder(report.contract, failed)[:FIRST]:
        records = failed[check]
        first, others = records[0], len(records) - 1
        flags = f" [{', '.join(first.flags)}]" if first.flags else ""
        more = f" (and {others} more)" if others else ""
        style = STYLES[report.outcome]
        console.print(Text.assemble((check, style), f"  case {first.case}{flags}{more}"))
        wrapped = textwrap.fill(first.explanation, console.width - 4, break_on_hyphens=False)
        console.print(Text(textwrap.indent(wrapped, "    ")))
    if len(failed) > FIRST:
        console.print(f"and {len(failed) - FIRST} more checks; --json writes every record")
    for name in report.looks_like:
        console.print(Text.assemble("\nlooks like  ", (name, "bold"), _summary(report.contract, name)))
    if report.smallest is not None:
        console.print(Text("\nthe smallest case that fails, ready for a test", style="bold"))
        code = f"import numpy as np\n{_import(report.implementation)}\n{report.smallest_text()}"
        console.print(code, markup=False, soft_wrap=True)  # never broken: it is to be pasted


def _summary(contract, name):
    found = [mistake.summary for mistake in testing.contracts[contract].mistakes if mistake.name == name]
    return f": {found[0]}" if found else ""


def _import(implementation):
    module, colon, name = implementation.partition(":")
    own = f"from {module} import {name} as implementation\n" if colon and "." not in name else ""
    return f"from refprune import testing\n{own}"


def _total(reports):
    outcomes = [report.outcome for report in reports]
    counts = [(outcome, outcomes.count(outcome)) for outcome in STYLES]
    words = [Text(f"{count} {outcome}", style=STYLES[outcome]) for outcome, count in counts if count]
    return Text.assemble(f"{len(reports)} contracts: ", Text(", ").join(words), ".")


def _sentence(report):
    outcomes = list(report.cases.values())
    failed, undecided = outcomes.count("fail"), outcomes.count("undecided")
    not_run = len({record.case for record in report.records}) - len(outcomes)
    text = f": {len(outcomes)} cases, {failed} failed, {undecided} undecided"
    return Text.assemble(
        (report.outcome, STYLES[report.outcome]), text, f", {not_run} not run" if not_run else "", "."
    )
