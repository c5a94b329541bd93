"""Writes `_static/verdict.svg`, the picture of the README, from a real run of the command line.

Run it by hand when the report changes: `python docs/make_verdict_picture.py`.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 110
COMMAND = ["check", "exact-obs", "refprune.demo.kernels.stale:prune"]


def main() -> None:
    """Run the command in colour, print what it says on a recording console, and save that."""
    done = subprocess.run(
        [sys.executable, "-m", "refprune", *COMMAND],
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.assemble(("$ ", "dim"), " ".join(["refprune", *COMMAND])))
    console.print(Text.from_ansi(done.stdout))
    picture = console.export_svg(title="refprune", unique_id="verdict")
    # rich names a font on a web server; the picture is to work without a network
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code,", "Fira Code, DejaVu Sans Mono, Menlo, Consolas,")
    (Path(__file__).parent / "_static" / "verdict.svg").write_text(picture)


if __name__ == "__main__":
    main()
