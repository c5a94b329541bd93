"""Writes one page per contract from `refprune.testing.contracts`: the pages cannot drift from the judge.

The kill matrices take longer than a documentation build should. They are read from
`docs/contracts/kill_matrix.json`, which `docs/contracts/make_kill_matrix.py` writes; a test of the suite
holds the file to the registry.
"""

import json
import re
import textwrap
from pathlib import Path

from refprune import testing

HERE = Path(__file__).parent.parent / "contracts"


def plain(text: str) -> str:
    """The text with every character escaped that reStructuredText would read as markup, outside `code`."""
    parts = str(text).split("`")
    parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def heading(text: str, line: str) -> list[str]:
    """A heading with its underline."""
    return [text, line * len(text), ""]


def bullets(items) -> list[str]:
    """A bullet list; each item is wrapped text."""
    lines = []
    for item in items:
        lines += textwrap.wrap(plain(item), 100, initial_indent="- ", subsequent_indent="  ")
    return [*lines, ""]


def table(header, rows, widths) -> list[str]:
    """A list-table; every cell is one paragraph."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"   {'* ' if number == 0 else '  '}- {cell}")
    return [*lines, ""]


def kill_table(matrix: dict) -> list[str]:
    """How often each check convicts each mistake, from one contract's part of the JSON file."""
    checks = [check for check in matrix["checks"] if any(row[check] for row in matrix["counts"].values())]
    rows = [
        [
            name,
            *(str(matrix["counts"][name][check] or "") for check in checks),
            "yes" if matrix["named"][name] else "no",
        ]
        for name in matrix["mistakes"]
    ]
    return table(["mistake", *checks, "named"], rows, [30, *(10 for _ in checks), 10])


def page(contract, matrix: dict) -> str:
    """The whole page of one contract."""
    lines = heading(contract.name, "=")
    lines += [".. code-block:: text", "", f"   {contract.signature}", ""]
    lines += heading("Promise", "-") + bullets(contract.promises)
    lines += heading("How the call is read", "-") + bullets(contract.readings)
    lines += heading("Checks, in order", "-")
    lines += table(
        ["rung", "check", "what it finds"],
        [[c.rung, f"`{c.name}`", plain(c.summary)] for c in contract.checks],
        [15, 20, 65],
    )
    lines += heading("Tolerances", "-") + [plain(contract.tolerance), ""]
    lines += heading("Ties", "-") + [plain(contract.ties), ""]
    lines += heading("An example", "-")
    lines += [".. code-block:: python", "", textwrap.indent(contract.example.strip("\n"), "   "), ""]
    lines += heading("Known mistakes", "-")
    lines += table(
        ["mistake", "what is wrong"], [[f"`{m.name}`", plain(m.summary)] for m in contract.mistakes], [30, 70]
    )
    lines += heading("Kill matrix", "-")
    lines += [
        f"Each mistake was run on {matrix['examples']} cases. A number counts the cases in which the check of its",
        "column was the first to fail. *Named* tells whether the report said which mistake it is.",
        "",
    ]
    lines += kill_table(matrix)
    return "\n".join(lines)


def write_pages(app) -> None:
    """Write `contracts/generated/*.rst`; leave a file alone when its text is the same."""
    folder = Path(app.srcdir) / "contracts" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    matrices = json.loads((HERE / "kill_matrix.json").read_text())
    for name, contract in testing.contracts.items():
        path, text = folder / f"{name}.rst", page(contract, matrices[name])
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True}
