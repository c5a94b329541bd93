"""The table of the demo."""

from __future__ import annotations

from rich.table import Table

from refprune.demo.compress import Result


def table(results: list[Result], dense: float) -> Table:
    """Return one line per method and pattern, the best of each pattern bold.

    `dense` is the accuracy before pruning.
    """
    answer = Table(
        title="Digits, every layer pruned",
        caption=f"not pruned: {dense:.1%}",
    )
    answer.add_column("zeros")
    answer.add_column("method")
    for name in ("test accuracy", "objective", "time"):
        answer.add_column(name, justify="right")
    for number, result in enumerate(results):
        rivals = [other for other in results if other.pattern == result.pattern]
        first = rivals[0] is result
        last = number + 1 == len(results) or results[number + 1].pattern != result.pattern
        accuracy, objective = f"{result.accuracy:.1%}", f"{result.objective:.2%}"
        if result.accuracy == max(other.accuracy for other in rivals):
            accuracy = f"[bold]{accuracy}[/bold]"
        if result.objective == min(other.objective for other in rivals):
            objective = f"[bold]{objective}[/bold]"
        answer.add_row(
            result.pattern if first else "",
            result.method,
            accuracy,
            objective,
            f"{result.seconds * 1e3:.0f} ms",
            end_section=last,
        )
    return answer
