"""Writes one page per contract, their list and the table of claims from `refprune.testing`: they cannot drift from it.

The kill matrices take longer than a documentation build should. They are read from
`docs/contracts/kill_matrix.json`, which `docs/contracts/make_kill_matrix.py` writes; a test of the suite
holds the file to the registry.
"""

import inspect
import json
import re
import textwrap
from pathlib import Path

import refprune as rp
from refprune import definitions, testing
from refprune.testing import claims, reference

HERE = Path(__file__).parent.parent / "contracts"
IMPORTS = {"np.": "import numpy as np", "Fraction(": "from fractions import Fraction"}


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


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    text = plain(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def call(contract) -> list[str]:
    """The signature, and the shapes of its arrays."""
    if contract.call_shapes:
        return [
            ".. code-block:: text",
            "",
            f"   {contract.signature}",
            "",
            sentence(contract.call_shapes),
            "",
        ]
    shapes = {name: f"({', '.join(f'{axis}s' for axis in axes)}{',' * (len(axes) == 1)})"
              for name, axes in contract.axes.items()}  # fmt: skip
    told = [f"{'each of ' * (name == 'batches')}`{name}` is {shape}" for name, shape in shapes.items()]
    return [".. code-block:: text", "", f"   {contract.signature}", "", f"Shapes: {', '.join(told)}.", ""]


def links(contract) -> list[str]:
    """The definition of this name, the method that refprune's own adapter calls, the symbols and the claims."""
    name = contract.name.replace("-", "_")
    found = [f"the definition :func:`refprune.definitions.{name}`"] if name in definitions.__all__ else []
    called = re.findall(r"rp\.([a-z_]+)\(", inspect.getsource(getattr(reference, name)))
    found += [f"the method :func:`refprune.{method}`" for method in called if method in rp.__all__]
    found += [":doc:`the symbols </glossary>`", ":doc:`what may be declared </contracts/index>`"]
    return [f"Beside it: {', '.join(found)}.", ""]


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
    lines += call(contract)
    lines += links(contract)
    lines += heading("Promise", "-") + bullets(contract.promises)
    lines += heading("How the call is read", "-") + bullets(contract.readings)
    lines += heading("Checks, in order", "-")
    lines += table(
        ["rung", "check", "what it finds"],
        [[c.rung, f"`{c.name}`", plain(c.summary)] for c in contract.checks],
        [15, 20, 65],
    )
    lines += heading("Tolerances", "-") + [sentence(contract.tolerance), ""]
    lines += heading("Ties", "-") + [sentence(contract.ties), ""]
    lines += heading("Cases", "-")
    lines += [
        "Plain ones, and these edge cases, each on one case at least (:ref:`what they are <edge-cases>`):",
        "",
    ]
    lines += [", ".join(f"`{flag}`" for flag in contract.flags) + ".", ""]
    lines += heading("An example", "-")
    needed = [line for word, line in IMPORTS.items() if word in contract.example]
    after = f", after {' and '.join(f'``{line}``' for line in needed)}" if needed else ""
    lines += [f"A short version that is right on friendly data{after}:", ""]
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


def contract_list() -> str:
    """Every contract with its call and its first promise, in the order of the registry, and the table of contents."""
    rows = [[f":doc:`generated/{c.name}`", f"``{c.signature}``"] for c in testing.contracts.values()]
    lines = table(["contract", "call"], rows, [25, 75])
    lines += [".. toctree::", "   :hidden:", "", *(f"   generated/{name}" for name in testing.contracts), ""]
    return "\n".join(lines)


def claim_table() -> str:
    """The table in the docstring of `refprune.testing.claims`."""
    rows = [line.strip("| ").split(" | ") for line in claims.__doc__.splitlines() if line.startswith("| ``")]
    return "\n".join(table(["claim", "values", "meaning"], rows, [20, 40, 40]))


def write_pages(app) -> None:
    """Write `contracts/generated/`; leave a file alone when its text is the same."""
    folder = Path(app.srcdir) / "contracts" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    matrices = json.loads((HERE / "kill_matrix.json").read_text())
    texts = {f"{name}.rst": page(contract, matrices[name]) for name, contract in testing.contracts.items()}
    texts |= {"contracts.txt": contract_list(), "claims.txt": claim_table()}
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True}
